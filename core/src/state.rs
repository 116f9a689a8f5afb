//! The state that the host keeps for a driver: keys and values, reached by the services `state.get`,
//! `state.put`, `state.delete` and `state.list`.
//!
//! It is one store for each driver and root. What a call puts is **staged**: the call itself sees it,
//! and the host commits it in one transaction with its own record of what the call did, once the
//! reply is there. A call that fails, or whose reply never comes, has put nothing.
//!
//! [`State`] is a driver's side. [`Staged`] is the host's: the services of one call over a [`Store`].
//! Whoever keeps the store for good is the engine; [`Memory`] is for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_macros::Data;

use crate::context::{Context, Services};
use crate::error::{Error, Result};
use crate::schema::Data;
use crate::types::{Bytes, StateKey};
use crate::wire::{decode, encode};

/// Longest value.
pub const MAX_VALUE: usize = 64 * 1024;
/// Most keys of one page.
pub const MAX_KEYS: u32 = 1024;
/// Most bytes that one call may put, so that a call cannot fill the host.
pub const MAX_STAGED: usize = 4 << 20;

/// The request of `state.get`.
#[derive(Data)]
pub struct GetState {
    /// The key.
    pub key: StateKey,
}

/// The answer of `state.get`.
#[derive(Data)]
pub struct GotState {
    /// The value; none when there is no such key.
    pub value: Option<Bytes>,
}

/// The request of `state.put`.
#[derive(Data)]
pub struct PutState {
    /// The key.
    pub key: StateKey,
    /// The value; at most [`MAX_VALUE`].
    pub value: Bytes,
}

/// The request of `state.delete`. A key that is not there is done.
#[derive(Data)]
pub struct DeleteState {
    /// The key.
    pub key: StateKey,
}

/// The request of `state.list`.
#[derive(Data)]
pub struct ListState {
    /// How the keys begin.
    pub prefix: String,
    /// The last key of the page before.
    pub after: Option<StateKey>,
    /// Most keys of this page; at most [`MAX_KEYS`].
    pub limit: u32,
}

/// The answer of `state.list`.
#[derive(Data)]
pub struct ListedState {
    /// In ascending order of their bytes.
    pub entries: Vec<StateEntry>,
    /// Whether there are more.
    pub more: bool,
}

/// A key and its value.
#[derive(Data)]
pub struct StateEntry {
    /// The key.
    pub key: StateKey,
    /// The value.
    pub value: Bytes,
}

/// The answer of `state.put` and `state.delete`.
#[derive(Data)]
pub struct StateStaged {}

/// A driver's side of the state, during one call.
#[derive(Debug)]
pub struct State<'a>(&'a Context);

impl<'a> State<'a> {
    /// The state as this call sees it.
    pub fn of(cx: &'a Context) -> Self {
        Self(cx)
    }

    fn ask<Request: Data, Reply: Data>(&self, name: &str, request: &Request) -> Result<Reply> {
        decode(&self.0.host().call(name, &encode(request)?)?)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `Unsupported` where the host keeps no state for this driver.
    pub fn get(&self, key: StateKey) -> Result<Option<Bytes>> {
        Ok(self.ask::<_, GotState>("state.get", &GetState { key })?.value)
    }

    /// Stages a value.
    ///
    /// # Errors
    /// `Exhausted` beyond the limits; `Unsupported` as for `get`.
    pub fn put(&self, key: StateKey, value: Bytes) -> Result<()> {
        self.ask::<_, StateStaged>("state.put", &PutState { key, value })
            .map(drop)
    }

    /// Stages that a key is gone.
    ///
    /// # Errors
    /// As for `put`.
    pub fn delete(&self, key: StateKey) -> Result<()> {
        self.ask::<_, StateStaged>("state.delete", &DeleteState { key })
            .map(drop)
    }

    /// Lists keys that begin with a prefix.
    ///
    /// # Errors
    /// `Unsupported` as for `get`.
    pub fn list(&self, prefix: &str, after: Option<StateKey>, limit: u32) -> Result<ListedState> {
        self.ask(
            "state.list",
            &ListState {
                prefix: prefix.to_owned(),
                after,
                limit,
            },
        )
    }
}

/// Where a host keeps a driver's state, as it is committed.
pub trait Store: Send + Sync {
    /// Reads a value.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &StateKey) -> Result<Option<Bytes>>;

