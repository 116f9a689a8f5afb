//! The time as Docker's API writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as RFC 3339 in UTC with nanoseconds.
pub(crate) fn now() -> String {
    longshore_shim::time::rfc3339(SystemTime::now())
}

/// Now, in seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Tells, as `debug` events, how long each part of a longer piece of work took; `make bench` adds them
/// up. Without a listener a mark costs one reading of the clock.
pub(crate) struct Laps {
    work: &'static str,
    last: std::time::Instant,
}

impl Laps {
    pub(crate) fn begin(work: &'static str) -> Self {
        Self {
            work,
            last: std::time::Instant::now(),
        }
    }

    /// What was done since the last mark was this.
    pub(crate) fn mark(&mut self, part: &'static str) {
        let now = std::time::Instant::now();
        let micros = u64::try_from((now - self.last).as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(target: "longshore::laps", work = self.work, part, micros);
        self.last = now;
    }
}
