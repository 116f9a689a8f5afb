//! Removing whole trees by descriptor, of any depth.

use std::os::fd::{AsFd, BorrowedFd};

use longshore_core::error::{Error, Result};
use longshore_sys::Errno;
use longshore_sys::path::{self, Kind, Target};

use crate::descent::{Descent, open_below};
use crate::error::{During, failed, shown};

/// How deep a removal goes before it moves what is below up to the top.
const MOST_DEPTH: usize = 32;

/// Removes whatever a name is; `false` when there was nothing. Nothing is followed and no other file
/// system is entered.
pub(crate) fn whatever(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    let attempted = || format!("remove {}", shown(name));
    match path::remove_file(parent, name) {
        Ok(()) => return Ok(true),
        Err(error) if error.is(Errno::NOENT) => return Ok(false),
        Err(error) if error.is(Errno::ISDIR) => {}
        Err(error) => return Err(failed(attempted(), &error)),
    }
    let folder = match open_below(parent, name) {
        Ok(folder) => folder,
        Err(error) if error.is(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(failed(attempted(), &error)),
    };
    contents(folder.as_fd())?;
    path::remove_directory(parent, name).during(attempted())?;
    Ok(true)
}

/// Empties a folder.
pub(crate) fn contents(folder: BorrowedFd<'_>) -> Result<()> {
    // What lay too deep was moved up here meanwhile.
    while !path::is_empty(folder).during("list a folder that is being removed")? {
        pass(folder)?;
    }
    Ok(())
}

fn pass(top: BorrowedFd<'_>) -> Result<()> {
    let mut descent = Descent::new(top)?;
    let mut waiting = vec![listed(top)?];
    let mut names: Vec<Vec<u8>> = Vec::new();
    while let Some(entries) = waiting.last_mut() {
        let Some(entry) = entries.pop() else {
            waiting.pop();
            descent.leave();
            if let Some(name) = names.pop() {
                path::remove_directory(descent.current()?, &name)
                    .during(format_args!("remove folder {}", shown(&name)))?;
            }
            continue;
        };
        let deep = descent.depth() >= MOST_DEPTH;
        let current = descent.current()?;
        if entry.kind != Some(Kind::Directory) && unlinked(current, &entry.name)? {
            continue;
        }
        if deep {
            let fresh = longshore_sys::path::random::<16>().during("name a folder")?;
            path::rename(current, &entry.name, top, &hex(&fresh), Target::Keep)
                .during(format_args!("move folder {} up", shown(&entry.name)))?;
            continue;
        }
        let below = open_below(current, &entry.name).during(format_args!("open folder {}", shown(&entry.name)))?;
        waiting.push(listed(below.as_fd())?);
        descent.enter(&entry.name, below)?;
        names.push(entry.name);
    }
    Ok(())
}

/// Removes an entry that is no folder; `false` when it is one.
fn unlinked(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    match path::remove_file(parent, name) {
        Ok(()) => Ok(true),
        Err(error) if error.is(Errno::NOENT) => Ok(true),
        Err(error) if error.is(Errno::ISDIR) => Ok(false),
        Err(error) => Err(failed(format_args!("remove {}", shown(name)), &error)),
    }
}

fn listed(folder: BorrowedFd<'_>) -> Result<Vec<path::Entry>> {
    path::list(folder).during("list a folder that is being removed")
}

/// A name made of random bytes.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// A fresh name that nobody can guess.
pub(crate) fn fresh_name() -> Result<Vec<u8>, Error> {
    Ok(hex(&longshore_sys::path::random::<16>().during("draw a name")?))
}
