//! Network plans are performed between namespaces that each test makes for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod checks;
mod machine;

use std::os::fd::AsFd;
use std::time::Instant;

use longshore_core::error::ErrorKind;
use longshore_core::network::{Port, ports_plan};
use longshore_core::steps::{LinkMode, MadeBy, NetStep, NetworkPlan, Protocol, Side};
use longshore_core::types::{DnsName, EndpointId, IpAddr, NetworkId};
use longshore_performer::net::ports::{self, HeldPort};
use longshore_performer::net::{GrantedPort, Live, Part, Scope, foreign_chains, keeper, names};
use longshore_sys::net::nftables::Firewall;
use longshore_sys::net::route::{self, Changes, NewLink, Target};
use machine::{Bridge, Machine, Namespace, PATIENCE, ROOT, SILENCE, address, ip, link, machine, name, open};

/// The names of the table's chains and the number of its published ports.
fn filter(machine: &Machine) -> (Vec<String>, usize) {
    machine.host.run(|| {
        let table = format!("longshore_{ROOT}");
        let mut firewall = Firewall::open().unwrap();
        let ports = ["publish4", "publish6", "publish4_all", "publish6_all"]
            .iter()
            .map(|map| firewall.elements(&table, map).unwrap().len())
            .sum();
        (firewall.chains(&table).unwrap(), ports)
    })
}

fn files(machine: &Machine) -> usize {
    std::fs::read_dir(machine.folder.path()).unwrap().count()
}

#[test]
fn root_two_sandboxes_reach_each_other_the_host_and_the_outside_which_sees_the_host() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let (one, two) = (bridge.join(&machine, 2), bridge.join(&machine, 3));
    let port = two.serve("[::]:0");
    assert_eq!(
        one.ask(&format!("10.1.0.3:{port}"), PATIENCE).as_deref(),
        Some("::ffff:10.1.0.2")
    );
    assert_eq!(
        one.ask(&format!("[fd00:1::3]:{port}"), PATIENCE).as_deref(),
        Some("fd00:1::2")
    );
    assert!(machine.host.ask(&format!("10.1.0.3:{port}"), PATIENCE).is_some());
    let port = machine.host.serve("0.0.0.0:0");
    assert!(one.ask(&format!("10.1.0.1:{port}"), PATIENCE).is_some());
    let port = machine.outside.serve("[::]:0");
    assert_eq!(
        one.ask(&format!("192.0.2.2:{port}"), PATIENCE).as_deref(),
        Some("::ffff:192.0.2.1")
    );
    assert_eq!(
        one.ask(&format!("[2001:db8::2]:{port}"), PATIENCE).as_deref(),
        Some("2001:db8::1")
    );
}

#[test]
fn root_what_the_machine_has_routes_to_is_told_without_its_default_routes() {
    let Some(machine) = machine() else { return };
    Bridge::new(1, false).make(&machine);
    let routed = machine.net.routed().unwrap();
    for subnet in ["192.0.2.0/24", "2001:db8::/64", "10.1.0.0/24", "fd00:1::/64"] {
        assert!(routed.contains(&machine::net(subnet)), "{subnet} is not in {routed:?}");
    }
    assert!(!routed.iter().any(|net| net.prefix() == 0));
}

#[test]
fn root_networks_are_isolated_and_an_internal_one_reaches_nothing_outside() {
    let Some(machine) = machine() else { return };
    let (first, second, internal) = (Bridge::new(1, false), Bridge::new(2, false), Bridge::new(3, true));
    for bridge in [&first, &second, &internal] {
        bridge.make(&machine);
    }
    let (one, two, three) = (
        first.join(&machine, 2),
        second.join(&machine, 2),
        internal.join(&machine, 2),
    );
    let (port, outside) = (one.serve("[::]:0"), machine.outside.serve("[::]:0"));
    for from in [&two, &three] {
        assert_eq!(from.ask(&format!("10.1.0.2:{port}"), SILENCE), None);
        assert_eq!(from.ask(&format!("[fd00:1::2]:{port}"), SILENCE), None);
    }
    assert!(two.ask(&format!("192.0.2.2:{outside}"), PATIENCE).is_some());
    assert_eq!(three.ask(&format!("192.0.2.2:{outside}"), SILENCE), None);
    assert_eq!(three.ask(&format!("[2001:db8::2]:{outside}"), SILENCE), None);
    // Nor is a port that was not published reached from outside, by whoever knows the way.
    machine.outside.do_routing(|routing| {
        let index = routing.link("up0").unwrap().unwrap().index;
        let way = route::Route {
            link: Some(index),
            v6: false,
            to: Some(route::Net {
                address: "10.1.0.0".parse().unwrap(),
                prefix: 24,
            }),
            via: Some("192.0.2.1".parse().unwrap()),
            table: route::TABLE_MAIN,
            metric: 0,
            scope: 0,
            source: None,
            on_link: false,
        };
        routing.perform(&[route::route(true, &way)]).unwrap();
    });
    assert_eq!(machine.outside.ask(&format!("10.1.0.2:{port}"), SILENCE), None);
}

