//! Rows of images and of their names.

use rusqlite::{OptionalExtension, params};

use super::Tx;
use crate::error::Result;

/// An image; its config is a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImageRow {
    /// `sha256:` and the digest of its config.
    pub(crate) id: String,
    /// The chain ID of its topmost layer.
    pub(crate) chain: Option<String>,
    /// Bytes of all its layers.
    pub(crate) size: i64,
    /// When it came here, in seconds since 1970.
    pub(crate) created: i64,
}

fn image(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: row.get(0)?,
        chain: row.get(1)?,
        size: row.get(2)?,
        created: row.get(3)?,
    })
}

const IMAGE: &str = "SELECT id, chain, size, created FROM images";

impl Tx<'_> {
    pub(crate) fn images(&self) -> Result<Vec<ImageRow>> {
        let mut statement = self.inner.prepare(&format!("{IMAGE} ORDER BY created DESC, id"))?;
        let rows = statement.query_map([], image)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Images whose ID begins with these hexadecimal digits; at most two.
    pub(crate) fn images_by_prefix(&self, hex: &str) -> Result<Vec<ImageRow>> {
        let mut statement = self
            .inner
            .prepare(&format!("{IMAGE} WHERE substr(id, 8, length(?1)) = ?1 LIMIT 2"))?;
        let rows = statement.query_map([hex], image)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn has_image(&self, id: &str) -> Result<bool> {
        Ok(self
            .inner
            .query_row("SELECT EXISTS (SELECT 1 FROM images WHERE id = ?1)", [id], |row| {
                row.get(0)
            })?)
    }

    pub(crate) fn put_image(&self, row: &ImageRow) -> Result<()> {
        self.inner.execute(
            "INSERT INTO images (id, chain, size, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![row.id, row.chain, row.size, row.created],
        )?;
        Ok(())
    }

    pub(crate) fn remove_image(&self, id: &str) -> Result<()> {
        self.inner.execute("DELETE FROM image_names WHERE image = ?1", [id])?;
        self.inner.execute("DELETE FROM images WHERE id = ?1", [id])?;
        Ok(())
    }

    pub(crate) fn image_by_name(&self, name: &str) -> Result<Option<ImageRow>> {
        Ok(self
            .inner
            .query_row(
                "SELECT i.id, i.chain, i.size, i.created FROM images i JOIN image_names n ON n.image = i.id WHERE n.name = ?1",
                [name],
                image,
            )
            .optional()?)
    }

    pub(crate) fn names_of(&self, image: &str) -> Result<Vec<String>> {
        let mut statement = self
            .inner
            .prepare("SELECT name FROM image_names WHERE image = ?1 ORDER BY name")?;
        let rows = statement.query_map([image], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// All names with their images, for the file that mirrors them.
    pub(crate) fn names(&self) -> Result<Vec<(String, String)>> {
        let mut statement = self
            .inner
            .prepare("SELECT name, image FROM image_names ORDER BY name")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn put_name(&self, name: &str, image: &str) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO image_names (name, image) VALUES (?1, ?2)",
            [name, image],
        )?;
        Ok(())
    }

    pub(crate) fn remove_name(&self, name: &str) -> Result<bool> {
        Ok(self.inner.execute("DELETE FROM image_names WHERE name = ?1", [name])? == 1)
    }
}
