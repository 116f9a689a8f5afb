//! Network drivers: what connects a container.
//!
//! # What it is
//! Docker's container network model: a **sandbox** is one container's network namespace, an
//! **endpoint** its attachment to one **network**. The host makes and pins the sandbox before the
//! container exists; the driver's `join` answers a plan that the host performs on either side of it.
//! A driver that must act by itself gets the sandbox as a descriptor and answers what it did
//! ([`Acted`]), which the host verifies.
//!
//! Addresses are not a network driver's: the host asks an [ipam driver](crate::ipam) and hands them
//! on. Ports are not either: the host grants and binds them, the driver tells how they are reached.
//!
//! # Order
//! ```text
//! create_network · create_endpoint → join → (plan performed) → publish … revoke → leave → delete_endpoint · delete_network
//! ```
//! All changing calls are idempotent by (network, endpoint): the same request gives the same answer,
//! and endings of what is gone are `Absent`, also when the sandbox is gone. Plans are undone by the
//! host: after `revoke`, before `leave`, after `delete_network`.
//!
//! # Worked examples
//! `none`: `needs_sandbox`, `join` answers "raise lo inside". `host`: `shares_host`, `join` answers
//! an empty plan, and the container stays in the host's namespace. `bridge`:
//! ```text
//! create_network  pools 172.18.0.0/16 gateway .1, prefix ls0a1f
//!                 -> Link ls0a1fb… bridge, Address .1/16, Rule postrouting masquerade, Rule forward …
//! create_endpoint addresses 172.18.0.2/16 -> mac 02:42:ac:12:00:02
//! join            -> Link ls0a1fv… veth, peer eth0 inside, master ls0a1fb…; Up eth0; Address; Route default
//! publish         tcp 0.0.0.0:8080 to 172.18.0.2:80 -> Port, Proxy 127.0.0.1:8080
//! ```

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::driver::OptionValue;
use crate::error::{Error, Result};
use crate::graph::Ended;
use crate::steps::{NetStep, NetworkPlan, Protocol, ProxyProtocol};
use crate::types::{
    Bytes, DnsName, EndpointId, Handle, IfName, IpAddr, IpNet, Mac, NetworkId, Note, OwnedPrefix, Pair,
};

/// A network driver. See the [module](self) for what it is.
///
/// | condition | error | what the caller does |
/// |---|---|---|
/// | a bad option | `Invalid`, names it | tells the user |
/// | a network that is there has other options | `AlreadyExists` | tells the user |
/// | endpoints are left | `InUse` | lists them |
/// | a parent link is missing or down | `Unavailable` with a remedy | tells the user |
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

    /// Makes an endpoint, with a hardware address where none was given and the technology has them.
    #[call(class = "normal", lock = "object", changes)]
    fn create_endpoint(&self, cx: &Context, request: CreateEndpoint) -> Result<EndpointCreated>;

    /// Forgets an endpoint that has left; the host releases its addresses afterwards.
    #[call(class = "normal", lock = "object", changes)]
    fn delete_endpoint(&self, cx: &Context, request: DeleteEndpoint) -> Result<EndpointDeleted>;

    /// Tells what puts the endpoint into its sandbox. The same request: an equal plan. While it is
    /// joined to another sandbox: `InUse`.
    #[call(class = "normal", lock = "object", changes)]
    fn join(&self, cx: &Context, request: Join) -> Result<Joined>;

    /// Ends a join, also when the sandbox is gone. The host has undone the plan before.
    #[call(class = "normal", lock = "object", changes)]
    fn leave(&self, cx: &Context, request: Leave) -> Result<Left>;

    /// Tells how ports that the host granted and bound are reached. An equal set: no change; a bigger
    /// one: the difference. The default is [`ports_plan`].
    #[call(class = "normal", lock = "object", changes, capability = "publishes")]
    fn publish(&self, cx: &Context, request: Publish) -> Result<Published> {
        let _ = cx;
        Ok(Published {
            plan: ports_plan(&request.ports),
            warning: None,
        })
    }

    /// Takes ports back; the host undoes their plan afterwards.
    #[call(class = "normal", lock = "object", changes, capability = "publishes")]
    fn revoke(&self, cx: &Context, request: Revoke) -> Result<Revoked> {
        let _ = (cx, request);
        Ok(Revoked { outcome: Ended::Done })
    }

    /// Tells how a network or an endpoint is. `Unsupported` makes the host look whether what the plan
    /// made is there.
    #[call(class = "quick", lock = "any", default)]
    fn status(&self, cx: &Context, request: Status) -> Result<NetworkStatus> {
        let _ = (cx, request);
        Err(Error::unsupported(
            "this driver leaves it to the host to look at its plan",
        ))
    }

    /// Forgets what is of no live network or endpoint.
    #[call(class = "long", lock = "alone", changes, default)]
    fn collect(&self, cx: &Context, request: Collect) -> Result<Collected> {
        let _ = (cx, request);
        Ok(Collected { removed: Vec::new() })
    }
}

