//! Whole images in one archive: what `docker save`, skopeo, umoci and others make, read into one
//! model, and written so that all of them can read it.
//!
//! Read are docker-archive (`manifest.json`) and OCI layout (`oci-layout` and `index.json`), each as a
//! tar or as a directory. Of both an image is the same: the bytes of its config, whose digest is the
//! image's ID, layers with their diff IDs, and tags. Every digest and size that an archive tells of
//! itself is checked, and what has several readings is refused.
//!
//! Nothing of an archive is ever unpacked under a name that it chose: a stream goes into one unnamed
//! file, a directory is opened by descriptor and never left.

mod docker;
mod files;
mod json;
mod oci;
mod save;

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::Deserialize;

use crate::decompress::Compression;
use crate::digest::{Digest, HashReader};
use crate::error::{Error, Result};
use crate::limits::Limits;
use files::{Files, Open};

pub use save::{ImageWriter, SaveLayer};

/// Bytes of a manifest or an index.
const MANIFEST: u64 = 4 << 20;
/// Bytes of a config.
const CONFIG: u64 = 8 << 20;
/// Layers of one image; the kernel stacks no more.
const LAYERS: usize = 500;
/// Images of one archive, and tags of one image.
const IMAGES: usize = 1000;

/// The images of one archive, with what holds their layers.
#[derive(Debug)]
pub struct ImageArchive {
    /// The images, in the archive's order.
    pub images: Vec<ArchiveImage>,
}

/// One image of an archive.
#[derive(Clone, Debug)]
pub struct ArchiveImage {
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// Its digest: the image's ID.
    pub config_digest: Digest,
    /// The layers, lowest first; at least one.
    pub layers: Vec<LayerBlob>,
    /// References with a repository and a tag, as the archive has them and not yet judged.
    pub tags: Vec<String>,
    /// A name that is no whole reference: what OCI layouts call `ref.name`, often a tag alone.
    pub name: Option<String>,
}

/// A layer's archive inside an image archive.
#[derive(Clone)]
pub struct LayerBlob {
    files: Arc<Files>,
    path: Vec<u8>,
    /// Bytes, packed as they are.
    pub size: u64,
    /// The digest of these bytes, where the archive tells it.
    pub digest: Option<Digest>,
    /// The digest that the unpacked archive must have.
    pub diff_id: Digest,
}

impl ImageArchive {
    /// Reads an archive from a stream, compressed or not. Its content is kept in an unnamed file in
    /// `folder` for as long as an image or a layer of it is.
    ///
    /// # Errors
    /// The archive is damaged, or refused.
    pub fn from_stream(stream: &mut dyn Read, folder: BorrowedFd<'_>, limits: &Limits) -> Result<Self> {
        Self::from_files(Files::spool(stream, folder, limits)?, limits)
    }

    /// Reads an archive from a directory.
    ///
    /// # Errors
    /// As [`from_stream`](Self::from_stream).
    pub fn from_directory(directory: OwnedFd, limits: &Limits) -> Result<Self> {
        Self::from_files(Files::directory(directory), limits)
    }

    fn from_files(files: Files, limits: &Limits) -> Result<Self> {
        let files = Arc::new(files);
        let has = |path: &[u8]| files.find(path, limits).map(|found| found.is_some());
        // An archive that is both is read by its older half, which names the tags in full.
        let images = if has(b"manifest.json")? {
            docker::images(&files, limits)?
        } else if has(b"index.json")? {
            oci::images(&files, limits)?
        } else if has(b"repositories")? {
            return Err(Error::image(
                "it has no manifest.json: it was made by Docker before 1.10; save it again with a newer one",
            ));
        } else {
            return Err(Error::image(
                "neither manifest.json nor index.json is in it; a root filesystem is imported, not loaded",
            ));
        };
        if images.is_empty() {
            return Err(Error::image("no image is in it"));
        }
        Ok(Self { images })
    }
}

