//! The cgroup of a driver's process, in every hierarchy that takes it. All of it is best effort: where
//! there is none, the process's own limits are what bounds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BASE: &str = "/sys/fs/cgroup";
/// Memory that a driver may touch.
const MEMORY: u64 = 1 << 30;
const THREADS: u64 = 256;

/// Each mounted hierarchy: version 2 alone, or version 1's and version 2's beside each other.
fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new(BASE);
    if base.join("cgroup.procs").exists() {
        return vec![base.to_owned()];
    }
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries
        // `cpu` and `cpuacct` are links to the one hierarchy that both are in.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

fn make(hierarchy: &Path, relative: &str) -> io::Result<PathBuf> {
    let mut folder = hierarchy.to_owned();
    for part in relative.split('/').filter(|part| !part.is_empty()) {
        let parent = folder.clone();
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // A cpuset of version 1 takes no process before it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(folder.join(file));
            if own.is_ok_and(|own| own.trim().is_empty()) && parent.join(file).exists() {
                fs::write(folder.join(file), fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(folder)
}

/// Moves this process, which has one thread, into the cgroup, with its limits.
pub(super) fn enter(relative: &str) {
    for hierarchy in hierarchies() {
        let Ok(folder) = make(&hierarchy, relative) else {
            continue;
        };
        for (file, most) in [
            ("memory.limit_in_bytes", MEMORY),
            ("memory.max", MEMORY),
            ("pids.max", THREADS),
        ] {
            let file = folder.join(file);
            if file.exists() {
                let _ = fs::write(file, most.to_string());
            }
        }
        // In version 1 a thread that moves itself does not wait for the others of the machine.
        let own = ["tasks", "cgroup.procs"]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|file| file.exists());
        if let Some(own) = own {
            let _ = fs::write(own, "0");
        }
    }
}

/// Removes the cgroups below this one in which nothing is left.
pub(super) fn sweep(parent: &str) {
    for hierarchy in hierarchies() {
        let folder = hierarchy.join(parent.trim_start_matches('/'));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // One that is in use refuses.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Removes the cgroup when nothing is left in it, and what of its parents is empty then.
pub(super) fn remove(relative: &str) {
    for hierarchy in hierarchies() {
        let mut path = Some(relative.trim_start_matches('/'));
        while let Some(relative) = path.filter(|relative| !relative.is_empty()) {
            if fs::remove_dir(hierarchy.join(relative)).is_err() {
                break;
            }
            path = relative.rsplit_once('/').map(|(parent, _)| parent);
        }
    }
}
