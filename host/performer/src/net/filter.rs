//! The one table of a data root in the packet filter.
//!
//! Its base chains, maps and sets are made once, and a plan changes them by one transaction:
//!
//! ```text
//! table inet longshore_<root>
//!   map publish4 | publish6          protocol . address . port -> address . port
//!   map publish4_all | publish6_all  protocol . port           -> address . port
//!   map <hook>_in | <hook>_out       link -> jump n_<network>_<hook>
//!   chain prerouting, output         nat: published ports, then the networks' chains
//!   chain postrouting                nat: the networks' chains
//!   chain forward_in, forward_out, input   filter: the networks' chains
//!   chain n_<network>_<hook>         the rules of one network
//! ```
//!
//! A packet on its way from one network to another meets both: there are two base chains on the way
//! through, and what one of them accepts the other one still sees. All policies are to accept. No
//! other table is ever touched.

use longshore_core::error::{Error, Result};
use longshore_core::steps::{NetStep, Protocol};
use longshore_core::types::{IfName, IpAddr};
use longshore_sys::Errno;
use longshore_sys::net::netlink::Refused;
use longshore_sys::net::nftables::{Element, Expression, Firewall, Transaction, Value};

use super::own::Ownership;
use super::rules;
use super::undo::SavedPort;
use crate::error::During;

mod table;

pub(super) use table::name_key;
use table::{ENTRIES, Entry, base, chain_of};

/// The error of something that the kernel refused.
pub(crate) fn refused(attempted: impl std::fmt::Display, refused: &Refused) -> Error {
    let mut error = Error::io(attempted, &refused.error.source);
    if refused.is(Errno::EXIST) {
        error.kind = longshore_core::ErrorKind::AlreadyExists;
    }
    if refused.is(Errno::OPNOTSUPP) || refused.is(Errno::PROTONOSUPPORT) || refused.is(Errno::AFNOSUPPORT) {
        error.kind = longshore_core::ErrorKind::Unsupported;
    }
    if !refused.detail.is_empty() {
        error.message = format!("{}: {}", error.message, refused.detail);
    }
    error
}

/// The packet filter of one network namespace.
#[derive(Debug)]
pub(crate) struct Filter {
    firewall: Firewall,
}

impl Filter {
    pub(super) fn open() -> Result<Self> {
        Ok(Self {
            firewall: Firewall::open().during("open a socket to the packet filter")?,
        })
    }

    /// Performs the rules and ports of a plan by one transaction. `links` are those that a network's
    /// own plan made.
    pub(super) fn perform(
        &mut self,
        own: &Ownership,
        network: &str,
        links: &[IfName],
        steps: &[NetStep],
    ) -> Result<()> {
        let table = own.table();
        let mut changes = Transaction::new();
        let ports: Vec<SavedPort> = steps.iter().filter_map(saved).collect();
        let has_rules = steps.iter().any(|step| matches!(step, NetStep::Rule { .. }));
        if ports.is_empty() && !has_rules {
            return Ok(());
        }
        let tables = self.firewall.tables().during("list the packet filter's tables")?;
        if !tables.contains(&table) {
            base(&mut changes, &table);
        }
        if has_rules {
            network_rules(&mut changes, &table, network, links, steps)?;
        }
        for port in &ports {
            changes.add_elements(&table, map_of(port), &[element_of(port)]);
        }
        self.firewall.commit(changes).map_err(|error| {
            taken(
                &ports,
                refused(format!("change table {table} of the packet filter"), &error),
            )
        })
    }

    /// Removes elements of published ports that are there and lead where they are said to.
    pub(super) fn remove_ports(&mut self, own: &Ownership, ports: &[&SavedPort]) -> Result<()> {
        let table = own.table();
        self.retrying(&table, |firewall, changes| {
            for map in ["publish4", "publish6", "publish4_all", "publish6_all"] {
                let wanted: Vec<Element> = ports
                    .iter()
                    .filter(|port| map_of(port) == map)
                    .map(|port| element_of(port))
                    .collect();
                if !wanted.is_empty() {
                    let there = present(firewall, &table, map)?;
                    remove(
                        changes,
                        &table,
                        map,
                        there.into_iter().filter(|one| wanted.contains(one)),
                    );
                }
            }
            Ok(())
        })
    }

