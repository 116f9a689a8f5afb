//! Judges by the host's facts whether overlay can work on this machine and root.

use longshore_plugin::driver::{Facts, Reason};

use crate::config::Options;

pub(crate) fn judge(facts: &Facts, _options: Options) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let missing = |what: String, remedy: &str| Reason {
        what,
        remedy: remedy.into(),
    };
    if !facts.filesystems.iter().any(|name| name == "overlay") {
        reasons.push(missing(
            "this kernel has no overlay file system".into(),
            "load it with `modprobe overlay`, or use graph driver vfs",
        ));
    }
    if facts.d_type == Some(false) {
        reasons.push(missing(
            format!(
                "{} does not tell the type of directory entries, which whiteouts need",
                facts.filesystem
            ),
            "reformat it with ftype=1 (xfs), or move the data root",
        ));
    }
    if facts.trusted_xattrs == Some(false) {
        reasons.push(missing(
            format!("trusted.* attributes cannot be set on {}", facts.filesystem),
            "move the data root to ext4, xfs or btrfs, or give the engine CAP_SYS_ADMIN",
        ));
    }
    if facts.overlay_mounts == Some(false) && reasons.is_empty() {
        reasons.push(missing(
            format!(
                "an overlay could not be mounted with its layers on {}",
                facts.filesystem
            ),
            "move the data root to ext4, xfs or btrfs (an overlay cannot hold another one's upper layer)",
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            filesystem: "ext4".into(),
            d_type: Some(true),
            trusted_xattrs: Some(true),
            user_xattrs: Some(true),
            reflink: Some(false),
            filesystems: vec!["overlay".into()],
            overlay: vec![],
            overlay_mounts: Some(true),
            kernel: "6.18.0".into(),
            network: None,
        }
    }

    #[test]
    fn a_machine_with_everything_has_no_reasons() {
        assert!(judge(&facts(), Options::default()).is_empty());
    }

    #[test]
    fn each_missing_thing_has_its_remedy() {
        let mut no_type = facts();
        no_type.d_type = Some(false);
        assert!(judge(&no_type, Options::default())[0].remedy.contains("ftype=1"));
        let mut no_overlay = facts();
        no_overlay.filesystems.clear();
        assert!(judge(&no_overlay, Options::default())[0].remedy.contains("modprobe"));
        let mut no_trusted = facts();
        no_trusted.trusted_xattrs = Some(false);
        assert_eq!(judge(&no_trusted, Options::default()).len(), 1);
        let mut no_mount = facts();
        no_mount.overlay_mounts = Some(false);
        assert_eq!(judge(&no_mount, Options::default()).len(), 1);
    }
}
