//! Published ports: who reaches them, and what they outlive.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use longshore_core::ErrorKind;
use longshore_core::steps::Protocol;
use longshore_core::types::IpAddr;
use longshore_performer::net::Performed;
use longshore_performer::net::keeper::{self, Proxy};
use longshore_performer::net::ports::HeldPort;
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::route::Routing;
use longshore_sys::socket::{self, Bounds};

use super::bench::{Bench, Connected, Network, hold};
use super::traffic::{Server, is_cut_off, reaches, serve};
use super::world::{CABLE, HOST4, HOST6, World, give, sys, within};
use super::*;

/// The port of servers inside.
const INSIDE: u16 = 80;

/// A published port with a server behind it.
struct Published {
    network: Network,
    connected: Connected,
    held: Vec<HeldPort>,
    performed: Performed,
    /// The host's addresses that it is reached at from outside.
    from_outside: Vec<&'static str>,
    _servers: Vec<Server>,
}

impl Published {
    fn port(&self) -> u16 {
        self.held.first().map_or(0, |held| held.granted.port)
    }
}

fn servers(connected: &Connected, protocol: Protocol) -> Result<Vec<Server>> {
    connected
        .endpoint
        .addresses
        .iter()
        .map(|net| serve(&connected.sandbox, "inside", protocol, net.address(), INSIDE))
        .collect()
}

/// A container with a server, and a port at all addresses of the host.
fn published(bench: &Bench, protocol: Protocol) -> Result<Published> {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    let connected = bench.connect(&network, 2)?;
    let servers = servers(&connected, protocol)?;
    let (mut all, mut from_outside) = (vec!["0.0.0.0"], vec![HOST4]);
    if bench.capabilities.ipv6 {
        all.push("::");
        from_outside.push(HOST6);
    }
    let held = hold(world, protocol, &all, 0)??;
    check(held.len() == all.len(), || {
        "the port is not held at all addresses".into()
    })?;
    let performed = bench.publish(&network, &connected, &held, INSIDE)?;
    Ok(Published {
        network,
        connected,
        held,
        performed,
        from_outside,
        _servers: servers,
    })
}

pub(super) fn a_published_port_answers_from_outside(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let one = published(bench, Protocol::Tcp)?;
    for address in &one.from_outside {
        reaches(
            &world.outside,
            "the outside",
            Protocol::Tcp,
            address,
            one.port(),
            "inside",
        )?;
        // What was not published is not reached, also not the port inside.
        is_cut_off(&world.outside, "the outside", address, INSIDE)?;
    }
    // Taken back, it answers no longer, and is free again.
    let (port, outside) = (one.port(), one.from_outside.clone());
    bench.disconnect(&one.network, &one.connected)?;
    drop(one);
    for address in outside {
        is_cut_off(&world.outside, "the outside", address, port)?;
    }
    hold(world, Protocol::Tcp, &["0.0.0.0"], port)??;
    Ok(())
}

pub(super) fn from_the_hosts_own_address(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let one = published(bench, Protocol::Tcp)?;
    let neighbour = bench.connect(&one.network, 3)?;
    let other = bench.network(&bench.wish(1))?;
    let stranger = bench.connect(&other, 2)?;
    for address in &one.from_outside {
        let ask =
            |namespace: &OwnedFd, who: &str| reaches(namespace, who, Protocol::Tcp, address, one.port(), "inside");
        ask(&world.host, "the host")?;
        ask(&neighbour.sandbox, "a container of the network")?;
        ask(&stranger.sandbox, "a container of another network")?;
        ask(&one.connected.sandbox, "the container itself")?;
    }
    Ok(())
}

/// What serves ports of the loopback link, as it runs beside a container's shim.
struct Keeper {
    control: Option<OwnedFd>,
    thread: Option<JoinHandle<longshore_core::Result<()>>>,
}

