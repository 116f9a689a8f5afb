//! What a process gives up for ever before it runs code of somebody else: its user, capabilities,
//! system calls, and how much of the machine it may take. Which of these a driver keeps is decided by
//! the loader.

use std::mem::offset_of;

use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::error::{Error, Named, Result};

/// A capability that can be kept, see capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Change owners of files.
    Chown,
    /// Pass by permissions of files.
    DacOverride,
    /// Pass by what only a file's owner may do.
    Fowner,
    /// Keep set-user-ID bits when a file changes.
    Fsetid,
    /// Make device files.
    Mknod,
    /// Set capabilities of files.
    Setfcap,
    /// Mount, and most of what administers file systems and devices.
    SysAdmin,
}

impl Capability {
    fn bit(self) -> CapabilitySet {
        match self {
            Self::Chown => CapabilitySet::CHOWN,
            Self::DacOverride => CapabilitySet::DAC_OVERRIDE,
            Self::Fowner => CapabilitySet::FOWNER,
            Self::Fsetid => CapabilitySet::FSETID,
            Self::Mknod => CapabilitySet::MKNOD,
            Self::Setfcap => CapabilitySet::SETFCAP,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        }
    }
}

/// Becomes the user of that number and the group of the same, without further groups. Of the calling
/// thread: for a process that has one.
///
/// # Errors
/// The kernel's; `EPERM` for one that is not root.
pub fn become_user(number: u32) -> Result<()> {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    thread::set_thread_groups(&[]).named("setgroups")?;
    thread::set_thread_res_gid(group, group, group).named("setresgid")?;
    thread::set_thread_res_uid(user, user, user).named("setresuid")
}

fn set_of(kept: &[Capability]) -> CapabilitySet {
    kept.iter().fold(CapabilitySet::empty(), |set, one| set | one.bit())
}

/// Gives up the ways in which a program that is executed could get any capability but these. It takes
/// a capability itself, so it comes before [`become_user`]. Of the calling thread: for a process that
/// has one.
///
/// # Errors
/// The kernel's.
pub fn bound_capabilities(kept: &[Capability]) -> Result<()> {
    let kept = set_of(kept);
    thread::set_no_new_privs(true).named("prctl")?;
    thread::clear_ambient_capability_set().named("prctl")?;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // Who lacks CAP_SETPCAP has none to give up; the kernel refuses numbers that it does not know.
        if !kept.contains(one) && thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    Ok(())
}

/// Gives up every capability but these, and what [`bound_capabilities`] does. Of the calling thread: for
/// a process that has one.
///
/// # Errors
/// The kernel's.
pub fn keep_capabilities(kept: &[Capability]) -> Result<()> {
    bound_capabilities(kept)?;
    let kept = set_of(kept);
    let had = thread::capabilities(None).named("capget")?;
    let sets = CapabilitySets {
        effective: had.effective & kept,
        permitted: had.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    thread::set_capabilities(None, sets).named("capset")
}

/// What a process may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space, in bytes.
    pub memory: u64,
    /// Open files.
    pub files: u64,
    /// Processes and threads of its user; counted for a user who is not root.
    pub threads: u64,
}

/// Sets limits that the process cannot raise again once it has no capabilities. No core is dumped.
///
/// # Errors
/// The kernel's.
pub fn limit(limits: Limits) -> Result<()> {
    let pairs = [
        (Resource::As, limits.memory),
        (Resource::Nofile, limits.files),
        (Resource::Nproc, limits.threads),
        (Resource::Core, 0),
    ];
    for (resource, most) in pairs {
        let now = rustix::process::getrlimit(resource);
        let most = now.maximum.map_or(most, |hard| hard.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit).named("setrlimit")?;
    }
    Ok(())
}

/// Which system calls are taken away besides those that no driver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Sockets.
    pub sockets: bool,
    /// Mounting, and making of devices.
    pub mounts: bool,
}

/// What no driver needs in a process of its own: programs and processes, other processes, the
/// kernel's own affairs.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

const SOCKETS: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
];

const MOUNTS: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
];

#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;

