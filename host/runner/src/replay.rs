//! `replay`: the calls of a record are made again, to another build of a driver or over another
//! transport, and what it answers otherwise is shown.
//!
//! Instances are opened as they were; an answer holds their new numbers, which are no difference. A
//! directory that went along is a fresh, empty one here; other descriptors a record cannot bring back,
//! so a call that had any is passed over, with the reason.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use longshore_core::driver::Opened;
use longshore_core::wire::{Call, Channel, HandleKind, Message, Method, OPEN, decode, next_call};
use longshore_core::{Error, exec, graph, ipam, network, volume, wire};
use longshore_loader::record::{Failed, Line, MAX_LINE, Value};
use longshore_loader::{Isolation, Loaded, Origin, Processes, check};
use serde::Serialize;

/// Which record, to which driver.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The record, as an engine with `--record` wrote it.
    record: PathBuf,
    /// The driver's file: a library, or a component, which always runs in a sandbox.
    driver: PathBuf,
    /// Where a library's code runs: in-process or process.
    #[arg(long, value_name = "WAY", default_value = "process", value_parser = ["in-process", "process"])]
    isolation: String,
    /// Show only the first differences.
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
}

/// What came of a replay.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    made: usize,
    skipped: usize,
    differing: usize,
    lines: Vec<String>,
}

impl Outcome {
    /// Prints it; whether all answers were the same.
    pub(crate) fn print(&self) -> bool {
        for line in &self.lines {
            println!("{line}");
        }
        println!(
            "{} calls made again, {} answered otherwise, {} passed over",
            self.made, self.differing, self.skipped
        );
        self.differing == 0
    }
}

/// Makes the calls.
pub(crate) fn replay(arguments: &Arguments) -> Result<Outcome, String> {
    let loaded = load(&arguments.driver, &arguments.isolation)?;
    let about = loaded.description();
    let record = File::open(&arguments.record)
        .map_err(|error| format!("cannot open {}: {error}", arguments.record.display()))?;
    let folder = Scratch::new()?;
    let mut replay = Replay {
        channel: loaded.bare(),
        instances: HashMap::new(),
        folder: &folder.0,
        outcome: Outcome::default(),
        most: arguments.most,
    };
    let mut reader = BufReader::new(record);
    let mut number = 0;
    loop {
        let mut text = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = (&mut reader).take(limit).read_until(b'\n', &mut text);
        if read.map_err(|error| format!("cannot read {}: {error}", arguments.record.display()))? == 0 {
            break;
        }
        number += 1;
        let line: Line = serde_json::from_slice(&text).map_err(|error| {
            format!(
                "{}, line {number}: no recorded call ({error})",
                arguments.record.display()
            )
        })?;
        if line.kind == about.kind && line.driver == about.name {
            replay.line(number, &line);
        }
    }
    if replay.outcome.made + replay.outcome.skipped == 0 {
        return Err(format!(
            "{} holds no call of the {} driver {}",
            arguments.record.display(),
            about.kind,
            about.name
        ));
    }
    Ok(replay.outcome)
}

/// Whoever replays to a file lets it run, with whatever it wants.
fn load(file: &Path, isolation: &str) -> Result<Loaded, String> {
    let checked = check(file).map_err(|refused| refused.to_string())?;
    let origin = Origin::Explicit {
        in_process: true,
        grants: checked.manifest().grants.clone(),
    };
    let loaded = match Isolation::parse(isolation) {
        Some(Isolation::Process) if !checked.is_component() => {
            let runner = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
            Loaded::from_checked_process(checked, &origin, &Processes::new(runner))
        }
        _ => crate::load_here(checked, &origin),
    };
    loaded.map_err(|refused| refused.to_string())
}

/// An empty folder for drivers that want one, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("longshore-replay-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Replay<'a> {
    channel: std::sync::Arc<dyn Channel>,
    /// The instances of the record, and what stands for each here.
    instances: HashMap<u64, u64>,
    folder: &'a Path,
    outcome: Outcome,
    most: usize,
}

