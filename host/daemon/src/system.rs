//! `_ping`, `version` and `info`.

use std::collections::HashMap;
use std::path::Path;

use hyper::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use longshore_engine::models;
use serde_json::{Value, json};

use crate::reply::{Answer, json, text};
use crate::route::{Call, NEWEST, OLDEST};

const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Says that the engine is there, and what it speaks.
pub(crate) async fn ping(call: &Call) -> Answer {
    let mut reply = text(if call.request.method() == hyper::Method::HEAD {
        ""
    } else {
        "OK"
    });
    let headers = reply.headers_mut();
    headers.insert("builder-version", HeaderValue::from_static(""));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert("x-longshore-build", HeaderValue::from_static(BUILD));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(problem) = call.daemon.settings.problem().await {
        let line: String = problem
            .chars()
            .map(|c| if c.is_ascii_control() { ' ' } else { c })
            .collect();
        if let Ok(value) = HeaderValue::from_str(&line) {
            headers.insert("x-longshore-warning", value);
        }
    }
    Ok(reply)
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine's name as Go has it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

pub(crate) fn version() -> Answer {
    let (api, oldest) = (NEWEST.to_string(), OLDEST.to_string());
    let details = HashMap::from([
        ("ApiVersion".to_owned(), api.clone()),
        ("MinAPIVersion".to_owned(), oldest.clone()),
        ("Os".to_owned(), "linux".to_owned()),
        ("Arch".to_owned(), architecture().to_owned()),
        ("KernelVersion".to_owned(), kernel()),
        ("Experimental".to_owned(), "false".to_owned()),
        ("GitCommit".to_owned(), String::new()),
        ("GoVersion".to_owned(), String::new()),
        ("BuildTime".to_owned(), String::new()),
    ]);
    json(&models::SystemVersion {
        platform: Some(models::SystemVersionPlatform {
            name: "Longshore".into(),
        }),
        components: Some(vec![models::SystemVersionComponents {
            name: "Engine".into(),
            version: BUILD.into(),
            details: Some(details),
        }]),
        version: Some(BUILD.into()),
        api_version: Some(api),
        min_api_version: Some(oldest),
        git_commit: Some(String::new()),
        go_version: Some(String::new()),
        os: Some("linux".into()),
        arch: Some(architecture().into()),
        kernel_version: Some(kernel()),
        experimental: Some(false),
        build_time: Some(String::new()),
    })
}

pub(crate) async fn info(call: &Call) -> Answer {
    let engine = call.engine();
    let drivers = engine.drivers().await?;
    let named = |kind: &str| -> Vec<&str> {
        drivers
            .iter()
            .filter(|driver| driver.kind == kind)
            .map(|driver| driver.name.as_str())
            .collect()
    };
    let default = |kind: &str| {
        let config = engine.config();
        config
            .kind(kind)
            .and_then(|section| section.driver.clone())
            .unwrap_or_default()
    };
    let everything = longshore_engine::ListRequest {
        all: true,
        ..Default::default()
    };
    let containers = engine.list(everything).await?;
    let paused = containers
        .iter()
        .filter(|container| container.state == Some(models::ContainerSummaryStateEnum::PAUSED))
        .count();
    let running = engine.running().saturating_sub(paused);
    let paths = engine.paths();
    let warnings: Vec<String> = call.daemon.settings.problem().await.into_iter().collect();
    let exec = default("exec");
    let mut object = json!({
        "ID": paths.root_id,
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len().saturating_sub(running + paused),
        "Images": engine.images().await?.len(),
        "Driver": default("graph"),
        "DriverStatus": [["Drivers", named("graph").join(", ")]],
        "DockerRootDir": paths.data,
        "Plugins": {
            "Volume": named("volume"),
            "Network": named("network"),
            "Authorization": null,
            "Log": ["json-file"],
        },
        "Runtimes": { exec.clone(): { "path": "longshore-shim" } },
        "DefaultRuntime": exec,
        "Warnings": warnings,
    });
    if let (Value::Object(all), Value::Object(fixed), Value::Object(machine)) = (&mut object, fixed(), machine()) {
        all.extend(fixed);
        all.extend(machine);
    }
    json(&object)
}

/// What everything takes on disk.
pub(crate) async fn disk_usage(call: &Call) -> Answer {
    json(&call.engine().disk_usage().await?)
}

/// What is so with every engine of this version.
fn fixed() -> Value {
    json!({
        "Debug": false,
        "NEventsListener": 0,
        "LoggingDriver": "json-file",
        "OSType": "linux",
        "IndexServerAddress": "",
        "RegistryConfig": null,
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": BUILD,
        "Swarm": { "LocalNodeState": "inactive", "ControlAvailable": false, "NodeID": "" },
        "LiveRestoreEnabled": true,
        "InitBinary": "longshore-init",
        "SecurityOptions": ["name=seccomp,profile=builtin"],
    })
}

/// What the machine says of itself.
fn machine() -> Value {
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    // A controller of version 1 has a folder, one of version 2 a word in the list.
    let list = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = |controller: &str| {
        list.split_whitespace().any(|word| word == controller) || Path::new("/sys/fs/cgroup").join(controller).exists()
    };
    json!({
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "OomKillDisable": !v2 && has("memory"),
        "IPv4Forwarding": std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
        "NFd": std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        "NGoroutines": std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if v2 { "2" } else { "1" },
        "KernelVersion": kernel(),
        "OperatingSystem": operating_system(),
        "Architecture": uname.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
        "Name": uname.nodename().to_string_lossy(),
    })
}

/// The system's name for people.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
