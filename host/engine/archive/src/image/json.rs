//! JSON that has one reading: bounded depth, no key twice, nothing behind it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

/// Parses a document; `what` names it in errors.
pub(super) fn strict<T: DeserializeOwned>(text: &[u8], what: &str) -> Result<T> {
    let failed = |error: serde_json::Error| Error::image(format!("{what} is malformed: {error}"));
    serde_json::from_slice::<Unambiguous>(text).map_err(failed)?;
    serde_json::from_slice(text).map_err(failed)
}

/// Any document in which no object has a key twice. The parser itself bounds the depth at 128.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Check.deserialize(deserializer).map(|()| Self)
    }
}

#[derive(Clone, Copy)]
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Self)?;
            // Readers differ over case, too: Go takes `Config` and `config` for one key.
            if !keys.insert(key.to_lowercase()) {
                return Err(A::Error::custom(format_args!("key {key:?} is there twice")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_several_readings_are_refused() {
        let fine = |text: &[u8]| strict::<serde_json::Value>(text, "it").is_ok();
        assert!(fine(br#"{"a":[1,-2,0.5,null,true,"x",{"b":{}}],"b":1}"#));
        assert!(!fine(br#"{"a":1,"a":2}"#));
        assert!(!fine(br#"{"x":{"Config":1,"config":2}}"#));
        assert!(!fine(br#"[{"a":{"b":1,"\u0062":2}}]"#));
        assert!(!fine(br"{} {}"));
        assert!(!fine(b""));
        assert!(!fine("[".repeat(10_000).as_bytes()));
        assert!(!fine(
            [&b"[".repeat(10_000)[..], &b"]".repeat(10_000)].concat().as_slice()
        ));
    }
}
