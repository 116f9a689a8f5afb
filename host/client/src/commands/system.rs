//! `version` and `info`.

use serde_json::{Value, json};

use super::{items, number, text};
use crate::cli::Global;
use crate::cli::engine::ShowArgs;
use crate::connect;
use crate::error::Result;
use crate::output::listing::{Form, lines};
use crate::output::{self, units};

pub(crate) async fn version(global: &Global, args: &ShowArgs) -> Result<u8> {
    // The client's own side is known whether an engine answers or not.
    let engine = connect::open(global).await;
    let (spoken, server) = match &engine {
        Ok(engine) => {
            let (major, minor) = engine.version;
            (format!("{major}.{minor}"), engine.get("/version").await)
        }
        Err(failure) => (String::new(), Err(failure.clone())),
    };
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": spoken,
        "Os": std::env::consts::OS,
        "Arch": docker_arch(std::env::consts::ARCH),
    });
    let both = json!({"Client": client, "Server": server.as_ref().ok()});
    match Form::of(args.format.as_deref(), global.json) {
        Form::Json => output::line(both.to_string())?,
        Form::Template(template) => {
            output::print(&lines(template, std::iter::once(both))?)?;
        }
        Form::Table => {
            output::print(&side("Client", &client))?;
            if let Ok(server) = &server {
                output::print(&format!("\n{}", side("Server", server)))?;
            }
        }
    }
    server.map(|_| 0)
}

fn docker_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn side(name: &str, object: &Value) -> String {
    let platform = match name {
        "Client" => Some("Longshore"),
        _ => object.pointer("/Platform/Name").and_then(Value::as_str),
    };
    let mut out = format!("{name}: {}", platform.unwrap_or_default())
        .trim_end()
        .to_owned();
    out.push('\n');
    let mut add = |label: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!(" {:<18} {value}\n", format!("{label}:")));
        }
    };
    add("Version", text(object, "Version"));
    let api = text(object, "ApiVersion");
    match text(object, "MinAPIVersion") {
        least if least.is_empty() => add("API version", api),
        least => add("API version", format!("{api} (minimum version {least})")),
    }
    add("Git commit", text(object, "GitCommit"));
    add("Built", text(object, "BuildTime"));
    let platform = [text(object, "Os"), text(object, "Arch")];
    add("OS/Arch", platform.join("/"));
    add("Kernel", text(object, "KernelVersion"));
    out
}

pub(crate) async fn info(global: &Global, args: &ShowArgs) -> Result<u8> {
    let engine = connect::open(global).await?;
    let known = engine.get("/info").await?;
    match Form::of(args.format.as_deref(), global.json) {
        Form::Json => output::line(known.to_string())?,
        Form::Template(template) => {
            output::print(&lines(template, std::iter::once(known))?)?;
        }
        Form::Table => output::print(&about(&known))?,
    }
    Ok(0)
}

/// The plain fields of `info`, in Docker's order and words.
const INFO: &[(&str, &str)] = &[
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
];

fn about(known: &Value) -> String {
    let mut out = String::new();
    for (label, field) in INFO {
        let value = text(known, field);
        if !value.is_empty() {
            out.push_str(&format!("{label}: {value}\n"));
        }
        if *field == "Driver" {
            for pair in items(known, "DriverStatus") {
                if let Some([name, value]) = pair.as_array().map(Vec::as_slice) {
                    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    out.push_str(&format!(" {}: {}\n", word(name), word(value)));
                }
            }
        }
        if *field == "NCPU" && number(known, "MemTotal") > 0 {
            let memory = units::binary_size(number(known, "MemTotal"));
            out.push_str(&format!("Total Memory: {memory}\n"));
        }
    }
    for (label, list) in [("Security Options", "SecurityOptions"), ("Warnings", "Warnings")] {
        let words: Vec<String> = items(known, list)
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!(" {word}\n"))
            .collect();
        if !words.is_empty() {
            out.push_str(&format!("{label}:\n{}", words.concat()));
        }
    }
    out
}
