//! The explicit remedy after a lost database: what the old one spoke of is removed. Nothing of it goes
//! by itself, since a tree without a record may be all that is left of someone's work.

use crate::engine::Inner;
use crate::error::{Error, Result};

pub(crate) fn collect(inner: &Inner) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let strangers = inner.containers.strangers();
    if let Some((id, _)) = strangers.iter().find(|(_, alive)| *alive) {
        return Err(Error::in_use(format!(
            "container {id} runs and is in no record: which layers it needs is not known"
        ))
        .hint("end it first: `longshore rm --force ID`"));
    }
    for (id, _) in strangers {
        if inner.containers.remove_stranger(&id) {
            removed.push(format!("container {id}"));
        }
    }
    for (driver, id) in inner.layers.unknown()? {
        inner.layers.remove_unknown(&driver, &id)?;
        removed.push(format!("layer {id} of driver {driver}"));
    }
    inner.store.write(|tx| tx.forget_lost())?;
    *inner.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    Ok(removed)
}
