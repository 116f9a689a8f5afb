//! Verbs on volumes.

use clap::{Args, Subcommand};

use super::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make a volume
    Create(CreateArgs),
    /// List volumes
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Show volumes as the engine knows them
    Inspect(InspectArgs),
    /// Remove volumes
    #[command(alias = "remove")]
    Rm(RmArgs),
    /// Remove the volumes that no container uses
    Prune(PruneArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    /// Driver of the volume (also written --driver NAME)
    #[arg(short = 'd', value_name = "NAME")]
    pub(crate) volume_driver: Option<String>,
    /// Option of the driver (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) opt: Vec<String>,
    /// Set a label (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Name of the volume; one is made up without it
    #[arg(value_name = "VOLUME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LsArgs {
    /// Names alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only what matches, as dangling=true (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InspectArgs {
    /// Print with a template: '{{.Mountpoint}}', '{{json .}}', or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RmArgs {
    /// It is no error if a volume is not there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PruneArgs {
    /// Volumes with a name too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what matches, as label=x (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}
