//! Netlink: messages as bytes, and sockets on which they are sent and acknowledged.
//!
//! Here lives what `rtnetlink` and `nf_tables` share: the header, attributes, acknowledgements,
//! dumps. What the messages mean is in [`route`](super::route) and [`nftables`](super::nftables).
//!
//! The kernel works through a request while it is being sent, and makes the next part of a dump while
//! the one before is received. So an answer is always there already, and no call here ever waits.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Error, Named, Result, uninterrupted};

const HEADER: usize = 16;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const FLAG_ACK_TLVS: u16 = 0x200;
/// Attribute numbers carry two flags at their top.
const NUMBER: u16 = 0x3fff;
const NESTED: u16 = 0x8000;
/// The kernel's largest part of a dump, with room.
const BUFFER: usize = 1 << 16;

/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 4;
/// `NLM_F_REPLACE`.
pub(super) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(super) const APPEND: u16 = 0x800;
/// `NLM_F_DUMP`.
pub(super) const DUMP: u16 = 0x300;

/// One message: a header whose length is not filled in, and what follows.
#[derive(Debug, Clone)]
pub struct Message {
    kind: u16,
    flags: u16,
    body: Attributes,
}

impl Message {
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut body = Attributes::default();
        body.raw(fixed);
        Self {
            kind,
            flags: flags | REQUEST,
            body,
        }
    }

    pub(super) fn body(&mut self) -> &mut Attributes {
        &mut self.body
    }

    pub(super) fn acknowledged(mut self) -> Self {
        self.flags |= ACK;
        self
    }

    fn write(&self, sequence: u32, into: &mut Vec<u8>) {
        let length = u32::try_from(HEADER + self.body.0.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&length.to_ne_bytes());
        into.extend_from_slice(&self.kind.to_ne_bytes());
        into.extend_from_slice(&self.flags.to_ne_bytes());
        into.extend_from_slice(&sequence.to_ne_bytes());
        into.extend_from_slice(&0_u32.to_ne_bytes());
        into.extend_from_slice(&self.body.0);
        pad(into);
    }
}

/// Attributes, one after the other, each padded to four bytes.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        pad(&mut self.0);
        self
    }

    /// An attribute with these bytes.
    pub fn put(&mut self, number: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&number.to_ne_bytes());
        self.raw(value)
    }

    /// An attribute with a text and its NUL.
    pub fn text(&mut self, number: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(number, &bytes)
    }

    /// An attribute with a number in the machine's order.
    pub fn number(&mut self, number: u16, value: u32) -> &mut Self {
        self.put(number, &value.to_ne_bytes())
    }

    /// An attribute with a number in the network's order.
    pub fn big(&mut self, number: u16, value: u32) -> &mut Self {
        self.put(number, &value.to_be_bytes())
    }

    /// An attribute that holds others.
    pub fn nest(&mut self, number: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        fill(&mut inner);
        self.put(number | NESTED, &inner.0)
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in what the kernel sent. A length that does not fit ends them.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let number = u16_at(bytes, 2)? & NUMBER;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

/// The attribute of this number.
pub(super) fn attribute(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == number).then_some(value))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn big_at(bytes: &[u8], at: usize) -> Option<u32> {
    u32_at(bytes, at).map(u32::from_be)
}

/// A text without its NUL.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Which of several messages failed, and how.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}{detail}", if .detail.is_empty() { "" } else { ": " })]
pub struct Refused {
    /// Index of the first message that failed.
    pub index: usize,
    /// What the kernel said.
    pub error: Error,
    /// What the kernel said in words, where it did.
    pub detail: String,
}

impl Refused {
    /// Whether the kernel answered this number.
    pub fn is(&self, errno: Errno) -> bool {
        self.error.is(errno)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            index: 0,
            error,
            detail: String::new(),
        }
    }
}

/// One message from the kernel.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

/// A netlink socket. It stays in the network namespace in which it was made.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

struct Answer {
    index: usize,
    errno: i32,
    detail: String,
}

