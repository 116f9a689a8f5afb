//! Conformance: what every driver of a kind must do, as a list of named cases, for any driver over
//! any transport.
//!
//! A suite is data: each [`Case`] has a sentence for a name, the capability without which it means
//! nothing, and a function. [`run`] performs cases one by one on a fresh root and ends each with
//! [`Outcome::Pass`], [`Outcome::Fail`] or [`Outcome::Skip`] and its reason; skips are counted and
//! never passed. After each case nothing may be left: mounts, descriptors, files beside the root.
//! [`graph`], [`volume`], [`network`], [`ipam`] and [`exec`] are the suites, [`host`] is the host's part
//! of a driver call, as an engine does it. Exec drivers need a process of one thread for each call: a
//! program that runs their suite begins its `main` with [`exec::play`].
#![forbid(unsafe_code)]

pub mod deferred;
pub mod exec;
pub mod graph;
pub mod host;
pub mod ipam;
pub mod network;
pub mod report;
pub mod volume;

mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

use longshore_core::driver::OptionValue;
use longshore_loader::Loaded;

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The driver, or the performer acting for it, answered an error that it should not have.
    #[error("{0}")]
    Driver(#[from] longshore_core::Error),
    /// Looking at a tree failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Something was not as the contract has it.
    #[error("{0}")]
    Differs(String),
    /// It cannot be tried on this machine, or means nothing for this driver: no failure, but a skip.
    #[error("{0}")]
    NotHere(String),
}

/// What a case answers.
pub type CaseResult = std::result::Result<(), Failure>;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// As the contract has it.
    Pass,
    /// Not so, with the reason.
    Fail(String),
    /// It means nothing for this driver, or cannot be tried here.
    Skip(String),
}

impl From<CaseResult> for Outcome {
    fn from(result: CaseResult) -> Self {
        match result {
            Ok(()) => Self::Pass,
            Err(Failure::NotHere(reason)) => Self::Skip(reason),
            Err(failure) => Self::Fail(failure.to_string()),
        }
    }
}

/// One named behaviour.
pub struct Case<T> {
    /// A sentence.
    pub name: &'static str,
    /// Why it means nothing for this driver; `None` when it means something.
    pub skip: fn(&T) -> Option<&'static str>,
    /// Tries it.
    pub run: fn(&T) -> CaseResult,
}

impl<T> std::fmt::Debug for Case<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A driver under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// The driver; each instance is opened anew.
    pub loaded: Arc<Loaded>,
    /// Options that it is opened with.
    pub options: Vec<OptionValue>,
    /// Where roots are made; the system's temporary folder when absent.
    pub folder: Option<PathBuf>,
}

/// How one case of a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The case.
    pub name: &'static str,
    /// How.
    pub outcome: Outcome,
}

/// Fails with a sentence unless `holds`.
pub(crate) fn check(holds: bool, sentence: impl FnOnce() -> String) -> CaseResult {
    if holds {
        Ok(())
    } else {
        Err(Failure::Differs(sentence()))
    }
}

/// Fails unless a call ends with an error of that kind.
pub(crate) fn expect<T: std::fmt::Debug>(
    result: longshore_core::Result<T>,
    kind: longshore_core::ErrorKind,
) -> CaseResult {
    match result {
        Err(error) if error.kind == kind => Ok(()),
        other => Err(Failure::Differs(format!(
            "expected an error of kind {kind:?}, got {other:?}"
        ))),
    }
}

/// The names of a kind's cases.
pub fn names(kind: &str) -> Vec<&'static str> {
    match kind {
        "graph" => graph::CASES.iter().map(|case| case.name).collect(),
        "volume" => volume::CASES.iter().map(|case| case.name).collect(),
        "exec" => exec::CASES.iter().map(|case| case.name).collect(),
        "network" => network::CASES.iter().map(|case| case.name).collect(),
        "ipam" => ipam::CASES.iter().map(|case| case.name).collect(),
        _ => Vec::new(),
    }
}

/// Runs the suite of the target's kind, those cases whose name holds `filter`.
///
/// # Errors
/// When the target's kind has no suite here, or no root can be made.
pub fn run(target: &Target, filter: &str) -> std::result::Result<Vec<Ended>, Failure> {
    match target.loaded.description().kind.as_str() {
        "graph" => run_cases(graph::CASES, filter, || graph::Bench::new(target)),
        "volume" => run_cases(volume::CASES, filter, || volume::Bench::new(target)),
        "exec" => exec::run(target, filter),
        "network" => run_cases(network::CASES, filter, || network::Bench::new(target)),
        "ipam" => run_cases(ipam::CASES, filter, || ipam::Bench::new(target)),
        kind => Err(Failure::Differs(format!(
            "there is no suite for drivers of kind {kind} in this command"
        ))),
    }
}

fn run_cases<T>(
    cases: &[Case<T>],
    filter: &str,
    make: impl Fn() -> std::result::Result<T, Failure>,
) -> std::result::Result<Vec<Ended>, Failure> {
    let mut ended = Vec::new();
    for case in cases.iter().filter(|case| case.name.contains(filter)) {
        let bench = make()?;
        let outcome = match (case.skip)(&bench) {
            Some(reason) => Outcome::Skip(reason.to_owned()),
            None => {
                let before = host::Traces::now();
                let result = (case.run)(&bench);
                drop(bench);
                result.and_then(|()| before.compare()).into()
            }
        };
        ended.push(Ended {
            name: case.name,
            outcome,
        });
    }
    Ok(ended)
}
