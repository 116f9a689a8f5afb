//! Newtypes that are checked once, at the edge, and never again: identifiers, paths, notes.
//!
//! A value of one of these types cannot name anything outside its place. No `String` is used as an
//! identifier inside Longshore.

use std::fmt;

use longshore_macros::Data;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::schema::newtype_data;

pub use addresses::{IpAddr, IpNet, Mac};

/// Longest `String` that a message may hold, in bytes.
pub const MAX_STRING: usize = 4096;

macro_rules! string_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a value.
            ///
            /// # Errors
            /// `Invalid`, naming the rule, when the value breaks it.
            pub fn parse(value: impl Into<String>) -> Result<Self> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    return Ok(Self(value));
                }
                let mut shown: String = value.chars().take(80).collect();
                if shown.len() < value.len() {
                    shown.push('…');
                }
                Err(Error::invalid(format!(concat!($what, " {:?} is not ", $rule), shown)))
            }

            /// The value as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(value: String) -> Result<Self> {
                Self::parse(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(value: &str) -> Result<Self> {
                Self::parse(value)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                Self::parse(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        newtype_data!($name, $rule);
    };
}

fn id_characters(value: &str) -> bool {
    !value.starts_with('-')
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn hex64(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

string_type!(
    /// The cache ID of one layer in one driver. Docker's term; never a chain ID.
    LayerId, "layer ID", "20 to 80 characters of [a-z0-9-], not leading with '-'",
    |v| (20..=80).contains(&v.len()) && id_characters(v)
);
string_type!(
    /// A volume's name, by Docker's rule for names.
    VolumeName, "volume name", "2 to 255 characters of [a-zA-Z0-9][a-zA-Z0-9_.-]",
    |v| (2..=255).contains(&v.len())
        && v.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
);
string_type!(
    /// One consumer's mount of a volume.
    MountId, "mount ID", "1 to 80 characters of [a-z0-9-], not leading with '-'",
    |v| (1..=80).contains(&v.len()) && id_characters(v)
);
string_type!(
    /// A container's ID.
    ContainerId, "container ID", "64 hexadecimal digits in lower case", hex64
);
string_type!(
    /// The ID of one `exec` in a container.
    ExecId, "exec ID", "64 hexadecimal digits in lower case", hex64
);
string_type!(
    /// A network's ID.
    NetworkId, "network ID", "64 hexadecimal digits in lower case", hex64
);
string_type!(
    /// The ID of one container's attachment to one network.
    EndpointId, "endpoint ID", "64 hexadecimal digits in lower case", hex64
);
string_type!(
    /// The name of a network link, as the kernel allows it (`IFNAMSIZ` is 16 with its NUL).
    IfName, "link name", "1 to 15 bytes without '/', ':' or space, and not \".\" or \"..\"",
    |v| (1..=15).contains(&v.len())
        && v != "." && v != ".."
        && !v.bytes().any(|b| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace())
);

string_type!(
    /// What a data root puts before the names of all its links on the host: `ls` and 4 digits.
    OwnedPrefix, "link prefix", "\"ls\" and 4 hexadecimal digits in lower case",
    |v| v.len() == 6
        && v.strip_prefix("ls").is_some_and(|d| d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
);
string_type!(
    /// A kernel parameter below `/proc/sys/net`, with '/' between its words because a link's name
    /// may hold a '.': `net/ipv6/conf/eth0/accept_ra`.
    SysctlKey, "kernel parameter", "\"net\" and 1 to 6 more words with '/' between them, without \".\" and \"..\"",
    |v| v.len() <= 128
        && (2..=7).contains(&v.split('/').count())
        && v.split('/').next() == Some("net")
        && v.split('/').all(|w| !matches!(w, "" | "." | "..")
            && w.bytes().all(|b| b.is_ascii_graphic()))
);
string_type!(
    /// A name by which containers find each other.
    DnsName, "host name", "labels of 1 to 63 characters of [a-zA-Z0-9_-] with '.' between them, 253 in all",
    |v| v.len() <= 253
        && v.split('.').all(|label| (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')))
);
string_type!(
    /// An address pool, as its ipam driver calls it.
    PoolId, "pool ID", "1 to 255 printable characters without spaces",
    |v| (1..=255).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic())
);
string_type!(
    /// What the host calls a pool before it has one, so that a request for it can be repeated.
    PoolKey, "pool key", "1 to 128 characters of [a-zA-Z0-9_.:-]",
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
);
string_type!(
    /// A key in the state that the host keeps for a driver.
    StateKey, "state key", "1 to 128 characters of [a-zA-Z0-9_.:/-]",
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-'))
);

impl OwnedPrefix {
    /// A link's name that begins with the prefix.
    ///
    /// # Errors
    /// `Invalid` when the name is too long: 9 bytes are left for it.
    pub fn name(&self, rest: &str) -> Result<IfName> {
        IfName::parse(format!("{self}{rest}"))
    }
}

impl LayerId {
    /// A fresh ID from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

impl ContainerId {
    /// A fresh ID from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

impl ExecId {
    /// A fresh ID from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

impl NetworkId {
    /// A fresh ID from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

impl EndpointId {
    /// A fresh ID from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            text
        })
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(Vec<u8>);

        impl $name {
            /// Checks and takes a value.
            ///
            /// # Errors
            /// `Invalid`, naming the rule, when the value breaks it.
            pub fn parse(value: impl Into<Vec<u8>>) -> Result<Self> {
                let value = value.into();
                let check: fn(&[u8]) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    let shown = value.get(..80).unwrap_or(&value);
                    Err(Error::invalid(format!(
                        concat!("{:?} is not ", $rule),
                        String::from_utf8_lossy(shown)
                    )))
                }
            }

            /// The value as bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// The value itself.
            pub fn into_vec(self) -> Vec<u8> {
                self.0
            }

            /// Whether there is nothing in it.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&String::from_utf8_lossy(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec();
                Self::parse(bytes).map_err(serde::de::Error::custom)
            }
        }

        newtype_data!($name, $rule);
    };
}

bytes_type!(
    /// Bytes without a rule of their own beyond the message's limit: host paths, file contents.
    Bytes, "bytes", |_| true
);
bytes_type!(
    /// A driver's own bytes about one object, kept by the host and handed back in every call.
    Note, "a note of at most 1,024 bytes", |v| v.len() <= 1024
);
bytes_type!(
    /// Where the next page of a listing begins; the driver's own bytes.
    Cursor, "a cursor of at most 256 bytes", |v| v.len() <= 256
);
bytes_type!(
    /// A relative path, as bytes: components of 1 to 255 bytes, none of them "." or "..", no NUL,
    /// no leading or trailing '/'. The empty path is the place itself.
    RelPath,
    "a relative path (at most 4,095 bytes; no empty, \".\" or \"..\" component, no NUL)",
    |v| v.is_empty() || (v.len() <= 4095
        && !v.contains(&0)
        && v.split(|b| *b == b'/').all(|c| (1..=255).contains(&c.len()) && c != b"." && c != b".."))
);

impl From<&str> for Bytes {
    fn from(value: &str) -> Self {
        Self(value.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(value: Vec<u8>) -> Self {
        Self(value)
    }
}

impl RelPath {
    /// The place itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }
}

/// The index of a descriptor that travels beside a message. It never is the descriptor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub u8);
newtype_data!(Handle, "index of a descriptor of this message");

/// The number of a secret of this call. It never is the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(pub u16);
newtype_data!(SecretRef, "number of a secret of this call");

/// A key and a value for people to read. Never a setting.
#[derive(Data)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A numeric owner on disk; never mapped.
#[derive(Data)]
pub struct Owner {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

impl Owner {
    /// 0:0.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

mod addresses;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn identifiers_that_could_leave_their_place_are_refused() {
        for bad in [
            "",
            "..",
            "a/b",
            "-aaaaaaaaaaaaaaaaaaaaaaaaa",
            &"A".repeat(64),
            &"a".repeat(81),
            "short",
        ] {
            assert!(LayerId::parse(bad).is_err(), "{bad}");
        }
        assert!(LayerId::parse("a".repeat(64)).is_ok());
        for bad in ["", "a", ".a", "a/b", "..", &"a".repeat(256), "a\0b"] {
            assert!(VolumeName::parse(bad).is_err(), "{bad}");
        }
        assert!(VolumeName::parse("a".repeat(255)).is_ok());
    }

    #[test]
    fn relative_paths_stay_inside() {
        for bad in ["/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\0"] {
            assert!(RelPath::parse(bad).is_err(), "{bad}");
        }
        assert!(RelPath::parse("").unwrap().is_empty());
        assert_eq!(RelPath::parse("a/b").unwrap().components().count(), 2);
        assert!(RelPath::parse(vec![0xff, 0xfe]).is_ok());
    }

    #[test]
    fn link_names_follow_the_kernel() {
        for bad in ["", ".", "..", "a b", "a/b", "a:b", "sixteen-letters-"] {
            assert!(IfName::parse(bad).is_err(), "{bad}");
        }
        assert!(IfName::parse("eth0").is_ok());
        let prefix = OwnedPrefix::parse("ls0a1f").unwrap();
        assert_eq!(prefix.name("b01234567").unwrap().as_str(), "ls0a1fb01234567");
        assert!(prefix.name("b012345678").is_err());
        for bad in ["", "ls", "ls0a1", "ls0a1g", "ls0A1F", "LS0a1f", "ls0a1f0"] {
            assert!(OwnedPrefix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kernel_parameters_stay_below_their_folder() {
        for bad in [
            "net",
            "net/",
            "kernel/core_pattern",
            "net/../kernel",
            "/net/core",
            "net//core",
            "net/ipv4/conf/a b/x",
            "net.ipv4.ip_forward",
        ] {
            assert!(SysctlKey::parse(bad).is_err(), "{bad}");
        }
        assert!(SysctlKey::parse("net/ipv4/conf/eth0.10/rp_filter").is_ok());
    }

    #[test]
    fn host_names_are_labels() {
        for bad in ["", ".", "a.", ".a", "a b", "a/b", &"a".repeat(64), &"a.".repeat(127)] {
            assert!(DnsName::parse(bad).is_err(), "{bad}");
        }
        assert!(DnsName::parse("my_web-1.front").is_ok());
    }
}