/// How ports of the host are led to a sandbox where nothing is special: an element of the host's map
/// for each, and a proxy on the loopback link, which the kernel does not translate.
///
/// A port on all addresses gets both, a port on a loopback address only the proxy, a port on another
/// address only the element. Where the families differ nothing can be translated, and only the proxy
/// is left. The loopback link has no SCTP.
pub fn ports_plan(ports: &[Port]) -> NetworkPlan {
    NetworkPlan {
        steps: ports.iter().flat_map(port_steps).collect(),
    }
}

fn port_steps(port: &Port) -> Vec<NetStep> {
    let mut steps = Vec::new();
    if !port.host.is_loopback() && port.host.is_ipv4() == port.target.is_ipv4() {
        steps.push(NetStep::Port {
            protocol: port.protocol,
            host: port.host,
            host_port: port.host_port,
            target: port.target,
            target_port: port.target_port,
        });
    }
    let listen = match port.host {
        loopback if loopback.is_loopback() => Some(loopback),
        all if all.is_unspecified() && all.is_ipv4() => Some(IpAddr::LOOPBACK_V4),
        all if all.is_unspecified() => Some(IpAddr::LOOPBACK_V6),
        _ => None,
    };
    let protocol = match port.protocol {
        Protocol::Tcp => Some(ProxyProtocol::Tcp),
        Protocol::Udp => Some(ProxyProtocol::Udp),
        Protocol::Sctp | Protocol::Unknown => None,
    };
    if let (Some(listen), Some(protocol)) = (listen, protocol) {
        steps.push(NetStep::Proxy {
            protocol,
            listen,
            listen_port: port.host_port,
            target: port.target,
            target_port: port.target_port,
        });
    }
    steps
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
    /// Whether its networks are this machine's or a cluster's.
    pub scope: NetworkScope,
    /// Its networks reach over several machines.
    pub multihost: bool,
    /// It wants pools and addresses.
    pub addresses: bool,
    /// Ports can be published.
    pub publishes: bool,
    /// Networks can have IPv6.
    pub ipv6: bool,
    /// The ipam driver must be told an endpoint's hardware address.
    pub needs_mac: bool,
    /// An endpoint can join or leave a sandbox whose container runs.
    pub hot: bool,
    /// Its endpoints find each other by name.
    pub dns: bool,
    /// Kinds of link that its plans make; each needs a grant `net:KIND`.
    pub link_kinds: Vec<String>,
    /// Most endpoints of this driver in one sandbox; 0 for any number.
    pub max_per_sandbox: u16,
}

/// Over what a network's name is one.
#[derive(Data)]
pub enum NetworkScope {
    /// This machine.
    Local,
    /// A cluster.
    Global,
    /// Something newer.
    #[data(other)]
    Unknown,
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
    /// What ipam granted it, in the order in which it was asked for.
    pub pools: Vec<Pool>,
    /// Nothing outside shall be reached from it, nor reach it.
    pub internal: bool,
    /// It shall have IPv6.
    pub ipv6: bool,
    /// How the names of its links on the host begin.
    pub prefix: OwnedPrefix,
}

/// Addresses of a network.
#[derive(Data)]
pub struct Pool {
    /// All of them.
    pub subnet: IpNet,
    /// The part that endpoints get theirs from.
    pub range: Option<IpNet>,
    /// The host's own address in it, where it has one.
    pub gateway: Option<IpAddr>,
    /// Addresses that no endpoint gets.
    pub reserved: Vec<Reserved>,
}

