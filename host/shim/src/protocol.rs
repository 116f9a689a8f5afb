//! What engine and shim say to each other.
//!
//! All connections to a shim are equal: each may ask for anything, each gets every event. Replies
//! carry the number of their request and may come in another order than the requests. Descriptors
//! travel beside a frame, in the order that the request's description tells.
//!
//! A container's events come in the order `Created`, `Started`, any `Oom`, `Exited`.

use longshore_core::driver::OptionValue;
use longshore_core::exec::{Cgroups, Resources};
use longshore_core::types::{ContainerId, ExecId, IfName};
use longshore_core::{Error, Result};
pub use longshore_performer::net::keeper::Proxy;
use serde::{Deserialize, Serialize};

use crate::files::ExitRecord;

/// The protocol's version, in [`Identity`](crate::files::Identity) and in [`Reply::Booted`].
pub const VERSION: u16 = 1;
/// Longest body of a frame.
pub const MAX_BODY: usize = 128 * 1024;
/// Most descriptors beside a frame.
pub const MAX_DESCRIPTORS: usize = longshore_sys::socket::MOST_DESCRIPTORS;
/// Most volumes of one container: what remains for them beside a boot's other descriptors.
pub const MAX_MOUNTS: usize = MAX_DESCRIPTORS - 3;

/// One message on the socket.
#[derive(Debug, Serialize, Deserialize)]
pub enum Frame {
    /// Engine to shim.
    Request {
        /// Comes back in the reply.
        seq: u64,
        /// What is asked.
        request: Request,
    },
    /// Shim to engine.
    Reply {
        /// The request's number.
        seq: u64,
        /// Its answer.
        reply: Answer,
    },
    /// Shim to every engine connected.
    Event(Event),
}

/// The answer to a request, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done(Reply),
    /// It was not.
    Failed(Error),
}

impl From<Result<Reply>> for Answer {
    fn from(result: Result<Reply>) -> Self {
        match result {
            Ok(reply) => Self::Done(reply),
            Err(error) => Self::Failed(error),
        }
    }
}

impl From<Answer> for Result<Reply> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done(reply) => Ok(reply),
            Answer::Failed(error) => Err(error),
        }
    }
}

/// What an engine may ask.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Makes the sandbox and attaches the mounts. Once. Descriptors: run folder, folder on disk,
    /// one detached mount for each of [`Boot::mounts`], the exec driver's library.
    Boot(Box<Boot>),
    /// Has the driver make the container. Reply: [`Reply::Created`].
    Create {
        /// Init's standard streams.
        stdio: Stdio,
    },
    /// Has the driver start it.
    Start,
    /// Connects a client to the container's streams. Descriptor: the client's connection. May be
    /// asked for from boot on, so that nothing of the first output is missed.
    AttachStream(Box<Attach>),
    /// Runs one more process. Descriptor: the client's connection, if `attach` is given; without,
    /// its output is dropped.
    Exec(Box<Exec>),
    /// Sets the size of an exec session's terminal.
    ResizeExec {
        /// The session.
        exec_id: ExecId,
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Sets the size of the container's terminal; before there is one, the size it will get.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Sends a signal to init.
    Signal {
        /// Its number.
        number: u8,
    },
    /// Sends a signal to init and kills everything when it has not ended in time. The reply comes
    /// at once; the end is an event.
    Stop {
        /// The signal's number.
        signal: u8,
        /// Milliseconds until the kill; `None` waits for ever.
        timeout_ms: Option<u64>,
    },
    /// Freezes or thaws all processes.
    Freeze {
        /// Which.
        frozen: bool,
    },
    /// Changes limits.
    Update {
        /// The new limits.
        resources: Resources,
    },
    /// Gives the shim sockets that hold ports of the container: it keeps them for the container's
    /// life, and has those with a proxy served on the loopback link. Descriptors: one for each port.
    Ports {
        /// What is served on each, if anything.
        ports: Vec<Option<Proxy>>,
    },
    /// Asks what the shim knows.
    State,
    /// Asks for a clone of the root mount, made in the shim's namespace: the reply's descriptor.
    Root,
    /// Deletes the container and ends the shim. A container that lives needs `force`. After a
    /// failure the same request may be made again.
    Delete {
        /// Kill what lives.
        force: bool,
    },
    /// Ends a shim that has no container: before `Create`, or after one that failed.
    Quit,
}

