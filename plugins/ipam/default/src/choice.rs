//! Which pool a network gets that names none.
//!
//! Here is arithmetic only; what is taken already is told by the caller.

use longshore_plugin::driver::OptionValue;
use longshore_plugin::types::{IpAddr, IpNet, PoolKey};
use longshore_plugin::{Error, Result};

use crate::POOLS;

/// Docker's default pools, in Docker's order.
pub(crate) const DOCKERS: &str = "base=172.17.0.0/16,size=16;base=172.18.0.0/16,size=16;base=172.19.0.0/16,size=16;\
     base=172.20.0.0/14,size=16;base=172.24.0.0/14,size=16;base=172.28.0.0/14,size=16;base=192.168.0.0/16,size=20";

/// Prefix of a network of IPv6 that names none.
const SUBNET6: u8 = 64;

/// From where pools are chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Defaults(Vec<Base>);

/// A part of the address space that is divided into pools.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Base {
    net: IpNet,
    /// Prefix of each pool.
    size: u8,
}

impl Defaults {
    /// Reads the driver's options.
    pub(crate) fn read(options: &[OptionValue]) -> Result<Self> {
        let mut text = DOCKERS;
        for option in options {
            match option.as_text() {
                Some(value) if option.name == POOLS => text = value,
                _ => {
                    return Err(Error::invalid(format!(
                        "the default ipam driver has no option {:?}; it takes {POOLS}",
                        option.name
                    )));
                }
            }
        }
        text.split(';').map(Base::read).collect::<Result<_>>().map(Self)
    }

    /// The first pool that meets nothing of what is taken.
    pub(crate) fn choose(&self, v6: bool, key: &PoolKey, taken: &[IpNet]) -> Result<IpNet> {
        let own = self.0.iter().filter(|base| base.net.is_ipv6() == v6);
        let unique = unique_local(key)?;
        // Where nobody named pools of IPv6, a prefix of our own that nobody else is likely to have.
        let fallback = (v6 && own.clone().count() == 0).then_some(&unique);
        own.chain(fallback)
            .find_map(|base| base.first_free(taken))
            .ok_or_else(|| {
                Error::exhausted(format!(
                    "all default {} pools are in use by networks or routes of this host; \
                     give the network a --subnet, remove networks, or set {POOLS}",
                    if v6 { "IPv6" } else { "IPv4" }
                ))
            })
    }
}

impl Base {
    /// Reads `base=NET,size=PREFIX`.
    fn read(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("option {POOLS}: {text:?} is not base=NET,size=PREFIX"));
        let (base, size) = text.trim().split_once(',').ok_or_else(wrong)?;
        let net = IpNet::parse(base.trim().strip_prefix("base=").ok_or_else(wrong)?)
            .map_err(|error| Error::invalid(format!("option {POOLS}: {}", error.message)))?;
        let size: u8 = size
            .trim()
            .strip_prefix("size=")
            .and_then(|size| size.parse().ok())
            .ok_or_else(wrong)?;
        if !net.is_network() {
            return Err(Error::invalid(format!(
                "option {POOLS}: {net} should be {}",
                net.network()
            )));
        }
        if size < net.prefix() || size > net.address().bits() - 1 {
            return Err(Error::invalid(format!(
                "option {POOLS}: {net} cannot be divided into pools of size {size}"
            )));
        }
        Ok(Self { net, size })
    }

    /// The first pool of this part that meets nothing. A wide obstacle is passed in one step.
    fn first_free(self, taken: &[IpNet]) -> Option<IpNet> {
        let mut pool = IpNet::new(self.net.first(), self.size).ok()?;
        loop {
            let Some(widest) = taken
                .iter()
                .filter(|net| net.overlaps(pool))
                .min_by_key(|net| net.prefix())
            else {
                return Some(pool);
            };
            let behind = widest.last().number().max(pool.last().number()).checked_add(1)?;
            let next = IpNet::new(pool.address().of_number(behind)?, self.size).ok()?;
            if !self.net.contains(next.address()) {
                return None;
            }
            // Behind the end of a wider or equal network a pool of this size begins.
            pool = next.network();
        }
    }
}