/// Ports that are held and published for an endpoint, and the keeper that serves those of loopback.
struct Publication {
    held: Vec<HeldPort>,
    control: Option<std::os::fd::OwnedFd>,
    keeper: Option<std::thread::JoinHandle<longshore_core::Result<()>>>,
}

impl Publication {
    fn new(machine: &Machine, bridge: &Bridge, last: u8, wanted: &[(Protocol, &str, u16, &str, u16)]) -> Self {
        let held: Vec<HeldPort> = wanted
            .iter()
            .flat_map(|(protocol, host, port, ..)| {
                machine.host.run(|| ports::hold(*protocol, &[ip(host)], *port).unwrap())
            })
            .collect();
        let plan: Vec<Port> = wanted
            .iter()
            .map(|(protocol, host, host_port, target, target_port)| Port {
                protocol: *protocol,
                host: ip(host),
                host_port: *host_port,
                target: ip(target),
                target_port: *target_port,
            })
            .collect();
        let granted: Vec<GrantedPort> = held.iter().map(|held| held.granted).collect();
        let id = bridge.endpoint_id(last);
        let scope = Scope {
            ports: &granted,
            part: Part::Ports,
            ..bridge.endpoint_scope(&id)
        };
        let performed = machine
            .host
            .run(|| machine.net.perform(&ports_plan(&plan), &scope, None).unwrap());
        let (control, far) = longshore_sys::socket::pair(longshore_sys::socket::Bounds::Messages).unwrap();
        let keeper = machine.host.start(move || keeper::run(far));
        let served: Vec<_> = performed
            .proxies
            .iter()
            .map(|proxy| {
                let own = |held: &&HeldPort| {
                    held.granted.port == proxy.listen.port()
                        && held.granted.protocol == proxy.protocol
                        && held.granted.host.is_ipv4() == proxy.listen.is_ipv4()
                };
                (proxy.clone(), held.iter().find(own).unwrap().socket.as_fd())
            })
            .collect();
        keeper::serve(&control, &served).unwrap();
        Self {
            held,
            control: Some(control),
            keeper: Some(keeper),
        }
    }

    fn end(mut self) {
        drop(self.control.take());
        self.keeper.take().unwrap().join().unwrap().unwrap();
        assert!(!self.held.is_empty());
    }
}

