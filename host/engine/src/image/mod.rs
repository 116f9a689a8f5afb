//! Images: names, configs, histories, and what removing one takes along.
//!
//! An image is its config's bytes, named by their digest, and a chain of layers. Configs are files
//! (`image/imagedb/content/sha256/<hex>`); names and chains are rows. How images come and go as
//! archives is in [`load`], [`import`] and [`save`].

pub(crate) mod config;
mod import;
mod load;
mod save;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard_stubs::models;

use crate::error::{Error, Result};
use crate::keyed::Keyed;
use crate::layer::Layers;
use crate::paths::{Paths, read_bounded, write_whole};
use crate::reference::Reference;
use crate::store::{ImageRow, Store};
use config::ImageFile;

pub use load::Loaded;

/// All images of a data root.
#[derive(Debug)]
pub(crate) struct Images {
    store: Arc<Store>,
    layers: Arc<Layers>,
    paths: Paths,
    /// Layers that loads are making, by chain ID: of two loads of one layer, the second finds the first
    /// one's.
    loading: Arc<Keyed>,
    /// Held while an image's config and rows come or go together.
    recording: Mutex<()>,
}

/// An image that a name or ID stands for.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) row: ImageRow,
    pub(crate) raw: Vec<u8>,
    pub(crate) file: ImageFile,
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hex_of(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

fn missing(word: &str) -> Error {
    let shown: String = word.chars().take(100).collect();
    Error::not_found(format!("No such image: {shown}")).hint("`longshore load` or `longshore import` it")
}

/// Names as users see them.
fn familiar(names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| Reference::parse(name).map_or_else(|_| name.clone(), |r| r.familiar()))
        .collect()
}

impl Images {
    pub(crate) fn new(store: Arc<Store>, layers: Arc<Layers>, paths: Paths) -> Self {
        Self {
            store,
            layers,
            paths,
            loading: Arc::default(),
            recording: Mutex::default(),
        }
    }

    /// Takes a layer as a load does that makes it.
    #[cfg(test)]
    pub(crate) fn loading(&self, chain_id: &str) -> crate::keyed::Taken {
        self.loading.take(chain_id)
    }

