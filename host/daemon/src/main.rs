//! `longshored`: Docker's Engine API on a unix socket, over the engine of one data root.
//!
//! Here live HTTP, the routes, the hand-over of connections to containers, and the ways in which an
//! engine starts and ends. What a container, an image or a volume is, is the engine crate's; what a
//! command line looks like is the client's.
#![forbid(unsafe_code)]

mod args;
mod body;
mod cgroup;
mod containers;
mod exec;
mod hijack;
mod images;
mod networks;
mod own;
mod plugins;
mod query;
mod reply;
mod route;
mod serve;
mod settings;
mod socket;
mod start;
mod state;
mod system;
mod volumes;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use longshore_engine::{Error, Result};

use crate::args::Args;

/// How long blocking work may take to end after the last request.
const LAST_WORK: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let args = Args::parse();
    start::cut_loose(args.mode());
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(start::failed(args.mode(), &error)),
    }
}

fn run(args: &Args) -> Result<()> {
    start::log(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start threads", &error))?;
    let started = runtime.block_on(start::open(args))?;
    start::ready(&started).map_err(|error| Error::io("open the engine's log", &error))?;
    let engine = started.daemon.engine.clone();
    let served = runtime.block_on(serve::serve(started.daemon, started.socket, args.idle()));
    // Clients that last keep the engine from being dropped.
    if let Err(error) = runtime.block_on(engine.close()) {
        tracing::warn!(%error, "the engine's end could not be noted");
    }
    drop(engine);
    started.cgroup.leave();
    runtime.shutdown_timeout(LAST_WORK);
    served.map_err(|error| Error::io("serve", &error))
}
