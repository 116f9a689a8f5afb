//! The messages of `IpamDriver`. What is wrong is said in `Error` here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// By which option a gateway's address is asked for.
pub(crate) const ADDRESS_TYPE: (&str, &str) = ("RequestAddressType", "com.docker.network.gateway");
/// By which option an endpoint's hardware address is told.
pub(crate) const MAC: &str = "com.docker.network.endpoint.macaddress";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capability {
    #[serde(rename = "RequiresMACAddress")]
    pub(crate) needs_mac: bool,
    #[serde(rename = "RequiresRequestReplay")]
    pub(crate) needs_replay: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Spaces {
    pub(crate) local_default_address_space: String,
    pub(crate) global_default_address_space: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RequestPool<'a> {
    pub(crate) address_space: &'a str,
    pub(crate) pool: String,
    pub(crate) sub_pool: String,
    pub(crate) options: BTreeMap<&'a str, &'a str>,
    pub(crate) v6: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolGranted {
    #[serde(rename = "PoolID")]
    pub(crate) id: String,
    #[serde(rename = "Pool")]
    pub(crate) pool: String,
    #[serde(rename = "Data")]
    pub(crate) data: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReleasePool<'a> {
    #[serde(rename = "PoolID")]
    pub(crate) pool: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct RequestAddress<'a> {
    #[serde(rename = "PoolID")]
    pub(crate) pool: &'a str,
    #[serde(rename = "Address")]
    pub(crate) address: String,
    #[serde(rename = "Options")]
    pub(crate) options: BTreeMap<&'a str, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AddressGranted {
    pub(crate) address: String,
    pub(crate) data: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReleaseAddress<'a> {
    #[serde(rename = "PoolID")]
    pub(crate) pool: &'a str,
    #[serde(rename = "Address")]
    pub(crate) address: String,
}
