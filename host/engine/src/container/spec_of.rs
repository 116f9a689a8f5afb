//! From a container's record to its OCI configuration.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard_stubs::models;
use longshore_core::exec::Resources;
use longshore_shim::{Reply, Request, places};

use super::live::unexpected;
use super::record::{Mount, MountSource, Record};
use super::spec::{self, BindMount, Device, Host, Rlimit, Seccomp, SpecInput, Tmpfs, User};
use super::{Container, Containers, files};
use crate::error::{Error, Result};

/// Docker's default search path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container's cgroup, from the root of each hierarchy.
pub(crate) fn cgroup_path(root_id: &str, id: &str) -> String {
    format!("/longshore/{root_id}/{id}")
}

/// Refuses at creation what the configuration could not be built from. Answers what this machine does
/// not allow and was changed.
pub(super) fn check(record: &Record, own_network: bool) -> Result<Vec<String>> {
    let mut input = SpecInput::new("new", "/", "/longshore/new", Host::here());
    fill(&mut input, record)?;
    // Which namespace it will be does not matter yet; that there will be one decides on sysctls.
    input.network_namespace = own_network.then(|| "/proc/self/ns/net".to_owned());
    spec::build(&input)?;
    Ok(spec::warnings(&input))
}

/// The configuration as JSON.
pub(super) fn build(
    containers: &Containers,
    record: &Record,
    id: &str,
    root: BorrowedFd<'_>,
    own_network: bool,
) -> Result<Vec<u8>> {
    let run = containers.paths.container_run(id);
    let below = |name: &str| run.join(name).to_string_lossy().into_owned();
    let mut input = SpecInput::new(
        id,
        below(places::ROOT),
        cgroup_path(&containers.paths.root_id, id),
        Host::here(),
    );
    fill(&mut input, record)?;
    input.user = user(record.config.user.as_deref(), record, root)?;
    input.hostname = Some(files::hostname(record, id, !own_network));
    input.network_namespace = own_network.then(|| below(places::NETWORK));
    if record.host.init.unwrap_or(false) {
        input.init = Some(containers.drivers.components().init()?.to_string_lossy().into_owned());
    }
    let folder = containers.paths.container(id);
    for (file, target) in [
        ("resolv.conf", "/etc/resolv.conf"),
        ("hostname", "/etc/hostname"),
        ("hosts", "/etc/hosts"),
    ] {
        if !record.mounts.iter().any(|mount| mount.target == target) {
            input.mounts.push(bind(
                folder.join(file).to_string_lossy().into_owned(),
                target.to_owned(),
                false,
            ));
        }
    }
    let mut volume = 0;
    for mount in &record.mounts {
        add_mount(
            &mut input,
            mount,
            &mut volume,
            &run,
            &[&containers.paths.data, &containers.paths.run],
        )?;
    }
    Ok(serde_json::to_vec(&spec::build(&input)?)?)
}

fn bind(source: String, target: String, read_only: bool) -> BindMount {
    BindMount {
        source,
        target,
        read_only,
        propagation: None,
        recursive: true,
        options: Vec::new(),
    }
}

fn add_mount(input: &mut SpecInput, mount: &Mount, volume: &mut usize, run: &Path, private: &[&PathBuf]) -> Result<()> {
    let source = match &mount.source {
        MountSource::Tmpfs(options) => {
            let option = |(key, value): (&String, &String)| {
                if value.is_empty() {
                    key.clone()
                } else {
                    format!("{key}={value}")
                }
            };
            let mut options: Vec<String> = options.iter().map(option).collect();
            if mount.read_only {
                options.push("ro".into());
            }
            input.tmpfs.push(Tmpfs {
                target: mount.target.clone(),
                options,
            });
            return Ok(());
        }
        MountSource::Bind { path, make } => {
            check_bind(path, *make, private)?;
            path.clone()
        }
        MountSource::Volume { .. } => {
            let path = run.join(places::VOLUMES).join(volume.to_string());
            *volume += 1;
            path.to_string_lossy().into_owned()
        }
    };
    input.mounts.push(BindMount {
        propagation: mount.propagation.clone(),
        ..bind(source, mount.target.clone(), mount.read_only)
    });
    Ok(())
}

