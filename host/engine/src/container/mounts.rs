//! Reading what a user asked to be mounted: binds, mounts, tmpfs, the image's volumes.

use std::collections::{BTreeMap, HashMap};

use bollard_stubs::models;
use longshore_core::types::VolumeName;

use super::record::{Mount, MountSource};
use crate::error::{Error, Result};

/// Most mounts of one container.
const MAX_MOUNTS: usize = 128;

/// What a volume is made with when it is not there.
#[derive(Debug, Default)]
pub(crate) struct VolumeSpec {
    pub(crate) driver: Option<String>,
    pub(crate) options: HashMap<String, String>,
    pub(crate) labels: HashMap<String, String>,
}

/// All mounts, in the order of their targets' depth. A target that is given twice is refused; the
/// image's volumes give way to the user's mounts.
pub(super) fn of(config: &models::ContainerConfig, host: &models::HostConfig) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(bind_spec(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(mount_spec(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        mounts.push(Mount {
            target: target_of("Tmpfs", target)?,
            source: MountSource::Tmpfs(tmpfs_options(options)?),
            read_only: false,
            propagation: None,
            subpath: None,
            copy_up: false,
        });
    }
    for (at, mount) in mounts.iter().enumerate() {
        if mounts[..at].iter().any(|other| other.target == mount.target) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
    }
    for target in config.volumes.iter().flatten() {
        let target = target_of("Volumes", target)?;
        if !mounts.iter().any(|mount| mount.target == target) {
            mounts.push(anonymous(target));
        }
    }
    if mounts.len() > MAX_MOUNTS {
        return Err(Error::invalid(format!(
            "Mounts: {} are more than the most, {MAX_MOUNTS}",
            mounts.len()
        )));
    }
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(mounts)
}

/// The driver and options that the user's mount at `target` names for its volume.
pub(super) fn volume_spec(host: &models::HostConfig, target: &str) -> VolumeSpec {
    let options = host
        .mounts
        .iter()
        .flatten()
        .find(|mount| mount.target.as_deref().map(clean) == Some(target.to_owned()))
        .and_then(|mount| mount.volume_options.clone())
        .unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    VolumeSpec {
        driver: driver.name.filter(|name| !name.is_empty()),
        options: driver.options.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
    }
}

fn anonymous(target: String) -> Mount {
    Mount {
        target,
        source: MountSource::Volume {
            name: String::new(),
            anonymous: true,
        },
        read_only: false,
        propagation: None,
        subpath: None,
        copy_up: true,
    }
}

fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// A target that a container may have: absolute, without `..`, not the root, not what the runtime
/// mounts itself.
fn target_of(field: &str, target: &str) -> Result<String> {
    let wrong = |why: &str| {
        let shown: String = target.chars().take(100).collect();
        Err(Error::invalid(format!(
            "{field}: invalid mount target {shown:?}: {why}"
        )))
    };
    if !target.starts_with('/') {
        return wrong("it must be an absolute path");
    }
    if target.contains('\0') || target.split('/').any(|part| part == "..") {
        return wrong("it must not hold \"..\" or a NUL byte");
    }
    if target.len() > 4000 {
        return wrong("it is too long");
    }
    let target = clean(target);
    match target.as_str() {
        "/" => wrong("the destination cannot be \"/\""),
        "/proc" | "/dev" | "/sys" => wrong("the runtime mounts this itself"),
        path if path.starts_with("/proc/") => wrong("nothing can be mounted inside /proc"),
        _ => Ok(target),
    }
}

/// `[source:]target[:options]`, Docker's `-v`.
fn bind_spec(text: &str) -> Result<Mount> {
    let shown: String = text.chars().take(100).collect();
    let wrong = |why: &str| Error::invalid(format!("Binds: invalid volume specification {shown:?}: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong("too many colons")),
    };
    let mut mount = anonymous(target_of("Binds", target)?);
    match source {
        None => {}
        Some("") => return Err(wrong("the source is empty")),
        Some(path) if path.starts_with('/') => {
            if path.contains('\0') || path.split('/').any(|part| part == "..") {
                return Err(wrong("the source must not hold \"..\" or a NUL byte"));
            }
            mount.source = MountSource::Bind {
                path: clean(path),
                make: true,
            };
            mount.copy_up = false;
        }
        Some(name) => {
            VolumeName::parse(name).map_err(|_| {
                wrong("the source is neither an absolute path nor a volume name of [a-zA-Z0-9][a-zA-Z0-9_.-]")
            })?;
            mount.source = MountSource::Volume {
                name: name.to_owned(),
                anonymous: false,
            };
        }
    }
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            // Labels of SELinux, which this kernel may not have, and consistency, which Linux ignores.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => mount.copy_up = false,
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                mount.propagation = Some(option.to_owned());
            }
            other => return Err(wrong(&format!("unknown option {other:?}"))),
        }
    }
    Ok(mount)
}