    /// Up to `limit` entries whose keys begin with `prefix` and come after `after`, in ascending
    /// order of their bytes.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &str, after: Option<&StateKey>, limit: usize) -> Result<Vec<StateEntry>>;
}

/// What a call staged: each key once, in ascending order; no value for a key that shall be gone.
pub type Changes = Vec<(StateKey, Option<Bytes>)>;

/// The services of one call: the state that it sees and what it stages.
pub struct Staged<S> {
    store: S,
    changes: Mutex<BTreeMap<StateKey, Option<Bytes>>>,
}

impl<S: Store> Staged<S> {
    /// Services over a store, with nothing staged.
    pub fn over(store: S) -> Self {
        Self {
            store,
            changes: Mutex::default(),
        }
    }

    /// What the call staged. To be committed once its reply is there, and only then.
    pub fn take(&self) -> Changes {
        std::mem::take(&mut *self.changes()).into_iter().collect()
    }

    fn changes(&self) -> MutexGuard<'_, BTreeMap<StateKey, Option<Bytes>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, request: &GetState) -> Result<GotState> {
        let staged = self.changes().get(&request.key).cloned();
        Ok(GotState {
            value: match staged {
                Some(value) => value,
                None => self.store.get(&request.key)?,
            },
        })
    }

    fn stage(&self, key: StateKey, value: Option<Bytes>) -> Result<StateStaged> {
        let size = |key: &StateKey, value: Option<&Bytes>| {
            key.as_str().len() + value.map_or(0, |value| value.as_bytes().len())
        };
        if value.as_ref().is_some_and(|value| value.as_bytes().len() > MAX_VALUE) {
            return Err(Error::exhausted(format!(
                "the value of state key {key} is over {MAX_VALUE} bytes"
            )));
        }
        let mut changes = self.changes();
        let others: usize = changes
            .iter()
            .filter(|(other, _)| **other != key)
            .map(|(key, value)| size(key, value.as_ref()))
            .sum();
        if others + size(&key, value.as_ref()) > MAX_STAGED {
            return Err(Error::exhausted(format!(
                "one call may put at most {MAX_STAGED} bytes of state"
            )));
        }
        changes.insert(key, value);
        Ok(StateStaged {})
    }

    /// Merges what is committed with what is staged, a page of the store at a time, because staged
    /// deletions may empty one.
    fn list(&self, request: &ListState) -> Result<ListedState> {
        let limit = request.limit.clamp(1, MAX_KEYS) as usize;
        let staged: BTreeMap<StateKey, Option<Bytes>> = self
            .changes()
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(&request.prefix))
            .filter(|(key, _)| request.after.as_ref().is_none_or(|after| *key > after))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Every staged key can hide at most one entry of the store.
        let wanted = limit + 1 + staged.len();
        let mut merged: BTreeMap<StateKey, Option<Bytes>> = self
            .store
            .list(&request.prefix, request.after.as_ref(), wanted)?
            .into_iter()
            .map(|entry| (entry.key, Some(entry.value)))
            .collect();
        merged.extend(staged);
        let mut entries: Vec<StateEntry> = merged
            .into_iter()
            .filter_map(|(key, value)| Some(StateEntry { key, value: value? }))
            .collect();
        let mut size = 0;
        // A page also stays well below a message's limit; at least one entry always fits.
        let fitting = entries
            .iter()
            .take(limit)
            .take_while(|entry| {
                size += entry.key.as_str().len() + entry.value.as_bytes().len();
                size <= crate::wire::MAX_BODY / 2
            })
            .count()
            .max(1);
        let more = entries.len() > fitting;
        entries.truncate(fitting);
        Ok(ListedState { entries, more })
    }
}

impl<S: Store> Services for Staged<S> {
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        match name {
            "state.get" => encode(&self.get(&decode(body)?)?),
            "state.put" => {
                let PutState { key, value } = decode(body)?;
                encode(&self.stage(key, Some(value))?)
            }
            "state.delete" => {
                let DeleteState { key } = decode(body)?;
                encode(&self.stage(key, None)?)
            }
            "state.list" => encode(&self.list(&decode(body)?)?),
            other => Err(Error::unsupported(format!("this host offers no service {other:?}"))),
        }
    }
}

