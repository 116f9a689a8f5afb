//! The messages of `NetworkDriver`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Docker's names of what is said among options.
pub(crate) const GENERIC: &str = "com.docker.network.generic";
pub(crate) const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
pub(crate) const INTERNAL: &str = "com.docker.network.internal";
pub(crate) const PORT_MAP: &str = "com.docker.network.portmap";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Capability {
    #[serde(default)]
    pub(crate) scope: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct CreateNetwork<'a> {
    #[serde(rename = "NetworkID")]
    pub(crate) network: &'a str,
    #[serde(rename = "Options")]
    pub(crate) options: BTreeMap<&'static str, Value>,
    #[serde(rename = "IPv4Data")]
    pub(crate) v4: Vec<Pool>,
    #[serde(rename = "IPv6Data")]
    pub(crate) v6: Vec<Pool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pool {
    pub(crate) address_space: &'static str,
    pub(crate) pool: String,
    pub(crate) gateway: String,
    pub(crate) aux_addresses: BTreeMap<String, String>,
}

/// A network, or one endpoint of it.
#[derive(Debug, Serialize)]
pub(crate) struct Which<'a> {
    #[serde(rename = "NetworkID")]
    pub(crate) network: &'a str,
    #[serde(rename = "EndpointID", skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CreateEndpoint<'a> {
    #[serde(rename = "NetworkID")]
    pub(crate) network: &'a str,
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint: &'a str,
    #[serde(rename = "Interface")]
    pub(crate) interface: Interface,
    #[serde(rename = "Options")]
    pub(crate) options: BTreeMap<&'a str, &'a str>,
}

/// Addresses of an endpoint; empty where there is none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Interface {
    #[serde(rename = "Address")]
    pub(crate) v4: String,
    #[serde(rename = "AddressIPv6")]
    pub(crate) v6: String,
    #[serde(rename = "MacAddress")]
    pub(crate) mac: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EndpointCreated {
    pub(crate) interface: Option<Interface>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Join<'a> {
    #[serde(rename = "NetworkID")]
    pub(crate) network: &'a str,
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint: &'a str,
    #[serde(rename = "SandboxKey")]
    pub(crate) sandbox: String,
    #[serde(rename = "Options")]
    pub(crate) options: BTreeMap<&'static str, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Joined {
    #[serde(rename = "InterfaceName")]
    pub(crate) name: Option<Names>,
    #[serde(rename = "Gateway")]
    pub(crate) gateway: String,
    #[serde(rename = "GatewayIPv6")]
    pub(crate) gateway6: String,
    #[serde(rename = "StaticRoutes")]
    pub(crate) routes: Option<Vec<StaticRoute>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Names {
    pub(crate) src_name: String,
    pub(crate) dst_prefix: String,
    pub(crate) dst_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StaticRoute {
    pub(crate) destination: String,
    /// 0: by a next hop; 1: what lies at the link.
    pub(crate) route_type: i64,
    pub(crate) next_hop: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct External<'a> {
    #[serde(rename = "NetworkID")]
    pub(crate) network: &'a str,
    #[serde(rename = "EndpointID")]
    pub(crate) endpoint: &'a str,
    #[serde(rename = "Options")]
    pub(crate) options: BTreeMap<&'static str, Value>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PortBinding {
    #[serde(rename = "Proto")]
    pub(crate) protocol: u8,
    #[serde(rename = "IP")]
    pub(crate) target: String,
    #[serde(rename = "Port")]
    pub(crate) target_port: u16,
    #[serde(rename = "HostIP")]
    pub(crate) host: String,
    #[serde(rename = "HostPort")]
    pub(crate) host_port: u16,
    #[serde(rename = "HostPortEnd")]
    pub(crate) host_port_end: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OperInfo {
    pub(crate) value: Option<BTreeMap<String, Value>>,
}
