//! Locks by name: whoever works on one object does not wait for who works on another.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The names that are taken.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    taken: Mutex<HashSet<String>>,
    given: Condvar,
}

/// A name that is taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    keyed: Arc<Keyed>,
    name: String,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.keyed
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
        self.keyed.given.notify_all();
    }
}

impl Keyed {
    /// Waits until nobody has this name, and takes it.
    pub(crate) fn take(self: &Arc<Self>, name: &str) -> Taken {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(name.to_owned()) {
            taken = self.given.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Taken {
            keyed: Arc::clone(self),
            name: name.to_owned(),
        }
    }
}

/// At most so many at once.
#[derive(Debug)]
pub(crate) struct Places {
    free: Mutex<usize>,
    given: Condvar,
}

/// One of the places; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given.notify_one();
    }
}

impl Places {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            free: Mutex::new(number),
            given: Condvar::new(),
        }
    }

    /// Waits for a place, and takes it.
    pub(crate) fn take(&self) -> Place<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.given.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Place(self)
    }
}