impl Request {
    /// The request's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Boot(_) => "boot",
            Self::Create { .. } => "create",
            Self::Start => "start",
            Self::AttachStream(_) => "attach-stream",
            Self::Exec(_) => "exec",
            Self::ResizeExec { .. } => "resize-exec",
            Self::Resize { .. } => "resize",
            Self::Signal { .. } => "signal",
            Self::Stop { .. } => "stop",
            Self::Freeze { .. } => "freeze",
            Self::Update { .. } => "update",
            Self::Ports { .. } => "ports",
            Self::State => "state",
            Self::Root => "root",
            Self::Delete { .. } => "delete",
            Self::Quit => "quit",
        }
    }
}

/// What a shim is given to begin with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Boot {
    /// The container.
    pub id: ContainerId,
    /// The path of the run folder, whose descriptor comes along.
    pub run_dir: String,
    /// Where output is logged.
    pub log: Log,
    /// The network namespace.
    pub network: Network,
    /// Where each mount goes below the run folder: [`places::ROOT`](crate::places::ROOT) or
    /// `volumes/<n>`.
    pub mounts: Vec<String>,
    /// The exec driver.
    pub driver: Driver,
    /// Whether the end is written to disk; false for a container that is removed when it ends.
    pub durable: bool,
}

/// Where a container's output is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// Docker's `json-file`, in the container's folder on disk.
    JsonFile {
        /// The file's name.
        name: String,
    },
    /// Nowhere.
    None,
}

/// A container's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// One of its own.
    New {
        /// The links that the network plan raises, such as `lo`.
        up: Vec<IfName>,
    },
    /// The host's.
    Host,
}

/// The exec driver, whose library comes as a descriptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Driver {
    /// SHA-256 of the library in hexadecimal digits; empty when it was not asked for.
    pub digest: String,
    /// Its options from config.
    pub options: Vec<OptionValue>,
}

/// A process's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Pipes.
    Pipes {
        /// Whether standard input is one; otherwise it is at its end.
        stdin: bool,
        /// Whether standard input ends with that of the first client that had it.
        once: bool,
    },
    /// A terminal.
    Terminal {
        /// Lines; 0 for unknown.
        rows: u16,
        /// Characters in a line; 0 for unknown.
        columns: u16,
    },
    /// Nothing.
    Null,
}

/// How a client is connected to streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attach {
    /// Pass what it sends to standard input.
    pub stdin: bool,
    /// Send it standard output.
    pub stdout: bool,
    /// Send it standard error.
    pub stderr: bool,
    /// Put Docker's 8-byte heads before each piece.
    pub framed: bool,
    /// When it reads too slowly, let the container wait, for 30 seconds at most, before it is
    /// dropped.
    pub lossless: bool,
    /// The keys that end the connection of a client of a terminal; empty for `ctrl-p,ctrl-q`.
    pub detach_keys: String,
    /// What the engine had already read from the connection.
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// Where in the log to begin; `None` begins with what comes now.
    pub log_from: Option<u64>,
}

/// One more process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The session. Its process object lies in `exec/<exec id>/process.json` of the run folder.
    pub exec_id: ExecId,
    /// Its streams.
    pub stdio: Stdio,
    /// How the client is connected, if there is one.
    pub attach: Option<Attach>,
}

