//! A driver behind its service, linked in: what every transport shares.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_plugin::context::Services;
use longshore_plugin::driver::{
    Capabilities, Describe, Description, Driver, Open, Opened, OptionValue, Probe, Probed, Versions,
};
use longshore_plugin::graph::{
    Activate, Activated, ChangesSupport, Content, Create, Created, Ended, GraphCapabilities, GraphDriver, GraphKind,
    Made, Remove, Removed,
};
use longshore_plugin::serve::Static;
use longshore_plugin::types::Note;
use longshore_plugin::wire::{
    Call, Channel, DESCRIBE, Envelope, HandleKind, Message, OPEN, client_call, decode, encode, next_call,
};
use longshore_plugin::{Context, Error, ErrorKind, Result, graph};

static DROPPED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Odd;

impl Drop for Odd {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn capabilities() -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: false,
        tracks_activation: false,
        changes: ChangesSupport::No,
        max_depth: 10,
        independent_layers: false,
        activate_chain: false,
        lists: false,
    })
}

impl Driver for Odd {
    fn describe() -> Description {
        Description {
            name: "odd".into(),
            aliases: vec![],
            version: "1.0.0".into(),
            kind: "graph".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: vec![],
            capabilities: capabilities(),
            concurrency: 2,
        }
    }

    fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(cx: &Context, request: Open) -> Result<Self> {
        if let Some(root) = request.root {
            let mut text = String::new();
            std::fs::File::from(cx.take(root)?).read_to_string(&mut text).unwrap();
            assert_eq!(text, "through a pipe");
        }
        Ok(Self)
    }
}

impl GraphDriver for Odd {
    fn create(&self, cx: &Context, _request: Create) -> Result<Created> {
        let now = cx.host().call("clock.now", b"?")?;
        Ok(Created {
            outcome: Made::New,
            content: Content::Empty,
            note: Note::parse(now)?,
            steps: vec![],
        })
    }

    fn activate(&self, _cx: &Context, _request: Activate) -> Result<Activated> {
        panic!("no idea")
    }

    fn remove(&self, cx: &Context, _request: Remove) -> Result<Removed> {
        cx.check()?;
        Ok(Removed {
            outcome: Ended::Done,
            steps: vec![],
        })
    }
}

longshore_plugin::export! {
    driver: Odd,
    kind: graph,
    name: "odd",
    version: "1.0.0",
    interface: 0 to 0,
    grants: ["fs:overlay"],
}

/// A second driver in the same program: its entry clashes with nothing.
mod second {
    longshore_plugin::export! {
        driver: super::Odd,
        kind: graph,
        name: "odd-too",
        version: env!("CARGO_PKG_VERSION"),
    }
}

struct Clock;

impl Services for Clock {
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name {
            "clock.now" => Ok([body, b"noon".as_slice()].concat()),
            other => Err(Error::unsupported(other)),
        }
    }
}

type Odds = Arc<Static<Odd, GraphKind>>;

fn odd() -> Odds {
    Arc::new(Static::with_services(Arc::new(Clock)))
}

fn open(channel: &Odds) -> Opened {
    let request = Open {
        root: None,
        root_path: "/r".into(),
        options: Vec::<OptionValue>::new(),
        host_interface: 0,
    };
    client_call(channel, 0, &OPEN, &Context::background(), &request).unwrap()
}

fn call(channel: &Odds, instance: u64, method: &str, request: Vec<u8>) -> Result<Message> {
    let method = graph::METHODS.iter().find(|row| row.name == method).unwrap();
    let call = Call {
        instance,
        id: next_call(),
        method,
    };
    channel.call(call, Message::from_body(request))
}

fn id() -> longshore_plugin::types::LayerId {
    longshore_plugin::types::LayerId::parse("a".repeat(64)).unwrap()
}

fn layer() -> graph::LayerRef {
    graph::LayerRef {
        id: id(),
        note: Note::default(),
    }
}

fn gone() -> Remove {
    Remove {
        layer: layer(),
        chain: vec![],
    }
}

fn remove() -> Vec<u8> {
    encode(&Envelope {
        deadline: 0,
        trace: vec![],
        request: gone(),
    })
    .unwrap()
}

#[test]
fn describe_needs_no_instance() {
    let described: Description = client_call(&odd(), 0, &DESCRIBE, &Context::background(), &Describe {}).unwrap();
    assert_eq!(described.name, "odd");
}

#[test]
fn a_panic_is_broken_and_the_next_call_works() {
    let channel = odd();
    let client = graph::Client::new(Arc::clone(&channel), &open(&channel));
    let activate = Activate {
        layer: layer(),
        chain: vec![],
        depth: 0,
        access: graph::Access::Write,
    };
    let error = client.activate(&Context::background(), activate).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(error.message.starts_with("panicked: no idea at "), "{error}");
    client.remove(&Context::background(), gone()).unwrap();
}

#[test]
fn numbers_of_instances_are_never_reused_and_close_drops() {
    let channel = odd();
    let first = open(&channel).instance;
    let before = DROPPED.load(Ordering::Relaxed);
    channel.close(first);
    assert!(DROPPED.load(Ordering::Relaxed) > before);
    assert!(open(&channel).instance > first);
    let error = call(&channel, first, "remove", remove()).unwrap_err();
    assert!(error.message.contains("no instance"), "{error}");
}

#[test]
fn descriptors_go_to_the_driver() {
    let channel = odd();
    let (reader, writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut { writer }, b"through a pipe").unwrap();
    let cx = Context::background();
    let root = cx.give(HandleKind::Pipe, OwnedFd::from(reader)).unwrap();
    let request = Open {
        root: Some(root),
        root_path: "/r".into(),
        options: vec![],
        host_interface: 0,
    };
    let opened: Opened = client_call(&channel, 0, &OPEN, &cx, &request).unwrap();
    assert_eq!(opened.interface, 0);
}

#[test]
fn bodies_outside_the_contract_are_broken() {
    let channel = odd();
    let instance = open(&channel).instance;
    let whole = remove();
    for end in 0..whole.len() {
        let error = call(&channel, instance, "remove", whole[..end].to_vec()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Broken, "cut at {end}: {error}");
    }
}

#[test]
fn services_of_the_host_are_there_during_a_call() {
    let channel = odd();
    let opened = open(&channel);
    let request = Create {
        id: id(),
        chain: vec![],
        role: graph::Role::Layer,
        options: vec![],
    };
    let body = encode(&Envelope {
        deadline: 1_000,
        trace: vec![],
        request,
    })
    .unwrap();
    let reply = call(&channel, opened.instance, "create", body).unwrap();
    let created: Created = decode(&reply.body).unwrap();
    assert_eq!(created.note.as_bytes(), b"?noon");
}
