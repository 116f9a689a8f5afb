//! Containers that are in no record, because the database that spoke of them was lost.
//!
//! One whose shim lives runs on, named by `doctor`, until someone says that it shall end. After such a
//! loss the folders of those that do not run stay as well: nothing that may be wanted goes by itself.

use std::fs::File;
use std::os::fd::AsFd;

use longshore_shim::{Adoption, adopt};

use super::{Containers, lock};

/// Fewest digits that name a container in no record.
const LEAST_DIGITS: usize = 12;

impl Containers {
    /// Whether a container without a record is left as it is; then it is known from here on.
    pub(super) fn keeps_stranger(&self, id: &str) -> bool {
        let lost = || self.store.read(|tx| tx.lost()).map_or(true, |lost| lost.is_some());
        let kept = self.stranger_lives(id) || lost();
        if kept && lock(&self.strangers).insert(id.to_owned()) {
            tracing::warn!(container = id, "a container is in no record; it is left as it is");
        }
        kept
    }

    fn stranger_lives(&self, id: &str) -> bool {
        File::open(self.paths.container_run(id)).is_ok_and(|run| matches!(adopt(run.as_fd()), Ok(Adoption::Alive(_))))
    }

    /// Containers that are in no record, and whether each one's shim lives.
    pub(crate) fn strangers(&self) -> Vec<(String, bool)> {
        let known: Vec<String> = lock(&self.strangers).iter().cloned().collect();
        known
            .into_iter()
            .map(|id| {
                let alive = self.stranger_lives(&id);
                (id, alive)
            })
            .collect()
    }

    /// Ends and removes a container that is in no record, because a user said so: by its ID, or by a
    /// beginning of it that no other one has. Answers false when there is none.
    pub(crate) fn remove_stranger(&self, word: &str) -> bool {
        let mut strangers = lock(&self.strangers);
        let fits: Vec<String> = strangers
            .iter()
            .filter(|id| word.len() >= LEAST_DIGITS && id.starts_with(word))
            .cloned()
            .collect();
        let [id] = fits.as_slice() else {
            return false;
        };
        for folder in [self.paths.container_run(id), self.paths.container(id)] {
            self.drop_stranger(id, folder.exists().then_some(folder.as_path()));
        }
        strangers.remove(id);
        true
    }
}
