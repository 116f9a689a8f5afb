//! All that an author of a Longshore driver depends on.
//!
//! It re-exports the contracts of `longshore-core` and adds [`export!`], which makes a library out of
//! a driver: manifest, root module, instances, descriptors, cancellation, caught panics. Built for
//! `wasm32-wasip2` the same crate is a component (`guest`, of the world in `wit/`). The same
//! service stands behind a driver that is linked in ([`serve::Static`]). Loading, checking and
//! calling drivers is the host's and lives in `longshore-loader`.
//!
//! # A whole driver
//! A volume driver that keeps each volume in a folder of its own. It is pure: it reads nothing and
//! changes nothing, it answers what the host shall do.
//!
//! ```
//! use longshore_plugin::driver::{
//!     Area, Capabilities, Description, Driver, Holds, Open, Probe, Probed, Versions,
//! };
//! use longshore_plugin::graph::{Ended, Made};
//! use longshore_plugin::steps::{MountPlan, MountStep, Place, Source, TreeStep};
//! use longshore_plugin::types::{Note, Owner, RelPath, VolumeName};
//! use longshore_plugin::volume::{
//!     Access, Create, Created, Mount, Mounted, Remove, Removed, Scope, VolumeCapabilities,
//!     VolumeDriver,
//! };
//! use longshore_plugin::{Context, Error, Result};
//!
//! pub struct Plain;
//!
//! fn capabilities() -> Capabilities {
//!     Capabilities::Volume(VolumeCapabilities {
//!         acts: false,
//!         scope: Scope::Local,
//!         tracks_mounts: false,
//!         usage: false,
//!         lists: false,
//!     })
//! }
//!
//! /// A volume's folder: area 0, that volume, its whole tree.
//! fn folder(name: &VolumeName) -> Place {
//!     Place::object(0, name.as_str(), RelPath::root())
//! }
//!
//! impl Driver for Plain {
//!     fn describe() -> Description {
//!         Description {
//!             name: "plain".into(),
//!             aliases: vec![],
//!             version: env!("CARGO_PKG_VERSION").into(),
//!             kind: "volume".into(),
//!             interface: Versions { from: 0, to: 0 },
//!             folder: None,
//!             areas: vec![Area { template: "{}".into(), holds: Holds::Object, source: true }],
//!             options: vec![],
//!             capabilities: capabilities(),
//!             concurrency: 16,
//!         }
//!     }
//!
//!     fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
//!         Ok(Probed { usable: true, reasons: vec![], capabilities: capabilities() })
//!     }
//!
//!     fn open(_cx: &Context, request: Open) -> Result<Self> {
//!         match request.options.first() {
//!             Some(option) => Err(Error::invalid(format!("plain has no option {}", option.name))),
//!             None => Ok(Self),
//!         }
//!     }
//! }
//!
//! impl VolumeDriver for Plain {
//!     fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
//!         Ok(Created {
//!             outcome: Made::New,
//!             note: Note::default(),
//!             steps: vec![TreeStep::Directory {
//!                 at: folder(&request.name),
//!                 mode: 0o755,
//!                 owner: Owner::ROOT,
//!                 like: None,
//!             }],
//!         })
//!     }
//!
//!     fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
//!         Ok(Removed {
//!             outcome: Ended::Done,
//!             steps: vec![TreeStep::Remove { at: folder(&request.volume.name) }],
//!         })
//!     }
//!
//!     fn mount(&self, _cx: &Context, request: Mount) -> Result<Mounted> {
//!         let plan = MountPlan::single(MountStep {
//!             fs: "bind".into(),
//!             source: Source::Tree(folder(&request.volume.name)),
//!             lowers: vec![],
//!             upper: None,
//!             work: None,
//!             options: vec![],
//!             read_only: request.access == Access::Read,
//!         });
//!         Ok(Mounted { plan, shared: false, fill: true })
//!     }
//! }
//!
//! longshore_plugin::export! {
//!     driver: Plain,
//!     kind: volume,
//!     name: "plain",
//!     version: env!("CARGO_PKG_VERSION"),
//! }
//! # fn main() {}
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib", "rlib"]`; `cargo build` leaves the library, and
//! `longshore plugin verify FILE` tells what a host thinks of it.

#[cfg(target_family = "wasm")]
pub mod guest;
#[cfg(not(target_family = "wasm"))]
pub mod library;
pub mod manifest;
mod panics;
pub mod serve;

