//! What was measured, as a table for people or as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// One series of measurements under one title.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    unit: &'static str,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

#[derive(Debug)]
struct Row {
    name: String,
    count: usize,
    least: f64,
    middle: f64,
    most: f64,
}

#[derive(Debug)]
struct Ratio {
    of: String,
    to: String,
    value: f64,
}

/// Least, middle and 99th of a hundred.
fn spread(times: &mut [Duration]) -> [Duration; 3] {
    times.sort_unstable();
    let at = |share: usize| {
        let last = times.len().saturating_sub(1);
        times.get((last * share).div_ceil(100)).copied().unwrap_or_default()
    };
    [at(0), at(50), at(99)]
}

impl Table {
    /// A table of times in `ms` or `µs`, or of anything else in its own unit.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str) -> Self {
        Self {
            title: title.into(),
            unit,
            rows: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Adds a row of times.
    pub(crate) fn row(&mut self, name: impl Into<String>, times: &mut [Duration]) {
        let scale = if self.unit == "µs" { 1e6 } else { 1e3 };
        let [least, middle, most] = spread(times).map(|time| time.as_secs_f64() * scale);
        self.rows.push(Row {
            name: name.into(),
            count: times.len(),
            least,
            middle,
            most,
        });
    }

    /// Adds a row of plain numbers.
    pub(crate) fn numbers(&mut self, name: impl Into<String>, values: &mut [f64]) {
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| {
            let last = values.len().saturating_sub(1);
            values.get((last * share).div_ceil(100)).copied().unwrap_or_default()
        };
        self.rows.push(Row {
            name: name.into(),
            count: values.len(),
            least: at(0),
            middle: at(50),
            most: at(99),
        });
    }

    /// Adds the ratio of two rows' middles.
    pub(crate) fn ratio(&mut self, of: &str, to: &str) {
        let middle = |name: &str| self.rows.iter().find(|row| row.name == name).map(|row| row.middle);
        if let (Some(one), Some(other)) = (middle(of), middle(to))
            && other > 0.0
        {
            self.ratios.push(Ratio {
                of: of.to_owned(),
                to: to.to_owned(),
                value: one / other,
            });
        }
    }

    pub(crate) fn print(&self) {
        let count = self.rows.iter().map(|row| row.count).max().unwrap_or_default();
        println!("\n{}, {count} each, {}", self.title, self.unit);
        println!("  {:<58} {:>9} {:>9} {:>9}", "", "min", "p50", "p99");
        for row in &self.rows {
            println!(
                "  {:<58} {:>9.2} {:>9.2} {:>9.2}",
                row.name, row.least, row.middle, row.most
            );
        }
        for ratio in &self.ratios {
            println!("  {:.2} = {} / {}", ratio.value, ratio.of, ratio.to);
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "title": self.title,
            "unit": self.unit,
            "rows": self.rows.iter().map(|row| json!({
                "name": row.name, "count": row.count, "min": row.least, "p50": row.middle, "p99": row.most,
            })).collect::<Vec<_>>(),
            "ratios": self.ratios.iter().map(|ratio| json!({
                "of": ratio.of, "to": ratio.to, "value": ratio.value,
            })).collect::<Vec<_>>(),
        })
    }
}