#[test]
fn root_a_published_port_answers_everywhere_it_was_asked_for() {
    let Some(machine) = machine() else { return };
    let (bridge, other) = (Bridge::new(1, false), Bridge::new(2, false));
    bridge.make(&machine);
    other.make(&machine);
    let (one, neighbour, stranger) = (
        bridge.join(&machine, 2),
        bridge.join(&machine, 3),
        other.join(&machine, 2),
    );
    one.serve("[::]:80");
    one.echo("0.0.0.0:53");
    one.echo("[fd00:1::2]:53");
    let (four, six) = ("10.1.0.2", "fd00:1::2");
    let published = Publication::new(
        &machine,
        &bridge,
        2,
        &[
            (Protocol::Tcp, "0.0.0.0", 8080, four, 80),
            (Protocol::Tcp, "::", 8080, six, 80),
            (Protocol::Udp, "0.0.0.0", 5353, four, 53),
            (Protocol::Udp, "::", 5353, six, 53),
            (Protocol::Tcp, "192.0.2.1", 8081, four, 80),
            (Protocol::Tcp, "127.0.0.1", 8082, four, 80),
        ],
    );
    // From outside it is seen who asks.
    let saw = |asked: Option<String>| asked.unwrap_or_default();
    assert_eq!(saw(machine.outside.ask("192.0.2.1:8080", PATIENCE)), "::ffff:192.0.2.2");
    assert_eq!(saw(machine.outside.ask("[2001:db8::1]:8080", PATIENCE)), "2001:db8::2");
    assert!(machine.outside.ping("192.0.2.1:5353"));
    assert!(machine.outside.ping("[2001:db8::1]:5353"));
    // From the host's own addresses, and its loopback link.
    for to in ["192.0.2.1:8080", "[2001:db8::1]:8080", "127.0.0.1:8080", "[::1]:8080"] {
        assert!(machine.host.ask(to, PATIENCE).is_some(), "{to}");
    }
    assert!(machine.host.ping("127.0.0.1:5353"));
    assert!(machine.host.ping("[::1]:5353"));
    // From a neighbour, and from itself: the answer must come back through the host.
    assert!(neighbour.ask("10.1.0.1:8080", PATIENCE).is_some());
    assert!(one.ask("192.0.2.1:8080", PATIENCE).is_some());
    assert!(one.ask("[2001:db8::1]:8080", PATIENCE).is_some());
    // From another network.
    assert!(stranger.ask("192.0.2.1:8080", PATIENCE).is_some());
    // Only at the asked address.
    assert!(machine.outside.ask("192.0.2.1:8081", PATIENCE).is_some());
    assert_eq!(stranger.ask("10.2.0.1:8081", SILENCE), None);
    assert!(machine.host.ask("127.0.0.1:8082", PATIENCE).is_some());
    assert_eq!(machine.outside.ask("192.0.2.1:8082", SILENCE), None);
    // A taken port is refused before any step.
    let error = machine
        .host
        .run(|| ports::hold(Protocol::Tcp, &[ip("0.0.0.0")], 8080))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::InUse);
    published.end();
    // Revoked, it answers nowhere, and again nothing is done.
    let id = bridge.endpoint_id(2);
    for _ in 0..2 {
        machine
            .host
            .run(|| machine.net.undo(id.as_str(), Part::Ports, None).unwrap());
    }
    assert_eq!(filter(&machine).1, 0);
    assert_eq!(machine.outside.ask("192.0.2.1:8080", SILENCE), None);
    assert_eq!(one.names(), ["eth0", "lo"]);
}

#[test]
fn root_a_plan_can_be_performed_and_undone_twice() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    let sandbox = Namespace::new().unwrap();
    for _ in 0..2 {
        bridge.make(&machine);
        bridge.join_in(&machine, 2, &sandbox).unwrap();
    }
    let found = machine.host.links();
    let pair = found.iter().find(|link| link.name == "ls0a1fv12").unwrap();
    let master = found.iter().find(|link| link.name == "ls0a1fb1").unwrap();
    assert_eq!(pair.master, Some(master.index));
    assert!(pair.up && master.up);
    assert_eq!(pair.alias, format!("longshore:{ROOT}:{}", bridge.endpoint_id(2)));
    assert_eq!(master.alias, format!("longshore:{ROOT}:{}", bridge.id));
    let port = sandbox.serve("0.0.0.0:0");
    assert!(machine.host.ask(&format!("10.1.0.2:{port}"), PATIENCE).is_some());
    let id = bridge.endpoint_id(2);
    for _ in 0..2 {
        machine.host.run(|| {
            machine
                .net
                .undo(id.as_str(), Part::Main, Some(sandbox.0.as_fd()))
                .unwrap();
            machine.net.undo(bridge.id.as_str(), Part::Main, None).unwrap();
        });
    }
    assert_eq!(machine.host.names(), ["lo", "up0"]);
    assert_eq!(sandbox.names(), ["lo"]);
    assert_eq!(files(&machine), 0);
    let (chains, _) = filter(&machine);
    assert!(!chains.iter().any(|chain| chain.starts_with("n_")), "{chains:?}");
}

#[test]
fn root_dropping_the_sandbox_removes_the_pair_and_undo_finds_it_done() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let sandbox = bridge.join(&machine, 2);
    drop(sandbox);
    let start = Instant::now();
    while machine.host.names().contains(&"ls0a1fv12".to_owned()) {
        assert!(start.elapsed() < PATIENCE, "the kernel keeps the pair");
        std::thread::yield_now();
    }
    let id = bridge.endpoint_id(2);
    machine
        .host
        .run(|| machine.net.undo(id.as_str(), Part::Main, None).unwrap());
    assert_eq!(files(&machine), 1);
}

