//! What a network and an endpoint are made of: links, addresses, routes, rules.
//!
//! # The rules of a network
//! Each network guards its own door: what is forwarded to its bridge is dropped unless it belongs to
//! a connection from inside or came to a published port. So networks are isolated from each other
//! without one knowing another, and from the outside. What is sent from the host itself is not
//! forwarded and passes. No rule is made for a container or a port.

use longshore_plugin::network::{CreateEndpoint, EndpointCreated, Join, Joined};
use longshore_plugin::steps::{
    Attribute, AttributeValue, ConnectionState, Family, Hook, LinkMode, Match, Matching, NetStep, NetworkPlan, Peer,
    Side, Verdict,
};
use longshore_plugin::types::{EndpointId, IfName, IpAddr, IpNet, Mac, Note, SysctlKey};
use longshore_plugin::wire::{decode, encode};
use longshore_plugin::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{self, Network, Outside, Subnet, Translation};

/// `IFLA_BR_MCAST_SNOOPING`.
const MULTICAST_SNOOPING: u16 = 23;
/// `IFLA_BRPORT_MODE`.
const HAIRPIN: u16 = 4;
/// `IFLA_BRPORT_ISOLATED`.
const ISOLATED: u16 = 33;
/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

/// An endpoint as its note keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Its link on the host.
    pub(crate) outer: IfName,
    /// The name of its link inside that a user gave.
    pub(crate) inner: Option<IfName>,
    pub(crate) mac: Mac,
    pub(crate) addresses: Vec<IpNet>,
}

/// What the host makes for a network.
pub(crate) fn network(network: &Network, outside: &Outside) -> Result<Vec<NetStep>> {
    let mut steps = vec![NetStep::Link {
        side: Side::Host,
        name: network.bridge.clone(),
        kind: "bridge".into(),
        peer: None,
        parent: None,
        master: None,
        mac: Some(network.mac),
        mtu: network.mtu,
        up: false,
        // A bridge that snoops forgets who listens to neighbour discovery when nobody asks.
        attributes: vec![Attribute {
            number: MULTICAST_SNOOPING,
            value: AttributeValue::U8(0),
        }],
        port: vec![],
        mode: if network.named {
            LinkMode::Ensure
        } else {
            LinkMode::Create
        },
    }];
    if network.v6.is_some() {
        for (word, value) in [("disable_ipv6", "0"), ("accept_ra", "0")] {
            steps.push(sysctl(Side::Host, &network.bridge, word, value)?);
        }
    }
    for subnet in network.subnets() {
        if let Some(gateway) = subnet.gateway {
            let address = IpNet::new(gateway, subnet.net.prefix())?;
            steps.push(self::address(Side::Host, &network.bridge, address));
        }
    }
    steps.push(NetStep::Up {
        side: Side::Host,
        link: network.bridge.clone(),
    });
    steps.extend(forward(network, outside));
    if !network.internal {
        for (subnet, translation) in [(&network.v4, &outside.v4), (&network.v6, &outside.v6)] {
            if let Some(subnet) = subnet {
                steps.extend(leaving(network, subnet, translation));
            }
        }
    }
    Ok(steps)
}

/// What may be forwarded to and from the bridge.
fn forward(network: &Network, outside: &Outside) -> Vec<NetStep> {
    let bridge = &network.bridge;
    let rule = |family: Family, matches: Vec<Matching>, verdict: Verdict| NetStep::Rule {
        side: Side::Host,
        hook: Hook::Forward,
        family,
        matches: matches.into_iter().map(Match::is).collect(),
        verdict,
    };
    let (to, from) = (Matching::Out(bridge.clone()), Matching::In(bridge.clone()));
    // Seen here only where bridged packets pass the firewall too.
    let among = rule(Family::Both, vec![from.clone(), to.clone()], Verdict::Return);
    if network.internal {
        return vec![
            among,
            rule(Family::Both, vec![from], Verdict::Drop),
            rule(Family::Both, vec![to], Verdict::Drop),
        ];
    }
    let mut rules: Vec<NetStep> = [ConnectionState::Established, ConnectionState::Related]
        .map(|state| rule(Family::Both, vec![to.clone(), Matching::State(state)], Verdict::Return))
        .into();
    rules.push(among);
    rules.push(rule(
        Family::Both,
        vec![to.clone(), Matching::State(ConnectionState::Dnat)],
        Verdict::Return,
    ));
    let closed = match (outside.v4.protected, outside.v6.protected) {
        (true, true) => Some(Family::Both),
        (true, false) => Some(Family::V4),
        (false, true) => Some(Family::V6),
        (false, false) => None,
    };
    rules.extend(closed.map(|family| rule(family, vec![to], Verdict::Drop)));
    rules
}

