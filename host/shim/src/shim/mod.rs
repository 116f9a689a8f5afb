//! The shim: one thread, one loop, one container.
//!
//! [`control`] hears requests, [`requests`] answers those that need no driver, [`calls`] makes the
//! driver's calls one after the other through a [`helper`], [`life`] follows the container to its
//! end, [`session`] moves what its processes read and write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use longshore_core::exec::Cgroups;
use longshore_core::types::ContainerId;
use longshore_core::{Error, Result};
use longshore_shim::files::{Durability, ExitRecord, replace};
use longshore_shim::places;
use longshore_shim::protocol::{Event, ExecReport, Phase, Report};
use longshore_sys::event::{self, Ready};
use longshore_sys::process;
use longshore_sys::socket;

mod attached;
mod calls;
mod cgroup;
mod control;
mod detach;
mod execs;
mod helper;
mod json_log;
mod life;
mod ports;
mod queue;
mod requests;
mod sandbox;
mod session;

use calls::Calls;
use cgroup::OomWatch;
use control::Connections;
use execs::ExecSession;
pub(crate) use helper::OpenDriver;
pub(crate) use sandbox::Sandbox;
use session::{Session, Waits};

/// The numbers of the signals that the loop takes.
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGPIPE: i32 = 13;
/// The exit code of a process whose status could not be had.
const UNKNOWN: i32 = 255;
/// What is read at once.
const READ: usize = 64 * 1024;

/// A process that the shim waits for.
#[derive(Debug)]
struct Process {
    pid: u32,
    pidfd: OwnedFd,
    exit: Option<process::Exit>,
}

impl Process {
    /// By number: a child that nobody has reaped keeps its.
    fn open(pid: u32) -> Result<Self> {
        let number = i32::try_from(pid).unwrap_or(0);
        let pidfd = process::open(number).map_err(|error| {
            Error::broken(format!(
                "the exec driver names process {pid}, which cannot be watched: {error}"
            ))
        })?;
        Ok(Self { pid, pidfd, exit: None })
    }

    /// Reaps it, if it has ended just now. One that a driver left as a child of its own comes to the
    /// shim when the helper is gone; one that is nobody's child here then has a status that nobody
    /// knows.
    fn take_exit(&mut self, helpers_gone: bool) -> bool {
        if self.exit.is_some() {
            return false;
        }
        self.exit = match process::try_wait(self.pidfd.as_fd()) {
            Ok(exit) => exit,
            Err(_) if helpers_gone => Some(process::Exit::Code(UNKNOWN)),
            Err(_) => None,
        };
        self.exit.is_some()
    }
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
enum Token {
    Signals,
    Listener,
    Connection(u64),
    Helper,
    HelperGone,
    Dismissed(i32),
    Init,
    Oom,
    Keeper,
    Container(Waits),
    ExecProcess(u64),
    Exec(u64, Waits),
}

/// The shim.
#[derive(Debug)]
pub(crate) struct Shim {
    open_driver: OpenDriver,
    signals: OwnedFd,
    listener: Option<OwnedFd>,
    connections: Connections,
    sandbox: Option<Sandbox>,
    id: Option<ContainerId>,
    durable: bool,
    phase: Phase,
    init: Option<Process>,
    cgroups: Option<Cgroups>,
    oom: Option<OomWatch>,
    oom_kills: u64,
    started: Option<String>,
    exit: Option<ExitRecord>,
    session: Session,
    execs: Vec<ExecSession>,
    ports: ports::Ports,
    calls: Calls,
    /// The last number given to an exec session or a client.
    numbered: u64,
    /// The oom score to be put back for containers.
    oom_score: Option<String>,
    kill_at: Option<Instant>,
    drained_by: Option<Instant>,
    alone_since: Option<Instant>,
    /// Who asked for a delete that the driver has done, while init's end is still being taken.
    deleted_waits: Vec<Option<control::Asker>>,
    /// Nothing is left to do; at this time the shim goes, whatever clients have not read.
    leave_by: Option<Instant>,
    buffer: Vec<u8>,
}

impl Shim {
    /// A shim with its first connection. The process's signals are reset and the shim's own blocked.
    pub(crate) fn new(connection: OwnedFd, open_driver: OpenDriver, oom_score: Option<String>) -> Result<Self> {
        let failed = |error: longshore_sys::Error| Error::io("start the shim's loop", &error.into());
        // A broken pipe is an error like others here; blocked, SIGPIPE does nothing.
        let signals = event::signals(&[SIGCHLD, SIGTERM, SIGPIPE]).map_err(failed)?;
        let mut connections = Connections::default();
        connections.add(connection).map_err(failed)?;
        Ok(Self {
            open_driver,
            signals,
            listener: None,
            connections,
            sandbox: None,
            id: None,
            durable: true,
            phase: Phase::Waiting,
            init: None,
            cgroups: None,
            oom: None,
            oom_kills: 0,
            started: None,
            exit: None,
            session: Session::new(None),
            execs: Vec::new(),
            ports: ports::Ports::default(),
            calls: Calls::default(),
            numbered: 0,
            oom_score,
            kill_at: None,
            drained_by: None,
            alone_since: None,
            deleted_waits: Vec::new(),
            leave_by: None,
            buffer: vec![0; READ],
        })
    }

