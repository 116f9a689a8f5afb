//! What the tests of this crate share: a tar builder that can lie, and a sink in memory.
#![allow(unreachable_pub, reason = "a module that test files share")]
#![allow(dead_code, reason = "each test file uses another part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use longshore_archive::sink::{Attributes, Content, Device, Sink};
use longshore_archive::tar::{BLOCK, Xattrs};
use longshore_core::{Error, Result};

/// One raw header with its body.
#[derive(Clone, Debug)]
pub struct Raw {
    pub block: [u8; BLOCK],
    pub body: Vec<u8>,
    pub keep_checksum: bool,
}

impl Raw {
    pub fn new(name: impl AsRef<[u8]>, flag: u8) -> Self {
        let mut raw = Self {
            block: [0; BLOCK],
            body: Vec::new(),
            keep_checksum: false,
        };
        raw.put(0, name.as_ref());
        raw.put(100, b"0000644\0");
        raw.put(108, b"0000000\0");
        raw.put(116, b"0000000\0");
        raw.put(124, b"00000000000\0");
        raw.put(136, b"00000000000\0");
        raw.block[156] = flag;
        raw.put(257, b"ustar\x0000");
        raw
    }

    pub fn gnu(name: impl AsRef<[u8]>, flag: u8) -> Self {
        Self::new(name, flag).field(257, b"ustar  \0")
    }

    pub fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'0').with_body(body)
    }

    pub fn dir(name: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'5').field(100, b"0000755\0")
    }

    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'2').field(157, target.as_ref())
    }

    pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'1').field(157, target.as_ref())
    }

    pub fn pax(records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        Self::new("PaxHeaders.0/x", b'x').with_body(body)
    }

    pub fn long_name(name: impl AsRef<[u8]>) -> Self {
        Self::gnu("././@LongLink", b'L').with_body([name.as_ref(), b"\0"].concat())
    }

    pub fn device(name: &str, flag: u8, major: u32, minor: u32) -> Self {
        Self::new(name, flag)
            .field(329, format!("{major:07o}\0").as_bytes())
            .field(337, format!("{minor:07o}\0").as_bytes())
    }

    pub fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let size = format!("{:011o}\0", self.body.len());
        self.field(124, size.as_bytes())
    }

    pub fn field(mut self, at: usize, value: &[u8]) -> Self {
        self.put(at, value);
        self
    }

    pub fn owner(self, uid: u32, gid: u32) -> Self {
        self.field(108, format!("{uid:07o}\0").as_bytes())
            .field(116, format!("{gid:07o}\0").as_bytes())
    }

    pub fn wrong_checksum(mut self) -> Self {
        self.put(148, b"0000001\0");
        self.keep_checksum = true;
        self
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.block[at..at + value.len()].copy_from_slice(value);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut block = self.block;
        if !self.keep_checksum {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let mut bytes = [&block[..], &self.body].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// A PAX record with its right length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|n| n.to_string().len() + rest == *n).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// An archive with its end mark.
pub fn archive(entries: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

/// An object of the tree in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    /// A sparse file is kept by its size and its regions' content.
    Sparse(u64, Vec<(u64, Vec<u8>)>),
    Symlink(Vec<u8>),
    Device(Device),
    Fifo,
    Whiteout,
    Opaque,
}

/// A tree in memory: no links are resolved, whiteouts are kept as they come.
#[derive(Debug, Default)]
pub struct Memory {
    pub nodes: BTreeMap<Vec<u8>, Node>,
    pub xattrs: BTreeMap<Vec<u8>, Xattrs>,
}

impl Memory {
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path.as_bytes())
    }

    fn put(&mut self, path: &[u8], node: Node, attributes: Option<&Attributes<'_>>) -> Result<()> {
        if node != Node::Directory {
            let prefix = [path, b"/"].concat();
            self.nodes.retain(|path, _| !path.starts_with(&prefix));
        }
        self.nodes.insert(path.to_vec(), node);
        if let Some(attributes) = attributes {
            self.xattrs.insert(path.to_vec(), attributes.xattrs.to_vec());
        }
        Ok(())
    }
}

impl Sink for Memory {
    fn directory(&mut self, path: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        self.put(path, Node::Directory, Some(attributes))
    }

    fn file(&mut self, path: &[u8], content: Content<'_>, attributes: &Attributes<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        content
            .body
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read the content", &error))?;
        let node = match content.regions {
            None => Node::File(bytes),
            Some(regions) => {
                let mut rest = bytes.as_slice();
                let parts = regions.iter().map(|region| {
                    let (part, after) = rest.split_at(usize::try_from(region.length).unwrap());
                    rest = after;
                    (region.offset, part.to_vec())
                });
                Node::Sparse(content.size, parts.collect())
            }
        };
        self.put(path, node, Some(attributes))
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        self.put(path, Node::Symlink(target.to_vec()), Some(attributes))
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let node = self.nodes.get(target).cloned().filter(|node| *node != Node::Directory);
        let node = node.ok_or_else(|| Error::invalid("the link's target is not there"))?;
        self.put(path, node, None)
    }

    fn device(&mut self, path: &[u8], device: Device, attributes: &Attributes<'_>) -> Result<()> {
        self.put(path, Node::Device(device), Some(attributes))
    }

    fn fifo(&mut self, path: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        self.put(path, Node::Fifo, Some(attributes))
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        self.nodes.entry(path.to_vec()).or_insert(Node::Whiteout);
        Ok(())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<()> {
        self.nodes.insert([path, b"/"].concat(), Node::Opaque);
        Ok(())
    }

    fn read_back(&mut self, path: &[u8], offset: u64, buffer: &mut [u8]) -> Result<()> {
        let content = match self.nodes.get(path) {
            Some(Node::File(content)) => content,
            other => return Err(Error::invalid(format!("{other:?} is no file"))),
        };
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&content[offset..offset + buffer.len()]);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether a program is installed; says that the test is skipped when it is not.
pub fn installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIP: {program} is not installed");
    }
    found
}

pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Whether this process is root; says that the test is skipped when it is not.
pub fn is_root(scratch: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let root = scratch.metadata().unwrap().uid() == 0;
    if !root {
        println!("SKIP: only root can set owners and make devices");
    }
    root
}

/// A tree of all that GNU tar packs without being root.
pub fn sample(at: &Path) {
    fs::create_dir_all(at.join("usr/share").join("n".repeat(120)).join("m".repeat(120))).unwrap();
    fs::create_dir_all(at.join("empty")).unwrap();
    fs::write(at.join("empty-file"), "").unwrap();
    fs::write(at.join("usr/block"), vec![1; 512]).unwrap();
    fs::write(at.join("usr/odd"), vec![2; 100_001]).unwrap();
    fs::write(
        at.join("usr/share")
            .join("n".repeat(120))
            .join("m".repeat(120))
            .join("deep"),
        "deep",
    )
    .unwrap();
    fs::write(at.join("grüße"), "utf-8").unwrap();
    symlink("usr/odd", at.join("link")).unwrap();
    symlink("x".repeat(200), at.join("long-link")).unwrap();
    fs::hard_link(at.join("usr/odd"), at.join("usr/second")).unwrap();
    fs::set_permissions(at.join("usr/block"), fs::Permissions::from_mode(0o4755)).unwrap();
    let sparse = File::create(at.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all_at(b"data", 10 << 20).unwrap();
    sparse.write_all_at(b"more", 30 << 20).unwrap();
}
