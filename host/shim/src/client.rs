//! The engine's end: starting a shim, connecting to one, asking it.
//!
//! A connection has a thread of its own that reads: replies go to the callers that wait for them,
//! events to the function given at the beginning. Calls may come from many threads at once. When the
//! last call was made and the client is dropped, the connection ends and the shim goes on alone.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::{Error, Result};
use longshore_sys::socket::{self, Bounds};

use crate::places;
use crate::protocol::{Answer, Event, Frame, Reply, Request};
use crate::transport::{self, Received};

/// What comes on a connection without being asked for.
#[derive(Debug)]
pub enum Notice {
    /// An event.
    Event(Event),
    /// The connection ended: the shim left after `Delete` or `Quit`, or was killed, or the client
    /// was dropped. It is the last notice.
    Lost,
}

/// The shim's program, ready to be run many times.
#[derive(Debug)]
pub struct ShimBinary {
    path: PathBuf,
    /// A sealed copy in memory that all shims share. Until a container's init calls `execve`, its
    /// `/proc/self/exe` is the shim's program: nothing in a container can ever write to this one.
    sealed: Option<OwnedFd>,
}

impl ShimBinary {
    /// Reads the program. On a kernel that runs nothing from memory (`vm.memfd_noexec`) the file
    /// itself will be run.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = std::fs::File::open(path)
            .map_err(|error| Error::io(format!("open the shim {}", path.display()), &error))?;
        let sealed = longshore_sys::memory::sealed_program("longshore-shim", &mut file).ok();
        Ok(Self {
            path: path.to_owned(),
            sealed,
        })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.sealed {
            Some(fd) => Command::new(longshore_sys::path::through_proc(fd)),
            None => Command::new(&self.path),
        };
        command.arg0("longshore-shim");
        command
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Response {
    /// What was said.
    pub reply: Reply,
    /// The descriptors beside it.
    pub descriptors: Vec<OwnedFd>,
}

type Waiter = SyncSender<(Answer, Vec<OwnedFd>)>;

/// Who waits for which reply; `None` once the connection has ended.
#[derive(Debug)]
struct Waiters(Mutex<Option<HashMap<u64, Waiter>>>);

impl Waiters {
    fn add(&self, seq: u64, waiter: Waiter) -> Result<()> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(waiters) => {
                waiters.insert(seq, waiter);
                Ok(())
            }
            None => Err(lost()),
        }
    }

    fn take(&self, seq: u64) -> Option<Waiter> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()?
            .remove(&seq)
    }

    fn end(&self) {
        // Dropping the senders wakes everyone who waits.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn lost() -> Error {
    Error::unavailable("the connection to the container's shim has ended")
}

/// A connection to one shim.
#[derive(Debug)]
pub struct ShimClient {
    /// A message socket; the type is used for nothing but shutdown.
    socket: Arc<UnixStream>,
    waiters: Arc<Waiters>,
    next: AtomicU64,
    pid: Option<u32>,
}

impl ShimClient {
    /// Starts a shim. It does nothing before `Boot`, and ends when the client is dropped before that.
    ///
    /// # Errors
    /// What starting it met.
    pub fn spawn(binary: &ShimBinary, notify: impl FnMut(Notice) + Send + 'static) -> Result<Self> {
        let failed = |error: &io::Error| Error::io(format!("start the shim {}", binary.path.display()), error);
        let (ours, theirs) = socket::pair(Bounds::Messages).map_err(|error| failed(&error.into()))?;
        // Its end goes as standard input: no descriptor has to be kept open across execve, which
        // another thread's child would inherit too.
        let child = binary
            .command()
            .args(["run", "--fd", "0"])
            .current_dir("/")
            // Nothing of the engine's environment is meant for the exec driver: LISTEN_FDS would
            // reach the container.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        let pid = child.id();
        let mut client = Self::over(ours, Some(child), notify)?;
        client.pid = Some(pid);
        Ok(client)
    }

    /// Connects to a shim that runs, by its run folder.
    ///
    /// # Errors
    /// `Unavailable` or `NotFound` when none listens there.
    pub fn connect(run_dir: BorrowedFd<'_>, notify: impl FnMut(Notice) + Send + 'static) -> Result<Self> {
        let socket = socket::connect_at(run_dir, places::SOCKET, Bounds::Messages)
            .map_err(|error| Error::io("connect to the container's shim", &error.into()))?;
        Self::over(socket, None, notify)
    }

    fn over(socket: OwnedFd, child: Option<Child>, notify: impl FnMut(Notice) + Send + 'static) -> Result<Self> {
        let socket = Arc::new(UnixStream::from(socket));
        let waiters = Arc::new(Waiters(Mutex::new(Some(HashMap::new()))));
        let reader = Reader {
            socket: Arc::clone(&socket),
            waiters: Arc::clone(&waiters),
            child,
        };
        std::thread::Builder::new()
            .name("shim".into())
            .stack_size(256 * 1024)
            .spawn(move || reader.run(notify))
            .map_err(|error| Error::io("start a thread for the shim's connection", &error))?;
        Ok(Self {
            socket,
            waiters,
            next: AtomicU64::new(1),
            pid: None,
        })
    }

