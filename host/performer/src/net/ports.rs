//! Ports of the host, each held by a bound socket: a foreign process is refused it, and it is free as
//! soon as nobody has the socket any more.
//!
//! The packet filter translates what comes for a port before it would reach the socket. What does
//! reach it came over the loopback link, and is the [`keeper`](super::keeper)'s to serve.

use std::os::fd::OwnedFd;

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::steps::Protocol;
use longshore_core::types::IpAddr;
use longshore_sys::Errno;
use longshore_sys::net::port;

use super::GrantedPort;

/// Ports that the kernel chose and that were taken for the other address.
const MOST_TRIES: usize = 16;

/// A port that is held.
#[derive(Debug)]
pub struct HeldPort {
    /// What is held.
    pub granted: GrantedPort,
    /// The socket that holds it.
    pub socket: OwnedFd,
}

/// The address that stands for all of the same family.
pub fn unspecified(address: IpAddr) -> IpAddr {
    let zero = address.of_number(0);
    zero.unwrap_or(address)
}

/// Holds one port at all of these addresses or at none; port 0 is any that is free at all of them. A
/// family that the machine does not have is left out, unless it is the only one.
///
/// # Errors
/// `InUse` when it is taken; `Invalid` when an address is not the machine's; `Unsupported` when the
/// kernel lacks the protocol.
pub fn hold(protocol: Protocol, addresses: &[IpAddr], port: u16) -> Result<Vec<HeldPort>> {
    let mut last = None;
    for _ in 0..MOST_TRIES {
        match hold_once(protocol, addresses, port) {
            Err(error) if error.kind == ErrorKind::InUse && port == 0 => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| Error::invalid("a port without addresses")))
}

fn hold_once(protocol: Protocol, addresses: &[IpAddr], wanted: u16) -> Result<Vec<HeldPort>> {
    let mut held: Vec<HeldPort> = Vec::new();
    let mut missing = None;
    for address in addresses {
        // Once the kernel chose, the others follow.
        let port = held.first().map_or(wanted, |first| first.granted.port);
        match hold_one(protocol, *address, port) {
            Ok(one) => held.push(one),
            Err(error) if error.errno == Some(Errno::AFNOSUPPORT.raw_os_error()) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if held.is_empty() => Err(error),
        _ => Ok(held),
    }
}

fn hold_one(protocol: Protocol, host: IpAddr, port: u16) -> Result<HeldPort> {
    let kind = match protocol {
        Protocol::Tcp => port::Protocol::Tcp,
        Protocol::Udp => port::Protocol::Udp,
        Protocol::Sctp => port::Protocol::Sctp,
        Protocol::Unknown => return Err(Error::unsupported("the protocol of a port is not known to this host")),
    };
    let served = host.is_unspecified() || host.is_loopback();
    let (socket, port) =
        port::bind(kind, host.get(), port, served).map_err(|error| refused(protocol, host, port, &error))?;
    Ok(HeldPort {
        granted: GrantedPort { protocol, host, port },
        socket,
    })
}

fn refused(protocol: Protocol, host: IpAddr, port: u16, error: &longshore_sys::Error) -> Error {
    let what = format!("{protocol:?} port {port} of {host}").to_lowercase();
    let (kind, message) = if error.is(Errno::ADDRINUSE) {
        (
            ErrorKind::InUse,
            format!("{what} is in use by another process: stop it, or choose another port"),
        )
    } else if error.is(Errno::ADDRNOTAVAIL) {
        (ErrorKind::Invalid, format!("{what}: the address is not this machine's"))
    } else if error.is(Errno::PROTONOSUPPORT) {
        (
            ErrorKind::Unsupported,
            format!("{what}: this kernel lacks the protocol; load its module"),
        )
    } else {
        return Error::io(
            format!("hold {what}"),
            &std::io::Error::from_raw_os_error(error.errno()),
        );
    };
    Error::new(kind, message).with_errno(error.errno())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_port_of_two_addresses_is_held_at_both_or_at_none() {
        let (one, two) = (IpAddr::LOOPBACK_V4, IpAddr::parse("127.0.0.2").unwrap());
        let held = hold(Protocol::Tcp, &[one, two], 0).unwrap();
        let port = held.first().unwrap().granted.port;
        assert!(held.iter().all(|held| held.granted.port == port));
        drop(held);
        let blocking = hold(Protocol::Tcp, &[two], port).unwrap();
        let error = hold(Protocol::Tcp, &[one, two], port).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(
            error.message.contains(&format!("tcp port {port} of 127.0.0.2")),
            "{error}"
        );
        drop(blocking);
        assert_eq!(hold(Protocol::Tcp, &[one, two], port).unwrap().len(), 2);
    }

    #[test]
    fn an_address_of_another_machine_is_invalid() {
        let error = hold(Protocol::Udp, &[IpAddr::parse("192.0.2.1").unwrap()], 0).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
    }

    #[test]
    fn each_family_has_its_own_unspecified_address() {
        assert_eq!(unspecified(IpAddr::LOOPBACK_V4).to_string(), "0.0.0.0");
        assert_eq!(unspecified(IpAddr::LOOPBACK_V6).to_string(), "::");
    }
}
