//! The network `host`: no namespace of its own; the container uses the host's.
//!
//! It is pure and keeps nothing. Making the namespace, or leaving the container in the host's, is
//! the host's work, chosen by the capabilities.
#![forbid(unsafe_code)]

use longshore_plugin::Context;
use longshore_plugin::driver::{Capabilities, Description, Driver, Open, Probe, Probed, Versions};
use longshore_plugin::graph::Ended;
use longshore_plugin::network::{
    CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, EndpointCreated, EndpointDeleted, Join, Joined,
    Leave, Left, NetworkCapabilities, NetworkCreated, NetworkDeleted, NetworkDriver, NetworkScope,
};
use longshore_plugin::steps::NetworkPlan;
use longshore_plugin::types::Note;
use longshore_plugin::{Error, Result};

/// The driver. It has no options and holds nothing.
#[derive(Debug)]
pub struct Host {}

fn capabilities() -> Capabilities {
    Capabilities::Network(NetworkCapabilities {
        acts: false,
        needs_sandbox: false,
        shares_host: true,
        scope: NetworkScope::Local,
        multihost: false,
        addresses: false,
        publishes: false,
        ipv6: false,
        needs_mac: false,
        hot: false,
        dns: false,
        link_kinds: vec![],
        max_per_sandbox: 1,
    })
}

impl Driver for Host {
    fn describe() -> Description {
        Description {
            name: "host".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "network".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: vec![],
            capabilities: capabilities(),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        match request.options.first() {
            Some(option) => Err(Error::invalid(format!(
                "network host has no option {}; it has none",
                option.name
            ))),
            None => Ok(Self {}),
        }
    }
}

impl NetworkDriver for Host {
    fn create_network(&self, _cx: &Context, request: CreateNetwork) -> Result<NetworkCreated> {
        if let Some(option) = request.options.first() {
            return Err(Error::invalid(format!(
                "network {} of driver host takes no option {}",
                request.name, option.name
            )));
        }
        Ok(NetworkCreated {
            note: Note::default(),
            plan: NetworkPlan::nothing(),
            bind: None,
        })
    }

    fn delete_network(&self, _cx: &Context, _request: DeleteNetwork) -> Result<NetworkDeleted> {
        Ok(NetworkDeleted { outcome: Ended::Done })
    }

    fn create_endpoint(&self, _cx: &Context, _request: CreateEndpoint) -> Result<EndpointCreated> {
        Ok(EndpointCreated {
            note: Note::default(),
            mac: None,
            addresses: vec![],
        })
    }

    fn delete_endpoint(&self, _cx: &Context, _request: DeleteEndpoint) -> Result<EndpointDeleted> {
        Ok(EndpointDeleted { outcome: Ended::Done })
    }

    fn join(&self, _cx: &Context, request: Join) -> Result<Joined> {
        Ok(Joined {
            plan: NetworkPlan::nothing(),
            acted: None,
            gateway: None,
            gateway6: None,
            default_route: false,
            note: request.note,
        })
    }

    fn leave(&self, _cx: &Context, _request: Leave) -> Result<Left> {
        Ok(Left { outcome: Ended::Done })
    }
}

longshore_plugin::export! {
    driver: Host,
    kind: network,
    name: "host",
    version: env!("CARGO_PKG_VERSION"),
}
