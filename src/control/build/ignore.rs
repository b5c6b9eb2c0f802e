//! `.dockerignore`: what of a context is not sent.
//!
//! The rules are Docker's (its reference, "dockerignore file", and the code of moby's `patternmatcher` and buildkit's `dockerignore`):
//! patterns of Go's `filepath.Match` with `**`, relative to the context's root; a pattern that matches a folder matches all that is in
//! it; of several, the last that matches decides; `!` takes back.

mod pattern;

use self::pattern::Pattern;

/// The rules of a file, in order. Without any, all is sent.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// `!`: what matches is sent after all.
    keeps: bool,
}

/// A line that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}` {}", if text.trim() == "!" { "takes nothing back: write a pattern behind it" } else { "has a `[` without its `]`, or ends in `\\`" })]
pub struct IgnoreError {
    /// From 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl Ignore {
    /// Reads a file.
    pub(super) fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // A `#` behind spaces is no comment.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let wrong = || IgnoreError { line: at + 1, text: line.to_owned() };
            let (keeps, pattern) = match line.trim().strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line.trim()),
            };
            if pattern.is_empty() {
                return Err(wrong());
            }
            let pattern = clean(pattern);
            let pattern = pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
            rules.push(Rule { pattern: Pattern::parse(pattern).ok_or_else(wrong)?, keeps });
        }
        Ok(Self { rules })
    }

    /// Whether this path, relative to the context and without `.` and `..`, is left out.
    pub(super) fn skips(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        let parents: Vec<&[char]> =
            path.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| &path[..at]).collect();
        let mut skips = false;
        for rule in &self.rules {
            // Only a rule that would change something is looked at.
            if rule.keeps == skips
                && (rule.pattern.matches(&path) || parents.iter().any(|parent| rule.pattern.matches(parent)))
            {
                skips = !rule.keeps;
            }
        }
        skips
    }

    /// Whether something below this folder, which is itself left out, may be sent after all.
    pub(super) fn may_keep_below(&self, folder: &str) -> bool {
        self.rules.iter().any(|rule| rule.keeps && rule.pattern.may_match_below(folder))
    }
}

/// Go's `filepath.Clean`: no `//`, no `.`, `..` taken together with what is before it.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).expect(rules).skips(path)
    }

    /// The examples of Docker's reference.
    #[test]
    fn the_reference_s_examples() {
        let first = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        for (path, left_out) in [
            ("somedir/temporary.txt", true),
            ("somedir/temp", true),
            ("somedir/temp/inside", true),
            ("somedir/subdir/temporary.txt", true),
            ("a/b/c/temporary.txt", false),
            ("tempa", true),
            ("tempb", true),
            ("temp", false),
            ("temporary", false),
            ("# comment", false),
        ] {
            assert_eq!(skips(first, path), left_out, "{path}");
        }
        assert!(skips("**/*.go", "a.go") && skips("**/*.go", "x/y/a.go") && !skips("**/*.go", "a.god"));
        let readme = "*.md\n!README.md\n";
        assert!(skips(readme, "a.md") && !skips(readme, "README.md") && !skips(readme, "sub/a.md"));
        let secret = "*.md\n!README*.md\nREADME-secret.md\n";
        assert!(skips(secret, "README-secret.md") && !skips(secret, "README-2.md") && skips(secret, "x.md"));
        let useless = "*.md\nREADME-secret.md\n!README*.md\n";
        assert!(!skips(useless, "README-secret.md"));
    }

    #[test]
    fn a_folder_takes_all_that_is_in_it_and_the_last_match_decides() {
        let rules = "node_modules\n!node_modules/keep/**\nnode_modules/keep/not";
        assert!(skips(rules, "node_modules") && skips(rules, "node_modules/a/b.js"));
        assert!(!skips(rules, "node_modules/keep/x") && skips(rules, "node_modules/keep/not"));
        assert!(skips(rules, "node_modules/keep/not/this") && !skips(rules, "sub/node_modules"));
        let all = "*\n!src\n!Cargo.toml\nsrc/*.tmp";
        assert!(!skips(all, "src") && !skips(all, "src/a/b.rs") && skips(all, "src/x.tmp") && skips(all, "target/x"));
        assert!(!skips(all, "Cargo.toml") && skips(all, "Cargo.lock"));
        assert!(!skips("*\n!*", "any") && !skips("", "any") && skips("**", "any/thing"));
    }

    #[test]
    fn lines_are_read_as_docker_reads_them() {
        assert!(skips("/foo/bar", "foo/bar") && skips("foo/bar/", "foo/bar") && skips("  foo  \r\n", "foo"));
        assert!(skips("./foo", "foo") && skips("a/../foo", "foo") && skips("a//b", "a/b") && !skips("../foo", "foo"));
        assert!(skips(" #x", "#x") && skips("\u{feff}foo", "foo") && !skips("foo\n! foo", "foo"));
        assert!(!skips(".", "foo") && !skips("/", "foo") && !skips("\n\n", "foo"));
        for (text, line) in [("a\n!", 2), ("a[", 1), ("\n\na\\", 3)] {
            assert_eq!(Ignore::parse(text).expect_err(text).line, line, "{text}");
        }
    }

    #[test]
    fn folders_are_entered_only_for_what_may_be_kept() {
        let rules = Ignore::parse("*\n!src/main/*.rs\n!docs").expect("rules");
        assert!(rules.may_keep_below("src") && rules.may_keep_below("src/main") && !rules.may_keep_below("target"));
        assert!(!rules.may_keep_below("srcs") && !rules.may_keep_below("src/other"));
        let any = Ignore::parse("a\n!**/keep").expect("rules");
        assert!(any.may_keep_below("a") && any.may_keep_below("a/b"));
        assert!(!Ignore::parse("a\nb").expect("rules").may_keep_below("a"));
    }
}
