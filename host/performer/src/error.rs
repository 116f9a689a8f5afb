//! From a failed system call to the contract's errors, with the object named.

use std::fmt::Display;

use longshore_core::error::{Error, ErrorKind};
use longshore_sys::Errno;

/// Adds what was attempted ("make folder l/x") to a system call's error.
pub(crate) trait During<T> {
    fn during(self, attempted: impl Display) -> Result<T, Error>;
}

impl<T> During<T> for longshore_sys::Result<T> {
    fn during(self, attempted: impl Display) -> Result<T, Error> {
        self.map_err(|error| failed(attempted, &error))
    }
}

/// The error of `attempted`.
pub(crate) fn failed(attempted: impl Display, error: &longshore_sys::Error) -> Error {
    let mut found = Error::io(format!("{attempted} ({})", error.operation), &error.source);
    // In a tree whose layout is ours, a link, a mount or a file where a folder belongs was put there
    // by somebody else.
    if [Errno::LOOP, Errno::XDEV, Errno::NOTDIR]
        .iter()
        .any(|errno| error.is(*errno))
    {
        found.kind = ErrorKind::Corrupt;
    }
    found
}

/// Bytes of a path for a message.
pub(crate) fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        "the tree's root".into()
    } else {
        format!("{:?}", String::from_utf8_lossy(path))
    }
}
