//! The kernel's packet filter by nf_tables: transactions, and what is there.
//!
//! A [`Transaction`] is performed whole or not at all. Here live messages and expressions; which
//! tables, chains and rules there are is the performer's. All numbers go in the network's order.

use rustix::io::Errno;

use super::netlink::{
    APPEND, Attributes, CREATE, DUMP, Message, Refused, Reply, Socket, attribute, attributes, big_at, text_of,
};
use crate::error::Result;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;

const INET: u8 = 1;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// The first register of four bytes; they follow each other.
pub const REGISTER: u32 = 8;

/// A packet's way at which a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// In, before it is routed.
    Prerouting,
    /// In, for this host.
    Input,
    /// Through.
    Forward,
    /// Out, from this host.
    Output,
    /// Out.
    Postrouting,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy)]
pub struct Base {
    /// The hook.
    pub hook: Hook,
    /// Whether it translates addresses, and so sees only the first packet of a connection.
    pub nat: bool,
    /// The lower, the earlier.
    pub priority: i32,
    /// Whether what it does not decide is dropped.
    pub drops: bool,
}

/// What the elements of a set hold beside their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// Data of this type, which only readers look at, and length.
    Data(u32, u32),
    /// A verdict.
    Verdict,
}

/// A set or map to be made.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// The key's type, which only readers look at.
    pub key_type: u32,
    /// The key's length.
    pub key_length: u32,
    /// What it holds.
    pub holds: Holds,
}

/// What an element of a set holds beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nothing,
    /// Data.
    Data(Vec<u8>),
    /// A jump to a chain.
    Jump(String),
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds.
    pub value: Value,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes the base chain.
    Accept,
    /// It vanishes.
    Drop,
    /// It leaves this chain.
    Return,
    /// It goes to that chain, and comes back.
    Jump(String),
}

/// What of a packet is loaded, beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Its mark.
    Mark,
    /// The name of the link by which it came.
    In,
    /// The name of the link by which it leaves.
    Out,
    /// Its family: 2 for IPv4, 10 for IPv6.
    Family,
    /// Its protocol.
    Protocol,
}

impl Meta {
    fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::In => 6,
            Self::Out => 7,
            Self::Family => 15,
            Self::Protocol => 16,
        }
    }
}

/// Which header a packet's bytes are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// IPv4's or IPv6's.
    Network,
    /// TCP's or UDP's.
    Transport,
}