/// A prefix of 48 bits that belongs to the key of the first pool that asks (RFC 4193 wants one that
/// others are unlikely to choose).
fn unique_local(key: &PoolKey) -> Result<Base> {
    let hash = key.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let prefix = (0xfd_u128 << 40 | u128::from(hash & 0xff_ffff_ffff)) << 80;
    let address = IpAddr::LOOPBACK_V6
        .of_number(prefix)
        .ok_or_else(|| Error::broken("a unique local address is an address"))?;
    Ok(Base {
        net: IpNet::new(address, 48)?,
        size: SUBNET6,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use longshore_plugin::ErrorKind;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| IpNet::parse(text).unwrap()).collect()
    }

    fn defaults(text: &str) -> Result<Defaults> {
        Defaults::read(&[OptionValue::text(POOLS, text)])
    }

    fn key() -> PoolKey {
        PoolKey::parse("network:0").unwrap()
    }

    fn choose(defaults: &Defaults, taken: &[&str]) -> String {
        defaults
            .choose(false, &key(), &nets(taken))
            .map_or_else(|error| error.kind.as_str().to_owned(), |net| net.to_string())
    }

    #[test]
    fn pools_come_in_dockers_order() {
        let defaults = Defaults::read(&[]).unwrap();
        for (taken, wanted) in [
            (&[][..], "172.17.0.0/16"),
            (&["172.17.0.0/16"], "172.18.0.0/16"),
            (&["172.17.4.0/24", "172.18.0.0/15"], "172.20.0.0/16"),
            (&["172.16.0.0/12"], "192.168.0.0/20"),
            (
                &["172.16.0.0/12", "192.168.1.0/24", "192.168.16.7/32"],
                "192.168.32.0/20",
            ),
            (&["172.16.0.0/12", "192.168.0.0/16"], "exhausted"),
            (&["0.0.0.0/0"], "exhausted"),
            (&["::/0"], "172.17.0.0/16"),
        ] {
            assert_eq!(choose(&defaults, taken), wanted, "{taken:?}");
        }
    }

    #[test]
    fn a_part_is_divided_to_its_last_pool() {
        let defaults = defaults("base=10.0.0.0/30,size=31; base=255.255.255.0/24,size=24").unwrap();
        assert_eq!(choose(&defaults, &["10.0.0.0/31"]), "10.0.0.2/31");
        assert_eq!(choose(&defaults, &["10.0.0.0/30"]), "255.255.255.0/24");
        assert_eq!(choose(&defaults, &["10.0.0.0/30", "255.255.255.255/32"]), "exhausted");
    }

    #[test]
    fn a_wide_part_with_a_wide_obstacle_takes_one_step() {
        let defaults = defaults("base=10.0.0.0/8,size=31").unwrap();
        assert_eq!(choose(&defaults, &["10.0.0.0/9"]), "10.128.0.0/31");
    }

    #[test]
    fn ipv6_has_a_prefix_of_its_own_unless_config_names_one() {
        let plain = Defaults::read(&[]).unwrap();
        let first = plain.choose(true, &key(), &[]).unwrap();
        assert!(first.prefix() == 64 && first.to_string().starts_with("fd"), "{first}");
        let second = plain.choose(true, &key(), &[first]).unwrap();
        assert!(!second.overlaps(first));
        let other = PoolKey::parse("network:1").unwrap();
        assert_ne!(plain.choose(true, &other, &[]).unwrap(), first);
        let named = defaults("base=2001:db8::/32,size=64").unwrap();
        assert_eq!(named.choose(true, &key(), &[]).unwrap().to_string(), "2001:db8::/64");
        assert_eq!(named.choose(false, &key(), &[]).unwrap_err().kind, ErrorKind::Exhausted);
    }

    #[test]
    fn a_bad_option_is_refused_and_named() {
        for bad in [
            "",
            "10.0.0.0/8",
            "base=10.0.0.0/8",
            "base=10.0.0.1/8,size=16",
            "base=10.0.0.0/8,size=7",
            "base=10.0.0.0/8,size=32",
            "base=10.0.0.0/8,size=x",
            "base=x,size=16",
        ] {
            let error = defaults(bad).unwrap_err();
            assert!(error.message.contains(POOLS), "{bad}: {}", error.message);
        }
        assert!(Defaults::read(&[OptionValue::text("pools", "x")]).is_err());
    }
}
