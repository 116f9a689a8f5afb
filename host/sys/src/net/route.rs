//! Links, addresses, routes and neighbours of one network namespace, by rtnetlink.
//!
//! Each function that changes something makes one [`Message`]; [`Routing::perform`] sends several of
//! them in one call. Reading takes only what the host judges by, and ignores what it does not know.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::{
    ACK, Attributes, CREATE, DUMP, EXCLUSIVE, Message, REPLACE, Refused, Reply, Socket, attribute, text_of, u32_at,
};
use crate::error::Result;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const PORT_KIND: u16 = 4;
const PORT_DATA: u16 = 5;
const VETH_PEER: u16 = 1;

const UP: u32 = 1;

/// Table `main`.
pub const TABLE_MAIN: u32 = 254;
/// Table `local`, which is the kernel's.
pub const TABLE_LOCAL: u32 = 255;

/// An address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
}

/// A link as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias; empty without one.
    pub alias: String,
    /// Its kind; empty for a device.
    pub kind: String,
    /// The number of the link that it is a port of.
    pub master: Option<u32>,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is raised.
    pub up: bool,
}

/// A link to be made.
#[derive(Debug, Default)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// The number of the link below it.
    pub parent: Option<u32>,
    /// The number of the link that it becomes a port of.
    pub master: Option<u32>,
    /// Whether it is raised at once.
    pub up: bool,
    /// The namespace in which it appears, when not in the socket's own.
    pub namespace: Option<BorrowedFd<'a>>,
    /// The other half of a veth pair.
    pub peer: Option<NewPeer<'a>>,
    /// What stands in the kind's own data.
    pub data: Attributes,
    /// Whether the kind has data.
    pub has_data: bool,
}

/// The other half of a veth pair. It cannot be raised by the same message.
#[derive(Debug)]
pub struct NewPeer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// The namespace in which it appears, when not in the socket's own.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Changes of a link that is there.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// A new name.
    pub name: Option<&'a str>,
    /// A new alias.
    pub alias: Option<&'a str>,
    /// A new hardware address.
    pub mac: Option<[u8; 6]>,
    /// A new MTU.
    pub mtu: Option<u32>,
    /// The link that it becomes a port of; 0 for none.
    pub master: Option<u32>,
    /// Raised or lowered.
    pub up: Option<bool>,
    /// Moved there.
    pub namespace: Option<BorrowedFd<'a>>,
    /// What it has as a port of a master of this kind.
    pub port: Option<(&'a str, &'a Attributes)>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The number of the link that it leads out of.
    pub link: Option<u32>,
    /// Whether it is of IPv6.
    pub v6: bool,
    /// Where it leads; everything without one.
    pub to: Option<Net>,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The table.
    pub table: u32,
    /// The metric; 0 leaves it to the kernel.
    pub metric: u32,
    /// The scope.
    pub scope: u8,
    /// The address preferred as source.
    pub source: Option<IpAddr>,
    /// Whether the next hop is on the link although no address says so.
    pub on_link: bool,
}

/// An entry of a neighbour table, or an address that the host answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The hardware address.
    pub mac: Option<[u8; 6]>,
    /// Whether the host answers for it.
    pub proxy: bool,
}

fn head(family: u8, index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(change.to_ne_bytes());
    bytes
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv6() { 10 } else { 2 }
}

