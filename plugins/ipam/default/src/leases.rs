//! Addresses of a pool: granted to a lease, in rotation, and taken back.
//!
//! The search for a free address begins behind the one that was granted last, so that one that was
//! given back is granted again only after all others: a neighbour's memory of it never meets a new
//! owner soon.

use longshore_plugin::graph::Ended;
use longshore_plugin::ipam::{AddressGranted, Lease, Leased, Leases, List, ReleaseAddress, Released, RequestAddress};
use longshore_plugin::types::{Cursor, IpAddr, IpNet, PoolId};
use longshore_plugin::{Error, Result};

use crate::records::{self, Held, Pool, Records};

pub(crate) fn request(records: &Records<'_>, request: &RequestAddress) -> Result<AddressGranted> {
    let id = &request.pool;
    let mut pool = records
        .pool(id)?
        .ok_or_else(|| Error::not_found(format!("there is no address pool {id}")))?;
    let whose = records::whose(&request.lease)?;
    if let Some(has) = records.address_of(id, &whose)? {
        return match request.address {
            Some(wanted) if wanted != has => Err(Error::already_exists(format!(
                "this lease has {has} already, and asks for {wanted}"
            ))),
            _ => granted(&pool, has),
        };
    }
    let address = match (request.address, &request.lease) {
        (Some(wanted), _) => named(records, id, &pool, wanted)?,
        (None, Lease::Gateway {}) => first_free(records, id, all(&pool))?.ok_or_else(|| full(&pool))?,
        (None, _) => {
            let address = rotating(records, id, &pool)?.ok_or_else(|| full(&pool))?;
            pool.next = address
                .number()
                .checked_add(1)
                .and_then(|number| address.of_number(number));
            records.set_pool(id, &pool)?;
            address
        }
    };
    records.add_lease(id, &Held { address, whose })?;
    granted(&pool, address)
}

fn granted(pool: &Pool, address: IpAddr) -> Result<AddressGranted> {
    Ok(AddressGranted {
        address: IpNet::new(address, pool.subnet.prefix())?,
        data: vec![],
    })
}

fn full(pool: &Pool) -> Error {
    let what = pool.range.unwrap_or(pool.subnet);
    Error::exhausted(format!(
        "all addresses of {what} are given; remove containers, or make a network with a wider subnet"
    ))
}

/// Addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    first: IpAddr,
    last: IpAddr,
}

/// All addresses of a pool that can be somebody's: not the network's own, which IPv6 gives to
/// whichever router there is, and not IPv4's broadcast address. A network of two addresses has
/// neither (RFC 3021, RFC 6164).
fn all(pool: &Pool) -> Span {
    let subnet = pool.subnet;
    let (mut first, mut last) = (subnet.first(), subnet.last());
    if subnet.host_bits() > 1 {
        first = first.of_number(first.number() + 1).unwrap_or(first);
        if subnet.is_ipv4() {
            last = last.of_number(last.number() - 1).unwrap_or(last);
        }
    }
    Span { first, last }
}

/// Those that are granted without a wish; none where the range holds only what is nobody's.
fn range(pool: &Pool) -> Option<Span> {
    let all = all(pool);
    let span = match pool.range {
        None => all,
        Some(range) => Span {
            first: all.first.max(range.first()),
            last: all.last.min(range.last()),
        },
    };
    (span.first <= span.last).then_some(span)
}

/// The address that was asked for, if it can be had.
fn named(records: &Records<'_>, id: &PoolId, pool: &Pool, wanted: IpAddr) -> Result<IpAddr> {
    if !pool.subnet.contains(wanted) {
        return Err(Error::invalid(format!(
            "address {wanted} is not in subnet {}",
            pool.subnet
        )));
    }
    let all = all(pool);
    if wanted < all.first || wanted > all.last {
        return Err(Error::invalid(format!(
            "address {wanted} stands for all of subnet {}, and is nobody's",
            pool.subnet
        )));
    }
    match records.holder(id, wanted)? {
        None => Ok(wanted),
        Some(whose) => Err(Error::already_exists(format!(
            "address {wanted} is {}",
            match records::lease(&whose)? {
                Lease::Gateway {} => "the network's gateway".to_owned(),
                Lease::Reserved(name) => format!("reserved as {name}"),
                Lease::Endpoint(endpoint) => format!("another endpoint's ({endpoint})"),
            }
        ))),
    }
}

/// The next free address behind the one that was granted last, around the range's end.
fn rotating(records: &Records<'_>, id: &PoolId, pool: &Pool) -> Result<Option<IpAddr>> {
    let Some(range) = range(pool) else {
        return Ok(None);
    };
    let begin = pool.next.filter(|next| (range.first..=range.last).contains(next));
    let Some(begin) = begin.filter(|begin| *begin > range.first) else {
        return first_free(records, id, range);
    };
    let behind = first_free(records, id, Span { first: begin, ..range })?;
    if behind.is_some() {
        return Ok(behind);
    }
    let before = begin.number() - 1;
    match begin.of_number(before) {
        Some(last) => first_free(records, id, Span { last, ..range }),
        None => Ok(None),
    }
}

/// The first address of a span that is nobody's: the first gap in the leases.
fn first_free(records: &Records<'_>, id: &PoolId, span: Span) -> Result<Option<IpAddr>> {
    let mut candidate = span.first;
    loop {
        let (page, more) = records.leases(id, candidate, u32::MAX)?;
        for held in &page {
            if held.address > candidate {
                return Ok((candidate <= span.last).then_some(candidate));
            }
            let behind = candidate
                .number()
                .checked_add(1)
                .and_then(|number| candidate.of_number(number));
            match behind.filter(|next| *next <= span.last) {
                Some(next) => candidate = next,
                None => return Ok(None),
            }
        }
        if !more {
            return Ok(Some(candidate));
        }
    }
}

pub(crate) fn release(records: &Records<'_>, request: &ReleaseAddress) -> Result<Released> {
    let id = &request.pool;
    let whose = records::whose(&request.lease)?;
    if records.pool(id)?.is_none() {
        return Ok(Released { outcome: Ended::Absent });
    }
    match records.holder(id, request.address)? {
        None => Ok(Released { outcome: Ended::Absent }),
        Some(holder) if holder != whose => Err(Error::in_use(format!(
            "address {} is not this lease's; it stays",
            request.address
        ))),
        Some(_) => {
            let held = Held {
                address: request.address,
                whose,
            };
            records.remove_lease(id, &held)?;
            Ok(Released { outcome: Ended::Done })
        }
    }
}

pub(crate) fn list(records: &Records<'_>, request: &List) -> Result<Leases> {
    let id = &request.pool;
    let pool = records
        .pool(id)?
        .ok_or_else(|| Error::not_found(format!("there is no address pool {id}")))?;
    let from = match &request.after {
        None => pool.subnet.first(),
        Some(cursor) => std::str::from_utf8(cursor.as_bytes())
            .map_err(|_| Error::invalid("the cursor is not of this driver"))
            .and_then(IpAddr::parse)?,
    };
    let (page, more) = records.leases(id, from, request.limit)?;
    let behind = page
        .last()
        .filter(|_| more)
        .and_then(|last| last.address.of_number(last.address.number() + 1));
    Ok(Leases {
        leases: page
            .into_iter()
            .map(|held| {
                Ok(Leased {
                    lease: records::lease(&held.whose)?,
                    address: held.address,
                })
            })
            .collect::<Result<_>>()?,
        next: behind.map(|next| Cursor::parse(next.to_string())).transpose()?,
    })
}
