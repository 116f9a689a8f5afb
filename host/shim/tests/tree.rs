//! What the shim must not carry: an async runtime, a database, a Wasm engine. It lives as long as
//! its container, once for each.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn the_shim_carries_no_runtime_no_database_and_no_wasm() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "-p",
            "longshore-shim",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"longshore-loader"));
    for unwanted in ["tokio", "rusqlite", "libsqlite3-sys", "wasmtime", "hyper"] {
        assert!(!names.contains(&unwanted), "{unwanted} is in the shim's tree");
    }
}
