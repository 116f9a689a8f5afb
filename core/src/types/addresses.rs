//! Addresses as they stand in messages: IP addresses, networks, hardware addresses.
//!
//! Here live checked values and their arithmetic. Which address belongs to whom is the business of
//! [`ipam`](crate::ipam); no socket and no name lookup is here.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::schema::newtype_data;

macro_rules! text_form {
    ($name:ident, $rule:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl $name {
            /// Checks and takes a value that is written out.
            ///
            /// # Errors
            /// `Invalid`, naming the rule, when the text breaks it.
            pub fn parse(text: impl AsRef<str>) -> Result<Self> {
                text.as_ref().parse()
            }

            fn refuse(text: &str) -> Error {
                let shown: String = text.chars().take(80).collect();
                Error::invalid(format!(concat!("{:?} is not ", $rule), shown))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        newtype_data!($name, $rule);
    };
}

/// An IPv4 or IPv6 address. An IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`) is none: it would
/// pass by whoever compares addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpAddr(std::net::IpAddr);

text_form!(
    IpAddr,
    "an IPv4 or IPv6 address (without zone, and not an IPv4-mapped one)"
);

impl IpAddr {
    /// `127.0.0.1`.
    pub const LOOPBACK_V4: Self = Self(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    /// `::1`.
    pub const LOOPBACK_V6: Self = Self(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST));

    /// The standard library's form.
    pub fn get(self) -> std::net::IpAddr {
        self.0
    }

    /// Whether this is an IPv4 address.
    pub fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
    }

    /// Whether this is an IPv6 address.
    pub fn is_ipv6(self) -> bool {
        self.0.is_ipv6()
    }

    /// Whether this is the address that stands for all of a host's own: `0.0.0.0` or `::`.
    pub fn is_unspecified(self) -> bool {
        self.0.is_unspecified()
    }

    /// Whether this is an address of the loopback link.
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }

    /// Bits of an address of this family: 32 or 128.
    pub fn bits(self) -> u8 {
        if self.is_ipv4() { 32 } else { 128 }
    }

    /// The address as a number.
    pub fn number(self) -> u128 {
        match self.0 {
            std::net::IpAddr::V4(address) => u128::from(u32::from(address)),
            std::net::IpAddr::V6(address) => u128::from(address),
        }
    }

    /// The address of the same family that a number is; `None` beyond the family's last, and for an
    /// IPv4-mapped one.
    pub fn of_number(self, number: u128) -> Option<Self> {
        if self.is_ipv4() {
            let number = u32::try_from(number).ok()?;
            return Some(Self(Ipv4Addr::from(number).into()));
        }
        Self::try_from(std::net::IpAddr::from(Ipv6Addr::from(number))).ok()
    }
}

impl TryFrom<std::net::IpAddr> for IpAddr {
    type Error = Error;

    fn try_from(address: std::net::IpAddr) -> Result<Self> {
        match address {
            std::net::IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => Err(Self::refuse(&address.to_string())),
            _ => Ok(Self(address)),
        }
    }
}

impl From<Ipv4Addr> for IpAddr {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.into())
    }
}

impl From<IpAddr> for std::net::IpAddr {
    fn from(address: IpAddr) -> Self {
        address.0
    }
}

impl FromStr for IpAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse::<std::net::IpAddr>()
            .map_err(|_| Self::refuse(text))
            .and_then(Self::try_from)
    }
}

impl fmt::Display for IpAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An address with the length of its network's prefix: `10.88.0.7/16`. The bits behind the prefix
/// may be set (an address of a link) or not (a network).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

text_form!(IpNet, "an address with its prefix's length, as in 10.88.0.7/16");

