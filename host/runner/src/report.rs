//! What is printed: text for people, one JSON object for scripts.

use std::io::Write;
use std::path::Path;

use longshore_core::driver::Description;
use longshore_loader::Checked;
use serde_json::{Value, json};

use crate::Failure;

/// The answer, ready to print.
pub(crate) struct Report {
    accepted: bool,
    text: String,
    json: Value,
}

impl Report {
    pub(crate) fn refused(file: &Path, failure: Failure) -> Self {
        let (problem, sentence) = match failure {
            Failure::Refused(refused) => (format!("{:?}", refused.problem), refused.to_string()),
            Failure::Misbehaves(what) => (
                "Misbehaves".to_owned(),
                format!("{}: {what}; report it to the driver's author", file.display()),
            ),
        };
        Self {
            accepted: false,
            json: json!({ "accepted": false, "file": file, "problem": problem, "error": sentence }),
            text: sentence,
        }
    }

    pub(crate) fn inspected(checked: &Checked) -> Self {
        let manifest = checked.manifest();
        let (from, to) = manifest.kinds.first().map_or((0, 0), |range| (range.from, range.to));
        let versions = if from == to {
            from.to_string()
        } else {
            format!("{from} to {to}")
        };
        let rows = [
            ("file", checked.path().display().to_string()),
            ("size", format!("{} bytes", checked.size())),
            ("sha256", checked.digest()),
            ("interface", format!("{} {versions}", manifest.kind())),
            (
                "built for",
                format!("{}, with longshore-core {}", manifest.target, manifest.core),
            ),
            ("transports", list(&manifest.transports)),
            ("grants", list(&manifest.grants)),
            ("programs", list(&manifest.programs)),
        ];
        let mut text = format!("{} driver {} {}\n", manifest.kind(), manifest.name, manifest.version);
        for (name, value) in rows {
            text += &format!("  {name:<11} {value}\n");
        }
        Self {
            accepted: true,
            text,
            json: json!({
                "accepted": true,
                "file": checked.path(),
                "size": checked.size(),
                "sha256": checked.digest(),
                "manifest": manifest,
            }),
        }
    }

    /// The same, of a driver that was loaded and is what it says.
    pub(crate) fn verified(mut self, description: &Description) -> Self {
        let options: Vec<_> = description.options.iter().map(|option| option.name.clone()).collect();
        let rows = [
            ("aliases", list(&description.aliases)),
            ("options", list(&options)),
            ("concurrency", description.concurrency.to_string()),
        ];
        for (name, value) in rows {
            self.text += &format!("  {name:<11} {value}\n");
        }
        self.text += "verified: whole file, readable manifest, loads here, describes itself as its manifest says\n";
        if let Some(object) = self.json.as_object_mut() {
            object.insert("verified".into(), true.into());
            object.insert(
                "description".into(),
                serde_json::to_value(description).unwrap_or_default(),
            );
        }
        self
    }

    /// Prints it; whether the plugin was accepted. A closed pipe is no failure of the plugin.
    pub(crate) fn print(&self, json: bool) -> bool {
        let _ = if json {
            writeln!(std::io::stdout(), "{:#}", self.json)
        } else if self.accepted {
            write!(std::io::stdout(), "{}", self.text)
        } else {
            writeln!(std::io::stderr(), "longshore-runner: {}", self.text)
        };
        self.accepted
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "none".into()
    } else {
        words.join(", ")
    }
}
