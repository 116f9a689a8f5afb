//! Where the time of a run goes: the engine's own marks, added up over many runs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Result;
use crate::stand::{Stand, output};
use crate::table::Table;

/// `work="start" part="shim booted" micros=1234` of a line of the engine's log.
fn mark(line: &str) -> Option<(String, Duration)> {
    if !line.contains("longshore::laps") {
        return None;
    }
    let quoted = |key: &str| {
        let rest = line.split_once(&format!("{key}=\""))?.1;
        Some(rest.split_once('"')?.0)
    };
    let micros = line.split_once("micros=")?.1.trim().parse().ok()?;
    Some((
        format!("{}: {}", quoted("work")?, quoted("part")?),
        Duration::from_micros(micros),
    ))
}

pub(crate) fn measure(stand: &Stand, rounds: usize) -> Result<Table> {
    let mut engine = stand.engine("longshore::laps=debug")?;
    let mut whole = Vec::new();
    for round in 0..rounds + 2 {
        if round == 2 {
            // The first two warm the caches.
            engine.forget()?;
        }
        let begin = std::time::Instant::now();
        output(
            stand
                .longshore()
                .args(["run", "--rm", "--network", "none", "base", "true"]),
        )?;
        if round >= 2 {
            whole.push(begin.elapsed());
        }
    }
    let log = engine.end()?;
    // The order of first appearance is the order of work.
    let mut order = Vec::new();
    let mut parts: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (name, time) in log.lines().filter_map(mark) {
        if !parts.contains_key(&name) {
            order.push(name.clone());
        }
        parts.entry(name).or_default().push(time);
    }
    if order.is_empty() {
        return Err("the engine's log has no mark of a run".into());
    }
    let mut table = Table::new("parts of `run --rm`, from the engine's marks", "ms");
    for name in order {
        if let Some(times) = parts.get_mut(&name) {
            table.row(name, times);
        }
    }
    table.row("the whole command", &mut whole);
    Ok(table)
}
