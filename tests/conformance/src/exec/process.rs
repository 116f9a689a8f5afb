//! The process of one case: started by the kit as its own binary once more, it plays the shim.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use longshore_core::driver::OptionValue;
use longshore_core::exec::ExecCapabilities;
use longshore_core::wire::{decode, encode};
use longshore_sys::event::{self, Ready};
use longshore_sys::mount::{self, Attributes, Depth, Propagation};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::socket::{self, Bounds};
use longshore_sys::{path, process};
use serde::{Deserialize, Serialize};

use super::helper::{Bench, Source};
use super::traces;
use super::{CASES, Case, Linked, Result, bundle, differs, life, sys};
use crate::host::{Place, Traces, unusable};
use crate::{Ended, Outcome, Target};

/// The argument that makes a program the process of a case.
const ARGUMENT: &str = "--play-the-case-of-an-exec-driver";

/// The kit's own question: whether the driver makes whole containers.
const WHOLE: Case = Case {
    name: "the_driver_makes_whole_containers",
    needs: super::Needs::Nothing,
    run: life::a_whole_container_can_be_made,
};

/// How long a case may take. Only a driver that hangs needs it.
const LIMIT: Duration = Duration::from_secs(300);

/// Longest sentence of a failure that crosses from the case's process.
const SENTENCE: usize = 16 * 1024;

/// What the case's process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    case: String,
    linked: Option<String>,
    options: Vec<OptionValue>,
    capabilities: ExecCapabilities,
    whole: bool,
    folder: PathBuf,
}

/// Plays a case, if this process was started for one. To be called first in `main`, before any
/// thread exists; when it answers, `main` returns that. `linked` are the drivers that the program has
/// in itself; a library needs none.
pub fn play(linked: &[Linked]) -> Option<ExitCode> {
    if std::env::args_os().nth(1).as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    match serve(linked) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(failure) => {
            eprintln!("cannot play a case: {failure}");
            Some(ExitCode::from(2))
        }
    }
}

fn serve(linked: &[Linked]) -> Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    // The kit's socket is no driver's standard input.
    let null = std::fs::File::open("/dev/null")?;
    sys(process::replace_standard(&null, 0))?;
    drop(null);
    let mut buffer = vec![0; 64 * 1024];
    let received = sys(socket::receive(&socket, &mut buffer))?;
    let order: Order = decode(buffer.get(..received.bytes).unwrap_or_default())?;
    let outcome = match prepare(order, received.descriptors, linked) {
        Ok((bench, case)) => play_one(&bench, case),
        Err(failure) => Outcome::Fail(failure.to_string()),
    };
    sys(socket::send(&socket, &encode(&shortened(outcome))?, &[])).map(drop)
}

/// Becomes what the shim is: reaper of orphans, not to be traced, in a mount namespace of its own.
fn prepare(order: Order, descriptors: Vec<OwnedFd>, linked: &[Linked]) -> Result<(Bench, &'static Case)> {
    sys(process::set_child_subreaper())?;
    sys(process::set_dumpable(false))?;
    sys(namespace::unshare(&[Kind::Mount]))?;
    let slave = Attributes {
        propagation: Some(Propagation::Slave),
        ..Attributes::default()
    };
    let root = sys(path::open_directory(Path::new("/")))?;
    sys(mount::set_attributes(root, slave, Depth::Recursive))?;
    let source = match (&order.linked, descriptors.into_iter().next()) {
        (None, Some(library)) => Source::Library(library),
        (Some(name), _) => linked
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, channel)| Source::Linked(*channel))
            .ok_or_else(|| differs(format!("driver {name} is not among those that main gives to play()")))?,
        (None, None) => return Err(differs("the driver's library did not come along")),
    };
    let case = CASES.iter().chain([&WHOLE]).find(|case| case.name == order.case);
    let case = case.ok_or_else(|| differs(format!("there is no case {}", order.case)))?;
    let bench = Bench {
        source,
        options: RefCell::new(order.options),
        capabilities: order.capabilities,
        whole: order.whole,
        folder: order.folder,
        containers: Cell::new(0),
        late: RefCell::default(),
    };
    Ok((bench, case))
}