impl IpNet {
    /// An address in a network.
    ///
    /// # Errors
    /// `Invalid` for a prefix longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self> {
        if prefix > address.bits() {
            return Err(Self::refuse(&format!("{address}/{prefix}")));
        }
        Ok(Self { address, prefix })
    }

    /// Just this one address.
    pub fn single(address: IpAddr) -> Self {
        Self {
            address,
            prefix: address.bits(),
        }
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The prefix's length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether this is of IPv4.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether this is of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// Bits behind the prefix.
    pub fn host_bits(self) -> u8 {
        self.address.bits() - self.prefix
    }

    /// A one for each bit behind the prefix.
    fn host_mask(self) -> u128 {
        match self.host_bits() {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }

    /// The network: the same with no bit set behind the prefix.
    #[must_use]
    pub fn network(self) -> Self {
        Self {
            address: self.first(),
            prefix: self.prefix,
        }
    }

    /// Whether no bit is set behind the prefix.
    pub fn is_network(self) -> bool {
        self.first() == self.address
    }

    /// The network's first address.
    pub fn first(self) -> IpAddr {
        self.address
            .of_number(self.address.number() & !self.host_mask())
            .unwrap_or(self.address)
    }

    /// The network's last address, which IPv4 uses for broadcast.
    pub fn last(self) -> IpAddr {
        self.address
            .of_number(self.address.number() | self.host_mask())
            .unwrap_or(self.address)
    }

    /// Whether an address lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4()
            && address.number() & !self.host_mask() == self.address.number() & !self.host_mask()
    }

    /// Whether another network lies in this one, or is it.
    pub fn holds(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

impl FromStr for IpNet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').filter(|(_, prefix)| {
            (1..=3).contains(&prefix.len())
                && prefix.bytes().all(|byte| byte.is_ascii_digit())
                && (prefix.len() == 1 || !prefix.starts_with('0'))
        });
        let (address, prefix) = parts.ok_or_else(|| Self::refuse(text))?;
        let prefix = prefix.parse().map_err(|_| Self::refuse(text))?;
        Self::new(address.parse()?, prefix)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A link's hardware address, such as `02:42:0a:58:00:07`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

text_form!(
    Mac,
    "a hardware address: six pairs of hexadecimal digits with ':' between them"
);

impl Mac {
    /// The address of these bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether one link can have it: not a group's, not all zeros.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| Self::refuse(text))?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(Self::refuse(text)),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn net(text: &str) -> IpNet {
        IpNet::parse(text).unwrap()
    }

    #[test]
    fn addresses_have_one_spelling_of_each_family() {
        for bad in [
            "",
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "fe80::1%eth0",
            "::ffff:10.0.0.1",
            "10.0.0.1 ",
            "x",
        ] {
            assert!(IpAddr::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(IpAddr::parse("FD00::0:1").unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn networks_are_parsed_strictly() {
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "/8",
            "a/8",
        ] {
            assert!(IpNet::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(net("10.0.0.7/0").network(), net("0.0.0.0/0"));
        assert_eq!(net("fd00::1/64").to_string(), "fd00::1/64");
    }

    #[test]
    fn a_network_knows_its_ends_and_what_lies_in_it() {
        let middle = net("10.88.5.7/20");
        assert_eq!(middle.network(), net("10.88.0.0/20"));
        assert_eq!(middle.last().to_string(), "10.88.15.255");
        assert!(middle.contains(IpAddr::parse("10.88.15.1").unwrap()));
        assert!(!middle.contains(IpAddr::parse("10.88.16.1").unwrap()));
        assert!(!net("::/0").contains(IpAddr::parse("10.88.16.1").unwrap()));
        assert!(!net("0.0.0.0/0").contains(IpAddr::LOOPBACK_V6));
        assert_eq!(
            net("::/0").last().to_string(),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        );
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        let wide = net("172.16.0.0/12");
        assert!(wide.overlaps(net("172.17.0.0/16")) && net("172.17.0.0/16").overlaps(wide));
        assert!(wide.holds(wide) && !net("172.17.0.0/16").holds(wide));
        assert!(!net("172.17.0.0/16").overlaps(net("172.18.0.0/16")));
        assert!(!net("0.0.0.0/0").overlaps(net("::/0")));
    }

    #[test]
    fn hardware_addresses_are_six_pairs() {
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
            "02:42:ac:11:00:0g",
            "0242ac110002",
        ] {
            assert!(Mac::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Mac::parse("02:42:AC:11:00:02").unwrap().to_string(),
            "02:42:ac:11:00:02"
        );
        assert!(!Mac::parse("01:00:5e:00:00:01").unwrap().is_unicast());
        assert!(!Mac::new([0; 6]).is_unicast());
    }
}
