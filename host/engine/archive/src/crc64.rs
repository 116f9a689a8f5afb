//! CRC-64 of ISO 3309, as Go's `hash/crc64` computes it: what a tar-split record checks files with.

const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;

/// Eight tables, so that eight bytes are taken at once.
const TABLES: [[u64; 256]; 8] = {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

/// A sum in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc64(u64);

impl Crc64 {
    pub(crate) fn new() -> Self {
        Self(!0)
    }

    pub(crate) fn update(&mut self, content: &[u8]) {
        let (eights, rest) = content.as_chunks::<8>();
        for eight in eights {
            let bytes = (u64::from_le_bytes(*eight) ^ self.0).to_le_bytes();
            self.0 = bytes
                .iter()
                .enumerate()
                .fold(0, |crc, (i, &byte)| crc ^ TABLES[7 - i][usize::from(byte)]);
        }
        for &byte in rest {
            self.0 = self.0 >> 8 ^ TABLES[0][usize::from(self.0.to_le_bytes()[0] ^ byte)];
        }
    }

    /// The sum in the byte order of the record.
    pub(crate) fn finish(self) -> [u8; 8] {
        (!self.0).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut crc = Crc64::new();
        for part in parts {
            crc.update(part);
        }
        u64::from_be_bytes(crc.finish())
    }

    /// The values of Go's own test.
    #[test]
    fn the_sums_are_those_of_go() {
        assert_eq!(of(&[b""]), 0);
        assert_eq!(of(&[b"a"]), 0x3420_0000_0000_0000);
        assert_eq!(of(&[b"123456789"]), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn the_sum_does_not_depend_on_how_content_is_cut() {
        let content: Vec<u8> = (0..=255).collect();
        for cut in 0..content.len() {
            assert_eq!(of(&[&content[..cut], &content[cut..]]), of(&[&content]));
        }
    }
}
