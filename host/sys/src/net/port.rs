//! Ports that are held by a bound socket: while it is open nobody else gets the port.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::error::{Error, Named, Result, uninterrupted};

/// Connections that wait to be taken.
const BACKLOG: i32 = 512;

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

fn socket(protocol: Protocol, address: IpAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let (kind, protocol) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(family, kind, flags, protocol).named("socket")
}

/// Binds a port, 0 for any free one, and tells which. With `listening` a TCP socket takes connections
/// from then on; without, they are refused.
///
/// # Errors
/// The kernel's; `EADDRINUSE` when the port is taken, `EADDRNOTAVAIL` when the address is not the
/// machine's, `EPROTONOSUPPORT` when the kernel lacks the protocol.
pub fn bind(protocol: Protocol, address: IpAddr, port: u16, listening: bool) -> Result<(OwnedFd, u16)> {
    let socket = socket(protocol, address)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).named("setsockopt")?;
    }
    let listening = listening && protocol == Protocol::Tcp;
    if listening {
        // Past connections of the same port do not stand in the way then. A socket that only holds
        // the port must not have it: two such may share one.
        sockopt::set_socket_reuseaddr(&socket, true).named("setsockopt")?;
    }
    net::bind(&socket, &SocketAddr::new(address, port)).named("bind")?;
    if listening {
        net::listen(&socket, BACKLOG).named("listen")?;
    }
    let port = local_address(&socket)?.port();
    Ok((socket, port))
}

/// The address that a socket is bound to.
///
/// # Errors
/// The kernel's; `EAFNOSUPPORT` when it is no IP socket.
pub fn local_address(socket: impl AsFd) -> Result<SocketAddr> {
    let address = net::getsockname(socket).named("getsockname")?;
    SocketAddr::try_from(address).map_err(|_| Error::new("getsockname", Errno::AFNOSUPPORT))
}

/// A connection that is being made without waiting for it; writable once it is decided.
///
/// # Errors
/// The kernel's.
pub fn begin_connection(protocol: Protocol, to: SocketAddr) -> Result<OwnedFd> {
    let socket = socket(protocol, to.ip())?;
    match uninterrupted(|| net::connect(&socket, &to)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(Error::new("connect", errno)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_held_port_is_nobody_elses_and_free_when_let_go() {
        let local = IpAddr::from([127, 0, 0, 1]);
        for (protocol, listening) in [(Protocol::Tcp, true), (Protocol::Tcp, false), (Protocol::Udp, false)] {
            let (held, port) = bind(protocol, local, 0, listening).unwrap();
            assert_ne!(port, 0);
            for other in [true, false] {
                assert!(bind(protocol, local, port, other).unwrap_err().is(Errno::ADDRINUSE));
            }
            drop(held);
            assert_eq!(bind(protocol, local, port, listening).unwrap().1, port);
        }
    }

    #[test]
    fn both_families_may_hold_one_port() {
        let (_four, port) = bind(Protocol::Tcp, [0, 0, 0, 0].into(), 0, true).unwrap();
        match bind(Protocol::Tcp, std::net::Ipv6Addr::UNSPECIFIED.into(), port, true) {
            Ok((_, same)) => assert_eq!(same, port),
            Err(error) if error.is(Errno::AFNOSUPPORT) => println!("SKIP: no IPv6 here"),
            Err(error) => panic!("{error}"),
        }
    }
}
