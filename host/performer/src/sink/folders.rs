//! Finding the parent of an entry, and making folders that the archive does not mention.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use longshore_core::error::{Error, Result};
use longshore_sys::Errno;
use longshore_sys::path::{self, OFlags, Resolve};

use super::{Below, TreeSink, identity, is_whiteout};
use crate::error::{During, failed, shown};
use crate::{copy, xattrs};

/// Most links that lead to a folder that has to be made.
const MOST_LINKS: usize = 40;

impl TreeSink {
    /// The parent of an entry, made when it is missing, and the entry's name in it.
    pub(super) fn place<'p>(&mut self, path: &'p [u8]) -> Result<(Arc<OwnedFd>, &'p [u8])> {
        let (folder, name) = split(path);
        if let Some((cached, parent)) = &self.parent
            && cached == folder
        {
            return Ok((Arc::clone(parent), name));
        }
        let parent = Arc::new(self.folder(folder)?);
        self.parent = Some((folder.to_vec(), Arc::clone(&parent)));
        Ok((parent, name))
    }

    /// The parent of an entry if it is there.
    pub(super) fn place_if_there<'p>(&mut self, path: &'p [u8]) -> Result<Option<(OwnedFd, &'p [u8])>> {
        let (folder, name) = split(path);
        let Some(parent) = self.open_folder(folder)? else {
            return Ok(None);
        };
        self.keep_time(folder, &parent)?;
        Ok(Some((parent, name)))
    }

    /// A folder of the tree, made with all above it when it is missing.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let found = match self.open_folder(path)? {
            Some(folder) => folder,
            None => self.make_way(path, MOST_LINKS)?,
        };
        self.keep_time(path, &found)?;
        Ok(found)
    }

    fn open_folder(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        match path::open(&self.top, path, OFlags::PATH | OFlags::DIRECTORY, 0, Resolve::InRoot) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => Ok(None),
            Err(error) if error.is(Errno::LOOP) || error.is(Errno::NAMETOOLONG) => {
                Err(Error::invalid(format!("the links in {} lead nowhere", shown(path))))
            }
            Err(error) => Err(failed(format_args!("open folder {}", shown(path)), &error)),
        }
    }

    /// In a merged tree a lower layer's folder keeps its time although this layer writes in it, as it
    /// does in a union.
    fn keep_time(&mut self, path: &[u8], folder: &OwnedFd) -> Result<()> {
        if self.overlay {
            return Ok(());
        }
        let metadata = path::stat(folder).during(format_args!("look at {}", shown(path)))?;
        self.times
            .entry(identity(&metadata))
            .or_insert_with(|| (path.to_vec(), metadata.modified));
        Ok(())
    }

    /// Makes a folder name by name. A link on the way that leads to a missing folder has that one
    /// made, inside the tree.
    fn make_way(&mut self, path: &[u8], links: usize) -> Result<OwnedFd> {
        let mut done = Vec::new();
        let mut here = self.top.try_clone().map_err(|e| Error::io("clone a tree's root", &e))?;
        for name in path.split(|b| *b == b'/') {
            let parent = done.clone();
            if !done.is_empty() {
                done.push(b'/');
            }
            done.extend_from_slice(name);
            here = match self.open_folder(&done)? {
                Some(folder) => folder,
                None => self.make_one(&here, &parent, name, &done, links)?,
            };
        }
        Ok(here)
    }

    fn make_one(
        &mut self,
        parent: &OwnedFd,
        parent_path: &[u8],
        name: &[u8],
        path: &[u8],
        links: usize,
    ) -> Result<OwnedFd> {
        let there = path::stat_if_there(parent, name).during(format_args!("look at {}", shown(path)))?;
        let gone = there.as_ref().is_some_and(is_whiteout);
        match there {
            Some(there) if there.is_symlink() => {
                let target = path::read_link(parent, name).during(format_args!("read link {}", shown(path)))?;
                return self.follow(parent_path, &target, path, links);
            }
            // This archive's own file; an older one would have been hidden by the folder.
            Some(there) if !gone && (self.overlay || self.written.contains(&identity(&there))) => {
                return Err(Error::invalid(format!(
                    "{} is not a folder, and an entry lies in it",
                    shown(path)
                )));
            }
            Some(_) => self.replace(parent, name)?,
            None => {
                if let Some(target) = self.link_below(path) {
                    return self.follow(parent_path, &target, path, links);
                }
            }
        }
        path::make_directory(parent, name, 0o755).during(format_args!("make folder {}", shown(path)))?;
        let made = super::open_itself(parent, name, path)?;
        path::set_mode(&made, 0o755).during(format_args!("set the mode of {}", shown(path)))?;
        if gone {
            self.make_opaque(&made)?;
        } else {
            self.be_like_below(path, &made)?;
        }
        let metadata = path::stat(&made).during(format_args!("look at {}", shown(path)))?;
        self.wrote(&metadata);
        Ok(made)
    }

    /// Goes on where a link leads: from the tree's root, or from the link's folder.
    fn follow(&mut self, folder: &[u8], target: &[u8], link: &[u8], links: usize) -> Result<OwnedFd> {
        let wrong = || Error::invalid(format!("link {} leads nowhere", shown(link)));
        let left = links.checked_sub(1).ok_or_else(wrong)?;
        let mut path: Vec<&[u8]> = match target.first() {
            Some(b'/') => Vec::new(),
            _ => folder.split(|b| *b == b'/').collect(),
        };
        for part in target.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                // Above the root is the root, as everywhere.
                b".." => drop(path.pop()),
                name => path.push(name),
            }
        }
        path.retain(|part| !part.is_empty());
        let path = path.join(b"/".as_slice());
        if path.len() > super::MOST_PATH {
            return Err(wrong());
        }
        match self.open_folder(&path)? {
            Some(folder) => Ok(folder),
            None if path.is_empty() => Err(wrong()),
            None => self.make_way(&path, left),
        }
    }

    /// The target of a lower layer's link that stands in a folder's place.
    fn link_below(&self, path: &[u8]) -> Option<Vec<u8>> {
        let Below::Tree(below) = &self.below else { return None };
        let found = below.open_itself(path).ok()?;
        path::stat(&found)
            .ok()?
            .is_symlink()
            .then(|| path::read_link_itself(&found).ok())?
    }

    /// Gives a folder that the archive does not mention what it has below; in a union the upper one's
    /// attributes are what is seen.
    fn be_like_below(&mut self, path: &[u8], made: &OwnedFd) -> Result<()> {
        let Below::Tree(below) = &self.below else { return Ok(()) };
        let Ok(model) = below.open(path, OFlags::PATH | OFlags::DIRECTORY) else {
            return Ok(());
        };
        let metadata = path::stat(&model).during(format_args!("look at {} below", shown(path)))?;
        copy::likeness(model.as_fd(), &metadata, made.as_fd(), |name| {
            !xattrs::is_overlays(name) && !copy::is_kernels(name)
        })?;
        let own = path::stat(made).during(format_args!("look at {}", shown(path)))?;
        self.times.insert(identity(&own), (path.to_vec(), metadata.modified));
        Ok(())
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}
