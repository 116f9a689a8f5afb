//! Plans as tables: what is asked, and each step in one line.
#![allow(clippy::unwrap_used, reason = "tests")]

use longshore_plugin::driver::OptionValue;
use longshore_plugin::network::{CreateNetwork, NetworkDriver, Port, Publish};
use longshore_plugin::steps::Protocol;
use longshore_plugin::types::DnsName;
use longshore_plugin::{Context, ErrorKind};

use super::*;
use crate::Bridge;
use crate::fixture::{both, endpoint, join as join_request, request, with};

fn matching(found: &Match) -> String {
    let word = match &found.what {
        Matching::In(link) => format!("in {link}"),
        Matching::Out(link) => format!("out {link}"),
        Matching::From(net) => format!("from {net}"),
        Matching::State(state) => format!("{state:?}"),
        other => format!("{other:?}"),
    };
    if found.not { format!("not {word}") } else { word }
}

/// One line for a step; names of links as they are, sides as `h` and `s`.
fn line(step: &NetStep) -> String {
    let of = |side: &Side| if *side == Side::Host { "h" } else { "s" };
    match step {
        NetStep::Up { side, link } => format!("{} up {link}", of(side)),
        NetStep::Link {
            side,
            name,
            kind,
            peer,
            master,
            mac,
            mtu,
            up,
            attributes,
            port,
            mode,
            parent,
        } => {
            assert!(parent.is_none());
            let mut line = format!("{} link {name} {kind} {mode:?}", of(side));
            if let Some(peer) = peer {
                line += &format!(" peer {} {} {}", of(&peer.side), peer.name, peer.mac.unwrap());
            }
            if let Some(master) = master {
                line += &format!(" in {master}");
            }
            if let Some(mac) = mac {
                line += &format!(" mac {mac}");
            }
            if let Some(mtu) = mtu {
                line += &format!(" mtu {mtu}");
            }
            for (word, list) in [("has", attributes), ("port", port)] {
                for attribute in list {
                    line += &format!(" {word} {}={:?}", attribute.number, attribute.value);
                }
            }
            if *up { line + " up" } else { line }
        }
        NetStep::Address {
            side,
            link,
            address,
            no_dad,
            ..
        } => {
            format!(
                "{} address {link} {address}{}",
                of(side),
                if *no_dad { " nodad" } else { "" }
            )
        }
        NetStep::Route {
            side,
            link,
            to: None,
            via,
            table: 254,
            ..
        } => {
            format!("{} default {} via {}", of(side), link.as_ref().unwrap(), via.unwrap())
        }
        NetStep::Sysctl { side, key, value } => format!("{} {key}={value}", of(side)),
        NetStep::Rule {
            side,
            hook,
            family,
            matches,
            verdict,
        } => {
            let all: Vec<String> = matches.iter().map(matching).collect();
            format!("{} {hook:?} {family:?}: {} -> {verdict:?}", of(side), all.join(", "))
        }
        NetStep::Port {
            protocol,
            host,
            host_port,
            target,
            target_port,
        } => {
            format!("port {protocol:?} {host} {host_port} -> {target} {target_port}")
        }
        NetStep::Proxy {
            protocol,
            listen,
            listen_port,
            target,
            target_port,
        } => {
            format!("proxy {protocol:?} {listen} {listen_port} -> {target} {target_port}")
        }
        NetStep::Names { names, addresses } => format!("names {names:?} {addresses:?}"),
        other => format!("{other:?}"),
    }
}

fn made(request: CreateNetwork) -> (Note, Vec<String>) {
    let created = Bridge {}.create_network(&Context::background(), request).unwrap();
    (created.note, created.plan.steps.iter().map(line).collect())
}

fn joined(network: CreateNetwork, addresses: &[&str]) -> (Joined, Vec<String>) {
    let (network_note, _) = made(network);
    let bridge = Bridge {};
    let made = bridge
        .create_endpoint(&Context::background(), endpoint(&network_note, addresses))
        .unwrap();
    let joined = bridge
        .join(&Context::background(), join_request(&network_note, &made.note))
        .unwrap();
    let lines = joined.plan.steps.iter().map(line).collect();
    (joined, lines)
}

