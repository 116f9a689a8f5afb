//! Owner, mode, times and extended attributes of what was just made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::error::{Error, Result};
use longshore_sys::path::{self, FileType};
use longshore_sys::{Errno, xattr};

use super::{Attributes, TreeSink, identity};
use crate::error::{During, failed, shown};
use crate::xattrs;

/// Most extended attributes of one entry.
const MOST_XATTRS: usize = 256;

impl TreeSink {
    /// Gives a folder what the archive says of it; its time waits until the end.
    pub(super) fn finish_folder(&mut self, path: &[u8], folder: &OwnedFd, attributes: &Attributes<'_>) -> Result<()> {
        self.give(path, folder.as_fd(), FileType::Directory, attributes)?;
        let metadata = path::stat(folder).during(format_args!("look at {}", shown(path)))?;
        self.times
            .insert(identity(&metadata), (path.to_vec(), attributes.modified));
        self.wrote(&metadata);
        Ok(())
    }

    /// Gives anything else what the archive says of it.
    pub(super) fn finish_thing(
        &mut self,
        path: &[u8],
        thing: BorrowedFd<'_>,
        kind: FileType,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        self.filled.entries += 1;
        self.give(path, thing, kind, attributes)?;
        path::set_times(thing, attributes.modified, attributes.modified)
            .during(format_args!("set the times of {}", shown(path)))?;
        if !self.overlay {
            let metadata = path::stat(thing).during(format_args!("look at {}", shown(path)))?;
            self.wrote(&metadata);
        }
        Ok(())
    }

    /// The order matters: a change of owner takes setuid bits and capabilities away.
    fn give(&mut self, path: &[u8], fd: BorrowedFd<'_>, kind: FileType, attributes: &Attributes<'_>) -> Result<()> {
        path::set_owner(fd, attributes.uid, attributes.gid).during(format_args!("set the owner of {}", shown(path)))?;
        if kind != FileType::Symlink {
            path::set_mode(fd, attributes.mode & 0o7777).during(format_args!("set the mode of {}", shown(path)))?;
        }
        if kind == FileType::Directory && !self.overlay {
            self.drop_old(path, fd, attributes)?;
        }
        self.give_xattrs(path, fd, kind, attributes)
    }

    /// A folder of a lower layer loses what this layer does not say of it.
    fn drop_old(&self, path: &[u8], fd: BorrowedFd<'_>, attributes: &Attributes<'_>) -> Result<()> {
        for (name, _) in xattrs::read(fd, xattrs::from_image)? {
            if !attributes.xattrs.iter().any(|(wanted, _)| *wanted == name) {
                xattr::remove(fd, &name).during(format_args!("remove an attribute of {}", shown(path)))?;
            }
        }
        Ok(())
    }

    fn give_xattrs(
        &mut self,
        path: &[u8],
        fd: BorrowedFd<'_>,
        kind: FileType,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        if attributes.xattrs.len() > MOST_XATTRS {
            return Err(Error::invalid(format!(
                "{} has more than {MOST_XATTRS} extended attributes",
                shown(path)
            )));
        }
        for (name, value) in attributes.xattrs {
            // The kernel keeps a user's attributes on files and folders alone.
            let holds = match kind {
                FileType::RegularFile => true,
                FileType::Directory => name.starts_with(b"user."),
                _ => false,
            };
            if !holds || !xattrs::from_image(name) {
                self.filled.dropped += 1;
                continue;
            }
            match xattr::set(fd, name, value) {
                Ok(()) => {}
                Err(error) if xattrs::is_unsupported(&error) => self.filled.dropped += 1,
                Err(error) => return Err(refused(path, name, &error)),
            }
        }
        Ok(())
    }
}

fn refused(path: &[u8], name: &[u8], error: &longshore_sys::Error) -> Error {
    let mut wrong = failed(
        format_args!("set attribute {} of {}", String::from_utf8_lossy(name), shown(path)),
        error,
    );
    // Too large for the file system, or no value that the kernel takes: the archive is to blame.
    if [Errno::NOSPC, Errno::TOOBIG, Errno::RANGE, Errno::INVAL]
        .iter()
        .any(|errno| error.is(*errno))
    {
        wrong.kind = longshore_core::error::ErrorKind::Invalid;
    }
    wrong
}
