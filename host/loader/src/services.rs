//! What this host offers a driver during a call: a log, a clock and randomness.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
    /// Never goes back; from when this process first looked.
    mono_ns: u64,
}

#[derive(Deserialize)]
struct Random {
    n: u16,
}

#[derive(Serialize)]
struct Randomness<'a> {
    #[serde(with = "serde_bytes")]
    bytes: &'a [u8],
}

/// Most bytes of one answer of `random`.
const MOST_RANDOM: usize = 256;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

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
                    mono_ns: u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX),
                })
            }
            "random" => random(&decode(body)?),
            other => Err(Error::unsupported(format!("this host offers no service {other:?}"))),
        }
    }
}

fn random(wanted: &Random) -> Result<Vec<u8>> {
    let all: [u8; MOST_RANDOM] =
        longshore_sys::path::random().map_err(|error| Error::unavailable(format!("read randomness: {error}")))?;
    let bytes = all
        .get(..usize::from(wanted.n))
        .ok_or_else(|| Error::invalid(format!("random answers at most {MOST_RANDOM} bytes at once")))?;
    encode(&Randomness { bytes })
}

impl HostServices {
    /// Answers during that call: what this host offers every driver, or what the call's caller does.
    pub(crate) fn during(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name.starts_with("state.").then(|| services::of_call(call)).flatten() {
            Some(caller) => caller.call(name, body),
            None => self.call(name, body),
        }
    }
}

/// What a library asks for, with the number of the call that it asks in.
pub(crate) trait CallServices: Send + Sync {
    /// As [`Services::call`], during that call.
    fn serve(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>>;
}

impl CallServices for HostServices {
    fn serve(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.during(call, name, body)
    }
}

impl HostServices {
    /// The text of a line that is logged as an error, in one line and not too long.
    #[cfg(feature = "wasm")]
    pub(crate) fn error_of(body: &[u8]) -> Option<String> {
        let line: Line = decode(body).ok()?;
        (line.level == "error").then(|| line.message.escape_debug().take(1000).collect())
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
