//! Performing one step. Each function says what a repeat finds and why that is fine.

use std::os::fd::{AsFd, OwnedFd};

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::steps::{Place, TreeStep};
use longshore_core::types::Owner;
use longshore_sys::Errno;
use longshore_sys::path::{self, FileType, OFlags, Resolve, Target};

use super::Scope;
use super::check::{lexical, owner};
use crate::error::{During, failed, shown};
use crate::root::{self, components, folder, resolve};
use crate::{copy, remove, xattrs};

/// Where removed trees wait for their deletion, in the host's own folder.
pub(super) const TRASH: &[u8] = b"trash";

pub(super) fn step(step: &TreeStep, scope: &Scope<'_>) -> Result<()> {
    match step {
        TreeStep::Directory { at, mode, owner, like } => directory(at, u32::from(*mode), owner, like.as_ref(), scope),
        TreeStep::File {
            at,
            mode,
            owner,
            content,
        } => file(at, u32::from(*mode), owner, content.as_bytes(), scope),
        TreeStep::Symlink { at, target } => symlink(at, target.as_bytes(), scope),
        TreeStep::Rename { from, to } => rename(from, to, scope),
        TreeStep::Copy { from, to } => whole_copy(from, to, scope),
        TreeStep::Remove { at } => removal(at, scope),
        TreeStep::Attribute { at, name, value } => attribute(at, name, value.as_bytes(), scope),
    }
}

/// The last component of a place, in its opened parent.
struct Spot {
    parent: OwnedFd,
    name: Vec<u8>,
    path: Vec<u8>,
}

impl Spot {
    /// Opens the parent. Folders of the area's own template are made; others must be there.
    fn open(place: &Place, scope: &Scope<'_>) -> Result<Self> {
        make_area(place, scope)?;
        Self::find(place, scope)
    }

    fn find(place: &Place, scope: &Scope<'_>) -> Result<Self> {
        let path = resolve(scope.areas, place)?;
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (
                path.get(..slash).unwrap_or_default(),
                path.get(slash + 1..).unwrap_or_default(),
            ),
            None => (b"".as_slice(), path.as_slice()),
        };
        Ok(Self {
            parent: scope.root.open_beneath(parent, OFlags::PATH | OFlags::DIRECTORY)?,
            name: name.to_vec(),
            path: path.clone(),
        })
    }

    fn there(&self) -> Result<Option<path::Metadata>> {
        path::stat_if_there(&self.parent, &self.name).during(format_args!("look at {}", shown(&self.path)))
    }

    /// Opens what is there, to name it only.
    fn itself(&self) -> Result<OwnedFd> {
        path::open(
            &self.parent,
            &self.name,
            OFlags::PATH | OFlags::NOFOLLOW,
            0,
            Resolve::Beneath,
        )
        .during(format_args!("open {}", shown(&self.path)))
    }

    /// The name under which a new version is prepared. Names with a leading dot are the host's own.
    fn draft(&self) -> Result<Vec<u8>> {
        let name = [b".", self.name.as_slice(), b".new"].concat();
        if name.len() > 255 {
            return Err(Error::invalid(format!(
                "{} has too long a name for a new version beside it",
                shown(&self.path)
            )));
        }
        Ok(name)
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(format!("{} is {what}", shown(&self.path)))
    }
}

/// Makes the literal folders of an area's template, so that no driver has to.
fn make_area(place: &Place, scope: &Scope<'_>) -> Result<()> {
    let area = root::area(scope.areas, place)?;
    let mut parent: Option<OwnedFd> = None;
    for part in components(area)? {
        if part == b"{}" {
            break;
        }
        let here = parent.as_ref().map_or(scope.root.as_fd(), AsFd::as_fd);
        parent = Some(folder(here, part)?);
    }
    Ok(())
}

