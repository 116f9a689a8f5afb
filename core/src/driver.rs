//! What is common to all kinds of driver: description, probe, opening.
//!
//! These three are calls on instance 0. `open` answers a new instance, on which the kind's own
//! methods are called. Any call may reach a fresh instance: a driver keeps nothing that matters in
//! memory alone.

use longshore_macros::Data;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::types::{Bytes, Handle, SecretRef};
use crate::wire::Method;

/// A driver of some kind, before it is opened.
///
/// | condition | error | what the caller does |
/// |---|---|---|
/// | a bad option | `Invalid`, names it | tells the user |
/// | the technology is absent | `probe` says so; `open` is `Unavailable` with the same remedy | tells the user |
/// | the root belongs to another driver or a newer layout | `Corrupt`, nothing touched | isolates |
pub trait Driver: Sized + Send + Sync + 'static {
    /// What this driver is. Pure: no I/O, equal at every call.
    fn describe() -> Description;

    /// Judges whether it can work here, by the facts that the host gathered and, for a driver that
    /// acts, by looking. Never changes anything.
    ///
    /// # Errors
    /// Only for a request that cannot be judged; "cannot work here" is an answer with a remedy.
    fn probe(cx: &Context, request: Probe) -> Result<Probed>;

    /// Opens an instance over a root. Opening one root twice gives two instances that agree.
    ///
    /// # Errors
    /// As in the table above.
    fn open(cx: &Context, request: Open) -> Result<Self>;
}

/// A kind of driver, implemented by the marker that `#[driver]` makes (`GraphKind`): how a service reaches a
/// driver of that kind by method name.
pub trait Kind<D>: Send + Sync + 'static {
    /// The kind's name: `graph`, `volume`, `network`, `ipam`, `exec`.
    const KIND: &'static str;
    /// The interface version of this build.
    const VERSION: u16;

    /// The kind's methods.
    fn methods() -> &'static [Method];

    /// Decodes a request (without its envelope), calls the driver, encodes the reply.
    ///
    /// # Errors
    /// The driver's; `Unsupported` for an unknown method; `Broken` for a body outside the contract.
    fn dispatch(driver: &D, cx: &Context, method: &str, body: &[u8]) -> Result<Vec<u8>>;
}

/// What a driver is and what it can do.
#[derive(Data)]
pub struct Description {
    /// The driver's name in config: lower case, as the field calls the technology.
    pub name: String,
    /// Other names that config may use, such as `overlay2`.
    pub aliases: Vec<String>,
    /// Version of the driver.
    pub version: String,
    /// `graph`, `volume`, `network`, `ipam` or `exec`.
    pub kind: String,
    /// Interface versions that it speaks.
    pub interface: Versions,
    /// The folder below the data root that is its root, when that is not the name.
    pub folder: Option<String>,
    /// Where its objects lie beneath its root. At most 16.
    pub areas: Vec<Area>,
    /// The options that it takes.
    pub options: Vec<OptionSpec>,
    /// What it can do on a machine that has everything.
    pub capabilities: Capabilities,
    /// Most calls at once on one instance; at least 1.
    pub concurrency: u16,
}

/// A range of interface versions, both ends included.
#[derive(Data)]
pub struct Versions {
    /// Lowest.
    pub from: u16,
    /// Highest.
    pub to: u16,
}

/// A folder template beneath the driver's root.
#[derive(Data)]
pub struct Area {
    /// At most 4 components, each a literal of less than 20 bytes or exactly `{}`, which stands for
    /// the object. Literals cannot collide with a layer ID, which has at least 20 bytes.
    pub template: Bytes,
    /// What lies in it.
    pub holds: Holds,
    /// Whether it may stand in a mount plan.
    pub source: bool,
}

/// What lies in an area.
#[derive(Data)]
pub enum Holds {
    /// One object's own things.
    Object,
    /// Entries of all objects.
    Shared,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The name of an option that stands for every name that is not listed: of a driver whose options are
/// known to somebody else only.
pub const ANY_OPTION: &str = "*";

/// One option that a driver takes.
#[derive(Data)]
pub struct OptionSpec {
    /// Its name, or [`ANY_OPTION`].
    pub name: String,
    /// What its values are.
    pub kind: OptionKind,
    /// Whether it is given for the driver or for each object.
    pub scope: OptionScope,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<String>,
    /// One line for a user.
    pub help: String,
}

/// What values an option takes.
#[derive(Data)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// A size with an optional unit.
    Size,
    /// `true` or `false`.
    Flag,
    /// A path of the host, which the plan may then name.
    HostPath,
    /// The name of a link on the host, which this object's plans may then name.
    LinkName,
    /// A server's address.
    Remote,
    /// A secret, recorded elsewhere and shown as `***`. One called `o.password` is the word
    /// `password=…` of the option `o` of kind `MountOptions`: it is cut out there and comes by its own
    /// name.
    Secret,
    /// A list of mount options as `mount(8)` takes it after `-o`.
    MountOptions,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// For what an option is given.
#[derive(Data)]
pub enum OptionScope {
    /// The driver, in config.
    Driver,
    /// Each object, when it is made.
    Object,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// An option that was given.
#[derive(Data)]
pub struct OptionValue {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: OptionContent,
}

impl OptionValue {
    /// An option with a plain text.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: OptionContent::Text(value.into()),
        }
    }

