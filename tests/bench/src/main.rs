//! `longshore-bench`: our side beside its peer, interleaved in one run, with ratio and versions.
//!
//! Here live the measurements of `make bench` and nothing that a test depends on: no figure passes or
//! fails. [`run`] times whole containers beside runc and crun, [`phases`] the parts of ours, [`call`] a
//! driver call over each transport and over Docker's protocol ([`docker`]), [`idle`] the memory of idle shims; [`table`] shows it.
#![forbid(unsafe_code)]

mod call;
mod docker;
mod idle;
mod phases;
mod run;
mod stand;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

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
    #[arg(long, value_parser = ["call", "run", "phases", "idle"])]
    only: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

type Failure = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Failure>;

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
    let rounds = |quick, full| if arguments.quick { quick } else { full };
    let mut tables = Vec::new();
    let mut add = |table: table::Table| {
        if !arguments.json {
            table.print();
        }
        tables.push(table);
    };
    if wants("call") {
        call::measure(&tree, rounds(200, 20_000))?
            .into_iter()
            .for_each(&mut add);
    }
    if wants("run") || wants("phases") || wants("idle") {
        let stand = stand::Stand::new(&tree)?;
        if wants("run") {
            add(run::measure(&stand, rounds(5, 100))?);
        }
        if wants("idle") {
            add(idle::measure(&stand, rounds(3, 50))?);
        }
        if wants("phases") {
            add(phases::measure(&stand, rounds(5, 100))?);
        }
    }
    if arguments.json {
        println!(
            "{:#}",
            serde_json::Value::from_iter(tables.iter().map(table::Table::json))
        );
    }
    Ok(())
}
