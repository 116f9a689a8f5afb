//! `--filter KEY=VALUE`, repeatable, as the API wants it.

use std::collections::BTreeMap;

use crate::error::{Failure, Result};

/// The JSON of all filters; empty where there is none.
pub(crate) fn filters(words: &[String]) -> Result<String> {
    if words.is_empty() {
        return Ok(String::new());
    }
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--filter {word:?} has no value")).hint("write KEY=VALUE"))?;
        all.entry(key.trim().to_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }
    serde_json::to_string(&all).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn values_of_one_key_stand_together() {
        let words = ["label=a=b", "status=exited", "label=c"].map(str::to_owned);
        assert_eq!(filters(&words).unwrap(), r#"{"label":["a=b","c"],"status":["exited"]}"#);
        assert_eq!(filters(&[]).unwrap(), "");
        assert!(filters(&["x".to_owned()]).is_err());
    }
}
