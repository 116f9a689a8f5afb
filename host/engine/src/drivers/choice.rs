//! The drivers that one request chooses for itself.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Which driver a request wants, by kind; where it says nothing, config decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice(BTreeMap<String, String>);

impl Choice {
    /// Reads `graph=vfs,exec=native`.
    ///
    /// # Errors
    /// `Invalid` for an unknown kind, a kind twice, or a word that is no pair.
    pub fn parse(text: &str) -> Result<Self> {
        let mut choice = BTreeMap::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (kind, name) = word
                .split_once('=')
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| {
                    Error::invalid(format!("--driver {word:?} is not KIND=NAME")).hint("as in --driver graph=vfs")
                })?;
            if !["graph", "volume", "exec", "network"].contains(&kind) {
                return Err(Error::invalid(format!("--driver: {kind:?} is no kind of driver"))
                    .hint("kinds are graph, volume, exec, network"));
            }
            if choice.insert(kind.to_owned(), name.to_owned()).is_some() {
                return Err(Error::invalid(format!("--driver: {kind} is given twice")));
            }
        }
        Ok(Self(choice))
    }

    /// The choice for one kind.
    pub fn get(&self, kind: &str) -> Option<&str> {
        self.0.get(kind).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::Choice;

    #[test]
    fn pairs_are_read_and_others_refused() {
        let choice = Choice::parse("graph=vfs, exec=native").unwrap();
        assert_eq!(
            (choice.get("graph"), choice.get("exec"), choice.get("volume")),
            (Some("vfs"), Some("native"), None)
        );
        assert_eq!(Choice::parse("").unwrap(), Choice::default());
        for bad in ["vfs", "graph=", "disk=x", "graph=a,graph=b"] {
            assert!(Choice::parse(bad).is_err(), "{bad}");
        }
    }
}