const BRIDGE: &str = "ls0a1fb4f4f4f4f";

#[test]
fn a_network_is_a_bridge_with_a_guarded_door() {
    let (_, lines) = made(request());
    assert_eq!(
        lines,
        [
            "h link ls0a1fb4f4f4f4f bridge Create mac 02:42:4f:4f:4f:4f has 23=U8(0)",
            "h address ls0a1fb4f4f4f4f 172.18.0.1/16",
            "h up ls0a1fb4f4f4f4f",
            "h Forward Both: out ls0a1fb4f4f4f4f, Established -> Return",
            "h Forward Both: out ls0a1fb4f4f4f4f, Related -> Return",
            "h Forward Both: in ls0a1fb4f4f4f4f, out ls0a1fb4f4f4f4f -> Return",
            "h Forward Both: out ls0a1fb4f4f4f4f, Dnat -> Return",
            "h Forward Both: out ls0a1fb4f4f4f4f -> Drop",
            "h Postrouting V4: from 172.18.0.0/16, not out ls0a1fb4f4f4f4f -> Masquerade",
            "h Postrouting V4: from 172.18.0.0/16, out ls0a1fb4f4f4f4f, Dnat -> Masquerade",
        ]
    );
}

#[test]
fn ipv6_adds_addresses_parameters_and_rules() {
    let (_, lines) = made(both());
    for wanted in [
        "h net/ipv6/conf/ls0a1fb4f4f4f4f/disable_ipv6=0",
        "h net/ipv6/conf/ls0a1fb4f4f4f4f/accept_ra=0",
        "h address ls0a1fb4f4f4f4f fd00:1::1/64 nodad",
        "h Postrouting V6: from fd00:1::/64, not out ls0a1fb4f4f4f4f -> Masquerade",
        "h Postrouting V6: from fd00:1::/64, out ls0a1fb4f4f4f4f, Dnat -> Masquerade",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in {lines:#?}");
    }
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("disable_ipv6") < at("fd00:1::1/64"));
}

#[test]
fn each_option_changes_its_own_steps() {
    let cases: [(&str, &str, &str, bool); 9] = [
        (
            "com.docker.network.bridge.name",
            "br0",
            "h link br0 bridge Ensure mac 02:42:4f:4f:4f:4f has 23=U8(0)",
            true,
        ),
        (
            "com.docker.network.driver.mtu",
            "1400",
            "h link ls0a1fb4f4f4f4f bridge Create mac 02:42:4f:4f:4f:4f mtu 1400 has 23=U8(0)",
            true,
        ),
        (
            "com.docker.network.bridge.enable_ip_masquerade",
            "false",
            "h Postrouting V4: from 172.18.0.0/16, not out ls0a1fb4f4f4f4f -> Masquerade",
            false,
        ),
        (
            "com.docker.network.bridge.enable_ip_masquerade",
            "false",
            "h Postrouting V4: from 172.18.0.0/16, out ls0a1fb4f4f4f4f, Dnat -> Masquerade",
            true,
        ),
        (
            "com.docker.network.host_ipv4",
            "192.0.2.9",
            "h Postrouting V4: from 172.18.0.0/16, not out ls0a1fb4f4f4f4f -> Snat(192.0.2.9)",
            true,
        ),
        (
            "com.docker.network.bridge.inhibit_ipv4",
            "true",
            "h address ls0a1fb4f4f4f4f 172.18.0.1/16",
            false,
        ),
        (
            "com.docker.network.bridge.gateway_mode_ipv4",
            "nat-unprotected",
            "h Forward Both: out ls0a1fb4f4f4f4f -> Drop",
            false,
        ),
        (
            "com.docker.network.bridge.gateway_mode_ipv4",
            "nat-unprotected",
            "h Forward V6: out ls0a1fb4f4f4f4f -> Drop",
            true,
        ),
        (
            "com.docker.network.bridge.gateway_mode_ipv6",
            "nat-unprotected",
            "h Forward V4: out ls0a1fb4f4f4f4f -> Drop",
            true,
        ),
    ];
    for (option, value, step, there) in cases {
        let (_, lines) = made(with(&[(option, value)]));
        assert_eq!(
            lines.iter().any(|line| line == step),
            there,
            "{option}={value}: {step} in {lines:#?}"
        );
    }
}

