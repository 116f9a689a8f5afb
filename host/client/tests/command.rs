//! The command as a process: how it finds and starts an engine, and what it prints and ends with. The
//! engines here are a few canned answers on a socket, and shell scripts in the place of `longshored`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end here")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ID: &str = "0123456789abcdef";

/// A folder with the command, a data root and an exec root of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { folder };
        std::fs::create_dir(place.path("bin")).unwrap();
        // A link would lead `current_exe` back to the folder of the build.
        std::fs::copy(env!("CARGO_BIN_EXE_longshore"), place.path("bin/longshore")).unwrap();
        std::fs::create_dir_all(place.path("exec").join(ID)).unwrap();
        std::fs::create_dir(place.path("data")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("exec").join(ID).join("engine.sock")
    }

    /// A script in the place of the engine. `$data` is its data root.
    fn daemon(&self, script: &str) {
        let text = format!(
            "#!/bin/sh\necho \"$@\" >>{}\ndata={}\n{script}\n",
            self.path("started").display(),
            self.path("data").display()
        );
        let path = self.path("bin/longshored");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn has_id(&self) {
        std::fs::write(self.path("data/id"), ID).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(self.path("bin/longshore"));
        for name in [
            "LONGSHORE_HOST",
            "LONGSHORE_DATA_ROOT",
            "LONGSHORE_CONFIG",
            "DOCKER_HOST",
        ] {
            command.env_remove(name);
        }
        command
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn started(&self) -> Vec<String> {
        std::fs::read_to_string(self.path("started"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// Answers every request on a socket: `_ping` well, other paths by `answers`.
fn serve(socket: &Path, answers: &'static [(&'static str, u16, &'static str)]) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The other side may hang up at any time.
            let _gone = answer(stream, answers);
        }
    });
}

fn answer(mut stream: UnixStream, answers: &[(&str, u16, &str)]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/_ping" => (200, "OK"),
        _ => answers
            .iter()
            .find(|(part, ..)| path.contains(part))
            .map_or((404, r#"{"message":"page not found"}"#), |(_, status, body)| {
                (*status, *body)
            }),
    };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nApi-Version: 1.43\r\nX-Longshore-Warning: a file changed\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_engine_is_started_where_none_runs() {
    let place = Place::new();
    place.daemon(&format!("echo {ID} >$data/id\necho ready /some/where"));
    serve(&place.socket(), &[("/v1.43/containers/json", 200, "[]")]);
    let output = place.run(&["ps", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(place.started().len(), 1);
    assert!(
        place.started()[0].starts_with("--on-demand --data-root /"),
        "{:?}",
        place.started()
    );
}

#[test]
fn an_engine_that_runs_is_not_started_again_and_its_warning_is_shown() {
    let place = Place::new();
    place.has_id();
    place.daemon("echo error");
    serve(&place.socket(), &[("/containers/json", 200, "[]")]);
    let output = place.run(&["ps"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        out(&output),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    );
    assert!(err(&output).contains("longshore: a file changed"));
    assert!(place.started().is_empty());
}

#[test]
fn the_loser_of_a_race_looks_again() {
    let place = Place::new();
    // The first start ends without a word; the winner is there when the client looks again.
    place.daemon(&format!(
        "test -e $data/lost && echo {ID} >$data/id\ntouch $data/lost\nexit 0"
    ));
    serve(&place.socket(), &[("/containers/json", 200, "[]")]);
    let output = place.run(&["ps"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(place.started().len(), 2);
}

#[test]
fn an_engine_that_cannot_start_says_why() {
    let place = Place::new();
    place.daemon("echo 'error the data root is newer than this engine | hint: upgrade'\nexit 1");
    let output = place.run(&["run", "image"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        err(&output),
        "longshore: the data root is newer than this engine\nhint: upgrade\n"
    );
}

#[test]
fn an_engine_that_crashes_at_its_start_is_no_endless_loop() {
    let place = Place::new();
    place.daemon("exit 7");
    let output = place.run(&["ps"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("ended before it was ready"), "{}", err(&output));
    assert_eq!(place.started().len(), 1);
}

#[test]
fn a_missing_engine_program_is_named() {
    let place = Place::new();
    let output = place.run(&["ps"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("longshored"), "{}", err(&output));
    assert!(err(&output).contains("hint: "), "{}", err(&output));
}

#[test]
fn a_status_starts_nothing() {
    let place = Place::new();
    place.daemon("echo error");
    let output = place.run(&["engine", "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        "longshore: no engine runs\nhint: longshore engine start\n"
    );
    assert!(place.started().is_empty());
}

#[test]
fn a_stale_socket_is_no_engine() {
    let place = Place::new();
    place.has_id();
    drop(UnixListener::bind(place.socket()).unwrap());
    let output = place.run(&["engine", "status"]);
    assert!(err(&output).contains("no engine runs"), "{}", err(&output));
}

#[test]
fn a_refusal_is_shown_with_its_hint_by_requests_of_both_sorts() {
    let place = Place::new();
    place.has_id();
    let refusal = r#"{"message":"the volume is in use","hint":"longshore rm c1"}"#;
    let body = Box::leak(Box::new([
        ("/volumes/", 409, refusal),
        ("/images/", 409, refusal),
        ("/containers/create", 404, r#"{"message":"No such image: x:latest"}"#),
    ]));
    serve(&place.socket(), body);
    for words in [["volume", "rm", "v"], ["rmi", "-f", "v"]] {
        let output = place.run(&words);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            err(&output).ends_with("longshore: the volume is in use\nhint: longshore rm c1\n"),
            "{}",
            err(&output)
        );
    }
    let output = place.run(&["run", "x"]);
    assert_eq!(output.status.code(), Some(125));
    let wanted =
        "longshore: no image \"x\" here: load it with \"longshore load -i FILE\" or \"longshore import FILE x\"";
    assert!(err(&output).contains(wanted), "{}", err(&output));
}

#[test]
fn what_is_wrong_on_the_command_line_ends_with_dockers_codes_and_asks_no_engine() {
    let place = Place::new();
    place.daemon("echo error");
    for (words, code, wanted) in [
        (&["run", "--nosuch", "x"][..], 125, "--nosuch"),
        (&["run", "-m", "lots", "x"], 125, "--memory"),
        (&["run", "-v", "a:b", "x"], 125, "absolute"),
        (&["create", "--mount", "type=bind", "x"], 125, "--mount"),
        (&["run", "--driver", "grph=vfs", "x"], 125, "perhaps graph"),
        (&["ps", "--driver", "vfs"], 1, "KIND=NAME"),
        (&["stop"], 125, "CONTAINER"),
        (&["ps", "--host", "unix:///x"], 1, "two engines"),
        (&["logs", "--tail", "few", "c"], 1, "--tail"),
        (&["tag", "a", "b@sha256:00"], 1, "digest"),
        (&["import", "/", "x"], 1, "folder"),
    ] {
        let output = place.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", err(&output));
        assert!(err(&output).contains(wanted), "{words:?}: {}", err(&output));
    }
    assert!(place.started().is_empty());
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    let place = Place::new();
    let mut child = Command::new(place.path("bin/longshore"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(said, "");
}

#[test]
fn completions_are_there_for_each_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = place.run(&["completion", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("longshore"), "{shell}");
    }
}
