//! The streams of one process, of the container's init or of an exec session: what it writes goes to
//! the log and to the clients, what clients send goes to its standard input.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use longshore_core::Result;
use longshore_shim::multiplex::Output;
use longshore_shim::protocol::{Attach, EndReason, Stdio};
use longshore_sys::event::Ready;
use longshore_sys::tty::Size;

use super::attached::Client;
use super::json_log::JsonLog;

/// A terminal that nobody holds open answers EIO, also while its process lives and may open it
/// again: it is looked at after this time.
const REOPENED: Duration = Duration::from_millis(100);
/// Most that is read from one stream after the process's end, when a descendant still writes.
const REST: usize = 2 << 20;

/// The shim's ends of a process's streams, non-blocking.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Where its input is written.
    pub(crate) stdin: Option<OwnedFd>,
    /// Where its output is read.
    pub(crate) stdout: Option<OwnedFd>,
    /// Where its errors are read.
    pub(crate) stderr: Option<OwnedFd>,
}

/// The streams of one process.
#[derive(Debug)]
pub(crate) struct Session {
    stdin: Option<File>,
    once: bool,
    sources: [Option<File>; 2],
    terminal: Option<File>,
    has_terminal: bool,
    retry_terminal: Option<Instant>,
    /// The size that the terminal has or will get.
    size: Size,
    clients: Vec<Client>,
    log: Option<JsonLog>,
    ended: Vec<(u64, EndReason)>,
    finished: bool,
}

impl Session {
    /// A session without streams yet.
    pub(crate) fn new(log: Option<JsonLog>) -> Self {
        Self {
            stdin: None,
            once: false,
            sources: [None, None],
            terminal: None,
            has_terminal: false,
            retry_terminal: None,
            size: Size::default(),
            clients: Vec::new(),
            log,
            ended: Vec::new(),
            finished: false,
        }
    }

    /// Notes what streams the process will have. Clients may be there already.
    pub(crate) fn prepare(&mut self, stdio: Stdio, now: Instant) {
        match stdio {
            Stdio::Pipes { once, .. } => self.once = once,
            Stdio::Terminal { rows, columns } => {
                self.has_terminal = true;
                for client in &mut self.clients {
                    client.has_terminal(now);
                }
                if self.size == Size::default() {
                    self.size = Size { rows, columns };
                }
            }
            Stdio::Null => {}
        }
    }

    /// Takes the shim's ends of pipes.
    pub(crate) fn open(&mut self, ends: Ends) {
        self.stdin = ends.stdin.map(File::from);
        self.sources = [ends.stdout.map(File::from), ends.stderr.map(File::from)];
    }

    /// Takes the terminal's master, non-blocking, and gives it its size.
    pub(crate) fn open_terminal(&mut self, master: OwnedFd) {
        self.has_terminal = true;
        self.terminal = Some(File::from(master));
        self.apply_size();
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Sets the terminal's size, now or when there is one.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.size = Size { rows, columns };
        self.apply_size();
    }

    fn apply_size(&self) {
        if let Some(terminal) = self.terminal.as_ref().filter(|_| self.size != Size::default()) {
            // A terminal that just went away has no size to be wrong.
            let _ = longshore_sys::tty::set_size(terminal, self.size);
        }
    }

    pub(crate) fn log(&self) -> Option<&JsonLog> {
        self.log.as_ref()
    }

    /// Adds a client. One that comes after the end gets what it asked of the log, then its end.
    pub(crate) fn attach(&mut self, number: u64, connection: OwnedFd, attach: Attach) -> Result<()> {
        let mut client = Client::new(number, connection, attach, self.has_terminal)?;
        client.catch_up(self.log.as_ref());
        if self.finished {
            client.end(EndReason::Finished);
        }
        self.clients.push(client);
        self.feed();
        Ok(())
    }

    /// What to wait for: output, room for input, clients.
    pub(crate) fn interests(&self, now: Instant) -> Vec<(Waits, BorrowedFd<'_>, Ready)> {
        let mut all = Vec::new();
        let reads = !self.clients.iter().any(Client::stalls);
        let writes = self.clients.iter().any(|client| !client.input.is_empty());
        for (output, source) in [Output::Stdout, Output::Stderr].into_iter().zip(&self.sources) {
            if let Some(source) = source.as_ref().filter(|_| reads) {
                all.push((Waits::Output(output), source.as_fd(), Ready::READ));
            }
        }
        let looked_at = self.retry_terminal.is_none_or(|at| now >= at) && (reads || writes);
        if let Some(terminal) = self.terminal.as_ref().filter(|_| looked_at) {
            all.push((Waits::Terminal, terminal.as_fd(), ready(reads, writes)));
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| writes) {
            all.push((Waits::Stdin, stdin.as_fd(), Ready::WRITE));
        }
        for client in &self.clients {
            if let Some((read, write)) = client.interest() {
                all.push((Waits::Client(client.number), client.as_fd(), ready(read, write)));
            }
        }
        all
    }

    /// Something of [`interests`](Self::interests) is ready.
    pub(crate) fn ready(&mut self, what: Waits, ready: Ready, alive: bool, now: Instant, buffer: &mut [u8]) {
        match what {
            Waits::Output(output) => self.read(output, now, buffer),
            Waits::Terminal => {
                if ready.read || ready.closed {
                    self.read_terminal(alive, now, buffer);
                }
                if ready.write {
                    self.feed();
                }
            }
            Waits::Stdin => self.feed(),
            Waits::Client(number) => self.client_ready(number, ready, now),
        }
        self.sweep();
    }

