//! Docker's options of the local driver, and the sort of volume that they make.

use longshore_plugin::driver::{OptionContent, OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_plugin::steps::{MountOption, OptionText};
use longshore_plugin::types::SecretRef;
use longshore_plugin::{Error, Result};

/// What a volume is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sort {
    /// A folder of the data root.
    Plain,
    /// A path of the host.
    Bind {
        /// The path.
        device: String,
        /// `ro` was among the options.
        read_only: bool,
    },
    /// A file system in memory.
    Tmpfs {
        /// `size` and the like.
        options: Vec<MountOption>,
    },
    /// A server's export.
    Remote {
        /// `nfs`, `nfs4` or `cifs`.
        fs: &'static str,
        /// The server.
        server: String,
        /// The exported path.
        path: String,
        /// What remains of the options.
        options: Vec<MountOption>,
        /// `ro` was among the options.
        read_only: bool,
    },
}

/// The options as the host lists them.
pub(crate) fn specs() -> Vec<OptionSpec> {
    [
        (
            "type",
            OptionKind::Text,
            "file system: none, bind, tmpfs, nfs, nfs4 or cifs",
        ),
        (
            "o",
            OptionKind::MountOptions,
            "mount options, separated by commas, as mount(8) takes after -o",
        ),
        (
            "device",
            OptionKind::HostPath,
            "what is mounted: a path of the host, tmpfs, or a server's export",
        ),
        (
            "o.password",
            OptionKind::Secret,
            "the password of a cifs share; password=… in o is the same",
        ),
        ("o.pass", OptionKind::Secret, "the same by cifs's other name for it"),
    ]
    .into_iter()
    .map(|(name, kind, help)| OptionSpec {
        name: name.into(),
        kind,
        scope: OptionScope::Object,
        required: false,
        default: None,
        help: help.into(),
    })
    .collect()
}

impl Sort {
    /// Reads a volume's options by Docker's rules.
    pub(crate) fn read(values: &[OptionValue]) -> Result<Self> {
        let mut given = Given::default();
        for option in values {
            let text = match &option.value {
                OptionContent::Text(text) => text,
                OptionContent::Secret(number) => {
                    given.secret(&option.name, *number)?;
                    continue;
                }
            };
            let slot = match option.name.as_str() {
                "type" => &mut given.fs,
                "o" => &mut given.options,
                "device" => &mut given.device,
                other => {
                    return Err(Error::invalid(format!(
                        "invalid option: {other:?}; the local driver takes type, o and device"
                    )));
                }
            };
            *slot = Some(text.clone());
        }
        given.sort()
    }
}

#[derive(Default)]
struct Given {
    fs: Option<String>,
    options: Option<String>,
    device: Option<String>,
    password: Option<SecretRef>,
}

impl Given {
    /// Takes a secret, of which only the number is known here.
    fn secret(&mut self, name: &str, number: SecretRef) -> Result<()> {
        if !matches!(name, "o.password" | "o.pass") {
            return Err(Error::invalid(format!("option {name} must be plain text")));
        }
        if self.password.replace(number).is_some() {
            return Err(Error::invalid("o: password and pass are one option, given twice"));
        }
        Ok(())
    }

    fn sort(self) -> Result<Sort> {
        if self.password.is_some() && self.fs.as_deref() != Some("cifs") {
            return Err(Error::invalid("o=password is for type cifs alone"));
        }
        if self.fs.is_none() && self.options.is_none() && self.device.is_none() {
            return Ok(Sort::Plain);
        }
        let fs = self.fs.as_deref().unwrap_or("none");
        let words: Vec<&str> = self
            .options
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .filter(|word| !word.is_empty())
            .collect();
        let read_only = words.contains(&"ro");
        let binds = words.iter().any(|word| matches!(*word, "bind" | "rbind"));
        let Some(device) = self.device else {
            return Err(Error::invalid("missing required option: \"device\""));
        };
        match fs {
            "none" | "bind" if binds || fs == "bind" => bind(device, &words, read_only),
            "tmpfs" => Ok(Sort::Tmpfs {
                options: mount_options(&words, &["size", "nr_inodes", "mode", "uid", "gid", "noswap", "huge"])?,
            }),
            "nfs" | "nfs4" => nfs(&device, &words, read_only),
            "cifs" => cifs(&device, &words, self.password, read_only),
            "none" => Err(Error::invalid(
                "missing required option: \"type\" (or o=bind for a path of the host)",
            )),
            other => Err(Error::invalid(format!(
                "type {other:?} is not one that the local driver mounts; it mounts bind, tmpfs, nfs and cifs"
            ))),
        }
    }
}

fn bind(device: String, words: &[&str], read_only: bool) -> Result<Sort> {
    if let Some(word) = words.iter().find(|w| !matches!(**w, "bind" | "rbind" | "ro" | "rw")) {
        // The key alone: what is no option here may be a secret.
        let key = word.split('=').next().unwrap_or_default();
        return Err(Error::invalid(format!("o={key} is not an option of a bind")));
    }
    if !device.starts_with('/') {
        return Err(Error::invalid(format!("device {device:?} must be an absolute path")));
    }
    Ok(Sort::Bind { device, read_only })
}

