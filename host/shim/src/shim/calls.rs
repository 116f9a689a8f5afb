//! The driver's calls: one after the other, each through a helper; create and start share one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use longshore_core::exec::{self, Init, Resources};
use longshore_core::types::{Bytes, ContainerId};
use longshore_core::{Error, Result};
use longshore_shim::places;
use longshore_shim::protocol::{Event, Exec, Phase, Reply, Stdio};
use longshore_shim::time::rfc3339;
use longshore_sys::event::{self, Ready};
use longshore_sys::process;
use longshore_sys::socket::set_nonblocking;

use super::cgroup::OomWatch;
use super::control::Asker;
use super::detach::Detach;
use super::helper::{Answer, Call, ChildEnds, Helper, Outcome};
use super::session::Ends;
use super::{Process, Shim};

/// How long the processes of a create that failed may take to be gone.
const HALF_MADE: Duration = Duration::from_secs(2);

/// Something that the driver is to be asked for.
#[derive(Debug)]
pub(crate) enum Job {
    Create { stdio: Stdio },
    Start,
    Exec { exec: Box<Exec>, client: Option<OwnedFd> },
    Freeze { frozen: bool },
    Update { resources: Resources },
    Delete { force: bool },
}

impl Job {
    fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Start => "start",
            Self::Exec { .. } => "exec",
            Self::Freeze { frozen: true } => "pause",
            Self::Freeze { frozen: false } => "unpause",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
        }
    }
}

/// The call under way.
#[derive(Debug)]
struct Current {
    asker: Option<Asker>,
    job: Job,
    ends: Ends,
}

/// Calls under way and to come.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    queue: VecDeque<(Option<Asker>, Job)>,
    current: Option<Current>,
    /// The helper in use, or kept between create and start.
    pub(crate) helper: Option<Helper>,
    /// Helpers that were told to end.
    pub(crate) dismissed: Vec<Helper>,
}

impl Calls {
    /// Whether a call is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Whether no helper is left that could still be a process's parent.
    pub(crate) fn is_settled(&self) -> bool {
        self.helper.is_none() && self.dismissed.is_empty()
    }

    /// When the call under way has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.helper.as_ref().and_then(|helper| helper.deadline)
    }

    /// Reaps a helper that was dismissed.
    pub(crate) fn reap(&mut self, pid: i32) {
        self.dismissed
            .retain(|helper| helper.pid != pid || matches!(process::try_wait(helper.pidfd.as_fd()), Ok(None)));
    }

    /// Forgets helpers that somebody else has reaped.
    fn forget_reaped(&mut self) {
        self.dismissed
            .retain(|helper| matches!(process::try_wait(helper.pidfd.as_fd()), Ok(None)));
    }

    fn dismiss(&mut self) {
        // An idle one would end by itself when its socket closes; killed, it cannot linger either.
        if let Some(helper) = self.helper.take() {
            helper.kill();
            self.dismissed.push(helper);
        }
    }
}

impl Shim {
    /// Asks the driver, when it is free.
    pub(super) fn ask(&mut self, asker: Asker, job: Job, now: Instant) {
        self.calls.queue.push_back((Some(asker), job));
        self.next_call(now);
    }

    /// The same without anybody who waits for the answer.
    pub(super) fn ask_for_itself(&mut self, job: Job, now: Instant) {
        self.calls.queue.push_back((None, job));
        self.next_call(now);
    }

    fn next_call(&mut self, now: Instant) {
        while !self.calls.is_busy() {
            let Some((asker, job)) = self.calls.queue.pop_front() else {
                return;
            };
            if let Err((asker, error)) = self.begin(asker, job, now) {
                self.reply(asker, Err(error));
            }
        }
    }

    fn reply(&mut self, asker: Option<Asker>, result: Result<Reply>) {
        if let Some(asker) = asker {
            self.connections.reply(asker, result, Vec::new());
        }
    }

    fn begin(&mut self, asker: Option<Asker>, job: Job, now: Instant) -> Result<(), (Option<Asker>, Error)> {
        let sent = self.check_job(&job).and_then(|()| self.send_call(&job, now));
        match sent {
            Ok(ends) => {
                match job {
                    Job::Create { .. } => self.set_phase(Phase::Creating),
                    Job::Start => self.set_phase(Phase::Starting),
                    _ => {}
                }
                self.calls.current = Some(Current { asker, job, ends });
                Ok(())
            }
            Err(error) => Err((asker, error)),
        }
    }

