//! `--mount type=bind,source=/a,target=/b,...`.

use std::collections::HashMap;

use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};

use super::{nearest, size, volume};
use crate::error::{Failure, Result};

const KEYS: [&str; 19] = [
    "type",
    "source",
    "src",
    "target",
    "destination",
    "dst",
    "readonly",
    "ro",
    "bind-propagation",
    "bind-nonrecursive",
    "bind-create-src",
    "volume-nocopy",
    "volume-driver",
    "volume-opt",
    "volume-label",
    "volume-subpath",
    "tmpfs-size",
    "tmpfs-mode",
    "consistency",
];

/// The fields that belong to one type, gathered before the type is known.
#[derive(Debug, Default)]
struct Fields {
    bind: MountBindOptions,
    has_bind: bool,
    volume: MountVolumeOptions,
    has_volume: bool,
    tmpfs: MountTmpfsOptions,
    has_tmpfs: bool,
}

/// Reads one `--mount`.
pub(crate) fn mount(text: &str) -> Result<Mount> {
    let wrong = |reason: String| {
        Failure::usage(format!("--mount {text:?}: {reason}"))
            .hint("write type=bind|volume|tmpfs,source=SOURCE,target=TARGET[,readonly]")
    };
    let mut mount = Mount {
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    };
    let mut fields = Fields::default();
    for field in split(text).map_err(wrong)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        if !KEYS.contains(&key.as_str()) {
            let failure = wrong(format!("there is no key {key:?}"));
            return Err(match nearest(&key, &KEYS) {
                Some(known) => Failure {
                    hint: Some(format!("perhaps {known}")),
                    ..failure
                },
                None => failure,
            });
        }
        set(&mut mount, &mut fields, &key, value).map_err(wrong)?;
    }
    complete(&mut mount, fields).map_err(wrong)?;
    Ok(mount)
}

type Parsed<T> = std::result::Result<T, String>;

fn set(mount: &mut Mount, fields: &mut Fields, key: &str, value: Option<&str>) -> Parsed<()> {
    if matches!(key, "readonly" | "ro") {
        mount.read_only = Some(yes(key, value)?);
        return Ok(());
    }
    match key.split_once('-') {
        Some(("bind", _)) => bind(fields, key, value),
        Some(("volume", _)) => volume_field(fields, key, value),
        Some(("tmpfs", _)) => tmpfs(fields, key, value),
        _ => {
            let value = value.ok_or_else(|| format!("{key} has no value"))?;
            match key {
                "type" => {
                    mount.typ = Some(match value.to_lowercase().as_str() {
                        "bind" => MountType::BIND,
                        "volume" => MountType::VOLUME,
                        "tmpfs" => MountType::TMPFS,
                        other => return Err(format!("type {other:?} is not bind, volume or tmpfs")),
                    });
                }
                "source" | "src" => mount.source = Some(value.to_owned()),
                "consistency" => mount.consistency = Some(value.to_owned()),
                _ => mount.target = Some(value.to_owned()),
            }
            Ok(())
        }
    }
}

fn bind(fields: &mut Fields, key: &str, value: Option<&str>) -> Parsed<()> {
    fields.has_bind = true;
    match key {
        "bind-nonrecursive" => fields.bind.non_recursive = Some(yes(key, value)?),
        "bind-create-src" => fields.bind.create_mountpoint = Some(yes(key, value)?),
        _ => {
            fields.bind.propagation = Some(match value.unwrap_or_default() {
                "private" => Propagation::PRIVATE,
                "rprivate" => Propagation::RPRIVATE,
                "shared" => Propagation::SHARED,
                "rshared" => Propagation::RSHARED,
                "slave" => Propagation::SLAVE,
                "rslave" => Propagation::RSLAVE,
                other => return Err(format!("{other:?} is not a propagation")),
            });
        }
    }
    Ok(())
}

fn volume_field(fields: &mut Fields, key: &str, value: Option<&str>) -> Parsed<()> {
    fields.has_volume = true;
    if key == "volume-nocopy" {
        fields.volume.no_copy = Some(yes(key, value)?);
        return Ok(());
    }
    let value = value.ok_or_else(|| format!("{key} has no value"))?;
    let config = || MountVolumeOptionsDriverConfig {
        name: Some(String::new()),
        options: None,
    };
    match key {
        "volume-driver" => {
            fields.volume.driver_config.get_or_insert_with(config).name = Some(value.to_owned());
        }
        "volume-subpath" => fields.volume.subpath = Some(value.to_owned()),
        "volume-label" => insert(&mut fields.volume.labels, value),
        _ => insert(
            &mut fields.volume.driver_config.get_or_insert_with(config).options,
            value,
        ),
    }
    Ok(())
}

