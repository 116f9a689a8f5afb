//! The other end: a process that loads one library and serves it, as `longshore-runner serve`.
//!
//! Of the threads that are not in a call, one reads the socket for all; who has read a call lets
//! another one read, and runs the call itself. Everything that could do harm is given up before the
//! library's first instruction.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use longshore_core::driver::Opened;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Channel, Message, OPEN, decode, encode};
use longshore_sys::event::{self, Ready};
use longshore_sys::path::FileType;
use longshore_sys::{path, process, socket};
use serde::{Deserialize, Serialize};

use super::confine::Rights;
use super::frame::{self, Frame, Kind, Lost};
use super::lock;
use crate::library::{self, Library};
use crate::refusal::{Fault, Problem};
use crate::services::CallServices;

/// The form of frames; both ends are of one release, or do not work together.
const PROTOCOL: u16 = 1;
/// Idle threads that a process keeps.
const MOST_IDLE: usize = 8;

/// What a process that serves a driver is told.
#[derive(Clone, Debug)]
pub struct Serving {
    /// `graph-overlay`.
    pub label: String,
    /// What the engine calls this process: a digest of its library and its rights.
    pub identity: String,
    /// The grants of its driver.
    pub grants: Vec<String>,
    /// Its cgroup.
    pub cgroup: Option<String>,
    /// How long it stays without an engine, where one can find it again.
    pub stay: Duration,
}

/// The first word of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    protocol: u16,
    identity: String,
    refused: Option<Refusal>,
}

/// Why a library could not be loaded, as the loader of that process says it.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    problem: String,
    what: String,
    remedy: String,
}

/// The checks that may fail while a library is loaded.
const PROBLEMS: [Problem; 3] = [Problem::Load, Problem::Symbol, Problem::Abi];

impl Hello {
    /// Whether this is the process that was wanted, and has loaded its library.
    pub(super) fn check(self, identity: &str) -> Result<(), Fault> {
        if let Some(refused) = self.refused {
            let problem = PROBLEMS
                .into_iter()
                .find(|problem| format!("{problem:?}") == refused.problem)
                .unwrap_or(Problem::Load);
            return Err(Fault::new(problem, refused.what, refused.remedy));
        }
        if self.protocol != PROTOCOL || self.identity != identity {
            return Err(Fault::new(
                Problem::Load,
                "its process is of another release or another driver",
                "use the longshore-runner of this release",
            ));
        }
        Ok(())
    }
}

/// Serves the library behind standard output to the engine behind standard input, and, where standard
/// error is a socket, to engines that connect there later. Ends the process when nobody needs it.
///
/// # Errors
/// When the process cannot be what it must be; a library that is refused is the engine's to report.
pub fn serve(serving: &Serving) -> Result<std::convert::Infallible, String> {
    let own = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string());
    let (engine, file, listener) = (
        own(&std::io::stdin())?,
        own(&std::io::stdout())?,
        own(&std::io::stderr())?,
    );
    let is_socket = |fd: &OwnedFd| path::stat(fd).is_ok_and(|found| found.kind == FileType::Socket);
    if !is_socket(&engine) {
        return Err("this verb is for an engine, which calls over standard input".into());
    }
    let listener = is_socket(&listener).then_some(listener);
    let owner = process::effective_owner().0;
    let library = prepare(serving, &engine, file, listener.as_ref()).map_err(|error| error.to_string())?;
    let hello = |refused: Option<Fault>| Hello {
        protocol: PROTOCOL,
        identity: serving.identity.clone(),
        refused: refused.map(|fault| Refusal {
            problem: format!("{:?}", fault.problem),
            what: fault.what,
            remedy: fault.remedy,
        }),
    };
    let forward: &'static Forward = Box::leak(Box::default());
    match library::load_serving(&library, &serving.label, Box::new(forward)) {
        Ok(library) => {
            let runner = Arc::new(Runner {
                library,
                forward,
                hello: encode(&hello(None)).map_err(|error| error.to_string())?,
                connections: AtomicUsize::new(0),
                ended: event::counter().map_err(|error| error.to_string())?,
                listens: listener.is_some(),
            });
            runner.connect(engine).map_err(|error| error.to_string())?;
            runner.wait(listener.as_ref(), owner, serving.stay)
        }
        Err(fault) => {
            let body = encode(&hello(Some(fault))).map_err(|error| error.to_string())?;
            let frame = Frame::new(Kind::Hello, 0, 0, "", Message::from_body(body));
            let _ = frame::send(engine.as_fd(), &frame);
            process::exit_now(1)
        }
    }
}

