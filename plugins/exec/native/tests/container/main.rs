//! Life of real containers, made by the driver in a process of one thread.
//!
//! This binary plays the shim: for each call it runs itself again as a helper, which makes the call
//! over the driver's own service and ends, so that every call reaches a fresh instance and init
//! becomes this process's child. Each container's root is Debian's static busybox.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]
#![forbid(unsafe_code)]

mod fixture;
mod helper;
mod joining;
mod life;
mod spec;
mod streams;

use libtest_mimic::{Arguments, Trial};

/// A case: its name and what it does.
type Case = (&'static str, fn());

/// Makes a list of cases out of functions.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(helper::ARGUMENT) {
        helper::serve();
        return;
    }
    let mut arguments = Arguments::from_args();
    // Children are waited for by number, but a forgotten one would disturb its neighbour.
    arguments.test_threads = Some(1);
    let all = [life::CASES, spec::CASES, streams::CASES, joining::CASES].concat();
    let trials = all
        .into_iter()
        .map(|(name, case)| Trial::test(name, move || run(case)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(case: fn()) -> Result<(), libtest_mimic::Failed> {
    if let Some(reason) = fixture::unusable() {
        println!("SKIP: {reason}");
        return Ok(());
    }
    case();
    Ok(())
}
