//! Names of endpoints: one file for each below `<run>/net/<network>/names/`, replaced by rename, so
//! that whoever answers for names sees each of them whole; and the text of a hosts file.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use longshore_core::error::{Error, Result};
use longshore_core::types::{DnsName, IpAddr};

/// Most names, and most addresses, of one endpoint.
pub const MOST_NAMES: usize = 64;

/// What an endpoint is called, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its names.
    pub names: Vec<DnsName>,
}

/// Replaces a file by one written beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

fn folder_of(run: &Path, network: &str) -> PathBuf {
    run.join(network).join("names")
}

/// Writes an endpoint's file.
pub(crate) fn write(run: &Path, network: &str, endpoint: &str, names: &[DnsName], addresses: &[IpAddr]) -> Result<()> {
    let folder = folder_of(run, network);
    let path = folder.join(endpoint);
    let named = Named {
        addresses: addresses.to_vec(),
        names: names.to_vec(),
    };
    fs::create_dir_all(&folder)
        .and_then(|()| replace(&path, lines(&named).as_bytes()))
        .map_err(|error| Error::io(format!("write the names file {}", path.display()), &error))
}

/// Removes an endpoint's file, and the folders that are empty without it.
pub(crate) fn remove(run: &Path, network: &str, endpoint: &str) -> Result<()> {
    let folder = folder_of(run, network);
    let path = folder.join(endpoint);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io(format!("remove the names file {}", path.display()), &error));
        }
        _ => {}
    }
    // Another endpoint's file keeps them.
    if fs::remove_dir(&folder).is_ok() {
        let _ = fs::remove_dir(run.join(network));
    }
    Ok(())
}

/// The endpoints of a network that have names, by their IDs.
///
/// # Errors
/// What the file system says. A file that cannot be understood is left out.
pub fn list(run: &Path, network: &str) -> Result<Vec<(String, Named)>> {
    let folder = folder_of(run, network);
    let failed = |error: &io::Error| Error::io(format!("list the names in {}", folder.display()), error);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(&error))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".new") {
            continue;
        }
        // One that has just been removed.
        if let Ok(text) = fs::read_to_string(entry.path()) {
            all.push((name, parse(&text)));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// One line for each address.
fn lines(named: &Named) -> String {
    named
        .addresses
        .iter()
        .map(|address| {
            let names = named.names.iter().map(|name| format!(" {name}"));
            format!("{address}{}\n", names.collect::<String>())
        })
        .collect()
}

fn parse(text: &str) -> Named {
    let mut named = Named {
        addresses: Vec::new(),
        names: Vec::new(),
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        named
            .addresses
            .extend(words.next().and_then(|word| IpAddr::parse(word).ok()));
        if named.names.is_empty() {
            named.names.extend(words.filter_map(|word| DnsName::parse(word).ok()));
        }
    }
    named
}

/// The text of a container's `/etc/hosts`: the loopback link, then itself, then who else there is.
pub fn hosts(own: &Named, others: &[Named]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for named in std::iter::once(own)
        .chain(others)
        .filter(|named| !named.names.is_empty())
    {
        let names: Vec<&str> = named.names.iter().map(DnsName::as_str).collect();
        for address in &named.addresses {
            text.push_str(&format!("{address}\t{}\n", names.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn named(addresses: &[&str], names: &[&str]) -> Named {
        Named {
            addresses: addresses.iter().map(|text| IpAddr::parse(text).unwrap()).collect(),
            names: names.iter().map(|text| DnsName::parse(*text).unwrap()).collect(),
        }
    }

    #[test]
    fn names_are_read_as_they_were_written_and_leave_nothing() {
        let run = tempfile::tempdir().unwrap();
        let web = named(&["10.0.0.2", "fd00::2"], &["web", "web.front"]);
        write(run.path(), "n1", "e1", &web.names, &web.addresses).unwrap();
        write(run.path(), "n1", "e1", &web.names, &web.addresses).unwrap();
        assert_eq!(list(run.path(), "n1").unwrap(), [("e1".to_owned(), web)]);
        remove(run.path(), "n1", "e1").unwrap();
        remove(run.path(), "n1", "e1").unwrap();
        assert_eq!(list(run.path(), "n1").unwrap(), []);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_hosts_file_names_the_container_after_the_loopback_link() {
        let text = hosts(
            &named(&["10.0.0.2"], &["web"]),
            &[named(&["10.0.0.3"], &["db", "data"])],
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.2\tweb\n10.0.0.3\tdb data\n"));
        assert_eq!(hosts(&named(&["10.0.0.2"], &[]), &[]).lines().count(), 6);
    }
}
