//! The keeper: one small process beside a container that serves its ports of the loopback link.
//!
//! The kernel does not translate what a machine sends to its own loopback addresses, so such a port
//! needs a process. It is a child of the container's shim, and its ears are the very sockets that hold
//! the ports, which stay with the shim: when it dies it is started again and nothing is lost but open
//! connections. It needs no engine, and ends when its control socket does, which is the shim's end.
//!
//! Orders come over a local socket that keeps message bounds, with the sockets beside them.

mod datagram;
mod stream;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use longshore_core::error::{Error, Result};
use longshore_core::steps::Protocol;
use longshore_core::wire;
use longshore_sys::event::{self, Ready};
use longshore_sys::socket;
use serde::{Deserialize, Serialize};

use crate::error::During;
use datagram::Datagrams;
use stream::Stream;

/// Most connections at once: two descriptors each, below the usual limit of 1,024 in all.
const MOST_STREAMS: usize = 360;
/// Most senders of datagrams that are remembered at once.
const MOST_SENDERS: usize = 200;
/// Ports in one order.
const MOST_IN_ORDER: usize = 64;
/// A sender of datagrams that was silent as long as this is forgotten.
const SILENCE: Duration = Duration::from_secs(90);

/// A port that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The loopback address and the port.
    pub listen: SocketAddr,
    /// The address inside.
    pub target: SocketAddr,
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Serve these; as many sockets come along.
    Serve(Vec<Proxy>),
    /// Serve these no longer; their connections go on.
    Stop(Vec<Proxy>),
}

fn order(control: impl AsFd, order: &Order, sockets: &[BorrowedFd<'_>]) -> Result<()> {
    socket::send(control, &wire::encode(order)?, sockets)
        .during("give the keeper an order")
        .map(drop)
}

/// Tells a keeper to serve ports, each with the socket that holds it.
///
/// # Errors
/// `Unavailable` when the keeper is gone.
pub fn serve(control: impl AsFd, ports: &[(Proxy, BorrowedFd<'_>)]) -> Result<()> {
    for some in ports.chunks(MOST_IN_ORDER) {
        let (proxies, sockets): (Vec<Proxy>, Vec<BorrowedFd<'_>>) = some.iter().cloned().unzip();
        order(&control, &Order::Serve(proxies), &sockets)?;
    }
    Ok(())
}

/// Tells a keeper to serve ports no longer.
///
/// # Errors
/// `Unavailable` when the keeper is gone.
pub fn stop(control: impl AsFd, ports: &[Proxy]) -> Result<()> {
    for some in ports.chunks(MOST_IN_ORDER) {
        order(&control, &Order::Stop(some.to_vec()), &[])?;
    }
    Ok(())
}

/// Serves ports as it is told until the control socket ends.
///
/// # Errors
/// When it cannot wait, or is given an order that it does not understand.
pub fn run(control: OwnedFd) -> Result<()> {
    let mut keeper = Keeper {
        control,
        listeners: Vec::new(),
        streams: Vec::new(),
        datagrams: Vec::new(),
    };
    while keeper.turn()? {}
    Ok(())
}

struct Listener {
    proxy: Proxy,
    socket: TcpListener,
}

struct Keeper {
    control: OwnedFd,
    listeners: Vec<Listener>,
    streams: Vec<Stream>,
    datagrams: Vec<Datagrams>,
}

/// Whose turn it is when a descriptor is ready.
enum Waiting {
    Control,
    Listener(usize),
    Stream(usize),
    Datagrams(usize),
}

impl Keeper {
    /// Waits once and does what can be done; whether it goes on.
    fn turn(&mut self) -> Result<bool> {
        let (whose, waited) = self.waited();
        let senders: usize = self.datagrams.iter().map(Datagrams::senders).sum();
        let timeout = (senders > 0).then_some(SILENCE / 3);
        let ready = event::poll(&waited, timeout).during("wait for a port of the loopback link")?;
        let mut ready: Vec<(Waiting, Ready)> = whose.into_iter().zip(ready).filter(|(_, ready)| ready.any()).collect();
        // Listeners and streams keep their places during the turn; only its end removes some.
        let mut told = false;
        for (whose, _) in ready.drain(..) {
            match whose {
                Waiting::Control => told = true,
                Waiting::Listener(at) => self.accept(at),
                Waiting::Stream(at) => {
                    if let Some(stream) = self.streams.get_mut(at) {
                        stream.turn();
                    }
                }
                Waiting::Datagrams(at) => {
                    let full = senders >= MOST_SENDERS;
                    if let Some(datagrams) = self.datagrams.get_mut(at) {
                        datagrams.turn(full);
                    }
                }
            }
        }
        self.streams.retain(|stream| !stream.is_over());
        let now = Instant::now();
        for datagrams in &mut self.datagrams {
            datagrams.forget(now, SILENCE);
        }
        if told { self.obey() } else { Ok(true) }
    }

    fn waited(&self) -> (Vec<Waiting>, Vec<(BorrowedFd<'_>, Ready)>) {
        let mut whose = vec![Waiting::Control];
        let mut waited = vec![(self.control.as_fd(), Ready::READ)];
        if self.streams.len() < MOST_STREAMS {
            for (at, listener) in self.listeners.iter().enumerate() {
                whose.push(Waiting::Listener(at));
                waited.push((listener.socket.as_fd(), Ready::READ));
            }
        }
        for (at, stream) in self.streams.iter().enumerate() {
            for one in stream.waited() {
                whose.push(Waiting::Stream(at));
                waited.push(one);
            }
        }
        for (at, datagrams) in self.datagrams.iter().enumerate() {
            for fd in datagrams.waited() {
                whose.push(Waiting::Datagrams(at));
                waited.push((fd, Ready::READ));
            }
        }
        (whose, waited)
    }

    fn accept(&mut self, at: usize) {
        let Some(listener) = self.listeners.get(at) else { return };
        // A connection that was given up before it was taken is nobody's loss.
        if let Ok((client, _)) = listener.socket.accept() {
            self.streams.extend(Stream::open(client, listener.proxy.target));
        }
    }

    fn obey(&mut self) -> Result<bool> {
        let mut buffer = vec![0; 1 << 16];
        let received = socket::receive(&self.control, &mut buffer).during("take an order")?;
        if received.bytes == 0 {
            return Ok(false);
        }
        match wire::decode(buffer.get(..received.bytes).unwrap_or_default())? {
            Order::Serve(proxies) if proxies.len() != received.descriptors.len() => {
                return Err(Error::broken("an order to serve came with another number of sockets"));
            }
            Order::Serve(proxies) => {
                for (proxy, socket) in proxies.into_iter().zip(received.descriptors) {
                    self.serve(proxy, socket)?;
                }
            }
            Order::Stop(proxies) => {
                self.listeners.retain(|listener| !proxies.contains(&listener.proxy));
                self.datagrams.retain(|datagrams| !proxies.contains(datagrams.proxy()));
            }
        }
        Ok(true)
    }

    fn serve(&mut self, proxy: Proxy, socket: OwnedFd) -> Result<()> {
        socket::set_nonblocking(&socket, true).during("prepare a socket")?;
        match proxy.protocol {
            Protocol::Tcp => self.listeners.push(Listener {
                proxy,
                socket: TcpListener::from(socket),
            }),
            Protocol::Udp => self.datagrams.push(Datagrams::new(proxy, UdpSocket::from(socket))),
            Protocol::Sctp | Protocol::Unknown => {
                return Err(Error::invalid("the keeper serves TCP and UDP alone"));
            }
        }
        Ok(())
    }
}
