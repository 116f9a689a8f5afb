//! What wraps every channel to a driver, whatever its kind and transport: deadline, cancellation,
//! bounded threads, quarantine, a span and metrics. None of it is written for one driver or method.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::envelope;
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::wire::{Call, Channel, Message, Method};

use crate::pool::{Left, Overdue, Pool, Ticket};

/// How long a call that was told to end may take to do so.
const GRACE: Duration = Duration::from_secs(1);
/// A driver that breaks so often within [`WINDOW`] is quarantined.
const MOST_BREAKS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// More abandoned threads than this, and a driver gets no clean-up calls either.
const MOST_ABANDONED: usize = 8;

/// Methods that only take away: a quarantined driver is still asked for these, so that what it made
/// can go.
const CLEANUP: [&str; 11] = [
    "deactivate",
    "remove",
    "unmount",
    "revoke",
    "leave",
    "release_address",
    "release_pool",
    "delete",
    "delete_endpoint",
    "delete_network",
    "collect",
];

/// A channel to a driver that may hang, panic and answer nonsense.
pub struct Guarded {
    kind: String,
    name: String,
    version: String,
    inner: Arc<dyn Channel>,
    pool: Pool,
    pending: Mutex<HashMap<u64, Arc<Ticket>>>,
    metrics: Mutex<BTreeMap<&'static str, Durations>>,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Default)]
struct Durations {
    count: u64,
    errors: u64,
    total: Duration,
    max: Duration,
}

#[derive(Default)]
struct Health {
    breaks: Vec<Instant>,
    abandoned: usize,
    quarantined: Option<String>,
}

/// What was measured of one method of one driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallMetrics {
    /// The method, such as `create`.
    pub method: &'static str,
    /// Calls that have ended.
    pub count: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Time of all of them together.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarded {
    /// Wraps the channel to a driver of that kind, name and version, which takes `concurrency` calls
    /// at once.
    pub fn new(inner: Arc<dyn Channel>, kind: &str, name: &str, version: &str, concurrency: u16) -> Self {
        Self {
            pool: Pool::new(Arc::clone(&inner), format!("{kind}-{name}"), concurrency),
            inner,
            kind: kind.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            pending: Mutex::default(),
            metrics: Mutex::default(),
            health: Mutex::default(),
        }
    }

    /// The channel behind the middleware.
    pub(crate) fn inner(&self) -> &Arc<dyn Channel> {
        &self.inner
    }

    /// What was measured so far, by method.
    pub fn metrics(&self) -> Vec<CallMetrics> {
        lock(&self.metrics)
            .iter()
            .map(|(method, measured)| CallMetrics {
                method,
                count: measured.count,
                errors: measured.errors,
                total: measured.total,
                max: measured.max,
            })
            .collect()
    }

    /// Why the driver gets no more calls; `None` while it does.
    pub fn quarantined(&self) -> Option<String> {
        lock(&self.health).quarantined.clone()
    }

    /// Cancels the call of that number, if it is under way: it may end within a second.
    pub fn cancel_call(&self, call: u64) {
        if let Some(ticket) = lock(&self.pending).get(&call) {
            ticket.cancel();
        }
    }

    fn label(&self) -> String {
        format!("{} driver {}", self.kind, self.name)
    }

    fn admit(&self, method: &Method) -> Result<()> {
        let health = lock(&self.health);
        let Some(reason) = &health.quarantined else {
            return Ok(());
        };
        if CLEANUP.contains(&method.name) && health.abandoned < MOST_ABANDONED {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "{} is quarantined ({reason}); replace it or report it, then restart the engine",
            self.label()
        )))
    }

    fn run(&self, call: Call<'_>, request: Message) -> Result<Message> {
        let limit = match envelope::open(&request.body)?.deadline {
            0 => call.method.class.limit(),
            left => call.method.class.limit().min(Duration::from_millis(u64::from(left))),
        };
        let ticket = self.pool.submit(call, request)?;
        let _pending = Pending::note(self, call.id, &ticket);
        let overdue = match ticket.wait(Instant::now() + limit, true) {
            Ok(outcome) => return outcome,
            Err(overdue) => overdue,
        };
        self.inner.cancel(call.instance, call.id);
        if let Ok(outcome) = ticket.wait(Instant::now() + GRACE, false) {
            return outcome;
        }
        match self.pool.leave(&ticket, call) {
            Err(outcome) => outcome,
            Ok(Left::Queued) => Err(self.never_began(call, overdue)),
            Ok(Left::Running) => Err(self.abandon(call, overdue, limit)),
        }
    }

    fn never_began(&self, call: Call<'_>, overdue: Overdue) -> Error {
        let method = call.method.name;
        match overdue {
            Overdue::Cancelled => Error::cancelled(format!("{method} was cancelled before it began")),
            Overdue::Deadline => Error::unavailable(format!(
                "{} is busy: {method} did not begin before its deadline",
                self.label()
            )),
        }
    }

    fn abandon(&self, call: Call<'_>, overdue: Overdue, limit: Duration) -> Error {
        let method = call.method.name;
        let what = match overdue {
            Overdue::Deadline => format!("{method} did not end within {} ms", limit.as_millis()),
            Overdue::Cancelled => format!("{method} did not end when it was cancelled"),
        };
        let mut health = lock(&self.health);
        health.abandoned += 1;
        self.quarantine(&mut health, &what);
        Error::deadline(format!("{what}: {} hangs, its thread is abandoned", self.label()))
    }

    fn quarantine(&self, health: &mut Health, reason: &str) {
        if health.quarantined.is_none() {
            tracing::error!(
                kind = self.kind,
                driver = self.name,
                version = self.version,
                reason,
                "driver quarantined"
            );
            health.quarantined = Some(reason.to_owned());
        }
    }

    fn measure(&self, method: &Method, took: Duration, failed: bool) {
        let mut metrics = lock(&self.metrics);
        let measured = metrics.entry(method.name).or_default();
        measured.count += 1;
        measured.errors += u64::from(failed);
        measured.total += took;
        measured.max = measured.max.max(took);
    }

    fn note_break(&self, error: &Error) {
        let mut health = lock(&self.health);
        let now = Instant::now();
        health.breaks.retain(|then| now.duration_since(*then) < WINDOW);
        health.breaks.push(now);
        if health.breaks.len() >= MOST_BREAKS {
            let reason = format!("it broke {MOST_BREAKS} times in a minute, at last: {error}");
            self.quarantine(&mut health, &reason);
        }
    }
}