    fn check_job(&self, job: &Job) -> Result<()> {
        let allowed = match job {
            Job::Create { .. } => self.phase == Phase::Booted,
            Job::Start => self.phase == Phase::Created,
            // A frozen container would block what joins it without end.
            Job::Exec { exec, client } => {
                if exec.attach.is_some() != client.is_some() {
                    return Err(Error::invalid(
                        "exec needs a client's connection exactly when it says how to attach it",
                    ));
                }
                if let Some(attach) = &exec.attach {
                    // Said before there is a process, not after.
                    Detach::parse(&attach.detach_keys)?;
                }
                if self.execs.iter().any(|other| other.exec_id == exec.exec_id) {
                    return Err(Error::already_exists(format!("exec session {} exists", exec.exec_id)));
                }
                self.phase == Phase::Running
            }
            Job::Freeze { .. } => matches!(self.phase, Phase::Running | Phase::Paused),
            Job::Update { .. } => matches!(self.phase, Phase::Created | Phase::Running | Phase::Paused),
            Job::Delete { force } => {
                if self.phase.alive() && !force {
                    return Err(Error::in_use(
                        "cannot delete: the container runs, and force was not asked for",
                    ));
                }
                !matches!(self.phase, Phase::Waiting | Phase::Deleted)
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(self.not_running(job.name()))
        }
    }

    /// Gets a helper and sends it the call. The child's ends of pipes are gone from here at once, so
    /// that their end is seen.
    fn send_call(&mut self, job: &Job, now: Instant) -> Result<Ends> {
        let kept = self.calls.helper.as_ref().is_some_and(Helper::is_alive);
        if !kept || !matches!(job, Job::Start) {
            self.calls.dismiss();
        }
        let mut child = ChildEnds::default();
        let mut ends = Ends::default();
        let call = self.call_of(job, now, &mut ends, &mut child)?;
        if self.calls.helper.is_none() {
            let Some(sandbox) = &self.sandbox else {
                return Err(self.not_running(job.name()));
            };
            self.calls.helper = Some(Helper::fork(sandbox, self.open_driver, self.oom_score.as_deref())?);
        }
        let helper = self.calls.helper.as_mut();
        let sent = helper.map_or(Ok(()), |helper| helper.send(&call, &child.borrowed()));
        if let Err(error) = sent {
            self.calls.dismiss();
            return Err(error);
        }
        Ok(ends)
    }

    fn call_of(&mut self, job: &Job, now: Instant, ends: &mut Ends, child: &mut ChildEnds) -> Result<Call> {
        let (id, path) = match (&self.id, &self.sandbox) {
            (Some(id), Some(sandbox)) => (id.clone(), sandbox.path.clone()),
            _ => return Err(self.not_running(job.name())),
        };
        let state_root = Bytes::from(format!("{path}/{}", places::DRIVER).as_str());
        Ok(match job {
            Job::Create { stdio } => {
                self.session.prepare(*stdio, now);
                let size = self.session.size();
                Call::Create(exec::Create {
                    id,
                    bundle: Bytes::from(path.as_str()),
                    stdio: streams(*stdio, size, ends, child)?,
                    state_root,
                })
            }
            Job::Start => Call::Start(exec::Start { id, state_root }),
            Job::Exec { exec, .. } => Call::Exec(exec::Exec {
                id,
                exec_id: exec.exec_id.clone(),
                state_root,
                process: Bytes::default(),
                stdio: streams(exec.stdio, longshore_sys::tty::Size::default(), ends, child)?,
            }),
            Job::Freeze { frozen } => Call::Freeze(exec::Freeze {
                id,
                state_root,
                frozen: *frozen,
            }),
            Job::Update { resources } => Call::Update(exec::Update {
                id,
                state_root,
                resources: resources.clone(),
            }),
            Job::Delete { force } => self.delete_call(id, state_root, *force),
        })
    }

    fn delete_call(&mut self, id: ContainerId, state_root: Bytes, force: bool) -> Call {
        // Removing the cgroup raises the watch too.
        self.look_for_oom();
        self.oom = None;
        Call::Delete(exec::Delete { id, state_root, force })
    }

    /// Something came from the helper, or its end.
    pub(super) fn helper_ready(&mut self, now: Instant) {
        let answer = self.calls.helper.as_mut().map_or(Answer::Nothing, Helper::receive);
        match answer {
            Answer::Nothing => {}
            Answer::Done(outcome, terminal) => self.call_done(outcome, terminal, now),
            Answer::Lost => self.helper_lost(now),
        }
    }

    /// The helper has ended. What it said last still counts.
    pub(super) fn helper_gone(&mut self, now: Instant) {
        if self.calls.helper.as_ref().is_none_or(Helper::is_alive) {
            return;
        }
        match self.calls.helper.as_mut().map(Helper::receive) {
            Some(Answer::Done(outcome, terminal)) => self.call_done(outcome, terminal, now),
            Some(Answer::Nothing | Answer::Lost) => self.helper_lost(now),
            None => {}
        }
    }

    fn helper_lost(&mut self, now: Instant) {
        match &self.calls.current {
            Some(current) => {
                let name = current.job.name();
                let error = Error::broken(format!(
                    "the exec driver's process ended during {name}; whether it was done is unknown"
                ));
                self.call_done(Outcome::Failed(error), None, now);
            }
            // The one kept for start: start will have another.
            None => self.calls.dismiss(),
        }
    }

    /// The call has taken longer than any may.
    pub(super) fn call_timed_out(&mut self, now: Instant) {
        let error = Error::deadline("the exec driver did not answer in time; whether it was done is unknown");
        self.call_done(Outcome::Failed(error), None, now);
    }

    /// Ends a create that is under way: what it makes is to be deleted, so nobody waits for its end.
    pub(super) fn give_up_create(&mut self, now: Instant) {
        let creates = |current: &Current| matches!(current.job, Job::Create { .. });
        if self.calls.current.as_ref().is_some_and(creates) {
            let error = Error::new(
                longshore_core::ErrorKind::Cancelled,
                "the container was deleted while it was being made",
            );
            self.call_done(Outcome::Failed(error), None, now);
        }
    }

    fn call_done(&mut self, outcome: Outcome, terminal: Option<OwnedFd>, now: Instant) {
        let Some(Current { asker, job, ends }) = self.calls.current.take() else {
            return self.calls.dismiss();
        };
        let name = job.name();
        let keeps = matches!(outcome, Outcome::Created(_));
        match (job, outcome) {
            (job, Outcome::Failed(error)) => self.call_failed(asker, &job, error),
            (Job::Create { .. }, Outcome::Created(created)) => self.created(asker, created, terminal, ends),
            (Job::Start, Outcome::Started(_)) => self.has_started(asker),
            (Job::Exec { exec, client }, Outcome::Executed(executed)) => {
                self.executed(asker, *exec, client, executed, terminal, ends);
            }
            (Job::Freeze { frozen }, Outcome::Frozen(_)) => {
                if self.phase.alive() {
                    self.set_phase(if frozen { Phase::Paused } else { Phase::Running });
                }
                self.reply(asker, Ok(Reply::Done));
            }
            (Job::Update { .. }, Outcome::Updated(updated)) => {
                let exec::Updated { applied, refused } = updated;
                self.reply(asker, Ok(Reply::Updated { applied, refused }));
            }
            (Job::Delete { .. }, Outcome::Deleted(_)) => self.deleted(asker, now),
            (job, other) => {
                let error = Error::broken(format!("the exec driver's process answered {name} with {other:?}"));
                self.call_failed(asker, &job, error);
            }
        }
        if !keeps {
            self.calls.dismiss();
        }
        self.reap_unknown();
        self.next_call(now);
    }

    fn call_failed(&mut self, asker: Option<Asker>, job: &Job, error: Error) {
        match job {
            Job::Create { .. } => {
                self.end_half_made();
                self.set_phase(Phase::Booted);
            }
            Job::Start => self.set_phase(Phase::Created),
            _ => {}
        }
        self.reply(asker, Err(error));
    }

    /// Ends whatever a create that failed has left running: a driver's process that was killed may have
    /// children, which would go on making what the delete that follows removes. Before there is an init
    /// every child of the shim is one of them.
    fn end_half_made(&mut self) {
        self.calls.dismiss();
        let until = Instant::now() + HALF_MADE;
        while let Ok(children) = process::children(process::own_number())
            && !children.is_empty()
            && Instant::now() < until
        {
            for pidfd in children.into_iter().filter_map(|pid| process::open(pid).ok()) {
                let _ = process::signal(&pidfd, 9);
                let left = until.saturating_duration_since(Instant::now());
                // Their children, in turn, are this process's as soon as they are gone.
                let _ = event::poll(&[(pidfd.as_fd(), Ready::READ)], Some(left));
                let _ = process::try_wait(pidfd.as_fd());
            }
        }
        self.calls.forget_reaped();
    }

    fn created(&mut self, asker: Option<Asker>, created: exec::Created, terminal: Option<OwnedFd>, ends: Ends) {
        let pid = pid_of(&created.init);
        let opened = Process::open(pid).and_then(|init| Ok((init, terminal.map(nonblocking).transpose()?)));
        let (init, terminal) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.call_failed(asker, &Job::Create { stdio: Stdio::Null }, error),
        };
        self.init = Some(init);
        self.session.open(ends);
        if let Some(master) = terminal {
            self.session.open_terminal(master);
        }
        self.oom = OomWatch::new(&created.cgroups);
        self.cgroups = Some(created.cgroups.clone());
        self.set_phase(Phase::Created);
        let cgroups = created.cgroups;
        self.reply(asker, Ok(Reply::Created { pid, cgroups }));
        self.connections.tell(Event::Created { pid });
    }

