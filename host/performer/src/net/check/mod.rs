//! The check of a network plan: whole or nothing, before the first step.
//!
//! It judges by the plan and its [`Scope`] alone and asks nobody, so that it is the same wherever a
//! plan came from. What it lets pass can still be refused by the kernel.

mod attributes;
mod rule;

use longshore_core::error::{Error, Result};
use longshore_core::steps::{
    LinkMode, MAX_NET_STEPS, MadeBy, NetStep, NetworkPlan, Peer, Protocol, ProxyProtocol, Side,
};
use longshore_core::types::{IfName, IpAddr, IpNet};

use super::own::Ownership;
use super::{GrantedPort, Scope, sysctl};

const TABLE_LOCAL: u32 = 255;

/// Checks a plan.
///
/// # Errors
/// `Broken`, naming the step and the rule that it breaks: a driver that answers this is at fault.
pub fn check(plan: &NetworkPlan, scope: &Scope<'_>, own: &Ownership) -> Result<()> {
    if plan.steps.len() > MAX_NET_STEPS {
        return Err(Error::broken(format!(
            "the network plan has {} steps, the limit is {MAX_NET_STEPS}",
            plan.steps.len()
        )));
    }
    let mut checking = Checking {
        scope,
        own,
        host: Vec::new(),
        sandbox: Vec::new(),
    };
    for (index, step) in plan.steps.iter().enumerate() {
        checking.step(step).map_err(|why| {
            Error::broken(format!(
                "step {} of the plan for {} is refused, and with it the whole: {why}",
                index + 1,
                scope.endpoint.map_or_else(
                    || format!("network {}", scope.network),
                    |endpoint| format!("endpoint {endpoint}")
                )
            ))
        })?;
    }
    Ok(())
}

type Verdict = std::result::Result<(), String>;

pub(super) struct Checking<'a> {
    pub(super) scope: &'a Scope<'a>,
    own: &'a Ownership,
    /// Links that the plan made so far on the host.
    host: Vec<&'a IfName>,
    /// And inside.
    sandbox: Vec<&'a IfName>,
}

impl<'a> Checking<'a> {
    fn step(&mut self, step: &'a NetStep) -> Verdict {
        match step {
            NetStep::Up { side, link } => self.uses(*side, link),
            NetStep::Link { .. } => self.link(step),
            NetStep::Move {
                name, to, mac, made_by, ..
            } => {
                unicast(mac.as_ref())?;
                self.moved(name, to, *made_by)
            }
            NetStep::Address {
                side,
                link,
                address,
                peer,
                ..
            } => self.address(*side, link, *address, *peer),
            NetStep::Route { .. } => self.route(step),
            NetStep::Neighbour {
                side, link, mac, proxy, ..
            } => {
                unicast(mac.as_ref())?;
                if mac.is_some() == *proxy {
                    return Err("a neighbour has a hardware address, a proxy entry has none".into());
                }
                self.uses(*side, link)
            }
            NetStep::Sysctl { side, key, value } => {
                if value.is_empty() || value.len() > sysctl::MOST_VALUE || value.bytes().any(|b| b.is_ascii_control()) {
                    return Err(format!("the value of {key} is not one line of 1 to 64 bytes"));
                }
                self.sysctl(*side, key)
            }
            NetStep::Rule { .. } => self.rule(step),
            NetStep::Port {
                protocol,
                host,
                host_port,
                target,
                target_port,
            } => self.port(*protocol, *host, *host_port, *target, *target_port),
            NetStep::Proxy {
                protocol,
                listen,
                listen_port,
                target,
                target_port,
            } => self.proxy(*protocol, *listen, *listen_port, *target, *target_port),
            NetStep::Names { names, addresses } => self.names(names.len(), addresses),
        }
    }

    fn side(&self, side: Side) -> Verdict {
        match side {
            Side::Host => Ok(()),
            Side::Sandbox if self.scope.endpoint.is_some() => Ok(()),
            Side::Sandbox => Err("a network's own plan has no sandbox".into()),
            Side::Unknown => Err("it is on a side that this host does not know".into()),
        }
    }

    /// Whether a step may name a link on the host: made by this plan, the network's own, or granted.
    pub(super) fn is_ours(&self, link: &IfName) -> bool {
        self.host.contains(&link) || self.scope.links.contains(link)
    }

