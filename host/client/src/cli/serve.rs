//! The words of `plugin serve`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Driver file: a volume driver
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Protocol that is spoken to others
    #[arg(long = "as", value_name = "PROTOCOL", value_parser = ["docker-volume"])]
    pub(crate) protocol: String,
    /// Socket to listen at; Docker and Podman find /run/docker/plugins/NAME.sock by itself
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
}
