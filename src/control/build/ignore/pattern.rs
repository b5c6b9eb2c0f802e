//! One pattern of `.dockerignore`.

/// A pattern, cleaned: it must match a whole path.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug)]
enum Token {
    Char(char),
    /// `?`: any but `/`.
    One,
    /// `*`: any number of any but `/`.
    Some,
    /// `**/`, and `**` before anything else: nothing, or folders with their `/`.
    Folders,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`, `[^a-z]`.
    Class {
        ranges: Vec<(char, char)>,
        not: bool,
    },
}

impl Pattern {
    /// `None` where a `[` has no `]` or a `\` nothing behind it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    // `***` is `**` and `*`, which says no more than `**`.
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Token::Rest } else { Token::Folders }
                }
                '*' => Token::Some,
                '?' => Token::One,
                '\\' => Token::Char(chars.next()?),
                '[' => {
                    let not = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let from = match chars.next()? {
                            ']' if !ranges.is_empty() => break,
                            // An empty class, or a range without its beginning.
                            ']' | '-' => return None,
                            '\\' => chars.next()?,
                            c => c,
                        };
                        let to = if chars.next_if_eq(&'-').is_some() {
                            match chars.next()? {
                                '\\' => chars.next()?,
                                ']' | '-' => return None,
                                c => c,
                            }
                        } else {
                            from
                        };
                        ranges.push((from, to));
                    }
                    Token::Class { ranges, not }
                }
                c => Token::Char(c),
            });
        }
        Some(Self { tokens })
    }

    /// Whether the whole path matches. Takes the time of pattern times path, whatever the pattern is.
    pub(super) fn matches(&self, path: &[char]) -> bool {
        // Of each place in the path, whether the tokens so far can end there.
        let mut at = vec![false; path.len() + 1];
        at[0] = true;
        for token in &self.tokens {
            let mut next = vec![false; path.len() + 1];
            let mut before = false;
            for to in 0..=path.len() {
                let last = to.checked_sub(1).map(|from| path[from]);
                let step = to > 0 && at[to - 1];
                next[to] = match token {
                    Token::Char(c) => step && last == Some(*c),
                    Token::One => step && last != Some('/'),
                    Token::Class { ranges, not } => {
                        step && last
                            .is_some_and(|c| c != '/' && *not != ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)))
                    }
                    Token::Some => at[to] || (to > 0 && next[to - 1] && last != Some('/')),
                    Token::Folders => at[to] || (before && last == Some('/')),
                    Token::Rest => at[to] || before,
                };
                before |= at[to];
            }
            at = next;
        }
        at[path.len()]
    }

    /// Whether it may match something below this folder. A pattern without wildcards does if the folder leads to it.
    pub(super) fn may_match_below(&self, folder: &str) -> bool {
        let mut chars = folder.chars();
        for token in &self.tokens {
            let Token::Char(wanted) = token else { return true };
            match chars.next() {
                Some(c) if c == *wanted => {}
                Some(_) => return false,
                None => return *wanted == '/',
            }
        }
        // It is the folder, or one above, and matches all below.
        matches!(chars.next(), None | Some('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).expect(pattern).matches(&path.chars().collect::<Vec<_>>())
    }

    /// Of moby's `patternmatcher_test.go`, as far as it is about single patterns and whole paths.
    #[test]
    fn as_moby_matches() {
        for (pattern, path, wanted) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("[-x]", "x", false),
        ] {
            if Pattern::parse(pattern).is_none() {
                assert!(!wanted, "{pattern}");
                continue;
            }
            assert_eq!(matches(pattern, path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(150)));
    }
}
