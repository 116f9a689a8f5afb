//! Steps that make links or move them.

use std::os::fd::BorrowedFd;

use longshore_core::error::{Error, Result};
use longshore_core::steps::{Attribute, AttributeValue, LinkMode, NetStep, Peer, Side};
use longshore_core::types::{IfName, Mac};
use longshore_sys::net::netlink::Attributes;
use longshore_sys::net::route::{self, Changes, NewLink, NewPeer, Target};

use super::Performing;
use crate::error::During;

/// A link of the host that is to be made.
enum Existing {
    /// It is not there.
    No,
    /// It is this object's.
    Ours(u32),
    /// It is somebody else's, and is taken as it is.
    Foreign,
}

impl<'a> Performing<'a> {
    pub(super) fn moved(
        &mut self,
        index: usize,
        name: &IfName,
        to: &IfName,
        mac: Option<&Mac>,
        mtu: Option<u32>,
    ) -> Result<()> {
        let number = self.index(Side::Host, name)?;
        let Some(sandbox) = self.sandbox else {
            return Err(Error::invalid("the plan moves a link, and there is no sandbox"));
        };
        // Its old name stands in its alias: a device that comes back when the sandbox ends comes back
        // under its name inside.
        let alias = format!("{}:{name}", self.alias);
        let marked = Changes {
            alias: Some(&alias),
            ..Changes::default()
        };
        self.queue(index, Side::Host, route::change_link(Target::Index(number), &marked))?;
        let moved = Changes {
            name: Some(to.as_str()),
            mac: mac.map(|mac| mac.bytes()),
            mtu,
            namespace: Some(sandbox),
            ..Changes::default()
        };
        self.queue(index, Side::Host, route::change_link(Target::Index(number), &moved))?;
        self.indexes.remove(&(true, name.as_str().to_owned()));
        self.send()
    }

    pub(super) fn link(&mut self, index: usize, step: &NetStep) -> Result<()> {
        let NetStep::Link {
            side,
            name,
            kind,
            peer,
            master,
            mac,
            mtu,
            up,
            port,
            mode,
            ..
        } = step
        else {
            return Ok(());
        };
        let master = match master {
            Some(master) => Some(self.index(*side, master)?),
            None => None,
        };
        let changes = Changes {
            mac: mac.map(Mac::bytes),
            mtu: *mtu,
            master,
            up: up.then_some(true),
            ..Changes::default()
        };
        match self.existing(*side, name, kind, *mode)? {
            Existing::No => self.make(index, step, &changes)?,
            Existing::Ours(number) => {
                self.again = true;
                self.queue(index, Side::Host, route::change_link(Target::Index(number), &changes))?;
            }
            Existing::Foreign => {
                self.again = true;
                return Ok(());
            }
        }
        self.mark(index, *side, name, peer.as_ref())?;
        if !port.is_empty() {
            let data = self.attributes(port)?;
            let changes = Changes {
                port: Some(("bridge", &data)),
                ..Changes::default()
            };
            self.queue(index, *side, route::change_link(Target::Name(name.as_str()), &changes))?;
        }
        Ok(())
    }

    fn make(&mut self, index: usize, step: &NetStep, changes: &Changes<'_>) -> Result<()> {
        let NetStep::Link {
            side,
            name,
            kind,
            peer,
            parent,
            attributes,
            ..
        } = step
        else {
            return Ok(());
        };
        let parent = match parent {
            Some(parent) => Some(self.index(Side::Host, parent)?),
            None => None,
        };
        let data = self.attributes(attributes)?;
        // It is made where its parent or its other half lies, for the side on which it arrives.
        let on = if parent.is_some() || peer.as_ref().is_some_and(|peer| peer.side == Side::Host) {
            Side::Host
        } else {
            *side
        };
        let here = on == *side;
        let link = NewLink {
            name: name.as_str(),
            kind,
            mac: changes.mac,
            mtu: changes.mtu,
            parent,
            // A master is known by its number where the link arrives.
            master: changes.master.filter(|_| here),
            up: changes.up == Some(true) && here,
            namespace: self.elsewhere(on, *side)?,
            peer: self.peer(on, peer.as_ref(), changes.mtu)?,
            has_data: !attributes.is_empty(),
            data,
        };
        let message = route::make_link(&link);
        self.queue(index, on, message)?;
        if !here {
            self.queue(index, *side, route::change_link(Target::Name(name.as_str()), changes))?;
        }
        Ok(())
    }

