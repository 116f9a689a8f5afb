//! Whether a driver may run here: where its file comes from, and what it wants that is not its own.
//!
//! A bundled driver is part of the release and gets what its manifest asks for. Any other library is
//! loaded into this process only when `isolation = "in-process"` stands in config, because its code is
//! root there; and it gets the grants that stand there. In a process of its own, or as a component, it
//! needs its grants alone. A driver that runs containers is always a library: the shim loads it.

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
const GRANTS: [&str; 9] = [
    // It changes what lies beneath its root by itself, as root.
    "acts",
    "fs:",
    "device:",
    "remote:",
    "host-path",
    "made-mounts",
    "programs",
    "secrets",
    "net:",
];

/// How a file's code is run, as manifests write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A library in this process.
    Dylib,
    /// A library in a process of its own.
    Process,
    /// A component in a sandbox.
    #[cfg_attr(not(feature = "wasm"), allow(dead_code, reason = "nothing runs components then"))]
    Wasm,
}

impl Transport {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dylib => "dylib",
            Self::Process => "process",
            Self::Wasm => "wasm",
        }
    }

    /// What a file run so is, for people.
    fn form(self) -> &'static str {
        match self {
            Self::Dylib => "a library",
            Self::Process => "a library in a process of its own",
            Self::Wasm => "a component",
        }
    }
}

/// Checks the manifest against the origin and the transport that shall run it.
pub(crate) fn check(manifest: &Manifest, origin: &Origin, transport: Transport) -> Result<(), Fault> {
    if let Some(unknown) = manifest.grants.iter().find(|grant| !is_known(grant)) {
        return Err(Fault::new(
            Problem::Policy,
            format_args!("it asks for the grant {unknown:?}, which this host does not know"),
            "use a newer host, or an older build of the driver",
        ));
    }
    // A library serves in a process of its own as it is.
    let fits = |word: &String| {
        word == transport.as_str() || transport == Transport::Process && word == Transport::Dylib.as_str()
    };
    if !manifest.transports.iter().any(fits) {
        return Err(Fault::new(
            Problem::Policy,
            format_args!(
                "it is not made to run as {} (transports: {})",
                transport.form(),
                manifest.transports.join(", ")
            ),
            format!("build it with {:?} among the transports of export!", transport.as_str()),
        ));
    }
    let section = format!("[plugin.{}]", manifest.label());
    if manifest.kind() == longshore_core::exec::KIND && transport != Transport::Dylib {
        return Err(Fault::new(
            Problem::Policy,
            format_args!(
                "a driver that runs containers is loaded by each container's shim, not as {}",
                transport.form()
            ),
            format!("write isolation = \"in-process\" under {section} if you trust it"),
        ));
    }
    let Origin::Explicit { in_process, grants } = origin else {
        return Ok(());
    };
    if transport == Transport::Dylib && !in_process {
        return Err(Fault::new(
            Problem::Policy,
            "it is no part of this release, and its code would run as this process",
            format!("write isolation = \"process\" under {section}, or \"in-process\" if you trust it"),
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
        assert!(
            check(
                &manifest(&["fs:overlay", "host-path"]),
                &Origin::Bundled,
                Transport::Dylib
            )
            .is_ok()
        );
    }

    #[test]
    fn another_file_needs_isolation_and_grants_and_is_told_so() {
        let fault = check(&manifest(&[]), &explicit(false, &[]), Transport::Dylib).unwrap_err();
        assert!(fault.remedy.contains("[plugin.graph-mine]"), "{}", fault.remedy);
        let fault = check(
            &manifest(&["secrets"]),
            &explicit(true, &["host-path"]),
            Transport::Dylib,
        )
        .unwrap_err();
        assert!(fault.what.contains("secrets"), "{}", fault.what);
        assert!(check(&manifest(&["secrets"]), &explicit(true, &["secrets"]), Transport::Dylib).is_ok());
    }

    #[test]
    fn a_component_needs_its_grants_and_no_trust_in_its_code() {
        let component = |grants: &[&str]| Manifest {
            transports: vec!["wasm".into()],
            ..manifest(grants)
        };
        assert!(check(&component(&[]), &explicit(false, &[]), Transport::Wasm).is_ok());
        assert!(check(&component(&["host-path"]), &explicit(false, &[]), Transport::Wasm).is_err());
        let fault = check(&component(&[]), &Origin::Bundled, Transport::Dylib).unwrap_err();
        assert!(fault.what.contains("transports: wasm"), "{}", fault.what);
    }

    #[test]
    fn an_unknown_grant_is_refused_for_a_bundled_driver_too() {
        for grant in ["everything", "fs:", ""] {
            assert!(
                check(&manifest(&[grant]), &Origin::Bundled, Transport::Dylib).is_err(),
                "{grant:?}"
            );
        }
    }
}
