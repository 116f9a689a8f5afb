//! The mount API of descriptors: detached mounts, their attributes, their attachment.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{Error, Named, Result};

/// A file system that is being configured.
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// Begins with a file system's name.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` when it has no such file system.
    pub fn open(file_system: &str) -> Result<Self> {
        mount::fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)
            .named("fsopen")
            .map(Self)
    }

    /// Sets a text of at most 255 bytes.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for an unknown key or a bad value.
    pub fn set_text(&self, key: &str, value: &[u8]) -> Result<()> {
        mount::fsconfig_set_string(&self.0, key, value).named("fsconfig")
    }

    /// Sets a flag.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn set_flag(&self, key: &str) -> Result<()> {
        mount::fsconfig_set_flag(&self.0, key).named("fsconfig")
    }

    /// Sets a descriptor. Overlay takes `O_PATH` ones since Linux 6.13 only.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn set_descriptor(&self, key: &str, fd: impl AsFd) -> Result<()> {
        mount::fsconfig_set_fd(&self.0, key, fd).named("fsconfig")
    }

    /// Makes the file system and a detached mount of it.
    ///
    /// # Errors
    /// The kernel's. [`messages`](Self::messages) may tell more.
    pub fn mount(&self) -> Result<OwnedFd> {
        mount::fsconfig_create(&self.0).named("fsconfig")?;
        mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).named("fsmount")
    }

    /// What the file system said about its refusal, one sentence a line. Often nothing.
    pub fn messages(&self) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = rustix::io::read(&self.0, &mut buffer) {
            if !all.is_empty() {
                all.push(b'\n');
            }
            all.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if all.len() > 16 * 1024 {
                break;
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Whether a clone takes the mounts below along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// All mounts below too.
    Recursive,
}

/// A detached clone of the mount at a directory or file, showing it as the root.
///
/// # Errors
/// The kernel's; `EINVAL` when the place lies in another mount namespace.
pub fn clone_tree(place: impl AsFd, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    mount::open_tree(place, c"", flags).named("open_tree")
}

/// Attaches a detached mount over a directory or file.
///
/// # Errors
/// The kernel's.
pub fn attach(detached: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    mount::move_mount(detached, c"", target, c"", flags).named("move_mount")
}

/// Attaches a detached mount over what a path names, from a directory. Links are followed.
///
/// # Errors
/// The kernel's.
pub fn attach_at(detached: impl AsFd, dir: impl AsFd, path: &[u8]) -> Result<()> {
    mount::move_mount(detached, c"", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).named("move_mount")
}

/// How mount events travel between namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the original to here.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and no bind may be made of it.
    Unbindable,
}

/// Attributes to be set on a mount; what is not set here stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// No writing.
    pub read_only: bool,
    /// No setuid and setgid.
    pub no_suid: bool,
    /// No devices.
    pub no_dev: bool,
    /// No executing.
    pub no_exec: bool,
    /// How events travel.
    pub propagation: Option<Propagation>,
}

/// Sets attributes of the mount that a descriptor is the root of.
///
/// # Errors
/// The kernel's; `EINVAL` when the descriptor is not a mount's root.
#[allow(unsafe_code, reason = "rustix has no mount_setattr")]
pub fn set_attributes(mounted: impl AsFd, attributes: Attributes, depth: Depth) -> Result<()> {
    let mut set = 0;
    for (wanted, bit) in [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.no_suid, libc::MOUNT_ATTR_NOSUID),
        (attributes.no_dev, libc::MOUNT_ATTR_NODEV),
        (attributes.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= bit;
        }
    }
    let propagation = match attributes.propagation {
        None => 0,
        Some(Propagation::Private) => libc::MS_PRIVATE,
        Some(Propagation::Slave) => libc::MS_SLAVE,
        Some(Propagation::Shared) => libc::MS_SHARED,
        Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
    };
    let argument = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let recursive = if depth == Depth::Recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the descriptor is borrowed for the call, the path is a NUL-terminated literal, and the
    // argument is a whole `mount_attr` whose size is passed; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mounted.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const argument,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("mount_setattr"))
    }
}

/// Takes the topmost mount off what a descriptor names, now for new lookups and wholly when its last
/// user is gone.
///
/// # Errors
/// The kernel's; `EINVAL` when nothing is mounted there.
pub fn detach(mounted: impl AsFd) -> Result<()> {
    mount::unmount(crate::path::through_proc(&mounted), UnmountFlags::DETACH).named("umount2")
}

/// Unmounts a path, following no link at its end.
///
/// # Errors
/// The kernel's; `EBUSY` while it is used.
pub fn unmount(path: &std::path::Path) -> Result<()> {
    mount::unmount(path, UnmountFlags::NOFOLLOW).named("umount2")
}

/// Makes a path's mount and all below it private, so that nothing done here is seen elsewhere.
///
/// # Errors
/// The kernel's.
pub fn make_private(root: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attributes {
        propagation: Some(Propagation::Private),
        ..Attributes::default()
    };
    set_attributes(root, attributes, Depth::Recursive)
}

/// Whether an error of a mount means "this kernel cannot do it so", which another way may.
pub fn is_unsupported(error: &Error) -> bool {
    [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NODEV]
        .iter()
        .any(|errno| error.is(*errno))
}
