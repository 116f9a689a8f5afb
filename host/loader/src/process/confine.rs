//! What a driver may do in its own process: decided by the grants that its manifest asks for and the
//! policy gives, put in force before any of its code runs.
//!
//! A driver without grants that need rights of the system runs as nobody, without capabilities,
//! sockets, programs, mounts or new processes. It is no sandbox as a component's is: it shares the
//! kernel's other calls, and may read what everybody may read.

use longshore_sys::confine::{self, Calls, Capability, Limits};
use longshore_sys::process;

use super::cgroup;

/// Address space; also what a driver that allocates without end is stopped by where cgroups do not.
const MEMORY: u64 = 4 << 30;
const FILES: u64 = 1024;
/// Threads and processes of its user, whose name others may use too.
const THREADS: u64 = 512;

/// Of the root user's rights, those over files.
const OVER_FILES: [Capability; 6] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Mknod,
    Capability::Setfcap,
];

/// What a driver keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Root, with these; else nobody, with none.
    pub(super) root: Option<Vec<Capability>>,
    pub(super) calls: Calls,
}

impl Rights {
    /// What the grants stand for.
    pub(super) fn of(grants: &[String]) -> Self {
        let has = |word: &str| grants.iter().any(|grant| grant == word);
        let has_any = |prefix: &str| grants.iter().any(|grant| grant.starts_with(prefix));
        let system = has_any("device:") || has("made-mounts");
        let root = (system || has("acts")).then(|| {
            let mut kept = OVER_FILES.to_vec();
            if system {
                kept.push(Capability::SysAdmin);
            }
            kept
        });
        Self {
            root,
            calls: Calls {
                sockets: !has_any("net:"),
                mounts: !system,
            },
        }
    }

    /// Gives up everything else, for ever.
    pub(super) fn confine(&self, group: Option<&str>) -> Result<(), longshore_sys::Error> {
        if let Some(group) = group {
            cgroup::enter(group);
        }
        confine::limit(Limits {
            memory: MEMORY,
            files: FILES,
            threads: THREADS,
        })?;
        let is_root = process::effective_owner().0 == 0;
        if is_root && self.root.is_none() {
            confine::become_nobody()?;
        }
        confine::keep_capabilities(self.root.as_deref().unwrap_or_default())?;
        confine::forbid_calls(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grants: &[&str]) -> Rights {
        Rights::of(&grants.iter().map(|grant| (*grant).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_pure_driver_keeps_nothing_and_each_grant_gives_its_own() {
        let none = Calls {
            sockets: true,
            mounts: true,
        };
        for pure in [of(&[]), of(&["fs:overlay", "host-path", "programs"])] {
            assert_eq!((pure.root, pure.calls), (None, none));
        }
        let acting = of(&["acts"]);
        assert!(acting.root.is_some_and(|kept| !kept.contains(&Capability::SysAdmin)));
        assert_eq!(acting.calls, none);
        let devices = of(&["device:dm"]);
        assert!(devices.root.is_some_and(|kept| kept.contains(&Capability::SysAdmin)));
        assert!(!devices.calls.mounts && devices.calls.sockets);
        let network = of(&["net:registry"]);
        assert!(network.root.is_none() && !network.calls.sockets);
    }
}
