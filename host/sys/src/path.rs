//! Files by descriptor: rooted opening, the `*at` calls on one last component, metadata.
//!
//! Every function that makes, moves or removes takes the parent's descriptor and **one** name: a
//! name that is empty, `.`, `..` or holds a slash or a NUL is `EINVAL` before any system call.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Gid, Mode, RenameFlags, ResolveFlags, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::{Error, Named, Result, uninterrupted};

mod listing;
mod metadata;
mod volume;

pub use listing::{Entry, Kind, is_empty, list};
pub use metadata::{Metadata, Time, stat, stat_at, stat_if_there};
pub use rustix::fs::{FileType, OFlags};
pub use volume::{FileSystem, file_system, mount_number, sync, sync_file_system};

/// `openat2` answers EAGAIN when something on the way was renamed during the walk. A hostile renamer
/// can provoke that, but not for ever.
const MOST_RETRIES: usize = 100_000;

/// How a path is resolved from its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// Never leaves the directory, follows no link of any sort, enters no other mount: for folders
    /// whose layout is ours.
    Beneath,
    /// As `Beneath`, but enters mounts: for trees that are themselves put together from mounts.
    BeneathMounts,
    /// The directory is `/`: links are followed and resolve inside. For untrusted trees.
    InRoot,
    /// As `InRoot`, but the last component may not be a link either, nor any before it.
    InRootNoLinks,
    /// The host's own path: links are followed, magic links of `/proc` are not.
    Host,
}

impl Resolve {
    fn flags(self) -> ResolveFlags {
        match self {
            Self::Beneath => {
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
            }
            Self::BeneathMounts => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            Self::InRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Self::InRootNoLinks => ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            Self::Host => ResolveFlags::NO_MAGICLINKS,
        }
    }
}

/// Opens a path, always close-on-exec. An empty path is the directory itself. `mode` counts only
/// with `OFlags::CREATE`.
///
/// # Errors
/// The kernel's; `EAGAIN` only after very many renames on the way.
pub fn open(dir: impl AsFd, path: &[u8], flags: OFlags, mode: u32, resolve: Resolve) -> Result<OwnedFd> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let mode = if flags.contains(OFlags::CREATE) {
        Mode::from_raw_mode(mode)
    } else {
        Mode::empty()
    };
    for _ in 0..MOST_RETRIES {
        match fs::openat2(&dir, path, flags | OFlags::CLOEXEC, mode, resolve.flags()) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other.named("openat2"),
        }
    }
    Err(Error::new("openat2", Errno::AGAIN))
}

/// Opens a directory of the host by its path, for reading.
///
/// # Errors
/// The kernel's.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .named("open")
}

/// Opens what an `O_PATH` descriptor names once more, with other access. The inode is the same one:
/// no path is walked.
///
/// # Errors
/// The kernel's; `ELOOP` for a symbolic link.
pub fn reopen(fd: impl AsFd, flags: OFlags) -> Result<OwnedFd> {
    fs::open(through_proc(&fd), flags | OFlags::CLOEXEC, Mode::empty()).named("open")
}

/// The path under which a descriptor of this process can be named to the kernel.
pub fn through_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Checks that `name` is one component, and makes it a C string.
fn component(name: &[u8], operation: &'static str) -> Result<CString> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(Error::new(operation, Errno::INVAL));
    }
    CString::new(name).map_err(|_| Error::new(operation, Errno::INVAL))
}

/// Makes a directory.
///
/// # Errors
/// The kernel's.
pub fn make_directory(dir: impl AsFd, name: &[u8], mode: u32) -> Result<()> {
    fs::mkdirat(dir, component(name, "mkdirat")?, Mode::from_raw_mode(mode)).named("mkdirat")
}

/// Makes a regular file that was not there, open for reading and writing.
///
/// # Errors
/// The kernel's; `EEXIST` also for a dangling link.
pub fn make_file(dir: impl AsFd, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    uninterrupted(|| {
        fs::openat(
            &dir,
            component(name, "openat").map_err(|_| Errno::INVAL)?,
            flags,
            Mode::from_raw_mode(mode),
        )
    })
    .named("openat")
}

/// Makes a symbolic link.
///
/// # Errors
/// The kernel's.
pub fn make_symlink(target: &[u8], dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::symlinkat(target, dir, component(name, "symlinkat")?).named("symlinkat")
}

/// Makes a device, FIFO or socket node. The mode is subject to the umask.
///
/// # Errors
/// The kernel's.
pub fn make_node(dir: impl AsFd, name: &[u8], kind: FileType, mode: u32, major: u32, minor: u32) -> Result<()> {
    let device = fs::makedev(major, minor);
    fs::mknodat(
        dir,
        component(name, "mknodat")?,
        kind,
        Mode::from_raw_mode(mode),
        device,
    )
    .named("mknodat")
}

/// Makes another name for a file. A symbolic link is linked itself.
///
/// # Errors
/// The kernel's.
pub fn make_link(from: impl AsFd, from_name: &[u8], to: impl AsFd, to_name: &[u8]) -> Result<()> {
    fs::linkat(
        from,
        component(from_name, "linkat")?,
        to,
        component(to_name, "linkat")?,
        AtFlags::empty(),
    )
    .named("linkat")
}

/// Makes a name for the file that a descriptor names.
///
/// # Errors
/// The kernel's.
pub fn make_link_to(file: impl AsFd, to: impl AsFd, to_name: &[u8]) -> Result<()> {
    let to_name = component(to_name, "linkat")?;
    fs::linkat(fs::CWD, through_proc(&file), to, to_name, AtFlags::SYMLINK_FOLLOW).named("linkat")
}

