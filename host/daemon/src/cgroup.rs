//! The engine's own cgroup, `/longshore/<root id>/engine`: what it and its shims use is then told
//! apart from the containers'. All of it is best effort.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BASE: &str = "/sys/fs/cgroup";

/// The cgroups that the engine moved to, and where it was before.
#[derive(Debug, Default)]
pub(crate) struct Own(Vec<Place>);

#[derive(Debug)]
struct Place {
    hierarchy: PathBuf,
    relative: String,
    before: String,
}

/// Every mounted hierarchy with this process's path in it.
fn hierarchies() -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let base = Path::new(BASE);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let candidates = if controllers.is_empty() {
            vec![base.to_owned(), base.join("unified")]
        } else {
            vec![
                base.join(controllers),
                base.join(controllers.trim_start_matches("name=")),
            ]
        };
        if let Some(hierarchy) = candidates
            .into_iter()
            .find(|folder| folder.join("cgroup.procs").exists())
        {
            found.push((hierarchy, path.to_owned()));
        }
    }
    found
}

fn below(hierarchy: &Path, path: &str) -> PathBuf {
    hierarchy.join(path.trim_start_matches('/'))
}

/// Makes the folders of a path one by one. A cpuset takes no process before it has processors and
/// memory, which a new one of version 1 lacks: it gets its parent's.
fn make(hierarchy: &Path, relative: &str) -> io::Result<()> {
    let mut folder = hierarchy.to_owned();
    for part in relative.split('/').filter(|part| !part.is_empty()) {
        let parent = folder.clone();
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(folder.join(file));
            if own.is_ok_and(|own| own.trim().is_empty()) && parent.join(file).exists() {
                fs::write(folder.join(file), fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

fn move_to(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), std::process::id().to_string())
}

impl Own {
    /// Moves this process.
    pub(crate) fn enter(root_id: &str) -> Self {
        let relative = format!("longshore/{root_id}/engine");
        let mut places = Vec::new();
        for (hierarchy, before) in hierarchies() {
            let moved = make(&hierarchy, &relative).and_then(|()| move_to(&below(&hierarchy, &relative)));
            match moved {
                Ok(()) => places.push(Place {
                    hierarchy,
                    relative: relative.clone(),
                    before,
                }),
                Err(error) => tracing::debug!(hierarchy = %hierarchy.display(), %error, "the engine keeps its cgroup"),
            }
        }
        Self(places)
    }

    /// Moves back and removes what is then empty. Where shims are left it stays.
    pub(crate) fn leave(self) {
        for place in self.0 {
            let back = below(&place.hierarchy, &place.before);
            if move_to(&back).or_else(|_| move_to(&place.hierarchy)).is_err() {
                continue;
            }
            let mut path = Some(place.relative.as_str());
            while let Some(relative) = path.filter(|relative| !relative.is_empty()) {
                if fs::remove_dir(below(&place.hierarchy, relative)).is_err() {
                    break;
                }
                path = relative.rsplit_once('/').map(|(parent, _)| parent);
            }
        }
    }
}
