//! Undo logs: the inverse of each step of a plan, written before the first one.
//!
//! A log lies on tmpfs and is replaced by rename, without a flush: what it undoes does not outlive a
//! boot either. Undoing can be repeated, and is done when the object is gone.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use longshore_core::error::{Error, Result};
use longshore_core::steps::{MadeBy, NetStep, NetworkPlan, Protocol, Side};
use longshore_core::types::{IpAddr, IpNet};
use longshore_core::wire;
use longshore_sys::Errno;
use longshore_sys::net::netlink::{Message, Refused};
use longshore_sys::net::route::{self, Changes, Routing, Target};
use serde::{Deserialize, Serialize};

use super::filter::{self, Filter};
use super::own::Ownership;
use super::perform::net_of;
use super::{Part, Scope, inside, names, sysctl};
use crate::error::During;

/// The format of logs that this build writes and reads.
const FORMAT: u32 = 1;
/// Longest log that is read.
const MOST_BYTES: u64 = 1 << 20;

/// What one plan left to be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) format: u32,
    /// The network.
    pub(crate) network: String,
    /// The endpoint; absent for the network's own plan.
    pub(crate) endpoint: Option<String>,
    /// In the order of the steps.
    pub(crate) inverses: Vec<Inverse>,
}

/// What undoes one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Inverse {
    /// Remove the host's link of this name, when it is the object's.
    Link(String),
    /// Remove the sandbox's link of this name, when the sandbox is still there.
    Inside(String),
    /// Bring a link back out of the sandbox.
    MoveBack { name: String, inside: String },
    /// Take an address from a link of the host.
    Address { link: String, net: String },
    /// Remove a route of the host.
    Route(SavedRoute),
    /// Remove an entry of the host's neighbour table.
    Neighbour { link: String, address: String, proxy: bool },
    /// Set a parameter of the host back.
    Sysctl { key: String, value: String },
    /// Remove the network's chains, and what leads to them.
    Rules,
    /// Remove an element of the map of published ports.
    Port(SavedPort),
    /// Remove the endpoint's file of names.
    Names,
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedRoute {
    link: String,
    to: String,
    via: Option<String>,
    table: u32,
    metric: u32,
    scope: u8,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPort {
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// The address of the host.
    pub(crate) host: IpAddr,
    /// The port of the host.
    pub(crate) host_port: u16,
    /// The address inside.
    pub(crate) target: IpAddr,
    /// The port inside.
    pub(crate) target_port: u16,
}

impl Log {
    /// The log of a plan that was checked, before its first step. It reads the values of parameters
    /// that will change.
    pub(crate) fn of(plan: &NetworkPlan, scope: &Scope<'_>) -> Result<Self> {
        let mut inverses = Vec::new();
        for step in &plan.steps {
            inverses.extend(inverse(step)?);
        }
        if scope.endpoint.is_none() {
            inverses.push(Inverse::Rules);
        }
        Ok(Self {
            format: FORMAT,
            network: scope.network.as_str().to_owned(),
            endpoint: scope.endpoint.map(|endpoint| endpoint.as_str().to_owned()),
            inverses,
        })
    }

    /// What the alias of its links and its file are called by.
    pub(crate) fn object(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(&self.network)
    }
}

fn text(value: impl std::fmt::Display) -> String {
    value.to_string()
}

fn inverse(step: &NetStep) -> Result<Option<Inverse>> {
    let inverse = match step {
        NetStep::Link {
            side: Side::Host, name, ..
        } => Inverse::Link(text(name)),
        // The half of a pair that lies on the host takes the other one along.
        NetStep::Link { peer: Some(peer), .. } if peer.side == Side::Host => Inverse::Link(text(&peer.name)),
        NetStep::Link { name, .. } => Inverse::Inside(text(name)),
        NetStep::Move { name, to, made_by, .. } => match made_by {
            MadeBy::Driver => Inverse::MoveBack {
                name: text(name),
                inside: text(to),
            },
            _ => Inverse::Inside(text(to)),
        },
        NetStep::Address {
            side: Side::Host,
            link,
            address,
            ..
        } => Inverse::Address {
            link: text(link),
            net: text(address),
        },
        NetStep::Route {
            side: Side::Host,
            link: Some(link),
            to: Some(to),
            via,
            table,
            metric,
            scope,
            ..
        } => Inverse::Route(SavedRoute {
            link: text(link),
            to: text(to),
            via: via.map(text),
            table: *table,
            metric: *metric,
            scope: *scope,
        }),
        NetStep::Neighbour {
            side: Side::Host,
            link,
            address,
            proxy,
            ..
        } => Inverse::Neighbour {
            link: text(link),
            address: text(address),
            proxy: *proxy,
        },
        NetStep::Sysctl {
            side: Side::Host, key, ..
        } => {
            // One of a link that the plan itself makes goes with the link.
            let Ok(value) = sysctl::read(key.as_str()) else {
                return Ok(None);
            };
            Inverse::Sysctl { key: text(key), value }
        }
        NetStep::Port {
            protocol,
            host,
            host_port,
            target,
            target_port,
        } => Inverse::Port(SavedPort {
            protocol: *protocol,
            host: *host,
            host_port: *host_port,
            target: *target,
            target_port: *target_port,
        }),
        NetStep::Names { .. } => Inverse::Names,
        _ => return Ok(None),
    };
    Ok(Some(inverse))
}

fn file(folder: &Path, object: &str, part: Part) -> PathBuf {
    folder.join(match part {
        Part::Main => format!("{object}.undo"),
        Part::Ports => format!("{object}.ports.undo"),
    })
}

/// Reads a log; nothing when there is none.
pub(crate) fn read(folder: &Path, object: &str, part: Part) -> Result<Option<Log>> {
    let path = file(folder, object, part);
    let attempted = || format!("read the undo log {}", path.display());
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(attempted(), &error)),
        Ok(found) if found.len() > MOST_BYTES => {
            return Err(Error::corrupt(format!("the undo log {} is too long", path.display())));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(&path).map_err(|error| Error::io(attempted(), &error))?;
    let log: Log = wire::decode(&bytes)
        .map_err(|error| Error::corrupt(format!("the undo log {} is damaged: {error}", path.display())))?;
    if log.format != FORMAT {
        return Err(Error::unsupported(format!(
            "the undo log {} has format {}, this build reads {FORMAT}",
            path.display(),
            log.format
        )));
    }
    Ok(Some(log))
}

/// Replaces a log; one without inverses is removed.
pub(crate) fn write(folder: &Path, log: &Log, part: Part) -> Result<()> {
    if log.inverses.is_empty() {
        return remove(folder, log.object(), part);
    }
    let path = file(folder, log.object(), part);
    let attempted = format!("write the undo log {}", path.display());
    let bytes = wire::encode(log)?;
    super::names::replace(&path, &bytes).map_err(|error| Error::io(attempted, &error))
}

pub(crate) fn remove(folder: &Path, object: &str, part: Part) -> Result<()> {
    let path = file(folder, object, part);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove the undo log {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// The objects and parts that have logs.
pub(crate) fn list(folder: &Path) -> Result<Vec<(String, Part)>> {
    let attempted = || format!("list the undo logs in {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Error::io(attempted(), &error))? {
        let name = entry.map_err(|error| Error::io(attempted(), &error))?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".undo")) else {
            continue;
        };
        found.push(match stem.strip_suffix(".ports") {
            Some(object) => (object.to_owned(), Part::Ports),
            None => (stem.to_owned(), Part::Main),
        });
    }
    // Ports before what they lead to.
    found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(found)
}

/// What an undo works with.
pub(crate) struct Undoing<'a> {
    pub(crate) own: &'a Ownership,
    pub(crate) names: &'a Path,
    pub(crate) routing: &'a mut Routing,
    pub(crate) filter: &'a mut Filter,
    pub(crate) host: BorrowedFd<'a>,
    pub(crate) sandbox: Option<BorrowedFd<'a>>,
}