    /// The namespace to be named where a link does not arrive on the side of the socket.
    fn elsewhere(&self, on: Side, side: Side) -> Result<Option<BorrowedFd<'a>>> {
        if on == side {
            return Ok(None);
        }
        self.sandbox
            .map(Some)
            .ok_or_else(|| Error::invalid("the plan makes a link inside, and there is no sandbox"))
    }

    fn peer<'p>(&self, on: Side, peer: Option<&'p Peer>, mtu: Option<u32>) -> Result<Option<NewPeer<'p>>>
    where
        'a: 'p,
    {
        let Some(peer) = peer else { return Ok(None) };
        Ok(Some(NewPeer {
            name: peer.name.as_str(),
            mac: peer.mac.map(Mac::bytes),
            mtu,
            namespace: self.elsewhere(on, peer.side)?,
        }))
    }

    /// Marks what lies on the host as this object's; the message that makes a link cannot.
    fn mark(&mut self, index: usize, side: Side, name: &IfName, peer: Option<&Peer>) -> Result<()> {
        let both = [(side, name)]
            .into_iter()
            .chain(peer.map(|peer| (peer.side, &peer.name)));
        for (_, name) in both.filter(|(side, _)| *side == Side::Host) {
            let changes = Changes {
                alias: Some(&self.alias),
                ..Changes::default()
            };
            let message = route::change_link(Target::Name(name.as_str()), &changes);
            self.queue(index, Side::Host, message)?;
        }
        Ok(())
    }

    fn existing(&mut self, side: Side, name: &IfName, kind: &str, mode: LinkMode) -> Result<Existing> {
        if side != Side::Host {
            return Ok(Existing::No);
        }
        self.send()?;
        let found = self
            .host
            .link(name.as_str())
            .during(format_args!("look for link {name}"))?;
        let Some(found) = found else {
            return Ok(Existing::No);
        };
        // Without an alias it was cut between its making and its marking.
        let cut = found.alias.is_empty() && name.as_str().starts_with(self.own.prefix().as_str());
        let ours = found.alias == self.alias || cut;
        match (found.kind == kind, ours, mode) {
            (true, true, _) => Ok(Existing::Ours(found.index)),
            (true, false, LinkMode::Ensure) => Ok(Existing::Foreign),
            (false, _, _) => Err(Error::already_exists(format!(
                "link {name} is there already, of kind {:?} and not {kind:?}: remove it, or choose another name",
                found.kind
            ))),
            (true, false, _) => Err(Error::already_exists(format!(
                "link {name} is there already and is not this network's: remove it, or choose another name"
            ))),
        }
    }

    /// Attributes as the kernel takes them.
    fn attributes(&mut self, attributes: &[Attribute]) -> Result<Attributes> {
        let mut all = Attributes::default();
        for attribute in attributes {
            let number = attribute.number;
            match &attribute.value {
                AttributeValue::U8(value) => all.put(number, &[*value]),
                AttributeValue::U16(value) => all.put(number, &value.to_ne_bytes()),
                AttributeValue::U32(value) => all.number(number, *value),
                AttributeValue::U64(value) => all.put(number, &value.to_ne_bytes()),
                AttributeValue::Be16(value) => all.put(number, &value.to_be_bytes()),
                AttributeValue::Be32(value) => all.big(number, *value),
                AttributeValue::Text(value) => all.text(number, value),
                AttributeValue::Ip(value) => match value.get() {
                    std::net::IpAddr::V4(value) => all.put(number, &value.octets()),
                    std::net::IpAddr::V6(value) => all.put(number, &value.octets()),
                },
                AttributeValue::Bytes(value) => all.put(number, value.as_bytes()),
                AttributeValue::Link(link) => {
                    let index = self.index(Side::Host, link)?;
                    all.number(number, index)
                }
                AttributeValue::Flag => all.put(number, &[]),
                AttributeValue::Nested(inner) => {
                    let inner = self.attributes(inner)?;
                    all.nest(number, |place| place.clone_from(&inner))
                }
            };
        }
        Ok(all)
    }
}