#[test]
fn root_a_failed_step_undoes_all_before_it_and_is_named() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let (before, sandbox) = (machine.host.names(), Namespace::new().unwrap());
    let id = bridge.endpoint_id(2);
    let mut plan = bridge.join_plan(2);
    plan.steps.push(NetStep::Names {
        names: vec![DnsName::parse("web").unwrap()],
        addresses: vec![ip("10.1.0.2")],
    });
    // Nobody says how 10.9.0.1 is reached.
    let mut lost = machine::default_route("10.9.0.1");
    if let NetStep::Route { to, .. } = &mut lost {
        *to = Some(machine::net("10.8.0.0/16"));
    }
    plan.steps.push(lost);
    let error = machine
        .host
        .run(|| {
            machine
                .net
                .perform(&plan, &bridge.endpoint_scope(&id), Some(sandbox.0.as_fd()))
        })
        .unwrap_err();
    assert!(
        error.message.contains("step 9") && error.message.contains("10.8.0.0/16"),
        "{error}"
    );
    assert_eq!(machine.host.names(), before);
    assert_eq!(sandbox.names(), ["lo"]);
    assert_eq!(files(&machine), 1, "only the network's log is left");
    assert_eq!(names::list(machine.folder.path(), bridge.id.as_str()).unwrap(), []);
}

#[test]
fn root_a_link_of_anybody_else_is_refused_and_stays() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    machine.host.do_routing(|routing| {
        let theirs = NewLink {
            name: "ls0a1fb1",
            kind: "bridge",
            ..NewLink::default()
        };
        let changes = Changes {
            alias: Some("longshore:ffff000000000001:theirs"),
            ..Changes::default()
        };
        let marked = route::change_link(Target::Name("ls0a1fb1"), &changes);
        routing.perform(&[route::make_link(&theirs), marked]).unwrap();
    });
    let error = machine
        .host
        .run(|| machine.net.perform(&bridge.plan, &bridge.scope(), None))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert!(machine.host.names().contains(&"ls0a1fb1".to_owned()));
    machine.host.run(|| machine.net.collect(&Live::default()).unwrap());
    assert!(machine.host.names().contains(&"ls0a1fb1".to_owned()));
}

#[test]
fn root_a_link_that_is_ensured_is_taken_as_it_is_and_left_behind() {
    let Some(machine) = machine() else { return };
    machine.host.do_routing(|routing| {
        let theirs = NewLink {
            name: "br0",
            kind: "bridge",
            ..NewLink::default()
        };
        routing.perform(&[route::make_link(&theirs)]).unwrap();
    });
    let mut step = link("br0", "bridge");
    if let NetStep::Link { mode, .. } = &mut step {
        *mode = LinkMode::Ensure;
    }
    let plan = NetworkPlan {
        steps: vec![step, address(Side::Host, "br0", "10.1.0.1/24")],
    };
    let bridge = Bridge::new(1, false);
    let granted = [name("br0")];
    let scope = Scope {
        granted: &granted,
        ..bridge.scope()
    };
    machine.host.run(|| machine.net.perform(&plan, &scope, None).unwrap());
    let addresses = |machine: &Machine| {
        machine
            .host
            .run(|| route::Routing::open().unwrap().addresses().unwrap())
            .into_iter()
            .filter(|(_, net)| net.address.to_string() == "10.1.0.1")
            .count()
    };
    assert_eq!(addresses(&machine), 1);
    machine
        .host
        .run(|| machine.net.undo(bridge.id.as_str(), Part::Main, None).unwrap());
    assert_eq!(machine.host.names(), ["br0", "lo", "up0"]);
    assert_eq!(addresses(&machine), 0);
}

