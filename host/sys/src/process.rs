//! Processes by pidfd, the start of a child, and what a process sets about itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Resource, WaitId, WaitIdOptions, WaitIdStatus};

use crate::error::{Error, Named, Result, uninterrupted};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The status as shells tell it: 128 and the signal's number for a signal.
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    fn new(status: &WaitIdStatus) -> Self {
        match status.exit_status() {
            Some(code) => Self::Code(code),
            None => Self::Signal(status.terminating_signal().unwrap_or(libc::SIGKILL)),
        }
    }
}

fn pid(number: i32, operation: &'static str) -> Result<Pid> {
    Pid::from_raw(number)
        .filter(|_| number > 0)
        .ok_or(Error::new(operation, Errno::SRCH))
}

/// A descriptor of a process. It cannot come to mean another process, unlike the number.
///
/// # Errors
/// The kernel's; `ESRCH` when there is none.
pub fn open(number: i32) -> Result<OwnedFd> {
    process::pidfd_open(pid(number, "pidfd_open")?, PidfdFlags::empty()).named("pidfd_open")
}

/// Sends a signal by number; 0 only asks whether the process is there.
///
/// # Errors
/// The kernel's; `ESRCH` when it is gone.
#[allow(unsafe_code, reason = "rustix refuses real-time signals and number 0")]
pub fn signal(pidfd: impl AsFd, number: i32) -> Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call; no siginfo is passed, and the flags are 0.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), number, info, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("pidfd_send_signal"))
    }
}

/// Waits for a child's end and reaps it.
///
/// # Errors
/// The kernel's; `ECHILD` when it is no child of this process.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Exit> {
    loop {
        let found = uninterrupted(|| process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)).named("waitid")?;
        if let Some(status) = found {
            return Ok(Exit::new(&status));
        }
    }
}

/// Reaps a child if it has ended.
///
/// # Errors
/// As [`wait`].
pub fn try_wait(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let found = uninterrupted(|| process::waitid(WaitId::PidFd(pidfd), options)).named("waitid")?;
    Ok(found.as_ref().map(Exit::new))
}

/// Reaps any one child that has ended, adopted ones too; `None` when none has.
///
/// # Errors
/// The kernel's but `ECHILD`, which is `None`.
#[allow(unsafe_code, reason = "rustix does not tell whose end it was")]
pub fn try_wait_any() -> Result<Option<(i32, Exit)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live, writable i32 for the whole call.
        let number = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        return match number {
            0 => Ok(None),
            1.. if libc::WIFSIGNALED(status) => Ok(Some((number, Exit::Signal(libc::WTERMSIG(status))))),
            1.. if libc::WIFEXITED(status) => Ok(Some((number, Exit::Code(libc::WEXITSTATUS(status))))),
            1.. => continue,
            _ => match Error::last("waitpid") {
                error if error.is(Errno::INTR) => continue,
                error if error.is(Errno::CHILD) => Ok(None),
                error => Err(error),
            },
        };
    }
}

/// The number of any one child that has ended, without reaping it; `None` when none has.
///
/// # Errors
/// The kernel's but `ECHILD`, which is `None`.
#[allow(unsafe_code, reason = "rustix does not tell whose end it was")]
pub fn ended_child() -> Result<Option<i32>> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the buffer is live and writable; with WNOWAIT nothing is reaped.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        return match Error::last("waitid") {
            error if error.is(Errno::CHILD) => Ok(None),
            error => Err(error),
        };
    }
    // SAFETY: it was zeroed, which is a valid value and means "none", and the kernel may have filled
    // it in for a child's end, of which the number is a part.
    let number = unsafe { info.assume_init().si_pid() };
    Ok((number > 0).then_some(number))
}

/// On which side of a fork the caller is.
#[derive(Debug)]
pub enum Fork {
    /// The parent.
    Parent {
        /// The child's number.
        pid: i32,
        /// The child's descriptor.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Forks a process that has one thread; with more, the child could hang on a lock that another
/// thread held, so that is refused with `EBUSY`.
///
/// # Errors
/// The kernel's; `EBUSY` in a process with threads.
#[allow(unsafe_code, reason = "fork")]
pub fn fork_single_threaded() -> Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").named("fork")?.count();
    if threads != 1 {
        return Err(Error::new("fork", Errno::BUSY));
    }
    // SAFETY: this process has exactly one thread, as just counted and only this one could start
    // another, so no lock of the allocator or of std is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        number @ 1.. => {
            // The child is not reaped by anybody yet, so its number still means it.
            let pidfd = open(number).inspect_err(|_| abandon(number))?;
            Ok(Fork::Parent { pid: number, pidfd })
        }
        _ => Err(Error::last("fork")),
    }
}

