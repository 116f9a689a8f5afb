//! Devices: the nodes below `/dev` and the rules of the device cgroup.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A device that a container may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// Its path in the container.
    pub path: String,
    /// Character or block.
    pub kind: DeviceKind,
    /// Which driver of the kernel.
    pub major: i64,
    /// Which of that driver's devices.
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What is allowed: `r`, `w` and `m` (make its node).
    pub access: String,
}

/// What a device moves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    /// Characters.
    Character,
    /// Blocks.
    Block,
}

impl DeviceKind {
    fn letter(self) -> &'static str {
        match self {
            Self::Character => "c",
            Self::Block => "b",
        }
    }
}

/// What every container may use: `null`, `zero`, `random`, `urandom`, `tty`, `console`; and what
/// none may without being given it: FUSE.
const RULES: &[(bool, i64, i64)] = &[
    (true, 1, 5),
    (true, 1, 3),
    (true, 1, 9),
    (true, 1, 8),
    (true, 5, 0),
    (true, 5, 1),
    (false, 10, 229),
];

/// The device, or all devices below the directory, at `path` of this machine, to stand at `target`.
///
/// # Errors
/// `NotFound` when nothing is there, `Invalid` when it is no device or `access` is not of `rwm`.
pub(crate) fn host_devices(path: &Path, target: &str, access: &str) -> Result<Vec<Device>> {
    check_access(access).map_err(Error::invalid)?;
    let mut found = Vec::new();
    collect(path, target, access, 0, &mut found)?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{} is not a device", path.display())));
    }
    Ok(found)
}

/// Folders of `/dev` that are the container's own or no devices.
const OWN_FOLDERS: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

fn collect(path: &Path, target: &str, access: &str, depth: u8, found: &mut Vec<Device>) -> Result<()> {
    let attempt = || format!("look at device {}", path.display());
    let metadata = if depth == 0 {
        std::fs::metadata(path)
    } else {
        std::fs::symlink_metadata(path)
    };
    let metadata = metadata.map_err(|e| Error::io(attempt(), &e))?;
    if metadata.is_dir() && depth < 8 {
        for entry in std::fs::read_dir(path).map_err(|e| Error::io(attempt(), &e))? {
            let entry = entry.map_err(|e| Error::io(attempt(), &e))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let own = OWN_FOLDERS.contains(&name.as_str()) || name == "console";
            if !own {
                collect(&entry.path(), &format!("{target}/{name}"), access, depth + 1, found)?;
            }
        }
        return Ok(());
    }
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return Ok(()),
    };
    found.push(Device {
        path: target.to_owned(),
        kind,
        major: i64::from(major(metadata.rdev())),
        minor: i64::from(minor(metadata.rdev())),
        mode: metadata.permissions().mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    });
    Ok(())
}

/// glibc's `major(3)`.
fn major(device: u64) -> u32 {
    ((((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff)) & 0xffff_ffff) as u32
}

/// glibc's `minor(3)`.
fn minor(device: u64) -> u32 {
    ((((device >> 12) & 0xffff_ff00) | (device & 0xff)) & 0xffff_ffff) as u32
}

fn check_access(access: &str) -> Result<(), String> {
    if !access.is_empty() && access.len() <= 3 && access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Ok(());
    }
    Err(format!("device access {access:?} is not made of r, w and m"))
}

pub(super) fn nodes(devices: &[Device]) -> Result<Vec<Value>, String> {
    devices
        .iter()
        .map(|device| {
            check_access(&device.access)?;
            if !device.path.starts_with("/dev/") || device.path.split('/').any(|part| part == "..") {
                return Err(format!("device {:?} does not stand below /dev", device.path));
            }
            Ok(json!({
                "path": device.path,
                "type": device.kind.letter(),
                "major": device.major,
                "minor": device.minor,
                "fileMode": device.mode,
                "uid": device.uid,
                "gid": device.gid,
            }))
        })
        .collect()
}

/// The rules, the most general first: nothing, then the default, then what was given.
pub(super) fn rules(devices: &[Device], given: &[String], privileged: bool) -> Result<Value, String> {
    if privileged {
        return Ok(json!([{ "allow": true, "access": "rwm" }]));
    }
    let mut all = vec![json!({ "allow": false, "access": "rwm" })];
    all.extend(RULES.iter().map(
        |(allow, major, minor)| json!({ "allow": allow, "type": "c", "major": major, "minor": minor, "access": "rwm" }),
    ));
    all.extend(devices.iter().map(|device| {
        json!({
            "allow": true,
            "type": device.kind.letter(),
            "major": device.major,
            "minor": device.minor,
            "access": device.access,
        })
    }));
    for rule in given {
        all.push(parse_rule(rule).ok_or_else(|| format!("device rule {rule:?} is not such as \"c 1:3 mr\""))?);
    }
    Ok(Value::Array(all))
}

/// A rule as `--device-cgroup-rule` takes it: type, major:minor (either may be `*`), access.
fn parse_rule(rule: &str) -> Option<Value> {
    let [kind, numbers, access] = rule.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let kind = matches!(kind, "a" | "b" | "c").then_some(kind)?;
    check_access(access).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        digits => digits.parse::<u32>().ok().map(|n| Some(i64::from(n))),
    };
    Some(json!({
        "allow": true,
        "type": kind,
        "major": number(major)?,
        "minor": number(minor)?,
        "access": access,
    }))
}
