//! Standard streams of a process.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use libcontainer::container::builder::ContainerBuilder;
use longshore_plugin::exec::Stdio;
use longshore_plugin::types::Handle;
use longshore_plugin::{Context, Error, Result};
use rustix::fs::{FileType, Mode, OFlags, Uid};

/// The three descriptors; none where a terminal takes their place.
#[derive(Debug)]
pub(crate) struct Streams(Option<[OwnedFd; 3]>);

impl Streams {
    /// Takes them out of the call. They become `owner`'s, so that the entry can open
    /// `/dev/stdout` also when it is not root.
    pub(crate) fn take(cx: &Context, stdio: &Stdio, owner: u32) -> Result<Self> {
        let three = match stdio {
            Stdio::Terminal { .. } => return Ok(Self(None)),
            Stdio::Null => [null()?, null()?, null()?],
            Stdio::Pipes { stdin, stdout, stderr } => [
                stdin.map_or_else(null, |handle| given(cx, handle, owner))?,
                given(cx, *stdout, owner)?,
                given(cx, *stderr, owner)?,
            ],
        };
        Ok(Self(Some(three)))
    }

    pub(crate) fn on(self, builder: ContainerBuilder) -> ContainerBuilder {
        match self.0 {
            Some([stdin, stdout, stderr]) => builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr),
            None => builder,
        }
    }
}

fn null() -> Result<OwnedFd> {
    let opened = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    above_streams(opened.map_err(|e| Error::io("open /dev/null", &e.into()))?)
}

fn given(cx: &Context, handle: Handle, owner: u32) -> Result<OwnedFd> {
    let fd = cx.take(handle)?;
    let pipe = rustix::fs::fstat(&fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_uid != owner);
    if pipe {
        // Only a comfort: a stream of another file system may refuse.
        let _ = rustix::fs::fchown(&fd, Some(Uid::from_raw(owner)), None);
    }
    above_streams(fd)
}

/// The library puts the descriptors on 0 to 2 one after the other: none may lie there already.
fn above_streams(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3).map_err(|e| Error::io("move a standard stream", &e.into()))
}
