//! The filter of system calls: a profile in Docker's format, resolved for one container.
//!
//! A profile's rules are conditional on architecture, kernel and capabilities. `seccomp.json` beside
//! this file holds the default one: what Docker allows by default, with the address families
//! `AF_ALG` and `AF_VSOCK` left out as its newest versions do.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Host, host::parse_release};

const DEFAULT_PROFILE: &str = include_str!("seccomp.json");

/// Longest profile that is read.
const MAX_PROFILE: usize = 1024 * 1024;

/// Which system calls a container may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seccomp {
    /// Docker's default profile.
    Default,
    /// Any.
    Unconfined,
    /// A profile's JSON text.
    Profile(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchitectureMap>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// The old format's single name.
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Condition {
    fn includes(&self, capabilities: &[String], host: &Host) -> bool {
        let architecture = self
            .arches
            .as_ref()
            .is_none_or(|names| names.is_empty() || names.contains(&host.architecture));
        let held = self.caps.iter().flatten().all(|name| capabilities.contains(name));
        let kernel = self
            .min_kernel
            .as_ref()
            .is_none_or(|least| host.kernel >= parse_release(least));
        architecture && held && kernel
    }

    fn excludes(&self, capabilities: &[String], host: &Host) -> bool {
        self.arches.iter().flatten().any(|name| *name == host.architecture)
            || self.caps.iter().flatten().any(|name| capabilities.contains(name))
            || self
                .min_kernel
                .as_ref()
                .is_some_and(|least| host.kernel >= parse_release(least))
    }
}

/// The `seccomp` object, or nothing for an unconfined container. A privileged one is unconfined
/// unless it was given a profile.
pub(super) fn resolve(
    wanted: &Seccomp,
    privileged: bool,
    capabilities: &[String],
    host: &Host,
) -> Result<Option<Value>, String> {
    let text = match wanted {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default if privileged => return Ok(None),
        Seccomp::Default => DEFAULT_PROFILE,
        Seccomp::Profile(text) => text,
    };
    if text.len() > MAX_PROFILE {
        return Err(format!("the seccomp profile is longer than {MAX_PROFILE} bytes"));
    }
    let profile: Profile =
        serde_json::from_str(text).map_err(|e| format!("the seccomp profile cannot be read: {e}"))?;
    let mut rules = Vec::new();
    for rule in &profile.syscalls {
        if let Some(rule) = resolve_rule(rule, capabilities, host)? {
            rules.push(rule);
        }
    }
    Ok(Some(json!({
        "defaultAction": profile.default_action,
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": architectures(&profile, host)?,
        "flags": profile.flags,
        "listenerPath": profile.listener_path,
        "listenerMetadata": profile.listener_metadata,
        "syscalls": rules,
    })))
}

fn resolve_rule(rule: &Rule, capabilities: &[String], host: &Host) -> Result<Option<Value>, String> {
    let names = match (&rule.name, rule.names.is_empty()) {
        (Some(name), true) if !name.is_empty() => vec![name.clone()],
        (Some(name), false) if !name.is_empty() => {
            return Err(format!(
                "a rule of the seccomp profile has both name ({name}) and names"
            ));
        }
        _ => rule.names.clone(),
    };
    let excluded = rule.excludes.as_ref().is_some_and(|c| c.excludes(capabilities, host));
    let included = rule.includes.as_ref().is_none_or(|c| c.includes(capabilities, host));
    if excluded || !included || names.is_empty() {
        return Ok(None);
    }
    Ok(Some(json!({
        "names": names,
        "action": rule.action,
        "errnoRet": rule.errno_ret,
        "args": rule.args.as_ref().filter(|args| !args.is_empty()),
    })))
}

fn architectures(profile: &Profile, host: &Host) -> Result<Option<Vec<String>>, String> {
    if !profile.architectures.is_empty() {
        if !profile.arch_map.is_empty() {
            return Err("the seccomp profile has both architectures and archMap".to_owned());
        }
        return Ok(Some(profile.architectures.clone()));
    }
    let native = match host.architecture.as_str() {
        "amd64" => "SCMP_ARCH_X86_64",
        "arm64" => "SCMP_ARCH_AARCH64",
        "arm" => "SCMP_ARCH_ARM",
        "x86" => "SCMP_ARCH_X86",
        "s390x" => "SCMP_ARCH_S390X",
        "ppc64le" => "SCMP_ARCH_PPC64LE",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "loong64" => "SCMP_ARCH_LOONGARCH64",
        _ => return Ok(None),
    };
    let found = profile.arch_map.iter().find(|map| map.architecture == native);
    Ok(found.map(|map| {
        let below = map.sub_architectures.iter().flatten().cloned();
        std::iter::once(map.architecture.clone()).chain(below).collect()
    }))
}
