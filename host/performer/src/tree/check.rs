//! Whether a list of steps stays within what a driver may do. A breach refuses the whole list.

use longshore_core::driver::Holds;
use longshore_core::error::{Error, Result};
use longshore_core::steps::{MAX_TREE_STEPS, Place, TreeStep};
use longshore_core::types::RelPath;

use super::Scope;
use crate::root::{self, check_object, resolve};

/// Most bytes of all files of a list: the limit of a message.
const MOST_BYTES: usize = 1 << 20;
/// Most bytes of one file.
const MOST_FILE: usize = 64 * 1024;
/// Most bytes of a link's target.
const MOST_TARGET: usize = 4095;
/// Most bytes of an attribute's value.
const MOST_VALUE: usize = 4096;
/// Attributes that a driver may set.
const ATTRIBUTES: [&str; 3] = ["trusted.overlay.opaque", "trusted.overlay.uuid", "user.overlay.opaque"];

/// Checks a whole list, before the first step is performed.
///
/// # Errors
/// `Broken`, naming the step, when the list is not what the contract allows.
pub fn check_steps(steps: &[TreeStep], scope: &Scope<'_>) -> Result<()> {
    if steps.len() > MAX_TREE_STEPS {
        return Err(Error::broken(format!(
            "{} tree steps are more than {MAX_TREE_STEPS}",
            steps.len()
        )));
    }
    check_object(scope.object)?;
    let bytes: usize = steps
        .iter()
        .map(|step| match step {
            TreeStep::File { content, .. } => content.as_bytes().len(),
            _ => 0,
        })
        .sum();
    if bytes > MOST_BYTES {
        return Err(Error::broken(format!(
            "the files of {} tree steps hold more than {MOST_BYTES} bytes",
            steps.len()
        )));
    }
    for (number, step) in steps.iter().enumerate() {
        check(step, scope).map_err(|error| Error {
            message: format!("tree step {number}: {}", error.message),
            ..error
        })?;
    }
    Ok(())
}

fn check(step: &TreeStep, scope: &Scope<'_>) -> Result<()> {
    match step {
        TreeStep::Directory { at, mode, like, .. } => {
            own(at, scope)?;
            bits(*mode)?;
            like.as_ref().map_or(Ok(()), |like| readable(like, scope))
        }
        TreeStep::File { at, mode, content, .. } => {
            own(at, scope)?;
            bits(*mode)?;
            if at.path.is_empty() {
                return Err(Error::broken("a file cannot stand in the place of an object's folder"));
            }
            limit("a file", content.as_bytes().len(), MOST_FILE)
        }
        TreeStep::Symlink { at, target } => {
            own_or_shared(at, scope)?;
            stays_inside(at, target.as_bytes(), scope)
        }
        TreeStep::Rename { from, to } => {
            own(from, scope)?;
            own(to, scope)
        }
        TreeStep::Copy { from, to } => {
            readable(from, scope)?;
            own(to, scope)?;
            let (from, to) = (resolve(scope.areas, from)?, resolve(scope.areas, to)?);
            match to.strip_prefix(from.as_slice()) {
                Some([] | [b'/', ..]) => Err(Error::broken("a copy of a folder into itself")),
                _ => Ok(()),
            }
        }
        TreeStep::Remove { at } => own_or_shared(at, scope),
        TreeStep::Attribute { at, name, value } => {
            own(at, scope)?;
            if !ATTRIBUTES.contains(&name.as_str()) {
                return Err(Error::broken(format!(
                    "attribute {name:?} is not one that a driver may set"
                )));
            }
            limit("an attribute", value.as_bytes().len(), MOST_VALUE)
        }
    }
}

fn limit(what: &str, length: usize, most: usize) -> Result<()> {
    if length <= most {
        Ok(())
    } else {
        Err(Error::broken(format!("{what} of {length} bytes is more than {most}")))
    }
}

fn bits(mode: u16) -> Result<()> {
    if mode <= 0o777 {
        Ok(())
    } else {
        Err(Error::broken(format!("mode {mode:o} has more than permission bits")))
    }
}

