//! A plugin's `NetworkDriver` as ours.
//!
//! A plugin makes its links on the host by itself; what it answers to `Join` becomes a plan that moves one
//! of them inside and gives it addresses and routes, so the host checks and performs that as any other.
//! The link is named in [`Acted::host_links`], and the host decides whether it may be moved.
//!
//! What the protocol cannot do: calls that can be repeated, plans of a network, names, and the news of other
//! machines (`DiscoverNew`, `AllocateNetwork`), which only a cluster has.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_core::context::Context;
use longshore_core::driver::{ANY_OPTION, Capabilities, Description, OptionKind, OptionScope, OptionSpec, Versions};
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::graph::Ended;
use longshore_core::network::{
    Acted, CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, EndpointCreated, EndpointDeleted, Join,
    Joined, Leave, Left, NetworkCapabilities, NetworkCreated, NetworkDeleted, NetworkDriver, NetworkKind, NetworkScope,
    NetworkState, NetworkStatus, Pool, Port, Publish, Published, Revoke, Revoked, Status, ports_plan,
};
use longshore_core::steps::{NetworkPlan, Protocol};
use longshore_core::types::{IpAddr, IpNet, Mac, Note};
use longshore_core::wire::Channel;
use serde_json::{Value, json};

use crate::address::Address;
use crate::caller::{Caller, pairs};
use crate::channel::Adapted;
use crate::plan;
use crate::protocol::Done;
use crate::protocol::network as said;

struct Docker(Caller);

/// The plugin as a network driver.
pub(crate) fn channel(name: &str, address: &Address) -> Result<Arc<dyn Channel>> {
    let driver = Docker(Caller {
        who: format!("network plugin {name}"),
        address: address.clone(),
        interface: "NetworkDriver",
    });
    let scope = if driver.capability()?.scope.eq_ignore_ascii_case("global") {
        NetworkScope::Global
    } else {
        NetworkScope::Local
    };
    let option = |scope| OptionSpec {
        name: ANY_OPTION.into(),
        kind: OptionKind::Text,
        scope,
        required: false,
        default: None,
        help: "the plugin's own options".into(),
    };
    let description = Description {
        name: name.to_owned(),
        aliases: vec![],
        version: "1".into(),
        kind: "network".into(),
        interface: Versions { from: 0, to: 0 },
        folder: Some("plugins".into()),
        areas: vec![],
        options: vec![option(OptionScope::Object)],
        capabilities: Capabilities::Network(NetworkCapabilities {
            acts: true,
            needs_sandbox: true,
            shares_host: false,
            multihost: matches!(scope, NetworkScope::Global),
            scope,
            addresses: true,
            publishes: true,
            ipv6: true,
            needs_mac: false,
            hot: true,
            dns: false,
            link_kinds: vec![],
            max_per_sandbox: 0,
        }),
        concurrency: 8,
    };
    Ok(Arc::new(Adapted::<_, NetworkKind>::new(
        description,
        driver,
        |driver| driver.capability().map(drop),
    )))
}

/// Pools of one family as the protocol has them.
fn pools(all: &[Pool], v4: bool) -> Vec<said::Pool> {
    let with_prefix = |address: IpAddr, subnet: IpNet| format!("{address}/{}", subnet.prefix());
    all.iter()
        .filter(|pool| pool.subnet.is_ipv4() == v4)
        .map(|pool| said::Pool {
            address_space: "LocalDefault",
            pool: pool.subnet.to_string(),
            gateway: pool
                .gateway
                .map_or_else(String::new, |gateway| with_prefix(gateway, pool.subnet)),
            aux_addresses: pool
                .reserved
                .iter()
                .map(|reserved| (reserved.name.clone(), with_prefix(reserved.address, pool.subnet)))
                .collect(),
        })
        .collect()
}

/// Ports as the protocol has them; of protocols that it does not know, none.
fn bindings(ports: &[Port]) -> Value {
    let all: Vec<said::PortBinding> = ports
        .iter()
        .filter_map(|port| {
            Some(said::PortBinding {
                protocol: match port.protocol {
                    Protocol::Tcp => 6,
                    Protocol::Udp => 17,
                    Protocol::Sctp => 132,
                    Protocol::Unknown => return None,
                },
                target: port.target.to_string(),
                target_port: port.target_port,
                host: port.host.to_string(),
                host_port: port.host_port,
                host_port_end: port.host_port,
            })
        })
        .collect();
    json!(all)
}

