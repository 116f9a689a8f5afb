//! Memory of shims that have nothing to do: their proportional share (PSS, proc_pid_smaps_rollup(5)).

use crate::Result;
use crate::stand::{Stand, output};

/// Kibibytes of one line of a process's roll-up.
fn share(pid: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn measure(stand: &Stand, count: usize) -> Result<()> {
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
    let mut sums = [0_u64; 2];
    for id in &ids {
        let init = output(stand.longshore().args(["inspect", id, "--format", "{{.State.Pid}}"]))?;
        let status = std::fs::read_to_string(format!("/proc/{init}/status"))?;
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .map(str::trim)
            .unwrap_or_default();
        for (sum, key) in sums.iter_mut().zip(["Pss:", "Private_Dirty:"]) {
            *sum += share(parent, key).ok_or_else(|| format!("shim {parent} has no {key}"))?;
        }
    }
    let mean = |sum: u64| sum as f64 / 1024.0 / count as f64;
    println!(
        "\n{count} idle shims, each: PSS {:.2} MiB, private dirty {:.2} MiB",
        mean(sums[0]),
        mean(sums[1])
    );
    for id in &ids {
        output(stand.longshore().args(["rm", "-f", id]))?;
    }
    Ok(())
}
