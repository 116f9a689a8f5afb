//! Performing a plan that was checked: netlink steps in batches, one transaction of the packet
//! filter, names. A failure undoes all before it.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_core::error::{Error, Result};
use longshore_core::steps::{NetStep, NetworkPlan, Protocol, ProxyProtocol, Side};
use longshore_core::types::{IfName, IpAddr, IpNet, Mac};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::netlink::Message;
use longshore_sys::net::route::{self, Changes, Net, Routing, Target};

use super::filter::{self, Filter};
use super::keeper::Proxy;
use super::own::Ownership;
use super::undo::{self, Log};
use super::{Part, Scope, check, inside, links_of, names, sysctl};
use crate::error::During;

mod links;

/// What performed a plan leaves to its caller.
#[derive(Debug, Default)]
pub struct Performed {
    /// Ports of the loopback link, for the [`keeper`](super::keeper) of the endpoint's container.
    pub proxies: Vec<Proxy>,
}

/// The performer of one network namespace for one data root.
#[derive(Debug)]
pub struct NetworkHost {
    own: Ownership,
    folder: PathBuf,
    namespace: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) routing: Routing,
    pub(super) filter: Filter,
}

impl NetworkHost {
    /// Opens it for the calling thread's namespace. `folder` is the run folder's `net`, which is made
    /// when it is not there.
    ///
    /// # Errors
    /// The kernel's, from sockets of netlink; the folder's.
    pub fn open(own: Ownership, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::io(format!("make the folder {}", folder.display()), &error))?;
        Ok(Self {
            namespace: namespace::open_own(Kind::Network).during("open the host's network namespace")?,
            state: Mutex::new(State {
                routing: Routing::open().during("open a netlink socket")?,
                filter: Filter::open()?,
            }),
            own,
            folder: folder.to_owned(),
        })
    }

    /// What the data root owns.
    pub fn ownership(&self) -> &Ownership {
        &self.own
    }

    /// The folder of undo logs and names.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The networks that this machine has routes to, but for its default routes: a pool that met one
    /// would take it over.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn routed(&self) -> Result<Vec<IpNet>> {
        let routes = self.state().routing.routes().during("list routes")?;
        routes
            .iter()
            .filter_map(|route| route.to)
            .filter(|to| to.prefix > 0)
            .map(|to| IpNet::new(IpAddr::try_from(to.address)?, to.prefix))
            .collect()
    }

    /// Lets the machine forward packets, of IPv4 and IPv6: needed as soon as there is a network. It is
    /// never switched off, because nobody knows who else relies on it. Tells what it switched on.
    ///
    /// A machine that forwards IPv6 takes no more routes from routers' advertisements, unless it is
    /// told to: links that took them go on doing so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forward(&self, v6: bool) -> Result<Vec<&'static str>> {
        let mut switched = Vec::new();
        if sysctl::switch_on("net/ipv4/ip_forward")? {
            switched.push("net/ipv4/ip_forward");
        }
        let key = "net/ipv6/conf/all/forwarding";
        if v6 && sysctl::read(key)? == "0" {
            sysctl::keep_advertised_routes()?;
            if sysctl::switch_on(key)? {
                switched.push(key);
            }
        }
        Ok(switched)
    }

    /// Checks a plan and performs it. When a step fails, all that was done is undone. Performing it
    /// again gives the same result.
    ///
    /// # Errors
    /// `Broken` from the check; else that of the first step that failed, naming it.
    pub fn perform(&self, plan: &NetworkPlan, scope: &Scope<'_>, sandbox: Option<BorrowedFd<'_>>) -> Result<Performed> {
        check::check(plan, scope, &self.own)?;
        let log = Log::of(plan, scope)?;
        let old = undo::read(&self.folder, log.object(), scope.part)?;
        undo::write(&self.folder, &undo::join(old.clone(), &log), scope.part)?;
        let mut state = self.state();
        let State { routing, filter } = &mut *state;
        let done = Performing::new(self, routing, plan, scope, sandbox).and_then(|mut work| work.run(filter));
        done.inspect_err(|_| {
            let fresh = Log {
                inverses: log
                    .inverses
                    .iter()
                    .filter(|inverse| old.as_ref().is_none_or(|old| !old.inverses.contains(inverse)))
                    .cloned()
                    .collect(),
                ..log.clone()
            };
            let undone = self.undoing(&mut state, sandbox).run(&fresh, &fresh.inverses);
            let cleared = undone.and_then(|()| match &old {
                Some(old) => undo::write(&self.folder, old, scope.part),
                None => undo::remove(&self.folder, log.object(), scope.part),
            });
            if let Err(error) = cleared {
                tracing::warn!(%error, object = log.object(), "a network plan that failed is not wholly undone yet");
            }
        })
    }

    /// Undoes what was performed for a network or endpoint, from its log. Without a log there is
    /// nothing to do. `sandbox` is needed only where the container lives on.
    ///
    /// # Errors
    /// That of the first inverse that failed; the others were tried, and the log is kept.
    pub fn undo(&self, object: &str, part: Part, sandbox: Option<BorrowedFd<'_>>) -> Result<()> {
        let Some(log) = undo::read(&self.folder, object, part)? else {
            return Ok(());
        };
        let mut state = self.state();
        self.undoing(&mut state, sandbox).run(&log, &log.inverses)?;
        undo::remove(&self.folder, object, part)
    }
}

