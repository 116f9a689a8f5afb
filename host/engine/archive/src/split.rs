//! The tar-split record: what a layer's archive has besides the content of its files.
//!
//! From this record and the unpacked tree the archive comes back byte for byte, so that a layer keeps
//! its digest without its archive being kept. The format is that of Docker's layer store
//! (`tar-split.json.gz`): lines of JSON, gzipped; type 2 is a run of raw bytes, type 1 a file whose
//! content comes from the tree, checked by CRC-64.
//!
//! Two additions, in places where Docker's reader would give up anyway: `regions` of a sparse file,
//! and type 3, the content of a file that the same layer replaces later.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Shown};
use crate::limits::Limits;
use crate::tar::Region;

const FILE: u8 = 1;
const SEGMENT: u8 = 2;
const SUPERSEDED: u8 = 3;
/// Raw bytes gathered before a line is written.
const GATHERED: usize = 1 << 20;
/// Longest line that is read.
const LINE: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    name: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    name_raw: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    #[serde(default)]
    position: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regions: Vec<(u64, u64)>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// One item of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Raw bytes of the archive.
    Segment(Vec<u8>),
    /// A file's stored bytes; none for every other sort of entry.
    File(FileItem),
    /// Some stored bytes of the file item at that position.
    Superseded { position: u64, content: Vec<u8> },
}

/// A file of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileItem {
    /// Its name as it stands in the archive.
    pub(crate) name: Vec<u8>,
    /// Bytes stored in the archive.
    pub(crate) size: u64,
    pub(crate) crc: [u8; 8],
    pub(crate) regions: Option<Vec<Region>>,
    /// Its place in the record.
    pub(crate) position: u64,
}

/// Writes a record into memory.
pub(crate) struct SplitWriter {
    out: GzEncoder<Vec<u8>>,
    segment: Vec<u8>,
    position: u64,
    limit: usize,
}

impl SplitWriter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            out: GzEncoder::new(Vec::new(), flate2::Compression::fast()),
            segment: Vec::new(),
            position: 0,
            limit: limits.split,
        }
    }

    /// Adds raw bytes.
    pub(crate) fn segment(&mut self, raw: &[u8]) -> Result<()> {
        for piece in raw.chunks(GATHERED) {
            self.segment.extend_from_slice(piece);
            if self.segment.len() >= GATHERED {
                self.flush_segment()?;
            }
        }
        Ok(())
    }

    /// Adds an entry and answers its position. What is no file has no size.
    pub(crate) fn entry(&mut self, name: &[u8], size: u64, crc: [u8; 8], regions: Option<&[Region]>) -> Result<u64> {
        self.flush_segment()?;
        let (text, raw) = match std::str::from_utf8(name) {
            Ok(name) => (name, None),
            Err(_) => ("", Some(STANDARD.encode(name).into())),
        };
        let position = self.position;
        self.line(&Line {
            kind: FILE,
            name: text.into(),
            name_raw: raw,
            size,
            payload: (size > 0).then(|| STANDARD.encode(crc).into()),
            position,
            regions: regions
                .unwrap_or_default()
                .iter()
                .map(|region| (region.offset, region.length))
                .collect(),
        })?;
        self.position += 1;
        Ok(position)
    }

    /// Adds stored bytes of an earlier file.
    pub(crate) fn superseded(&mut self, position: u64, content: &[u8]) -> Result<()> {
        self.flush_segment()?;
        self.line(&Line {
            kind: SUPERSEDED,
            name: "".into(),
            name_raw: None,
            size: 0,
            payload: Some(STANDARD.encode(content).into()),
            position,
            regions: Vec::new(),
        })
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.flush_segment()?;
        self.out
            .finish()
            .map_err(|error| Error::writing("a tar-split record", error))
    }

    fn flush_segment(&mut self) -> Result<()> {
        if self.segment.is_empty() {
            return Ok(());
        }
        let segment = std::mem::take(&mut self.segment);
        self.line(&Line {
            kind: SEGMENT,
            name: "".into(),
            name_raw: None,
            size: 0,
            payload: Some(STANDARD.encode(&segment).into()),
            position: self.position,
            regions: Vec::new(),
        })?;
        self.position += 1;
        self.segment = segment;
        self.segment.clear();
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        // One write a line: the serializer writes token by token, each of which would go through the
        // compressor by itself.
        let mut text = serde_json::to_vec(line).map_err(|error| Error::Split(error.to_string()))?;
        text.push(b'\n');
        self.out
            .write_all(&text)
            .map_err(|error| Error::writing("a tar-split record", error))?;
        if self.out.get_ref().len() > self.limit {
            return Err(Error::Limit {
                what: "bytes of headers and padding",
                limit: self.limit as u64,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for SplitWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitWriter")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Reads a record item by item.
pub(crate) struct SplitReader<'a> {
    lines: BufReader<MultiGzDecoder<&'a [u8]>>,
    line: Vec<u8>,
}

impl<'a> SplitReader<'a> {
    pub(crate) fn new(record: &'a [u8]) -> Self {
        Self {
            lines: BufReader::with_capacity(256 << 10, MultiGzDecoder::new(record)),
            line: Vec::new(),
        }
    }

    pub(crate) fn next_item(&mut self) -> Result<Option<Item>> {
        self.line.clear();
        self.lines
            .by_ref()
            .take(LINE)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Error::Split(error.to_string()))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let line: Line<'_> = serde_json::from_slice(&self.line).map_err(|error| Error::Split(error.to_string()))?;
        item(&line).map(Some)
    }
}

impl fmt::Debug for SplitReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitReader").finish_non_exhaustive()
    }
}

