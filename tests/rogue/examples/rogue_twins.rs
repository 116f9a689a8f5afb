//! Two drivers in one library.

use longshore_rogue::{Face, Rogue};

struct First;
struct Second;

impl Face for First {
    const NAME: &'static str = "first";
    const VERSION: &'static str = "1.0.0";
}

impl Face for Second {
    const NAME: &'static str = "second";
    const VERSION: &'static str = "1.0.0";
}

longshore_plugin::export! {
    driver: Rogue<First>,
    kind: graph,
    name: "first",
    version: "1.0.0",
}

longshore_plugin::export! {
    driver: Rogue<Second>,
    kind: graph,
    name: "second",
    version: "1.0.0",
}