    /// Runs until there is nothing left to do.
    pub(crate) fn run(&mut self) -> Result<()> {
        loop {
            let now = Instant::now();
            self.tick(now);
            if self.is_over(now) {
                return Ok(());
            }
            let timeout = self.deadline().map(|at| round_up(at.saturating_duration_since(now)));
            let (tokens, waited): (Vec<_>, Vec<_>) = self
                .interests(now)
                .into_iter()
                .map(|(token, fd, ready)| (token, (fd, ready)))
                .unzip();
            let ready = event::poll(&waited, timeout)
                .map_err(|error| Error::io("wait for the container and its clients", &error.into()))?;
            drop(waited);
            let now = Instant::now();
            for (token, ready) in tokens.into_iter().zip(ready).filter(|(_, ready)| ready.any()) {
                self.ready(token, ready, now);
            }
        }
    }

    fn interests(&self, now: Instant) -> Vec<(Token, BorrowedFd<'_>, Ready)> {
        let mut all = vec![(Token::Signals, self.signals.as_fd(), Ready::READ)];
        let read = |token, fd| (token, fd, Ready::READ);
        all.extend(self.listener.iter().map(|fd| read(Token::Listener, fd.as_fd())));
        for (number, fd, write) in self.connections.interests() {
            all.push((
                Token::Connection(number),
                fd,
                Ready {
                    read: true,
                    write,
                    closed: false,
                },
            ));
        }
        if let Some(helper) = &self.calls.helper {
            all.push(read(Token::Helper, helper.as_fd()));
            // Until execve init holds the other end too: its end alone does not tell the helper's.
            all.push(read(Token::HelperGone, helper.pidfd.as_fd()));
        }
        for helper in &self.calls.dismissed {
            all.push(read(Token::Dismissed(helper.pid), helper.pidfd.as_fd()));
        }
        if let Some(init) = self.polled_init() {
            all.push(read(Token::Init, init.pidfd.as_fd()));
        }
        all.extend(self.oom.iter().map(|oom| read(Token::Oom, oom.as_fd())));
        all.extend(self.ports.keeper().map(|pidfd| read(Token::Keeper, pidfd)));
        for (waits, fd, ready) in self.session.interests(now) {
            all.push((Token::Container(waits), fd, ready));
        }
        for exec in &self.execs {
            if exec.process.exit.is_none() {
                all.push(read(Token::ExecProcess(exec.number), exec.process.pidfd.as_fd()));
            }
            for (waits, fd, ready) in exec.session.interests(now) {
                all.push((Token::Exec(exec.number, waits), fd, ready));
            }
        }
        all
    }

    /// Init's end is not looked at while the driver starts it: it could overtake the start.
    fn polled_init(&self) -> Option<&Process> {
        self.init
            .as_ref()
            .filter(|init| init.exit.is_none() && self.phase != Phase::Starting)
    }

