//! The maps of sparse files: where the stored bytes go.

use std::io::Read;

use super::header::{Format, Header, size};
use super::pax::{Records, decimal};
use super::reader::{Problem, Reader};
use super::{BLOCK, Region};
use crate::error::{Error, Result};

type Checked<T> = Result<T, &'static str>;

/// Reads the entries of an old GNU map; an empty field ends it.
fn old_gnu(entries: &[u8], into: &mut Vec<Region>) -> Checked<()> {
    for entry in entries.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        into.push(Region {
            offset: size(&entry[..12])?,
            length: size(&entry[12..])?,
        });
    }
    Ok(())
}

/// Reads the map of formats 0.0 and 0.1: numbers with commas between.
fn from_record(count: Option<u64>, map: &[u8], limit: usize) -> Checked<Vec<Region>> {
    const MALFORMED: &str = "the PAX sparse map is malformed";
    let numbers = map
        .split(|&b| b == b',')
        .take(2 * limit + 2)
        .map(unsigned)
        .collect::<Checked<Vec<u64>>>();
    let numbers = if map.is_empty() { Vec::new() } else { numbers? };
    if !numbers.len().is_multiple_of(2) || count.is_some_and(|count| count != numbers.len() as u64 / 2) {
        return Err(MALFORMED);
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| Region {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

/// A decimal number that is not negative.
fn unsigned(text: &[u8]) -> Checked<u64> {
    u64::try_from(decimal(text)?).map_err(|_| "the sparse map has a negative number")
}

/// Checks that the regions are in order, inside the file, and hold just the stored bytes.
pub(super) fn check(regions: &[Region], size: u64, stored: u64) -> Checked<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for region in regions {
        let region_end = region
            .offset
            .checked_add(region.length)
            .ok_or("the sparse map overflows")?;
        if region.offset < end || region_end > size {
            return Err("the sparse map overlaps, is out of order, or reaches behind the file's end");
        }
        end = region_end;
        // Below `size`: the regions do not overlap.
        sum += region.length;
    }
    if sum != stored {
        return Err("the sparse map and the stored bytes differ in size");
    }
    Ok(())
}

impl<R: Read> Reader<R> {
    /// The map of a GNU sparse header and of the blocks that continue it, which its size leaves out.
    pub(super) fn old_sparse(&mut self, header: &Header) -> Result<(Vec<Region>, u64), Problem> {
        if header.format != Format::Gnu {
            return Err(Problem::Reason("a sparse file in a format without sparse files"));
        }
        let mut regions = Vec::new();
        let (entries, mut more, size) = header.gnu_sparse()?;
        old_gnu(entries, &mut regions)?;
        while more {
            let mut block = [0; BLOCK];
            if self.fill(&mut block, "a sparse map")? == 0 {
                return Err(Error::Truncated("a sparse map").into());
            }
            old_gnu(&block[..504], &mut regions)?;
            if regions.len() > self.limits.regions {
                return Err(Problem::Reason("a sparse map has too many regions"));
            }
            more = block[504] != 0;
        }
        Ok((regions, size))
    }

    /// The map of a PAX sparse file; `None` for a file that is not sparse.
    pub(super) fn pax_sparse(&mut self, records: &Records) -> Result<Option<(Vec<Region>, u64)>, Problem> {
        let version = (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor"));
        let map = records.get("GNU.sparse.map");
        let in_body = match (version, map) {
            ((Some(b"1"), Some(b"0")), _) => true,
            ((Some(b"0"), Some(b"0" | b"1")), _) | ((None, None), Some(_)) => false,
            ((None, None), None) if records.get("GNU.sparse.realsize").is_none() => return Ok(None),
            _ => return Err(Problem::Reason("a sparse file of an unknown version")),
        };
        let size = match records.size("GNU.sparse.size")? {
            Some(size) => size,
            None => records
                .size("GNU.sparse.realsize")?
                .ok_or(Problem::Reason("a sparse file without its size"))?,
        };
        let regions = if in_body {
            self.map_in_body()?
        } else {
            let count = records.size("GNU.sparse.numblocks")?;
            from_record(count, map.unwrap_or_default(), self.limits.regions)?
        };
        Ok(Some((regions, size)))
    }

    /// The map of format 1.0: decimal lines in whole blocks before the stored bytes.
    fn map_in_body(&mut self) -> Result<Vec<Region>, Problem> {
        let mut lines = MapLines {
            block: [0; BLOCK],
            next: BLOCK,
        };
        let count = lines.number(self)?;
        if count > self.limits.regions as u64 {
            return Err(Problem::Reason("a sparse map has too many regions"));
        }
        (0..count)
            .map(|_| {
                Ok(Region {
                    offset: lines.number(self)?,
                    length: lines.number(self)?,
                })
            })
            .collect()
    }
}

/// The lines of a sparse map, block by block.
struct MapLines {
    block: [u8; BLOCK],
    next: usize,
}

impl MapLines {
    fn number<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<u64, Problem> {
        let mut digits = Vec::new();
        loop {
            if self.next == BLOCK {
                if reader.body < BLOCK as u64 {
                    return Err(Problem::Reason("a sparse map is longer than its file"));
                }
                if reader.fill(&mut self.block, "a sparse map")? == 0 {
                    return Err(Error::Truncated("a sparse map").into());
                }
                reader.body -= BLOCK as u64;
                self.next = 0;
            }
            let byte = self.block[self.next];
            self.next += 1;
            match byte {
                b'\n' => return Ok(unsigned(&digits)?),
                _ if digits.len() == 20 => return Err(Problem::Reason("the sparse map is malformed")),
                _ => digits.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn region(offset: u64, length: u64) -> Region {
        Region { offset, length }
    }

    #[test]
    fn maps_must_be_ordered_disjoint_and_of_the_stored_size() {
        assert!(check(&[], 100, 0).is_ok());
        assert!(check(&[region(0, 10), region(10, 0), region(90, 10)], 100, 20).is_ok());
        assert!(check(&[region(0, 10)], 100, 11).is_err());
        assert!(check(&[region(0, 10), region(9, 1)], 100, 11).is_err());
        assert!(check(&[region(50, 1), region(0, 1)], 100, 2).is_err());
        assert!(check(&[region(99, 2)], 100, 2).is_err());
        assert!(check(&[region(u64::MAX, 2)], u64::MAX, 2).is_err());
    }

    #[test]
    fn maps_of_records_are_pairs_of_numbers() {
        assert_eq!(from_record(Some(1), b"0,5", 10).unwrap(), [region(0, 5)]);
        assert_eq!(from_record(None, b"", 10).unwrap(), []);
        for bad in [&b"0"[..], b"0,5,", b"0,-5", b"a,b", b"0,5,6"] {
            assert!(from_record(None, bad, 10).is_err(), "{}", bad.escape_ascii());
        }
        assert!(from_record(Some(2), b"0,5", 10).is_err());
    }
}
