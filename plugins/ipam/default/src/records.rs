//! Pools and leases as they lie in the host's state.
//!
//! ```text
//! key/KEY           pool ID                        what the host called it
//! pool/POOL         subnet, range, where to look   POOL is the subnet, as in 172.18.0.0/16
//! address/POOL/HEX  whose it is                    in the order of the addresses
//! lease/POOL/WHOSE  the address
//! ```

use longshore_plugin::ipam::Lease;
use longshore_plugin::state::State;
use longshore_plugin::types::{Bytes, EndpointId, IpAddr, IpNet, PoolId, PoolKey, StateKey};
use longshore_plugin::wire::{decode, encode};
use longshore_plugin::{Context, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest name of a reserved address.
const MAX_NAME: usize = 63;
/// Entries that are read at once.
const PAGE: u32 = 512;

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) key: PoolKey,
    pub(crate) subnet: IpNet,
    pub(crate) range: Option<IpNet>,
    /// Where the search for a free address begins: behind the one that was granted last.
    pub(crate) next: Option<IpAddr>,
}

/// Whose an address is, as text: the last word of a key.
pub(crate) fn whose(lease: &Lease) -> Result<String> {
    match lease {
        Lease::Gateway {} => Ok("gateway".into()),
        Lease::Endpoint(id) => Ok(format!("e:{id}")),
        Lease::Reserved(name) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) {
                return Ok(format!("r:{name}"));
            }
            Err(Error::invalid(format!(
                "the name {:?} of a reserved address is not 1 to {MAX_NAME} characters of [a-zA-Z0-9_.-]",
                name.chars().take(80).collect::<String>()
            )))
        }
    }
}

/// The lease that a text stands for.
pub(crate) fn lease(whose: &str) -> Result<Lease> {
    match whose.split_once(':') {
        None if whose == "gateway" => Ok(Lease::Gateway {}),
        Some(("e", id)) => Ok(Lease::Endpoint(EndpointId::parse(id)?)),
        Some(("r", name)) => Ok(Lease::Reserved(name.to_owned())),
        _ => Err(corrupt(whose)),
    }
}

fn corrupt(what: &str) -> Error {
    Error::corrupt(format!(
        "the ipam driver's state holds {what:?}, which it did not write; remove the networks and make them again"
    ))
}

/// An address that is somebody's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) address: IpAddr,
    pub(crate) whose: String,
}

/// The records as one call sees them.
#[derive(Debug)]
pub(crate) struct Records<'a>(State<'a>);

impl<'a> Records<'a> {
    pub(crate) fn of(cx: &'a Context) -> Self {
        Self(State::of(cx))
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.0
            .get(StateKey::parse(key)?)?
            .map(|value| decode(value.as_bytes()).map_err(|_| corrupt(key)))
            .transpose()
    }

    fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<()> {
        self.0.put(StateKey::parse(key)?, Bytes::from(encode(value)?))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.0.delete(StateKey::parse(key)?)
    }

    /// The pool of that key.
    pub(crate) fn pool_of_key(&self, key: &PoolKey) -> Result<Option<(PoolId, Pool)>> {
        let Some(id) = self.read::<PoolId>(&format!("key/{key}"))? else {
            return Ok(None);
        };
        let pool = self.pool(&id)?.ok_or_else(|| corrupt(key.as_str()))?;
        Ok(Some((id, pool)))
    }

    /// A pool; none for an ID that is not one of this driver's.
    pub(crate) fn pool(&self, id: &PoolId) -> Result<Option<Pool>> {
        match StateKey::parse(format!("pool/{id}")) {
            Ok(key) => self.read(key.as_str()),
            Err(_) => Ok(None),
        }
    }

    /// Every pool.
    pub(crate) fn pools(&self) -> Result<Vec<Pool>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.0.list("pool/", after, PAGE)?;
            for entry in &page.entries {
                all.push(decode(entry.value.as_bytes()).map_err(|_| corrupt(entry.key.as_str()))?);
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more {
                return Ok(all);
            }
        }
    }

    pub(crate) fn add_pool(&self, id: &PoolId, pool: &Pool) -> Result<()> {
        self.write(&format!("key/{}", pool.key), id)?;
        self.set_pool(id, pool)
    }

    pub(crate) fn set_pool(&self, id: &PoolId, pool: &Pool) -> Result<()> {
        self.write(&format!("pool/{id}"), pool)
    }

    pub(crate) fn remove_pool(&self, id: &PoolId, pool: &Pool) -> Result<()> {
        self.remove(&format!("key/{}", pool.key))?;
        self.remove(&format!("pool/{id}"))
    }

    /// The address that is somebody's.
    pub(crate) fn address_of(&self, pool: &PoolId, whose: &str) -> Result<Option<IpAddr>> {
        self.read(&format!("lease/{pool}/{whose}"))
    }

    /// Whose an address is.
    pub(crate) fn holder(&self, pool: &PoolId, address: IpAddr) -> Result<Option<String>> {
        self.read(&address_key(pool, address))
    }

    pub(crate) fn add_lease(&self, pool: &PoolId, held: &Held) -> Result<()> {
        self.write(&address_key(pool, held.address), &held.whose)?;
        self.write(&format!("lease/{pool}/{}", held.whose), &held.address)
    }

    pub(crate) fn remove_lease(&self, pool: &PoolId, held: &Held) -> Result<()> {
        self.remove(&address_key(pool, held.address))?;
        self.remove(&format!("lease/{pool}/{}", held.whose))
    }

    /// A page of a pool's leases from an address on, in their order, and whether there are more.
    pub(crate) fn leases(&self, pool: &PoolId, from: IpAddr, limit: u32) -> Result<(Vec<Held>, bool)> {
        let after = match from.number().checked_sub(1).and_then(|number| from.of_number(number)) {
            Some(before) => Some(StateKey::parse(address_key(pool, before))?),
            None => None,
        };
        let page = self.0.list(&format!("address/{pool}/"), after, limit.clamp(1, PAGE))?;
        let mut held = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let key = entry.key.as_str();
            let number = key
                .rsplit('/')
                .next()
                .and_then(|hex| u128::from_str_radix(hex, 16).ok());
            held.push(Held {
                address: number
                    .and_then(|number| from.of_number(number))
                    .ok_or_else(|| corrupt(key))?,
                whose: decode(entry.value.as_bytes()).map_err(|_| corrupt(key))?,
            });
        }
        Ok((held, page.more))
    }
}

/// As wide for each family, so that the order of keys is the order of addresses.
fn address_key(pool: &PoolId, address: IpAddr) -> String {
    format!("address/{pool}/{:032x}", address.number())
}
