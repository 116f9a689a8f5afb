//! Volume drivers: where named, lasting storage comes from.
//!
//! # What it is
//! Docker's volumes: a name, options, and content that outlives containers. The driver tells how a
//! volume is made, mounted and removed; the host records names, options and labels, counts who uses
//! what, and shows subpath, read-only and propagation on the finished mount by itself.
//!
//! # States
//! `Ready`, `Removing`, `Damaged`, and `Unreachable` for a volume whose backend is away: it stays
//! listed and can be removed by force.
//!
//! # Worked example
//! ```text
//! create data []                        -> steps: {} , {}/_data
//! mount  data, mount ID c1, Write       -> plan: bind {}/_data; fill
//! remove data                           -> steps: remove {}
//! create logs [type=tmpfs,o=size=8m]    -> steps: {}
//! mount  logs                           -> plan: tmpfs size=8m; shared
//! ```
//!
//! # Rules
//! Methods are idempotent: `create` of a name with equal options is `Existing`, with other options
//! `AlreadyExists`. `mount` with one mount ID twice is one mount. A value of a secret option never
//! stands in a message: a [`SecretRef`](crate::types::SecretRef) stands for it.

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::driver::OptionValue;
use crate::error::{Error, Result};
use crate::graph::{Ended, Made, Used};
use crate::steps::{MountPlan, Place, TreeStep};
use crate::types::{MountId, Note, Pair, VolumeName};

/// A volume driver. See the [module](self) for what it is.
#[driver(kind = "volume", version = 0)]
pub trait VolumeDriver: Send + Sync {
    /// Makes a volume. The name is free in the host's records and the options are checked against
    /// the driver's list of options.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | other options under that name | `AlreadyExists` | tells the user |
    /// | a bad value | `Invalid`, names the key | tells the user |
    /// | the backend is down | `Unavailable`, nothing left | tells the user |
    #[call(class = "long", lock = "object", changes)]
    fn create(&self, cx: &Context, request: Create) -> Result<Created>;

    /// Removes a volume that has no mounts. With `force` the backend may be unreachable: the driver
    /// forgets the volume. *Again*: `Absent`. Mounted: `InUse`.
    #[call(class = "normal", lock = "object", changes)]
    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed>;

    /// Tells one volume's state.
    #[call(class = "quick", lock = "any", capability = "lists")]
    fn stat(&self, cx: &Context, request: Stat) -> Result<Volume> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver keeps no list of its volumes"))
    }

    /// Lists volumes in ascending order, a page at a time.
    #[call(class = "quick", lock = "any", capability = "lists")]
    fn list(&self, cx: &Context, request: List) -> Result<Listed> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver keeps no list of its volumes"))
    }

    /// Tells how a consumer mounts a volume. The same mount ID: an equal plan. The first one
    /// (`others` is 0) may stage.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | no such volume | `NotFound` | tells the user |
    /// | the backend is down | `Unavailable` | tells the user |
    /// | a read-only backend asked to write | `Denied` | tells the user |
    /// | a backend for one writer has one | `InUse` | tells the user |
    #[call(class = "normal", lock = "object", changes)]
    fn mount(&self, cx: &Context, request: Mount) -> Result<Mounted>;

    /// Ends a consumer's mount, after the mount itself is gone. An unknown ID: `Absent`. The last
    /// one may unstage.
    #[call(class = "normal", lock = "object", changes, capability = "tracks_mounts")]
    fn unmount(&self, cx: &Context, request: Unmount) -> Result<Unmounted> {
        let _ = (cx, request);
        Ok(Unmounted { outcome: Ended::Absent })
    }

    /// Tells what a volume takes. `Unsupported` makes the host walk the tree.
    #[call(class = "long", lock = "any", capability = "usage")]
    fn usage(&self, cx: &Context, request: Usage) -> Result<Used> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver does not count what a volume uses"))
    }

    /// Finishes deferred work. Never judges which volumes live.
    #[call(class = "long", lock = "alone", changes, default)]
    fn collect(&self, cx: &Context, request: Collect) -> Result<Collected> {
        let _ = (cx, request);
        Ok(Collected {
            steps: Vec::new(),
            pending: 0,
            next: None,
        })
    }
}

/// What a volume driver can do.
#[derive(Data)]
pub struct VolumeCapabilities {
    /// It changes the machine itself.
    pub acts: bool,
    /// Whether its volumes are the same on every machine.
    pub scope: Scope,
    /// It needs `unmount`.
    pub tracks_mounts: bool,
    /// `usage` is real.
    pub usage: bool,
    /// `stat` and `list` are real.
    pub lists: bool,
}

