//! Pools: which one, whose, and until when.

use super::*;

pub(super) fn a_default_pool_avoids_host_routes(bench: &Bench) -> CaseResult {
    let first = bench.ask_pool(bench.wish("n1:0", None)?)?.subnet;
    check(first.is_network() && first.is_ipv4(), || {
        format!("{first} is no IPv4 network")
    })?;
    let mut wish = bench.wish("n2:0", None)?;
    // A route wider than a pool, one narrower, and the default route, which says nothing.
    let narrow = IpNet::new(first.last(), first.address().bits())?;
    let everything = IpNet::parse("0.0.0.0/0")?;
    wish.avoid = vec![narrow, everything];
    let second = bench.ask_pool(wish)?.subnet;
    check(!second.overlaps(first), || format!("{second} meets {first}"))?;
    let mut wish = bench.wish("n3:0", None)?;
    let wide = IpNet::new(second.address(), second.prefix().saturating_sub(1))?.network();
    wish.avoid = vec![wide];
    let third = bench.ask_pool(wish)?.subnet;
    check(!third.overlaps(wide), || format!("{third} meets the route {wide}"))
}

pub(super) fn the_same_pool_key_is_the_same_pool(bench: &Bench) -> CaseResult {
    let first = bench.ask_pool(bench.wish("n1:0", None)?)?;
    let again = bench.ask_pool(bench.wish("n1:0", None)?)?;
    check((&again.pool, again.subnet) == (&first.pool, first.subnet), || {
        format!("the key had {} and has {}", first.subnet, again.subnet)
    })?;
    let other = bench.ask_pool(bench.wish("n2:0", None)?)?;
    check(other.pool != first.pool && !other.subnet.overlaps(first.subnet), || {
        format!("another key got {} beside {}", other.subnet, first.subnet)
    })
}

pub(super) fn overlapping_pools_are_refused(bench: &Bench) -> CaseResult {
    bench.pool("n1:0", "10.91.0.0/16")?;
    for subnet in ["10.91.0.0/16", "10.91.7.0/24", "10.0.0.0/8"] {
        expect(bench.ask_pool(bench.wish("n2:0", Some(subnet))?), ErrorKind::Invalid)?;
    }
    bench.pool("n2:0", "10.92.0.0/16").map(drop)
}

pub(super) fn release_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    let nobodys = IpAddr::parse("10.91.0.77")?;
    let outcome = bench.release(&pool, endpoint(1), nobodys)?;
    check(outcome == Ended::Absent, || {
        "an address that is nobody's was released".into()
    })?;
    let outcome = bench.release_pool(&pool)?;
    check(outcome == Ended::Done, || "the pool was not released".into())?;
    for outcome in [bench.release_pool(&pool)?, bench.release(&pool, endpoint(1), nobodys)?] {
        check(outcome == Ended::Absent, || "what is gone was released again".into())?;
    }
    // Its addresses are free for another pool.
    bench.pool("n2:0", "10.91.0.0/20").map(drop)
}

pub(super) fn a_pool_with_leases_is_in_use(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    bench.address(&pool, Lease::Gateway {})?;
    bench.request(&pool, Lease::Reserved("router".into()), Some("10.91.0.9"))?;
    let address = bench.address(&pool, endpoint(1))?;
    expect(bench.release_pool(&pool), ErrorKind::InUse)?;
    // It was not released in part either.
    expect(
        bench.request(&pool, endpoint(2), Some("10.91.0.9")),
        ErrorKind::AlreadyExists,
    )?;
    bench.release(&pool, endpoint(1), address)?;
    let outcome = bench.release_pool(&pool)?;
    check(outcome == Ended::Done, || "the gateway held the pool".into())
}
