//! The command line, and the start of the command.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

/// A command with its arguments, the first of which is its name.
#[derive(Debug)]
pub(crate) struct Command {
    arguments: Vec<CString>,
}

impl Command {
    /// Takes what stands after an optional `--`.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let rest = match arguments.split_first() {
            Some((first, rest)) if first == "--" => rest,
            _ => arguments,
        };
        if rest.is_empty() {
            return Err("no command given; write: longshore-init -- COMMAND [ARGUMENT...]".to_owned());
        }
        let arguments = rest
            .iter()
            .map(|argument| CString::new(argument.as_bytes()).map_err(|_| "an argument holds a zero byte".to_owned()))
            .collect::<Result<_, _>>()?;
        Ok(Self { arguments })
    }

    /// The command's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.arguments
            .first()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Starts the command with no signal blocked and all dispositions at their defaults.
    ///
    /// It stays in our process group: an interactive shell makes its own, and signals of the
    /// terminal reach the whole group by themselves.
    pub(crate) fn spawn(&self) -> nix::Result<Pid> {
        let Some(name) = self.arguments.first() else {
            return Err(nix::Error::ENOENT);
        };
        let mut defaults = SigSet::empty();
        // Rust's start-up code ignores it, and an ignored signal stays ignored across exec.
        defaults.add(Signal::SIGPIPE);
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_sigdefault(&defaults)?;
        posix_spawnp(
            name,
            &PosixSpawnFileActions::init()?,
            &attributes,
            &self.arguments,
            &environment(),
        )
    }
}

/// Our environment, byte for byte.
fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            CString::new(entry).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        Command::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_separator_is_taken_once() {
        assert_eq!(
            parse(&["--", "--", "x"]).unwrap().arguments,
            [c"--".to_owned(), c"x".to_owned()]
        );
        assert_eq!(parse(&["sh", "--", "x"]).unwrap().name(), "sh");
    }

    #[test]
    fn a_missing_command_is_refused_with_the_usage() {
        assert!(parse(&[]).unwrap_err().contains("longshore-init -- COMMAND"));
        assert!(parse(&["--"]).unwrap_err().starts_with("no command given"));
    }
}