    /// What a user's word stands for: a name, an ID, or the beginning of one.
    pub(crate) fn resolve_row(&self, word: &str) -> Result<ImageRow> {
        let hex = hex_of(word);
        let is_hex = (1..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        self.store.read(|tx| {
            if let Ok(reference) = Reference::parse(word)
                && let Some(row) = tx.image_by_name(&reference.canonical())?
            {
                return Ok(row);
            }
            if is_hex {
                match tx.images_by_prefix(&hex.to_ascii_lowercase())?.as_slice() {
                    [one] => return Ok(one.clone()),
                    [] => {}
                    _ => return Err(Error::invalid(format!("image ID {word} is ambiguous")).hint("give more digits")),
                }
            }
            if word.len() != 64 && !word.starts_with("sha256:") {
                Reference::parse(word)?;
            }
            Err(missing(word))
        })
    }

    pub(crate) fn resolve(&self, word: &str) -> Result<Image> {
        let row = self.resolve_row(word)?;
        let is_id = row.id.contains(word);
        self.open(row).map_err(|e| {
            if is_id {
                e
            } else {
                e.context(format_args!("image {word}"))
            }
        })
    }

    pub(crate) fn open(&self, row: ImageRow) -> Result<Image> {
        let path = self.paths.image_config(hex_of(&row.id));
        let raw = read_bounded(&path, config::MAX_CONFIG).map_err(|e| {
            Error::corrupt(format!("the config of image {} is lost: {e}", row.id)).hint("load the image again")
        })?;
        let digest = longshore_archive::digest::Digest::of(&raw).to_string();
        if digest != row.id {
            return Err(Error::corrupt(format!(
                "the config of image {} is damaged: its digest is {digest}",
                row.id
            ))
            .hint("load the image again"));
        }
        let file = ImageFile::parse(&raw)?;
        Ok(Image { row, raw, file })
    }

    /// Writes a config's file; durable with the layers' flush.
    fn write_config(&self, id: &str, raw: &[u8]) -> Result<()> {
        let path = self.paths.image_config(hex_of(id));
        if let Some(folder) = path.parent() {
            crate::paths::make_dir(folder, 0o700)?;
        }
        if read_bounded(&path, config::MAX_CONFIG).is_ok_and(|there| there == raw) {
            return Ok(());
        }
        write_whole(&path, raw, 0o600, false)
    }

    /// Writes Docker's `repositories.json` from the names, for people and tools.
    fn mirror_names(&self) {
        let written = self.store.read(|tx| tx.names()).and_then(|names| {
            let mut repositories: HashMap<String, HashMap<String, String>> = HashMap::new();
            for (name, image) in names {
                if let Ok(reference) = Reference::parse(&name) {
                    repositories
                        .entry(reference.familiar_name().to_owned())
                        .or_default()
                        .insert(reference.familiar(), image);
                }
            }
            let json = serde_json::to_vec(&serde_json::json!({ "Repositories": repositories }))?;
            write_whole(&self.paths.data.join("image/repositories.json"), &json, 0o600, false)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "repositories.json could not be written");
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<models::ImageSummary>> {
        let rows = self.store.read(|tx| {
            tx.images()?
                .into_iter()
                .map(|row| Ok((tx.names_of(&row.id)?, row)))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(rows
            .into_iter()
            .map(|(names, row)| {
                // A damaged image stays listed: its ID is what the user needs to put it right.
                let file = self.open(row.clone()).map(|image| image.file).unwrap_or_default();
                models::ImageSummary {
                    id: row.id.clone(),
                    repo_tags: familiar(&names),
                    created: file.created.as_deref().and_then(parse_time).unwrap_or(row.created),
                    size: row.size,
                    shared_size: -1,
                    labels: file.run().labels.unwrap_or_default(),
                    containers: -1,
                    ..Default::default()
                }
            })
            .collect())
    }

    pub(crate) fn inspect(&self, word: &str, driver: &str) -> Result<models::ImageInspect> {
        let image = self.resolve(word)?;
        let names = self.store.read(|tx| tx.names_of(&image.row.id))?;
        let run = image.file.run();
        Ok(models::ImageInspect {
            id: Some(image.row.id.clone()),
            repo_tags: Some(familiar(&names)),
            repo_digests: Some(Vec::new()),
            created: image.file.created.clone(),
            author: Some(image.file.author.clone().unwrap_or_default()),
            comment: Some(
                image
                    .file
                    .history
                    .last()
                    .and_then(|h| h.comment.clone())
                    .unwrap_or_default(),
            ),
            architecture: Some(image.file.architecture.clone()),
            os: Some(image.file.os.clone()),
            variant: image.file.variant.clone(),
            size: Some(image.row.size),
            config: Some(models::ImageConfig {
                user: run.user,
                env: run.env,
                cmd: run.cmd,
                entrypoint: run.entrypoint,
                working_dir: run.working_dir,
                labels: run.labels,
                stop_signal: run.stop_signal,
                volumes: run.volumes.map(|v| v.into_keys().collect()),
                exposed_ports: run.exposed_ports.map(|p| p.into_keys().collect()),
                ..Default::default()
            }),
            graph_driver: Some(models::DriverData {
                name: driver.to_owned(),
                data: HashMap::new(),
            }),
            root_fs: Some(models::ImageInspectRootFs {
                typ: "layers".into(),
                layers: Some(image.file.rootfs.diff_ids.clone()),
            }),
            ..Default::default()
        })
    }

    /// The history, newest first, with each layer's size.
    pub(crate) fn history(&self, word: &str) -> Result<Vec<serde_json::Value>> {
        let image = self.resolve(word)?;
        let (sizes, names) = self.store.read(|tx| {
            let sizes: Vec<i64> = match &image.row.chain {
                Some(top) => tx.layer_chain(top)?.iter().rev().map(|row| row.size).collect(),
                None => Vec::new(),
            };
            Ok((sizes, tx.names_of(&image.row.id)?))
        })?;
        let mut sizes = sizes.into_iter();
        let mut lines: Vec<serde_json::Value> = image
            .file
            .history
            .iter()
            .map(|line| {
                let size = if line.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
                serde_json::json!({
                    "Id": "<missing>",
                    "Created": line.created.as_deref().and_then(parse_time).unwrap_or(0),
                    "CreatedBy": line.created_by.clone().unwrap_or_default(),
                    "Comment": line.comment.clone().unwrap_or_default(),
                    "Tags": null,
                    "Size": size,
                })
            })
            .collect();
        // Layers that the history does not speak of are still layers.
        lines.extend(sizes.map(|size| {
            serde_json::json!({"Id": "<missing>", "Created": 0, "CreatedBy": "", "Comment": "", "Tags": null, "Size": size})
        }));
        lines.reverse();
        if let Some(first) = lines.first_mut() {
            first["Id"] = image.row.id.clone().into();
            first["Tags"] = familiar(&names).into();
        }
        Ok(lines)
    }

    pub(crate) fn tag(&self, word: &str, name: &str) -> Result<()> {
        let reference = Reference::parse(name)?;
        if reference.digest().is_some() {
            return Err(Error::invalid(format!(
                "{name:?} has a digest, and a tag cannot be made with one"
            )));
        }
        let row = self.resolve_row(word)?;
        self.store.write(|tx| tx.put_name(&reference.canonical(), &row.id))?;
        self.mirror_names();
        Ok(())
    }

    /// Removes a name, and the image with its last name. `used` tells which containers stand on an
    /// image.
    pub(crate) fn remove(
        &self,
        word: &str,
        force: bool,
        used: &dyn Fn(&str) -> Option<(String, bool)>,
    ) -> Result<Vec<models::ImageDeleteResponseItem>> {
        let row = self.resolve_row(word)?;
        let names = self.store.read(|tx| tx.names_of(&row.id))?;
        let by_name = Reference::parse(word)
            .ok()
            .map(|r| r.canonical())
            .filter(|name| names.contains(name));
        let short = &hex_of(&row.id)[..12];
        let untagged = |name: &String| models::ImageDeleteResponseItem {
            untagged: Some(familiar(std::slice::from_ref(name)).remove(0)),
            deleted: None,
        };
        if let Some(name) = &by_name
            && names.len() > 1
        {
            self.store.write(|tx| tx.remove_name(name))?;
            self.mirror_names();
            return Ok(vec![untagged(name)]);
        }
        if by_name.is_none() && names.len() > 1 && !force {
            return Err(Error::in_use(format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        if let Some((container, running)) = used(&row.id) {
            let container = &container[..container.len().min(12)];
            if running {
                return Err(Error::in_use(format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
                )));
            }
            if !force {
                return Err(Error::in_use(format!(
                    "conflict: unable to remove repository reference {word:?} (must force) - container {container} is using its referenced image {short}"
                )));
            }
        }
        {
            let _recording = lock(&self.recording);
            self.store.write(|tx| {
                // A container that is being made has its row before it is in anybody's list.
                let needle = format!("\"image_id\":\"{}\"", row.id);
                if !force && tx.containers()?.iter().any(|container| container.doc.contains(&needle)) {
                    return Err(Error::in_use(format!(
                        "conflict: unable to delete {short} (must be forced) - a container is using it"
                    ))
                    .hint("remove the container first"));
                }
                if !tx.has_image(&row.id)? {
                    return Err(missing(word));
                }
                tx.remove_image(&row.id)
            })?;
            let _ = std::fs::remove_file(self.paths.image_config(hex_of(&row.id)));
        }
        self.mirror_names();
        let mut items: Vec<_> = names.iter().map(untagged).collect();
        let deleted = |id: String| models::ImageDeleteResponseItem {
            untagged: None,
            deleted: Some(id),
        };
        items.push(deleted(row.id.clone()));
        items.extend(self.layers.prune()?.into_iter().map(deleted));
        Ok(items)
    }
}

/// Seconds since 1970 of an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if bytes.len() < 20 || bytes[4] != b'-' || bytes[10] != b'T' {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text
        .get(19..)?
        .trim_start_matches('.')
        .trim_start_matches(|c: char| c.is_ascii_digit());
    let offset = match zone.as_bytes().first()? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    // Days from the civil calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:00:00.123456789Z", Some(1_709_208_000)),
            ("2024-02-29T12:00:00+02:00", Some(1_709_200_800)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("yesterday", None),
        ] {
            assert_eq!(parse_time(text), seconds, "{text}");
        }
    }
}
