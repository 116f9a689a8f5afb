//! One error type: which system call failed, and how.

use std::io;

use rustix::io::Errno;

/// A failed system call.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {source}")]
pub struct Error {
    /// The system call, by its name in section 2 of the manual.
    pub operation: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// The result of every function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with the kernel's number.
    pub fn new(operation: &'static str, errno: Errno) -> Self {
        Self {
            operation,
            source: errno.into(),
        }
    }

    pub(crate) fn last(operation: &'static str) -> Self {
        Self {
            operation,
            source: io::Error::last_os_error(),
        }
    }

    /// The kernel's number, 0 when there is none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }

    /// Whether the kernel answered this number.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno() == errno.raw_os_error()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.source
    }
}

/// Names the system call of a rustix result.
pub(crate) trait Named<T> {
    fn named(self, operation: &'static str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, Errno> {
    fn named(self, operation: &'static str) -> Result<T> {
        self.map_err(|errno| Error::new(operation, errno))
    }
}

impl<T> Named<T> for io::Result<T> {
    fn named(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error { operation, source })
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn uninterrupted<T>(
    mut call: impl FnMut() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