/// Removes anything but a directory.
///
/// # Errors
/// The kernel's; `EISDIR` for a directory.
pub fn remove_file(dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::unlinkat(dir, component(name, "unlinkat")?, AtFlags::empty()).named("unlinkat")
}

/// Removes an empty directory.
///
/// # Errors
/// The kernel's.
pub fn remove_directory(dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::unlinkat(dir, component(name, "unlinkat")?, AtFlags::REMOVEDIR).named("unlinkat")
}

/// What a rename does with something at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Replaces it.
    Replace,
    /// Refuses with `EEXIST`.
    Keep,
    /// Swaps the two.
    Exchange,
}

/// Renames.
///
/// # Errors
/// The kernel's.
pub fn rename(from: impl AsFd, from_name: &[u8], to: impl AsFd, to_name: &[u8], target: Target) -> Result<()> {
    let flags = match target {
        Target::Replace => RenameFlags::empty(),
        Target::Keep => RenameFlags::NOREPLACE,
        Target::Exchange => RenameFlags::EXCHANGE,
    };
    fs::renameat_with(
        from,
        component(from_name, "renameat2")?,
        to,
        component(to_name, "renameat2")?,
        flags,
    )
    .named("renameat2")
}

/// A link's target.
///
/// # Errors
/// The kernel's; `EINVAL` for anything but a link.
pub fn read_link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    let name = component(name, "readlinkat")?;
    fs::readlinkat(dir, name, Vec::new())
        .named("readlinkat")
        .map(CString::into_bytes)
}

/// The target of the link that an `O_PATH` descriptor names.
///
/// # Errors
/// The kernel's; `ENOENT` for anything but a link.
pub fn read_link_itself(link: impl AsFd) -> Result<Vec<u8>> {
    fs::readlinkat(link, c"", Vec::new())
        .named("readlinkat")
        .map(CString::into_bytes)
}

/// Sets the owner of what a descriptor names, `O_PATH` too.
///
/// # Errors
/// The kernel's.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    fs::chownat(
        fd,
        c"",
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::EMPTY_PATH,
    )
    .named("fchownat")
}

/// Sets the permission bits of what a descriptor names, `O_PATH` too.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` for a symbolic link, which has none.
pub fn set_mode(fd: impl AsFd, mode: u32) -> Result<()> {
    let bits = Mode::from_raw_mode(mode & 0o7777);
    match fs::fchmod(&fd, bits) {
        // An O_PATH descriptor: the magic link leads to the very inode.
        Err(Errno::BADF) => fs::chmod(through_proc(&fd), bits).named("chmod"),
        other => other.named("fchmod"),
    }
}

/// Sets the times of what a descriptor names, `O_PATH` too.
///
/// # Errors
/// The kernel's.
pub fn set_times(fd: impl AsFd, accessed: Time, modified: Time) -> Result<()> {
    let times = Timestamps {
        last_access: accessed.into(),
        last_modification: modified.into(),
    };
    fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH).named("utimensat")
}

/// Random bytes of the kernel.
///
/// # Errors
/// The kernel's.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += uninterrupted(|| rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()))
            .named("getrandom")?;
    }
    Ok(bytes)
}

/// Release of the running kernel, such as `6.18.44`.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_is_one_component() {
        let top = tempfile::tempdir().unwrap();
        let dir = open_directory(top.path()).unwrap();
        for bad in [b"".as_slice(), b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert!(make_directory(&dir, bad, 0o700).unwrap_err().is(Errno::INVAL));
            assert!(make_file(&dir, bad, 0o600).is_err());
            assert!(remove_file(&dir, bad).is_err());
        }
        make_directory(&dir, b"..a", 0o700).unwrap();
        assert_eq!(list(&dir).unwrap().len(), 1);
    }

    #[test]
    fn links_out_stay_inside_or_are_refused() {
        let top = tempfile::tempdir().unwrap();
        let dir = open_directory(top.path()).unwrap();
        make_symlink(b"/", &dir, b"out").unwrap();
        make_directory(&dir, b"etc", 0o755).unwrap();
        let inside = open(&dir, b"out/etc", OFlags::PATH, 0, Resolve::InRoot).unwrap();
        assert_eq!(stat(&inside).unwrap().inode, stat_at(&dir, b"etc").unwrap().inode);
        assert!(
            open(&dir, b"out/etc", OFlags::PATH, 0, Resolve::Beneath)
                .unwrap_err()
                .is(Errno::LOOP)
        );
        assert!(
            open(&dir, b"../x", OFlags::PATH, 0, Resolve::Beneath)
                .unwrap_err()
                .is(Errno::XDEV)
        );
    }

    #[test]
    fn a_descriptor_for_the_path_alone_takes_mode_times_and_attributes() {
        let top = tempfile::tempdir().unwrap();
        let dir = open_directory(top.path()).unwrap();
        drop(make_file(&dir, b"f", 0o600).unwrap());
        let fd = open(&dir, b"f", OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::Beneath).unwrap();
        set_mode(&fd, 0o4751).unwrap();
        let time = Time {
            seconds: -5,
            nanoseconds: 7,
        };
        set_times(&fd, time, time).unwrap();
        let found = stat(&fd).unwrap();
        assert_eq!((found.mode, found.modified), (0o4751, time));
        if crate::xattr::set(&fd, b"user.x", &[7; 3000]).is_ok() {
            assert_eq!(crate::xattr::get(&fd, b"user.x").unwrap().unwrap().len(), 3000);
            assert!(crate::xattr::list(&fd).unwrap().contains(&b"user.x".to_vec()));
            crate::xattr::remove(&fd, b"user.x").unwrap();
            crate::xattr::remove(&fd, b"user.x").unwrap();
            assert_eq!(crate::xattr::get(&fd, b"user.x").unwrap(), None);
        }
    }
}
