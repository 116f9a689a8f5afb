//! What a plan may not ask for: each is refused whole, with the reason, before anything is done.

use longshore_core::error::ErrorKind;
use longshore_core::steps::{
    Attribute, AttributeValue, ConnectionState, Family, Hook, LinkMode, MadeBy, Match, Matching, NetStep, NetworkPlan,
    Peer, PortRange, Protocol, ProxyProtocol, Side, Verdict,
};
use longshore_core::types::{IfName, Mac, OwnedPrefix, SysctlKey};
use longshore_performer::net::check::check;
use longshore_performer::net::{GrantedPort, Ownership, Scope};

use crate::machine::{Bridge, ROOT, address, default_route, ip, link, name, net, rule};

fn own() -> Ownership {
    Ownership::new(ROOT, OwnedPrefix::parse("ls0a1f").unwrap()).unwrap()
}

/// The bridge of a user's own name is granted, and eth9 as a parent.
fn granted() -> [IfName; 2] {
    [name("eth9"), name("br9")]
}

fn of_network(steps: Vec<NetStep>) -> Result<(), longshore_core::Error> {
    let (bridge, granted) = (Bridge::new(1, false), granted());
    let kinds = ["bridge", "veth", "macvlan"].map(String::from);
    let scope = Scope {
        granted: &granted,
        link_kinds: &kinds,
        ..bridge.scope()
    };
    check(&NetworkPlan { steps }, &scope, &own())
}

fn of_endpoint(steps: Vec<NetStep>) -> Result<(), longshore_core::Error> {
    let (bridge, granted) = (Bridge::new(1, false), granted());
    let kinds = ["bridge", "veth", "macvlan"].map(String::from);
    let ports = [("0.0.0.0", 8080), ("192.0.2.1", 8081)].map(|(host, port)| GrantedPort {
        protocol: Protocol::Tcp,
        host: ip(host),
        port,
    });
    let id = bridge.endpoint_id(2);
    let scope = Scope {
        granted: &granted,
        link_kinds: &kinds,
        ports: &ports,
        ..bridge.endpoint_scope(&id)
    };
    check(&NetworkPlan { steps }, &scope, &own())
}

fn refused(result: Result<(), longshore_core::Error>, why: &str) {
    let error = result.expect_err(why);
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    assert!(error.message.contains(why), "{error} does not say {why:?}");
}

fn changed(mut step: NetStep, change: impl FnOnce(&mut NetStep)) -> NetStep {
    change(&mut step);
    step
}

fn pair(side: Side, inner: &str) -> NetStep {
    changed(link("ls0a1fv1", "veth"), |step| {
        if let NetStep::Link { peer, .. } = step {
            *peer = Some(Peer {
                side,
                name: name(inner),
                mac: None,
            });
        }
    })
}

fn route(side: Side, link: &str, to: Option<&str>, table: u32) -> NetStep {
    NetStep::Route {
        side,
        link: Some(name(link)),
        to: to.map(net),
        via: Some(ip("10.1.0.1")),
        table,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    }
}

fn sysctl(side: Side, key: &str, value: &str) -> NetStep {
    NetStep::Sysctl {
        side,
        key: SysctlKey::parse(key).unwrap(),
        value: value.into(),
    }
}

#[test]
fn a_plan_like_the_bridge_drivers_passes() {
    let bridge = Bridge::new(1, false);
    check(&bridge.plan, &bridge.scope(), &own()).unwrap();
    let id = bridge.endpoint_id(2);
    check(&bridge.join_plan(2), &bridge.endpoint_scope(&id), &own()).unwrap();
    of_network(vec![changed(link("br9", "bridge"), |step| {
        if let NetStep::Link { mode, .. } = step {
            *mode = LinkMode::Ensure;
        }
    })])
    .unwrap();
}

#[test]
fn a_plan_over_256_steps_is_refused() {
    let step = NetStep::Up {
        side: Side::Sandbox,
        link: name("lo"),
    };
    of_endpoint(vec![step.clone(); 256]).unwrap();
    refused(of_endpoint(vec![step; 257]), "the limit is 256");
}

