//! `completion`: words for the shell.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::cli::engine::{CompletionArgs, Shell};
use crate::error::Result;
use crate::output;

pub(crate) fn completion(args: &CompletionArgs) -> Result<u8> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "longshore", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
