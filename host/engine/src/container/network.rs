//! A container's attachment to its network: what the driver's plan means for the shim.

use longshore_core::Context;
use longshore_core::network::{CreateEndpoint, DeleteEndpoint, Join, JoinInfo, Leave};
use longshore_core::steps::{NetStep, Side};
use longshore_core::types::{Bytes, EndpointId, NetworkId, Note};
use longshore_shim::protocol::Network;
use sha2::{Digest as _, Sha256};

use super::record::Record;
use super::{Containers, files};
use crate::error::{Error, Result};

/// The ID of a network that is made by its driver's being there: derived from its name.
fn network_id(name: &str) -> Result<NetworkId> {
    Ok(NetworkId::parse(hex::encode(Sha256::digest(format!(
        "network {name}"
    ))))?)
}

/// The ID of a container's endpoint, derived from both, so that calls can be repeated.
fn endpoint_id(name: &str, container: &str) -> Result<EndpointId> {
    Ok(EndpointId::parse(hex::encode(Sha256::digest(format!(
        "endpoint {name} {container}"
    ))))?)
}

impl Containers {
    /// Joins a container to its network: the plan's sandbox side is the shim's to perform, on the
    /// namespace that it makes.
    pub(super) fn join_network(&self, record: &Record, id: &str) -> Result<Network> {
        let slot = self.drivers.network(&record.network)?;
        let (network, endpoint) = (network_id(&record.network)?, endpoint_id(&record.network, id)?);
        let made = slot.driver.create_endpoint(
            &Context::background(),
            CreateEndpoint {
                network: network.clone(),
                network_note: Note::default(),
                endpoint: endpoint.clone(),
                mac: None,
                addresses: Vec::new(),
                options: Vec::new(),
            },
        )?;
        let joined = slot.driver.join(
            &Context::background(),
            Join {
                network,
                network_note: Note::default(),
                endpoint,
                note: made.note,
                container: JoinInfo {
                    hostname: files::hostname(record, id, slot.capabilities.shares_host),
                    names: Vec::new(),
                    mac: None,
                    addresses: Vec::new(),
                },
                sandbox: None,
                sandbox_path: Bytes::default(),
                index: 0,
            },
        )?;
        if slot.capabilities.shares_host {
            if !joined.plan.steps.is_empty() {
                return Err(breach(
                    &slot.name,
                    "plans steps for a container that shares the host's namespace",
                ));
            }
            return Ok(Network::Host);
        }
        let mut up = Vec::new();
        for step in joined.plan.steps {
            match step {
                // The namespace is fresh: nothing but lo is there to be raised.
                NetStep::Up {
                    side: Side::Sandbox,
                    link,
                } if link.as_str() == "lo" => up.push(link),
                NetStep::Up { link, .. } => {
                    return Err(breach(&slot.name, &format!("raises link {link}, which is not its own")));
                }
                _ => return Err(breach(&slot.name, "plans more than to raise lo")),
            }
        }
        Ok(Network::New { up })
    }

    /// Ends a container's attachment. What is gone is gone.
    pub(super) fn leave_network(&self, record: &Record, id: &str) {
        let left = || -> Result<()> {
            let slot = self.drivers.network(&record.network)?;
            let (network, endpoint) = (network_id(&record.network)?, endpoint_id(&record.network, id)?);
            slot.driver.leave(
                &Context::background(),
                Leave {
                    network: network.clone(),
                    endpoint: endpoint.clone(),
                    note: Note::default(),
                    sandbox: None,
                },
            )?;
            slot.driver.delete_endpoint(
                &Context::background(),
                DeleteEndpoint {
                    network,
                    endpoint,
                    note: Note::default(),
                },
            )?;
            Ok(())
        };
        if let Err(error) = left() {
            tracing::warn!(container = id, network = record.network, %error, "a container could not leave its network");
        }
    }
}

fn breach(driver: &str, what: &str) -> Error {
    Error::new(
        longshore_core::ErrorKind::Broken,
        format!("network driver {driver} {what}: its plan is refused"),
    )
}
