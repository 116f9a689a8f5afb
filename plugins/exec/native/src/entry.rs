//! What runs in the container, as the library's executor.
//!
//! The library's own one wants `PATH` in the environment, refuses files that only their owner may
//! execute, hands a file of unknown format to a shell, reorders the environment, and loses the
//! system's number. A process that joins a running container gets from the library neither its
//! filter of system calls nor exact capability sets together with one: [`Confine`] does both.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libcontainer::capabilities::drop_privileges;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Process, Spec};
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use longshore_plugin::{Error, Result};
use nix::errno::Errno;
use rustix::fs::{Access, CWD, Uid, accessat};
use rustix::termios::Winsize;

use crate::failure::MARK;
use crate::spec;

/// Where commands are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with its environment, exactly as given.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    name: String,
    args: Vec<CString>,
    env: Vec<CString>,
    path: String,
    joining: Option<Confine>,
}

/// What a process that joins must have put on itself.
#[derive(Debug, Clone)]
struct Confine {
    seccomp: Option<LinuxSeccomp>,
    capabilities: LinuxCapabilities,
    no_new_privileges: bool,
    terminal: Option<Terminal>,
}

/// What the terminal of a process that joins must be before it runs: unlike init it does not wait
/// until the caller has the master.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) owner: u32,
}

impl Terminal {
    fn prepare(self) {
        let size = Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // The caller does both again with the master, and tells when it cannot.
        let _ = rustix::termios::tcsetwinsize(std::io::stdin(), size);
        let _ = rustix::fs::fchown(std::io::stdin(), Some(Uid::from_raw(self.owner)), None);
    }
}

fn text(value: &str, field: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::invalid(format!("process.{field} holds a zero byte")))
}

impl Entry {
    /// Init's.
    pub(crate) fn of(process: &Process) -> Result<Self> {
        let args = process.args().clone().unwrap_or_default();
        let env = process.env().clone().unwrap_or_default();
        let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH="));
        Ok(Self {
            name: args.first().cloned().unwrap_or_default(),
            path: path.unwrap_or(DEFAULT_PATH).to_owned(),
            args: args.iter().map(|arg| text(arg, "args")).collect::<Result<_>>()?,
            env: env.iter().map(|pair| text(pair, "env")).collect::<Result<_>>()?,
            joining: None,
        })
    }

    /// That of a process which joins a container with this filter.
    pub(crate) fn joining(
        process: &Process,
        seccomp: Option<LinuxSeccomp>,
        terminal: Option<Terminal>,
    ) -> Result<Self> {
        let confine = Confine {
            seccomp,
            capabilities: spec::said(process.capabilities().clone()),
            no_new_privileges: process.no_new_privileges() == Some(true),
            terminal,
        };
        Ok(Self {
            joining: Some(confine),
            ..Self::of(process)?
        })
    }

    /// The files to try, in order.
    fn candidates(&self) -> Vec<PathBuf> {
        if self.name.contains('/') {
            return vec![PathBuf::from(&self.name)];
        }
        let folder = |part: &str| {
            if part.is_empty() {
                PathBuf::from(".")
            } else {
                PathBuf::from(part)
            }
        };
        self.path.split(':').map(|part| folder(part).join(&self.name)).collect()
    }

    /// Whether one of the files can be run, as far as can be told without running it.
    fn look(&self) -> std::result::Result<(), String> {
        let mut worst = Errno::ENOENT;
        for file in self.candidates() {
            match runnable(&file) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOENT) => {}
                Err(number) => worst = number,
            }
        }
        Err(self.sentence(worst))
    }

    fn sentence(&self, number: Errno) -> String {
        let why = match number {
            Errno::ENOENT if !self.name.contains('/') => "executable file not found in $PATH",
            Errno::ENOENT => "no such file or directory",
            Errno::EACCES => "permission denied",
            other => other.desc(),
        };
        format!("{MARK}{} exec: {:?}: {why}", number as i32, self.name)
    }

    /// Runs the first file that can be run; returns only when none could.
    fn run(&self) -> Errno {
        let mut worst = Errno::ENOENT;
        for file in self.candidates() {
            let Ok(path) = CString::new(file.as_os_str().as_bytes()) else {
                continue;
            };
            match nix::unistd::execve(&path, &self.args, &self.env) {
                Ok(never) => match never {},
                Err(Errno::ENOENT | Errno::ENOTDIR) if !self.name.contains('/') => {}
                Err(Errno::EACCES) => worst = Errno::EACCES,
                Err(number) => return number,
            }
        }
        worst
    }
}

