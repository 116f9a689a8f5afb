//! Finds the engine of a data root, and starts one where none runs.
//!
//! The socket is `<exec-root>/<root id>/engine.sock`; the root id stands in `<data-root>/id`. Whether an
//! engine runs is asked of the socket alone: a file may be stale, a connection is not.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};

use crate::cli::Global;
use crate::engine::{Engine, Pong, ping};
use crate::error::{Failure, Kind, Result, plain};
use crate::launch::{Stay, Word, start};
use crate::transport::Transport;

const DATA_ROOT: &str = "/var/lib/longshore";
const EXEC_ROOT: &str = "/run/longshore";
/// How long an engine that lost the race for the data root is looked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which engine is meant.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The socket that `--host` names; nothing is ever started for it.
    Host(PathBuf),
    /// The engine of a data root.
    Local(Local),
}

/// An engine on this machine, by its data root.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) config: Option<PathBuf>,
    pub(crate) record: Option<PathBuf>,
}

/// The environment, as far as it chooses an engine.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) longshore_host: Option<String>,
    pub(crate) data_root: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) docker_host: Option<String>,
}

impl Surroundings {
    pub(crate) fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Surroundings {
            longshore_host: text("LONGSHORE_HOST"),
            data_root: text("LONGSHORE_DATA_ROOT").map(PathBuf::from),
            config: text("LONGSHORE_CONFIG").map(PathBuf::from),
            docker_host: text("DOCKER_HOST"),
        }
    }
}

impl Target {
    /// Options win over the environment, and Longshore's own variables over `DOCKER_HOST`.
    pub(crate) fn choose(global: &Global, around: &Surroundings) -> Result<Target> {
        if let Some(host) = &global.host {
            if global.data_root.is_some() {
                return Err(Failure::usage(
                    "--host and --data-root name two engines; give one of them",
                ));
            }
            if let Some(config) = &global.config {
                return Err(config_of_a_host(config, host));
            }
            return socket(host).map(Target::Host);
        }
        if global.data_root.is_none() {
            let docker = || {
                let host = around.docker_host.as_ref()?;
                let unix = host.starts_with("unix://") && around.data_root.is_none();
                unix.then_some(host)
            };
            if let Some(host) = around.longshore_host.as_ref().or_else(docker) {
                if let Some(config) = &global.config {
                    return Err(config_of_a_host(config, host));
                }
                return socket(host).map(Target::Host);
            }
        }
        let root = global.data_root.clone().or_else(|| around.data_root.clone());
        let config = global.config.clone().or_else(|| around.config.clone());
        Ok(Target::Local(Local {
            data_root: absolute(root.unwrap_or_else(|| DATA_ROOT.into()))?,
            exec_root: absolute(global.exec_root.clone().unwrap_or_else(|| EXEC_ROOT.into()))?,
            config: config.map(absolute).transpose()?,
            record: global.record.clone().map(absolute).transpose()?,
        }))
    }
}

fn config_of_a_host(config: &Path, host: &str) -> Failure {
    Failure::usage(format!(
        "--config {} cannot be given to the engine at {host}: an engine reads its config where it runs",
        config.display()
    ))
    .hint("leave out --config, or name the data root with --data-root")
}

fn socket(host: &str) -> Result<PathBuf> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        None if host.starts_with('/') => Ok(host.into()),
        _ => Err(Failure::usage(format!("{host:?} is not a host that can be reached"))
            .hint("write unix:///path/to/engine.sock")),
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(|error| Failure::local(path.display(), &error))
}

/// The headers that each request of this command carries.
fn headers(global: &Global, target: &Target) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    if !global.drivers.is_empty() {
        let text = global.drivers.join(",");
        let value =
            HeaderValue::from_str(&text).map_err(|_| Failure::usage(format!("--driver {text:?} is not a name")))?;
        headers.push((HeaderName::from_static("x-longshore-driver"), value));
    }
    if let Target::Local(Local {
        config: Some(config), ..
    }) = target
    {
        let value = HeaderValue::from_str(&config.to_string_lossy())
            .map_err(|_| Failure::usage(format!("--config {config:?} has characters that are not text")))?;
        headers.push((HeaderName::from_static("x-longshore-config"), value));
    }
    Ok(headers)
}

/// The engine that is meant; one is started where none runs.
pub(crate) async fn open(global: &Global) -> Result<Engine> {
    open_as(global, Stay::OnDemand).await
}

