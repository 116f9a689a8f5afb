//! Finding plugins where Docker does: sockets first, then the files that name an address.

use std::path::{Path, PathBuf};

use longshore_core::error::{Error, Result};
use serde::Deserialize;

use crate::address::Address;
use crate::tls::Tls;

/// Longest `.spec` or `.json` file.
const LARGEST_FILE: u64 = 64 * 1024;

/// The folders in which plugins are looked for.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Folders of sockets: `NAME.sock`, or `NAME/NAME.sock`.
    pub sockets: Vec<PathBuf>,
    /// Folders of `NAME.spec` and `NAME.json`, in this order.
    pub files: Vec<PathBuf>,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            sockets: vec!["/run/docker/plugins".into()],
            files: vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
        }
    }
}

/// A plugin that was found; nobody has spoken to it yet.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// The socket or file by which it was found.
    pub by: PathBuf,
}

/// A plugin's `.json` file.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls: Option<JsonTls>,
}

#[derive(Deserialize)]
struct JsonTls {
    #[serde(rename = "InsecureSkipVerify", default)]
    insecure: bool,
    #[serde(rename = "CAFile", default)]
    authorities: String,
    #[serde(rename = "CertFile", default)]
    certificate: String,
    #[serde(rename = "KeyFile", default)]
    key: String,
}

impl From<JsonTls> for Tls {
    fn from(json: JsonTls) -> Self {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Self {
            insecure: json.insecure,
            authorities: path(&json.authorities),
            own: path(&json.certificate).zip(path(&json.key)),
        }
    }
}

/// A name that is a file name and nothing more.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

impl Folders {
    /// The plugin of that name.
    ///
    /// # Errors
    /// `Invalid` for a file that names no address, `Denied` for one that others than root may write.
    pub fn find(&self, name: &str) -> Result<Option<Found>> {
        if !is_plain(name) {
            return Ok(None);
        }
        for folder in &self.sockets {
            for path in [
                folder.join(format!("{name}.sock")),
                folder.join(name).join(format!("{name}.sock")),
            ] {
                if path.symlink_metadata().is_ok() {
                    return Ok(Some(Found {
                        name: name.to_owned(),
                        address: Address::Unix(path.clone()),
                        by: path,
                    }));
                }
            }
        }
        for folder in &self.files {
            for extension in ["spec", "json"] {
                let path = folder.join(format!("{name}.{extension}"));
                if path.symlink_metadata().is_ok() {
                    return read(name, path).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The names of all plugins, sorted. Nobody is spoken to.
    pub fn names(&self) -> Vec<String> {
        let mut names = std::collections::BTreeSet::new();
        let entries = |folder: &PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in self.sockets.iter().flat_map(entries) {
            let path = entry.path();
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
                continue;
            };
            let nested = path.join(format!("{stem}.sock"));
            if path.extension().is_some_and(|extension| extension == "sock") || nested.symlink_metadata().is_ok() {
                names.insert(stem.to_owned());
            }
        }
        for entry in self.files.iter().flat_map(entries) {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "spec" || e == "json")
                && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            {
                names.insert(stem.to_owned());
            }
        }
        names.into_iter().filter(|name| is_plain(name)).collect()
    }
}

fn read(name: &str, path: PathBuf) -> Result<Found> {
    let text = content(&path)?;
    let wrong = |why: String| Error::invalid(format!("the plugin file {}: {why}", path.display()));
    let address = if path.extension().is_some_and(|extension| extension == "json") {
        let json: Json = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Address::parse(&json.addr, json.tls.map(Tls::from))
    } else {
        Address::parse(text.trim(), None)
    };
    Ok(Found {
        name: name.to_owned(),
        address: address.map_err(|error| wrong(error.message))?,
        by: path,
    })
}

/// Reads a small file that root, or we ourselves, wrote.
fn content(path: &Path) -> Result<String> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let failed = |error: std::io::Error| Error::io(format!("read the plugin file {}", path.display()), &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    let (own, _) = longshore_sys::process::effective_owner();
    if (found.uid() != 0 && found.uid() != own) || found.mode() & 0o022 != 0 {
        return Err(Error::denied(format!(
            "the plugin file {} can be written by others than root: `chown root` and `chmod 644` it",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(Error::invalid(format!(
            "the plugin file {} is longer than {LARGEST_FILE} bytes",
            path.display()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn folders(at: &Path) -> Folders {
        for name in ["run", "etc", "lib"] {
            std::fs::create_dir(at.join(name)).unwrap();
        }
        Folders {
            sockets: vec![at.join("run")],
            files: vec![at.join("etc"), at.join("lib")],
        }
    }

    #[test]
    fn a_socket_comes_before_files_and_spec_before_json() {
        let at = tempfile::tempdir().unwrap();
        let folders = folders(at.path());
        let shown = |name: &str| folders.find(name).unwrap().unwrap().address.shown();
        std::fs::write(at.path().join("lib/x.json"), r#"{"Name":"x","Addr":"tcp://c:3"}"#).unwrap();
        assert_eq!(shown("x"), "c:3");
        std::fs::write(at.path().join("etc/x.json"), r#"{"Name":"x","Addr":"tcp://b:2"}"#).unwrap();
        assert_eq!(shown("x"), "b:2");
        std::fs::write(at.path().join("etc/x.spec"), "tcp://a:1\n").unwrap();
        assert_eq!(shown("x"), "a:1");
        std::fs::create_dir(at.path().join("run/x")).unwrap();
        let _nested = std::os::unix::net::UnixListener::bind(at.path().join("run/x/x.sock")).unwrap();
        assert!(shown("x").ends_with("run/x/x.sock"));
        let _direct = std::os::unix::net::UnixListener::bind(at.path().join("run/x.sock")).unwrap();
        assert!(shown("x").ends_with("run/x.sock"));
        assert_eq!(folders.names(), ["x"]);
        assert!(folders.find("y").unwrap().is_none());
    }

    #[test]
    fn a_name_is_never_a_path() {
        let at = tempfile::tempdir().unwrap();
        let folders = folders(at.path());
        std::fs::write(at.path().join("secret.spec"), "tcp://a:1").unwrap();
        for name in ["../secret", "..", "/etc/x", "", ".x", "a/b", "a\0b"] {
            assert!(folders.find(name).unwrap().is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let at = tempfile::tempdir().unwrap();
        let folders = folders(at.path());
        let path = at.path().join("etc/x.spec");
        std::fs::write(&path, "tcp://a:1").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let error = folders.find("x").unwrap_err();
        assert!(error.message.contains("chmod"), "{error}");
    }

    #[test]
    fn a_file_without_an_address_is_named() {
        let at = tempfile::tempdir().unwrap();
        let folders = folders(at.path());
        std::fs::write(at.path().join("etc/x.json"), "{}").unwrap();
        let error = folders.find("x").unwrap_err();
        assert!(error.message.contains("x.json"), "{error}");
    }
}
