//! `longshore-conformance`: proves a driver file against its kind's contract.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use longshore_conformance::{Target, exec, names, report, run};
use longshore_loader::wasm::{Engine, Settings};
use longshore_loader::{Loaded, Origin, Processes};

/// Runs the conformance suite of a driver's kind on its file.
#[derive(Debug, Parser)]
#[command(name = "longshore-conformance", version)]
struct Arguments {
    /// The driver's library (.so) or component (.wasm)
    #[arg(required_unless_present = "list")]
    file: Option<PathBuf>,
    /// List the cases of a kind and run none
    #[arg(long, value_name = "KIND", value_parser = ["graph", "volume", "network", "ipam", "exec"])]
    list: Option<String>,
    /// How a library is run: in this process, or in one of its own
    #[arg(long, value_name = "TRANSPORT", default_value = "dylib", value_parser = ["dylib", "process"])]
    transport: String,
    /// Run only cases whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Make roots in this folder, to prove a driver on its file system
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Before any thread exists: one case of an exec driver is a process of its own.
    if let Some(code) = exec::play(&[]) {
        return code;
    }
    let arguments = Arguments::parse();
    if let Some(kind) = &arguments.list {
        for name in names(kind) {
            println!("{name}");
        }
        println!("\nnot yet in the interface:");
        for case in longshore_conformance::deferred::of(kind) {
            println!("{} ({})", case.name, case.part);
        }
        return ExitCode::SUCCESS;
    }
    match prove(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(sentence) => {
            eprintln!("longshore-conformance: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn prove(arguments: &Arguments) -> Result<bool, String> {
    let file = arguments.file.clone().unwrap_or_default();
    // Whoever runs this command trusts the file with this process; what it may mount is decided by
    // its own manifest.
    let wanted = longshore_loader::check(&file).map_err(|refused| refused.to_string())?;
    let origin = Origin::Explicit {
        in_process: true,
        grants: wanted.manifest().grants.clone(),
    };
    let loaded = if wanted.is_component() {
        Loaded::from_checked_component(wanted, &origin, &Engine::new(Settings::default()))
    } else if arguments.transport == "process" {
        let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        Loaded::from_checked_process(wanted, &origin, &Processes::new(own.with_file_name("longshore-runner")))
    } else {
        Loaded::from_checked(wanted, &origin)
    }
    .map_err(|refused| refused.to_string())?;
    let description = loaded.description().clone();
    let target = Target {
        loaded: Arc::new(loaded),
        options: Vec::new(),
        folder: arguments.folder.clone(),
    };
    let ended = run(&target, &arguments.filter).map_err(|failure| failure.to_string())?;
    if ended.is_empty() {
        return Err(format!("no case's name holds {:?}", arguments.filter));
    }
    let title = format!(
        "{} {} {} as {}",
        description.kind,
        description.name,
        description.version,
        target.loaded.transport()
    );
    print!("{}", report::text(&title, &ended));
    if let Some(junit) = &arguments.junit {
        std::fs::write(junit, report::junit(&title, &ended))
            .map_err(|e| format!("cannot write {}: {e}", junit.display()))?;
    }
    Ok(report::count(&ended).failed == 0)
}
