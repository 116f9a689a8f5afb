//! How an engine starts: what it says to the command that started it, and its way to the background.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use longshore_engine::{EngineBuilder, Error, ErrorKind, Result};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Mode};
use crate::cgroup;
use crate::settings::Settings;
use crate::socket::Socket;
use crate::state::{Attaching, Daemon};

/// A log beyond this begins anew at the next start.
const LARGEST_LOG: u64 = 8 << 20;

/// An engine that listens.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) socket: Socket,
    pub(crate) cgroup: cgroup::Own,
}

/// Cuts this process loose from the command that started it, as far as that can be done before it is
/// ready: signals of that command's terminal are not for the engine, nor are its open files.
pub(crate) fn cut_loose(mode: Mode) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if mode != Mode::System {
        // The leader of a group is refused: then it has a session or a shell of its own.
        let _ = longshore_sys::process::new_session();
        let _ = longshore_sys::process::close_all_but(&[]);
    }
    let _ = longshore_sys::process::raise_open_files();
}

/// Logs to standard error, wherever that leads.
pub(crate) fn log(level: &str) -> Result<()> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Error::invalid(format!("--log {level:?}: {error}")).hint("as in --log debug"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}

/// Opens the data root and listens.
pub(crate) async fn open(args: &Args) -> Result<Started> {
    let mode = args.mode();
    let (settings, config) = Settings::read(mode, args.config.as_deref(), args.record.as_deref())?;
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Error::io(format!("find {}", path.display()), &error));
    let exec_root = absolute(&args.exec_root)?;
    let mut builder = EngineBuilder::new(absolute(&args.data_root)?)
        .exec_root(&exec_root)
        .config(config);
    if let Some(components) = &args.components {
        builder = builder.components(absolute(components)?);
    }
    let engine = builder.build().await?;
    // Under a service manager the engine stays in the unit's cgroup.
    let managed = mode == Mode::System && std::env::var_os("INVOCATION_ID").is_some();
    let cgroup = if managed {
        cgroup::Own::default()
    } else {
        cgroup::Own::enter(&engine.paths().root_id)
    };
    let mut socket = Socket::bind(&engine.paths().run)?;
    if mode == Mode::System {
        socket = socket.with_passed()?;
    }
    let daemon = Daemon {
        engine,
        mode,
        exec_root,
        settings,
        attaching: Attaching::default(),
        connections: Arc::new(watch::Sender::new(0)),
        stop: watch::Sender::new(false),
    };
    Ok(Started {
        daemon: Arc::new(daemon),
        socket,
        cgroup,
    })
}

/// Tells the command that started this engine how it went. In the background that was the last word
/// there: what is logged from here on goes to a file.
pub(crate) fn ready(started: &Started) -> io::Result<()> {
    let paths = started.daemon.engine.paths();
    say(&format!("ready {}", paths.socket().display()));
    if started.daemon.mode == Mode::System {
        return Ok(());
    }
    let path = paths.run.join("engine.log");
    let fresh = fs::metadata(&path).is_ok_and(|log| log.len() > LARGEST_LOG);
    let log = fs::OpenOptions::new()
        .create(true)
        .append(!fresh)
        .write(true)
        .truncate(fresh)
        .mode(0o600)
        .open(&path)?;
    let nothing = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stderr(&log)?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

/// Tells why there is no engine, and with which status this process ends. That another one has the
/// data root is no failure of one that was started on demand: its command looks again.
pub(crate) fn failed(mode: Mode, error: &Error) -> u8 {
    if mode != Mode::System && error.kind == ErrorKind::InUse {
        return 0;
    }
    let sentence = match &error.hint {
        Some(hint) => format!("error {} | hint: {hint}", error.message),
        None => format!("error {}", error.message),
    };
    say(&sentence);
    1
}

/// One line, whether or not somebody reads it.
fn say(line: &str) {
    let line: String = line.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
