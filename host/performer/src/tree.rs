//! Tree steps: checked as a whole list, then performed one by one, each repeatable.
//!
//! A list that was performed twice, or cut anywhere and performed again, gives the same tree. That is
//! why recovery calls the driver again instead of replaying a record of steps.

mod check;
mod perform;

use longshore_core::driver::Area;
use longshore_core::error::Result;
use longshore_core::steps::TreeStep;

use crate::error::During;
use crate::root::{OWN, Root};

pub use check::check_steps;

/// What a list of steps may touch.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The driver's root.
    pub root: &'a Root,
    /// The driver's areas, as it described them.
    pub areas: &'a [Area],
    /// The object of the call: a layer ID or a volume's name. All writing stays in its folders.
    pub object: &'a str,
    /// Its ancestors, parent first: what may be copied from, and what a folder may be like.
    pub ancestors: &'a [&'a str],
    /// A volume that this one is cloned from.
    pub clone_source: Option<&'a str>,
}

impl Scope<'_> {
    /// Whether an object's things may be read.
    fn may_read(&self, object: &str) -> bool {
        object == self.object || self.ancestors.contains(&object) || self.clone_source == Some(object)
    }
}

/// Checks a list and performs it.
///
/// # Errors
/// `Broken` before the first step when any step breaks the contract; else what the step met:
/// `Corrupt` where something of another sort is in its place, `NotFound`, `Exhausted`.
pub fn perform_steps(steps: &[TreeStep], scope: &Scope<'_>) -> Result<()> {
    perform_steps_until(steps, scope, steps.len())
}

/// As [`perform_steps`], but stops after `count` steps: for tests of what a crash leaves.
///
/// # Errors
/// As [`perform_steps`].
pub fn perform_steps_until(steps: &[TreeStep], scope: &Scope<'_>, count: usize) -> Result<()> {
    check_steps(steps, scope)?;
    steps.iter().take(count).try_for_each(|step| perform::step(step, scope))
}

/// Deletes what removals had moved aside before a crash. Tells how many trees that were.
///
/// # Errors
/// What the kernel says.
pub fn empty_trash(root: &Root) -> Result<usize> {
    use longshore_sys::path::{OFlags, Resolve, list, open};

    let mut path = OWN.to_vec();
    path.push(b'/');
    path.extend_from_slice(perform::TRASH);
    let trash = match open(root, &path, OFlags::RDONLY | OFlags::DIRECTORY, 0, Resolve::Beneath) {
        Ok(trash) => trash,
        Err(error) if error.is(longshore_sys::Errno::NOENT) => return Ok(0),
        Err(error) => return Err(crate::error::failed("open the trash", &error)),
    };
    let entries = list(&trash).during("list the trash")?;
    for entry in &entries {
        crate::remove::whatever(std::os::fd::AsFd::as_fd(&trash), &entry.name)?;
    }
    Ok(entries.len())
}
