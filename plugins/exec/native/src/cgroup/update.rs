//! Changes the limits of a container.

use std::fs;
use std::io;
use std::path::Path;

use longshore_plugin::exec::{Refused, Resources, Status, Update, Updated};
use longshore_plugin::{Error, Result};

use super::{Group, write};
use crate::place::Place;
use crate::state;

pub(crate) fn update(request: &Update) -> Result<Updated> {
    let place = Place::new(&request.id, &request.state_root)?;
    match state::of(&place)?.status {
        Status::Absent => return Err(Error::not_found(format!("container {} does not exist", place.id))),
        Status::Stopped => return Err(Error::invalid(format!("container {} has ended", place.id))),
        _ => {}
    }
    let group = state::group(&place);
    let group = group.ok_or_else(|| Error::corrupt(format!("the spec of container {} is gone", place.id)))?;
    let mut change = Change {
        group: &group,
        done: Updated {
            applied: Vec::new(),
            refused: Vec::new(),
        },
    };
    // Memory first: it is the one that can be refused because of what is in use.
    if group.unified() {
        change.memory_v2(&request.resources)?;
    } else {
        change.memory_v1(&request.resources)?;
    }
    for (field, controller, file, value) in writes(&request.resources, &group) {
        change.set(field, controller, file, &value)?;
    }
    Ok(change.done)
}