impl Undoing<'_> {
    /// Undoes steps, the last one first, going on after a failure; the first one is returned.
    pub(crate) fn run(&mut self, log: &Log, inverses: &[Inverse]) -> Result<()> {
        let mut first = Ok(());
        let ports: Vec<&SavedPort> = inverses
            .iter()
            .filter_map(|inverse| match inverse {
                Inverse::Port(port) => Some(port),
                _ => None,
            })
            .collect();
        if !ports.is_empty() {
            first = first.and(self.filter.remove_ports(self.own, &ports));
        }
        for inverse in inverses.iter().rev() {
            first = first.and(self.one(log, inverse));
        }
        first
    }

    fn one(&mut self, log: &Log, inverse: &Inverse) -> Result<()> {
        match inverse {
            Inverse::Link(name) => delete_owned(self.routing, name, &self.own.alias(log.object()), self.own),
            Inverse::Inside(name) => self.inside(|routing| match link(routing, name)? {
                Some(link) => gone(routing.perform(&[route::delete_link(link.index)]), || {
                    format!("remove link {name} of the sandbox")
                }),
                None => Ok(()),
            }),
            Inverse::MoveBack { name, inside } => self.move_back(name, inside),
            Inverse::Address { link, net } => {
                let net = net_of(IpNet::parse(net)?);
                self.with_link(link, |index| route::address(false, index, net, None, 0, false))
            }
            Inverse::Route(saved) => self.route(saved),
            Inverse::Neighbour { link, address, proxy } => {
                let (address, proxy) = (IpAddr::parse(address)?.get(), *proxy);
                self.with_link(link, |link| {
                    route::neighbour(
                        false,
                        &route::Neighbour {
                            link,
                            address,
                            mac: None,
                            proxy,
                        },
                    )
                })
            }
            // The link may be gone, and its parameters with it.
            Inverse::Sysctl { key, value } => match sysctl::write(key, value) {
                Err(error) if error.errno == Some(Errno::NOENT.raw_os_error()) => Ok(()),
                other => other,
            },
            Inverse::Rules => self.filter.remove_rules(self.own, &log.network),
            Inverse::Port(_) => Ok(()),
            Inverse::Names => names::remove(self.names, &log.network, log.object()),
        }
    }

    /// In a sandbox that is gone everything is undone.
    fn inside(&self, work: impl FnOnce(&mut Routing) -> Result<()>) -> Result<()> {
        match self.sandbox {
            Some(sandbox) => work(&mut inside::routing(sandbox)?),
            None => Ok(()),
        }
    }

    fn move_back(&self, name: &str, within: &str) -> Result<()> {
        self.inside(|routing| {
            let Some(found) = link(routing, within)? else {
                return Ok(());
            };
            let down = route::change_link(
                Target::Index(found.index),
                &Changes {
                    up: Some(false),
                    ..Changes::default()
                },
            );
            let back = route::change_link(
                Target::Index(found.index),
                &Changes {
                    name: Some(name),
                    namespace: Some(self.host),
                    ..Changes::default()
                },
            );
            gone(routing.perform(&[down, back]), || {
                format!("bring link {within} back as {name}")
            })
        })
    }

    fn with_link(&mut self, name: &str, message: impl FnOnce(u32) -> Message) -> Result<()> {
        match link(self.routing, name)? {
            Some(found) => gone(self.routing.perform(&[message(found.index)]), || {
                format!("undo a step on link {name}")
            }),
            None => Ok(()),
        }
    }

    fn route(&mut self, saved: &SavedRoute) -> Result<()> {
        let to = IpNet::parse(&saved.to)?;
        let via = saved.via.as_deref().map(IpAddr::parse).transpose()?;
        let (table, metric, scope) = (saved.table, saved.metric, saved.scope);
        self.with_link(&saved.link, |index| {
            route::route(
                false,
                &route::Route {
                    link: Some(index),
                    v6: to.is_ipv6(),
                    to: Some(net_of(to)),
                    via: via.map(IpAddr::get),
                    table,
                    metric,
                    scope,
                    source: None,
                    on_link: false,
                },
            )
        })
    }
}

