//! tidegate's own log, on stderr: text for people or JSON for machines.

use std::{
    env, fmt,
    io::{self, IsTerminal as _},
};

use tracing::Subscriber;
pub use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::timestamp::Timestamp;

/// The variable that overrides the configured level, in the syntax of tracing's `EnvFilter`: `debug`, `tidegate::proxy=trace,info`.
pub const VARIABLE: &str = "TIDEGATE_LOG";

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What tidegate's own code says at most; the libraries beneath it say less.
    pub level: LevelFilter,
    /// For whom.
    pub format: Format,
}

/// The form of a log line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Time, level, message and fields, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, format: Format::Text }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable holds something else than a filter.
    #[error("{VARIABLE}={value:?} is not a log filter ({source}); write `debug`, or `tidegate::proxy=trace,info`")]
    Filter {
        /// What it holds.
        value: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Only one log can be installed in a process.
    #[error("cannot install the log")]
    Installed(#[from] TryInitError),
}

/// The log that is installed, so that a reload can change its level.
#[derive(Debug, Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    overridden: bool,
}

impl Log {
    /// Logs at `level` from now on, unless the variable overrides it.
    pub fn set_level(&self, level: LevelFilter) {
        if !self.overridden && self.filter.reload(filter_of(level)).is_err() {
            tracing::warn!("the log's level could not be changed to {level}");
        }
    }
}

/// Installs the process's log, on stderr.
///
/// # Errors
/// Where the variable holds no filter, or there is a log already.
pub fn install(settings: Settings) -> Result<Log, LogError> {
    let value = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let filter = match &value {
        Some(value) => {
            EnvFilter::builder().parse(value).map_err(|source| LogError::Filter { value: value.clone(), source })?
        }
        None => filter_of(settings.level),
    };
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    let (filter, handle) = reload::Layer::new(filter);
    Registry::default().with(filter).with(lines(settings.format, colour, io::stderr)).try_init()?;
    Ok(Log { filter: handle, overridden: value.is_some() })
}

/// What the libraries log is of interest one step later than what tidegate does, and at `info` mostly noise.
fn filter_of(level: LevelFilter) -> EnvFilter {
    let beneath = match level {
        LevelFilter::TRACE => LevelFilter::DEBUG,
        LevelFilter::DEBUG => LevelFilter::INFO,
        level => level.min(LevelFilter::WARN),
    };
    EnvFilter::new(format!("{beneath},tidegate={level}"))
}

fn lines<S, W>(format: Format, colour: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Clock).with_ansi(colour);
    match format {
        Format::Text => layer.with_target(false).compact().boxed(),
        Format::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LevelFilter, format: Format, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = Registry::default().with(filter_of(level)).with(lines(format, false, move || writer.clone()));
        tracing::subscriber::with_default(log, act);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_one_plain_line() {
        let text = logged(LevelFilter::INFO, Format::Text, || {
            tracing::info!(service = "shop", "in force");
            tracing::debug!("too quiet");
            tracing::info!(target: "hyper::proto", "of a library");
            tracing::warn!(target: "hyper::proto", "a library's warning");
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("Z  INFO in force service=\"shop\""), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_has_the_fields_at_the_top() {
        let text = logged(LevelFilter::DEBUG, Format::Json, || tracing::debug!(service = "shop", "two\nlines"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "DEBUG");
        assert_eq!(line["message"], "two\nlines");
        assert_eq!(line["service"], "shop");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn off_is_off() {
        assert_eq!(logged(LevelFilter::OFF, Format::Text, || tracing::error!("nobody hears it")), "");
    }
}