/// One expression of a rule. A packet that does not fit leaves the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact.
    Meta(Meta, u32),
    /// Loads bytes from this offset, of this length.
    Payload(Header, u32, u32, u32),
    /// Loads the kind of the destination: 2 for an address of this host, in the machine's order.
    Destination(u32),
    /// Loads the connection's state.
    State(u32),
    /// Loads the connection's status.
    Status(u32),
    /// Keeps only these bits of a register.
    Mask(u32, Vec<u8>),
    /// Compares a register; the packet fits when they are equal, or (`false`) when not.
    Compare(u32, bool, Vec<u8>),
    /// The packet fits when the register lies between, or (`false`) when not.
    Range(u32, bool, Vec<u8>, Vec<u8>),
    /// Looks the key at this register up, and puts what the map holds into the other one; a verdict
    /// is performed when that is 0. The packet fits when there is one, or (`false`) when not.
    Lookup(String, u32, Option<u32>, bool),
    /// Puts bytes into a register.
    Load(u32, Vec<u8>),
    /// Sets the mark from a register.
    SetMark(u32),
    /// Translates the source, or the destination: family, registers of address and port.
    Nat {
        /// The source, not the destination.
        source: bool,
        /// IPv6.
        v6: bool,
        /// The address's register.
        address: u32,
        /// The port's register.
        port: Option<u32>,
    },
    /// Translates the source to the address of the link by which the packet leaves.
    Masquerade,
    /// Refuses with an answer.
    Reject,
    /// Ends the rule with a verdict.
    Verdict(Verdict),
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) | Self::SetMark(_) => "meta",
            Self::Payload(..) => "payload",
            Self::Destination(_) => "fib",
            Self::State(_) | Self::Status(_) => "ct",
            Self::Mask(..) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::Range(..) => "range",
            Self::Lookup(..) => "lookup",
            Self::Load(..) | Self::Verdict(_) => "immediate",
            Self::Nat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reject => "reject",
        }
    }

    fn fill(&self, data: &mut Attributes) {
        const ADDRESS_KIND: u32 = 3;
        const BY_DESTINATION: u32 = 2;
        match self {
            Self::Meta(what, to) => data.big(1, *to).big(2, what.number()),
            Self::SetMark(from) => data.big(2, Meta::Mark.number()).big(3, *from),
            Self::Payload(header, offset, length, to) => {
                let base = if *header == Header::Network { 1 } else { 2 };
                data.big(1, *to).big(2, base).big(3, *offset).big(4, *length)
            }
            Self::Destination(to) => data.big(1, *to).big(2, ADDRESS_KIND).big(3, BY_DESTINATION),
            Self::State(to) => data.big(1, *to).big(2, 0),
            Self::Status(to) => data.big(1, *to).big(2, 2),
            Self::Mask(at, mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(0);
                data.big(1, *at).big(2, *at).big(3, length);
                value(data, 4, mask);
                value(data, 5, &vec![0; mask.len()])
            }
            Self::Compare(at, equal, with) => {
                data.big(1, *at).big(2, u32::from(!equal));
                value(data, 3, with)
            }
            Self::Range(at, inside, from, to) => {
                data.big(1, *at).big(2, u32::from(!inside));
                value(data, 3, from);
                value(data, 4, to)
            }
            Self::Lookup(set, at, into, found) => {
                data.text(1, set).big(2, *at);
                if let Some(into) = into {
                    data.big(3, *into);
                }
                if *found { data } else { data.big(5, 1) }
            }
            Self::Load(to, bytes) => {
                data.big(1, *to);
                value(data, 2, bytes)
            }
            Self::Nat {
                source,
                v6,
                address,
                port,
            } => {
                data.big(1, u32::from(!source)).big(2, if *v6 { 10 } else { 2 });
                data.big(3, *address).big(4, *address);
                match port {
                    Some(port) => data.big(5, *port).big(6, *port),
                    None => data,
                }
            }
            Self::Masquerade => data,
            // ICMP or ICMPv6, whichever fits: administratively prohibited.
            Self::Reject => data.big(1, 2).put(2, &[3]),
            Self::Verdict(verdict) => {
                data.big(1, 0);
                data.nest(2, |inner| put_verdict(inner, verdict))
            }
        };
    }
}

fn value<'a>(data: &'a mut Attributes, number: u16, bytes: &[u8]) -> &'a mut Attributes {
    data.nest(number, |inner| {
        inner.put(DATA_VALUE, bytes);
    })
}

fn put_verdict(data: &mut Attributes, verdict: &Verdict) {
    let code: i32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Jump(_) => -3,
        Verdict::Return => -5,
    };
    data.nest(DATA_VERDICT, |inner| {
        inner.big(VERDICT_CODE, code.cast_unsigned());
        if let Verdict::Jump(chain) = verdict {
            inner.text(VERDICT_CHAIN, chain);
        }
    });
}

/// Changes that the kernel makes all at once or not at all.
#[derive(Debug, Default)]
pub struct Transaction {
    messages: Vec<Message>,
    sets: u32,
}