impl LayerBlob {
    /// Opens the archive, packed as it is. Reading it to the end checks its digest and size.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self) -> Result<LayerReader> {
        Ok(LayerReader {
            inner: Some(HashReader::new(self.files.open(&self.path, &Limits::default())?)),
            size: self.size,
            digest: self.digest,
            name: self.to_string(),
        })
    }

    /// How it is packed, told from its first bytes.
    ///
    /// # Errors
    /// It cannot be read, or is packed in a way that is not.
    pub fn compression(&self) -> Result<Compression> {
        let mut head = Vec::new();
        self.files
            .open(&self.path, &Limits::default())?
            .take(512)
            .read_to_end(&mut head)
            .map_err(|error| Error::reading("a layer", error))?;
        Compression::sniff(&head)
    }
}

impl fmt::Display for LayerBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {}", crate::error::Shown::new(&self.path))
    }
}

impl fmt::Debug for LayerBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerBlob")
            .field("path", &crate::error::Shown::new(&self.path))
            .field("size", &self.size)
            .field("digest", &self.digest)
            .field("diff_id", &self.diff_id)
            .finish_non_exhaustive()
    }
}

/// Reads a layer's archive and checks it at its end.
pub struct LayerReader {
    inner: Option<HashReader<Open>>,
    size: u64,
    digest: Option<Digest>,
    name: String,
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = self.inner.as_mut().filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        let n = inner.read(buffer)?;
        if n > 0 {
            return Ok(n);
        }
        if let Some((digest, size)) = self.inner.take().map(HashReader::finish) {
            expect(&self.name, (digest, size), (self.digest.unwrap_or(digest), self.size)).map_err(Error::into_io)?;
        }
        Ok(0)
    }
}

impl fmt::Debug for LayerReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerReader")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Compares what was found with what was told.
fn expect(object: &str, found: (Digest, u64), told: (Digest, u64)) -> Result<()> {
    if found == told {
        return Ok(());
    }
    let words = |(digest, size): (Digest, u64)| format!("digest {digest} and {size} bytes");
    Err(Error::Mismatch {
        object: object.to_owned(),
        found: words(found),
        told: words(told),
    })
}

/// The parts of a config that say what the layers are.
#[derive(Deserialize)]
struct Config {
    os: Option<String>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: Option<String>,
    diff_ids: Option<Vec<String>>,
}

/// The diff IDs of a config, one for each layer.
fn diff_ids(config: &[u8], layers: usize) -> Result<Vec<Digest>> {
    let config: Config = json::strict(config, "the config")?;
    if let Some(os) = config.os.filter(|os| !os.is_empty() && os != "linux") {
        return Err(Error::image(format!(
            "it is an image for {}, not for linux",
            crate::error::Shown::new(os.as_bytes())
        )));
    }
    if config.rootfs.kind.is_some_and(|kind| kind != "layers") {
        return Err(Error::image("the config's rootfs.type is not \"layers\""));
    }
    let told = config.rootfs.diff_ids.unwrap_or_default();
    if told.len() != layers {
        return Err(Error::image(format!(
            "it has {layers} layers, but its config has {} diff IDs",
            told.len()
        )));
    }
    if layers == 0 {
        return Err(Error::image("it has no layers"));
    }
    if layers > LAYERS {
        return Err(Error::image(format!(
            "it has {layers} layers, at most {LAYERS} can be stacked"
        )));
    }
    told.iter().map(|digest| Digest::parse(digest)).collect()
}

/// The digest in the path of a blob, if it is one.
fn blob_digest(path: &[u8]) -> Option<Digest> {
    let digits = path.strip_prefix(b"blobs/sha256/")?;
    Digest::from_hex(std::str::from_utf8(digits).ok()?)
}

/// Checks that a tag is text of a sane length; its grammar is the engine's to judge.
fn check_tag(tag: &str) -> Result<()> {
    if tag.is_empty() || tag.len() > 512 || tag.chars().any(char::is_control) {
        return Err(Error::image(format!(
            "the tag {} is malformed",
            crate::error::Shown::new(tag.as_bytes())
        )));
    }
    Ok(())
}
