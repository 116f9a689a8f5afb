//! A driver that is loaded, and the instances that are opened of it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use longshore_core::context::Context;
use longshore_core::driver::{Capabilities, Describe, Description, Facts, Opened, OptionValue, Probe, Probed};
use longshore_core::error::{Error, Result};
use longshore_core::exec::ExecDriver;
use longshore_core::graph::GraphDriver;
use longshore_core::ipam::Ipam;
use longshore_core::network::NetworkDriver;
use longshore_core::types::Bytes;
use longshore_core::volume::VolumeDriver;
use longshore_core::wire::{Channel, DESCRIBE, HandleKind, PROBE, client_call};
use longshore_core::{exec, graph, ipam, network, volume};

use crate::file::{self, Checked};
use crate::instance::{Instance, Opening};
use crate::library;
use crate::manifest::Manifest;
use crate::metrics::CallMetrics;
use crate::middleware::Guarded;
use crate::policy::{self, Origin, Transport};
use crate::process::{Process, ProcessState, Processes, Spec};
use crate::record::{Recorder, Recording};
use crate::refusal::{Fault, Problem, Refused};
#[cfg(feature = "wasm")]
use crate::wasm;

/// A driver that can be opened.
pub struct Loaded {
    description: Description,
    file: Option<Checked>,
    transport: &'static str,
    guarded: Arc<Guarded>,
    process: Option<Arc<Process>>,
}

/// The newest interface version that this host speaks of a kind.
pub(crate) fn host_interface(kind: &str) -> Option<u16> {
    Some(match kind {
        "graph" => graph::VERSION,
        "volume" => volume::VERSION,
        "network" => network::VERSION,
        "ipam" => ipam::VERSION,
        "exec" => exec::VERSION,
        _ => return None,
    })
}

