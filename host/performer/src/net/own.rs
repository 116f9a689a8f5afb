//! What a data root owns on a machine, and how that is told from others': prefix, alias, table.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use longshore_core::error::{Error, Result};
use longshore_core::types::OwnedPrefix;

/// A data root's marks on a machine's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    root: String,
    prefix: OwnedPrefix,
}

impl Ownership {
    /// The marks of the data root of this ID, which is 16 hexadecimal digits.
    ///
    /// # Errors
    /// `Invalid` for another ID.
    pub fn new(root: &str, prefix: OwnedPrefix) -> Result<Self> {
        if root.len() != 16 || !root.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::invalid(format!(
                "{root:?} is no ID of a data root: 16 hexadecimal digits"
            )));
        }
        Ok(Self {
            root: root.to_owned(),
            prefix,
        })
    }

    /// What the names of all its links on the host begin with.
    pub fn prefix(&self) -> &OwnedPrefix {
        &self.prefix
    }

    /// Its table in the packet filter.
    pub fn table(&self) -> String {
        format!("longshore_{}", self.root)
    }

    /// The alias of the links of a network or endpoint.
    pub fn alias(&self, object: &str) -> String {
        format!("{}{object}", self.alias_start())
    }

    /// What the aliases of all its links begin with.
    pub(crate) fn alias_start(&self) -> String {
        format!("longshore:{}:", self.root)
    }

    /// The network or endpoint that an alias names, when it is of this data root.
    pub(crate) fn object_of<'a>(&self, alias: &'a str) -> Option<&'a str> {
        let rest = alias.strip_prefix(&self.alias_start())?;
        Some(rest.split(':').next().unwrap_or(rest))
    }
}

/// Claims a prefix in `dir` for a data root: always the same one, and never one that another data
/// root of this machine has. `dir` lasts as long as the machine runs.
///
/// # Errors
/// `Exhausted` when all are taken; what the file system says.
pub fn claim_prefix(dir: &Path, root: &str) -> Result<OwnedPrefix> {
    let first = root
        .get(..4)
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Error::invalid(format!("{root:?} is no ID of a data root")))?;
    for step in 0..=u16::MAX {
        let name = format!("ls{:04x}", first.wrapping_add(step));
        if claim(dir, &name, root)? {
            return OwnedPrefix::parse(name);
        }
    }
    Err(Error::exhausted(
        "all link prefixes of this machine are claimed by data roots",
    ))
}

fn claim(dir: &Path, name: &str, root: &str) -> Result<bool> {
    let path = dir.join(name);
    let failed = |error: &std::io::Error| Error::io(format!("claim the link prefix {}", path.display()), error);
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            file.write_all(root.as_bytes()).map_err(|error| failed(&error))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut holder = String::new();
            let file = File::open(&path).map_err(|error| failed(&error))?;
            file.take(64)
                .read_to_string(&mut holder)
                .map_err(|error| failed(&error))?;
            // An empty one was cut between its making and its writing: whose it is cannot be told.
            Ok(holder == root)
        }
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_never_shared() {
        let dir = tempfile::tempdir().unwrap();
        let one = claim_prefix(dir.path(), "ffff000000000001").unwrap();
        assert_eq!(one.as_str(), "lsffff");
        assert_eq!(claim_prefix(dir.path(), "ffff000000000001").unwrap(), one);
        assert_eq!(claim_prefix(dir.path(), "ffff000000000002").unwrap().as_str(), "ls0000");
        assert!(claim_prefix(dir.path(), "x").is_err());
    }

    #[test]
    fn an_alias_names_its_object_only_to_its_own_data_root() {
        let prefix = OwnedPrefix::parse("ls0a1f").unwrap();
        let own = Ownership::new("0a1f000000000001", prefix.clone()).unwrap();
        let other = Ownership::new("0a1f000000000002", prefix.clone()).unwrap();
        let alias = own.alias("e1");
        assert_eq!(own.object_of(&alias), Some("e1"));
        assert_eq!(own.object_of(&format!("{alias}:eth9")), Some("e1"));
        assert_eq!(other.object_of(&alias), None);
        assert_eq!(own.object_of(""), None);
        assert!(Ownership::new("0A1F000000000001", prefix).is_err());
    }
}
