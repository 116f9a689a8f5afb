//! What a container finds inside, and whom it reaches.

use std::sync::Arc;

use longshore_core::driver::OptionValue;
use longshore_core::steps::Protocol;
use longshore_core::types::IpAddr;

use super::bench::{Bench, Connected, Network};
use super::traffic::{is_cut_off, reaches, serve};
use super::world::{HOST4, HOST6, OUTSIDE4, OUTSIDE6, Seen, fresh, lead, within};
use super::*;

/// A port of servers inside.
const PORT: u16 = 8000;

pub(super) fn the_inside_has_exactly_the_planned_links_addresses_routes(bench: &Bench) -> CaseResult {
    let network = bench.network(&bench.wish(0))?;
    let sandbox = Arc::new(fresh()?);
    let before = Seen::in_namespace(&*sandbox)?;
    let connected = bench.connect_to(&network, 2, Arc::clone(&sandbox), 0)?;
    let after = Seen::in_namespace(&*sandbox)?;
    check(after.link("lo").is_some_and(|lo| lo.up), || "lo is not raised".into())?;
    let fresh: Vec<_> = after
        .links
        .iter()
        .filter(|link| before.link(&link.name).is_none())
        .collect();
    if !bench.capabilities.addresses {
        return check(fresh.is_empty(), || format!("links {:?} appeared", after.names()));
    }
    let [link] = fresh[..] else {
        return Err(Failure::Differs(format!(
            "not one link appeared, but {:?}",
            after.names()
        )));
    };
    check(link.name == "eth0" && link.up, || {
        format!("the link is {} and {}", link.name, if link.up { "up" } else { "down" })
    })?;
    check(link.mac == connected.endpoint.mac.map(|mac| mac.bytes()), || {
        format!(
            "the link's hardware address is {:?}, not {:?}",
            link.mac, connected.endpoint.mac
        )
    })?;
    let mut wanted: Vec<String> = connected.endpoint.addresses.iter().map(ToString::to_string).collect();
    wanted.sort_unstable();
    check(after.addresses_of(link) == wanted, || {
        format!("the link has {:?}, not {wanted:?}", after.addresses_of(link))
    })?;
    let told = [connected.joined.gateway, connected.joined.gateway6];
    let mut gateways: Vec<String> = told.iter().flatten().map(ToString::to_string).collect();
    gateways.sort_unstable();
    check(after.gateways() == gateways, || {
        format!("the default routes lead to {:?}, not {gateways:?}", after.gateways())
    })?;
    check(told == [network.gateway(false), network.gateway(true)], || {
        format!("the gateways are {told:?}, not those of the pools")
    })?;
    let named = longshore_performer::net::names::list(bench.world()?.run(), network.id.as_str())?;
    let known = named.iter().any(|(id, named)| {
        id == connected.endpoint.id.as_str() && named.names.iter().any(|name| name.as_str() == "box")
    });
    check(known || !bench.capabilities.dns, || {
        "its name is not known to the network".into()
    })?;
    bench.disconnect(&network, &connected)?;
    let left = Seen::in_namespace(&*sandbox)?;
    check(left.names() == before.names(), || {
        format!("it left {:?} inside", left.names())
    })?;
    bench.remove(&network)?;
    bench.world()?.check_clean()
}

/// The families of an endpoint's addresses: whether it is IPv6.
fn families(connected: &Connected) -> Vec<bool> {
    connected.endpoint.addresses.iter().map(|net| net.is_ipv6()).collect()
}

/// Fails unless the host and a container reach each other.
pub(super) fn talk(bench: &Bench, network: &Network, connected: &Connected) -> CaseResult {
    let world = bench.world()?;
    for v6 in families(connected) {
        let address = connected.address(v6)?;
        let _inside = serve(&connected.sandbox, "inside", Protocol::Tcp, address, PORT)?;
        reaches(
            &world.host,
            "the host",
            Protocol::Tcp,
            &address.to_string(),
            PORT,
            "inside",
        )?;
        if let Some(gateway) = network.gateway(v6) {
            let _host = serve(&world.host, "host", Protocol::Tcp, gateway, PORT)?;
            reaches(
                &connected.sandbox,
                "a container",
                Protocol::Tcp,
                &gateway.to_string(),
                PORT,
                "host",
            )?;
        }
    }
    Ok(())
}

