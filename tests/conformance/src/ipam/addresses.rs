//! Addresses: which one, whose, and until when.

use std::collections::BTreeSet;

use super::*;

pub(super) fn the_same_lease_is_the_same_address(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    let first = bench.address(&pool, endpoint(1))?;
    let other = bench.address(&pool, endpoint(2))?;
    check(first != other, || format!("two leases have {first}"))?;
    let again = bench.address(&pool, endpoint(1))?;
    check(again == first, || format!("the lease had {first} and has {again}"))?;
    let named = bench.request(&pool, endpoint(1), Some(&first.to_string()))?.address;
    check(named.address() == first && named.prefix() == 24, || {
        format!("asked for {first} again, it is {named}")
    })
}

pub(super) fn a_named_address_is_given_or_already_exists(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    let named = bench.request(&pool, endpoint(1), Some("10.91.0.77"))?.address;
    check(named == IpNet::parse("10.91.0.77/24")?, || {
        format!("asked for 10.91.0.77, it is {named}")
    })?;
    expect(
        bench.request(&pool, endpoint(2), Some("10.91.0.77")),
        ErrorKind::AlreadyExists,
    )?;
    for foreign in ["10.92.0.1", "fd00::1"] {
        expect(bench.request(&pool, endpoint(2), Some(foreign)), ErrorKind::Invalid)?;
    }
    bench.release(&pool, endpoint(1), named.address())?;
    bench.request(&pool, endpoint(2), Some("10.91.0.77")).map(drop)?;
    Ok(())
}

/// Takes addresses until there are no more.
fn drain(bench: &Bench, pool: &PoolId) -> Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for number in 0..1000 {
        match bench.request(pool, endpoint(number), None) {
            Ok(granted) => all.push(granted.address.address()),
            Err(error) if error.kind == ErrorKind::Exhausted => return Ok(all),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Differs("a pool of a few addresses has no end".into()))
}

fn shown(addresses: &[IpAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    all.join(" ")
}

pub(super) fn network_and_broadcast_are_never_given(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.8/29")?;
    for nobodys in ["10.91.0.8", "10.91.0.15"] {
        expect(bench.request(&pool, endpoint(9), Some(nobodys)), ErrorKind::Invalid)?;
    }
    let mut all = drain(bench, &pool)?;
    all.sort_unstable();
    check(
        shown(&all) == "10.91.0.9 10.91.0.10 10.91.0.11 10.91.0.12 10.91.0.13 10.91.0.14",
        || format!("10.91.0.8/29 gave {}", shown(&all)),
    )
}

pub(super) fn the_gateway_is_never_given(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.8/29")?;
    let gateway = bench.address(&pool, Lease::Gateway {})?;
    bench.request(&pool, Lease::Reserved("router".into()), Some("10.91.0.12"))?;
    let reserved = IpAddr::parse("10.91.0.12")?;
    expect(
        bench.request(&pool, endpoint(9), Some(&gateway.to_string())),
        ErrorKind::AlreadyExists,
    )?;
    let all = drain(bench, &pool)?;
    check(
        all.len() == 4 && !all.contains(&gateway) && !all.contains(&reserved),
        || format!("beside gateway {gateway} and {reserved} it gave {}", shown(&all)),
    )
}

pub(super) fn a_full_pool_is_exhausted(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.8/30")?;
    let all = drain(bench, &pool)?;
    check(all.len() == 2, || format!("10.91.0.8/30 gave {}", shown(&all)))?;
    let first = bench.address(&pool, endpoint(0))?;
    check(all.contains(&first), || "a lease of a full pool is another one".into())?;
    bench.release(&pool, endpoint(0), first)?;
    let again = bench.address(&pool, endpoint(7))?;
    check(again == first, || format!("{first} was free, {again} was given"))
}

pub(super) fn a_sub_range_is_kept_to(bench: &Bench) -> CaseResult {
    let range = IpNet::parse("10.91.5.4/30")?;
    let mut wish = bench.wish("n1:0", Some("10.91.0.0/16"))?;
    wish.range = Some(range);
    let pool = bench.ask_pool(wish)?.pool;
    let all = drain(bench, &pool)?;
    check(
        all.len() == 4 && all.iter().all(|address| range.contains(*address)),
        || format!("{range} of 10.91.0.0/16 gave {}", shown(&all)),
    )?;
    // A wish may leave it.
    bench.request(&pool, endpoint(77), Some("10.91.0.7"))?;
    let mut wish = bench.wish("n2:0", Some("10.92.0.0/16"))?;
    wish.range = Some(range);
    expect(bench.ask_pool(wish), ErrorKind::Invalid)
}

pub(super) fn a_freed_address_is_reused_last(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.8/29")?;
    let first = bench.address(&pool, endpoint(1))?;
    let second = bench.address(&pool, endpoint(2))?;
    bench.release(&pool, endpoint(1), first)?;
    let mut later = vec![];
    for number in 3..8 {
        later.push(bench.address(&pool, endpoint(number))?);
    }
    check(later.last() == Some(&first) && !later.contains(&second), || {
        format!("{first} was freed, then came {}", shown(&later))
    })
}

pub(super) fn a_hundred_parallel_requests_are_distinct(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    let answers: Vec<Answer<IpAddr>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|number| {
                let pool = &pool;
                scope.spawn(move || {
                    bench
                        .request(pool, endpoint(number), None)
                        .map(|granted| granted.address.address())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(longshore_core::Error::broken("a caller panicked")))
            })
            .collect()
    });
    let all = answers.into_iter().collect::<Answer<BTreeSet<IpAddr>>>()?;
    check(all.len() == 100, || format!("100 leases have {} addresses", all.len()))
}

