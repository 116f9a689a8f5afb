//! It speaks an interface that no host speaks yet.

use longshore_rogue::{Face, Rogue};

struct Library;

impl Face for Library {
    const NAME: &'static str = "rogue";
    const VERSION: &'static str = "9.0.0";
    const INTERFACE: u16 = 7;
}

longshore_plugin::export! {
    driver: Rogue<Library>,
    kind: graph,
    name: "rogue",
    version: "9.0.0",
    interface: 7 to 7,
}