/// Takes system calls away from this process, all its threads to come and what they start: a call
/// that is not there fails with `EPERM`. New threads can be started, new processes not.
///
/// # Errors
/// The kernel's.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[allow(unsafe_code, reason = "seccomp(2) takes a program by pointer")]
pub fn forbid_calls(calls: Calls) -> Result<()> {
    thread::set_no_new_privs(true).named("prctl")?;
    let mut program = filter(calls);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is live for the call, its length is that of the vector, and the kernel
    // checks it whole before it takes it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last("seccomp"))
    }
}

/// The filter as the kernel's classic BPF. One comparison and one answer for each call: plain, and a
/// few nanoseconds.
fn filter(calls: Calls) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const ANSWER: u32 = libc::BPF_RET | libc::BPF_K;
    // Of the other numbers that an x86-64 kernel has, x32's.
    const OTHER_NUMBERS: u32 = 0x4000_0000;
    let refuse = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let field = |offset: usize| u32::try_from(offset).unwrap_or(0);
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let step = |code: u32, value: u32, then: u8, otherwise: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: then,
        jf: otherwise,
        k: value,
    };
    let mut steps = vec![
        step(LOAD, field(offset_of!(libc::seccomp_data, arch)), 0, 0),
        step(EQUAL, MACHINE, 1, 0),
        step(ANSWER, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(LOAD, field(offset_of!(libc::seccomp_data, nr)), 0, 0),
        step(AT_LEAST, OTHER_NUMBERS, 0, 1),
        step(ANSWER, refuse(libc::EPERM), 0, 0),
        // Its flags lie behind a pointer; without it the C library falls back to clone.
        step(EQUAL, number(libc::SYS_clone3), 0, 1),
        step(ANSWER, refuse(libc::ENOSYS), 0, 0),
    ];
    let mut refused: Vec<libc::c_long> = NEVER.to_vec();
    if calls.sockets {
        refused.extend(SOCKETS);
    }
    if calls.mounts {
        refused.extend(MOUNTS);
    }
    for call in refused {
        steps.push(step(EQUAL, number(call), 0, 1));
        steps.push(step(ANSWER, refuse(libc::EPERM), 0, 0));
    }
    steps.extend([
        step(EQUAL, number(libc::SYS_clone), 0, 3),
        // The first argument's lower half; both machines are little-endian.
        step(LOAD, field(offset_of!(libc::seccomp_data, args)), 0, 0),
        step(ANY_BIT, libc::CLONE_THREAD.unsigned_abs(), 1, 0),
        step(ANSWER, refuse(libc::EPERM), 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Runs a part of this test in a thread of its own: what it gives up, it alone has lost.
    fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn forbidden_calls_fail_and_threads_can_still_be_started() {
        apart(|| {
            forbid_calls(Calls {
                sockets: true,
                mounts: true,
            })
            .unwrap();
            assert!(std::os::unix::net::UnixStream::pair().is_err());
            let child = std::process::Command::new("/bin/true").spawn();
            assert_eq!(child.unwrap_err().raw_os_error(), Some(libc::EPERM));
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        });
    }

    #[test]
    fn root_capabilities_that_are_not_kept_are_gone() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: needs root");
            return;
        }
        apart(|| {
            keep_capabilities(&[Capability::Chown]).unwrap();
            let now = thread::capabilities(None).unwrap();
            assert_eq!(now.effective, CapabilitySet::CHOWN);
            assert_eq!(now.permitted, CapabilitySet::CHOWN);
            let bounding = |one| thread::capability_is_in_bounding_set(one).unwrap();
            assert!(bounding(CapabilitySet::CHOWN) && !bounding(CapabilitySet::SYS_ADMIN));
        });
    }

    #[test]
    fn root_another_user_cannot_read_what_is_roots() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: needs root");
            return;
        }
        apart(|| {
            bound_capabilities(&[]).unwrap();
            become_user(65534).unwrap();
            keep_capabilities(&[]).unwrap();
            let bounding = thread::capability_is_in_bounding_set(CapabilitySet::CHOWN);
            assert!(!bounding.unwrap());
            assert!(std::fs::read("/etc/shadow").is_err());
        });
    }
}
