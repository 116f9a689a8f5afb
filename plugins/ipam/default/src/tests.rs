//! The driver over a host's state, each call with a fresh instance.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use longshore_plugin::context::{Cancel, Services};
use longshore_plugin::driver::OptionValue;
use longshore_plugin::graph::Ended;
use longshore_plugin::ipam::{Lease, Leased};
use longshore_plugin::state::{Memory, Staged};
use longshore_plugin::types::{Bytes, EndpointId, IpAddr, IpNet, PoolId, PoolKey};
use longshore_plugin::{ErrorKind, Result};

use super::*;

/// A host that keeps state, and commits what a call staged when the call answered.
#[derive(Default)]
struct Host(Arc<Memory>);

impl Host {
    fn call<T>(&self, call: impl FnOnce(&super::Default, &Context) -> Result<T>) -> Result<T> {
        let staged = Arc::new(Staged::over(Arc::clone(&self.0)));
        let cx = Context::new(0, None, Cancel::default(), Arc::clone(&staged) as Arc<dyn Services>);
        let open = Open {
            root: None,
            root_path: Bytes::default(),
            options: vec![],
            host_interface: 0,
        };
        let answer = call(&super::Default::open(&cx, open)?, &cx)?;
        self.0.commit(staged.take());
        Ok(answer)
    }

    fn pool(&self, key: &str, subnet: Option<&str>, range: Option<&str>, avoid: &[&str]) -> Result<PoolGranted> {
        let net = |text: &str| IpNet::parse(text).unwrap();
        let request = RequestPool {
            key: PoolKey::parse(key).unwrap(),
            space: SPACE.into(),
            subnet: subnet.map(net),
            range: range.map(net),
            v6: subnet.is_some_and(|subnet| subnet.contains(':')),
            options: vec![],
            avoid: avoid.iter().map(|text| net(text)).collect(),
        };
        self.call(|driver, cx| driver.request_pool(cx, request))
    }

    fn address(&self, pool: &PoolId, lease: Lease, address: Option<&str>) -> Result<String> {
        let request = RequestAddress {
            pool: pool.clone(),
            lease,
            address: address.map(|text| IpAddr::parse(text).unwrap()),
            mac: None,
            options: vec![],
        };
        self.call(|driver, cx| driver.request_address(cx, request))
            .map(|granted| granted.address.to_string())
    }

    fn release(&self, pool: &PoolId, lease: Lease, address: &str) -> Result<Ended> {
        let request = ReleaseAddress {
            pool: pool.clone(),
            lease,
            address: IpAddr::parse(address).unwrap(),
        };
        self.call(|driver, cx| driver.release_address(cx, request))
            .map(|released| released.outcome)
    }

    fn release_pool(&self, pool: &PoolId) -> Result<Ended> {
        let request = ReleasePool { pool: pool.clone() };
        self.call(|driver, cx| driver.release_pool(cx, request))
            .map(|released| released.outcome)
    }

