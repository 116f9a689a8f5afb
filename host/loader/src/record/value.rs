//! A message body as what it holds, whatever struct it is of.

use std::fmt;

use longshore_core::error::Result;
use longshore_core::wire;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

/// What stands where a secret was.
const HIDDEN: &str = "***";
/// Words in names whose values are secrets, whatever a driver declares.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private",
];

/// A value of MessagePack.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A truth.
    Flag(bool),
    /// A whole number.
    Number(i128),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map; in the order in which it came.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Reads a body.
    ///
    /// # Errors
    /// `Broken` for what is none.
    pub fn decode(body: &[u8]) -> Result<Self> {
        wire::decode(body)
    }

    /// The body.
    ///
    /// # Errors
    /// `Exhausted` when it is too long.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(self)
    }

    /// As JSON: bytes are an object with the one key `$bytes`, a map whose keys are no text one with
    /// `$map`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Nil => serde_json::Value::Null,
            Self::Flag(flag) => json!(flag),
            Self::Number(number) => i64::try_from(*number)
                .map(|number| json!(number))
                .or_else(|_| u64::try_from(*number).map(|number| json!(number)))
                .unwrap_or_default(),
            Self::Float(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                // Most are paths; people read them.
                Ok(text) => json!({ "$bytes": text }),
                Err(_) => json!({ "$hex": hex::encode(bytes) }),
            },
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Map(map) if map.iter().all(|(key, _)| matches!(key, Self::Text(_))) => map
                .iter()
                .filter_map(|(key, value)| match key {
                    Self::Text(key) => Some((key.clone(), value.to_json())),
                    _ => None,
                })
                .collect(),
            Self::Map(map) => {
                let pairs: Vec<_> = map
                    .iter()
                    .map(|(key, value)| json!([key.to_json(), value.to_json()]))
                    .collect();
                json!({ "$map": pairs })
            }
        }
    }

    /// The value that [`Self::to_json`] wrote.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(flag) => Self::Flag(*flag),
            serde_json::Value::Number(number) => number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from))
                .map_or_else(|| Self::Float(number.as_f64().unwrap_or_default()), Self::Number),
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Array(list) => Self::List(list.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                let one = |name: &str| (map.len() == 1).then(|| map.get(name)).flatten();
                if let Some(text) = one("$bytes").and_then(|text| text.as_str()) {
                    return Self::Bytes(text.as_bytes().to_vec());
                }
                if let Some(bytes) = one("$hex").and_then(|text| hex::decode(text.as_str()?).ok()) {
                    return Self::Bytes(bytes);
                }
                if let Some(pairs) = one("$map").and_then(|pairs| pairs.as_array()) {
                    let pair =
                        |pair: &serde_json::Value| Some((Self::from_json(pair.get(0)?), Self::from_json(pair.get(1)?)));
                    return Self::Map(pairs.iter().filter_map(pair).collect());
                }
                let pairs = map
                    .iter()
                    .map(|(key, value)| (Self::Text(key.clone()), Self::from_json(value)));
                Self::Map(pairs.collect())
            }
        }
    }

    /// Leaves out what is secret: the values of options of these names, of names that say so, and
    /// passwords among mount options. What was left out is added to `hidden`.
    pub(super) fn redact(&mut self, secrets: &[String], hidden: &mut Vec<String>) {
        match self {
            Self::Text(text) => redact_text(text, hidden),
            Self::List(list) => list.iter_mut().for_each(|item| item.redact(secrets, hidden)),
            Self::Map(map) => {
                let is_secret = |name: &str| secrets.iter().any(|secret| secret == name) || says_secret(name);
                let named = map.iter().any(|(key, value)| match (key, value) {
                    (Self::Text(key), Self::Text(name)) => matches!(key.as_str(), "name" | "key") && is_secret(name),
                    _ => false,
                });
                for (key, value) in map {
                    let hide = match key {
                        Self::Text(key) => is_secret(key) || named && key == "value",
                        _ => false,
                    };
                    if hide {
                        value.hide(hidden);
                    } else {
                        value.redact(secrets, hidden);
                    }
                }
            }
            _ => {}
        }
    }

    /// Hides everything in it that could be a secret.
    fn hide(&mut self, hidden: &mut Vec<String>) {
        match self {
            Self::Text(text) => hidden.push(std::mem::replace(text, HIDDEN.to_owned())),
            Self::Bytes(bytes) => {
                hidden.push(String::from_utf8_lossy(bytes).into_owned());
                *bytes = HIDDEN.as_bytes().to_vec();
            }
            Self::List(list) => list.iter_mut().for_each(|item| item.hide(hidden)),
            Self::Map(map) => map.iter_mut().for_each(|(_, value)| value.hide(hidden)),
            _ => {}
        }
    }

    /// Blots out what is known to be secret wherever a text repeats it.
    pub(super) fn blot(&mut self, hidden: &[String]) {
        match self {
            Self::Text(text) => blot_text(text, hidden),
            Self::Bytes(bytes) => {
                if let Ok(mut text) = String::from_utf8(bytes.clone()) {
                    blot_text(&mut text, hidden);
                    *bytes = text.into_bytes();
                }
            }
            Self::List(list) => list.iter_mut().for_each(|item| item.blot(hidden)),
            Self::Map(map) => map.iter_mut().for_each(|(_, value)| value.blot(hidden)),
            _ => {}
        }
    }

    /// Where two values differ, each with its path: what one has there, and the other.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare("", self, other, &mut found);
        found
    }
}

