//! A container of busybox under a real shim and the native exec driver, removed whatever happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests")]

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use longshore_core::types::{ContainerId, ExecId, IfName};
use longshore_shim::protocol::{Attach, Boot, Driver, Event, Exec, Log, Network, Stdio};
use longshore_shim::{ExitRecord, Notice, Reply, Request, ShimBinary, ShimClient, places};
use longshore_sys::mount::{Depth, clone_tree};
use serde_json::{Value, json};

/// How long anything may take before the test is called hung. Nothing is measured.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// The log's name.
pub(crate) const LOG: &str = "c-json.log";

/// The exec driver's library, where a build leaves it.
pub(crate) fn library() -> Option<PathBuf> {
    let shim = Path::new(env!("CARGO_BIN_EXE_longshore-shim"));
    let beside = shim.parent().unwrap();
    let components = std::env::var_os("LONGSHORE_COMPONENTS").map(|dir| PathBuf::from(dir).join("exec-native.so"));
    [
        components,
        Some(beside.join("liblongshore_exec_native.so")),
        Some(beside.join("../longshore/lib/longshore/exec-native.so")),
    ]
    .into_iter()
    .flatten()
    .find(|path| path.exists())
}

/// Why nothing can run here, if so.
pub(crate) fn skip() -> Option<String> {
    if longshore_sys::process::effective_owner().0 != 0 {
        return Some("not root".into());
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("no static busybox at /bin/busybox".into());
    }
    if library().is_none() {
        return Some("the native exec driver is not built".into());
    }
    None
}

macro_rules! needs_root {
    () => {
        if let Some(reason) = common::skip() {
            println!("SKIP: {reason}");
            return;
        }
    };
}
pub(crate) use needs_root;

/// The folders of a container, and what becomes of them.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) id: ContainerId,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run", "data", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let root = folder.path().join("root");
        for name in ["bin", "proc", "dev", "sys", "tmp", "data"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in [
            "sh", "true", "cat", "sleep", "echo", "seq", "stty", "kill", "tail", "ls",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            folder,
            id: ContainerId::from_random(longshore_sys::path::random().unwrap()),
        }
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn run_dir(&self) -> File {
        File::open(self.run()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data().join(LOG)).unwrap()
    }

    /// What the log says that one stream wrote.
    pub(crate) fn logged(&self, stream: &str) -> String {
        self.log()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|record| record["stream"] == stream)
            .map(|record| record["log"].as_str().unwrap().to_owned())
            .collect()
    }

    fn config(&self, arguments: &[&str], terminal: bool, memory: Option<i64>) -> Value {
        let mut resources = json!({});
        if let Some(limit) = memory {
            resources["memory"] = json!({ "limit": limit, "swap": limit });
        }
        json!({
            "ociVersion": "1.0.2",
            "process": process(arguments, terminal),
            "root": { "path": self.run().join(places::ROOT), "readonly": false },
            "hostname": "box",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
                { "destination": "/data", "type": "bind", "source": self.run().join("volumes/0"), "options": ["rbind", "rw"] }
            ],
            "linux": {
                "cgroupsPath": format!("/longshore-test/{}", self.id),
                "resources": resources,
                "namespaces": [
                    { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                    { "type": "network", "path": self.run().join(places::NETWORK) }
                ]
            }
        })
    }
}

/// Kills a process that is there.
pub(crate) fn kill(number: i32) {
    let pidfd = longshore_sys::process::open(number).unwrap();
    longshore_sys::process::signal(&pidfd, 9).unwrap();
}

impl Place {
    /// The cgroups of the container, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .map(|hierarchy| hierarchy.unwrap().path().join("longshore-test").join(self.id.as_str()))
            .filter(|path| path.exists())
            .collect()
    }

    /// Kills what is in them, and removes them.
    pub(crate) fn end_cgroups(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        for path in self.cgroups() {
            while std::time::Instant::now() < end
                && fs::remove_dir(&path).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
            {
                for number in fs::read_to_string(path.join("cgroup.procs"))
                    .unwrap_or_default()
                    .lines()
                {
                    // One that has ended meanwhile is fine.
                    if let Ok(pidfd) = longshore_sys::process::open(number.parse().unwrap()) {
                        let _ = longshore_sys::process::signal(&pidfd, 9);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!(std::thread::panicking() || self.cgroups().is_empty(), "a cgroup stays");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed may have left a shim and a container.
        if let Ok(longshore_shim::Adoption::Alive(_)) = longshore_shim::adopt(self.run_dir().as_fd())
            && let Ok(client) = ShimClient::connect(self.run_dir().as_fd(), |_| {})
        {
            let _ = client.call(Request::Delete { force: true }, &[]);
        }
        // Of a shim that was killed, what it ran is still there.
        self.end_cgroups();
        if let Ok(entries) = fs::read_dir("/sys/fs/cgroup") {
            for entry in entries.flatten() {
                let _ = fs::remove_dir(entry.path().join("longshore-test"));
            }
        }
    }
}

/// An OCI process.
pub(crate) fn process(arguments: &[&str], terminal: bool) -> Value {
    json!({
        "terminal": terminal,
        "user": { "uid": 0, "gid": 0 },
        "args": arguments,
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/"
    })
}

/// A container and an engine that knows it.
pub(crate) struct Container {
    pub(crate) client: ShimClient,
    pub(crate) notices: Receiver<Notice>,
}

/// How a container is made.
pub(crate) struct Plan<'a> {
    pub(crate) arguments: &'a [&'a str],
    pub(crate) stdio: Stdio,
    pub(crate) memory: Option<i64>,
    pub(crate) durable: bool,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(arguments: &'a [&'a str]) -> Self {
        Self {
            arguments,
            stdio: Stdio::Pipes {
                stdin: false,
                once: false,
            },
            memory: None,
            durable: true,
        }
    }
}

