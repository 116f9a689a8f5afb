//! The engine's socket. It is bound under a random name and renamed over `engine.sock` while the data
//! root's lock is held: a stale socket needs no check, and there is no moment without one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use longshore_engine::{Error, Result};
use longshore_sys::path::{OFlags, Resolve, Target};
use longshore_sys::socket::Bounds;

const NAME: &[u8] = b"engine.sock";
/// What random names begin with.
const SCRATCH: &str = ".engine.sock.";
/// The group whose members may use the engine, where there is one.
const GROUP: &str = "longshore";

/// The socket and the folder it is in.
#[derive(Debug)]
pub(crate) struct Socket {
    folder: OwnedFd,
    listener: UnixListener,
    /// What a service manager listens on for us, beside our own.
    passed: Option<UnixListener>,
}

fn random_name() -> io::Result<String> {
    let bytes = longshore_sys::path::random::<8>()?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{SCRATCH}{digits}"))
}

/// The number of a group in `/etc/group`.
fn group(name: &str) -> Option<u32> {
    let text = fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

impl Socket {
    /// Begins to listen in the run folder.
    ///
    /// # Errors
    /// What binding met.
    pub(crate) fn bind(run: &Path) -> Result<Self> {
        Self::try_bind(run).map_err(|error| Error::io(format!("listen in {}", run.display()), &error))
    }

    fn try_bind(run: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(run)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let folder = longshore_sys::path::open_directory(run)?;
        let scratch = random_name()?;
        let listener = longshore_sys::socket::listen_at(&folder, &scratch, 0o660, Bounds::Stream)?;
        if let Some(group) = group(GROUP) {
            let made = longshore_sys::path::open(
                &folder,
                scratch.as_bytes(),
                OFlags::PATH | OFlags::NOFOLLOW,
                0,
                Resolve::Beneath,
            )?;
            longshore_sys::path::set_owner(made, longshore_sys::process::effective_owner().0, group)?;
        }
        longshore_sys::path::rename(&folder, scratch.as_bytes(), &folder, NAME, Target::Replace)?;
        longshore_sys::socket::set_nonblocking(listener.as_fd(), true)?;
        Ok(Self {
            folder,
            listener: listener.into(),
            passed: None,
        })
    }

    /// Takes the socket that a service manager passes (`LISTEN_FDS`, sd_listen_fds(3)), if it does.
    ///
    /// # Errors
    /// When what it passes is no listening unix stream socket.
    pub(crate) fn with_passed(mut self) -> Result<Self> {
        let failed = |error| Error::io("take the socket of the service manager (LISTEN_FDS)", &error);
        self.passed = listenfd::ListenFd::from_env().take_unix_listener(0).map_err(failed)?;
        if let Some(passed) = &self.passed {
            passed.set_nonblocking(true).map_err(failed)?;
        }
        Ok(self)
    }

    /// The service manager's listener for the runtime.
    pub(crate) fn passed(&self) -> io::Result<Option<tokio::net::UnixListener>> {
        let copy = self.passed.as_ref().map(UnixListener::try_clone).transpose()?;
        copy.map(tokio::net::UnixListener::from_std).transpose()
    }

    /// The listener for the runtime.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }

    /// Removes the name, so that nobody new comes.
    pub(crate) fn remove(&self) {
        if let Err(error) = longshore_sys::path::remove_file(&self.folder, NAME) {
            tracing::warn!(%error, "the socket could not be removed");
        }
    }

    /// Takes the name away and asks whether somebody came before that. Nobody: the name is gone for
    /// good. Somebody: the name is back, and this is who.
    pub(crate) fn leave(&self) -> io::Result<Option<std::os::unix::net::UnixStream>> {
        let scratch = random_name()?;
        longshore_sys::path::rename(&self.folder, NAME, &self.folder, scratch.as_bytes(), Target::Replace)?;
        match self.listener.accept() {
            Ok((stream, _)) => {
                longshore_sys::path::rename(&self.folder, scratch.as_bytes(), &self.folder, NAME, Target::Replace)?;
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(_) => {
                longshore_sys::path::remove_file(&self.folder, scratch.as_bytes())?;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_new_socket_takes_the_place_of_a_stale_one() {
        let run = tempfile::tempdir().unwrap();
        drop(Socket::bind(run.path()).unwrap());
        assert!(UnixStream::connect(run.path().join("engine.sock")).is_err());
        let _socket = Socket::bind(run.path()).unwrap();
        UnixStream::connect(run.path().join("engine.sock")).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_came_before_the_leaving_is_served() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("engine.sock");
        let socket = Socket::bind(run.path()).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert!(socket.leave().unwrap().is_some());
        assert!(path.exists());
        assert!(socket.leave().unwrap().is_none());
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }
}
