//! Graph drivers: how layers of a file system tree lie on disk, and how they are mounted.
//!
//! # What it is
//! A **layer** is what one cache ID names: a tree, or the difference to its parent's tree. Its
//! **chain** is its ancestors, parent first and base last. Images are chains of sealed layers; a
//! container is one open layer on top of a chain. The host knows the graph; a driver knows only its
//! technology. Each request carries the IDs and notes that it needs, so a *pure* driver is a
//! function of its request: it reads nothing and keeps nothing. An *acting* driver does what its
//! technology forces on it (snapshots by ioctl), and says so by [`GraphCapabilities::acts`].
//!
//! # States
//! ```text
//! create ──▶ Open ──commit──▶ Sealed ──remove──▶ (gone)      a layer of an image
//! create ──▶ Open ──────────────────── remove──▶ (gone)      a container's layer
//! ```
//! `Open` is made and being filled, or a container's. `Sealed` is never written again. `Removing`
//! waits for something to let go. `Damaged` is "I have it and it is not whole".
//!
//! # Words
//! **Area**: a folder template of the driver's root. **Place**: area, object, path. **Plan**: how to
//! mount. **Note**: at most 1 KiB of the driver's own bytes that the host keeps with the object and
//! hands back in every call.
//!
//! # Worked example
//! A pull of two layers and a run, as an overlay driver answers it:
//! ```text
//! create  L1 []        -> steps: {}, {}/diff, l/X, {}/link; note X
//! create  L2 [L1]      -> the same with {}/lower and {}/work
//! activate L1 Unpack   -> plan: bind {}/diff; whiteouts Overlay          (the host unpacks)
//! commit  L1           -> steps: {}/committed
//! create  C [L2, L1]   -> role Container
//! activate C Write     -> plan: overlay, lowers Chain 0..2 diff, upper C/diff, work C/work
//! remove  C            -> steps: remove {}, remove l/Z
//! ```
//!
//! # Rules for the caller, which is the host
//! The kernel does not protect layers: a second mount of one upper succeeds and breaks the first. So
//! the host allows one activation of a layer at a time, shared by descriptor; removes nothing that
//! is leased or has children; never uses an ID twice. After `Deadline` or `Broken` on a changing
//! call the outcome is unknown: the host calls `remove` (after `create`), or the same call again.
//!
//! # Rules for the driver
//! Every method is idempotent under the same request, and outcomes that repeat are values
//! (`Existing`, `Absent`), not errors. A driver never mounts and never sees a tar. Three methods are
//! required; the others have bodies, and the capability says whether they are real.

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::driver::OptionValue;
use crate::error::{Error, Result};
use crate::steps::{MountPlan, Place, TreeStep};
use crate::types::{Bytes, Cursor, LayerId, Note};

/// A graph driver. See the [module](self) for what it is.
///
/// Errors that every method may answer: `Denied` (a permission or grant is missing), `Exhausted`
/// (space, quota, descriptors: the host undoes), `Unavailable` (retried), `Cancelled`, `Corrupt`
/// (the object is isolated), `Broken` (the plugin is quarantined; clean-up still passes).
#[driver(kind = "graph", version = 0)]
pub trait GraphDriver: Send + Sync {
    /// Makes a layer over a chain.
    ///
    /// *Before*: the ID is new or of this very operation; the chain is complete and in this driver;
    /// the parent is sealed, or also open where layers are independent; the depth is at most
    /// [`GraphCapabilities::max_depth`]. *After the steps*: the layer is `Open`, with the parent's
    /// content where whiteouts are merged. *Again*: `Existing`, and the steps complete a half-made
    /// one.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | the parent is unknown | `NotFound` | marks that replica lost |
    /// | the ID is there, made otherwise | `AlreadyExists` | picks another |
    /// | too deep, no space | `Exhausted` | tells the user |
    #[call(class = "normal", lock = "object", changes)]
    fn create(&self, cx: &Context, request: Create) -> Result<Created>;

    /// Seals a layer that was unpacked, counted and hashed, and is not active.
    ///
    /// *Again*: Ok. The driver may drop its scratch.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | no such layer | `NotFound` | marks that replica lost |
    /// | activated | `InUse` | a host's mistake |
    #[call(class = "long", lock = "object", changes, default)]
    fn commit(&self, cx: &Context, request: Commit) -> Result<Committed> {
        let _ = (cx, request);
        Ok(Committed {
            note: None,
            steps: Vec::new(),
        })
    }

    /// Tells how to mount a layer, and makes what the mount needs present.
    ///
    /// *Before*: no other activation of the layer. `Unpack`: open, of an image. `Write`: a
    /// container's. `Read`: any. *After*: the plan is valid until `deactivate`. *Again*: an equal
    /// plan.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | absent | `NotFound` | repairs from another replica |
    /// | damaged | `Corrupt` | isolates, makes a new replica |
    #[call(class = "normal", lock = "object", changes)]
    fn activate(&self, cx: &Context, request: Activate) -> Result<Activated>;

