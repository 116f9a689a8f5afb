//! Whether a driver may run here: where its file comes from, and what it wants that is not its own.
//!
//! A bundled driver is part of the release and gets what its manifest asks for. Any other file loads
//! only when its path and `isolation = "in-process"` stand in config, because its code is root in
//! this process; and it gets the grants that stand there.

use crate::manifest::Manifest;
use crate::refusal::{Fault, Problem};

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the folder of components.
    Bundled,
    /// From a path that somebody wrote down.
    Explicit {
        /// Whether its code may run in this process (`isolation = "in-process"`).
        in_process: bool,
        /// What it may use that is not its own.
        grants: Vec<String>,
    },
}

/// The grants that exist; those with a colon at the end take a word.
const GRANTS: [&str; 8] = [
    "fs:",
    "device:",
    "remote:",
    "host-path",
    "made-mounts",
    "programs",
    "secrets",
    "net:",
];

/// Checks the manifest against the origin.
pub(crate) fn check(manifest: &Manifest, origin: &Origin) -> Result<(), Fault> {
    if let Some(unknown) = manifest.grants.iter().find(|grant| !is_known(grant)) {
        return Err(Fault::new(
            Problem::Policy,
            format_args!("it asks for the grant {unknown:?}, which this host does not know"),
            "use a newer host, or an older build of the driver",
        ));
    }
    if !manifest.transports.iter().any(|transport| transport == "dylib") {
        return Err(Fault::new(
            Problem::Policy,
            format_args!(
                "it is not made to run as a library (transports: {})",
                manifest.transports.join(", ")
            ),
            "build it with \"dylib\" among the transports of export!",
        ));
    }
    let Origin::Explicit { in_process, grants } = origin else {
        return Ok(());
    };
    let section = format!("[plugin.{}]", manifest.label());
    if !in_process {
        return Err(Fault::new(
            Problem::Policy,
            "it is no part of this release, and its code would run as this process",
            format!("write isolation = \"in-process\" under {section} if you trust it"),
        ));
    }
    let missing: Vec<_> = manifest.grants.iter().filter(|grant| !grants.contains(grant)).collect();
    if !missing.is_empty() {
        return Err(Fault::new(
            Problem::Policy,
            format_args!("it asks for the grants {missing:?}, which it has not"),
            format!(
                "write grants = {:?} under {section} if it shall have them",
                manifest.grants
            ),
        ));
    }
    Ok(())
}

fn is_known(grant: &str) -> bool {
    GRANTS.iter().any(|known| match known.strip_suffix(':') {
        Some(_) => grant.strip_prefix(known).is_some_and(|word| !word.is_empty()),
        None => grant == *known,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::manifest::KindRange;

    fn manifest(grants: &[&str]) -> Manifest {
        Manifest {
            abi: 1,
            name: "mine".into(),
            version: "1".into(),
            kinds: vec![KindRange {
                kind: "graph".into(),
                from: 0,
                to: 0,
            }],
            panic: "unwind".into(),
            core: "0".into(),
            target: String::new(),
            transports: vec!["dylib".into()],
            grants: grants.iter().map(|grant| (*grant).into()).collect(),
            programs: vec![],
        }
    }

    fn explicit(in_process: bool, grants: &[&str]) -> Origin {
        Origin::Explicit {
            in_process,
            grants: grants.iter().map(|grant| (*grant).into()).collect(),
        }
    }

    #[test]
    fn a_bundled_driver_gets_what_it_asks_for() {
        assert!(check(&manifest(&["fs:overlay", "host-path"]), &Origin::Bundled).is_ok());
    }

    #[test]
    fn another_file_needs_isolation_and_grants_and_is_told_so() {
        let fault = check(&manifest(&[]), &explicit(false, &[])).unwrap_err();
        assert!(fault.remedy.contains("[plugin.graph-mine]"), "{}", fault.remedy);
        let fault = check(&manifest(&["secrets"]), &explicit(true, &["host-path"])).unwrap_err();
        assert!(fault.what.contains("secrets"), "{}", fault.what);
        assert!(check(&manifest(&["secrets"]), &explicit(true, &["secrets"])).is_ok());
    }

    #[test]
    fn an_unknown_grant_is_refused_for_a_bundled_driver_too() {
        for grant in ["everything", "fs:", ""] {
            assert!(check(&manifest(&[grant]), &Origin::Bundled).is_err(), "{grant:?}");
        }
    }
}
