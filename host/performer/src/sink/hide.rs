//! Whiteouts: what a layer says is gone.
//!
//! A whiteout concerns lower layers alone. What the same archive has, before or after it, stays.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::error::{Error, Result};
use longshore_sys::path::{self, FileType};
use longshore_sys::{Errno, xattr};

use super::{Below, Identity, TreeSink, clean, identity};
use crate::descent::{Descent, open_below};
use crate::error::{During, failed, shown};
use crate::remove;
use crate::source::{Entry, Next, traverse};

impl TreeSink {
    /// What lower layers have at this path is gone.
    ///
    /// # Errors
    /// `Invalid` for a path that cannot be; else what the kernel says.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let path = clean(path)?;
        if path.is_empty() {
            return Err(Error::invalid("a whiteout of the tree's root"));
        }
        self.filled.entries += 1;
        if self.overlay {
            self.mark_gone(&path)
        } else {
            self.delete(&path)
        }
    }

    /// What lower layers have in this folder is gone; the folder stays.
    ///
    /// # Errors
    /// As [`whiteout`](Self::whiteout).
    pub fn opaque(&mut self, path: &[u8]) -> Result<()> {
        let path = clean(path)?;
        self.filled.entries += 1;
        let folder = self.folder(&path)?;
        if self.overlay {
            return self.make_opaque(&folder);
        }
        self.parent = None;
        self.prune(folder.as_fd())
    }

    /// Marks a folder of a difference as hiding what is below; in a base there is nothing to hide.
    pub(super) fn make_opaque(&self, folder: &OwnedFd) -> Result<()> {
        if !self.overlay || matches!(self.below, Below::Nothing) {
            return Ok(());
        }
        xattr::set(folder, b"trusted.overlay.opaque", b"y").during("mark a folder as opaque")
    }

    /// Overlay: a character device 0:0, unless this archive has something there: a folder hides by
    /// its mark, anything else by being there.
    fn mark_gone(&mut self, path: &[u8]) -> Result<()> {
        match &self.below {
            Below::Nothing => return Ok(()),
            // Nothing to hide, and the folders above would be made for nothing.
            Below::Tree(below) if below.open_itself(path).is_err() => return Ok(()),
            _ => {}
        }
        let (parent, name) = self.place(path)?;
        match path::make_node(&*parent, name, FileType::CharacterDevice, 0, 0, 0) {
            Ok(()) => Ok(()),
            Err(error) if error.is(Errno::EXIST) => {
                let there = path::stat_at(&*parent, name).during(format_args!("look at {}", shown(path)))?;
                if !there.is_directory() {
                    return Ok(());
                }
                self.make_opaque(&super::open_itself(&parent, name, path)?)
            }
            Err(error) => Err(failed(format_args!("make whiteout {}", shown(path)), &error)),
        }
    }

    /// Merged: deletes it, but not what this archive wrote.
    fn delete(&mut self, path: &[u8]) -> Result<()> {
        let Some((parent, name)) = self.place_if_there(path)? else {
            return Ok(());
        };
        let Some(there) = path::stat_if_there(&parent, name).during(format_args!("look at {}", shown(path)))? else {
            return Ok(());
        };
        if !there.is_directory() {
            if !self.written.contains(&identity(&there)) {
                remove::whatever(parent.as_fd(), name)?;
            }
            return Ok(());
        }
        self.parent = None;
        let folder = open_below(parent.as_fd(), name).during(format_args!("open folder {}", shown(path)))?;
        self.prune(folder.as_fd())?;
        if !self.written.contains(&identity(&there))
            && path::is_empty(&folder).during(format_args!("list {}", shown(path)))?
        {
            path::remove_directory(&parent, name).during(format_args!("remove folder {}", shown(path)))?;
        }
        Ok(())
    }

    /// Removes from a folder all that this archive did not write.
    fn prune(&self, folder: BorrowedFd<'_>) -> Result<()> {
        let kept = self.kept(folder)?;
        if kept.is_empty() {
            return remove::contents(folder);
        }
        let mut descent = Descent::new(folder)?;
        let mut waiting = vec![listed(folder)?];
        while let Some(entries) = waiting.last_mut() {
            let Some(entry) = entries.pop() else {
                waiting.pop();
                descent.leave();
                continue;
            };
            let here = descent.current()?;
            let Some(there) = path::stat_if_there(here, &entry.name).during("look at an entry")? else {
                continue;
            };
            if !kept.contains(&identity(&there)) {
                remove::whatever(here, &entry.name)?;
            } else if there.is_directory() {
                let below = open_below(here, &entry.name).during(format_args!("open folder {}", shown(&entry.name)))?;
                waiting.push(listed(below.as_fd())?);
                descent.enter(&entry.name, below)?;
            }
        }
        Ok(())
    }

    /// What this archive wrote in a folder, and the folders that lead there.
    fn kept(&self, folder: BorrowedFd<'_>) -> Result<HashSet<Identity>> {
        let mut kept = HashSet::new();
        if self.written.is_empty() {
            return Ok(kept);
        }
        let mut way: Vec<Identity> = Vec::new();
        let mut visit = |entry: &Entry<'_>| -> Result<Next> {
            if entry.path.is_empty() {
                return Ok(Next::Continue);
            }
            way.truncate(entry.path.iter().filter(|b| **b == b'/').count());
            let own = identity(&entry.metadata);
            if self.written.contains(&own) {
                kept.insert(own);
                kept.extend(way.iter().copied());
            }
            way.push(own);
            Ok(Next::Continue)
        };
        traverse(folder, &mut visit)?;
        Ok(kept)
    }
}

fn listed(folder: BorrowedFd<'_>) -> Result<Vec<path::Entry>> {
    path::list(folder).during("list a folder")
}
