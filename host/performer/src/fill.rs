//! A volume's first content: what the image has where the volume is mounted.

use std::os::fd::{AsFd, OwnedFd};

use longshore_core::error::Result;
use longshore_sys::path::{self, OFlags, Resolve};

use crate::copy;
use crate::error::During;

/// Copies the folder at `target` of a container's root into an empty volume, with its owner and
/// mode. Links in the path are resolved inside the root. Answers false when the volume has content
/// already or the image has no folder there.
///
/// # Errors
/// What reading or writing met; the volume may then hold a part.
pub fn copy_up(root: impl AsFd, target: &[u8], volume: impl AsFd) -> Result<bool> {
    let top: OwnedFd = path::open(
        volume.as_fd(),
        b".",
        OFlags::DIRECTORY | OFlags::RDONLY,
        0,
        Resolve::Beneath,
    )
    .during("open the volume")?;
    if !path::is_empty(&top).during("look into the volume")? {
        return Ok(false);
    }
    let inside: &[u8] = target.strip_prefix(b"/").unwrap_or(target);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let Ok(from) = path::open(root.as_fd(), inside, flags, 0, Resolve::InRoot) else {
        return Ok(false);
    };
    copy::into(from.as_fd(), top)?;
    Ok(true)
}
