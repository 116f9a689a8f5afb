//! Verbs on volumes.

use std::io::{BufRead, IsTerminal};

use bollard::models::VolumeCreateRequest;
use hyper::Method;
use serde_json::Value;

use super::container::each;
use super::inspect::{gather, show};
use super::{items, joined, number, text};
use crate::cli::Global;
use crate::cli::volume::{CreateArgs, InspectArgs, LsArgs, PruneArgs, RmArgs, VolumeCommand};
use crate::connect;
use crate::engine::{part, query};
use crate::error::{Failure, Result};
use crate::output::listing::{Columns, Form, Row, row};
use crate::output::{self, units};
use crate::parse::env;
use crate::parse::filter::filters;

const COLUMNS: Columns = Columns {
    fields: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
    ],
    shown: &["Driver", "Name"],
};

pub(crate) async fn volume(global: &Global, command: &VolumeCommand) -> Result<u8> {
    match command {
        VolumeCommand::Create(args) => create(global, args).await,
        VolumeCommand::Ls(args) => ls(global, args).await,
        VolumeCommand::Inspect(args) => inspect(global, args).await,
        VolumeCommand::Rm(args) => rm(global, args).await,
        VolumeCommand::Prune(args) => prune(global, args).await,
    }
}

/// Docker writes `--driver NAME` here, where everywhere else it is `--driver KIND=NAME`: a name without a
/// kind is a volume's driver.
async fn create(global: &Global, args: &CreateArgs) -> Result<u8> {
    let mut global = global.clone();
    let (per_kind, bare): (Vec<String>, Vec<String>) = global.drivers.drain(..).partition(|word| word.contains('='));
    global.drivers = per_kind;
    let driver = args.volume_driver.clone().or_else(|| bare.last().cloned());
    let request = VolumeCreateRequest {
        name: args.name.clone(),
        driver,
        driver_opts: Some(env::pairs("-o", &args.opt)?),
        labels: Some(env::pairs("-l", &args.label)?),
        cluster_volume_spec: None,
    };
    let request = serde_json::to_value(request)
        .map_err(|error| Failure::usage(format!("the request cannot be written: {error}")))?;
    let engine = connect::open(&global).await?;
    let made = engine.post("/volumes/create", Some(&request)).await?;
    output::line(text(&made, "Name"))?;
    Ok(0)
}

async fn ls(global: &Global, args: &LsArgs) -> Result<u8> {
    let path = query("/volumes", &[("filters", &filters(&args.filter)?)]);
    let engine = connect::open(global).await?;
    let list = engine.get(&path).await?;
    let mut rows: Vec<Row> = items(&list, "Volumes").iter().map(fields).collect();
    rows.sort_by_key(|row| row.get("Name").map(Value::to_string));
    let printed = match (args.quiet, Form::of(args.output.format.as_deref(), global.json)) {
        (true, Form::Table) => rows
            .iter()
            .filter_map(|row| Some(format!("{}\n", row.get("Name")?.as_str()?)))
            .collect(),
        (_, form) => COLUMNS.render(rows, form)?,
    };
    output::print(&printed)?;
    Ok(0)
}

fn fields(volume: &Value) -> Row {
    row([
        ("Driver", text(volume, "Driver")),
        ("Name", text(volume, "Name")),
        ("Mountpoint", text(volume, "Mountpoint")),
        ("Scope", text(volume, "Scope")),
        ("Labels", joined(volume, "Labels")),
    ])
}

async fn inspect(global: &Global, args: &InspectArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let found = gather(&args.names, async |name| {
        engine
            .text(Method::GET, &format!("/volumes/{}", part(name)?), None)
            .await
    })
    .await;
    show(found, args.format.as_deref(), global.json)
}

async fn rm(global: &Global, args: &RmArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    each(&args.names, async |name| {
        let path = query(
            &format!("/volumes/{}", part(name)?),
            &[("force", if args.force { "1" } else { "" })],
        );
        engine.text(Method::DELETE, &path, None).await?;
        output::line(name)
    })
    .await
}

async fn prune(global: &Global, args: &PruneArgs) -> Result<u8> {
    let which = if args.all { "all volumes" } else { "anonymous volumes" };
    if !args.force && !agreed(which)? {
        return Ok(0);
    }
    let mut filter = args.filter.clone();
    let engine = connect::open(global).await?;
    // Before 1.42 every unused volume goes, and the filter is unknown.
    if args.all && engine.version >= (1, 42) {
        filter.push("all=1".to_owned());
    }
    let path = query("/volumes/prune", &[("filters", &filters(&filter)?)]);
    let pruned = engine.post(&path, None).await?;
    let names: Vec<String> = items(&pruned, "VolumesDeleted")
        .iter()
        .filter_map(|name| Some(format!("{}\n", name.as_str()?)))
        .collect();
    if !names.is_empty() {
        output::print(&format!("Deleted Volumes:\n{}\n", names.concat()))?;
    }
    let bytes = units::size(number(&pruned, "SpaceReclaimed"));
    output::line(format!("Total reclaimed space: {bytes}"))?;
    Ok(0)
}

fn agreed(which: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "this removes {which} that no container uses, and nobody can be asked"
        ))
        .hint("say so with -f"));
    }
    output::print(&format!("This removes {which} that no container uses. Go on? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::local("standard input", &error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
