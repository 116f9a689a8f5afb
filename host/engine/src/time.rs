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
