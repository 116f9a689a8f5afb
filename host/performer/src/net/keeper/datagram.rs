//! Datagrams of one port: each sender has a socket of its own to the container, so that answers find
//! their way back.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Proxy;

/// The longest datagram.
const LONGEST: usize = 1 << 16;
/// Datagrams of one turn, so that a busy port does not keep the others waiting.
const MOST_IN_TURN: usize = 64;

struct Sender {
    socket: UdpSocket,
    last: Instant,
}

/// A port and who sent to it lately.
pub(super) struct Datagrams {
    proxy: Proxy,
    socket: UdpSocket,
    senders: HashMap<SocketAddr, Sender>,
}

impl Datagrams {
    pub(super) fn new(proxy: Proxy, socket: UdpSocket) -> Self {
        Self {
            proxy,
            socket,
            senders: HashMap::new(),
        }
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    pub(super) fn senders(&self) -> usize {
        self.senders.len()
    }

    pub(super) fn waited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.socket.as_fd()).chain(self.senders.values().map(|sender| sender.socket.as_fd()))
    }

    /// Passes on what is there. When there are too many senders a new one takes the place of the one
    /// that was silent longest.
    pub(super) fn turn(&mut self, full: bool) {
        let mut buffer = vec![0; LONGEST];
        for _ in 0..MOST_IN_TURN {
            // Nothing there, or the word that an earlier answer was not wanted.
            let Ok((bytes, from)) = self.socket.recv_from(&mut buffer) else {
                break;
            };
            if !self.senders.contains_key(&from) {
                if full {
                    self.forget_one();
                }
                let Some(sender) = self.sender() else { continue };
                self.senders.insert(from, sender);
            }
            if let Some(sender) = self.senders.get_mut(&from) {
                sender.last = Instant::now();
                // As on every way of a datagram it may be lost.
                let _ = sender.socket.send(buffer.get(..bytes).unwrap_or_default());
            }
        }
        for (to, sender) in &mut self.senders {
            for _ in 0..MOST_IN_TURN {
                let Ok(bytes) = sender.socket.recv(&mut buffer) else {
                    break;
                };
                sender.last = Instant::now();
                let _ = self.socket.send_to(buffer.get(..bytes).unwrap_or_default(), to);
            }
        }
    }

    fn sender(&self) -> Option<Sender> {
        let any: SocketAddr = if self.proxy.target.is_ipv6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(self.proxy.target).ok()?;
        Some(Sender {
            socket,
            last: Instant::now(),
        })
    }

    fn forget_one(&mut self) {
        let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.last);
        if let Some(address) = oldest.map(|(address, _)| *address) {
            self.senders.remove(&address);
        }
    }

    /// Forgets who was silent for as long.
    pub(super) fn forget(&mut self, now: Instant, silence: Duration) {
        self.senders
            .retain(|_, sender| now.saturating_duration_since(sender.last) < silence);
    }
}
