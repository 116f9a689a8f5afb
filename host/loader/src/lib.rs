//! Finds, checks, loads and calls drivers.
//!
//! The order of checks is the point: the file ([`check`]: kind, owner, rights, a whole library for
//! this machine), its manifest, the policy ([`Origin`]), and only then its code. A refusal
//! ([`Refused`]) is one sentence with the file, what differs and what to do. What is loaded stays
//! loaded ([`Loaded`]); every call passes the same middleware ([`Guarded`]); the [`Registry`] knows
//! which driver a name means, and why one cannot be used.
//!
//! All of this is synchronous and knows no runtime, because the shim's helper links it: that uses
//! [`open_exec_by_fd`] alone, which makes no thread. What drivers answer is judged and performed
//! elsewhere (`longshore-performer`), which driver serves what is decided in the engine.

mod circuit;
mod discovery;
mod elf;
mod file;
mod instance;
mod library;
mod manifest;
mod metrics;
mod middleware;
mod open;
mod policy;
mod pool;
pub mod process;
pub mod record;
mod refusal;
mod registry;
mod services;
pub mod wasm;

pub use discovery::{Candidate, Isolation};
pub use file::{Checked, check, manifest_of};
pub use manifest::{KindRange, Manifest};
pub use metrics::{CallMetrics, prometheus};
pub use middleware::Guarded;
pub use open::{Loaded, open_exec_by_fd};
pub use policy::Origin;
pub use process::{ProcessState, Processes, Serving};
pub use refusal::{Problem, Refused};
pub use registry::{Entry, Registry, Ways};