/// Names that begin with a dot are the host's own.
fn names(path: &RelPath) -> Result<()> {
    match path.components().find(|part| part.starts_with(b".")) {
        None => Ok(()),
        Some(part) => Err(Error::broken(format!(
            "{:?} begins with a dot, as only the host's own names do",
            String::from_utf8_lossy(part)
        ))),
    }
}

/// A place of the object of the call.
fn own(place: &Place, scope: &Scope<'_>) -> Result<()> {
    resolve(scope.areas, place)?;
    names(&place.path)?;
    match &place.object {
        Some(object) if object == scope.object => Ok(()),
        Some(object) => Err(Error::broken(format!(
            "object {object:?} is not the one of this call, {:?}",
            scope.object
        ))),
        None => Err(Error::broken("a shared area takes only links and their removal")),
    }
}

/// The same, or an entry of a shared area. Whose entry that is can be told from a link alone, so
/// shared areas hold nothing else.
fn own_or_shared(place: &Place, scope: &Scope<'_>) -> Result<()> {
    if place.object.is_some() {
        return own(place, scope);
    }
    resolve(scope.areas, place)?;
    names(&place.path)?;
    if place.path.is_empty() {
        Err(Error::broken("a shared area itself is not an entry of it"))
    } else {
        Ok(())
    }
}

/// A place that may be read: of the object, an ancestor, or the clone's source.
fn readable(place: &Place, scope: &Scope<'_>) -> Result<()> {
    resolve(scope.areas, place)?;
    names(&place.path)?;
    match &place.object {
        Some(object) if scope.may_read(object) => Ok(()),
        Some(object) => Err(Error::broken(format!(
            "object {object:?} is neither the one of this call nor its ancestor"
        ))),
        None => Err(Error::broken("a shared area cannot be copied from")),
    }
}

/// A link's target is relative and, taken word by word from the link's folder, stays in the root.
/// In a shared area it also leads into the object of the call, which makes the entry its own.
fn stays_inside(at: &Place, target: &[u8], scope: &Scope<'_>) -> Result<()> {
    let wrong = |why: &str| Error::broken(format!("link target {:?} {why}", String::from_utf8_lossy(target)));
    if target.is_empty() || target.len() > MOST_TARGET || target.contains(&0) {
        return Err(wrong("is not a path of 1 to 4,095 bytes"));
    }
    if target.starts_with(b"/") {
        return Err(wrong("is not relative"));
    }
    let place = resolve(scope.areas, at)?;
    let path = lexical(&place, target).ok_or_else(|| wrong("leaves the driver's root"))?;
    if path.first().is_some_and(|first| first.starts_with(b".")) {
        return Err(wrong("leads into the host's own folder"));
    }
    if at.object.is_none() && owner(scope, &path) != Some(scope.object) {
        return Err(wrong("of a shared area does not lead into the object of this call"));
    }
    Ok(())
}

/// The components that a link at `place` leads to; `None` above the root.
pub(super) fn lexical(place: &[u8], target: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut path: Vec<&[u8]> = place.split(|b| *b == b'/').collect();
    path.pop();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                path.pop()?;
            }
            name => path.push(name),
        }
    }
    Some(path.into_iter().map(<[u8]>::to_vec).collect())
}

/// The object whose area a path lies in. Templates are matched literally; an object's component is
/// whatever stands there.
pub(super) fn owner<'a>(scope: &Scope<'_>, path: &'a [Vec<u8>]) -> Option<&'a str> {
    scope
        .areas
        .iter()
        .filter(|area| area.holds == Holds::Object)
        .find_map(|area| {
            let parts = root::components(area).ok()?;
            let mut object = None;
            for (index, part) in parts.iter().enumerate() {
                let here = path.get(index)?;
                match *part {
                    b"{}" => object = std::str::from_utf8(here).ok(),
                    literal if literal == here.as_slice() => {}
                    _ => return None,
                }
            }
            object
        })
}