/// One of `HostConfig.Mounts`, Docker's `--mount`.
fn mount_spec(asked: &models::Mount) -> Result<Mount> {
    let mut mount = anonymous(target_of("Mounts", asked.target.as_deref().unwrap_or_default())?);
    mount.read_only = asked.read_only.unwrap_or(false);
    let source = asked.source.clone().unwrap_or_default();
    let wrong = |why: &str| Error::invalid(format!("Mounts: invalid mount at {}: {why}", mount.target));
    match asked.typ {
        Some(models::MountType::BIND) => {
            if !source.starts_with('/') || source.split('/').any(|part| part == "..") || source.contains('\0') {
                return Err(wrong("a bind's source must be an absolute path without \"..\""));
            }
            mount.propagation = asked
                .bind_options
                .as_ref()
                .and_then(|options| options.propagation)
                .map(|propagation| propagation.to_string())
                .filter(|text| !text.is_empty());
            mount.source = MountSource::Bind {
                path: clean(&source),
                make: false,
            };
            mount.copy_up = false;
        }
        Some(models::MountType::VOLUME) | None => {
            if !source.is_empty() {
                VolumeName::parse(source.clone()).map_err(|e| wrong(&e.message))?;
                mount.source = MountSource::Volume {
                    name: source,
                    anonymous: false,
                };
            }
            if let Some(options) = &asked.volume_options {
                mount.copy_up = !options.no_copy.unwrap_or(false);
                mount.subpath = options.subpath.clone().filter(|path| !path.is_empty());
            }
        }
        Some(models::MountType::TMPFS) => {
            let mut options = BTreeMap::new();
            if let Some(asked) = &asked.tmpfs_options {
                if let Some(size) = asked.size_bytes.filter(|size| *size != 0) {
                    if size < 0 {
                        return Err(wrong("the size is negative"));
                    }
                    options.insert("size".to_owned(), size.to_string());
                }
                if let Some(mode) = asked.mode.filter(|mode| *mode != 0) {
                    options.insert("mode".to_owned(), format!("{mode:o}"));
                }
            }
            mount.source = MountSource::Tmpfs(options);
        }
        Some(other) => {
            return Err(wrong(&format!(
                "type {other} is not available; use bind, volume or tmpfs"
            )));
        }
    }
    Ok(mount)
}

/// The options of `--tmpfs`, as mount(8) takes them.
fn tmpfs_options(text: &str) -> Result<BTreeMap<String, String>> {
    text.split(',')
        .filter(|option| !option.is_empty())
        .map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "size" | "mode" | "uid" | "gid" | "nr_inodes" | "rw" | "ro" | "exec" | "noexec" | "suid" | "nosuid"
                | "dev" | "nodev" => Ok((key.to_owned(), value.to_owned())),
                other => Err(Error::invalid(format!("Tmpfs: invalid tmpfs option {other:?}"))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        assert!(matches!(
            bind_spec("/a:/b:ro").unwrap().source,
            MountSource::Bind { path, make: true } if path == "/a"
        ));
        assert!(bind_spec("/a:/b:ro").unwrap().read_only);
        assert!(matches!(
            bind_spec("data:/b").unwrap().source,
            MountSource::Volume { anonymous: false, .. }
        ));
        assert!(matches!(
            bind_spec("/b").unwrap().source,
            MountSource::Volume { anonymous: true, .. }
        ));
        assert_eq!(bind_spec("/a//x/:/b/").unwrap().target, "/b");
    }

    #[test]
    fn bad_binds_are_refused_with_their_reason() {
        for (text, why) in [
            ("a:b:c:d", "too many colons"),
            (":/b", "source is empty"),
            ("/a:b", "absolute"),
            ("/a:/", "cannot be \"/\""),
            ("/a:/proc", "runtime mounts"),
            ("/a:/proc/x", "inside /proc"),
            ("/a:/b/../c", "\"..\""),
            ("/a/..:/b", "\"..\""),
            ("a/b:/c", "neither an absolute path nor a volume name"),
            ("/a:/b:junk", "unknown option"),
        ] {
            let error = bind_spec(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_target_twice_is_refused_and_image_volumes_give_way() {
        let mut host = models::HostConfig {
            binds: Some(vec!["/a:/x".into(), "/b:/x/".into()]),
            ..Default::default()
        };
        let config = models::ContainerConfig {
            volumes: Some(vec!["/x".into(), "/y".into()]),
            ..Default::default()
        };
        assert!(of(&config, &host).is_err());
        host.binds = Some(vec!["/a:/x".into()]);
        assert_eq!(of(&config, &host).unwrap().len(), 2);
    }
}
