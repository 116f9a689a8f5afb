//! The OCI configuration of a container, with Docker's defaults.
//!
//! [`build`] is a function of its input: it reads no file and asks no system. What depends on the
//! machine comes in as [`Host`], what depends on the image's `/etc/passwd` as [`user::User`]. So
//! the whole of it is tested by tables. Not here: where mounts come from, and starting anything.

mod capability;
mod device;
mod host;
mod limit;
mod mount;
mod seccomp;
pub(crate) mod user;

use std::collections::BTreeMap;

use longshore_core::exec::Resources;
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

pub(crate) use device::{Device, host_devices};
pub(crate) use host::Host;
pub(crate) use limit::Rlimit;
pub(crate) use mount::{BindMount, Tmpfs};
pub(crate) use seccomp::Seccomp;
pub(crate) use user::{User, resolve_user};

/// The newest runtime specification whose fields are used.
const OCI_VERSION: &str = "1.2.0";

/// Where the init binary stands in a container that asked for one; Docker's place.
const INIT_TARGET: &str = "/sbin/docker-init";

/// What Docker sets where the image and the user say nothing.
const DEFAULT_UMASK: u32 = 0o022;

/// Paths of `/proc` and `/sys` that a container may not read.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of `/proc` that a container may not write.
const READ_ONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything that decides a container's configuration.
#[derive(Clone, Debug)]
pub(crate) struct SpecInput {
    /// The container, for messages.
    pub id: String,
    /// The root's path, as the shim will see it.
    pub root: String,
    /// Mount the root read-only.
    pub read_only_root: bool,
    /// Entry and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// The working directory; empty for `/`.
    pub cwd: String,
    /// Whom to run as.
    pub user: User,
    /// Bits that new files do not get; Docker's default where there is none.
    pub umask: Option<u32>,
    /// The name of the UTS namespace.
    pub hostname: Option<String>,
    /// Its NIS domain.
    pub domainname: Option<String>,
    /// Whether the entry gets a terminal.
    pub terminal: bool,
    /// All capabilities and devices, nothing masked, no filter.
    pub privileged: bool,
    /// Capabilities beyond the default, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to leave out, or `ALL`.
    pub cap_drop: Vec<String>,
    /// Whether executing a file may never add privileges.
    pub no_new_privileges: bool,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// In place of the default ones; empty for none.
    pub masked_paths: Option<Vec<String>>,
    /// In place of the default ones; empty for none.
    pub read_only_paths: Option<Vec<String>>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
    /// Volumes and paths of the host.
    pub mounts: Vec<BindMount>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Devices beyond the default.
    pub devices: Vec<Device>,
    /// Device rules as Docker's `--device-cgroup-rule` takes them: `c 1:3 mr`.
    pub device_rules: Vec<String>,
    /// Limits of the whole container.
    pub resources: Resources,
    /// CPUs in units of 10⁻⁹, in place of quota and period.
    pub nano_cpus: Option<i64>,
    /// The cgroup, from the root of each hierarchy.
    pub cgroups_path: String,
    /// Whether it sees its cgroup as the root.
    pub cgroup_namespace: bool,
    /// The network namespace's path; without one it is the host's.
    pub network_namespace: Option<String>,
    /// The init binary's path, when one is wanted.
    pub init: Option<String>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// How soon the kernel picks it when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// The machine.
    pub host: Host,
}

/// Docker's default size of `/dev/shm`.
pub(crate) const DEFAULT_SHM_SIZE: u64 = 64 * 1024 * 1024;

impl SpecInput {
    /// A container with Docker's defaults: root's entry on that root, in the host's network.
    pub(crate) fn new(
        id: impl Into<String>,
        root: impl Into<String>,
        cgroups_path: impl Into<String>,
        host: Host,
    ) -> Self {
        Self {
            id: id.into(),
            root: root.into(),
            read_only_root: false,
            args: Vec::new(),
            env: Vec::new(),
            cwd: String::new(),
            user: User::default(),
            umask: None,
            hostname: None,
            domainname: None,
            terminal: false,
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            masked_paths: None,
            read_only_paths: None,
            rlimits: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            shm_size: DEFAULT_SHM_SIZE,
            devices: Vec::new(),
            device_rules: Vec::new(),
            resources: limit::no_limits(),
            nano_cpus: None,
            cgroups_path: cgroups_path.into(),
            cgroup_namespace: host.cgroup_v2,
            network_namespace: None,
            init: None,
            sysctls: BTreeMap::new(),
            oom_score_adj: None,
            host,
        }
    }

    fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(format!("container {}: {message}", self.id))
    }
}

/// What [`build`] changes of the input because this machine does not allow it, one sentence each.
pub(crate) fn warnings(input: &SpecInput) -> Vec<String> {
    let mut found = limit::clamped(&input.rlimits, &input.host).1;
    found.extend(limit::swap_warning(&input.resources, &input.host));
    found.extend(host::clamped_oom_score(input.oom_score_adj, &input.host).1);
    found
}

