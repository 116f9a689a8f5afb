//! Drivers that exist to be tested with: small, in memory, shaped like the extremes.
//!
//! [`graph::Sim`] keeps a list of its layers, copies whole trees as vfs does, and defers removals as
//! device-mapper does: what the bundled drivers are not. [`volume::Sim`] counts its mounts and has a
//! backend that can go away. [`exec::Sim`] makes containers of real processes without namespaces, cgroups or terminals. The
//! conformance suites are written against them, and [`graph::Defect`], [`volume::Defect`] and
//! [`exec::Defect`] plant one fault at a time, so that each fault is shown to be caught. [`trouble`] is how a test makes a
//! backend hang, fail or panic. Nothing here is loaded by an engine.
#![forbid(unsafe_code)]

pub mod exec;
pub mod graph;
pub mod trouble;
pub mod volume;

mod root;