/// Fails unless two containers reach each other by each family, directly.
fn talk_to_each_other(one: &Connected, other: &Connected) -> CaseResult {
    for v6 in families(one) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (from, to) in [(one, other), (other, one)] {
                let address = to.address(v6)?;
                let _server = serve(&to.sandbox, "inside", protocol, address, PORT)?;
                let seen = reaches(
                    &from.sandbox,
                    "a container",
                    protocol,
                    &address.to_string(),
                    PORT,
                    "inside",
                )?;
                check(seen == from.address(v6)?.to_string(), || {
                    format!("{address} was asked by {seen}, which is not the other container")
                })?;
            }
        }
    }
    Ok(())
}

pub(super) fn two_containers_reach_each_other(bench: &Bench) -> CaseResult {
    let network = bench.network(&bench.wish(0))?;
    let (one, other) = (bench.connect(&network, 2)?, bench.connect(&network, 3)?);
    talk_to_each_other(&one, &other)?;
    talk(bench, &network, &one)
}

pub(super) fn the_outside_is_reached_and_masqueraded(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    let one = bench.connect(&network, 2)?;
    for v6 in families(&one) {
        let (outside, host) = if v6 { (OUTSIDE6, HOST6) } else { (OUTSIDE4, HOST4) };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let _server = serve(&world.outside, "outside", protocol, IpAddr::parse(outside)?, PORT)?;
            let seen = reaches(&one.sandbox, "a container", protocol, outside, PORT, "outside")?;
            check(seen == host, || {
                format!("the outside was asked by {seen}, not by the host {host}")
            })?;
        }
    }
    Ok(())
}

/// Fails when the outside reaches a container by its own address, although it knows the way.
fn is_guarded(bench: &Bench, connected: &Connected) -> CaseResult {
    let world = bench.world()?;
    for v6 in families(connected) {
        let address = connected.address(v6)?;
        let (via, prefix) = if v6 { (HOST6, 128) } else { (HOST4, 32) };
        within(&world.outside, || lead(&address.to_string(), prefix, via))?;
        let _server = serve(&connected.sandbox, "inside", Protocol::Tcp, address, PORT)?;
        is_cut_off(&world.outside, "the outside", &address.to_string(), PORT)?;
    }
    Ok(())
}

pub(super) fn internal_networks_reach_nothing_outside(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let mut wish = bench.wish(0);
    wish.internal = true;
    let network = bench.network(&wish)?;
    let (one, other) = (bench.connect(&network, 2)?, bench.connect(&network, 3)?);
    check(!one.joined.default_route && one.joined.gateway.is_none(), || {
        "an internal network offers a way out".into()
    })?;
    talk_to_each_other(&one, &other)?;
    for v6 in families(&one) {
        let outside = if v6 { OUTSIDE6 } else { OUTSIDE4 };
        let _server = serve(&world.outside, "outside", Protocol::Tcp, IpAddr::parse(outside)?, PORT)?;
        is_cut_off(&one.sandbox, "a container", outside, PORT)?;
        // Nor when both sides find the way by themselves.
        let Some(gateway) = network.gateway(v6) else { continue };
        let (host, prefix) = if v6 { (HOST6, 128) } else { (HOST4, 32) };
        let back = one.address(v6)?.to_string();
        within(&world.outside, || lead(&back, prefix, host))?;
        for container in [&one, &other] {
            within(&*container.sandbox, || lead(outside, prefix, &gateway.to_string()))?;
        }
        is_cut_off(&one.sandbox, "a container with a route", outside, PORT)?;
    }
    is_guarded(bench, &other)
}

pub(super) fn networks_are_isolated_from_each_other(bench: &Bench) -> CaseResult {
    let (first, second) = (bench.network(&bench.wish(0))?, bench.network(&bench.wish(1))?);
    let (one, other) = (bench.connect(&first, 2)?, bench.connect(&second, 2)?);
    for v6 in families(&one) {
        for (from, to) in [(&one, &other), (&other, &one)] {
            let address = to.address(v6)?;
            let _server = serve(&to.sandbox, "inside", Protocol::Tcp, address, PORT)?;
            is_cut_off(
                &from.sandbox,
                "a container of another network",
                &address.to_string(),
                PORT,
            )?;
        }
    }
    is_guarded(bench, &one)?;
    // What is cut off is only what shall be.
    talk(bench, &first, &one)?;
    talk(bench, &second, &other)
}