/// A repeat finds the folder and sets the same owner and mode once more.
fn directory(at: &Place, mode: u32, owner: &Owner, like: Option<&Place>, scope: &Scope<'_>) -> Result<()> {
    let spot = Spot::open(at, scope)?;
    match path::make_directory(&spot.parent, &spot.name, 0o700) {
        Ok(()) => {}
        Err(error) if error.is(Errno::EXIST) => {}
        Err(error) => return Err(failed(format_args!("make folder {}", shown(&spot.path)), &error)),
    }
    let made = spot.itself()?;
    let metadata = path::stat(&made).during(format_args!("look at {}", shown(&spot.path)))?;
    if !metadata.is_directory() {
        return Err(spot.corrupt("not a folder"));
    }
    if let Some(like) = like {
        let model = scope.root.open_place(scope.areas, like)?;
        let metadata = path::stat(&model).during("look at the folder that another one is to be like")?;
        return copy::likeness(model.as_fd(), &metadata, made.as_fd(), |name| {
            !xattrs::is_overlays(name) && !copy::is_kernels(name)
        });
    }
    if (metadata.uid, metadata.gid) != (owner.uid, owner.gid) {
        path::set_owner(&made, owner.uid, owner.gid).during(format_args!("set the owner of {}", shown(&spot.path)))?;
    }
    if metadata.mode != mode {
        path::set_mode(&made, mode).during(format_args!("set the mode of {}", shown(&spot.path)))?;
    }
    Ok(())
}

/// A repeat replaces the file with an equal one; whoever reads sees the old or the new, whole.
fn file(at: &Place, mode: u32, owner: &Owner, content: &[u8], scope: &Scope<'_>) -> Result<()> {
    let spot = Spot::open(at, scope)?;
    if spot.there()?.is_some_and(|m| m.is_directory()) {
        return Err(spot.corrupt("a folder and not a file"));
    }
    let draft = spot.draft()?;
    remove::whatever(spot.parent.as_fd(), &draft)?;
    let made = path::make_file(&spot.parent, &draft, 0o600).during(format_args!("make {}", shown(&spot.path)))?;
    path::set_owner(&made, owner.uid, owner.gid).during(format_args!("set the owner of {}", shown(&spot.path)))?;
    path::set_mode(&made, mode).during(format_args!("set the mode of {}", shown(&spot.path)))?;
    let mut written = std::fs::File::from(made);
    std::io::Write::write_all(&mut written, content)
        .map_err(|e| Error::io(format!("write {}", shown(&spot.path)), &e))?;
    path::rename(&spot.parent, &draft, &spot.parent, &spot.name, Target::Replace)
        .during(format_args!("put {} in place", shown(&spot.path)))
}

/// A repeat finds a link with the same target.
fn symlink(at: &Place, target: &[u8], scope: &Scope<'_>) -> Result<()> {
    let spot = Spot::open(at, scope)?;
    match path::make_symlink(target, &spot.parent, &spot.name) {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::EXIST) => match path::read_link(&spot.parent, &spot.name) {
            Ok(found) if found == target => Ok(()),
            _ => Err(spot.corrupt("there already and leads elsewhere")),
        },
        Err(error) => Err(failed(format_args!("make link {}", shown(&spot.path)), &error)),
    }
}

/// A repeat finds the source gone and the target there.
fn rename(from: &Place, to: &Place, scope: &Scope<'_>) -> Result<()> {
    let (source, target) = (Spot::find(from, scope)?, Spot::open(to, scope)?);
    let attempted = format!("rename {} to {}", shown(&source.path), shown(&target.path));
    match path::rename(&source.parent, &source.name, &target.parent, &target.name, Target::Keep) {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::NOENT) && target.there()?.is_some() => Ok(()),
        Err(error) => Err(failed(attempted, &error)),
    }
}

