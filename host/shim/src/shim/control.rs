//! The connections of engines: requests in, replies and events out.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::Result;
use longshore_shim::protocol::{Event, Frame, Reply, Request};
use longshore_shim::transport::{self, Received};
use longshore_sys::socket;

/// Most frames that wait for one engine: one that reads nothing is not kept.
const MOST_WAITING: usize = 4096;

/// Who asked, so that the answer finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The connection.
    pub(crate) connection: u64,
    /// The request's number.
    pub(crate) seq: u64,
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) asker: Asker,
    pub(crate) request: Request,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    number: u64,
    socket: OwnedFd,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    open: bool,
}

impl Connection {
    fn push(&mut self, body: Vec<u8>, descriptors: Vec<OwnedFd>) {
        self.waiting.push_back((body, descriptors));
        self.flush();
        self.open &= self.waiting.len() <= MOST_WAITING;
    }

    fn flush(&mut self) {
        while let Some((body, descriptors)) = self.waiting.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match transport::send(&self.socket, body, &borrowed) {
                Ok(true) => drop(self.waiting.pop_front()),
                Ok(false) => return,
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: Vec<Connection>,
    next: u64,
    buffer: Vec<u8>,
}

impl Connections {
    /// Adds one.
    pub(crate) fn add(&mut self, socket: OwnedFd) -> longshore_sys::Result<()> {
        socket::set_nonblocking(&socket, true)?;
        self.next += 1;
        self.all.push(Connection {
            number: self.next,
            socket,
            waiting: VecDeque::new(),
            open: true,
        });
        Ok(())
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether everything was sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.all.iter().all(|connection| connection.waiting.is_empty())
    }

    /// Each connection's number and descriptor, and whether something waits to be sent.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        self.all.iter().map(|connection| {
            (
                connection.number,
                connection.socket.as_fd(),
                !connection.waiting.is_empty(),
            )
        })
    }

    /// Sends what waits on one.
    pub(crate) fn flush(&mut self, number: u64) {
        if let Some(connection) = self.find(number) {
            connection.flush();
        }
        self.sweep();
    }

    /// Takes the next request of one. A connection that ended, or brought what is no request, is
    /// dropped.
    pub(crate) fn receive(&mut self, number: u64) -> Option<Asked> {
        let connection = self.all.iter_mut().find(|connection| connection.number == number)?;
        match transport::receive(&connection.socket, &mut self.buffer) {
            Ok(Received::Frame(Frame::Request { seq, request }, descriptors)) => {
                return Some(Asked {
                    asker: Asker {
                        connection: number,
                        seq,
                    },
                    request,
                    descriptors,
                });
            }
            Ok(Received::Nothing) => {}
            Ok(_) | Err(_) => connection.open = false,
        }
        self.sweep();
        None
    }

    /// Answers a request. Who went away in between gets none.
    pub(crate) fn reply(&mut self, asker: Asker, result: Result<Reply>, descriptors: Vec<OwnedFd>) {
        let frame = Frame::Reply {
            seq: asker.seq,
            reply: result.into(),
        };
        let body = transport::encode_frame(&frame).or_else(|error| {
            transport::encode_frame(&Frame::Reply {
                seq: asker.seq,
                reply: Err(error).into(),
            })
        });
        if let (Some(connection), Ok(body)) = (self.find(asker.connection), body) {
            connection.push(body, descriptors);
        }
        self.sweep();
    }

    /// Tells everyone.
    pub(crate) fn tell(&mut self, event: Event) {
        if let Ok(body) = transport::encode_frame(&Frame::Event(event)) {
            for connection in &mut self.all {
                connection.push(body.clone(), Vec::new());
            }
        }
        self.sweep();
    }

    fn find(&mut self, number: u64) -> Option<&mut Connection> {
        self.all.iter_mut().find(|connection| connection.number == number)
    }

    fn sweep(&mut self) {
        self.all.retain(|connection| connection.open);
    }
}