    fn ready(&mut self, token: Token, ready: Ready, now: Instant) {
        let reaps = matches!(
            token,
            Token::Dismissed(_) | Token::ExecProcess(_) | Token::Init | Token::HelperGone | Token::Keeper
        );
        match token {
            Token::Signals => self.take_signals(now),
            Token::Listener => self.accept(),
            Token::Connection(number) => self.connection_ready(number, ready, now),
            Token::Helper => self.helper_ready(now),
            Token::HelperGone => self.helper_gone(now),
            Token::Dismissed(pid) => self.calls.reap(pid),
            Token::Init => self.init_ready(now),
            Token::Oom => self.look_for_oom(),
            Token::Keeper => self.ports.keeper_ended(now),
            Token::Container(waits) => {
                let alive = self.init.as_ref().is_none_or(|init| init.exit.is_none());
                self.session.ready(waits, ready, alive, now, &mut self.buffer);
                self.tell_ended();
                self.check_drained(now);
            }
            Token::ExecProcess(number) => self.exec_process_ready(number, now),
            Token::Exec(number, waits) => self.exec_stream_ready(number, waits, ready, now),
        }
        if reaps {
            // A known child that had ended stood before unknown ones, and their signal is spent. One
            // that is left in the container's process namespace would keep init from ever ending.
            self.reap_unknown();
        }
    }

    fn connection_ready(&mut self, number: u64, ready: Ready, now: Instant) {
        if ready.write {
            self.connections.flush(number);
        }
        if (ready.read || ready.closed)
            && let Some(asked) = self.connections.receive(number)
        {
            self.answer(asked, now);
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // Who can reach the socket's folder is root already; asking costs nothing.
        let (own, _) = process::effective_owner();
        if let Ok(socket) = socket::accept(listener)
            && socket::peer(&socket).is_ok_and(|peer| peer.uid == own || peer.uid == 0)
        {
            // One that cannot be made non-blocking is not kept.
            let _ = self.connections.add(socket);
        }
    }

    fn take_signals(&mut self, now: Instant) {
        while let Ok(Some(number)) = event::next_signal(&self.signals) {
            if number == SIGTERM && self.phase.alive() {
                self.stop(SIGTERM, Some(life::DEFAULT_STOP), now);
            }
        }
        self.reap_unknown();
    }

    /// Reaps orphans of the container and what a driver left. Never while a call is under way: what
    /// it starts is known only when it answers, and its end must not be lost.
    fn reap_unknown(&mut self) {
        if self.calls.is_busy() {
            return;
        }
        while let Ok(Some(pid)) = process::ended_child() {
            // Those that are known are reaped by whoever waits for them.
            if self.is_known(pid) {
                return;
            }
            match process::open(pid).and_then(|pidfd| process::try_wait(pidfd.as_fd())) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn is_known(&self, pid: i32) -> bool {
        let is = |process: &Process| process.exit.is_none() && i64::from(process.pid) == i64::from(pid);
        self.init.as_ref().is_some_and(is)
            || self.execs.iter().any(|exec| is(&exec.process))
            || self.ports.is_keeper(pid)
            || self.calls.helper.as_ref().is_some_and(|helper| helper.pid == pid)
            || self.calls.dismissed.iter().any(|helper| helper.pid == pid)
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// Everything that is known.
    fn report(&self) -> Report {
        Report {
            id: self.id.clone(),
            phase: self.phase,
            pid: self.init.as_ref().map(|init| init.pid),
            cgroups: self.cgroups.clone(),
            started: self.started.clone(),
            exit: self.exit.clone(),
            execs: self
                .execs
                .iter()
                .map(|exec| ExecReport {
                    exec_id: exec.exec_id.clone(),
                    pid: exec.process.pid,
                    code: exec.code,
                })
                .collect(),
            terminal: self.session.has_terminal(),
            oom_kills: self.oom_kills,
            log_length: self.session.log().map_or(0, json_log::JsonLog::length),
        }
    }

    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        if let Some(sandbox) = self.sandbox.as_ref().filter(|_| phase != Phase::Deleted) {
            // On tmpfs, and nothing decides by it while the shim lives: a failure changes nothing.
            let _ = replace(sandbox.run_dir.as_fd(), places::STATE, &self.report(), Durability::None);
        }
    }

    fn tell_ended(&mut self) {
        let mut ended = self.session.take_ended();
        for exec in &mut self.execs {
            ended.append(&mut exec.session.take_ended());
        }
        for (stream, reason) in ended {
            self.connections.tell(Event::StreamEnded { stream, reason });
        }
    }
}

/// poll(2) counts in nanoseconds here, but a timer that fires a moment early would spin.
fn round_up(duration: Duration) -> Duration {
    duration + Duration::from_millis(1)
}
