//! Standard streams and terminals.

use std::os::fd::{AsFd as _, OwnedFd};

use longshore_plugin::Context;
use longshore_plugin::exec::Stdio;
use longshore_plugin::wire::HandleKind;
use serde_json::json;

use crate::fixture::{Container, pid, pipe, read, read_until, wait};
use crate::{Case, cases};

pub(crate) const CASES: &[Case] = cases![
    root_stdout_and_stderr_stay_apart,
    root_without_stdin_the_entry_reads_end_of_file,
    root_closing_stdin_is_seen,
    root_end_of_file_comes_when_init_ends,
    root_a_terminal_is_the_controlling_one,
    root_resize_before_start_is_kept,
    root_ctrl_c_interrupts_the_foreground,
    root_a_terminal_belongs_to_the_entrys_user,
];

fn root_stdout_and_stderr_stay_apart() {
    let ran = Container::script("echo out; echo err >&2").run();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
}

fn root_without_stdin_the_entry_reads_end_of_file() {
    assert_eq!(Container::script("cat; echo end").output(), "end\n");
}

fn root_closing_stdin_is_seen() {
    let container = Container::script("cat; echo end");
    let ((stdin_end, stdin), (out, out_end), (_err, err_end)) = (pipe(), pipe(), pipe());
    let cx = Context::background();
    let stdio = Stdio::Pipes {
        stdin: Some(cx.give(HandleKind::Pipe, stdin_end).unwrap()),
        stdout: cx.give(HandleKind::Pipe, out_end).unwrap(),
        stderr: cx.give(HandleKind::Pipe, err_end).unwrap(),
    };
    let init = pid(container.create_with(&cx, stdio).unwrap().init);
    container.start().unwrap();
    rustix::io::write(&stdin, b"in\n").unwrap();
    drop(stdin);
    assert_eq!(read(out), "in\nend\n");
    assert_eq!(wait(init), 0);
}

fn root_end_of_file_comes_when_init_ends() {
    // Its children die with it, and with them the last writer.
    let ran = Container::script("sleep 1000 & echo x").run();
    assert_eq!(ran.out, "x\n");
}

fn with_terminal(container: &Container, rows: u16, columns: u16) -> (u32, OwnedFd) {
    let cx = Context::background();
    let created = container.create_with(&cx, Stdio::Terminal { rows, columns }).unwrap();
    let master = cx.take(created.terminal.unwrap()).unwrap();
    (pid(created.init), master)
}

fn root_a_terminal_is_the_controlling_one() {
    let container = Container::script("tty; test -c /dev/console && echo x > /dev/tty && stty size; exit 5");
    let (init, master) = with_terminal(&container, 24, 132);
    container.start().unwrap();
    let text = read_until(&master, "24 132");
    assert!(text.contains("/dev/pts/0") && text.contains('x'), "{text:?}");
    assert_eq!(wait(init), 5);
}

fn root_resize_before_start_is_kept() {
    let container = Container::script("stty size");
    let (init, master) = with_terminal(&container, 24, 80);
    let mut size = rustix::termios::tcgetwinsize(master.as_fd()).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (24, 80));
    size.ws_row = 50;
    rustix::termios::tcsetwinsize(master.as_fd(), size).unwrap();
    container.start().unwrap();
    read_until(&master, "50 80");
    assert_eq!(wait(init), 0);
}

fn root_ctrl_c_interrupts_the_foreground() {
    let container = Container::script("trap 'exit 9' INT; echo ready; while :; do sleep 1; done");
    let (init, master) = with_terminal(&container, 0, 0);
    container.start().unwrap();
    read_until(&master, "ready");
    rustix::io::write(&master, &[3]).unwrap();
    assert_eq!(wait(init), 9);
}

fn root_a_terminal_belongs_to_the_entrys_user() {
    let mut container = Container::script("echo opened > $(tty); echo done");
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
    let (init, master) = with_terminal(&container, 24, 80);
    container.start().unwrap();
    assert!(read_until(&master, "done").contains("opened"));
    assert_eq!(wait(init), 0);
}
