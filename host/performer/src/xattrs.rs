//! Which extended attributes travel with a file, and copying them.

use std::os::fd::BorrowedFd;

use longshore_core::error::Result;
use longshore_sys::{Errno, xattr};

use crate::error::{During, failed};

/// A name and a value.
pub(crate) type Attribute = (Vec<u8>, Vec<u8>);

/// Overlay's own bookkeeping: it means something else, or nothing, in another place.
pub(crate) fn is_overlays(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// What an image may set: capabilities of a program and a user's own attributes.
pub(crate) fn from_image(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_overlays(name))
}

/// Whether reading or setting failed because this file system or type has no such attribute.
pub(crate) fn is_unsupported(error: &longshore_sys::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::NOSYS].iter().any(|errno| error.is(*errno))
}

/// All attributes that `keep` wants, sorted by name.
pub(crate) fn read(fd: BorrowedFd<'_>, keep: impl Fn(&[u8]) -> bool) -> Result<Vec<Attribute>> {
    let names = xattr::list(fd).during("list attributes")?;
    let mut all = Vec::new();
    for name in names.into_iter().filter(|name| keep(name)) {
        match xattr::get(fd, &name) {
            Ok(Some(value)) => all.push((name, value)),
            // Gone meanwhile, or listed and not readable, as some of the kernel's own are.
            Ok(None) => {}
            Err(error) if is_unsupported(&error) => {}
            Err(error) => {
                return Err(failed(
                    format_args!("read attribute {}", String::from_utf8_lossy(&name)),
                    &error,
                ));
            }
        }
    }
    Ok(all)
}

/// Gives `to` the attributes of `from` that `keep` wants, and no other ones of that sort.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, keep: impl Fn(&[u8]) -> bool) -> Result<()> {
    let wanted = read(from, &keep)?;
    let there = read(to, &keep)?;
    for (name, _) in there.iter().filter(|(name, _)| !wanted.iter().any(|(w, _)| w == name)) {
        xattr::remove(to, name).during(format_args!("remove attribute {}", String::from_utf8_lossy(name)))?;
    }
    for (name, value) in wanted.iter().filter(|pair| !there.contains(pair)) {
        xattr::set(to, name, value).during(format_args!("set attribute {}", String::from_utf8_lossy(name)))?;
    }
    Ok(())
}