fn play_one(bench: &Bench, case: &Case) -> Outcome {
    let before = Traces::now();
    let result = catch_unwind(AssertUnwindSafe(|| (case.run)(bench)));
    let result = result.unwrap_or_else(|_| Err(differs("the case panicked, see above")));
    // What is left is taken away in any case, but said only of a case that passed till here.
    let left = traces::take_away(bench);
    result.and(left).and_then(|()| before.compare()).into()
}

fn shortened(outcome: Outcome) -> Outcome {
    let cut = |text: String| text.chars().take(SENTENCE / 4).collect();
    match outcome {
        Outcome::Pass => Outcome::Pass,
        Outcome::Fail(why) => Outcome::Fail(cut(why)),
        Outcome::Skip(why) => Outcome::Skip(cut(why)),
    }
}

/// Runs the cases whose name holds `filter` on an exec driver.
///
/// # Errors
/// When no folder can be made, or this program does not begin with [`play`].
pub fn run(target: &Target, filter: &str) -> Result<Vec<Ended>> {
    let chosen = CASES.iter().filter(|case| case.name.contains(filter));
    let all = |reason: String| {
        let skip = |case: &Case| Ended {
            name: case.name,
            outcome: Outcome::Skip(reason.clone()),
        };
        Ok(chosen.clone().map(skip).collect())
    };
    if let Some(reason) = bundle::lacking() {
        return all(reason);
    }
    if let Some(reason) = unusable(&target.loaded, &Place::new(target.folder.as_deref())?, &target.options)? {
        return all(reason);
    }
    let capabilities = target.loaded.description().capabilities.exec()?.clone();
    let whole = match perform(target, &WHOLE, &capabilities, true)? {
        Outcome::Skip(reason) => Err(reason),
        // What a driver fails at, its cases will tell.
        Outcome::Pass | Outcome::Fail(_) => Ok(()),
    };
    chosen
        .clone()
        .map(|case| {
            let outcome = match case.unmet(&capabilities, &whole) {
                Some(reason) => Outcome::Skip(reason),
                None => perform(target, case, &capabilities, whole.is_ok())?,
            };
            Ok(Ended {
                name: case.name,
                outcome,
            })
        })
        .collect()
}

/// One case in its process.
fn perform(target: &Target, case: &Case, capabilities: &ExecCapabilities, whole: bool) -> Result<Outcome> {
    let folder = match &target.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let order = Order {
        case: case.name.into(),
        linked: target
            .loaded
            .file()
            .is_none()
            .then(|| target.loaded.description().name.clone()),
        options: target.options.clone(),
        capabilities: capabilities.clone(),
        whole,
        folder: folder.path().into(),
    };
    let (ours, theirs) = sys(socket::pair(Bounds::Messages))?;
    let mut child = Command::new("/proc/self/exe")
        .arg(ARGUMENT)
        .env_remove("LISTEN_FDS")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    let descriptors: Vec<_> = target.loaded.file().into_iter().collect();
    sys(socket::send(&ours, &encode(&order)?, &descriptors))?;
    let outcome = hear(&ours, &mut child);
    // The process looked for itself; now that it is gone too, only what outlives it can be there.
    let left = traces::take_away_cgroups(child.id());
    Ok(match outcome? {
        Outcome::Pass => left.into(),
        other => other,
    })
}

fn hear(socket: &OwnedFd, child: &mut Child) -> Result<Outcome> {
    let ready = sys(event::poll(&[(socket.as_fd(), Ready::READ)], Some(LIMIT)))?;
    if !ready.iter().any(|ready| ready.any()) {
        traces::kill_all_below(child.id());
        child.kill()?;
        child.wait()?;
        return Ok(Outcome::Fail(format!(
            "it did not end within {} seconds",
            LIMIT.as_secs()
        )));
    }
    let mut buffer = vec![0; 2 * SENTENCE];
    let received = sys(socket::receive(socket, &mut buffer))?;
    let ended = child.wait()?;
    if received.bytes == 0 {
        return Err(differs(format!(
            "the process of the case answered nothing ({ended}): a program that runs this suite begins with exec::play()"
        )));
    }
    Ok(decode(buffer.get(..received.bytes).unwrap_or_default())?)
}