fn nfs(device: &str, words: &[&str], read_only: bool) -> Result<Sort> {
    let (host, path) = device.split_once(':').ok_or_else(|| {
        Error::invalid(format!(
            "device {device:?} must be :/path with o=addr=…, or server:/path"
        ))
    })?;
    let address = words.iter().find_map(|word| word.strip_prefix("addr="));
    let server = address
        .or((!host.is_empty()).then_some(host))
        .ok_or_else(|| Error::invalid("an nfs volume needs its server: o=addr=… or device server:/path"))?;
    let rest: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with("addr=")).collect();
    Ok(Sort::Remote {
        fs: "nfs",
        server: server.to_owned(),
        path: path.to_owned(),
        options: mount_options(
            &rest,
            &[
                "vers", "nfsvers", "proto", "port", "rsize", "wsize", "timeo", "retrans", "soft", "hard", "sec",
                "nolock", "nconnect",
            ],
        )?,
        read_only,
    })
}

fn cifs(device: &str, words: &[&str], password: Option<SecretRef>, read_only: bool) -> Result<Sort> {
    let (server, path) = device
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| Error::invalid(format!("device {device:?} must be //server/share")))?;
    let rest: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with("addr=")).collect();
    let mut options = mount_options(
        &rest,
        &[
            "username",
            "domain",
            "vers",
            "uid",
            "gid",
            "file_mode",
            "dir_mode",
            "sec",
            "seal",
        ],
    )?;
    options.extend(password.map(|number| MountOption {
        key: "password".into(),
        value: OptionText::Secret(number),
    }));
    Ok(Sort::Remote {
        fs: "cifs",
        server: server.to_owned(),
        path: format!("/{path}"),
        options,
        read_only,
    })
}

fn mount_options(words: &[&str], allowed: &[&str]) -> Result<Vec<MountOption>> {
    words
        .iter()
        .filter(|word| !matches!(**word, "ro" | "rw"))
        .map(|word| {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, OptionText::Text(value.to_owned())),
                None => (*word, OptionText::None),
            };
            if !allowed.contains(&key) {
                return Err(Error::invalid(format!(
                    "o={key} is not allowed; allowed are {}",
                    allowed.join(", ")
                )));
            }
            Ok(MountOption {
                key: key.to_owned(),
                value,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Sort> {
        let options: Vec<OptionValue> = pairs.iter().map(|(k, v)| OptionValue::text(*k, *v)).collect();
        Sort::read(&options)
    }

    #[test]
    fn each_sort_is_recognised() {
        assert_eq!(read(&[]).unwrap(), Sort::Plain);
        assert!(matches!(
            read(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")]).unwrap(),
            Sort::Bind { read_only: true, .. }
        ));
        assert!(matches!(
            read(&[("type", "tmpfs"), ("o", "size=8m"), ("device", "tmpfs")]).unwrap(),
            Sort::Tmpfs { .. }
        ));
        match read(&[("type", "nfs"), ("o", "addr=10.0.0.1,rw,vers=4"), ("device", ":/x")]).unwrap() {
            Sort::Remote {
                server, path, options, ..
            } => {
                assert_eq!((server.as_str(), path.as_str(), options.len()), ("10.0.0.1", "/x", 1));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_password_of_a_share_is_a_number_that_the_plan_names() {
        let with = |fs: &str, name: &str| {
            let mut options: Vec<OptionValue> = [("type", fs), ("device", "//h/s"), ("o", "username=u")]
                .map(|(k, v)| OptionValue::text(k, v))
                .to_vec();
            options.push(OptionValue {
                name: name.into(),
                value: OptionContent::Secret(SecretRef(4)),
            });
            Sort::read(&options)
        };
        for name in ["o.password", "o.pass"] {
            let Sort::Remote { options, .. } = with("cifs", name).unwrap() else {
                panic!("not a remote");
            };
            let wanted = MountOption {
                key: "password".into(),
                value: OptionText::Secret(SecretRef(4)),
            };
            assert!(options.contains(&wanted), "{options:?}");
        }
        assert!(with("nfs", "o.password").is_err());
        assert!(with("cifs", "device").is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pairs, message) in [
            (vec![("size", "1")], "invalid option: \"size\""),
            (vec![("type", "tmpfs")], "missing required option: \"device\""),
            (vec![("type", "ext4"), ("device", "/dev/sda")], "type \"ext4\""),
            (vec![("o", "bind"), ("device", "srv")], "must be an absolute path"),
            (
                vec![("type", "tmpfs"), ("device", "tmpfs"), ("o", "exec")],
                "o=exec is not allowed",
            ),
            (vec![("type", "nfs"), ("device", ":/x")], "needs its server"),
            (
                vec![("type", "cifs"), ("device", "//h/s"), ("o", "password=x")],
                "o=password is not allowed",
            ),
            (
                vec![("o", "bind,Password=x"), ("device", "/srv")],
                "o=Password is not an option of a bind",
            ),
        ] {
            let error = read(&pairs).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert!(!error.message.contains("=x"), "a secret is shown");
        }
    }
}
