//! The maps of sparse files: where the stored bytes go.

use super::Region;
use super::header::size;
use super::pax::decimal;

type Checked<T> = Result<T, &'static str>;

/// Reads the entries of an old GNU map; an empty field ends it.
pub(super) fn old_gnu(entries: &[u8], into: &mut Vec<Region>) -> Checked<()> {
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
pub(super) fn from_record(count: Option<u64>, map: &[u8], limit: usize) -> Checked<Vec<Region>> {
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
pub(super) fn unsigned(text: &[u8]) -> Checked<u64> {
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
