//! The words of `plugin install` and what follows it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub(crate) struct InstallArgs {
    /// Driver file, on the engine's machine
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Grant that the plugin gets (repeatable)
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// Grant all that the plugin asks for, without a question
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Where its code runs; by default a process of its own, for a component the sandbox
    #[arg(long, value_name = "WAY", value_enum)]
    pub(crate) isolation: Option<Way>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Way {
    InProcess,
    Process,
    Wasm,
}

impl Way {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Way::InProcess => "in-process",
            Way::Process => "process",
            Way::Wasm => "wasm",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PluginArgs {
    /// Plugin, as KIND-NAME
    #[arg(value_name = "PLUGIN")]
    pub(crate) name: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PluginRmArgs {
    /// Plugins, as KIND-NAME
    #[arg(value_name = "PLUGIN", required = true)]
    pub(crate) names: Vec<String>,
    /// Remove a plugin that has volumes or layers: they stay, and cannot be used
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NewArgs {
    /// Kind of the driver: graph, volume or network
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// Name of the driver
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Folder to make [default: KIND-NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Folder of the crate longshore-plugin, for a project that shall use it rather than a released one
    #[arg(long, value_name = "DIR")]
    pub(crate) contract: Option<PathBuf>,
}