impl Transaction {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes)) {
        let mut message = Message::new(SUBSYSTEM << 8 | kind, flags, &[INET, 0, 0, 0]);
        fill(message.body());
        self.messages.push(message);
    }

    /// Makes a table of family `inet`; one that is there is taken.
    pub fn table(&mut self, table: &str) {
        self.add(NEW_TABLE, CREATE, |body| {
            body.text(1, table).big(2, 0);
        });
    }

    /// Removes a table with all in it, which must be there.
    pub fn remove_table(&mut self, table: &str) {
        self.add(DELETE_TABLE, 0, |body| {
            body.text(1, table);
        });
    }

    /// Makes a chain; one that is there is taken.
    pub fn chain(&mut self, table: &str, name: &str, base: Option<Base>) {
        self.add(NEW_CHAIN, CREATE, |body| {
            body.text(1, table).text(3, name);
            if let Some(base) = base {
                body.nest(4, |hook| {
                    hook.big(1, base.hook.number()).big(2, base.priority.cast_unsigned());
                });
                body.big(5, u32::from(!base.drops))
                    .text(7, if base.nat { "nat" } else { "filter" });
            }
        });
    }

    /// Removes all rules of a chain, which must be there.
    pub fn clear_chain(&mut self, table: &str, chain: &str) {
        self.add(DELETE_RULE, 0, |body| {
            body.text(1, table).text(2, chain);
        });
    }

    /// Removes a chain, which must be there, be empty, and be named by nothing.
    pub fn remove_chain(&mut self, table: &str, chain: &str) {
        self.add(DELETE_CHAIN, 0, |body| {
            body.text(1, table).text(3, chain);
        });
    }

    /// Adds a rule at a chain's end.
    pub fn rule(&mut self, table: &str, chain: &str, expressions: &[Expression]) {
        self.add(NEW_RULE, CREATE | APPEND, |body| {
            body.text(1, table).text(2, chain);
            body.nest(4, |list| {
                for expression in expressions {
                    list.nest(LIST_ELEMENT, |one| {
                        one.text(1, expression.name());
                        one.nest(2, |data| expression.fill(data));
                    });
                }
            });
        });
    }

    /// Makes a set or map; one that is there is taken.
    pub fn set(&mut self, table: &str, set: Set<'_>) {
        const MAP: u32 = 8;
        const VERDICT: u32 = 0xffff_ff00;
        self.sets += 1;
        let id = self.sets;
        self.add(NEW_SET, CREATE, |body| {
            body.text(1, table).text(2, set.name);
            body.big(3, if set.holds == Holds::Nothing { 0 } else { MAP });
            body.big(4, set.key_type).big(5, set.key_length);
            match set.holds {
                Holds::Nothing => {}
                Holds::Data(kind, length) => {
                    body.big(6, kind).big(7, length);
                }
                Holds::Verdict => {
                    body.big(6, VERDICT);
                }
            }
            body.big(10, id);
        });
    }

    /// Adds elements; one that is there with the same value is taken.
    pub fn add_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENT, CREATE, table, set, elements);
    }

    /// Removes elements, which must be there.
    pub fn remove_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(DELETE_ELEMENT, 0, table, set, elements);
    }

    /// An attribute holds at most 64 KiB, so there is a message for each few of them.
    fn elements(&mut self, kind: u16, flags: u16, table: &str, set: &str, elements: &[Element]) {
        for some in elements.chunks(256) {
            self.add(kind, flags, |body| {
                body.text(1, table).text(2, set);
                body.nest(3, |list| {
                    for element in some {
                        list.nest(LIST_ELEMENT, |one| put_element(one, element));
                    }
                });
            });
        }
    }
}

fn put_element(one: &mut Attributes, element: &Element) {
    value(one, 1, &element.key);
    match &element.value {
        Value::Nothing => {}
        Value::Data(bytes) => {
            value(one, 2, bytes);
        }
        Value::Jump(chain) => {
            one.nest(2, |data| put_verdict(data, &Verdict::Jump(chain.clone())));
        }
    }
}

/// A base chain of anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// Family of its table: 1 `inet`, 2 `ip`, 10 `ip6`.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The hook's number; 2 is forward for those three families.
    pub hook: u32,
    /// Whether what it does not decide is dropped.
    pub drops: bool,
}

/// A socket to the packet filter of one network namespace.
#[derive(Debug)]
pub struct Firewall(Socket);

impl Firewall {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel's; `EPROTONOSUPPORT` without netfilter.
    pub fn open() -> Result<Self> {
        Socket::netfilter().map(Self)
    }

