//! The process of one call: a fork of the case's process that opens the driver, calls it and ends, as
//! the shim's helper does.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::context::{Cancel, NoServices};
use longshore_core::driver::{Open, Opened, OptionValue};
use longshore_core::exec::{Client, ExecCapabilities, ExecDriver, Stdio, VERSION};
use longshore_core::types::{Bytes, Handle};
use longshore_core::wire::{Channel, Class, HandleKind, OPEN, client_call, decode, encode};
use longshore_core::{Context, Error, Result};
use longshore_sys::event::{self, Ready};
use longshore_sys::process::{self, Fork};
use longshore_sys::socket::{self, Bounds};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest answer.
const LONGEST: usize = 128 * 1024;

/// Longer than the driver itself is told.
const LIMIT: Duration = Duration::from_secs(65);

/// Where the driver comes from.
pub(crate) enum Source {
    Library(OwnedFd),
    Linked(fn() -> Arc<dyn Channel>),
}

/// One case's driver and its folder.
pub(crate) struct Bench {
    pub(crate) source: Source,
    pub(crate) options: RefCell<Vec<OptionValue>>,
    pub(crate) capabilities: ExecCapabilities,
    /// Whether the driver makes whole containers.
    pub(crate) whole: bool,
    pub(crate) folder: PathBuf,
    /// How many containers were made.
    pub(crate) containers: Cell<u32>,
    /// What went wrong where nothing could be answered.
    pub(crate) late: RefCell<Vec<String>>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Where the streams of a process go.
#[derive(Debug)]
pub(crate) enum Streams {
    Null,
    Terminal {
        rows: u16,
        columns: u16,
    },
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

impl Streams {
    fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Pipes { stdin, stdout, stderr } => {
                let mut all = vec![stdout.as_fd(), stderr.as_fd()];
                all.extend(stdin.as_ref().map(|fd| fd.as_fd()));
                all
            }
            _ => Vec::new(),
        }
    }

    fn give(self, cx: &Context) -> Result<Stdio> {
        Ok(match self {
            Self::Null => Stdio::Null,
            Self::Terminal { rows, columns } => Stdio::Terminal { rows, columns },
            Self::Pipes { stdin, stdout, stderr } => Stdio::Pipes {
                stdin: stdin.map(|fd| cx.give(HandleKind::Pipe, fd)).transpose()?,
                stdout: cx.give(HandleKind::Pipe, stdout)?,
                stderr: cx.give(HandleKind::Pipe, stderr)?,
            },
        })
    }
}

/// A helper under way.
pub(crate) struct Helper {
    pub(crate) pidfd: OwnedFd,
    socket: OwnedFd,
}

impl Bench {
    fn open(&self) -> Result<Box<dyn ExecDriver>> {
        let path = self.folder.join("driver");
        let root = fs::create_dir_all(&path).and_then(|()| fs::File::open(&path));
        let root = root
            .map_err(|error| Error::io("make the driver's folder", &error))?
            .into();
        match &self.source {
            Source::Library(library) => Ok(Box::new(longshore_loader::open_exec_by_fd(
                library,
                root,
                &path,
                self.options.borrow().clone(),
            )?)),
            Source::Linked(channel) => open_linked(channel(), root, &path, &self.options.borrow()),
        }
    }

    /// Begins a call in a process of its own. `keep` is what the call needs of this one's descriptors.
    pub(crate) fn begin<T: Serialize>(
        &self,
        streams: Streams,
        work: impl FnOnce(&dyn ExecDriver, &Context, Stdio) -> Result<(T, Option<Handle>)>,
    ) -> Result<Helper> {
        let failed = |error: longshore_sys::Error| Error::io("start a process for the call", &error.into());
        let (ours, theirs) = socket::pair(Bounds::Messages).map_err(failed)?;
        match process::fork_single_threaded().map_err(failed)? {
            Fork::Parent { pidfd, .. } => Ok(Helper { pidfd, socket: ours }),
            Fork::Child => {
                let served = catch_unwind(AssertUnwindSafe(|| self.serve(&theirs, streams, work)));
                process::exit_now(match served {
                    Ok(Ok(())) => 0,
                    Ok(Err(_)) => 1,
                    Err(_) => 101,
                })
            }
        }
    }

