//! The table's own parts: base chains, maps, and the rules that are always there.

use longshore_core::steps::Hook;
use longshore_sys::net::nftables::{Base, Expression, Header, Holds, Hook as Place, Meta, REGISTER, Set, Transaction};

/// Bytes of a link's name in the filter.
const NAME: usize = 16;
/// How readers show keys: their types, six bits each.
const TYPE_IFNAME: u32 = 41;
const TYPE_IP4: u32 = 7;
const TYPE_IP6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;

/// A hook with the base chains that lead to the networks' own.
pub(super) struct Entry {
    pub(super) hook: Hook,
    pub(super) word: &'static str,
    place: Place,
    nat: bool,
    priority: i32,
}

pub(super) const ENTRIES: [Entry; 5] = [
    Entry {
        hook: Hook::Prerouting,
        word: "prerouting",
        place: Place::Prerouting,
        nat: true,
        priority: -100,
    },
    Entry {
        hook: Hook::Output,
        word: "output",
        place: Place::Output,
        nat: true,
        priority: -100,
    },
    Entry {
        hook: Hook::Forward,
        word: "forward",
        place: Place::Forward,
        nat: false,
        priority: 0,
    },
    Entry {
        hook: Hook::Postrouting,
        word: "postrouting",
        place: Place::Postrouting,
        nat: true,
        priority: 100,
    },
    Entry {
        hook: Hook::Input,
        word: "input",
        place: Place::Input,
        nat: false,
        priority: 0,
    },
];

impl Entry {
    /// Its base chains, each with the directions whose maps it looks into.
    fn chains(&self) -> Vec<(String, &'static [Direction])> {
        match self.hook {
            Hook::Forward => vec![
                (format!("{}_in", self.word), &[Direction::In]),
                (format!("{}_out", self.word), &[Direction::Out]),
            ],
            Hook::Postrouting => vec![(self.word.into(), &[Direction::In, Direction::Out])],
            Hook::Output => vec![(self.word.into(), &[Direction::Out])],
            _ => vec![(self.word.into(), &[Direction::In])],
        }
    }

    pub(super) fn directions(&self) -> impl Iterator<Item = Direction> {
        self.chains()
            .into_iter()
            .flat_map(|(_, directions)| directions)
            .copied()
    }

    pub(super) fn map(&self, direction: Direction) -> String {
        format!("{}_{}", self.word, direction.word())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    fn meta(self) -> Meta {
        match self {
            Self::In => Meta::In,
            Self::Out => Meta::Out,
        }
    }
}

/// A link's name as the filter compares it.
pub(crate) fn name_key(link: &str) -> Vec<u8> {
    let mut key = link.as_bytes().to_vec();
    key.resize(NAME, 0);
    key
}

pub(super) fn chain_of(network: &str, word: &str) -> String {
    format!("n_{}_{word}", network.get(..16).unwrap_or(network))
}

fn set(name: &str, key_type: u32, key_length: u32, holds: Holds) -> Set<'_> {
    Set {
        name,
        key_type,
        key_length,
        holds,
    }
}

/// Makes the table.
pub(super) fn base(changes: &mut Transaction, table: &str) {
    changes.table(table);
    for (name, all, kind, length) in [
        ("publish4", "publish4_all", TYPE_IP4, 4),
        ("publish6", "publish6_all", TYPE_IP6, 16),
    ] {
        let holds = Holds::Data(kind << 6 | TYPE_PORT, length + 4);
        let exact = (TYPE_PROTOCOL << 6 | kind) << 6 | TYPE_PORT;
        changes.set(table, set(name, exact, length + 8, holds));
        changes.set(table, set(all, TYPE_PROTOCOL << 6 | TYPE_PORT, 8, holds));
    }
    for entry in &ENTRIES {
        for direction in entry.directions() {
            let map = entry.map(direction);
            changes.set(table, set(&map, TYPE_IFNAME, 16, Holds::Verdict));
        }
        for (chain, directions) in entry.chains() {
            let place = Base {
                hook: entry.place,
                nat: entry.nat,
                priority: entry.priority,
                drops: false,
            };
            changes.chain(table, &chain, Some(place));
            if matches!(entry.hook, Hook::Prerouting | Hook::Output) {
                for rule in publishing(entry.hook) {
                    changes.rule(table, &chain, &rule);
                }
            }
            for direction in directions {
                changes.rule(
                    table,
                    &chain,
                    &[
                        Expression::Meta(direction.meta(), REGISTER),
                        Expression::Lookup(entry.map(*direction), REGISTER, Some(0), true),
                    ],
                );
            }
        }
    }
}

/// The rules that translate the destination of what comes for a published port. What is sent from
/// here to the loopback link is left alone: it could not come back.
fn publishing(hook: Hook) -> Vec<Vec<Expression>> {
    const LOCAL: u32 = 2;
    let mut rules = Vec::new();
    for (v6, family, offset, length, exact, all) in [
        (false, 2_u8, 16, 4_u32, "publish4", "publish4_all"),
        (true, 10, 24, 16, "publish6", "publish6_all"),
    ] {
        let mut start = vec![
            Expression::Meta(Meta::Family, REGISTER),
            Expression::Compare(REGISTER, true, vec![family]),
        ];
        if hook == Hook::Output {
            start.push(Expression::Payload(Header::Network, offset, length, REGISTER));
            start.extend(not_loopback(v6));
        }
        start.push(Expression::Destination(REGISTER));
        start.push(Expression::Compare(REGISTER, true, LOCAL.to_ne_bytes().to_vec()));
        let words = length / 4;
        let target = REGISTER + 8;
        let end = Expression::Nat {
            source: false,
            v6,
            address: target,
            port: Some(target + words),
        };
        let port = |at| Expression::Payload(Header::Transport, 2, 2, at);
        let mut rule = start.clone();
        rule.extend([
            Expression::Meta(Meta::Protocol, REGISTER),
            Expression::Payload(Header::Network, offset, length, REGISTER + 1),
            port(REGISTER + 1 + words),
            Expression::Lookup(exact.into(), REGISTER, Some(target), true),
            end.clone(),
        ]);
        rules.push(rule);
        let mut rule = start;
        rule.extend([
            Expression::Meta(Meta::Protocol, REGISTER),
            port(REGISTER + 1),
            Expression::Lookup(all.into(), REGISTER, Some(target), true),
            end,
        ]);
        rules.push(rule);
    }
    rules
}

fn not_loopback(v6: bool) -> Vec<Expression> {
    if v6 {
        let one = std::net::Ipv6Addr::LOCALHOST.octets().to_vec();
        return vec![Expression::Compare(REGISTER, false, one)];
    }
    vec![
        Expression::Mask(REGISTER, vec![255, 0, 0, 0]),
        Expression::Compare(REGISTER, false, vec![127, 0, 0, 0]),
    ]
}
