//! The init of `run --init`: process 1 of a container that starts one command, forwards signals to
//! it, reaps every orphan, and ends with the command's exit code.
//!
//! It is linked statically and bound read-only into the container, so it may use nothing of the
//! image: no library, no shell, no file. It knows nothing of Longshore; the engine puts it before
//! the command line, as `longshore-init -- COMMAND ARGUMENTS`.
#![forbid(unsafe_code)]

mod command;
mod signals;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use command::Command;

/// What a shell answers when a command could not be started, as Docker does.
const CANNOT_START: u8 = 126;
/// The command is not there.
const NOT_FOUND: u8 = 127;
/// Our own failure, before any command was started.
const OWN_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments == ["--version"] {
        // An image without a shell can run this: it shows that a container ran at all.
        let _ = writeln!(std::io::stdout(), "longshore-init {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "longshore-init: {}", failure.sentence);
            ExitCode::from(failure.code)
        }
    }
}

/// Why no command ran.
#[derive(Debug)]
struct Failure {
    sentence: String,
    code: u8,
}

fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    let own = |doing: &str, error: nix::Error| Failure {
        sentence: format!("{doing}: {}", error.desc()),
        code: OWN_FAILURE,
    };
    let command = Command::parse(arguments).map_err(|sentence| Failure {
        sentence,
        code: OWN_FAILURE,
    })?;
    if std::process::id() != 1 {
        // Without a process namespace of our own, orphans would go to someone else.
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| own("become the reaper of orphans", e))?;
    }
    // Blocked before the command exists, so that no signal is lost between its start and our first look.
    let queue = signals::Queue::open().map_err(|e| own("take over the signals", e))?;
    let child = command.spawn().map_err(|error| Failure {
        sentence: format!("start {}: {}", command.name(), error.desc()),
        code: if error == nix::Error::ENOENT {
            NOT_FOUND
        } else {
            CANNOT_START
        },
    })?;
    queue.serve(child).map_err(|e| own("wait for the command", e))
}
