//! A plugin that is good, and several that are not, on sockets of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fake;

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::{Open, Opened, OptionValue};
use longshore_core::error::ErrorKind;
use longshore_core::graph::Ended;
use longshore_core::steps::Source;
use longshore_core::types::{Bytes, MountId, Note, VolumeName};
use longshore_core::volume::{Access, Client, Create, List, Mount, Remove, Stat, Unmount, VolumeDriver, VolumeRef};
use longshore_core::wire::{OPEN, client_call};
use longshore_docker_plugins::{Folders, Plugin};

use fake::{Answer, serve};

fn good(method: &str, body: &str) -> (u16, String) {
    let answer = match method {
        "Plugin.Activate" => r#"{"Implements":["VolumeDriver"]}"#,
        "VolumeDriver.Capabilities" => r#"{"Capabilities":{"Scope":"global"}}"#,
        "VolumeDriver.Mount" => r#"{"Mountpoint":"/mnt/data","Err":""}"#,
        "VolumeDriver.Get" if body.contains("gone") => r#"{"Err":"no such volume"}"#,
        "VolumeDriver.Get" => r#"{"Volume":{"Name":"data","Mountpoint":"/mnt/data","Status":{"hot":true}}}"#,
        "VolumeDriver.List" => r#"{"Volumes":[{"Name":"bb"},{"Name":"aa"},{"Name":"../x"}]}"#,
        "VolumeDriver.Create" if body.contains("full") => r#"{"Err":"the disk is full"}"#,
        "VolumeDriver.Remove" if body.contains("gone") => r#"{"Err":"no such volume"}"#,
        "VolumeDriver.Create" | "VolumeDriver.Remove" | "VolumeDriver.Unmount" => "{}",
        _ => return (404, String::new()),
    };
    (200, answer.into())
}

fn open(folders: &Folders) -> longshore_core::Result<Arc<dyn VolumeDriver>> {
    let plugin = Plugin::activate(folders.find("p")?.expect("a socket"))?;
    let channel = plugin.channel("volume")?;
    let request = Open {
        root: None,
        root_path: Bytes::default(),
        options: vec![],
        host_interface: 0,
    };
    let opened: Opened = client_call(&channel, 0, &OPEN, &Context::background(), &request)?;
    Ok(Arc::new(Client::new(channel, &opened)))
}

fn volume(name: &str) -> VolumeRef {
    VolumeRef {
        name: VolumeName::parse(name).unwrap(),
        note: Note::default(),
        options: vec![],
    }
}

fn create(driver: &dyn VolumeDriver, name: &str) -> longshore_core::Result<()> {
    let request = Create {
        name: VolumeName::parse(name).unwrap(),
        options: vec![OptionValue::text("path", "/srv")],
    };
    driver.create(&Context::background(), request).map(drop)
}

#[test]
fn a_volume_is_made_mounted_unmounted_and_removed() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), good);
    let driver = open(&folders).unwrap();
    let cx = Context::background();
    create(&*driver, "data").unwrap();
    let mount = Mount {
        volume: volume("data"),
        mount_id: MountId::parse("c1").unwrap(),
        access: Access::Read,
        others: 0,
    };
    let mounted = driver.mount(&cx, mount).unwrap();
    let step = &mounted.plan.steps[0];
    assert!(step.read_only && matches!(&step.source, Source::HostPath(path) if path.as_bytes() == b"/mnt/data"));
    let unmount = Unmount {
        volume: volume("data"),
        mount_id: MountId::parse("c1").unwrap(),
        others: 0,
    };
    assert_eq!(driver.unmount(&cx, unmount).unwrap().outcome, Ended::Done);
    let remove = |name| {
        let request = Remove {
            volume: volume(name),
            force: false,
        };
        driver.remove(&Context::background(), request).unwrap().outcome
    };
    assert_eq!(remove("data"), Ended::Done);
    assert_eq!(remove("gone"), Ended::Absent);
    let calls = calls.lock().unwrap();
    let body = |method: &str| calls.iter().find(|(name, _)| name == method).unwrap().1.clone();
    assert_eq!(body("VolumeDriver.Create"), r#"{"Name":"data","Opts":{"path":"/srv"}}"#);
    assert_eq!(body("VolumeDriver.Mount"), r#"{"Name":"data","ID":"c1"}"#);
}

#[test]
fn volumes_are_listed_sorted_and_names_that_are_none_are_left_out() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), good);
    let driver = open(&folders).unwrap();
    let cx = Context::background();
    let page = driver.list(&cx, List { after: None, limit: 1 }).unwrap();
    assert!(page.more && page.volumes[0].name.as_str() == "aa");
    let after = Some(VolumeName::parse("aa").unwrap());
    let page = driver.list(&cx, List { after, limit: 10 }).unwrap();
    assert!(!page.more && page.volumes.len() == 1);
    let stat = |name| {
        driver.stat(
            &Context::background(),
            Stat {
                name: VolumeName::parse(name).unwrap(),
            },
        )
    };
    assert_eq!(stat("data").unwrap().status[0].value, "true");
    assert_eq!(stat("gone").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn what_a_plugin_says_against_a_call_is_told() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), good);
    let error = create(&*open(&folders).unwrap(), "full").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error.message.contains("the disk is full") && error.message.contains("volume plugin p"),
        "{error}"
    );
}