    /// Removes a network's chains, and what leads to them.
    pub(super) fn remove_rules(&mut self, own: &Ownership, network: &str) -> Result<()> {
        let table = own.table();
        self.retrying(&table, |firewall, changes| {
            let chains = firewall.chains(&table).during("list the packet filter's chains")?;
            for entry in &ENTRIES {
                let chain = chain_of(network, entry.word);
                if chains.contains(&chain) {
                    remove_chain(firewall, changes, &table, entry, &chain)?;
                }
            }
            Ok(())
        })
    }

    /// What another process removes between looking and removing is looked for again.
    fn retrying(
        &mut self,
        table: &str,
        mut fill: impl FnMut(&mut Firewall, &mut Transaction) -> Result<()>,
    ) -> Result<()> {
        let mut last = None;
        for _ in 0..3 {
            let mut changes = Transaction::new();
            fill(&mut self.firewall, &mut changes)?;
            if changes.is_empty() {
                return Ok(());
            }
            match self.firewall.commit(changes) {
                Ok(()) => return Ok(()),
                Err(error) if error.is(Errno::NOENT) => last = Some(error),
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        match last {
            Some(error) => Err(refused(format!("change table {table} of the packet filter"), &error)),
            None => Ok(()),
        }
    }

    /// Removes all that is of no live network, and ports that are not among the live ones.
    pub(super) fn collect(&mut self, own: &Ownership, networks: &[&str], ports: &[SavedPort]) -> Result<Vec<String>> {
        let table = own.table();
        let mut removed = Vec::new();
        self.retrying(&table, |firewall, changes| {
            removed.clear();
            let chains = firewall.chains(&table).during("list the packet filter's chains")?;
            for chain in chains.iter().filter(|chain| chain.starts_with("n_")) {
                let entry = ENTRIES
                    .iter()
                    .find(|entry| chain.ends_with(&format!("_{}", entry.word)));
                let live = entry.is_some_and(|entry| networks.iter().any(|id| chain_of(id, entry.word) == *chain));
                if let (Some(entry), false) = (entry, live) {
                    remove_chain(firewall, changes, &table, entry, chain)?;
                    removed.push(format!("chain {chain}"));
                }
            }
            for map in ["publish4", "publish6", "publish4_all", "publish6_all"] {
                let live: Vec<Element> = ports
                    .iter()
                    .filter(|port| map_of(port) == map)
                    .map(element_of)
                    .collect();
                let stale: Vec<Element> = present(firewall, &table, map)?
                    .into_iter()
                    .filter(|one| !live.contains(one))
                    .collect();
                removed.extend(stale.iter().map(|one| format!("element {} of {map}", hex(&one.key))));
                remove(changes, &table, map, stale.into_iter());
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// Removes the whole table, when it is there.
    pub(super) fn remove_table(&mut self, own: &Ownership) -> Result<()> {
        let table = own.table();
        self.retrying(&table, |firewall, changes| {
            let tables = firewall.tables().during("list the packet filter's tables")?;
            if tables.contains(&table) {
                changes.remove_table(&table);
            }
            Ok(())
        })
    }

    /// Whether the table is there.
    pub(super) fn present(&mut self, own: &Ownership) -> Result<bool> {
        let tables = self.firewall.tables().during("list the packet filter's tables")?;
        Ok(tables.contains(&own.table()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn present(firewall: &mut Firewall, table: &str, set: &str) -> Result<Vec<Element>> {
    firewall
        .elements(table, set)
        .during(format_args!("list {set} of table {table} of the packet filter"))
}

fn remove(changes: &mut Transaction, table: &str, set: &str, elements: impl Iterator<Item = Element>) {
    let elements: Vec<Element> = elements.collect();
    if !elements.is_empty() {
        changes.remove_elements(table, set, &elements);
    }
}

fn remove_chain(
    firewall: &mut Firewall,
    changes: &mut Transaction,
    table: &str,
    entry: &Entry,
    chain: &str,
) -> Result<()> {
    for direction in entry.directions() {
        let map = entry.map(direction);
        let leading = present(firewall, table, &map)?
            .into_iter()
            .filter(|one| one.value == Value::Jump(chain.to_owned()));
        remove(changes, table, &map, leading);
    }
    changes.clear_chain(table, chain);
    changes.remove_chain(table, chain);
    Ok(())
}

/// A port that leads somewhere else is another network's: the error says which may be meant.
fn taken(ports: &[SavedPort], error: Error) -> Error {
    match ports.first() {
        Some(port) if error.kind == longshore_core::ErrorKind::AlreadyExists => Error {
            message: format!(
                "a port, such as {} of {}, is published already: {}",
                port.host_port, port.host, error.message
            ),
            ..error
        },
        _ => error,
    }
}

fn saved(step: &NetStep) -> Option<SavedPort> {
    match step {
        NetStep::Port {
            protocol,
            host,
            host_port,
            target,
            target_port,
        } => Some(SavedPort {
            protocol: *protocol,
            host: *host,
            host_port: *host_port,
            target: *target,
            target_port: *target_port,
        }),
        _ => None,
    }
}

/// The chains of a network, filled anew, and the maps that lead to them.
fn network_rules(
    changes: &mut Transaction,
    table: &str,
    network: &str,
    links: &[IfName],
    steps: &[NetStep],
) -> Result<()> {
    if links.is_empty() {
        return Err(Error::unsupported(
            "the plan has rules and makes no link of the host by which packets are led to them",
        ));
    }
    for entry in &ENTRIES {
        let rules: Vec<Vec<Expression>> = steps
            .iter()
            .filter_map(|step| match step {
                NetStep::Rule {
                    hook,
                    family,
                    matches,
                    verdict,
                    ..
                } if *hook == entry.hook => Some(rules::expressions(*family, matches, verdict)),
                _ => None,
            })
            .collect::<Result<_>>()?;
        if rules.is_empty() {
            continue;
        }
        let chain = chain_of(network, entry.word);
        changes.chain(table, &chain, None);
        changes.clear_chain(table, &chain);
        for rule in &rules {
            changes.rule(table, &chain, rule);
        }
        let leading: Vec<Element> = links
            .iter()
            .map(|link| Element {
                key: name_key(link.as_str()),
                value: Value::Jump(chain.clone()),
            })
            .collect();
        for direction in entry.directions() {
            changes.add_elements(table, &entry.map(direction), &leading);
        }
    }
    Ok(())
}

fn map_of(port: &SavedPort) -> &'static str {
    match (port.host.is_ipv4(), port.host.is_unspecified()) {
        (true, true) => "publish4_all",
        (true, false) => "publish4",
        (false, true) => "publish6_all",
        (false, false) => "publish6",
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address.get() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Each part of a key or value begins at a register.
fn part(into: &mut Vec<u8>, part: &[u8]) {
    into.extend_from_slice(part);
    into.resize(into.len().next_multiple_of(4), 0);
}

fn element_of(port: &SavedPort) -> Element {
    let protocol = match port.protocol {
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
        Protocol::Tcp | Protocol::Unknown => 6,
    };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    part(&mut key, &[protocol]);
    if !port.host.is_unspecified() {
        part(&mut key, &bytes(port.host));
    }
    part(&mut key, &port.host_port.to_be_bytes());
    part(&mut value, &bytes(port.target));
    part(&mut value, &port.target_port.to_be_bytes());
    Element {
        key,
        value: Value::Data(value),
    }
}
