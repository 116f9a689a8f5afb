//! `plugin new`: a driver's project, of a kind, that builds and passes its suite as it is made.
//!
//! Here lie the files as they are written (`*.in`), and where they are written to. What they do is the
//! contract's; nothing is built here.

use std::fs;
use std::path::Path;

use crate::cli::plugin::NewArgs;
use crate::error::{Failure, Result};
use crate::output;

/// The kinds that there are projects for, each with the driver's code.
const KINDS: [(&str, &str); 3] = [
    ("graph", include_str!("graph.rs.in")),
    ("volume", include_str!("volume.rs.in")),
    ("network", include_str!("network.rs.in")),
];

/// The version of the contract's crate that a project is made for.
const CONTRACT: &str = env!("CARGO_PKG_VERSION");

/// Makes the project. A folder that is there is refused, and a half-made one is taken away again.
pub(crate) fn new(args: &NewArgs) -> Result<u8> {
    let Some((kind, code)) = KINDS.iter().find(|(kind, _)| *kind == args.kind) else {
        let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(
            Failure::usage(format!("there is no project for the kind {:?}", args.kind))
                .hint(format!("kinds are {}", kinds.join(", "))),
        );
    };
    check(&args.name)?;
    let folder = args
        .path
        .clone()
        .unwrap_or_else(|| format!("{kind}-{}", args.name).into());
    let local = |error: &std::io::Error| Failure::local(folder.display(), error);
    fs::create_dir(&folder).map_err(|error| local(&error).hint("give a folder that is not there yet with --path"))?;
    let written = write(&folder, kind, code, args);
    if let Err(error) = written {
        let _half = fs::remove_dir_all(&folder);
        return Err(local(&error));
    }
    output::print(&format!("{}\n", folder.display()))?;
    Ok(0)
}

fn write(folder: &Path, kind: &str, code: &str, args: &NewArgs) -> std::io::Result<()> {
    let contract = match &args.contract {
        Some(path) => format!("{{ path = {:?} }}", fs::canonicalize(path)?),
        None => format!("{CONTRACT:?}"),
    };
    let lib = format!("{kind}_{}", args.name).replace('-', "_");
    let fill = |text: &str| {
        text.replace("@kind@", kind)
            .replace("@name@", &args.name)
            .replace("@lib@", &lib)
            .replace("@contract@", &contract)
    };
    fs::create_dir(folder.join("src"))?;
    for (name, text) in [
        ("Cargo.toml", include_str!("Cargo.toml.in")),
        ("README.md", include_str!("README.md.in")),
        (".gitignore", "/target\n"),
        ("src/lib.rs", code),
    ] {
        fs::write(folder.join(name), fill(text))?;
    }
    Ok(())
}

/// A name becomes part of a crate's, a file's and a folder's.
fn check(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if first && rest && !name.ends_with('-') && name.len() <= 40 {
        return Ok(());
    }
    Err(Failure::usage(format!("{name:?} is no name for a driver"))
        .hint("a name has lower-case letters, digits and hyphens, begins with a letter, and no more than 40 of them"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    fn args(kind: &str, name: &str, path: &Path) -> NewArgs {
        NewArgs {
            kind: kind.into(),
            name: name.into(),
            path: Some(path.to_owned()),
            contract: None,
        }
    }

    #[test]
    fn a_project_of_each_kind_is_whole_and_names_its_driver() {
        let root = tempfile::tempdir().unwrap();
        for (kind, _) in KINDS {
            let folder = root.path().join(kind);
            new(&args(kind, "my-own", &folder)).unwrap();
            for file in ["Cargo.toml", "README.md", "src/lib.rs"] {
                let text = fs::read_to_string(folder.join(file)).unwrap();
                assert!(text.contains("my-own"), "{kind} {file}");
                for mark in ["@kind@", "@name@", "@lib@", "@contract@"] {
                    assert!(!text.contains(mark), "{kind} {file}: {mark}");
                }
            }
            assert!(new(&args(kind, "my-own", &folder)).is_err(), "a folder that is there");
        }
    }

    #[test]
    fn a_kind_or_a_name_that_cannot_be_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("x");
        for (kind, name) in [
            ("exec", "a"),
            ("volume", ""),
            ("volume", "../a"),
            ("volume", "A"),
            ("volume", "a-"),
        ] {
            assert!(new(&args(kind, name, &folder)).is_err(), "{kind} {name:?}");
            assert!(!folder.exists(), "{kind} {name:?}");
        }
    }
}