pub(super) fn net_of(net: IpNet) -> Net {
    Net {
        address: net.address().get(),
        prefix: net.prefix(),
    }
}

struct Performing<'a> {
    scope: &'a Scope<'a>,
    own: &'a Ownership,
    folder: &'a Path,
    plan: &'a NetworkPlan,
    alias: String,
    host: &'a mut Routing,
    inside: Option<Routing>,
    sandbox: Option<BorrowedFd<'a>>,
    /// Messages that wait to be sent, each with its step, and the side on which they are sent.
    batch: Vec<(usize, Message)>,
    batch_side: Side,
    indexes: HashMap<(bool, String), u32>,
    /// Whether a link was there already: then its addresses and routes may be too.
    again: bool,
}

impl<'a> Performing<'a> {
    fn new(
        host: &'a NetworkHost,
        routing: &'a mut Routing,
        plan: &'a NetworkPlan,
        scope: &'a Scope<'a>,
        sandbox: Option<BorrowedFd<'a>>,
    ) -> Result<Self> {
        Ok(Self {
            scope,
            plan,
            again: false,
            own: &host.own,
            folder: &host.folder,
            alias: host.own.alias(scope.object()),
            host: routing,
            inside: sandbox.map(inside::routing).transpose()?,
            sandbox,
            batch: Vec::new(),
            batch_side: Side::Host,
            indexes: HashMap::new(),
        })
    }

    fn run(&mut self, filter: &mut Filter) -> Result<Performed> {
        let plan = self.plan;
        for (index, step) in plan.steps.iter().enumerate() {
            self.step(index, step)?;
        }
        self.send()?;
        let links = if self.scope.endpoint.is_none() {
            links_of(plan)
        } else {
            Vec::new()
        };
        filter.perform(self.own, self.scope.network.as_str(), &links, &plan.steps)?;
        let mut performed = Performed::default();
        for (index, step) in plan.steps.iter().enumerate() {
            self.last(step, &mut performed)
                .map_err(|error| in_step(index, step, &error))?;
        }
        Ok(performed)
    }

    fn routing(&mut self, side: Side) -> Result<&mut Routing> {
        match side {
            Side::Host => Ok(self.host),
            _ => self
                .inside
                .as_mut()
                .ok_or_else(|| Error::invalid("the plan has steps inside, and there is no sandbox")),
        }
    }

    fn queue(&mut self, index: usize, side: Side, message: Message) -> Result<()> {
        if self.batch_side != side {
            self.send()?;
            self.batch_side = side;
        }
        self.batch.push((index, message));
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let (steps, messages): (Vec<usize>, Vec<Message>) = std::mem::take(&mut self.batch).into_iter().unzip();
        if messages.is_empty() {
            return Ok(());
        }
        let side = self.batch_side;
        let plan = self.plan;
        self.routing(side)?.perform(&messages).map_err(|refused| {
            let index = steps.get(refused.index).copied().unwrap_or_default();
            let attempted = plan.steps.get(index).map_or_else(String::new, described);
            filter::refused(
                format!("perform step {} of the network plan: {attempted}", index + 1),
                &refused,
            )
        })
    }

    /// The number of a link, which an earlier step may have made.
    fn index(&mut self, side: Side, name: &IfName) -> Result<u32> {
        let key = (side == Side::Host, name.as_str().to_owned());
        if let Some(index) = self.indexes.get(&key) {
            return Ok(*index);
        }
        self.send()?;
        let found = self
            .routing(side)?
            .link(name.as_str())
            .during(format_args!("look for link {name}"))?
            .ok_or_else(|| Error::not_found(format!("there is no link {name}")))?;
        self.indexes.insert(key, found.index);
        Ok(found.index)
    }

    fn step(&mut self, index: usize, step: &NetStep) -> Result<()> {
        self.one(index, step).map_err(|error| {
            if error.message.contains("of the network plan") {
                // An earlier step's, whose message was only sent now.
                return error;
            }
            in_step(index, step, &error)
        })
    }