/// With which address packets leave.
fn leaving(network: &Network, subnet: &Subnet, translation: &Translation) -> Vec<NetStep> {
    let rule = |matches: Vec<Match>, verdict: Verdict| NetStep::Rule {
        side: Side::Host,
        hook: Hook::Postrouting,
        family: if subnet.net.is_ipv4() { Family::V4 } else { Family::V6 },
        matches,
        verdict,
    };
    let from = Match::is(Matching::From(subnet.net));
    let out = Matching::Out(network.bridge.clone());
    let mut rules = Vec::new();
    if translation.masquerade {
        let verdict = translation.source.map_or(Verdict::Masquerade, Verdict::Snat);
        rules.push(rule(vec![from.clone(), Match::not(out.clone())], verdict));
    }
    // A container that asks for a published port of its own network: without this the answer would
    // come straight from the other container, from an address that was not asked.
    rules.push(rule(
        vec![from, Match::is(out), Match::is(Matching::State(ConnectionState::Dnat))],
        Verdict::Masquerade,
    ));
    rules
}

impl Endpoint {
    /// Reads a request for an endpoint.
    pub(crate) fn read(network: &Network, request: &CreateEndpoint) -> Result<Self> {
        let endpoint = &request.endpoint;
        if request.addresses.is_empty() {
            return Err(Error::invalid(format!(
                "endpoint {endpoint} came without addresses; the bridge driver has none to give"
            )));
        }
        for (at, address) in request.addresses.iter().enumerate() {
            if !network.subnets().any(|subnet| subnet.net.contains(address.address())) {
                return Err(Error::invalid(format!("{address} is in no subnet of this network")));
            }
            if network
                .subnets()
                .any(|subnet| subnet.gateway == Some(address.address()))
            {
                return Err(Error::already_exists(format!("{address} is this network's gateway")));
            }
            if request
                .addresses
                .iter()
                .take(at)
                .any(|other| other.is_ipv4() == address.is_ipv4())
            {
                return Err(Error::invalid(format!(
                    "endpoint {endpoint} came with two addresses of the family of {address}"
                )));
            }
        }
        if let Some(mac) = request.mac.filter(|mac| !mac.is_unicast()) {
            return Err(Error::invalid(format!("{mac} is a group's hardware address, or none")));
        }
        Ok(Self {
            outer: network.prefix.name(&format!("v{}", config::head(endpoint.as_str())))?,
            inner: config::interface_of(&request.options)?,
            mac: request.mac.unwrap_or_else(|| mac(&request.addresses, endpoint)),
            addresses: request.addresses.clone(),
        })
    }

    /// What the host keeps of it, and what it chose by itself.
    pub(crate) fn answer(&self, request: &CreateEndpoint) -> Result<EndpointCreated> {
        Ok(EndpointCreated {
            note: Note::parse(encode(self)?)?,
            mac: request.mac.is_none().then_some(self.mac),
            addresses: vec![],
        })
    }

    /// Reads what the host kept.
    fn of_note(note: &Note) -> Result<Self> {
        decode(note.as_bytes()).map_err(|error| {
            Error::corrupt(format!(
                "the bridge driver's note on this endpoint is not its own ({error}); leave it and join again"
            ))
        })
    }
}

