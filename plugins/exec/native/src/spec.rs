//! The spec: refused where the library would install less than it says, adapted where the library
//! does something else than it means.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities, LinuxNamespaceType, Process, Spec};
use longshore_plugin::exec::CgroupVersion;
use longshore_plugin::{Error, Result};

use crate::cgroup::Layout;

/// Longest spec that is read.
const MAX_SPEC: u64 = 1024 * 1024;

/// Reads a bundle's `config.json`.
pub(crate) fn read(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let attempt = |e| Error::io(format!("read {}", path.display()), &e);
    let mut text = Vec::new();
    File::open(&path)
        .map_err(attempt)?
        .take(MAX_SPEC + 1)
        .read_to_end(&mut text)
        .map_err(attempt)?;
    if text.len() as u64 > MAX_SPEC {
        return Err(Error::invalid(format!(
            "{} is longer than {MAX_SPEC} bytes",
            path.display()
        )));
    }
    serde_json::from_slice(&text).map_err(|e| Error::invalid(format!("{}: {e}", path.display())))
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("config.json: {field} is missing"))
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("exec driver native does not do {what}"))
}

/// The process of a spec, checked.
pub(crate) fn process(spec: &Spec) -> Result<&Process> {
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    check_process(process)?;
    Ok(process)
}

/// Refuses a process that the library would run otherwise than said.
pub(crate) fn check_process(process: &Process) -> Result<()> {
    if process
        .args()
        .as_ref()
        .and_then(|args| args.first())
        .is_none_or(String::is_empty)
    {
        return Err(missing("process.args"));
    }
    if process.apparmor_profile().is_some() {
        return Err(unsupported("AppArmor profiles (process.apparmorProfile)"));
    }
    if process.selinux_label().is_some() {
        return Err(unsupported("SELinux labels (process.selinuxLabel)"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid(format!(
            "process.cwd {} is not an absolute path",
            process.cwd().display()
        )));
    }
    Ok(())
}

/// Refuses, before any effect, what the library would leave out silently or do wrong.
pub(crate) fn check(spec: &Spec, layout: &Layout) -> Result<()> {
    process(spec)?;
    spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    cgroup_path(spec)?;
    if matches!(layout.version, CgroupVersion::None | CgroupVersion::Unknown) {
        return Err(unsupported(
            "containers without cgroups; none are mounted on /sys/fs/cgroup",
        ));
    }
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    if namespaces
        .iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User)
    {
        return Err(unsupported("user namespaces (linux.namespaces)"));
    }
    for needed in [LinuxNamespaceType::Mount, LinuxNamespaceType::Pid] {
        if !namespaces.iter().any(|namespace| namespace.typ() == needed) {
            return Err(Error::invalid(format!(
                "config.json: linux.namespaces has no {needed} namespace"
            )));
        }
    }
    if spec.hooks().is_some() {
        return Err(unsupported("hooks"));
    }
    if linux.mount_label().is_some() {
        return Err(unsupported("SELinux labels (linux.mountLabel)"));
    }
    if linux.intel_rdt().is_some() || linux.net_devices().is_some() {
        return Err(unsupported("linux.intelRdt or linux.netDevices"));
    }
    if linux
        .seccomp()
        .as_ref()
        .is_some_and(|s| s.listener_path().is_some() || libcontainer::seccomp::is_notify(s))
    {
        return Err(unsupported("seccomp profiles that notify a listener"));
    }
    Ok(())
}

/// The cgroup, from the root of each hierarchy.
pub(crate) fn cgroup_path(spec: &Spec) -> Result<PathBuf> {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let path = path.ok_or_else(|| missing("linux.cgroupsPath"))?;
    let plain = path.is_absolute() && path.components().count() > 1;
    if !plain || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Error::invalid(format!(
            "linux.cgroupsPath {} is not an absolute path below a root",
            path.display()
        )));
    }
    Ok(path)
}

/// Makes the spec say what the library needs to hear.
pub(crate) fn adapt(spec: &mut Spec, bundle: &Path, terminal: bool) -> Result<()> {
    if let Some(root) = spec.root_mut() {
        let absolute = bundle.join(root.path());
        root.set_path(absolute);
    }
    let process = spec.process_mut().as_mut().ok_or_else(|| missing("process"))?;
    adapt_process(process, terminal);
    Ok(())
}