#[test]
fn links_are_owned_of_a_granted_kind_and_made_once() {
    refused(of_network(vec![link("eth7", "bridge")]), "does not begin with ls0a1f");
    refused(
        of_network(vec![link("ls0b2eb1", "bridge")]),
        "does not begin with ls0a1f",
    );
    refused(of_network(vec![link("ls0a1f", "bridge")]), "does not begin with");
    refused(
        of_network(vec![link("ls0a1ft", "tun")]),
        "no grant for links of kind \"tun\"",
    );
    let twice = vec![link("ls0a1fb1", "bridge"), link("ls0a1fb1", "bridge")];
    refused(of_network(twice), "twice");
    refused(of_network(vec![pair(Side::Sandbox, "eth0")]), "has no sandbox");
    refused(of_endpoint(vec![pair(Side::Sandbox, "lo")]), "its own lo");
    refused(of_endpoint(vec![pair(Side::Unknown, "eth0")]), "does not know");
    refused(of_endpoint(vec![link("ls0a1fv1", "veth")]), "has a peer");
    let parent = |parent: &str| {
        changed(link("ls0a1fm1", "macvlan"), |step| {
            if let NetStep::Link { parent: at, .. } = step {
                *at = Some(name(parent));
            }
        })
    };
    of_endpoint(vec![parent("eth9")]).unwrap();
    refused(of_endpoint(vec![parent("eth0")]), "not granted as a parent");
    let master = changed(pair(Side::Sandbox, "eth0"), |step| {
        if let NetStep::Link { master, .. } = step {
            *master = Some(name("docker0"));
        }
    });
    refused(of_endpoint(vec![master]), "docker0 is neither made by this plan");
    let group = changed(link("ls0a1fb1", "bridge"), |step| {
        if let NetStep::Link { mac, .. } = step {
            *mac = Some(Mac::parse("01:00:5e:00:00:01").unwrap());
        }
    });
    refused(of_network(vec![group]), "hardware address");
    let ensured = changed(pair(Side::Sandbox, "eth0"), |step| {
        if let NetStep::Link { mode, .. } = step {
            *mode = LinkMode::Ensure;
        }
    });
    refused(of_endpoint(vec![ensured]), "only a single link of the host");
    let unknown = changed(link("ls0a1fb1", "bridge"), |step| {
        if let NetStep::Link { mode, .. } = step {
            *mode = LinkMode::Unknown;
        }
    });
    refused(of_network(vec![unknown]), "mode is not known");
}

#[test]
fn attributes_are_those_of_the_kind() {
    let with = |number, value| {
        changed(link("ls0a1fb1", "bridge"), |step| {
            if let NetStep::Link { attributes, .. } = step {
                attributes.push(Attribute { number, value });
            }
        })
    };
    of_network(vec![with(23, AttributeValue::U8(0))]).unwrap();
    refused(
        of_network(vec![with(99, AttributeValue::U8(0))]),
        "attribute 99 of kind bridge",
    );
    refused(
        of_network(vec![with(1, AttributeValue::Link(name("eth0")))]),
        "names link eth0",
    );
    let mut deep = AttributeValue::Flag;
    for _ in 0..6 {
        deep = AttributeValue::Nested(vec![Attribute { number: 1, value: deep }]);
    }
    refused(of_network(vec![with(1, deep)]), "nested deeper");
    let port = changed(pair(Side::Sandbox, "eth0"), |step| {
        if let NetStep::Link { port, .. } = step {
            port.push(Attribute {
                number: 33,
                value: AttributeValue::U8(1),
            });
        }
    });
    refused(of_endpoint(vec![port]), "no master");
}

