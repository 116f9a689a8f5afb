//! What a plugin answers to `Join`, as a plan: its link goes inside under its new name, gets the
//! endpoint's addresses, and is what static routes and the default route go by.

use longshore_core::network::JoinInfo;
use longshore_core::steps::{MadeBy, NetStep, NetworkPlan, Side};
use longshore_core::types::{IfName, IpAddr, IpNet};

use crate::protocol::network::{Joined, Names, StaticRoute};

/// Most static routes.
const MOST_ROUTES: usize = 200;
/// The main table of routes.
const MAIN: u32 = 254;
/// The kernel's scope of what lies at the link.
const AT_LINK: u8 = 253;

/// The plan, and what it was made of.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: NetworkPlan,
    /// The plugin's link, under its name on the host.
    pub(crate) link: Option<IfName>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) gateway6: Option<IpAddr>,
}

/// Reads an answer.
///
/// # Errors
/// A sentence with what does not make sense in it.
pub(crate) fn of_join(answer: &Joined, container: &JoinInfo, index: u16) -> Result<Planned, String> {
    let gateway = self::gateway(&answer.gateway, true)?;
    let gateway6 = self::gateway(&answer.gateway6, false)?;
    let routes = answer.routes.as_deref().unwrap_or_default();
    if routes.len() > MOST_ROUTES {
        return Err(format!(
            "it answers {} static routes, more than {MOST_ROUTES}",
            routes.len()
        ));
    }
    let names = answer.name.as_ref().filter(|names| !names.src_name.is_empty());
    let Some(names) = names else {
        if gateway.is_some() || gateway6.is_some() || !routes.is_empty() {
            return Err("it answers routes, and no link that they go by".into());
        }
        return Ok(Planned {
            plan: NetworkPlan::nothing(),
            link: None,
            gateway,
            gateway6,
        });
    };
    let link = IfName::parse(names.src_name.as_str()).map_err(|error| error.to_string())?;
    let inside = name_inside(names, index)?;
    let mut steps = vec![NetStep::Move {
        name: link.clone(),
        to: inside.clone(),
        mac: container.mac,
        mtu: None,
        made_by: MadeBy::Driver,
    }];
    steps.extend(container.addresses.iter().map(|address| NetStep::Address {
        side: Side::Sandbox,
        link: inside.clone(),
        address: *address,
        peer: None,
        scope: 0,
        no_dad: true,
    }));
    steps.push(NetStep::Up {
        side: Side::Sandbox,
        link: inside.clone(),
    });
    for route in routes {
        steps.push(static_route(route, &inside)?);
    }
    for via in [gateway, gateway6].into_iter().flatten() {
        let reached = container.addresses.iter().any(|net| net.contains(via));
        steps.push(route(&inside, None, Some(via), !reached));
    }
    Ok(Planned {
        plan: NetworkPlan { steps },
        link: Some(link),
        gateway,
        gateway6,
    })
}

fn name_inside(names: &Names, index: u16) -> Result<IfName, String> {
    let name = match (names.dst_name.as_str(), names.dst_prefix.as_str()) {
        ("", "") => return Err(format!("it does not say what link {} is called inside", names.src_name)),
        ("", prefix) => format!("{prefix}{index}"),
        (name, _) => name.to_owned(),
    };
    match IfName::parse(name) {
        Ok(name) if name.as_str() == "lo" => Err("it calls its link lo, which every sandbox has".into()),
        named => named.map_err(|error| error.to_string()),
    }
}

fn gateway(text: &str, v4: bool) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = IpAddr::parse(text).map_err(|error| error.to_string())?;
    if address.is_ipv4() == v4 && !address.is_unspecified() {
        Ok(Some(address))
    } else {
        Err(format!("{address} is no gateway of its family"))
    }
}

fn static_route(said: &StaticRoute, link: &IfName) -> Result<NetStep, String> {
    let to = IpNet::parse(&said.destination).map_err(|error| error.to_string())?;
    // A default route is told as a gateway: it has to give way to that of another network.
    if to.prefix() == 0 {
        return Err(format!("the static route to {to} would be a default route"));
    }
    match said.route_type {
        0 => {
            let via = IpAddr::parse(&said.next_hop).map_err(|error| error.to_string())?;
            Ok(route(link, Some(to), Some(via), false))
        }
        1 => Ok(route(link, Some(to), None, false)),
        other => Err(format!("the route to {to} is of type {other}, which is not known")),
    }
}

fn route(link: &IfName, to: Option<IpNet>, via: Option<IpAddr>, on_link: bool) -> NetStep {
    // IPv6 has no scopes of routes.
    let at_link = via.is_none() && to.is_some_and(IpNet::is_ipv4);
    NetStep::Route {
        side: Side::Sandbox,
        link: Some(link.clone()),
        to,
        via,
        table: MAIN,
        metric: 0,
        scope: if at_link { AT_LINK } else { 0 },
        source: None,
        on_link,
    }
}
