//! The manifest that a driver's file carries, read from its bytes without running any of them.

use serde::{Deserialize, Serialize};

use crate::refusal::{Fault, Problem};

/// The section that holds the manifest.
pub(crate) const SECTION: &str = "longshore.manifest";
/// Longest text of a manifest.
const MAX_TEXT: usize = 64 * 1024;
const MAGIC: &[u8] = b"LNGSHORE";
/// Magic, one byte version, three zeros, the length.
const HEADER: usize = 16;
/// The version of the form that this reader knows.
const FORM: u8 = 1;

/// What a driver's file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The library ABI.
    pub abi: u32,
    /// The driver's name.
    pub name: String,
    /// The driver's version.
    pub version: String,
    /// The kinds that it provides: exactly one.
    pub kinds: Vec<KindRange>,
    /// `unwind` or `abort`.
    pub panic: String,
    /// Version of `longshore-core` that it was built with.
    pub core: String,
    /// Target triple that it was built for.
    pub target: String,
    /// How it can be run.
    #[serde(default)]
    pub transports: Vec<String>,
    /// What it needs that is not its own.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Programs that it has the host start.
    #[serde(default)]
    pub programs: Vec<String>,
}

/// A kind and the interface versions of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRange {
    /// `graph`, `volume`, `network` or `exec`.
    pub kind: String,
    /// Lowest version.
    pub from: u16,
    /// Highest version.
    pub to: u16,
}

impl Manifest {
    /// Reads the content of a library's section.
    pub(crate) fn parse(section: &[u8]) -> Result<Self, Fault> {
        let manifest = Self::parse_component(section)?;
        if manifest.panic != "unwind" {
            return Err(Fault::new(
                Problem::Abi,
                format_args!(
                    "it was built with panic = {:?}, so that a panic would end this process",
                    manifest.panic
                ),
                "rebuild it with panic = \"unwind\"",
            ));
        }
        Ok(manifest)
    }

    /// Reads the content of a component's section: a panic ends nothing but its instance there.
    pub(crate) fn parse_component(section: &[u8]) -> Result<Self, Fault> {
        let text = text(section)?;
        let manifest: Self =
            serde_json::from_slice(text).map_err(|error| damaged(format!("is no manifest ({error})")))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The one kind that the driver provides.
    pub fn kind(&self) -> &str {
        self.kinds.first().map_or("", |range| &range.kind)
    }

    /// `graph-overlay`.
    pub fn label(&self) -> String {
        format!("{}-{}", self.kind(), self.name)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.abi != longshore_abi::ABI {
            return Err(Fault::new(
                Problem::Abi,
                format_args!(
                    "it speaks library ABI {}, this host speaks {}",
                    self.abi,
                    longshore_abi::ABI
                ),
                "rebuild it with a longshore-plugin of this host's release",
            ));
        }
        let [range] = self.kinds.as_slice() else {
            return Err(damaged(format!("names {} kinds, not one", self.kinds.len())));
        };
        if range.from > range.to {
            return Err(damaged(format!(
                "has interface versions from {} to {}",
                range.from, range.to
            )));
        }
        if !is_word(&self.name, 64) || !is_word(&range.kind, 16) {
            return Err(damaged("has a name or kind that is not of a-z, 0-9, - and .".into()));
        }
        if self.version.is_empty() || self.version.len() > 64 || !self.version.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(damaged("has no proper version".into()));
        }
        Ok(())
    }
}

fn is_word(word: &str, longest: usize) -> bool {
    (1..=longest).contains(&word.len())
        && word
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
        && !word.starts_with(['-', '.'])
}

fn text(section: &[u8]) -> Result<&[u8], Fault> {
    let Some((header, rest)) = section.split_at_checked(HEADER) else {
        return Err(damaged("is shorter than its header".into()));
    };
    if &header[..8] != MAGIC || header[9..12] != [0; 3] {
        return Err(damaged("does not begin as a manifest does".into()));
    }
    if header[8] != FORM {
        return Err(Fault::new(
            Problem::Manifest,
            format_args!("its manifest has form {}, this host reads form {FORM}", header[8]),
            "use a newer host, or an older build of the driver",
        ));
    }
    let length = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    if length > MAX_TEXT {
        return Err(damaged(format!("has {length} bytes, more than {MAX_TEXT}")));
    }
    // The linker may pad the section; what follows must be that padding and no second manifest.
    match rest.split_at_checked(length) {
        Some((text, padding)) if padding.iter().all(|byte| *byte == 0) => Ok(text),
        Some(_) => Err(Fault::new(
            Problem::Manifest,
            "it holds more than one manifest",
            "a library holds exactly one driver: let no driver depend on another driver's crate",
        )),
        None => Err(damaged(format!("ends before its {length} bytes do"))),
    }
}

fn damaged(what: String) -> Fault {
    Fault::new(
        Problem::Manifest,
        format_args!("its manifest {what}"),
        "build the driver again with longshore_plugin::export!",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const TEXT: &str = r#"{"abi":1,"name":"overlay","version":"1.3.0","kinds":[{"kind":"graph","from":0,"to":0}],"panic":"unwind","core":"0.4.0","target":"x86_64-unknown-linux-gnu","transports":["dylib"],"grants":["fs:overlay"],"programs":[],"later":5}"#;

    fn section(text: &str) -> Vec<u8> {
        let mut bytes = b"LNGSHORE\x01\0\0\0".to_vec();
        bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn a_manifest_is_read_and_later_fields_are_skipped() {
        let manifest = Manifest::parse(&section(TEXT)).unwrap();
        assert_eq!((manifest.kind(), manifest.name.as_str()), ("graph", "overlay"));
        assert_eq!(manifest.label(), "graph-overlay");
    }

    #[test]
    fn a_manifest_cut_or_flipped_anywhere_never_panics() {
        let whole = section(TEXT);
        for end in 0..whole.len() {
            assert!(Manifest::parse(&whole[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Manifest::parse(&flipped);
        }
    }

    #[test]
    fn refusals_name_what_differs() {
        for (from, to, says) in [
            ("\"abi\":1", "\"abi\":2", "library ABI 2, this host speaks 1"),
            ("unwind", "abort", "panic"),
            ("\"from\":0", "\"from\":3", "from 3 to 0"),
            ("\"overlay\"", "\"../x\"", "name or kind"),
            ("\"name\"", "\"nome\"", "missing field `name`"),
        ] {
            let fault = Manifest::parse(&section(&TEXT.replacen(from, to, 1))).unwrap_err();
            assert!(fault.what.contains(says), "{}", fault.what);
        }
    }

    #[test]
    fn two_manifests_in_one_section_are_refused() {
        let mut twice = section(TEXT);
        twice.extend(section(TEXT));
        assert!(Manifest::parse(&twice).unwrap_err().what.contains("more than one"));
        let mut padded = section(TEXT);
        padded.extend([0; 16]);
        assert!(Manifest::parse(&padded).is_ok());
    }
}
