//! The ipam suite.
//!
//! The kit keeps the driver's state as an engine does: what a call stages is committed when its reply
//! is there, and one changing call of a pool is under way at a time. Each call reaches a fresh
//! instance, so a driver that keeps anything in memory alone fails wherever it is asked again.

mod addresses;
mod pools;

use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::context::{Cancel, Services};
use longshore_core::graph::Ended;
use longshore_core::ipam::{
    AddressGranted, AddressSpaces, Ipam, IpamCapabilities, Lease, Leased, List, PoolGranted, ReleaseAddress,
    ReleasePool, RequestAddress, RequestPool, Spaces,
};
use longshore_core::state::{Memory, Staged};
use longshore_core::types::{EndpointId, IpAddr, IpNet, PoolId, PoolKey};
use longshore_core::{Context, ErrorKind};

use crate::host::Place;
use crate::{Case, CaseResult, Failure, Target, check, expect};

type Result<T> = std::result::Result<T, Failure>;
type Answer<T> = longshore_core::Result<T>;

/// One case's driver over its fresh root and state.
#[derive(Debug)]
pub struct Bench {
    target: Target,
    place: Place,
    capabilities: IpamCapabilities,
    state: Arc<Memory>,
    /// Held while a changing call is under way.
    lock: Mutex<()>,
}

fn broken(failure: &Failure) -> longshore_core::Error {
    longshore_core::Error::broken(failure.to_string())
}

impl Bench {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        Ok(Self {
            capabilities: target.loaded.description().capabilities.ipam()?.clone(),
            target: target.clone(),
            place: Place::new(target.folder.as_deref())?,
            state: Arc::default(),
            lock: Mutex::default(),
        })
    }

    /// A fresh instance: any call may reach one.
    fn driver(&self) -> Result<Arc<dyn Ipam>> {
        Ok(self
            .target
            .loaded
            .open_ipam(self.place.descriptor()?, &self.place.path, self.target.options.clone())?)
    }

    /// Makes a call as an engine does, on an instance of its own.
    fn call<T>(&self, call: impl FnOnce(&dyn Ipam, &Context) -> Answer<T>) -> Answer<T> {
        let driver = self.driver().map_err(|failure| broken(&failure))?;
        self.call_on(&*driver, call)
    }

    fn call_on<T>(&self, driver: &dyn Ipam, call: impl FnOnce(&dyn Ipam, &Context) -> Answer<T>) -> Answer<T> {
        let staged = Arc::new(Staged::over(Arc::clone(&self.state)));
        let cx = Context::new(0, None, Cancel::default(), Arc::clone(&staged) as Arc<dyn Services>);
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = call(driver, &cx)?;
        self.state.commit(staged.take());
        Ok(answer)
    }

    fn spaces(&self) -> Answer<AddressSpaces> {
        self.call(|driver, cx| driver.spaces(cx, Spaces {}))
    }

    fn wish(&self, key: &str, subnet: Option<&str>) -> Result<RequestPool> {
        Ok(RequestPool {
            key: PoolKey::parse(key)?,
            space: self.spaces()?.local,
            subnet: subnet.map(IpNet::parse).transpose()?,
            range: None,
            v6: subnet.is_some_and(|subnet| subnet.contains(':')),
            options: vec![],
            avoid: vec![],
        })
    }

    fn ask_pool(&self, request: RequestPool) -> Answer<PoolGranted> {
        self.call(|driver, cx| driver.request_pool(cx, request))
    }

    fn pool(&self, key: &str, subnet: &str) -> Result<PoolId> {
        let granted = self.ask_pool(self.wish(key, Some(subnet))?)?;
        check(granted.subnet == IpNet::parse(subnet)?, || {
            format!("asked for {subnet}, the pool is {}", granted.subnet)
        })?;
        Ok(granted.pool)
    }

    fn release_pool(&self, pool: &PoolId) -> Answer<Ended> {
        let request = ReleasePool { pool: pool.clone() };
        self.call(|driver, cx| driver.release_pool(cx, request))
            .map(|released| released.outcome)
    }

    fn request(&self, pool: &PoolId, lease: Lease, address: Option<&str>) -> Answer<AddressGranted> {
        let request = RequestAddress {
            pool: pool.clone(),
            lease,
            address: address.map(IpAddr::parse).transpose()?,
            mac: None,
            options: vec![],
        };
        self.call(|driver, cx| driver.request_address(cx, request))
    }

    /// An address of the driver's choice.
    fn address(&self, pool: &PoolId, lease: Lease) -> Result<IpAddr> {
        Ok(self.request(pool, lease, None)?.address.address())
    }

    fn release(&self, pool: &PoolId, lease: Lease, address: IpAddr) -> Answer<Ended> {
        let request = ReleaseAddress {
            pool: pool.clone(),
            lease,
            address,
        };
        self.call(|driver, cx| driver.release_address(cx, request))
            .map(|released| released.outcome)
    }

    /// All leases of a pool, a few at a time.
    fn leases(&self, pool: &PoolId) -> Result<Vec<Leased>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let request = List {
                pool: pool.clone(),
                after: after.take(),
                limit: 3,
            };
            let page = self.call(|driver, cx| driver.list(cx, request))?;
            check(page.leases.len() <= 3, || "a page is longer than its limit".into())?;
            all.extend(page.leases);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
            check(all.len() < 10_000, || "the pages have no end".into())?;
        }
    }
}

/// The lease of an endpoint.
fn endpoint(number: u32) -> Lease {
    // 64 digits are an ID.
    EndpointId::parse(format!("{number:064x}")).map_or(Lease::Gateway {}, Lease::Endpoint)
}

fn always(_: &Bench) -> Option<&'static str> {
    None
}

fn v6(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.v6).then_some("the driver has no pools of IPv6")
}

fn replays(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.needs_replay).then_some("the driver does not forget")
}

macro_rules! cases {
    ($($part:ident::$name:ident [$skip:ident],)*) => {
        /// The cases, in the contract's order.
        pub const CASES: &[Case<Bench>] = &[$(Case {
            name: stringify!($name),
            skip: $skip,
            run: $part::$name,
        }),*];
    };
}

cases! {
    pools::a_default_pool_avoids_host_routes [always],
    pools::the_same_pool_key_is_the_same_pool [always],
    pools::overlapping_pools_are_refused [always],
    pools::release_of_the_unknown_is_absent [always],
    pools::a_pool_with_leases_is_in_use [always],
    addresses::the_same_lease_is_the_same_address [always],
    addresses::a_named_address_is_given_or_already_exists [always],
    addresses::network_and_broadcast_are_never_given [always],
    addresses::the_gateway_is_never_given [always],
    addresses::a_full_pool_is_exhausted [always],
    addresses::a_sub_range_is_kept_to [always],
    addresses::a_freed_address_is_reused_last [always],
    addresses::a_hundred_parallel_requests_are_distinct [always],
    addresses::leases_survive_a_new_instance [always],
    addresses::v6_pools_of_64_bits_need_no_list [v6],
    addresses::release_of_anothers_lease_is_in_use [always],
    addresses::replay_after_restart_gives_the_same [replays],
}
