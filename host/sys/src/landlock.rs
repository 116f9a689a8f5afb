//! Files that a process may still open, once it has given up all others (landlock(7)).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Asks for the version instead of making anything.
const VERSION: u32 = 1;
/// A rule for a file or everything beneath a folder.
const PATH_BENEATH: u32 = 1;
const EXECUTE: u64 = 1 << 0;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;

/// Every right over files of that version of the interface; an older kernel refuses what it does not
/// know.
fn all_rights(version: i64) -> u64 {
    let count = match version {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

/// The version of the kernel's interface; 0 where it has none.
#[allow(unsafe_code, reason = "one of landlock's system calls")]
fn version() -> i64 {
    let nothing = std::ptr::null::<u64>();
    // SAFETY: with this flag nothing is read and nothing is made.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    version.max(0)
}

/// Whether this kernel can do it.
pub fn is_there() -> bool {
    version() > 0
}

/// From here on this process, and the threads that it starts, can open nothing but, to read, these
/// files and what lies beneath these folders. What is open stays so. Whether this kernel can do that.
/// Of the calling thread: for a process that has one.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "landlock's three system calls")]
pub fn read_only_beneath(kept: &[impl AsFd]) -> Result<bool> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        parent: i32,
    }
    let version = version();
    if version == 0 {
        return Ok(false);
    }
    let handled = all_rights(version);
    // SAFETY: the first field of the attributes is what the kernel takes from so many bytes.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of::<u64>(),
            0,
        )
    };
    let Ok(made @ 0..) = i32::try_from(made) else {
        return Err(Error::last("landlock_create_ruleset"));
    };
    // SAFETY: the kernel just gave this descriptor to nobody but this call.
    let rules = unsafe { OwnedFd::from_raw_fd(made) };
    for place in kept {
        let metadata = crate::path::stat(place)?;
        let folders = if metadata.is_directory() { READ_DIR } else { 0 };
        let rule = PathBeneath {
            allowed: EXECUTE | READ_FILE | folders,
            parent: place.as_fd().as_raw_fd(),
        };
        // SAFETY: the rule has the kernel's layout and lives for the call, as does its descriptor.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                rules.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        // A file in memory has no place that a rule could name, and needs none.
        if added != 0 && !Error::last("landlock_add_rule").is(Errno::BADFD) {
            return Err(Error::last("landlock_add_rule"));
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(|errno| Error::new("prctl", errno))?;
    // SAFETY: takes a descriptor and flags.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) } != 0 {
        return Err(Error::last("landlock_restrict_self"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    #[test]
    fn only_what_is_kept_can_be_opened_and_only_to_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kept"), "kept").unwrap();
        let path = folder.path().to_owned();
        // In a thread of its own: what it gives up, it alone has lost.
        std::thread::spawn(move || {
            let kept = fs::File::open(&path).unwrap();
            if !read_only_beneath(&[kept]).unwrap() {
                println!("SKIP: this kernel has no landlock");
                return;
            }
            assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "kept");
            for denied in [
                fs::write(path.join("kept"), "changed"),
                fs::read("/etc/passwd").map(drop),
                fs::read_dir("/").map(drop),
                fs::remove_file(path.join("kept")),
            ] {
                assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            }
        })
        .join()
        .unwrap();
    }
}
