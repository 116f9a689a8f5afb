//! The process that calls the exec driver: a fork of the shim that opens the driver's library, serves
//! calls over a socket pair, and is gone with the driver's memory.
//!
//! The shim has one thread, so a fork may go on as any program may. The child never returns from
//! here: it ends by `_exit`, also after a panic.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::context::{Cancel, NoServices};
use longshore_core::exec::{self, ExecDriver};
use longshore_core::types::{Bytes, Handle};
use longshore_core::wire::{Class, HandleKind, decode, encode};
use longshore_core::{Context, Error, Result};
use longshore_shim::places;
use longshore_sys::event::{self, Ready};
use longshore_sys::process::{self, Fork};
use longshore_sys::socket::{self, Bounds};
use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;

/// Opens an exec driver from its library.
pub(crate) type OpenDriver = fn(library: &OwnedFd, sandbox: &Sandbox) -> Result<Box<dyn ExecDriver>>;

/// How long a call may take before its helper is killed.
const LIMIT: Class = Class::Normal;
/// A little more than the driver itself is told, so that it can say so.
const GRACE: Duration = Duration::from_secs(1);
/// Longest answer, and longest call without an exec session's process.
const MAX_MESSAGE: usize = 128 * 1024;
/// Longest process object of an exec session.
const MAX_PROCESS: u64 = 512 * 1024;

/// A call of the exec driver. The numbers of handles count its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    Create(exec::Create),
    Start(exec::Start),
    /// The process object is read from the session's folder by the helper.
    Exec(exec::Exec),
    Update(exec::Update),
    Freeze(exec::Freeze),
    Delete(exec::Delete),
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start(_) => "start",
            Self::Exec(_) => "exec",
            Self::Update(_) => "update",
            Self::Freeze(_) => "freeze",
            Self::Delete(_) => "delete",
        }
    }
}

/// Its answer. A terminal's master is the one descriptor that may come along.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Created(exec::Created),
    Started(exec::Started),
    Executed(exec::Executed),
    Updated(exec::Updated),
    Frozen(exec::Frozen),
    Deleted(exec::Deleted),
    Failed(Error),
}

/// What came from a helper.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The driver's answer, and the terminal's master.
    Done(Outcome, Option<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// The helper is gone, or says what no helper says.
    Lost,
}

/// A helper, seen from the shim.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    socket: OwnedFd,
    /// When the call under way has taken too long.
    pub(crate) deadline: Option<Instant>,
}

