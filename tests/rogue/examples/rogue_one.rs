//! The rogue, version 1.

use longshore_rogue::{Face, Rogue};

struct Library;

impl Face for Library {
    const NAME: &'static str = "rogue";
    const VERSION: &'static str = "1.0.0";
}

longshore_plugin::export! {
    driver: Rogue<Library>,
    kind: graph,
    name: "rogue",
    version: "1.0.0",
}
