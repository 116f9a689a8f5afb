//! Verbs on images.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Command, Output, container::InspectArgs};

#[derive(Debug, Clone, Args)]
pub(crate) struct ImagesArgs {
    /// IDs alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Intermediate images too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Nothing is shortened
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Digests too
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only what matches, as dangling=true (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Only this repository, or this reference
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Archive, or folder of an OCI layout; standard input without it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SaveArgs {
    /// File to write; standard output without it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// Change the image's config, as 'CMD ["sh"]' (repeatable)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Comment of the image
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Tar of a root file system, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TagArgs {
    /// Image that is there
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Its further name
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RmiArgs {
    /// Also with several names, or with stopped containers
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Keep parents that have no name
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HistoryArgs {
    /// IDs alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Nothing is shortened
    #[arg(long)]
    pub(crate) no_trunc: bool,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `longshore image VERB`, as Docker's management commands have it.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageGroup {
    #[command(alias = "list")]
    Ls(ImagesArgs),
    Load(LoadArgs),
    Save(SaveArgs),
    Import(ImportArgs),
    Tag(TagArgs),
    #[command(alias = "remove")]
    Rm(RmiArgs),
    History(HistoryArgs),
    Inspect(InspectArgs),
}

impl From<ImageGroup> for Command {
    fn from(group: ImageGroup) -> Command {
        match group {
            ImageGroup::Ls(args) => Command::Images(args),
            ImageGroup::Load(args) => Command::Load(args),
            ImageGroup::Save(args) => Command::Save(args),
            ImageGroup::Import(args) => Command::Import(args),
            ImageGroup::Tag(args) => Command::Tag(args),
            ImageGroup::Rm(args) => Command::Rmi(args),
            ImageGroup::History(args) => Command::History(args),
            ImageGroup::Inspect(mut args) => {
                args.kind = Some("image".to_owned());
                Command::Inspect(args)
            }
        }
    }
}
