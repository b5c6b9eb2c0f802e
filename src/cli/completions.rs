//! `tidegate completions`: what shells need to complete commands.

use std::io::{self, Write};

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tidegate completions bash > /etc/bash_completion.d/tidegate\n  tidegate completions zsh > \"${fpath[1]}/_tidegate\"\n  tidegate completions fish > ~/.config/fish/completions/tidegate.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Prints them.
///
/// # Errors
/// `out` cannot be written.
pub fn run(args: &CompletionsArgs, mut command: clap::Command, out: &mut dyn Write) -> io::Result<()> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // It would panic where a reader has left.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "tidegate", &mut text);
    out.write_all(&text)
}