#[test]
fn an_internal_network_forwards_nothing_and_has_no_way_out() {
    let internal = CreateNetwork {
        internal: true,
        ..both()
    };
    let (note, lines) = made(internal.clone());
    let rules: Vec<&String> = lines.iter().filter(|line| line.contains("->")).collect();
    assert_eq!(
        rules,
        [
            "h Forward Both: in ls0a1fb4f4f4f4f, out ls0a1fb4f4f4f4f -> Return",
            "h Forward Both: in ls0a1fb4f4f4f4f -> Drop",
            "h Forward Both: out ls0a1fb4f4f4f4f -> Drop",
        ]
    );
    let (joined, lines) = joined(internal, &["172.18.0.7/16", "fd00:1::7/64"]);
    assert!(!lines.iter().any(|line| line.contains("default")), "{lines:#?}");
    assert!(!joined.default_route && joined.gateway.is_none() && joined.gateway6.is_none());
    let published = publish(&note, "0.0.0.0");
    assert!(published.plan.steps.is_empty() && published.warning.unwrap().contains("internal"));
}

#[test]
fn an_endpoint_is_a_pair_with_its_addresses_and_routes() {
    let (joined, lines) = joined(both(), &["172.18.0.7/16", "fd00:1::7/64"]);
    assert_eq!(
        lines,
        [
            "h link ls0a1fve1e1e1e1 veth Create peer s eth0 02:42:ac:12:00:07 in ls0a1fb4f4f4f4f port 4=U8(1) up",
            "s up lo",
            "s net/ipv6/conf/eth0/disable_ipv6=0",
            "s up eth0",
            "s address eth0 172.18.0.7/16",
            "s address eth0 fd00:1::7/64 nodad",
            "s default eth0 via 172.18.0.1",
            "s default eth0 via fd00:1::1",
        ]
    );
    assert!(joined.default_route);
    assert_eq!(joined.gateway.unwrap().to_string(), "172.18.0.1");
    assert_eq!(joined.gateway6.unwrap().to_string(), "fd00:1::1");
}

#[test]
fn without_a_gateway_there_is_no_default_route() {
    let inhibited = with(&[("com.docker.network.bridge.inhibit_ipv4", "true")]);
    let (joined, lines) = joined(inhibited, &["172.18.0.7/16"]);
    assert!(!joined.default_route && !lines.iter().any(|line| line.contains("default")));
}

#[test]
fn names_of_links_inside_follow_options_and_index() {
    let (network_note, _) = made(with(&[
        ("com.docker.network.container_iface_prefix", "net"),
        ("com.docker.network.bridge.enable_icc", "false"),
        ("com.docker.network.driver.mtu", "9000"),
    ]));
    let bridge = Bridge {};
    let cx = Context::background();
    let mut asked = endpoint(&network_note, &["172.18.0.7/16"]);
    let plain = bridge.create_endpoint(&cx, asked.clone()).unwrap();
    let mut request = join_request(&network_note, &plain.note);
    request.index = 3;
    request.container.names = vec![DnsName::parse("web").unwrap()];
    let lines: Vec<String> = bridge.join(&cx, request).unwrap().plan.steps.iter().map(line).collect();
    assert_eq!(
        lines[0],
        "h link ls0a1fve1e1e1e1 veth Create peer s net3 02:42:ac:12:00:07 in ls0a1fb4f4f4f4f mtu 9000 port 4=U8(1) port 33=U8(1) up"
    );
    assert_eq!(lines.last().unwrap(), "names [\"web\"] [172.18.0.7]");
    asked.options = vec![OptionValue::text("com.docker.network.endpoint.ifname", "wan0")];
    let named = bridge.create_endpoint(&cx, asked).unwrap();
    let lines = bridge
        .join(&cx, join_request(&network_note, &named.note))
        .unwrap()
        .plan
        .steps;
    assert!(line(&lines[0]).contains("peer s wan0"));
}

