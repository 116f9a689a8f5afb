//! Work in another network namespace, on a thread that enters it and ends there.

use std::os::fd::BorrowedFd;

use longshore_core::error::{Error, Result};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::net::route::Routing;

use crate::error::During;

/// Runs `work` in a namespace. The calling thread stays where it is.
pub(crate) fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn_scoped(scope, || {
                namespace::enter(namespace, Kind::Network).during("enter a sandbox's network namespace")?;
                work()
            })
            .map_err(|error| Error::io("start a thread for a sandbox", &error))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::broken("the thread in a sandbox panicked")))
    })
}

/// A socket for a namespace's links; it works from anywhere.
pub(crate) fn routing(namespace: BorrowedFd<'_>) -> Result<Routing> {
    within(namespace, || {
        Routing::open().during("open a netlink socket in a sandbox")
    })
}
