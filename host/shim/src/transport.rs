//! How a frame crosses the socket: one message of a `SOCK_SEQPACKET` socket, MessagePack with field
//! names, descriptors beside it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::wire::{decode, encode};
use longshore_core::{Error, Result};
use longshore_sys::socket;

use crate::protocol::{Frame, MAX_BODY, MAX_DESCRIPTORS};

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A frame and its descriptors.
    Frame(Frame, Vec<OwnedFd>),
    /// Nothing yet, on a socket that does not wait.
    Nothing,
    /// The peer is gone.
    End,
}

/// Encodes a frame.
///
/// # Errors
/// `Exhausted` over the limit.
pub fn encode_frame(frame: &Frame) -> Result<Vec<u8>> {
    let body = encode(frame)?;
    if body.len() > MAX_BODY {
        return Err(Error::exhausted(format!(
            "the message to or from the shim has {} bytes, the limit is {MAX_BODY}",
            body.len()
        )));
    }
    Ok(body)
}

/// Sends an encoded frame. Returns false when a socket that does not wait has no room.
///
/// # Errors
/// What the socket met; `Unavailable` when the peer is gone.
pub fn send(socket: impl AsFd, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(Error::exhausted(format!(
            "{} descriptors beside a message to or from the shim, the limit is {MAX_DESCRIPTORS}",
            descriptors.len()
        )));
    }
    match socket::send(socket, body, descriptors).map_err(io::Error::from) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if is_end(&error) => Err(Error::unavailable("the other end of the shim's connection is gone")),
        Err(error) => Err(Error::io("send to the other end of the shim's connection", &error)),
    }
}

/// Receives a frame.
///
/// # Errors
/// `Broken` for a message outside the protocol; what the socket met.
pub fn receive(socket: impl AsFd, buffer: &mut Vec<u8>) -> Result<Received> {
    buffer.resize(MAX_BODY, 0);
    let received = match socket::receive(socket, buffer).map_err(io::Error::from) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
        Err(error) if is_end(&error) => return Ok(Received::End),
        Err(error) => return Err(Error::io("receive on the shim's connection", &error)),
    };
    if received.bytes == 0 && received.descriptors.is_empty() {
        return Ok(Received::End);
    }
    let body = buffer.get(..received.bytes).unwrap_or_default();
    Ok(Received::Frame(decode(body)?, received.descriptors))
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::protocol::{Event, Request};

    #[test]
    fn frames_and_descriptors_arrive_and_the_end_is_seen() {
        let (a, b) = socket::pair(socket::Bounds::Messages).unwrap();
        let body = encode_frame(&Frame::Request {
            seq: 3,
            request: Request::State,
        })
        .unwrap();
        assert!(send(&a, &body, &[a.as_fd()]).unwrap());
        let mut buffer = Vec::new();
        match receive(&b, &mut buffer).unwrap() {
            Received::Frame(
                Frame::Request {
                    seq: 3,
                    request: Request::State,
                },
                descriptors,
            ) => assert_eq!(descriptors.len(), 1),
            other => panic!("{other:?}"),
        }
        drop(a);
        assert!(matches!(receive(&b, &mut buffer).unwrap(), Received::End));
        assert!(send(&b, &body, &[]).is_err());
    }

    #[test]
    fn a_socket_that_does_not_wait_has_nothing_and_fills_up() {
        let (a, b) = socket::pair(socket::Bounds::Messages).unwrap();
        socket::set_nonblocking(&a, true).unwrap();
        socket::set_nonblocking(&b, true).unwrap();
        assert!(matches!(receive(&b, &mut Vec::new()).unwrap(), Received::Nothing));
        let body = encode_frame(&Frame::Event(Event::Oom)).unwrap();
        let mut sent = 0;
        while send(&a, &body, &[]).unwrap() {
            sent += 1;
            assert!(sent < 100_000);
        }
    }

    #[test]
    fn a_message_that_is_no_frame_is_broken() {
        let (a, b) = socket::pair(socket::Bounds::Messages).unwrap();
        send(&a, b"hello", &[]).unwrap();
        let error = receive(&b, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::Broken);
    }
}
