//! Images, containers and volumes on top of drivers: the engine that `longshored` serves, and that
//! builders embed.
//!
//! [`EngineBuilder`] takes a data root and gives an [`Engine`]. One process at a time has a data
//! root; what it starts lives on without it. Here live Docker's objects and the order in which
//! drivers are asked and answers are performed. What changes the machine is in the performer, what
//! one technology needs is in its driver, what speaks HTTP is in the daemon: nothing here knows a
//! driver's name.
//!
//! ```no_run
//! # async fn example() -> longshore_engine::Result<()> {
//! use longshore_engine::{EngineBuilder, models::ContainerCreateBody};
//!
//! let engine = EngineBuilder::new("/var/lib/mine").components("/usr/lib/longshore").build().await?;
//! engine.load(std::fs::File::open("busybox.tar").unwrap()).await?;
//! let body = ContainerCreateBody {
//!     image: Some("busybox".into()),
//!     cmd: Some(vec!["echo".into(), "hello".into()]),
//!     ..Default::default()
//! };
//! let container = engine.create(None, body, Default::default()).await?;
//! engine.start(&container.id).await?;
//! println!("exit code {}", engine.wait(&container.id).await?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod builder;
mod cgroup;
mod collect;
pub mod config;
mod container;
mod doctor;
mod drivers;
mod engine;
mod error;
mod explain;
mod image;
mod keyed;
mod layer;
mod paths;
mod plugins;
mod reference;
mod store;
mod time;
mod usage;
mod volume;

pub use bollard_stubs::models;

pub use builder::EngineBuilder;
pub use config::Config;
pub use container::{AttachRequest, CreatedContainer, ExecSession, ListRequest, LogRequest, Waiter, parse_signal};
pub use doctor::{Finding, FindingState};
pub use drivers::{Choice, DriverReason, DriverView};
pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use explain::Explained;
pub use image::Loaded;
pub use paths::Paths;
pub use plugins::{PluginFile, PluginRequest, PluginView};
pub use reference::Reference;
pub use usage::{ContainerSize, DiskUsage};

/// Whether the build for mutants was told to leave out this defence.
pub(crate) fn naive(defence: &str) -> bool {
    cfg!(feature = "naive") && std::env::var_os("LONGSHORE_NAIVE").is_some_and(|chosen| chosen == defence)
}

/// An error of the archive's reader or writer, as the engine's.
pub(crate) fn archive_error(attempted: &str, error: &longshore_archive::Error) -> Error {
    Error::new(error.kind(), format!("{attempted}: {error}"))
}