/// Kills and reaps a child without a descriptor, so that a failed fork leaves nothing.
#[allow(unsafe_code, reason = "kill and waitpid by number")]
fn abandon(number: i32) {
    // SAFETY: both take integers; `number` is our own child that nobody has reaped.
    unsafe {
        libc::kill(number, libc::SIGKILL);
        libc::waitpid(number, std::ptr::null_mut(), 0);
    }
}

/// Ends this process at once, without running destructors or exit handlers: for a forked child.
#[allow(unsafe_code, reason = "_exit")]
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes an integer and never returns.
    unsafe { libc::_exit(status) }
}

/// This process's number.
pub fn own_number() -> i32 {
    process::getpid().as_raw_nonzero().get()
}

/// The parent's number; 0 when it lies in another PID namespace.
pub fn parent_number() -> i32 {
    process::getppid().map_or(0, |p| p.as_raw_nonzero().get())
}

/// Effective user and group of this process.
pub fn effective_owner() -> (u32, u32) {
    (process::geteuid().as_raw(), process::getegid().as_raw())
}

/// When a process started, in clock ticks since boot. With its number and the [`boot`] it names a
/// process for ever.
///
/// # Errors
/// The kernel's; `ESRCH` when there is none.
pub fn start_time(number: i32) -> Result<u64> {
    let text = match std::fs::read(format!("/proc/{number}/stat")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::new("read stat", Errno::SRCH)),
        other => other.named("read stat")?,
    };
    start_field(&text).ok_or(Error::new("read stat", Errno::INVAL))
}

/// Field 22; the name before it, in parentheses, may hold anything.
fn start_field(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The children of a process, those that have ended and were not waited for among them.
///
/// # Errors
/// When procfs is not mounted.
pub fn children(parent: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").named("read /proc")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has gone meanwhile has no parent.
        if std::fs::read(format!("/proc/{number}/stat")).is_ok_and(|stat| parent_field(&stat) == Some(parent)) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Field 4; the name before it, in parentheses, may hold anything.
fn parent_field(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The random ID of this boot.
///
/// # Errors
/// When procfs is not mounted.
pub fn boot() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").named("read boot_id")?;
    Ok(text.trim_end().to_owned())
}

/// Orphans below this process become its children.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "prctl with an integer")]
pub fn set_child_subreaper() -> Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(Error::last("prctl")) }
}

/// Whether other processes of the same user may look into this one.
///
/// # Errors
/// The kernel's.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    let behaviour = if dumpable {
        process::DumpableBehavior::Dumpable
    } else {
        process::DumpableBehavior::NotDumpable
    };
    process::set_dumpable_behavior(behaviour).named("prctl")
}

/// This process gets `signal` when the thread that started it ends; `None` ends that.
///
/// # Errors
/// The kernel's; `EINVAL` for a number that has no name.
#[allow(unsafe_code, reason = "prctl with an integer")]
pub fn set_parent_death_signal(signal: Option<i32>) -> Result<()> {
    // SAFETY: this option takes one integer and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.unwrap_or(0), 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(Error::last("prctl")) }
}

/// The name that listings of processes show; at most 15 bytes count.
///
/// # Errors
/// The kernel's; `EINVAL` for a name with a NUL.
pub fn set_name(name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name).map_err(|_| Error::new("prctl", Errno::INVAL))?;
    rustix::thread::set_name(&name).named("prctl")
}

/// Makes this process the leader of a session without a terminal.
///
/// # Errors
/// The kernel's; `EPERM` for the leader of a group.
pub fn new_session() -> Result<()> {
    process::setsid().named("setsid").map(drop)
}

