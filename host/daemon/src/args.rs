//! The command line of `longshored`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// The engine: serves Docker's API for one data root on a unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "longshored", version)]
pub(crate) struct Args {
    /// Folder of images, containers and volumes.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore")]
    pub(crate) data_root: PathBuf,
    /// Folder of sockets and run-time state.
    #[arg(long, value_name = "DIR", default_value = "/run/longshore")]
    pub(crate) exec_root: PathBuf,
    /// A config file, after those of the system and the user.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of drivers, shim and init [default: ../lib/longshore beside this program].
    #[arg(long, value_name = "DIR")]
    pub(crate) components: Option<PathBuf>,
    /// Go to the background, and leave when idle.
    #[arg(long, conflicts_with = "stay")]
    pub(crate) on_demand: bool,
    /// Go to the background, and stay until stopped.
    #[arg(long)]
    pub(crate) stay: bool,
    /// With --on-demand: leave after so many seconds without a connection.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) idle_seconds: u64,
    /// Record every call of a driver in this file; secrets are left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
}

/// How an engine was started, which says when it leaves and what it does with changed config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By a command that found none: leaves when idle.
    OnDemand,
    /// By `longshore engine start`: stays until it is stopped.
    Stay,
    /// By the system, in the foreground.
    System,
}

impl Mode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Stay => "stay",
            Self::System => "system",
        }
    }
}

impl Args {
    pub(crate) fn mode(&self) -> Mode {
        match (self.on_demand, self.stay) {
            (true, _) => Mode::OnDemand,
            (_, true) => Mode::Stay,
            _ => Mode::System,
        }
    }

    pub(crate) fn idle(&self) -> Option<Duration> {
        self.on_demand.then(|| Duration::from_secs(self.idle_seconds))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_mode_follows_from_the_flags() {
        let mode = |flags: &[&str]| Args::try_parse_from([&["longshored"], flags].concat()).map(|args| args.mode());
        assert_eq!(mode(&[]).unwrap(), Mode::System);
        assert_eq!(mode(&["--on-demand", "--idle-seconds", "5"]).unwrap(), Mode::OnDemand);
        assert_eq!(mode(&["--stay"]).unwrap(), Mode::Stay);
        assert!(mode(&["--stay", "--on-demand"]).is_err());
        assert!(mode(&["--idle-seconds", "-1"]).is_err());
    }
}
