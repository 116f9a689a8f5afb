//! The built binary as a process: exit codes, forwarded signals, orphans.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ends the process also when an assertion fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn init(script: &str) -> Running {
    Running(
        Command::new(env!("CARGO_BIN_EXE_longshore-init"))
            .args(["--", "/bin/sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

fn code(arguments: &[&str]) -> Option<i32> {
    Command::new(env!("CARGO_BIN_EXE_longshore-init"))
        .args(arguments)
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .code()
}

#[test]
fn the_command_s_exit_code_is_its_own() {
    assert_eq!(code(&["--", "/bin/sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(137));
}

#[test]
fn a_command_that_cannot_start_gives_126_and_a_missing_one_127() {
    assert_eq!(code(&["--", "/no/such/command"]), Some(127));
    assert_eq!(code(&["--", "/etc/passwd"]), Some(126));
    assert_eq!(code(&["--"]), Some(125));
}

#[test]
fn signals_reach_the_command() {
    let mut running = init("trap 'echo got; exit 9' TERM; echo ready; while :; do read line || sleep 1; done");
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(running.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    // The shell sees its trap when `read` returns.
    writeln!(running.0.stdin.take().unwrap()).unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "got\n");
    assert_eq!(running.0.wait().unwrap().code(), Some(9));
}

#[test]
fn orphans_are_reaped_and_nothing_is_blocked_in_the_command() {
    let mut running = init(
        "sh -c 'sh -c \"exit 0\" & exit 0'; sleep 0.2; \
         while read line; do case \"$line\" in Sig[BI]*) echo \"$line\";; esac; done < /proc/$$/status; \
         for p in /proc/[0-9]*; do read s < $p/stat 2>/dev/null || continue; \
         case \"$s\" in *') Z '\"$PPID\"' '*) echo zombie;; esac; done",
    );
    let mut text = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(running.0.wait().unwrap().success());
    assert!(!text.contains("zombie"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    // Rust's start-up code ignores SIGPIPE; others may be ignored by whoever runs the tests.
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored & (1 << (Signal::SIGPIPE as u32 - 1)), 0, "{text}");
}
