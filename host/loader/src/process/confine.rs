//! What a driver may do in its own process: decided by the grants that its manifest asks for and the
//! policy gives, put in force before any of its code runs.
//!
//! A driver without grants that need rights of the system runs as a user who owns nothing, without capabilities,
//! files, sockets, programs, mounts or new processes: it may read itself and the system's libraries. It
//! is no sandbox as a component's is: it shares the kernel's other calls.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use longshore_sys::confine::{self, Calls, Capability, Limits};
use longshore_sys::{landlock, path, process};

use super::cgroup;

/// Address space; also what a driver that allocates without end is stopped by where cgroups do not.
const MEMORY: u64 = 4 << 30;
const FILES: u64 = 1024;
/// Threads of its user.
const THREADS: u64 = 512;
/// Numbers of users that no account has: systemd takes those of its dynamic users from here too. One of
/// its own for each process, so that none can signal another, or use up its threads.
const USERS: std::ops::Range<u32> = 61184..65520;

/// Where the system's loader finds what a library needs.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
const CACHE: &str = "/etc/ld.so.cache";

/// Of the root user's rights, those over files and file systems.
const OVER_FILES: [Capability; 7] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Mknod,
    Capability::Setfcap,
    Capability::SysAdmin,
];

/// What a driver keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Root, with these; else a user who owns nothing, with none.
    pub(super) root: Option<Vec<Capability>>,
    pub(super) calls: Calls,
}

impl Rights {
    /// What the grants of a driver of that kind and name (`graph-overlay`) stand for.
    pub(super) fn of(label: &str, grants: &[String]) -> Self {
        let has = |word: &str| grants.iter().any(|grant| grant == word);
        let has_any = |prefix: &str| grants.iter().any(|grant| grant.starts_with(prefix));
        let mounts = has_any("device:") || has("made-mounts");
        // Of a network driver they are the kinds of link that the host makes for it.
        let hosts = has_any("net:") && !label.starts_with("network-");
        Self {
            root: (mounts || has("acts")).then(|| OVER_FILES.to_vec()),
            calls: Calls {
                sockets: !hosts,
                mounts: !mounts,
            },
        }
    }

    /// Gives up everything else, for ever, but reading the library itself.
    pub(super) fn confine(&self, group: Option<&str>, library: &OwnedFd) -> Result<(), longshore_sys::Error> {
        if let Some(group) = group {
            cgroup::enter(group);
        }
        confine::limit(Limits {
            memory: MEMORY,
            files: FILES,
            threads: THREADS,
        })?;
        let kept = self.root.as_deref().unwrap_or_default();
        confine::bound_capabilities(kept)?;
        let is_root = process::effective_owner().0 == 0;
        if is_root && self.root.is_none() {
            let count = USERS.end - USERS.start;
            confine::become_user(USERS.start + process::own_number().unsigned_abs() % count)?;
        }
        if self.root.is_none() && self.calls.sockets {
            let mut readable: Vec<OwnedFd> = library.as_fd().try_clone_to_owned().into_iter().collect();
            let places = LIBRARIES
                .iter()
                .filter_map(|place| path::open_directory(Path::new(place)).ok());
            readable.extend(places);
            readable.extend(File::open(CACHE).map(OwnedFd::from));
            // Where the kernel cannot, being another user is what is left.
            landlock::read_only_beneath(&readable)?;
        }
        confine::keep_capabilities(kept)?;
        confine::forbid_calls(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(label: &str, grants: &[&str]) -> Rights {
        Rights::of(
            label,
            &grants.iter().map(|grant| (*grant).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_pure_driver_keeps_nothing_and_each_grant_gives_its_own() {
        let none = Calls {
            sockets: true,
            mounts: true,
        };
        for pure in [
            of("graph-x", &[]),
            of("graph-x", &["fs:overlay", "host-path", "programs"]),
            of("network-x", &["net:bridge"]),
        ] {
            assert_eq!((pure.root, pure.calls), (None, none));
        }
        let acting = of("graph-x", &["acts"]);
        assert!(acting.root.is_some() && acting.calls == none);
        let devices = of("graph-x", &["device:dm"]);
        assert!(devices.root.is_some() && !devices.calls.mounts && devices.calls.sockets);
        let remote = of("volume-x", &["net:registry"]);
        assert!(remote.root.is_none() && !remote.calls.sockets);
    }
}
