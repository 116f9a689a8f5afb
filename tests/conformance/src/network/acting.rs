//! Drivers that act by themselves, and links that only move.

use longshore_core::ErrorKind;
use longshore_core::network::Acted;
use longshore_core::steps::{MadeBy, NetStep, NetworkPlan};
use longshore_core::types::IfName;
use longshore_performer::net::{Part, Scope};
use longshore_sys::net::route::{self, NewLink, Routing};

use super::bench::Bench;
use super::world::{Seen, fresh, sys, within};
use super::*;

pub(super) fn delete_network_with_endpoints_is_in_use(bench: &Bench) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let endpoint = bench.endpoint(&network, 2)?;
    expect(bench.delete_network(&network)?, ErrorKind::InUse)?;
    bench.delete_endpoint(&network, &endpoint)??;
    bench.delete_network(&network)??;
    Ok(())
}

/// A link that somebody else made goes in under one name and comes back under the other.
pub(super) fn a_moved_link_comes_back_under_its_name(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.planned(&bench.wish(0))?;
    let endpoint = bench.endpoint(&network, 2)?;
    let sandbox = fresh()?;
    within(&world.host, || {
        let mut routing = Routing::open().map_err(sys)?;
        let link = NewLink {
            name: "card7",
            kind: "dummy",
            ..NewLink::default()
        };
        let made = routing.perform(&[route::make_link(&link)]);
        made.map_err(|refused| Failure::NotHere(format!("this kernel makes no dummy link: {}", refused.error)))
    })?;
    let card = IfName::parse("card7")?;
    let plan = NetworkPlan {
        steps: vec![NetStep::Move {
            name: card.clone(),
            to: IfName::parse("wan0")?,
            mac: None,
            mtu: None,
            made_by: MadeBy::Driver,
        }],
    };
    let scope = network.scope_of(&endpoint.id);
    expect(
        world.perform(&plan, &scope, Some(&sandbox)).map(drop),
        ErrorKind::Broken,
    )?;
    let granted = [card];
    let scope = Scope {
        granted: &granted,
        ..scope
    };
    world.perform(&plan, &scope, Some(&sandbox))?;
    let inside = Seen::in_namespace(&sandbox)?;
    check(
        inside.link("wan0").is_some() && world.seen()?.link("card7").is_none(),
        || format!("the link did not go in: {:?}", inside.names()),
    )?;
    world.undo(endpoint.id.as_str(), Part::Main, Some(&sandbox))?;
    let outside = world.seen()?;
    check(
        outside.link("card7").is_some() && outside.link("wan0").is_none(),
        || format!("the link did not come back: {:?}", outside.names()),
    )
}

/// What a driver that acts says it did is what is there, and nothing else changed.
pub(super) fn an_acting_driver_that_lies_is_broken(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    let endpoint = bench.endpoint(&network, 2)?;
    let sandbox = fresh()?;
    let (inside, outside) = (Seen::in_namespace(&sandbox)?, world.seen()?);
    let joined = bench.join(&network, &endpoint, &sandbox)?;
    let acted = joined
        .acted
        .as_ref()
        .ok_or_else(|| Failure::Differs("a driver that acts does not say what it did".into()))?;
    compare(acted, &inside, &Seen::in_namespace(&sandbox)?)?;
    let appeared: Vec<String> = world
        .seen()?
        .links
        .into_iter()
        .filter(|link| outside.link(&link.name).is_none())
        .map(|link| link.name)
        .collect();
    let claimed: Vec<String> = acted.host_links.iter().map(ToString::to_string).collect();
    check(appeared == claimed, || {
        format!("links {appeared:?} appeared on the host, {claimed:?} were claimed")
    })?;
    bench.leave(&network, &endpoint, Some(&sandbox))??;
    let after = Seen::in_namespace(&sandbox)?;
    check(after.names() == inside.names(), || {
        format!("after it left the inside has {:?}", after.names())
    })
}

fn compare(acted: &Acted, before: &Seen, after: &Seen) -> CaseResult {
    let appeared: Vec<_> = after
        .links
        .iter()
        .filter(|link| before.link(&link.name).is_none())
        .collect();
    check(appeared.len() == acted.links.len(), || {
        format!("{} links appeared, {} were claimed", appeared.len(), acted.links.len())
    })?;
    check(before.links.iter().all(|link| after.link(&link.name).is_some()), || {
        "a link that was there is gone".into()
    })?;
    for claim in &acted.links {
        let link = after
            .link(claim.name.as_str())
            .ok_or_else(|| Failure::Differs(format!("there is no link {}", claim.name)))?;
        check(
            claim.mac.is_none_or(|mac| link.mac == Some(mac.bytes())) && link.mtu == claim.mtu,
            || {
                format!(
                    "link {} has another hardware address or MTU than was claimed",
                    claim.name
                )
            },
        )?;
        let mut claimed: Vec<String> = claim.addresses.iter().map(ToString::to_string).collect();
        claimed.sort_unstable();
        check(after.addresses_of(link) == claimed, || {
            format!(
                "link {} has {:?}, {claimed:?} were claimed",
                claim.name,
                after.addresses_of(link)
            )
        })?;
    }
    let claimed = acted.routes.iter().filter(|route| route.to.is_none()).count();
    check(after.gateways().len() == claimed, || {
        format!(
            "{} default routes are there, {claimed} were claimed",
            after.gateways().len()
        )
    })
}
