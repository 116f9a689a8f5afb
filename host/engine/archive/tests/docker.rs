//! The tar-split record against Docker's own daemon: each puts together what the other recorded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod common;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{installed, is_root, run, sample};
use longshore_archive::digest::Digest;
use longshore_archive::image::ImageArchive;
use longshore_archive::limits::Limits;
use longshore_archive::{assemble, unpack};
use longshore_core::graph::Whiteouts;

/// A daemon on folders and a socket of its own, in a network and a mount namespace of its own.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        fs::write(folder.join("config.json"), "{}").unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let child = Command::new("unshare")
            .args(["-m", "-n", "dockerd", "--storage-driver", "vfs", "--bridge", "none"])
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--host",
                &format!("unix://{}", at("s")),
            ])
            .args([
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
            ])
            .args(["--config-file", &at("config.json")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self {
            child,
            folder: folder.to_owned(),
        };
        for _ in 0..300 {
            if daemon
                .docker(&["version"])
                .output()
                .is_ok_and(|output| output.status.success())
            {
                return daemon;
            }
            assert!(daemon.child.try_wait().unwrap().is_none(), "{}", daemon.log());
            sleep(Duration::from_millis(200));
        }
        panic!("the daemon does not answer: {}", daemon.log());
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("-H")
            .arg(format!("unix://{}", self.folder.join("s").display()))
            .args(arguments);
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..150 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(200));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn root_docker_puts_together_what_we_recorded_and_we_what_docker_did() {
    let scratch = tempfile::tempdir().unwrap();
    if !is_root(scratch.path())
        || !["dockerd", "docker", "unshare", "tar"]
            .iter()
            .all(|program| installed(program))
    {
        return;
    }
    let source = scratch.path().join("source");
    sample(&source);
    let layer = scratch.path().join("layer.tar");
    run(Command::new("tar")
        .args(["--format=pax", "-c", "-f"])
        .arg(&layer)
        .arg("-C")
        .arg(&source)
        .arg("."));
    let bytes = fs::read(&layer).unwrap();

    let daemon = Daemon::start(scratch.path());
    run(daemon
        .docker(&["import", "--message", "x"])
        .arg(&layer)
        .arg("layer:tag"));
    let chain = Digest::of(&bytes).hex();
    let record = scratch.path().join("data/image/vfs/layerdb/sha256").join(chain);
    let cache_id = fs::read_to_string(record.join("cache-id")).unwrap();
    let tree = File::open(scratch.path().join("data/vfs/dir").join(cache_id)).unwrap();
    let mut again = Vec::new();
    assemble(
        &fs::read(record.join("tar-split.json.gz")).unwrap(),
        tree.as_fd(),
        &mut again,
    )
    .unwrap();
    assert!(again == bytes, "Docker's record gave another archive");

    let own = scratch.path().join("own");
    fs::create_dir(&own).unwrap();
    let unpacked = unpack(&mut &bytes[..], File::open(&own).unwrap(), Whiteouts::Merged).unwrap();
    fs::write(record.join("tar-split.json.gz"), &unpacked.tar_split).unwrap();
    let size = fs::read_to_string(record.join("size")).unwrap();
    assert_eq!(size, unpacked.bytes.to_string());
    let saved = scratch.path().join("saved.tar");
    run(daemon.docker(&["save", "layer:tag", "--output"]).arg(&saved));
    let folder = File::open(scratch.path()).unwrap();
    let archive =
        ImageArchive::from_stream(&mut File::open(&saved).unwrap(), folder.as_fd(), &Limits::default()).unwrap();
    let [image] = archive.images.as_slice() else {
        panic!("{archive:?}")
    };
    assert_eq!(image.tags, ["layer:tag"]);
    let mut found = Vec::new();
    std::io::Read::read_to_end(&mut image.layers[0].open().unwrap(), &mut found).unwrap();
    assert!(found == bytes, "our record gave Docker another archive");
}
