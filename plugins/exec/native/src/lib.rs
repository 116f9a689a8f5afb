//! The native exec driver: containers by youki's libcontainer, in this process.
//!
//! Here lives what stands between the contract and the library: the spec is checked and adapted
//! ([`spec`]), the library is called ([`create`], [`exec`]), and what it gets wrong or leaves open is
//! done here: entries and their errors ([`entry`]), streams and terminals ([`stream`],
//! [`terminal`]), cgroups ([`cgroup`]), states ([`state`]), clean-up ([`delete`]). `README.md` lists
//! the library's faults. Not here: namespaces of the network, mounts, logs, exit statuses; they are
//! the host's.
//!
//! All methods but `state` may only be called in a process of one thread: the library makes
//! processes by the raw system call and allocates in them.
#![forbid(unsafe_code)]

mod cgroup;
mod config;
mod create;
mod delete;
mod entry;
mod exec;
mod failure;
mod freeze;
mod place;
mod probe;
mod process;
mod spec;
mod start;
mod state;
mod stream;
mod terminal;
mod trail;

use longshore_plugin::driver::{Capabilities, Description, Driver, Open, Probe, Probed, Versions};
use longshore_plugin::exec::{
    Create, Created, Delete, Deleted, Exec, ExecCapabilities, ExecDriver, Executed, Freeze, Frozen, Start, Started,
    State, Stated, Update, Updated,
};
use longshore_plugin::{Context, Error, Result};

/// The driver. It keeps nothing: all that it must know lies in each container's state folder.
#[derive(Debug)]
pub struct Native;

/// OCI runtime specification 1.2, as major * 1000 + minor.
const NEWEST_SPEC: u32 = 1002;

fn capabilities() -> ExecCapabilities {
    ExecCapabilities {
        freeze: true,
        terminal: true,
        seccomp: true,
        apparmor: false,
        selinux: false,
        cgroup_v1: true,
        cgroup_v2: true,
        device_rules_v1: true,
        device_rules_v2: true,
        spec: NEWEST_SPEC,
    }
}

impl Driver for Native {
    fn describe() -> Description {
        Description {
            name: "native".into(),
            aliases: vec!["libcontainer".into()],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "exec".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: config::specs(),
            capabilities: Capabilities::Exec(capabilities()),
            concurrency: 1,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        config::check(&request.options)?;
        let reasons = probe::judge(&probe::Machine::here(), &request.facts);
        Ok(Probed {
            usable: reasons.is_empty(),
            reasons,
            capabilities: Capabilities::Exec(capabilities()),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        config::check(&request.options)?;
        match probe::judge_machine(&probe::Machine::here()).into_iter().next() {
            Some(reason) => Err(Error::unavailable(format!("{}: {}", reason.what, reason.remedy))),
            None => Ok(Self),
        }
    }
}

impl ExecDriver for Native {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        create::create(cx, &request)
    }

    fn start(&self, _cx: &Context, request: Start) -> Result<Started> {
        start::start(&request)
    }

    fn exec(&self, cx: &Context, request: Exec) -> Result<Executed> {
        exec::exec(cx, &request)
    }

    fn state(&self, _cx: &Context, request: State) -> Result<Stated> {
        state::state(&request)
    }

    fn update(&self, _cx: &Context, request: Update) -> Result<Updated> {
        cgroup::update::update(&request)
    }

    fn freeze(&self, _cx: &Context, request: Freeze) -> Result<Frozen> {
        freeze::freeze(&request)
    }

    fn delete(&self, _cx: &Context, request: Delete) -> Result<Deleted> {
        delete::delete(&request)
    }
}

longshore_plugin::export! {
    driver: Native,
    kind: exec,
    name: "native",
    version: env!("CARGO_PKG_VERSION"),
}
