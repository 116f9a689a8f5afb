//! What a component finds of what it imports: the host's one function, and nothing else.
//!
//! Rust's standard library refers to WASI even in a driver that never calls it, so those interfaces
//! are there, and each of their functions ends the instance that calls it. Any other import refuses
//! the component before a line of it runs.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};

use crate::refusal::{Fault, Problem};
use crate::wasm::guest::{Guest, service};

/// The interface of `plugin-api/wit/driver.wit` that the host offers.
const HOST: &str = "longshore:driver/host@1.0.0";
/// Packages that a standard library refers to, with the version that is known here.
const STANDARD: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
const STANDARD_VERSION: &str = "@0.2.";

/// A component called what it has no grant for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotGranted(pub(super) String);

/// Links a component's imports.
pub(super) fn link(engine: &wasmtime::Engine, component: &Component) -> Result<Linker<Guest>, Fault> {
    let mut linker = Linker::new(engine);
    for (name, import) in component.component_type().imports(engine) {
        let linked = if name == HOST {
            linker
                .instance(name)
                .and_then(|mut host| host.func_wrap("service", service))
        } else if is_standard(name) {
            withhold(&mut linker, engine, name, &import.ty)
        } else {
            return Err(undeclared(name));
        };
        linked.map_err(|error| {
            Fault::new(
                Problem::Import,
                format_args!("its import {name:?} cannot be linked ({error:#})"),
                "build it again with a longshore-plugin of this host's release",
            )
        })?;
    }
    Ok(linker)
}

fn is_standard(name: &str) -> bool {
    STANDARD.iter().any(|package| name.starts_with(package)) && name.contains(STANDARD_VERSION)
}

fn undeclared(name: &str) -> Fault {
    if name.starts_with("longshore:driver/") {
        return Fault::new(
            Problem::Interface,
            format_args!("it imports {name:?}, this host offers {HOST:?}"),
            "use a newer host, or build it with a longshore-plugin of this host's release",
        );
    }
    Fault::new(
        Problem::Import,
        format_args!("it imports {name:?}, which no host offers a driver"),
        "build it without what needs that: a driver in Wasm reaches nothing but the host's services",
    )
}

/// Links every function of an interface to the end of the instance.
fn withhold(
    linker: &mut Linker<Guest>,
    engine: &wasmtime::Engine,
    name: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    let ComponentItem::ComponentInstance(interface) = item else {
        return withhold_item(&mut linker.root(), name, name, item);
    };
    let mut instance = linker.instance(name)?;
    for (function, export) in interface.exports(engine) {
        withhold_item(&mut instance, &format!("{name}#{function}"), function, &export.ty)?;
    }
    Ok(())
}

fn withhold_item(
    linker: &mut LinkerInstance<'_, Guest>,
    full_name: &str,
    name: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let full_name = full_name.to_owned();
            linker.func_new(name, move |_, _, _, _| Err(NotGranted(full_name.clone()).into()))
        }
        ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(())),
        ComponentItem::Type(_) => Ok(()),
        _ => Err(wasmtime::Error::msg("a module or component cannot be imported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_standard_library_refers_to_is_withheld_quietly() {
        assert!(is_standard("wasi:cli/stderr@0.2.6"));
        assert!(is_standard("wasi:io/streams@0.2.0"));
        for other in [
            "wasi:http/types@0.2.0",
            "wasi:cli/stderr@0.3.0",
            "evil:cli/x@0.2.0",
            "wasi:cli/run",
        ] {
            assert!(!is_standard(other), "{other}");
        }
    }

    #[test]
    fn another_version_of_the_host_is_a_matter_of_interface() {
        assert_eq!(undeclared("longshore:driver/host@2.0.0").problem, Problem::Interface);
        assert_eq!(undeclared("wasi:http/types@0.2.0").problem, Problem::Import);
    }
}
