//! How an instance ended.

use std::fmt;

use nix::sys::signal::Signal;

/// How an instance ended, for logs and errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    /// The exit code, 128 plus the signal's number where a signal ended it; `None` where its supervisor was killed.
    pub code: Option<i32>,
    /// It did not end within the grace of its stop signal and was killed.
    pub killed: bool,
    /// The command that was to stop it failed: it may still run.
    pub stop_failed: bool,
    /// Why it ended, where more is known than the code.
    pub cause: Option<String>,
    /// The last lines that it wrote, oldest first; a line each of standard output or standard error.
    pub last_lines: Vec<String>,
}

impl ExitReport {
    /// How it ended, in a few words.
    #[must_use]
    pub fn outcome(&self) -> String {
        let Some(code) = self.code else {
            return self.cause.clone().unwrap_or_else(|| "its supervisor was killed".to_owned());
        };
        // Shells use 128 plus the signal too, so that a program that exits so means the same.
        let outcome = Signal::try_from(code - 128)
            .map_or_else(|_| format!("exit code {code}"), |signal| format!("exit code {code} ({signal})"));
        self.cause.iter().fold(outcome, |outcome, cause| format!("{outcome}: {cause}"))
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.outcome())?;
        write_lines(f, &self.last_lines)
    }
}

/// Writes what a program said last below a message.
pub(super) fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return f.write_str("; it wrote nothing");
    }
    f.write_str("; its last lines:")?;
    lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_signal_and_shows_the_last_lines() {
        let report = ExitReport {
            code: Some(137),
            killed: false,
            stop_failed: false,
            cause: None,
            last_lines: vec!["oops".to_owned()],
        };
        assert_eq!(report.to_string(), "exit code 137 (SIGKILL); its last lines:\n  oops");
        let report =
            ExitReport { code: Some(1), killed: false, stop_failed: false, cause: None, last_lines: Vec::new() };
        assert_eq!(report.to_string(), "exit code 1; it wrote nothing");
    }
}
