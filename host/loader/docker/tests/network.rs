//! Plugins that are network and ipam drivers, good ones and others, on sockets of the tests' own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fake;

use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::{Open, Opened, OptionValue};
use longshore_core::error::{ErrorKind, Result};
use longshore_core::graph::Ended;
use longshore_core::ipam::{self, Ipam, Lease, ReleaseAddress, ReleasePool, RequestAddress, RequestPool, Spaces};
use longshore_core::network::{
    self, CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, Join, JoinInfo, Leave, NetworkDriver,
    NetworkState, Pool, Port, Publish, Revoke, Status,
};
use longshore_core::steps::{MadeBy, NetStep, Protocol};
use longshore_core::types::{Bytes, EndpointId, IpAddr, IpNet, Mac, NetworkId, Note, OwnedPrefix, PoolId, PoolKey};
use longshore_core::wire::{Channel, OPEN, client_call};
use longshore_docker_plugins::{Folders, Plugin};
use serde_json::{Value, json};

use fake::{Answer, Calls, serve};

const JOINED: &str = r#"{"InterfaceName":{"SrcName":"veth7","DstPrefix":"eth"},"Gateway":"10.9.0.1",
    "StaticRoutes":[{"Destination":"10.8.0.0/16","RouteType":0,"NextHop":"10.9.0.3"},
                    {"Destination":"10.7.0.0/16","RouteType":1}]}"#;

fn good(method: &str, body: &str) -> (u16, String) {
    let answer = match method {
        "Plugin.Activate" => r#"{"Implements":["NetworkDriver","IpamDriver"]}"#,
        "NetworkDriver.GetCapabilities" => r#"{"Scope":"local","ConnectivityScope":"global"}"#,
        "NetworkDriver.CreateEndpoint" => r#"{"Interface":{"MacAddress":"02:42:0a:09:00:02"}}"#,
        "NetworkDriver.Join" => JOINED,
        "NetworkDriver.EndpointOperInfo" if body.contains(&"e".repeat(64)) => r#"{"Err":"no such endpoint"}"#,
        "NetworkDriver.EndpointOperInfo" => r#"{"Value":{"port":7,"vlan":"x"}}"#,
        "NetworkDriver.DeleteEndpoint" | "NetworkDriver.Leave" if body.contains(&"e".repeat(64)) => {
            r#"{"Err":"no such endpoint"}"#
        }
        "NetworkDriver.CreateNetwork" if body.contains("taken") => r#"{"Err":"the VLAN is taken"}"#,
        "NetworkDriver.CreateNetwork"
        | "NetworkDriver.DeleteNetwork"
        | "NetworkDriver.DeleteEndpoint"
        | "NetworkDriver.Leave" => "{}",
        "IpamDriver.GetCapabilities" => r#"{"RequiresMACAddress":true}"#,
        "IpamDriver.GetDefaultAddressSpaces" => {
            r#"{"LocalDefaultAddressSpace":"here","GlobalDefaultAddressSpace":"there"}"#
        }
        "IpamDriver.RequestPool" if body.contains("10.6.0.0") => r#"{"Error":"10.6.0.0/16 is reserved"}"#,
        "IpamDriver.RequestPool" => r#"{"PoolID":"here/10.9.0.0/16","Pool":"10.9.0.0/16","Data":{"gw":"10.9.0.1/16"}}"#,
        "IpamDriver.RequestAddress" if body.contains("10.9.0.77") => r#"{"Address":"10.9.0.78/16"}"#,
        "IpamDriver.RequestAddress" => r#"{"Address":"10.9.0.2/16","Data":null}"#,
        "IpamDriver.ReleasePool" | "IpamDriver.ReleaseAddress" => "",
        _ => return (404, String::new()),
    };
    (200, answer.into())
}

fn opened(folders: &Folders, kind: &str) -> Result<(Arc<dyn Channel>, Opened)> {
    let channel = Plugin::activate(folders.find("p")?.expect("a socket"))?.channel(kind)?;
    let request = Open {
        root: None,
        root_path: Bytes::default(),
        options: vec![],
        host_interface: 0,
    };
    let opened = client_call(&channel, 0, &OPEN, &Context::background(), &request)?;
    Ok((channel, opened))
}

fn open_network(folders: &Folders) -> Result<Arc<dyn NetworkDriver>> {
    let (channel, opened) = opened(folders, "network")?;
    Ok(Arc::new(network::Client::new(channel, &opened)))
}

