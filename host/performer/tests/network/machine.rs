//! A machine of network namespaces: the "host" is one of them too, so that nothing of the real one is
//! touched. All of them end with the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_core::steps::{
    Attribute, AttributeValue, ConnectionState, Family, Hook, LinkMode, Match, Matching, NetStep, NetworkPlan, Peer,
    Side, Verdict,
};
use longshore_core::types::{EndpointId, IfName, IpAddr, IpNet, NetworkId, OwnedPrefix};
use longshore_performer::net::{NetworkHost, Ownership, Performed, Scope, links_of};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::route::{self, Changes, Link, Net, NewLink, NewPeer, Routing, Target};

/// As long as something may take that is expected to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// As long as is waited for what must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// A network namespace.
pub(crate) struct Namespace(pub(crate) OwnedFd);

impl Namespace {
    pub(crate) fn new() -> Result<Self, longshore_sys::Error> {
        std::thread::spawn(|| {
            namespace::unshare(&[Kind::Network])?;
            longshore_sys::net::raise("lo")?;
            namespace::open_own(Kind::Network).map(Self)
        })
        .join()
        .unwrap()
    }

    /// Runs something inside, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                namespace::enter(&self.0, Kind::Network).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Starts something inside that goes on.
    pub(crate) fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let own = self.0.try_clone().unwrap();
        std::thread::spawn(move || {
            namespace::enter(&own, Kind::Network).unwrap();
            work()
        })
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        self.run(|| Routing::open().unwrap().links().unwrap())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.links().into_iter().map(|link| link.name).collect();
        names.sort();
        names
    }

    pub(crate) fn do_routing(&self, work: impl FnOnce(&mut Routing) + Send) {
        self.run(|| work(&mut Routing::open().unwrap()));
    }

    /// Answers each connection with who it came from; the port is chosen by the kernel when 0.
    pub(crate) fn serve(&self, at: &str) -> u16 {
        let at: SocketAddr = at.parse().unwrap();
        let listener = self.run(|| TcpListener::bind(at).unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().unwrap().ip().to_string();
                let mut asked = [0; 5];
                if stream.read_exact(&mut asked).is_ok() {
                    let _ = stream.write_all(peer.as_bytes());
                }
            }
        });
        port
    }

    /// Asks such a server; who it saw, or nothing.
    pub(crate) fn ask(&self, to: &str, patience: Duration) -> Option<String> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
            stream.set_read_timeout(Some(patience)).unwrap();
            stream.write_all(b"hello").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    }

    /// Answers datagrams with themselves.
    pub(crate) fn echo(&self, at: &str) {
        let at: SocketAddr = at.parse().unwrap();
        let socket = self.run(|| UdpSocket::bind(at).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..bytes], from);
            }
        });
    }

    /// Sends a datagram and waits for its echo.
    pub(crate) fn ping(&self, to: &str) -> bool {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| {
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut buffer = [0; 64];
            (0..10).any(|_| socket.send(b"hello").is_ok() && socket.recv(&mut buffer).is_ok_and(|bytes| bytes == 5))
        })
    }
}

/// The host, with an uplink to somebody outside: 192.0.2.1 here, 192.0.2.2 there, and 2001:db8::1, ::2.
pub(crate) struct Machine {
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) net: NetworkHost,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const ROOT: &str = "0a1f000000000001";

