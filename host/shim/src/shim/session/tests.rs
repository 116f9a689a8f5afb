//! The session over real pipes and sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use longshore_sys::{event, socket};

use super::*;

struct Bench {
    session: Session,
    buffer: Vec<u8>,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
}

fn bench(once: bool, log: Option<JsonLog>) -> Bench {
    let mut session = Session::new(log);
    session.prepare(Stdio::Pipes { stdin: true, once }, Instant::now());
    let (theirs_in, ours_in) = std::io::pipe().unwrap();
    let (ours_out, theirs_out) = std::io::pipe().unwrap();
    let (ours_err, theirs_err) = std::io::pipe().unwrap();
    let nonblocking = |fd: OwnedFd| {
        socket::set_nonblocking(&fd, true).unwrap();
        fd
    };
    session.open(Ends {
        stdin: Some(nonblocking(ours_in.into())),
        stdout: Some(nonblocking(ours_out.into())),
        stderr: Some(nonblocking(ours_err.into())),
    });
    Bench {
        session,
        buffer: vec![0; 4096],
        stdin: Some(File::from(OwnedFd::from(theirs_in))),
        stdout: Some(File::from(OwnedFd::from(theirs_out))),
        stderr: Some(File::from(OwnedFd::from(theirs_err))),
    }
}

impl Bench {
    /// Serves what is ready until nothing is.
    fn turn(&mut self) {
        loop {
            let now = Instant::now();
            let (waits, asked): (Vec<_>, Vec<_>) = self
                .session
                .interests(now)
                .into_iter()
                .map(|(waits, fd, ready)| (waits, (fd, ready)))
                .unzip();
            let ready = event::poll(&asked, Some(Duration::ZERO)).unwrap();
            let any = ready.iter().any(|ready| ready.any());
            drop(asked);
            for (waits, ready) in waits.into_iter().zip(ready).filter(|(_, ready)| ready.any()) {
                self.session.ready(waits, ready, true, now, &mut self.buffer);
            }
            if !any {
                return;
            }
        }
    }

    fn attach(&mut self, number: u64, attach: Attach) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.session.attach(number, ours.into(), attach).unwrap();
        theirs
    }

    fn close_output(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }
}

fn all() -> Attach {
    Attach {
        stdin: true,
        stdout: true,
        stderr: true,
        framed: true,
        ..Attach::default()
    }
}

#[test]
fn output_reaches_log_and_clients_and_ends_with_the_streams() {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap();
    let log = JsonLog::open(fd.as_fd(), "log").unwrap();
    let mut bench = bench(true, Some(log));
    let mut client = bench.attach(1, all());
    bench.stdout.as_mut().unwrap().write_all(b"out\n").unwrap();
    bench.turn();
    bench.stderr.as_mut().unwrap().write_all(b"err").unwrap();
    bench.close_output();
    bench.turn();
    assert!(!bench.session.is_open());
    bench.session.finish();
    assert_eq!(bench.session.take_ended(), [(1, EndReason::Finished)]);
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x03err");
    let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains(r#"{"log":"err","stream":"stderr""#));
}

#[test]
fn input_flows_and_half_a_close_ends_it_when_it_ends_once() {
    for once in [true, false] {
        let mut bench = bench(once, None);
        let mut client = bench.attach(1, all());
        client.write_all(b"typed").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        bench.turn();
        let mut stdin = bench.stdin.take().unwrap();
        socket::set_nonblocking(&stdin, true).unwrap();
        let mut seen = [0; 16];
        assert_eq!(stdin.read(&mut seen).unwrap(), 5);
        match stdin.read(&mut seen) {
            Ok(0) => assert!(once),
            other => assert!(!once && other.is_err()),
        }
    }
}

#[test]
fn a_client_that_goes_away_ends_input_that_ends_once() {
    let mut bench = bench(true, None);
    drop(bench.attach(1, all()));
    bench.turn();
    assert_eq!(bench.session.take_ended(), [(1, EndReason::Gone)]);
    assert_eq!(bench.stdin.take().unwrap().read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_lossless_client_makes_the_process_wait_and_another_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap();
    for lossless in [true, false] {
        let log = JsonLog::open(fd.as_fd(), if lossless { "a" } else { "b" }).unwrap();
        let mut bench = bench(true, Some(log));
        let mut client = bench.attach(
            1,
            Attach {
                lossless,
                framed: false,
                ..all()
            },
        );
        let line = format!("{}\n", "x".repeat(1023));
        socket::set_nonblocking(bench.stdout.as_ref().unwrap(), true).unwrap();
        let mut written = 0;
        while written < 8 << 20 {
            match bench.stdout.as_mut().unwrap().write(line.as_bytes()) {
                Ok(count) => written += count,
                Err(_) => {
                    let before = bench.session.log().unwrap().length();
                    bench.turn();
                    if bench.session.log().unwrap().length() == before {
                        break;
                    }
                }
            }
        }
        assert_eq!(written < 8 << 20, lossless);
        assert_eq!(
            bench.session.take_ended(),
            if lossless {
                vec![]
            } else {
                vec![(1, EndReason::SlowReader)]
            }
        );
        if lossless {
            // The end comes while it is still slow: the log is whole, the client gets all of it.
            bench.close_output();
            bench.session.drain(Instant::now(), &mut bench.buffer);
            bench.session.finish();
            let reader = std::thread::spawn(move || {
                let mut seen = Vec::new();
                client.read_to_end(&mut seen).unwrap();
                seen.len()
            });
            while bench.session.has_clients() {
                bench.turn();
            }
            assert_eq!(reader.join().unwrap(), written);
        }
    }
}

#[test]
fn a_client_that_comes_after_the_end_reads_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap();
    let mut log = JsonLog::open(fd.as_fd(), "log").unwrap();
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    log.write(Output::Stdout, lines.as_bytes());
    let mut session = Session::new(Some(log));
    session.finish();
    let mut bench = Bench {
        session,
        buffer: vec![0; 4096],
        stdin: None,
        stdout: None,
        stderr: None,
    };
    let mut client = bench.attach(
        1,
        Attach {
            log_from: Some(0),
            framed: false,
            ..all()
        },
    );
    let reader = std::thread::spawn(move || {
        let mut seen = String::new();
        client.read_to_string(&mut seen).unwrap();
        seen
    });
    while bench.session.has_clients() {
        bench.turn();
    }
    assert_eq!(reader.join().unwrap(), lines);
}

#[test]
fn a_size_given_before_the_terminal_is_kept() {
    let mut session = Session::new(None);
    session.resize(33, 99);
    session.prepare(Stdio::Terminal { rows: 24, columns: 80 }, Instant::now());
    assert_eq!(session.size(), Size { rows: 33, columns: 99 });
}
