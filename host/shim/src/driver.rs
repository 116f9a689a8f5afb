//! How the shim's helper gets its exec driver: through the loader, from the library's descriptor.

use std::os::fd::BorrowedFd;

use longshore_core::exec::ExecDriver;
use longshore_core::{Error, Result};

use crate::shim::Sandbox;

/// Opens the driver. Only ever called in a helper.
pub(crate) fn open(library: BorrowedFd<'_>, sandbox: &Sandbox) -> Result<Box<dyn ExecDriver>> {
    let _ = (library, sandbox);
    Err(Error::unsupported("no loader"))
}
