//! One case's driver and machine, and the host's part of its calls in short words.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::{OptionKind, OptionValue};
use longshore_core::graph::Ended;
use longshore_core::network::{
    CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, EndpointCreated, Join, JoinInfo, Joined, Leave,
    NetworkCapabilities, NetworkCreated, NetworkDriver, Pool, Port, Publish,
};
use longshore_core::steps::{NetworkPlan, Protocol};
use longshore_core::types::{Bytes, DnsName, EndpointId, IfName, IpAddr, IpNet, Mac, NetworkId, Note};
use longshore_core::wire::HandleKind;
use longshore_performer::net::ports::HeldPort;
use longshore_performer::net::{GrantedPort, Part, Performed, Scope, links_of};

use super::Result;
use super::world::{World, fresh};
use crate::host::Place;
use crate::{Failure, Target};

type Answer<T> = longshore_core::Result<T>;

/// One case's driver over its fresh root and machine.
#[derive(Debug)]
pub struct Bench {
    pub(super) target: Target,
    place: Place,
    pub(super) capabilities: NetworkCapabilities,
    pub(super) unusable: Option<String>,
    world: OnceCell<World>,
}

/// What network a case wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// 0 to 9: each has subnets of its own.
    pub(super) number: u8,
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) internal: bool,
    pub(super) options: Vec<OptionValue>,
}

/// A network that was made.
#[derive(Clone, Debug)]
pub(super) struct Network {
    number: u32,
    pub(super) id: NetworkId,
    pub(super) note: Note,
    pub(super) plan: NetworkPlan,
    pub(super) pools: Vec<Pool>,
    nets: Vec<IpNet>,
    links: Vec<IfName>,
    granted: Vec<IfName>,
    kinds: Vec<String>,
}

/// An endpoint that was made.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) note: Note,
    pub(super) mac: Option<Mac>,
    pub(super) addresses: Vec<IpNet>,
}

/// An endpoint that joined a sandbox, its plan performed.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) endpoint: Endpoint,
    pub(super) joined: Joined,
    pub(super) sandbox: Arc<OwnedFd>,
}

impl Connected {
    /// Its address of a family.
    pub(super) fn address(&self, v6: bool) -> Result<IpAddr> {
        self.endpoint
            .addresses
            .iter()
            .map(|net| net.address())
            .find(|address| address.is_ipv6() == v6)
            .ok_or_else(|| Failure::Differs("the endpoint has no address of that family".into()))
    }
}

impl Network {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            link_kinds: &self.kinds,
            granted: &self.granted,
            pools: &self.nets,
            ..Scope::network(&self.id)
        }
    }

    pub(super) fn scope_of<'a>(&'a self, endpoint: &'a EndpointId) -> Scope<'a> {
        Scope {
            link_kinds: &self.kinds,
            granted: &self.granted,
            links: &self.links,
            pools: &self.nets,
            default_route: true,
            ..Scope::endpoint(&self.id, endpoint)
        }
    }

    /// Its gateway of a family.
    pub(super) fn gateway(&self, v6: bool) -> Option<IpAddr> {
        self.pools
            .iter()
            .filter(|pool| pool.subnet.is_ipv6() == v6)
            .find_map(|pool| pool.gateway)
    }
}

/// An ID whose beginning tells it from others already, as those of an engine do.
fn hex(letter: char, number: u32) -> String {
    format!("{letter}{number:07x}{:056}", 0)
}