#[test]
fn half_an_answer_to_a_changing_call_is_broken_and_the_call_is_not_made_again() {
    let at = tempfile::tempdir().unwrap();
    let (folders, calls) = serve(at.path(), |method, body| match method {
        "VolumeDriver.Create" => (0, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Er".into()),
        _ => good(method, body),
    });
    let error = create(&*open(&folders).unwrap(), "data").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    let count = calls
        .lock()
        .unwrap()
        .iter()
        .filter(|(name, _)| name == "VolumeDriver.Create")
        .count();
    assert_eq!(count, 1);
}

#[test]
fn an_answer_without_end_or_sense_is_broken() {
    for answer in [
        (|method, body| match method {
            "VolumeDriver.List" => (200, "[".repeat(2 << 20)),
            _ => good(method, body),
        }) as Answer,
        |method, body| match method {
            "VolumeDriver.List" => (200, "[".repeat(100_000)),
            _ => good(method, body),
        },
        |method, body| match method {
            "VolumeDriver.List" => (200, "no JSON".into()),
            _ => good(method, body),
        },
    ] {
        let at = tempfile::tempdir().unwrap();
        let (folders, _) = serve(at.path(), answer);
        let list = List { after: None, limit: 1 };
        let error = open(&folders).unwrap().list(&Context::background(), list).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    }
}

#[test]
fn a_plugin_that_hangs_costs_the_calls_deadline_and_no_more() {
    let at = tempfile::tempdir().unwrap();
    let (folders, _) = serve(at.path(), |method, body| match method {
        "VolumeDriver.Create" => (1, String::new()),
        _ => good(method, body),
    });
    let driver = open(&folders).unwrap();
    let cx = Context::new(
        0,
        Some(std::time::Duration::from_millis(200)),
        Default::default(),
        Arc::new(longshore_core::context::NoServices),
    );
    let request = Create {
        name: VolumeName::parse("data").unwrap(),
        options: vec![],
    };
    assert_eq!(driver.create(&cx, request).unwrap_err().kind, ErrorKind::Deadline);
}

#[test]
fn nobody_at_the_address_and_no_volume_driver_are_told_apart() {
    let at = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(at.path().join("p.sock")).unwrap());
    let folders = Folders {
        sockets: vec![at.path().to_owned()],
        files: vec![],
    };
    let error = open(&folders).err().unwrap();
    assert!(
        error.kind == ErrorKind::Unavailable && error.message.contains("nobody answers"),
        "{error}"
    );
    let other = tempfile::tempdir().unwrap();
    let (folders, _) = serve(other.path(), |_, _| (200, r#"{"Implements":["authz"]}"#.into()));
    let error = open(&folders).err().unwrap();
    assert!(
        error.kind == ErrorKind::Unsupported && error.message.contains("authz"),
        "{error}"
    );
}