/// A repeat finds the copy: it takes its name only when it is whole.
fn whole_copy(from: &Place, to: &Place, scope: &Scope<'_>) -> Result<()> {
    let target = Spot::open(to, scope)?;
    if let Some(found) = target.there()? {
        return if found.is_directory() {
            Ok(())
        } else {
            Err(target.corrupt("not a folder"))
        };
    }
    let source = scope.root.open_place(scope.areas, from)?;
    let draft = target.draft()?;
    remove::whatever(target.parent.as_fd(), &draft)?;
    if let Err(error) = copy::folder(source.as_fd(), target.parent.as_fd(), &draft) {
        // Space is what a failed copy most often lacks: give it back now.
        if let Err(leftover) = remove::whatever(target.parent.as_fd(), &draft) {
            tracing::warn!(error = %leftover, "a failed copy was left half removed");
        }
        return Err(error);
    }
    path::rename(&target.parent, &draft, &target.parent, &target.name, Target::Keep)
        .during(format_args!("put copy {} in place", shown(&target.path)))
}

/// A repeat finds nothing. The tree leaves its place at once and whole; deleting it may take longer
/// and is finished at start-up when it was cut.
fn removal(at: &Place, scope: &Scope<'_>) -> Result<()> {
    let spot = match Spot::find(at, scope) {
        Ok(spot) => spot,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(found) = spot.there()? else {
        return drafts(&spot);
    };
    if at.object.is_none() {
        check_shared(&spot, found.kind, scope)?;
    }
    if found.is_directory() {
        return match scope.root.own(TRASH) {
            Ok(trash) => {
                let name = remove::fresh_name()?;
                path::rename(&spot.parent, &spot.name, &trash, &name, Target::Keep)
                    .during(format_args!("move {} to the trash", shown(&spot.path)))?;
                drafts(&spot)?;
                remove::whatever(trash.as_fd(), &name).map(drop)
            }
            // No room for the trash's own folder, and removing is what makes room.
            Err(error) if error.kind == ErrorKind::Exhausted => without_trash(&spot),
            Err(error) => Err(error),
        };
    }
    remove::whatever(spot.parent.as_fd(), &spot.name)?;
    drafts(&spot)
}

/// Takes a tree from its place under the name of a half-made new version, which nobody takes for the
/// thing itself and which goes with the next removal there.
fn without_trash(spot: &Spot) -> Result<()> {
    drafts(spot)?;
    path::rename(&spot.parent, &spot.name, &spot.parent, &spot.draft()?, Target::Keep)
        .during(format_args!("move {} aside", shown(&spot.path)))?;
    drafts(spot)
}

/// A half-made new version goes together with what it was to become.
fn drafts(spot: &Spot) -> Result<()> {
    match spot.draft() {
        Ok(draft) => remove::whatever(spot.parent.as_fd(), &draft).map(drop),
        // Too long a name: none can be there.
        Err(_) => Ok(()),
    }
}

/// Refuses to remove another object's entry of a shared area.
fn check_shared(spot: &Spot, kind: FileType, scope: &Scope<'_>) -> Result<()> {
    let foreign = || Error::broken(format!("{} is not an entry of {:?}", shown(&spot.path), scope.object));
    if kind != FileType::Symlink {
        return Err(foreign());
    }
    let target = path::read_link(&spot.parent, &spot.name).during(format_args!("read link {}", shown(&spot.path)))?;
    let leads_to = lexical(&spot.path, &target).unwrap_or_default();
    if owner(scope, &leads_to) == Some(scope.object) {
        Ok(())
    } else {
        Err(foreign())
    }
}

/// A repeat sets the same value.
fn attribute(at: &Place, name: &str, value: &[u8], scope: &Scope<'_>) -> Result<()> {
    let found = Spot::find(at, scope)?.itself()?;
    if path::stat(&found).during("look at an attribute's place")?.is_symlink() {
        return Err(Error::corrupt(format!("attribute {name}: its place is a link")));
    }
    longshore_sys::xattr::set(&found, name.as_bytes(), value).during(format_args!("set attribute {name}"))
}
