//! A plugin on a socket of the test's own, which answers what a test says. Shared by the tests of each
//! interface.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore_docker_plugins::Folders;

/// What a plugin answers to a method: status and body.
pub(crate) type Answer = fn(method: &str, body: &str) -> (u16, String);
/// The calls that it got.
pub(crate) type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// Serves one call a connection, until the test ends.
pub(crate) fn serve(at: &Path, answer: Answer) -> (Folders, Calls) {
    let folders = Folders {
        sockets: vec![at.to_owned()],
        files: vec![],
    };
    let listener = UnixListener::bind(at.join("p.sock")).unwrap();
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || one(stream, answer, &seen));
        }
    });
    (folders, calls)
}

fn one(mut stream: UnixStream, answer: Answer, seen: &Calls) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let method = line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    seen.lock().unwrap().push((method.clone(), body.clone()));
    let (status, text) = answer(&method, &body);
    match status {
        // Half an answer.
        0 => drop(stream.write_all(text.as_bytes())),
        // No answer, for longer than any test waits.
        1 => std::thread::sleep(std::time::Duration::from_secs(600)),
        _ => drop(write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )),
    }
}