pub use longshore_core::{
    Context, Data, Error, ErrorKind, Result, context, driver, envelope, error, exec, graph, ipam, network, schema,
    state, steps, types, volume, wire,
};

/// Makes a library of a driver, or a component where the target is Wasm.
///
/// ```text
/// longshore_plugin::export! {
///     driver: Overlay,                       // implements Driver and the trait of its kind
///     kind: graph,                           // graph, volume, network, ipam or exec
///     name: "overlay",                       // as describe() gives it
///     version: env!("CARGO_PKG_VERSION"),    // as describe() gives it
///     interface: 0 to 0,                     // optional: 0 to the newest of this build
///     grants: ["fs:overlay"],                // optional: what is not the driver's own
///     transports: ["static", "dylib"],       // optional: all that the target makes
///     programs: [],                          // optional: programs that the host starts for it
/// }
/// ```
///
/// Once in a library. Linking several drivers into one program is no clash: nothing but the symbol
/// of the library's root module is exported, and that stands in this crate.
#[macro_export]
macro_rules! export {
    (@kind graph) => { $crate::graph::GraphKind };
    (@kind volume) => { $crate::volume::VolumeKind };
    (@kind network) => { $crate::network::NetworkKind };
    (@kind ipam) => { $crate::ipam::IpamKind };
    (@kind exec) => { $crate::exec::ExecKind };
    (@from) => { 0 };
    (@from $from:literal) => { $from };
    (@to $driver:ty, $kind:ident) => {
        <$crate::export!(@kind $kind) as $crate::driver::Kind<$driver>>::VERSION
    };
    (@to $driver:ty, $kind:ident $to:literal) => { $to };
    (@transports) => { $crate::manifest::TRANSPORTS };
    (@transports $($transport:literal)+) => { &[$($transport),+] };
    (
        driver: $driver:ty,
        kind: $kind:ident,
        name: $name:expr,
        version: $version:expr
        $(, interface: $from:literal to $to:literal)?
        $(, grants: [$($grant:literal),* $(,)?])?
        $(, transports: [$($transport:literal),* $(,)?])?
        $(, programs: [$($program:literal),* $(,)?])?
        $(,)?
    ) => {
        const _: () = {
            const FIELDS: $crate::manifest::Fields = $crate::manifest::Fields {
                kind: stringify!($kind),
                name: $name,
                version: $version,
                from: $crate::export!(@from $($from)?),
                to: $crate::export!(@to $driver, $kind $($to)?),
                grants: &[$($($grant),*)?],
                transports: $crate::export!(@transports $($($transport)*)?),
                programs: &[$($($program),*)?],
            };
            type Service = $crate::serve::Service<$driver, $crate::export!(@kind $kind)>;

            #[used]
            #[unsafe(link_section = "longshore.manifest")]
            static MANIFEST: [u8; $crate::manifest::length(&FIELDS)] = $crate::manifest::bytes(&FIELDS);

            static SERVICE: ::std::sync::LazyLock<Service> = ::std::sync::LazyLock::new(Service::new);

            fn service() -> &'static dyn $crate::serve::Serve {
                &*SERVICE
            }

            $crate::entry!(&MANIFEST, service);
        };
    };
}

/// How the host finds a driver's service in a library.
#[doc(hidden)]
#[cfg(not(target_family = "wasm"))]
#[macro_export]
macro_rules! entry {
    ($manifest:expr, $service:ident) => {
        #[used]
        #[unsafe(link_section = "longshore_driver")]
        static ENTRY: $crate::library::Entry = $crate::library::Entry {
            manifest: $manifest,
            service: $service,
        };
    };
}

/// How the host finds a driver's service in a component.
#[doc(hidden)]
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! entry {
    ($manifest:expr, $service:ident) => {
        // A scope of its own: the driver may have any name, also this one.
        const _: () = {
            struct Component;

            impl $crate::guest::Guest for Component {
                fn call(
                    instance: u64,
                    id: u64,
                    method: ::std::string::String,
                    body: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<::std::vec::Vec<u8>, ::std::vec::Vec<u8>> {
                    $crate::guest::call($service(), instance, id, &method, body)
                }

                fn close(instance: u64) {
                    $service().close(instance);
                }
            }

    $crate::guest::bindings::export!(Component with_types_in $crate::guest::bindings);
        };
    };
}