#[test]
fn a_hardware_address_is_the_users_or_the_ipv4_addresss_or_the_ids() {
    let (note, _) = made(both());
    let create = |addresses: &[&str], mac: Option<&str>| {
        let mut request = endpoint(&note, addresses);
        request.mac = mac.map(|text| Mac::parse(text).unwrap());
        Bridge {}.create_endpoint(&Context::background(), request)
    };
    let chosen = |addresses: &[&str]| create(addresses, None).unwrap().mac.unwrap().to_string();
    assert_eq!(chosen(&["fd00:1::7/64", "172.18.0.7/16"]), "02:42:ac:12:00:07");
    assert_eq!(chosen(&["fd00:1::7/64"]), "02:42:e1:e1:e1:e1");
    let given = create(&["172.18.0.7/16"], Some("02:00:00:00:00:09")).unwrap();
    assert_eq!((given.mac, given.addresses), (None, vec![]));
    assert_eq!(
        create(&["172.18.0.7/16"], Some("01:00:5e:00:00:09")).unwrap_err().kind,
        ErrorKind::Invalid
    );
}

#[test]
fn addresses_that_cannot_be_an_endpoints_are_refused() {
    let (note, _) = made(both());
    for (addresses, kind) in [
        (&[][..], ErrorKind::Invalid),
        (&["10.0.0.1/8"], ErrorKind::Invalid),
        (&["172.18.0.7/16", "172.18.0.8/16"], ErrorKind::Invalid),
        (&["172.18.0.1/16"], ErrorKind::AlreadyExists),
    ] {
        let refused = Bridge {}.create_endpoint(&Context::background(), endpoint(&note, addresses));
        assert_eq!(refused.unwrap_err().kind, kind, "{addresses:?}");
    }
}

fn publish(network_note: &Note, host: &str) -> longshore_plugin::network::Published {
    let port = |protocol: Protocol, host_port: u16| Port {
        protocol,
        host: IpAddr::parse(host).unwrap(),
        host_port,
        target: IpAddr::parse("172.18.0.7").unwrap(),
        target_port: 80,
    };
    let request = Publish {
        network: request().network,
        network_note: network_note.clone(),
        endpoint: EndpointId::parse("e1".repeat(32)).unwrap(),
        note: Note::default(),
        ports: vec![port(Protocol::Tcp, 8080), port(Protocol::Udp, 8081)],
    };
    Bridge {}.publish(&Context::background(), request).unwrap()
}

#[test]
fn ports_are_elements_and_a_proxy_on_the_loopback_link() {
    let (note, _) = made(request());
    let lines: Vec<String> = publish(&note, "0.0.0.0").plan.steps.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "port Tcp 0.0.0.0 8080 -> 172.18.0.7 80",
            "proxy Tcp 127.0.0.1 8080 -> 172.18.0.7 80",
            "port Udp 0.0.0.0 8081 -> 172.18.0.7 80",
            "proxy Udp 127.0.0.1 8081 -> 172.18.0.7 80",
        ]
    );
}

#[test]
fn equal_requests_get_equal_answers() {
    assert_eq!(made(both()), made(both()));
    assert_eq!(joined(both(), &["172.18.0.7/16"]), joined(both(), &["172.18.0.7/16"]));
}

#[test]
fn every_name_on_the_host_begins_with_the_prefix_unless_the_user_gave_it() {
    let (_, lines) = joined(both(), &["172.18.0.7/16"]);
    assert!(BRIDGE.starts_with("ls0a1f"));
    for name in lines.iter().filter_map(|line| line.strip_prefix("h link ")) {
        assert!(name.starts_with("ls0a1f"), "{name}");
    }
}
