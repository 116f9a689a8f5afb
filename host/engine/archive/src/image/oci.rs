//! OCI layout: `index.json` names manifests or indexes among the blobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::files::Files;
use super::{ArchiveImage, CONFIG, IMAGES, LayerBlob, MANIFEST, check_tag, diff_ids, expect, json};
use crate::digest::Digest;
use crate::error::{Error, Result, Shown};
use crate::limits::Limits;

/// Indexes inside indexes.
const DEPTH: usize = 8;
/// Manifests of one index.
const CHILDREN: usize = 1000;

const INDEX: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const IMAGE: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
const LAYER: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Descriptor {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether it may be an image for this machine; one that does not say may be.
    fn fits(&self) -> bool {
        let is_attestation = self.annotation("vnd.docker.reference.type").is_some();
        let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture();
        !is_attestation && self.platform.as_ref().is_none_or(fits)
    }

    fn is(&self, media_types: &[&str]) -> bool {
        media_types.contains(&self.media_type.as_str())
    }
}

/// This machine's architecture in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

pub(super) fn images(files: &Arc<Files>, limits: &Limits) -> Result<Vec<ArchiveImage>> {
    let layout: Layout = json::strict(&files.read(b"oci-layout", 4096, limits)?, "oci-layout")?;
    if !layout.version.starts_with("1.") {
        let version = Shown::new(layout.version.as_bytes());
        return Err(Error::image(format!(
            "its layout has version {version}, only 1.0.0 is known"
        )));
    }
    let source = Source { files, limits };
    let index = source.parse_index(&files.read(b"index.json", MANIFEST, limits)?, None)?;
    let mut images: Vec<ArchiveImage> = Vec::new();
    for descriptor in index.manifests.iter().filter(|descriptor| descriptor.fits()) {
        let mut image = source.image(descriptor, DEPTH)?;
        name(&mut image, descriptor)?;
        match images
            .iter_mut()
            .find(|known| known.config_digest == image.config_digest)
        {
            Some(known) => known.tags.append(&mut image.tags),
            None => images.push(image),
        }
    }
    if images.is_empty() {
        return Err(Error::image(format!("no image for linux/{} is in it", architecture())));
    }
    Ok(images)
}

/// Takes tags from annotations: containerd's is a whole reference, the specification's need not be.
fn name(image: &mut ArchiveImage, descriptor: &Descriptor) -> Result<()> {
    let reference = descriptor.annotation("org.opencontainers.image.ref.name");
    let full = descriptor
        .annotation("io.containerd.image.name")
        .or(reference.filter(|name| name.contains(':') || name.contains('/')));
    if let Some(tag) = full {
        check_tag(tag)?;
        image.tags.push(tag.to_owned());
    }
    image.name = reference.map(str::to_owned).filter(|_| full.is_none());
    image.name.as_deref().map_or(Ok(()), check_tag)
}

struct Source<'a> {
    files: &'a Arc<Files>,
    limits: &'a Limits,
}

impl Source<'_> {
    /// The image that a descriptor leads to, through indexes if need be.
    fn image(&self, descriptor: &Descriptor, depth: usize) -> Result<ArchiveImage> {
        if descriptor.is(&IMAGE) {
            return self.manifest(descriptor);
        }
        if !descriptor.is(&INDEX) {
            return Err(unknown("manifest", descriptor));
        }
        if depth == 0 {
            return Err(Error::image(format!(
                "it has indexes inside indexes, more than {DEPTH} deep"
            )));
        }
        let text = self.blob(descriptor, MANIFEST)?.1;
        let index = self.parse_index(&text, Some(&descriptor.media_type))?;
        // Those that name their platform come first: the others only may be for this machine.
        let chosen = index
            .manifests
            .iter()
            .filter(|child| child.fits())
            .max_by_key(|child| child.platform.is_some());
        let chosen = chosen.ok_or_else(|| Error::image(format!("no image for linux/{} is in it", architecture())))?;
        self.image(chosen, depth - 1)
    }

    fn parse_index(&self, text: &[u8], media_type: Option<&str>) -> Result<Index> {
        let index: Index = json::strict(text, "an index")?;
        if index.config.is_some() || index.layers.is_some() {
            return Err(Error::image("an index is also a manifest"));
        }
        check_head(index.schema_version, index.media_type.as_deref(), media_type)?;
        if index.manifests.len() > CHILDREN {
            return Err(Error::image(format!("an index has more than {CHILDREN} manifests")));
        }
        Ok(index)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<ArchiveImage> {
        let text = self.blob(descriptor, MANIFEST)?.1;
        let manifest: Manifest = json::strict(&text, "a manifest")?;
        if manifest.manifests.is_some() {
            return Err(Error::image("a manifest is also an index"));
        }
        check_head(
            manifest.schema_version,
            manifest.media_type.as_deref(),
            Some(&descriptor.media_type),
        )?;
        if !manifest.config.is(&CONFIGS) {
            return Err(unknown("config", &manifest.config));
        }
        let (config_digest, config) = self.blob(&manifest.config, CONFIG)?;
        let diff_ids = diff_ids(&config, manifest.layers.len())?;
        let layers = manifest
            .layers
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| self.layer(layer, diff_id));
        Ok(ArchiveImage {
            layers: layers.collect::<Result<_>>()?,
            config,
            config_digest,
            tags: Vec::new(),
            name: None,
        })
    }

    fn layer(&self, descriptor: &Descriptor, diff_id: Digest) -> Result<LayerBlob> {
        if !descriptor.is(&LAYER) {
            return Err(unknown("layer", descriptor));
        }
        let digest = Digest::parse(&descriptor.digest)?;
        let path = blob_path(&digest);
        let size = self.files.open(&path, self.limits)?.size();
        expect("a layer", (digest, size), (digest, descriptor.size))?;
        Ok(LayerBlob {
            files: Arc::clone(self.files),
            path,
            size,
            digest: Some(digest),
            diff_id,
        })
    }

    /// Reads a small blob whole and checks it.
    fn blob(&self, descriptor: &Descriptor, most: u64) -> Result<(Digest, Vec<u8>)> {
        let told = Digest::parse(&descriptor.digest)?;
        if descriptor.size > most {
            return Err(Error::image(format!("blob {told} is larger than {most} bytes")));
        }
        let content = self.files.read(&blob_path(&told), most, self.limits)?;
        let found = (Digest::of(&content), content.len() as u64);
        expect(&format!("blob {told}"), found, (told, descriptor.size))?;
        Ok((told, content))
    }
}

fn check_head(version: u32, own: Option<&str>, told: Option<&str>) -> Result<()> {
    if version != 2 {
        return Err(Error::image(format!(
            "a manifest or an index has schema version {version}, not 2"
        )));
    }
    match (own.filter(|own| !own.is_empty()), told) {
        (Some(own), Some(told)) if own != told => {
            let (own, told) = (Shown::new(own.as_bytes()), Shown::new(told.as_bytes()));
            Err(Error::image(format!(
                "a document says that it is {own}, what refers to it says {told}"
            )))
        }
        _ => Ok(()),
    }
}

fn blob_path(digest: &Digest) -> Vec<u8> {
    format!("blobs/sha256/{}", digest.hex()).into_bytes()
}

fn unknown(what: &str, descriptor: &Descriptor) -> Error {
    let media_type = Shown::new(descriptor.media_type.as_bytes());
    Error::image(format!("a {what} has the media type {media_type}, which is not read"))
}

// The number of images is that of the index's children.
const _: () = assert!(CHILDREN <= IMAGES);