/// Makes the process what the driver may have: alone, nameless descriptors, few rights. Gives the
/// library, in memory when the one that loads it could not read its file.
fn prepare(
    serving: &Serving,
    engine: &OwnedFd,
    file: OwnedFd,
    listener: Option<&OwnedFd>,
) -> Result<OwnedFd, longshore_sys::Error> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    if let Ok(nothing) = nothing {
        for number in 0..=2 {
            process::replace_standard(&nothing, number)?;
        }
    }
    let mut keep = vec![engine.as_fd(), file.as_fd()];
    keep.extend(listener.map(AsFd::as_fd));
    process::close_all_but(&keep)?;
    // The leader of a group, as under a debugger, is refused: then it has a session of its own.
    let _ = process::new_session();
    process::set_name(&serving.label)?;
    if let Some(listener) = listener {
        socket::listen(listener)?;
    }
    let rights = Rights::of(&serving.label, &serving.grants);
    let all_may_read = path::stat(&file)?.mode & 0o004 != 0;
    let file = if all_may_read || rights.root.is_some() {
        file
    } else {
        longshore_sys::memory::sealed_program(&serving.label, &mut std::fs::File::from(file))?
    };
    rights.confine(serving.cgroup.as_deref(), &file)?;
    Ok(file)
}

/// One loaded library and everybody it serves.
struct Runner {
    library: &'static Library,
    forward: &'static Forward,
    hello: Vec<u8>,
    connections: AtomicUsize,
    /// Counted up when a connection ends.
    ended: OwnedFd,
    listens: bool,
}

impl Runner {
    fn connect(self: &Arc<Self>, socket: OwnedFd) -> std::io::Result<()> {
        let connection = Arc::new(Connection {
            socket,
            writing: Mutex::default(),
            reading: Mutex::default(),
            idle: AtomicUsize::new(0),
            calls: Mutex::default(),
            answers: Mutex::default(),
            answered: Condvar::new(),
            questions: AtomicU64::new(0),
            instances: Mutex::default(),
            over: OnceLock::new(),
        });
        self.connections.fetch_add(1, Ordering::SeqCst);
        connection.send(&Frame::new(
            Kind::Hello,
            0,
            0,
            "",
            Message::from_body(self.hello.clone()),
        ));
        self.follow(&connection)
    }

    /// Takes further engines until there is none for too long.
    fn wait(self: &Arc<Self>, listener: Option<&OwnedFd>, owner: u32, stay: Duration) -> ! {
        loop {
            let mut waited = vec![(self.ended.as_fd(), Ready::READ)];
            waited.extend(listener.map(|listener| (listener.as_fd(), Ready::READ)));
            let alone = self.connections.load(Ordering::SeqCst) == 0;
            if alone && !self.listens {
                process::exit_now(0);
            }
            let Ok(ready) = event::poll(&waited, alone.then_some(stay)) else {
                process::exit_now(1);
            };
            let is_ready = |at: usize| ready.get(at).is_some_and(|one| one.read);
            let _ = event::clear(&self.ended);
            if let Some(listener) = listener.filter(|_| is_ready(1)) {
                self.accept(listener, owner);
            } else if !is_ready(0) && self.connections.load(Ordering::SeqCst) == 0 && alone {
                process::exit_now(0);
            }
        }
    }

    fn accept(self: &Arc<Self>, listener: &OwnedFd, owner: u32) {
        let Ok(socket) = socket::accept(listener) else { return };
        // The folder of the socket is its owner's alone; this is the second lock.
        if socket::peer(&socket).is_ok_and(|peer| peer.uid == owner) {
            let _ = self.connect(socket);
        }
    }

