//! The files that the engine gives every container: `hostname`, `hosts`, `resolv.conf`.

use std::fs;
use std::path::Path;

use super::record::Record;
use crate::error::Result;
use crate::paths::{make_dir, write_whole};

/// The host name that a container shows: as configured, or the beginning of its ID.
pub(crate) fn hostname(record: &Record, id: &str, shares_host: bool) -> String {
    match &record.config.hostname {
        Some(name) if !name.is_empty() => name.clone(),
        _ if shares_host => fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .unwrap_or_else(|_| "localhost".to_owned()),
        _ => id.get(..12).unwrap_or(id).to_owned(),
    }
}

/// Writes the three files into the container's folder. On the host's network they are the host's.
pub(crate) fn write(folder: &Path, record: &Record, id: &str, shares_host: bool) -> Result<()> {
    make_dir(folder, 0o710)?;
    let name = hostname(record, id, shares_host);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut hosts = if shares_host {
        read("/etc/hosts")
    } else {
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned()
    };
    for extra in record.host.extra_hosts.iter().flatten() {
        if let Some((host, address)) = extra.split_once([':', '=']) {
            hosts.push_str(&format!("{address}\t{host}\n"));
        }
    }
    let resolv = if shares_host || record.host.dns.as_ref().is_none_or(Vec::is_empty) {
        read("/etc/resolv.conf")
    } else {
        record
            .host
            .dns
            .iter()
            .flatten()
            .map(|server| format!("nameserver {server}\n"))
            .collect()
    };
    // Read by users other than root inside; the folder itself keeps others out on the host.
    write_whole(&folder.join("hostname"), format!("{name}\n").as_bytes(), 0o644, false)?;
    write_whole(&folder.join("hosts"), hosts.as_bytes(), 0o644, false)?;
    write_whole(&folder.join("resolv.conf"), resolv.as_bytes(), 0o644, false)
}