#[test]
fn only_own_links_are_used() {
    for step in [
        NetStep::Up {
            side: Side::Host,
            link: name("eth0"),
        },
        NetStep::Up {
            side: Side::Host,
            link: name("lo"),
        },
        address(Side::Host, "eth0", "10.1.0.9/24"),
        address(Side::Sandbox, "eth1", "10.1.0.9/24"),
        route(Side::Host, "eth0", Some("10.7.0.0/16"), 254),
        sysctl(Side::Host, "net/ipv4/conf/eth0/rp_filter", "0"),
        sysctl(Side::Sandbox, "net/ipv4/conf/eth1/rp_filter", "0"),
        NetStep::Neighbour {
            side: Side::Host,
            link: name("eth0"),
            address: ip("10.1.0.9"),
            mac: Some(Mac::parse("02:42:00:00:00:01").unwrap()),
            proxy: false,
        },
    ] {
        refused(
            of_endpoint(vec![step]),
            "neither made by this plan nor the network's own",
        );
    }
    let moved = |link: &str, made_by| NetStep::Move {
        name: name(link),
        to: name("eth0"),
        mac: None,
        mtu: None,
        made_by,
    };
    of_endpoint(vec![moved("eth9", MadeBy::Driver)]).unwrap();
    refused(
        of_endpoint(vec![moved("eth0", MadeBy::Driver)]),
        "nor granted to be moved",
    );
    refused(
        of_endpoint(vec![moved("eth9", MadeBy::Host)]),
        "nor granted to be moved",
    );
}

#[test]
fn the_hosts_routes_addresses_and_parameters_stay_its_own() {
    let bridge = "ls0a1fb1";
    of_endpoint(vec![route(Side::Host, bridge, Some("10.7.0.0/16"), 254)]).unwrap();
    for to in [None, Some("0.0.0.0/0")] {
        refused(
            of_endpoint(vec![route(Side::Host, bridge, to, 254)]),
            "the host's default route",
        );
    }
    for table in [0, 255] {
        refused(
            of_endpoint(vec![route(Side::Host, bridge, Some("10.7.0.0/16"), table)]),
            "not a driver's to change",
        );
    }
    let mixed = changed(default_route("fd00:1::1"), |step| {
        if let NetStep::Route { to, link, .. } = step {
            *to = Some(net("10.7.0.0/16"));
            *link = None;
        }
    });
    refused(of_endpoint(vec![mixed]), "mixes IPv4 and IPv6");
    refused(
        of_endpoint(vec![address(Side::Host, bridge, "192.168.1.1/24")]),
        "none of the network's subnets",
    );
    // A wider prefix would lead more than the subnet to this link.
    refused(
        of_endpoint(vec![address(Side::Host, bridge, "10.1.0.1/8")]),
        "none of the network's subnets",
    );
    for key in [
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/route_localnet",
        "net/ipv6/conf/default/forwarding",
        "net/core/rmem_max",
    ] {
        refused(of_endpoint(vec![sysctl(Side::Host, key, "1")]), "the host's alone");
    }
    refused(
        of_endpoint(vec![sysctl(Side::Sandbox, "net/core/rmem_max", "1")]),
        "the host's alone",
    );
    of_endpoint(vec![sysctl(Side::Sandbox, "net/ipv4/ip_unprivileged_port_start", "0")]).unwrap();
    for value in ["", "1\n2", &"1".repeat(65)] {
        refused(
            of_endpoint(vec![sysctl(Side::Sandbox, "net/core/somaxconn", value)]),
            "not one line",
        );
    }
}

