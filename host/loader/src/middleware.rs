//! What wraps every channel to a driver, whatever its kind and transport: deadline, cancellation,
//! bounded threads, the circuit breaker, a span, measurements, a recording. None of it is written for
//! one driver or method.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use longshore_core::envelope;
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::wire::{Call, Channel, Message, Method};

use crate::circuit::{Admission, Circuit};
use crate::metrics::{CallMetrics, Measured};
use crate::pool::{Left, Overdue, Pool, Ticket};
use crate::record::Recording;

/// How long a call that was told to end may take to do so.
const GRACE: Duration = Duration::from_secs(1);
/// How long the end of a process may take to reach who waits for it.
const KILLED: Duration = Duration::from_secs(5);

/// A transport whose driver can be ended from outside, with the instances that it had open.
pub(crate) trait Isolated: Send + Sync {
    /// Whether that instance is still there.
    fn holds(&self, instance: u64) -> bool;

    /// Ends what runs that instance; all of its calls end as broken.
    fn kill(&self, instance: u64, why: &str);
}

/// A channel to a driver that may hang, panic and answer nonsense.
pub struct Guarded {
    kind: String,
    name: String,
    version: String,
    inner: Arc<dyn Channel>,
    isolated: Option<Arc<dyn Isolated>>,
    pool: Pool,
    pending: Mutex<HashMap<u64, Arc<Ticket>>>,
    measured: Measured,
    circuit: Circuit,
    recording: RwLock<Option<Arc<Recording>>>,
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
            isolated: None,
            kind: kind.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            pending: Mutex::default(),
            measured: Measured::default(),
            circuit: Circuit::default(),
            recording: RwLock::default(),
        }
    }

    /// The same, of a driver that can be ended from outside: what hangs in it is, instead of being
    /// abandoned.
    #[must_use]
    pub(crate) fn isolated(mut self, isolated: Arc<dyn Isolated>) -> Self {
        self.isolated = Some(isolated);
        self
    }

    /// Records every call from now on, or no more.
    pub(crate) fn record(&self, recording: Option<Recording>) {
        *self.recording.write().unwrap_or_else(PoisonError::into_inner) = recording.map(Arc::new);
    }

    /// The bare transport.
    pub(crate) fn inner(&self) -> &Arc<dyn Channel> {
        &self.inner
    }

    /// What was measured so far, by method.
    pub fn metrics(&self) -> Vec<CallMetrics> {
        self.measured.all()
    }

    /// Why the driver gets only calls that take away; `None` while it gets all.
    pub fn quarantined(&self) -> Option<String> {
        self.circuit.quarantined()
    }

    /// Threads that were left in the driver because a call did not come back.
    pub fn abandoned(&self) -> usize {
        self.circuit.abandoned()
    }

    /// Cancels the call of that number, if it is under way: it may end within a second.
    pub fn cancel_call(&self, call: u64) {
        if let Some(ticket) = lock(&self.pending).get(&call) {
            ticket.cancel();
        }
    }

    /// Whether that instance is still open.
    pub(crate) fn holds(&self, instance: u64) -> bool {
        self.isolated.as_ref().is_none_or(|isolated| isolated.holds(instance))
    }

    fn label(&self) -> String {
        format!("{} driver {}", self.kind, self.name)
    }

    fn run(&self, admission: Admission, call: Call<'_>, request: Message) -> Result<Message> {
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
            return outcome.map_err(|error| match (error.kind, overdue) {
                // It was told to end, but by the clock and not by the caller.
                (ErrorKind::Cancelled, Overdue::Deadline) => Error {
                    kind: ErrorKind::Deadline,
                    ..error
                },
                _ => error,
            });
        }
        let what = match overdue {
            Overdue::Deadline => format!("{} did not end within {} ms", call.method.name, limit.as_millis()),
            Overdue::Cancelled => format!("{} did not end when it was cancelled", call.method.name),
        };
        if let Some(isolated) = self.isolated.as_ref().filter(|_| ticket.has_begun()) {
            isolated.kill(call.instance, &what);
            if ticket.wait(Instant::now() + KILLED, false).is_ok() {
                // Whatever it answered at the end: it was too late.
                let error = Error::deadline(format!(
                    "{what}: the process of {} was ended and is started again",
                    self.label()
                ));
                if self.circuit.broke(admission, &error) {
                    self.say_quarantined();
                }
                return Err(error);
            }
        }
        match self.pool.leave(&ticket, call) {
            Err(outcome) => outcome,
            Ok(Left::Queued) => Err(self.never_began(call, overdue)),
            Ok(Left::Running) => Err(self.abandon(admission, &what)),
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

    fn abandon(&self, admission: Admission, what: &str) -> Error {
        if self.circuit.hung(admission, what) {
            self.say_quarantined();
        }
        Error::deadline(format!("{what}: {} hangs, its thread is abandoned", self.label()))
    }

    fn say_quarantined(&self) {
        tracing::error!(
            kind = self.kind,
            driver = self.name,
            version = self.version,
            reason = self.quarantined(),
            "driver quarantined"
        );
    }

    /// What an outcome says of the driver's health. That it answered, if only "no", is all it takes.
    fn judge(&self, admission: Admission, outcome: &Result<Message>) {
        match outcome.as_ref().map_err(|error| (error.kind, error)) {
            Err((ErrorKind::Broken, error)) => {
                if self.circuit.broke(admission, error) {
                    self.say_quarantined();
                }
            }
            // Judged already where it hung; where it was cancelled, or busy, or not started, nothing is known
            // of the driver.
            Err((ErrorKind::Deadline | ErrorKind::Cancelled | ErrorKind::Unavailable, _)) => {
                self.circuit.undecided(admission);
            }
            _ => {
                if self.circuit.answered(admission) {
                    tracing::info!(kind = self.kind, driver = self.name, "driver well again");
                }
            }
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
        let admission = self.circuit.admit(&self.label(), purpose)?;
        let recording = self.recording.read().unwrap_or_else(PoisonError::into_inner).clone();
        let recorded = recording.map(|recording| {
            let asked = recording.asked(call, &request);
            (recording, asked)
        });
        let begin = Instant::now();
        let outcome = self.run(admission, call, request);
        let took = begin.elapsed();
        self.measured.note(call.method, took, outcome.as_ref().err());
        if let Some((recording, asked)) = recorded {
            recording.answered(asked, &outcome, took);
        }
        if let Err(error) = &outcome {
            tracing::debug!(kind = error.kind.as_str(), %error, "failed");
        }
        self.judge(admission, &outcome);
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