pub(crate) async fn open_as(global: &Global, stay: Stay) -> Result<Engine> {
    let target = Target::choose(global, &Surroundings::read())?;
    let headers = headers(global, &target)?;
    match &target {
        Target::Host(socket) => reach(socket, &headers).await.map_err(|miss| miss.of_a_host(socket)),
        Target::Local(local) => start_and_reach(local, &headers, stay).await,
    }
}

/// The engine that is meant, if it runs.
pub(crate) async fn running(global: &Global) -> Result<Option<Engine>> {
    let target = Target::choose(global, &Surroundings::read())?;
    let headers = headers(global, &target)?;
    match &target {
        Target::Host(socket) => reach(socket, &headers)
            .await
            .map(Some)
            .map_err(|miss| miss.of_a_host(socket)),
        Target::Local(local) => match attempt(local, &headers).await {
            Ok(engine) => Ok(Some(engine)),
            Err(Miss::Nobody) => Ok(None),
            Err(miss) => Err(miss.of_a_data_root(local)),
        },
    }
}

/// Why no engine was reached.
#[derive(Debug)]
enum Miss {
    /// Nobody listens there.
    Nobody,
    /// Somebody may, but not for this user.
    Denied,
    Failed(Failure),
}

impl Miss {
    fn of_a_host(self, socket: &Path) -> Failure {
        let socket = socket.display();
        match self {
            Miss::Nobody => Failure::new(Kind::Unreachable, format!("no engine listens at unix://{socket}"))
                .hint("longshore engine start, on the data root that the socket belongs to"),
            Miss::Denied => Failure::new(
                Kind::Unreachable,
                format!("this user may not use the engine at unix://{socket}"),
            )
            .hint(sudo()),
            Miss::Failed(failure) => failure,
        }
    }

    fn of_a_data_root(self, local: &Local) -> Failure {
        let root = local.data_root.display();
        match self {
            Miss::Denied => Failure::new(
                Kind::Unreachable,
                format!("this user may not use the engine of {root}: it belongs to root"),
            )
            .hint(sudo()),
            Miss::Nobody => {
                Failure::new(Kind::Unreachable, format!("no engine runs for {root}")).hint("longshore engine start")
            }
            Miss::Failed(failure) => failure,
        }
    }
}

/// The command of this process, with sudo in front.
fn sudo() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("sudo longshore {}", words.join(" "))
}

/// The socket of the data root; none where no engine was ever started on it.
fn socket_of(local: &Local) -> std::result::Result<PathBuf, Miss> {
    let path = local.data_root.join("id");
    let mut id = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(64).read_to_string(&mut id));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Miss::Nobody),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(Miss::Denied),
        Err(error) => return Err(Miss::Failed(Failure::local(path.display(), &error))),
    }
    let id = id.trim();
    if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        // The engine can tell a damaged root from a foreign folder, and says which.
        return Err(Miss::Nobody);
    }
    Ok(local.exec_root.join(id).join("engine.sock"))
}

async fn attempt(local: &Local, headers: &[(HeaderName, HeaderValue)]) -> std::result::Result<Engine, Miss> {
    reach(&socket_of(local)?, headers).await
}

async fn reach(socket: &Path, headers: &[(HeaderName, HeaderValue)]) -> std::result::Result<Engine, Miss> {
    // The connection is made by itself first: its error decides what happens next.
    let transport = Transport::new(socket.to_owned(), headers.to_vec());
    let stream = transport.connect().await.map_err(|error| match error.kind() {
        // Reset: an engine that ended while the connection waited to be taken.
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::NotADirectory => {
            Miss::Nobody
        }
        ErrorKind::PermissionDenied => Miss::Denied,
        _ => Miss::Failed(Failure::new(
            Kind::Unreachable,
            format!("{}: {}", socket.display(), plain(&error)),
        )),
    })?;
    let pong: Pong = match ping(&transport, stream).await {
        Ok(pong) => pong,
        // Gone between the two: an engine that left because it was idle.
        Err(failure) if failure.kind == Kind::Broken => return Err(Miss::Nobody),
        Err(failure) => return Err(Miss::Failed(failure)),
    };
    for warning in &pong.warnings {
        crate::output::warn(warning);
    }
    Engine::new(&transport, &pong).map_err(Miss::Failed)
}