pub(super) fn a_server_on_port_53_inside_works(bench: &Bench) -> CaseResult {
    let network = bench.network(&bench.wish(0))?;
    let (one, other) = (bench.connect(&network, 2)?, bench.connect(&network, 3)?);
    let address = one.address(families(&one).first().copied().unwrap_or(false))?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _server = serve(&one.sandbox, "names", protocol, address, 53)?;
        reaches(
            &other.sandbox,
            "a container",
            protocol,
            &address.to_string(),
            53,
            "names",
        )?;
        reaches(
            &one.sandbox,
            "the container itself",
            protocol,
            &address.to_string(),
            53,
            "names",
        )?;
    }
    Ok(())
}

pub(super) fn connect_and_disconnect_while_running(bench: &Bench) -> CaseResult {
    let (first, second) = (bench.network(&bench.wish(0))?, bench.network(&bench.wish(1))?);
    let one = bench.connect(&first, 2)?;
    let other = bench.connect(&second, 3)?;
    let address = one.address(families(&one).first().copied().unwrap_or(false))?;
    let gateways = Seen::in_namespace(&*one.sandbox)?.gateways();
    let _server = serve(&one.sandbox, "running", Protocol::Tcp, address, PORT)?;
    let also = bench.connect_to(&second, 2, Arc::clone(&one.sandbox), 1)?;
    check(Seen::in_namespace(&*one.sandbox)?.gateways() == gateways, || {
        "the second network took over the default route".into()
    })?;
    let there = also.address(families(&also).first().copied().unwrap_or(false))?;
    let second_server = serve(&one.sandbox, "second", Protocol::Tcp, there, PORT + 1)?;
    reaches(
        &other.sandbox,
        "the second network",
        Protocol::Tcp,
        &there.to_string(),
        PORT + 1,
        "second",
    )?;
    drop(second_server);
    let host = &bench.world()?.host;
    reaches(host, "the host", Protocol::Tcp, &address.to_string(), PORT, "running")?;
    bench.disconnect(&second, &also)?;
    let seen = Seen::in_namespace(&*one.sandbox)?;
    check(seen.link("eth1").is_none() && seen.link("eth0").is_some(), || {
        format!("after the second network was left the container has {:?}", seen.names())
    })?;
    reaches(host, "the host", Protocol::Tcp, &address.to_string(), PORT, "running")?;
    bench.disconnect(&first, &one)?;
    bench.disconnect(&second, &other)?;
    for network in [&first, &second] {
        bench.remove(network)?;
    }
    bench.world()?.check_clean()
}

pub(super) fn ipv6_only_works(bench: &Bench) -> CaseResult {
    let mut wish = bench.wish(0);
    wish.v4 = false;
    let network = bench.network(&wish)?;
    let (one, other) = (bench.connect(&network, 2)?, bench.connect(&network, 3)?);
    check(families(&one) == [true], || {
        "an endpoint without an IPv4 pool has an IPv4 address".into()
    })?;
    talk_to_each_other(&one, &other)?;
    talk(bench, &network, &one)
}

pub(super) fn mtu_is_kept(bench: &Bench) -> CaseResult {
    let mut wish = bench.wish(0);
    let Some(option) = bench.option("mtu") else {
        return Ok(());
    };
    wish.options = vec![OptionValue::text(option, "1372")];
    let network = bench.network(&wish)?;
    let before = bench.world()?.seen()?;
    let one = bench.connect(&network, 2)?;
    let inside = Seen::in_namespace(&*one.sandbox)?;
    let mtu = inside.link("eth0").map(|link| link.mtu);
    check(mtu == Some(1372), || format!("the link inside has MTU {mtu:?}"))?;
    let outside = bench.world()?.seen()?;
    for link in outside.links.iter().filter(|link| before.link(&link.name).is_none()) {
        check(link.mtu == 1372, || format!("link {} has MTU {}", link.name, link.mtu))?;
    }
    Ok(())
}
