//! The mount options that a driver may set, per file system, and their values.

use longshore_core::error::{Error, Result};
use longshore_core::steps::{MountOption, OptionText};

use super::{PlanScope, Setting};

/// The limit of `fsconfig(2)` for a text.
const MOST_TEXT: usize = 255;

const OVERLAY: &[&str] = &[
    "index",
    "redirect_dir",
    "metacopy",
    "xino",
    "volatile",
    "userxattr",
    "uuid",
    "verity",
];
const TMPFS: &[&str] = &["size", "nr_inodes", "mode", "uid", "gid", "noswap", "huge"];
const NFS: &[&str] = &[
    "vers", "proto", "port", "rsize", "wsize", "timeo", "retrans", "soft", "hard", "sec", "nolock", "nconnect",
];
const CIFS: &[&str] = &[
    "username",
    "password",
    "domain",
    "vers",
    "uid",
    "gid",
    "file_mode",
    "dir_mode",
    "sec",
    "seal",
];

/// What may be set on a file system; `None` when no driver may mount it.
pub(super) fn allowed(fs: &str) -> Option<&'static [&'static str]> {
    match fs {
        // `rbind` is the plan's word for "with the mounts below", not an option of the kernel's.
        "bind" => Some(&["rbind"]),
        "overlay" => Some(OVERLAY),
        "tmpfs" => Some(TMPFS),
        "nfs" | "nfs4" => Some(NFS),
        "cifs" => Some(CIFS),
        _ => None,
    }
}

/// Options that hold a secret, and only as one.
fn is_secret(fs: &str, key: &str) -> bool {
    fs == "cifs" && key == "password"
}

/// Checks a step's options and turns them into what is set.
pub(super) fn check(fs: &str, options: &[MountOption], scope: &PlanScope<'_>) -> Result<Vec<Setting>> {
    let allowed = allowed(fs).unwrap_or_default();
    let mut settings: Vec<Setting> = Vec::with_capacity(options.len());
    for option in options {
        let key = option.key.as_str();
        if !allowed.contains(&key) {
            return Err(Error::broken(format!(
                "option {key:?} of {fs} is not one that a driver may set"
            )));
        }
        if settings.iter().any(|setting| setting.key == key) {
            return Err(Error::broken(format!("option {key:?} of {fs} is there twice")));
        }
        if key == "volatile" && !scope.ephemeral {
            return Err(Error::broken(
                "an overlay may be volatile only for a container that is removed when it stops",
            ));
        }
        settings.push(setting(fs, option, scope)?);
    }
    Ok(settings)
}

fn setting(fs: &str, option: &MountOption, scope: &PlanScope<'_>) -> Result<Setting> {
    let key = option.key.clone();
    let (value, secret) = match &option.value {
        OptionText::None => (None, false),
        OptionText::Text(_) if is_secret(fs, &key) => {
            return Err(Error::broken(format!(
                "option {key:?} of {fs} must be a secret and no text"
            )));
        }
        OptionText::Text(text) => (Some(text.clone().into_bytes()), false),
        OptionText::Secret(number) if is_secret(fs, &key) => {
            let secret = scope.secrets.and_then(|secrets| secrets(*number));
            (
                Some(secret.ok_or_else(|| Error::broken(format!("secret {} is not one of this call", number.0)))?),
                true,
            )
        }
        OptionText::Secret(_) => return Err(Error::broken(format!("option {key:?} of {fs} takes no secret"))),
    };
    if value
        .as_ref()
        .is_some_and(|value| value.len() > MOST_TEXT || value.contains(&0))
    {
        return Err(Error::invalid(format!(
            "the value of option {key:?} of {fs} is not a text of at most {MOST_TEXT} bytes"
        )));
    }
    Ok(Setting { key, value, secret })
}