pub(super) fn leases_survive_a_new_instance(bench: &Bench) -> CaseResult {
    let one = bench.driver()?;
    let granted = bench.ask_pool(bench.wish("n1:0", Some("10.91.0.0/24"))?)?;
    let request = |number: u32| RequestAddress {
        pool: granted.pool.clone(),
        lease: endpoint(number),
        address: None,
        mac: None,
        options: vec![],
    };
    let mut before = vec![];
    for number in 0..7 {
        let answer = bench.call_on(&*one, |driver, cx| driver.request_address(cx, request(number)))?;
        before.push(answer.address.address());
    }
    drop(one);
    for (number, address) in (0..).zip(&before) {
        let again = bench.address(&granted.pool, endpoint(number))?;
        check(again == *address, || format!("the lease had {address} and has {again}"))?;
    }
    if !bench.capabilities.lists {
        return Ok(());
    }
    let listed = bench.leases(&granted.pool)?;
    for (number, address) in (0..).zip(before) {
        check(
            listed.contains(&Leased {
                lease: endpoint(number),
                address,
            }),
            || format!("the list lacks {address}"),
        )?;
    }
    let in_order = listed
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.address < b.address));
    check(in_order && listed.len() == 7, || {
        format!("the list of 7 leases has {} or another order", listed.len())
    })
}

pub(super) fn v6_pools_of_64_bits_need_no_list(bench: &Bench) -> CaseResult {
    let subnet = IpNet::parse("fd91::/64")?;
    let pool = bench.pool("n1:1", "fd91::/64")?;
    let gateway = bench.address(&pool, Lease::Gateway {})?;
    let mut all = BTreeSet::from([gateway]);
    for number in 0..20 {
        all.insert(bench.address(&pool, endpoint(number))?);
    }
    check(all.len() == 21, || "two leases have one address".into())?;
    check(all.iter().all(|address| subnet.contains(*address)), || {
        "an address is outside its pool".into()
    })?;
    check(!all.contains(&subnet.first()), || {
        "the routers' address was given".into()
    })?;
    bench.request(&pool, endpoint(77), Some("fd91::ffff:ffff:ffff:ffff"))?;
    let mut wish = bench.wish("n2:1", None)?;
    wish.v6 = true;
    let chosen = bench.ask_pool(wish)?.subnet;
    check(chosen.is_ipv6() && !chosen.overlaps(subnet), || {
        format!("asked for a pool of IPv6, got {chosen}")
    })
}

pub(super) fn release_of_anothers_lease_is_in_use(bench: &Bench) -> CaseResult {
    let pool = bench.pool("n1:0", "10.91.0.0/24")?;
    let address = bench.address(&pool, endpoint(1))?;
    expect(bench.release(&pool, endpoint(2), address), ErrorKind::InUse)?;
    let again = bench.address(&pool, endpoint(1))?;
    check(again == address, || "the lease was lost all the same".into())
}

pub(super) fn replay_after_restart_gives_the_same(bench: &Bench) -> CaseResult {
    let wish = bench.wish("n1:0", Some("10.91.0.0/24"))?;
    let pool = bench.ask_pool(wish.clone())?.pool;
    let first = bench.address(&pool, endpoint(1))?;
    // What an engine does when it starts: the same requests, with the addresses that it knows.
    let again = bench.ask_pool(wish)?.pool;
    check(again == pool, || format!("the pool was {pool} and is {again}"))?;
    let replayed = bench.request(&pool, endpoint(1), Some(&first.to_string()))?.address;
    check(replayed.address() == first, || {
        format!("the lease had {first} and has {replayed}")
    })
}
