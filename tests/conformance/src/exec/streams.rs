//! Standard streams and terminals.

use std::os::fd::{AsFd as _, OwnedFd};

use serde_json::json;

use super::container::{Container, inner, pid, pipe, read, read_until, signal, wait, write};
use super::helper::{Bench, Streams};
use super::{Result, differs, same};
use crate::{CaseResult, check};

pub(crate) fn stdout_and_stderr_stay_apart(bench: &Bench) -> CaseResult {
    let ran = bench.script("echo out; echo err >&2")?.run()?;
    same("stdout", ran.out, "out\n")?;
    same("stderr", ran.err, "err\n")
}

pub(crate) fn without_stdin_the_entry_reads_end_of_file(bench: &Bench) -> CaseResult {
    same("the output", bench.script("cat; echo end")?.output()?, "end\n")
}

pub(crate) fn closing_stdin_is_seen(bench: &Bench) -> CaseResult {
    let container = bench.script("cat; echo end")?;
    let ((theirs, stdin), (out, stdout), (_err, stderr)) = (pipe()?, pipe()?, pipe()?);
    let streams = Streams::Pipes {
        stdin: Some(theirs),
        stdout,
        stderr,
    };
    let (created, _) = container.create_with(streams)?;
    container.start()?;
    write(&stdin, b"in\n")?;
    drop(stdin);
    same("the output", read(&out)?, "in\nend\n")?;
    same("the exit status", wait(pid(&created.init))?, 0)
}

pub(crate) fn end_of_file_comes_when_init_ends(bench: &Bench) -> CaseResult {
    // Its children die with it, and with them the last writer.
    same("the output", bench.script("sleep 1000 & echo x")?.run()?.out, "x\n")
}

/// Creates it with a terminal: what the shim waits for, init, and the master.
fn with_terminal(container: &Container<'_>, rows: u16, columns: u16) -> Result<(u32, u32, OwnedFd)> {
    let (created, master) = container.create_with(Streams::Terminal { rows, columns })?;
    let master = master.ok_or_else(|| differs("no master came with the answer"))?;
    Ok((pid(&created.init), inner(&created.init)?, master))
}

pub(crate) fn a_terminal_is_the_controlling_one(bench: &Bench) -> CaseResult {
    let container = bench.script("tty; test -c /dev/console && echo x > /dev/tty && stty size; exit 5")?;
    let (child, _, master) = with_terminal(&container, 24, 132)?;
    container.start()?;
    let text = read_until(&master, "24 132")?;
    check(text.contains("/dev/pts/0") && text.contains('x'), || {
        format!("it saw {text:?}")
    })?;
    same("the exit status", wait(child)?, 5)
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) -> CaseResult {
    let mut size = rustix::termios::tcgetwinsize(master.as_fd()).map_err(std::io::Error::from)?;
    (size.ws_row, size.ws_col) = (rows, columns);
    Ok(rustix::termios::tcsetwinsize(master.as_fd(), size).map_err(std::io::Error::from)?)
}

pub(crate) fn resize_is_seen(bench: &Bench) -> CaseResult {
    // The shell acts on a signal when its command has ended.
    let container = bench.script("trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.01; done")?;
    let (child, _, master) = with_terminal(&container, 24, 80)?;
    container.start()?;
    read_until(&master, "ready")?;
    resize(&master, 50, 90)?;
    read_until(&master, "50 90")?;
    same("the exit status", wait(child)?, 3)
}

pub(crate) fn resize_before_start_is_kept(bench: &Bench) -> CaseResult {
    let container = bench.script("stty size")?;
    let (child, _, master) = with_terminal(&container, 24, 80)?;
    let size = rustix::termios::tcgetwinsize(master.as_fd()).map_err(std::io::Error::from)?;
    same("the size", (size.ws_row, size.ws_col), (24, 80))?;
    resize(&master, 50, 80)?;
    container.start()?;
    read_until(&master, "50 80")?;
    same("the exit status", wait(child)?, 0)
}

pub(crate) fn ctrl_c_interrupts_the_foreground(bench: &Bench) -> CaseResult {
    let container = bench.script("trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done")?;
    let (child, init, master) = with_terminal(&container, 0, 0)?;
    container.start()?;
    read_until(&master, "ready")?;
    write(&master, &[3])?;
    let code = wait(child);
    if code.is_err() {
        signal(init, 9)?;
    }
    same("the exit status", code?, 9)
}

pub(crate) fn a_terminal_belongs_to_the_entrys_user(bench: &Bench) -> CaseResult {
    let mut container = bench.script("echo opened > $(tty); echo done")?;
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
    let (child, _, master) = with_terminal(&container, 24, 80)?;
    container.start()?;
    let text = read_until(&master, "done")?;
    check(text.contains("opened"), || {
        format!("it could not open its terminal: {text:?}")
    })?;
    same("the exit status", wait(child)?, 0)
}