impl Bench {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let place = Place::new(target.folder.as_deref())?;
        Ok(Self {
            unusable: crate::host::unusable(&target.loaded, &place, &target.options)?,
            capabilities: target.loaded.description().capabilities.network()?.clone(),
            target: target.clone(),
            place,
            world: OnceCell::new(),
        })
    }

    /// The machine, made when a case first needs it.
    pub(super) fn world(&self) -> Result<&World> {
        if let Some(world) = self.world.get() {
            return Ok(world);
        }
        let made = World::new()?;
        Ok(self.world.get_or_init(|| made))
    }

    /// A fresh instance: any call may reach one.
    pub(super) fn driver(&self) -> Result<Arc<dyn NetworkDriver>> {
        Ok(self
            .target
            .loaded
            .open_network(self.place.descriptor()?, &self.place.path, self.target.options.clone())?)
    }

    /// Kinds of link that the driver's file asks for; one that is linked in has what it says it makes.
    fn kinds(&self) -> Vec<String> {
        match self.target.loaded.manifest() {
            Some(manifest) => manifest
                .grants
                .iter()
                .filter_map(|grant| grant.strip_prefix("net:").map(str::to_owned))
                .collect(),
            None => self.capabilities.link_kinds.clone(),
        }
    }

    pub(super) fn wish(&self, number: u8) -> Wish {
        Wish {
            number,
            v4: true,
            v6: self.capabilities.ipv6,
            internal: false,
            options: vec![],
        }
    }

    /// The name of an option of networks that ends with a word, where the driver has one.
    pub(super) fn option(&self, word: &str) -> Option<String> {
        let options = &self.target.loaded.description().options;
        options
            .iter()
            .map(|option| option.name.clone())
            .find(|name| name.ends_with(word))
    }

    fn pools(&self, wish: &Wish) -> Result<Vec<Pool>> {
        if !self.capabilities.addresses {
            return Ok(vec![]);
        }
        let number = wish.number;
        let mut wanted = Vec::new();
        if wish.v4 {
            wanted.push((format!("10.9{number}.0.0/24"), format!("10.9{number}.0.1")));
        }
        if wish.v6 {
            wanted.push((format!("fd9{number}::/64"), format!("fd9{number}::1")));
        }
        wanted
            .into_iter()
            .map(|(subnet, gateway)| {
                Ok(Pool {
                    subnet: IpNet::parse(subnet)?,
                    range: None,
                    gateway: Some(IpAddr::parse(gateway)?),
                    reserved: vec![],
                })
            })
            .collect()
    }

    pub(super) fn request(&self, wish: &Wish) -> Result<CreateNetwork> {
        Ok(CreateNetwork {
            network: NetworkId::parse(hex('a', wish.number.into()))?,
            name: format!("net{}", wish.number),
            options: wish.options.clone(),
            pools: self.pools(wish)?,
            internal: wish.internal,
            ipv6: self.capabilities.addresses && wish.v6,
            prefix: World::prefix()?,
        })
    }

    pub(super) fn ask_network(&self, request: CreateNetwork) -> Result<Answer<NetworkCreated>> {
        Ok(self.driver()?.create_network(&Context::background(), request))
    }

    /// Makes a network and performs nothing.
    pub(super) fn planned(&self, wish: &Wish) -> Result<Network> {
        let request = self.request(wish)?;
        let made = self.ask_network(request.clone())??;
        let specs = &self.target.loaded.description().options;
        let granted = request
            .options
            .iter()
            .filter(|option| {
                specs
                    .iter()
                    .any(|spec| spec.name == option.name && spec.kind == OptionKind::LinkName)
            })
            .filter_map(OptionValue::as_text)
            .map(IfName::parse)
            .collect::<Answer<_>>()?;
        Ok(Network {
            number: wish.number.into(),
            id: request.network,
            note: made.note,
            links: links_of(&made.plan),
            nets: request.pools.iter().map(|pool| pool.subnet).collect(),
            pools: request.pools,
            plan: made.plan,
            granted,
            kinds: self.kinds(),
        })
    }

    /// Makes a network and what it is made of.
    pub(super) fn network(&self, wish: &Wish) -> Result<Network> {
        let network = self.planned(wish)?;
        self.world()?.perform(&network.plan, &network.scope(), None)?;
        Ok(network)
    }

    pub(super) fn delete_network(&self, network: &Network) -> Result<Answer<Ended>> {
        let request = DeleteNetwork {
            network: network.id.clone(),
            note: network.note.clone(),
        };
        Ok(self
            .driver()?
            .delete_network(&Context::background(), request)
            .map(|deleted| deleted.outcome))
    }

    /// The request for the endpoint of that number, 2 to 250: also the last part of its addresses.
    pub(super) fn endpoint_request(&self, network: &Network, number: u32) -> Result<CreateEndpoint> {
        let mut addresses = Vec::new();
        for pool in &network.pools {
            let address = pool.subnet.first();
            let address = address
                .of_number(address.number() + u128::from(number))
                .ok_or_else(|| Failure::Differs("no such address".into()))?;
            addresses.push(IpNet::new(address, pool.subnet.prefix())?);
        }
        Ok(CreateEndpoint {
            network: network.id.clone(),
            network_note: network.note.clone(),
            endpoint: EndpointId::parse(hex('e', network.number << 16 | number))?,
            mac: None,
            addresses,
            options: vec![],
        })
    }

    pub(super) fn ask_endpoint(&self, request: CreateEndpoint) -> Result<Answer<EndpointCreated>> {
        Ok(self.driver()?.create_endpoint(&Context::background(), request))
    }

    pub(super) fn endpoint(&self, network: &Network, number: u32) -> Result<Endpoint> {
        let request = self.endpoint_request(network, number)?;
        self.endpoint_of(request)
    }

    pub(super) fn endpoint_of(&self, request: CreateEndpoint) -> Result<Endpoint> {
        let made = self.ask_endpoint(request.clone())??;
        Ok(Endpoint {
            id: request.endpoint,
            note: made.note,
            mac: request.mac.or(made.mac),
            addresses: if request.addresses.is_empty() {
                made.addresses
            } else {
                request.addresses
            },
        })
    }

    pub(super) fn ask_join(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        sandbox: Option<&OwnedFd>,
        index: u16,
    ) -> Result<Answer<Joined>> {
        let cx = Context::background();
        let mut request = Join {
            network: network.id.clone(),
            network_note: network.note.clone(),
            endpoint: endpoint.id.clone(),
            note: endpoint.note.clone(),
            container: JoinInfo {
                hostname: "box".into(),
                names: vec![DnsName::parse("box")?],
                mac: endpoint.mac,
                addresses: endpoint.addresses.clone(),
            },
            sandbox: None,
            sandbox_path: Bytes::default(),
            index,
        };
        if let Some(sandbox) = sandbox.filter(|_| self.capabilities.acts) {
            request.sandbox = Some(cx.give(HandleKind::Namespace, sandbox.try_clone()?)?);
        }
        Ok(self.driver()?.join(&cx, request))
    }

    pub(super) fn join(&self, network: &Network, endpoint: &Endpoint, sandbox: &OwnedFd) -> Result<Joined> {
        Ok(self.ask_join(network, endpoint, Some(sandbox), 0)??)
    }

    /// Makes an endpoint and a sandbox, and puts one into the other.
    pub(super) fn connect(&self, network: &Network, number: u32) -> Result<Connected> {
        self.connect_to(network, number, Arc::new(fresh()?), 0)
    }

    pub(super) fn connect_to(
        &self,
        network: &Network,
        number: u32,
        sandbox: Arc<OwnedFd>,
        index: u16,
    ) -> Result<Connected> {
        let mut endpoint = self.endpoint(network, number)?;
        let joined = self.ask_join(network, &endpoint, Some(&sandbox), index)??;
        endpoint.note = joined.note.clone();
        let scope = Scope {
            default_route: index == 0,
            ..network.scope_of(&endpoint.id)
        };
        self.world()?.perform(&joined.plan, &scope, Some(&sandbox))?;
        Ok(Connected {
            endpoint,
            joined,
            sandbox,
        })
    }

    pub(super) fn leave(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        sandbox: Option<&OwnedFd>,
    ) -> Result<Answer<Ended>> {
        let cx = Context::background();
        let mut request = Leave {
            network: network.id.clone(),
            endpoint: endpoint.id.clone(),
            note: endpoint.note.clone(),
            sandbox: None,
        };
        if let Some(sandbox) = sandbox.filter(|_| self.capabilities.acts) {
            request.sandbox = Some(cx.give(HandleKind::Namespace, sandbox.try_clone()?)?);
        }
        Ok(self.driver()?.leave(&cx, request).map(|left| left.outcome))
    }

    pub(super) fn delete_endpoint(&self, network: &Network, endpoint: &Endpoint) -> Result<Answer<Ended>> {
        let request = DeleteEndpoint {
            network: network.id.clone(),
            endpoint: endpoint.id.clone(),
            note: endpoint.note.clone(),
        };
        Ok(self
            .driver()?
            .delete_endpoint(&Context::background(), request)
            .map(|deleted| deleted.outcome))
    }

    /// Undoes what was performed for an endpoint while its sandbox lives, and ends it.
    pub(super) fn disconnect(&self, network: &Network, connected: &Connected) -> Result<()> {
        let endpoint = &connected.endpoint;
        for part in [Part::Ports, Part::Main] {
            self.world()?
                .undo(endpoint.id.as_str(), part, Some(&connected.sandbox))?;
        }
        self.leave(network, endpoint, Some(&connected.sandbox))??;
        self.delete_endpoint(network, endpoint)??;
        Ok(())
    }

    /// Ends a network that has no endpoints.
    pub(super) fn remove(&self, network: &Network) -> Result<()> {
        self.delete_network(network)??;
        self.world()?.undo(network.id.as_str(), Part::Main, None)
    }

    /// Publishes ports that are held, each to that port of the endpoint.
    pub(super) fn publish(
        &self,
        network: &Network,
        connected: &Connected,
        held: &[HeldPort],
        target_port: u16,
    ) -> Result<Performed> {
        let mut ports = Vec::new();
        for HeldPort { granted, .. } in held {
            ports.push(Port {
                protocol: granted.protocol,
                host: granted.host,
                host_port: granted.port,
                target: connected.address(granted.host.is_ipv6())?,
                target_port,
            });
        }
        let request = Publish {
            network: network.id.clone(),
            network_note: network.note.clone(),
            endpoint: connected.endpoint.id.clone(),
            note: connected.endpoint.note.clone(),
            ports,
        };
        let published = self.driver()?.publish(&Context::background(), request)?;
        let granted: Vec<GrantedPort> = held.iter().map(|held| held.granted).collect();
        let scope = Scope {
            part: Part::Ports,
            ports: &granted,
            ..network.scope_of(&connected.endpoint.id)
        };
        Ok(self
            .world()?
            .perform(&published.plan, &scope, Some(&connected.sandbox))?)
    }
}

/// Holds a port of the host's, any that is free when it is 0.
pub(super) fn hold(world: &World, protocol: Protocol, addresses: &[&str], port: u16) -> Result<Answer<Vec<HeldPort>>> {
    let addresses = addresses.iter().map(IpAddr::parse).collect::<Answer<Vec<IpAddr>>>()?;
    super::world::within(&world.host, || {
        Ok(longshore_performer::net::ports::hold(protocol, &addresses, port))
    })
}
