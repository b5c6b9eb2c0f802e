//! The engine's classic builder: what it is told, and what it says.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::BuildLine;
use super::error::BuildError;
use super::lines::Lines;
use crate::lifecycle::provider::docker::credentials::Credentials;
use crate::lifecycle::provider::docker::image::with_header;
use crate::model::image::Digest;

/// Builds, and tells each line. Dropped, the engine cancels the build and removes its containers.
pub(super) async fn run(
    docker: &Docker,
    options: BuildImageOptions,
    credentials: &[Credentials],
    limit: Duration,
    context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    out: &mut dyn FnMut(BuildLine),
) -> Result<Digest, BuildError> {
    let header = (!credentials.is_empty()).then(|| Credentials::header_of_all(credentials));
    // The head of the answer only comes when the context is there and the first step has begun.
    let docker = with_header(docker, "X-Registry-Config", header).with_timeout(limit);
    let mut events = pin!(docker.build_image(options, None, Some(bollard::body_try_stream(context))));
    let mut state = State::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => state.take(event, out),
            Err(error) => return Err(state.failed(error, out)),
        }
    }
    state.id.ok_or(BuildError::NoImage)
}

#[derive(Default)]
struct State {
    /// `3/7: RUN make`.
    step: Option<String>,
    lines: Lines,
    id: Option<Digest>,
}

impl State {
    fn take(&mut self, event: BuildInfo, out: &mut dyn FnMut(BuildLine)) {
        if let Some(id) = event.aux.and_then(|aux| aux.id) {
            self.id = Digest::new(&id);
        }
        if let Some(text) = event.stream {
            for line in self.lines.take(text.as_bytes()) {
                self.line(line, out);
            }
        }
        // Base images on their way.
        if let Some(status) = event.status {
            let layer = event.id.map(|id| format!("{id}: ")).unwrap_or_default();
            let detail = event.progress_detail.unwrap_or_default();
            // One line per layer and state, and not one per piece of it.
            if detail.current.is_none() {
                out(BuildLine::Pull(format!("{layer}{status}")));
            }
        }
    }

    fn line(&mut self, line: String, out: &mut dyn FnMut(BuildLine)) {
        let step = line.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "));
        let counted =
            |count: &str| count.split_once('/').is_some_and(|(a, b)| [a, b].iter().all(|n| n.parse::<u32>().is_ok()));
        match step {
            Some((count, instruction)) if counted(count) => {
                self.step = Some(format!("{count}: {instruction}"));
                // What earlier steps wrote does not explain this one.
                self.lines.last();
                out(BuildLine::Step { count: count.to_owned(), instruction: instruction.to_owned() });
            }
            _ => out(BuildLine::Output(line)),
        }
    }

    fn failed(&mut self, error: EngineError, out: &mut dyn FnMut(BuildLine)) -> BuildError {
        if let Some(line) = self.lines.end() {
            self.line(line, out);
        }
        match (error, self.step.take()) {
            (EngineError::DockerStreamError { error }, Some(step)) => {
                BuildError::Step { step, said: error.trim().to_owned(), lines: self.lines.last() }
            }
            (EngineError::DockerStreamError { error: said }, None)
            | (EngineError::DockerResponseServerError { message: said, .. }, _) => {
                BuildError::Refused(said.trim().to_owned())
            }
            (error, _) => BuildError::Engine(Box::new(error)),
        }
    }
}
