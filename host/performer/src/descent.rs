//! Standing in a folder deep below another without holding a descriptor for each one between.
//!
//! Trees may be deeper than a path may be long and than a process may hold descriptors. So only the
//! last few folders stay open; one that was closed is opened again from the nearest open one above,
//! name by name, and must be the same inode as before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::error::{Error, Result};
use longshore_sys::path::{self, OFlags, Resolve};

use crate::error::{During, shown};

/// Most folders that stay open.
const MOST_OPEN: usize = 48;

#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    fd: Option<OwnedFd>,
    identity: (u64, u64),
}

/// A way from a top folder down.
#[derive(Debug)]
pub(crate) struct Descent {
    levels: Vec<Level>,
}

fn identity(fd: BorrowedFd<'_>) -> Result<(u64, u64)> {
    path::stat(fd).during("look at a folder").map(|m| (m.device, m.inode))
}

/// Opens a folder right below another: no links, no other file system.
pub(crate) fn open_below(parent: BorrowedFd<'_>, name: &[u8]) -> longshore_sys::Result<OwnedFd> {
    path::open(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        0,
        Resolve::Beneath,
    )
}

impl Descent {
    pub(crate) fn new(top: BorrowedFd<'_>) -> Result<Self> {
        let fd = top
            .try_clone_to_owned()
            .map_err(|e| Error::io("clone a tree's root", &e))?;
        let level = Level {
            name: Vec::new(),
            identity: identity(fd.as_fd())?,
            fd: Some(fd),
        };
        Ok(Self { levels: vec![level] })
    }

    /// Levels below the top.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// Goes into a folder that was opened below the current one.
    pub(crate) fn enter(&mut self, name: &[u8], fd: OwnedFd) -> Result<()> {
        let level = Level {
            name: name.to_vec(),
            identity: identity(fd.as_fd())?,
            fd: Some(fd),
        };
        self.levels.push(level);
        // The top stays open: it is where every way begins.
        if let Some(closed) = self.levels.len().checked_sub(MOST_OPEN + 1).filter(|index| *index > 0)
            && let Some(level) = self.levels.get_mut(closed)
        {
            level.fd = None;
        }
        Ok(())
    }

    /// Goes back up; at the top nothing happens.
    pub(crate) fn leave(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
        }
    }

    /// The folder it stands in.
    pub(crate) fn current(&mut self) -> Result<BorrowedFd<'_>> {
        let last = self.levels.len() - 1;
        let open = self.levels.iter().rposition(|level| level.fd.is_some()).unwrap_or(0);
        for index in open + 1..=last {
            self.reopen(index)?;
        }
        match self.levels.last().and_then(|level| level.fd.as_ref()) {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(Error::corrupt("a tree's root was closed during a walk")),
        }
    }

    /// Opens one level again from the one above, which is open; levels far above the last are closed
    /// again when they have served.
    fn reopen(&mut self, index: usize) -> Result<()> {
        let (above, below) = self.levels.split_at_mut(index);
        let (Some(parent), Some(level)) = (above.last_mut(), below.first_mut()) else {
            return Err(Error::corrupt("a walk lost its way"));
        };
        let Some(parent_fd) = parent.fd.as_ref() else {
            return Err(Error::corrupt("a walk lost its way"));
        };
        let fd =
            open_below(parent_fd.as_fd(), &level.name).during(format_args!("open {} again", shown(&level.name)))?;
        if identity(fd.as_fd())? != level.identity {
            return Err(Error::corrupt(format!(
                "folder {} was replaced during a walk",
                shown(&level.name)
            )));
        }
        level.fd = Some(fd);
        let far = below.len() > MOST_OPEN;
        if far && index > 1 {
            parent.fd = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_way_of_three_thousand_folders_holds_few_descriptors_and_comes_back() {
        let top = tempfile::tempdir().unwrap();
        let fd = path::open_directory(top.path()).unwrap();
        let mut descent = Descent::new(fd.as_fd()).unwrap();
        for _ in 0..3000 {
            let current = descent.current().unwrap();
            path::make_directory(current, b"d", 0o700).unwrap();
            let below = open_below(current, b"d").unwrap();
            descent.enter(b"d", below).unwrap();
        }
        let open = descent.levels.iter().filter(|level| level.fd.is_some()).count();
        assert!(open <= MOST_OPEN + 1, "{open}");
        while descent.depth() > 0 {
            descent.leave();
            let current = descent.current().unwrap();
            assert!(path::stat_at(current, b"d").unwrap().is_directory());
        }
        crate::remove::contents(fd.as_fd()).unwrap();
        assert!(path::is_empty(&fd).unwrap());
    }
}
