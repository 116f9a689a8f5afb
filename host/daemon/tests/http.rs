//! The daemon's binary on a root of its own, spoken to byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An engine that is ended with the test.
struct Engine {
    child: Child,
    socket: PathBuf,
    roots: tempfile::TempDir,
}

impl Engine {
    /// Starts one; `None` when drivers cannot be found or this is not root.
    fn start(flags: &[&str]) -> Option<Self> {
        if !Path::new("/proc/self").exists() || !is_root() {
            println!("SKIP: an engine needs root");
            return None;
        }
        let roots = tempfile::tempdir().unwrap();
        let mut child = command(&roots, flags).spawn().unwrap();
        let line = first_line(&mut child);
        let Some(socket) = line.strip_prefix("ready ") else {
            let _ = child.wait();
            assert!(line.contains("components") || line.contains("driver"), "{line}");
            println!("SKIP: {line}");
            return None;
        };
        let socket = PathBuf::from(socket.trim());
        Some(Self { child, socket, roots })
    }

    fn ask(&self, request: &str) -> String {
        self.ask_with(request.as_bytes(), &[])
    }

    fn ask_with(&self, head: &[u8], body: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A refusal may come before all of a large head or body is sent.
        let _ = stream.write_all(head);
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> String {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

fn command(roots: &tempfile::TempDir, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshored"));
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/longshore/lib/longshore");
    command
        .arg("--data-root")
        .arg(roots.path().join("data"))
        .arg("--exec-root")
        .arg(roots.path().join("run"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if tree.exists() {
        command.arg("--components").arg(tree);
    }
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn root_the_engine_says_who_it_is_and_refuses_what_it_does_not_serve() {
    let Some(engine) = Engine::start(&[]) else { return };
    let pong = engine.get("/_ping").to_ascii_lowercase();
    assert_eq!(status(&pong), 200, "{pong}");
    for header in [
        "api-version: 1.47",
        "docker-experimental: false",
        "ostype: linux",
        "cache-control: no-cache",
    ] {
        assert!(pong.contains(header), "{header} in {pong}");
    }
    assert!(pong.ends_with("\r\n\r\nok"), "{pong}");
    let head = engine.ask("HEAD /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    let version = engine.get("/v1.41/version");
    assert!(
        version.contains(r#""ApiVersion":"1.47""#) && version.contains(r#""MinAPIVersion":"1.24""#),
        "{version}"
    );
    for (path, wanted) in [
        ("/nothing", 404),
        ("/v1.41/nothing", 404),
        ("/v1.99/version", 400),
        ("/v1.9/version", 400),
        ("/events", 501),
        ("/containers/x/top", 501),
        ("/containers/x/json", 404),
        ("/containers/%2e%2e/json", 400),
        ("/containers/a%00b/json", 400),
        ("/images/a/../b/json", 400),
        ("/images/nobody/has:this/json", 404),
        ("/volumes/..", 400),
        ("/exec/0123/json", 404),
        ("/networks/none", 200),
        ("/info", 200),
        ("/images/json", 200),
        ("/containers/json?all=1", 200),
        ("/containers/json?filters=%5B%5D", 400),
        ("/containers/json?limit=many", 400),
        ("/longshore/status", 200),
        ("/longshore/drivers", 200),
        ("/longshore/doctor", 200),
    ] {
        let answer = engine.get(path);
        assert_eq!(status(&answer), wanted, "{path}: {answer}");
        if wanted >= 400 {
            assert!(answer.contains(r#"{"message":""#), "{path}: {answer}");
        }
    }
    let pull = engine.post("/images/create?fromImage=busybox&tag=latest", "");
    assert_eq!(status(&pull), 501);
    assert!(
        pull.contains("busybox:latest is not here: `longshore load` or `import` it"),
        "{pull}"
    );
}

#[test]
fn root_bodies_that_are_wrong_or_too_large_are_refused_and_the_engine_lives() {
    let Some(engine) = Engine::start(&[]) else { return };
    for (body, words) in [
        ("{", "invalid JSON"),
        ("", "the body is empty"),
        (r#"{"Image":3}"#, "Image"),
        (r#"{"HostConfig":{"Memory":"much"}}"#, "HostConfig.Memory"),
        (r#"{"Image":"x"} x"#, "more follows"),
    ] {
        let answer = engine.post("/containers/create", body);
        assert!(status(&answer) == 400 && answer.contains(words), "{body}: {answer}");
    }
    let deep = format!("{{\"Labels\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(status(&engine.post("/containers/create", &deep)), 400);
    let text = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    assert!(engine.ask(text).contains("Content-Type"));
    let length = 64 << 20;
    let head = format!(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let answer = engine.ask_with(head.as_bytes(), &vec![b' '; length]);
    assert_eq!(status(&answer), 413, "{answer}");
    let archive = "POST /images/load HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
    let answer = engine.ask_with(archive.as_bytes(), &[b'x'; 1000]);
    assert!((400..600).contains(&status(&answer)), "{answer}");
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "a".repeat(2 << 20)
    );
    assert!(matches!(status(&engine.ask(&head)), 400..500));
    assert_eq!(status(&engine.get("/_ping")), 200);
}

#[test]
fn root_a_second_engine_of_a_root_gives_way_and_an_idle_one_leaves() {
    let Some(mut engine) = Engine::start(&["--on-demand", "--idle-seconds", "1"]) else {
        return;
    };
    assert_eq!(status(&engine.get("/_ping")), 200);
    let mut second = command(&engine.roots, &["--on-demand"]).spawn().unwrap();
    assert_eq!(first_line(&mut second), "");
    assert!(second.wait().unwrap().success());
    assert!(engine.child.wait().unwrap().success());
    assert!(!engine.socket.exists());
}

#[test]
fn root_a_stop_is_answered_and_the_socket_is_gone() {
    let Some(mut engine) = Engine::start(&["--stay"]) else {
        return;
    };
    assert!(engine.get("/longshore/status").contains(r#""Mode":"stay""#));
    assert_eq!(status(&engine.post("/longshore/engine/stop", "")), 204);
    assert!(engine.child.wait().unwrap().success());
    assert!(!engine.socket.exists());
}

#[test]
fn root_a_config_that_is_refused_is_told_to_who_started_the_engine() {
    if !is_root() {
        println!("SKIP: an engine needs root");
        return;
    }
    let roots = tempfile::tempdir().unwrap();
    let mut child = command(&roots, &["--on-demand", "--config", "/nowhere/longshore.toml"])
        .spawn()
        .unwrap();
    let line = first_line(&mut child);
    assert!(
        line.starts_with("error ") && line.contains("/nowhere/longshore.toml"),
        "{line}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// What a service manager does: descriptor 3 listens, and `LISTEN_PID` names who is meant.
const ACTIVATE: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn root_a_socket_of_the_service_manager_is_served_beside_its_own() {
    let manager = tempfile::tempdir().unwrap();
    let passed = manager.path().join("passed.sock");
    let probe = Command::new("python3").arg("--version").output();
    if !is_root() || !probe.is_ok_and(|out| out.status.success()) {
        println!("SKIP: an engine needs root, and the test a python3");
        return;
    }
    let roots = tempfile::tempdir().unwrap();
    let engine = command(&roots, &[]);
    let mut activated = Command::new("python3");
    activated
        .arg("-c")
        .arg(ACTIVATE)
        .arg(&passed)
        .arg(engine.get_program())
        .args(engine.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = activated.spawn().unwrap();
    let line = first_line(&mut child);
    let Some(own) = line.strip_prefix("ready ") else {
        let _ = child.wait();
        println!("SKIP: {line}");
        return;
    };
    let own = PathBuf::from(own.trim());
    let mut engine = Engine {
        child,
        socket: own,
        roots,
    };
    assert_eq!(status(&engine.get("/_ping")), 200);
    engine.socket = passed;
    assert_eq!(status(&engine.get("/_ping")), 200);
}
