//! `serve`: this process becomes the one that a driver's code runs in. The engine starts it so; what
//! is given up and what goes over the socket is the loader's.

use std::time::Duration;

use longshore_loader::{Serving, process};

/// What the engine says.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kind and name of the driver, for listings of processes.
    label: String,
    /// What the engine calls this process.
    #[arg(long)]
    identity: String,
    /// A grant of the driver.
    #[arg(long = "grant")]
    grants: Vec<String>,
    /// The cgroup to move to.
    #[arg(long)]
    cgroup: Option<String>,
    /// How long to stay without an engine.
    #[arg(long, default_value_t = 60)]
    stay_seconds: u64,
}

/// Serves until nobody needs it; comes back only with what kept it from that.
pub(crate) fn serve(arguments: Arguments) -> String {
    let serving = Serving {
        label: arguments.label,
        identity: arguments.identity,
        grants: arguments.grants,
        cgroup: arguments.cgroup,
        stay: Duration::from_secs(arguments.stay_seconds),
    };
    match process::serve(&serving) {
        Ok(never) => match never {},
        Err(sentence) => sentence,
    }
}
