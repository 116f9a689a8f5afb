//! Namespaces: leaving the shared ones, entering others, keeping one by descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};

use crate::error::{Error, Named, Result};

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mounts.
    Mount,
    /// Network links and sockets.
    Network,
    /// Users and groups.
    User,
    /// Process numbers.
    Pid,
    /// System V and POSIX queues.
    Ipc,
    /// Host name.
    Uts,
    /// Control groups.
    Cgroup,
}

impl Kind {
    fn flag(self) -> i32 {
        match self {
            Self::Mount => libc::CLONE_NEWNS,
            Self::Network => libc::CLONE_NEWNET,
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
        }
    }

    /// Its name below `/proc/<pid>/ns`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::User => "user",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Gives the calling **thread** new namespaces of these kinds.
///
/// # Errors
/// The kernel's; `EINVAL` for a mount or user namespace in a process with threads.
#[allow(unsafe_code, reason = "unshare")]
pub fn unshare(kinds: &[Kind]) -> Result<()> {
    let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
    // SAFETY: takes an integer. No CLONE_FILES is among the flags, so descriptors stay shared and no
    // owner of one is deceived.
    let result = unsafe { libc::unshare(flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("unshare"))
    }
}

/// Moves the calling **thread** into a namespace.
///
/// # Errors
/// The kernel's; `EINVAL` when the descriptor is of another kind.
#[allow(unsafe_code, reason = "setns")]
pub fn enter(namespace: impl AsFd, kind: Kind) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call; the other argument is an integer.
    let result = unsafe { libc::setns(namespace.as_fd().as_raw_fd(), kind.flag()) };
    if result == 0 { Ok(()) } else { Err(Error::last("setns")) }
}

/// The calling thread's own namespace of a kind.
///
/// # Errors
/// The kernel's.
pub fn open_own(kind: Kind) -> Result<OwnedFd> {
    open_path(&format!("/proc/thread-self/ns/{}", kind.name()))
}

/// A process's namespace of a kind. The caller makes sure that the number still means the process.
///
/// # Errors
/// The kernel's.
pub fn open_of(pid: i32, kind: Kind) -> Result<OwnedFd> {
    open_path(&format!("/proc/{pid}/ns/{}", kind.name()))
}

fn open_path(path: &str) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).named("open")
}

/// A number that is equal exactly for descriptors of one namespace, while it lives.
///
/// # Errors
/// The kernel's.
pub fn identity(namespace: impl AsFd) -> Result<u64> {
    crate::path::stat(namespace).map(|metadata| metadata.inode)
}