/// Gives every signal its default action and blocks none, so that a program started from here does
/// not inherit what its ancestors ignored.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "rt_sigaction for the signals that libc keeps for itself too")]
pub fn reset_signals() -> Result<()> {
    /// The kernel's own `sigaction`, which is not the C library's.
    #[repr(C)]
    struct Action {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let default = Action {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    for number in (1..=64).filter(|n| ![libc::SIGKILL, libc::SIGSTOP].contains(n)) {
        let none = std::ptr::null_mut::<Action>();
        // SAFETY: the action has the kernel's layout for this architecture's size of mask, which is
        // passed; no handler is installed; the old action is not asked for.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                &raw const default,
                none,
                size_of::<u64>(),
            )
        };
        if result != 0 {
            return Err(Error::last("rt_sigaction"));
        }
    }
    let empty = 0_u64;
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: the mask is a live u64 whose size is passed; the old mask is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            none,
            size_of::<u64>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("rt_sigprocmask"))
    }
}

/// Ignores one signal.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "signal with SIG_IGN")]
pub fn ignore_signal(number: i32) -> Result<()> {
    // SAFETY: SIG_IGN installs no code.
    let result = unsafe { libc::signal(number, libc::SIG_IGN) };
    if result == libc::SIG_ERR {
        Err(Error::last("signal"))
    } else {
        Ok(())
    }
}

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "close_range")]
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: takes integers; with CLOEXEC nothing is closed now, so no owner is deceived.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("close_range"))
    }
}

/// Closes every descriptor but 0, 1, 2 and those of `keep`. Only for a forked child that never
/// returns to the code that owns the others and that ends by [`exit_now`], which drops no owner.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "close_range")]
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut numbers: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    numbers.extend([0, 1, 2, u32::MAX]);
    numbers.sort_unstable();
    numbers.dedup();
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        let (first, last) = (before.saturating_add(1), after.saturating_sub(1));
        if first > last {
            continue;
        }
        // SAFETY: takes integers. That no owner of a closed descriptor is used afterwards is what
        // the caller, a child that only goes on to its own code, promises above.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(Error::last("close_range"));
        }
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one and tells it.
///
/// # Errors
/// The kernel's.
pub fn raise_open_files() -> Result<u64> {
    let mut limit = process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let most = limit.maximum.unwrap_or(u64::MAX);
    process::setrlimit(Resource::Nofile, limit).named("setrlimit")?;
    Ok(most)
}

/// Makes descriptor `number` (0, 1 or 2) mean the same file as `fd`.
///
/// # Errors
/// The kernel's; `EINVAL` for another number.
#[allow(unsafe_code, reason = "dup2 onto the standard descriptors")]
pub fn replace_standard(fd: impl AsFd, number: i32) -> Result<()> {
    if !(0..=2).contains(&number) {
        return Err(Error::new("dup2", Errno::INVAL));
    }
    // SAFETY: 0, 1 and 2 are owned by nobody in Rust's sense; `fd` is borrowed for the call.
    let result = unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) };
    if result == number {
        Ok(())
    } else {
        Err(Error::last("dup2"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_start_time_is_read_past_a_name_with_parentheses() {
        let stat = b"7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(start_field(stat), Some(4242));
        assert_eq!(start_field(b"no parenthesis"), None);
    }

    #[test]
    fn a_child_is_listed_until_it_was_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        assert!(children(own_number()).unwrap().contains(&number));
        child.wait().unwrap();
        assert!(!children(own_number()).unwrap().contains(&number));
        assert_eq!(parent_field(b"7 (a) b) c) S 12 2 3"), Some(12));
    }

    #[test]
    fn a_process_is_known_by_number_start_and_boot() {
        let own = own_number();
        assert_eq!(start_time(own).unwrap(), start_time(own).unwrap());
        assert!(start_time(i32::MAX).unwrap_err().is(Errno::SRCH));
        assert_eq!(boot().unwrap().len(), 36);
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "it is reaped by its descriptor")]
    fn a_child_is_signalled_and_waited_for_by_descriptor() {
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pidfd = open(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(try_wait(pidfd.as_fd()).unwrap(), None);
        signal(&pidfd, 0).unwrap();
        signal(&pidfd, libc::SIGKILL).unwrap();
        let exit = wait(pidfd.as_fd()).unwrap();
        assert_eq!((exit, exit.status()), (Exit::Signal(9), 137));
        assert!(signal(&pidfd, 0).unwrap_err().is(Errno::SRCH));
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(fork_single_threaded().unwrap_err().is(Errno::BUSY));
        drop(stop);
        let _ = other.join();
    }
}