impl Container {
    /// A shim with its sandbox.
    pub(crate) fn boot(place: &Place, plan: &Plan<'_>) -> Self {
        let terminal = matches!(plan.stdio, Stdio::Terminal { .. });
        let config = place.config(plan.arguments, terminal, plan.memory);
        fs::write(place.run().join(places::CONFIG), config.to_string()).unwrap();
        let binary = ShimBinary::open(Path::new(env!("CARGO_BIN_EXE_longshore-shim"))).unwrap();
        let (sender, notices) = channel();
        let client = ShimClient::spawn(&binary, move |notice| {
            let _ = sender.send(notice);
        })
        .unwrap();
        let container = Self { client, notices };
        let boot = Request::Boot(Box::new(Boot {
            id: place.id.clone(),
            run_dir: place.run().to_str().unwrap().to_owned(),
            log: Log::JsonFile { name: LOG.into() },
            network: Network::New {
                up: vec![IfName::parse("lo").unwrap()],
            },
            mounts: vec!["root".into(), "volumes/0".into()],
            driver: Driver {
                digest: String::new(),
                options: Vec::new(),
            },
            durable: plan.durable,
        }));
        let volume = place.folder.path().join("volume");
        fs::create_dir_all(&volume).unwrap();
        let mount = |path: &Path| clone_tree(longshore_sys::path::open_directory(path).unwrap(), Depth::One).unwrap();
        let descriptors: Vec<OwnedFd> = vec![
            place.run_dir().into(),
            File::open(place.data()).unwrap().into(),
            mount(&place.folder.path().join("root")),
            mount(&volume),
            File::open(library().unwrap()).unwrap().into(),
        ];
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let response = container.client.call(boot, &borrowed).expect("boot");
        assert!(matches!(response.reply, Reply::Booted { .. }));
        assert_eq!(response.descriptors.len(), 1);
        container
    }

    /// Booted and created.
    pub(crate) fn create(place: &Place, plan: &Plan<'_>) -> Self {
        let container = Self::boot(place, plan);
        container
            .client
            .call(Request::Create { stdio: plan.stdio }, &[])
            .expect("create");
        container
    }

    pub(crate) fn start(&self) {
        self.client.call(Request::Start, &[]).expect("start");
    }

    /// Created, started and waited for.
    pub(crate) fn run(place: &Place, plan: &Plan<'_>) -> (Self, ExitRecord) {
        let container = Self::create(place, plan);
        container.start();
        let exit = container.exited();
        (container, exit)
    }

    pub(crate) fn next(&self) -> Event {
        match self.notices.recv_timeout(LONG).expect("an event") {
            Notice::Event(event) => event,
            Notice::Lost => panic!("the shim is gone"),
        }
    }

    /// Waits for the container's end.
    pub(crate) fn exited(&self) -> ExitRecord {
        loop {
            if let Event::Exited(exit) = self.next() {
                return exit;
            }
        }
    }

    pub(crate) fn attach(&self, attach: Attach) -> std::os::unix::net::UnixStream {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LONG)).unwrap();
        let request = Request::AttachStream(Box::new(attach));
        self.client.call(request, &[theirs.as_fd()]).expect("attach");
        ours
    }

    /// Runs one more process; returns its session and its client.
    pub(crate) fn exec(
        &self,
        place: &Place,
        arguments: &[&str],
        stdio: Stdio,
    ) -> longshore_core::Result<(ExecId, std::os::unix::net::UnixStream)> {
        let exec_id = ExecId::from_random(longshore_sys::path::random().unwrap());
        let folder = place.run().join(places::EXEC).join(exec_id.as_str());
        fs::create_dir_all(&folder).unwrap();
        let terminal = matches!(stdio, Stdio::Terminal { .. });
        fs::write(folder.join(places::PROCESS), process(arguments, terminal).to_string()).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LONG)).unwrap();
        let request = Request::Exec(Box::new(Exec {
            exec_id: exec_id.clone(),
            stdio,
            attach: Some(Attach {
                stdin: true,
                stdout: true,
                stderr: true,
                ..Attach::default()
            }),
        }));
        self.client.call(request, &[theirs.as_fd()])?;
        Ok((exec_id, ours))
    }

    /// Deletes and waits until the shim is gone.
    pub(crate) fn delete(self, force: bool) {
        let response = self.client.call(Request::Delete { force }, &[]).expect("delete");
        assert!(matches!(response.reply, Reply::Deleted));
        while !matches!(self.notices.recv_timeout(LONG).expect("the end"), Notice::Lost) {}
    }
}