impl Keeper {
    fn start(world: &World, held: &[HeldPort], proxies: &[Proxy]) -> Result<Self> {
        let (control, theirs) = socket::pair(Bounds::Messages).map_err(sys)?;
        let host = world.host.try_clone()?;
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            namespace::enter(&host, Kind::Network).map_err(|error| longshore_core::Error::broken(error.to_string()))?;
            keeper::run(theirs)
        })?;
        let served: Vec<_> = proxies
            .iter()
            .filter_map(|proxy| {
                let held = held.iter().find(|held| {
                    held.granted.protocol == proxy.protocol
                        && held.granted.port == proxy.listen.port()
                        && held.granted.host.is_ipv4() == proxy.listen.is_ipv4()
                })?;
                Some((proxy.clone(), held.socket.as_fd()))
            })
            .collect();
        check(served.len() == proxies.len(), || "a proxy has no port".into())?;
        keeper::serve(&control, &served)?;
        Ok(Self {
            control: Some(control),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It ends with its control socket.
        drop(self.control.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn loopback(bench: &Bench) -> Vec<&'static str> {
    let mut all = vec!["127.0.0.1"];
    if bench.capabilities.ipv6 {
        all.push("::1");
    }
    all
}

fn answers_on_loopback(bench: &Bench, one: &Published, protocol: Protocol) -> CaseResult {
    let world = bench.world()?;
    for address in loopback(bench) {
        reaches(&world.host, "the host", protocol, address, one.port(), "inside")?;
    }
    Ok(())
}

pub(super) fn on_127_0_0_1_and_on_the_v6_loopback(bench: &Bench) -> CaseResult {
    let one = published(bench, Protocol::Tcp)?;
    let _keeper = Keeper::start(bench.world()?, &one.held, &one.performed.proxies)?;
    answers_on_loopback(bench, &one, Protocol::Tcp)?;
    // A port of the loopback link alone is not reached from outside.
    let world = bench.world()?;
    let held = hold(world, Protocol::Tcp, &["127.0.0.1"], 0)??;
    let performed = publish_more(bench, &one, &held)?;
    let _second = Keeper::start(world, &held, &performed.proxies)?;
    let port = held.first().map_or(0, |held| held.granted.port);
    reaches(&world.host, "the host", Protocol::Tcp, "127.0.0.1", port, "inside")?;
    is_cut_off(&world.outside, "the outside", HOST4, port)
}

fn publish_more(bench: &Bench, one: &Published, held: &[HeldPort]) -> Result<Performed> {
    bench.publish(&one.network, &one.connected, held, INSIDE)
}

pub(super) fn to_udp(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let one = published(bench, Protocol::Udp)?;
    for address in &one.from_outside {
        reaches(
            &world.outside,
            "the outside",
            Protocol::Udp,
            address,
            one.port(),
            "inside",
        )?;
        reaches(&world.host, "the host", Protocol::Udp, address, one.port(), "inside")?;
    }
    let _keeper = Keeper::start(world, &one.held, &one.performed.proxies)?;
    answers_on_loopback(bench, &one, Protocol::Udp)
}

pub(super) fn only_on_the_asked_address(bench: &Bench) -> CaseResult {
    const ASKED: &str = "198.51.100.9";
    let world = bench.world()?;
    within(&world.host, || {
        give(&mut Routing::open().map_err(sys)?, CABLE, ASKED, 24)
    })?;
    let network = bench.network(&bench.wish(0))?;
    let connected = bench.connect(&network, 2)?;
    let _servers = servers(&connected, Protocol::Tcp)?;
    let held = hold(world, Protocol::Tcp, &[ASKED], 0)??;
    bench.publish(&network, &connected, &held, INSIDE)?;
    let port = held.first().map_or(0, |held| held.granted.port);
    reaches(&world.outside, "the outside", Protocol::Tcp, ASKED, port, "inside")?;
    is_cut_off(&world.outside, "the outside", HOST4, port)
}

pub(super) fn a_taken_port_is_refused_before_any_step(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let foreign = serve(&world.host, "foreign", Protocol::Tcp, IpAddr::parse("0.0.0.0")?, 0)?;
    let port = foreign.at.port();
    expect(hold(world, Protocol::Tcp, &["0.0.0.0"], port)?, ErrorKind::InUse)?;
    // One that another container has, too; and both or none.
    let one = published(bench, Protocol::Tcp)?;
    expect(
        hold(world, Protocol::Tcp, &["127.0.0.1"], one.port())?,
        ErrorKind::InUse,
    )?;
    expect(
        hold(world, Protocol::Tcp, &["127.0.0.7", "0.0.0.0"], port)?,
        ErrorKind::InUse,
    )?;
    reaches(&world.outside, "the outside", Protocol::Tcp, HOST4, port, "foreign")?;
    // A plan with a port that was not granted is refused as a whole.
    let second = bench.connect(&one.network, 3)?;
    let before = world.seen()?;
    let plan = longshore_core::network::ports_plan(&[longshore_core::network::Port {
        protocol: Protocol::Tcp,
        host: IpAddr::parse("0.0.0.0")?,
        host_port: port,
        target: second.address(false)?,
        target_port: INSIDE,
    }]);
    let scope = one.network.scope_of(&second.endpoint.id);
    expect(
        world.perform(&plan, &scope, Some(&second.sandbox)).map(drop),
        ErrorKind::Broken,
    )?;
    check(world.seen()? == before, || "a refused plan changed something".into())
}

pub(super) fn ports_answer_after_engine_death(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let one = published(bench, Protocol::Tcp)?;
    world.kill_engine();
    for address in &one.from_outside {
        reaches(
            &world.outside,
            "the outside",
            Protocol::Tcp,
            address,
            one.port(),
            "inside",
        )?;
        reaches(&world.host, "the host", Protocol::Tcp, address, one.port(), "inside")?;
    }
    Ok(())
}

pub(super) fn loopback_ports_answer_after_engine_death(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let one = published(bench, Protocol::Tcp)?;
    let _keeper = Keeper::start(world, &one.held, &one.performed.proxies)?;
    world.kill_engine();
    answers_on_loopback(bench, &one, Protocol::Tcp)
}