/// What a shim answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To `Boot`. Descriptor: the network namespace, when one was made.
    Booted {
        /// The shim's protocol.
        version: u16,
    },
    /// To `Create`.
    Created {
        /// Init's process ID.
        pid: u32,
        /// Its cgroups.
        cgroups: Cgroups,
    },
    /// To `Start`.
    Started {
        /// When.
        at: String,
    },
    /// To `AttachStream`.
    Attached {
        /// The number that [`Event::StreamEnded`] will name.
        stream: u64,
    },
    /// To `Exec`.
    Executed {
        /// The process's ID.
        pid: u32,
        /// The number of its client's stream, if there is one.
        stream: Option<u64>,
    },
    /// To `Update`.
    Updated {
        /// Fields in force.
        applied: Vec<String>,
        /// Fields that are not, with the reason.
        refused: Vec<longshore_core::exec::Refused>,
    },
    /// To `State`.
    State(Box<Report>),
    /// To `Root`. Descriptor: the clone.
    Root,
    /// To `Delete`: the container, its mounts and what the shim made are gone; the shim ends once
    /// its last clients have read what is left.
    Deleted,
    /// To everything else.
    Done,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The shim waits for `Boot`.
    Waiting,
    /// The sandbox is there.
    Booted,
    /// The driver is making the container.
    Creating,
    /// Init waits.
    Created,
    /// The driver is starting it.
    Starting,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// Init has ended, what it wrote is being read.
    Draining,
    /// It has ended.
    Exited,
    /// Nothing is left.
    Deleted,
}

impl Phase {
    /// Whether there is a container whose init has not ended.
    pub fn alive(self) -> bool {
        matches!(
            self,
            Self::Creating | Self::Created | Self::Starting | Self::Running | Self::Paused
        )
    }
}

/// Everything that a shim knows of its container; also the form of its file `state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The container.
    pub id: Option<ContainerId>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Init's process ID.
    pub pid: Option<u32>,
    /// Its cgroups.
    pub cgroups: Option<Cgroups>,
    /// When it was started.
    pub started: Option<String>,
    /// How it ended.
    pub exit: Option<ExitRecord>,
    /// Its exec sessions.
    pub execs: Vec<ExecReport>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Kills for want of memory so far.
    pub oom_kills: u64,
    /// The log's length, for [`Attach::log_from`].
    pub log_length: u64,
}

/// One exec session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecReport {
    /// The session.
    pub exec_id: ExecId,
    /// Its process.
    pub pid: u32,
    /// Its exit code, once it has ended.
    pub code: Option<u8>,
}

/// What happens without being asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// Init waits.
    Created {
        /// Its process ID.
        pid: u32,
    },
    /// It runs.
    Started {
        /// When.
        at: String,
    },
    /// The kernel killed a process for want of memory.
    Oom,
    /// Init has ended, its output is in the log, the record is written.
    Exited(ExitRecord),
    /// An exec session began.
    ExecStarted {
        /// The session.
        exec_id: ExecId,
        /// Its process.
        pid: u32,
    },
    /// An exec session has ended and its output was read.
    ExecExited {
        /// The session.
        exec_id: ExecId,
        /// Its exit code.
        code: u8,
    },
    /// A client's connection has ended.
    StreamEnded {
        /// The number from [`Reply::Attached`] or [`Reply::Executed`].
        stream: u64,
        /// Why.
        reason: EndReason,
    },
}

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The process ended and everything was sent.
    Finished,
    /// The detach keys.
    Detached,
    /// The client went away.
    Gone,
    /// It did not read fast enough.
    SlowReader,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use longshore_core::wire::{decode, encode};

    #[test]
    fn a_frame_survives_the_wire() {
        let body = encode(&Frame::Request {
            seq: 7,
            request: Request::AttachStream(Box::new(Attach {
                stdin: true,
                prefix: vec![0, 255, 3],
                ..Attach::default()
            })),
        })
        .unwrap();
        match decode::<Frame>(&body).unwrap() {
            Frame::Request {
                seq: 7,
                request: Request::AttachStream(attach),
            } => assert_eq!((attach.stdin, attach.prefix), (true, vec![0, 255, 3])),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_of_either_sort_comes_back_as_a_result() {
        for result in [Ok(Reply::Done), Err(Error::in_use("cannot quit: the container runs"))] {
            let failed = result.is_err();
            let body = encode(&Frame::Reply {
                seq: 1,
                reply: result.into(),
            })
            .unwrap();
            match decode::<Frame>(&body).unwrap() {
                Frame::Reply { seq: 1, reply } => assert_eq!(Result::from(reply).is_err(), failed),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn foreign_bytes_are_no_frame() {
        for body in [&b""[..], b"\x00", b"\xc1", b"{\"Request\":1}", b"\x81\xa7Request\x90"] {
            assert!(decode::<Frame>(body).is_err(), "{body:?}");
        }
    }
}
