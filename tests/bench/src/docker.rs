//! A trivial plugin that speaks Docker's protocol, for the row beside our own process transport.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use longshore_core::driver::{Open, Opened};
use longshore_core::types::{Bytes, VolumeName};
use longshore_core::volume::{Client, Stat, VERSION, VolumeDriver};
use longshore_core::wire::{OPEN, client_call};
use longshore_core::{Context, Error};
use longshore_docker_plugins::{Folders, Plugin};

use crate::Result;

/// Answers every call of one connection after the other, until this program ends.
fn serve(stream: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = if line.contains("Activate") {
            r#"{"Implements":["VolumeDriver"]}"#
        } else {
            r#"{"Volume":{"Name":"bench","Mountpoint":"/mnt/bench"}}"#
        };
        let mut length = 0;
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        reader.by_ref().take(length).read_to_end(&mut Vec::new())?;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

/// The plugin's volume driver, behind the bare adapter.
pub(crate) fn open(at: &Path) -> Result<Arc<dyn VolumeDriver>> {
    let listener = UnixListener::bind(at.join("bench.sock"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    let folders = Folders {
        sockets: vec![at.to_owned()],
        files: vec![],
    };
    let found = folders
        .find("bench")?
        .ok_or_else(|| Error::not_found("the bench's own plugin"))?;
    let channel = Plugin::activate(found)?.channel("volume")?;
    let request = Open {
        root: None,
        root_path: Bytes::default(),
        options: Vec::new(),
        host_interface: VERSION,
    };
    let opened: Opened = client_call(&channel, 0, &OPEN, &Context::background(), &request)?;
    Ok(Arc::new(Client::new(channel, &opened)))
}

/// One small call.
pub(crate) fn call(driver: &dyn VolumeDriver) -> Result<()> {
    let name = VolumeName::parse("bench")?;
    driver.stat(&Context::background(), Stat { name })?;
    Ok(())
}
