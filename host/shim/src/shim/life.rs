//! The container's way to its end: stopping, kills for want of memory, the exit record, leaving.

use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use longshore_shim::files::{Durability, ExitRecord, replace};
use longshore_shim::places;
use longshore_shim::protocol::{Event, Phase, Reply};
use longshore_shim::time::rfc3339;
use longshore_sys::process::{self, Exit};

use super::attached::PATIENCE;
use super::calls::Job;
use super::control::Asker;
use super::{Shim, cgroup};

/// How long the streams of an ended process are read when a descendant keeps them open.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);
/// How long a container that was not started waits for an engine.
const ALONE: Duration = Duration::from_secs(30);
/// How long a container has after SIGTERM to the shim, as after `docker stop`.
pub(crate) const DEFAULT_STOP: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

impl Shim {
    /// Sends the stop signal, now; the kill comes when the time is over.
    pub(super) fn stop(&mut self, signal: i32, timeout: Option<Duration>, now: Instant) {
        if let Some(init) = &self.init {
            // One that has ended in between needs no signal.
            let _ = process::signal(&init.pidfd, signal);
        }
        self.kill_at = timeout.map(|timeout| now + timeout);
        if self.phase == Phase::Paused {
            // Frozen, it would not even see the signal.
            self.ask_for_itself(Job::Freeze { frozen: false }, now);
        }
    }

    fn kill(&mut self) {
        self.kill_at = None;
        if let Some(init) = self.init.as_ref().filter(|init| init.exit.is_none()) {
            let _ = process::signal(&init.pidfd, SIGKILL);
        }
        if let Some(cgroups) = &self.cgroups {
            cgroup::kill(cgroups);
        }
        self.thaw();
    }

    pub(super) fn thaw(&self) {
        if let Some(cgroups) = self.cgroups.as_ref().filter(|_| self.phase == Phase::Paused) {
            cgroup::thaw(cgroups);
        }
    }

    /// Reads the counter of kills, and tells of new ones.
    pub(super) fn look_for_oom(&mut self) {
        let Some(watch) = &mut self.oom else { return };
        match watch.look() {
            Some(kills) => {
                self.oom_kills += kills;
                for _ in 0..kills {
                    self.connections.tell(Event::Oom);
                }
            }
            None => self.oom = None,
        }
    }

    pub(super) fn init_ready(&mut self, now: Instant) {
        let settled = self.calls.is_settled();
        let Some(init) = &mut self.init else { return };
        if !init.take_exit(settled) {
            return;
        }
        let exit = init.exit.unwrap_or(Exit::Code(255));
        self.kill_at = None;
        self.look_for_oom();
        let (code, signal) = split(exit);
        self.exit = Some(ExitRecord {
            code,
            signal,
            oom: signal == Some(9) && self.oom_kills > 0,
            time: rfc3339(SystemTime::now()),
        });
        self.session.process_ended();
        self.drained_by = Some(now + DRAIN);
        self.set_phase(Phase::Draining);
        self.check_drained(now);
    }

    /// Everything was read, or time is over: the end is written down and told.
    pub(super) fn check_drained(&mut self, now: Instant) {
        let Some(by) = self.drained_by else { return };
        if self.session.is_open() && now < by {
            return;
        }
        self.drained_by = None;
        self.session.drain(now, &mut self.buffer);
        self.record_exit();
        self.set_phase(Phase::Exited);
        self.session.finish();
        if let Some(exit) = self.exit.clone() {
            self.connections.tell(Event::Exited(exit));
        }
        self.tell_ended();
        for asker in std::mem::take(&mut self.deleted_waits) {
            self.finish_delete(asker, now);
        }
    }

    fn record_exit(&self) {
        let (Some(sandbox), Some(exit), true) = (&self.sandbox, &self.exit, self.durable) else {
            return;
        };
        // A disk that takes no record keeps nothing else either: the end is told all the same.
        if let Some(log) = self.session.log() {
            let _ = log.sync();
        }
        let _ = replace(sandbox.data_dir.as_fd(), places::EXIT, exit, Durability::Disk);
    }

    /// The driver has deleted the container.
    pub(super) fn deleted(&mut self, asker: Option<Asker>, now: Instant) {
        let ended = self.init.as_ref().is_none_or(|init| init.exit.is_some());
        if ended && self.drained_by.is_none() {
            self.finish_delete(asker, now);
        } else {
            // Killed by it: its end is first told as any end.
            self.deleted_waits.push(asker);
            self.init_ready(now);
        }
    }

    fn finish_delete(&mut self, asker: Option<Asker>, now: Instant) {
        self.let_go();
        self.leave_by = Some(now + PATIENCE);
        if let Some(asker) = asker {
            self.connections.reply(asker, Ok(Reply::Deleted), Vec::new());
        }
    }

    /// Lets go of everything but clients that have something to read; the loop ends soon.
    pub(super) fn let_go(&mut self) {
        self.listener = None;
        self.ports.let_go();
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.release();
        }
        self.session.finish();
        for exec in &mut self.execs {
            exec.session.finish();
        }
        self.set_phase(Phase::Deleted);
        self.leave_by = Some(Instant::now() + PATIENCE);
    }

    /// Whether the loop ends.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let flushed = self.connections.is_flushed()
            && !self.session.has_clients()
            && !self.execs.iter().any(|exec| exec.session.has_clients());
        self.leave_by.is_some_and(|by| flushed || now >= by)
    }

    /// What time alone changes, and what follows from nobody being connected.
    pub(super) fn tick(&mut self, now: Instant) {
        self.session.tick(now);
        self.tick_execs(now);
        self.ports.tick(now);
        self.tell_ended();
        self.check_drained(now);
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill();
        }
        if self.calls.deadline().is_some_and(|at| now >= at) {
            self.call_timed_out(now);
        }
        self.notice_loneliness(now);
    }

    /// Without an engine, what was not started has no use: a shim that was asked for no container yet
    /// ends at once, one with a container that waits gives an engine some time to come back.
    fn notice_loneliness(&mut self, now: Instant) {
        let waits = matches!(
            self.phase,
            Phase::Waiting | Phase::Booted | Phase::Creating | Phase::Created
        );
        if !self.connections.is_empty() || !waits || self.leave_by.is_some() {
            self.alone_since = None;
            return;
        }
        let since = *self.alone_since.get_or_insert(now);
        if self.calls.is_busy() {
            return;
        }
        match self.phase {
            // A create that failed has left nothing, and no other will be asked for.
            Phase::Waiting | Phase::Booted => self.let_go(),
            _ if now < since + ALONE => {}
            _ => {
                self.alone_since = None;
                self.ask_for_itself(Job::Delete { force: true }, now);
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.execs
            .iter()
            .filter_map(super::ExecSession::deadline)
            .chain(self.session.deadline())
            .chain(self.kill_at)
            .chain(self.drained_by)
            .chain(self.calls.deadline())
            .chain(self.ports.deadline())
            .chain(self.alone_since.map(|since| since + ALONE))
            .chain(self.leave_by)
            .min()
    }
}

/// Exit code and signal of an end.
pub(crate) fn split(exit: Exit) -> (u8, Option<u8>) {
    let code = u8::try_from(exit.status() & 0xff).unwrap_or(u8::MAX);
    match exit {
        Exit::Code(_) => (code, None),
        Exit::Signal(signal) => (code, u8::try_from(signal).ok()),
    }
}
