//! Whom a container runs as, from `/etc/passwd` and `/etc/group` in its own root.
//!
//! The files are the image's, so they may be anything: they are opened beneath the root without
//! leaving it, only when they are regular files, and only so far as they are short. No library's
//! look-up is used: it would load the image's modules into this process.

use std::io::Read as _;
use std::os::fd::AsFd;

use longshore_sys::Errno;
use longshore_sys::path::{self, OFlags, Resolve};

use crate::error::{Error, Result};

/// Longest file of users or groups that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The highest user or group that Docker takes as a number.
const MAX_ID: i64 = i32::MAX as i64;

/// A user of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// All groups, that one first.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

impl std::default::Default for User {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: vec![0],
            home: "/".to_owned(),
        }
    }
}

/// Resolves `name|uid[:group|gid]` and more groups by Docker's rules, in the root that a descriptor
/// names.
///
/// # Errors
/// `Invalid` when a name is in neither file or a number is out of range; `Corrupt` when a file is
/// not a regular one or too long.
pub(crate) fn resolve_user(root: impl AsFd, spec: &str, more_groups: &[String]) -> Result<User> {
    resolve(|file| read_beneath(root.as_fd(), file), spec, more_groups)
}

/// Reads a file of a root; `None` when it is not there.
fn read_beneath(root: impl AsFd, file: &str) -> Result<Option<Vec<u8>>> {
    let broken = |why: String| Error::new(crate::error::ErrorKind::Corrupt, format!("the image's {file} {why}"));
    // O_PATH opens nothing: a FIFO would wait, a device would act.
    let found = match path::open(&root, file.as_bytes(), OFlags::PATH, 0, Resolve::InRoot) {
        Ok(found) => found,
        Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) || error.is(Errno::LOOP) => return Ok(None),
        Err(error) => return Err(Error::io(format!("open the image's {file}"), &error.into())),
    };
    let io = |error: longshore_sys::Error| Error::io(format!("read the image's {file}"), &error.into());
    let metadata = path::stat(&found).map_err(io)?;
    if !metadata.is_file() {
        return Err(broken("is not a regular file".to_owned()));
    }
    let opened = path::reopen(&found, OFlags::RDONLY | OFlags::NONBLOCK).map_err(io)?;
    let mut text = Vec::new();
    std::fs::File::from(opened)
        .take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(|error| Error::io(format!("read the image's {file}"), &error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(broken(format!("is longer than {MAX_FILE} bytes")));
    }
    Ok(Some(text))
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The same over any reader of files.
pub(super) fn resolve(
    read: impl Fn(&str) -> Result<Option<Vec<u8>>>,
    spec: &str,
    more_groups: &[String],
) -> Result<User> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, group),
        None => (spec, ""),
    };
    let accounts = accounts(&read("etc/passwd")?.unwrap_or_default());
    let groups = groups(&read("etc/group")?.unwrap_or_default());
    let wanted = if user.is_empty() { "0" } else { user };
    let number = id(wanted);
    let account = accounts
        .iter()
        .find(|a| a.name == wanted || Some(i64::from(a.uid)) == number);
    let mut resolved = User::default();
    match (account, number) {
        (Some(account), _) => {
            resolved.uid = account.uid;
            resolved.gid = account.gid;
            if !account.home.is_empty() {
                resolved.home.clone_from(&account.home);
            }
        }
        (None, Some(number)) => resolved.uid = in_range(number, "user", wanted)?,
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {wanted}: no matching entries in passwd file"
            )));
        }
    }
    let listed: Vec<u32> = if group.is_empty() {
        let name = account.map(|a| a.name.as_str());
        let member = |g: &&Group| name.is_some_and(|name| g.members.iter().any(|m| m == name));
        groups.iter().filter(member).map(|g| g.gid).collect()
    } else {
        resolved.gid = group_id(group, &groups)?;
        Vec::new()
    };
    let more = more_groups
        .iter()
        .map(|name| group_id(name, &groups))
        .collect::<Result<Vec<_>>>()?;
    resolved.groups = vec![resolved.gid];
    for gid in listed.into_iter().chain(more) {
        if !resolved.groups.contains(&gid) {
            resolved.groups.push(gid);
        }
    }
    Ok(resolved)
}

fn group_id(wanted: &str, groups: &[Group]) -> Result<u32> {
    let number = id(wanted);
    match (
        groups
            .iter()
            .find(|g| g.name == wanted || Some(i64::from(g.gid)) == number),
        number,
    ) {
        (Some(group), _) => Ok(group.gid),
        (None, Some(number)) => in_range(number, "group", wanted),
        (None, None) => Err(Error::invalid(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))),
    }
}

fn id(text: &str) -> Option<i64> {
    text.parse::<i64>().ok()
}

fn in_range(number: i64, kind: &str, given: &str) -> Result<u32> {
    if !(0..=MAX_ID).contains(&number) {
        return Err(Error::invalid(format!(
            "the {kind} {given} is not between 0 and {MAX_ID}"
        )));
    }
    u32::try_from(number).map_err(|_| Error::invalid(format!("the {kind} {given} is not between 0 and {MAX_ID}")))
}

fn fields(text: &[u8]) -> impl Iterator<Item = Vec<String>> + '_ {
    text.split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty())
        .map(|line| line.split(':').map(str::to_owned).collect())
}

