//! A lock on a file that belongs to the open file, not to the process, and ends with it.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Takes the whole file for writing, without waiting; `false` when another open file has it. The
/// lock ends when the last descriptor of this open file is closed, however the process ends.
///
/// # Errors
/// The kernel's; `EBADF` when the file is not open for writing.
#[allow(unsafe_code, reason = "rustix has no locks of open files")]
pub fn try_write(file: impl AsFd) -> Result<bool> {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the argument is a whole `flock`, which the kernel only reads; the descriptor is
    // borrowed for the call.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) };
    if result == 0 {
        return Ok(true);
    }
    match Error::last("fcntl F_OFD_SETLK") {
        error if error.is(Errno::AGAIN) || error.is(Errno::ACCESS) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_second_open_file_of_one_process_does_not_get_the_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = file.reopen().unwrap();
        assert!(try_write(file.as_file()).unwrap());
        assert!(try_write(file.as_file()).unwrap());
        assert!(!try_write(&other).unwrap());
        drop(file);
        assert!(try_write(&other).unwrap());
    }
}
