//! The engine, its drivers and their files; what Docker has no word for.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Output;

#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// Print with a template: '{{.Server.Version}}', '{{json .}}', or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriverCommand {
    /// List drivers
    #[command(alias = "list")]
    Ls(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the driver files that the engine found
    #[command(alias = "list")]
    Ls(Output),
    /// Show what a driver file says of itself, without loading it
    Inspect(FileArgs),
    /// Load a driver file in a process of its own and check it
    Verify(FileArgs),
    /// Make the recorded calls of a driver again, to another build or transport, and show differences
    Replay(ReplayArgs),
    /// Make the project of a new driver, which builds and passes its suite
    New(super::plugin::NewArgs),
    /// Install a driver file, which then serves from a copy of its own
    Install(super::plugin::InstallArgs),
    /// Replace an installed driver by another file of it; containers go on
    Upgrade(super::plugin::InstallArgs),
    /// Put the generation before the one in use back in its place
    Rollback(super::plugin::PluginArgs),
    /// Put an installed driver out of use; what it made stays listed
    Disable(super::plugin::PluginArgs),
    /// Put a disabled driver back in use
    Enable(super::plugin::PluginArgs),
    /// Remove installed drivers and their files
    Rm(super::plugin::PluginRmArgs),
    /// Offer a volume driver to Docker and Podman, which see a plugin of their own protocol
    Serve(super::serve::ServeArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// Driver file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// The record, as --record wrote it
    #[arg(value_name = "FILE")]
    pub(crate) record: PathBuf,
    /// Driver file
    #[arg(value_name = "DRIVER")]
    pub(crate) driver: PathBuf,
    /// Where the driver's code runs: in-process (of the program that replays) or process
    #[arg(long, value_name = "WAY", default_value = "process")]
    pub(crate) isolation: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Remove what is in no record since an engine's database was lost
    #[arg(long)]
    pub(crate) collect: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// Start an engine that stays until it is stopped
    Start,
    /// Stop the engine; containers go on
    Stop,
    /// Stop the engine and start it again; containers go on
    Restart,
    /// Take changed config files now
    Reload,
    /// Show the engine that runs; starts none
    Status(Output),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionArgs {
    /// Shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}