    /// One more thread that reads, and runs what it has read.
    fn follow(self: &Arc<Self>, connection: &Arc<Connection>) -> std::io::Result<()> {
        let (runner, connection) = (Arc::clone(self), Arc::clone(connection));
        connection.idle.fetch_add(1, Ordering::SeqCst);
        thread::Builder::new()
            .spawn(move || {
                while let Some((frame, local)) = runner.next(&connection) {
                    runner.run(&connection, frame, local);
                    if connection.idle.fetch_add(1, Ordering::SeqCst) >= MOST_IDLE {
                        connection.idle.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                }
            })
            .map(drop)
    }

    /// The next call and the library's number for it; with everything that came before it done. `None`
    /// when the connection is over.
    fn next(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<(Frame, u64)> {
        let reading = lock(&connection.reading);
        loop {
            if connection.over.get().is_some() {
                return None;
            }
            let frame = match frame::receive(connection.socket.as_fd()) {
                Ok(frame) => frame,
                Err(lost) => {
                    self.over(connection, lost);
                    return None;
                }
            };
            match frame.kind {
                Kind::Call => {
                    // Somebody must read on while this one runs.
                    if connection.idle.fetch_sub(1, Ordering::SeqCst) == 1 && self.follow(connection).is_err() {
                        connection.idle.fetch_add(1, Ordering::SeqCst);
                        connection.fail(
                            frame.call,
                            &Error::exhausted("the driver's process has no more threads"),
                        );
                        continue;
                    }
                    // Before anybody can read that it is cancelled.
                    let local = self.forward.begin(connection, frame.call);
                    lock(&connection.calls).insert(frame.call, local);
                    drop(reading);
                    return Some((frame, local));
                }
                Kind::Cancel => {
                    let local = lock(&connection.calls).get(&frame.call).copied();
                    if let Some(local) = local {
                        self.library.cancel(0, local);
                    }
                }
                Kind::Close => {
                    if lock(&connection.instances).remove(&frame.instance) {
                        self.library.close(frame.instance);
                    }
                }
                Kind::Answer => connection.answer(frame),
                Kind::Leave => {
                    if self.connections.load(Ordering::SeqCst) == 1 {
                        process::exit_now(0);
                    }
                    self.over(connection, Lost::Gone);
                    return None;
                }
                _ => {
                    self.over(connection, Lost::Garbage("a frame that only a process sends"));
                    return None;
                }
            }
        }
    }

    fn run(&self, connection: &Arc<Connection>, frame: Frame, local: u64) {
        let outcome = self
            .library
            .call_named(frame.instance, local, &frame.method, frame.message);
        self.forward.end(local);
        lock(&connection.calls).remove(&frame.call);
        match outcome {
            Ok(reply) => {
                if frame.instance == 0
                    && frame.method == OPEN.name
                    && let Ok(opened) = decode::<Opened>(&reply.body)
                {
                    lock(&connection.instances).insert(opened.instance);
                }
                connection.send(&Frame::new(Kind::Reply, frame.instance, frame.call, "", reply));
            }
            Err(error) => connection.fail(frame.call, &error),
        }
    }

    /// An engine is gone: its instances are, too, unless a call is still in one.
    fn over(&self, connection: &Connection, _lost: Lost) {
        if connection.over.set(()).is_err() {
            return;
        }
        let _ = socket::end(&connection.socket);
        connection.answered.notify_all();
        if lock(&connection.calls).is_empty() {
            for instance in std::mem::take(&mut *lock(&connection.instances)) {
                self.library.close(instance);
            }
        }
        self.connections.fetch_sub(1, Ordering::SeqCst);
        let _ = event::wake(&self.ended);
        if !self.listens {
            // A call may hang in it; nobody will ever ask for it again.
            process::exit_now(0);
        }
    }
}

/// One engine.
struct Connection {
    socket: OwnedFd,
    writing: Mutex<()>,
    reading: Mutex<()>,
    /// Threads that read, or wait to read.
    idle: AtomicUsize,
    /// The library's number of each of the engine's calls.
    calls: Mutex<HashMap<u64, u64>>,
    answers: Mutex<HashMap<u64, Option<Result<Vec<u8>>>>>,
    answered: Condvar,
    questions: AtomicU64,
    instances: Mutex<BTreeSet<u64>>,
    over: OnceLock<()>,
}

impl Connection {
    /// Whether anybody reads it does not matter here: who reads next sees the end.
    fn send(&self, frame: &Frame) {
        let _alone = lock(&self.writing);
        let _ = frame::send(self.socket.as_fd(), frame);
    }

    fn fail(&self, call: u64, error: &Error) {
        let body = encode(error).unwrap_or_default();
        self.send(&Frame::new(Kind::Error, 0, call, "", Message::from_body(body)));
    }

    fn answer(&self, frame: Frame) {
        let outcome = if frame.method.is_empty() {
            Ok(frame.message.body)
        } else {
            Err(decode::<Error>(&frame.message.body).unwrap_or_else(|error| error))
        };
        if let Some(place) = lock(&self.answers).get_mut(&frame.instance) {
            *place = Some(outcome);
        }
        self.answered.notify_all();
    }

    fn ask(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        let question = self.questions.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.answers).insert(question, None);
        let message = Message::from_body(body.to_vec());
        self.send(&Frame::new(Kind::Service, question, call, name, message));
        let mut answers = lock(&self.answers);
        loop {
            if let Some(answer) = answers.get_mut(&question).and_then(Option::take) {
                answers.remove(&question);
                return answer;
            }
            if self.over.get().is_some() {
                answers.remove(&question);
                return Err(Error::unavailable(format!(
                    "the engine is gone, so its service {name:?} is"
                )));
            }
            answers = self.answered.wait(answers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Brings a service's call to the engine whose call it is made in. The library's numbers of calls are
/// this process's own, as two engines may use the same.
#[derive(Default)]
struct Forward {
    calls: Mutex<HashMap<u64, (Arc<Connection>, u64)>>,
    last: AtomicU64,
}

impl Forward {
    fn begin(&self, connection: &Arc<Connection>, call: u64) -> u64 {
        let local = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.calls).insert(local, (Arc::clone(connection), call));
        local
    }

    fn end(&self, local: u64) {
        lock(&self.calls).remove(&local);
    }
}

impl CallServices for &'static Forward {
    fn serve(&self, call: u64, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        let place = lock(&self.calls).get(&call).cloned();
        let Some((connection, number)) = place else {
            return Err(Error::invalid("a service is called only during a call"));
        };
        connection.ask(number, name, body)
    }
}