fn open_ipam(folders: &Folders) -> Result<Arc<dyn Ipam>> {
    let (channel, opened) = opened(folders, "ipam")?;
    Ok(Arc::new(ipam::Client::new(channel, &opened)))
}

fn cx() -> Context {
    Context::background()
}

fn net(text: &str) -> IpNet {
    IpNet::parse(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    IpAddr::parse(text).unwrap()
}

fn network() -> NetworkId {
    NetworkId::parse("a".repeat(64)).unwrap()
}

fn endpoint(digit: &str) -> EndpointId {
    EndpointId::parse(digit.repeat(64)).unwrap()
}

fn create_network(driver: &dyn NetworkDriver, option: &str) -> Result<()> {
    let request = CreateNetwork {
        network: network(),
        name: "n".into(),
        options: vec![OptionValue::text("vlan", option)],
        pools: vec![Pool {
            subnet: net("10.9.0.0/16"),
            range: None,
            gateway: Some(address("10.9.0.1")),
            reserved: vec![],
        }],
        internal: true,
        ipv6: false,
        prefix: OwnedPrefix::parse("ls0a1f").unwrap(),
    };
    driver
        .create_network(&cx(), request)
        .map(|created| assert!(created.plan.steps.is_empty()))
}

fn create_endpoint(driver: &dyn NetworkDriver, mac: Option<&str>) -> Result<network::EndpointCreated> {
    driver.create_endpoint(
        &cx(),
        CreateEndpoint {
            network: network(),
            network_note: Note::default(),
            endpoint: endpoint("b"),
            mac: mac.map(|mac| Mac::parse(mac).unwrap()),
            addresses: vec![net("10.9.0.2/16")],
            options: vec![],
        },
    )
}

fn join(driver: &dyn NetworkDriver) -> Result<network::Joined> {
    driver.join(
        &cx(),
        Join {
            network: network(),
            network_note: Note::default(),
            endpoint: endpoint("b"),
            note: Note::default(),
            container: JoinInfo {
                hostname: "h".into(),
                names: vec![],
                mac: None,
                addresses: vec![net("10.9.0.2/16")],
            },
            sandbox: None,
            sandbox_path: Bytes::parse(b"/run/x/net".to_vec()).unwrap(),
            index: 3,
        },
    )
}

fn ports() -> Vec<Port> {
    vec![Port {
        protocol: Protocol::Tcp,
        host: address("0.0.0.0"),
        host_port: 8080,
        target: address("10.9.0.2"),
        target_port: 80,
    }]
}

fn publish(driver: &dyn NetworkDriver) -> Result<network::Published> {
    driver.publish(
        &cx(),
        Publish {
            network: network(),
            network_note: Note::default(),
            endpoint: endpoint("b"),
            note: Note::default(),
            ports: ports(),
        },
    )
}

/// The body of the first call of a method.
fn body(calls: &Calls, method: &str) -> Value {
    let calls = calls.lock().unwrap();
    let (_, body) = calls.iter().find(|(name, _)| name == method).expect("the call");
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_network_is_made_as_docker_says_it() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), good);
    let driver = open_network(&folders).unwrap();
    create_network(&*driver, "7").unwrap();
    assert_eq!(
        body(&calls, "NetworkDriver.CreateNetwork"),
        json!({
            "NetworkID": "a".repeat(64),
            "Options": {
                "com.docker.network.generic": {"vlan": "7"},
                "com.docker.network.enable_ipv6": false,
                "com.docker.network.internal": true,
            },
            "IPv4Data": [{"AddressSpace": "LocalDefault", "Pool": "10.9.0.0/16", "Gateway": "10.9.0.1/16", "AuxAddresses": {}}],
            "IPv6Data": [],
        })
    );
    let error = create_network(&*driver, "taken").unwrap_err();
    assert!(
        error.kind == ErrorKind::Invalid && error.message.contains("the VLAN is taken"),
        "{error}"
    );
    let gone = DeleteNetwork {
        network: network(),
        note: Note::default(),
    };
    assert_eq!(driver.delete_network(&cx(), gone).unwrap().outcome, Ended::Done);
}

