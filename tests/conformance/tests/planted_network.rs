//! A fault planted in each kind of step of a network plan, and in each answer of an ipam driver, is
//! caught by the case that is named for it: a case that cannot fail proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::marker::PhantomData;
use std::sync::Arc;

use longshore_conformance::{Outcome, Target, run};
use longshore_core::driver::{Description, Driver, Kind, Open, Probe, Probed};
use longshore_core::graph::Ended;
use longshore_core::ipam::{
    AddressGranted, AddressSpaces, Ipam, IpamKind, Leases, List, PoolGranted, ReleaseAddress, ReleasePool, Released,
    RequestAddress, RequestPool, Spaces,
};
use longshore_core::network::{
    CreateEndpoint, CreateNetwork, DeleteEndpoint, DeleteNetwork, EndpointCreated, EndpointDeleted, Join, Joined,
    Leave, Left, NetworkCreated, NetworkDeleted, NetworkDriver, NetworkKind, Publish, Published,
};
use longshore_core::steps::{Hook, LinkMode, NetStep, Side, Verdict};
use longshore_core::types::{EndpointId, IfName, IpAddr, Mac};
use longshore_core::{Context, Error, Result};
use longshore_ipam_default::Default as Addresses;
use longshore_loader::Loaded;
use longshore_network_bridge::Bridge;
use longshore_plugin::serve::Static;

/// What a fault does to the answers of a sound bridge.
trait Fault: Send + Sync + 'static {
    fn network(_steps: &mut Vec<NetStep>) {}
    fn join(_joined: &mut Joined) {}
    fn publish(_steps: &mut Vec<NetStep>) {}
}

/// The bridge driver with a fault.
struct Faulty<F>(Bridge, PhantomData<F>);

impl<F: Fault> Driver for Faulty<F> {
    fn describe() -> Description {
        Bridge::describe()
    }

    fn probe(cx: &Context, request: Probe) -> Result<Probed> {
        Bridge::probe(cx, request)
    }

    fn open(cx: &Context, request: Open) -> Result<Self> {
        Ok(Self(Bridge::open(cx, request)?, PhantomData))
    }
}

impl<F: Fault> NetworkDriver for Faulty<F> {
    fn create_network(&self, cx: &Context, request: CreateNetwork) -> Result<NetworkCreated> {
        let mut made = self.0.create_network(cx, request)?;
        F::network(&mut made.plan.steps);
        Ok(made)
    }

    fn delete_network(&self, cx: &Context, request: DeleteNetwork) -> Result<NetworkDeleted> {
        self.0.delete_network(cx, request)
    }

    fn create_endpoint(&self, cx: &Context, request: CreateEndpoint) -> Result<EndpointCreated> {
        self.0.create_endpoint(cx, request)
    }

    fn delete_endpoint(&self, cx: &Context, request: DeleteEndpoint) -> Result<EndpointDeleted> {
        self.0.delete_endpoint(cx, request)
    }

    fn join(&self, cx: &Context, request: Join) -> Result<Joined> {
        let mut joined = self.0.join(cx, request)?;
        F::join(&mut joined);
        Ok(joined)
    }

    fn leave(&self, cx: &Context, request: Leave) -> Result<Left> {
        self.0.leave(cx, request)
    }

    fn publish(&self, cx: &Context, request: Publish) -> Result<Published> {
        let mut published = self.0.publish(cx, request)?;
        F::publish(&mut published.plan.steps);
        Ok(published)
    }
}

/// How that case ends with that driver.
fn outcome<D: Driver, K: Kind<D>>(case: &str) -> Outcome {
    let target = Target {
        loaded: Arc::new(Loaded::over(Arc::new(Static::<D, K>::new())).unwrap()),
        options: vec![],
        folder: None,
    };
    let ended = run(&target, case).unwrap();
    let found = ended.iter().find(|one| one.name == case);
    found.expect("the case is in the list").outcome.clone()
}

fn inside(link: &str) -> IfName {
    IfName::parse(link).unwrap()
}

/// Faults with the case that catches each: a word, the answer that it spoils, and how.
macro_rules! faults {
    ($($name:ident $answer:ident($steps:ident) $fault:block caught by $case:ident;)*) => {
        $(struct $name;

        impl Fault for $name {
            faults!(@ $answer $steps $fault);
        })*

        #[test]
        fn root_a_fault_in_each_kind_of_step_is_caught_by_its_case() {
            if !rustix::process::geteuid().is_root() {
                println!("SKIP: network namespaces need root");
                return;
            }
            let mut missed = Vec::new();
            $(
                let found = outcome::<Faulty<$name>, NetworkKind>(stringify!($case));
                println!("{} -> {}: {found:?}", stringify!($name), stringify!($case));
                if !matches!(found, Outcome::Fail(_)) {
                    missed.push((stringify!($name), found));
                }
            )*
            assert!(missed.is_empty(), "not caught: {missed:?}");
        }
    };
    (@ network $steps:ident $fault:block) => { fn network($steps: &mut Vec<NetStep>) $fault };
    (@ publish $steps:ident $fault:block) => { fn publish($steps: &mut Vec<NetStep>) $fault };
    (@ join $joined:ident $fault:block) => { fn join($joined: &mut Joined) $fault };
}

