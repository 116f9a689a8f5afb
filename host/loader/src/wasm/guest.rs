//! What belongs to one instance of a component: its limits, the call that it is in, and the one
//! function that it can call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::context::Cancel;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{MAX_BODY, encode};
use serde::Serialize;
use wasmtime::component::{WasmList, WasmStr};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

use crate::services::HostServices;

/// Memories, tables and core instances of one component. The linker makes a handful.
const MOST_PARTS: usize = 16;
/// Entries of one table.
const MOST_ENTRIES: usize = 100_000;
/// Longest name of a service.
const MAX_NAME: usize = 64;
/// What a component may hand over at once: a body, and what it is packed in.
const MOST_HANDED_OVER: usize = MAX_BODY + 4096;

/// The state behind one instance.
pub(super) struct Guest {
    services: Arc<HostServices>,
    limits: Limits,
    call: Option<UnderWay>,
    /// Why the instance was stopped from outside.
    stopped: Option<Stop>,
    /// The last error that it logged in this call: what a panic says before it ends the instance.
    last_words: Option<String>,
}

/// The call that an instance is in.
struct UnderWay {
    id: u64,
    deadline: Instant,
    limit: Duration,
    cancel: Cancel,
}

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Deadline(Duration),
    Cancelled,
}

/// The memory of an instance.
struct Limits {
    most: usize,
    used: usize,
    refused: bool,
}

#[derive(Serialize)]
struct Left {
    left_ms: u32,
}

impl Guest {
    /// A store for one instance, in which nothing runs without a call.
    pub(super) fn store(engine: &wasmtime::Engine, services: &Arc<HostServices>, memory: usize) -> Store<Self> {
        let guest = Self {
            services: Arc::clone(services),
            limits: Limits {
                most: memory,
                used: 0,
                refused: false,
            },
            call: None,
            stopped: None,
            last_words: None,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_hostcall_fuel(MOST_HANDED_OVER);
        store.epoch_deadline_callback(|mut cx| match cx.data_mut().must_stop() {
            None => Ok(UpdateDeadline::Continue(1)),
            Some(stop) => Err(wasmtime::Error::msg(format!("{stop:?}"))),
        });
        store
    }

    /// Begins call number `id`.
    pub(super) fn begin(store: &mut Store<Self>, id: u64, limit: Duration, cancel: Cancel) {
        let guest = store.data_mut();
        guest.call = Some(UnderWay {
            id,
            deadline: Instant::now() + limit,
            limit,
            cancel,
        });
        guest.last_words = None;
        store.set_epoch_deadline(1);
    }

    fn must_stop(&mut self) -> Option<Stop> {
        let call = self.call.as_ref()?;
        self.stopped = if Instant::now() >= call.deadline {
            Some(Stop::Deadline(call.limit))
        } else if call.cancel.is_cancelled() {
            Some(Stop::Cancelled)
        } else {
            None
        };
        self.stopped
    }

    /// Why it was stopped from outside, if it was.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stopped
    }

    /// What it said before it ended itself.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// The limit of its memory, when it wanted more.
    pub(super) fn wanted_more_than(&self) -> Option<usize> {
        self.limits.refused.then_some(self.limits.most)
    }

    /// The memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.limits.used
    }

    fn answer(&mut self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        if name == "call.left" {
            let left = self.call.as_ref().map_or(Duration::ZERO, |call| {
                call.deadline.saturating_duration_since(Instant::now())
            });
            return encode(&Left {
                left_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            });
        }
        if name == "log" {
            self.last_words = HostServices::error_of(body).or(self.last_words.take());
        }
        let id = self.call.as_ref().map_or(0, |call| call.id);
        self.services.during(id, name, body)
    }
}

/// The import `service`.
pub(super) fn service(
    mut cx: StoreContextMut<'_, Guest>,
    (name, body): (WasmStr, WasmList<u8>),
) -> wasmtime::Result<(Result<Vec<u8>, Vec<u8>>,)> {
    let answer = asked(&mut cx, &name, &body)?;
    Ok((answer.map_err(|error| encode(&error).unwrap_or_default()),))
}

/// Looks at the lengths before anything is copied.
fn asked(
    cx: &mut StoreContextMut<'_, Guest>,
    name: &WasmStr,
    body: &WasmList<u8>,
) -> wasmtime::Result<Result<Vec<u8>>> {
    let name = name.to_str(&*cx)?;
    if name.len() > MAX_NAME || body.len() > MAX_BODY {
        return Ok(Err(Error::invalid(format!(
            "a service's name has at most {MAX_NAME} bytes, its body at most {MAX_BODY}"
        ))));
    }
    let (name, body) = (name.into_owned(), body.as_le_slice(&*cx).to_vec());
    Ok(cx.data_mut().answer(&name, &body))
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.most {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MOST_ENTRIES)
    }

    fn instances(&self) -> usize {
        MOST_PARTS
    }

    fn tables(&self) -> usize {
        MOST_PARTS
    }

    fn memories(&self) -> usize {
        MOST_PARTS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories_of_an_instance() {
        let mut limits = Limits {
            most: 100,
            used: 0,
            refused: false,
        };
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.refused);
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert!(!limits.memory_growing(0, usize::MAX, None).unwrap());
        assert_eq!(limits.used, 100);
    }
}