/// A path of the host that a user named: it must be there, or be made where `make` says so, and not
/// be among the engine's own files, where a container could change what every other one is made of.
fn check_bind(path: &str, make: bool, private: &[&PathBuf]) -> Result<()> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if make && error.kind() == std::io::ErrorKind::NotFound => {
            // What it would lie in is judged before anything is made.
            let there = Path::new(path)
                .ancestors()
                .find_map(|part| std::fs::canonicalize(part).ok());
            outside(path, &there.unwrap_or_default(), private)?;
            crate::paths::make_dir(Path::new(path), 0o755)?;
            std::fs::canonicalize(path).map_err(|e| Error::io(format!("open bind source {path}"), &e))?
        }
        Err(_) => {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {path}"
            ))
            .hint("make it first, or use -v, which makes a missing folder"));
        }
    };
    outside(path, &real, private)
}

fn outside(path: &str, real: &Path, private: &[&PathBuf]) -> Result<()> {
    match private.iter().find(|folder| real.starts_with(folder)) {
        Some(folder) => Err(Error::new(
            longshore_core::ErrorKind::Denied,
            format!(
                "bind source {path} lies in {}, which is the engine's own",
                folder.display()
            ),
        )),
        None => Ok(()),
    }
}

/// What the record says whatever the machine and the image's files.
fn fill(input: &mut SpecInput, record: &Record) -> Result<()> {
    let (config, host) = (&record.config, &record.host);
    input.args.clone_from(&record.args);
    input.env = environment(config);
    input.cwd = config.working_dir.clone().unwrap_or_default();
    input.domainname = config.domainname.clone().filter(|name| !name.is_empty());
    input.terminal = record.tty();
    input.read_only_root = host.readonly_rootfs.unwrap_or(false);
    input.privileged = host.privileged.unwrap_or(false);
    input.cap_add = host.cap_add.clone().unwrap_or_default();
    input.cap_drop = host.cap_drop.clone().unwrap_or_default();
    input.masked_paths.clone_from(&host.masked_paths);
    input.read_only_paths.clone_from(&host.readonly_paths);
    input.shm_size = match host.shm_size {
        Some(size) if size > 0 => u64::try_from(size).unwrap_or(spec::DEFAULT_SHM_SIZE),
        _ => spec::DEFAULT_SHM_SIZE,
    };
    input.oom_score_adj = host
        .oom_score_adj
        .filter(|adj| *adj != 0)
        .and_then(|adj| i32::try_from(adj).ok());
    input.sysctls = host
        .sysctls
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect::<BTreeMap<_, _>>();
    input.device_rules = host.device_cgroup_rules.clone().unwrap_or_default();
    input.devices = devices(host)?;
    input.rlimits = rlimits(host);
    input.resources = resources(host);
    input.nano_cpus = host.nano_cpus.filter(|nano| *nano != 0);
    security(input, host)
}

fn environment(config: &models::ContainerConfig) -> Vec<String> {
    let mut env = config.env.clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    if config.tty.unwrap_or(false) && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    // A name without a value takes a variable away, as Docker has it.
    env.retain(|entry| entry.contains('='));
    env
}

fn security(input: &mut SpecInput, host: &models::HostConfig) -> Result<()> {
    for option in host.security_opt.iter().flatten() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option.as_str(), ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => input.no_new_privileges = true,
            ("no-new-privileges", "false") => input.no_new_privileges = false,
            ("seccomp", "unconfined") => input.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => input.seccomp = Seccomp::Default,
            ("seccomp", profile) => {
                input.seccomp =
                    Seccomp::Profile(serde_json::from_str(profile).map_err(|e| {
                        Error::invalid(format!("SecurityOpt: the seccomp profile cannot be read: {e}"))
                    })?);
            }
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor" | "label", _) => {
                return Err(Error::unsupported(format!(
                    "SecurityOpt: {key} is not available in this version"
                )));
            }
            ("systempaths", "unconfined") => {
                input.masked_paths = Some(Vec::new());
                input.read_only_paths = Some(Vec::new());
            }
            _ => {
                return Err(Error::invalid(format!(
                    "SecurityOpt: invalid security option {option:?}"
                )));
            }
        }
    }
    Ok(())
}

fn devices(host: &models::HostConfig) -> Result<Vec<Device>> {
    let mut found = Vec::new();
    if host.privileged.unwrap_or(false) {
        found.extend(spec::host_devices(Path::new("/dev"), "/dev", "rwm")?);
    }
    for device in host.devices.iter().flatten() {
        let path = device.path_on_host.clone().unwrap_or_default();
        let target = device.path_in_container.clone().unwrap_or_else(|| path.clone());
        let access = device
            .cgroup_permissions
            .clone()
            .filter(|a| !a.is_empty())
            .unwrap_or_else(|| "rwm".into());
        found.extend(spec::host_devices(std::path::Path::new(&path), &target, &access)?);
    }
    Ok(found)
}