    /// Ends an activation whose mounts are gone as far as the host knows. Only asked where
    /// [`GraphCapabilities::tracks_activation`] is set. Held still somewhere: `Deferred`, not an
    /// error.
    #[call(class = "normal", lock = "object", changes, capability = "tracks_activation")]
    fn deactivate(&self, cx: &Context, request: Deactivate) -> Result<Deactivated> {
        let _ = (cx, request);
        Ok(Deactivated { outcome: Ended::Absent })
    }

    /// Removes a layer without children, lease or activation.
    ///
    /// *Again*: `Absent`. Children are `InUse`; something that holds it is `Deferred`, which
    /// `collect` finishes.
    #[call(class = "normal", lock = "object", changes)]
    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed>;

    /// Tells one layer's state. Where the driver does not list, the host looks for the object's
    /// folder of area 0 by itself.
    #[call(class = "quick", lock = "any", capability = "lists")]
    fn stat(&self, cx: &Context, request: Stat) -> Result<Layer> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver keeps no list of its layers"))
    }

    /// Lists layers in ascending order, a page at a time.
    #[call(class = "quick", lock = "any", capability = "lists")]
    fn list(&self, cx: &Context, request: List) -> Result<Listed> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver keeps no list of its layers"))
    }

    /// Tells how much removing the layer would free. `Unsupported` makes the host walk the tree.
    #[call(class = "long", lock = "any", default)]
    fn usage(&self, cx: &Context, request: Usage) -> Result<Used> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver does not count what a layer uses"))
    }

    /// Tells what a layer changes over its parent, natively. `Unsupported` makes the host compare
    /// the two trees.
    #[call(class = "long", lock = "any", capability = "changes")]
    fn changes(&self, cx: &Context, request: Changes) -> Result<Changed> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver has no native way to tell changes"))
    }

    /// Finishes deferred work and drops what the driver's own broken calls left. Never judges which
    /// layers live: the host does that.
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

/// What a graph driver can do.
#[derive(Data)]
pub struct GraphCapabilities {
    /// It changes the machine itself.
    pub acts: bool,
    /// It needs `deactivate`.
    pub tracks_activation: bool,
    /// How `changes` answers.
    pub changes: ChangesSupport,
    /// Most ancestors of a layer.
    pub max_depth: u32,
    /// A child may be made and filled before its parent is.
    pub independent_layers: bool,
    /// `activate` wants IDs and notes of the ancestors.
    pub activate_chain: bool,
    /// `stat` and `list` are real.
    pub lists: bool,
}

