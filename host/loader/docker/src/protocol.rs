//! The protocol's messages, as Docker's own client and the plugin SDKs have them. What we do not know is
//! skipped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) mod ipam;
pub(crate) mod network;

/// The answer to `Plugin.Activate`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Activated {
    /// Interfaces, such as `VolumeDriver`.
    #[serde(rename = "Implements", default)]
    pub implements: Vec<String>,
}

/// What is in every answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(rename = "Err", default)]
    pub(crate) err: String,
}

/// The same in answers of `IpamDriver`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct IpamRefusal {
    #[serde(rename = "Error", default)]
    pub(crate) error: String,
}

/// An answer that says nothing but that it is done.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Done {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeCreate<'a> {
    pub(crate) name: &'a str,
    pub(crate) opts: BTreeMap<&'a str, &'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct VolumeMount<'a> {
    #[serde(rename = "Name")]
    pub(crate) name: &'a str,
    #[serde(rename = "ID")]
    pub(crate) id: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeMounted {
    #[serde(default)]
    pub(crate) mountpoint: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) status: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeGot {
    #[serde(default)]
    pub(crate) volume: Option<Volume>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeList {
    #[serde(default)]
    pub(crate) volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Capabilities {
    #[serde(default)]
    pub(crate) capabilities: Option<Scoped>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Scoped {
    #[serde(default)]
    pub(crate) scope: String,
}
