//! Signals in, signals out: what is forwarded to the command, and the reaping of everything else.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Signals that report a fault of our own; blocking them would turn a crash into an endless loop.
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];

/// Signals that a terminal sends to the whole foreground group, the command included.
const OF_THE_TERMINAL: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

/// All blocked signals, read one by one from a descriptor.
#[derive(Debug)]
pub(crate) struct Queue {
    descriptor: SignalFd,
}

impl Queue {
    /// Blocks all signals but faults and opens the descriptor.
    pub(crate) fn open() -> nix::Result<Self> {
        let mut taken = SigSet::all();
        for fault in FAULTS {
            taken.remove(fault);
        }
        taken.thread_block()?;
        let descriptor = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor })
    }

    /// Forwards and reaps until the command ends; answers the exit code that stands for its end.
    pub(crate) fn serve(&self, child: Pid) -> nix::Result<u8> {
        loop {
            let info = match self.descriptor.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            if info.ssi_signo == Signal::SIGCHLD as u32 {
                // One SIGCHLD may stand for many ends.
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
            } else if let Some(signal) = forwarded(&info) {
                match kill(child, signal) {
                    // It has just ended; the SIGCHLD that says so is on its way.
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// The signal to pass on, if any.
fn forwarded(info: &siginfo) -> Option<Signal> {
    let signal = i32::try_from(info.ssi_signo)
        .ok()
        .and_then(|number| Signal::try_from(number).ok())?;
    // The kernel has already given a terminal's signal to the command: a second one would make a
    // program that asks "press Ctrl-C again to leave" leave at once.
    let by_terminal = info.ssi_code == libc::SI_KERNEL && OF_THE_TERMINAL.contains(&signal);
    (!by_terminal).then_some(signal)
}

/// Takes the status of everything that has ended; the code, once the command is among them.
fn reap(child: Pid) -> nix::Result<Option<u8>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(status) if status.pid() == Some(child) => code = code.or(exit_code(status)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A status as a shell puts it: the code itself, or 128 and the number of the signal.
fn exit_code(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).ok(),
        WaitStatus::Signaled(_, signal, _) => u8::try_from(128 + signal as i32).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_put_as_a_shell_puts_it() {
        let pid = Pid::from_raw(7);
        assert_eq!(exit_code(WaitStatus::Exited(pid, 3)), Some(3));
        assert_eq!(exit_code(WaitStatus::Signaled(pid, Signal::SIGKILL, false)), Some(137));
        assert_eq!(exit_code(WaitStatus::StillAlive), None);
    }
}
