//! What a zip's directory says (PKWARE's APPNOTE.TXT), where the crate does not tell it, or only when all has been read.

use std::io::{self, Read, Seek, SeekFrom};

use zip::DateTime;

/// The record at a zip's end (4.3.16), without its comment.
const END: u64 = 22;

/// The longest comment behind it.
const LONGEST_COMMENT: u64 = 65_535;

/// The number of entries that a zip's end tells; `None` where there is no such end.
pub(super) fn entries(file: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_at = length.saturating_sub(END + LONGEST_COMMENT);
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    file.take(END + LONGEST_COMMENT).read_to_end(&mut tail)?;
    // The largest of all that could be it: which of them a reader takes is not for sure.
    let ends = tail.windows(12).filter(|window| window.starts_with(b"PK\x05\x06"));
    let mut most = ends.map(|end| u64::from(u16::from_le_bytes([end[10], end[11]]))).max();
    // The end of zip64 (4.3.14) has the number where two bytes do not suffice.
    let ends = tail.windows(40).filter(|window| window.starts_with(b"PK\x06\x06"));
    let number = |end: &[u8]| end[32..40].try_into().map(u64::from_le_bytes).ok();
    if let Some(large) = ends.filter_map(number).max() {
        most = most.max(Some(large));
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(most)
}

/// Seconds since 1970 of a zip's local time, taken for UTC; 0 where it is none.
pub(super) fn seconds(at: DateTime) -> u64 {
    let (year, month, day) = (u64::from(at.year()), u64::from(at.month()), u64::from(at.day()));
    if !(1..=12).contains(&month) || day == 0 || year < 1970 {
        return 0;
    }
    // Days since 1 March of the year 0 (Hinnant, "chrono-compatible low-level date algorithms").
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    const TO_1970: u64 = 719_468;
    (days - TO_1970) * 86_400 + u64::from(at.hour()) * 3600 + u64::from(at.minute()) * 60 + u64::from(at.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        let at = |y, mo, d, h, mi, s| seconds(DateTime::from_date_and_time(y, mo, d, h, mi, s).expect("a time"));
        assert_eq!(at(1980, 1, 1, 0, 0, 0), 315_532_800);
        assert_eq!(at(2024, 2, 29, 12, 34, 56), 1_709_210_096);
        assert_eq!(at(2100, 3, 1, 0, 0, 0), 4_107_542_400);
    }

    #[test]
    fn the_end_tells_the_number_of_entries() {
        let mut end = vec![0; 100];
        assert_eq!(entries(&mut io::Cursor::new(&end)).expect("read"), None);
        end.extend(b"PK\x05\x06\0\0\0\0\x07\0\x07\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(entries(&mut io::Cursor::new(&end)).expect("read"), Some(7));
        let mut large = [0_u8; 56];
        large[..4].copy_from_slice(b"PK\x06\x06");
        large[32..40].copy_from_slice(&5_000_000_u64.to_le_bytes());
        end.splice(100..100, large);
        assert_eq!(entries(&mut io::Cursor::new(&end)).expect("read"), Some(5_000_000));
    }
}