impl Replay<'_> {
    fn line(&mut self, number: usize, line: &Line) {
        match self.again(line) {
            Ok(answer) => {
                self.outcome.made += 1;
                let differences = compare(line, &answer);
                if !differences.is_empty() {
                    self.outcome.differing += 1;
                    self.say(differences.into_iter().map(|what| describe(number, line, &what)));
                }
            }
            Err(why) => {
                self.outcome.skipped += 1;
                self.say([describe(number, line, &format!("passed over: {why}"))]);
            }
        }
    }

    fn say(&mut self, lines: impl IntoIterator<Item = String>) {
        let left = self.most.saturating_sub(self.outcome.lines.len());
        self.outcome.lines.extend(lines.into_iter().take(left));
    }

    /// The answer, or why the call cannot be made here.
    fn again(&mut self, line: &Line) -> Result<Result<Value, Error>, String> {
        let method = method(&line.kind, line.instance, &line.method)
            .ok_or_else(|| format!("this release knows no method {}", line.method))?;
        let instance = match line.instance {
            0 => 0,
            there => *self
                .instances
                .get(&there)
                .ok_or("its instance was opened before the record began, or not opened here")?,
        };
        let mut message = Message::from_body(body(line).map_err(|error| error.to_string())?);
        for kind in &line.handles {
            message.handles.push((HandleKind::Directory, self.directory(*kind)?));
        }
        let call = Call {
            instance,
            id: next_call(),
            method,
        };
        let reply = match self.channel.call(call, message) {
            Ok(reply) => reply,
            Err(error) => return Ok(Err(error)),
        };
        if line.instance == 0
            && line.method == OPEN.name
            && let (Some(there), Ok(opened)) = (recorded_instance(line), decode::<Opened>(&reply.body))
        {
            self.instances.insert(there, opened.instance);
        }
        Ok(Value::decode(&reply.body))
    }

    fn directory(&self, kind: u8) -> Result<OwnedFd, String> {
        if HandleKind::from_number(kind) != Ok(HandleKind::Directory) {
            return Err("it came with a descriptor that a record cannot bring back".into());
        }
        File::open(self.folder)
            .map(OwnedFd::from)
            .map_err(|error| format!("the folder for it cannot be opened ({error})"))
    }
}

/// The envelope around a recorded request, without a deadline of its own.
fn body(line: &Line) -> longshore_core::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        request: &'a Value,
    }
    wire::encode(&Envelope {
        request: &Value::from_json(&line.request),
    })
}

fn recorded_instance(line: &Line) -> Option<u64> {
    line.reply.as_ref()?.get("instance")?.as_u64()
}

fn method(kind: &str, instance: u64, name: &str) -> Option<&'static Method> {
    const COMMON: &[Method] = &[wire::DESCRIBE, wire::PROBE, OPEN];
    let methods = match kind {
        _ if instance == 0 => COMMON,
        "graph" => graph::METHODS,
        "volume" => volume::METHODS,
        "network" => network::METHODS,
        "ipam" => ipam::METHODS,
        "exec" => exec::METHODS,
        _ => return None,
    };
    methods.iter().find(|method| method.name == name)
}

fn compare(line: &Line, answer: &Result<Value, Error>) -> Vec<String> {
    match (&line.reply, &line.error, answer) {
        (Some(before), _, Ok(now)) => {
            let mut differences = Value::from_json(before).differences(now);
            if line.instance == 0 && line.method == OPEN.name {
                differences.retain(|what| !what.starts_with("instance: "));
            }
            differences
        }
        (None, Some(before), Err(error)) => {
            let now = Failed::from(error);
            if *before == now {
                return Vec::new();
            }
            vec![format!(
                "failed before ({}: {}), now ({}: {})",
                before.kind, before.message, now.kind, now.message
            )]
        }
        (Some(_), _, Err(error)) => vec![format!("answered before, fails now ({}: {error})", error.kind.as_str())],
        (None, before, Ok(_)) => {
            let why = before.as_ref().map_or("no reason noted", |failed| &failed.message);
            vec![format!("failed before ({why}), answers now")]
        }
        (None, None, Err(error)) => vec![format!("fails now ({error}), nothing noted before")],
    }
}

fn describe(number: usize, line: &Line, what: &str) -> String {
    let redacted = if line.redacted {
        " (a secret was left out of the record)"
    } else {
        ""
    };
    format!("line {number}, {}.{}: {what}{redacted}", line.kind, line.method)
}