    fn uses(&self, side: Side, link: &IfName) -> Verdict {
        self.side(side)?;
        let known = match side {
            Side::Host => self.is_ours(link),
            _ => link.as_str() == "lo" || self.sandbox.contains(&link),
        };
        if known {
            Ok(())
        } else {
            Err(format!(
                "link {link} is neither made by this plan nor the network's own"
            ))
        }
    }

    fn new_name(&mut self, side: Side, name: &'a IfName) -> Verdict {
        self.side(side)?;
        let made = if side == Side::Host {
            let owned = name.as_str().len() > 6 && name.as_str().starts_with(self.own.prefix().as_str());
            if !owned && !self.scope.granted.contains(name) {
                return Err(format!(
                    "link {name} of the host does not begin with {}",
                    self.own.prefix()
                ));
            }
            &mut self.host
        } else {
            if name.as_str() == "lo" {
                return Err("every sandbox has its own lo".into());
            }
            &mut self.sandbox
        };
        if made.contains(&name) {
            return Err(format!("it makes link {name} twice"));
        }
        made.push(name);
        Ok(())
    }

    fn link(&mut self, step: &'a NetStep) -> Verdict {
        let NetStep::Link {
            side,
            name,
            kind,
            peer,
            parent,
            master,
            mac,
            attributes,
            port,
            mode,
            ..
        } = step
        else {
            return Ok(());
        };
        self.kind(kind)?;
        unicast(mac.as_ref())?;
        if let Some(parent) = parent
            && !self.is_ours(parent)
            && !self.scope.granted.contains(parent)
        {
            return Err(format!("link {parent} of the host is not granted as a parent"));
        }
        if let Some(master) = master {
            self.uses(*side, master)?;
            if side == &Side::Sandbox && master.as_str() == "lo" {
                return Err("lo has no ports".into());
            }
        }
        if !port.is_empty() && master.is_none() {
            return Err(format!("link {name} has a port's attributes and no master"));
        }
        match mode {
            LinkMode::Create => {}
            // What is taken as it is must be where the user can see and name it.
            LinkMode::Ensure if *side == Side::Host && peer.is_none() => {}
            LinkMode::Ensure => return Err("only a single link of the host can be ensured".into()),
            LinkMode::Unknown => return Err("its mode is not known to this host".into()),
        }
        self.new_name(*side, name)?;
        self.peer(kind, peer.as_ref())?;
        attributes::of_kind(self, kind, attributes)?;
        attributes::of_port(self, port)
    }

    fn kind(&self, kind: &str) -> Verdict {
        if self.scope.link_kinds.iter().any(|granted| granted == kind) {
            Ok(())
        } else {
            Err(format!("the driver has no grant for links of kind {kind:?}"))
        }
    }

    fn peer(&mut self, kind: &str, peer: Option<&'a Peer>) -> Verdict {
        match (kind, peer) {
            ("veth", Some(peer)) => {
                unicast(peer.mac.as_ref())?;
                self.new_name(peer.side, &peer.name)
            }
            ("veth", None) => Err("a link of kind veth has a peer".into()),
            (_, Some(_)) => Err(format!("a link of kind {kind} has no peer")),
            (_, None) => Ok(()),
        }
    }

    fn moved(&mut self, name: &'a IfName, to: &'a IfName, made_by: MadeBy) -> Verdict {
        match made_by {
            MadeBy::Host if self.host.contains(&name) => {}
            MadeBy::Driver if self.scope.granted.contains(name) => {}
            MadeBy::Host | MadeBy::Driver => {
                return Err(format!(
                    "link {name} is neither made by this plan nor granted to be moved"
                ));
            }
            MadeBy::Unknown => return Err("who made the link is not known to this host".into()),
        }
        self.host.retain(|made| *made != name);
        self.new_name(Side::Sandbox, to)
    }

    pub(super) fn in_pools(&self, address: IpAddr) -> bool {
        self.scope.pools.iter().any(|pool| pool.contains(address))
    }

    fn address(&self, side: Side, link: &IfName, address: IpNet, peer: Option<IpAddr>) -> Verdict {
        self.uses(side, link)?;
        if peer.is_some_and(|peer| peer.is_ipv4() != address.is_ipv4()) {
            return Err("the two ends of the link have different families".into());
        }
        let inside = |net: IpNet| self.scope.pools.iter().any(|pool| pool.holds(net));
        if side == Side::Host && !inside(address) {
            return Err(format!(
                "address {address} of the host lies in none of the network's subnets"
            ));
        }
        Ok(())
    }

