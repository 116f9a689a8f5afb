//! Local sockets that keep message bounds, and descriptors passed along.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Error, Named, Result, uninterrupted};
use crate::path::through_proc;

/// Most descriptors in one message; the kernel allows 253.
pub const MOST_DESCRIPTORS: usize = 128;

/// Whether a socket keeps message bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Whole messages (`SOCK_SEQPACKET`).
    Messages,
    /// A stream of bytes.
    Stream,
}

impl Bounds {
    fn kind(self) -> SocketType {
        match self {
            Self::Messages => SocketType::SEQPACKET,
            Self::Stream => SocketType::STREAM,
        }
    }
}

/// Two connected sockets.
///
/// # Errors
/// The kernel's.
pub fn pair(bounds: Bounds) -> Result<(OwnedFd, OwnedFd)> {
    net::socketpair(AddressFamily::UNIX, bounds.kind(), SocketFlags::CLOEXEC, None).named("socketpair")
}

fn socket(bounds: Bounds) -> Result<OwnedFd> {
    net::socket_with(AddressFamily::UNIX, bounds.kind(), SocketFlags::CLOEXEC, None).named("socket")
}

/// An address in a directory. It goes through `/proc/self/fd`, so that the directory's own path may
/// be longer than the 108 bytes of an address, and cannot be swapped.
fn address(dir: impl AsFd, name: &str, operation: &'static str) -> Result<SocketAddrUnix> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(Error::new(operation, Errno::INVAL));
    }
    SocketAddrUnix::new(format!("{}/{name}", through_proc(dir))).named(operation)
}

/// Makes a listening socket in a directory, with this mode.
///
/// # Errors
/// The kernel's; `EADDRINUSE` when the name is taken.
pub fn listen_at(dir: impl AsFd, name: &str, mode: u32, bounds: Bounds) -> Result<OwnedFd> {
    // Nobody can connect before `listen`, so the mode is in force in time.
    let socket = bind_at(dir, name, mode, bounds)?;
    net::listen(&socket, 128).named("listen")?;
    Ok(socket)
}

/// Connects to a socket in a directory.
///
/// # Errors
/// The kernel's; `ECONNREFUSED` when nobody listens.
pub fn connect_at(dir: impl AsFd, name: &str, bounds: Bounds) -> Result<OwnedFd> {
    let socket = socket(bounds)?;
    let address = address(dir, name, "connect")?;
    uninterrupted(|| net::connect(&socket, &address)).named("connect")?;
    Ok(socket)
}

/// Takes one connection.
///
/// # Errors
/// The kernel's.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    uninterrupted(|| net::accept_with(&listener, SocketFlags::CLOEXEC)).named("accept4")
}

/// Makes a descriptor's calls return `EAGAIN` instead of waiting, or wait again.
///
/// # Errors
/// The kernel's.
pub fn set_nonblocking(fd: impl AsFd, nonblocking: bool) -> Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(&fd).named("fcntl")?;
    flags.set(rustix::fs::OFlags::NONBLOCK, nonblocking);
    rustix::fs::fcntl_setfl(&fd, flags).named("fcntl")
}

/// Sends a message and at most [`MOST_DESCRIPTORS`], which stay the caller's. Tells how many bytes went,
/// which on a stream may be fewer than given.
///
/// # Errors
/// The kernel's; `EPIPE` (and no signal) when the peer is gone; `EINVAL` for too many descriptors.
pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    send_with(socket, message, descriptors, SendFlags::NOSIGNAL)
}

/// As [`send`], without waiting for room.
///
/// # Errors
/// As [`send`]; `EAGAIN` where there is no room now.
pub fn send_now(socket: impl AsFd, message: &[u8]) -> Result<usize> {
    send_with(socket, message, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> Result<usize> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(Error::new("sendmsg", Errno::INVAL));
    }
    uninterrupted(|| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::INVAL);
        }
        net::sendmsg(&socket, &[IoSlice::new(message)], &mut control, flags)
    })
    .named("sendmsg")
}

/// What a message brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes; 0 without descriptors means that the peer is gone.
    pub bytes: usize,
    /// Descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives a message into `buffer`.