#[test]
fn a_join_moves_the_plugins_link_inside_and_routes_go_by_it() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), good);
    let driver = open_network(&folders).unwrap();
    let created = create_endpoint(&*driver, None).unwrap();
    assert_eq!(created.mac.unwrap().to_string(), "02:42:0a:09:00:02");
    assert!(created.addresses.is_empty());
    let joined = join(&*driver).unwrap();
    assert_eq!(body(&calls, "NetworkDriver.Join")["SandboxKey"], "/run/x/net");
    let steps = &joined.plan.steps;
    assert!(
        matches!(&steps[0], NetStep::Move { name, to, made_by: MadeBy::Driver, .. }
            if name.as_str() == "veth7" && to.as_str() == "eth3"),
        "{steps:?}"
    );
    assert!(matches!(&steps[1], NetStep::Address { address, .. } if *address == net("10.9.0.2/16")));
    assert!(matches!(&steps[2], NetStep::Up { .. }));
    assert!(
        matches!(&steps[3], NetStep::Route { to: Some(to), via: Some(via), scope: 0, .. }
            if *to == net("10.8.0.0/16") && *via == address("10.9.0.3"))
    );
    assert!(matches!(
        &steps[4],
        NetStep::Route {
            via: None,
            scope: 253,
            ..
        }
    ));
    assert!(
        matches!(
            &steps[5],
            NetStep::Route {
                to: None,
                on_link: false,
                ..
            }
        ) && steps.len() == 6
    );
    assert!(joined.default_route && joined.gateway == Some(address("10.9.0.1")));
    assert_eq!(joined.acted.unwrap().host_links[0].as_str(), "veth7");
}

#[test]
fn what_is_gone_is_absent_and_what_the_plugin_does_not_end_is_told() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), |method, body| match method {
        "NetworkDriver.Leave" if body.contains(&"c".repeat(64)) => (200, r#"{"Err":"the switch is away"}"#.into()),
        _ => good(method, body),
    });
    let driver = open_network(&folders).unwrap();
    let delete = |digit| {
        let request = DeleteEndpoint {
            network: network(),
            endpoint: endpoint(digit),
            note: Note::default(),
        };
        driver.delete_endpoint(&cx(), request).map(|deleted| deleted.outcome)
    };
    assert_eq!(delete("b").unwrap(), Ended::Done);
    assert_eq!(delete("e").unwrap(), Ended::Absent);
    let leave = |digit| {
        let request = Leave {
            network: network(),
            endpoint: endpoint(digit),
            note: Note::default(),
            sandbox: None,
        };
        driver.leave(&cx(), request).map(|left| left.outcome)
    };
    assert_eq!(leave("e").unwrap(), Ended::Absent);
    assert!(leave("c").unwrap_err().message.contains("the switch is away"));
    let status = |digit: Option<&str>| {
        let request = Status {
            network: network(),
            note: Note::default(),
            endpoint: digit.map(endpoint),
        };
        driver.status(&cx(), request)
    };
    let told = status(Some("b")).unwrap();
    assert!(matches!(told.state, NetworkState::Up {}) && told.info[0].value == "7");
    assert!(matches!(status(Some("e")).unwrap().state, NetworkState::Absent {}));
    assert_eq!(status(None).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn ports_are_the_plugins_where_it_publishes_and_the_hosts_where_it_does_not() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), good);
    let driver = open_network(&folders).unwrap();
    let published = publish(&*driver).unwrap();
    assert!(published.warning.unwrap().contains("publishes no ports") && published.plan.steps.len() == 2);
    let other = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(other.path(), |method, body| match method {
        "NetworkDriver.ProgramExternalConnectivity" | "NetworkDriver.RevokeExternalConnectivity" => (200, "{}".into()),
        _ => good(method, body),
    });
    let driver = open_network(&folders).unwrap();
    let published = publish(&*driver).unwrap();
    assert!(published.warning.is_none() && published.plan.steps.is_empty());
    assert_eq!(
        body(&calls, "NetworkDriver.ProgramExternalConnectivity")["Options"]["com.docker.network.portmap"],
        json!([{"Proto": 6, "IP": "10.9.0.2", "Port": 80, "HostIP": "0.0.0.0", "HostPort": 8080, "HostPortEnd": 8080}])
    );
    let revoke = Revoke {
        network: network(),
        endpoint: endpoint("b"),
        note: Note::default(),
        ports: ports(),
    };
    assert_eq!(driver.revoke(&cx(), revoke).unwrap().outcome, Ended::Done);
}