    fn one(&mut self, index: usize, step: &NetStep) -> Result<()> {
        match step {
            NetStep::Up { side, link } => {
                let up = Changes {
                    up: Some(true),
                    ..Changes::default()
                };
                self.queue(index, *side, route::change_link(Target::Name(link.as_str()), &up))
            }
            NetStep::Link { .. } => self.link(index, step),
            NetStep::Move { name, to, mac, mtu, .. } => self.moved(index, name, to, mac.as_ref(), *mtu),
            NetStep::Address {
                side,
                link,
                address,
                peer,
                scope,
                no_dad,
            } => self.address(index, *side, link, *address, *peer, *scope, *no_dad),
            NetStep::Route { .. } => self.route(index, step),
            NetStep::Neighbour {
                side,
                link,
                address,
                mac,
                proxy,
            } => {
                let entry = route::Neighbour {
                    link: self.index(*side, link)?,
                    address: address.get(),
                    mac: mac.map(Mac::bytes),
                    proxy: *proxy,
                };
                self.queue(index, *side, route::neighbour(true, &entry))
            }
            NetStep::Sysctl { side, key, value } => {
                self.send()?;
                match (side, self.sandbox) {
                    (Side::Host, _) => sysctl::write(key.as_str(), value),
                    (_, Some(sandbox)) => inside::within(sandbox, || sysctl::write(key.as_str(), value)),
                    (_, None) => Err(Error::invalid("the plan has steps inside, and there is no sandbox")),
                }
            }
            NetStep::Rule { .. } | NetStep::Port { .. } | NetStep::Proxy { .. } | NetStep::Names { .. } => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one step")]
    fn address(
        &mut self,
        index: usize,
        side: Side,
        link: &IfName,
        address: IpNet,
        peer: Option<IpAddr>,
        scope: u8,
        no_dad: bool,
    ) -> Result<()> {
        let number = self.index(side, link)?;
        let net = net_of(address);
        if self.has_address(side, number, net)? {
            return Ok(());
        }
        let message = route::address(true, number, net, peer.map(IpAddr::get), scope, no_dad);
        self.queue(index, side, message)
    }

    /// Only a link that was there before this plan can have it already.
    fn has_address(&mut self, side: Side, link: u32, net: Net) -> Result<bool> {
        if !self.again {
            return Ok(false);
        }
        self.send()?;
        let addresses = self.routing(side)?.addresses().during("list addresses")?;
        Ok(addresses.contains(&(link, net)))
    }

    fn route(&mut self, index: usize, step: &NetStep) -> Result<()> {
        let NetStep::Route {
            side,
            link,
            to,
            via,
            table,
            metric,
            scope,
            source,
            on_link,
        } = step
        else {
            return Ok(());
        };
        if *side == Side::Sandbox && to.is_none_or(|to| to.prefix() == 0) && !self.scope.default_route {
            return Ok(());
        }
        let link = match link {
            Some(link) => Some(self.index(*side, link)?),
            None => None,
        };
        let v6 = to
            .map(IpNet::is_ipv6)
            .or(via.map(IpAddr::is_ipv6))
            .or(source.map(IpAddr::is_ipv6))
            .unwrap_or(false);
        let route = route::Route {
            link,
            v6,
            to: to.map(|to| net_of(to.network())),
            via: via.map(IpAddr::get),
            table: *table,
            metric: *metric,
            scope: *scope,
            source: source.map(IpAddr::get),
            on_link: *on_link,
        };
        if self.again {
            self.send()?;
            let same = |found: &route::Route| {
                (found.link, found.to, found.via, found.table) == (route.link, route.to, route.via, route.table)
            };
            if self.routing(*side)?.routes().during("list routes")?.iter().any(same) {
                return Ok(());
            }
        }
        self.queue(index, *side, route::route(true, &route))
    }

    /// What the packet filter is not needed for, and what needs all the rest.
    fn last(&mut self, step: &NetStep, performed: &mut Performed) -> Result<()> {
        match step {
            NetStep::Proxy {
                protocol,
                listen,
                listen_port,
                target,
                target_port,
            } => {
                performed.proxies.push(Proxy {
                    protocol: match protocol {
                        ProxyProtocol::Udp => Protocol::Udp,
                        _ => Protocol::Tcp,
                    },
                    listen: (listen.get(), *listen_port).into(),
                    target: (target.get(), *target_port).into(),
                });
                Ok(())
            }
            NetStep::Names { names, addresses } => names::write(
                self.folder,
                self.scope.network.as_str(),
                self.scope.object(),
                names,
                addresses,
            ),
            _ => Ok(()),
        }
    }
}

/// The error of a step that did not fail in a batch.
fn in_step(index: usize, step: &NetStep, error: &Error) -> Error {
    Error {
        message: format!(
            "cannot perform step {} of the network plan: {}: {}",
            index + 1,
            described(step),
            error.message
        ),
        ..error.clone()
    }
}

fn described(step: &NetStep) -> String {
    match step {
        NetStep::Up { link, .. } => format!("raise {link}"),
        NetStep::Link { name, kind, .. } => format!("make link {name} of kind {kind}"),
        NetStep::Move { name, to, .. } => format!("move link {name} inside as {to}"),
        NetStep::Address { link, address, .. } => format!("give {link} the address {address}"),
        NetStep::Route { to: Some(to), .. } => format!("add the route to {to}"),
        NetStep::Route { .. } => "add the default route".into(),
        NetStep::Neighbour { link, address, .. } => format!("add neighbour {address} on {link}"),
        NetStep::Sysctl { key, .. } => format!("set {key}"),
        NetStep::Rule { .. } => "add a rule".into(),
        NetStep::Port { host, host_port, .. } => format!("publish port {host_port} of {host}"),
        NetStep::Proxy { listen_port, .. } => format!("serve port {listen_port}"),
        NetStep::Names { .. } => "write names".into(),
    }
}