/// Whether the kernel would run it. A filter that forbids asking leaves the answer to `execve`.
fn runnable(file: &Path) -> std::result::Result<(), Errno> {
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
            Errno::EPERM | Errno::ENOSYS => return Ok(()),
            number => return Err(number),
        },
    };
    if !metadata.is_file() {
        return Err(Errno::EACCES);
    }
    match accessat(CWD, file, Access::EXEC_OK, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSYS) => Ok(()),
        Err(number) => Err(Errno::from_raw(number.raw_os_error())),
    }
}

impl Confine {
    /// Loads the filter and drops the capabilities: the filter first, because without
    /// no_new_privs only a capability lets it load.
    fn put_on(&self) -> std::result::Result<(), String> {
        if !self.no_new_privileges {
            self.filter()?;
        }
        drop_privileges(&self.capabilities, &*create_syscall())
            .map_err(|e| format!("cannot drop capabilities: {e:?}"))?;
        if self.no_new_privileges {
            self.filter()?;
        }
        Ok(())
    }

    fn filter(&self) -> std::result::Result<(), String> {
        match &self.seccomp {
            Some(profile) => initialize_seccomp(profile)
                .map(drop)
                .map_err(|e| format!("cannot load the filter: {e:?}")),
            None => Ok(()),
        }
    }
}

impl Executor for Entry {
    fn validate(&self, _: &Spec) -> std::result::Result<(), ExecutorValidationError> {
        if let Some(confine) = &self.joining {
            if let Some(terminal) = confine.terminal {
                terminal.prepare();
            }
            confine.put_on().map_err(ExecutorValidationError::ArgValidationError)?;
        }
        self.look().map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> std::result::Result<(), ExecutorSetEnvsError> {
        // `run` passes the environment as it was given.
        Ok(())
    }

    fn exec(&self, _: &Spec) -> std::result::Result<(), ExecutorError> {
        let number = self.run();
        if self.joining.is_some() {
            return Err(ExecutorError::Other(self.sentence(number)));
        }
        // Nobody listens any more: the status tells, as a shell's would.
        eprintln!("exec {}: {}", self.name, number.desc());
        std::process::exit(if matches!(number, Errno::ENOENT | Errno::ENOTDIR) {
            127
        } else {
            126
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn entry(name: &str, env: &[&str]) -> Entry {
        let process = serde_json::json!({ "args": [name], "env": env, "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        Entry::of(&serde_json::from_value(process).unwrap()).unwrap()
    }

    #[test]
    fn commands_are_looked_for_as_a_shell_does() {
        assert_eq!(entry("/a/b", &[]).candidates(), [PathBuf::from("/a/b")]);
        assert_eq!(entry("a/b", &["PATH=/x"]).candidates(), [PathBuf::from("a/b")]);
        let both = entry("sh", &["PATH=/x::/y"]).candidates();
        assert_eq!(both, ["/x/sh", "./sh", "/y/sh"].map(PathBuf::from));
        assert_eq!(entry("sh", &[]).candidates().len(), 6);
    }

    #[test]
    fn what_cannot_run_says_why() {
        assert!(entry("sh", &["PATH=/bin"]).look().is_ok());
        let table = [
            (
                "no-such-command",
                "errno=2 exec: \"no-such-command\": executable file not found in $PATH",
            ),
            (
                "/no/such/file",
                "errno=2 exec: \"/no/such/file\": no such file or directory",
            ),
            ("/etc/passwd", "errno=13 exec: \"/etc/passwd\": permission denied"),
            ("/etc", "errno=13 exec: \"/etc\": permission denied"),
            ("/etc/passwd/x", "errno=20"),
        ];
        for (name, sentence) in table {
            let said = entry(name, &["PATH=/bin"]).look().unwrap_err();
            assert!(said.contains(sentence), "{said}");
        }
    }
}
