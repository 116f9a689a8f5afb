//! Running one more process in a container.

use std::sync::Arc;

use bollard_stubs::models;
use longshore_core::types::ExecId;
use longshore_shim::places;
use longshore_shim::protocol::{Event, Exec, Reply, Request, Stdio};

use super::live::unexpected;
use super::{AttachRequest, Container, Containers, lock};
use crate::error::{Error, Result};
use crate::paths::{make_dir, random, write_whole};

/// Most sessions that a container keeps in one life.
const MAX_SESSIONS: usize = 1024;

/// One exec session.
#[derive(Clone, Debug)]
pub struct ExecSession {
    /// Its ID.
    pub id: String,
    /// Its container.
    pub container: String,
    /// What is to run, as asked.
    pub config: models::ExecConfig,
    /// Whether it was started.
    pub started: bool,
    /// Its process's ID, once started.
    pub pid: u32,
    /// Its exit code, once ended.
    pub code: Option<u8>,
}

impl ExecSession {
    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.started && self.code.is_none()
    }
}

impl Container {
    /// Takes an event of an exec session into its record.
    pub(super) fn note_event(&self, event: &Event) {
        let mut execs = lock(&self.execs);
        match event {
            Event::ExecStarted { exec_id, pid } => {
                if let Some(session) = execs.get_mut(exec_id.as_str()) {
                    session.pid = *pid;
                }
            }
            Event::ExecExited { exec_id, code } => {
                if let Some(session) = execs.get_mut(exec_id.as_str()) {
                    session.code = Some(*code);
                }
            }
            Event::Exited(_) => {
                // Sessions end with init; one whose own end was not told died of that.
                for session in execs.values_mut().filter(|s| s.is_running()) {
                    session.code = Some(137);
                }
            }
            _ => {}
        }
    }
}

impl Containers {
    /// Notes what is to run; nothing runs yet.
    pub(crate) fn exec_create(&self, container: &Arc<Container>, config: models::ExecConfig) -> Result<String> {
        let live = container.running()?;
        if live.status().paused {
            return Err(Error::in_use(format!(
                "Container {} is paused, unpause the container before exec",
                container.id
            )));
        }
        if config
            .cmd
            .as_ref()
            .is_none_or(|cmd| cmd.first().is_none_or(String::is_empty))
        {
            return Err(Error::invalid("No exec command specified"));
        }
        let id = ExecId::from_random(random()?);
        let mut execs = lock(&container.execs);
        if execs.len() >= MAX_SESSIONS {
            execs.retain(|_, session| session.code.is_none());
            if execs.len() >= MAX_SESSIONS {
                return Err(Error::new(
                    longshore_core::ErrorKind::Exhausted,
                    format!(
                        "container {} has {MAX_SESSIONS} exec sessions, the most there can be",
                        container.id
                    ),
                )
                .hint("end some of them, or restart the container"));
            }
        }
        execs.insert(
            id.to_string(),
            ExecSession {
                id: id.to_string(),
                container: container.id.to_string(),
                config,
                started: false,
                pid: 0,
                code: None,
            },
        );
        Ok(id.to_string())
    }

    /// The session of that ID, and its container.
    pub(crate) fn exec_session(&self, id: &str) -> Result<(Arc<Container>, ExecSession)> {
        self.all()
            .into_iter()
            .find_map(|container| {
                let session = lock(&container.execs).get(id).cloned()?;
                Some((container, session))
            })
            .ok_or_else(|| {
                Error::not_found(format!(
                    "No such exec instance: {}",
                    id.chars().take(80).collect::<String>()
                ))
            })
    }

    /// A session as it is now. A client may see the end of its stream before this engine is told of the
    /// end of the process; the shim has one thread, so what it is asked after that it answers after it.
    pub(crate) fn exec_look(&self, id: &str) -> Result<ExecSession> {
        let (container, session) = self.exec_session(id)?;
        if !session.is_running() {
            return Ok(session);
        }
        let report = container.live().and_then(|live| live.report().ok());
        let code = report
            .and_then(|report| report.execs.into_iter().find(|exec| exec.exec_id.as_str() == id))
            .and_then(|exec| exec.code);
        if let (Some(code), Some(session)) = (code, lock(&container.execs).get_mut(id)) {
            session.code.get_or_insert(code);
        }
        Ok(self.exec_session(id)?.1)
    }

    /// Starts a session; its client's connection, if it has one, goes to the shim.
    pub(crate) fn exec_start(
        &self,
        id: &str,
        tty: bool,
        client: Option<AttachRequest>,
        size: Option<(u16, u16)>,
    ) -> Result<()> {
        let (container, session) = self.exec_session(id)?;
        let live = container.running()?;
        if session.started {
            return Err(Error::in_use(format!("exec {id} was started already")));
        }
        let exec_id = ExecId::parse(id)?;
        let record = container.record();
        let root = self.root_of(&container)?;
        let process = super::spec_of::process(&record, &session.config, tty, &root)?;
        let folder = self
            .paths
            .container_run(container.id.as_str())
            .join(places::EXEC)
            .join(id);
        make_dir(&folder, 0o700)?;
        write_whole(&folder.join(places::PROCESS), &process, 0o600, false)?;
        let (rows, columns) = size.unwrap_or_default();
        let stdio = match (tty, &client) {
            (true, _) => Stdio::Terminal { rows, columns },
            (false, Some(client)) => Stdio::Pipes {
                stdin: client.stdin,
                once: true,
            },
            (false, None) => Stdio::Null,
        };
        if let Some(session) = lock(&container.execs).get_mut(id) {
            // Of two that start it at once, one gets here first.
            if std::mem::replace(&mut session.started, true) {
                return Err(Error::in_use(format!("exec {id} was started already")));
            }
        }
        let request = Request::Exec(Box::new(Exec {
            exec_id,
            stdio,
            attach: client.as_ref().map(|client| client.to_attach(tty)),
        }));
        let result = live.call(request, client.map(|c| c.connection).into_iter().collect());
        let mut execs = lock(&container.execs);
        let session = execs.get_mut(id);
        match (result, session) {
            (Ok((Reply::Executed { pid, .. }, _)), Some(session)) => {
                session.pid = pid;
                Ok(())
            }
            (Ok((Reply::Executed { .. }, _)), None) => Ok(()),
            (Ok((other, _)), _) => Err(unexpected("exec", &other)),
            (Err(error), session) => {
                let code = match error.errno {
                    Some(13) => 126,
                    _ => 127,
                };
                if let Some(session) = session {
                    session.code = Some(code);
                }
                Err(error.context("OCI runtime exec failed"))
            }
        }
    }

    /// Sets the size of a session's terminal.
    pub(crate) fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let (container, _) = self.exec_session(id)?;
        let request = Request::ResizeExec {
            exec_id: ExecId::parse(id)?,
            rows,
            columns,
        };
        container.running()?.call(request, Vec::new())?;
        Ok(())
    }
}
