//! Exec drivers: what runs a container's processes.
//!
//! # What it is
//! Docker's original exec driver, in the shape that libcontainer took: create, then start, then
//! whatever is done to a running container. An exec driver acts; it is called only in a short-lived,
//! single-threaded helper that the container's shim forks for the call. What the host can do from a
//! cgroup path, a pidfd or a namespace descriptor (signals, process lists, statistics, out-of-memory
//! events), no driver is asked for.
//!
//! # States
//! ```text
//! Absent ──create──▶ Created ──start──▶ Running ⇄ Paused ──▶ Stopped ──delete──▶ Absent
//! ```
//!
//! # Rules for the driver
//! 1. Init is a child of the caller's parent, the shim, never of pid 1.
//! 2. It never touches what the host owns: the sandbox, the bundle, the mounts.
//! 3. It installs nothing silently less than the spec: what it cannot do is `Unsupported` before any
//!    effect.
//! 4. A failed `create` leaves no process, cgroup or state.
//!
//! # Worked example
//! ```text
//! create { bundle, Pipes }   -> init Child { pid 812 }, cgroups V1 [...]
//! start                      -> Started
//! exec { process, Terminal } -> process Child { pid 830 }, terminal (a descriptor)
//! delete { force }           -> Deleted
//! ```
//! After `Deadline` or `Broken`: `state`, then `delete` with `force`.

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::types::{Bytes, ContainerId, ExecId, Handle};

/// An exec driver. See the [module](self) for what it is.
#[driver(kind = "exec", version = 0)]
pub trait ExecDriver: Send + Sync {
    /// Makes a container whose init waits before `execve(2)`.
    ///
    /// *Before*: the state folder is empty, the cgroup absent, the sandbox and mounts in place.
    ///
    /// | condition | error | what the caller does |
    /// |---|---|---|
    /// | the ID is known | `AlreadyExists` | `delete` with force |
    /// | a bad spec | `Invalid`, names the field | tells the user |
    /// | the entry is not found or cannot run | `Invalid` with errno | exit code 127 or 126 |
    /// | a profile, rule or cgroup mode is not supported | `Unsupported` | tells the user |
    /// | a cgroup limit is met | `Exhausted` | tells the user |
    #[call(class = "normal", lock = "object", changes)]
    fn create(&self, cx: &Context, request: Create) -> Result<Created>;

    /// Lets init go on. *Again*: `Already`. Stopped: `Invalid`; absent: `NotFound`.
    #[call(class = "normal", lock = "object", changes)]
    fn start(&self, cx: &Context, request: Start) -> Result<Started>;

    /// Runs one more process in all namespaces and cgroups of a running container. Each exec ID
    /// once; not running: `Invalid`.
    #[call(class = "normal", lock = "object", changes)]
    fn exec(&self, cx: &Context, request: Exec) -> Result<Executed>;

    /// Tells the state. Never `NotFound`: that is `Absent`.
    #[call(class = "quick", lock = "any")]
    fn state(&self, cx: &Context, request: State) -> Result<Stated>;

    /// Changes limits of a container. What this hierarchy does not know comes back in `refused`.
    #[call(class = "normal", lock = "object", changes)]
    fn update(&self, cx: &Context, request: Update) -> Result<Updated>;

    /// Stops or resumes all processes; returns when they are.
    #[call(class = "normal", lock = "object", changes, capability = "freeze")]
    fn freeze(&self, cx: &Context, request: Freeze) -> Result<Frozen> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver cannot freeze a container"))
    }

    /// Removes a stopped container, or any with `force`, which kills everything in its cgroup first.
    /// Alive without force: `InUse`. *Again*: `Absent`.
    #[call(class = "normal", lock = "object", changes)]
    fn delete(&self, cx: &Context, request: Delete) -> Result<Deleted>;
}

/// What an exec driver can do.
#[derive(Data)]
pub struct ExecCapabilities {
    /// It answers `freeze`.
    pub freeze: bool,
    /// It runs with a terminal.
    pub terminal: bool,
    /// It loads seccomp profiles.
    pub seccomp: bool,
    /// It applies AppArmor profiles.
    pub apparmor: bool,
    /// It applies SELinux labels.
    pub selinux: bool,
    /// It works on cgroup v1 (also hybrid).
    pub cgroup_v1: bool,
    /// It works on cgroup v2.
    pub cgroup_v2: bool,
    /// It applies device rules on cgroup v1.
    pub device_rules_v1: bool,
    /// It applies device rules on cgroup v2.
    pub device_rules_v2: bool,
    /// The newest OCI runtime specification it reads: major * 1000 + minor.
    pub spec: u32,
}

/// The request of [`ExecDriver::create`].
#[derive(Data)]
pub struct Create {
    /// The container.
    pub id: ContainerId,
    /// The folder with the OCI `config.json`. Its `root.path` and every bind source are attached in
    /// the caller's mount namespace.
    pub bundle: Bytes,
    /// Where init's standard streams go.
    pub stdio: Stdio,
    /// The driver's own folder for this container, empty.
    pub state_root: Bytes,
}