fn address_in(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn put_namespace(attributes: &mut Attributes, namespace: Option<BorrowedFd<'_>>) {
    if let Some(namespace) = namespace {
        attributes.put(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    }
}

fn put_common(attributes: &mut Attributes, mac: Option<[u8; 6]>, mtu: Option<u32>) {
    if let Some(mac) = mac {
        attributes.put(IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = mtu {
        attributes.number(IFLA_MTU, mtu);
    }
}

/// Makes a link; one of this name must not be there.
pub fn make_link(link: &NewLink<'_>) -> Message {
    let flags = if link.up { UP } else { 0 };
    let mut message = Message::new(NEW_LINK, ACK | CREATE | EXCLUSIVE, &head(0, 0, flags, flags));
    let body = message.body();
    body.text(IFLA_IFNAME, link.name);
    put_common(body, link.mac, link.mtu);
    for (number, index) in [(IFLA_LINK, link.parent), (IFLA_MASTER, link.master)] {
        if let Some(index) = index {
            body.number(number, index);
        }
    }
    put_namespace(body, link.namespace);
    body.nest(IFLA_LINKINFO, |info| {
        info.text(INFO_KIND, link.kind);
        if let Some(peer) = &link.peer {
            info.nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, |inner| {
                    inner.raw(&head(0, 0, 0, 0)).text(IFLA_IFNAME, peer.name);
                    put_common(inner, peer.mac, peer.mtu);
                    put_namespace(inner, peer.namespace);
                });
            });
        } else if link.has_data {
            info.nest(INFO_DATA, |data| data.clone_from(&link.data));
        }
    });
    message
}

/// Which link is changed.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The link of this number.
    Index(u32),
    /// The link that has this name when the message arrives; its name cannot be changed then.
    Name(&'a str),
}

/// Changes a link.
pub fn change_link(target: Target<'_>, changes: &Changes<'_>) -> Message {
    let (flags, change) = match changes.up {
        Some(true) => (UP, UP),
        Some(false) => (0, UP),
        None => (0, 0),
    };
    let (index, name) = match target {
        Target::Index(index) => (index, changes.name),
        Target::Name(name) => (0, Some(name)),
    };
    // A port's own data is taken only by the message that also makes links.
    let kind = if changes.port.is_some() { NEW_LINK } else { SET_LINK };
    let mut message = Message::new(kind, ACK, &head(0, index, flags, change));
    if let Some(name) = name {
        message.body().text(IFLA_IFNAME, name);
    }
    fill_changes(message.body(), changes);
    message
}

fn fill_changes(body: &mut Attributes, changes: &Changes<'_>) {
    if let Some(alias) = changes.alias {
        body.text(IFLA_IFALIAS, alias);
    }
    put_common(body, changes.mac, changes.mtu);
    if let Some(master) = changes.master {
        body.number(IFLA_MASTER, master);
    }
    put_namespace(body, changes.namespace);
    if let Some((kind, data)) = changes.port {
        body.nest(IFLA_LINKINFO, |info| {
            info.text(PORT_KIND, kind);
            info.nest(PORT_DATA, |inner| inner.clone_from(data));
        });
    }
}

/// Removes a link.
pub fn delete_link(index: u32) -> Message {
    Message::new(DELETE_LINK, ACK, &head(0, index, 0, 0))
}

/// Gives a link an address, or takes it away.
pub fn address(add: bool, link: u32, net: Net, peer: Option<IpAddr>, scope: u8, no_dad: bool) -> Message {
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    const BROADCAST: u16 = 4;
    const FLAGS: u16 = 8;
    const NO_DAD: u32 = 2;
    let (kind, flags) = if add {
        (NEW_ADDRESS, ACK | CREATE | EXCLUSIVE)
    } else {
        (DELETE_ADDRESS, ACK)
    };
    let mut fixed = vec![family_of(net.address), net.prefix, 0, scope];
    fixed.extend(link.to_ne_bytes());
    let mut message = Message::new(kind, flags, &fixed);
    let body = message.body();
    body.put(LOCAL, &bytes_of(net.address));
    body.put(ADDRESS, &bytes_of(peer.unwrap_or(net.address)));
    if let (IpAddr::V4(v4), None, true) = (net.address, peer, net.prefix < 31) {
        let hosts = u32::MAX.checked_shr(u32::from(net.prefix)).unwrap_or(0);
        body.put(BROADCAST, &(u32::from(v4) | hosts).to_be_bytes());
    }
    if no_dad && net.address.is_ipv6() {
        body.number(FLAGS, NO_DAD);
    }
    message
}

/// Adds a route, or removes it.
pub fn route(add: bool, route: &Route) -> Message {
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    const ON_LINK: u32 = 4;
    let (kind, flags) = if add {
        (NEW_ROUTE, ACK | CREATE | EXCLUSIVE)
    } else {
        (DELETE_ROUTE, ACK)
    };
    let table = u8::try_from(route.table).unwrap_or(0);
    let prefix = route.to.map_or(0, |net| net.prefix);
    let family = if route.v6 { 10 } else { 2 };
    let mut fixed = vec![family, prefix, 0, 0, table, STATIC, route.scope, UNICAST];
    fixed.extend(if route.on_link { ON_LINK } else { 0 }.to_ne_bytes());
    let mut message = Message::new(kind, flags, &fixed);
    let body = message.body();
    body.number(15, route.table);
    if let Some(to) = route.to {
        body.put(1, &bytes_of(to.address));
    }
    if let Some(link) = route.link {
        body.number(4, link);
    }
    if let Some(via) = route.via {
        body.put(5, &bytes_of(via));
    }
    if route.metric != 0 {
        body.number(6, route.metric);
    }
    if let Some(source) = route.source {
        body.put(7, &bytes_of(source));
    }
    message
}

/// Adds an entry of a neighbour table, or removes it.
pub fn neighbour(add: bool, entry: &Neighbour) -> Message {
    const PROXY: u8 = 8;
    const PERMANENT: u16 = 0x80;
    let (kind, flags) = if add {
        (NEW_NEIGHBOUR, ACK | CREATE | REPLACE)
    } else {
        (DELETE_NEIGHBOUR, ACK)
    };
    let mut fixed = vec![family_of(entry.address), 0, 0, 0];
    fixed.extend(entry.link.to_ne_bytes());
    fixed.extend(PERMANENT.to_ne_bytes());
    fixed.extend([if entry.proxy { PROXY } else { 0 }, 0]);
    let mut message = Message::new(kind, flags, &fixed);
    message.body().put(1, &bytes_of(entry.address));
    if let Some(mac) = entry.mac {
        message.body().put(2, &mac);
    }
    message
}

/// A socket for one network namespace: the one that its maker's thread was in.
#[derive(Debug)]
pub struct Routing(Socket);

impl Routing {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self> {
        Socket::open(None).map(Self)
    }

    /// Sends messages in one call. The kernel performs each by itself and goes on after one that
    /// failed.
    ///
    /// # Errors
    /// That of the first message that failed.
    pub fn perform(&mut self, messages: &[Message]) -> std::result::Result<(), Refused> {
        self.0.perform("rtnetlink", messages)
    }

    /// All links.
    ///
    /// # Errors
    /// The kernel's.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let found = self
            .0
            .dump("rtnetlink", &Message::new(GET_LINK, DUMP, &head(0, 0, 0, 0)))?;
        Ok(found.iter().filter_map(link_of).collect())
    }

    /// The link of a name, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut request = Message::new(GET_LINK, 0, &head(0, 0, 0, 0));
        request.body().text(IFLA_IFNAME, name);
        match self.0.dump("rtnetlink", &request) {
            Ok(found) => Ok(found.iter().find_map(link_of)),
            Err(error) if error.is(rustix::io::Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The addresses of all links, each with its link's number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&mut self) -> Result<Vec<(u32, Net)>> {
        let found = self.0.dump("rtnetlink", &Message::new(GET_ADDRESS, DUMP, &[0; 8]))?;
        Ok(found.iter().filter_map(address_of).collect())
    }

    /// The unicast routes of table `main`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let found = self.0.dump("rtnetlink", &Message::new(GET_ROUTE, DUMP, &[0; 12]))?;
        Ok(found
            .iter()
            .filter_map(route_of)
            .filter(|route| route.table == TABLE_MAIN)
            .collect())
    }
}