#[test]
fn root_a_moved_link_comes_back_under_its_name() {
    let Some(machine) = machine() else { return };
    let (bridge, sandbox) = (Bridge::new(1, false), Namespace::new().unwrap());
    let plan = NetworkPlan {
        steps: vec![NetStep::Move {
            name: name("up0"),
            to: name("eth7"),
            mac: None,
            mtu: Some(1400),
            made_by: MadeBy::Driver,
        }],
    };
    let (id, granted) = (bridge.endpoint_id(2), [name("up0")]);
    let scope = Scope {
        granted: &granted,
        ..bridge.endpoint_scope(&id)
    };
    machine
        .host
        .run(|| machine.net.perform(&plan, &scope, Some(sandbox.0.as_fd())).unwrap());
    assert_eq!(machine.host.names(), ["lo"]);
    let inside = sandbox.links();
    assert!(inside.iter().any(|link| link.name == "eth7" && link.mtu == 1400));
    for _ in 0..2 {
        machine.host.run(|| {
            machine
                .net
                .undo(id.as_str(), Part::Main, Some(sandbox.0.as_fd()))
                .unwrap()
        });
    }
    assert_eq!(machine.host.names(), ["lo", "up0"]);
    assert_eq!(sandbox.names(), ["lo"]);
}

#[test]
fn root_collection_takes_what_a_crash_left_and_spares_the_living_and_others() {
    let Some(machine) = machine() else { return };
    let (live, dead) = (Bridge::new(1, false), Bridge::new(2, false));
    live.make(&machine);
    dead.make(&machine);
    let (one, two, three) = (live.join(&machine, 2), live.join(&machine, 3), dead.join(&machine, 2));
    let kept = Publication::new(&machine, &live, 2, &[(Protocol::Tcp, "0.0.0.0", 8080, "10.1.0.2", 80)]);
    let lost = Publication::new(&machine, &live, 3, &[(Protocol::Tcp, "0.0.0.0", 8081, "10.1.0.3", 80)]);
    // Another data root of the same machine, and what was cut before it was marked.
    let others = tempfile::tempdir().unwrap();
    let other = open(&machine.host, "0b2e000000000002", "ls0b2e", others.path());
    let (theirs, plan) = (
        NetworkId::from_random([9; 32]),
        NetworkPlan {
            steps: vec![link("ls0b2eb9", "bridge")],
        },
    );
    let scope = Scope {
        link_kinds: &dead.kinds,
        ..Scope::network(&theirs)
    };
    machine.host.run(|| other.perform(&plan, &scope, None).unwrap());
    machine.host.do_routing(|routing| {
        let cut = NewLink {
            name: "ls0a1fcut",
            kind: "bridge",
            ..NewLink::default()
        };
        routing.perform(&[route::make_link(&cut)]).unwrap();
    });
    // The logs of what is dead may be gone, as the marks alone are enough.
    std::fs::remove_file(machine.folder.path().join(format!("{}.undo", dead.id))).unwrap();
    let (networks, endpoints) = ([live.id.clone()], [live.endpoint_id(2)]);
    let alive = Live {
        networks: &networks,
        endpoints: &endpoints,
    };
    let removed = machine.host.run(|| machine.net.collect(&alive).unwrap());
    assert!(removed.contains(&"link ls0a1fcut".to_owned()), "{removed:?}");
    assert_eq!(machine.host.names(), ["lo", "ls0a1fb1", "ls0a1fv12", "ls0b2eb9", "up0"]);
    let (chains, ports) = filter(&machine);
    assert_eq!(ports, 1);
    assert!(chains.iter().any(|chain| chain.starts_with("n_0101")));
    assert!(!chains.iter().any(|chain| chain.starts_with("n_0202")), "{chains:?}");
    one.serve("0.0.0.0:80");
    assert!(machine.outside.ask("192.0.2.1:8080", PATIENCE).is_some());
    assert_eq!(
        machine.host.run(|| machine.net.collect(&alive).unwrap()),
        Vec::<String>::new()
    );
    kept.end();
    lost.end();
    // With nobody left nothing is.
    drop((one, two, three));
    machine.host.run(|| machine.net.collect(&Live::default()).unwrap());
    assert_eq!(machine.host.names(), ["lo", "ls0b2eb9", "up0"]);
    assert_eq!(files(&machine), 0);
    assert!(filter(&machine).0.is_empty());
}

#[test]
fn root_the_default_route_is_one_endpoints_alone() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let (id, sandbox) = (bridge.endpoint_id(2), Namespace::new().unwrap());
    let scope = Scope {
        default_route: false,
        ..bridge.endpoint_scope(&id)
    };
    machine.host.run(|| {
        machine
            .net
            .perform(&bridge.join_plan(2), &scope, Some(sandbox.0.as_fd()))
            .unwrap()
    });
    let routes = sandbox.run(|| route::Routing::open().unwrap().routes().unwrap());
    assert!(!routes.is_empty());
    assert!(!routes.iter().any(|route| route.to.is_none()), "{routes:?}");
}

