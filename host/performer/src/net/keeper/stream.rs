//! One connection that is passed on, both ways, each to its own end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use longshore_sys::event::Ready;
use longshore_sys::net::port;

/// What is read at once and held until the other side takes it.
const BUFFER: usize = 32 * 1024;
/// Readings of one turn, so that a busy connection does not keep the others waiting.
const MOST_IN_TURN: usize = 4;

/// One way.
#[derive(Default)]
struct Way {
    held: Vec<u8>,
    ended: bool,
    shut: bool,
}

/// A connection of a client and the one to the container that belongs to it.
pub(super) struct Stream {
    client: TcpStream,
    server: TcpStream,
    connecting: bool,
    there: Way,
    back: Way,
    failed: bool,
}

impl Stream {
    /// Takes a client's connection. Without a server the client's is closed.
    pub(super) fn open(client: TcpStream, target: SocketAddr) -> Option<Self> {
        client.set_nonblocking(true).ok()?;
        let server = TcpStream::from(port::begin_connection(port::Protocol::Tcp, target).ok()?);
        // What passes was put into packets once already.
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        Some(Self {
            client,
            server,
            connecting: true,
            there: Way::default(),
            back: Way::default(),
            failed: false,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.failed || (self.there.shut && self.back.shut)
    }

    /// What is waited for: the end alone of neither side, which would be told again and again.
    pub(super) fn waited(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Ready)> {
        let client = Ready {
            read: !self.connecting && self.there.wants(),
            write: !self.back.held.is_empty(),
            closed: false,
        };
        let server = Ready {
            read: !self.connecting && self.back.wants(),
            write: self.connecting || !self.there.held.is_empty(),
            closed: false,
        };
        [(self.client.as_fd(), client), (self.server.as_fd(), server)]
            .into_iter()
            .filter(|(_, ready)| ready.any())
    }

    /// Does what can be done without waiting.
    pub(super) fn turn(&mut self) {
        if self.connecting {
            match self.server.take_error() {
                Ok(None) if self.server.peer_addr().is_ok() => self.connecting = false,
                // Woken for nothing: it is still being made.
                Ok(None) => return,
                _ => {
                    self.failed = true;
                    return;
                }
            }
        }
        let there = self.there.pass(&mut self.client, &mut self.server);
        let back = self.back.pass(&mut self.server, &mut self.client);
        self.failed |= there.and(back).is_err();
    }
}

impl Way {
    fn wants(&self) -> bool {
        !self.ended && self.held.is_empty()
    }

    fn pass(&mut self, from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
        let mut buffer = [0; BUFFER];
        for _ in 0..MOST_IN_TURN {
            if self.wants() {
                match from.read(&mut buffer) {
                    Ok(0) => self.ended = true,
                    Ok(bytes) => self.held.extend_from_slice(buffer.get(..bytes).unwrap_or_default()),
                    Err(error) if is_nothing(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            if !self.held.is_empty() {
                match to.write(&self.held) {
                    Ok(bytes) => drop(self.held.drain(..bytes)),
                    Err(error) if is_nothing(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            if self.ended && self.held.is_empty() {
                break;
            }
        }
        if self.ended && self.held.is_empty() && !self.shut {
            self.shut = true;
            // The other side may have gone altogether.
            let _ = to.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
