//! `save`: images as an archive that `docker load` and readers of OCI layouts take.
//!
//! Layers come back byte for byte from their recorded tar-split and their tree, configs are the bytes
//! that they were: whoever reads the archive comes to the same image IDs.

use std::io::Write;
use std::sync::Arc;

use longshore_archive::digest::Digest;
use longshore_archive::image::{ImageWriter, SaveLayer};

use super::{Image, Images, familiar};
use crate::error::{Error, Result};
use crate::layer::Active;
use crate::store::LayerRow;

impl Images {
    /// Writes the images that these words stand for. A name is saved as that name alone, an ID with
    /// no name.
    pub(crate) fn save(&self, words: &[String], to: &mut dyn Write) -> Result<()> {
        if words.is_empty() {
            return Err(Error::invalid("save needs at least one image"));
        }
        let mut order: Vec<(Image, Vec<String>)> = Vec::new();
        for word in words {
            let image = self.resolve(word)?;
            let name = crate::reference::Reference::parse(word).ok().map(|r| r.canonical());
            let names = self.store.read(|tx| tx.names_of(&image.row.id))?;
            let chosen: Vec<String> = names.into_iter().filter(|n| Some(n) == name.as_ref()).collect();
            match order.iter_mut().find(|(there, _)| there.row.id == image.row.id) {
                Some((_, tags)) => tags.extend(familiar(&chosen)),
                None => order.push((image, familiar(&chosen))),
            }
        }
        let written = |e: longshore_archive::Error| crate::archive_error("save the images", &e);
        let mut writer = ImageWriter::new(to).map_err(written)?;
        for (image, tags) in &order {
            self.save_image(image, tags, &mut writer)?;
        }
        writer.finish().map_err(written)?;
        Ok(())
    }

    fn save_image(&self, image: &Image, tags: &[String], writer: &mut ImageWriter<&mut dyn Write>) -> Result<()> {
        let rows = match &image.row.chain {
            Some(top) => self.store.read(|tx| tx.layer_chain(top))?,
            None => Vec::new(),
        };
        let sources = rows
            .iter()
            .rev()
            .map(|row| self.layers.source(row))
            .collect::<Result<Vec<(Arc<Active>, Vec<u8>)>>>()?;
        let lowest_first: Vec<&LayerRow> = rows.iter().rev().collect();
        let mut writers: Vec<_> = sources
            .iter()
            .map(|(active, split)| move |out: &mut dyn Write| longshore_archive::assemble(split, active.mount(), out))
            .collect();
        let mut layers = Vec::with_capacity(rows.len());
        for ((row, write), (_, split)) in lowest_first.iter().zip(&mut writers).zip(&sources) {
            layers.push(SaveLayer {
                diff_id: Digest::parse(&row.diff_id)
                    .map_err(|e| Error::corrupt(format!("diff ID of a record: {e}")))?,
                size: longshore_archive::split::archive_size(split)
                    .map_err(|e| crate::archive_error("read a layer's record", &e))?,
                write,
            });
        }
        writer
            .add(&image.raw, tags, &mut layers)
            .map_err(|e| crate::archive_error("save the images", &e))
    }
}
