//! Exit codes of containers that were removed by themselves, kept for a while.

use rusqlite::{OptionalExtension, params};

use super::Tx;
use crate::error::Result;

/// How long a code is kept, in seconds.
const KEPT: i64 = 15 * 60;
/// Most codes that are kept; the oldest go first.
const MOST: i64 = 1024;

impl Tx<'_> {
    /// Keeps the exit code of a container that goes in this change; `now` in seconds.
    pub(crate) fn keep_exit(&self, id: &str, code: i64, now: i64) -> Result<()> {
        self.inner.execute("DELETE FROM exits WHERE at < ?1", [now - KEPT])?;
        self.inner.execute(
            "DELETE FROM exits WHERE id IN (SELECT id FROM exits ORDER BY at DESC LIMIT -1 OFFSET ?1)",
            [MOST - 1],
        )?;
        self.inner.execute(
            "INSERT OR REPLACE INTO exits (id, code, at) VALUES (?1, ?2, ?3)",
            params![id, code, now],
        )?;
        Ok(())
    }

    /// The exit code of a container that was removed by itself not long before `now`, by its whole ID.
    pub(crate) fn kept_exit(&self, id: &str, now: i64) -> Result<Option<i64>> {
        Ok(self
            .inner
            .query_row(
                "SELECT code FROM exits WHERE id = ?1 AND at >= ?2",
                params![id, now - KEPT],
                |row| row.get(0),
            )
            .optional()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::Store;
    use super::*;

    #[test]
    fn a_code_is_kept_for_a_while_and_only_so_many() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&root.path().join("longshore.db")).unwrap();
        let kept = |id: &str, now: i64| store.read(|tx| tx.kept_exit(id, now)).unwrap();
        store.write(|tx| tx.keep_exit("first", 42, 1000)).unwrap();
        assert_eq!(kept("first", 1000 + KEPT), Some(42));
        assert_eq!(kept("first", 1001 + KEPT), None);
        assert_eq!(kept("fir", 1000), None, "only a whole ID names one");
        store
            .write(|tx| (0..MOST).try_for_each(|n| tx.keep_exit(&n.to_string(), n, 1001)))
            .unwrap();
        assert_eq!(kept("first", 1001), None, "the oldest went");
        assert_eq!(kept("0", 1001), Some(0));
        store.write(|tx| tx.keep_exit("late", 7, 2000 + KEPT)).unwrap();
        assert_eq!(kept("0", 1001), None, "what is too old goes with the next one");
    }
}
