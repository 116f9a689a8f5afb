//! Files in memory that nobody can change any more.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::OwnedFd;

use rustix::fs::{self, MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::error::{Error, Named, Result};

/// A sealed copy of a program, to be executed by its descriptor: whoever gets hold of it through
/// `/proc/<pid>/exe` cannot write to it.
///
/// # Errors
/// The kernel's; `EACCES` where it runs nothing from memory.
pub fn sealed_program(name: &str, program: &mut File) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 the flag is unknown, and every such file may be executed.
    let memory = match fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        other => other,
    };
    let mut memory = File::from(memory.named("memfd_create")?);
    program.seek(SeekFrom::Start(0)).named("lseek")?;
    let copied = std::io::copy(program, &mut memory).named("write")?;
    if copied == 0 {
        return Err(Error::new("read", Errno::NOEXEC));
    }
    fs::fcntl_add_seals(
        &memory,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .named("fcntl F_ADD_SEALS")?;
    Ok(memory.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write;

    #[test]
    fn a_sealed_program_runs_and_cannot_be_written() {
        let mut program = File::open("/bin/true").unwrap();
        let sealed = sealed_program("true", &mut program).unwrap();
        let path = crate::path::through_proc(&sealed);
        assert!(std::process::Command::new(path).status().unwrap().success());
        assert!(File::from(sealed).write_all(b"x").is_err());
    }
}