    /// Performs a transaction.
    ///
    /// # Errors
    /// That of its first message that failed, and then nothing of it was done.
    pub fn commit(&mut self, transaction: Transaction) -> std::result::Result<(), Refused> {
        let mut messages = transaction.messages;
        let Some(last) = messages.pop() else { return Ok(()) };
        messages.push(last.acknowledged());
        let mark = [0, 0, 0, u8::try_from(SUBSYSTEM).unwrap_or(0)];
        messages.insert(0, Message::new(BATCH_BEGIN, 0, &mark));
        messages.push(Message::new(BATCH_END, 0, &mark));
        self.0.transact("nf_tables", &messages).map_err(|refused| Refused {
            index: refused.index.saturating_sub(1),
            ..refused
        })
    }

    fn dump(&mut self, kind: u16, family: u8, fill: impl FnOnce(&mut Attributes)) -> Result<Vec<Reply>> {
        let mut request = Message::new(SUBSYSTEM << 8 | kind, DUMP, &[family, 0, 0, 0]);
        fill(request.body());
        self.0.dump("nf_tables", &request)
    }

    /// The names of all tables of family `inet`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tables(&mut self) -> Result<Vec<String>> {
        let found = self.dump(GET_TABLE, INET, |_| {})?;
        Ok(found
            .iter()
            .filter_map(|reply| attribute(reply.body.get(4..)?, 1).map(text_of))
            .collect())
    }

    /// The names of all chains of a table.
    ///
    /// # Errors
    /// The kernel's.
    pub fn chains(&mut self, table: &str) -> Result<Vec<String>> {
        let found = self.dump(GET_CHAIN, INET, |_| {})?;
        Ok(found
            .iter()
            .filter_map(|reply| {
                let body = reply.body.get(4..)?;
                (attribute(body, 1).map(text_of)? == table).then(|| attribute(body, 3).map(text_of))?
            })
            .collect())
    }

    /// The base chains of all tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn base_chains(&mut self) -> Result<Vec<BaseChain>> {
        let found = self.dump(GET_CHAIN, 0, |_| {})?;
        Ok(found.iter().filter_map(base_chain).collect())
    }

    /// The elements of a set; none when it or its table is not there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn elements(&mut self, table: &str, set: &str) -> Result<Vec<Element>> {
        let found = self.dump(GET_ELEMENT, INET, |body| {
            body.text(1, table).text(2, set);
        });
        let found = match found {
            Err(error) if error.is(Errno::NOENT) => return Ok(Vec::new()),
            found => found?,
        };
        Ok(found
            .iter()
            .filter_map(|reply| attribute(reply.body.get(4..)?, 3))
            .flat_map(attributes)
            .filter_map(|(_, element)| element_of(element))
            .collect())
    }
}

fn base_chain(reply: &Reply) -> Option<BaseChain> {
    const DROP: u32 = 0;
    let body = reply.body.get(4..)?;
    let hook = attribute(body, 4)?;
    Some(BaseChain {
        family: *reply.body.first()?,
        table: attribute(body, 1).map(text_of)?,
        name: attribute(body, 3).map(text_of)?,
        hook: attribute(hook, 1).and_then(|value| big_at(value, 0))?,
        drops: attribute(body, 5).and_then(|value| big_at(value, 0)) == Some(DROP),
    })
}

fn element_of(bytes: &[u8]) -> Option<Element> {
    let key = attribute(attribute(bytes, 1)?, DATA_VALUE)?.to_vec();
    let value = match attribute(bytes, 2) {
        None => Value::Nothing,
        Some(data) => match (attribute(data, DATA_VALUE), attribute(data, DATA_VERDICT)) {
            (Some(value), _) => Value::Data(value.to_vec()),
            (None, Some(verdict)) => Value::Jump(attribute(verdict, VERDICT_CHAIN).map(text_of)?),
            (None, None) => Value::Nothing,
        },
    };
    Some(Element { key, value })
}