impl<S> fmt::Debug for Staged<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").finish_non_exhaustive()
    }
}

/// A store in memory, for tests and for hosts that keep nothing.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<StateKey, Bytes>>);

impl Memory {
    /// Commits what a call staged.
    pub fn commit(&self, changes: Changes) {
        let mut all = self.entries();
        for (key, value) in changes {
            match value {
                Some(value) => drop(all.insert(key, value)),
                None => drop(all.remove(&key)),
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<StateKey, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn get(&self, key: &StateKey) -> Result<Option<Bytes>> {
        Ok(self.entries().get(key).cloned())
    }

    fn list(&self, prefix: &str, after: Option<&StateKey>, limit: usize) -> Result<Vec<StateEntry>> {
        Ok(self
            .entries()
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| *key > after))
            .take(limit)
            .map(|(key, value)| StateEntry {
                key: key.clone(),
                value: value.clone(),
            })
            .collect())
    }
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn get(&self, key: &StateKey) -> Result<Option<Bytes>> {
        (**self).get(key)
    }

    fn list(&self, prefix: &str, after: Option<&StateKey>, limit: usize) -> Result<Vec<StateEntry>> {
        (**self).list(prefix, after, limit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::*;
    use crate::context::Cancel;
    use crate::error::ErrorKind;

    fn key(text: &str) -> StateKey {
        StateKey::parse(text).unwrap()
    }

    fn during<T>(store: &Arc<Memory>, work: impl FnOnce(&State<'_>) -> T) -> (T, Changes) {
        let staged = Arc::new(Staged::over(Arc::clone(store)));
        let cx = Context::new(0, None, Cancel::default(), Arc::clone(&staged) as Arc<dyn Services>);
        let answer = work(&State::of(&cx));
        (answer, staged.take())
    }

    #[test]
    fn a_call_sees_what_it_put_and_nobody_else_does_before_it_is_committed() {
        let store = Arc::new(Memory::default());
        let ((), changes) = during(&store, |state| {
            state.put(key("a/1"), "one".into()).unwrap();
            assert_eq!(state.get(key("a/1")).unwrap(), Some("one".into()));
        });
        assert!(store.is_empty());
        store.commit(changes);
        let ((), changes) = during(&store, |state| {
            state.delete(key("a/1")).unwrap();
            assert_eq!(state.get(key("a/1")).unwrap(), None);
        });
        assert_eq!(store.len(), 1);
        store.commit(changes);
        assert!(store.is_empty());
    }

    #[test]
    fn pages_merge_what_is_staged_with_what_is_there() {
        let store = Arc::new(Memory::default());
        let value = Bytes::default();
        store.commit(
            ["a/1", "a/2", "a/3", "a/5", "b/1"]
                .map(|k| (key(k), Some(value.clone())))
                .to_vec(),
        );
        let (pages, _) = during(&store, |state| {
            for gone in ["a/1", "a/2", "a/3"] {
                state.delete(key(gone)).unwrap();
            }
            state.put(key("a/4"), value.clone()).unwrap();
            let first = state.list("a/", None, 1).unwrap();
            let last = first.entries.last().unwrap().key.clone();
            (first, state.list("a/", Some(last), 10).unwrap())
        });
        let keys = |page: &ListedState| -> Vec<String> { page.entries.iter().map(|e| e.key.to_string()).collect() };
        assert_eq!((keys(&pages.0), pages.0.more), (vec!["a/4".to_owned()], true));
        assert_eq!((keys(&pages.1), pages.1.more), (vec!["a/5".to_owned()], false));
    }

    #[test]
    fn values_and_calls_are_bounded() {
        let store = Arc::new(Memory::default());
        let ((), changes) = during(&store, |state| {
            let error = state.put(key("a"), vec![0; MAX_VALUE + 1].into()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Exhausted);
            let whole: Bytes = vec![0; MAX_VALUE].into();
            let refused = (0..100).find_map(|number| state.put(key(&format!("k{number}")), whole.clone()).err());
            assert_eq!(refused.unwrap().kind, ErrorKind::Exhausted);
            state.put(key("k0"), whole).unwrap();
        });
        assert!(changes.len() < 65);
    }

    #[test]
    fn a_host_that_keeps_no_state_says_so() {
        let error = State::of(&Context::background()).get(key("a")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }
}