    /// The plain text; `None` for a secret.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            OptionContent::Text(text) => Some(text),
            OptionContent::Secret(_) => None,
        }
    }
}

/// An option's value.
#[derive(Data)]
pub enum OptionContent {
    /// Plain text.
    Text(String),
    /// A secret that travels beside the message.
    Secret(SecretRef),
}

/// What a driver can do; one struct for each kind.
#[derive(Data)]
pub enum Capabilities {
    /// A graph driver's.
    Graph(crate::graph::GraphCapabilities),
    /// A volume driver's.
    Volume(crate::volume::VolumeCapabilities),
    /// A network driver's.
    Network(crate::network::NetworkCapabilities),
    /// An ipam driver's.
    Ipam(crate::ipam::IpamCapabilities),
    /// An exec driver's.
    Exec(crate::exec::ExecCapabilities),
}

macro_rules! capability {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:path) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// `Broken` when the driver described another kind.
        pub fn $name(&self) -> Result<&$type> {
            match self {
                Self::$variant(capabilities) => Ok(capabilities),
                _ => Err(Error::broken(concat!("the driver does not describe itself as one of kind ", stringify!($name)))),
            }
        }
    };
}

impl Capabilities {
    capability!(
        /// The capabilities of a graph driver.
        graph, Graph, crate::graph::GraphCapabilities
    );
    capability!(
        /// The capabilities of a volume driver.
        volume, Volume, crate::volume::VolumeCapabilities
    );
    capability!(
        /// The capabilities of a network driver.
        network, Network, crate::network::NetworkCapabilities
    );
    capability!(
        /// The capabilities of an ipam driver.
        ipam, Ipam, crate::ipam::IpamCapabilities
    );
    capability!(
        /// The capabilities of an exec driver.
        exec, Exec, crate::exec::ExecCapabilities
    );
}

/// What the host found out about the machine and the driver's root, so that a pure driver only
/// judges.
#[derive(Data)]
pub struct Facts {
    /// The root's file system as `statfs(2)` names it, such as `ext4`.
    pub filesystem: String,
    /// Whether directory listings tell each entry's type.
    pub d_type: Option<bool>,
    /// Whether `trusted.*` attributes can be set there.
    pub trusted_xattrs: Option<bool>,
    /// Whether `user.*` attributes can be set there.
    pub user_xattrs: Option<bool>,
    /// Whether the root can share extents between files (`FICLONE`).
    pub reflink: Option<bool>,
    /// File systems of this kernel, as `/proc/filesystems` lists them.
    pub filesystems: Vec<String>,
    /// Parameters of the kernel's overlay, by name: `metacopy`, `redirect_dir`, `index`.
    pub overlay: Vec<crate::types::Pair>,
    /// Whether a detached overlay could be mounted with both layers on the root.
    pub overlay_mounts: Option<bool>,
    /// The kernel's release, such as `6.18.44`.
    pub kernel: String,
    /// What networks can be made of; absent where nobody looked.
    pub network: Option<NetworkFacts>,
}

/// What the host found out about the machine's network.
#[derive(Data)]
pub struct NetworkFacts {
    /// Kinds of link that can be made here: `bridge`, `veth`, `macvlan`.
    pub link_kinds: Vec<String>,
    /// Whether the kernel's nftables can be used here.
    pub nftables: bool,
    /// Whether the host has IPv6.
    pub ipv6: bool,
    /// Base chains on `forward` that others made and whose policy drops, each as `family table chain`.
    pub foreign_drops: Vec<String>,
}

/// The request of [`Driver::probe`].
#[derive(Data)]
pub struct Probe {
    /// The root, for a driver that looks for itself; a driver in a sandbox gets none.
    pub root: Option<Handle>,
    /// The root's path, for tools and messages only.
    pub root_path: Bytes,
    /// Options from config.
    pub options: Vec<OptionValue>,
    /// What the host found out.
    pub facts: Facts,
}

/// The answer of [`Driver::probe`].
#[derive(Data)]
pub struct Probed {
    /// Whether `open` would succeed.
    pub usable: bool,
    /// Why not, or what is missing.
    pub reasons: Vec<Reason>,
    /// What the driver can do here.
    pub capabilities: Capabilities,
}

/// One thing that is missing and how to get it.
#[derive(Data)]
pub struct Reason {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The request of [`Driver::open`].
#[derive(Data)]
pub struct Open {
    /// The root, for a driver that acts.
    pub root: Option<Handle>,
    /// The root's path, for tools and messages only.
    pub root_path: Bytes,
    /// Options from config.
    pub options: Vec<OptionValue>,
    /// The newest interface version that the host speaks.
    pub host_interface: u16,
}

/// The answer of the `open` call.
#[derive(Data)]
pub struct Opened {
    /// The new instance's number.
    pub instance: u64,
    /// The interface version that both sides speak from now on.
    pub interface: u16,
}

/// `describe` takes nothing.
#[derive(Data)]
pub struct Describe {}
