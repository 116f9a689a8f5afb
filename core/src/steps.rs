//! What drivers describe and the host performs: tree steps, mount plans, network plans.
//!
//! Every step is repeatable: performing a list twice, or again after it was cut anywhere, gives the
//! same result. A step that this side does not know refuses the whole answer. All steps are
//! re-validated in one place, the performer, whatever transport they came over.

use longshore_macros::Data;

use crate::types::{Bytes, Handle, Owner, RelPath, SecretRef};

mod net;

pub use net::{
    Attribute, AttributeValue, ConnectionState, Family, Hook, LinkMode, MadeBy, Match, Matching, NetStep, NetworkPlan,
    Peer, PortRange, Protocol, ProxyProtocol, Side, Verdict,
};

/// Most tree steps in one answer.
pub const MAX_TREE_STEPS: usize = 4096;
/// Most mount steps in one plan.
pub const MAX_MOUNT_STEPS: usize = 600;
/// Most network steps in one plan.
pub const MAX_NET_STEPS: usize = 256;

/// A place beneath the driver's root: a declared area, an object, a path in it.
///
/// It cannot name anything outside: it is built from a checked template, a checked ID and a checked
/// path, and then opened with `openat2(2)` beneath the root.
#[derive(Data)]
pub struct Place {
    /// Index into [`Description::areas`](crate::driver::Description::areas).
    pub area: u8,
    /// The layer ID or volume name; absent exactly for a shared area.
    pub object: Option<String>,
    /// The path below the area's folder.
    pub path: RelPath,
}

impl Place {
    /// A place in an object's own folder.
    pub fn object(area: u8, object: impl Into<String>, path: RelPath) -> Self {
        Self {
            area,
            object: Some(object.into()),
            path,
        }
    }

    /// A place in a shared area.
    pub fn shared(area: u8, path: RelPath) -> Self {
        Self {
            area,
            object: None,
            path,
        }
    }
}

/// One change of the tree beneath a driver's root.
#[derive(Data)]
pub enum TreeStep {
    /// A directory; one that is there already is taken, its owner and mode set.
    Directory {
        /// Where.
        at: Place,
        /// Mode, at most 0777.
        mode: u16,
        /// Owner on disk.
        owner: Owner,
        /// An ancestor's folder from which mode, owner, times and xattrs are taken instead, because
        /// a union shows the upper layer's root directory and not the image's.
        like: Option<Place>,
    },
    /// A small file, replaced whole.
    File {
        /// Where.
        at: Place,
        /// Mode, at most 0777.
        mode: u16,
        /// Owner on disk.
        owner: Owner,
        /// At most 64 KiB.
        content: Bytes,
    },
    /// A symbolic link. One with the same target is taken, another one is `Corrupt`.
    Symlink {
        /// Where.
        at: Place,
        /// Relative, and inside the root when resolved lexically. The host never follows it.
        target: Bytes,
    },
    /// A rename that replaces nothing. A source that is gone with the target there is done.
    Rename {
        /// From.
        from: Place,
        /// To, in an area of the same kind.
        to: Place,
    },
    /// A whole copy, reflinked where it can be; it appears when it is complete.
    Copy {
        /// The object's own place or an ancestor's; sealed.
        from: Place,
        /// The object's own place.
        to: Place,
    },
    /// Removal of whatever is there; nothing there is done.
    Remove {
        /// Where.
        at: Place,
    },
    /// One extended attribute: only `trusted.overlay.opaque`, `trusted.overlay.uuid`,
    /// `user.overlay.opaque`.
    Attribute {
        /// Where.
        at: Place,
        /// Full name.
        name: String,
        /// Value.
        value: Bytes,
    },
}

/// How to mount: steps in order, each of them a detached mount, and the one that is the result.
#[derive(Data)]
pub struct MountPlan {
    /// 1 to 600 steps; each is used by a later one or is the root.
    pub steps: Vec<MountStep>,
    /// Index of the step that is the result.
    pub root: u16,
    /// A folder of the result that is shown instead of the whole.
    pub subdir: RelPath,
}

impl MountPlan {
    /// A plan of one step.
    pub fn single(step: MountStep) -> Self {
        Self {
            steps: vec![step],
            root: 0,
            subdir: RelPath::root(),
        }
    }
}

/// One detached mount.
#[derive(Data)]
pub struct MountStep {
    /// The file system's name, or `bind`.
    pub fs: String,
    /// What is mounted.
    pub source: Source,
    /// Lower layers of a union, topmost first.
    pub lowers: Vec<Lower>,
    /// The writable layer of a union: the object's own, for a writable activation.
    pub upper: Option<Place>,
    /// The work folder of an overlay, on the file system of `upper`.
    pub work: Option<Place>,
    /// Options from the file system's allow-list.
    pub options: Vec<MountOption>,
    /// Whether this step is mounted read-only.
    pub read_only: bool,
}

/// What one mount step mounts.
#[derive(Data)]
pub enum Source {
    /// Nothing: the file system has none (overlay, tmpfs).
    None,
    /// A folder of the driver's own.
    Tree(Place),
    /// A path of the host that a user wrote as an option of this very volume.
    HostPath(Bytes),
    /// A server's export: NFS or CIFS.
    Remote(Remote),
    /// A mount that an acting driver made and passed by descriptor.
    Mount(Handle),
}

/// A remote file system's address.
#[derive(Data)]
pub struct Remote {
    /// Host name or address.
    pub server: String,
    /// The exported path, with a leading '/'.
    pub path: Bytes,
}

/// Lower layers of a union.
#[derive(Data)]
pub enum Lower {
    /// The same folder of each ancestor `first .. first + count`, counted from the parent. The host
    /// expands it from its own record, so that it cannot name a stranger.
    Chain {
        /// Area of each ancestor's folder.
        area: u8,
        /// Path in that folder.
        path: RelPath,
        /// First ancestor; 0 is the parent.
        first: u16,
        /// How many.
        count: u16,
    },
    /// One folder.
    Tree(Place),
}

/// One mount option.
#[derive(Data)]
pub struct MountOption {
    /// The key, from the allow-list of the file system.
    pub key: String,
    /// The value.
    pub value: OptionText,
}

/// A mount option's value.
#[derive(Data)]
pub enum OptionText {
    /// A flag.
    None,
    /// Text of at most 255 bytes, the limit of `fsconfig(2)` for strings.
    Text(String),
    /// A secret that the host puts in by itself.
    Secret(SecretRef),
}
