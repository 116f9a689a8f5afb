//! What this host offers a driver during a call: a log and a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use longshore_core::context::Services;
use longshore_core::error::{Error, Result};
use longshore_core::services;
use longshore_core::wire::{decode, encode};
use serde::{Deserialize, Serialize};

/// The services of a loaded driver; its label stands in each line of its log.
#[derive(Debug)]
pub(crate) struct HostServices {
    pub(crate) label: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    message: String,
}

#[derive(Serialize)]
struct Now {
    wall_ns: u64,
}

impl Services for HostServices {
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name {
            "log" => {
                self.log(&decode(body)?);
                encode(&())
            }
            "clock.now" => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                encode(&Now {
                    wall_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
                })
            }
            other => Err(Error::unsupported(format!("this host offers no service {other:?}"))),
        }
    }
}

impl HostServices {
    /// Answers during that call: what this host offers every driver, or what the call's caller does.
    pub(crate) fn during(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name.starts_with("state.").then(|| services::of_call(call)).flatten() {
            Some(caller) => caller.call(name, body),
            None => self.call(name, body),
        }
    }

    fn log(&self, line: &Line) {
        let driver = self.label.as_str();
        // A driver's text may hold anything; a line of the log stays one line.
        let message = line.message.escape_debug();
        match line.level.as_str() {
            "error" => tracing::error!(driver, "{message}"),
            "warn" => tracing::warn!(driver, "{message}"),
            "info" => tracing::info!(driver, "{message}"),
            _ => tracing::debug!(driver, "{message}"),
        }
    }
}
