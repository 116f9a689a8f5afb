//! A machine to try plans on: a network namespace of the case's own that plays the host, and another
//! one that plays the world outside, with a cable between them.
//!
//! The namespaces are held by descriptor, and every thread that enters one ends there, so that the
//! kit's own threads, and those that a driver's calls begin, stay where they are.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::steps::NetworkPlan;
use longshore_core::types::{IpAddr, OwnedPrefix};
use longshore_performer::net::{NetworkHost, Ownership, Part, Performed, Scope};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::route::{self, Changes, Link, NewLink, NewPeer, Route, Routing, Target};

use super::Result;
use crate::{CaseResult, Failure, check};

/// The host's addresses on the cable.
pub(super) const HOST4: &str = "198.51.100.1";
/// The same of IPv6.
pub(super) const HOST6: &str = "2001:db8:5::1";
/// The other end's addresses.
pub(super) const OUTSIDE4: &str = "198.51.100.2";
/// The same of IPv6.
pub(super) const OUTSIDE6: &str = "2001:db8:5::2";
/// The host's end of the cable.
pub(super) const CABLE: &str = "up0";

const ROOT: &str = "0a1f000000000001";
const PREFIX: &str = "ls0a1f";

pub(super) fn sys(error: impl std::fmt::Display) -> Failure {
    Failure::Differs(error.to_string())
}

/// Runs something in a namespace, on a thread of its own.
pub(super) fn within<T: Send>(namespace: impl AsFd, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = namespace.as_fd();
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                namespace::enter(namespace, Kind::Network).map_err(sys)?;
                work()
            })
            .join()
            .unwrap_or_else(|_| Err(Failure::Differs("a thread in a network namespace panicked".into())))
    })
}

/// A new namespace with nothing in it.
pub(super) fn fresh() -> Result<OwnedFd> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                namespace::unshare(&[Kind::Network]).map_err(sys)?;
                namespace::open_own(Kind::Network).map_err(sys)
            })
            .join()
            .unwrap_or_else(|_| Err(Failure::Differs("a thread in a network namespace panicked".into())))
    })
}

/// What a namespace has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<(u32, route::Net)>,
    pub(super) routes: Vec<Route>,
}

impl Seen {
    pub(super) fn in_namespace(namespace: impl AsFd) -> Result<Self> {
        within(namespace, || {
            let mut routing = Routing::open().map_err(sys)?;
            Ok(Self {
                links: routing.links().map_err(sys)?,
                addresses: routing.addresses().map_err(sys)?,
                routes: routing.routes().map_err(sys)?,
            })
        })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The addresses of a link that somebody gave it: not those that the kernel derives.
    pub(super) fn addresses_of(&self, link: &Link) -> Vec<String> {
        let derived = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
            std::net::IpAddr::V4(_) => false,
        };
        let mut all: Vec<String> = self
            .addresses
            .iter()
            .filter(|(index, net)| *index == link.index && !derived(net.address))
            .map(|(_, net)| format!("{}/{}", net.address, net.prefix))
            .collect();
        all.sort_unstable();
        all
    }

    /// The next hops of everything.
    pub(super) fn gateways(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .routes
            .iter()
            .filter(|route| route.to.is_none_or(|net| net.prefix == 0))
            .filter_map(|route| route.via.map(|via| via.to_string()))
            .collect();
        all.sort_unstable();
        all
    }
}

/// The machine, and what is outside.
pub(super) struct World {
    pub(super) host: OwnedFd,
    pub(super) outside: OwnedFd,
    engine: Mutex<Option<Arc<NetworkHost>>>,
    run: tempfile::TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::NotHere("network namespaces need root".into()));
        }
        let (host, outside) = (fresh()?, fresh()?);
        within(&host, || lay_cable(&outside))?;
        within(&outside, || end_of_cable("eth0", [OUTSIDE4, OUTSIDE6]))?;
        let run = tempfile::tempdir()?;
        let engine = open(&host, ROOT, PREFIX, run.path())?;
        Ok(Self {
            engine: Mutex::new(Some(Arc::new(engine))),
            host,
            outside,
            run,
        })
    }

    /// The performer of the engine that runs.
    pub(super) fn engine(&self) -> Result<Arc<NetworkHost>> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine
            .clone()
            .ok_or_else(|| Failure::Differs("the engine is dead".into()))
    }

    /// All that an engine holds in memory and by descriptor is gone.
    pub(super) fn kill_engine(&self) {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Another engine of another data root on the same machine.
    pub(super) fn neighbour(&self, run: &Path) -> Result<NetworkHost> {
        open(&self.host, "0b2e000000000002", "ls0b2e", run)
    }

    pub(super) fn prefix() -> Result<OwnedPrefix> {
        Ok(OwnedPrefix::parse(PREFIX)?)
    }

    pub(super) fn ownership() -> Result<Ownership> {
        Ok(Ownership::new(ROOT, Self::prefix()?)?)
    }

    /// The folder of undo logs and names.
    pub(super) fn run(&self) -> &Path {
        self.run.path()
    }

    /// The undo logs that are there.
    pub(super) fn logs(&self) -> Result<Vec<std::path::PathBuf>> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(self.run())? {
            let path = entry?.path();
            if path.is_file() {
                logs.push(path);
            }
        }
        logs.sort();
        Ok(logs)
    }

    pub(super) fn perform(
        &self,
        plan: &NetworkPlan,
        scope: &Scope<'_>,
        sandbox: Option<&OwnedFd>,
    ) -> longshore_core::Result<Performed> {
        let engine = self
            .engine()
            .map_err(|dead| longshore_core::Error::broken(dead.to_string()))?;
        perform_on(&self.host, &engine, plan, scope, sandbox)
    }

    pub(super) fn undo(&self, object: &str, part: Part, sandbox: Option<&OwnedFd>) -> Result<()> {
        let engine = self.engine()?;
        within(&self.host, || {
            Ok(engine.undo(object, part, sandbox.map(AsFd::as_fd))?)
        })
    }

    pub(super) fn seen(&self) -> Result<Seen> {
        Seen::in_namespace(&self.host)
    }

    /// Fails unless the host has just what it had before anything was made, and no log is left.
    pub(super) fn check_clean(&self) -> CaseResult {
        let mut seen = self.seen()?;
        // A pair goes a moment after the namespace of its other half.
        for _ in 0..100 {
            if seen.links.iter().all(|link| !link.name.starts_with(PREFIX)) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            seen = self.seen()?;
        }
        let left: Vec<&str> = seen
            .links
            .iter()
            .filter(|link| !link.alias.is_empty())
            .map(|link| link.name.as_str())
            .collect();
        check(left.is_empty(), || format!("links {left:?} were left"))?;
        let logs = self.logs()?;
        check(logs.is_empty(), || format!("undo logs {logs:?} were left"))
    }
}