impl Loaded {
    /// Checks a file, asks the policy, loads it and compares what it says of itself with its
    /// manifest.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn from_path(path: &Path, origin: &Origin) -> Result<Self, Refused> {
        Self::from_checked(file::check(path)?, origin)
    }

    /// As [`Self::from_path`], of a file that was checked before.
    ///
    /// # Errors
    /// As there.
    pub fn from_checked(checked: Checked, origin: &Origin) -> Result<Self, Refused> {
        let manifest = checked.manifest();
        let at = |fault: Fault| fault.at(checked.path());
        if checked.is_component() {
            return Err(at(Fault::new(
                Problem::NotLibrary,
                "it is a Wasm component and no library",
                format!("write isolation = \"wasm\" under [plugin.{}]", manifest.label()),
            )));
        }
        policy::check(manifest, origin, Transport::Dylib).map_err(at)?;
        check_interface(manifest).map_err(at)?;
        let library = library::load(&checked.file, checked.identity, &manifest.label()).map_err(at)?;
        let description = describe(&library).map_err(at)?;
        agree(&description, manifest).map_err(at)?;
        Ok(Self {
            guarded: Arc::new(guard(Arc::new(library), &description)),
            description,
            file: Some(checked),
            transport: Transport::Dylib.as_str(),
            process: None,
        })
    }

    /// Checks a library, asks the policy, starts a process that loads it and compares what it says of
    /// itself with its manifest.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn from_process(path: &Path, origin: &Origin, processes: &Processes) -> Result<Self, Refused> {
        Self::from_checked_process(file::check(path)?, origin, processes)
    }

    /// As [`Self::from_process`], of a file that was checked before.
    ///
    /// # Errors
    /// As there.
    pub fn from_checked_process(checked: Checked, origin: &Origin, processes: &Processes) -> Result<Self, Refused> {
        let manifest = checked.manifest();
        let at = |fault: Fault| fault.at(checked.path());
        if checked.is_component() {
            return Err(at(Fault::new(
                Problem::NotLibrary,
                "it is a Wasm component and no library",
                format!("write isolation = \"wasm\" under [plugin.{}]", manifest.label()),
            )));
        }
        policy::check(manifest, origin, Transport::Process).map_err(at)?;
        check_interface(manifest).map_err(at)?;
        let file = checked.file.try_clone().map_err(|error| {
            at(Fault::new(
                Problem::Load,
                format_args!("it cannot be passed to its process ({error})"),
                "raise the limit of open files",
            ))
        })?;
        let spec = Spec::new(
            file,
            &checked.digest(),
            manifest.label(),
            manifest.grants.clone(),
            processes,
        );
        let process = Arc::new(Process::start(spec).map_err(at)?);
        let description = describe(&process).map_err(at)?;
        agree(&description, manifest).map_err(at)?;
        let channel = Arc::clone(&process) as Arc<dyn Channel>;
        let guarded = guard(channel, &description).isolated(Arc::clone(&process) as Arc<_>);
        Ok(Self {
            guarded: Arc::new(guarded),
            description,
            file: Some(checked),
            transport: Transport::Process.as_str(),
            process: Some(process),
        })
    }

    /// Checks a component's file, asks the policy, compiles it or takes what was compiled before, and
    /// compares what it says of itself with its manifest.
    ///
    /// # Errors
    /// The first check that failed.
    #[cfg(feature = "wasm")]
    pub fn from_component(path: &Path, origin: &Origin, engine: &Arc<wasm::Engine>) -> Result<Self, Refused> {
        Self::from_checked_component(file::check(path)?, origin, engine)
    }

    /// As [`Self::from_component`], of a file that was checked before.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "wasm")]
    pub fn from_checked_component(
        checked: Checked,
        origin: &Origin,
        engine: &Arc<wasm::Engine>,
    ) -> Result<Self, Refused> {
        let manifest = checked.manifest();
        let at = |fault: Fault| fault.at(checked.path());
        if !checked.is_component() {
            return Err(at(Fault::new(
                Problem::NotComponent,
                "it is a library and no Wasm component",
                "build the driver for wasm32-wasip2, and give the path of the .wasm file",
            )));
        }
        policy::check(manifest, origin, Transport::Wasm).map_err(at)?;
        check_interface(manifest).map_err(at)?;
        let component = wasm::Component::load(engine, &checked).map_err(at)?;
        let component: Arc<dyn Channel> = Arc::new(component);
        let description = describe(&component).map_err(at)?;
        agree(&description, manifest).map_err(at)?;
        wasm::check(&description).map_err(at)?;
        let guarded = Guarded::new(
            component,
            &description.kind,
            &description.name,
            &description.version,
            description.concurrency.min(wasm::MOST_AT_ONCE),
        );
        Ok(Self {
            guarded: Arc::new(guarded),
            description,
            file: Some(checked),
            transport: Transport::Wasm.as_str(),
            process: None,
        })
    }

    /// A driver behind any other channel, such as one that is linked in.
    ///
    /// # Errors
    /// What `describe` answers.
    pub fn over(channel: Arc<dyn Channel>) -> Result<Self> {
        let description: Description = client_call(&channel, 0, &DESCRIBE, &Context::background(), &Describe {})?;
        Ok(Self {
            guarded: Arc::new(guard(channel, &description)),
            description,
            file: None,
            transport: "static",
            process: None,
        })
    }

    /// Says how the driver is reached, for one behind a channel of another crate.
    #[must_use]
    pub fn reached_by(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    /// What the driver says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Asks the driver once more what it is, which must be the same at every call.
    ///
    /// # Errors
    /// Of the call.
    pub fn describe(&self) -> Result<Description> {
        client_call(&self.guarded, 0, &DESCRIBE, &Context::background(), &Describe {})
    }

    /// What its file says; none for a driver that is linked in.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.file.as_ref().map(Checked::manifest)
    }

    /// Its file; none for a driver that is linked in.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(Checked::path)
    }

    /// The descriptor of its file, as it was checked, to pass to the shim's helper.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|checked| checked.file.as_fd())
    }

    /// The file's SHA-256 in hex.
    pub fn digest(&self) -> Option<String> {
        self.file.as_ref().map(Checked::digest)
    }

    /// How its code is run: `dylib`, `process`, `wasm`, or `static` for a driver that is linked in.
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// Where its code is run, as config writes it: `in-process`, `process` or `wasm`.
    pub fn isolation(&self) -> &'static str {
        match self.transport {
            "process" => "process",
            "wasm" => "wasm",
            _ => "in-process",
        }
    }

    /// What is known of its process; none for a driver that has none of its own.
    pub fn process(&self) -> Option<ProcessState> {
        self.process.as_ref().map(|process| process.state())
    }

    /// Ends its process, where it has one of its own: for a host that ends and will not come back.
    /// Should a call come after all, it is started again.
    pub fn end(&self) {
        if let Some(process) = &self.process {
            process.end();
        }
    }

    /// Threads that were left in the driver because a call did not come back.
    pub fn abandoned(&self) -> usize {
        self.guarded.abandoned()
    }

    /// Records its calls from now on, or no more.
    pub fn record(&self, recorder: Option<&Arc<Recorder>>) {
        let recording = recorder.map(|recorder| Recording::new(recorder, &self.description, self.transport));
        self.guarded.record(recording);
    }

    /// What was measured of its calls.
    pub fn metrics(&self) -> Vec<CallMetrics> {
        self.guarded.metrics()
    }

    /// The bare transport: without deadline, pool, quarantine and metrics. For measuring it; whoever
    /// calls through it may hang with the driver.
    pub fn bare(&self) -> Arc<dyn Channel> {
        Arc::clone(self.guarded.inner())
    }

    /// Why it gets only calls that take away; `None` while it gets all.
    pub fn quarantined(&self) -> Option<String> {
        self.guarded.quarantined()
    }

    /// Cancels the call of that number ([`Context::call`]), if it is under way.
    pub fn cancel(&self, call: u64) {
        self.guarded.cancel_call(call);
    }

    /// Asks whether the driver can work here.
    ///
    /// # Errors
    /// Of the call; "cannot work here" is an answer.
    pub fn probe(
        &self,
        root: Option<OwnedFd>,
        root_path: &Path,
        options: Vec<OptionValue>,
        facts: Facts,
    ) -> Result<Probed> {
        let cx = Context::background();
        let root = root
            .filter(|_| self.acts())
            .map(|fd| cx.give(HandleKind::Directory, fd))
            .transpose()?;
        let request = Probe {
            root,
            root_path: path_bytes(root_path)?,
            options,
            facts,
        };
        client_call(&self.guarded, 0, &PROBE, &cx, &request)
    }

    /// Opens it as a graph driver. The root goes along only when the driver acts by itself.
    ///
    /// # Errors
    /// The driver's; `Broken` when it is of another kind.
    pub fn open_graph(
        &self,
        root: OwnedFd,
        root_path: &Path,
        options: Vec<OptionValue>,
    ) -> Result<Arc<dyn GraphDriver>> {
        let (instance, opened) = self.open(graph::KIND, root, root_path, options)?;
        Ok(Arc::new(graph::Client::new(instance, &opened)))
    }

    /// As [`Self::open_graph`], for a volume driver.
    ///
    /// # Errors
    /// As there.
    pub fn open_volume(
        &self,
        root: OwnedFd,
        root_path: &Path,
        options: Vec<OptionValue>,
    ) -> Result<Arc<dyn VolumeDriver>> {
        let (instance, opened) = self.open(volume::KIND, root, root_path, options)?;
        Ok(Arc::new(volume::Client::new(instance, &opened)))
    }

    /// As [`Self::open_graph`], for a network driver.
    ///
    /// # Errors
    /// As there.
    pub fn open_network(
        &self,
        root: OwnedFd,
        root_path: &Path,
        options: Vec<OptionValue>,
    ) -> Result<Arc<dyn NetworkDriver>> {
        let (instance, opened) = self.open(network::KIND, root, root_path, options)?;
        Ok(Arc::new(network::Client::new(instance, &opened)))
    }

    /// As [`Self::open_graph`], for an ipam driver. What it keeps in the host's state comes and goes by
    /// the services of each call's context.
    ///
    /// # Errors
    /// As there.
    pub fn open_ipam(&self, root: OwnedFd, root_path: &Path, options: Vec<OptionValue>) -> Result<Arc<dyn Ipam>> {
        let (instance, opened) = self.open(ipam::KIND, root, root_path, options)?;
        Ok(Arc::new(ipam::Client::new(instance, &opened)))
    }

    /// As [`Self::open_graph`], for an exec driver. Not for running containers: a driver that forks
    /// must not do so beside this host's threads, see [`open_exec_by_fd`].
    ///
    /// # Errors
    /// As there.
    pub fn open_exec(&self, root: OwnedFd, root_path: &Path, options: Vec<OptionValue>) -> Result<Arc<dyn ExecDriver>> {
        let (instance, opened) = self.open(exec::KIND, root, root_path, options)?;
        Ok(Arc::new(exec::Client::new(instance, &opened)))
    }

    fn open(
        &self,
        kind: &str,
        root: OwnedFd,
        root_path: &Path,
        options: Vec<OptionValue>,
    ) -> Result<(Arc<Instance>, Opened)> {
        check_kind(&self.description, kind)?;
        let opening = Opening {
            root: self.acts().then_some(root),
            root_path: path_bytes(root_path)?,
            options,
            host_interface: host_interface(kind).unwrap_or(0),
        };
        let (instance, opened) = Instance::open(&self.guarded, opening)?;
        Ok((Arc::new(instance), opened))
    }

    /// Whether the driver changes the machine by itself, for which it needs its root.
    fn acts(&self) -> bool {
        acts(&self.description)
    }
}