/// How a graph driver answers `changes`.
#[derive(Data)]
pub enum ChangesSupport {
    /// Not at all.
    No,
    /// With a folder that holds just the difference.
    Directory,
    /// With a list.
    List,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// A layer and the driver's note on it.
#[derive(Data)]
pub struct LayerRef {
    /// Cache ID.
    pub id: LayerId,
    /// The driver's note.
    pub note: Note,
}

/// For what a layer is made.
#[derive(Data)]
pub enum Role {
    /// A layer of an image: filled once, then sealed.
    Layer,
    /// A container's writable layer.
    Container,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`GraphDriver::create`].
#[derive(Data)]
pub struct Create {
    /// The new layer.
    pub id: LayerId,
    /// Its ancestors, parent first; empty for a base.
    pub chain: Vec<LayerRef>,
    /// For what.
    pub role: Role,
    /// Options for this object.
    pub options: Vec<OptionValue>,
}

/// Whether something was made or had been there.
#[derive(Data)]
pub enum Made {
    /// Made now.
    New,
    /// There already, made by the same request.
    Existing,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// What a new layer holds.
#[derive(Data)]
pub enum Content {
    /// Its parent's tree, or nothing: the host unpacks.
    Empty,
    /// All of the layer: unpacking is skipped.
    Complete,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The answer of [`GraphDriver::create`].
#[derive(Data)]
pub struct Created {
    /// New or existing. A pure driver always says `New`: the host knows.
    pub outcome: Made,
    /// What it holds.
    pub content: Content,
    /// The driver's note on it.
    pub note: Note,
    /// What the host performs.
    pub steps: Vec<TreeStep>,
}

/// The request of [`GraphDriver::commit`].
#[derive(Data)]
pub struct Commit {
    /// The layer.
    pub layer: LayerRef,
    /// Its ancestors.
    pub chain: Vec<LayerRef>,
}

/// The answer of [`GraphDriver::commit`].
#[derive(Data)]
pub struct Committed {
    /// A note that replaces the one of `create`.
    pub note: Option<Note>,
    /// What the host performs.
    pub steps: Vec<TreeStep>,
}

/// For what a layer is activated.
#[derive(Data)]
pub enum Access {
    /// To be filled by the unpacker.
    Unpack,
    /// To be written by a container.
    Write,
    /// To be read.
    Read,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`GraphDriver::activate`].
#[derive(Data)]
pub struct Activate {
    /// The layer.
    pub layer: LayerRef,
    /// How many ancestors it has.
    pub depth: u16,
    /// The ancestors, where [`GraphCapabilities::activate_chain`] asks for them; else empty.
    pub chain: Vec<LayerRef>,
    /// For what.
    pub access: Access,
}

/// How a tree stands for what its parent has and it has not.
#[derive(Data)]
pub enum Whiteouts {
    /// Not at all: the tree is whole, and what is gone is gone.
    Merged,
    /// As overlay does: a character device 0:0, and `trusted.overlay.opaque` on a directory.
    Overlay,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The answer of [`GraphDriver::activate`].
#[derive(Data)]
pub struct Activated {
    /// How to mount it.
    pub plan: MountPlan,
    /// How the mounted tree stands for removals.
    pub whiteouts: Whiteouts,
}

/// The request of [`GraphDriver::deactivate`].
#[derive(Data)]
pub struct Deactivate {
    /// The layer.
    pub layer: LayerRef,
    /// As in `activate`.
    pub access: Access,
}

/// How an ending went.
#[derive(Data)]
pub enum Ended {
    /// Ended now.
    Done,
    /// There was nothing to end.
    Absent,
    /// Something holds it; it ends by itself or in `collect`.
    Deferred,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The answer of [`GraphDriver::deactivate`].
#[derive(Data)]
pub struct Deactivated {
    /// How it went.
    pub outcome: Ended,
}

/// The request of [`GraphDriver::remove`].
#[derive(Data)]
pub struct Remove {
    /// The layer.
    pub layer: LayerRef,
    /// Its ancestors.
    pub chain: Vec<LayerRef>,
}

/// The answer of [`GraphDriver::remove`].
#[derive(Data)]
pub struct Removed {
    /// How it went. A pure driver always says `Done`: the host knows.
    pub outcome: Ended,
    /// What the host performs.
    pub steps: Vec<TreeStep>,
}

/// The request of [`GraphDriver::stat`].
#[derive(Data)]
pub struct Stat {
    /// The layer.
    pub id: LayerId,
}

/// A layer's state, see the [module](self).
#[derive(Data)]
pub enum State {
    /// Made, not sealed.
    Open,
    /// Sealed.
    Sealed,
    /// Its removal waits.
    Removing,
    /// There, and not whole.
    Damaged,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// What a driver knows of a layer.
#[derive(Data)]
pub struct Layer {
    /// Its ID.
    pub id: LayerId,
    /// Its parent; absent when unknown or a base.
    pub parent: Option<LayerId>,
    /// Its state.
    pub state: State,
    /// Whether it is activated.
    pub active: bool,
    /// The driver's note.
    pub note: Note,
}

/// The request of [`GraphDriver::list`].
#[derive(Data)]
pub struct List {
    /// The last ID of the page before.
    pub after: Option<LayerId>,
    /// Most layers in the page, at most 1,000.
    pub limit: u32,
}

/// The answer of [`GraphDriver::list`].
#[derive(Data)]
pub struct Listed {
    /// Ascending.
    pub layers: Vec<Layer>,
    /// Whether another page follows.
    pub more: bool,
}

/// The request of [`GraphDriver::usage`].
#[derive(Data)]
pub struct Usage {
    /// The layer.
    pub layer: LayerRef,
    /// Its ancestors.
    pub chain: Vec<LayerRef>,
}

/// What something takes on disk.
#[derive(Data)]
pub struct Used {
    /// Bytes that its removal frees.
    pub exclusive: u64,
    /// Inodes, where known.
    pub inodes: Option<u64>,
    /// Whether the number is exact.
    pub precise: bool,
}

/// The request of [`GraphDriver::changes`].
#[derive(Data)]
pub struct Changes {
    /// The layer: sealed, or its writer paused.
    pub layer: LayerRef,
    /// Its ancestors.
    pub chain: Vec<LayerRef>,
    /// Where the page begins.
    pub after: Option<Cursor>,
}

/// The answer of [`GraphDriver::changes`].
#[derive(Data)]
pub enum Changed {
    /// A folder holds just the difference; the host walks it and inverts the whiteouts.
    Directory {
        /// The folder.
        at: Place,
        /// How it stands for removals.
        whiteouts: Whiteouts,
    },
    /// A page of a list.
    Page {
        /// Changed paths.
        changes: Vec<Change>,
        /// Where the next page begins.
        next: Option<Cursor>,
    },
}

/// One changed path.
#[derive(Data)]
pub struct Change {
    /// Relative to the layer's root, with a leading '/'.
    pub path: Bytes,
    /// What happened to it.
    pub is: ChangeKind,
}

/// What happened to a path.
#[derive(Data)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or attributes differ.
    Modified,
    /// It is gone.
    Deleted,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`GraphDriver::collect`].
#[derive(Data)]
pub struct Collect {
    /// The last layer of the call before.
    pub after: Option<LayerId>,
}

/// The answer of [`GraphDriver::collect`].
#[derive(Data)]
pub struct Collected {
    /// What the host performs.
    pub steps: Vec<TreeStep>,
    /// How many removals wait still.
    pub pending: u32,
    /// Where the next call begins; absent at the end.
    pub next: Option<LayerId>,
}
