//! Unpacking into a tree on disk, through the performer.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use longshore_core::graph::Whiteouts;
use longshore_core::{Error as CoreError, Result as CoreResult};
use longshore_performer::sink::{self, Below, Node, TreeSink};
use longshore_sys::path::{self, OFlags, Resolve};

use crate::error::{Error, Result, Shown};
use crate::limits::Limits;
use crate::sink::{Attributes, Content, Device, Sink};
use crate::unpack::{Unpacked, unpack_into};

/// Unpacks a layer's archive, compressed or not, into the tree at `root`, of whose lower layers
/// nothing is known.
///
/// # Errors
/// The archive is refused, or the tree cannot be written; what was unpacked until then is in the
/// tree, for the caller to throw away.
pub fn unpack(archive: &mut dyn Read, root: impl AsFd, whiteouts: Whiteouts) -> Result<Unpacked> {
    unpack_over(archive, root, whiteouts, Below::Unknown, &Limits::default())
}

/// As [`unpack`], with what is below the tree told: in a tree that holds a difference alone, links and
/// folders of lower layers then mean what they mean in a whole tree.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_over(
    archive: &mut dyn Read,
    root: impl AsFd,
    whiteouts: Whiteouts,
    below: Below,
    limits: &Limits,
) -> Result<Unpacked> {
    let failed = |error| Error::Sink {
        entry: Shown::new(b"/"),
        error,
    };
    let clone = || {
        root.as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::tree("cloning", b"/", error))
    };
    let mut sink = IntoTree {
        root: clone()?,
        sink: Some(TreeSink::new(clone()?, whiteouts, below).map_err(failed)?),
    };
    unpack_into(archive, &mut sink, limits)
}

/// The performer's sink as the reader of archives wants it.
#[derive(Debug)]
struct IntoTree {
    root: OwnedFd,
    /// Gone when it has finished.
    sink: Option<TreeSink>,
}

impl IntoTree {
    fn sink(&mut self) -> CoreResult<&mut TreeSink> {
        self.sink
            .as_mut()
            .ok_or_else(|| CoreError::invalid("the tree has been finished already"))
    }
}

fn told<'a>(attributes: &Attributes<'a>) -> sink::Attributes<'a> {
    sink::Attributes {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        modified: sink::Time {
            seconds: attributes.mtime.seconds,
            nanoseconds: attributes.mtime.nanoseconds,
        },
        xattrs: attributes.xattrs,
    }
}

impl Sink for IntoTree {
    fn directory(&mut self, path: &[u8], attributes: &Attributes<'_>) -> CoreResult<()> {
        self.sink()?.directory(path, &told(attributes))
    }

    fn file(&mut self, path: &[u8], content: Content<'_>, attributes: &Attributes<'_>) -> CoreResult<()> {
        let Content { size, regions, body } = content;
        let sink = self.sink()?;
        match regions {
            None => sink.file(path, &told(attributes), size, body),
            Some(regions) => {
                // GNU tar ends a map with an empty region where the file ends in a hole.
                let filled = regions.iter().filter(|region| region.length > 0);
                let extents: Vec<(u64, u64)> = filled.map(|region| (region.offset, region.length)).collect();
                sink.sparse_file(path, &told(attributes), size, &extents, body)
            }
        }
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes<'_>) -> CoreResult<()> {
        self.sink()?.symlink(path, target, &told(attributes))
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> CoreResult<()> {
        self.sink()?.hardlink(path, target)
    }

    fn device(&mut self, path: &[u8], device: Device, attributes: &Attributes<'_>) -> CoreResult<()> {
        let Device { block, major, minor } = device;
        let node = if block {
            Node::Block { major, minor }
        } else {
            Node::Character { major, minor }
        };
        self.sink()?.node(path, node, &told(attributes))
    }

    fn fifo(&mut self, path: &[u8], attributes: &Attributes<'_>) -> CoreResult<()> {
        self.sink()?.node(path, Node::Fifo, &told(attributes))
    }

    fn whiteout(&mut self, path: &[u8]) -> CoreResult<()> {
        self.sink()?.whiteout(path)
    }

    fn opaque(&mut self, path: &[u8]) -> CoreResult<()> {
        self.sink()?.opaque(path)
    }

    fn read_back(&mut self, path: &[u8], offset: u64, buffer: &mut [u8]) -> CoreResult<()> {
        let failed = |error: std::io::Error| CoreError::io(format!("read {} back", Shown::new(path)), &error);
        let found = path::open(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::InRoot)
            .map_err(|error| failed(error.into()))?;
        let is_file = path::stat(&found).map_err(|error| failed(error.into()))?.is_file();
        if !is_file {
            return Err(CoreError::invalid(format!(
                "{} is no regular file any more",
                Shown::new(path)
            )));
        }
        let file: File = path::reopen(&found, OFlags::RDONLY)
            .map_err(|error| failed(error.into()))?
            .into();
        file.read_exact_at(buffer, offset).map_err(failed)
    }

    fn finish(&mut self) -> CoreResult<()> {
        self.sink.take().map_or(Ok(()), |sink| sink.finish().map(drop))
    }
}
