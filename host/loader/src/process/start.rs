//! How the process of a driver is started, and found again.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore_core::wire::decode;
use longshore_sys::socket::{self, Bounds};
use longshore_sys::{Errno, path, process};
use sha2::{Digest as _, Sha256};

use super::frame::Frame;
use super::link::Link;
use super::serve::Hello;
use super::{Processes, cgroup};
use crate::refusal::{Fault, Problem};

/// How long a library may take to load.
const LOADING: Duration = Duration::from_secs(10);
/// How long a process that has loaded its library may take to greet.
const GREETING: Duration = Duration::from_secs(3);

/// All that it takes to start a driver's process, and to start it again.
pub(crate) struct Spec {
    /// The library, as it was checked.
    pub(crate) file: OwnedFd,
    /// `graph-overlay`.
    pub(crate) label: String,
    pub(crate) grants: Vec<String>,
    /// What the process is: its library and what it may do.
    identity: String,
    processes: Processes,
}

impl Spec {
    pub(crate) fn new(file: OwnedFd, digest: &str, label: String, grants: Vec<String>, processes: &Processes) -> Self {
        let mut hash = Sha256::new();
        for word in [digest, &label].into_iter().chain(grants.iter().map(String::as_str)) {
            hash.update(word);
            hash.update([0]);
        }
        Self {
            identity: hex::encode(hash.finalize()),
            file,
            label,
            grants,
            processes: processes.clone(),
        }
    }

    /// The name of its socket: short, as the folder's path may not be.
    fn socket_name(&self) -> String {
        format!("{}.sock", self.identity.get(..16).unwrap_or_default())
    }

    fn cgroup(&self) -> Option<String> {
        let parent = self.processes.cgroup.as_ref()?;
        Some(format!("{parent}/{}", self.label))
    }

    /// Takes up the process of an engine that is gone, or starts one.
    pub(super) fn adopt_or_start(&self) -> Result<Link, Fault> {
        if let Some(link) = self.adopt() {
            return Ok(link);
        }
        self.start()
    }

    fn folder(&self) -> Option<Result<OwnedFd, Fault>> {
        let folder = self.processes.folder.as_ref()?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        Some(
            made.map_err(|error| error.to_string())
                .and_then(|()| path::open_directory(folder).map_err(|error| error.to_string()))
                .map_err(|error| {
                    Fault::new(
                        Problem::Load,
                        format_args!("its process needs the folder {} ({error})", folder.display()),
                        "make it, for its owner alone",
                    )
                }),
        )
    }

    /// A process that is still there, is this user's, and holds the same library with the same rights.
    fn adopt(&self) -> Option<Link> {
        let folder = self.folder()?.ok()?;
        let name = self.socket_name();
        let socket = match socket::connect_at(&folder, &name, Bounds::Stream) {
            Ok(socket) => socket,
            Err(error) => {
                // Nobody listens any more, or nobody ever did.
                if error.is(Errno::CONNREFUSED) {
                    let _ = path::remove_file(&folder, name.as_bytes());
                }
                return None;
            }
        };
        let peer = socket::peer(&socket).ok()?;
        if peer.uid != process::effective_owner().0 {
            tracing::warn!(
                driver = self.label,
                uid = peer.uid,
                "another user's process at the driver's socket"
            );
            let _ = path::remove_file(&folder, name.as_bytes());
            return None;
        }
        let pidfd = process::open(peer.pid).ok()?;
        let link = Link::new(socket, pidfd, peer.pid, &self.label);
        match link.hello(GREETING).map(|frame| self.greeted(&frame)) {
            Ok(Ok(())) => {
                tracing::info!(
                    driver = self.label,
                    pid = peer.pid,
                    "the driver's process is still there"
                );
                Some(link)
            }
            _ => {
                link.kill("it is not what it should be");
                let _ = path::remove_file(&folder, name.as_bytes());
                None
            }
        }
    }

    fn start(&self) -> Result<Link, Fault> {
        let failed = |what: String| {
            Fault::new(
                Problem::Load,
                format_args!("its process cannot be started ({what})"),
                "see that longshore-runner of the same release is there and the machine has room for processes",
            )
        };
        let io = |error: std::io::Error| failed(error.to_string());
        let sys = |error: longshore_sys::Error| failed(error.to_string());
        let (mine, its) = socket::pair(Bounds::Stream).map_err(sys)?;
        let listener = match self.folder() {
            Some(folder) => {
                let (folder, name) = (folder?, self.socket_name());
                let _ = path::remove_file(&folder, name.as_bytes());
                Stdio::from(socket::bind_at(&folder, &name, 0o600, Bounds::Stream).map_err(sys)?)
            }
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.processes.runner);
        command
            .arg("serve")
            .arg(&self.label)
            .args(["--identity", &self.identity])
            .args(["--stay-seconds", &self.processes.stay.as_secs().to_string()])
            .args(self.grants.iter().flat_map(|grant| ["--grant", grant]))
            .args(self.cgroup().iter().flat_map(|group| ["--cgroup", group.as_str()]))
            .env_clear()
            .current_dir("/")
            .stdin(its)
            .stdout(self.file.try_clone().map_err(io)?)
            .stderr(listener);
        #[allow(clippy::zombie_processes, reason = "the link reaps it, by its descriptor")]
        let child = command
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", self.processes.runner.display())))?;
        // The command holds the other side's ends.
        drop(command);
        let pid = i32::try_from(child.id()).unwrap_or(0);
        // A child of ours that nobody has reaped: its number means it.
        let pidfd = process::open(pid).map_err(sys)?;
        let link = Link::new(mine, pidfd, pid, &self.label);
        let greeting = link.hello(LOADING).map_err(|why| {
            Fault::new(
                Problem::Load,
                format_args!("its process did not load it ({why})"),
                "report it to the driver's author",
            )
        })?;
        self.greeted(&greeting)?;
        tracing::debug!(driver = self.label, pid, "the driver's process is started");
        Ok(link)
    }

    fn greeted(&self, frame: &Frame) -> Result<(), Fault> {
        let hello: Hello = decode(&frame.message.body).map_err(|error| {
            Fault::new(
                Problem::Load,
                format_args!("its process greets in another way ({error})"),
                "use the longshore-runner of this release",
            )
        })?;
        hello.check(&self.identity)
    }

    /// Removes what its process leaves behind.
    pub(super) fn forget(&self) {
        if let Some(group) = self.cgroup() {
            cgroup::remove(&group);
        }
        let Some(folder) = &self.processes.folder else { return };
        // Unless another engine's process listens there, as while a config is read again.
        if let Ok(open) = path::open_directory(folder) {
            let name = self.socket_name();
            let refused = socket::connect_at(open.as_fd(), &name, Bounds::Stream)
                .is_err_and(|error| error.is(Errno::CONNREFUSED));
            if refused {
                let _ = path::remove_file(&open, name.as_bytes());
            }
        }
    }
}
