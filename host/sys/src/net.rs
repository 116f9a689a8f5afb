//! The network of the calling thread's namespace: links, addresses, routes, the packet filter.
//!
//! Here live netlink by its two families, and two flags of links for who needs nothing else. Which
//! link, address or rule is made belongs to the performer.

pub mod netlink;
pub mod nftables;
pub mod port;
pub mod route;

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, Named, Result};

fn socket() -> Result<OwnedFd> {
    net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).named("socket")
}

/// A request about the link of this name.
fn request(link: &str, operation: &'static str) -> Result<libc::ifreq> {
    let invalid = Error::new(operation, Errno::INVAL);
    if link.is_empty() || link.len() >= libc::IFNAMSIZ || link.bytes().any(|b| b == 0) {
        return Err(invalid);
    }
    let mut name = [0; libc::IFNAMSIZ];
    for (slot, byte) in name.iter_mut().zip(link.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    })
}

#[allow(unsafe_code, reason = "ioctl and its union")]
fn flags(socket: &OwnedFd, request: &mut libc::ifreq) -> Result<libc::c_short> {
    // SAFETY: the request is a whole `ifreq` with a terminated name; the kernel writes its flags.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut *request) } != 0 {
        return Err(Error::last("ioctl SIOCGIFFLAGS"));
    }
    // SAFETY: SIOCGIFFLAGS wrote this member.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Whether a link is raised.
///
/// # Errors
/// The kernel's; `ENODEV` when there is none of this name.
pub fn is_up(link: &str) -> Result<bool> {
    let flags = flags(&socket()?, &mut request(link, "ioctl SIOCGIFFLAGS")?)?;
    Ok(i32::from(flags) & libc::IFF_UP != 0)
}

/// Raises a link; one that is up stays so.
///
/// # Errors
/// As [`is_up`]; `EPERM` without the capability.
#[allow(unsafe_code, reason = "ioctl")]
pub fn raise(link: &str) -> Result<()> {
    let socket = socket()?;
    let mut request = request(link, "ioctl SIOCSIFFLAGS")?;
    let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    request.ifr_ifru.ifru_flags = flags(&socket, &mut request)? | up;
    // SAFETY: the request is a whole `ifreq` with a terminated name; the kernel only reads it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("ioctl SIOCSIFFLAGS"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_absent_link_is_an_error_and_a_bad_name_too() {
        assert!(is_up("nowhere0").unwrap_err().is(Errno::NODEV));
        assert!(is_up("").is_err());
        assert!(is_up("sixteen-letters-").is_err());
    }

    #[test]
    fn root_the_loop_of_a_new_namespace_is_raised() {
        let done = std::thread::spawn(|| {
            if let Err(error) = crate::namespace::unshare(&[crate::namespace::Kind::Network]) {
                println!("SKIP: no network namespace: {error}");
                return;
            }
            assert!(!is_up("lo").unwrap());
            raise("lo").unwrap();
            raise("lo").unwrap();
            assert!(is_up("lo").unwrap());
        });
        done.join().unwrap();
    }
}
