//! `longshore-shim`: the process that owns one container.
//!
//! Started by the engine with one end of a socket pair; everything else comes over it. What the
//! messages mean is in the library of this crate, what the shim does with them in [`shim`].
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use longshore_core::{Error, Result};
use longshore_sys::process;

mod driver;
mod shim;

/// Asks for as little as any process on the machine to be killed for want of memory.
const OOM_SCORE: &str = "-999";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["run", "--fd", number] => run(number),
        ["perform"] => perform_here(),
        ["keep"] => keep(),
        ["--version"] => {
            println!("longshore-shim {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => Err(Error::invalid(
            "longshore-shim is started by the engine: longshore-shim run --fd <number>",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longshore-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(number: &str) -> Result<()> {
    let connection = take_connection(number)?;
    let failed = |error: longshore_sys::Error| Error::io("set up the shim's process", &error.into());
    // Its own process group leader already, when a shell started it: then it is a session of the
    // shell's, which is as good.
    let _ = process::new_session();
    let _ = process::set_name("longshore-shim");
    // What an engine's parents ignored would else be ignored in every container.
    process::reset_signals().map_err(failed)?;
    process::close_on_exec_from(3).map_err(failed)?;
    process::set_child_subreaper().map_err(failed)?;
    process::set_dumpable(false).map_err(failed)?;
    let oom_score = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    // Needs a privilege that is not always there; without it the shim is as likely to go as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    shim::Shim::new(connection, driver::open, oom_score)?.run()
}

/// Serves the container's ports of the loopback link until the shim that started this is gone.
fn keep() -> Result<()> {
    let control = take_connection("0")?;
    let _ = process::set_name("longshore-keep");
    longshore_performer::net::keeper::run(control)
}

/// Builds one mount that may hang, in a process that whoever waits for it may kill.
fn perform_here() -> Result<()> {
    let connection = take_connection("0")?;
    // The engine waits at most so long; without it nobody wants the mount.
    process::set_parent_death_signal(Some(9))
        .and_then(|()| process::reset_signals())
        .and_then(|()| process::close_on_exec_from(3))
        .map_err(|error| Error::io("set up the process of a mount", &error.into()))?;
    let _ = process::set_name("longshore-mount");
    longshore_shim::perform::serve(&connection)
}

/// Takes the connection off its number. Standard input, where the engine puts it, becomes empty.
fn take_connection(number: &str) -> Result<OwnedFd> {
    let failed = |error: &std::io::Error| Error::io(format!("take the connection {number}"), error);
    if number != "0" {
        return Err(Error::invalid(format!(
            "the connection comes as standard input, descriptor 0, not as {number}"
        )));
    }
    let connection = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| failed(&error))?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| failed(&error))?;
    process::replace_standard(&null, 0).map_err(|error| failed(&error.into()))?;
    Ok(connection)
}