#[test]
fn rules_are_about_their_own_network() {
    let bridge = || link("ls0a1fb1", "bridge");
    let with = |hook, family, matches, verdict| of_network(vec![bridge(), rule(hook, family, matches, verdict)]);
    let ours = || Match::is(Matching::Out(name("ls0a1fb1")));
    with(Hook::Forward, Family::Both, vec![ours()], Verdict::Drop).unwrap();
    let subnet = Match::is(Matching::From(net("10.1.0.0/25")));
    with(Hook::Postrouting, Family::V4, vec![subnet.clone()], Verdict::Masquerade).unwrap();
    for nobody in [
        vec![],
        vec![Match::not(Matching::Out(name("ls0a1fb1")))],
        vec![Match::is(Matching::Local)],
        vec![Match::is(Matching::From(net("10.0.0.0/8")))],
        vec![Match::is(Matching::State(ConnectionState::New))],
    ] {
        refused(
            with(Hook::Forward, Family::Both, nobody, Verdict::Drop),
            "no link and no subnet of its network",
        );
    }
    let foreign = Match::is(Matching::In(name("eth0")));
    refused(
        with(Hook::Forward, Family::Both, vec![ours(), foreign], Verdict::Drop),
        "not this network's",
    );
    for (hook, family, verdict) in [
        (Hook::Forward, Family::V4, Verdict::Masquerade),
        (Hook::Postrouting, Family::Both, Verdict::Drop),
        (
            Hook::Forward,
            Family::V4,
            Verdict::Dnat {
                address: ip("10.1.0.2"),
                port: None,
            },
        ),
        (Hook::Postrouting, Family::V6, Verdict::Snat(ip("192.0.2.1"))),
    ] {
        let subnet = if family == Family::V6 {
            Match::is(Matching::From(net("fd00:1::/64")))
        } else {
            subnet.clone()
        };
        refused(with(hook, family, vec![subnet], verdict), "does not go with its hook");
    }
    refused(
        with(Hook::Unknown, Family::Both, vec![ours()], Verdict::Accept),
        "hook is not known",
    );
    let backwards = Match::is(Matching::Ports(PortRange { first: 9, last: 8 }));
    refused(
        with(Hook::Forward, Family::Both, vec![ours(), backwards], Verdict::Drop),
        "ends before it begins",
    );
    refused(
        of_endpoint(vec![rule(Hook::Forward, Family::Both, vec![ours()], Verdict::Drop)]),
        "a network's own plan",
    );
}

#[test]
fn ports_are_those_that_were_granted() {
    let port = |protocol, host: &str, host_port, target: &str, target_port| NetStep::Port {
        protocol,
        host: ip(host),
        host_port,
        target: ip(target),
        target_port,
    };
    of_endpoint(vec![port(Protocol::Tcp, "0.0.0.0", 8080, "10.1.0.2", 80)]).unwrap();
    for step in [
        port(Protocol::Udp, "0.0.0.0", 8080, "10.1.0.2", 80),
        port(Protocol::Tcp, "0.0.0.0", 22, "10.1.0.2", 22),
        port(Protocol::Tcp, "192.0.2.1", 8080, "10.1.0.2", 80),
    ] {
        refused(of_endpoint(vec![step]), "was not granted");
    }
    let elsewhere = port(Protocol::Tcp, "0.0.0.0", 8080, "192.0.2.9", 80);
    refused(of_endpoint(vec![elsewhere]), "none of the network's subnets");
    let mixed = port(Protocol::Tcp, "0.0.0.0", 8080, "fd00:1::2", 80);
    refused(of_endpoint(vec![mixed]), "different families");
    let proxy = |listen: &str, listen_port, target: &str| NetStep::Proxy {
        protocol: ProxyProtocol::Tcp,
        listen: ip(listen),
        listen_port,
        target: ip(target),
        target_port: 80,
    };
    of_endpoint(vec![proxy("127.0.0.1", 8080, "fd00:1::2")]).unwrap();
    refused(of_endpoint(vec![proxy("0.0.0.0", 8080, "10.1.0.2")]), "loopback link");
    refused(of_endpoint(vec![proxy("::1", 8080, "10.1.0.2")]), "was not granted");
    refused(
        of_endpoint(vec![proxy("127.0.0.1", 8081, "10.1.0.2")]),
        "was not granted",
    );
    refused(
        of_endpoint(vec![proxy("127.0.0.1", 8080, "127.0.0.1")]),
        "none of the network's subnets",
    );
    refused(
        of_network(vec![port(Protocol::Tcp, "0.0.0.0", 8080, "10.1.0.2", 80)]),
        "belong to an endpoint's plan",
    );
    let named = NetStep::Names {
        names: vec![],
        addresses: vec![ip("192.0.2.9")],
    };
    refused(of_endpoint(vec![named]), "none of the network's subnets");
}
