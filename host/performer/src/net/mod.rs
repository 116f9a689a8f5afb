//! Network plans: checked as a whole, performed on both sides of a sandbox, undone from a log.
//!
//! Here live: what a data root owns on a machine ([`Ownership`]), the check of a plan against what
//! its network may touch ([`Scope`], [`check`]), the performer of one network namespace
//! ([`NetworkHost`]), undo logs, the one table of the packet filter, ports held by sockets
//! ([`ports`]), the process that serves loopback ports ([`keeper`]), names ([`names`]). Not here:
//! which network there is and who is in it, which is the engine's; sockets of netlink and the
//! meaning of its messages, which are in `longshore-sys`.
//!
//! # Sides
//! The host's side is the namespace in which [`NetworkHost::open`] was called. The sandbox comes by
//! descriptor, and is entered only by threads of this module that end there: no other thread of the
//! process ever leaves its namespace.
//!
//! # Undo
//! The log of an endpoint or network is written before its first step, on tmpfs: like the network
//! itself it does not outlive a boot. Each inverse names its object by more than its name (a link
//! also by its alias, a map's element by its value), so that what belongs to somebody else stays.

pub mod check;
pub mod keeper;
pub mod names;
pub mod ports;

mod collect;
mod facts;
mod filter;
mod foreign;
mod inside;
mod own;
mod perform;
mod rules;
mod sysctl;
mod undo;

pub use collect::{Live, Removed};
pub use facts::facts;
pub use foreign::{ForeignChain, foreign_chains};
pub use own::{Ownership, claim_prefix};
pub use perform::{NetworkHost, Performed};

use longshore_core::steps::{NetStep, NetworkPlan, Protocol, Side};
use longshore_core::types::{EndpointId, IfName, IpAddr, IpNet, NetworkId};

/// A port that the host granted, and holds by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// The address; an unspecified one stands for all of its family.
    pub host: IpAddr,
    /// The port.
    pub port: u16,
}

/// Which of an endpoint's plans one is: each has its own undo log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// That of the network, or of the endpoint's join.
    Main,
    /// That of its published ports.
    Ports,
}

/// What one plan may touch.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The endpoint; absent for the network's own plan.
    pub endpoint: Option<&'a EndpointId>,
    /// Which of its plans this is.
    pub part: Part,
    /// Kinds of links that the driver may make.
    pub link_kinds: &'a [String],
    /// Links of the host that are granted: parents, links to be moved, names that the user chose.
    pub granted: &'a [IfName],
    /// Links that the network's own plan makes, see [`links_of`]; for an endpoint's plan.
    pub links: &'a [IfName],
    /// The network's subnets.
    pub pools: &'a [IpNet],
    /// Ports that this endpoint was granted.
    pub ports: &'a [GrantedPort],
    /// Whether this endpoint gives the sandbox its default route.
    pub default_route: bool,
}

impl<'a> Scope<'a> {
    /// The scope of a network's own plan, with nothing granted.
    pub fn network(network: &'a NetworkId) -> Self {
        Self {
            network,
            endpoint: None,
            part: Part::Main,
            link_kinds: &[],
            granted: &[],
            links: &[],
            pools: &[],
            ports: &[],
            default_route: false,
        }
    }

    /// The scope of an endpoint's plan, with nothing granted.
    pub fn endpoint(network: &'a NetworkId, endpoint: &'a EndpointId) -> Self {
        Self {
            endpoint: Some(endpoint),
            ..Self::network(network)
        }
    }

    /// What the alias of its links and its log are called by.
    pub(crate) fn object(&self) -> &str {
        self.endpoint.map_or_else(|| self.network.as_str(), EndpointId::as_str)
    }
}

/// The links that a network's own plan makes on the host.
pub fn links_of(plan: &NetworkPlan) -> Vec<IfName> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            NetStep::Link {
                side: Side::Host, name, ..
            } => Some(name.clone()),
            _ => None,
        })
        .collect()
}