    fn has_started(&mut self, asker: Option<Asker>) {
        let at = rfc3339(SystemTime::now());
        self.started = Some(at.clone());
        self.set_phase(Phase::Running);
        self.reply(asker, Ok(Reply::Started { at: at.clone() }));
        self.connections.tell(Event::Started { at });
    }

    fn executed(
        &mut self,
        asker: Option<Asker>,
        exec: Exec,
        client: Option<OwnedFd>,
        executed: exec::Executed,
        terminal: Option<OwnedFd>,
        ends: Ends,
    ) {
        let pid = pid_of(&executed.process);
        let result = Process::open(pid)
            .and_then(|process| Ok((process, terminal.map(nonblocking).transpose()?)))
            .and_then(|(process, master)| self.add_exec(&exec, client, process, master, ends));
        match result {
            Ok(stream) => {
                self.reply(asker, Ok(Reply::Executed { pid, stream }));
                let exec_id = exec.exec_id;
                self.connections.tell(Event::ExecStarted { exec_id, pid });
            }
            Err(error) => self.reply(asker, Err(error)),
        }
    }
}

fn pid_of(init: &Init) -> u32 {
    match init {
        Init::Child { pid } | Init::Monitor { pid, .. } => *pid,
    }
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    set_nonblocking(&fd, true).map_err(|error| Error::io("use the container's stream", &error.into()))?;
    Ok(fd)
}