///
/// # Errors
/// The kernel's; `EMSGSIZE` when the message was longer than the buffer or brought more than that many
/// descriptors: it is lost then, and the descriptors that came are closed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received> {
    uninterrupted(|| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = part {
                descriptors.extend(fds);
            }
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Errno::MSGSIZE);
        }
        Ok(Received {
            bytes: message.bytes,
            descriptors,
        })
    })
    .named("recvmsg")
}

/// Who is at the other end, as of when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// The peer of a connected local socket.
///
/// # Errors
/// The kernel's.
pub fn peer(socket: impl AsFd) -> Result<Peer> {
    let found = net::sockopt::socket_peercred(socket).named("getsockopt")?;
    Ok(Peer {
        pid: found.pid.as_raw_nonzero().get(),
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
    })
}

/// Ends sending, so that the peer reads the end.
///
/// # Errors
/// The kernel's.
pub fn finish_sending(socket: impl AsFd) -> Result<()> {
    net::shutdown(socket, net::Shutdown::Write).named("shutdown")
}

/// Ends both ways at once: whoever waits for something to read here reads the end.
///
/// # Errors
/// The kernel's.
pub fn end(socket: impl AsFd) -> Result<()> {
    net::shutdown(socket, net::Shutdown::Both).named("shutdown")
}

/// Makes a socket in a directory, with this mode, to which nobody can connect before [`listen`].
///
/// # Errors
/// The kernel's; `EADDRINUSE` when the name is taken.
pub fn bind_at(dir: impl AsFd, name: &str, mode: u32, bounds: Bounds) -> Result<OwnedFd> {
    let socket = socket(bounds)?;
    net::bind(&socket, &address(&dir, name, "bind")?).named("bind")?;
    let made = crate::path::open(
        &dir,
        name.as_bytes(),
        crate::path::OFlags::PATH | crate::path::OFlags::NOFOLLOW,
        0,
        crate::path::Resolve::Beneath,
    )?;
    crate::path::set_mode(made, mode)?;
    Ok(socket)
}

/// Lets others connect. Who did this is the peer that they see.
///
/// # Errors
/// The kernel's.
pub fn listen(socket: impl AsFd) -> Result<()> {
    net::listen(socket, 16).named("listen")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_message_keeps_its_bounds_and_brings_descriptors() {
        let (a, b) = pair(Bounds::Messages).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let many = vec![file.as_fd(); MOST_DESCRIPTORS];
        send(&a, b"one", &many).unwrap();
        send(&a, b"two", &[]).unwrap();
        let mut buffer = [0; 16];
        let first = receive(&b, &mut buffer).unwrap();
        assert_eq!((first.bytes, first.descriptors.len()), (3, MOST_DESCRIPTORS));
        let flags = rustix::io::fcntl_getfd(first.descriptors.first().unwrap()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(receive(&b, &mut buffer).unwrap().bytes, 3);
        assert!(send(&a, b"x", &[file.as_fd(); MOST_DESCRIPTORS + 1]).is_err());
        drop(a);
        assert_eq!(receive(&b, &mut buffer).unwrap().bytes, 0);
        assert!(send(&b, b"x", &[]).unwrap_err().is(Errno::PIPE));
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (a, b) = pair(Bounds::Messages).unwrap();
        send(&a, &[1; 100], &[]).unwrap();
        assert!(receive(&b, &mut [0; 10]).unwrap_err().is(Errno::MSGSIZE));
    }

    #[test]
    fn a_socket_below_a_very_long_path_is_reached_by_its_folder() {
        let top = tempfile::tempdir().unwrap();
        let long = top.path().join("x".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let dir = crate::path::open_directory(&long).unwrap();
        let listener = listen_at(&dir, "engine.sock", 0o600, Bounds::Messages).unwrap();
        assert_eq!(crate::path::stat_at(&dir, b"engine.sock").unwrap().mode, 0o600);
        let client = connect_at(&dir, "engine.sock", Bounds::Messages).unwrap();
        let server = accept(&listener).unwrap();
        assert_eq!(peer(&server).unwrap().pid, crate::process::own_number());
        send(&client, b"hello", &[]).unwrap();
        assert_eq!(receive(&server, &mut [0; 9]).unwrap().bytes, 5);
        assert!(listen_at(&dir, "../out", 0o600, Bounds::Messages).is_err());
    }
}