fn says_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// `user=me,password=x` becomes `user=me,password=***`.
fn redact_text(text: &mut String, hidden: &mut Vec<String>) {
    let secret = |part: &str| -> Option<(String, String)> {
        let (name, value) = part.split_once('=')?;
        (says_secret(name) || name.trim() == "pass").then(|| (name.to_owned(), value.to_owned()))
    };
    if text.split(',').all(|part| secret(part).is_none()) {
        return;
    }
    let parts: Vec<String> = text
        .split(',')
        .map(|part| match secret(part) {
            Some((name, value)) => {
                hidden.push(value);
                format!("{name}={HIDDEN}")
            }
            None => part.to_owned(),
        })
        .collect();
    *text = parts.join(",");
}

/// What a driver repeats of its request, as in an error, repeats what was secret in it.
pub(super) fn blot_text(text: &mut String, hidden: &[String]) {
    for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            *text = text.replace(secret.as_str(), HIDDEN);
        }
    }
}

fn compare(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let at = if path.is_empty() { "the whole answer" } else { path };
    match (one, other) {
        (Value::List(one), Value::List(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{number}]"), one, other, found);
            }
        }
        (Value::List(one), Value::List(other)) => {
            found.push(format!("{at}: {} entries before, {} now", one.len(), other.len()));
        }
        (Value::Map(one), Value::Map(other)) => {
            let get = |map: &[(Value, Value)], key: &Value| {
                map.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
            };
            let mut keys: Vec<&Value> = one.iter().map(|(key, _)| key).collect();
            keys.extend(other.iter().map(|(key, _)| key).filter(|key| get(one, key).is_none()));
            for key in keys {
                let name = match key {
                    Value::Text(name) => name.clone(),
                    other => other.to_json().to_string(),
                };
                let below = if path.is_empty() {
                    name
                } else {
                    format!("{path}.{name}")
                };
                match (get(one, key), get(other, key)) {
                    (Some(one), Some(other)) => compare(&below, &one, &other, found),
                    (Some(one), None) => found.push(format!("{below}: {} before, absent now", one.to_json())),
                    (None, Some(other)) => found.push(format!("{below}: absent before, {} now", other.to_json())),
                    (None, None) => {}
                }
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{at}: {} before, {} now", one.to_json(), other.to_json())),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Nil => to.serialize_unit(),
            Self::Flag(flag) => to.serialize_bool(*flag),
            Self::Number(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (_, Ok(number)) => to.serialize_u64(number),
                (Ok(number), _) => to.serialize_i64(number),
                _ => to.serialize_unit(),
            },
            Self::Float(number) => to.serialize_f64(*number),
            Self::Text(text) => to.serialize_str(text),
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::List(list) => {
                let mut to = to.serialize_seq(Some(list.len()))?;
                for item in list {
                    to.serialize_element(item)?;
                }
                to.end()
            }
            Self::Map(map) => {
                let mut to = to.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    to.serialize_entry(key, value)?;
                }
                to.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of MessagePack")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_bool<E>(self, flag: bool) -> std::result::Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = from.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = from.next_entry()? {
            map.push(pair);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use longshore_core::driver::{Open, OptionValue};
    use longshore_core::types::Bytes;

    use super::*;

    fn open() -> Value {
        let open = Open {
            root: None,
            root_path: Bytes::parse(b"/a/\xff".as_slice()).unwrap(),
            options: vec![
                OptionValue::text("key", "hunter2"),
                OptionValue::text("size", "3"),
                OptionValue::text("o", "user=me,password=hunter3,ro"),
                OptionValue::text("api-token", "hunter4"),
            ],
            host_interface: 0,
        };
        Value::decode(&wire::encode(&open).unwrap()).unwrap()
    }

    #[test]
    fn a_body_goes_through_json_and_back() {
        let value = open();
        let back = Value::from_json(&value.to_json());
        assert_eq!(value.differences(&back), Vec::<String>::new());
        let decoded: Open = wire::decode(&back.encode().unwrap()).unwrap();
        assert_eq!(decoded.options.len(), 4);
    }

    #[test]
    fn secrets_are_left_out_wherever_they_stand() {
        let (mut value, mut hidden) = (open(), Vec::new());
        value.redact(&["key".to_owned()], &mut hidden);
        let text = value.to_json().to_string();
        assert!(!text.contains("hunter"), "{text}");
        assert!(
            text.contains("user=me,password=***,ro") && text.contains("\"3\""),
            "{text}"
        );
        assert_eq!(hidden, ["hunter2", "hunter3", "hunter4"]);
        let mut error = "no server takes hunter3".to_owned();
        blot_text(&mut error, &hidden);
        assert_eq!(error, "no server takes ***");
        let (mut plain, mut hidden) = (Value::Text("nothing".into()), Vec::new());
        plain.redact(&[], &mut hidden);
        assert!(hidden.is_empty());
    }

    #[test]
    fn differences_name_their_place() {
        let (one, mut other) = (open(), open());
        assert!(one.differences(&other).is_empty());
        if let Value::Map(map) = &mut other {
            map.retain(|(key, _)| key != &Value::Text("host_interface".into()));
            for (key, value) in map {
                if key == &Value::Text("options".into()) {
                    *value = Value::List(vec![]);
                }
            }
        }
        let found = one.differences(&other);
        assert!(
            found.contains(&"options: 4 entries before, 0 now".to_owned()),
            "{found:?}"
        );
        assert!(
            found.contains(&"host_interface: 0 before, absent now".to_owned()),
            "{found:?}"
        );
    }
}
