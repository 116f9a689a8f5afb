//! Waiting: poll, and descriptors for counters, timers, signals and changes of files.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{self, EventfdFlags, PollFd, PollFlags};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::time::{self, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::error::{Error, Named, Result};

/// What a descriptor is waited for, or is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Something can be read, or the end.
    pub read: bool,
    /// Something can be written.
    pub write: bool,
    /// The other end is gone, or an error waits; always looked for.
    pub closed: bool,
}

impl Ready {
    /// Readable.
    pub const READ: Self = Self {
        read: true,
        write: false,
        closed: false,
    };
    /// Writable.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
        closed: false,
    };

    /// Whether anything is ready.
    pub fn any(self) -> bool {
        self.read || self.write || self.closed
    }
}

/// Waits until one descriptor is ready or the time is over, and tells each one's state. Without a
/// timeout it waits for ever; a signal ends the wait with nothing ready.
///
/// # Errors
/// The kernel's.
pub fn poll(waited: &[(BorrowedFd<'_>, Ready)], timeout: Option<Duration>) -> Result<Vec<Ready>> {
    let mut all: Vec<PollFd<'_>> = waited
        .iter()
        .map(|(fd, ready)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, ready.read);
            flags.set(PollFlags::OUT, ready.write);
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    match event::poll(&mut all, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::new("poll", errno)),
    }
    let state = |fd: &PollFd<'_>| {
        let flags = fd.revents();
        Ready {
            read: flags.contains(PollFlags::IN),
            write: flags.contains(PollFlags::OUT),
            closed: flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
        }
    };
    Ok(all.iter().map(state).collect())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// A counter that wakes whoever polls it; nonblocking.
///
/// # Errors
/// The kernel's.
pub fn counter() -> Result<OwnedFd> {
    event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).named("eventfd")
}

/// Adds one to a [`counter`].
///
/// # Errors
/// The kernel's.
pub fn wake(counter: impl AsFd) -> Result<()> {
    rustix::io::write(counter, &1_u64.to_ne_bytes())
        .named("write")
        .map(drop)
}

/// Sets a [`counter`] or a [`timer`] to nothing and tells what it held; 0 when nothing.
///
/// # Errors
/// The kernel's.
pub fn clear(counter: impl AsFd) -> Result<u64> {
    let mut value = [0; 8];
    match rustix::io::read(counter, &mut value) {
        Ok(_) => Ok(u64::from_ne_bytes(value)),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(Error::new("read", errno)),
    }
}

/// A timer that is not running; nonblocking.
///
/// # Errors
/// The kernel's.
pub fn timer() -> Result<OwnedFd> {
    time::timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )
    .named("timerfd_create")
}

/// Lets a [`timer`] end once after a while; `None` stops it.
///
/// # Errors
/// The kernel's.
pub fn set_timer(timer: impl AsFd, after: Option<Duration>) -> Result<()> {
    let zero = timespec(Duration::ZERO);
    let value = Itimerspec {
        it_interval: zero,
        // All zero would stop it.
        it_value: after.map_or(zero, |after| timespec(after.max(Duration::from_nanos(1)))),
    };
    time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &value)
        .named("timerfd_settime")
        .map(drop)
}

/// Blocks signals in the calling thread (and threads that it starts later) and gives a nonblocking
/// descriptor that tells them.
///
/// # Errors
/// The kernel's; `EINVAL` for a number that is no signal.
#[allow(unsafe_code, reason = "signal sets of the C library and signalfd")]
pub fn signals(numbers: &[i32]) -> Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initializes the whole set, before anything else touches it.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for number in numbers {
        // SAFETY: the set is initialized and ours; a bad number is answered with -1.
        if unsafe { libc::sigaddset(&raw mut set, *number) } != 0 {
            return Err(Error::last("sigaddset"));
        }
    }
    // SAFETY: the set is initialized; the old mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if result != 0 {
        return Err(Error::new("pthread_sigmask", Errno::from_raw_os_error(result)));
    }
    // SAFETY: the set is initialized; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::last("signalfd"));
    }
    // SAFETY: the kernel just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal of a descriptor of [`signals`]; `None` when there is none.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code, reason = "signalfd writes a C structure")]
pub fn next_signal(signals: impl AsFd) -> Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is live and has the size that is passed.
    let length = unsafe { libc::read(signals.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match usize::try_from(length) {
        // SAFETY: it was zeroed, which is a valid value, and the kernel wrote it whole.
        Ok(length) if length == size => Ok(i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()),
        Ok(_) => Ok(None),
        Err(_) => match Error::last("read") {
            error if error.is(Errno::AGAIN) || error.is(Errno::INTR) => Ok(None),
            error => Err(error),
        },
    }
}

/// A nonblocking descriptor that tells when one file is changed, such as `memory.events`.
///
/// # Errors
/// The kernel's.
pub fn watch(path: &std::path::Path) -> Result<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).named("inotify_init1")?;
    let wanted = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, path, wanted).named("inotify_add_watch")?;
    Ok(fd)
}

/// Drops what a [`watch`] has to tell, so that it can be polled again.
///
/// # Errors
/// The kernel's.
pub fn drain(watch: impl AsFd) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(&watch, &mut buffer) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("read", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn counters_and_timers_wake_a_poll() {
        let counter = counter().unwrap();
        let asked = [(counter.as_fd(), Ready::READ)];
        assert!(!poll(&asked, Some(Duration::ZERO)).unwrap()[0].any());
        wake(&counter).unwrap();
        assert!(poll(&asked, None).unwrap()[0].read);
        assert_eq!((clear(&counter).unwrap(), clear(&counter).unwrap()), (1, 0));
        let timer = timer().unwrap();
        set_timer(&timer, Some(Duration::from_millis(1))).unwrap();
        assert!(poll(&[(timer.as_fd(), Ready::READ)], None).unwrap()[0].read);
        assert_eq!(clear(&timer).unwrap(), 1);
    }

    #[test]
    fn a_blocked_signal_is_read_from_its_descriptor() {
        std::thread::spawn(|| {
            let signals = signals(&[libc::SIGUSR2]).unwrap();
            assert_eq!(next_signal(&signals).unwrap(), None);
            assert!(super::signals(&[0]).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_watched_file_wakes_when_it_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let watch = watch(file.path()).unwrap();
        std::fs::write(file.path(), b"x").unwrap();
        assert!(poll(&[(watch.as_fd(), Ready::READ)], None).unwrap()[0].read);
        drain(&watch).unwrap();
        assert!(!poll(&[(watch.as_fd(), Ready::READ)], Some(Duration::ZERO)).unwrap()[0].any());
    }
}