fn tmpfs(fields: &mut Fields, key: &str, value: Option<&str>) -> Parsed<()> {
    fields.has_tmpfs = true;
    let value = value.ok_or_else(|| format!("{key} has no value"))?;
    if key == "tmpfs-size" {
        let bytes = size::bytes(key, value).map_err(|failure| failure.sentence)?;
        fields.tmpfs.size_bytes = Some(bytes);
        return Ok(());
    }
    match i64::from_str_radix(value, 8) {
        Ok(mode) if (0..=0o7777).contains(&mode) => fields.tmpfs.mode = Some(mode),
        _ => return Err(format!("tmpfs-mode {value:?} is not an octal mode")),
    }
    Ok(())
}

fn insert(map: &mut Option<HashMap<String, String>>, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}

/// Whether the fields fit the type, now that both are known.
fn complete(mount: &mut Mount, fields: Fields) -> Parsed<()> {
    let target = mount.target.as_deref().ok_or("it has no target")?;
    volume::target(target)?;
    let kind = mount.typ.unwrap_or(MountType::VOLUME);
    for (given, of, name) in [
        (fields.has_bind, MountType::BIND, "bind"),
        (fields.has_volume, MountType::VOLUME, "volume"),
        (fields.has_tmpfs, MountType::TMPFS, "tmpfs"),
    ] {
        if given && kind != of {
            return Err(format!("keys that begin with {name}- need type={name}"));
        }
    }
    match kind {
        MountType::BIND => {
            let source = mount.source.as_deref().ok_or("a bind needs a source")?;
            let path = std::path::absolute(source).map_err(|error| format!("{source:?}: {error}"))?;
            mount.source = Some(path.to_string_lossy().into_owned());
        }
        MountType::TMPFS if mount.source.is_some() => {
            return Err("a tmpfs has no source".to_owned());
        }
        _ => {}
    }
    mount.bind_options = fields.has_bind.then_some(fields.bind);
    mount.volume_options = fields.has_volume.then_some(fields.volume);
    mount.tmpfs_options = fields.has_tmpfs.then_some(fields.tmpfs);
    Ok(())
}

fn yes(key: &str, value: Option<&str>) -> Parsed<bool> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{key}={other} is neither true nor false")),
    }
}

/// Fields between commas; a field in double quotes may hold commas.
fn split(text: &str) -> Parsed<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn a_bind_has_source_and_target() {
        let bind = mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").unwrap();
        assert_eq!(bind.typ, Some(MountType::BIND));
        assert_eq!(bind.source.as_deref(), Some("/a"));
        assert_eq!(bind.target.as_deref(), Some("/b"));
        assert_eq!(bind.read_only, Some(true));
        assert_eq!(bind.bind_options.unwrap().propagation, Some(Propagation::RSLAVE));
    }

    #[test]
    fn a_volume_may_name_its_driver_and_options() {
        let text = r#"type=volume,target=/x,volume-driver=local,"volume-opt=o=addr=1.2.3.4,vers=4",volume-label=a=b"#;
        let options = mount(text).unwrap().volume_options.unwrap();
        let driver = options.driver_config.unwrap();
        assert_eq!(driver.name.as_deref(), Some("local"));
        assert_eq!(driver.options.unwrap()["o"], "addr=1.2.3.4,vers=4");
        assert_eq!(options.labels.unwrap()["a"], "b");
    }

    #[test]
    fn a_tmpfs_has_size_and_mode() {
        let options = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777")
            .unwrap()
            .tmpfs_options
            .unwrap();
        assert_eq!(options.size_bytes, Some(1 << 20));
        assert_eq!(options.mode, Some(0o1777));
    }

    #[test]
    fn without_a_type_it_is_a_volume() {
        assert_eq!(mount("target=/x").unwrap().typ, Some(MountType::VOLUME));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            "",
            "type=bind,target=/x",
            "type=npipe,target=/x",
            "type=bind,source=/a",
            "type=tmpfs,source=/a,target=/b",
            "type=bind,source=/a,target=b",
            "type=bind,source=/a,target=/",
            "type=bind,source=/a,target=/b,volume-nocopy",
            "type=volume,target=/x,readonly=maybe",
            "type=tmpfs,target=/x,tmpfs-mode=9",
            "\"type=volume",
            "type",
        ] {
            assert!(mount(text).is_err(), "{text:?}");
        }
        let hint = mount("type=bind,sorce=/a,target=/b").unwrap_err().hint;
        assert_eq!(hint.as_deref(), Some("perhaps source"));
    }
}