fn link_of(reply: &Reply) -> Option<Link> {
    if reply.kind != NEW_LINK {
        return None;
    }
    let attributes = reply.body.get(16..)?;
    let number = |which| attribute(attributes, which).and_then(|value| u32_at(value, 0));
    let info = attribute(attributes, IFLA_LINKINFO).unwrap_or_default();
    Some(Link {
        index: u32_at(&reply.body, 4)?,
        name: attribute(attributes, IFLA_IFNAME).map(text_of)?,
        alias: attribute(attributes, IFLA_IFALIAS).map(text_of).unwrap_or_default(),
        kind: attribute(info, INFO_KIND).map(text_of).unwrap_or_default(),
        master: number(IFLA_MASTER),
        mac: attribute(attributes, IFLA_ADDRESS).and_then(|value| value.try_into().ok()),
        mtu: number(IFLA_MTU).unwrap_or(0),
        up: u32_at(&reply.body, 8)? & UP != 0,
    })
}

fn address_of(reply: &Reply) -> Option<(u32, Net)> {
    if reply.kind != NEW_ADDRESS {
        return None;
    }
    let attributes = reply.body.get(8..)?;
    let own = attribute(attributes, 2).or_else(|| attribute(attributes, 1))?;
    let net = Net {
        address: address_in(own)?,
        prefix: *reply.body.get(1)?,
    };
    Some((u32_at(&reply.body, 4)?, net))
}

fn route_of(reply: &Reply) -> Option<Route> {
    const UNICAST: u8 = 1;
    if reply.kind != NEW_ROUTE || *reply.body.get(7)? != UNICAST {
        return None;
    }
    let attributes = reply.body.get(12..)?;
    let address = |which| attribute(attributes, which).and_then(address_in);
    let number = |which| attribute(attributes, which).and_then(|value| u32_at(value, 0));
    let prefix = *reply.body.get(1)?;
    Some(Route {
        link: number(4),
        v6: *reply.body.first()? == 10,
        to: address(1).map(|address| Net { address, prefix }),
        via: address(5),
        table: number(15).unwrap_or(u32::from(*reply.body.get(4)?)),
        metric: number(6).unwrap_or(0),
        scope: *reply.body.get(6)?,
        source: address(7),
        on_link: u32_at(&reply.body, 8)? & 4 != 0,
    })
}