/// Performs with another engine's performer, in the namespace of the host.
pub(super) fn perform_on(
    host: &OwnedFd,
    engine: &NetworkHost,
    plan: &NetworkPlan,
    scope: &Scope<'_>,
    sandbox: Option<&OwnedFd>,
) -> longshore_core::Result<Performed> {
    let mut answer = None;
    let done = within(host, || {
        answer = Some(engine.perform(plan, scope, sandbox.map(AsFd::as_fd)));
        Ok(())
    });
    match (done, answer) {
        (Ok(()), Some(answer)) => answer,
        (Err(failure), _) => Err(longshore_core::Error::broken(failure.to_string())),
        (Ok(()), None) => Err(longshore_core::Error::broken("nothing was performed")),
    }
}

fn open(host: &OwnedFd, root: &str, prefix: &str, run: &Path) -> Result<NetworkHost> {
    let own = Ownership::new(root, OwnedPrefix::parse(prefix)?)?;
    within(host, || Ok(NetworkHost::open(own, run)?))
}

/// Makes the pair and the host's end of it. In the host's namespace.
fn lay_cable(outside: &OwnedFd) -> Result<()> {
    let mut routing = Routing::open().map_err(sys)?;
    let pair = NewLink {
        name: CABLE,
        kind: "veth",
        peer: Some(NewPeer {
            name: "eth0",
            mac: None,
            mtu: None,
            namespace: Some(outside.as_fd()),
        }),
        ..NewLink::default()
    };
    routing
        .perform(&[route::make_link(&pair)])
        .map_err(|refused| sys(refused.error))?;
    // What an engine switches on before its first network.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    end_of_cable(CABLE, [HOST4, HOST6])
}

fn end_of_cable(link: &str, addresses: [&str; 2]) -> Result<()> {
    let mut routing = Routing::open().map_err(sys)?;
    raise(&mut routing, "lo")?;
    raise(&mut routing, link)?;
    for (address, prefix) in addresses.into_iter().zip([24, 64]) {
        give(&mut routing, link, address, prefix)?;
    }
    Ok(())
}

fn raise(routing: &mut Routing, link: &str) -> Result<()> {
    let up = Changes {
        up: Some(true),
        ..Changes::default()
    };
    routing
        .perform(&[route::change_link(Target::Name(link), &up)])
        .map_err(|refused| sys(refused.error))
}

/// Gives a link of the calling thread's namespace an address.
pub(super) fn give(routing: &mut Routing, link: &str, address: &str, prefix: u8) -> Result<()> {
    let index = routing
        .link(link)
        .map_err(sys)?
        .ok_or_else(|| sys(format_args!("there is no link {link}")))?
        .index;
    let net = route::Net {
        address: IpAddr::parse(address)?.get(),
        prefix,
    };
    routing
        .perform(&[route::address(true, index, net, None, 0, true)])
        .map_err(|refused| sys(refused.error))
}

/// Adds a route by a next hop in the calling thread's namespace.
pub(super) fn lead(to: &str, prefix: u8, via: &str) -> Result<()> {
    let mut routing = Routing::open().map_err(sys)?;
    let to = IpAddr::parse(to)?;
    let route = Route {
        link: None,
        v6: to.is_ipv6(),
        to: Some(route::Net {
            address: to.get(),
            prefix,
        }),
        via: Some(IpAddr::parse(via)?.get()),
        table: 254,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    };
    routing
        .perform(&[route::route(true, &route)])
        .map_err(|refused| sys(refused.error))
}