    /// The child's whole life.
    fn serve<T: Serialize>(
        &self,
        socket: &OwnedFd,
        streams: Streams,
        work: impl FnOnce(&dyn ExecDriver, &Context, Stdio) -> Result<(T, Option<Handle>)>,
    ) -> longshore_sys::Result<()> {
        process::reset_signals()?;
        let mut keep = streams.borrowed();
        keep.push(socket.as_fd());
        if let Source::Library(library) = &self.source {
            keep.push(library.as_fd());
        }
        process::close_all_but(&keep)?;
        let cx = Context::new(0, Some(Class::Normal.limit()), Cancel::default(), Arc::new(NoServices));
        let answer = self.open().and_then(|driver| {
            let stdio = streams.give(&cx)?;
            let (value, terminal) = work(&*driver, &cx, stdio)?;
            Ok((value, terminal.map(|handle| cx.take(handle)).transpose()?))
        });
        let (answer, terminal) = match answer {
            Ok((value, terminal)) => (Ok(value), terminal),
            Err(error) => (Err(error), None),
        };
        let body = encode(&answer).or_else(|error| encode(&Err::<T, Error>(error)));
        let terminal: Vec<_> = terminal.iter().map(|fd| fd.as_fd()).collect();
        socket::send(socket, &body.unwrap_or_default(), &terminal).map(drop)
    }

    /// A call in a process of its own; its answer, and the terminal's master.
    pub(crate) fn call<T: Serialize + DeserializeOwned>(
        &self,
        streams: Streams,
        work: impl FnOnce(&dyn ExecDriver, &Context, Stdio) -> Result<(T, Option<Handle>)>,
    ) -> Result<(T, Option<OwnedFd>)> {
        self.begin(streams, work)?.finish()
    }
}

impl Helper {
    /// Waits for its answer and its end.
    pub(crate) fn finish<T: DeserializeOwned>(self) -> Result<(T, Option<OwnedFd>)> {
        let failed = |error: longshore_sys::Error| Error::io("hear of the call's process", &error.into());
        // Init holds the other end until execve: that the helper has ended is told by itself.
        let waited = [(self.socket.as_fd(), Ready::READ), (self.pidfd.as_fd(), Ready::READ)];
        let ready = event::poll(&waited, Some(LIMIT)).map_err(failed)?;
        if !ready.iter().any(|ready| ready.any()) {
            self.kill()?;
            return Err(Error::deadline("the driver did not answer, and was killed"));
        }
        socket::set_nonblocking(&self.socket, true).map_err(failed)?;
        let mut buffer = vec![0; LONGEST];
        let received = socket::receive(&self.socket, &mut buffer);
        let exit = process::wait(self.pidfd.as_fd()).map_err(failed)?;
        match received {
            Ok(received) if received.bytes > 0 => {
                let answer: Result<T> = decode(buffer.get(..received.bytes).unwrap_or_default())?;
                Ok((answer?, received.descriptors.into_iter().next()))
            }
            _ => Err(Error::broken(format!("the driver's process died: {exit:?}"))),
        }
    }

    /// Ends it at once, wherever it is.
    pub(crate) fn kill(&self) -> Result<()> {
        let failed = |error: longshore_sys::Error| Error::io("kill the call's process", &error.into());
        process::signal(&self.pidfd, 9).map_err(failed)?;
        process::wait(self.pidfd.as_fd()).map(drop).map_err(failed)
    }
}

fn open_linked(
    channel: Arc<dyn Channel>,
    root: OwnedFd,
    path: &Path,
    options: &[OptionValue],
) -> Result<Box<dyn ExecDriver>> {
    let cx = Context::background();
    let request = Open {
        root: Some(cx.give(HandleKind::Directory, root)?),
        root_path: Bytes::parse(path.as_os_str().as_encoded_bytes())?,
        options: options.to_vec(),
        host_interface: VERSION,
    };
    let opened: Opened = client_call(&channel, 0, &OPEN, &cx, &request)?;
    Ok(Box::new(Client::new(channel, &opened)))
}
