//! The engine's end of one connection to one process.
//!
//! There is no thread that waits for replies: of the callers that wait, one reads for all. So a call
//! that is alone costs no hand-over between threads.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Message, decode, encode};
use longshore_sys::event::{Ready, poll};
use longshore_sys::{process, socket};

use super::frame::{self, Frame, Kind, Lost};
use super::lock;
use crate::services::HostServices;

/// How long a process that was told to leave, or killed, may take to be gone.
const LEAVING: Duration = Duration::from_secs(1);

/// A connection to a process that has loaded the library.
pub(super) struct Link {
    socket: OwnedFd,
    pidfd: OwnedFd,
    pid: i32,
    label: String,
    writing: Mutex<()>,
    desk: Mutex<Desk>,
    changed: Condvar,
    services: HostServices,
}

#[derive(Default)]
struct Desk {
    waiting: HashMap<u64, Option<Result<Message>>>,
    /// One of those who wait reads.
    reading: bool,
    /// Why nothing more will come.
    gone: Option<String>,
    /// Why it was killed, which is then why it is gone.
    killed: Option<String>,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, pidfd: OwnedFd, pid: i32, label: &str) -> Self {
        Self {
            socket,
            pidfd,
            pid,
            label: label.to_owned(),
            writing: Mutex::default(),
            desk: Mutex::default(),
            changed: Condvar::new(),
            services: HostServices {
                label: label.to_owned(),
            },
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the first frame, at most so long.
    pub(super) fn hello(&self, patience: Duration) -> Result<Frame, String> {
        let waited = [(self.socket.as_fd(), Ready::READ)];
        let ready = poll(&waited, Some(patience)).is_ok_and(|ready| ready.iter().any(|one| one.any()));
        if !ready {
            self.kill("it did not load within its time");
            return Err(format!("it did not load within {} s", patience.as_secs()));
        }
        match frame::receive(self.socket.as_fd()) {
            Ok(frame) if frame.kind == Kind::Hello => Ok(frame),
            Ok(_) => Err("it did not greet".into()),
            Err(lost) => Err(self.lost(lost)),
        }
    }

    /// Why it can be used no more; `None` while it can.
    pub(super) fn gone(&self) -> Option<String> {
        let desk = lock(&self.desk);
        if desk.gone.is_some() {
            return desk.gone.clone();
        }
        if desk.reading {
            return None;
        }
        drop(desk);
        // Nobody reads, so nobody has seen its end yet.
        let now = Some(Duration::ZERO);
        let closed =
            poll(&[(self.socket.as_fd(), Ready::READ)], now).is_ok_and(|ready| ready.iter().any(|one| one.closed));
        if closed {
            self.fail(Lost::Gone);
        }
        lock(&self.desk).gone.clone()
    }

    /// Makes a call. `instance` is the process's own number.
    pub(super) fn call(&self, instance: u64, call: Call<'_>, request: Message) -> Result<Message> {
        {
            let mut desk = lock(&self.desk);
            if let Some(why) = &desk.gone {
                return Err(self.broken(call, why));
            }
            if desk.waiting.insert(call.id, None).is_some() {
                return Err(Error::invalid(format!("call {} is under way already", call.id)));
            }
        }
        let frame = Frame::new(Kind::Call, instance, call.id, call.method.name, request);
        if let Err(lost) = self.send(&frame) {
            self.fail(lost);
        }
        // Its descriptors are the other side's now.
        drop(frame);
        self.wait(call)
    }

    fn wait(&self, call: Call<'_>) -> Result<Message> {
        let mut desk = lock(&self.desk);
        loop {
            if let Some(answered @ Some(_)) = desk.waiting.get_mut(&call.id)
                && let Some(outcome) = answered.take()
            {
                desk.waiting.remove(&call.id);
                return outcome;
            }
            if let Some(why) = &desk.gone {
                let error = self.broken(call, why);
                desk.waiting.remove(&call.id);
                return Err(error);
            }
            if desk.reading {
                desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            desk.reading = true;
            drop(desk);
            let read = self.read();
            desk = lock(&self.desk);
            desk.reading = false;
            if let Err(lost) = read {
                drop(desk);
                self.fail(lost);
                desk = lock(&self.desk);
            }
            self.changed.notify_all();
        }
    }

    /// Takes one frame to where it belongs.
    fn read(&self) -> Result<(), Lost> {
        let frame = frame::receive(self.socket.as_fd())?;
        match frame.kind {
            Kind::Reply => self.answered(frame.call, Ok(frame.message)),
            Kind::Error => {
                let error = decode::<Error>(&frame.message.body)
                    .unwrap_or_else(|error| Error::broken(format!("the driver's error cannot be read: {error}")));
                self.answered(frame.call, Err(error));
            }
            Kind::Service => return self.serve(&frame),
            _ => return Err(Lost::Garbage("a frame that only an engine sends")),
        }
        Ok(())
    }

    /// A reply to a call that nobody makes is dropped with its descriptors.
    fn answered(&self, call: u64, outcome: Result<Message>) {
        if let Some(place @ None) = lock(&self.desk).waiting.get_mut(&call) {
            *place = Some(outcome);
        }
    }

    fn serve(&self, asked: &Frame) -> Result<(), Lost> {
        // Only during a call: nothing else may make this process work.
        if !lock(&self.desk).waiting.contains_key(&asked.call) {
            return Ok(());
        }
        let (failed, body) = match self.services.during(asked.call, &asked.method, &asked.message.body) {
            Ok(body) => ("", body),
            Err(error) => ("error", encode(&error).unwrap_or_default()),
        };
        self.send(&Frame::new(
            Kind::Answer,
            asked.instance,
            asked.call,
            failed,
            Message::from_body(body),
        ))
    }

    fn send(&self, frame: &Frame) -> Result<(), Lost> {
        let _alone = lock(&self.writing);
        frame::send(self.socket.as_fd(), frame)
    }

    /// Never waits: what cannot be said now is not said.
    pub(super) fn say(&self, kind: Kind, instance: u64, call: u64) {
        if let Ok(_alone) = self.writing.try_lock() {
            frame::send_now(self.socket.as_fd(), kind, instance, call);
        }
    }

    /// Ends the process at once; its calls end as broken.
    pub(super) fn kill(&self, why: &str) {
        lock(&self.desk).killed.get_or_insert_with(|| why.to_owned());
        let _ = process::signal(&self.pidfd, 9);
        // Whoever reads, or waits for room to write, is waked.
        let _ = socket::end(&self.socket);
    }

    fn fail(&self, lost: Lost) {
        let why = self.lost(lost);
        let mut desk = lock(&self.desk);
        if desk.gone.is_none() {
            tracing::warn!(driver = self.label, pid = self.pid, why, "the driver's process is gone");
            desk.gone = Some(why);
        }
        drop(desk);
        self.changed.notify_all();
    }

    /// Ends what is left of it, and tells why it can be used no more.
    fn lost(&self, lost: Lost) -> String {
        if let Lost::Garbage(what) = lost {
            self.kill(&format!("it sent {what}"));
        }
        let _ = socket::end(&self.socket);
        let ended = self.reap();
        let killed = lock(&self.desk).killed.clone();
        match (killed, ended) {
            (Some(why), _) => format!("it was ended: {why}"),
            (None, Some(how)) => how,
            (None, None) => "it closed its connection".into(),
        }
    }

    /// How the process ended, when it has; a child of this process is reaped.
    fn reap(&self) -> Option<String> {
        let waited = [(self.pidfd.as_fd(), Ready::READ)];
        let ended = poll(&waited, Some(LEAVING)).is_ok_and(|ready| ready.iter().any(|one| one.any()));
        if !ended {
            return None;
        }
        Some(match process::try_wait(self.pidfd.as_fd()) {
            Ok(Some(process::Exit::Signal(number))) => format!("it died of signal {number}"),
            Ok(Some(process::Exit::Code(code))) => format!("it exited with status {code}"),
            // The child of an engine that was here before.
            _ => "it ended".into(),
        })
    }

    fn broken(&self, call: Call<'_>, why: &str) -> Error {
        Error::broken(format!(
            "the process of driver {} is gone during {}: {why}",
            self.label, call.method.name
        ))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if lock(&self.desk).gone.is_some() {
            return;
        }
        self.say(Kind::Leave, 0, 0);
        // It ends, or only closes this connection when another engine has one.
        let heard = poll(&[(self.socket.as_fd(), Ready::READ)], Some(LEAVING))
            .is_ok_and(|ready| ready.iter().any(|one| one.any()));
        if !heard {
            let _ = process::signal(&self.pidfd, 9);
        }
        let _ = socket::end(&self.socket);
        let _ = self.reap();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("driver", &self.label)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
