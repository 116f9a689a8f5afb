//! What a shim that was killed leaves behind: processes of its exec driver, which would go on making
//! what whoever cleans up has just removed. A container's own processes are not among them; they are
//! in its cgroup.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_core::{Error, Result};
use longshore_sys::event::{self, Ready};
use longshore_sys::process;

use crate::files::Identity;

/// How long the killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// The fields of `/proc/<pid>/stat` (proc_pid_stat(5)) that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    session: u32,
}

impl Stat {
    fn of(number: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
    }

    /// The second field may hold blanks and brackets, so counting begins after the last bracket.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            session: fields.nth(2)?.parse().ok()?,
        })
    }
}

/// Whether a process runs the shim's program. One that has ended runs none. A shim lets nobody look into
/// it; without the privilege to look all the same, its session tells enough.
fn runs_the_shim(number: i32) -> bool {
    match std::fs::read_link(format!("/proc/{number}/exe")) {
        Ok(program) => is_the_shim(&program),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// The program's file, or the sealed copy of it in memory. A file that was replaced is called deleted.
fn is_the_shim(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    name == "longshore-shim" || name == "memfd:longshore-shim"
}

/// Whether a process is of the session that this shim began, and still the shim's program.
fn is_of(number: i32, identity: &Identity) -> bool {
    Stat::of(number).is_some_and(|stat| stat.session == identity.pid && !matches!(stat.state, 'Z' | 'X'))
        && runs_the_shim(number)
}

/// Ends a shim, if it still runs, and every process that it forked for its driver. Returns when they
/// are gone.
///
/// # Errors
/// `Unavailable` when one of them does not end although it was killed.
pub fn end(identity: &Identity) -> Result<()> {
    let failed = |error: longshore_sys::Error| Error::io("end what a shim left running", &error.into());
    if identity.boot_id != process::boot().map_err(failed)? {
        return Ok(());
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let number = i32::try_from(identity.pid).unwrap_or(0);
        match process::start_time(number) {
            // A session's number is not given away while one of its processes runs.
            Ok(start) if start != identity.start_time => return Ok(()),
            _ => {}
        }
        let mut none = true;
        for number in numbers() {
            // The descriptor comes first: what is looked at then is what is killed.
            if let Ok(pidfd) = process::open(number)
                && is_of(number, identity)
            {
                none = false;
                let _ = process::signal(&pidfd, SIGKILL);
                let left = until.saturating_duration_since(Instant::now());
                event::poll(&[(pidfd.as_fd(), Ready::READ)], Some(left)).map_err(failed)?;
            }
        }
        // One that was forked while this looked may have been missed.
        if none {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::unavailable(format!(
                "a process that the shim {} left does not end although it was killed: it waits in the kernel; look for state D in ps",
                identity.pid
            )));
        }
    }
}

/// The numbers of all processes.
fn numbers() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_session_are_found_behind_any_name() {
        for (text, expected) in [
            ("12 (true) S 1 2 3 0 -1", Some(('S', 3))),
            ("12 (x) R 1 (y) Z 2 4 5 0", Some(('Z', 5))),
            ("12 (true) S 1", None),
            ("", None),
        ] {
            let stat = Stat::parse(text).map(|stat| (stat.state, stat.session));
            assert_eq!(stat, expected, "{text}");
        }
    }

    #[test]
    fn the_shims_program_is_known_by_its_file_and_by_its_sealed_copy() {
        for (program, expected) in [
            ("/memfd:longshore-shim (deleted)", true),
            ("/usr/lib/longshore/longshore-shim", true),
            ("/usr/lib/longshore/longshore-shim (deleted)", true),
            ("/usr/bin/longshored", false),
            ("/bin/sh", false),
        ] {
            assert_eq!(is_the_shim(Path::new(program)), expected, "{program}");
        }
    }

    #[test]
    fn what_is_of_another_boot_or_another_process_by_now_is_not_touched() -> Result<()> {
        let this = Identity::of_this_process()?;
        for other in [
            Identity {
                boot_id: "another".into(),
                ..this.clone()
            },
            Identity {
                start_time: this.start_time + 1,
                ..this.clone()
            },
        ] {
            end(&other)?;
        }
        // This process is no shim: nothing of its session is one either.
        end(&this)
    }
}
