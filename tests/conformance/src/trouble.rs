//! Trouble that a case makes for a driver's backend, where the driver has an option for it, and file
//! systems that are full.
//!
//! A driver that describes an option `provoke` of its own (a host path) gets the path of a file with
//! it. The file's first word says what its backend is to be in: `away`, `stall` or `panic`; a second
//! word names the only object that this concerns. Without the file all is well.

use std::fs;
use std::path::{Path, PathBuf};

use longshore_core::driver::{Description, OptionScope, OptionValue};

use crate::Failure;

/// The option.
const OPTION: &str = "provoke";

/// What the backend of a driver is in while this lives.
#[derive(Debug)]
pub(crate) struct Trouble(PathBuf);

impl Trouble {
    pub(crate) fn make(root: &Path, text: &str) -> Result<Self, Failure> {
        let file = file(root);
        fs::write(&file, text)?;
        Ok(Self(file))
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        // Not there: the case made no trouble after all.
        let _ = fs::remove_file(&self.0);
    }
}

fn file(root: &Path) -> PathBuf {
    root.with_file_name("trouble")
}

/// Whether the driver can be put in trouble.
pub(crate) fn possible(described: &Description) -> bool {
    described
        .options
        .iter()
        .any(|option| option.name == OPTION && option.scope == OptionScope::Driver)
}

/// The options to open a driver with, the one for trouble among them where there is one.
pub(crate) fn options(described: &Description, given: &[OptionValue], root: &Path) -> Vec<OptionValue> {
    let mut options = given.to_vec();
    if possible(described) {
        options.push(OptionValue::text(OPTION, file(root).to_string_lossy()));
    }
    options
}

/// What fills a file system up to a rest.
#[derive(Debug)]
pub(crate) struct Filler {
    folder: PathBuf,
}

impl Filler {
    /// Takes all files that a file system can hold but `free`.
    pub(crate) fn files(root: &Path, free: usize) -> Result<Self, Failure> {
        let folder = root.with_file_name("filler");
        fs::create_dir(&folder)?;
        let filler = Self { folder };
        let mut made = 0_usize;
        while fs::File::create_new(filler.folder.join(made.to_string())).is_ok() {
            made += 1;
        }
        for number in made.saturating_sub(free)..made {
            fs::remove_file(filler.folder.join(number.to_string()))?;
        }
        Ok(filler)
    }

    /// Takes all bytes that a file system can hold but so many pages.
    pub(crate) fn pages(root: &Path, free: u64) -> Result<Self, Failure> {
        use std::io::Write as _;
        const PAGE: u64 = 4096;
        let folder = root.with_file_name("filler");
        fs::create_dir(&folder)?;
        let filler = Self { folder };
        let mut file = fs::File::create_new(filler.folder.join("0"))?;
        let mut length = 0;
        while file.write_all(&[1; PAGE as usize]).is_ok() {
            length += PAGE;
        }
        file.set_len(length.saturating_sub(free * PAGE))?;
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // A leftover goes with the file system, which is the case's own.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
