//! What goes over the socket between an engine and the process of a driver.
//!
//! A frame is a length, a kind, counts, the instance, the call, the method's name, the kinds of its
//! descriptors, and the body, which is the same as over every transport. Descriptors come with its
//! first byte. Either end is read as if it were hostile: a frame outside of this ends the connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::wire::{HandleKind, MAX_BODY, MAX_HANDLES, Message};
use longshore_sys::socket;

use crate::library::is_kind;

/// The length, which counts what follows it, and the fields of fixed size.
const HEADER: usize = 24;
/// The part of the header that is counted in the length.
const COUNTED: usize = HEADER - 4;
/// Longest name of a method or service.
const MAX_METHOD: usize = 256;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A call of the engine.
    Call = 1,
    /// Its reply.
    Reply = 2,
    /// Or the error that it ended with.
    Error = 3,
    /// The call of that number may end soon.
    Cancel = 4,
    /// A call of a service, during a call; the instance's place holds the question's number.
    Service = 5,
    /// Its answer; with a method's name it is an error.
    Answer = 6,
    /// An instance is not needed any more.
    Close = 7,
    /// The process says that it has loaded the library, or why it has not.
    Hello = 8,
    /// The engine needs the process no more.
    Leave = 9,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Call,
            2 => Self::Reply,
            3 => Self::Error,
            4 => Self::Cancel,
            5 => Self::Service,
            6 => Self::Answer,
            7 => Self::Close,
            8 => Self::Hello,
            9 => Self::Leave,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) instance: u64,
    pub(crate) call: u64,
    pub(crate) method: String,
    pub(crate) message: Message,
}

