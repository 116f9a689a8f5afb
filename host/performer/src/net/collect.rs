//! Collection: what a crash left on the machine, told from what lives and from what is others'.

use std::fs;
use std::os::fd::AsFd;

use longshore_core::error::{Error, Result};
use longshore_core::types::{EndpointId, NetworkId};
use longshore_sys::net::route::{self, Changes, Link, Routing, Target};

use super::own::Ownership;
use super::perform::{NetworkHost, State};
use super::undo::{self, Inverse, Undoing};
use super::{Part, filter, names};
use crate::error::During;

/// What is alive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live<'a> {
    /// Networks.
    pub networks: &'a [NetworkId],
    /// Endpoints whose sandbox is there.
    pub endpoints: &'a [EndpointId],
}

impl Live<'_> {
    fn holds(&self, object: &str) -> bool {
        self.networks.iter().any(|id| id.as_str() == object) || self.endpoints.iter().any(|id| id.as_str() == object)
    }
}

/// What was removed, in words.
pub type Removed = Vec<String>;

impl NetworkHost {
    /// Removes what is this data root's and of nothing that lives: what logs tell, links by prefix and
    /// alias, elements and chains of its table, names. Another data root's things are spared, and so
    /// is whatever has no mark of ours.
    ///
    /// # Errors
    /// The first one; the rest was tried.
    pub fn collect(&self, live: &Live<'_>) -> Result<Removed> {
        let mut removed = Vec::new();
        let mut first = Ok(());
        for (object, part) in undo::list(self.folder())? {
            if !live.holds(&object) {
                first = first.and(self.undo(&object, part, None));
                removed.push(format!("the unfinished plan of {object}"));
            }
        }
        let mut state = self.state();
        let State { routing, filter } = &mut *state;
        let links = routing.links().during("list links")?;
        for link in &links {
            first = first.and(collect_link(routing, self.ownership(), live, link, &mut removed));
        }
        let networks: Vec<&str> = live.networks.iter().map(NetworkId::as_str).collect();
        let ports = self.live_ports(live)?;
        if filter.present(self.ownership())? {
            if live.networks.is_empty() && live.endpoints.is_empty() {
                first = first.and(filter.remove_table(self.ownership()));
            } else {
                removed.extend(filter.collect(self.ownership(), &networks, &ports)?);
            }
        }
        drop(state);
        first.and(self.collect_names(live, &mut removed))?;
        Ok(removed)
    }

    fn live_ports(&self, live: &Live<'_>) -> Result<Vec<undo::SavedPort>> {
        let mut ports = Vec::new();
        for endpoint in live.endpoints {
            for part in [Part::Main, Part::Ports] {
                let log = undo::read(self.folder(), endpoint.as_str(), part)?;
                let inverses = log.map(|log| log.inverses).unwrap_or_default();
                ports.extend(inverses.into_iter().filter_map(|inverse| match inverse {
                    Inverse::Port(port) => Some(port),
                    _ => None,
                }));
            }
        }
        Ok(ports)
    }

    fn collect_names(&self, live: &Live<'_>, removed: &mut Removed) -> Result<()> {
        let failed =
            |error: &std::io::Error| Error::io(format!("list the networks in {}", self.folder().display()), error);
        for entry in fs::read_dir(self.folder()).map_err(|error| failed(&error))? {
            let network = entry.map_err(|error| failed(&error))?.file_name();
            let Some(network) = network.to_str().filter(|name| NetworkId::parse(*name).is_ok()) else {
                continue;
            };
            for (endpoint, _) in names::list(self.folder(), network)? {
                if !live.holds(&endpoint) {
                    names::remove(self.folder(), network, &endpoint)?;
                    removed.push(format!("the names of endpoint {endpoint}"));
                }
            }
        }
        Ok(())
    }

    /// What an undo works with, for the same module's use.
    pub(super) fn undoing<'a>(
        &'a self,
        state: &'a mut State,
        sandbox: Option<std::os::fd::BorrowedFd<'a>>,
    ) -> Undoing<'a> {
        Undoing {
            own: self.ownership(),
            names: self.folder(),
            routing: &mut state.routing,
            filter: &mut state.filter,
            host: self.namespace().as_fd(),
            sandbox,
        }
    }
}

fn collect_link(
    routing: &mut Routing,
    own: &Ownership,
    live: &Live<'_>,
    link: &Link,
    removed: &mut Removed,
) -> Result<()> {
    let prefixed = link.name.starts_with(own.prefix().as_str());
    match own.object_of(&link.alias) {
        Some(object) if live.holds(object) => Ok(()),
        Some(_) if prefixed => {
            removed.push(format!("link {}", link.name));
            undo::delete_owned(routing, &link.name, &link.alias, own)
        }
        // A device that was moved inside and came back when its sandbox ended, under its name there.
        Some(_) => bring_name_back(routing, link),
        // Cut between its making and its marking: the prefix is claimed, so nobody else made it.
        None if prefixed && link.alias.is_empty() => {
            removed.push(format!("link {}", link.name));
            undo::delete_owned(routing, &link.name, "", own)
        }
        None => Ok(()),
    }
}

fn bring_name_back(routing: &mut Routing, link: &Link) -> Result<()> {
    let Some(old) = link.alias.split(':').nth(3) else {
        return Ok(());
    };
    let changes = Changes {
        name: Some(old),
        alias: Some(""),
        up: Some(false),
        ..Changes::default()
    };
    routing
        .perform(&[route::change_link(Target::Index(link.index), &changes)])
        .map_err(|error| filter::refused(format!("give link {} its old name {old} back", link.name), &error))
}