#[test]
fn an_endpoint_that_is_not_the_one_that_was_asked_for_is_broken() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), |method, body| match method {
        "NetworkDriver.CreateEndpoint" if body.contains("02:00:00:00:00:01") => {
            (200, r#"{"Interface":{"MacAddress":"02:00:00:00:00:02"}}"#.into())
        }
        "NetworkDriver.CreateEndpoint" => (200, r#"{"Interface":{"Address":"10.9.0.3/16"}}"#.into()),
        _ => good(method, body),
    });
    let driver = open_network(&folders).unwrap();
    for mac in [Some("02:00:00:00:00:01"), None] {
        let error = create_endpoint(&*driver, mac).unwrap_err();
        assert!(
            error.kind == ErrorKind::Broken && error.message.contains("another one"),
            "{error}"
        );
    }
    let given = CreateEndpoint {
        network: network(),
        network_note: Note::default(),
        endpoint: endpoint("b"),
        mac: None,
        addresses: vec![net("10.9.0.2/16"), net("10.9.0.3/16")],
        options: vec![],
    };
    let error = driver.create_endpoint(&cx(), given).unwrap_err();
    assert!(
        error.kind == ErrorKind::Invalid && error.message.contains("one address of each family"),
        "{error}"
    );
}

#[test]
fn a_join_without_sense_is_broken() {
    let cases: [(Answer, &str); 7] = [
        (
            |m, b| bad_join(m, b, r#"{"InterfaceName":{"SrcName":"../x","DstPrefix":"eth"}}"#),
            "link name",
        ),
        (
            |m, b| bad_join(m, b, r#"{"InterfaceName":{"SrcName":"veth7"}}"#),
            "called inside",
        ),
        (
            |m, b| bad_join(m, b, r#"{"InterfaceName":{"SrcName":"veth7","DstName":"lo"}}"#),
            "lo",
        ),
        (|m, b| bad_join(m, b, r#"{"Gateway":"10.9.0.1"}"#), "no link"),
        (
            |m, b| {
                let answer = r#"{"InterfaceName":{"SrcName":"veth7","DstPrefix":"eth"},"GatewayIPv6":"10.9.0.1"}"#;
                bad_join(m, b, answer)
            },
            "no gateway of its family",
        ),
        (
            |m, b| {
                let answer = r#"{"InterfaceName":{"SrcName":"veth7","DstPrefix":"eth"},
                    "StaticRoutes":[{"Destination":"0.0.0.0/0","RouteType":1}]}"#;
                bad_join(m, b, answer)
            },
            "default route",
        ),
        (
            |m, b| {
                let route = r#"{"Destination":"10.7.0.0/16","RouteType":1},"#.repeat(300);
                let answer = format!(
                    r#"{{"InterfaceName":{{"SrcName":"veth7","DstPrefix":"eth"}},"StaticRoutes":[{}]}}"#,
                    route.trim_end_matches(',')
                );
                bad_join(m, b, &answer)
            },
            "static routes",
        ),
    ];
    for (answer, why) in cases {
        let at = tempfile::tempdir().unwrap();
        let (folders, _) = serve(at.path(), answer);
        let error = join(&*open_network(&folders).unwrap()).unwrap_err();
        assert!(
            error.kind == ErrorKind::Broken && error.message.contains(why),
            "{why}: {error}"
        );
    }
}

fn bad_join(method: &str, body: &str, answer: &str) -> (u16, String) {
    match method {
        "NetworkDriver.Join" => (200, answer.to_owned()),
        _ => good(method, body),
    }
}

#[test]
fn half_an_answer_to_a_join_is_broken_and_the_call_is_not_made_again() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), |method, body| match method {
        "NetworkDriver.Join" => (0, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"In".into()),
        _ => good(method, body),
    });
    let error = join(&*open_network(&folders).unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    let made = calls
        .lock()
        .unwrap()
        .iter()
        .filter(|(name, _)| name == "NetworkDriver.Join")
        .count();
    assert_eq!(made, 1);
}

fn request_pool(driver: &dyn Ipam, subnet: Option<&str>, avoid: &[&str]) -> Result<ipam::PoolGranted> {
    driver.request_pool(
        &cx(),
        RequestPool {
            key: PoolKey::parse("k:0").unwrap(),
            space: "here".into(),
            subnet: subnet.map(net),
            range: None,
            v6: false,
            options: vec![],
            avoid: avoid.iter().map(|text| net(text)).collect(),
        },
    )
}

fn request_address(driver: &dyn Ipam, lease: Lease, wanted: Option<&str>) -> Result<ipam::AddressGranted> {
    driver.request_address(
        &cx(),
        RequestAddress {
            pool: PoolId::parse("here/10.9.0.0/16").unwrap(),
            lease,
            address: wanted.map(address),
            mac: Some(Mac::parse("02:00:00:00:00:01").unwrap()),
            options: vec![],
        },
    )
}

#[test]
fn pools_and_addresses_come_and_go() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), good);
    let driver = open_ipam(&folders).unwrap();
    let spaces = driver.spaces(&cx(), Spaces {}).unwrap();
    assert!(spaces.local == "here" && spaces.global == "there");
    let granted = request_pool(&*driver, None, &[]).unwrap();
    assert!(granted.subnet == net("10.9.0.0/16") && granted.data[0].key == "gw");
    assert_eq!(
        body(&calls, "IpamDriver.RequestPool"),
        json!({"AddressSpace": "here", "Pool": "", "SubPool": "", "Options": {}, "V6": false})
    );
    let given = request_address(&*driver, Lease::Gateway {}, None).unwrap();
    assert_eq!(given.address, net("10.9.0.2/16"));
    assert_eq!(
        body(&calls, "IpamDriver.RequestAddress")["Options"],
        json!({"RequestAddressType": "com.docker.network.gateway", "com.docker.network.endpoint.macaddress": "02:00:00:00:00:01"})
    );
    let pool = granted.pool;
    let release = ReleaseAddress {
        pool: pool.clone(),
        lease: Lease::Gateway {},
        address: address("10.9.0.2"),
    };
    assert_eq!(driver.release_address(&cx(), release).unwrap().outcome, Ended::Done);
    assert_eq!(
        driver.release_pool(&cx(), ReleasePool { pool }).unwrap().outcome,
        Ended::Done
    );
}

