//! A container of a test: its root, its spec, its folder, its end.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use longshore_plugin::driver::Opened;
use longshore_plugin::exec::{
    CgroupPath, Client, Create, Created, Delete, DeleteOutcome, Exec, ExecDriver as _, Executed, Init, Start,
    StartOutcome, State, Stated, Status, Stdio,
};
use longshore_plugin::types::{Bytes, ContainerId, ExecId};
use longshore_plugin::wire::HandleKind;
use longshore_plugin::{Context, Result};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};

use crate::helper::Helpers;

const BUSYBOX: &str = "/bin/busybox";

/// Commands of busybox that the tests use.
const COMMANDS: &[&str] = &[
    "sh", "cat", "true", "false", "sleep", "id", "env", "pwd", "touch", "chmod", "ls", "stty", "tty", "mknod",
    "hostname", "readlink", "mkdir", "echo", "head", "grep", "mount", "printf", "kill", "test",
];

/// Why no container can be run here.
pub(crate) fn unusable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    if !Path::new(BUSYBOX).exists() {
        return Some(format!("needs {BUSYBOX} (Debian's busybox-static)"));
    }
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    (!mounted.contains(" - cgroup")).then(|| "needs cgroups on /sys/fs/cgroup".into())
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// 64 digits that no other container of this run has.
pub(crate) fn number() -> String {
    let pid = std::process::id();
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{pid:032x}{nth:032x}")
}

/// The cgroup above this process's containers: cases may run in processes of their own.
fn cgroup_parent() -> String {
    format!("longshore-test-{}", std::process::id())
}

fn bytes(path: &Path) -> Bytes {
    Bytes::parse(path.to_str().unwrap().as_bytes().to_vec()).unwrap()
}

/// How a process ended: its code, or 128 and the signal.
pub(crate) fn wait(pid: u32) -> i32 {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())
        .expect("init is our child")
        .unwrap();
    status
        .exit_status()
        .unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

