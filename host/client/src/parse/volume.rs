//! `-v [SOURCE:]TARGET[:OPTIONS]` and `--tmpfs TARGET[:OPTIONS]`.

use std::path::Path;

use super::nearest;
use crate::error::{Failure, Result};

const OPTIONS: [&str; 15] = [
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "consistent",
    "cached",
    "delegated",
    "rro",
];

/// What one `-v` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spec {
    /// A volume without a name, at this target.
    Anonymous(String),
    /// A folder of the host or a named volume, in Docker's own notation.
    Bind(String),
}

/// Reads one `-v`. A source that is a relative path is made absolute: the engine has another folder.
pub(crate) fn volume(text: &str) -> Result<Spec> {
    let wrong =
        |reason: String| Failure::usage(format!("-v {text:?}: {reason}")).hint("write [SOURCE:]TARGET[:OPTIONS]");
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong("a part of it is empty".to_owned()));
    }
    let (source, given_target, options) = match parts[..] {
        [target] => (None, target, None),
        [source, target] => (Some(source), target, None),
        [source, target, options] => (Some(source), target, Some(options)),
        _ => return Err(wrong("it has too many parts".to_owned())),
    };
    target(given_target).map_err(wrong)?;
    let Some(source) = source else {
        return Ok(Spec::Anonymous(given_target.to_owned()));
    };
    if let Some(options) = options {
        check_options(options).map_err(|(reason, hint)| {
            let failure = wrong(reason);
            match hint {
                Some(known) => Failure {
                    hint: Some(format!("perhaps {known}")),
                    ..failure
                },
                None => failure,
            }
        })?;
    }
    let source = host_or_name(source).map_err(wrong)?;
    Ok(Spec::Bind(match options {
        Some(options) => format!("{source}:{given_target}:{options}"),
        None => format!("{source}:{given_target}"),
    }))
}

/// A path of the host, absolute, or the name of a volume.
fn host_or_name(source: &str) -> std::result::Result<String, String> {
    if source.starts_with('/') {
        return Ok(source.to_owned());
    }
    if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") {
        return std::path::absolute(source)
            .map(|path| path.to_string_lossy().into_owned())
            .map_err(|error| format!("{source:?} has no absolute path: {error}"));
    }
    if !is_name(source) {
        return Err(format!(
            "{source:?} is neither a path nor the name of a volume ([a-zA-Z0-9][a-zA-Z0-9_.-]*)"
        ));
    }
    Ok(source.to_owned())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// A place in the container: an absolute path that is not the root.
pub(crate) fn target(target: &str) -> std::result::Result<(), String> {
    if !target.starts_with('/') {
        return Err(format!("the target {target:?} is not an absolute path"));
    }
    if target.contains('\0') {
        return Err("the target has a zero byte".to_owned());
    }
    let mut depth = 0_i32;
    for part in Path::new(target).components() {
        match part {
            std::path::Component::Normal(_) => depth += 1,
            std::path::Component::ParentDir => depth = (depth - 1).max(0),
            _ => {}
        }
    }
    if depth == 0 {
        return Err("the target is the root folder itself".to_owned());
    }
    Ok(())
}

fn check_options(options: &str) -> std::result::Result<(), (String, Option<&'static str>)> {
    let mut seen: Vec<&str> = Vec::new();
    for option in options.split(',') {
        if !OPTIONS.contains(&option) {
            return Err((format!("there is no option {option:?}"), nearest(option, &OPTIONS)));
        }
        if seen.contains(&option) {
            return Err((format!("the option {option:?} stands there twice"), None));
        }
        seen.push(option);
    }
    if seen.contains(&"ro") && seen.contains(&"rw") {
        return Err(("ro and rw exclude each other".to_owned(), None));
    }
    Ok(())
}

/// `TARGET[:OPTIONS]` of a tmpfs.
pub(crate) fn tmpfs(text: &str) -> Result<(String, String)> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    target(path)
        .map_err(|reason| Failure::usage(format!("--tmpfs {text:?}: {reason}")).hint("write TARGET[:OPTIONS]"))?;
    Ok((path.to_owned(), options.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn volumes_are_read_as_docker_writes_them() {
        for (text, wanted) in [
            ("/data", Spec::Anonymous("/data".into())),
            ("/src:/dst", Spec::Bind("/src:/dst".into())),
            ("name:/dst:ro", Spec::Bind("name:/dst:ro".into())),
            ("a.b-c_1:/x:ro,z,rslave", Spec::Bind("a.b-c_1:/x:ro,z,rslave".into())),
            ("name:/dst:nocopy", Spec::Bind("name:/dst:nocopy".into())),
        ] {
            assert_eq!(volume(text).unwrap(), wanted, "{text}");
        }
        let Spec::Bind(relative) = volume("./here:/dst").unwrap() else {
            unreachable!("a source was given")
        };
        assert!(relative.starts_with('/') && relative.ends_with("/here:/dst"));
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        for text in [
            "",
            "/",
            ":/x",
            "a:",
            "a::ro",
            "rel",
            "/a:rel",
            "/a:/",
            "/a:/..",
            "/a:/b:rx",
            "/a:/b:ro,rw",
            "/a:/b:ro,ro",
            "/a:/b:ro:x",
            "-x:/a",
            "a/b:/c",
            "a b:/c",
            "/a:/x/..",
        ] {
            assert!(volume(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_misspelt_option_is_answered_with_the_nearest() {
        let failure = volume("a:/b:nocpy").unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("perhaps nocopy"));
    }

    #[test]
    fn a_tmpfs_has_a_target_and_options() {
        assert_eq!(
            tmpfs("/run:size=1m,mode=755").unwrap(),
            ("/run".into(), "size=1m,mode=755".into())
        );
        assert_eq!(tmpfs("/run").unwrap(), ("/run".into(), String::new()));
        assert!(tmpfs("run").is_err());
        assert!(tmpfs("/").is_err());
    }
}