impl Helper {
    /// Forks one.
    pub(crate) fn fork(sandbox: &Sandbox, open: OpenDriver, oom_score: Option<&str>) -> Result<Self> {
        let failed = |error: longshore_sys::Error| Error::io("start a process for the exec driver", &error.into());
        let (ours, theirs) = socket::pair(Bounds::Messages).map_err(failed)?;
        let shim = process::own_number();
        match process::fork_single_threaded().map_err(failed)? {
            Fork::Child => {
                let served = catch_unwind(AssertUnwindSafe(|| serve(&theirs, shim, sandbox, open, oom_score)));
                process::exit_now(match served {
                    Ok(Ok(())) => 0,
                    Ok(Err(_)) => 1,
                    Err(_) => 101,
                })
            }
            Fork::Parent { pid, pidfd } => {
                socket::set_nonblocking(&ours, true).map_err(failed)?;
                Ok(Self {
                    pid,
                    pidfd,
                    socket: ours,
                    deadline: None,
                })
            }
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a call.
    pub(crate) fn send(&mut self, call: &Call, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let body = encode(call)?;
        socket::send(&self.socket, &body, descriptors).map_err(|error| {
            Error::io(
                format!("pass the call {} to the exec driver", call.name()),
                &error.into(),
            )
        })?;
        self.deadline = Some(Instant::now() + LIMIT.limit() + GRACE);
        Ok(())
    }

    /// Takes the answer, if it is there.
    pub(crate) fn receive(&mut self) -> Answer {
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = match socket::receive(&self.socket, &mut buffer) {
            Ok(received) => received,
            Err(error) if error.is(longshore_sys::Errno::AGAIN) => return Answer::Nothing,
            Err(_) => return Answer::Lost,
        };
        let body = buffer.get(..received.bytes).unwrap_or_default();
        match decode(body) {
            Ok(outcome) => {
                self.deadline = None;
                Answer::Done(outcome, received.descriptors.into_iter().next())
            }
            Err(_) => Answer::Lost,
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        let asked = [(self.pidfd.as_fd(), Ready::READ)];
        event::poll(&asked, Some(Duration::ZERO)).is_ok_and(|ready| !ready.iter().any(|ready| ready.any()))
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        // One that is gone already need not be killed.
        let _ = process::signal(&self.pidfd, 9);
    }
}

/// The child's whole life.
fn serve(socket: &OwnedFd, shim: i32, sandbox: &Sandbox, open: OpenDriver, oom_score: Option<&str>) -> Result<()> {
    let failed = |error: longshore_sys::Error| Error::io("prepare the exec driver's process", &error.into());
    process::reset_signals().map_err(failed)?;
    // What it makes would else be found by nobody once the shim was killed.
    process::set_parent_death_signal(Some(9)).map_err(failed)?;
    if process::parent_number() != shim {
        return Err(Error::unavailable("the shim is gone"));
    }
    // Until execve, init holds whatever this process holds: a client would not see the end of its
    // connection, nor an engine that of the shim.
    process::close_all_but(&[socket.as_fd(), sandbox.library.as_fd()]).map_err(failed)?;
    if let Some(score) = oom_score {
        // Raising the score back needs no privilege.
        let _ = std::fs::write("/proc/self/oom_score_adj", score);
    }
    let driver = open(&sandbox.library, sandbox);
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let received = socket::receive(socket, &mut buffer).map_err(failed)?;
        if received.bytes == 0 {
            return Ok(());
        }
        let call = decode(buffer.get(..received.bytes).unwrap_or_default())?;
        let (outcome, descriptors) = match &driver {
            Ok(driver) => perform(&**driver, sandbox, call, received.descriptors),
            Err(error) => (Outcome::Failed(error.clone()), Vec::new()),
        };
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        socket::send(socket, &encode(&outcome)?, &borrowed).map_err(failed)?;
    }
}

fn perform(
    driver: &dyn ExecDriver,
    sandbox: &Sandbox,
    call: Call,
    descriptors: Vec<OwnedFd>,
) -> (Outcome, Vec<OwnedFd>) {
    let cx = Context::new(0, Some(LIMIT.limit()), Cancel::default(), Arc::new(NoServices));
    let outcome = descriptors
        .into_iter()
        .try_for_each(|fd| cx.give(HandleKind::Pipe, fd).map(drop))
        .and_then(|()| dispatch(driver, &cx, sandbox, call));
    match outcome {
        Ok((outcome, terminal)) => match terminal.map(|handle| cx.take(handle)).transpose() {
            Ok(master) => (outcome, master.into_iter().collect()),
            Err(error) => (Outcome::Failed(Error::broken(error.message)), Vec::new()),
        },
        Err(error) => (Outcome::Failed(error), Vec::new()),
    }
}

fn dispatch(driver: &dyn ExecDriver, cx: &Context, sandbox: &Sandbox, call: Call) -> Result<(Outcome, Option<Handle>)> {
    Ok(match call {
        Call::Create(request) => {
            let created = driver.create(cx, request)?;
            let terminal = created.terminal;
            (Outcome::Created(created), terminal)
        }
        Call::Start(request) => (Outcome::Started(driver.start(cx, request)?), None),
        Call::Exec(mut request) => {
            request.process = process_object(sandbox, &request.exec_id)?;
            let executed = driver.exec(cx, request)?;
            let terminal = executed.terminal;
            (Outcome::Executed(executed), terminal)
        }
        Call::Update(request) => (Outcome::Updated(driver.update(cx, request)?), None),
        Call::Freeze(request) => (Outcome::Frozen(driver.freeze(cx, request)?), None),
        Call::Delete(request) => (Outcome::Deleted(driver.delete(cx, request)?), None),
    })
}

fn process_object(sandbox: &Sandbox, exec_id: &longshore_core::types::ExecId) -> Result<Bytes> {
    let path = format!("{}/{}/{exec_id}/{}", sandbox.path, places::EXEC, places::PROCESS);
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(MAX_PROCESS + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::io(format!("read the process of exec session {exec_id}"), &error))?;
    if bytes.len() as u64 > MAX_PROCESS {
        return Err(Error::exhausted(format!(
            "the process of exec session {exec_id} has over {MAX_PROCESS} bytes"
        )));
    }
    Ok(Bytes::from(bytes))
}

/// The child's ends of pipes and how the driver is told of them.
#[derive(Debug, Default)]
pub(crate) struct ChildEnds(Vec<OwnedFd>);

impl ChildEnds {
    /// Adds one.
    pub(crate) fn add(&mut self, fd: OwnedFd) -> Handle {
        self.0.push(fd);
        Handle(u8::try_from(self.0.len() - 1).unwrap_or(u8::MAX))
    }

    /// All of them, to be sent.
    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}
