//! Descriptors of this process, alone in its program so that nothing else opens any.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Folder, load, remove, root};
use longshore_core::Context;

#[test]
fn no_descriptor_is_left_after_calls_and_panics() {
    let folder = Folder::new();
    let loaded = load(&folder.copy("rogue_one", "x.so")).unwrap();
    let rogue = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    rogue.remove(&Context::background(), remove("panic")).unwrap_err();
    let before = count();
    for _ in 0..20 {
        rogue.remove(&Context::background(), remove("calm")).unwrap();
        rogue.remove(&Context::background(), remove("panic")).unwrap_err();
    }
    assert_eq!(count(), before);
}
