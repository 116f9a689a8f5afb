//! The manifest of a driver, built at compile time into a section that a host reads without running
//! anything.
//!
//! `LNGSHORE`, a byte 1, three zero bytes, the length as 32 bits little-endian, then JSON. All
//! functions are `const`: the bytes must stand in the file, not appear when code runs.

/// What a manifest says.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// The kind of the driver.
    pub kind: &'static str,
    /// The driver's name, as `describe` gives it.
    pub name: &'static str,
    /// The driver's version, as `describe` gives it.
    pub version: &'static str,
    /// Lowest interface version.
    pub from: u16,
    /// Highest interface version.
    pub to: u16,
    /// What the driver needs that is not its own, such as `fs:overlay`.
    pub grants: &'static [&'static str],
    /// How it can be run.
    pub transports: &'static [&'static str],
    /// Programs that it has the host start.
    pub programs: &'static [&'static str],
}

/// The marker that begins a manifest.
pub const MAGIC: &str = "LNGSHORE";

/// Where the bytes before the text end.
const HEADER: usize = 16;

/// The bytes that a manifest takes.
pub const fn length(fields: &Fields) -> usize {
    HEADER + json::<0>(fields).at
}

/// The manifest; `N` must be [`length`].
pub const fn bytes<const N: usize>(fields: &Fields) -> [u8; N] {
    let text = json::<N>(fields);
    assert!(text.at + HEADER == N, "the buffer is as long as the manifest");
    assert!(text.at <= 64 * 1024, "a manifest has at most 64 KiB");
    let mut all = [0; N];
    let magic = MAGIC.as_bytes();
    let mut at = 0;
    while at < magic.len() {
        all[at] = magic[at];
        at += 1;
    }
    all[8] = 1;
    let length = (text.at as u32).to_le_bytes();
    at = 0;
    while at < 4 {
        all[12 + at] = length[at];
        at += 1;
    }
    at = 0;
    while at < text.at {
        all[HEADER + at] = text.bytes[at];
        at += 1;
    }
    all
}

const fn json<const N: usize>(fields: &Fields) -> Text<N> {
    assert!(!fields.name.is_empty(), "a driver has a name");
    let panic = if cfg!(panic = "unwind") { "unwind" } else { "abort" };
    Text::<N>::new()
        .raw("{\"abi\":1,\"name\":")
        .quoted(fields.name)
        .raw(",\"version\":")
        .quoted(fields.version)
        .raw(",\"kinds\":[{\"kind\":")
        .quoted(fields.kind)
        .raw(",\"from\":")
        .number(fields.from)
        .raw(",\"to\":")
        .number(fields.to)
        .raw("}],\"panic\":")
        .quoted(panic)
        .raw(",\"core\":")
        // The packages of the contract share one version.
        .quoted(env!("CARGO_PKG_VERSION"))
        .raw(",\"target\":")
        .quoted(TARGET)
        .raw(",\"transports\":")
        .list(fields.transports)
        .raw(",\"grants\":")
        .list(fields.grants)
        .raw(",\"programs\":")
        .list(fields.programs)
        .raw("}")
}

/// The target triple; Cargo tells it only to build scripts, of which this crate has none.
const TARGET: &str = if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
    "x86_64-unknown-linux-gnu"
} else if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "musl")) {
    "x86_64-unknown-linux-musl"
} else if cfg!(all(target_arch = "aarch64", target_os = "linux", target_env = "gnu")) {
    "aarch64-unknown-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_os = "linux", target_env = "musl")) {
    "aarch64-unknown-linux-musl"
} else if cfg!(target_family = "wasm") {
    "wasm32-wasip2"
} else {
    "unknown"
};

/// How a driver that names no transports can be run: by every one that takes what the target makes.
pub const TRANSPORTS: &[&str] = if cfg!(target_family = "wasm") {
    &["wasm"]
} else {
    &["static", "dylib"]
};

/// Text that is written while compiling. What does not fit is counted and dropped, so that a buffer
/// of no bytes measures.
struct Text<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    const fn byte(mut self, byte: u8) -> Self {
        if self.at < N {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
        self
    }

    const fn raw(mut self, text: &str) -> Self {
        let mut at = 0;
        while at < text.len() {
            self = self.byte(text.as_bytes()[at]);
            at += 1;
        }
        self
    }

    const fn quoted(self, text: &str) -> Self {
        let mut at = 0;
        while at < text.len() {
            let byte = text.as_bytes()[at];
            assert!(
                byte >= b' ' && byte < 0x7f && byte != b'"' && byte != b'\\',
                "the words of a manifest are printable ASCII without quotes and backslashes"
            );
            at += 1;
        }
        self.byte(b'"').raw(text).byte(b'"')
    }

    const fn list(mut self, items: &[&str]) -> Self {
        self = self.byte(b'[');
        let mut at = 0;
        while at < items.len() {
            if at > 0 {
                self = self.byte(b',');
            }
            self = self.quoted(items[at]);
            at += 1;
        }
        self.byte(b']')
    }

    const fn number(mut self, number: u16) -> Self {
        let mut scale = 10_000;
        while scale > 1 && number < scale {
            scale /= 10;
        }
        while scale > 0 {
            self = self.byte(b'0' + (number / scale % 10) as u8);
            scale /= 10;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields {
        kind: "graph",
        name: "plain",
        version: "1.2.3",
        from: 0,
        to: 10_203,
        grants: &["fs:overlay", "host-path"],
        transports: &["dylib"],
        programs: &[],
    };
    static MANIFEST: [u8; length(&FIELDS)] = bytes(&FIELDS);

    #[test]
    fn a_manifest_is_its_header_and_json() {
        assert_eq!(&MANIFEST[..8], b"LNGSHORE");
        assert_eq!(&MANIFEST[8..12], &[1, 0, 0, 0]);
        let length = u32::from_le_bytes([MANIFEST[12], MANIFEST[13], MANIFEST[14], MANIFEST[15]]);
        let text = std::str::from_utf8(&MANIFEST[16..]).unwrap_or_default();
        assert_eq!(length as usize, text.len());
        assert!(text.starts_with(
            r#"{"abi":1,"name":"plain","version":"1.2.3","kinds":[{"kind":"graph","from":0,"to":10203}],"panic":"unwind","#
        ));
        assert!(text.ends_with(r#""transports":["dylib"],"grants":["fs:overlay","host-path"],"programs":[]}"#));
    }
}
