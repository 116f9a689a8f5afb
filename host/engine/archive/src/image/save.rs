//! Writing images: one archive that is a docker-archive and an OCI layout at once, as `docker save`
//! makes it now.
//!
//! Layers are plain, so that a layer's blob digest is its diff ID; configs are byte for byte what they
//! were. So whoever reads the archive comes to the same image IDs.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;

use serde_json::json;

use crate::digest::{Digest, HashWriter};
use crate::error::{Error, Result};
use crate::tar::{Entry, Kind, Time};
use crate::write::TarWriter;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layer to be saved.
pub struct SaveLayer<'a> {
    /// The digest of its plain archive.
    pub diff_id: Digest,
    /// Bytes of that archive: it stands in a header before the content.
    pub size: u64,
    /// Writes the archive.
    pub write: &'a mut dyn FnMut(&mut dyn Write) -> Result<()>,
}

impl fmt::Debug for SaveLayer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveLayer")
            .field("diff_id", &self.diff_id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Writes an archive of images.
pub struct ImageWriter<W> {
    tar: TarWriter<W>,
    written: HashSet<Digest>,
    manifest: Vec<serde_json::Value>,
    index: Vec<serde_json::Value>,
}

impl<W: Write> ImageWriter<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// Writing fails.
    pub fn new(out: W) -> Result<Self> {
        let mut tar = TarWriter::new(out);
        for name in ["blobs/", "blobs/sha256/"] {
            tar.append(&described(name, Kind::Directory, 0o755), &mut std::io::empty())?;
        }
        Ok(Self {
            tar,
            written: HashSet::new(),
            manifest: Vec::new(),
            index: Vec::new(),
        })
    }

    /// Adds an image. `tags` are references with a tag, as users write them. A layer that is in the
    /// archive already is not written again.
    ///
    /// # Errors
    /// Writing fails; a layer's writer fails, or writes something with another digest.
    pub fn add(&mut self, config: &[u8], tags: &[String], layers: &mut [SaveLayer<'_>]) -> Result<()> {
        for layer in layers.iter_mut() {
            self.layer(layer)?;
        }
        let config_digest = self.small_blob(config)?;
        let blobs: Vec<String> = layers.iter().map(|layer| blob_path(&layer.diff_id)).collect();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", &layer.diff_id, layer.size))
            .collect();
        let config_size = config.len() as u64;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config_size),
            "layers": descriptors,
        })
        .to_string();
        let manifest_digest = self.small_blob(manifest.as_bytes())?;
        self.manifest
            .push(json!({ "Config": blob_path(&config_digest), "RepoTags": tags, "Layers": blobs }));
        let base = descriptor(MANIFEST_TYPE, &manifest_digest, manifest.len() as u64);
        if tags.is_empty() {
            self.index.push(base);
            return Ok(());
        }
        for tag in tags {
            let mut named = base.clone();
            named["annotations"] = json!({
                "io.containerd.image.name": full_name(tag),
                "org.opencontainers.image.ref.name": tag.rsplit(':').next().unwrap_or_default(),
            });
            self.index.push(named);
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self) -> Result<W> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.index,
        });
        let manifest = serde_json::Value::from(std::mem::take(&mut self.manifest));
        self.file("index.json", index.to_string().as_bytes())?;
        self.file("manifest.json", manifest.to_string().as_bytes())?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.tar.finish()
    }

    fn layer(&mut self, layer: &mut SaveLayer<'_>) -> Result<()> {
        if !self.written.insert(layer.diff_id) {
            return Ok(());
        }
        let entry = file_entry(&blob_path(&layer.diff_id), layer.size);
        let diff_id = layer.diff_id;
        self.tar.append_with(&entry, layer.size, &mut |out| {
            let mut hashed = HashWriter::new(out);
            (layer.write)(&mut hashed)?;
            let (_, found, _) = hashed.finish();
            if found == diff_id {
                return Ok(());
            }
            Err(Error::Mismatch {
                object: "a layer that was put together to be saved".into(),
                found: format!("digest {found}"),
                told: format!("digest {diff_id}"),
            })
        })
    }

    fn small_blob(&mut self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        if self.written.insert(digest) {
            self.file(&blob_path(&digest), content)?;
        }
        Ok(digest)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.tar
            .append(&file_entry(name, content.len() as u64), &mut &content[..])
    }
}

impl<W> fmt::Debug for ImageWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageWriter")
            .field("images", &self.manifest.len())
            .finish_non_exhaustive()
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn file_entry(name: &str, size: u64) -> Entry {
    described(
        name,
        Kind::File {
            size,
            stored: size,
            regions: None,
        },
        0o644,
    )
}

/// All times are 1970: the same images give the same archive.
fn described(name: &str, kind: Kind, mode: u32) -> Entry {
    Entry {
        name: name.as_bytes().to_vec(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// A reference with its registry, as containerd names images.
fn full_name(tag: &str) -> String {
    match tag.split_once('/') {
        None => format!("docker.io/library/{tag}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
    }
}