fn link(routing: &mut Routing, name: &str) -> Result<Option<route::Link>> {
    routing.link(name).during(format_args!("look for link {name}"))
}

/// What is gone is undone: a link, an address, a route, a neighbour.
fn gone(result: std::result::Result<(), Refused>, attempted: impl FnOnce() -> String) -> Result<()> {
    match result {
        Err(refused)
            if [Errno::NODEV, Errno::ADDRNOTAVAIL, Errno::SRCH, Errno::NOENT]
                .iter()
                .any(|errno| refused.is(*errno)) =>
        {
            Ok(())
        }
        Err(refused) => Err(filter::refused(attempted(), &refused)),
        Ok(()) => Ok(()),
    }
}

/// Removes a link of the host when its alias is this one. One with our prefix and without any alias
/// was cut between its making and its marking.
pub(crate) fn delete_owned(routing: &mut Routing, name: &str, alias: &str, own: &Ownership) -> Result<()> {
    let Some(found) = link(routing, name)? else {
        return Ok(());
    };
    let cut = found.alias.is_empty() && name.starts_with(own.prefix().as_str());
    if found.alias != alias && !cut {
        return Ok(());
    }
    gone(routing.perform(&[route::delete_link(found.index)]), || {
        format!("remove link {name}")
    })
}

/// Joins a later plan's log to what is there.
pub(crate) fn join(old: Option<Log>, new: &Log) -> Log {
    let mut joined = old.unwrap_or_else(|| Log {
        inverses: Vec::new(),
        ..new.clone()
    });
    // The first value of a parameter is the one to go back to.
    let mut values: BTreeSet<String> = joined
        .inverses
        .iter()
        .filter_map(|inverse| match inverse {
            Inverse::Sysctl { key, .. } => Some(key.clone()),
            _ => None,
        })
        .collect();
    for inverse in &new.inverses {
        let known = match inverse {
            Inverse::Sysctl { key, .. } => !values.insert(key.clone()),
            other => joined.inverses.contains(other),
        };
        if !known {
            joined.inverses.push(inverse.clone());
        }
    }
    joined
}
