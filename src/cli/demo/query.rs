//! Numbers from a query string, each within bounds.

use std::ops::RangeInclusive;

/// The number `name` of a query such as `ms=500&chunks=3`, or `default`.
///
/// # Errors
/// A sentence for the client, where it is no number or out of `bounds`.
pub(super) fn number(
    query: Option<&str>,
    name: &str,
    default: u64,
    bounds: RangeInclusive<u64>,
) -> Result<u64, String> {
    let pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, text)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| format!("`{name}` should be a number from {} to {}", bounds.start(), bounds.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_of_its_name_within_bounds() {
        assert_eq!(number(Some("a=1&ms=7&ms=8"), "ms", 3, 0..=10), Ok(7));
        assert_eq!(number(Some("mss=7"), "ms", 3, 0..=10), Ok(3));
        assert_eq!(number(None, "ms", 3, 0..=10), Ok(3));
        for wrong in ["ms=11", "ms=-1", "ms=", "ms", "ms=1e3", "ms=99999999999999999999"] {
            assert_eq!(number(Some(wrong), "ms", 3, 0..=10), Err("`ms` should be a number from 0 to 10".to_owned()));
        }
    }
}
