//! `longshore-bench`: our side beside its peer, interleaved in one run, with ratio and versions.
//!
//! Here live the measurements of `make bench` and nothing that a test depends on: no figure passes or
//! fails. [`run`] times whole containers beside runc and crun, [`call`] a driver call over each
//! transport, [`idle`] the memory of idle shims.
#![forbid(unsafe_code)]

mod call;
mod idle;
mod run;
mod stand;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Measures Longshore beside its peers.
#[derive(Debug, Parser)]
#[command(name = "longshore-bench", version)]
struct Arguments {
    /// The built tree
    #[arg(long, env = "LONGSHORE_TREE", default_value = "target/longshore")]
    tree: PathBuf,
    /// A few rounds, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only this one
    #[arg(long, value_parser = ["run", "call", "idle"])]
    only: Option<String>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-bench: {error}");
            ExitCode::from(1)
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wants = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let tree = std::fs::canonicalize(&arguments.tree)
        .map_err(|error| format!("no tree at {} ({error}): run `make build`", arguments.tree.display()))?;
    if wants("call") {
        call::measure(&tree, if arguments.quick { 200 } else { 20_000 })?;
    }
    if wants("run") || wants("idle") {
        let stand = stand::Stand::new(&tree)?;
        if wants("run") {
            run::measure(&stand, if arguments.quick { 5 } else { 40 })?;
        }
        if wants("idle") {
            idle::measure(&stand, if arguments.quick { 3 } else { 50 })?;
        }
    }
    Ok(())
}

/// Least, middle and 99th of a hundred.
fn spread(times: &mut [Duration]) -> [Duration; 3] {
    times.sort_unstable();
    let at = |share: usize| {
        let last = times.len().saturating_sub(1);
        times.get((last * share).div_ceil(100)).copied().unwrap_or_default()
    };
    [at(0), at(50), at(99)]
}

/// A row of a table: times in the unit that `per_second` makes of a second.
fn row(name: &str, times: &mut [Duration], per_second: f64) -> f64 {
    let [least, middle, most] = spread(times).map(|time| time.as_secs_f64() * per_second);
    println!("{name:<44} {least:>9.2} {middle:>9.2} {most:>9.2}");
    middle
}
