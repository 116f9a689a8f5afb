//! Servers' exports: mounts that may have to wait for another machine, the look-up of its name among
//! what waits. Such a mount is data alone once it is checked, so that a process that can be killed may
//! build it.

use std::net::{IpAddr, ToSocketAddrs};

use longshore_core::error::{Error, Result};
use longshore_core::steps::Remote;
use longshore_core::types::RelPath;
use serde::{Deserialize, Serialize};

use super::{Access, CheckedPlan, Setting, What};

/// Who builds a checked plan.
#[derive(Debug)]
pub enum Builder {
    /// Whoever checked it, with [`build`](fn@super::build).
    Here(CheckedPlan),
    /// A process that can be killed.
    Killable(RemoteMount),
}

/// A checked mount of a server's export. What it holds of secrets is not printed.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoteMount {
    fs: String,
    remote: Remote,
    settings: Vec<Setting>,
    access: Access,
    read_only: bool,
    restricted: bool,
    subdir: RelPath,
}

impl RemoteMount {
    /// The server, as the user named it.
    pub fn server(&self) -> &str {
        &self.remote.server
    }

    /// The file system's type.
    pub fn file_system(&self) -> &str {
        &self.fs
    }
}

impl CheckedPlan {
    /// Sorts plans by who may build them.
    pub fn builder(self) -> Builder {
        match self.what {
            What::Remote { fs, remote, settings } => Builder::Killable(RemoteMount {
                fs,
                remote,
                settings,
                access: self.access,
                read_only: self.read_only,
                restricted: self.restricted,
                subdir: self.subdir,
            }),
            _ => Builder::Here(self),
        }
    }
}

impl From<RemoteMount> for CheckedPlan {
    fn from(mount: RemoteMount) -> Self {
        Self {
            what: What::Remote {
                fs: mount.fs,
                remote: mount.remote,
                settings: mount.settings,
            },
            access: mount.access,
            read_only: mount.read_only,
            restricted: mount.restricted,
            subdir: mount.subdir,
        }
    }
}

/// The settings of the mount, with the server's address, which is looked up here.
pub(super) fn settings(fs: &str, remote: &Remote, mut settings: Vec<Setting>) -> Result<Vec<Setting>> {
    let address = look_up(&remote.server)?;
    let path = remote.path.as_bytes();
    let source = match (fs, address) {
        ("cifs", _) => [b"//", remote.server.as_bytes(), path].concat(),
        (_, IpAddr::V6(address)) => [format!("[{address}]:").as_bytes(), path].concat(),
        _ => [remote.server.as_bytes(), b":", path].concat(),
    };
    let address_key = if fs == "cifs" { "ip" } else { "addr" };
    settings.insert(0, Setting::text("source", source));
    settings.insert(1, Setting::text(address_key, address.to_string()));
    Ok(settings)
}

/// The kernel takes addresses only.
fn look_up(server: &str) -> Result<IpAddr> {
    let found = (server, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
    found
        .map(|address| address.ip())
        .ok_or_else(|| Error::unavailable(format!("server {server:?} has no address")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn text(settings: &[Setting], key: &str) -> String {
        let found = settings.iter().find(|setting| setting.key == key).unwrap();
        String::from_utf8(found.value.clone().unwrap()).unwrap()
    }

    #[test]
    fn each_kind_names_its_server_and_its_address_in_its_own_way() {
        for (fs, server, source, key) in [
            ("nfs", "127.0.0.1", "127.0.0.1:/export", "addr"),
            ("nfs4", "::1", "[::1]:/export", "addr"),
            ("cifs", "127.0.0.1", "//127.0.0.1/export", "ip"),
        ] {
            let remote = Remote {
                server: server.into(),
                path: "/export".into(),
            };
            let made = settings(fs, &remote, vec![Setting::text("vers", "4.2")]).unwrap();
            assert_eq!(text(&made, "source"), source);
            assert_eq!(text(&made, key), server);
            assert_eq!(text(&made, "vers"), "4.2");
        }
    }

    #[test]
    fn a_server_without_an_address_is_unavailable() {
        let remote = Remote {
            server: "no-such-server.invalid".into(),
            path: "/export".into(),
        };
        let error = settings("nfs", &remote, Vec::new()).unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::Unavailable);
    }
}
