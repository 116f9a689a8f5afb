//! The host's raw system calls: the one crate of the host that may hold unsafe code.
//!
//! Here live thin, safe functions over descriptors: files beneath a root, extended attributes,
//! mounts, processes, namespaces, sockets that pass descriptors, waiting. Each error names its
//! system call; which object it met belongs to the caller's message. Not here: any decision, such
//! as which path may be opened or what is to be mounted (performer, shim), and anything that is
//! only reading and writing files (cgroups, procfs tables).

pub mod confine;
pub mod data;
pub mod event;
pub mod landlock;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod path;
pub mod process;
pub mod socket;
pub mod tty;
pub mod xattr;

mod error;

pub use error::{Error, Result};
pub use rustix::io::Errno;
