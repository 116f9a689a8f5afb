//! Performs what drivers describe, and is the only place that changes trees and mounts.
//!
//! Here live: places beneath a driver's root and untrusted trees, both opened by descriptor so that
//! no link leads out ([`root`]); tree steps, checked as a whole and performed so that they can be
//! repeated ([`tree`]); mount plans, checked against the contract's tables and built as detached
//! mounts ([`plan`]); an empty volume's first content ([`fill`]); the facts that drivers judge ([`facts`]); network plans ([`net`]); filling an untrusted tree
//! ([`sink`]), reading and comparing trees ([`source`]). Not here: which plan or step list is
//! performed when, records, and archives, which are the engine's; attaching a finished mount in a
//! container, which is the shim's.
//!
//! What was checked is what is used: each place is opened once, and the descriptor that passed the
//! check is the one that is written to or mounted.
#![forbid(unsafe_code)]

pub mod facts;
pub mod fill;
pub mod net;
pub mod plan;
pub mod root;
pub mod sink;
pub mod source;
pub mod tree;

mod copy;
mod descent;
mod error;
mod remove;
mod xattrs;

/// Whether the build for mutants was told to leave out this defence.
pub(crate) fn naive(defence: &str) -> bool {
    cfg!(feature = "naive") && std::env::var_os("LONGSHORE_NAIVE").is_some_and(|chosen| chosen == defence)
}