#[test]
fn an_ipam_plugins_own_field_of_refusals_is_read() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), good);
    let error = request_pool(&*open_ipam(&folders).unwrap(), Some("10.6.0.0/16"), &[]).unwrap_err();
    assert!(
        error.kind == ErrorKind::Invalid && error.message.contains("is reserved"),
        "{error}"
    );
}

#[test]
fn a_pool_that_meets_a_route_of_the_host_is_given_back() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), good);
    let driver = open_ipam(&folders).unwrap();
    let error = request_pool(&*driver, None, &["10.9.4.0/24"]).unwrap_err();
    assert!(
        error.kind == ErrorKind::Exhausted && error.message.contains("name a subnet"),
        "{error}"
    );
    assert_eq!(
        body(&calls, "IpamDriver.ReleasePool"),
        json!({"PoolID": "here/10.9.0.0/16"})
    );
    // The user's own wish is the user's.
    request_pool(&*driver, Some("10.9.0.0/16"), &["10.9.4.0/24"]).unwrap();
}

#[test]
fn a_pool_or_address_that_is_not_the_one_that_was_asked_for_is_broken() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), good);
    let driver = open_ipam(&folders).unwrap();
    let error = request_pool(&*driver, Some("10.5.0.0/16"), &[]).unwrap_err();
    assert!(
        error.kind == ErrorKind::Broken && error.message.contains("10.9.0.0/16"),
        "{error}"
    );
    let error = request_address(&*driver, Lease::Endpoint(endpoint("b")), Some("10.9.0.77")).unwrap_err();
    assert!(
        error.kind == ErrorKind::Broken && error.message.contains("10.9.0.78"),
        "{error}"
    );
}

#[test]
fn a_plugin_that_hangs_costs_the_calls_deadline_and_no_more() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), |method, body| match method {
        "IpamDriver.RequestPool" | "NetworkDriver.Leave" => (1, String::new()),
        _ => good(method, body),
    });
    let driver = open_network(&folders).unwrap();
    let hurry = Context::new(
        0,
        Some(std::time::Duration::from_millis(200)),
        Default::default(),
        Arc::new(longshore_core::context::NoServices),
    );
    let request = Leave {
        network: network(),
        endpoint: endpoint("b"),
        note: Note::default(),
        sandbox: None,
    };
    assert_eq!(driver.leave(&hurry, request).unwrap_err().kind, ErrorKind::Deadline);
}