faults! {
    // Link
    AnotherName network(steps) {
        for step in steps {
            if let NetStep::Link { name, .. } = step {
                *name = inside("br0");
            }
        }
    } caught by a_plan_names_only_owned_links;
    NoMaster join(joined) {
        for step in &mut joined.plan.steps {
            if let NetStep::Link { master, .. } = step {
                *master = None;
            }
        }
    } caught by two_containers_reach_each_other;
    AnotherSize join(joined) {
        for step in &mut joined.plan.steps {
            if let NetStep::Link { mtu, .. } = step {
                *mtu = None;
            }
        }
    } caught by mtu_is_kept;
    AnotherMac join(joined) {
        for step in &mut joined.plan.steps {
            if let NetStep::Link { peer: Some(peer), .. } = step {
                peer.mac = None;
            }
        }
    } caught by the_inside_has_exactly_the_planned_links_addresses_routes;
    TakesWhatIsThere network(steps) {
        for step in steps {
            if let NetStep::Link { mode, kind, .. } = step {
                *mode = LinkMode::Ensure;
                *kind = "vcan".into();
            }
        }
    } caught by a_plan_names_only_owned_links;
    // Up
    NeverUp join(joined) {
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Up { link, .. } if link.as_str() == "eth0"));
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Route { .. }));
    } caught by the_inside_has_exactly_the_planned_links_addresses_routes;
    // Address
    NoAddress join(joined) {
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Address { address, .. } if address.is_ipv6()));
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Route { via: Some(via), .. } if via.is_ipv6()));
    } caught by the_inside_has_exactly_the_planned_links_addresses_routes;
    NoGateway network(steps) {
        steps.retain(|step| !matches!(step, NetStep::Address { .. }));
    } caught by the_outside_is_reached_and_masqueraded;
    // Route
    NoRoute join(joined) {
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Route { .. }));
    } caught by the_outside_is_reached_and_masqueraded;
    // Neighbour
    WrongNeighbour join(joined) {
        joined.plan.steps.push(NetStep::Neighbour {
            side: Side::Sandbox,
            link: inside("eth0"),
            address: IpAddr::parse("10.90.0.1").unwrap(),
            mac: Some(Mac::parse("02:00:00:00:00:99").unwrap()),
            proxy: false,
        });
    } caught by the_outside_is_reached_and_masqueraded;
    // Sysctl
    WrongParameter join(joined) {
        for step in &mut joined.plan.steps {
            if let NetStep::Sysctl { value, .. } = step {
                *value = "1".into();
            }
        }
    } caught by the_inside_has_exactly_the_planned_links_addresses_routes;
    // Rule
    NoMasquerade network(steps) {
        steps.retain(|step| !matches!(step, NetStep::Rule { verdict: Verdict::Masquerade, .. }));
    } caught by the_outside_is_reached_and_masqueraded;
    OpenDoor network(steps) {
        steps.retain(|step| !matches!(step, NetStep::Rule { verdict: Verdict::Drop, .. }));
    } caught by networks_are_isolated_from_each_other;
    OpenInside network(steps) {
        steps.retain(|step| !matches!(step, NetStep::Rule { hook: Hook::Forward, .. }));
    } caught by internal_networks_reach_nothing_outside;
    // Port
    NoPort publish(steps) {
        steps.retain(|step| !matches!(step, NetStep::Port { .. }));
    } caught by a_published_port_answers_from_outside;
    AnotherPort publish(steps) {
        for step in steps {
            if let NetStep::Port { target_port, .. } = step {
                *target_port += 1;
            }
        }
    } caught by to_udp;
    AllAddresses publish(steps) {
        for step in steps {
            if let NetStep::Port { host, .. } = step {
                *host = IpAddr::parse("0.0.0.0").unwrap();
            }
        }
    } caught by only_on_the_asked_address;
    // Proxy
    NoProxy publish(steps) {
        steps.retain(|step| !matches!(step, NetStep::Proxy { .. }));
    } caught by on_127_0_0_1_and_on_the_v6_loopback;
    // Names
    NoNames join(joined) {
        joined.plan.steps.retain(|step| !matches!(step, NetStep::Names { .. }));
    } caught by the_inside_has_exactly_the_planned_links_addresses_routes;
}

