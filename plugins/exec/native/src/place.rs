//! A container's state folder and what lies in it.
//!
//! ```text
//! config.json     the spec as the library gets it: read when a process joins, and to find the cgroup
//! created.json    the library's state as `create` left it
//! making          locked by every process that makes the container or joins it, until execve
//! init            process ID and start time of init
//! execs/<id>      one for each exec ID that was used
//! <container>/    the library's own
//! ```

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use longshore_plugin::types::{Bytes, ContainerId};
use longshore_plugin::{Error, Result};
use rustix::fs::{FlockOperation, flock};

use crate::process::Identity;

/// A state folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) root: PathBuf,
}

/// The path that bytes of a message spell.
pub(crate) fn path(bytes: &Bytes, field: &str) -> Result<PathBuf> {
    let path = Path::new(std::ffi::OsStr::from_bytes(bytes.as_bytes()));
    if !path.is_absolute() || bytes.as_bytes().contains(&0) {
        return Err(Error::invalid(format!(
            "{field} {} is not an absolute path",
            path.display()
        )));
    }
    Ok(path.to_owned())
}

impl Place {
    pub(crate) fn new(id: &ContainerId, state_root: &Bytes) -> Result<Self> {
        Ok(Self {
            id: id.as_str().to_owned(),
            root: path(state_root, "state_root")?,
        })
    }

    /// The library's folder.
    pub(crate) fn inner(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.json")
    }

    /// Whether there is anything of a container.
    pub(crate) fn known(&self) -> bool {
        self.config().exists() || self.inner().exists()
    }

    /// Takes the folder for a container that is being made, and writes its spec there.
    pub(crate) fn claim(&self, spec: &Spec) -> Result<()> {
        let text = serde_json::to_vec(spec).map_err(|e| Error::invalid(format!("config.json: {e}")))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|e| Error::io(format!("make {}", self.root.display()), &e))?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.config());
        match file.and_then(|mut file| file.write_all(&text)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(self.taken()),
            Err(error) => Err(Error::io(format!("write {}", self.config().display()), &error)),
        }
    }

    /// Refuses an ID that was used.
    pub(crate) fn check_free(&self) -> Result<()> {
        if self.known() { Err(self.taken()) } else { Ok(()) }
    }

    fn taken(&self) -> Error {
        Error::already_exists(format!("container {} has been created before", self.id))
    }

    /// The spec that `claim` wrote; `None` where it is absent or half written.
    pub(crate) fn spec(&self) -> Option<Spec> {
        serde_json::from_slice(&fs::read(self.config()).ok()?).ok()
    }

    pub(crate) fn write_init(&self, init: Identity) -> Result<()> {
        let path = self.root.join("init");
        fs::write(&path, init.to_string()).map_err(|e| Error::io(format!("write {}", path.display()), &e))
    }

    /// Says that processes are being made, for as long as the answer lives in this process or, as the
    /// library's processes inherit it, in any of those. It is a file: a folder's descriptor could
    /// become a working directory.
    pub(crate) fn hold(&self) -> Result<OwnedFd> {
        let path = self.root.join("making");
        let attempt = |e| Error::io(format!("lock {}", path.display()), &e);
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(attempt)?;
        flock(&file, FlockOperation::NonBlockingLockShared).map_err(|e| attempt(e.into()))?;
        Ok(file.into())
    }

    /// Whether no process is being made: what a call that was killed left behind has ended too.
    pub(crate) fn settled(&self) -> bool {
        match fs::File::open(self.root.join("making")) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
            Err(_) => true,
        }
    }

    /// Keeps the library's state, which it later overwrites in place.
    pub(crate) fn keep_state(&self) -> Result<()> {
        let (from, to) = (self.inner().join("state.json"), self.kept());
        fs::copy(from, &to)
            .map(drop)
            .map_err(|e| Error::io(format!("write {}", to.display()), &e))
    }

    /// Puts the kept state back where a call that was killed left half of one. Who runs is told by
    /// init itself, not by this file.
    pub(crate) fn mend_state(&self) -> Result<()> {
        let own = self.inner().join("state.json");
        let whole = fs::read(&own).is_ok_and(|text| serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        if whole || !self.kept().exists() {
            return Ok(());
        }
        let beside = self.inner().join("state.json.new");
        fs::copy(self.kept(), &beside)
            .and_then(|_| fs::rename(&beside, &own))
            .map_err(|e| Error::io(format!("mend {}", own.display()), &e))
    }

    fn kept(&self) -> PathBuf {
        self.root.join("created.json")
    }

    pub(crate) fn init(&self) -> Option<Identity> {
        fs::read_to_string(self.root.join("init")).ok()?.parse().ok()
    }

    /// Removes all that lies in the folder.
    pub(crate) fn clear(&self) -> Result<()> {
        let attempt = |e| Error::io(format!("clear {}", self.root.display()), &e);
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(attempt(error)),
        };
        // config.json last: it alone tells where the cgroup is.
        let mut last = None;
        for entry in entries {
            let entry = entry.map_err(attempt)?;
            let kind = entry.file_type().map_err(attempt)?;
            if entry.path() == self.config() {
                last = Some(entry.path());
            } else if kind.is_dir() {
                fs::remove_dir_all(entry.path()).map_err(attempt)?;
            } else {
                fs::remove_file(entry.path()).map_err(attempt)?;
            }
        }
        last.map_or(Ok(()), fs::remove_file).map_err(attempt)
    }

    /// Marks an exec ID as used.
    pub(crate) fn use_exec_id(&self, exec: &str) -> Result<()> {
        /// So many of the last are remembered; the host makes each ID once anyway.
        const REMEMBERED: usize = 256;
        let folder = self.root.join("execs");
        let attempt = |e| Error::io(format!("note exec {exec} of container {}", self.id), &e);
        fs::create_dir_all(&folder).map_err(attempt)?;
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.join(exec))
        {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::already_exists(format!(
                    "exec {exec} of container {} was used before",
                    self.id
                )));
            }
            Err(error) => return Err(attempt(error)),
        }
        let mut used: Vec<_> = fs::read_dir(&folder)
            .map_err(attempt)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        if used.len() > REMEMBERED {
            used.sort();
            let oldest = used.len() - REMEMBERED;
            used.iter()
                .take(oldest)
                .for_each(|(_, path)| drop(fs::remove_file(path)));
        }
        Ok(())
    }

    /// Sockets and files that the library made for processes that joined. It never removes them.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.inner()).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().as_bytes().starts_with(b"tenant-"))
            .map(|entry| entry.path())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn half_a_state_is_mended_from_the_copy_that_create_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            id: "box".into(),
            root: folder.path().into(),
        };
        let state = place.inner().join("state.json");
        fs::create_dir(place.inner()).unwrap();
        fs::write(&state, "{\"status\":\"created\"}").unwrap();
        place.keep_state().unwrap();
        for half in ["", "{\"status\":"] {
            fs::write(&state, half).unwrap();
            place.mend_state().unwrap();
            assert_eq!(fs::read_to_string(&state).unwrap(), "{\"status\":\"created\"}");
        }
        // A whole one is newer than the copy.
        fs::write(&state, "{\"status\":\"running\"}").unwrap();
        place.mend_state().unwrap();
        assert_eq!(fs::read_to_string(&state).unwrap(), "{\"status\":\"running\"}");
    }
}
