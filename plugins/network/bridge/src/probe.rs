//! Judges by the host's facts whether bridges can work on this machine.

use longshore_plugin::driver::{Facts, Reason};

/// What was found.
pub(crate) struct Judged {
    pub(crate) usable: bool,
    pub(crate) reasons: Vec<Reason>,
}

/// A foreign firewall does not make the driver unusable: containers reach each other, and what is
/// blocked is told.
pub(crate) fn judge(facts: &Facts) -> Judged {
    let Some(network) = &facts.network else {
        return Judged {
            usable: true,
            reasons: vec![],
        };
    };
    let mut reasons = Vec::new();
    for kind in ["bridge", "veth"] {
        if !network.link_kinds.iter().any(|known| known == kind) {
            reasons.push(Reason {
                what: format!("this kernel makes no links of kind {kind}"),
                remedy: format!("load it with `modprobe {kind}`, or use --network none or host"),
            });
        }
    }
    if !network.nftables {
        reasons.push(Reason {
            what: "this kernel has no nftables".into(),
            remedy: "load it with `modprobe nf_tables`, or use --network none or host".into(),
        });
    }
    let usable = reasons.is_empty();
    reasons.extend(network.foreign_drops.iter().map(|chain| Reason {
        what: format!("the firewall chain {chain} of another program drops what is forwarded, published ports too"),
        remedy: "let it accept what is forwarded to and from this engine's bridges".into(),
    }));
    Judged { usable, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_plugin::driver::NetworkFacts;

    fn facts(kinds: &[&str], nftables: bool, drops: &[&str]) -> Facts {
        Facts {
            filesystem: "ext4".into(),
            d_type: None,
            trusted_xattrs: None,
            user_xattrs: None,
            reflink: None,
            filesystems: vec![],
            overlay: vec![],
            overlay_mounts: None,
            kernel: "6.18.0".into(),
            network: Some(NetworkFacts {
                link_kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
                nftables,
                ipv6: true,
                foreign_drops: drops.iter().map(|chain| (*chain).into()).collect(),
            }),
        }
    }

    #[test]
    fn a_machine_with_everything_has_no_reasons() {
        let judged = judge(&facts(&["bridge", "veth"], true, &[]));
        assert!(judged.usable && judged.reasons.is_empty());
        assert!(
            judge(&Facts {
                network: None,
                ..facts(&[], false, &[])
            })
            .usable
        );
    }

    #[test]
    fn each_missing_thing_has_its_remedy() {
        let judged = judge(&facts(&["bridge"], true, &[]));
        assert!(!judged.usable && judged.reasons[0].remedy.contains("modprobe veth"));
        let judged = judge(&facts(&["bridge", "veth"], false, &[]));
        assert!(!judged.usable && judged.reasons[0].remedy.contains("nf_tables"));
    }

    #[test]
    fn a_foreign_chain_that_drops_is_told_and_no_more() {
        let judged = judge(&facts(&["bridge", "veth"], true, &["ip filter FORWARD"]));
        assert!(judged.usable && judged.reasons[0].what.contains("ip filter FORWARD"));
    }
}