/// What a fault does to the requests and answers of a sound ipam driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    ForgetsKeys,
    AvoidsNothing,
    MissesTheAbsent,
    GivesPoolsUp,
    ForgetsLeases,
    IgnoresWishes,
    IgnoresRanges,
    TakesAnyLease,
    LosesTheList,
}

/// The default ipam driver with the fault of that number.
struct FaultyIpam<const FAULT: usize>(Addresses);

const WRONG: [(Wrong, &str); 9] = [
    (Wrong::ForgetsKeys, "the_same_pool_key_is_the_same_pool"),
    (Wrong::AvoidsNothing, "a_default_pool_avoids_host_routes"),
    (Wrong::MissesTheAbsent, "release_of_the_unknown_is_absent"),
    (Wrong::GivesPoolsUp, "a_pool_with_leases_is_in_use"),
    (Wrong::ForgetsLeases, "the_same_lease_is_the_same_address"),
    (Wrong::IgnoresWishes, "a_named_address_is_given_or_already_exists"),
    (Wrong::IgnoresRanges, "a_sub_range_is_kept_to"),
    (Wrong::TakesAnyLease, "release_of_anothers_lease_is_in_use"),
    (Wrong::LosesTheList, "leases_survive_a_new_instance"),
];

impl<const FAULT: usize> FaultyIpam<FAULT> {
    fn is(wrong: Wrong) -> bool {
        WRONG[FAULT].0 == wrong
    }
}

impl<const FAULT: usize> Driver for FaultyIpam<FAULT> {
    fn describe() -> Description {
        Addresses::describe()
    }

    fn probe(cx: &Context, request: Probe) -> Result<Probed> {
        Addresses::probe(cx, request)
    }

    fn open(cx: &Context, request: Open) -> Result<Self> {
        Addresses::open(cx, request).map(Self)
    }
}

/// A number that is another one at each call.
fn other() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(1);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl<const FAULT: usize> Ipam for FaultyIpam<FAULT> {
    fn spaces(&self, cx: &Context, request: Spaces) -> Result<AddressSpaces> {
        self.0.spaces(cx, request)
    }

    fn request_pool(&self, cx: &Context, mut request: RequestPool) -> Result<PoolGranted> {
        if Self::is(Wrong::ForgetsKeys) {
            request.key = format!("{}-{}", request.key, other()).parse()?;
        }
        if Self::is(Wrong::AvoidsNothing) {
            request.avoid.clear();
        }
        if Self::is(Wrong::IgnoresRanges) {
            request.range = None;
        }
        self.0.request_pool(cx, request)
    }

    fn release_pool(&self, cx: &Context, request: ReleasePool) -> Result<Released> {
        let released = self.0.release_pool(cx, request);
        match released {
            Err(_) if Self::is(Wrong::GivesPoolsUp) => Ok(Released { outcome: Ended::Done }),
            Ok(Released { outcome: Ended::Absent }) if Self::is(Wrong::MissesTheAbsent) => {
                Err(Error::not_found("there is no such pool"))
            }
            other => other,
        }
    }

    fn request_address(&self, cx: &Context, mut request: RequestAddress) -> Result<AddressGranted> {
        if Self::is(Wrong::ForgetsLeases) {
            request.lease = longshore_core::ipam::Lease::Endpoint(EndpointId::parse(format!("{:064x}", other()))?);
        }
        if Self::is(Wrong::IgnoresWishes) {
            request.address = None;
        }
        self.0.request_address(cx, request)
    }

    fn release_address(&self, cx: &Context, request: ReleaseAddress) -> Result<Released> {
        match self.0.release_address(cx, request) {
            Err(_) if Self::is(Wrong::TakesAnyLease) => Ok(Released { outcome: Ended::Done }),
            other => other,
        }
    }

    fn list(&self, cx: &Context, request: List) -> Result<Leases> {
        let mut page = self.0.list(cx, request)?;
        if Self::is(Wrong::LosesTheList) {
            page.next = None;
        }
        Ok(page)
    }
}

#[test]
fn every_fault_of_an_ipam_driver_is_caught_by_its_case() {
    fn case<const FAULT: usize>() -> (Wrong, Outcome) {
        let (wrong, case) = WRONG[FAULT];
        (wrong, outcome::<FaultyIpam<FAULT>, IpamKind>(case))
    }
    let found = [
        case::<0>(),
        case::<1>(),
        case::<2>(),
        case::<3>(),
        case::<4>(),
        case::<5>(),
        case::<6>(),
        case::<7>(),
        case::<8>(),
    ];
    let missed: Vec<_> = found
        .iter()
        .filter(|(_, outcome)| !matches!(outcome, Outcome::Fail(_)))
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