/// What puts an endpoint into its sandbox.
pub(crate) fn join(request: Join) -> Result<Joined> {
    let network = Network::of_note(&request.network_note)?;
    let endpoint = Endpoint::of_note(&request.note)?;
    let inner = match &endpoint.inner {
        Some(name) => name.clone(),
        None => IfName::parse(format!("{}{}", network.interface, request.index))?,
    };
    let mut steps = vec![pair(&network, &endpoint, &inner)];
    steps.push(up("lo")?);
    if network.v6.is_some() {
        steps.push(sysctl(Side::Sandbox, &inner, "disable_ipv6", "0")?);
    }
    steps.push(NetStep::Up {
        side: Side::Sandbox,
        link: inner.clone(),
    });
    for address in &endpoint.addresses {
        steps.push(self::address(Side::Sandbox, &inner, *address));
    }
    let gateway_of = |subnet: &Option<Subnet>| {
        let subnet = subnet.as_ref().filter(|_| !network.internal)?;
        let has_address = endpoint.addresses.iter().any(|a| subnet.net.contains(a.address()));
        subnet.gateway.filter(|_| has_address)
    };
    let (gateway, gateway6) = (gateway_of(&network.v4), gateway_of(&network.v6));
    for via in [gateway, gateway6].into_iter().flatten() {
        steps.push(default_route(&inner, via));
    }
    if !request.container.names.is_empty() {
        steps.push(NetStep::Names {
            names: request.container.names,
            addresses: endpoint.addresses.iter().map(|address| address.address()).collect(),
        });
    }
    Ok(Joined {
        plan: NetworkPlan { steps },
        acted: None,
        gateway,
        gateway6,
        default_route: gateway.is_some() || gateway6.is_some(),
        note: request.note,
    })
}

/// The pair of links between the bridge and the sandbox.
fn pair(network: &Network, endpoint: &Endpoint, inner: &IfName) -> NetStep {
    let on = |number| Attribute {
        number,
        value: AttributeValue::U8(1),
    };
    // Where bridged packets pass the firewall too, a container that asks for its own published port is
    // led back by the port that it asked through.
    let mut port = vec![on(HAIRPIN)];
    if !network.icc {
        // Ports that are isolated reach the bridge itself, and no other isolated port.
        port.push(on(ISOLATED));
    }
    NetStep::Link {
        side: Side::Host,
        name: endpoint.outer.clone(),
        kind: "veth".into(),
        peer: Some(Peer {
            side: Side::Sandbox,
            name: inner.clone(),
            mac: Some(endpoint.mac),
        }),
        parent: None,
        master: Some(network.bridge.clone()),
        mac: None,
        mtu: network.mtu,
        up: true,
        attributes: vec![],
        port,
        mode: LinkMode::Create,
    }
}

fn up(link: &str) -> Result<NetStep> {
    Ok(NetStep::Up {
        side: Side::Sandbox,
        link: IfName::parse(link)?,
    })
}

fn address(side: Side, link: &IfName, address: IpNet) -> NetStep {
    NetStep::Address {
        side,
        link: link.clone(),
        address,
        peer: None,
        scope: 0,
        // Ipam says that nobody else has it.
        no_dad: address.is_ipv6(),
    }
}

fn default_route(link: &IfName, via: IpAddr) -> NetStep {
    NetStep::Route {
        side: Side::Sandbox,
        link: Some(link.clone()),
        to: None,
        via: Some(via),
        table: MAIN_TABLE,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    }
}

fn sysctl(side: Side, link: &IfName, word: &str, value: &str) -> Result<NetStep> {
    Ok(NetStep::Sysctl {
        side,
        key: SysctlKey::parse(format!("net/ipv6/conf/{link}/{word}"))?,
        value: value.into(),
    })
}

/// The hardware address of an endpoint that asked for none: its IPv4 address stands in it, as Docker
/// does it, so that who gets an address again gets the neighbours' memory of it too.
fn mac(addresses: &[IpNet], endpoint: &EndpointId) -> Mac {
    addresses
        .iter()
        .find_map(|address| match address.address().get() {
            std::net::IpAddr::V4(four) => Some(four.octets()),
            std::net::IpAddr::V6(_) => None,
        })
        .map_or_else(
            || config::mac_of(endpoint.as_str()),
            |[a, b, c, d]| Mac::new([0x02, 0x42, a, b, c, d]),
        )
}

#[cfg(test)]
mod tests;