/// Where a process's standard streams go.
#[derive(Data)]
pub enum Stdio {
    /// Pipes. Without `stdin` the process reads end of file.
    Pipes {
        /// The end to read from.
        stdin: Option<Handle>,
        /// The end to write to.
        stdout: Handle,
        /// The end to write to.
        stderr: Handle,
    },
    /// A terminal of this size. The driver makes it from the container's own devpts and gives the
    /// master back. Zero for unknown.
    Terminal {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Nothing.
    Null,
}

/// The answer of [`ExecDriver::create`].
#[derive(Data)]
pub struct Created {
    /// Init.
    pub init: Init,
    /// The terminal's master.
    pub terminal: Option<Handle>,
    /// Where init's cgroups are.
    pub cgroups: Cgroups,
}

/// A process that a driver started.
#[derive(Data)]
pub enum Init {
    /// A child of the caller's parent.
    Child {
        /// Its process ID, in the caller's namespace.
        pid: u32,
    },
    /// A child of the caller's parent that watches init and ends with its status.
    Monitor {
        /// The monitor's process ID.
        pid: u32,
        /// Init's, where known.
        init: Option<u32>,
    },
}

/// Where a container's cgroups are.
#[derive(Data)]
pub struct Cgroups {
    /// The machine's layout.
    pub version: CgroupVersion,
    /// One path a controller.
    pub paths: Vec<CgroupPath>,
}

/// How a machine mounts its cgroup controllers.
#[derive(Data)]
pub enum CgroupVersion {
    /// One hierarchy a controller.
    V1,
    /// One for all.
    V2,
    /// V1 controllers beside a V2 tree without them.
    Hybrid,
    /// None mounted.
    None,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// One cgroup.
#[derive(Data)]
pub struct CgroupPath {
    /// The controller; empty for the unified hierarchy.
    pub controller: String,
    /// The full path.
    pub path: Bytes,
}

/// The request of [`ExecDriver::start`].
#[derive(Data)]
pub struct Start {
    /// The container.
    pub id: ContainerId,
    /// As in `create`.
    pub state_root: Bytes,
}

/// The answer of [`ExecDriver::start`].
#[derive(Data)]
pub struct Started {
    /// Whether this call started it.
    pub outcome: StartOutcome,
}

/// How a start went.
#[derive(Data)]
pub enum StartOutcome {
    /// Started now.
    Started,
    /// It had been.
    Already,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`ExecDriver::exec`].
#[derive(Data)]
pub struct Exec {
    /// The container.
    pub id: ContainerId,
    /// The new process.
    pub exec_id: ExecId,
    /// As in `create`.
    pub state_root: Bytes,
    /// The OCI `process` object as JSON, complete: nothing is inherited from the container's spec.
    pub process: Bytes,
    /// Where its standard streams go.
    pub stdio: Stdio,
}

/// The answer of [`ExecDriver::exec`].
#[derive(Data)]
pub struct Executed {
    /// The process.
    pub process: Init,
    /// The terminal's master.
    pub terminal: Option<Handle>,
}

/// The request of [`ExecDriver::state`].
#[derive(Data)]
pub struct State {
    /// The container.
    pub id: ContainerId,
    /// As in `create`.
    pub state_root: Bytes,
}

/// The answer of [`ExecDriver::state`].
#[derive(Data)]
pub struct Stated {
    /// Its state.
    pub status: Status,
    /// Init's process ID.
    pub init: Option<u32>,
}

/// A container's state, see the [module](self).
#[derive(Data)]
pub enum Status {
    /// Init waits.
    Created,
    /// It runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Init has ended.
    Stopped,
    /// The driver knows nothing of it.
    Absent,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`ExecDriver::update`].
#[derive(Data)]
pub struct Update {
    /// The container.
    pub id: ContainerId,
    /// As in `create`.
    pub state_root: Bytes,
    /// What changes; what is absent stays.
    pub resources: Resources,
}

/// Limits of a container.
#[derive(Data)]
pub struct Resources {
    /// Bytes; -1 for none.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 for none.
    pub memory_swap: Option<i64>,
    /// Bytes kept under pressure.
    pub memory_reservation: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds in each period; -1 for none.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs, as "0-1".
    pub cpus: Option<String>,
    /// Memory nodes, as "0".
    pub mems: Option<String>,
    /// Most processes; -1 for none.
    pub pids: Option<i64>,
}

/// The answer of [`ExecDriver::update`].
#[derive(Data)]
pub struct Updated {
    /// Fields that are in force.
    pub applied: Vec<String>,
    /// Fields that are not.
    pub refused: Vec<Refused>,
}

/// A limit that could not be set.
#[derive(Data)]
pub struct Refused {
    /// The field of [`Resources`].
    pub field: String,
    /// Why.
    pub why: String,
}

/// The request of [`ExecDriver::freeze`].
#[derive(Data)]
pub struct Freeze {
    /// The container.
    pub id: ContainerId,
    /// As in `create`.
    pub state_root: Bytes,
    /// Stop or resume.
    pub frozen: bool,
}

/// The answer of [`ExecDriver::freeze`].
#[derive(Data)]
pub struct Frozen {
    /// How it went.
    pub outcome: FreezeOutcome,
}

/// How a freeze went.
#[derive(Data)]
pub enum FreezeOutcome {
    /// Done now.
    Done,
    /// It had been so.
    Already,
    /// Something newer.
    #[data(other)]
    Unknown,
}

/// The request of [`ExecDriver::delete`].
#[derive(Data)]
pub struct Delete {
    /// The container.
    pub id: ContainerId,
    /// As in `create`.
    pub state_root: Bytes,
    /// Kill first what is left in its cgroup.
    pub force: bool,
}

/// The answer of [`ExecDriver::delete`].
#[derive(Data)]
pub struct Deleted {
    /// Whether there was something to delete.
    pub outcome: DeleteOutcome,
}

/// How a delete went.
#[derive(Data)]
pub enum DeleteOutcome {
    /// Deleted now.
    Deleted,
    /// There was nothing.
    Absent,
    /// Something newer.
    #[data(other)]
    Unknown,
}