/// Where a volume is the same.
#[derive(Data)]
pub enum Scope {
    /// On this machine.
    Local,
    /// On every machine.
    Global,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// A volume as the host records it.
#[derive(Data)]
pub struct VolumeRef {
    /// Its name.
    pub name: VolumeName,
    /// The driver's note.
    pub note: Note,
    /// Its options, as recorded when it was made.
    pub options: Vec<OptionValue>,
}

/// The request of [`VolumeDriver::create`].
#[derive(Data)]
pub struct Create {
    /// The new volume.
    pub name: VolumeName,
    /// Its options.
    pub options: Vec<OptionValue>,
}

/// The answer of [`VolumeDriver::create`].
#[derive(Data)]
pub struct Created {
    /// New or existing. A pure driver always says `New`: the host knows.
    pub outcome: Made,
    /// The driver's note.
    pub note: Note,
    /// What the host performs.
    pub steps: Vec<TreeStep>,
}

/// The request of [`VolumeDriver::remove`].
#[derive(Data)]
pub struct Remove {
    /// The volume.
    pub volume: VolumeRef,
    /// Whether the backend may be unreachable.
    pub force: bool,
}

/// The answer of [`VolumeDriver::remove`].
#[derive(Data)]
pub struct Removed {
    /// How it went. A pure driver always says `Done`.
    pub outcome: Ended,
    /// What the host performs.
    pub steps: Vec<TreeStep>,
}

/// The request of [`VolumeDriver::stat`].
#[derive(Data)]
pub struct Stat {
    /// The volume.
    pub name: VolumeName,
}

/// A volume's state, see the [module](self).
#[derive(Data)]
pub enum State {
    /// Usable.
    Ready,
    /// Its removal waits.
    Removing,
    /// There, and not whole.
    Damaged,
    /// Its backend is away.
    Unreachable,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// What a driver knows of a volume.
#[derive(Data)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// The driver's note.
    pub note: Note,
    /// Its state.
    pub state: State,
    /// When it was made, in nanoseconds since 1970.
    pub created: Option<i64>,
    /// For people.
    pub status: Vec<Pair>,
    /// Mounts that the driver knows of.
    pub mounts: Vec<MountId>,
    /// Docker's mount point: a folder of the host that holds the content at any time.
    pub directory: Option<Place>,
}

/// The request of [`VolumeDriver::list`].
#[derive(Data)]
pub struct List {
    /// The last name of the page before.
    pub after: Option<VolumeName>,
    /// Most volumes in the page, at most 1,000.
    pub limit: u32,
}

/// The answer of [`VolumeDriver::list`].
#[derive(Data)]
pub struct Listed {
    /// Ascending.
    pub volumes: Vec<Volume>,
    /// Whether another page follows.
    pub more: bool,
}

/// How a consumer uses a mount.
#[derive(Data)]
pub enum Access {
    /// Reads and writes.
    Write,
    /// Reads.
    Read,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`VolumeDriver::mount`].
#[derive(Data)]
pub struct Mount {
    /// The volume.
    pub volume: VolumeRef,
    /// The consumer's mount.
    pub mount_id: MountId,
    /// How it is used.
    pub access: Access,
    /// How many other mounts the host records.
    pub others: u32,
}

/// The answer of [`VolumeDriver::mount`].
#[derive(Data)]
pub struct Mounted {
    /// How to mount it.
    pub plan: MountPlan,
    /// One instance serves all consumers, as a tmpfs must.
    pub shared: bool,
    /// An empty one may take the image's content.
    pub fill: bool,
}

/// The request of [`VolumeDriver::unmount`].
#[derive(Data)]
pub struct Unmount {
    /// The volume.
    pub volume: VolumeRef,
    /// The consumer's mount.
    pub mount_id: MountId,
    /// How many mounts remain.
    pub others: u32,
}

/// The answer of [`VolumeDriver::unmount`].
#[derive(Data)]
pub struct Unmounted {
    /// How it went.
    pub outcome: Ended,
}

/// The request of [`VolumeDriver::usage`].
#[derive(Data)]
pub struct Usage {
    /// The volume.
    pub volume: VolumeRef,
}

/// The request of [`VolumeDriver::collect`].
#[derive(Data)]
pub struct Collect {
    /// The last volume of the call before.
    pub after: Option<VolumeName>,
}

/// The answer of [`VolumeDriver::collect`].
#[derive(Data)]
pub struct Collected {
    /// What the host performs.
    pub steps: Vec<TreeStep>,
    /// How many removals wait still.
    pub pending: u32,
    /// Where the next call begins; absent at the end.
    pub next: Option<VolumeName>,
}
