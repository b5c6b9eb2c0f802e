//! Fills the templates of `peers/`.
//!
//! `{{name}}` is a value. Lines of their own: `#% if FLAG` and `#% if !FLAG` up to `#% end` are there or not; what is between `#% each`
//! and `#% end` is there once per service, with `{{service}}` and `{{host}}`, where there is more than one.

use std::fmt::Write as _;

/// What is put in.
#[derive(Debug)]
pub(crate) struct Values {
    /// Names and what they stand for.
    pub(crate) values: Vec<(&'static str, String)>,
    /// The flags that hold.
    pub(crate) flags: Vec<&'static str>,
    /// How many services there are.
    pub(crate) services: usize,
}

/// The name of a service, by number.
pub(crate) fn service(number: usize) -> String {
    format!("s{number}")
}

/// The name that clients ask for a service by, which is its default domain in tidegate.
pub(crate) fn host(number: usize) -> String {
    format!("s{number}.localhost")
}

impl Values {
    /// The template with everything put in.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut text = String::new();
        let mut lines = template.lines();
        let mut is_shown = true;
        while let Some(line) = lines.next() {
            match line.trim().strip_prefix("#% ") {
                Some("end") => is_shown = true,
                Some("each") => {
                    let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "#% end").collect();
                    for number in (0..self.services).filter(|_| self.services > 1) {
                        for line in &block {
                            writeln!(text, "{}", self.line(line, number)).expect("a String takes all");
                        }
                    }
                }
                Some(word) => {
                    let flag = word.strip_prefix("if ").expect("`if`, `each` or `end`");
                    is_shown =
                        flag.strip_prefix('!').map_or(self.flags.contains(&flag), |flag| !self.flags.contains(&flag));
                }
                None if is_shown => writeln!(text, "{}", self.line(line, 0)).expect("a String takes all"),
                None => {}
            }
        }
        text
    }

    /// The template of something that there is once per service.
    pub(crate) fn fill_for(&self, template: &str, number: usize) -> String {
        template.lines().map(|line| self.line(line, number) + "\n").collect()
    }

    fn line(&self, line: &str, number: usize) -> String {
        let mut line = line.replace("{{service}}", &service(number)).replace("{{host}}", &host(number));
        for (name, value) in &self.values {
            if line.contains("{{") {
                line = line.replace(&format!("{{{{{name}}}}}"), value);
            }
        }
        line
    }
}
