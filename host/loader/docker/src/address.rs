//! Where a plugin listens, and who may stand behind that.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use longshore_core::error::{Error, Result};

use crate::tls::Tls;

/// A plugin's address.
#[derive(Clone, Debug)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port, with or without TLS.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// How to prove who it is; none for plain text.
        tls: Option<Tls>,
    },
}

impl Address {
    /// Reads an address as `.spec` and `.json` files have it: `unix:///path`, `tcp://host:port`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str, tls: Option<Tls>) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("the plugin address {text:?} {why}"));
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(wrong("names no absolute path")),
            };
        }
        let (rest, wants_tls) = ["tcp://", "http://"]
            .iter()
            .find_map(|scheme| Some((text.strip_prefix(scheme)?, false)))
            .or_else(|| Some((text.strip_prefix("https://")?, true)))
            .ok_or_else(|| wrong("begins neither with unix:// nor with tcp://"))?;
        let (host, port) = rest
            .trim_end_matches('/')
            .rsplit_once(':')
            .ok_or_else(|| wrong("has no port"))?;
        let port = port.parse().map_err(|_| wrong("has no port"))?;
        if host.is_empty() || (wants_tls && tls.is_none()) {
            return Err(wrong("has no host, or asks for TLS without a TLSConfig"));
        }
        Ok(Self::Tcp {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
        })
    }

    /// Refuses a socket behind which a user other than root, or our own, could stand: what answers
    /// there names mount points of the host.
    pub(crate) fn check(&self) -> Result<()> {
        let Self::Unix(path) = self else { return Ok(()) };
        let found = std::fs::symlink_metadata(path).map_err(|error| {
            Error::unavailable(format!("the plugin socket {} is not there ({error})", path.display()))
        })?;
        if !found.file_type().is_socket() {
            return Err(Error::invalid(format!("{} is no socket", path.display())));
        }
        let (own, _) = longshore_sys::process::effective_owner();
        if found.uid() != 0 && found.uid() != own {
            return Err(Error::denied(format!(
                "the plugin socket {} belongs to user {}, and a plugin names mount points of the host: let root own it",
                path.display(),
                found.uid()
            )));
        }
        Ok(())
    }

    /// The address in a sentence.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_are_sockets_or_ports() {
        assert!(
            matches!(Address::parse("unix:///run/x.sock", None).unwrap(), Address::Unix(path) if path.ends_with("x.sock"))
        );
        let Address::Tcp { host, port, tls } = Address::parse("tcp://[::1]:80", None).unwrap() else {
            panic!("no port");
        };
        assert!(host == "::1" && port == 80 && tls.is_none());
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for bad in [
            "",
            "/run/x.sock",
            "unix://x",
            "tcp://host",
            "tcp://:80",
            "https://host:1",
            "ftp://host:1",
        ] {
            let error = Address::parse(bad, None).unwrap_err();
            assert!(error.message.contains(&format!("{bad:?}")), "{error}");
        }
    }
}
