//! The command line as it is written: Docker's verbs and flags, and those that Docker has no word for.

pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod engine;
pub(crate) mod image;
pub(crate) mod plugin;
pub(crate) mod serve;
pub(crate) mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs containers on drivers loaded at run time.
///
/// `longshore` talks to the engine of its data root, and starts one where none runs.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which engine")]
pub(crate) struct Global {
    /// Data root of the engine [env: LONGSHORE_DATA_ROOT] [default: /var/lib/longshore]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// Folder of sockets and run-time state [default: /run/longshore]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) exec_root: Option<PathBuf>,
    /// Config file that is merged over the system's and the user's [env: LONGSHORE_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Socket of an engine, as unix:///path [env: LONGSHORE_HOST, DOCKER_HOST]
    #[arg(short = 'H', long, global = true, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// Driver for this one request, as graph=vfs (repeatable)
    #[arg(long = "driver", global = true, value_name = "KIND=NAME")]
    pub(crate) drivers: Vec<String>,
    /// If an engine must be started: record every call of a driver in this file, without secrets
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Print as JSON, like --format json
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How a list or an object is printed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Output {
    /// Print with a template: '{{.ID}}', 'table {{.ID}}\t{{.Image}}', '{{json .}}', or json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a container and start it
    Run(create::RunArgs),
    /// Create a container
    Create(create::CreateArgs),
    /// Start stopped containers
    Start(container::StartArgs),
    /// Restart containers
    Restart(container::RestartArgs),
    /// Stop running containers
    Stop(container::StopArgs),
    /// Send a signal to running containers
    Kill(container::KillArgs),
    /// Freeze all processes of containers
    Pause(container::NamesArgs),
    /// Let the processes of paused containers go on
    Unpause(container::NamesArgs),
    /// Wait until containers stop, then print their exit codes
    Wait(container::NamesArgs),
    /// Remove containers
    Rm(container::RmArgs),
    /// List containers
    Ps(container::PsArgs),
    /// Print the output of a container
    Logs(container::LogsArgs),
    /// Run a command in a running container
    Exec(container::ExecArgs),
    /// Attach this terminal to a running container
    Attach(container::AttachArgs),
    /// Show objects as the engine knows them
    Inspect(container::InspectArgs),
    /// List images
    Images(image::ImagesArgs),
    /// Load images from a docker archive or an OCI layout
    Load(image::LoadArgs),
    /// Save images to a tar archive
    Save(image::SaveArgs),
    /// Make an image from the tar of a root file system
    Import(image::ImportArgs),
    /// Give an image another name
    Tag(image::TagArgs),
    /// Remove images
    Rmi(image::RmiArgs),
    /// Show what an image was made of
    History(image::HistoryArgs),
    /// Volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Drivers, and why each can or cannot run here
    #[command(subcommand)]
    Driver(engine::DriverCommand),
    /// Driver files
    #[command(subcommand)]
    Plugin(engine::PluginCommand),
    /// Check this machine and the engine
    Doctor(engine::DoctorArgs),
    /// The engine itself
    #[command(subcommand)]
    Engine(engine::EngineCommand),
    /// Show versions of client and engine
    Version(engine::ShowArgs),
    /// Show what the engine is and has
    Info(engine::ShowArgs),
    /// Print completions for a shell
    Completion(engine::CompletionArgs),
    #[command(subcommand, hide = true)]
    Container(container::ContainerGroup),
    #[command(subcommand, hide = true)]
    Image(image::ImageGroup),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end here")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn run(line: &str) -> create::RunArgs {
        let words = std::iter::once("longshore").chain(line.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let args = run("run --rm -it --name a image sh -c true --rm --data-root x");
        assert_eq!(
            args.create.words,
            ["image", "sh", "-c", "true", "--rm", "--data-root", "x"]
        );
        assert!(args.create.tty && args.create.interactive && args.create.rm);
        assert_eq!(args.create.name.as_deref(), Some("a"));
    }

    #[test]
    fn dockers_short_flags_mean_what_they_mean_there() {
        let args = run("run -dti -h host -m 1g -u 1:2 -w /x -v a:/b -e A=1 -l k=v --sig-proxy=false -a stdout i");
        assert!(args.detach && !args.sig_proxy);
        assert_eq!(args.create.hostname.as_deref(), Some("host"));
        assert_eq!(args.create.memory.as_deref(), Some("1g"));
        assert_eq!(args.create.volumes, ["a:/b"]);
        assert!(run("run --rm=true -t=false i").create.rm);
        assert!(!run("run --init=false -t=false i").create.tty);
    }

    #[test]
    fn an_unknown_flag_before_the_image_is_refused() {
        assert!(Cli::try_parse_from(["longshore", "run", "--no-such", "image"]).is_err());
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for line in [
            ["longshore", "--driver", "graph=vfs", "ps"],
            ["longshore", "ps", "--driver", "graph=vfs"],
        ] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.drivers, ["graph=vfs"]);
        }
    }
}
