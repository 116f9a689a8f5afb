//! What network drivers judge: what links can be made here, and what stands in the way.

use std::path::Path;

use longshore_core::driver::NetworkFacts;
use longshore_core::error::Result;
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::nftables::Firewall;
use longshore_sys::net::route::{self, NewLink, NewPeer, Routing};

use super::foreign::foreign_chains;
use super::own::Ownership;

/// Kinds that drivers ask about. The kernel has no list of those that it can make.
const KINDS: [&str; 6] = ["bridge", "veth", "macvlan", "ipvlan", "vlan", "vxlan"];

/// Finds out the facts of the calling thread's network namespace. What is tried is tried in a
/// namespace of its own, and gone with it.
///
/// # Errors
/// When the packet filter cannot be read although it is there.
pub fn facts(own: &Ownership) -> Result<NetworkFacts> {
    let nftables = Firewall::open().and_then(|mut firewall| firewall.tables()).is_ok();
    let foreign = if nftables { foreign_chains(own)? } else { Vec::new() };
    Ok(NetworkFacts {
        link_kinds: std::thread::spawn(link_kinds).join().unwrap_or_default(),
        nftables,
        ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        foreign_drops: foreign
            .iter()
            .map(|chain| format!("{} {} {}", chain.family, chain.table, chain.name))
            .collect(),
    })
}

/// Makes a link of each kind in a new namespace of this thread, which ends with it.
fn link_kinds() -> Vec<String> {
    let Ok(mut routing) = namespace::unshare(&[Kind::Network]).and_then(|()| Routing::open()) else {
        return Vec::new();
    };
    let parent = NewLink {
        name: "parent",
        kind: "bridge",
        ..NewLink::default()
    };
    let _ = routing.perform(&[route::make_link(&parent)]);
    let parent = routing.link("parent").ok().flatten().map(|link| link.index);
    let can_be_made = |kind: &&str| {
        let mut link = NewLink {
            name: "tried",
            kind,
            ..NewLink::default()
        };
        match *kind {
            "veth" => {
                link.peer = Some(NewPeer {
                    name: "other",
                    mac: None,
                    mtu: None,
                    namespace: None,
                });
            }
            "macvlan" | "ipvlan" => link.parent = parent,
            "vlan" => {
                link.parent = parent;
                link.data.put(1, &1_u16.to_ne_bytes());
                link.has_data = true;
            }
            "vxlan" => {
                link.data.number(1, 1).put(15, &4789_u16.to_be_bytes());
                link.has_data = true;
            }
            _ => {}
        }
        let made = routing.perform(&[route::make_link(&link)]).is_ok();
        if let Ok(Some(tried)) = routing.link("tried") {
            let _ = routing.perform(&[route::delete_link(tried.index)]);
        }
        made
    };
    KINDS.iter().copied().filter(can_be_made).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_core::types::OwnedPrefix;

    #[test]
    fn root_what_can_be_made_is_found_out_and_leaves_nothing() {
        if is_not_root() {
            println!("SKIP: not root");
            return;
        }
        let before = Routing::open().unwrap().links().unwrap().len();
        let own = Ownership::new("0a1f000000000001", OwnedPrefix::parse("ls0a1f").unwrap()).unwrap();
        let facts = facts(&own).unwrap();
        assert!(facts.link_kinds.iter().any(|kind| kind == "veth"), "{facts:?}");
        assert!(!facts.link_kinds.iter().any(|kind| kind == "parent"));
        assert_eq!(Routing::open().unwrap().links().unwrap().len(), before);
    }

    fn is_not_root() -> bool {
        longshore_sys::process::effective_owner().0 != 0
    }
}
