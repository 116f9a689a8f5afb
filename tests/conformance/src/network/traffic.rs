//! Whether packets come through: a server that tells who asked it, and whoever asks.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_core::steps::Protocol;
use longshore_core::types::IpAddr;
use longshore_sys::namespace::{self, Kind};

use super::Result;
use super::world::{sys, within};
use crate::{CaseResult, check};

/// How long an answer may take that shall come. Long, because it is waited for only when it fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is waited for an answer that shall not come.
const SILENCE: Duration = Duration::from_millis(700);
/// How often a server looks whether it is to end.
const TURN: Duration = Duration::from_millis(20);

/// A server in some namespace; it ends with the value.
#[derive(Debug)]
pub(super) struct Server {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(super) at: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

enum Ear {
    Stream(TcpListener),
    Datagrams(UdpSocket),
}

/// Serves a port: each question is answered with the server's word and the asker's address.
pub(super) fn serve(namespace: &OwnedFd, word: &str, protocol: Protocol, address: IpAddr, port: u16) -> Result<Server> {
    let at = SocketAddr::from((address.get(), port));
    let inside = namespace.try_clone()?;
    let (ear, at) = within(namespace, move || {
        if protocol == Protocol::Udp {
            let socket = UdpSocket::bind(at)?;
            socket.set_read_timeout(Some(TURN))?;
            let at = socket.local_addr()?;
            return Ok((Ear::Datagrams(socket), at));
        }
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        Ok((Ear::Stream(listener), at))
    })?;
    let over = Arc::new(AtomicBool::new(false));
    let (word, end) = (word.to_owned(), Arc::clone(&over));
    let thread = std::thread::Builder::new().name("server".into()).spawn(move || {
        // The socket is in the namespace already; its thread is only tidier there.
        let _ = namespace::enter(&inside, Kind::Network);
        while !end.load(Ordering::Relaxed) {
            answer(&ear, &word);
        }
    })?;
    Ok(Server {
        over,
        thread: Some(thread),
        at,
    })
}

fn answer(ear: &Ear, word: &str) {
    match ear {
        Ear::Stream(listener) => match listener.accept() {
            Ok((mut client, from)) => {
                // A client that has gone misses its answer.
                let _ = client.write_all(format!("{word} {}", from.ip()).as_bytes());
            }
            Err(_) => std::thread::sleep(TURN),
        },
        Ear::Datagrams(socket) => {
            let mut question = [0; 64];
            if let Ok((_, from)) = socket.recv_from(&mut question) {
                let _ = socket.send_to(format!("{word} {}", from.ip()).as_bytes(), from);
            }
        }
    }
}

fn ask_stream(at: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(std::io::Error::new(
            ErrorKind::UnexpectedEof,
            "the connection ended without an answer",
        ));
    }
    Ok(text)
}

fn ask_datagram(at: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let own: SocketAddr = if at.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(own)?;
    socket.connect(at)?;
    let tries = 5;
    socket.set_read_timeout(Some(patience / tries))?;
    let mut last = std::io::Error::from(ErrorKind::TimedOut);
    for _ in 0..tries {
        let mut answer = [0; 64];
        let received = socket.send(b"?").and_then(|_| socket.recv(&mut answer));
        match received {
            Ok(length) => return Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a question from a namespace is answered; `None` when nothing comes back in time.
fn ask(
    namespace: &OwnedFd,
    protocol: Protocol,
    at: SocketAddr,
    patience: Duration,
) -> Result<std::result::Result<String, String>> {
    within(namespace, move || {
        let answer = match protocol {
            Protocol::Udp => ask_datagram(at, patience),
            _ => ask_stream(at, patience),
        };
        Ok(answer.map_err(|error| error.to_string()))
    })
}

/// Fails unless a question is answered by the server of that word, and tells whom it saw asking.
pub(super) fn reaches(
    namespace: &OwnedFd,
    who: &str,
    protocol: Protocol,
    address: &str,
    port: u16,
    word: &str,
) -> Result<String> {
    let at = SocketAddr::from((IpAddr::parse(address)?.get(), port));
    let answer = ask(namespace, protocol, at, PATIENCE)?;
    match answer.as_ref().map(|text| text.split_once(' ')) {
        Ok(Some((by, from))) if by == word => Ok(from.to_owned()),
        _ => Err(sys(format_args!(
            "{who} asked {protocol:?} {at} for {word} and got {answer:?}"
        ))),
    }
}

/// Fails when a question is answered.
pub(super) fn is_cut_off(namespace: &OwnedFd, who: &str, address: &str, port: u16) -> CaseResult {
    let at = SocketAddr::from((IpAddr::parse(address)?.get(), port));
    let answer = ask(namespace, Protocol::Tcp, at, SILENCE)?;
    check(answer.is_err(), || {
        format!("{who} reaches {at}, which it must not: {answer:?}")
    })
}