fn item(line: &Line<'_>) -> Result<Item> {
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| Error::Split(error.to_string()));
    let payload = decode(line.payload.as_deref().unwrap_or_default())?;
    match line.kind {
        SEGMENT => Ok(Item::Segment(payload)),
        SUPERSEDED => Ok(Item::Superseded {
            position: line.position,
            content: payload,
        }),
        FILE => {
            let name = match &line.name_raw {
                Some(raw) => decode(raw)?,
                None => line.name.as_bytes().to_vec(),
            };
            let crc = match payload.as_slice() {
                [] if line.size == 0 => [0; 8],
                crc => crc
                    .try_into()
                    .map_err(|_| Error::Split(format!("the checksum of {} is not of 8 bytes", Shown::new(&name))))?,
            };
            let regions = line.regions.iter().map(|&(offset, length)| Region { offset, length });
            Ok(Item::File(FileItem {
                regions: (!line.regions.is_empty()).then(|| regions.collect()),
                size: line.size,
                position: line.position,
                name,
                crc,
            }))
        }
        kind => Err(Error::Split(format!("a line has the unknown type {kind}"))),
    }
}

/// The content of files that a layer replaces itself, by position.
pub(crate) fn superseded(record: &[u8], limits: &Limits) -> Result<HashMap<u64, Vec<u8>>> {
    let mut all: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut reader = SplitReader::new(record);
    let mut sum = 0;
    while let Some(item) = reader.next_item()? {
        if let Item::Superseded { position, content } = item {
            sum += content.len() as u64;
            if sum > limits.superseded {
                return Err(Error::Split("it holds too much content of files".into()));
            }
            all.entry(position).or_default().extend_from_slice(&content);
        }
    }
    Ok(all)
}

/// The size of the archive that a record describes.
///
/// # Errors
/// The record is malformed.
pub fn archive_size(record: &[u8]) -> Result<u64> {
    let mut reader = SplitReader::new(record);
    let mut size = 0u64;
    while let Some(item) = reader.next_item()? {
        let more = match item {
            Item::Segment(raw) => raw.len() as u64,
            Item::File(file) => file.size,
            Item::Superseded { .. } => 0,
        };
        size = size
            .checked_add(more)
            .ok_or_else(|| Error::Split("its sizes overflow".into()))?;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::crc64::Crc64;

    fn record() -> Vec<u8> {
        let mut writer = SplitWriter::new(&Limits::default());
        let mut crc = Crc64::new();
        crc.update(b"123456789");
        writer.segment(b"head").unwrap();
        assert_eq!(writer.entry(b"a", 9, crc.finish(), None).unwrap(), 1);
        writer.segment(b"pa").unwrap();
        writer.segment(b"d").unwrap();
        writer.entry(b"\xff/", 0, [0; 8], None).unwrap();
        let regions = [Region { offset: 5, length: 9 }];
        writer.entry(b"s", 9, crc.finish(), Some(&regions)).unwrap();
        writer.superseded(1, b"1234").unwrap();
        writer.superseded(1, b"56789").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn the_lines_are_those_of_dockers_layer_store() {
        let mut text = String::new();
        MultiGzDecoder::new(&record()[..]).read_to_string(&mut text).unwrap();
        let expected = [
            r#"{"type":2,"payload":"aGVhZA==","position":0}"#,
            r#"{"type":1,"name":"a","size":9,"payload":"uQlWx3WkEAE=","position":1}"#,
            r#"{"type":2,"payload":"cGFk","position":2}"#,
            r#"{"type":1,"name_raw":"/y8=","payload":null,"position":3}"#,
            r#"{"type":1,"name":"s","size":9,"payload":"uQlWx3WkEAE=","position":4,"regions":[[5,9]]}"#,
            r#"{"type":3,"payload":"MTIzNA==","position":1}"#,
            r#"{"type":3,"payload":"NTY3ODk=","position":1}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let record = record();
        let mut reader = SplitReader::new(&record);
        let mut names = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::File(file) = item {
                names.push((file.name, file.regions));
            }
        }
        let regions = Some(vec![Region { offset: 5, length: 9 }]);
        assert_eq!(
            names,
            [
                (b"a".to_vec(), None),
                (b"\xff/".to_vec(), None),
                (b"s".to_vec(), regions)
            ]
        );
        assert_eq!(archive_size(&record).unwrap(), 4 + 9 + 3 + 9);
        assert_eq!(superseded(&record, &Limits::default()).unwrap()[&1], b"123456789");
        let few = Limits {
            superseded: 8,
            ..Limits::default()
        };
        assert!(superseded(&record, &few).is_err());
    }

    #[test]
    fn malformed_records_are_refused() {
        for line in [
            "x",
            "{}",
            r#"{"type":9,"payload":null,"position":0}"#,
            r#"{"type":2,"payload":"!","position":0}"#,
            r#"{"type":1,"name":"a","size":1,"payload":null,"position":0}"#,
            r#"{"type":1,"name":"a","size":1,"payload":"AAAA","position":0}"#,
            r#"{"type":1,"name":"a","size":-1,"payload":"","position":0}"#,
        ] {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(line.as_bytes()).unwrap();
            let record = gzip.finish().unwrap();
            assert!(SplitReader::new(&record).next_item().is_err(), "{line}");
        }
    }

    #[test]
    fn a_record_has_a_limit() {
        let few = Limits {
            split: 10_000,
            ..Limits::default()
        };
        let mut writer = SplitWriter::new(&few);
        let mut failed = false;
        let mut noise = 1u64;
        for _ in 0..400 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let segment: Vec<u8> = (0..1000u64)
                .map(|i| (noise.wrapping_mul(i * i + 1) >> 33) as u8)
                .collect();
            failed |= writer
                .segment(&segment)
                .and_then(|()| writer.entry(b"x", 0, [0; 8], None))
                .is_err();
        }
        assert!(failed);
    }
}
