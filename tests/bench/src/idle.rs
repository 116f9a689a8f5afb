//! Memory of shims that have nothing to do: their proportional share (PSS, proc_pid_smaps_rollup(5)).

use crate::Result;
use crate::stand::{Stand, output};
use crate::table::Table;

/// Kibibytes of one line of a process's roll-up.
fn share(pid: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The shim of a container: the parent of its first process. It runs from a sealed copy in memory.
fn shim_of(init: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{init}/status"))?;
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .map(str::trim)
        .ok_or_else(|| format!("process {init} has no parent"))?;
    let program = std::fs::read_link(format!("/proc/{parent}/exe"))?;
    if !program.to_string_lossy().contains("longshore-shim") {
        return Err(format!("the parent of {init} is {}, not the shim", program.display()).into());
    }
    Ok(parent.to_owned())
}

pub(crate) fn measure(stand: &Stand, count: usize) -> Result<Table> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(output(stand.longshore().args([
            "run",
            "-d",
            "--network",
            "none",
            "base",
            "sleep",
            "600",
        ]))?);
    }
    let mut shares = [Vec::new(), Vec::new()];
    for id in &ids {
        let init = output(stand.longshore().args(["inspect", id, "--format", "{{.State.Pid}}"]))?;
        let shim = shim_of(&init)?;
        for (values, key) in shares.iter_mut().zip(["Pss:", "Private_Dirty:"]) {
            let kibibytes = share(&shim, key).ok_or_else(|| format!("shim {shim} has no {key}"))?;
            values.push(kibibytes as f64 / 1024.0);
        }
    }
    let mut table = Table::new(format!("{count} idle shims beside each other"), "MiB");
    let [pss, dirty] = &mut shares;
    table.numbers("PSS", pss);
    table.numbers("private dirty", dirty);
    for id in &ids {
        output(stand.longshore().args(["rm", "-f", id]))?;
    }
    Ok(table)
}