/// Makes the pipes: the shim's ends, non-blocking, go to `ends`, the process's to `child`.
fn streams(
    stdio: Stdio,
    size: longshore_sys::tty::Size,
    ends: &mut Ends,
    child: &mut ChildEnds,
) -> Result<exec::Stdio> {
    let failed = |error: &std::io::Error| Error::io("make the container's pipes", error);
    match stdio {
        Stdio::Null => Ok(exec::Stdio::Null),
        Stdio::Terminal { rows, columns } => Ok(if size == longshore_sys::tty::Size::default() {
            exec::Stdio::Terminal { rows, columns }
        } else {
            exec::Stdio::Terminal {
                rows: size.rows,
                columns: size.columns,
            }
        }),
        Stdio::Pipes { stdin, .. } => {
            let stdin = if stdin {
                let (theirs, ours) = std::io::pipe().map_err(|error| failed(&error))?;
                ends.stdin = Some(nonblocking(ours.into())?);
                Some(child.add(theirs.into()))
            } else {
                None
            };
            let mut output = |to: &mut Option<OwnedFd>| -> Result<_> {
                let (ours, theirs) = std::io::pipe().map_err(|error| failed(&error))?;
                *to = Some(nonblocking(ours.into())?);
                Ok(child.add(theirs.into()))
            };
            Ok(exec::Stdio::Pipes {
                stdin,
                stdout: output(&mut ends.stdout)?,
                stderr: output(&mut ends.stderr)?,
            })
        }
    }
}
