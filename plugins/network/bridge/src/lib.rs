//! The network `bridge`: containers on a bridge of the host, as Docker's driver of that name makes
//! them.
//!
//! It is pure: each answer is a function of its request. What it must know later of a network or an
//! endpoint lies in its note. `config` holds Docker's options, `plan` what is made of them. Who has
//! which address is ipam's business, which port is whose the host's; links, rules and proxies are
//! made by the performer.
#![forbid(unsafe_code)]

mod config;
mod plan;
mod probe;

use longshore_plugin::driver::{Capabilities, Description, Driver, Open, Probe, Probed, Versions};
use longshore_plugin::graph::Ended;
use longshore_plugin::network::{
    CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, EndpointCreated, EndpointDeleted, Join, Joined,
    Leave, Left, NetworkCapabilities, NetworkCreated, NetworkDeleted, NetworkDriver, NetworkScope, Publish, Published,
    ports_plan,
};
use longshore_plugin::steps::NetworkPlan;
use longshore_plugin::{Context, Error, Result};

/// The driver. Its options are of networks and endpoints; it holds nothing.
#[derive(Debug)]
pub struct Bridge {}

fn capabilities() -> Capabilities {
    Capabilities::Network(NetworkCapabilities {
        acts: false,
        needs_sandbox: true,
        shares_host: false,
        scope: NetworkScope::Local,
        multihost: false,
        addresses: true,
        publishes: true,
        ipv6: true,
        needs_mac: false,
        hot: true,
        dns: true,
        link_kinds: vec!["bridge".into(), "veth".into()],
        max_per_sandbox: 0,
    })
}

impl Driver for Bridge {
    fn describe() -> Description {
        Description {
            name: "bridge".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "network".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: config::specs(),
            capabilities: capabilities(),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        let judged = probe::judge(&request.facts);
        Ok(Probed {
            usable: judged.usable,
            reasons: judged.reasons,
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        match request.options.first() {
            Some(option) => Err(Error::invalid(format!(
                "network driver bridge has no option {} of its own; its options are given to each network",
                option.name
            ))),
            None => Ok(Self {}),
        }
    }
}

impl NetworkDriver for Bridge {
    fn create_network(&self, _cx: &Context, request: CreateNetwork) -> Result<NetworkCreated> {
        let (network, outside) = config::Network::read(&request)?;
        Ok(NetworkCreated {
            note: network.note()?,
            plan: NetworkPlan {
                steps: plan::network(&network, &outside)?,
            },
            bind: outside.bind,
        })
    }

    fn delete_network(&self, _cx: &Context, _request: DeleteNetwork) -> Result<NetworkDeleted> {
        Ok(NetworkDeleted { outcome: Ended::Done })
    }

    fn create_endpoint(&self, _cx: &Context, request: CreateEndpoint) -> Result<EndpointCreated> {
        let network = config::Network::of_note(&request.network_note)?;
        plan::Endpoint::read(&network, &request)?.answer(&request)
    }

    fn delete_endpoint(&self, _cx: &Context, _request: DeleteEndpoint) -> Result<EndpointDeleted> {
        Ok(EndpointDeleted { outcome: Ended::Done })
    }

    fn join(&self, _cx: &Context, request: Join) -> Result<Joined> {
        plan::join(request)
    }

    fn leave(&self, _cx: &Context, _request: Leave) -> Result<Left> {
        Ok(Left { outcome: Ended::Done })
    }

    fn publish(&self, _cx: &Context, request: Publish) -> Result<Published> {
        let network = config::Network::of_note(&request.network_note)?;
        if network.internal && !request.ports.is_empty() {
            return Ok(Published {
                plan: NetworkPlan::nothing(),
                warning: Some("ports are not published on an internal network: nothing outside reaches it".into()),
            });
        }
        Ok(Published {
            plan: ports_plan(&request.ports),
            warning: None,
        })
    }
}

longshore_plugin::export! {
    driver: Bridge,
    kind: network,
    name: "bridge",
    version: env!("CARGO_PKG_VERSION"),
    grants: ["net:bridge", "net:veth"],
}

#[cfg(test)]
mod fixture;