/// Builds the configuration.
///
/// # Errors
/// `Invalid`, naming the field, for a value that Docker would refuse too.
pub(crate) fn build(input: &SpecInput) -> Result<Spec> {
    let capabilities = capability::granted(&input.cap_add, &input.cap_drop, input.privileged, &input.host)
        .map_err(|e| input.invalid(e))?;
    let spec = json!({
        "ociVersion": OCI_VERSION,
        "root": { "path": input.root, "readonly": input.read_only_root },
        "hostname": input.hostname,
        "domainname": input.domainname,
        "process": process(input, &capabilities)?,
        "mounts": mount::all(input).map_err(|e| input.invalid(e))?,
        "linux": linux(input, &capabilities)?,
    });
    serde_json::from_value(without_nulls(spec))
        .map_err(|e| input.invalid(format!("its configuration is not valid: {e}")))
}

fn process(input: &SpecInput, capabilities: &[String]) -> Result<Value> {
    let mut args = input.args.clone();
    if args.first().is_none_or(String::is_empty) {
        return Err(input.invalid("no command specified"));
    }
    if input.init.is_some() {
        args.splice(0..0, [INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    let cwd = if input.cwd.is_empty() { "/" } else { &input.cwd };
    if !cwd.starts_with('/') {
        return Err(input.invalid(format!("the working directory {cwd:?} is not an absolute path")));
    }
    for text in args.iter().chain(&input.env).chain([&input.cwd]) {
        if text.contains('\0') {
            return Err(input.invalid(format!(
                "{:?} holds a zero byte",
                text.chars().take(40).collect::<String>()
            )));
        }
    }
    let (rlimits, _) = limit::clamped(&input.rlimits, &input.host);
    let (oom_score_adj, _) = host::clamped_oom_score(input.oom_score_adj, &input.host);
    Ok(json!({
        "terminal": input.terminal,
        "user": {
            "uid": input.user.uid,
            "gid": input.user.gid,
            "umask": input.umask.unwrap_or(DEFAULT_UMASK),
            "additionalGids": input.user.groups,
        },
        "args": args,
        "env": environment(input),
        "cwd": cwd,
        "capabilities": capability::sets(capabilities, input.user.uid),
        "rlimits": limit::rlimits(&rlimits).map_err(|e| input.invalid(e))?,
        // Left out when false: libcontainer tests only presence.
        "noNewPrivileges": input.no_new_privileges.then_some(true),
        "oomScoreAdj": oom_score_adj,
    }))
}

/// The environment, with the home directory that `/etc/passwd` names where it is not set.
fn environment(input: &SpecInput) -> Vec<String> {
    let mut env = input.env.clone();
    if !env
        .iter()
        .any(|pair| pair.starts_with("HOME=") && pair.len() > "HOME=".len())
    {
        env.retain(|pair| pair != "HOME=" && pair != "HOME");
        env.push(format!("HOME={}", input.user.home));
    }
    env
}

fn linux(input: &SpecInput, capabilities: &[String]) -> Result<Value> {
    if !input.cgroups_path.starts_with('/') || input.cgroups_path.contains("/../") {
        return Err(input.invalid(format!("the cgroup path {:?} is not absolute", input.cgroups_path)));
    }
    let devices = device::nodes(&input.devices).map_err(|e| input.invalid(e))?;
    let rules = device::rules(&input.devices, &input.device_rules, input.privileged).map_err(|e| input.invalid(e))?;
    let mut resources =
        limit::resources(&input.resources, input.nano_cpus, &input.host).map_err(|e| input.invalid(e))?;
    resources.insert("devices".to_owned(), rules);
    let seccomp =
        seccomp::resolve(&input.seccomp, input.privileged, capabilities, &input.host).map_err(|e| input.invalid(e))?;
    Ok(json!({
        "sysctl": sysctls(input)?,
        "resources": resources,
        "cgroupsPath": input.cgroups_path,
        "namespaces": namespaces(input),
        "devices": devices,
        "seccomp": seccomp,
        "rootfsPropagation": mount::root_propagation(&input.mounts),
        "maskedPaths": paths(input, input.masked_paths.as_ref(), MASKED_PATHS),
        "readonlyPaths": paths(input, input.read_only_paths.as_ref(), READ_ONLY_PATHS),
    }))
}

fn paths(input: &SpecInput, chosen: Option<&Vec<String>>, default: &[&str]) -> Vec<String> {
    match chosen {
        Some(paths) => paths.clone(),
        None if input.privileged => Vec::new(),
        None => default.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn namespaces(input: &SpecInput) -> Vec<Value> {
    let mut all: Vec<Value> = ["mount", "uts", "pid", "ipc"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    if input.cgroup_namespace {
        all.push(json!({ "type": "cgroup" }));
    }
    if let Some(path) = &input.network_namespace {
        all.push(json!({ "type": "network", "path": path }));
    }
    all
}

/// Kernel parameters that belong to the IPC namespace.
const IPC_SYSCTLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The user's parameters, over the two that Docker sets in every network namespace of its own: any
/// process may bind low ports and send pings there.
fn sysctls(input: &SpecInput) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    if input.network_namespace.is_some() {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (key, value) in &input.sysctls {
        let network = key.starts_with("net.");
        if network && input.network_namespace.is_none() {
            return Err(input.invalid(format!("sysctl {key} is not allowed in the host's network namespace")));
        }
        if !(network || IPC_SYSCTLS.contains(&key.as_str()) || key.starts_with("fs.mqueue.")) || key.contains('/') {
            return Err(input.invalid(format!("sysctl {key} does not belong to a namespace of the container")));
        }
        all.insert(key.clone(), value.clone());
    }
    Ok(all)
}

/// Drops members that are null, so that what is not set does not stand in the configuration.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (name, without_nulls(member)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
