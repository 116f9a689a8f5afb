//! Network plans: what is to be done to links, addresses, routes and the firewall.
//!
//! A driver writes no netlink message and no firewall text: it writes these steps, and the host
//! checks all of them before it performs the first. The names that it may use are those that it
//! makes, those of its own network, and those that its grants or its user's options give it.
//!
//! # Order and undo
//! Steps are performed in their order, except that all [`Rule`](NetStep::Rule) and
//! [`Port`](NetStep::Port) steps form one firewall transaction after the links and before
//! [`Proxy`](NetStep::Proxy) and [`Names`](NetStep::Names). Every step can be performed again with
//! the same result, and has an inverse that the host computes from the step alone; an inverse whose
//! object is gone is done. What lies on the sandbox's side needs none: the kernel removes it with
//! the namespace, and with it every pair of links that has a half inside.
//!
//! # What the host writes by itself
//! The alias by which a link is known as its own, the tables, base chains, maps and sets of its
//! firewall, and global switches such as forwarding.

use longshore_macros::Data;

use crate::types::{Bytes, DnsName, IfName, IpAddr, IpNet, Mac, SysctlKey};

/// What is to be done to links, in order.
#[derive(Data)]
pub struct NetworkPlan {
    /// At most [`MAX_NET_STEPS`](super::MAX_NET_STEPS).
    pub steps: Vec<NetStep>,
}

impl NetworkPlan {
    /// A plan that does nothing.
    pub const fn nothing() -> Self {
        Self { steps: Vec::new() }
    }
}