/// The machine, or nothing with a word why not.
pub(crate) fn machine() -> Option<Machine> {
    let namespaces = Namespace::new().and_then(|host| Ok((host, Namespace::new()?)));
    let (host, outside) = match namespaces {
        Ok(both) => both,
        Err(error) => {
            println!("SKIP: no network namespace can be made: {error}");
            return None;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let net = open(&host, ROOT, "ls0a1f", folder.path());
    uplink(&host, &outside);
    host.run(|| net.forward(true).unwrap());
    Some(Machine {
        host,
        outside,
        net,
        folder,
    })
}

pub(crate) fn open(host: &Namespace, root: &str, prefix: &str, folder: &Path) -> NetworkHost {
    let own = Ownership::new(root, OwnedPrefix::parse(prefix).unwrap()).unwrap();
    host.run(|| NetworkHost::open(own, folder).unwrap())
}

fn uplink(host: &Namespace, outside: &Namespace) {
    let pair = |to: &Namespace| {
        let link = NewLink {
            name: "up0",
            kind: "veth",
            up: true,
            peer: Some(NewPeer {
                name: "up0",
                mac: None,
                mtu: None,
                namespace: Some(to.0.as_fd()),
            }),
            ..NewLink::default()
        };
        route::make_link(&link)
    };
    let message = pair(outside);
    host.do_routing(|routing| routing.perform(&[message]).unwrap());
    for (side, last) in [(host, 1), (outside, 2)] {
        side.do_routing(|routing| {
            let up = Changes {
                up: Some(true),
                ..Changes::default()
            };
            let index = routing.link("up0").unwrap().unwrap().index;
            let address = |text: String, prefix| {
                let net = Net {
                    address: text.parse().unwrap(),
                    prefix,
                };
                route::address(true, index, net, None, 0, true)
            };
            routing
                .perform(&[
                    route::change_link(Target::Index(index), &up),
                    address(format!("192.0.2.{last}"), 24),
                    address(format!("2001:db8::{last}"), 64),
                ])
                .unwrap();
        });
    }
}

pub(crate) fn name(text: &str) -> IfName {
    IfName::parse(text).unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    IpNet::parse(text).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    IpAddr::parse(text).unwrap()
}

pub(crate) fn link(text: &str, kind: &str) -> NetStep {
    NetStep::Link {
        side: Side::Host,
        name: name(text),
        kind: kind.into(),
        peer: None,
        parent: None,
        master: None,
        mac: None,
        mtu: None,
        up: true,
        attributes: vec![],
        port: vec![],
        mode: LinkMode::Create,
    }
}

pub(crate) fn address(side: Side, link: &str, text: &str) -> NetStep {
    NetStep::Address {
        side,
        link: name(link),
        address: net(text),
        peer: None,
        scope: 0,
        no_dad: true,
    }
}

pub(crate) fn rule(hook: Hook, family: Family, matches: Vec<Match>, verdict: Verdict) -> NetStep {
    NetStep::Rule {
        side: Side::Host,
        hook,
        family,
        matches,
        verdict,
    }
}

pub(crate) fn default_route(via: &str) -> NetStep {
    NetStep::Route {
        side: Side::Sandbox,
        link: Some(name("eth0")),
        to: None,
        via: Some(ip(via)),
        table: 254,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    }
}

/// A network like the bridge driver's: 10.N.0.0/24 and fd00:N::/64 on link `ls0a1fbN`.
pub(crate) struct Bridge {
    pub(crate) number: u8,
    pub(crate) id: NetworkId,
    pub(crate) pools: Vec<IpNet>,
    pub(crate) kinds: Vec<String>,
    pub(crate) plan: NetworkPlan,
    pub(crate) links: Vec<IfName>,
}

impl Bridge {
    pub(crate) fn new(number: u8, internal: bool) -> Self {
        let bridge = format!("ls0a1fb{number}");
        let (four, six) = (format!("10.{number}.0.0/24"), format!("fd00:{number}::/64"));
        let to = || Match::is(Matching::Out(name(&bridge)));
        let from = || Match::is(Matching::In(name(&bridge)));
        let mut steps = vec![
            link(&bridge, "bridge"),
            address(Side::Host, &bridge, &format!("10.{number}.0.1/24")),
            address(Side::Host, &bridge, &format!("fd00:{number}::1/64")),
        ];
        let forward = |matches, verdict| rule(Hook::Forward, Family::Both, matches, verdict);
        steps.push(forward(vec![from(), to()], Verdict::Return));
        if internal {
            steps.push(forward(vec![from()], Verdict::Drop));
            steps.push(forward(vec![to()], Verdict::Drop));
        } else {
            for state in [
                ConnectionState::Established,
                ConnectionState::Related,
                ConnectionState::Dnat,
            ] {
                steps.push(forward(vec![to(), Match::is(Matching::State(state))], Verdict::Return));
            }
            steps.push(forward(vec![to()], Verdict::Drop));
            for (family, subnet) in [(Family::V4, &four), (Family::V6, &six)] {
                let from = Match::is(Matching::From(net(subnet)));
                let leaves = Match::not(Matching::Out(name(&bridge)));
                steps.push(rule(
                    Hook::Postrouting,
                    family,
                    vec![from.clone(), leaves],
                    Verdict::Masquerade,
                ));
                let back = Match::is(Matching::State(ConnectionState::Dnat));
                steps.push(rule(
                    Hook::Postrouting,
                    family,
                    vec![from, to(), back],
                    Verdict::Masquerade,
                ));
            }
        }
        let plan = NetworkPlan { steps };
        Self {
            number,
            id: NetworkId::from_random([number; 32]),
            pools: vec![net(&four), net(&six)],
            kinds: vec!["bridge".into(), "veth".into()],
            links: links_of(&plan),
            plan,
        }
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            link_kinds: &self.kinds,
            pools: &self.pools,
            ..Scope::network(&self.id)
        }
    }

    pub(crate) fn make(&self, machine: &Machine) {
        machine
            .host
            .run(|| machine.net.perform(&self.plan, &self.scope(), None).unwrap());
    }

    pub(crate) fn endpoint_id(&self, last: u8) -> EndpointId {
        let mut bytes = [self.number; 32];
        bytes[0] = last;
        EndpointId::from_random(bytes)
    }

    pub(crate) fn endpoint_scope<'a>(&'a self, id: &'a EndpointId) -> Scope<'a> {
        Scope {
            link_kinds: &self.kinds,
            pools: &self.pools,
            links: &self.links,
            default_route: true,
            ..Scope::endpoint(&self.id, id)
        }
    }

    /// The plan of the endpoint with this last number.
    pub(crate) fn join_plan(&self, last: u8) -> NetworkPlan {
        let number = self.number;
        let mut steps = vec![link(&format!("ls0a1fv{number}{last}"), "veth")];
        if let Some(NetStep::Link { peer, master, port, .. }) = steps.first_mut() {
            *master = Some(name(&format!("ls0a1fb{number}")));
            // Where bridged packets pass the firewall, one may have to leave as it came.
            port.push(Attribute {
                number: 4,
                value: AttributeValue::U8(1),
            });
            *peer = Some(Peer {
                side: Side::Sandbox,
                name: name("eth0"),
                mac: None,
            });
        }
        for link in ["lo", "eth0"] {
            steps.push(NetStep::Up {
                side: Side::Sandbox,
                link: name(link),
            });
        }
        steps.extend([
            address(Side::Sandbox, "eth0", &format!("10.{number}.0.{last}/24")),
            address(Side::Sandbox, "eth0", &format!("fd00:{number}::{last}/64")),
            default_route(&format!("10.{number}.0.1")),
            default_route(&format!("fd00:{number}::1")),
        ]);
        NetworkPlan { steps }
    }

    pub(crate) fn join(&self, machine: &Machine, last: u8) -> Namespace {
        let sandbox = Namespace::new().unwrap();
        self.join_in(machine, last, &sandbox).unwrap();
        sandbox
    }

    pub(crate) fn join_in(
        &self,
        machine: &Machine,
        last: u8,
        sandbox: &Namespace,
    ) -> longshore_core::Result<Performed> {
        let id = self.endpoint_id(last);
        let plan = self.join_plan(last);
        machine.host.run(|| {
            machine
                .net
                .perform(&plan, &self.endpoint_scope(&id), Some(sandbox.0.as_fd()))
        })
    }
}
