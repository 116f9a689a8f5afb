//! Exec sessions: more processes in a running container, each with streams and an end of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use longshore_core::types::ExecId;
use longshore_core::{Error, Result};
use longshore_shim::files::{Durability, ExitRecord, replace};
use longshore_shim::places;
use longshore_shim::protocol::{Event, Exec, Reply, Stdio};
use longshore_shim::time::rfc3339;
use longshore_sys::event::Ready;

use super::life::{DRAIN, split};
use super::session::{Ends, Session, Waits};
use super::{Process, Shim};

/// How many ended sessions are remembered: health checks make one after the other.
const REMEMBERED: usize = 64;

/// One session.
#[derive(Debug)]
pub(crate) struct ExecSession {
    pub(crate) number: u64,
    pub(crate) exec_id: ExecId,
    pub(crate) process: Process,
    pub(crate) session: Session,
    drained_by: Option<Instant>,
    /// Its exit code, once all that it wrote was read.
    pub(crate) code: Option<u8>,
}

impl ExecSession {
    /// When time alone changes something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.deadline().into_iter().chain(self.drained_by).min()
    }
}

impl Shim {
    /// Takes over a process that the driver started. Returns its client's number.
    pub(super) fn add_exec(
        &mut self,
        exec: &Exec,
        client: Option<OwnedFd>,
        process: Process,
        master: Option<OwnedFd>,
        ends: Ends,
    ) -> Result<Option<u64>> {
        let mut session = Session::new(None);
        let stdio = match exec.stdio {
            // The one client is the only one there will be.
            Stdio::Pipes { stdin, .. } => Stdio::Pipes { stdin, once: true },
            other => other,
        };
        session.prepare(stdio, Instant::now());
        session.open(ends);
        if let Some(master) = master {
            session.open_terminal(master);
        }
        let mut stream = None;
        let mut attached = Ok(());
        if let (Some(attach), Some(client)) = (exec.attach.clone(), client) {
            let number = self.number();
            stream = Some(number);
            attached = session.attach(number, client, attach);
        }
        // A client that cannot be attached, for bad detach keys, is no reason to lose the process.
        let number = self.number();
        self.execs.push(ExecSession {
            number,
            exec_id: exec.exec_id.clone(),
            process,
            session,
            drained_by: None,
            code: None,
        });
        self.forget_old_execs();
        attached.map(|()| stream)
    }

    fn forget_old_execs(&mut self) {
        let is_old = |exec: &ExecSession| exec.code.is_some() && !exec.session.has_clients();
        let mut surplus = self
            .execs
            .iter()
            .filter(|exec| is_old(exec))
            .count()
            .saturating_sub(REMEMBERED);
        self.execs.retain(|exec| {
            let forget = surplus > 0 && is_old(exec);
            surplus -= usize::from(forget);
            !forget
        });
    }

    fn exec(&mut self, number: u64) -> Option<&mut ExecSession> {
        self.execs.iter_mut().find(|exec| exec.number == number)
    }

    pub(super) fn resize_exec(&mut self, exec_id: &ExecId, rows: u16, columns: u16) -> Result<Reply> {
        let exec = self
            .execs
            .iter_mut()
            .find(|exec| exec.exec_id == *exec_id && exec.code.is_none())
            .ok_or_else(|| Error::not_found(format!("no exec session {exec_id} runs")))?;
        exec.session.resize(rows, columns);
        Ok(Reply::Done)
    }

    pub(super) fn exec_process_ready(&mut self, number: u64, now: Instant) {
        let settled = self.calls.is_settled();
        if let Some(exec) = self.exec(number)
            && exec.process.take_exit(settled)
        {
            exec.session.process_ended();
            exec.drained_by = Some(now + DRAIN);
            self.check_exec_drained(number, now);
        }
    }

    pub(super) fn exec_stream_ready(&mut self, number: u64, waits: Waits, ready: Ready, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some(exec) = self.exec(number) {
            let alive = exec.process.exit.is_none();
            exec.session.ready(waits, ready, alive, now, &mut buffer);
        }
        self.buffer = buffer;
        self.tell_ended();
        self.check_exec_drained(number, now);
    }

    /// What time alone changes in exec sessions.
    pub(super) fn tick_execs(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .execs
            .iter()
            .filter(|exec| exec.deadline().is_some_and(|at| now >= at))
            .map(|exec| exec.number)
            .collect();
        for number in due {
            if let Some(exec) = self.exec(number) {
                exec.session.tick(now);
            }
            self.check_exec_drained(number, now);
        }
    }

    fn check_exec_drained(&mut self, number: u64, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let ended = self.exec(number).and_then(|exec| {
            let by = exec.drained_by?;
            if exec.session.is_open() && now < by {
                return None;
            }
            exec.session.drain(now, &mut buffer);
            exec.session.finish();
            exec.drained_by = None;
            let (code, signal) = split(exec.process.exit?);
            exec.code = Some(code);
            Some((exec.exec_id.clone(), code, signal))
        });
        self.buffer = buffer;
        if let Some((exec_id, code, signal)) = ended {
            self.record_exec(&exec_id, code, signal);
            self.tell_ended();
            self.connections.tell(Event::ExecExited { exec_id, code });
        }
    }

    /// For an engine that comes later.
    fn record_exec(&self, exec_id: &ExecId, code: u8, signal: Option<u8>) {
        let record = ExitRecord {
            code,
            signal,
            oom: false,
            time: rfc3339(SystemTime::now()),
        };
        let folder = self
            .sandbox
            .as_ref()
            .map(|sandbox| PathBuf::from(format!("{}/{}/{exec_id}", sandbox.path, places::EXEC)));
        // The engine may have removed the folder already; then it knows enough.
        if let Some(Ok(folder)) = folder.map(std::fs::File::open) {
            let _ = replace(folder.as_fd(), places::EXIT, &record, Durability::None);
        }
    }
}
