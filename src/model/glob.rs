//! Patterns in rules: an exact text, or a glob.

use std::fmt;

/// An exact text or a glob: `*` stands for any run of characters (none, too), `?` for exactly one; `\` takes the next
/// character as it is. Matching is case-sensitive and takes time proportional to pattern times text at worst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Exact(Box<str>),
    Glob(Box<[Token]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
}

impl Pattern {
    /// Reads a pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if tokens.last() == Some(&Token::Any) => {}
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                '\\' => tokens.push(Token::Char(chars.next().unwrap_or('\\'))),
                c => tokens.push(Token::Char(c)),
            }
        }
        let exact: Option<String> =
            tokens.iter().map(|t| if let Token::Char(c) = t { Some(*c) } else { None }).collect();
        let form = exact.map_or_else(|| Form::Glob(tokens.into()), |e| Form::Exact(e.into()));
        Self { text: text.into(), form }
    }

    /// Whether a text fits the pattern, whole.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Exact(exact) => **exact == *text,
            Form::Glob(tokens) => glob(tokens, text),
        }
    }
}

/// Greedy matching with one point to fall back to: the last `*` seen.
fn glob(tokens: &[Token], text: &str) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut fallback: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (tokens.get(at), rest.next()) {
            (Some(Token::Any), _) => {
                rest = before;
                at += 1;
                fallback = Some((at, rest.clone()));
            }
            (Some(Token::One), Some(_)) => at += 1,
            (Some(Token::Char(c)), Some(found)) if *c == found => at += 1,
            (None, None) => return true,
            _ => {
                let Some((after, mut from)) = fallback else { return false };
                if from.next().is_none() {
                    return false;
                }
                at = after;
                rest = from.clone();
                fallback = Some((after, from));
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("new*", "new", true),
            ("new*", "new-1", true),
            ("new*", "anew", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*b", "abxb", true),
            ("*b*b", "ab", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("exact", "exact", true),
            ("exact", "exact ", false),
            ("", "", true),
            ("?", "ä", true),
            ("a*b*c*d", "axxbyyczzd", true),
            ("a*b*c*d", "axxbyyczz", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_does_not_blow_up() {
        let pattern = Pattern::new(&format!("{}b", "*a".repeat(30)));
        assert!(!pattern.matches(&"a".repeat(2_000)));
    }
}