    /// The process ID of a shim that was started here.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Asks and waits for the answer, however long it takes: the shim itself bounds what an exec
    /// driver may take. Descriptors stay the caller's.
    ///
    /// # Errors
    /// What the shim answered; `Unavailable` when the connection ended, after which the outcome is
    /// unknown.
    pub fn call(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<Response> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let body = transport::encode_frame(&Frame::Request { seq, request })?;
        let (sender, receiver) = sync_channel(1);
        self.waiters.add(seq, sender)?;
        if let Err(error) = transport::send(&*self.socket, &body, descriptors) {
            self.waiters.take(seq);
            return Err(error);
        }
        let (answer, descriptors) = receiver.recv().map_err(|_| lost())?;
        Result::from(answer).map(|reply| Response { reply, descriptors })
    }
}

impl Drop for ShimClient {
    fn drop(&mut self) {
        // Wakes the reading thread, which shares the socket. A peer that is gone makes it fail,
        // which is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

struct Reader {
    socket: Arc<UnixStream>,
    waiters: Arc<Waiters>,
    child: Option<Child>,
}

impl Reader {
    fn run(mut self, mut notify: impl FnMut(Notice)) {
        let mut buffer = Vec::new();
        // A message outside the protocol ends the connection as its end does: nothing that follows
        // could be trusted.
        while let Ok(Received::Frame(frame, descriptors)) = transport::receive(self.socket.as_fd(), &mut buffer) {
            match frame {
                Frame::Reply { seq, reply } => {
                    if let Some(waiter) = self.waiters.take(seq) {
                        // A caller that no longer waits closes the descriptors.
                        let _ = waiter.send((reply, descriptors));
                    }
                }
                Frame::Event(event) => notify(Notice::Event(event)),
                Frame::Request { .. } => break,
            }
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        self.waiters.end();
        notify(Notice::Lost);
        drop(self.socket);
        if let Some(child) = &mut self.child {
            // The shim is this process's child as long as this process lives.
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::sync::mpsc::channel;

    fn answer(socket: &OwnedFd, buffer: &mut Vec<u8>) -> Option<(u64, Request)> {
        match transport::receive(socket, buffer).unwrap() {
            Received::Frame(Frame::Request { seq, request }, _) => Some((seq, request)),
            _ => None,
        }
    }

    fn reply(socket: &OwnedFd, seq: u64, result: Result<Reply>) {
        let body = transport::encode_frame(&Frame::Reply {
            seq,
            reply: result.into(),
        })
        .unwrap();
        transport::send(socket, &body, &[]).unwrap();
    }

    #[test]
    fn replies_in_another_order_reach_their_callers() {
        let (ours, theirs) = socket::pair(Bounds::Messages).unwrap();
        let client = ShimClient::over(ours, None, |_| {}).unwrap();
        let shim = std::thread::spawn(move || {
            let mut buffer = Vec::new();
            let first = answer(&theirs, &mut buffer).unwrap();
            let second = answer(&theirs, &mut buffer).unwrap();
            for (seq, request) in [second, first] {
                let result = match request {
                    Request::Start => Ok(Reply::Done),
                    _ => Err(Error::in_use("busy")),
                };
                reply(&theirs, seq, result);
            }
        });
        std::thread::scope(|scope| {
            let start = scope.spawn(|| client.call(Request::Start, &[]));
            let quit = scope.spawn(|| client.call(Request::Quit, &[]));
            assert!(matches!(start.join().unwrap().unwrap().reply, Reply::Done));
            assert_eq!(quit.join().unwrap().unwrap_err().kind, longshore_core::ErrorKind::InUse);
        });
        shim.join().unwrap();
    }

    #[test]
    fn events_and_the_end_are_noticed_in_order() {
        let (ours, theirs) = socket::pair(Bounds::Messages).unwrap();
        let (sender, notices) = channel();
        let client = ShimClient::over(ours, None, move |notice| sender.send(notice).unwrap()).unwrap();
        let body = transport::encode_frame(&Frame::Event(Event::Oom)).unwrap();
        transport::send(&theirs, &body, &[]).unwrap();
        drop(theirs);
        assert!(matches!(notices.recv().unwrap(), Notice::Event(Event::Oom)));
        assert!(matches!(notices.recv().unwrap(), Notice::Lost));
        assert_eq!(
            client.call(Request::State, &[]).unwrap_err().kind,
            longshore_core::ErrorKind::Unavailable
        );
    }

    #[test]
    fn a_caller_that_waits_when_the_shim_dies_is_told() {
        let (ours, theirs) = socket::pair(Bounds::Messages).unwrap();
        let client = ShimClient::over(ours, None, |_| {}).unwrap();
        let shim = std::thread::spawn(move || answer(&theirs, &mut Vec::new()).is_some());
        let error = client.call(Request::State, &[]).unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::Unavailable);
        assert!(shim.join().unwrap());
    }

    #[test]
    fn dropping_the_client_ends_the_connection() {
        let (ours, theirs) = socket::pair(Bounds::Messages).unwrap();
        drop(ShimClient::over(ours, None, |_| {}).unwrap());
        assert!(answer(&theirs, &mut Vec::new()).is_none());
    }
}
