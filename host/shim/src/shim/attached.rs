//! One attached client: its connection, what waits for it, what it typed.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use longshore_core::{Error, Result};
use longshore_shim::multiplex::Output;
use longshore_shim::protocol::{Attach, EndReason};

use super::detach::{Detach, Found};
use super::json_log::{self, JsonLog};
use super::queue::Queue;

/// How long a lossless client may keep the container waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the beginning of the detach keys is held back.
const HOLD: Duration = Duration::from_secs(1);
/// What is read of the log at once: more than the longest record.
const WINDOW: usize = 256 * 1024;
/// What is read from a client at once.
const READ: usize = 16 * 1024;

/// An attached client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The number in events.
    pub(crate) number: u64,
    /// Any stream socket: only read, write and shutdown are used of it.
    socket: UnixStream,
    wants_stdin: bool,
    wants: [bool; 2],
    lossless: bool,
    queue: Queue,
    output_open: bool,
    /// What it sent and standard input has not yet taken.
    pub(crate) input: Vec<u8>,
    input_open: bool,
    detach: Detach,
    /// Whether it types at a terminal: detach keys count only there, as in Docker.
    terminal: bool,
    held_since: Option<Instant>,
    stalled_since: Option<Instant>,
    /// Where in the log it is, while it catches up.
    replay: Option<u64>,
    ending: Option<EndReason>,
}

impl Client {
    /// Takes over a connection.
    pub(crate) fn new(number: u64, connection: OwnedFd, attach: Attach, terminal: bool) -> Result<Self> {
        let detach = Detach::parse(&attach.detach_keys)?;
        let socket = UnixStream::from(connection);
        socket
            .set_nonblocking(true)
            .map_err(|error| Error::io("take over the client's connection", &error))?;
        let mut client = Self {
            number,
            socket,
            wants_stdin: attach.stdin,
            wants: [attach.stdout, attach.stderr],
            lossless: attach.lossless,
            queue: Queue::new(attach.framed),
            output_open: true,
            input: Vec::new(),
            input_open: true,
            detach,
            terminal,
            held_since: None,
            stalled_since: None,
            replay: attach.log_from,
            ending: None,
        };
        client.typed(&attach.prefix, Instant::now());
        Ok(client)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for: to read, to write. `None`: nothing, not even its end.
    pub(crate) fn interest(&self) -> Option<(bool, bool)> {
        let interest = (self.input_open && self.input.is_empty(), !self.queue.is_empty());
        (self.output_open || interest.0).then_some(interest)
    }

    /// Whether its end of input should end the process's.
    pub(crate) fn has_ended_stdin(&self) -> bool {
        self.wants_stdin && !self.input_open && self.input.is_empty()
    }

    /// Whether it is one that standard input waits for.
    pub(crate) fn gives_stdin(&self) -> bool {
        self.wants_stdin
    }

    /// Whether it makes the container wait.
    pub(crate) fn stalls(&self) -> bool {
        self.stalled_since.is_some()
    }

    /// Output of the process. A client that catches up reads it from the log.
    pub(crate) fn push(&mut self, output: Output, piece: &[u8], now: Instant) {
        if !self.wants[usize::from(output == Output::Stderr)] || !self.output_open || self.replay.is_some() {
            return;
        }
        if self.queue.is_full() && !self.lossless {
            return self.end(EndReason::SlowReader);
        }
        self.queue.push(output, piece);
        self.flush();
        if self.queue.is_full() && self.lossless {
            self.stalled_since.get_or_insert(now);
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        if self.queue.send(&mut self.socket).is_err() {
            self.lose_output();
        }
        if self.queue.has_room() {
            self.stalled_since = None;
        }
    }

    /// Goes on catching up from the log.
    pub(crate) fn catch_up(&mut self, log: Option<&JsonLog>) {
        while let Some(offset) = self.replay {
            if !self.queue.has_room() || !self.output_open {
                return;
            }
            let (pieces, used) = log
                .and_then(|log| log.read_at(offset, WINDOW).ok())
                .map(|bytes| json_log::decode(&bytes))
                .unwrap_or_default();
            for (output, piece) in pieces {
                if self.wants[usize::from(output == Output::Stderr)] {
                    self.queue.push(output, &piece);
                }
            }
            self.replay = (used > 0).then_some(offset + used as u64);
            if self.replay.is_none() {
                self.push_pending(log);
            }
            self.flush();
        }
    }

    fn push_pending(&mut self, log: Option<&JsonLog>) {
        for output in [Output::Stdout, Output::Stderr] {
            let pending = log.map(|log| log.pending(output)).unwrap_or_default();
            if self.wants[usize::from(output == Output::Stderr)] && !pending.is_empty() {
                self.queue.push(output, pending);
            }
        }
    }

    /// Reads what it sent. Returns whether there was something.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        let mut bytes = [0; READ];
        match self.socket.read(&mut bytes) {
            Ok(0) => self.close_input(),
            Ok(count) => self.typed(bytes.get(..count).unwrap_or_default(), now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                self.close_input();
                self.lose_output();
            }
        }
        true
    }

    /// The connection's other end is closed both ways. What it had sent before still counts: as long
    /// as there is some, this is told again.
    pub(crate) fn hung_up(&mut self, now: Instant) {
        self.lose_output();
        while self.input_open && self.input.is_empty() && self.read(now) {}
    }

    fn typed(&mut self, bytes: &[u8], now: Instant) {
        if !self.wants_stdin || bytes.is_empty() {
            return;
        }
        if !self.terminal {
            self.input.extend_from_slice(bytes);
            return;
        }
        match self.detach.feed(bytes) {
            Found::Input(bytes) => self.input.extend(bytes),
            Found::Keys(bytes) => {
                self.input.extend(bytes);
                self.end(EndReason::Detached);
            }
        }
        self.held_since = self.detach.holds().then_some(now);
    }

    /// The process has a terminal, which a client that attached before there was one did not know. What
    /// it typed by then is looked through for the detach keys too.
    pub(crate) fn has_terminal(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.terminal, true) {
            let typed = std::mem::take(&mut self.input);
            self.typed(&typed, now);
        }
    }

