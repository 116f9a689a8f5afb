//! A run's report: for people, and as JUnit XML for machines.

use std::fmt::Write as _;

use crate::{Ended, Outcome};

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that mean nothing for the driver.
    pub skipped: usize,
}

/// Counts how cases ended.
pub fn count(ended: &[Ended]) -> Counts {
    let mut counts = Counts::default();
    for one in ended {
        match one.outcome {
            Outcome::Pass => counts.passed += 1,
            Outcome::Fail(_) => counts.failed += 1,
            Outcome::Skip(_) => counts.skipped += 1,
        }
    }
    counts
}

/// The report for people.
pub fn text(title: &str, ended: &[Ended]) -> String {
    let mut text = format!("{title}\n");
    for one in ended {
        let _ = match &one.outcome {
            Outcome::Pass => writeln!(text, "  pass  {}", one.name),
            Outcome::Fail(why) => writeln!(text, "  FAIL  {}\n        {why}", one.name),
            Outcome::Skip(why) => writeln!(text, "  skip  {} ({why})", one.name),
        };
    }
    let counts = count(ended);
    let _ = writeln!(
        text,
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    text
}

/// The report as JUnit XML.
pub fn junit(title: &str, ended: &[Ended]) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    let counts = count(ended);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
        escape(title),
        ended.len(),
        counts.failed,
        counts.skipped
    );
    for one in ended {
        let _ = match &one.outcome {
            Outcome::Pass => writeln!(xml, "  <testcase name=\"{}\"/>", one.name),
            Outcome::Fail(why) => writeln!(
                xml,
                "  <testcase name=\"{}\"><failure message=\"{}\"/></testcase>",
                one.name,
                escape(why)
            ),
            Outcome::Skip(why) => writeln!(
                xml,
                "  <testcase name=\"{}\"><skipped message=\"{}\"/></testcase>",
                one.name,
                escape(why)
            ),
        };
    }
    xml.push_str("</testsuite>\n");
    xml
}
