//! Ports of a container: held by its shim, served on the loopback link by the keeper, free at its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use common::{Container, LONG, Place, Plan, needs_root};
use longshore_core::steps::Protocol;
use longshore_core::types::IpAddr;
use longshore_performer::net::ports::hold;
use longshore_shim::Request;
use longshore_shim::protocol::Proxy;
use longshore_sys::process;

/// A server in the container's stead, which says hello.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
    address
}

fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn keeper_of(shim: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).ok()?;
    children
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .find(|pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "longshore-keep")
        })
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < LONG, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn give(container: &Container, proxied: bool) -> u16 {
    let held = hold(Protocol::Tcp, &[IpAddr::LOOPBACK_V4], 0).unwrap();
    let one = held.into_iter().next().unwrap();
    let port = one.granted.port;
    let proxy = proxied.then(|| Proxy {
        protocol: Protocol::Tcp,
        listen: ([127, 0, 0, 1], port).into(),
        target: server(),
    });
    let socket: OwnedFd = one.socket;
    let request = Request::Ports { ports: vec![proxy] };
    container.client.call(request, &[socket.as_fd()]).expect("ports");
    port
}

#[test]
fn root_ports_answer_while_the_shim_lives_whatever_becomes_of_the_keeper() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sleep", "1000"]));
    let shim = container.client.pid().unwrap();
    let held = give(&container, false);
    assert_eq!(keeper_of(shim), None, "nothing is to be served");
    let port = give(&container, true);
    assert_eq!(ask(port).as_deref(), Some("hello"));
    container.start();
    let second = give(&container, true);
    assert_eq!(ask(second).as_deref(), Some("hello"));
    let keeper = wait_for(|| keeper_of(shim));
    process::signal(process::open(keeper).unwrap(), 9).unwrap();
    // Whoever asks meanwhile waits: the socket listens, and the next keeper takes it up.
    for port in [port, second] {
        assert_eq!(ask(port).as_deref(), Some("hello"));
    }
    let next = wait_for(|| keeper_of(shim).filter(|pid| *pid != keeper));
    for port in [held, port, second] {
        assert!(hold(Protocol::Tcp, &[IpAddr::LOOPBACK_V4], port).is_err(), "{port}");
    }
    container.delete(true);
    for port in [held, port, second] {
        hold(Protocol::Tcp, &[IpAddr::LOOPBACK_V4], port).expect("the port is free");
    }
    assert!(process::start_time(next).is_err(), "the keeper is gone");
}

#[test]
fn root_ports_are_free_when_the_shim_is_killed() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sleep", "1000"]));
    let shim = container.client.pid().unwrap();
    let port = give(&container, true);
    assert_eq!(ask(port).as_deref(), Some("hello"));
    process::signal(process::open(i32::try_from(shim).unwrap()).unwrap(), 9).unwrap();
    wait_for(|| hold(Protocol::Tcp, &[IpAddr::LOOPBACK_V4], port).ok());
}

#[test]
fn root_ports_without_their_sockets_are_refused() {
    needs_root!();
    let place = Place::new();
    let container = Container::boot(&place, &Plan::of(&["true"]));
    let request = Request::Ports { ports: vec![None] };
    let error = container.client.call(request, &[]).unwrap_err();
    assert_eq!(error.kind, longshore_core::ErrorKind::Invalid);
    container.client.call(Request::Quit, &[]).expect("quit");
}
