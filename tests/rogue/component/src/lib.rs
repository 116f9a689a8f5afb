//! The rogue as a component: tools/build-wasm builds it, `tests/rogue/tests/wasm.rs` loads it.
#![forbid(unsafe_code)]

use longshore_rogue::{Face, Rogue};

struct Component;

impl Face for Component {
    const NAME: &'static str = "rogue";
    const VERSION: &'static str = "1.0.0";
}

longshore_plugin::export! {
    driver: Rogue<Component>,
    kind: graph,
    name: "rogue",
    version: "1.0.0",
}
