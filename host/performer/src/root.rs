//! Folders that nothing leads out of: a driver's root, and an untrusted tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use longshore_core::driver::{Area, Holds};
use longshore_core::error::{Error, Result};
use longshore_core::steps::Place;
use longshore_sys::path::{self, OFlags, Resolve};

use crate::error::{During, shown};

/// Folder of the host's own beneath every root; no driver can name it, because places never have a
/// component that begins with a dot.
pub(crate) const OWN: &[u8] = b".longshore";

/// A folder whose layout is ours: a driver's root. Beneath it no link is followed and no mount is
/// entered.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens a folder that is there.
    ///
    /// # Errors
    /// `NotFound`, or what the kernel says.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = path::open_directory(path).during(format_args!("open root {}", path.display()))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Takes a folder that is open already; `path` is for messages only.
    ///
    /// # Errors
    /// `Invalid` when it is no folder.
    pub fn from_descriptor(fd: OwnedFd, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let metadata = path::stat(&fd).during(format_args!("look at root {}", path.display()))?;
        if !metadata.is_directory() {
            return Err(Error::invalid(format!("root {} is not a folder", path.display())));
        }
        Ok(Self { fd, path })
    }

    /// The same folder once more.
    ///
    /// # Errors
    /// `Exhausted` when there is no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|e| Error::io(format!("clone root {}", self.path.display()), &e))?;
        Ok(Self {
            fd,
            path: self.path.clone(),
        })
    }

    /// Where it was opened; for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens something beneath, without following links or entering mounts.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when a link or a mount is on the way.
    pub fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        path::open(&self.fd, path, flags, 0, Resolve::Beneath).during(format_args!(
            "open {} beneath {}",
            shown(path),
            self.path.display()
        ))
    }

    /// Opens the folder that a place names, for reading.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath); `Broken` when the place breaks the areas' rules.
    pub fn open_place(&self, areas: &[Area], place: &Place) -> Result<OwnedFd> {
        self.open_beneath(&resolve(areas, place)?, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Whether a place is there.
    ///
    /// # Errors
    /// As [`open_place`](Self::open_place), but absence is a value.
    pub fn has_place(&self, areas: &[Area], place: &Place) -> Result<bool> {
        match self.open_beneath(&resolve(areas, place)?, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == longshore_core::error::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes what is written beneath durable.
    ///
    /// # Errors
    /// `Corrupt` when the kernel lost something.
    pub fn sync(&self) -> Result<()> {
        path::sync_file_system(&self.fd).during(format_args!("sync {}", self.path.display()))
    }

    /// The host's own folder in it, made when it is missing.
    pub(crate) fn own(&self, name: &[u8]) -> Result<OwnedFd> {
        let own = folder(self.fd.as_fd(), OWN)?;
        folder(own.as_fd(), name)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a private folder, made when it is missing.
pub(crate) fn folder(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    match path::make_directory(parent, name, 0o700) {
        Err(error) if !error.is(longshore_sys::Errno::EXIST) => {
            return Err(crate::error::failed(
                format_args!("make folder {}", shown(name)),
                &error,
            ));
        }
        _ => {}
    }
    path::open(parent, name, OFlags::RDONLY | OFlags::DIRECTORY, 0, Resolve::Beneath)
        .during(format_args!("open folder {}", shown(name)))
}

/// The area of a place.
pub(crate) fn area<'a>(areas: &'a [Area], place: &Place) -> Result<&'a Area> {
    areas
        .get(usize::from(place.area))
        .ok_or_else(|| Error::broken(format!("area {} is not among the driver's {}", place.area, areas.len())))
}

/// The path of a place beneath the driver's root. An ID is one component, an area's template has at
/// most four, so that a place cannot leave its area.
///
/// # Errors
/// `Broken` when the area is unknown, the template is wrong, or the object does not fit the area.
pub fn resolve(areas: &[Area], place: &Place) -> Result<Vec<u8>> {
    let area = area(areas, place)?;
    let object = match (area.holds, &place.object) {
        (Holds::Object, Some(object)) => Some(object.as_str()),
        (Holds::Shared, None) => None,
        _ => {
            return Err(Error::broken(format!(
                "a place in area {} must name an object exactly when the area holds objects",
                place.area
            )));
        }
    };
    let mut path = expand(area, object)?;
    if !place.path.is_empty() {
        path.push(b'/');
        path.extend_from_slice(place.path.as_bytes());
    }
    Ok(path)
}

/// The folder of an area, for an object where it holds objects.
pub(crate) fn expand(area: &Area, object: Option<&str>) -> Result<Vec<u8>> {
    let mut path = Vec::new();
    for part in components(area)? {
        if !path.is_empty() {
            path.push(b'/');
        }
        match (part, object) {
            (b"{}", Some(object)) => {
                check_object(object)?;
                path.extend_from_slice(object.as_bytes());
            }
            (literal, _) => path.extend_from_slice(literal),
        }
    }
    Ok(path)
}

/// The checked components of an area's template.
pub(crate) fn components(area: &Area) -> Result<Vec<&[u8]>> {
    let parts: Vec<&[u8]> = area.template.as_bytes().split(|b| *b == b'/').collect();
    let literal = |part: &[u8]| {
        (1..20).contains(&part.len())
            && !part.starts_with(b".")
            && part.iter().all(|b| b.is_ascii_graphic() && !b"{}".contains(b))
    };
    let objects = parts.iter().filter(|part| **part == b"{}").count();
    let expected = usize::from(area.holds == Holds::Object);
    if parts.len() > 4 || objects != expected || !parts.iter().all(|part| *part == b"{}" || literal(part)) {
        return Err(Error::broken(format!(
            "area template {} is not at most 4 folder names with one {{}} for the object",
            area.template
        )));
    }
    Ok(parts)
}

/// Refuses an object that would not be one folder of its own.
pub(crate) fn check_object(object: &str) -> Result<()> {
    let fine =
        (1..=255).contains(&object.len()) && !object.starts_with('.') && !object.bytes().any(|b| b == b'/' || b == 0);
    if fine {
        Ok(())
    } else {
        Err(Error::broken(format!("{object:?} does not name an object")))
    }
}

/// An untrusted tree: an unpacked image, a container. Links in it resolve as if it were the root of
/// everything, so they never lead out, also when they are swapped during the walk.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
}

impl Tree {
    /// Takes a folder, or a detached mount.
    ///
    /// # Errors
    /// `Invalid` when it is no folder.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        let metadata = path::stat(&fd).during("look at a tree's root")?;
        if metadata.is_directory() {
            Ok(Self { fd })
        } else {
            Err(Error::invalid("a tree's root is not a folder"))
        }
    }

    /// Opens what a path means inside the tree, links followed.
    ///
    /// # Errors
    /// What the kernel says; a device is never opened for its data by `OFlags::PATH`.
    pub fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        path::open(&self.fd, path, flags, 0, Resolve::InRoot).during(format_args!("open {} in the tree", shown(path)))
    }

    /// Opens what a path means inside the tree; at its end a link is itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_itself(&self, path: &[u8]) -> Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Reads a regular file of at most `limit` bytes whole.
    ///
    /// # Errors
    /// `Invalid` when it is something else or longer.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Vec<u8>> {
        let fd = self.open(path, OFlags::PATH)?;
        let metadata = path::stat(&fd).during(format_args!("look at {}", shown(path)))?;
        if !metadata.is_file() || metadata.size > limit {
            return Err(Error::invalid(format!(
                "{} is not a regular file of at most {limit} bytes",
                shown(path)
            )));
        }
        let file = std::fs::File::from(path::reopen(&fd, OFlags::RDONLY).during(format_args!("open {}", shown(path)))?);
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut content)
            .map_err(|e| Error::io(format!("read {}", shown(path)), &e))?;
        Ok(content)
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_core::types::RelPath;

    fn area(template: &str, holds: Holds) -> Area {
        Area {
            template: template.into(),
            holds,
            source: true,
        }
    }

    #[test]
    fn a_place_is_its_template_its_object_and_its_path() {
        let areas = [
            area("{}", Holds::Object),
            area("l", Holds::Shared),
            area("dir/{}/x", Holds::Object),
        ];
        let path = RelPath::parse("diff/a").unwrap();
        assert_eq!(
            resolve(&areas, &Place::object(0, "o", path.clone())).unwrap(),
            b"o/diff/a"
        );
        assert_eq!(resolve(&areas, &Place::shared(1, path)).unwrap(), b"l/diff/a");
        assert_eq!(
            resolve(&areas, &Place::object(2, "o", RelPath::root())).unwrap(),
            b"dir/o/x"
        );
    }

    #[test]
    fn a_place_that_does_not_fit_its_area_is_refused() {
        let areas = [area("{}", Holds::Object), area("l", Holds::Shared)];
        let root = RelPath::root;
        for place in [
            Place::shared(0, root()),
            Place::object(1, "o", root()),
            Place::object(9, "o", root()),
            Place::object(0, "..", root()),
            Place::object(0, "a/b", root()),
            Place::object(0, ".longshore", root()),
            Place::object(0, "", root()),
        ] {
            assert!(resolve(&areas, &place).is_err(), "{place:?}");
        }
        for template in [
            "",
            "/",
            "a/",
            "../{}",
            "{}/{}",
            "x{}",
            ".l",
            "a/b/c/d/{}",
            "literal",
            "twenty-bytes-literal/{}",
        ] {
            let areas = [area(template, Holds::Object)];
            assert!(resolve(&areas, &Place::object(0, "o", root())).is_err(), "{template}");
        }
    }

    #[test]
    fn a_trees_links_stay_inside() {
        let top = tempfile::tempdir().unwrap();
        let dir = path::open_directory(top.path()).unwrap();
        path::make_symlink(b"/etc/passwd", &dir, b"l").unwrap();
        path::make_symlink(b"../../../../../../etc/passwd", &dir, b"m").unwrap();
        let tree = Tree::new(dir).unwrap();
        assert!(tree.read(b"l", 1 << 20).is_err());
        assert!(tree.read(b"m", 1 << 20).is_err());
        std::fs::create_dir(top.path().join("etc")).unwrap();
        std::fs::write(top.path().join("etc/passwd"), b"inside").unwrap();
        assert_eq!(tree.read(b"l", 100).unwrap(), b"inside");
        assert_eq!(tree.read(b"m", 100).unwrap(), b"inside");
        assert!(tree.read(b"l", 3).is_err());
    }
}
