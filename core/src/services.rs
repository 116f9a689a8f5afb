//! Services that a caller offers with one call, found by the call's number.
//!
//! A transport knows which call a driver asks during, and nothing else of the caller. So
//! [`client_call`](crate::wire::client_call) notes here what its context offers, for as long as the
//! call takes, and the host's end of each transport looks here for what it does not offer itself.
//! What the services are stands elsewhere: [`state`](crate::state).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::context::Services;

static OFFERED: Mutex<BTreeMap<u64, Arc<dyn Services>>> = Mutex::new(BTreeMap::new());

fn offered() -> MutexGuard<'static, BTreeMap<u64, Arc<dyn Services>>> {
    OFFERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is offered for one call; no longer once this is dropped.
#[derive(Debug)]
pub(crate) struct Offer(Option<u64>);

impl Offer {
    /// Notes what a call's context offers. A call that offers nothing costs nothing.
    pub(crate) fn new(call: u64, services: &Arc<dyn Services>) -> Self {
        if services.is_empty() {
            return Self(None);
        }
        offered().insert(call, Arc::clone(services));
        Self(Some(call))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(call) = self.0 {
            offered().remove(&call);
        }
    }
}

/// What the caller of that call offers, while it is under way.
pub fn of_call(call: u64) -> Option<Arc<dyn Services>> {
    offered().get(&call).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::NoServices;
    use crate::error::Result;

    struct Echo;

    impl Services for Echo {
        fn call(&self, _name: &str, body: &[u8]) -> Result<Vec<u8>> {
            Ok(body.to_vec())
        }
    }

    #[test]
    fn what_is_offered_is_found_until_the_call_ends() {
        let services: Arc<dyn Services> = Arc::new(Echo);
        let offer = Offer::new(u64::MAX, &services);
        assert!(of_call(u64::MAX).is_some());
        assert!(of_call(u64::MAX - 1).is_none());
        drop(offer);
        assert!(of_call(u64::MAX).is_none());
    }

    #[test]
    fn a_call_that_offers_nothing_leaves_no_trace() {
        let services: Arc<dyn Services> = Arc::new(NoServices);
        let _offer = Offer::new(u64::MAX - 2, &services);
        assert!(of_call(u64::MAX - 2).is_none());
    }
}