#[test]
fn root_a_foreign_chain_that_drops_is_reported_with_its_remedy() {
    let Some(machine) = machine() else { return };
    let own = machine.net.ownership().clone();
    assert_eq!(machine.host.run(|| foreign_chains(&own).unwrap()), []);
    machine.host.run(|| {
        let mut changes = longshore_sys::net::nftables::Transaction::new();
        changes.table("fw");
        changes.chain(
            "fw",
            "fwd",
            Some(longshore_sys::net::nftables::Base {
                hook: longshore_sys::net::nftables::Hook::Forward,
                nat: false,
                priority: 0,
                drops: true,
            }),
        );
        Firewall::open().unwrap().commit(changes).unwrap();
    });
    let found = machine.host.run(|| foreign_chains(&own).unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].family, found[0].table.as_str(), found[0].name.as_str()),
        ("inet", "fw", "fwd")
    );
    assert!(found[0].remedy.contains("ls0a1f*"));
    // It does drop, which is why it is reported.
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let one = bridge.join(&machine, 2);
    let port = machine.outside.serve("0.0.0.0:0");
    assert_eq!(one.ask(&format!("192.0.2.2:{port}"), SILENCE), None);
}

#[test]
fn root_parameters_of_a_link_are_set_inside_and_outside() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let (id, sandbox) = (bridge.endpoint_id(2), Namespace::new().unwrap());
    let mut plan = bridge.join_plan(2);
    let set = |side, key: &str, value: &str| NetStep::Sysctl {
        side,
        key: longshore_core::types::SysctlKey::parse(key).unwrap(),
        value: value.into(),
    };
    plan.steps
        .push(set(Side::Sandbox, "net/ipv4/ip_unprivileged_port_start", "0"));
    plan.steps.push(set(Side::Sandbox, "net/ipv6/conf/eth0/accept_ra", "0"));
    plan.steps
        .push(set(Side::Host, "net/ipv6/conf/ls0a1fb1/accept_ra", "0"));
    machine.host.run(|| {
        machine
            .net
            .perform(&plan, &bridge.endpoint_scope(&id), Some(sandbox.0.as_fd()))
            .unwrap()
    });
    let read = |at: &Namespace, key: &str| {
        let path = format!("/proc/sys/{key}");
        at.run(|| std::fs::read_to_string(path).unwrap().trim().to_owned())
    };
    assert_eq!(read(&sandbox, "net/ipv4/ip_unprivileged_port_start"), "0");
    assert_eq!(read(&sandbox, "net/ipv6/conf/eth0/accept_ra"), "0");
    assert_eq!(read(&machine.host, "net/ipv6/conf/ls0a1fb1/accept_ra"), "0");
    assert_ne!(read(&machine.host, "net/ipv4/ip_unprivileged_port_start"), "0");
    machine
        .host
        .run(|| machine.net.undo(id.as_str(), Part::Main, None).unwrap());
    assert_eq!(read(&machine.host, "net/ipv6/conf/ls0a1fb1/accept_ra"), "1");
}

#[test]
fn root_names_are_written_for_others_and_go_with_the_endpoint() {
    let Some(machine) = machine() else { return };
    let bridge = Bridge::new(1, false);
    bridge.make(&machine);
    let id: EndpointId = bridge.endpoint_id(2);
    let addresses: Vec<IpAddr> = vec![ip("10.1.0.2"), ip("fd00:1::2")];
    let plan = NetworkPlan {
        steps: vec![NetStep::Names {
            names: vec![DnsName::parse("web").unwrap()],
            addresses: addresses.clone(),
        }],
    };
    machine
        .host
        .run(|| machine.net.perform(&plan, &bridge.endpoint_scope(&id), None).unwrap());
    let found = names::list(machine.folder.path(), bridge.id.as_str()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0.as_str(), &found[0].1.addresses), (id.as_str(), &addresses));
    machine
        .host
        .run(|| machine.net.undo(id.as_str(), Part::Main, None).unwrap());
    assert_eq!(names::list(machine.folder.path(), bridge.id.as_str()).unwrap(), []);
}