/// One file: field of the request, controller, file's name, what is written.
type Write = (&'static str, &'static str, &'static str, String);

/// "max" or the number, as v2 writes it.
fn bound(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// The weight of v2 (1 to 10,000) for shares of v1 (2 to 262,144), as runc and systemd convert.
fn weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

/// What has to be written beside memory, in order.
fn writes(wanted: &Resources, group: &Group) -> Vec<Write> {
    let mut all: Vec<Write> = Vec::new();
    if group.unified() {
        if let Some(shares) = wanted.cpu_shares {
            all.push(("cpu_shares", "cpu", "cpu.weight", weight(shares).to_string()));
        }
        if wanted.cpu_quota.is_some() || wanted.cpu_period.is_some() {
            let field = if wanted.cpu_quota.is_some() {
                "cpu_quota"
            } else {
                "cpu_period"
            };
            all.push((field, "cpu", "cpu.max", cpu_max(wanted, group)));
        }
    } else {
        if let Some(shares) = wanted.cpu_shares {
            all.push(("cpu_shares", "cpu", "cpu.shares", shares.to_string()));
        }
        if let Some(period) = wanted.cpu_period {
            all.push(("cpu_period", "cpu", "cpu.cfs_period_us", period.to_string()));
        }
        if let Some(quota) = wanted.cpu_quota {
            all.push(("cpu_quota", "cpu", "cpu.cfs_quota_us", quota.max(-1).to_string()));
        }
    }
    if let Some(cpus) = &wanted.cpus {
        all.push(("cpus", "cpuset", "cpuset.cpus", cpus.clone()));
    }
    if let Some(mems) = &wanted.mems {
        all.push(("mems", "cpuset", "cpuset.mems", mems.clone()));
    }
    if let Some(pids) = wanted.pids {
        all.push(("pids", "pids", "pids.max", bound(if pids == 0 { -1 } else { pids })));
    }
    all
}

/// Quota and period of v2 stand in one file: what is not given stays.
fn cpu_max(wanted: &Resources, group: &Group) -> String {
    let now = group
        .folder("cpu")
        .and_then(|folder| fs::read_to_string(folder.join("cpu.max")).ok())
        .unwrap_or_default();
    let mut now = now.split_whitespace();
    let (quota, period) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
    let quota = wanted.cpu_quota.map_or_else(|| quota.to_owned(), bound);
    format!(
        "{quota} {}",
        wanted
            .cpu_period
            .map_or_else(|| period.to_owned(), |period| period.to_string())
    )
}

struct Change<'a> {
    group: &'a Group,
    done: Updated,
}

impl Change<'_> {
    /// Writes one file. What this machine does not have is refused, what the kernel finds in use is
    /// an error.
    fn set(&mut self, field: &'static str, controller: &str, file: &str, value: &str) -> Result<()> {
        let Some(folder) = self.group.folder(controller) else {
            return self.note(field, Some(format!("controller {controller} is not mounted")));
        };
        match write(&folder.join(file), value) {
            Ok(()) => self.note(field, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note(field, Some(format!("this machine has no {file}")))
            }
            Err(error) => Err(failed(field, value, &error)),
        }
    }

    fn note(&mut self, field: &'static str, refused: Option<String>) -> Result<()> {
        match refused {
            Some(why) => self.done.refused.push(Refused {
                field: field.to_owned(),
                why,
            }),
            None if self.done.applied.iter().any(|done| done == field) => {}
            None => self.done.applied.push(field.to_owned()),
        }
        Ok(())
    }

    /// On v1 the limit of memory and swap may never be below that of memory: the order of the two
    /// writes depends on which way they go.
    fn memory_v1(&mut self, wanted: &Resources) -> Result<()> {
        const MEMORY: &str = "memory.limit_in_bytes";
        const SWAP: &str = "memory.memsw.limit_in_bytes";
        let now = self
            .group
            .folder("memory")
            .and_then(|folder| number(&folder.join(SWAP)));
        let swap = wanted.memory_swap.map(|swap| swap.max(-1));
        let memory = wanted.memory.map(|memory| memory.max(-1));
        let rises = swap.is_some_and(|swap| swap == -1 || now.is_some_and(|now| swap > now));
        if rises && let Some(swap) = swap {
            self.set("memory_swap", "memory", SWAP, &swap.to_string())?;
        }
        if let Some(memory) = memory {
            self.set("memory", "memory", MEMORY, &memory.to_string())?;
        }
        if !rises && let Some(swap) = swap {
            self.set("memory_swap", "memory", SWAP, &swap.to_string())?;
        }
        if let Some(reservation) = wanted.memory_reservation {
            self.set(
                "memory_reservation",
                "memory",
                "memory.soft_limit_in_bytes",
                &reservation.max(-1).to_string(),
            )?;
        }
        Ok(())
    }

    /// v2 limits swap alone, and kills where v1 refuses: what is in use is looked at first.
    fn memory_v2(&mut self, wanted: &Resources) -> Result<()> {
        let folder = self.group.folder("memory");
        let used = folder
            .as_ref()
            .and_then(|folder| number(&folder.join("memory.current")));
        if let (Some(memory), Some(used)) = (wanted.memory, used)
            && memory >= 0
            && memory < used
        {
            return Err(Error::exhausted(format!(
                "memory cannot be limited to {memory} bytes: {used} are in use"
            )));
        }
        if let Some(swap) = wanted.memory_swap {
            let memory = wanted
                .memory
                .or_else(|| folder.and_then(|folder| number(&folder.join("memory.max"))));
            let alone = if swap < 0 {
                -1
            } else {
                swap.saturating_sub(memory.unwrap_or(0).max(0)).max(0)
            };
            self.set("memory_swap", "memory", "memory.swap.max", &bound(alone))?;
        }
        if let Some(memory) = wanted.memory {
            self.set("memory", "memory", "memory.max", &bound(memory))?;
        }
        if let Some(reservation) = wanted.memory_reservation {
            self.set("memory_reservation", "memory", "memory.low", &bound(reservation))?;
        }
        Ok(())
    }
}

fn number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn failed(field: &str, value: &str, error: &io::Error) -> Error {
    let message = format!("cannot set {field} to {value}: {error}");
    let number = error.raw_os_error().unwrap_or(0);
    match error.kind() {
        io::ErrorKind::ResourceBusy => Error::exhausted(format!("{message} (more is in use)")),
        io::ErrorKind::InvalidInput => Error::invalid(message),
        _ => Error::io(format!("set {field} to {value}"), error),
    }
    .with_errno(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_as_elsewhere() {
        assert_eq!([0, 2, 1024, 262_144, 1_000_000].map(weight), [1, 1, 39, 10_000, 10_000]);
        assert_eq!((bound(-1).as_str(), bound(5).as_str()), ("max", "5"));
    }
}