impl Docker {
    fn capability(&self) -> Result<said::Capability> {
        self.0.ask(&Context::background(), "GetCapabilities", &json!({}))
    }

    /// How the ending of something went: of what the plugin does not know, it is absent.
    fn ended(&self, cx: &Context, method: &str, which: &said::Which<'_>) -> Result<Ended> {
        let asked: Result<Done> = self.0.change(cx, method, which);
        match asked {
            Ok(_) => Ok(Ended::Done),
            Err(error) if error.kind == ErrorKind::Invalid && which.endpoint.is_some() => {
                let info: Result<said::OperInfo> = self.0.ask(cx, "EndpointOperInfo", which);
                match info {
                    Err(unknown) if unknown.kind == ErrorKind::Invalid => Ok(Ended::Absent),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// One address of each family, as the protocol has them.
    fn interface(&self, request: &CreateEndpoint) -> Result<said::Interface> {
        let one = |v4: bool| {
            let mut all = request.addresses.iter().filter(|net| net.is_ipv4() == v4);
            match (all.next(), all.next()) {
                (first, None) => Ok(first.map_or_else(String::new, |net| net.to_string())),
                (_, Some(more)) => Err(Error::invalid(format!(
                    "{} takes one address of each family, and {more} is another one",
                    self.0.who
                ))),
            }
        };
        Ok(said::Interface {
            v4: one(true)?,
            v6: one(false)?,
            mac: request.mac.map_or_else(String::new, |mac| mac.to_string()),
        })
    }

    /// What a plugin chose where nothing was given; it may repeat what was.
    fn chosen(&self, request: &CreateEndpoint, told: &said::Interface) -> Result<EndpointCreated> {
        let changed = |what: &str, text: &str| {
            self.0
                .broken(format_args!("it was given {what} and answers another one: {text:?}"))
        };
        let mac = match (told.mac.as_str(), request.mac) {
            ("", _) => None,
            (text, given) => {
                let mac = Mac::parse(text).map_err(|error| self.0.broken(error))?;
                match given {
                    None => Some(mac),
                    Some(given) if given == mac => None,
                    Some(_) => return Err(changed("a hardware address", text)),
                }
            }
        };
        let mut addresses = Vec::new();
        for (text, v4) in [(told.v4.as_str(), true), (told.v6.as_str(), false)] {
            if text.is_empty() {
                continue;
            }
            let net = IpNet::parse(text).map_err(|error| self.0.broken(error))?;
            match request.addresses.iter().find(|given| given.is_ipv4() == v4) {
                _ if net.is_ipv4() != v4 => return Err(changed("a field of the other family", text)),
                None => addresses.push(net),
                Some(given) if *given == net => {}
                Some(_) => return Err(changed("an address", text)),
            }
        }
        Ok(EndpointCreated {
            note: Note::default(),
            mac,
            addresses,
        })
    }
}

impl NetworkDriver for Docker {
    fn create_network(&self, cx: &Context, request: CreateNetwork) -> Result<NetworkCreated> {
        let mut options = BTreeMap::from([
            (said::GENERIC, json!(self.0.texts(&request.options)?)),
            (said::ENABLE_IPV6, json!(request.ipv6)),
        ]);
        if request.internal {
            options.insert(said::INTERNAL, json!(true));
        }
        let argument = said::CreateNetwork {
            network: request.network.as_str(),
            options,
            v4: pools(&request.pools, true),
            v6: pools(&request.pools, false),
        };
        let _: Done = self.0.change(cx, "CreateNetwork", &argument)?;
        Ok(NetworkCreated {
            note: Note::default(),
            plan: NetworkPlan::nothing(),
            bind: None,
        })
    }

    fn delete_network(&self, cx: &Context, request: DeleteNetwork) -> Result<NetworkDeleted> {
        let which = said::Which {
            network: request.network.as_str(),
            endpoint: None,
        };
        let outcome = self.ended(cx, "DeleteNetwork", &which)?;
        Ok(NetworkDeleted { outcome })
    }

    fn create_endpoint(&self, cx: &Context, request: CreateEndpoint) -> Result<EndpointCreated> {
        let argument = said::CreateEndpoint {
            network: request.network.as_str(),
            endpoint: request.endpoint.as_str(),
            interface: self.interface(&request)?,
            options: self.0.texts(&request.options)?,
        };
        let created: said::EndpointCreated = self.0.change(cx, "CreateEndpoint", &argument)?;
        self.chosen(&request, &created.interface.unwrap_or_default())
    }

    fn delete_endpoint(&self, cx: &Context, request: DeleteEndpoint) -> Result<EndpointDeleted> {
        let which = said::Which {
            network: request.network.as_str(),
            endpoint: Some(request.endpoint.as_str()),
        };
        let outcome = self.ended(cx, "DeleteEndpoint", &which)?;
        Ok(EndpointDeleted { outcome })
    }

    fn join(&self, cx: &Context, request: Join) -> Result<Joined> {
        let argument = said::Join {
            network: request.network.as_str(),
            endpoint: request.endpoint.as_str(),
            sandbox: String::from_utf8_lossy(request.sandbox_path.as_bytes()).into_owned(),
            options: BTreeMap::new(),
        };
        let answer: said::Joined = self.0.change(cx, "Join", &argument)?;
        let planned = plan::of_join(&answer, &request.container, request.index).map_err(|why| self.0.broken(why))?;
        Ok(Joined {
            plan: planned.plan,
            acted: Some(Acted {
                links: vec![],
                routes: vec![],
                host_links: planned.link.into_iter().collect(),
                report: vec![],
            }),
            default_route: planned.gateway.is_some() || planned.gateway6.is_some(),
            gateway: planned.gateway,
            gateway6: planned.gateway6,
            note: request.note,
        })
    }

    fn leave(&self, cx: &Context, request: Leave) -> Result<Left> {
        let which = said::Which {
            network: request.network.as_str(),
            endpoint: Some(request.endpoint.as_str()),
        };
        let outcome = self.ended(cx, "Leave", &which)?;
        Ok(Left { outcome })
    }

    fn publish(&self, cx: &Context, request: Publish) -> Result<Published> {
        let argument = said::External {
            network: request.network.as_str(),
            endpoint: request.endpoint.as_str(),
            options: BTreeMap::from([(said::PORT_MAP, bindings(&request.ports))]),
        };
        let asked: Result<Done> = self.0.change(cx, "ProgramExternalConnectivity", &argument);
        match asked {
            Ok(_) => Ok(Published {
                plan: NetworkPlan::nothing(),
                warning: None,
            }),
            // The method need not be there; then the host leads its ports to the endpoint's address.
            Err(error) if error.kind == ErrorKind::Unsupported => Ok(Published {
                plan: ports_plan(&request.ports),
                warning: Some(format!(
                    "{} publishes no ports by itself: they are reached if the host reaches its containers",
                    self.0.who
                )),
            }),
            Err(error) => Err(error),
        }
    }

    fn revoke(&self, cx: &Context, request: Revoke) -> Result<Revoked> {
        let which = said::Which {
            network: request.network.as_str(),
            endpoint: Some(request.endpoint.as_str()),
        };
        match self.ended(cx, "RevokeExternalConnectivity", &which) {
            Err(error) if error.kind == ErrorKind::Unsupported => Ok(Revoked { outcome: Ended::Done }),
            ended => ended.map(|outcome| Revoked { outcome }),
        }
    }

    fn status(&self, cx: &Context, request: Status) -> Result<NetworkStatus> {
        let Some(endpoint) = &request.endpoint else {
            return Err(Error::unsupported(format!(
                "{} tells nothing of a network by itself",
                self.0.who
            )));
        };
        let which = said::Which {
            network: request.network.as_str(),
            endpoint: Some(endpoint.as_str()),
        };
        let info: Result<said::OperInfo> = self.0.ask(cx, "EndpointOperInfo", &which);
        match info {
            Ok(info) => Ok(NetworkStatus {
                state: NetworkState::Up {},
                info: pairs(info.value),
            }),
            Err(error) if error.kind == ErrorKind::Invalid => Ok(NetworkStatus {
                state: NetworkState::Absent {},
                info: vec![],
            }),
            Err(error) => Err(error),
        }
    }
}
