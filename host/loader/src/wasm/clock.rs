//! The thread that lets running components look whether they must stop.
//!
//! It moves wasmtime's epoch on every few milliseconds, and rests while no component runs: an idle
//! host is not woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a call may run on after its deadline.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without a new call and without one under way, before the thread rests.
const PATIENCE: u32 = 50;

pub(super) struct Clock {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Calls that have begun, ever.
    begun: AtomicU64,
    running: AtomicU64,
    resting: AtomicBool,
    ended: AtomicBool,
}

/// A call under way: the clock goes on until it is dropped.
pub(super) struct Running<'a>(&'a Shared);

impl Clock {
    pub(super) fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("wasm-clock".into())
            .spawn(move || of_thread.run(&engine))?;
        Ok(Self { shared, thread })
    }

    /// Keeps the clock going for one call.
    pub(super) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.thread().unpark();
        }
        Running(&self.shared)
    }

    #[cfg(test)]
    pub(super) fn rests(&self) -> bool {
        self.shared.resting.load(Ordering::SeqCst)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

impl Shared {
    fn run(&self, engine: &wasmtime::Engine) {
        let mut quiet = 0;
        let mut seen = 0;
        while !self.ended.load(Ordering::SeqCst) {
            thread::sleep(TICK);
            engine.increment_epoch();
            let begun = self.begun.load(Ordering::SeqCst);
            let busy = begun != seen || self.running.load(Ordering::SeqCst) > 0;
            seen = begun;
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > PATIENCE {
                self.rest(seen);
                quiet = 0;
            }
        }
    }

    /// Says so first and looks once more then: a call that begins meanwhile sees one or is seen.
    fn rest(&self, seen: u64) {
        self.resting.store(true, Ordering::SeqCst);
        while self.begun.load(Ordering::SeqCst) == seen && !self.ended.load(Ordering::SeqCst) {
            thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn until(what: impl Fn() -> bool) {
        while !what() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_clock_rests_without_calls_and_goes_on_with_the_next() {
        let clock = Clock::start(wasmtime::Engine::default()).unwrap();
        until(|| clock.rests());
        let running = clock.run();
        until(|| !clock.rests());
        drop(running);
        until(|| clock.rests());
    }
}
