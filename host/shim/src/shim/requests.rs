//! Requests: those that need no driver are answered here, the others become calls.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use longshore_core::{Error, Result};
use longshore_shim::files::{Durability, Identity, replace};
use longshore_shim::places;
use longshore_shim::protocol::{Attach, Boot, Log, Phase, Reply, Request, VERSION};
use longshore_sys::process;
use longshore_sys::socket::{self, Bounds};

use super::Shim;
use super::calls::Job;
use super::control::{Asked, Asker};
use super::json_log::JsonLog;
use super::sandbox::Sandbox;
use super::session::Session;

const SIGKILL: u8 = 9;

impl Shim {
    /// Answers a request, now or when the driver has.
    pub(super) fn answer(&mut self, asked: Asked, now: Instant) {
        let Asked {
            asker,
            request,
            mut descriptors,
        } = asked;
        let name = request.name();
        let result = match request {
            Request::Boot(boot) => return self.answer_boot(asker, &boot, descriptors),
            Request::Root => return self.answer_root(asker),
            Request::Create { stdio } => return self.ask(asker, Job::Create { stdio }, now),
            Request::Start => return self.ask(asker, Job::Start, now),
            Request::Exec(exec) => {
                let client = descriptors.pop();
                return self.ask(asker, Job::Exec { exec, client }, now);
            }
            Request::Freeze { frozen } => return self.ask(asker, Job::Freeze { frozen }, now),
            Request::Update { resources } => return self.ask(asker, Job::Update { resources }, now),
            Request::Delete { force } => {
                if force {
                    self.give_up_create(now);
                }
                return self.ask(asker, Job::Delete { force }, now);
            }
            // A container that ended is not left behind: leaving is deleting it.
            Request::Quit if self.phase == Phase::Exited => {
                return self.ask(asker, Job::Delete { force: false }, now);
            }
            Request::Quit => self.quit(now),
            Request::AttachStream(attach) => self.attach(*attach, descriptors),
            Request::Resize { rows, columns } => {
                self.session.resize(rows, columns);
                Ok(Reply::Done)
            }
            Request::ResizeExec { exec_id, rows, columns } => self.resize_exec(&exec_id, rows, columns),
            Request::Signal { number } => self.signal(number),
            Request::Stop { signal, timeout_ms } if self.phase.alive() => {
                self.stop(i32::from(signal), timeout_ms.map(Duration::from_millis), now);
                Ok(Reply::Done)
            }
            Request::Stop { .. } => Err(self.not_running(name)),
            Request::Ports { ports } if self.phase != Phase::Waiting && self.leave_by.is_none() => {
                self.ports.hold(ports, descriptors).map(|()| Reply::Done)
            }
            Request::Ports { .. } => Err(self.not_running(name)),
            Request::State => Ok(Reply::State(Box::new(self.report()))),
        };
        self.connections.reply(asker, result, Vec::new());
        self.tell_ended();
    }

    /// The error for a request that needs a container that lives.
    pub(super) fn not_running(&self, what: &str) -> Error {
        Error::invalid(format!("cannot {what}: the container is {}", describe(self.phase)))
    }

    fn answer_boot(&mut self, asker: Asker, boot: &Boot, descriptors: Vec<OwnedFd>) {
        if self.phase != Phase::Waiting || self.leave_by.is_some() {
            let error = Error::already_exists("cannot boot: this shim has a container");
            return self.connections.reply(asker, Err(error), Vec::new());
        }
        match self.boot(boot, descriptors) {
            Ok(network) => {
                let reply = Ok(Reply::Booted { version: VERSION });
                self.connections.reply(asker, reply, network.into_iter().collect());
            }
            Err(error) => {
                // Half a sandbox is of no use, and a namespace cannot be left again: another shim is
                // the second try.
                self.let_go();
                self.connections.reply(asker, Err(error), Vec::new());
            }
        }
    }

    fn boot(&mut self, boot: &Boot, descriptors: Vec<OwnedFd>) -> Result<Option<OwnedFd>> {
        let sandbox = self.sandbox.insert(Sandbox::make(boot, descriptors)?);
        let log = match &boot.log {
            Log::None => None,
            Log::JsonFile { name } if places::is_file_name(name) => Some(
                JsonLog::open(sandbox.data_dir.as_fd(), name)
                    .map_err(|error| Error::io(format!("open the container's log {name}"), &error))?,
            ),
            Log::JsonFile { name } => return Err(Error::invalid(format!("the log {name:?} is no file name"))),
        };
        self.session = Session::new(log);
        self.id = Some(boot.id.clone());
        self.durable = boot.durable;
        let failed = |error: longshore_sys::Error| Error::io("listen for engines", &error.into());
        self.listener =
            Some(socket::listen_at(&sandbox.run_dir, places::SOCKET, 0o600, Bounds::Messages).map_err(failed)?);
        let identity = Identity::of_this_process()?;
        replace(sandbox.run_dir.as_fd(), places::IDENTITY, &identity, Durability::None)?;
        let network = sandbox
            .network
            .as_ref()
            .map(|fd| fd.try_clone())
            .transpose()
            .map_err(|error| Error::io("hand out the network namespace", &error))?;
        self.set_phase(Phase::Booted);
        Ok(network)
    }

    fn answer_root(&mut self, asker: Asker) {
        let cloned = match &self.sandbox {
            Some(sandbox) if self.phase != Phase::Deleted => sandbox.clone_root(),
            _ => Err(self.not_running("read the root")),
        };
        match cloned {
            Ok(root) => self.connections.reply(asker, Ok(Reply::Root), vec![root]),
            Err(error) => self.connections.reply(asker, Err(error), Vec::new()),
        }
    }

    fn attach(&mut self, attach: Attach, mut descriptors: Vec<OwnedFd>) -> Result<Reply> {
        let Some(connection) = descriptors.pop() else {
            return Err(Error::invalid("attach-stream came without the client's connection"));
        };
        if matches!(self.phase, Phase::Waiting | Phase::Deleted) {
            return Err(self.not_running("attach"));
        }
        let stream = self.number();
        self.session.attach(stream, connection, attach)?;
        Ok(Reply::Attached { stream })
    }

    fn signal(&mut self, number: u8) -> Result<Reply> {
        let init = match &self.init {
            Some(init) if self.phase.alive() => init,
            _ => return Err(self.not_running("signal")),
        };
        match process::signal(&init.pidfd, i32::from(number)) {
            Err(error) if !error.is(longshore_sys::Errno::SRCH) => {
                return Err(Error::io(
                    format!("send signal {number} to the container"),
                    &error.into(),
                ));
            }
            _ => {}
        }
        if number == SIGKILL && self.phase == Phase::Paused {
            // On cgroup v1 a frozen process dies only when it thaws.
            self.thaw();
        }
        Ok(Reply::Done)
    }

    fn quit(&mut self, _now: Instant) -> Result<Reply> {
        match self.phase {
            Phase::Waiting | Phase::Booted | Phase::Deleted if !self.calls.is_busy() => {
                self.let_go();
                Ok(Reply::Done)
            }
            _ => Err(Error::in_use(format!(
                "cannot quit: the container is {}",
                describe(self.phase)
            ))),
        }
    }
}

fn describe(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting | Phase::Booted => "not created",
        Phase::Creating => "being created",
        Phase::Created => "created and not started",
        Phase::Starting => "being started",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Draining | Phase::Exited => "not running",
        Phase::Deleted => "deleted",
    }
}