/// Lines of passwd(5); one without numbers is no account (Docker takes it for root's).
fn accounts(text: &[u8]) -> Vec<Account> {
    let account = |mut f: Vec<String>| {
        let numbers = (f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?);
        Some(Account {
            name: std::mem::take(f.first_mut()?),
            uid: numbers.0,
            gid: numbers.1,
            home: f.get(5).cloned().unwrap_or_default(),
        })
    };
    fields(text).filter_map(account).collect()
}

/// Lines of group(5).
fn groups(text: &[u8]) -> Vec<Group> {
    let group = |mut f: Vec<String>| {
        let gid = f.get(2)?.parse().ok()?;
        let members = f
            .get(3)
            .map(|list| list.split(',').map(|m| m.trim().to_owned()).collect())
            .unwrap_or_default();
        Some(Group {
            name: std::mem::take(f.first_mut()?),
            gid,
            members,
        })
    };
    fields(text).filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test stops at the first surprise"
    )]
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\n# a comment\nbin:x:2:2::/bin:/bin/sh\n\
        web:x:1000:1000:Web,,,:/srv/web:/bin/sh\nbroken:x:no:number:::\n42:x:77:78::/odd:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:root\nwheel:x:10:root,web\nweb:x:1000:\naudio:x:29:web\nbad:x:none:web\n";

    fn with(passwd: Option<&[u8]>, group: Option<&[u8]>, spec: &str, more: &[&str]) -> Result<User> {
        let more: Vec<String> = more.iter().map(|name| (*name).to_owned()).collect();
        let read = |file: &str| Ok(if file == "etc/passwd" { passwd } else { group }.map(<[u8]>::to_vec));
        resolve(read, spec, &more)
    }

    #[test]
    fn users_resolve_as_docker_does() {
        type Row = (
            &'static str,
            &'static [&'static str],
            u32,
            u32,
            &'static [u32],
            &'static str,
        );
        let table: &[Row] = &[
            ("", &[], 0, 0, &[0, 10], "/root"),
            ("root", &[], 0, 0, &[0, 10], "/root"),
            ("0", &[], 0, 0, &[0, 10], "/root"),
            ("web", &[], 1000, 1000, &[1000, 10, 29], "/srv/web"),
            ("1000", &[], 1000, 1000, &[1000, 10, 29], "/srv/web"),
            ("web:audio", &[], 1000, 29, &[29], "/srv/web"),
            ("web:29", &[], 1000, 29, &[29], "/srv/web"),
            ("web:4711", &["wheel", "5"], 1000, 4711, &[4711, 10, 5], "/srv/web"),
            ("4711", &[], 4711, 0, &[0], "/"),
            ("4711:web", &[], 4711, 1000, &[1000], "/"),
            // A name of digits is found by name first, as its line comes first or not at all.
            ("42", &[], 77, 78, &[78], "/odd"),
            (":audio", &[], 0, 29, &[29], "/root"),
            ("web", &["wheel", "10"], 1000, 1000, &[1000, 10, 29], "/srv/web"),
        ];
        for (spec, more, uid, gid, groups, home) in table {
            let user = with(Some(PASSWD), Some(GROUP), spec, more).unwrap();
            let wanted = User {
                uid: *uid,
                gid: *gid,
                groups: groups.to_vec(),
                home: (*home).to_owned(),
            };
            assert_eq!(user, wanted, "{spec}");
        }
    }

    #[test]
    fn a_root_without_files_knows_numbers_only() {
        assert_eq!(with(None, None, "", &[]).unwrap(), User::default());
        assert_eq!(with(None, None, "5:6", &[]).unwrap().groups, [6]);
        assert!(
            with(None, None, "root", &[])
                .unwrap_err()
                .message
                .contains("no matching entries in passwd")
        );
        assert!(
            with(None, None, "0:wheel", &[])
                .unwrap_err()
                .message
                .contains("no matching entries in group")
        );
        assert!(with(None, None, "0", &["wheel"]).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for spec in ["-1", "2147483648", "0:-1", "0:99999999999"] {
            assert!(
                with(Some(PASSWD), Some(GROUP), spec, &[])
                    .unwrap_err()
                    .message
                    .contains("not between"),
                "{spec}"
            );
        }
        assert!(with(None, None, "broken", &[]).is_err());
        assert!(with(Some(PASSWD), None, "broken", &[]).is_err());
    }

    #[test]
    fn only_regular_files_of_the_root_are_read() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let open = || std::fs::File::open(root.path()).unwrap();
        assert_eq!(resolve_user(open(), "0", &[]).unwrap(), User::default());
        // A link to the host's file resolves inside, where there is none.
        std::os::unix::fs::symlink("/etc/passwd-of-the-image", etc.join("passwd")).unwrap();
        assert_eq!(resolve_user(open(), "0", &[]).unwrap().home, "/");
        std::fs::write(etc.join("passwd-of-the-image"), "root:x:0:0::/inside:/bin/sh\n").unwrap();
        assert_eq!(resolve_user(open(), "0", &[]).unwrap().home, "/inside");
        std::fs::create_dir(etc.join("group")).unwrap();
        assert!(
            resolve_user(open(), "0", &[])
                .unwrap_err()
                .message
                .contains("not a regular file")
        );
    }
}
