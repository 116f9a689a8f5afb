//! The check of a rule: where it may hang, what it may look at, and that it is about this network.

use longshore_core::steps::{ConnectionState, Family, Hook, Match, Matching, NetStep, Side, Verdict as RuleVerdict};
use longshore_core::types::IpNet;

use super::{Checking, Verdict};

/// Most conditions of one rule.
const MOST_MATCHES: usize = 16;

impl Checking<'_> {
    pub(super) fn rule(&self, step: &NetStep) -> Verdict {
        let NetStep::Rule {
            side,
            hook,
            family,
            matches,
            verdict,
        } = step
        else {
            return Ok(());
        };
        if *side != Side::Host || self.scope.endpoint.is_some() {
            return Err("rules belong to a network's own plan, on the host's side".into());
        }
        if *family == Family::Unknown {
            return Err("its family is not known to this host".into());
        }
        if matches.len() > MOST_MATCHES {
            return Err(format!("a rule has at most {MOST_MATCHES} conditions"));
        }
        matches.iter().try_for_each(|one| self.condition(*hook, *family, one))?;
        if !matches.iter().any(|one| self.names_us(one)) {
            return Err("it names no link and no subnet of its network".into());
        }
        verdict_fits(*hook, *family, verdict)
    }

    fn condition(&self, hook: Hook, family: Family, one: &Match) -> Verdict {
        match &one.what {
            Matching::In(link) | Matching::Out(link) if !self.is_ours(link) && !self.scope.granted.contains(link) => {
                Err(format!("it names link {link}, which is not this network's"))
            }
            Matching::In(_) if hook == Hook::Output => Err("what is sent from here came by no link".into()),
            Matching::Out(_) if matches!(hook, Hook::Prerouting | Hook::Input) => {
                Err("it is not known yet by which link a packet leaves".into())
            }
            Matching::From(net) | Matching::To(net) if !fits(family, *net) => {
                Err(format!("{net} is not of the rule's family"))
            }
            Matching::SourcePorts(range) | Matching::Ports(range) if range.first > range.last => {
                Err("a range of ports ends before it begins".into())
            }
            Matching::State(ConnectionState::Unknown) => Err("a state is not known to this host".into()),
            Matching::Mark { mask: 0, .. } => Err("a mark without bits matches everything".into()),
            _ => Ok(()),
        }
    }

    /// A condition that must not hold leaves everybody else, and so is not about this network.
    fn names_us(&self, one: &Match) -> bool {
        let about = match &one.what {
            Matching::In(link) | Matching::Out(link) => self.is_ours(link) || self.scope.granted.contains(link),
            Matching::From(net) | Matching::To(net) => self.scope.pools.iter().any(|pool| pool.holds(*net)),
            _ => false,
        };
        about && !one.not
    }
}

fn fits(family: Family, net: IpNet) -> bool {
    match family {
        Family::V4 => net.is_ipv4(),
        Family::V6 => net.is_ipv6(),
        Family::Both | Family::Unknown => true,
    }
}

fn verdict_fits(hook: Hook, family: Family, verdict: &RuleVerdict) -> Verdict {
    let of_family = |v4: bool| match family {
        Family::V4 => v4,
        Family::V6 => !v4,
        Family::Both | Family::Unknown => false,
    };
    let fits = match (hook, verdict) {
        (Hook::Unknown, _) => return Err("its hook is not known to this host".into()),
        (_, RuleVerdict::Accept | RuleVerdict::Return | RuleVerdict::Mark(_)) => true,
        // Chains that translate addresses see only the first packet of a connection.
        (Hook::Forward | Hook::Input, RuleVerdict::Drop | RuleVerdict::Reject) => true,
        (Hook::Postrouting, RuleVerdict::Masquerade) => true,
        (Hook::Postrouting, RuleVerdict::Snat(address)) => of_family(address.is_ipv4()),
        (Hook::Prerouting | Hook::Output, RuleVerdict::Dnat { address, .. }) => of_family(address.is_ipv4()),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err("its verdict does not go with its hook or family".into())
    }
}
