//! Network drivers: what connects a container.
//!
//! # What it is
//! Docker's container network model: a **sandbox** is one container's network namespace, an
//! **endpoint** its attachment to one **network**. The host makes and pins the sandbox before the
//! container exists; the driver's `join` answers a plan that the host performs on either side of it.
//! Here stands what the networks `none` and `host` need; links, addresses, routes, rules, ports and
//! address management come with the first driver that uses them.
//!
//! # Order
//! ```text
//! create_network · create_endpoint → join → (plan performed) … leave → delete_endpoint · delete_network
//! ```
//! All changing calls are idempotent by (network, endpoint): the same request gives the same answer,
//! and endings of what is gone are `Absent`, also when the sandbox is gone.
//!
//! # Worked example
//! `none`: `needs_sandbox`, `join` answers "raise lo inside". `host`: `shares_host`, `join` answers
//! an empty plan, and the container stays in the host's namespace.

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::driver::OptionValue;
use crate::error::Result;
use crate::graph::Ended;
use crate::steps::NetworkPlan;
use crate::types::{EndpointId, NetworkId, Note};

/// A network driver. See the [module](self) for what it is.
///
/// | condition | error | what the caller does |
/// |---|---|---|
/// | a bad option | `Invalid`, names it | tells the user |
/// | endpoints are left | `InUse` | lists them |
/// | `join` ends in `Deadline` or `Broken` | outcome unknown | `leave`, `delete_endpoint`, a new endpoint ID |
#[driver(kind = "network", version = 0)]
pub trait NetworkDriver: Send + Sync {
    /// Makes a network. An equal request again: an equal plan and note; other options:
    /// `AlreadyExists`.
    #[call(class = "normal", lock = "object", changes)]
    fn create_network(&self, cx: &Context, request: CreateNetwork) -> Result<NetworkCreated>;

    /// Forgets a network without endpoints; the host undoes its plan afterwards.
    #[call(class = "normal", lock = "object", changes)]
    fn delete_network(&self, cx: &Context, request: DeleteNetwork) -> Result<NetworkDeleted>;

    /// Makes an endpoint.
    #[call(class = "normal", lock = "object", changes)]
    fn create_endpoint(&self, cx: &Context, request: CreateEndpoint) -> Result<EndpointCreated>;

    /// Forgets an endpoint that has left.
    #[call(class = "normal", lock = "object", changes)]
    fn delete_endpoint(&self, cx: &Context, request: DeleteEndpoint) -> Result<EndpointDeleted>;

    /// Tells what puts the endpoint into its sandbox. The same request: an equal plan.
    #[call(class = "normal", lock = "object", changes)]
    fn join(&self, cx: &Context, request: Join) -> Result<Joined>;

    /// Ends a join, also when the sandbox is gone.
    #[call(class = "normal", lock = "object", changes)]
    fn leave(&self, cx: &Context, request: Leave) -> Result<Left>;
}

/// What a network driver can do.
#[derive(Data)]
pub struct NetworkCapabilities {
    /// It changes the machine itself.
    pub acts: bool,
    /// Its containers get a network namespace of their own.
    pub needs_sandbox: bool,
    /// Its containers stay in the host's network namespace.
    pub shares_host: bool,
    /// Most endpoints of this driver in one sandbox; 0 for any number.
    pub max_per_sandbox: u16,
}

/// The request of [`NetworkDriver::create_network`].
#[derive(Data)]
pub struct CreateNetwork {
    /// The new network.
    pub network: NetworkId,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: Vec<OptionValue>,
}

/// The answer of [`NetworkDriver::create_network`].
#[derive(Data)]
pub struct NetworkCreated {
    /// The driver's note.
    pub note: Note,
    /// What the host performs, on its own side only.
    pub plan: NetworkPlan,
}

/// The request of [`NetworkDriver::delete_network`].
#[derive(Data)]
pub struct DeleteNetwork {
    /// The network.
    pub network: NetworkId,
    /// The driver's note.
    pub note: Note,
}

/// The answer of [`NetworkDriver::delete_network`].
#[derive(Data)]
pub struct NetworkDeleted {
    /// How it went.
    pub outcome: Ended,
}

/// The request of [`NetworkDriver::create_endpoint`].
#[derive(Data)]
pub struct CreateEndpoint {
    /// The network.
    pub network: NetworkId,
    /// The driver's note on it.
    pub network_note: Note,
    /// The new endpoint.
    pub endpoint: EndpointId,
    /// Its options.
    pub options: Vec<OptionValue>,
}

/// The answer of [`NetworkDriver::create_endpoint`].
#[derive(Data)]
pub struct EndpointCreated {
    /// The driver's note.
    pub note: Note,
}

/// The request of [`NetworkDriver::delete_endpoint`].
#[derive(Data)]
pub struct DeleteEndpoint {
    /// The network.
    pub network: NetworkId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The driver's note on the endpoint.
    pub note: Note,
}

/// The answer of [`NetworkDriver::delete_endpoint`].
#[derive(Data)]
pub struct EndpointDeleted {
    /// How it went.
    pub outcome: Ended,
}

/// The request of [`NetworkDriver::join`].
#[derive(Data)]
pub struct Join {
    /// The network.
    pub network: NetworkId,
    /// The driver's note on it.
    pub network_note: Note,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The driver's note on it.
    pub note: Note,
    /// The container's host name.
    pub hostname: String,
    /// The number wanted for its link, as in `eth0`.
    pub index: u16,
}

/// The answer of [`NetworkDriver::join`].
#[derive(Data)]
pub struct Joined {
    /// What the host performs.
    pub plan: NetworkPlan,
    /// The driver's note on the endpoint, which replaces the one before.
    pub note: Note,
}

/// The request of [`NetworkDriver::leave`].
#[derive(Data)]
pub struct Leave {
    /// The network.
    pub network: NetworkId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The driver's note on it.
    pub note: Note,
}

/// The answer of [`NetworkDriver::leave`].
#[derive(Data)]
pub struct Left {
    /// How it went.
    pub outcome: Ended,
}