/// On which side of a sandbox's boundary a network step acts.
#[derive(Data)]
pub enum Side {
    /// The host's network namespace.
    Host,
    /// The container's.
    Sandbox,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// One change of a network namespace.
#[derive(Data)]
pub enum NetStep {
    /// Raises a link that is there already, such as `lo`.
    Up {
        /// Which side.
        side: Side,
        /// The link.
        link: IfName,
    },
    /// Makes a link. One of that name which carries this network's or endpoint's alias is taken; any
    /// other is `AlreadyExists`, or taken as it is in mode [`Ensure`](LinkMode::Ensure).
    Link {
        /// Where it lies.
        side: Side,
        /// Its name. On the host it begins with the network's prefix, or the user wrote it as an
        /// option of this very network.
        name: IfName,
        /// The kernel's word for its kind: `bridge`, `veth`, `vlan`. A kind needs a grant.
        kind: String,
        /// The other half of a pair.
        peer: Option<Peer>,
        /// The link below it, on the host (`IFLA_LINK`). Needs a grant, or is the network's own.
        parent: Option<IfName>,
        /// The bridge that it becomes a port of, on the same side.
        master: Option<IfName>,
        /// Its hardware address.
        mac: Option<Mac>,
        /// Its MTU; for a pair, both halves'.
        mtu: Option<u32>,
        /// Whether it is raised. The other half of a pair is raised by a step of its own, inside.
        up: bool,
        /// What its kind has (`IFLA_INFO_DATA`).
        attributes: Vec<Attribute>,
        /// What it has as a port of its master (`IFLA_INFO_SLAVE_DATA`), which the kernel takes only
        /// once it is one: `4` hairpin, `33` isolated, for a bridge.
        port: Vec<Attribute>,
        /// What happens when it is there.
        mode: LinkMode,
    },
    /// Moves a link of the host into the sandbox. At undo it goes back under its old name.
    Move {
        /// Its name on the host.
        name: IfName,
        /// Its name inside.
        to: IfName,
        /// Its hardware address inside; as it is when absent.
        mac: Option<Mac>,
        /// Its MTU inside; as it is when absent.
        mtu: Option<u32>,
        /// Who made it, and so removes it.
        made_by: MadeBy,
    },
    /// Gives a link an address. Of IPv6 the kernel does not look for duplicates with `no_dad`, so the
    /// address can be used at once.
    Address {
        /// Where the link lies.
        side: Side,
        /// The link.
        link: IfName,
        /// The address. On the host it lies in the network's own pools.
        address: IpNet,
        /// The other end's address, on a link between two.
        peer: Option<IpAddr>,
        /// The kernel's scope: 0 everywhere, 253 this link, 254 this host.
        scope: u8,
        /// Whether it may be used before anybody looked for another one with it.
        no_dad: bool,
    },
    /// Adds a route. One of the sandbox without `to` is performed only while this endpoint is the one
    /// that gives the sandbox its default route; on the host there is none without `to`.
    Route {
        /// Where.
        side: Side,
        /// By which link; the kernel finds it by `via` when absent.
        link: Option<IfName>,
        /// What it leads to; everything when absent.
        to: Option<IpNet>,
        /// By which neighbour.
        via: Option<IpAddr>,
        /// The table: 254 is the main one. Never `local`, which is 255.
        table: u32,
        /// The lower, the more wanted; 0 is the kernel's own choice.
        metric: u32,
        /// The kernel's scope, as of an address.
        scope: u8,
        /// The address that what leaves by it comes from.
        source: Option<IpAddr>,
        /// Whether `via` is reached by the link although no address says so.
        on_link: bool,
    },
    /// Adds a neighbour, or an address that is answered for (`proxy`).
    Neighbour {
        /// Where the link lies.
        side: Side,
        /// The link.
        link: IfName,
        /// The neighbour's address.
        address: IpAddr,
        /// Its hardware address; absent exactly with `proxy`.
        mac: Option<Mac>,
        /// Whether the link answers for the address.
        proxy: bool,
    },
    /// Sets a kernel parameter of a link of this plan or network. Inside also some others below
    /// `net`; global ones of the host are the host's alone.
    Sysctl {
        /// Where.
        side: Side,
        /// Which.
        key: SysctlKey,
        /// Its new value; at most 64 bytes, one line.
        value: String,
    },
    /// Adds a rule at the end of the network's own chain of that hook.
    Rule {
        /// In whose firewall.
        side: Side,
        /// When packets meet it.
        hook: Hook,
        /// Which packets.
        family: Family,
        /// All of these must hold. On the host at least one names a link or subnet of this network.
        matches: Vec<Match>,
        /// What happens then.
        verdict: Verdict,
    },
    /// Leads a port of the host to the sandbox: an element of the host's map, never a rule. Only for
    /// ports that the host granted.
    Port {
        /// Of which protocol.
        protocol: Protocol,
        /// At which of the host's addresses; an unspecified one stands for all.
        host: IpAddr,
        /// The host's port.
        host_port: u16,
        /// The address inside, of the same family.
        target: IpAddr,
        /// The port inside.
        target_port: u16,
    },
    /// Serves a port of the host's loopback link, which the kernel does not translate. Only for ports
    /// that the host granted.
    Proxy {
        /// Of which protocol.
        protocol: ProxyProtocol,
        /// The loopback address.
        listen: IpAddr,
        /// The host's port.
        listen_port: u16,
        /// The address inside, of any family.
        target: IpAddr,
        /// The port inside.
        target_port: u16,
    },
    /// Makes the endpoint known by names to the others of its network.
    Names {
        /// The names.
        names: Vec<DnsName>,
        /// What they stand for.
        addresses: Vec<IpAddr>,
    },
}

/// The other half of a pair of links.
#[derive(Data)]
pub struct Peer {
    /// Where it lies.
    pub side: Side,
    /// Its name.
    pub name: IfName,
    /// Its hardware address.
    pub mac: Option<Mac>,
}

/// What happens when a link that is to be made is there.
#[derive(Data)]
pub enum LinkMode {
    /// It must be this network's or endpoint's own.
    Create,
    /// One of the same kind is taken, whoever made it, and left behind at the end.
    Ensure,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// Who made a link that is moved.
#[derive(Data)]
pub enum MadeBy {
    /// The driver: it also removes it.
    Driver,
    /// The host, by an earlier step.
    Host,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// A netlink attribute of a link's kind. Numbers of known kinds are checked by a table; nesting has
/// a limit of 4.
#[derive(Data)]
pub struct Attribute {
    /// The kernel's number.
    pub number: u16,
    /// Its value.
    pub value: AttributeValue,
}

/// A netlink attribute's value.
#[derive(Data)]
pub enum AttributeValue {
    /// One byte.
    U8(u8),
    /// Two bytes in the machine's order.
    U16(u16),
    /// Four bytes in the machine's order.
    U32(u32),
    /// Eight bytes in the machine's order.
    U64(u64),
    /// Two bytes in the network's order.
    Be16(u16),
    /// Four bytes in the network's order.
    Be32(u32),
    /// Text with a NUL at its end.
    Text(String),
    /// An address.
    Ip(IpAddr),
    /// Bytes as they are.
    Bytes(Bytes),
    /// The number of a link that this network may name.
    Link(IfName),
    /// Nothing: that it is there is all.
    Flag,
    /// More of them.
    Nested(Vec<Attribute>),
}

/// When packets meet a rule.
#[derive(Data)]
pub enum Hook {
    /// On their way in, before they are routed (priority dstnat).
    Prerouting,
    /// When they are sent from here (priority -100).
    Output,
    /// On their way through (priority filter).
    Forward,
    /// On their way out (priority srcnat).
    Postrouting,
    /// When they are for here (priority filter).
    Input,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// Of which family packets are.
#[derive(Data)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Either.
    Both,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// A condition of a rule.
#[derive(Data)]
pub struct Match {
    /// Whether it must not hold.
    pub not: bool,
    /// What must hold.
    pub what: Matching,
}

impl Match {
    /// It must hold.
    pub const fn is(what: Matching) -> Self {
        Self { not: false, what }
    }

