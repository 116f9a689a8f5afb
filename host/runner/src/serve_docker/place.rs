//! The folder at which volumes are shown, each at `NAME/_data` of it while somebody has it mounted.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use longshore_core::error::{Error, Result};
use longshore_sys::path::{self, OFlags, Resolve};
use longshore_sys::{Errno, mount};

/// What a volume is called in the folder of its name.
const SHOWN: &str = "_data";

/// The folder.
#[derive(Debug)]
pub(super) struct Served(PathBuf);

impl Served {
    /// Takes a folder that is there.
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a volume is shown.
    pub(super) fn of(&self, name: &str) -> Result<String> {
        let path = self.0.join(name).join(SHOWN);
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::invalid(format!("{} cannot be written in JSON", path.display())))
    }

    /// The names for which there is a folder.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// Whether something is mounted at the volume's place.
    pub(super) fn has(&self, name: &str) -> Result<bool> {
        match self.open(name, Resolve::Beneath) {
            Ok(_) => Ok(false),
            Err(error) if error.is(Errno::XDEV) => Ok(true),
            Err(error) if error.is(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::io(format!("look at the mount of volume {name}"), &error.into())),
        }
    }

    /// Attaches a volume's mount.
    pub(super) fn show(&self, name: &str, detached: &OwnedFd) -> Result<()> {
        let place = self.0.join(name).join(SHOWN);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&place)
            .map_err(|error| Error::io(format!("make folder {}", place.display()), &error))?;
        self.open(name, Resolve::Beneath)
            .and_then(|target| mount::attach(detached, target))
            .map_err(|error| Error::io(format!("mount volume {name} at {}", place.display()), &error.into()))
    }

    /// Takes a volume's mount away for everybody who has none of their own.
    pub(super) fn hide(&self, name: &str) -> Result<()> {
        let failed = |error: longshore_sys::Error| Error::io(format!("unmount volume {name}"), &error.into());
        while self.has(name)? {
            let mounted = self.open(name, Resolve::BeneathMounts).map_err(failed)?;
            mount::detach(mounted.as_fd()).map_err(failed)?;
        }
        let folder = self.0.join(name);
        // Folders only, and empty ones: nothing is ever removed through a mount.
        let _ = fs::remove_dir(folder.join(SHOWN));
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    /// As [`hide`](Self::hide), where nobody waits for how it went.
    pub(super) fn hide_or_say(&self, name: &str) {
        if let Err(error) = self.hide(name) {
            eprintln!("longshore-runner: {error}");
        }
    }

    fn open(&self, name: &str, resolve: Resolve) -> longshore_sys::Result<OwnedFd> {
        let folder = path::open_directory(&self.0)?;
        let below = format!("{name}/{SHOWN}");
        path::open(folder, below.as_bytes(), OFlags::PATH | OFlags::DIRECTORY, 0, resolve)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn hiding_what_is_not_shown_takes_empty_folders_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let served = Served::new(folder.path());
        fs::create_dir_all(folder.path().join("aa/_data")).unwrap();
        fs::create_dir_all(folder.path().join("bb/_data")).unwrap();
        fs::write(folder.path().join("bb/_data/file"), "kept").unwrap();
        for name in ["aa", "bb", "none"] {
            assert!(!served.has(name).unwrap());
            served.hide(name).unwrap();
        }
        assert_eq!(served.names(), ["bb"]);
        assert_eq!(fs::read_to_string(folder.path().join("bb/_data/file")).unwrap(), "kept");
    }

    #[test]
    fn a_link_in_the_place_of_a_volume_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let served = Served::new(folder.path());
        fs::create_dir(folder.path().join("aa")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("aa/_data")).unwrap();
        assert!(served.has("aa").is_err() && served.hide("aa").is_err());
    }
}
