//! How the shim's helper gets its exec driver: through the loader, from the library's descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use longshore_core::exec::ExecDriver;
use longshore_core::{Error, Result};
use longshore_shim::places;

use crate::shim::Sandbox;

/// Opens the driver over its folder for this container. Only ever called in a helper.
pub(crate) fn open(library: &OwnedFd, sandbox: &Sandbox) -> Result<Box<dyn ExecDriver>> {
    let path = format!("{}/{}", sandbox.path, places::DRIVER);
    let path = Path::new(&path);
    let root = longshore_sys::path::open_directory(path).map_err(|error| {
        Error::io(
            format!("open the exec driver's folder {}", path.display()),
            &error.into(),
        )
    })?;
    let options = sandbox.driver.options.clone();
    Ok(Box::new(longshore_loader::open_exec_by_fd(
        library, root, path, options,
    )?))
}
