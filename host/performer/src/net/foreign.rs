//! Other tools' chains that drop what is on its way through this machine.
//!
//! No accept of ours can beat a drop in another table. So such a chain is reported, with what its
//! administrator can do; it is never changed.

use longshore_core::error::Result;
use longshore_sys::net::nftables::{BaseChain, Firewall};

use super::own::Ownership;
use crate::error::During;

/// A chain of another tool whose policy on packets on their way through is to drop them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// What lets this data root's networks through.
    pub remedy: String,
}

impl std::fmt::Display for ForeignChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "chain {} of table {} {} drops what is forwarded, so published ports and the outside are not reached: {}",
            self.name, self.family, self.table, self.remedy
        )
    }
}

/// Looks for such chains in the calling thread's network namespace. Those of the older
/// `iptables-legacy` are not seen.
///
/// # Errors
/// The kernel's.
pub fn foreign_chains(own: &Ownership) -> Result<Vec<ForeignChain>> {
    const FORWARD: u32 = 2;
    let mut firewall = Firewall::open().during("open a socket to the packet filter")?;
    let chains = firewall.base_chains().during("list the packet filter's base chains")?;
    let table = own.table();
    Ok(chains
        .iter()
        .filter(|chain| chain.drops && chain.hook == FORWARD && chain.table != table)
        .filter_map(|chain| finding(chain, own))
        .collect())
}

fn finding(chain: &BaseChain, own: &Ownership) -> Option<ForeignChain> {
    let (family, tool) = match chain.family {
        1 => ("inet", "nft"),
        2 => ("ip", "iptables"),
        10 => ("ip6", "ip6tables"),
        _ => return None,
    };
    let prefix = own.prefix();
    let remedy = if chain.table == "filter" && chain.name == "FORWARD" && family != "inet" {
        format!("run '{tool} -I FORWARD -i {prefix}+ -j ACCEPT' and '{tool} -I FORWARD -o {prefix}+ -j ACCEPT'")
    } else {
        let rule = |direction: &str| {
            format!(
                "'nft insert rule {family} {} {} {direction} \"{prefix}*\" accept'",
                chain.table, chain.name
            )
        };
        format!("run {} and {}", rule("iifname"), rule("oifname"))
    };
    Some(ForeignChain {
        family,
        table: chain.table.clone(),
        name: chain.name.clone(),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_core::types::OwnedPrefix;

    #[test]
    fn the_remedy_is_in_the_words_of_the_tool_that_drops() {
        let own = Ownership::new("0a1f000000000001", OwnedPrefix::parse("ls0a1f").unwrap()).unwrap();
        let chain = |family, table: &str, name: &str| BaseChain {
            family,
            table: table.into(),
            name: name.into(),
            hook: 2,
            drops: true,
        };
        let told = |chain| finding(&chain, &own).unwrap().to_string();
        assert!(told(chain(2, "filter", "FORWARD")).contains("iptables -I FORWARD -i ls0a1f+ -j ACCEPT"));
        assert!(told(chain(10, "filter", "FORWARD")).contains("ip6tables -I FORWARD -o ls0a1f+"));
        assert!(told(chain(1, "fw", "fwd")).contains("nft insert rule inet fw fwd iifname \"ls0a1f*\" accept"));
        assert!(finding(&chain(7, "b", "f"), &own).is_none());
    }
}
