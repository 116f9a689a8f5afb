//! Which attributes a link's kind may be given.
//!
//! Numbers of known kinds are those of the kernel's `if_link.h` that concern the link itself; none
//! that carries a key, reaches another namespace or a descriptor. Those of other granted kinds pass.

use longshore_core::steps::{Attribute, AttributeValue};

use super::{Checking, Verdict};

/// Deepest nesting.
const DEEPEST: usize = 4;
/// Most bytes of one value.
const MOST_BYTES: usize = 1024;
/// Most attributes in one list.
const MOST: usize = 64;

/// Numbers that a kind may have; `None` for a kind that is not known here.
fn table(kind: &str) -> Option<&'static [u16]> {
    Some(match kind {
        // forward_delay, hello_time, max_age, ageing_time, stp_state, priority, vlan_filtering,
        // vlan_protocol, group_fwd_mask, group_addr, mcast_snooping, vlan_default_pvid,
        // mcast_querier, nf_call_iptables, nf_call_ip6tables
        "bridge" => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 23, 25, 36, 37, 39],
        // The peer is the step's own.
        "veth" => &[],
        // id, flags, protocol
        "vlan" => &[1, 2, 5],
        // id, group, link, local, ttl, tos, learning, ageing, limit, port_range, proxy, rsc, l2miss,
        // l3miss, port, group6, local6, udp_csum, ttl_inherit, df
        "vxlan" => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 29, 30],
        // mode, flags
        "macvlan" | "ipvlan" => &[1, 2],
        // id, remote, ttl, tos, port, remote6
        "geneve" => &[1, 2, 3, 4, 5, 7],
        "dummy" | "wireguard" => &[],
        _ => return None,
    })
}

/// What a port of a bridge may have: state, priority, cost, mode (hairpin), guard, protect,
/// fast_leave, learning, unicast_flood, proxyarp, mcast_flood, bcast_flood, neigh_suppress, isolated.
const PORT: [u16; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 27, 30, 32, 33];

pub(super) fn of_kind(checking: &Checking<'_>, kind: &str, attributes: &[Attribute]) -> Verdict {
    if let Some(table) = table(kind)
        && let Some(unknown) = attributes.iter().find(|one| !table.contains(&one.number))
    {
        return Err(format!(
            "attribute {} of kind {kind} is not a driver's to set",
            unknown.number
        ));
    }
    values(checking, attributes, DEEPEST)
}

pub(super) fn of_port(checking: &Checking<'_>, attributes: &[Attribute]) -> Verdict {
    match attributes.iter().find(|one| !PORT.contains(&one.number)) {
        Some(unknown) => Err(format!(
            "attribute {} of a port is not a driver's to set",
            unknown.number
        )),
        None => values(checking, attributes, DEEPEST),
    }
}

fn values(checking: &Checking<'_>, attributes: &[Attribute], deeper: usize) -> Verdict {
    if attributes.len() > MOST {
        return Err(format!("a list of attributes holds at most {MOST}"));
    }
    for attribute in attributes {
        if attribute.number > 0x3fff {
            return Err(format!("{} is no attribute's number", attribute.number));
        }
        match &attribute.value {
            AttributeValue::Nested(_) if deeper == 0 => {
                return Err(format!("attributes are nested deeper than {DEEPEST}"));
            }
            AttributeValue::Nested(inner) => values(checking, inner, deeper - 1)?,
            AttributeValue::Link(link) if !checking.is_ours(link) && !checking.scope.granted.contains(link) => {
                return Err(format!(
                    "attribute {} names link {link}, which is not granted",
                    attribute.number
                ));
            }
            AttributeValue::Text(text) if text.len() > MOST_BYTES || text.contains('\0') => {
                return Err(format!(
                    "attribute {} holds no text of at most {MOST_BYTES} bytes",
                    attribute.number
                ));
            }
            AttributeValue::Bytes(bytes) if bytes.as_bytes().len() > MOST_BYTES => {
                return Err(format!(
                    "attribute {} holds more than {MOST_BYTES} bytes",
                    attribute.number
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
