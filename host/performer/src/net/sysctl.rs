//! Kernel parameters below `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::io::Read;

use longshore_core::error::{Error, Result};
use longshore_core::types::{IfName, SysctlKey};

/// Longest value that is written.
pub(crate) const MOST_VALUE: usize = 64;

/// What a sandbox may have set beside parameters of its own links: namespaced, and without a way to
/// reach the host.
const INSIDE: [&str; 9] = [
    "net/core/somaxconn",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/default/disable_ipv6",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/lo/disable_ipv6",
];

/// The link whose parameter a key is.
pub(crate) fn link_of(key: &SysctlKey) -> Option<IfName> {
    let mut words = key.as_str().split('/');
    let family = words.nth(1)?;
    let table = words.next()?;
    let link = words.next()?;
    let fits = matches!(family, "ipv4" | "ipv6") && matches!(table, "conf" | "neigh") && words.count() == 1;
    if !fits || matches!(link, "all" | "default") {
        return None;
    }
    IfName::parse(link).ok()
}

/// Whether a sandbox may have this one set.
pub(crate) fn inside(key: &SysctlKey) -> bool {
    INSIDE.contains(&key.as_str())
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

/// The value of a parameter.
pub(crate) fn read(key: &str) -> Result<String> {
    let failed = |error: &std::io::Error| Error::io(format!("read the kernel parameter {key}"), error);
    let mut value = String::new();
    let file = fs::File::open(path(key)).map_err(|error| failed(&error))?;
    file.take(4096)
        .read_to_string(&mut value)
        .map_err(|error| failed(&error))?;
    Ok(value.trim_end().to_owned())
}

/// Sets a parameter.
pub(crate) fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value)
        .map_err(|error| Error::io(format!("set the kernel parameter {key} to {value:?}"), &error))
}

/// Sets a switch that is off; whether it was.
pub(crate) fn switch_on(key: &str) -> Result<bool> {
    if read(key)? != "0" {
        return Ok(false);
    }
    write(key, "1").map(|()| true)
}

/// Lets links that take routes from advertisements do so although the machine forwards.
pub(crate) fn keep_advertised_routes() -> Result<()> {
    let folder = path("net/ipv6/conf");
    let entries = fs::read_dir(&folder).map_err(|error| Error::io(format!("list {folder}"), &error))?;
    for entry in entries.filter_map(std::result::Result::ok) {
        let link = entry.file_name().to_string_lossy().into_owned();
        let key = format!("net/ipv6/conf/{link}/accept_ra");
        if !matches!(link.as_str(), "all" | "default" | "lo") && read(&key).is_ok_and(|value| value == "1") {
            write(&key, "2")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_parameters_of_a_link_name_one() {
        let link = |key: &str| link_of(&SysctlKey::parse(key).unwrap());
        assert_eq!(link("net/ipv4/conf/eth0.10/rp_filter").unwrap().as_str(), "eth0.10");
        assert_eq!(link("net/ipv6/neigh/br0/gc_stale_time").unwrap().as_str(), "br0");
        for key in [
            "net/ipv4/ip_forward",
            "net/ipv4/conf/all/forwarding",
            "net/ipv6/conf/default/accept_ra",
            "net/ipv4/conf/eth0",
            "net/ipv4/route/eth0/x",
            "net/core/conf/eth0/x",
            "net/ipv4/conf/eth0/x/y",
        ] {
            assert_eq!(link(key), None, "{key}");
        }
    }
}
