//! One container from command to exit, beside the bare runtimes on the same root file system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::stand::{Stand, output};
use crate::table::Table;

/// A bundle of the runtimes' own default configuration: no terminal, `true`, a network namespace.
fn bundle(stand: &Stand) -> Result<PathBuf> {
    let folder = stand.fs().join("bundle");
    std::fs::create_dir(&folder)?;
    output(Command::new("runc").arg("spec").arg("--bundle").arg(&folder))?;
    let path = folder.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["rlimits"] = serde_json::json!([]);
    spec["root"]["path"] = stand.rootfs().to_string_lossy().into_owned().into();
    std::fs::write(&path, serde_json::to_vec(&spec)?)?;
    Ok(folder)
}

fn runtime(name: &str, bundle: &Path, root: &Path) -> Command {
    let at = |path: &Path| path.to_string_lossy().into_owned();
    if name == "runc" {
        let mut command = Command::new("runc");
        command.args(["--root", &at(root), "run", "--bundle", &at(bundle), "bench"]);
        return command;
    }
    // crun refuses a hybrid of cgroup versions; the empty one is left out of its sight.
    let script = format!(
        "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --root {} run --bundle {} bench",
        at(root),
        at(bundle)
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    command
}

fn version(name: &str) -> Option<String> {
    let text = output(Command::new(name).arg("--version")).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Its name and version, its command, what was measured.
type Side<'a> = (String, Box<dyn Fn() -> Command + 'a>, Vec<Duration>);

pub(crate) fn measure(stand: &Stand, rounds: usize) -> Result<Table> {
    let ours = || {
        let mut command = stand.longshore();
        command.args(["run", "--rm", "--network", "none", "base", "true"]);
        command
    };
    // The peers' bundle is made by runc: without it crun has none either.
    let bundle = match version("runc") {
        Some(_) => Some(bundle(stand)?),
        None => None,
    };
    let mut sides: Vec<Side<'_>> = vec![(
        format!("longshore {} run --rm, warm engine, overlay", env!("CARGO_PKG_VERSION")),
        Box::new(ours),
        Vec::new(),
    )];
    for name in ["runc", "crun"] {
        match version(name).zip(bundle.clone()) {
            Some((version, bundle)) => {
                let root = stand.fs().join(name);
                sides.push((version, Box::new(move || runtime(name, &bundle, &root)), Vec::new()));
            }
            None => eprintln!("skip: {name}: it, or runc that makes the bundle, is not here"),
        }
    }
    for round in 0..rounds + 2 {
        for (_, command, times) in &mut sides {
            let begin = Instant::now();
            output(&mut command())?;
            // The first two warm the caches.
            if round >= 2 {
                times.push(begin.elapsed());
            }
        }
    }
    let mut table = Table::new("one container of `true`, from command to exit", "ms");
    for (name, _, times) in &mut sides {
        table.row(name.as_str(), times);
    }
    if let Some(((ours, ..), theirs)) = sides.split_first() {
        for (name, ..) in theirs {
            table.ratio(ours, name);
        }
    }
    Ok(table)
}
