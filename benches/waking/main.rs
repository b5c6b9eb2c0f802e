//! What waking costs, measured on the real program over real sockets.
//!
//! `cargo bench --bench waking -- cold-starts [ROUNDS]`, `-- containers [ROUNDS]` or `-- held [REQUESTS]`. The backends are this very program, run by tidegate
//! as process versions. Exit code 1 where a bar is missed; what the bars are is in `benches/README.md`.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod cold_start;
mod container;
mod held;
mod server;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> io::Result<ExitCode> {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |default: usize| words.get(1).map_or(Ok(default), |word| word.parse().map_err(io::Error::other));
    let is_good = match words.first().map(String::as_str) {
        Some("cold-starts") => cold_start::run(number(200)?)?,
        Some("containers") => container::run(number(100)?)?,
        Some("held") => held::run(number(10_000)?)?,
        Some("cold-start-backend") => cold_start::backend(Duration::from_millis(number(0)? as u64)).map(|()| true)?,
        Some("held-backend") => held::backend().map(|()| true)?,
        _ => {
            println!("say `cold-starts [ROUNDS]`, `containers [ROUNDS]` or `held [REQUESTS]`");
            false
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
