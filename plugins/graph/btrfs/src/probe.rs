//! Judges by the host's facts whether btrfs can work on this machine and root.

use longshore_plugin::driver::{Facts, Reason};

pub(crate) fn judge(facts: &Facts) -> Vec<Reason> {
    let reason = |what: String, remedy: &str| Reason {
        what,
        remedy: remedy.into(),
    };
    if !facts.filesystems.iter().any(|name| name == "btrfs") {
        return vec![reason(
            "this kernel has no btrfs".into(),
            "load it with `modprobe btrfs`, or use graph driver overlay",
        )];
    }
    if facts.filesystem != "btrfs" {
        return vec![reason(
            format!("the data root lies on {}, not on btrfs", facts.filesystem),
            "mount a btrfs file system at the data root, or use graph driver overlay",
        )];
    }
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(filesystem: &str, filesystems: &[&str]) -> Facts {
        Facts {
            filesystem: filesystem.into(),
            d_type: Some(true),
            trusted_xattrs: Some(true),
            user_xattrs: Some(true),
            reflink: Some(true),
            filesystems: filesystems.iter().map(|name| (*name).into()).collect(),
            overlay: vec![],
            overlay_mounts: Some(true),
            kernel: "6.18.0".into(),
            network: None,
        }
    }

    #[test]
    fn a_root_on_btrfs_has_no_reasons() {
        assert!(judge(&facts("btrfs", &["ext4", "btrfs"])).is_empty());
    }

    #[test]
    fn another_file_system_and_another_kernel_have_their_remedies() {
        assert!(judge(&facts("ext4", &["ext4", "btrfs"]))[0].what.contains("ext4"));
        assert!(judge(&facts("ext4", &["ext4"]))[0].remedy.contains("modprobe"));
    }
}
