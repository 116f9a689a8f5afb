//! Requests that tests begin with.
#![allow(clippy::unwrap_used, reason = "tests")]

use longshore_plugin::driver::OptionValue;
use longshore_plugin::network::{CreateEndpoint, CreateNetwork, Join, JoinInfo, Pool};
use longshore_plugin::types::{Bytes, EndpointId, IpAddr, IpNet, NetworkId, Note, OwnedPrefix};

fn pool(subnet: &str, gateway: &str) -> Pool {
    Pool {
        subnet: IpNet::parse(subnet).unwrap(),
        range: None,
        gateway: Some(IpAddr::parse(gateway).unwrap()),
        reserved: vec![],
    }
}

/// A network of IPv4.
pub(crate) fn request() -> CreateNetwork {
    CreateNetwork {
        network: NetworkId::parse("4f".repeat(32)).unwrap(),
        name: "front".into(),
        options: vec![],
        pools: vec![pool("172.18.0.0/16", "172.18.0.1")],
        internal: false,
        ipv6: false,
        prefix: OwnedPrefix::parse("ls0a1f").unwrap(),
    }
}

/// The same with IPv6.
pub(crate) fn both() -> CreateNetwork {
    let mut request = request();
    request.pools.push(pool("fd00:1::/64", "fd00:1::1"));
    request.ipv6 = true;
    request
}

/// The same of IPv4 with options.
pub(crate) fn with(options: &[(&str, &str)]) -> CreateNetwork {
    CreateNetwork {
        options: options
            .iter()
            .map(|(name, value)| OptionValue::text(*name, *value))
            .collect(),
        ..request()
    }
}

/// An endpoint.
pub(crate) fn endpoint(network_note: &Note, addresses: &[&str]) -> CreateEndpoint {
    CreateEndpoint {
        network: request().network,
        network_note: network_note.clone(),
        endpoint: EndpointId::parse("e1".repeat(32)).unwrap(),
        mac: None,
        addresses: addresses.iter().map(|text| IpNet::parse(text).unwrap()).collect(),
        options: vec![],
    }
}

/// Its join.
pub(crate) fn join(network_note: &Note, note: &Note) -> Join {
    Join {
        network: request().network,
        network_note: network_note.clone(),
        endpoint: EndpointId::parse("e1".repeat(32)).unwrap(),
        note: note.clone(),
        container: JoinInfo {
            hostname: "box".into(),
            names: vec![],
            mac: None,
            addresses: vec![],
        },
        sandbox: None,
        sandbox_path: Bytes::default(),
        index: 0,
    }
}