    fn client_ready(&mut self, number: u64, ready: Ready, now: Instant) {
        let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else {
            return;
        };
        if ready.closed {
            client.hung_up(now);
        } else {
            if ready.read {
                client.read(now);
            }
            if ready.write {
                client.flush();
                client.catch_up(self.log.as_ref());
            }
        }
        self.feed();
    }

    fn read(&mut self, output: Output, now: Instant, buffer: &mut [u8]) {
        let Some(source) = &mut self.sources[usize::from(output == Output::Stderr)] else {
            return;
        };
        match source.read(buffer) {
            Ok(0) => self.end_output(output),
            Ok(count) => self.deliver(output, buffer.get(..count).unwrap_or_default(), now),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.end_output(output),
        }
    }

    fn read_terminal(&mut self, alive: bool, now: Instant, buffer: &mut [u8]) {
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        match terminal.read(buffer) {
            Ok(count @ 1..) => {
                self.retry_terminal = None;
                self.deliver(Output::Stdout, buffer.get(..count).unwrap_or_default(), now);
            }
            Err(error) if is_transient(&error) => {}
            _ if alive => self.retry_terminal = Some(now + REOPENED),
            _ => {
                self.terminal = None;
                self.end_output(Output::Stdout);
            }
        }
    }

    fn deliver(&mut self, output: Output, piece: &[u8], now: Instant) {
        if let Some(log) = &mut self.log {
            log.write(output, piece);
        }
        for client in &mut self.clients {
            client.push(output, piece, now);
        }
    }

    fn end_output(&mut self, output: Output) {
        self.sources[usize::from(output == Output::Stderr)] = None;
        if let Some(log) = &mut self.log {
            log.finish(output);
        }
    }

    /// Passes clients' input on, as much as the process takes now.
    fn feed(&mut self) {
        let has_streams = self.is_open() || self.finished;
        for client in &mut self.clients {
            let target = match (&mut self.terminal, &mut self.stdin) {
                (Some(terminal), _) => terminal,
                (None, Some(stdin)) => stdin,
                // Before there are streams input waits; where there is no standard input it is
                // dropped.
                (None, None) if has_streams => {
                    client.input.clear();
                    continue;
                }
                (None, None) => continue,
            };
            if pass(&mut client.input, target).is_err() {
                client.input.clear();
                self.stdin = None;
            }
        }
        if self.once && self.clients.iter().any(Client::has_ended_stdin) {
            self.stdin = None;
        }
    }

    fn sweep(&mut self) {
        let (over, stay) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition::<Vec<_>, _>(|client| client.over().is_some());
        self.clients = stay;
        for client in over {
            if self.once && client.gives_stdin() {
                self.stdin = None;
            }
            self.ended
                .push((client.number, client.over().unwrap_or(EndReason::Gone)));
            client.close();
        }
    }

    /// What time alone changes.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.retry_terminal = self.retry_terminal.filter(|at| now < *at);
        if self
            .clients
            .iter()
            .any(|client| client.deadline().is_some_and(|at| now >= at))
        {
            for client in &mut self.clients {
                client.tick(now);
            }
            self.feed();
        }
        self.sweep();
    }

    /// When [`tick`](Self::tick) has something to do, or the terminal is looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients
            .iter()
            .filter_map(Client::deadline)
            .chain(self.retry_terminal.filter(|_| self.terminal.is_some()))
            .min()
    }

    /// Whether output can still come.
    pub(crate) fn is_open(&self) -> bool {
        self.terminal.is_some() || self.sources.iter().any(Option::is_some)
    }

    /// The process has ended: a terminal is looked at now, not later.
    pub(crate) fn process_ended(&mut self) {
        self.retry_terminal = None;
    }

    /// Reads what lies in the streams, whatever clients do, and closes them.
    pub(crate) fn drain(&mut self, now: Instant, buffer: &mut [u8]) {
        for output in [Output::Stdout, Output::Stderr] {
            let mut rest = REST;
            while let Some(count @ 1..) = self.read_rest(output, buffer) {
                self.deliver(output, buffer.get(..count).unwrap_or_default(), now);
                rest = rest.saturating_sub(count);
                if rest == 0 {
                    break;
                }
            }
            if self.sources[usize::from(output == Output::Stderr)].is_some() {
                self.end_output(output);
            }
        }
        if self.terminal.take().is_some() {
            self.end_output(Output::Stdout);
        }
    }

    fn read_rest(&mut self, output: Output, buffer: &mut [u8]) -> Option<usize> {
        let source = match (output, &mut self.terminal) {
            (Output::Stdout, Some(terminal)) => terminal,
            _ => self.sources[usize::from(output == Output::Stderr)].as_mut()?,
        };
        source.read(buffer).ok()
    }

    /// Everything was read: the log is whole, clients are sent what waits for them and then closed.
    pub(crate) fn finish(&mut self) {
        self.stdin = None;
        self.finished = true;
        for client in &mut self.clients {
            client.input.clear();
            client.end(EndReason::Finished);
        }
        self.sweep();
    }

    /// Whether a client is still connected.
    pub(crate) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Clients that went since the last call.
    pub(crate) fn take_ended(&mut self) -> Vec<(u64, EndReason)> {
        std::mem::take(&mut self.ended)
    }
}

/// Which descriptor of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A pipe of output.
    Output(Output),
    /// The terminal's master.
    Terminal,
    /// The pipe of input.
    Stdin,
    /// A client's connection.
    Client(u64),
}

fn ready(read: bool, write: bool) -> Ready {
    Ready {
        read,
        write,
        closed: false,
    }
}

fn pass(input: &mut Vec<u8>, to: &mut File) -> io::Result<()> {
    while !input.is_empty() {
        match to.write(input) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => drop(input.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
