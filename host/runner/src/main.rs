//! `longshore-runner`: looks at plugins and loads them, in a process of its own.
//!
//! The command `longshore plugin` runs this program, so that a driver's code never runs in the
//! client. What is checked, and how, lives in `longshore-loader`; only the words for people and for
//! scripts are here.
#![forbid(unsafe_code)]

mod replay;
mod report;
mod serve;
mod serve_docker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longshore_loader::wasm::{Engine, Settings};
use longshore_loader::{Checked, Loaded, Origin, Refused, check};

use report::Report;

/// Looks at Longshore plugins and loads them in a process of its own.
#[derive(Parser)]
#[command(name = "longshore-runner", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a plugin's file says of itself; nothing of it is run.
    Inspect(Target),
    /// Check a plugin's file, load it here, and compare what it does with what it says.
    Verify(Target),
    /// Make the calls of a record again, and show what is answered otherwise.
    Replay(replay::Arguments),
    /// Become the process of a driver, as an engine asks for.
    #[command(hide = true)]
    Serve(serve::Arguments),
    /// Offer a volume driver to Docker and Podman, by a plugin socket of theirs.
    ServeDocker(serve_docker::Arguments),
}

#[derive(clap::Args)]
struct Target {
    /// The plugin's shared library (.so) or component (.wasm).
    file: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let (outcome, target) = match Arguments::parse().command {
        Command::Inspect(target) => (inspect(&target.file), target),
        Command::Verify(target) => (verify(&target.file), target),
        Command::Replay(arguments) => return replayed(&arguments),
        Command::Serve(arguments) => return failed(&serve::serve(arguments)),
        Command::ServeDocker(arguments) => {
            return match serve_docker::serve(&arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(sentence) => failed(&sentence),
            };
        }
    };
    let report = outcome.unwrap_or_else(|failure| Report::refused(&target.file, failure));
    let accepted = report.print(target.json);
    if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replayed(arguments: &replay::Arguments) -> ExitCode {
    match replay::replay(arguments) {
        Ok(outcome) if outcome.print() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(sentence) => failed(&sentence),
    }
}

fn failed(sentence: &str) -> ExitCode {
    eprintln!("longshore-runner: {sentence}");
    ExitCode::from(2)
}

/// Why a plugin does not pass.
enum Failure {
    /// A check of the loader refused it.
    Refused(Refused),
    /// It loads, and then does not do what it must.
    Misbehaves(String),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

fn inspect(file: &Path) -> Result<Report, Failure> {
    Ok(Report::inspected(&check(file)?))
}

fn verify(file: &Path) -> Result<Report, Failure> {
    let checked = check(file)?;
    let report = Report::inspected(&checked);
    let loaded = load(checked)?;
    match loaded.describe() {
        Ok(description) if &description == loaded.description() => Ok(report.verified(&description)),
        Ok(_) => Err(Failure::Misbehaves(
            "it describes itself in another way at every call".into(),
        )),
        Err(error) => Err(Failure::Misbehaves(format!(
            "it describes itself once and then not again ({error})"
        ))),
    }
}

/// Whoever asks to verify a file lets it run here, with whatever it wants.
fn load(checked: Checked) -> Result<Loaded, Refused> {
    let origin = Origin::Explicit {
        in_process: true,
        grants: checked.manifest().grants.clone(),
    };
    load_here(checked, &origin)
}

/// Loads a file into this process: a library as such, a component into a sandbox.
fn load_here(checked: Checked, origin: &Origin) -> Result<Loaded, Refused> {
    if checked.is_component() {
        return Loaded::from_checked_component(checked, origin, &Engine::new(Settings::default()));
    }
    Loaded::from_checked(checked, origin)
}
