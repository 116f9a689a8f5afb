//! Verbs on containers.

use clap::{ArgAction, Args, Subcommand};

use super::{Command, Output, create};

#[derive(Debug, Clone, Args)]
pub(crate) struct NamesArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StartArgs {
    /// Attach to output, and pass signals on
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach to standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Pass signals on to the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StopArgs {
    /// Seconds before the processes are killed
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) timeout: Option<i32>,
    /// Signal to send first
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) stop: StopArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct KillArgs {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RmArgs {
    /// Kill what still runs
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes too
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PsArgs {
    /// Stopped containers too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// IDs alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Nothing is shortened
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only what matches, as status=exited (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// The last so many that were created
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) last: Option<i64>,
    /// The last that was created
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Sizes too
    #[arg(short, long)]
    pub(crate) size: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// Go on with what the container prints from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    pub(crate) tail: String,
    /// The time before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only since a time (2026-01-02T15:04:05Z) or a while (10m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only until a time or a while ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Container, by name or ID
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
}

#[derive(Debug, Clone, Args)]
#[command(override_usage = "longshore exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Run in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set a variable, or pass one on by its name (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<std::path::PathBuf>,
    /// Working folder in the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, as NAME|UID[:GROUP|GID]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// All capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Container, then command and arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER")]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AttachArgs {
    /// Leave standard input alone
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Container, by name or ID
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InspectArgs {
    /// Print with a template: '{{.State.ExitCode}}', '{{json .Config}}', or json
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Only objects of this type
    #[arg(long = "type", value_parser = ["container", "image", "volume"])]
    pub(crate) kind: Option<String>,
    /// Sizes of containers too
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `longshore container VERB`, as Docker's management commands have it.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerGroup {
    Run(create::RunArgs),
    Create(create::CreateArgs),
    Start(StartArgs),
    Restart(RestartArgs),
    Stop(StopArgs),
    Kill(KillArgs),
    Pause(NamesArgs),
    Unpause(NamesArgs),
    Wait(NamesArgs),
    #[command(alias = "remove")]
    Rm(RmArgs),
    #[command(aliases = ["list", "ps"])]
    Ls(PsArgs),
    Logs(LogsArgs),
    Exec(ExecArgs),
    Attach(AttachArgs),
    Inspect(InspectArgs),
}

impl From<ContainerGroup> for Command {
    fn from(group: ContainerGroup) -> Command {
        match group {
            ContainerGroup::Run(args) => Command::Run(args),
            ContainerGroup::Create(args) => Command::Create(args),
            ContainerGroup::Start(args) => Command::Start(args),
            ContainerGroup::Restart(args) => Command::Restart(args),
            ContainerGroup::Stop(args) => Command::Stop(args),
            ContainerGroup::Kill(args) => Command::Kill(args),
            ContainerGroup::Pause(args) => Command::Pause(args),
            ContainerGroup::Unpause(args) => Command::Unpause(args),
            ContainerGroup::Wait(args) => Command::Wait(args),
            ContainerGroup::Rm(args) => Command::Rm(args),
            ContainerGroup::Ls(args) => Command::Ps(args),
            ContainerGroup::Logs(args) => Command::Logs(args),
            ContainerGroup::Exec(args) => Command::Exec(args),
            ContainerGroup::Attach(args) => Command::Attach(args),
            ContainerGroup::Inspect(mut args) => {
                args.kind = Some("container".to_owned());
                Command::Inspect(args)
            }
        }
    }
}
