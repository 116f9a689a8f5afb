//! One file a group of verbs: each asks the engine and prints what it said.

pub(crate) mod archive;
pub(crate) mod completion;
pub(crate) mod container;
pub(crate) mod doctor;
pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod plugin;
pub(crate) mod ps;
pub(crate) mod serve;
pub(crate) mod system;
pub(crate) mod volume;

use serde_json::Value;

/// A field of an object as text; empty where it is not there.
pub(crate) fn text(object: &Value, field: &str) -> String {
    match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A field of an object as a number; 0 where it is not there.
pub(crate) fn number(object: &Value, field: &str) -> i64 {
    object.get(field).and_then(Value::as_i64).unwrap_or(0)
}

/// The items of a list, or of a field that is one.
pub(crate) fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `a=b,c=d` of a map.
pub(crate) fn joined(object: &Value, field: &str) -> String {
    let Some(Value::Object(map)) = object.get(field) else {
        return String::new();
    };
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(value) => format!("{name}={value}"),
            None => format!("{name}={value}"),
        })
        .collect();
    pairs.join(",")
}
