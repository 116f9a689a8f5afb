//! What a container sees of its cgroups.
//!
//! On v1 the library mounts them writable whatever the spec says, and with them the whole of
//! systemd's hierarchy, in which it makes no cgroup: a container's root could lift its own limits.
//! So a mount of type `cgroup` is written out here as one bind for each hierarchy.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{Mount, MountBuilder, Spec};
use longshore_plugin::{Error, Result};

use super::Group;

/// Replaces cgroup mounts by binds of the container's own cgroups. A V2 machine needs none of that.
pub(crate) fn write_out(spec: &mut Spec, group: &Group) -> Result<()> {
    if group.unified() {
        return Ok(());
    }
    let invalid = |e: OciSpecError| Error::invalid(format!("config.json: mounts: {e}"));
    let mut mounts = Vec::new();
    let mut read_only = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        if mount.typ().as_deref() != Some("cgroup") {
            mounts.push(mount.clone());
            continue;
        }
        let given = mount.options().clone().unwrap_or_default();
        if given.iter().any(|option| option == "ro") {
            // The folder that holds them; it must be writable until they stand in it.
            read_only.push(mount.destination().display().to_string());
        }
        mounts.push(holder(mount.destination()).map_err(invalid)?);
        for (name, source) in group.named_folders() {
            mounts.push(bind(&mount.destination().join(name), source, &given).map_err(invalid)?);
        }
    }
    spec.set_mounts(Some(mounts));
    if let Some(linux) = spec.linux_mut() {
        let mut paths = linux.readonly_paths().clone().unwrap_or_default();
        paths.extend(read_only);
        linux.set_readonly_paths(Some(paths));
    }
    Ok(())
}

fn holder(destination: &Path) -> Result<Mount, OciSpecError> {
    let options = ["nosuid", "noexec", "nodev", "mode=755", "size=64k"].map(str::to_owned);
    MountBuilder::default()
        .destination(destination)
        .typ("tmpfs")
        .source("tmpfs")
        .options(options.to_vec())
        .build()
}

fn bind(destination: &Path, source: PathBuf, given: &[String]) -> Result<Mount, OciSpecError> {
    let mut options = vec!["rbind".to_owned(), "rprivate".to_owned()];
    options.extend(
        given
            .iter()
            .filter(|option| ["ro", "nosuid", "noexec", "nodev"].contains(&option.as_str()))
            .cloned(),
    );
    MountBuilder::default()
        .destination(destination)
        .typ("bind")
        .source(source)
        .options(options)
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use serde_json::json;

    use super::*;
    use crate::cgroup::Layout;

    fn spec() -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"] },
            ],
            "linux": { "readonlyPaths": ["/proc/sys"] },
        }))
        .unwrap()
    }

    #[test]
    fn each_hierarchy_of_v1_becomes_a_read_only_bind() {
        let layout = Layout::parse(
            "32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
        );
        let mut spec = spec();
        write_out(&mut spec, &Group::new(layout, Path::new("/a"))).unwrap();
        let mounts = spec.mounts().as_ref().unwrap();
        let seen: Vec<_> = mounts
            .iter()
            .skip(2)
            .map(|mount| mount.destination().display().to_string())
            .collect();
        assert_eq!(
            seen,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/cpuacct"
            ]
        );
        for mount in &mounts[2..] {
            assert_eq!(
                mount.source().as_ref().unwrap(),
                Path::new("/sys/fs/cgroup/cpu,cpuacct/a")
            );
            assert_eq!(
                mount.options().as_ref().unwrap(),
                &["rbind", "rprivate", "ro", "nosuid"]
            );
        }
        let paths = spec.linux().as_ref().unwrap().readonly_paths().clone().unwrap();
        assert_eq!(paths, ["/proc/sys", "/sys/fs/cgroup"]);
    }

    #[test]
    fn v2_is_left_to_the_library() {
        let layout = Layout::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let mut changed = spec();
        write_out(&mut changed, &Group::new(layout, Path::new("/a"))).unwrap();
        assert_eq!(changed, spec());
    }
}