    fn close_input(&mut self) {
        self.release();
        self.input_open = false;
    }

    fn release(&mut self) {
        self.held_since = None;
        self.input.extend(self.detach.release());
    }

    fn lose_output(&mut self) {
        self.output_open = false;
        self.queue = Queue::default();
        self.stalled_since = None;
        self.replay = None;
    }

    /// Ends it; a finished one is first sent what waits for it.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.ending.get_or_insert(reason);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let held = self.held_since.map(|since| since + HOLD);
        let stalled = self.stalled_since.map(|since| since + PATIENCE);
        held.into_iter().chain(stalled).min()
    }

    /// What time alone changes.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.held_since.is_some_and(|since| now >= since + HOLD) {
            self.release();
        }
        if self.stalled_since.is_some_and(|since| now >= since + PATIENCE) {
            self.end(EndReason::SlowReader);
        }
    }

    /// Why it is over, once it is.
    pub(crate) fn over(&self) -> Option<EndReason> {
        match self.ending {
            Some(EndReason::Finished) if self.output_open && (!self.queue.is_empty() || self.replay.is_some()) => None,
            Some(EndReason::Detached) if !self.input.is_empty() => None,
            Some(reason) => Some(reason),
            None if self.output_open => None,
            None if self.wants_stdin && (self.input_open || !self.input.is_empty()) => None,
            None => Some(EndReason::Gone),
        }
    }

    /// Ends the connection in good order: the client reads everything and then end of file, also
    /// where another process still holds the same connection.
    pub(crate) fn close(mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        // Input that nobody reads would turn the end into a reset on TCP, which discards output
        // that is on its way.
        let mut bytes = [0; READ];
        for _ in 0..64 {
            if !matches!(self.socket.read(&mut bytes), Ok(1..)) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::queue::LIMIT;
    use super::*;
    use std::io::Write;

    fn pair(attach: Attach, terminal: bool) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::new(1, ours.into(), attach, terminal).unwrap(), theirs)
    }

    fn all() -> Attach {
        Attach {
            stdin: true,
            stdout: true,
            stderr: true,
            ..Attach::default()
        }
    }

    #[test]
    fn a_finished_client_reads_everything_and_then_the_end() {
        let (mut client, mut theirs) = pair(all(), false);
        client.push(Output::Stdout, b"bye", Instant::now());
        client.end(EndReason::Finished);
        assert_eq!(client.over(), Some(EndReason::Finished));
        client.close();
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bye");
    }

    #[test]
    fn a_slow_reader_is_dropped_unless_it_is_lossless() {
        let piece = vec![b'x'; 64 * 1024];
        for lossless in [false, true] {
            let (mut client, _theirs) = pair(Attach { lossless, ..all() }, false);
            let now = Instant::now();
            for _ in 0..(2 * LIMIT / piece.len() + 16) {
                if client.stalls() || client.over().is_some() {
                    break;
                }
                client.push(Output::Stdout, &piece, now);
            }
            assert_eq!(client.stalls(), lossless);
            assert_eq!(client.over(), (!lossless).then_some(EndReason::SlowReader));
            client.tick(now + PATIENCE);
            assert_eq!(client.over(), Some(EndReason::SlowReader));
        }
    }

    #[test]
    fn input_sent_before_the_client_went_away_still_counts() {
        let (mut client, mut theirs) = pair(all(), false);
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        client.hung_up(Instant::now());
        assert_eq!(client.input, b"last words");
        assert_eq!(client.over(), None);
        client.input.clear();
        client.hung_up(Instant::now());
        assert!(client.has_ended_stdin());
        assert_eq!(client.over(), Some(EndReason::Gone));
    }

    #[test]
    fn half_a_close_ends_input_and_not_output() {
        let (mut client, theirs) = pair(all(), false);
        theirs.shutdown(Shutdown::Write).unwrap();
        client.read(Instant::now());
        assert!(client.has_ended_stdin());
        assert_eq!(client.over(), None);
        client.push(Output::Stdout, b"still here", Instant::now());
        assert_eq!(client.over(), None);
    }

    #[test]
    fn detach_keys_count_with_a_terminal_only() {
        for (terminal, reason) in [(true, Some(EndReason::Detached)), (false, None)] {
            let (mut client, mut theirs) = pair(all(), terminal);
            theirs.write_all(b"\x10\x11").unwrap();
            client.read(Instant::now());
            assert_eq!(client.over(), reason);
        }
    }

    #[test]
    fn keys_typed_before_the_terminal_was_there_count_when_it_is() {
        let (mut client, mut theirs) = pair(all(), false);
        theirs.write_all(b"ls\n\x10\x11").unwrap();
        client.read(Instant::now());
        assert_eq!(client.over(), None);
        client.has_terminal(Instant::now());
        assert_eq!(client.input, b"ls\n");
        client.input.clear();
        assert_eq!(client.over(), Some(EndReason::Detached));
    }

    #[test]
    fn keys_that_are_none_are_refused_with_and_without_a_terminal() {
        for terminal in [true, false] {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let attach = Attach {
                detach_keys: "ctrl-ctrl".into(),
                ..all()
            };
            assert!(Client::new(1, ours.into(), attach, terminal).is_err());
        }
    }

    #[test]
    fn a_held_key_becomes_input_after_a_second() {
        let (mut client, mut theirs) = pair(all(), true);
        let now = Instant::now();
        theirs.write_all(b"\x10").unwrap();
        client.read(now);
        assert!(client.input.is_empty());
        client.tick(now + HOLD);
        assert_eq!(client.input, b"\x10");
    }

    #[test]
    fn the_bytes_that_the_engine_had_read_come_first() {
        let (mut client, mut theirs) = pair(
            Attach {
                prefix: b"one ".to_vec(),
                ..all()
            },
            false,
        );
        theirs.write_all(b"two").unwrap();
        client.read(Instant::now());
        assert_eq!(client.input, b"one two");
    }

    #[test]
    fn a_client_that_catches_up_gets_every_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(folder.path()).unwrap();
        let mut log = JsonLog::open(fd.as_fd(), "log").unwrap();
        log.write(Output::Stdout, b"one\ntwo\nthr");
        let (mut client, mut theirs) = pair(
            Attach {
                log_from: Some(0),
                ..all()
            },
            false,
        );
        client.push(Output::Stdout, b"thr", Instant::now());
        client.catch_up(Some(&log));
        client.push(Output::Stdout, b"ee\n", Instant::now());
        client.end(EndReason::Finished);
        client.close();
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    }
}
