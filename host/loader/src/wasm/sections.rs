//! Whether a file is a whole Wasm component, and its manifest, read without compiling any of it.
//!
//! A module is a magic number, a version, and sections that each tell their length; a component is the
//! same with another version. The manifest is a custom section of the core module that the linker put
//! into the component, so it is looked for one level down. What the sections hold is for the compiler
//! to judge. (webassembly.github.io/spec/core/binary, github.com/WebAssembly/component-model,
//! design/mvp/Binary.md)

use crate::manifest::SECTION;
use crate::refusal::{Fault, Problem};

const MAGIC: &[u8] = b"\0asm";
const HEADER: usize = 8;
/// The version and the layer that follow the magic number.
const MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
/// Larger components are no drivers.
const MAX_COMPONENT: usize = 64 << 20;

/// Numbers of sections.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
/// The highest number of a section of a component.
const LAST_OF_COMPONENT: u8 = 12;

/// Whether the bytes begin as Wasm does.
pub(crate) fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Checks that the bytes are a whole component, and gives the content of its one manifest.
pub(crate) fn manifest(bytes: &[u8]) -> Result<&[u8], Fault> {
    if bytes.len() > MAX_COMPONENT {
        return Err(Fault::new(
            Problem::NotComponent,
            format_args!(
                "it has {} bytes, more than any component ({MAX_COMPONENT})",
                bytes.len()
            ),
            "build the driver with the profile of this host's own: lto, strip",
        ));
    }
    match header(bytes)? {
        COMPONENT => {}
        MODULE => {
            return Err(Fault::new(
                Problem::NotComponent,
                "it is a core module and no component",
                "build the driver for the target wasm32-wasip2",
            ));
        }
        other => {
            return Err(Fault::new(
                Problem::NotComponent,
                format_args!("it is of Wasm's version {other:02x?}, which this host does not know"),
                "use a newer host, or build the driver for the target wasm32-wasip2",
            ));
        }
    }
    let mut found = None;
    for section in sections(bytes) {
        let (number, content) = section?;
        if number > LAST_OF_COMPONENT {
            return Err(damaged(format_args!("it has a section of the unknown sort {number}")));
        }
        if number == CORE_MODULE {
            look_into(content, &mut found)?;
        }
    }
    found.ok_or_else(|| {
        Fault::new(
            Problem::Manifest,
            format_args!("it has no section {SECTION}, so it is no driver of Longshore"),
            "give the path of a driver's component, made with longshore_plugin::export!",
        )
    })
}

fn look_into<'a>(module: &'a [u8], found: &mut Option<&'a [u8]>) -> Result<(), Fault> {
    if header(module)? != MODULE {
        return Err(damaged("what it holds as a core module is none"));
    }
    for section in sections(module) {
        let (CUSTOM, content) = section? else { continue };
        let mut reader = Reader { rest: content };
        let name = reader.name()?;
        if name == SECTION.as_bytes() && found.replace(reader.rest).is_some() {
            return Err(Fault::new(
                Problem::Manifest,
                "it holds more than one manifest",
                "a component holds exactly one driver",
            ));
        }
    }
    Ok(())
}

fn header(bytes: &[u8]) -> Result<[u8; 4], Fault> {
    if !is_wasm(bytes) {
        return Err(damaged("what it holds as a core module is none"));
    }
    bytes
        .get(MAGIC.len()..HEADER)
        .and_then(|version| version.try_into().ok())
        .ok_or_else(|| damaged("it ends inside its header"))
}

/// The sections after the header: number and content, until the first that is not whole.
fn sections(bytes: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), Fault>> {
    let mut reader = Reader {
        rest: bytes.get(HEADER..).unwrap_or_default(),
    };
    std::iter::from_fn(move || {
        if reader.rest.is_empty() {
            return None;
        }
        let section = reader.section();
        if section.is_err() {
            reader.rest = &[];
        }
        Some(section)
    })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn section(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let number = self.take(1)?[0];
        let length = self.number()?;
        Ok((number, self.take(length)?))
    }

    fn name(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.number()?;
        self.take(length)
    }

    /// An unsigned number of 32 bits, seven bits a byte, the lowest first.
    fn number(&mut self) -> Result<usize, Fault> {
        let mut number: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number)
                    .map(|number| number as usize)
                    .map_err(|_| damaged("it has a length of more than 32 bits"));
            }
        }
        Err(damaged("it has a length of more than 32 bits"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| damaged("it ends in the middle of a section"))?;
        self.rest = rest;
        Ok(head)
    }
}

fn damaged(what: impl std::fmt::Display) -> Fault {
    Fault::new(Problem::Damaged, what, "copy or build the driver's file again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn section(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number, content.len() as u8 | 0x80, (content.len() >> 7) as u8];
        bytes.extend(content);
        bytes
    }

    fn file(version: [u8; 4], sections: &[Vec<u8>]) -> Vec<u8> {
        [MAGIC, &version, &sections.concat()].concat()
    }

    fn named(name: &str, content: &[u8]) -> Vec<u8> {
        section(CUSTOM, &[&[name.len() as u8], name.as_bytes(), content].concat())
    }

    fn driver(manifests: &[&[u8]]) -> Vec<u8> {
        let mut inner = vec![named("name", b"x"), section(7, b"exports")];
        inner.extend(manifests.iter().map(|text| named(SECTION, text)));
        file(
            COMPONENT,
            &[
                section(7, b"types"),
                section(CORE_MODULE, &file(MODULE, &inner)),
                named(SECTION, b"at the top, where nobody looks"),
            ],
        )
    }

    fn fault(bytes: &[u8]) -> Fault {
        manifest(bytes).unwrap_err()
    }

    #[test]
    fn the_manifest_is_found_in_the_module_inside_the_component() {
        assert_eq!(manifest(&driver(&[b"text"])).unwrap(), b"text");
    }

    #[test]
    fn a_component_cut_anywhere_is_refused_and_flipped_anywhere_never_panics() {
        let whole = driver(&[b"text"]);
        let tail = named(SECTION, b"at the top, where nobody looks").len();
        for end in 4..whole.len() {
            // Where the last section begins the file is whole without it.
            assert_eq!(
                manifest(&whole[..end]).is_ok(),
                end == whole.len() - tail,
                "cut at {end}"
            );
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = manifest(&flipped);
        }
    }

    #[test]
    fn what_is_no_driver_is_told_what_it_is() {
        assert!(fault(&file(MODULE, &[])).what.contains("core module"));
        assert!(fault(&file([9, 0, 1, 0], &[])).what.contains("does not know"));
        assert!(fault(&driver(&[])).what.contains("no section longshore.manifest"));
        assert!(fault(&driver(&[b"a", b"b"])).what.contains("more than one"));
        assert!(
            fault(&file(COMPONENT, &[section(13, b"")]))
                .what
                .contains("unknown sort 13")
        );
        assert!(
            fault(&file(COMPONENT, &[section(CORE_MODULE, b"\x7fELF")]))
                .what
                .contains("is none")
        );
        let endless = file(COMPONENT, &[vec![0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]]);
        assert!(fault(&endless).what.contains("more than 32 bits"));
    }

    #[test]
    fn a_component_beyond_the_limit_is_refused_before_it_is_read() {
        let mut large = driver(&[b"text"]);
        large.resize(MAX_COMPONENT + 1, 0);
        assert_eq!(fault(&large).problem, Problem::NotComponent);
    }
}
