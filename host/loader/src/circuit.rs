//! Whether a driver gets calls: the circuit breaker of one driver.
//!
//! A driver that hangs in this process, or breaks three times in a minute, is quarantined: only calls
//! that take away pass. After a pause one call is let through as a trial. If the driver answers it, in
//! whatever way, it is well again; if not, the next pause is twice as long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::error::{Error, Result};
use longshore_core::wire::Method;

/// A driver that breaks so often within [`WINDOW`] is quarantined.
const MOST_BREAKS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// More abandoned threads than this, and a driver gets no calls at all.
const MOST_ABANDONED: usize = 8;
/// The pause before the first trial, and the longest.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

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

/// The breaker of one driver.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<Health>);

#[derive(Debug, Default)]
struct Health {
    breaks: Vec<Instant>,
    abandoned: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reason: String,
    pause: Duration,
    until: Instant,
    /// A call is under way that may end this.
    trial: bool,
}

/// How a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As any call.
    Plain,
    /// As the one that shows whether the driver is well again.
    Trial,
}

impl Circuit {
    fn lock(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the driver gets no calls but those that take away; `None` while it gets all.
    pub(crate) fn quarantined(&self) -> Option<String> {
        self.lock().open.as_ref().map(|open| open.reason.clone())
    }

    /// Threads that were left in the driver.
    pub(crate) fn abandoned(&self) -> usize {
        self.lock().abandoned
    }

    /// Lets a call through, or says why not.
    pub(crate) fn admit(&self, driver: &str, method: &Method) -> Result<Admission> {
        let mut health = self.lock();
        let full = health.abandoned >= MOST_ABANDONED;
        let Some(open) = &mut health.open else {
            return Ok(Admission::Plain);
        };
        let now = Instant::now();
        if !full && now >= open.until && !open.trial {
            open.trial = true;
            return Ok(Admission::Trial);
        }
        if !full && CLEANUP.contains(&method.name) {
            return Ok(Admission::Plain);
        }
        let next = if full {
            "replace it or report it, then restart the engine".to_owned()
        } else {
            format!(
                "it is tried again in {} s; replace it or report it, then restart the engine",
                open.until.saturating_duration_since(now).as_secs() + 1
            )
        };
        Err(Error::unavailable(format!(
            "{driver} is quarantined ({}); {next}",
            open.reason
        )))
    }

    /// Notes that a call was answered, be it with "no". Whether that ended a quarantine.
    pub(crate) fn answered(&self, admission: Admission) -> bool {
        if admission == Admission::Plain {
            return false;
        }
        let mut health = self.lock();
        health.breaks.clear();
        health.open.take().is_some()
    }

    /// Notes that the driver broke. Whether that began a quarantine.
    pub(crate) fn broke(&self, admission: Admission, error: &Error) -> bool {
        let mut health = self.lock();
        let now = Instant::now();
        health.breaks.retain(|then| now.duration_since(*then) < WINDOW);
        health.breaks.push(now);
        if admission == Admission::Trial || health.breaks.len() >= MOST_BREAKS {
            let reason = format!("it broke {MOST_BREAKS} times in a minute, at last: {error}");
            return health.open(admission, reason);
        }
        false
    }

    /// Notes that a call did not end and its thread was left in it. Whether that began a quarantine.
    pub(crate) fn hung(&self, admission: Admission, what: &str) -> bool {
        let mut health = self.lock();
        health.abandoned += 1;
        health.open(admission, what.to_owned())
    }

    /// A trial ended without telling anything, as when it was never begun: the next call is one.
    pub(crate) fn undecided(&self, admission: Admission) {
        if admission == Admission::Trial
            && let Some(open) = &mut self.lock().open
        {
            open.trial = false;
        }
    }
}

impl Health {
    fn open(&mut self, admission: Admission, reason: String) -> bool {
        let pause = match &self.open {
            Some(open) if admission == Admission::Trial => (open.pause * 2).min(LONGEST_PAUSE),
            Some(_) => return false,
            None => PAUSE,
        };
        let begins = self.open.is_none();
        self.open = Some(Open {
            // What began it says more than that a trial failed.
            reason: self.open.take().map_or(reason, |open| open.reason),
            pause,
            until: Instant::now() + pause,
            trial: false,
        });
        begins
    }

    #[cfg(test)]
    fn wait_is_over(&mut self) {
        if let Some(open) = &mut self.open {
            open.until = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use longshore_core::wire::{Class, Lock};

    use super::*;

    fn method(name: &'static str) -> Method {
        Method {
            name,
            class: Class::Quick,
            lock: Lock::Any,
            changes: false,
            since: 0,
            capability: None,
        }
    }

    fn quarantined() -> Circuit {
        let circuit = Circuit::default();
        let error = Error::broken("a panic");
        assert!(!circuit.broke(Admission::Plain, &error));
        assert!(!circuit.broke(Admission::Plain, &error));
        assert!(circuit.broke(Admission::Plain, &error));
        circuit
    }

    #[test]
    fn three_breaks_let_only_cleaning_up_pass() {
        let circuit = quarantined();
        let error = circuit.admit("driver x", &method("create")).unwrap_err();
        assert!(
            error.message.contains("driver x is quarantined (it broke 3 times"),
            "{error}"
        );
        assert_eq!(circuit.admit("driver x", &method("remove")).unwrap(), Admission::Plain);
    }

    #[test]
    fn after_the_pause_one_call_is_a_trial_and_its_answer_ends_the_quarantine() {
        let circuit = quarantined();
        circuit.lock().wait_is_over();
        assert_eq!(circuit.admit("x", &method("create")).unwrap(), Admission::Trial);
        // One at a time.
        assert!(circuit.admit("x", &method("create")).is_err());
        assert!(circuit.answered(Admission::Trial));
        assert_eq!(circuit.admit("x", &method("create")).unwrap(), Admission::Plain);
        assert_eq!(circuit.quarantined(), None);
    }

    #[test]
    fn a_failed_trial_doubles_the_pause_and_an_undecided_one_does_not() {
        let circuit = quarantined();
        circuit.lock().wait_is_over();
        assert_eq!(circuit.admit("x", &method("create")).unwrap(), Admission::Trial);
        circuit.undecided(Admission::Trial);
        assert_eq!(circuit.admit("x", &method("create")).unwrap(), Admission::Trial);
        assert!(!circuit.broke(Admission::Trial, &Error::broken("again")));
        assert_eq!(circuit.lock().open.as_ref().unwrap().pause, PAUSE * 2);
        assert!(circuit.admit("x", &method("create")).is_err());
        for _ in 0..10 {
            circuit.lock().wait_is_over();
            circuit.admit("x", &method("create")).unwrap();
            circuit.broke(Admission::Trial, &Error::broken("again"));
        }
        assert_eq!(circuit.lock().open.as_ref().unwrap().pause, LONGEST_PAUSE);
    }

    #[test]
    fn with_too_many_abandoned_threads_nothing_passes() {
        let circuit = Circuit::default();
        for _ in 0..MOST_ABANDONED {
            circuit.hung(Admission::Plain, "create did not end");
        }
        assert_eq!(circuit.abandoned(), MOST_ABANDONED);
        circuit.lock().wait_is_over();
        assert!(circuit.admit("x", &method("remove")).is_err());
    }
}