/// An address that no endpoint gets.
#[derive(Data)]
pub struct Reserved {
    /// What it is for.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

/// The answer of [`NetworkDriver::create_network`].
#[derive(Data)]
pub struct NetworkCreated {
    /// The driver's note.
    pub note: Note,
    /// What the host performs, on its own side only.
    pub plan: NetworkPlan,
    /// The host's address at which ports are published whose user named none; all of them when
    /// absent.
    pub bind: Option<IpAddr>,
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
    /// The hardware address that the user wants.
    pub mac: Option<Mac>,
    /// What ipam granted; none where the driver finds addresses by itself.
    pub addresses: Vec<IpNet>,
    /// Its options.
    pub options: Vec<OptionValue>,
}

/// The answer of [`NetworkDriver::create_endpoint`].
#[derive(Data)]
pub struct EndpointCreated {
    /// The driver's note.
    pub note: Note,
    /// A hardware address, only where none was given.
    pub mac: Option<Mac>,
    /// Addresses, only where none were given.
    pub addresses: Vec<IpNet>,
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
    /// What is to be connected.
    pub container: JoinInfo,
    /// The sandbox, for a driver that acts by itself; a driver that only describes gets none.
    pub sandbox: Option<Handle>,
    /// The sandbox's path, for tools that take only paths; empty for a driver that only describes.
    pub sandbox_path: Bytes,
    /// The number wanted for its link, as in `eth0`.
    pub index: u16,
}

/// What a join connects.
#[derive(Data)]
pub struct JoinInfo {
    /// The container's host name.
    pub hostname: String,
    /// The names by which others of the network shall find it.
    pub names: Vec<DnsName>,
    /// The endpoint's hardware address, whoever chose it.
    pub mac: Option<Mac>,
    /// The endpoint's addresses.
    pub addresses: Vec<IpNet>,
}

/// The answer of [`NetworkDriver::join`].
#[derive(Data)]
pub struct Joined {
    /// What the host performs.
    pub plan: NetworkPlan,
    /// What the driver did by itself; of a driver that acts.
    pub acted: Option<Acted>,
    /// The IPv4 neighbour that leads outside, where there is one.
    pub gateway: Option<IpAddr>,
    /// The same for IPv6.
    pub gateway6: Option<IpAddr>,
    /// Whether the endpoint can give the sandbox its default route.
    pub default_route: bool,
    /// The driver's note on the endpoint, which replaces the one before.
    pub note: Note,
}

/// What a driver did in a sandbox by itself. The host compares the sandbox before and after: exactly
/// this must have appeared in it, and outside nothing but the named links.
#[derive(Data)]
pub struct Acted {
    /// Links that appeared inside.
    pub links: Vec<ActedLink>,
    /// Routes that appeared inside, beside those that the kernel adds with an address.
    pub routes: Vec<ActedRoute>,
    /// Links that appeared on the host.
    pub host_links: Vec<IfName>,
    /// What else there is to tell.
    pub report: Vec<Pair>,
}

/// A link that a driver put into a sandbox.
#[derive(Data)]
pub struct ActedLink {
    /// Its name inside.
    pub name: IfName,
    /// Its hardware address, where its kind has one.
    pub mac: Option<Mac>,
    /// Its addresses, all but those that the kernel gives by itself.
    pub addresses: Vec<IpNet>,
    /// Its MTU.
    pub mtu: u32,
}

/// A route that a driver added in a sandbox.
#[derive(Data)]
pub struct ActedRoute {
    /// What it leads to; everything when absent.
    pub to: Option<IpNet>,
    /// By which neighbour.
    pub via: Option<IpAddr>,
    /// By which link.
    pub link: Option<IfName>,
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
    /// The sandbox, for a driver that acts by itself; absent when it is gone.
    pub sandbox: Option<Handle>,
}

/// The answer of [`NetworkDriver::leave`].
#[derive(Data)]
pub struct Left {
    /// How it went.
    pub outcome: Ended,
}

/// A port of the host that leads into a sandbox.
#[derive(Data)]
pub struct Port {
    /// Of which protocol.
    pub protocol: Protocol,
    /// At which of the host's addresses; an unspecified one stands for all of its family.
    pub host: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The endpoint's address.
    pub target: IpAddr,
    /// The port inside.
    pub target_port: u16,
}

/// The request of [`NetworkDriver::publish`].
#[derive(Data)]
pub struct Publish {
    /// The network.
    pub network: NetworkId,
    /// The driver's note on it.
    pub network_note: Note,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The driver's note on it.
    pub note: Note,
    /// All its ports, granted and bound.
    pub ports: Vec<Port>,
}

/// The answer of [`NetworkDriver::publish`].
#[derive(Data)]
pub struct Published {
    /// What the host performs.
    pub plan: NetworkPlan,
    /// What the user should know, such as that a network has no way in.
    pub warning: Option<String>,
}

/// The request of [`NetworkDriver::revoke`].
#[derive(Data)]
pub struct Revoke {
    /// The network.
    pub network: NetworkId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The driver's note on it.
    pub note: Note,
    /// The ports that are taken back.
    pub ports: Vec<Port>,
}

/// The answer of [`NetworkDriver::revoke`].
#[derive(Data)]
pub struct Revoked {
    /// How it went.
    pub outcome: Ended,
}

/// The request of [`NetworkDriver::status`].
#[derive(Data)]
pub struct Status {
    /// The network.
    pub network: NetworkId,
    /// The driver's note on it.
    pub note: Note,
    /// The endpoint; the network itself when absent.
    pub endpoint: Option<EndpointId>,
}

/// The answer of [`NetworkDriver::status`].
#[derive(Data)]
pub struct NetworkStatus {
    /// How it is.
    pub state: NetworkState,
    /// What else there is to tell.
    pub info: Vec<Pair>,
}

/// How a network or an endpoint is.
#[derive(Data)]
pub enum NetworkState {
    /// As it should be.
    Up {},
    /// There, but something is wrong.
    Degraded(String),
    /// Not there.
    Absent {},
}

/// The request of [`NetworkDriver::collect`].
#[derive(Data)]
pub struct Collect {
    /// The networks that live.
    pub networks: Vec<NetworkId>,
    /// The endpoints that live.
    pub endpoints: Vec<EndpointId>,
}

/// The answer of [`NetworkDriver::collect`].
#[derive(Data)]
pub struct Collected {
    /// What is gone.
    pub removed: Vec<Pair>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn steps(protocol: Protocol, host: &str, target: &str) -> Vec<String> {
        let port = Port {
            protocol,
            host: IpAddr::parse(host).unwrap(),
            host_port: 8080,
            target: IpAddr::parse(target).unwrap(),
            target_port: 80,
        };
        let plan = ports_plan(&[port]);
        let word = |step: &NetStep| match step {
            NetStep::Port { host, target, .. } => format!("port {host} {target}"),
            NetStep::Proxy { listen, target, .. } => format!("proxy {listen} {target}"),
            other => format!("{other:?}"),
        };
        plan.steps.iter().map(word).collect()
    }

    #[test]
    fn a_port_is_reached_by_the_map_and_on_the_loopback_link_by_a_proxy() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        assert_eq!(
            steps(tcp, "0.0.0.0", "10.0.0.2"),
            ["port 0.0.0.0 10.0.0.2", "proxy 127.0.0.1 10.0.0.2"]
        );
        assert_eq!(steps(udp, "::", "fd00::2"), ["port :: fd00::2", "proxy ::1 fd00::2"]);
        assert_eq!(steps(tcp, "127.0.0.1", "10.0.0.2"), ["proxy 127.0.0.1 10.0.0.2"]);
        assert_eq!(steps(tcp, "192.0.2.7", "10.0.0.2"), ["port 192.0.2.7 10.0.0.2"]);
        assert_eq!(steps(tcp, "::", "10.0.0.2"), ["proxy ::1 10.0.0.2"]);
        assert_eq!(steps(Protocol::Sctp, "0.0.0.0", "10.0.0.2"), ["port 0.0.0.0 10.0.0.2"]);
    }
}
