//! Mount plans: checked against the contract's tables, then built as one detached mount.
//!
//! Checking opens every place, and building uses those descriptors, so that what was checked is what
//! is mounted. The result is attached nowhere: whoever gets the descriptor attaches it, in any mount
//! namespace, and it goes with its last descriptor when nobody does.

mod build;
mod check;
mod options;
mod remote;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use longshore_core::driver::Area;
use longshore_core::error::{Error, Result};
use longshore_core::steps::Remote;
use longshore_core::types::{RelPath, SecretRef};
use longshore_sys::mount::{self, Depth};
use longshore_sys::path::{self, OFlags, Resolve};
use serde::{Deserialize, Serialize};

use crate::error::{During, shown};
use crate::root::Root;

pub use build::build;
pub use check::check_plan;
pub use remote::{Builder, RemoteMount};

/// For what a plan is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// A layer that is filled from an archive.
    Unpack,
    /// Something that a container writes.
    Write,
    /// Something that is only read.
    Read,
}

impl TryFrom<longshore_core::graph::Access> for Access {
    type Error = Error;

    fn try_from(access: longshore_core::graph::Access) -> Result<Self> {
        use longshore_core::graph::Access as Graph;
        match access {
            Graph::Unpack => Ok(Self::Unpack),
            Graph::Write => Ok(Self::Write),
            Graph::Read => Ok(Self::Read),
            Graph::Unknown => Err(Error::unsupported("this access to a layer is not known here")),
        }
    }
}

impl TryFrom<longshore_core::volume::Access> for Access {
    type Error = Error;

    fn try_from(access: longshore_core::volume::Access) -> Result<Self> {
        use longshore_core::volume::Access as Volume;
        match access {
            Volume::Write => Ok(Self::Write),
            Volume::Read => Ok(Self::Read),
            Volume::Unknown => Err(Error::unsupported("this access to a volume is not known here")),
        }
    }
}

/// Gives the value of a secret of the call, once, when it is put into the mount.
pub type Secrets<'a> = &'a dyn Fn(SecretRef) -> Option<Vec<u8>>;

/// What a plan may name.
#[derive(Clone, Copy)]
pub struct PlanScope<'a> {
    /// The driver's root.
    pub root: &'a Root,
    /// The driver's areas, as it described them.
    pub areas: &'a [Area],
    /// The layer or volume that is mounted.
    pub object: &'a str,
    /// Its ancestors, parent first: what `Chain` counts, and what may be a read-only lower layer.
    pub ancestors: &'a [&'a str],
    /// Whether it is a volume: then setuid bits and devices in it mean nothing.
    pub volume: bool,
    /// Values of the `HostPath` options that a user gave for this volume.
    pub host_paths: &'a [&'a [u8]],
    /// The plugin's grants: `fs:<type>`, `remote:<type>`, `host-path`, `made-mounts`.
    pub grants: &'a [&'a str],
    /// Data roots and other folders of the engine, which no host path may lead into.
    pub private: &'a [&'a Path],
    /// Mounts that came with the answer, by handle; only with the grant `made-mounts`.
    pub mounts: &'a [OwnedFd],
    /// Whether the container is removed when it stops: only then may an overlay be `volatile`.
    pub ephemeral: bool,
    /// Where secrets are.
    pub secrets: Option<Secrets<'a>>,
}

impl std::fmt::Debug for PlanScope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanScope")
            .field("object", &self.object)
            .field("ancestors", &self.ancestors)
            .field("volume", &self.volume)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl<'a> PlanScope<'a> {
    /// A scope with an object and its ancestors, and nothing else granted.
    pub fn new(root: &'a Root, areas: &'a [Area], object: &'a str, ancestors: &'a [&'a str]) -> Self {
        Self {
            root,
            areas,
            object,
            ancestors,
            volume: false,
            host_paths: &[],
            grants: &[],
            private: &[],
            mounts: &[],
            ephemeral: false,
            secrets: None,
        }
    }
}

/// A plan whose every place was opened and found to be allowed.
#[derive(Debug)]
pub struct CheckedPlan {
    pub(crate) what: What,
    pub(crate) access: Access,
    pub(crate) read_only: bool,
    pub(crate) restricted: bool,
    pub(crate) subdir: RelPath,
}

impl CheckedPlan {
    /// Whether the mount may have to wait for another machine. Such a plan is built in a process that
    /// can be killed.
    pub fn may_hang(&self) -> bool {
        matches!(self.what, What::Remote { .. } | What::Bind { host: true, .. })
    }
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum What {
    /// A clone of the mount at a folder.
    Bind { from: OwnedFd, recursive: bool, host: bool },
    /// A union.
    Overlay {
        lowers: Vec<OwnedFd>,
        upper: Option<(OwnedFd, OwnedFd)>,
        settings: Vec<Setting>,
    },
    /// A file system of its own.
    FileSystem { name: String, settings: Vec<Setting> },
    /// A server's export.
    Remote {
        fs: String,
        remote: Remote,
        settings: Vec<Setting>,
    },
}

/// One `fsconfig` call.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) secret: bool,
}

impl Setting {
    pub(crate) fn text(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            secret: false,
        }
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.as_deref().map(String::from_utf8_lossy);
        match (&value, self.secret) {
            (None, _) => f.write_str(&self.key),
            (Some(_), true) => write!(f, "{}=***", self.key),
            (Some(value), false) => write!(f, "{}={value}", self.key),
        }
    }
}

/// Another detached mount of the same tree, sharing its content: for a second consumer. The original
/// must not be attached yet, or be attached in the caller's mount namespace.
///
/// # Errors
/// `Unsupported` when the kernel refuses.
pub fn clone_mount(mounted: impl AsFd) -> Result<OwnedFd> {
    mount::clone_tree(mounted, Depth::Recursive).map_err(|error| {
        let mut error = crate::error::failed("clone a mount", &error);
        error.kind = longshore_core::error::ErrorKind::Unsupported;
        error
    })
}

/// A detached mount of a folder or file inside a mounted tree. Links are resolved inside the tree and
/// never lead out: for a volume's subpath.
///
/// # Errors
/// `NotFound`; `Unsupported` when the kernel refuses to clone from this mount.
pub fn subpath(mounted: impl AsFd, inner: &[u8]) -> Result<OwnedFd> {
    let place = path::open(&mounted, inner, OFlags::PATH, 0, Resolve::InRoot)
        .during(format_args!("open subpath {}", shown(inner)))?;
    clone_mount(place)
}
