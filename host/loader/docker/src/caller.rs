//! One plugin's interface, called within the caller's deadline.

use std::time::Duration;

use longshore_core::context::Context;
use longshore_core::driver::OptionValue;
use longshore_core::error::{Error, Result};
use longshore_core::types::Pair;
use serde::Serialize;
use serde::de::DeserializeOwned;

use std::collections::BTreeMap;

use crate::address::Address;
use crate::http::{self, Effect};

/// For what changes something: Docker's client waits a minute.
const CHANGE: Duration = Duration::from_secs(60);
/// For asking what is.
const ASK: Duration = Duration::from_secs(5);
/// Most pairs of what a plugin tells for people.
const MOST_PAIRS: usize = 64;

/// Who is called, and by which interface.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) who: String,
    pub(crate) address: Address,
    pub(crate) interface: &'static str,
}

impl Caller {
    /// Asks for something that changes nothing.
    pub(crate) fn ask<A: Serialize, R: DeserializeOwned>(&self, cx: &Context, method: &str, argument: &A) -> Result<R> {
        self.call(cx, method, argument, ASK, Effect::None)
    }

    /// Has something changed, once.
    pub(crate) fn change<A: Serialize, R: DeserializeOwned>(
        &self,
        cx: &Context,
        method: &str,
        argument: &A,
    ) -> Result<R> {
        self.call(cx, method, argument, CHANGE, Effect::Changes)
    }

    fn call<A: Serialize, R: DeserializeOwned>(
        &self,
        cx: &Context,
        method: &str,
        argument: &A,
        limit: Duration,
        effect: Effect,
    ) -> Result<R> {
        cx.check()?;
        let limit = cx.remaining().map_or(limit, |left| left.min(limit));
        let method = format!("{}.{method}", self.interface);
        http::post(&self.address, &self.who, &method, argument, limit, effect)
    }

    /// An answer that is none.
    pub(crate) fn broken(&self, why: impl std::fmt::Display) -> Error {
        Error::broken(format!("{}: {why}", self.who))
    }

    /// Options as the protocol has them.
    pub(crate) fn texts<'a>(&self, options: &'a [OptionValue]) -> Result<BTreeMap<&'a str, &'a str>> {
        options
            .iter()
            .map(|option| {
                let text = option.as_text().ok_or_else(|| {
                    Error::unsupported(format!("{} cannot be given a secret: option {}", self.who, option.name))
                })?;
                Ok((option.name.as_str(), text))
            })
            .collect()
    }
}

/// What a plugin tells for people, as much as is worth showing.
pub(crate) fn pairs(told: Option<BTreeMap<String, serde_json::Value>>) -> Vec<Pair> {
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    told.unwrap_or_default()
        .into_iter()
        .take(MOST_PAIRS)
        .map(|(key, value)| Pair {
            key: key.chars().take(256).collect(),
            value: text(value).chars().take(1024).collect(),
        })
        .collect()
}
