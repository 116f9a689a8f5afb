//! The last resort for a container whose shim is gone: everything in its cgroups is killed and the
//! cgroups are removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_sys::process;

/// How long the dead may take to leave their cgroup.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every directory that stands for `path` in any mounted hierarchy.
fn places(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let base = Path::new("/sys/fs/cgroup");
    let mut found = vec![base.join(relative)];
    if let Ok(entries) = fs::read_dir(base) {
        found.extend(entries.flatten().map(|entry| entry.path().join(relative)));
    }
    found.retain(|place| place.join("cgroup.procs").exists());
    found
}

fn processes(place: &Path) -> Vec<i32> {
    fs::read_to_string(place.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Kills every process in the cgroup at `path` and removes it, in every hierarchy.
pub(crate) fn kill_and_remove(path: &str) {
    let places = places(path);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let mut left = false;
        for place in &places {
            // A frozen process does not die before it is thawed.
            let _ = fs::write(place.join("freezer.state"), "THAWED");
            let _ = fs::write(place.join("cgroup.kill"), "1");
            for pid in processes(place) {
                left = true;
                // A number that was given to another process meanwhile is not in this cgroup, and the
                // descriptor is opened before the cgroup is read again.
                if let Ok(pidfd) = process::open(pid)
                    && processes(place).contains(&pid)
                {
                    let _ = process::signal(&pidfd, 9);
                }
            }
        }
        if !left {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for place in &places {
        if let Err(error) = fs::remove_dir(place)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %place.display(), %error, "a cgroup could not be removed");
        }
    }
}