impl Guarded {
    /// Makes a call that is let through whenever `purpose` would be.
    fn call_for(&self, purpose: &Method, call: Call<'_>, request: Message) -> Result<Message> {
        let span = tracing::debug_span!(
            "driver",
            call = %format_args!("{}.{}", self.kind, call.method.name),
            driver = self.name,
            version = self.version,
            id = call.id,
        );
        let _entered = span.enter();
        self.admit(purpose)?;
        let begin = Instant::now();
        let outcome = self.run(call, request);
        self.measure(call.method, begin.elapsed(), outcome.is_err());
        if let Err(error) = &outcome {
            tracing::debug!(kind = error.kind.as_str(), %error, "failed");
            if error.kind == ErrorKind::Broken {
                self.note_break(error);
            }
        }
        outcome
    }
}

impl Channel for Guarded {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        self.call_for(call.method, call, request)
    }

    fn cancel(&self, _instance: u64, call: u64) {
        self.cancel_call(call);
    }

    fn close(&self, instance: u64) {
        self.inner.close(instance);
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("version", &self.version)
            .field("quarantined", &self.quarantined())
            .finish_non_exhaustive()
    }
}

/// The same driver for what a call needs beside itself: it opens an instance again while the driver
/// is quarantined, when that is for cleaning up.
pub(crate) struct OnBehalf<'a> {
    pub(crate) guarded: &'a Guarded,
    pub(crate) purpose: &'a Method,
}

impl Channel for OnBehalf<'_> {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        self.guarded.call_for(self.purpose, call, request)
    }

    fn cancel(&self, instance: u64, call: u64) {
        self.guarded.cancel(instance, call);
    }

    fn close(&self, instance: u64) {
        self.guarded.close(instance);
    }
}

/// A call under way, found by its number for cancellation.
struct Pending<'a>(&'a Guarded, u64);

impl<'a> Pending<'a> {
    fn note(guarded: &'a Guarded, call: u64, ticket: &Arc<Ticket>) -> Self {
        lock(&guarded.pending).insert(call, Arc::clone(ticket));
        Self(guarded, call)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        lock(&self.0.pending).remove(&self.1);
    }
}
