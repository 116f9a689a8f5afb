//! The threads that one driver's calls run on: at most as many as the driver takes at once.
//!
//! A thread cannot be ended from outside. When a call does not come back, its thread is abandoned:
//! it no longer counts, and should it return after all, its answer is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Channel, Lock, Message, Method};

/// How long an idle thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(30);

/// The threads of one driver.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    channel: Arc<dyn Channel>,
    name: String,
    limit: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that are there and not abandoned. Below zero never, but an abandoned one that
    /// returns is counted before the one who waited says that it is abandoned.
    threads: isize,
    idle: isize,
    running: isize,
    /// A call that must be alone is running.
    alone: bool,
    closed: bool,
}

struct Job {
    instance: u64,
    id: u64,
    method: Method,
    request: Message,
    ticket: Arc<Ticket>,
}

/// One call, seen from both sides.
#[derive(Default)]
pub(crate) struct Ticket {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    started: bool,
    cancelled: bool,
    /// Nobody waits any more.
    left: bool,
    outcome: Option<Result<Message>>,
}

/// Why a wait ended without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The time was up.
    Deadline,
    /// The caller cancelled the call.
    Cancelled,
}

/// How a call was left that had no outcome after its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It had not begun, and never will.
    Queued,
    /// Its thread is abandoned in it.
    Running,
}