    fn leases(&self, pool: &PoolId, limit: u32) -> Vec<Leased> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let request = List {
                pool: pool.clone(),
                after,
                limit,
            };
            let page = self.call(|driver, cx| driver.list(cx, request)).unwrap();
            assert!(page.leases.len() <= limit as usize);
            all.extend(page.leases);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

fn endpoint(number: u32) -> Lease {
    Lease::Endpoint(EndpointId::parse(format!("{number:064x}")).unwrap())
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

#[test]
fn a_key_keeps_its_pool_and_another_key_gets_another() {
    let host = Host::default();
    let first = host.pool("n1:0", None, None, &["172.17.0.0/16", "0.0.0.0/0"]).unwrap();
    assert_eq!(first.subnet.to_string(), "172.18.0.0/16");
    assert_eq!(host.pool("n1:0", None, None, &[]).unwrap(), first);
    assert_eq!(
        host.pool("n2:0", None, None, &[]).unwrap().subnet.to_string(),
        "172.17.0.0/16"
    );
    assert_eq!(
        kind(host.pool("n1:0", Some("10.0.0.0/8"), None, &[])),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn subnets_that_cannot_be_are_refused_with_what_is_wrong() {
    let host = Host::default();
    host.pool("n1:0", Some("10.1.0.0/16"), None, &["10.0.0.0/8"]).unwrap();
    for (subnet, range, word) in [
        ("10.1.2.0/24", None, "10.1.0.0/16"),
        ("10.0.0.0/8", None, "10.1.0.0/16"),
        ("10.2.0.1/16", None, "10.2.0.0/16"),
        ("10.2.0.0/32", None, "no room"),
        ("127.0.0.0/16", None, "127.0.0.0/8"),
        ("0.0.0.0/0", None, "meaning"),
        ("::/0", None, "meaning"),
        ("fe80::/64", None, "fe80::/10"),
        ("10.2.0.0/16", Some("10.3.0.0/24"), "10.3.0.0/24"),
        ("10.2.0.0/16", Some("10.2.0.1/24"), "10.2.0.0/24"),
    ] {
        let error = host.pool("n2:0", Some(subnet), range, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{subnet}");
        assert!(error.message.contains(word), "{subnet}: {}", error.message);
    }
    assert_eq!(
        kind(host.pool("n2:0", None, Some("10.3.0.0/24"), &[])),
        ErrorKind::Invalid
    );
}

#[test]
fn addresses_are_granted_in_rotation_and_a_freed_one_last() {
    let host = Host::default();
    let pool = host.pool("n1:0", Some("10.1.0.0/29"), None, &[]).unwrap().pool;
    assert_eq!(host.address(&pool, Lease::Gateway {}, None).unwrap(), "10.1.0.1/29");
    for (number, wanted) in [(1, "10.1.0.2/29"), (2, "10.1.0.3/29"), (1, "10.1.0.2/29")] {
        assert_eq!(host.address(&pool, endpoint(number), None).unwrap(), wanted);
    }
    assert_eq!(host.release(&pool, endpoint(1), "10.1.0.2").unwrap(), Ended::Done);
    for (number, wanted) in [
        (3, "10.1.0.4/29"),
        (4, "10.1.0.5/29"),
        (5, "10.1.0.6/29"),
        (6, "10.1.0.2/29"),
    ] {
        assert_eq!(host.address(&pool, endpoint(number), None).unwrap(), wanted);
    }
    assert_eq!(kind(host.address(&pool, endpoint(7), None)), ErrorKind::Exhausted);
    assert_eq!(host.leases(&pool, 2).len(), 6);
    assert_eq!(host.leases(&pool, 100)[0].lease, Lease::Gateway {});
}

#[test]
fn named_addresses_are_given_or_refused() {
    let host = Host::default();
    let pool = host.pool("n1:0", Some("10.1.0.0/24"), None, &[]).unwrap().pool;
    host.address(&pool, Lease::Gateway {}, Some("10.1.0.254")).unwrap();
    host.address(&pool, Lease::Reserved("router".into()), Some("10.1.0.9"))
        .unwrap();
    assert_eq!(
        host.address(&pool, endpoint(1), Some("10.1.0.7")).unwrap(),
        "10.1.0.7/24"
    );
    for (address, wanted) in [
        ("10.1.0.0", ErrorKind::Invalid),
        ("10.1.0.255", ErrorKind::Invalid),
        ("10.1.1.1", ErrorKind::Invalid),
        ("fd00::1", ErrorKind::Invalid),
        ("10.1.0.254", ErrorKind::AlreadyExists),
        ("10.1.0.9", ErrorKind::AlreadyExists),
        ("10.1.0.7", ErrorKind::AlreadyExists),
    ] {
        assert_eq!(
            kind(host.address(&pool, endpoint(2), Some(address))),
            wanted,
            "{address}"
        );
    }
    assert_eq!(
        kind(host.address(&pool, endpoint(1), Some("10.1.0.8"))),
        ErrorKind::AlreadyExists
    );
    let strange = Lease::Reserved("a/b".into());
    assert_eq!(kind(host.address(&pool, strange, None)), ErrorKind::Invalid);
}

#[test]
fn a_range_is_kept_to_and_a_wish_may_leave_it() {
    let host = Host::default();
    let pool = host
        .pool("n1:0", Some("10.1.0.0/16"), Some("10.1.5.4/31"), &[])
        .unwrap()
        .pool;
    assert_eq!(host.address(&pool, Lease::Gateway {}, None).unwrap(), "10.1.0.1/16");
    assert_eq!(host.address(&pool, endpoint(1), None).unwrap(), "10.1.5.4/16");
    assert_eq!(host.address(&pool, endpoint(2), None).unwrap(), "10.1.5.5/16");
    assert_eq!(kind(host.address(&pool, endpoint(3), None)), ErrorKind::Exhausted);
    assert_eq!(
        host.address(&pool, endpoint(3), Some("10.1.0.9")).unwrap(),
        "10.1.0.9/16"
    );
    let nobodys = host
        .pool("n2:0", Some("10.2.0.0/16"), Some("10.2.0.0/32"), &[])
        .unwrap()
        .pool;
    assert_eq!(kind(host.address(&nobodys, endpoint(1), None)), ErrorKind::Exhausted);
}

#[test]
fn the_smallest_networks_have_two_addresses() {
    let host = Host::default();
    for (key, subnet, addresses) in [
        ("n1:0", "10.1.0.0/31", ["10.1.0.0/31", "10.1.0.1/31"]),
        ("n2:0", "10.1.0.4/30", ["10.1.0.5/30", "10.1.0.6/30"]),
        ("n3:0", "fd00::/127", ["fd00::/127", "fd00::1/127"]),
    ] {
        let pool = host.pool(key, Some(subnet), None, &[]).unwrap().pool;
        assert_eq!(host.address(&pool, Lease::Gateway {}, None).unwrap(), addresses[0]);
        assert_eq!(host.address(&pool, endpoint(1), None).unwrap(), addresses[1]);
        assert_eq!(kind(host.address(&pool, endpoint(2), None)), ErrorKind::Exhausted);
    }
}

#[test]
fn releases_are_repeatable_and_never_anothers() {
    let host = Host::default();
    let pool = host.pool("n1:0", Some("fd00::/64"), None, &[]).unwrap().pool;
    assert_eq!(host.address(&pool, Lease::Gateway {}, None).unwrap(), "fd00::1/64");
    assert_eq!(host.address(&pool, endpoint(1), None).unwrap(), "fd00::2/64");
    assert_eq!(kind(host.release(&pool, endpoint(2), "fd00::2")), ErrorKind::InUse);
    assert_eq!(host.release(&pool, endpoint(2), "fd00::3").unwrap(), Ended::Absent);
    assert_eq!(kind(host.release_pool(&pool)), ErrorKind::InUse);
    assert_eq!(host.release(&pool, endpoint(1), "fd00::2").unwrap(), Ended::Done);
    assert_eq!(host.release(&pool, endpoint(1), "fd00::2").unwrap(), Ended::Absent);
    assert_eq!(host.release_pool(&pool).unwrap(), Ended::Done);
    assert_eq!(host.release_pool(&pool).unwrap(), Ended::Absent);
    assert_eq!(host.release(&pool, endpoint(1), "fd00::2").unwrap(), Ended::Absent);
    assert_eq!(kind(host.address(&pool, endpoint(1), None)), ErrorKind::NotFound);
    assert!(host.0.is_empty(), "{:?}", host.0);
}

#[test]
fn a_refused_call_leaves_nothing_behind() {
    let host = Host::default();
    let pool = host.pool("n1:0", Some("10.1.0.0/24"), None, &[]).unwrap().pool;
    host.address(&pool, Lease::Gateway {}, None).unwrap();
    host.address(&pool, endpoint(1), None).unwrap();
    let before = format!("{:?}", host.0);
    // It had staged the removal of the gateway before it met the endpoint.
    assert_eq!(kind(host.release_pool(&pool)), ErrorKind::InUse);
    assert_eq!(format!("{:?}", host.0), before);
}

#[test]
fn more_leases_than_a_page_holds_are_searched_and_listed() {
    let host = Host::default();
    let pool = host.pool("n1:0", Some("10.1.0.0/20"), None, &[]).unwrap().pool;
    for number in 0..1300 {
        host.address(&pool, endpoint(number), None).unwrap();
    }
    assert_eq!(host.leases(&pool, 500).len(), 1300);
    host.release(&pool, endpoint(1), "10.1.0.2").unwrap();
    assert_eq!(host.address(&pool, endpoint(2000), None).unwrap(), "10.1.5.21/20");
    for number in 2001..2001 + (4094 - 1301) {
        host.address(&pool, endpoint(number), None).unwrap();
    }
    assert_eq!(host.address(&pool, endpoint(9000), None).unwrap(), "10.1.0.2/20");
    assert_eq!(kind(host.address(&pool, endpoint(9001), None)), ErrorKind::Exhausted);
}

#[test]
fn options_and_spaces_that_are_not_there_are_named() {
    let host = Host::default();
    let request = |space: &str, options: Vec<OptionValue>| RequestPool {
        key: PoolKey::parse("n1:0").unwrap(),
        space: space.into(),
        subnet: None,
        range: None,
        v6: false,
        options,
        avoid: vec![],
    };
    let error = host
        .call(|driver, cx| driver.request_pool(cx, request("global", vec![])))
        .unwrap_err();
    assert!(error.message.contains("global"), "{error}");
    let error = host
        .call(|driver, cx| driver.request_pool(cx, request(SPACE, vec![OptionValue::text("colour", "red")])))
        .unwrap_err();
    assert!(error.message.contains("colour"), "{error}");
}

#[test]
fn a_host_without_state_is_told_so() {
    let cx = Context::background();
    let driver = super::Default {
        defaults: Defaults::read(&[]).unwrap(),
    };
    let request = ReleasePool {
        pool: PoolId::parse("10.0.0.0/8").unwrap(),
    };
    assert_eq!(
        driver.release_pool(&cx, request).unwrap_err().kind,
        ErrorKind::Unsupported
    );
}