    fn route(&self, step: &NetStep) -> Verdict {
        let NetStep::Route {
            side,
            link,
            to,
            via,
            table,
            source,
            ..
        } = step
        else {
            return Ok(());
        };
        self.side(*side)?;
        match (link, side) {
            (Some(link), _) => self.uses(*side, link)?,
            (None, Side::Host) => return Err("a route of the host names its link".into()),
            (None, _) if via.is_none() => return Err("a route has a link or a next hop".into()),
            (None, _) => {}
        }
        if *table == 0 || *table == TABLE_LOCAL {
            return Err(format!("table {table} is not a driver's to change"));
        }
        if *side == Side::Host && to.is_none_or(|to| to.prefix() == 0) {
            return Err("it would change the host's default route".into());
        }
        let mut families = [
            to.map(IpNet::is_ipv4),
            via.map(IpAddr::is_ipv4),
            source.map(IpAddr::is_ipv4),
        ]
        .into_iter()
        .flatten();
        let Some(first) = families.next() else {
            return Err("a default route has a next hop or a source, which tell its family".into());
        };
        if families.any(|family| family != first) {
            return Err("it mixes IPv4 and IPv6".into());
        }
        Ok(())
    }

    fn sysctl(&self, side: Side, key: &longshore_core::types::SysctlKey) -> Verdict {
        self.side(side)?;
        match sysctl::link_of(key) {
            Some(link) => self.uses(side, &link),
            None if side == Side::Sandbox && sysctl::inside(key) => Ok(()),
            None => Err(format!(
                "{key} is no parameter of a link; global ones are the host's alone"
            )),
        }
    }

    fn endpoint(&self, what: &str) -> Verdict {
        match self.scope.endpoint {
            Some(_) => Ok(()),
            None => Err(format!("{what} belong to an endpoint's plan")),
        }
    }

    fn granted(&self, wanted: GrantedPort) -> bool {
        self.scope.ports.contains(&wanted)
    }

    fn port(&self, protocol: Protocol, host: IpAddr, port: u16, target: IpAddr, target_port: u16) -> Verdict {
        self.endpoint("ports")?;
        if protocol == Protocol::Unknown || !self.granted(GrantedPort { protocol, host, port }) {
            return Err(format!("port {port} of {host} was not granted"));
        }
        if host.is_ipv4() != target.is_ipv4() {
            return Err(format!("{host} and {target} are of different families"));
        }
        self.target(target, target_port)
    }

    fn proxy(&self, protocol: ProxyProtocol, listen: IpAddr, port: u16, target: IpAddr, target_port: u16) -> Verdict {
        self.endpoint("ports")?;
        let protocol = match protocol {
            ProxyProtocol::Tcp => Protocol::Tcp,
            ProxyProtocol::Udp => Protocol::Udp,
            ProxyProtocol::Unknown => return Err("its protocol is not known to this host".into()),
        };
        if !listen.is_loopback() {
            return Err(format!("{listen} is no address of the loopback link"));
        }
        let all = super::ports::unspecified(listen);
        if ![listen, all]
            .into_iter()
            .any(|host| self.granted(GrantedPort { protocol, host, port }))
        {
            return Err(format!("port {port} of {listen} was not granted"));
        }
        self.target(target, target_port)
    }

    fn target(&self, target: IpAddr, port: u16) -> Verdict {
        if port == 0 {
            return Err("port 0 leads nowhere".into());
        }
        if self.in_pools(target) {
            Ok(())
        } else {
            Err(format!("target {target} lies in none of the network's subnets"))
        }
    }

    fn names(&self, count: usize, addresses: &[IpAddr]) -> Verdict {
        self.endpoint("names")?;
        if count > super::names::MOST_NAMES || addresses.len() > super::names::MOST_NAMES {
            return Err(format!(
                "it gives more than {} names or addresses",
                super::names::MOST_NAMES
            ));
        }
        match addresses.iter().find(|address| !self.in_pools(**address)) {
            Some(address) => Err(format!("{address} lies in none of the network's subnets")),
            None => Ok(()),
        }
    }
}

fn unicast(mac: Option<&longshore_core::types::Mac>) -> Verdict {
    match mac {
        Some(mac) if !mac.is_unicast() => Err(format!("{mac} cannot be one link's hardware address")),
        _ => Ok(()),
    }
}