impl Frame {
    pub(crate) fn new(kind: Kind, instance: u64, call: u64, method: &str, message: Message) -> Self {
        Self {
            kind,
            instance,
            call,
            method: method.to_owned(),
            message,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (body, handles) = (&self.message.body, &self.message.handles);
        let length = COUNTED + self.method.len() + handles.len() + body.len();
        let small = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
        let mut bytes = Vec::with_capacity(4 + length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend([self.kind as u8, small(handles.len())]);
        bytes.extend(u16::try_from(self.method.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(self.instance.to_le_bytes());
        bytes.extend(self.call.to_le_bytes());
        bytes.extend(self.method.as_bytes());
        bytes.extend(handles.iter().map(|(kind, _)| *kind as u8));
        bytes.extend(body);
        bytes
    }
}

/// Why a connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The other end is gone.
    Gone,
    /// What came is no frame; the word says what is wrong with it.
    Garbage(&'static str),
}

/// Sends a frame whole. One thread at a time.
pub(crate) fn send(to: BorrowedFd<'_>, frame: &Frame) -> Result<(), Lost> {
    if frame.method.len() > MAX_METHOD || frame.message.body.len() > MAX_BODY {
        return Err(Lost::Garbage("the message is longer than a frame may be"));
    }
    let bytes = frame.encode();
    let descriptors: Vec<_> = frame.message.handles.iter().map(|(_, fd)| fd.as_fd()).collect();
    let mut sent = socket::send(to, &bytes, &descriptors).map_err(|_| Lost::Gone)?;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += socket::send(to, rest, &[]).map_err(|_| Lost::Gone)?;
    }
    Ok(())
}

/// Sends a frame without a body if there is room for it now. Whether it went.
pub(crate) fn send_now(to: BorrowedFd<'_>, kind: Kind, instance: u64, call: u64) -> bool {
    let bytes = Frame::new(kind, instance, call, "", Message::default()).encode();
    // So few bytes go whole or not at all.
    socket::send_now(to, &bytes).is_ok_and(|sent| sent == bytes.len())
}

/// Waits for a frame. One thread at a time.
pub(crate) fn receive(from: BorrowedFd<'_>) -> Result<Frame, Lost> {
    let mut header = [0; HEADER];
    let mut descriptors = Vec::new();
    fill(from, &mut header, &mut descriptors)?;
    let [l0, l1, l2, l3, kind, handles, m0, m1, ..] = header;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (handles, method) = (usize::from(handles), usize::from(u16::from_le_bytes([m0, m1])));
    let kind = Kind::from_number(kind).ok_or(Lost::Garbage("a frame of no known kind"))?;
    let body = length
        .checked_sub(COUNTED + method + handles)
        .ok_or(Lost::Garbage("a frame whose parts are longer than the whole"))?;
    if body > MAX_BODY || handles > MAX_HANDLES || method > MAX_METHOD {
        return Err(Lost::Garbage("a frame that is longer than one may be"));
    }
    let mut rest = vec![0; length - COUNTED];
    let before = descriptors.len();
    fill(from, &mut rest, &mut descriptors)?;
    if descriptors.len() != before || before != handles {
        return Err(Lost::Garbage("a frame whose descriptors are not where they belong"));
    }
    let body = rest.split_off(method + handles);
    let kinds = rest.split_off(method);
    let method = String::from_utf8(rest).map_err(|_| Lost::Garbage("a method's name that is no UTF-8"))?;
    let handles = kinds
        .into_iter()
        .zip(descriptors)
        .map(|(kind, fd)| match HandleKind::from_number(kind) {
            Ok(kind) if is_kind(fd.as_fd(), kind) => Ok((kind, fd)),
            _ => Err(Lost::Garbage("a descriptor that is not what it is said to be")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Frame {
        kind,
        instance: number(8),
        call: number(16),
        method,
        message: Message { body, handles },
    })
}

fn fill(from: BorrowedFd<'_>, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<(), Lost> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let received = socket::receive(from, rest).map_err(|_| Lost::Gone)?;
        if received.bytes == 0 {
            return Err(Lost::Gone);
        }
        // Only the first byte of a frame brings descriptors.
        if filled > 0 && !received.descriptors.is_empty() {
            return Err(Lost::Garbage("descriptors in the middle of a frame"));
        }
        descriptors.extend(received.descriptors);
        filled += received.bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use longshore_sys::socket::{Bounds, pair};

    use super::*;

    fn whole() -> Frame {
        let mut message = Message::from_body(vec![7; 300_000]);
        let pipe = std::io::pipe().unwrap();
        message.handles = vec![(HandleKind::Pipe, pipe.0.into()), (HandleKind::Pipe, pipe.1.into())];
        Frame::new(Kind::Call, 3, u64::MAX, "create", message)
    }

    #[test]
    fn frames_come_as_they_went_with_their_own_descriptors() {
        let (a, b) = pair(Bounds::Stream).unwrap();
        let sender = std::thread::spawn(move || {
            for _ in 0..3 {
                send(a.as_fd(), &Frame::new(Kind::Reply, 1, 2, "", Message::default())).unwrap();
                send(a.as_fd(), &whole()).unwrap();
            }
        });
        for _ in 0..3 {
            let small = receive(b.as_fd()).unwrap();
            assert_eq!((small.kind, small.message.handles.len()), (Kind::Reply, 0));
            let large = receive(b.as_fd()).unwrap();
            assert_eq!((large.kind, large.instance, large.call), (Kind::Call, 3, u64::MAX));
            assert_eq!((large.method.as_str(), large.message.body.len()), ("create", 300_000));
            assert_eq!(large.message.handles.len(), 2);
        }
        sender.join().unwrap();
        assert_eq!(receive(b.as_fd()).unwrap_err(), Lost::Gone);
    }

    #[test]
    fn a_frame_cut_or_flipped_anywhere_never_panics_and_never_hangs() {
        let bytes = Frame::new(Kind::Service, 1, 2, "log", Message::from_body(vec![1, 2, 3])).encode();
        for bit in 0..bytes.len() * 8 {
            let (a, b) = pair(Bounds::Stream).unwrap();
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            socket::send(&a, &flipped, &[]).unwrap();
            drop(a);
            let _ = receive(b.as_fd());
        }
        for end in 0..bytes.len() {
            let (a, b) = pair(Bounds::Stream).unwrap();
            if end > 0 {
                socket::send(&a, &bytes[..end], &[]).unwrap();
            }
            drop(a);
            assert_eq!(receive(b.as_fd()).unwrap_err(), Lost::Gone, "cut at {end}");
        }
    }

    #[test]
    fn a_descriptor_of_another_kind_is_refused() {
        let (a, b) = pair(Bounds::Stream).unwrap();
        let mut frame = whole();
        frame.message.handles[0].0 = HandleKind::Directory;
        frame.message.body.clear();
        send(a.as_fd(), &frame).unwrap();
        assert!(matches!(receive(b.as_fd()), Err(Lost::Garbage(_))));
    }
}