impl Socket {
    /// Opens one; without a protocol it is for links, addresses and routes.
    #[allow(unsafe_code, reason = "setsockopt")]
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).named("socket")?;
        net::bind(&fd, &SocketAddrNetlink::new(0, 0)).named("bind")?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            let on: libc::c_int = 1;
            let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
            // Only words are missing from the errors of a kernel that does not know it.
            // SAFETY: the value is an int that lives across the call, and the length is its own.
            let _ = unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    (&raw const on).cast(),
                    length,
                )
            };
        }
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    pub(super) fn netfilter() -> Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn send(&mut self, messages: &[Message]) -> Result<u32> {
        // What an earlier request left unread would be taken for this one's answer.
        while self.receive()?.is_some() {}
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.write(self.sequence, &mut bytes);
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        uninterrupted(|| net::sendto(&self.fd, &bytes, SendFlags::empty(), &kernel)).named("sendto")?;
        Ok(first)
    }

    /// One datagram, or nothing when there is none.
    fn receive(&mut self) -> Result<Option<usize>> {
        let received = uninterrupted(|| {
            net::recvfrom(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC).map(|found| found.1)
        });
        match received {
            Ok(bytes) if bytes > self.buffer.len() => Err(Error::new("recvfrom", Errno::MSGSIZE)),
            Ok(bytes) => Ok(Some(bytes)),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(Error::new("recvfrom", errno)),
        }
    }

    /// Sends messages of which each asks for an acknowledgement, all in one call.
    ///
    /// The kernel goes on after one that failed; the error is that of the first.
    pub(super) fn perform(
        &mut self,
        operation: &'static str,
        messages: &[Message],
    ) -> std::result::Result<(), Refused> {
        if messages.is_empty() {
            return Ok(());
        }
        let answers = self.answers(messages, messages.len())?;
        refused(operation, answers, messages.len())
    }

    /// Sends one transaction, of which only the message before the last asks for an acknowledgement.
    pub(super) fn transact(
        &mut self,
        operation: &'static str,
        messages: &[Message],
    ) -> std::result::Result<(), Refused> {
        let answers = self.answers(messages, messages.len().saturating_sub(1))?;
        refused(operation, answers, 1)
    }

    /// The acknowledgements, up to that of the message before index `end`.
    fn answers(&mut self, messages: &[Message], end: usize) -> Result<Vec<Answer>> {
        let first = self.send(messages)?;
        let mut answers = Vec::new();
        while let Some(bytes) = self.receive()? {
            let datagram = self.buffer.get(..bytes).unwrap_or_default();
            answers.extend(replies(datagram).filter_map(|(kind, flags, sequence, body)| {
                let index = usize::try_from(sequence.wrapping_sub(first)).ok()?;
                (kind == KIND_ERROR && index < messages.len()).then(|| Answer {
                    index,
                    errno: u32_at(body, 0).unwrap_or(0).wrapping_neg().cast_signed(),
                    detail: words(flags, body),
                })
            }));
            if answers.iter().any(|answer| answer.index + 1 == end) {
                break;
            }
        }
        Ok(answers)
    }

    /// Everything that a request lists. A listing that changed meanwhile is asked for again.
    pub(super) fn dump(&mut self, operation: &'static str, request: &Message) -> Result<Vec<Reply>> {
        for _ in 0..8 {
            if let Some(found) = self.dump_once(operation, request)? {
                return Ok(found);
            }
        }
        Err(Error::new(operation, Errno::INTR))
    }

    fn dump_once(&mut self, operation: &'static str, request: &Message) -> Result<Option<Vec<Reply>>> {
        const INTERRUPTED: u16 = 0x10;
        let sequence = self.send(std::slice::from_ref(request))?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        while let Some(bytes) = self.receive()? {
            for (kind, flags, of, body) in replies(self.buffer.get(..bytes).unwrap_or_default()) {
                if of != sequence {
                    continue;
                }
                interrupted |= flags & INTERRUPTED != 0;
                match kind {
                    KIND_DONE => return Ok((!interrupted).then_some(found)),
                    KIND_ERROR => {
                        return Err(failed(
                            operation,
                            u32_at(body, 0).unwrap_or(0).wrapping_neg().cast_signed(),
                        ));
                    }
                    _ => found.push(Reply {
                        kind,
                        body: body.to_vec(),
                    }),
                }
            }
        }
        // A single answer has no end mark.
        Ok((!interrupted).then_some(found))
    }
}

fn refused(operation: &'static str, answers: Vec<Answer>, wanted: usize) -> std::result::Result<(), Refused> {
    let complete = answers.len() >= wanted;
    let first = answers
        .into_iter()
        .filter(|answer| answer.errno != 0)
        .min_by_key(|answer| answer.index);
    match first {
        Some(answer) => Err(Refused {
            index: answer.index,
            error: failed(operation, answer.errno),
            detail: answer.detail,
        }),
        None if complete => Ok(()),
        None => Err(Error::new(operation, Errno::NOMSG).into()),
    }
}

fn failed(operation: &'static str, errno: i32) -> Error {
    Error {
        operation,
        source: std::io::Error::from_raw_os_error(errno),
    }
}

/// The kernel's words on an error, which follow the header of the message that was refused.
fn words(flags: u16, body: &[u8]) -> String {
    const TEXT: u16 = 1;
    if flags & FLAG_ACK_TLVS == 0 {
        return String::new();
    }
    let after = body.get(4 + HEADER..).unwrap_or_default();
    attribute(after, TEXT).map(text_of).unwrap_or_default()
}

/// Kind, flags, sequence number and body of each message of a datagram.
fn replies(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let head = (u16_at(bytes, 4)?, u16_at(bytes, 6)?, u32_at(bytes, 8)?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((head.0, head.1, head.2, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut written = Attributes::default();
        written.text(3, "br0").nest(18, |inner| {
            inner.put(1, &[7]).big(2, 80);
        });
        assert_eq!(written.0.len() % 4, 0);
        assert_eq!(attribute(&written.0, 3).map(text_of).as_deref(), Some("br0"));
        let inner = attribute(&written.0, 18).unwrap_or_default();
        assert_eq!(attribute(inner, 1), Some([7].as_slice()));
        assert_eq!(attribute(inner, 2).and_then(|v| big_at(v, 0)), Some(80));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [
            &[9, 0, 1, 0, 1][..],
            &[3, 0, 1, 0],
            &[0, 0, 1, 0],
            &[255, 255, 0, 0],
            &[1],
        ] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(replies(&[255; 40]).count(), 0);
        assert_eq!(replies(&[0; 40]).count(), 0);
    }
}
