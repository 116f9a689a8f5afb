//! What is measured of a driver's calls, and its text form for Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longshore_core::error::Error;
use longshore_core::wire::Method;

use crate::open::Loaded;

/// Upper ends of the classes that durations are counted in, in microseconds; the last class has none.
const BOUNDS: [u64; 8] = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 60_000_000];

/// What was measured of one method of one driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallMetrics {
    /// The method, such as `create`.
    pub method: &'static str,
    /// Calls that have ended.
    pub count: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Calls by how they ended: `ok`, or the kind of their error.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Time of all of them together.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// How many took at most 10 µs, at most 100 µs, and so on; see [`BOUNDS`].
    buckets: [u64; BOUNDS.len()],
}

/// The measurements of one driver.
#[derive(Debug, Default)]
pub(crate) struct Measured(Mutex<BTreeMap<&'static str, CallMetrics>>);

impl Measured {
    /// Counts a call that has ended.
    pub(crate) fn note(&self, method: &Method, took: Duration, error: Option<&Error>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = all.entry(method.name).or_default();
        measured.method = method.name;
        measured.count += 1;
        measured.errors += u64::from(error.is_some());
        *measured
            .outcomes
            .entry(error.map_or("ok", |error| error.kind.as_str()))
            .or_default() += 1;
        measured.total += took;
        measured.max = measured.max.max(took);
        for (count, bound) in measured.buckets.iter_mut().zip(BOUNDS) {
            *count += u64::from(took.as_micros() <= u128::from(bound));
        }
    }

    /// All of them, by method.
    pub(crate) fn all(&self) -> Vec<CallMetrics> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }
}

const HEADERS: [(&str, &str, &str); 6] = [
    (
        "longshore_driver_calls_total",
        "counter",
        "Calls that have ended, by outcome.",
    ),
    ("longshore_driver_call_seconds", "histogram", "How long calls took."),
    (
        "longshore_driver_quarantined",
        "gauge",
        "1 while the driver gets only calls that take away.",
    ),
    (
        "longshore_driver_abandoned_threads",
        "gauge",
        "Threads that were left in the driver because it did not come back.",
    ),
    (
        "longshore_driver_process_starts_total",
        "counter",
        "How often the driver's process was started.",
    ),
    (
        "longshore_driver_process_up",
        "gauge",
        "1 while the driver's process is there.",
    ),
];

/// The measurements of these drivers as Prometheus reads them.
pub fn prometheus<'a>(drivers: impl Iterator<Item = &'a Loaded>) -> String {
    let mut families: [String; HEADERS.len()] = Default::default();
    for driver in drivers {
        one(driver, &mut families);
    }
    let mut text = String::new();
    for ((name, kind, help), lines) in HEADERS.into_iter().zip(families) {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
    }
    text
}

fn one(driver: &Loaded, families: &mut [String; HEADERS.len()]) {
    let [calls, seconds, quarantined, abandoned, starts, up] = families;
    let about = driver.description();
    let labels = format!(
        "kind=\"{}\",driver=\"{}\",version=\"{}\",isolation=\"{}\"",
        escape(&about.kind),
        escape(&about.name),
        escape(&about.version),
        driver.isolation()
    );
    let [
        calls_name,
        seconds_name,
        quarantined_name,
        abandoned_name,
        starts_name,
        up_name,
    ] = HEADERS.map(|(name, ..)| name);
    for measured in driver.metrics() {
        let labels = format!("{labels},method=\"{}\"", measured.method);
        for (outcome, count) in &measured.outcomes {
            let _ = writeln!(calls, "{calls_name}{{{labels},outcome=\"{outcome}\"}} {count}");
        }
        for (count, bound) in measured.buckets.iter().zip(BOUNDS) {
            let bound = Duration::from_micros(bound).as_secs_f64();
            let _ = writeln!(seconds, "{seconds_name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let (total, count) = (measured.total.as_secs_f64(), measured.count);
        let _ = write!(
            seconds,
            "{seconds_name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{seconds_name}_sum{{{labels}}} \
             {total}\n{seconds_name}_count{{{labels}}} {count}\n"
        );
    }
    let is_quarantined = u8::from(driver.quarantined().is_some());
    let _ = writeln!(quarantined, "{quarantined_name}{{{labels}}} {is_quarantined}");
    let _ = writeln!(abandoned, "{abandoned_name}{{{labels}}} {}", driver.abandoned());
    if let Some(process) = driver.process() {
        let _ = writeln!(starts, "{starts_name}{{{labels}}} {}", process.starts);
        let _ = writeln!(up, "{up_name}{{{labels}}} {}", u8::from(process.pid.is_some()));
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use longshore_core::wire::DESCRIBE;

    use super::*;

    #[test]
    fn a_call_is_counted_in_every_class_that_it_fits() {
        let measured = Measured::default();
        measured.note(&DESCRIBE, Duration::from_micros(50), None);
        measured.note(&DESCRIBE, Duration::from_secs(120), Some(&Error::broken("x")));
        let all = measured.all();
        let [one] = all.as_slice() else {
            unreachable!("one method was called")
        };
        assert_eq!((one.count, one.errors), (2, 1));
        assert_eq!(one.buckets, [0, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(one.outcomes, BTreeMap::from([("ok", 1), ("broken", 1)]));
    }
}
