//! Pools: granted to a key, and taken back when they are empty.

use longshore_plugin::graph::Ended;
use longshore_plugin::ipam::{PoolGranted, Released, RequestPool};
use longshore_plugin::types::{IpNet, PoolId};
use longshore_plugin::{Error, Result};

use crate::choice::Defaults;
use crate::records::{Pool, Records};

/// Nets in which no network can be.
const UNFIT: [&str; 6] = [
    "127.0.0.0/8",
    "224.0.0.0/3",
    "0.0.0.0/8",
    "::/16",
    "fe80::/10",
    "ff00::/8",
];

pub(crate) fn request(records: &Records<'_>, defaults: &Defaults, request: &RequestPool) -> Result<PoolGranted> {
    if let Some((id, pool)) = records.pool_of_key(&request.key)? {
        return again(id, &pool, request);
    }
    let pools = records.pools()?;
    let subnet = match request.subnet {
        Some(subnet) => {
            check(subnet, request)?;
            if let Some(other) = pools.iter().find(|pool| pool.subnet.overlaps(subnet)) {
                return Err(Error::invalid(format!(
                    "subnet {subnet} overlaps {}, which another network has; choose another one",
                    other.subnet
                )));
            }
            subnet
        }
        None => {
            if let Some(range) = request.range {
                return Err(Error::invalid(format!("range {range} needs the subnet that it is in")));
            }
            let mut taken: Vec<IpNet> = pools.iter().map(|pool| pool.subnet).collect();
            // A default route meets everything and says nothing about who has what.
            taken.extend(request.avoid.iter().filter(|net| net.prefix() > 0));
            defaults.choose(request.v6, &request.key, &taken)?
        }
    };
    let id = PoolId::parse(subnet.to_string())?;
    records.add_pool(
        &id,
        &Pool {
            key: request.key.clone(),
            subnet,
            range: request.range,
            next: None,
        },
    )?;
    Ok(granted(id, subnet))
}

fn granted(pool: PoolId, subnet: IpNet) -> PoolGranted {
    PoolGranted {
        pool,
        subnet,
        data: vec![],
    }
}

/// A key that has a pool gets it again, if the request is still the same.
fn again(id: PoolId, pool: &Pool, request: &RequestPool) -> Result<PoolGranted> {
    let same = request.subnet.is_none_or(|subnet| subnet == pool.subnet)
        && request.range == pool.range
        && request.v6 == pool.subnet.is_ipv6();
    if same {
        return Ok(granted(id, pool.subnet));
    }
    Err(Error::already_exists(format!(
        "pool key {} has {} already, with another request",
        request.key, pool.subnet
    )))
}

/// Checks a subnet that somebody named.
fn check(subnet: IpNet, request: &RequestPool) -> Result<()> {
    let invalid = |what: String| Err(Error::invalid(what));
    if subnet.is_ipv6() != request.v6 {
        return invalid(format!("subnet {subnet} is of the other family"));
    }
    if !subnet.is_network() {
        return invalid(format!("subnet {subnet} should be {}", subnet.network()));
    }
    if subnet.host_bits() == 0 {
        return invalid(format!("subnet {subnet} has no room for a container"));
    }
    for unfit in UNFIT {
        if IpNet::parse(unfit)?.overlaps(subnet) {
            return invalid(format!("subnet {subnet} meets {unfit}, which has a meaning of its own"));
        }
    }
    if let Some(range) = request.range {
        if !range.is_network() {
            return invalid(format!("range {range} should be {}", range.network()));
        }
        if !subnet.holds(range) {
            return invalid(format!("range {range} is not in subnet {subnet}"));
        }
    }
    Ok(())
}

pub(crate) fn release(records: &Records<'_>, id: &PoolId) -> Result<Released> {
    let Some(pool) = records.pool(id)? else {
        return Ok(Released { outcome: Ended::Absent });
    };
    let mut from = pool.subnet.first();
    loop {
        let (page, more) = records.leases(id, from, u32::MAX)?;
        for held in &page {
            if held.whose.starts_with("e:") {
                return Err(Error::in_use(format!(
                    "pool {} is in use: {} is an endpoint's",
                    pool.subnet, held.address
                )));
            }
            records.remove_lease(id, held)?;
        }
        match page.last().filter(|_| more) {
            Some(last) => from = last.address,
            None => break,
        }
    }
    records.remove_pool(id, &pool)?;
    Ok(Released { outcome: Ended::Done })
}