/// Looks until it holds; the time only bounds a test that fails.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Everything that comes through.
pub(crate) fn read(fd: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// Both ends: to read, to write.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

/// A container.
pub(crate) struct Container {
    folder: tempfile::TempDir,
    pub(crate) id: ContainerId,
    pub(crate) spec: Value,
    pub(crate) driver: Client<Helpers>,
}

/// What a run to the end gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Container {
    /// A container that runs a shell script.
    pub(crate) fn script(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    pub(crate) fn new(args: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("exec-native-").tempdir().unwrap();
        let root = folder.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc", "home", "vol"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for command in COMMANDS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(command)).unwrap();
        }
        let id = ContainerId::parse(number()).unwrap();
        let spec = default_spec(&format!("/{}/{id}", cgroup_parent()), args);
        Self {
            folder,
            id,
            spec,
            driver: Client::new(
                Helpers,
                &Opened {
                    instance: 1,
                    interface: 0,
                },
            ),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn cgroup(&self) -> String {
        self.spec["linux"]["cgroupsPath"].as_str().unwrap().to_owned()
    }

    /// Adds a member to the spec's mounts.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub(crate) fn create_with(&self, cx: &Context, stdio: Stdio) -> Result<Created> {
        fs::create_dir_all(self.state_root()).unwrap();
        fs::write(self.folder.path().join("config.json"), self.spec.to_string()).unwrap();
        self.driver.create(
            cx,
            Create {
                id: self.id.clone(),
                bundle: bytes(self.folder.path()),
                stdio,
                state_root: bytes(&self.state_root()),
            },
        )
    }

    /// Creates it with pipes; the reading ends of its output.
    pub(crate) fn create_piped(&self) -> Result<(Created, OwnedFd, OwnedFd)> {
        let ((out, out_end), (err, err_end)) = (pipe(), pipe());
        let cx = Context::background();
        let stdio = Stdio::Pipes {
            stdin: None,
            stdout: cx.give(HandleKind::Pipe, out_end).unwrap(),
            stderr: cx.give(HandleKind::Pipe, err_end).unwrap(),
        };
        Ok((self.create_with(&cx, stdio)?, out, err))
    }

    pub(crate) fn create(&self) -> Result<u32> {
        Ok(pid(self.create_with(&Context::background(), Stdio::Null)?.init))
    }

    pub(crate) fn start(&self) -> Result<StartOutcome> {
        let request = Start {
            id: self.id.clone(),
            state_root: bytes(&self.state_root()),
        };
        Ok(self.driver.start(&Context::background(), request)?.outcome)
    }

    /// Creates and starts it without streams.
    pub(crate) fn running(&self) -> u32 {
        let pid = self.create().unwrap();
        assert_eq!(self.start().unwrap(), StartOutcome::Started);
        pid
    }

    /// Creates it, starts it and waits for its end.
    pub(crate) fn run(&self) -> Ran {
        let (created, out, err) = self.create_piped().unwrap();
        self.start().unwrap();
        let (out, err) = (read(out), read(err));
        Ran {
            code: wait(pid(created.init)),
            out,
            err,
        }
    }

    /// A script's output; the script succeeds.
    pub(crate) fn output(&self) -> String {
        let ran = self.run();
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        ran.out
    }

    pub(crate) fn state(&self) -> Stated {
        let request = State {
            id: self.id.clone(),
            state_root: bytes(&self.state_root()),
        };
        self.driver.state(&Context::background(), request).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        self.state().status
    }

    pub(crate) fn delete(&self, force: bool) -> Result<DeleteOutcome> {
        let request = Delete {
            id: self.id.clone(),
            state_root: bytes(&self.state_root()),
            force,
        };
        Ok(self.driver.delete(&Context::background(), request)?.outcome)
    }

    pub(crate) fn freeze(&self, frozen: bool) -> Result<longshore_plugin::exec::FreezeOutcome> {
        let request = longshore_plugin::exec::Freeze {
            id: self.id.clone(),
            state_root: bytes(&self.state_root()),
            frozen,
        };
        Ok(self.driver.freeze(&Context::background(), request)?.outcome)
    }

    pub(crate) fn update(
        &self,
        resources: longshore_plugin::exec::Resources,
    ) -> Result<longshore_plugin::exec::Updated> {
        let request = longshore_plugin::exec::Update {
            id: self.id.clone(),
            state_root: bytes(&self.state_root()),
            resources,
        };
        self.driver.update(&Context::background(), request)
    }

    /// The process object of an exec, as init's with other arguments.
    pub(crate) fn process(&self, args: &[&str]) -> Value {
        let mut process = self.spec["process"].clone();
        process["args"] = json!(args);
        process
    }

    pub(crate) fn exec_with(&self, cx: &Context, exec: &str, process: &Value, stdio: Stdio) -> Result<Executed> {
        let request = Exec {
            id: self.id.clone(),
            exec_id: ExecId::parse(exec).unwrap(),
            state_root: bytes(&self.state_root()),
            process: Bytes::parse(process.to_string().into_bytes()).unwrap(),
            stdio,
        };
        self.driver.exec(cx, request)
    }

    /// Runs one more process to its end.
    pub(crate) fn exec(&self, process: &Value) -> Result<Ran> {
        let ((out, out_end), (err, err_end)) = (pipe(), pipe());
        let cx = Context::background();
        let stdio = Stdio::Pipes {
            stdin: None,
            stdout: cx.give(HandleKind::Pipe, out_end).unwrap(),
            stderr: cx.give(HandleKind::Pipe, err_end).unwrap(),
        };
        let executed = self.exec_with(&cx, &number(), process, stdio)?;
        let (out, err) = (read(out), read(err));
        Ok(Ran {
            code: wait(pid(executed.process)),
            out,
            err,
        })
    }

    pub(crate) fn exec_script(&self, script: &str) -> Ran {
        self.exec(&self.process(&["sh", "-c", script])).unwrap()
    }

    /// Folders of its cgroup on this machine that exist.
    pub(crate) fn cgroup_folders(&self) -> Vec<PathBuf> {
        let path = self.cgroup();
        let below = path.trim_start_matches('/');
        let mut all = vec![Path::new("/sys/fs/cgroup").join(below)];
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            all.push(entry.path().join(below));
        }
        all.retain(|folder| folder.is_dir());
        all
    }

    /// Nothing is left but an empty state folder.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.cgroup_folders(), Vec::<PathBuf>::new());
        let left: Vec<_> = fs::read_dir(self.state_root())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let deleted = self.delete(true);
        // What the library made beside init became our child too.
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            drop(fs::remove_dir(entry.path().join(cgroup_parent())));
        }
        drop(fs::remove_dir(Path::new("/sys/fs/cgroup").join(cgroup_parent())));
        if !std::thread::panicking() {
            deleted.unwrap();
            self.assert_nothing_left_if_made();
        }
    }
}

impl Container {
    fn assert_nothing_left_if_made(&self) {
        if self.state_root().exists() {
            self.assert_nothing_left();
        }
    }
}

pub(crate) fn pid(init: Init) -> u32 {
    match init {
        Init::Child { pid } => pid,
        Init::Monitor { .. } => panic!("native makes init itself"),
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The folder of a controller in an answer.
pub(crate) fn folder_of(paths: &[CgroupPath], controller: &str) -> PathBuf {
    let found = paths
        .iter()
        .find(|path| path.controller == controller || path.controller.is_empty())
        .unwrap();
    PathBuf::from(std::str::from_utf8(found.path.as_bytes()).unwrap())
}

pub(crate) fn no_resources() -> longshore_plugin::exec::Resources {
    longshore_plugin::exec::Resources {
        memory: None,
        memory_swap: None,
        memory_reservation: None,
        cpu_shares: None,
        cpu_quota: None,
        cpu_period: None,
        cpus: None,
        mems: None,
        pids: None,
    }
}

/// Reads what is there of a terminal until a word comes.
pub(crate) fn read_until(fd: &OwnedFd, word: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(word) {
        match rustix::io::read(fd.as_fd(), &mut buffer) {
            Ok(0) | Err(_) => panic!("{word:?} did not come: {text:?}"),
            Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    text
}

const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn default_spec(cgroup: &str, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "hostname": "box",
        "process": {
            "user": { "uid": 0, "gid": 0, "umask": 0o022, "additionalGids": [0] },
            "args": args,
            "env": ["PATH=/bin", "HOME=/home"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                "inheritable": [], "ambient": []
            },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "mount" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" }, { "type": "network" }
            ],
            "resources": { "devices": [
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
                { "allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm" },
                { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
            ] },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/not-there"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/not-there"],
        },
    })
}