/// Whether nothing else may run beside a call. `open` is alone by itself: nobody can call the instance
/// that it makes before it has answered, and waiting for a long call of another instance would hold
/// up everything behind it.
fn is_alone(instance: u64, method: &Method) -> bool {
    instance != 0 && method.lock == Lock::Alone
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    /// Tells the waiting side that the call is cancelled.
    pub(crate) fn cancel(&self) {
        lock(&self.progress).cancelled = true;
        self.changed.notify_all();
    }

    /// Waits for the outcome until `until`, or until the call is cancelled if `heed_cancel`.
    pub(crate) fn wait(&self, until: Instant, heed_cancel: bool) -> Result<Result<Message>, Overdue> {
        let mut progress = lock(&self.progress);
        loop {
            if let Some(outcome) = progress.outcome.take() {
                return Ok(outcome);
            }
            if heed_cancel && progress.cancelled {
                return Err(Overdue::Cancelled);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Overdue::Deadline);
            }
            progress = self
                .changed
                .wait_timeout(progress, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Stops waiting. `Err` with the outcome that came at the last moment.
    fn leave(&self) -> Result<Left, Result<Message>> {
        let mut progress = lock(&self.progress);
        if let Some(outcome) = progress.outcome.take() {
            return Err(outcome);
        }
        progress.left = true;
        Ok(if progress.started { Left::Running } else { Left::Queued })
    }

    /// Whether the call has begun.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.progress).started
    }

    /// Whether the call shall still begin.
    fn begin(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.started = !progress.left;
        progress.started
    }

    /// Hands over the outcome; whether anybody waits for it.
    fn finish(&self, outcome: Result<Message>) -> bool {
        let mut progress = lock(&self.progress);
        if progress.left {
            return false;
        }
        progress.outcome = Some(outcome);
        self.changed.notify_all();
        true
    }
}

impl Pool {
    /// No thread yet; at most `limit` of them.
    pub(crate) fn new(channel: Arc<dyn Channel>, name: String, limit: u16) -> Self {
        Self {
            shared: Arc::new(Shared {
                channel,
                name,
                limit: usize::from(limit.max(1)),
                state: Mutex::default(),
                work: Condvar::new(),
            }),
        }
    }

    /// Queues a call.
    pub(crate) fn submit(&self, call: Call<'_>, request: Message) -> Result<Arc<Ticket>> {
        let ticket = Arc::new(Ticket::default());
        let mut state = lock(&self.shared.state);
        state.jobs.push_back(Job {
            instance: call.instance,
            id: call.id,
            method: *call.method,
            request,
            ticket: Arc::clone(&ticket),
        });
        let wanted = isize::try_from(state.jobs.len()).unwrap_or(isize::MAX);
        if state.idle < wanted && state.threads < isize::try_from(self.shared.limit).unwrap_or(isize::MAX) {
            if let Err(error) = self.spawn() {
                if state.threads <= 0 {
                    state.jobs.pop_back();
                    return Err(Error::exhausted(format!(
                        "cannot start a thread for driver {}: {error}",
                        self.shared.name
                    )));
                }
            } else {
                state.threads += 1;
            }
        }
        drop(state);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    fn spawn(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name(self.shared.name.clone())
            .spawn(move || shared.serve())
            .map(drop)
    }

    /// Stops waiting for a call. `Err` with an outcome that came at the last moment.
    pub(crate) fn leave(&self, ticket: &Ticket, call: Call<'_>) -> Result<Left, Result<Message>> {
        let left = ticket.leave()?;
        if left == Left::Running {
            let mut state = lock(&self.shared.state);
            state.threads -= 1;
            state.running -= 1;
            if is_alone(call.instance, call.method) {
                state.alone = false;
            }
            drop(state);
            self.shared.work.notify_all();
        }
        Ok(left)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.name)
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}

impl State {
    /// The next call that may begin now. In order: one that must be alone is not overtaken.
    fn next(&mut self) -> Option<Job> {
        loop {
            let first = self.jobs.front()?;
            let alone = is_alone(first.instance, &first.method);
            if self.alone || (alone && self.running > 0) {
                return None;
            }
            let job = self.jobs.pop_front()?;
            if !job.ticket.begin() {
                continue;
            }
            self.running += 1;
            self.alone = alone;
            return Some(job);
        }
    }
}

impl Shared {
    fn serve(&self) {
        while let Some(job) = self.wait_for_work() {
            let alone = is_alone(job.instance, &job.method);
            let outcome = self.channel.call(
                Call {
                    instance: job.instance,
                    id: job.id,
                    method: &job.method,
                },
                job.request,
            );
            if !job.ticket.finish(outcome) {
                // Abandoned: this thread is no longer counted, and another may have taken its place.
                return;
            }
            let mut state = lock(&self.state);
            state.running -= 1;
            if alone {
                state.alone = false;
            }
            drop(state);
            self.work.notify_all();
        }
    }

    fn wait_for_work(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.next() {
                return Some(job);
            }
            if state.closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let (back, waited) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use longshore_core::wire::Class;

    use super::*;

    /// Counts what runs at once, and remembers the most.
    #[derive(Default)]
    struct Counting {
        running: AtomicUsize,
        most: AtomicUsize,
        beside_alone: AtomicUsize,
    }

    impl Channel for Counting {
        fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            for _ in 0..50 {
                thread::yield_now();
            }
            let others = self.running.load(Ordering::SeqCst) - 1;
            if call.method.lock == Lock::Alone {
                self.beside_alone.fetch_add(others, Ordering::SeqCst);
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            Ok(request)
        }

        fn cancel(&self, _instance: u64, _call: u64) {}

        fn close(&self, _instance: u64) {}
    }

    fn method(lock: Lock) -> Method {
        Method {
            name: "x",
            class: Class::Normal,
            lock,
            changes: false,
            since: 0,
            capability: None,
        }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn no_more_calls_run_than_the_driver_takes_and_none_beside_one_that_is_alone() {
        let channel = Arc::new(Counting::default());
        let pool = Pool::new(Arc::clone(&channel) as Arc<dyn Channel>, "test".into(), 3);
        let tickets: Vec<_> = (1..=300)
            .map(|id| {
                let method = method(if id % 7 == 0 { Lock::Alone } else { Lock::Any });
                let call = Call {
                    instance: 1,
                    id,
                    method: &method,
                };
                pool.submit(call, Message::default()).unwrap()
            })
            .collect();
        for ticket in tickets {
            ticket.wait(later(), true).unwrap().unwrap();
        }
        assert!(channel.most.load(Ordering::SeqCst) <= 3);
        assert_eq!(channel.beside_alone.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_call_that_is_left_before_it_begins_never_begins() {
        let ticket = Ticket::default();
        assert!(matches!(ticket.leave(), Ok(Left::Queued)));
        assert!(!ticket.begin());
        assert!(!ticket.finish(Ok(Message::default())));
    }

    #[test]
    fn an_outcome_at_the_last_moment_is_not_lost() {
        let ticket = Ticket::default();
        assert!(ticket.begin());
        assert!(ticket.finish(Ok(Message::default())));
        assert!(matches!(ticket.leave(), Err(Ok(_))));
    }
}
