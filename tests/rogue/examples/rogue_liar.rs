//! Its manifest gives a name, its driver another one.

use longshore_rogue::{Face, Rogue};

struct Library;

impl Face for Library {
    const NAME: &'static str = "rogue";
    const VERSION: &'static str = "1.0.0";
}

longshore_plugin::export! {
    driver: Rogue<Library>,
    kind: graph,
    name: "honest",
    version: "1.0.0",
}