async fn start_and_reach(local: &Local, headers: &[(HeaderName, HeaderValue)], stay: Stay) -> Result<Engine> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match attempt(local, headers).await {
            Ok(engine) => return Ok(engine),
            Err(Miss::Nobody) => {}
            Err(miss) => return Err(miss.of_a_data_root(local)),
        }
        if !rustix::process::geteuid().is_root() && !may_write(&local.data_root) {
            return Err(Miss::Denied.of_a_data_root(local));
        }
        match start(local, stay).await? {
            Word::Ready => match attempt(local, headers).await {
                Err(Miss::Nobody) => {}
                Err(miss) => return Err(miss.of_a_data_root(local)),
                Ok(engine) => return Ok(engine),
            },
            Word::Again => {}
        }
        if begun.elapsed() > PATIENCE + pause {
            return Err(Failure::new(
                Kind::Unreachable,
                format!("an engine holds {} but does not answer", local.data_root.display()),
            )
            .hint(format!(
                "see who holds it: cat {}",
                local.data_root.join("engine.lock").display()
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Whether this user could keep a data root there; the engine itself says everything else.
fn may_write(root: &Path) -> bool {
    let nearest = root.ancestors().find(|folder| folder.exists());
    nearest.is_some_and(|folder| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    fn global(host: Option<&str>, root: Option<&str>, config: Option<&str>) -> Global {
        Global {
            host: host.map(str::to_owned),
            data_root: root.map(PathBuf::from),
            config: config.map(PathBuf::from),
            ..Global::default()
        }
    }

    fn chosen(global: &Global, around: &Surroundings) -> String {
        match Target::choose(global, around) {
            Ok(Target::Host(path)) => format!("host {}", path.display()),
            Ok(Target::Local(local)) => format!("local {}", local.data_root.display()),
            Err(failure) => format!("refused: {failure}"),
        }
    }

    #[test]
    fn options_win_over_the_environment_and_ours_over_dockers() {
        let around = |ours: Option<&str>, root: Option<&str>, docker: Option<&str>| Surroundings {
            longshore_host: ours.map(str::to_owned),
            data_root: root.map(PathBuf::from),
            docker_host: docker.map(str::to_owned),
            config: None,
        };
        let none = global(None, None, None);
        for (given, surroundings, wanted) in [
            (&none, around(None, None, None), "local /var/lib/longshore"),
            (&none, around(None, None, Some("unix:///d")), "host /d"),
            (&none, around(None, None, Some("tcp://x:1")), "local /var/lib/longshore"),
            (&none, around(None, Some("/r"), Some("unix:///d")), "local /r"),
            (
                &none,
                around(Some("unix:///l"), Some("/r"), Some("unix:///d")),
                "host /l",
            ),
            (
                &global(None, Some("/x"), None),
                around(Some("unix:///l"), None, None),
                "local /x",
            ),
            (
                &global(Some("unix:///h"), None, None),
                around(Some("unix:///l"), Some("/r"), None),
                "host /h",
            ),
        ] {
            assert_eq!(chosen(given, &surroundings), wanted);
        }
    }

    #[test]
    fn what_cannot_be_one_engine_is_refused() {
        let around = Surroundings::default();
        let both = chosen(&global(Some("unix:///h"), Some("/r"), None), &around);
        assert!(both.contains("two engines"), "{both}");
        let config = chosen(&global(Some("unix:///h"), None, Some("/c")), &around);
        assert!(config.contains("--config /c"), "{config}");
        for host in ["tcp://1.2.3.4:5", "unix://relative", "nonsense"] {
            let refused = chosen(&global(Some(host), None, None), &around);
            assert!(refused.contains(host), "{refused}");
        }
    }

    #[test]
    fn the_socket_follows_from_the_id_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local {
            data_root: folder.path().into(),
            exec_root: "/x".into(),
            config: None,
            record: None,
        };
        assert!(matches!(socket_of(&local), Err(Miss::Nobody)));
        std::fs::write(folder.path().join("id"), "0123456789abcdef\n").unwrap();
        assert_eq!(socket_of(&local).unwrap(), Path::new("/x/0123456789abcdef/engine.sock"));
        std::fs::write(folder.path().join("id"), "../../../etc/xx").unwrap();
        assert!(matches!(socket_of(&local), Err(Miss::Nobody)));
    }
}