pub(crate) fn acts(description: &Description) -> bool {
    match &description.capabilities {
        Capabilities::Graph(graph) => graph.acts,
        Capabilities::Volume(volume) => volume.acts,
        Capabilities::Network(network) => network.acts,
        Capabilities::Ipam(ipam) => ipam.acts,
        Capabilities::Exec(_) => true,
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("kind", &self.description.kind)
            .field("name", &self.description.name)
            .field("version", &self.description.version)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// Opens an exec driver from its file's descriptor on the calling thread alone: no thread is made,
/// no deadline kept. For the shim's helper, which is a process of one thread for one call, and to
/// which the engine passes a file that it has checked.
///
/// # Errors
/// `Unavailable` when the file cannot be loaded; the driver's own.
pub fn open_exec_by_fd(
    library: &OwnedFd,
    root: OwnedFd,
    root_path: &Path,
    options: Vec<OptionValue>,
) -> Result<exec::Client<impl Channel + use<>>> {
    let library = library::load_unchecked(library, "exec")
        .map_err(|fault| Error::unavailable(format!("the exec driver: {}; {}", fault.what, fault.remedy)))?;
    let description: Description = client_call(&library, 0, &DESCRIBE, &Context::background(), &Describe {})?;
    check_kind(&description, exec::KIND)?;
    let opening = Opening {
        root: Some(root),
        root_path: path_bytes(root_path)?,
        options,
        host_interface: exec::VERSION,
    };
    let opened = opening.open(&library)?;
    Ok(exec::Client::new(library, &opened))
}

fn check_kind(description: &Description, kind: &str) -> Result<()> {
    if description.kind == kind {
        return Ok(());
    }
    Err(Error::broken(format!(
        "{} is a driver of kind {}, not {kind}",
        description.name, description.kind
    )))
}

fn path_bytes(path: &Path) -> Result<Bytes> {
    Bytes::parse(path.as_os_str().as_bytes())
}

fn guard(channel: Arc<dyn Channel>, description: &Description) -> Guarded {
    Guarded::new(
        channel,
        &description.kind,
        &description.name,
        &description.version,
        description.concurrency,
    )
}

fn describe(channel: &impl Channel) -> Result<Description, Fault> {
    client_call(channel, 0, &DESCRIBE, &Context::background(), &Describe {}).map_err(|error| {
        Fault::new(
            Problem::Description,
            format_args!("it cannot describe itself ({error})"),
            "report it to the driver's author",
        )
    })
}

fn check_interface(manifest: &Manifest) -> Result<(), Fault> {
    let kind = manifest.kind();
    let Some(host) = host_interface(kind) else {
        return Err(Fault::new(
            Problem::Kind,
            format_args!("it is a driver of kind {kind:?}, which this host does not know"),
            "the kinds are graph, volume, network, ipam and exec",
        ));
    };
    match manifest.kinds.first() {
        Some(range) if range.from > host => Err(Fault::new(
            Problem::Interface,
            format_args!(
                "it speaks {kind} {} to {}, this host speaks {kind} 0 to {host}",
                range.from, range.to
            ),
            "use a newer host, or an older build of the driver",
        )),
        _ => Ok(()),
    }
}

/// What a driver says of itself must be what its file says: the policy judged by the file.
fn agree(description: &Description, manifest: &Manifest) -> Result<(), Fault> {
    let (from, to) = manifest.kinds.first().map_or((0, 0), |range| (range.from, range.to));
    let pairs = [
        ("name", &description.name, &manifest.name),
        ("version", &description.version, &manifest.version),
        ("kind", &description.kind, &manifest.kind().to_owned()),
        (
            "interface",
            &format!("{} to {}", description.interface.from, description.interface.to),
            &format!("{from} to {to}"),
        ),
    ];
    for (what, says, stands) in pairs {
        if says != stands {
            return Err(Fault::new(
                Problem::Description,
                format_args!("it describes itself with {what} {says:?}, its manifest says {stands:?}"),
                "let describe() and export! say the same, and build it again",
            ));
        }
    }
    let matches_kind = match &description.capabilities {
        Capabilities::Graph(_) => description.kind == graph::KIND,
        Capabilities::Volume(_) => description.kind == volume::KIND,
        Capabilities::Network(_) => description.kind == network::KIND,
        Capabilities::Ipam(_) => description.kind == ipam::KIND,
        Capabilities::Exec(_) => description.kind == exec::KIND,
    };
    if !matches_kind || description.concurrency == 0 || description.areas.len() > 16 {
        return Err(Fault::new(
            Problem::Description,
            "it describes capabilities of another kind, no concurrency, or more than 16 areas",
            "report it to the driver's author",
        ));
    }
    Ok(())
}