/// The same for a process alone.
pub(crate) fn adapt_process(process: &mut Process, terminal: bool) {
    process.set_terminal(Some(terminal));
    // The library asks whether it is set, not how.
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
    }
    let all = said(process.capabilities().clone());
    process.set_capabilities(Some(all));
    // Without a home the library asks the C library, which loads modules out of the container's
    // root. The entry gets its own environment, see `entry`.
    let mut env = process.env().clone().unwrap_or_default();
    if !env
        .iter()
        .any(|pair| pair.starts_with("HOME=") && pair.len() > "HOME=".len())
    {
        env.retain(|pair| !pair.starts_with("HOME="));
        env.push("HOME=/".to_owned());
    }
    process.set_env(Some(env));
}

/// All five sets: the library leaves one that is not said as it was inherited from the caller.
pub(crate) fn said(given: Option<LinuxCapabilities>) -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    let none = || Some(Capabilities::from(HashSet::new()));
    let set = |chosen: Option<&Option<Capabilities>>| chosen.cloned().flatten().or_else(none);
    let given = given.as_ref();
    all.set_bounding(set(given.map(LinuxCapabilities::bounding)));
    all.set_effective(set(given.map(LinuxCapabilities::effective)));
    all.set_permitted(set(given.map(LinuxCapabilities::permitted)));
    all.set_inheritable(set(given.map(LinuxCapabilities::inheritable)));
    all.set_ambient(set(given.map(LinuxCapabilities::ambient)));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use serde_json::{Value, json};

    use super::*;

    fn layout() -> Layout {
        Layout::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    }

    fn minimal() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs" },
            "process": { "args": ["true"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": false },
            "linux": { "cgroupsPath": "/a/b", "namespaces": [{ "type": "mount" }, { "type": "pid" }] },
        })
    }

    fn parsed(value: Value) -> Spec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_library_would_leave_out_is_refused_before_any_effect() {
        assert!(check(&parsed(minimal()), &layout()).is_ok());
        type Change = fn(&mut Value);
        let table: &[(Change, &str)] = &[
            (|v| v["process"]["apparmorProfile"] = json!("x"), "AppArmor"),
            (|v| v["process"]["selinuxLabel"] = json!("x"), "SELinux"),
            (|v| v["linux"]["mountLabel"] = json!("x"), "SELinux"),
            (|v| v["process"]["args"] = json!([]), "process.args"),
            (|v| v["process"]["cwd"] = json!("tmp"), "process.cwd"),
            (
                |v| drop(v.as_object_mut().unwrap().remove("process")),
                "process is missing",
            ),
            (|v| drop(v.as_object_mut().unwrap().remove("root")), "root is missing"),
            (
                |v| drop(v["linux"].as_object_mut().unwrap().remove("cgroupsPath")),
                "cgroupsPath is missing",
            ),
            (|v| v["linux"]["cgroupsPath"] = json!("a/b"), "cgroupsPath"),
            (|v| v["linux"]["cgroupsPath"] = json!("/"), "cgroupsPath"),
            (|v| v["linux"]["cgroupsPath"] = json!("/a/../../b"), "cgroupsPath"),
            (|v| v["linux"]["namespaces"] = json!([{ "type": "mount" }]), "pid"),
            (
                |v| v["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }, { "type": "user" }]),
                "user namespaces",
            ),
            (
                |v| v["hooks"] = json!({ "poststop": [{ "path": "/bin/true" }] }),
                "hooks",
            ),
            (
                |v| {
                    v["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x" });
                },
                "notify",
            ),
        ];
        for (change, sentence) in table {
            let mut value = minimal();
            change(&mut value);
            let error = check(&parsed(value), &layout()).unwrap_err();
            assert!(
                error.message.contains(sentence),
                "{sentence:?} is not in {:?}",
                error.message
            );
        }
        assert!(check(&parsed(minimal()), &Layout::parse("")).is_err());
    }

    #[test]
    fn the_librarys_readings_are_worked_around() {
        let mut spec = parsed(minimal());
        adapt(&mut spec, Path::new("/run/bundle"), true).unwrap();
        assert_eq!(spec.root().as_ref().unwrap().path(), Path::new("/run/bundle/rootfs"));
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), None);
        assert_eq!(process.terminal(), Some(true));
        assert_eq!(process.env().as_ref().unwrap(), &["HOME=/"]);
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.inheritable().as_ref().unwrap().is_empty());
        assert!(capabilities.bounding().as_ref().unwrap().is_empty());
    }
}
