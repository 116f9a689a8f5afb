//! Names of entries: made relative to the tree's root, and told apart from whiteouts.

use crate::error::{Error, Result};
use crate::limits::Limits;

/// Prefix of a name that stands for the absence of another.
pub const WHITEOUT: &[u8] = b".wh.";
/// The name that makes its directory opaque: nothing of lower layers shows in it.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of what aufs kept for itself at the root.
const AUFS: &[u8] = b".wh..wh.";
const COMPONENT: usize = 255;

/// What a name in a layer stands for. Paths are relative, without `.`, `..` or empty parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The tree's root itself.
    Root,
    /// An object.
    Object(Vec<u8>),
    /// The absence of an object of lower layers.
    Whiteout(Vec<u8>),
    /// The directory (empty for the root) hides what lower layers have in it.
    Opaque(Vec<u8>),
    /// Bookkeeping of aufs, which is not part of the tree.
    Aufs,
}

/// Makes a name relative to the root: leading, doubled and trailing slashes and `.` parts go.
///
/// # Errors
/// `..` anywhere, NUL, parts or paths that no file system takes.
pub fn relative(name: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    if name.contains(&0) {
        return Err(Error::entry(name, "its name has a NUL byte"));
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        if part == b".." {
            return Err(Error::entry(name, "its name has \"..\""));
        }
        if part.len() > COMPONENT {
            return Err(Error::entry(name, "a part of its name is longer than 255 bytes"));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    if path.len() > limits.path {
        return Err(Error::entry(
            name,
            format!("its name is longer than {} bytes", limits.path),
        ));
    }
    Ok(path)
}

/// Judges an entry's name.
///
/// # Errors
/// As [`relative`], and whiteouts of nothing, of `.` or `..`, or with something in them.
pub fn place(name: &[u8], limits: &Limits) -> Result<Place> {
    let path = relative(name, limits)?;
    if path.is_empty() {
        return Ok(Place::Root);
    }
    if path.starts_with(AUFS) && path != OPAQUE {
        return Ok(Place::Aufs);
    }
    let (parent, base) = split(&path);
    if parent.split(|&b| b == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err(Error::entry(name, "it lies in a whiteout"));
    }
    if base == OPAQUE {
        return Ok(Place::Opaque(parent.to_vec()));
    }
    let Some(hidden) = base.strip_prefix(WHITEOUT) else {
        return Ok(Place::Object(path));
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Error::entry(
            name,
            "it is a whiteout of nothing, or of a directory's own or parent entry",
        ));
    }
    Ok(Place::Whiteout(join(parent, hidden)))
}

/// Parent and last part of a relative path; the parent of a path of one part is empty.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A part below a directory, the root being the empty path.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

/// Whether an extended attribute from an archive, or into one, is kept: file capabilities and the
/// users' own, never what the kernel's overlay or a security module of another machine would obey.
pub fn keeps_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn of(name: &[u8]) -> Option<Place> {
        place(name, &Limits::default()).ok()
    }

    #[test]
    fn names_are_contained_or_refused() {
        let object = |path: &[u8]| Some(Place::Object(path.to_vec()));
        let table: &[(&[u8], Option<Place>)] = &[
            (b"a/b", object(b"a/b")),
            (b"./a//b/./c/", object(b"a/b/c")),
            (b"/etc/x", object(b"etc/x")),
            (b"//etc/x", object(b"etc/x")),
            (b"./", Some(Place::Root)),
            (b"/", Some(Place::Root)),
            (b"..a/b..", object(b"..a/b..")),
            (b"\xff\xfe\n\\", object(b"\xff\xfe\n\\")),
            (b"..", None),
            (b"../x", None),
            (b"/../x", None),
            (b"a/../../x", None),
            (b"a/..", None),
            (b"a\0b", None),
        ];
        for (name, expected) in table {
            assert_eq!(&of(name), expected, "{}", name.escape_ascii());
        }
        assert_eq!(of(&b"x".repeat(255)), object(&b"x".repeat(255)));
        assert_eq!(of(&b"x".repeat(256)), None);
        assert_eq!(of(&b"x/".repeat(5000)), None);
    }

    #[test]
    fn whiteouts_are_told_from_names_that_look_like_them() {
        let table: &[(&[u8], Option<Place>)] = &[
            (b".wh.x", Some(Place::Whiteout(b"x".to_vec()))),
            (b"a/.wh.x/", Some(Place::Whiteout(b"a/x".to_vec()))),
            (b"a/.wh..hidden", Some(Place::Whiteout(b"a/.hidden".to_vec()))),
            (b"a/.wh...x", Some(Place::Whiteout(b"a/..x".to_vec()))),
            (b".wh..wh..opq", Some(Place::Opaque(Vec::new()))),
            (b"a/.wh..wh..opq", Some(Place::Opaque(b"a".to_vec()))),
            (b".wh..wh.plnk/1.2", Some(Place::Aufs)),
            (b".wh..wh.aufs", Some(Place::Aufs)),
            (b".whatever", Some(Place::Object(b".whatever".to_vec()))),
            (b"a.wh.b", Some(Place::Object(b"a.wh.b".to_vec()))),
            (b".wh.", None),
            (b".wh..", None),
            (b".wh...", None),
            (b"a/.wh.", None),
            (b"a/.wh.../", None),
            (b".wh.x/y", None),
            (b"a/.wh..wh..opq/y", None),
        ];
        for (name, expected) in table {
            assert_eq!(&of(name), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn only_capabilities_and_users_own_attributes_are_kept() {
        for name in ["security.capability", "user.mime_type", "user.overlayed"] {
            assert!(keeps_xattr(name.as_bytes()), "{name}");
        }
        for name in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "trusted.x",
            "user.overlay.whiteout",
            "user.overlay.opaque",
            "security.selinux",
            "security.ima",
            "system.posix_acl_access",
            "user",
            "",
        ] {
            assert!(!keeps_xattr(name.as_bytes()), "{name}");
        }
    }
}
