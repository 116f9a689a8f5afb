//! `run` and `create`: what a container is to be.

use std::path::PathBuf;

use clap::{ArgAction, Args};

#[derive(Debug, Clone, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "longshore run [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct RunArgs {
    /// Run in the background and print the container's ID
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) detach: bool,
    /// Pass signals on to the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    #[command(flatten)]
    pub(crate) create: ContainerArgs,
}

#[derive(Debug, Clone, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "longshore create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) create: ContainerArgs,
}

/// What `run` and `create` share.
#[derive(Debug, Clone, Args)]
pub(crate) struct ContainerArgs {
    /// Keep standard input open
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) interactive: bool,
    /// Give the process a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) tty: bool,
    /// Attach to stdin, stdout or stderr (repeatable)
    #[arg(short, long, value_name = "STREAM")]
    pub(crate) attach: Vec<String>,
    /// Remove the container when it has ended, and its anonymous volumes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) rm: bool,
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Set a variable, or pass one on by its name (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Set a label (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Working folder in the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, as NAME|UID[:GROUP|GID]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Further group of the user (repeatable)
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Mount a volume or a folder: SOURCE:TARGET or TARGET, with :OPTIONS (repeatable)
    #[arg(short, long = "volume", value_name = "SPEC")]
    pub(crate) volumes: Vec<String>,
    /// Mount: type=bind|volume|tmpfs,source=,target=,... (repeatable)
    #[arg(long = "mount", value_name = "SPEC")]
    pub(crate) mounts: Vec<String>,
    /// Mount a tmpfs: TARGET, with :OPTIONS (repeatable)
    #[arg(long, value_name = "SPEC")]
    pub(crate) tmpfs: Vec<String>,
    /// Network: none, host, default or bridge
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// Publish a port; comes with the bridge network
    #[arg(short, long, value_name = "SPEC", hide = true)]
    pub(crate) publish: Vec<String>,
    /// Program that runs the command, in place of the image's
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Host name in the container
    #[arg(short = 'h', long)]
    pub(crate) hostname: Option<String>,
    /// Mount the root file system read-only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Memory limit, as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Number of processors, as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Add a capability (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// All capabilities and devices, no seccomp, nothing masked
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) privileged: bool,
    /// Run an init that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(crate) init: bool,
    /// Signal that asks the process to end
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds before a stop becomes a kill
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Limit, as nofile=1024:2048 (repeatable)
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Kernel parameter, as NAME=VALUE (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// Write the container's ID to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// When an image is fetched; only what is here can be used for now
    #[arg(long, value_parser = ["never", "missing"], hide = true)]
    pub(crate) pull: Option<String>,
    /// Print every step that this would take, and take none
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// Image, then command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub(crate) words: Vec<String>,
}