fn rlimits(host: &models::HostConfig) -> Vec<Rlimit> {
    host.ulimits
        .iter()
        .flatten()
        .map(|limit| {
            let soft = limit.soft.unwrap_or(-1);
            Rlimit {
                name: limit.name.clone().unwrap_or_default(),
                soft,
                hard: limit.hard.unwrap_or(soft),
            }
        })
        .collect()
}

fn resources(host: &models::HostConfig) -> Resources {
    let some = |value: Option<i64>| value.filter(|v| *v != 0);
    let count = |value: Option<i64>| some(value).and_then(|v| u64::try_from(v).ok());
    let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let memory = some(host.memory);
    Resources {
        memory,
        // Docker: with a limit and no word on swap, as much swap as memory.
        memory_swap: some(host.memory_swap).or(memory.map(|limit| limit.saturating_mul(2))),
        memory_reservation: some(host.memory_reservation),
        cpu_shares: count(host.cpu_shares),
        cpu_quota: some(host.cpu_quota),
        cpu_period: count(host.cpu_period),
        cpus: text(&host.cpuset_cpus),
        mems: text(&host.cpuset_mems),
        pids: some(host.pids_limit),
    }
}

fn user(wanted: Option<&str>, record: &Record, root: BorrowedFd<'_>) -> Result<User> {
    let groups = record.host.group_add.as_deref().unwrap_or_default();
    spec::resolve_user(root, wanted.unwrap_or_default(), groups)
}

/// The process object of an exec session as JSON: complete, nothing is inherited from the spec.
pub(super) fn process(record: &Record, config: &models::ExecConfig, tty: bool, root: &OwnedFd) -> Result<Vec<u8>> {
    let mut input = SpecInput::new("exec", "/", "/longshore/exec", Host::here());
    fill(&mut input, record)?;
    input.args = config.cmd.clone().unwrap_or_default();
    input.terminal = tty;
    if let Some(cwd) = config.working_dir.clone().filter(|cwd| !cwd.is_empty()) {
        if !cwd.starts_with('/') {
            return Err(Error::invalid(format!("WorkingDir: {cwd:?} is not an absolute path")));
        }
        input.cwd = cwd;
    }
    let mine = config.env.clone().unwrap_or_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    input
        .env
        .retain(|theirs| !mine.iter().any(|entry| key(entry) == key(theirs)));
    input.env.extend(mine.into_iter().filter(|entry| entry.contains('=')));
    if tty && !input.env.iter().any(|entry| entry.starts_with("TERM=")) {
        input.env.push("TERM=xterm".into());
    }
    input.privileged |= config.privileged.unwrap_or(false);
    let wanted = config.user.as_deref().filter(|user| !user.is_empty());
    input.user = user(wanted.or(record.config.user.as_deref()), record, root.as_fd())?;
    let built = serde_json::to_value(spec::build(&input)?)?;
    Ok(serde_json::to_vec(&built["process"])?)
}

impl Containers {
    /// A descriptor of a running container's root: a clone that its shim makes.
    pub(super) fn root_of(&self, container: &Arc<Container>) -> Result<OwnedFd> {
        match container.running()?.call(Request::Root, Vec::new())? {
            (Reply::Root, descriptors) => descriptors
                .into_iter()
                .next()
                .ok_or_else(|| Error::corrupt("the shim answered no root")),
            (other, _) => Err(unexpected("root", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_missing_bind_source_is_made_only_where_that_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own");
        std::fs::create_dir(&own).unwrap();
        let private = [&own];
        let missing = root.path().join("a/b");
        let path = missing.to_str().unwrap();
        let error = check_bind(path, false, &private).unwrap_err();
        assert!(error.message.contains("does not exist") && !missing.exists(), "{error}");
        check_bind(path, true, &private).unwrap();
        assert!(missing.is_dir());
        let inside = own.join("x/y");
        let error = check_bind(inside.to_str().unwrap(), true, &private).unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::Denied);
        assert!(!own.join("x").exists(), "nothing is made before it is judged");
    }

    #[test]
    fn swap_is_twice_the_memory_unless_said_otherwise() {
        let host = models::HostConfig {
            memory: Some(64 << 20),
            ..Default::default()
        };
        assert_eq!(resources(&host).memory_swap, Some(128 << 20));
        assert_eq!(resources(&models::HostConfig::default()).memory_swap, None);
    }

    #[test]
    fn a_name_without_a_value_leaves_the_environment() {
        let config = models::ContainerConfig {
            env: Some(vec!["A=1".into(), "GONE".into()]),
            tty: Some(true),
            ..Default::default()
        };
        assert_eq!(environment(&config), [PATH, "A=1", "TERM=xterm"]);
    }
}
