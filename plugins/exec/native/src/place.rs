//! A container's state folder and what lies in it.
//!
//! ```text
//! config.json     the spec as the library gets it: read when a process joins, and to find the cgroup
//! init            process ID and start time of init
//! execs/<id>      one for each exec ID that was used
//! <container>/    the library's own
//! ```

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use longshore_plugin::types::{Bytes, ContainerId};
use longshore_plugin::{Error, Result};

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