    /// It must not hold.
    pub const fn not(what: Matching) -> Self {
        Self { not: true, what }
    }
}

/// What a rule looks at.
#[derive(Data)]
pub enum Matching {
    /// The link by which a packet came.
    In(IfName),
    /// The link by which it leaves.
    Out(IfName),
    /// Its source.
    From(IpNet),
    /// Its destination.
    To(IpNet),
    /// Its protocol's number.
    Protocol(u8),
    /// Its source port, TCP or UDP.
    SourcePorts(PortRange),
    /// Its destination port, TCP or UDP.
    Ports(PortRange),
    /// What its connection is.
    State(ConnectionState),
    /// Its destination is an address of this host.
    Local,
    /// Its mark.
    Mark {
        /// What the mark must be in these bits.
        value: u32,
        /// The bits.
        mask: u32,
    },
}

/// Ports, both ends included.
#[derive(Data)]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

/// What a packet's connection is.
#[derive(Data)]
pub enum ConnectionState {
    /// Packets were seen both ways.
    Established,
    /// It belongs to an established one.
    Related,
    /// Its first packet.
    New,
    /// None that can be.
    Invalid,
    /// Its destination was translated: it came to a published port.
    Dnat,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// What happens to a packet.
#[derive(Data)]
pub enum Verdict {
    /// It passes this hook; no later rule of any network sees it there.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused with an answer.
    Reject,
    /// It leaves with the address of the link that it leaves by.
    Masquerade,
    /// It leaves with this source.
    Snat(IpAddr),
    /// It goes to another destination.
    Dnat {
        /// The address.
        address: IpAddr,
        /// The port; as it was when absent.
        port: Option<u16>,
    },
    /// It gets a mark and goes on.
    Mark(u32),
    /// It leaves this chain and goes on.
    Return,
}

/// The protocol of a published port.
#[derive(Data)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The protocol of a port that is served by a process.
#[derive(Data)]
pub enum ProxyProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Something newer.
    #[data(other)]
    Unknown,
}
