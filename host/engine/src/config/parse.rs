//! One file's text to a [`Config`]: every key known, every value of its type, errors with their
//! place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_loader::Isolation;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Config, KindConfig, PluginConfig};
use crate::error::{Error, Result};

const SECTIONS: [&str; 6] = ["graph", "volume", "exec", "network", "plugin", "engine"];
const PLUGIN_KEYS: [&str; 3] = ["path", "isolation", "grants"];

struct Source<'a>(&'a str);

/// Parses the text of one file.
///
/// # Errors
/// `Invalid` with line and column, and the nearest key that is known.
pub fn parse(text: &str) -> Result<Config> {
    let source = Source(text);
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.error(at, error.message().lines().next().unwrap_or("cannot be parsed"))
    })?;
    let mut config = Config::default();
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        let table = value
            .get_ref()
            .as_table()
            .ok_or_else(|| source.error(value.span().start, &format!("`{name}` must be a table, as in [{name}]")));
        match name {
            "graph" => config.graph = source.kind(name, "driver", table?)?,
            "volume" => config.volume = source.kind(name, "driver", table?)?,
            "exec" => config.exec = source.kind(name, "driver", table?)?,
            "network" => config.network = source.kind(name, "default", table?)?,
            "plugin" => config.plugins = source.plugins(table?)?,
            "engine" => config.record = source.engine(table?)?,
            _ => return Err(source.unknown(key, "section", SECTIONS.as_slice())),
        }
    }
    Ok(config)
}

impl Source<'_> {
    fn error(&self, at: usize, what: &str) -> Error {
        let before = self.0.get(..at).unwrap_or(self.0);
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
        Error::invalid(format!("line {line}, column {column}: {what}"))
    }

    fn unknown(&self, key: &Spanned<DeString<'_>>, what: &str, known: &[&str]) -> Error {
        let name = key.get_ref();
        let error = self.error(key.span().start, &format!("unknown {what} `{name}`"));
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
            .min()
            .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(2));
        match nearest {
            Some((_, candidate)) => error.hint(format!("did you mean `{candidate}`?")),
            None => error.hint(format!("known are {}", known.join(", "))),
        }
    }

    /// `[engine]`.
    fn engine(&self, table: &DeTable<'_>) -> Result<Option<PathBuf>> {
        let mut record = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "record" => {
                    let path = PathBuf::from(self.text("record", value)?);
                    if !path.is_absolute() {
                        return Err(self.error(value.span().start, "`record` must be an absolute path"));
                    }
                    record = Some(path);
                }
                _ => return Err(self.unknown(key, "key in [engine]", &["record"])),
            }
        }
        Ok(record)
    }

    /// `[kind]` with its one key, and `[kind.<driver>]` with the driver's options, which the driver
    /// itself checks when it is opened.
    fn kind(&self, kind: &str, choice: &str, table: &DeTable<'_>) -> Result<KindConfig> {
        let mut section = KindConfig::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(options) => {
                    section.options.insert(name.to_owned(), self.options(options)?);
                }
                _ if name == choice => section.driver = Some(self.text(&format!("{kind}.{choice}"), value)?),
                _ => return Err(self.unknown(key, &format!("key in [{kind}]"), &[choice])),
            }
        }
        Ok(section)
    }

    fn options(&self, table: &DeTable<'_>) -> Result<BTreeMap<String, String>> {
        table
            .iter()
            .map(|(key, value)| {
                let text = match value.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Boolean(flag) => flag.to_string(),
                    DeValue::Integer(number) => number.to_string(),
                    _ => {
                        return Err(self.error(
                            value.span().start,
                            &format!("`{}` must be a text, a whole number, true or false", key.get_ref()),
                        ));
                    }
                };
                Ok((key.get_ref().to_string(), text))
            })
            .collect()
    }

    fn plugins(&self, table: &DeTable<'_>) -> Result<BTreeMap<String, PluginConfig>> {
        let mut plugins = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let kind = name.split_once('-').map(|(kind, _)| kind);
            if !kind.is_some_and(|kind| SECTIONS[..4].contains(&kind)) {
                return Err(self
                    .error(key.span().start, &format!("`{name}` is not <kind>-<name>"))
                    .hint("kinds are graph, volume, exec, network; as in [plugin.graph-overlay]"));
            }
            let Some(keys) = value.get_ref().as_table() else {
                return Err(self.error(value.span().start, &format!("`plugin.{name}` must be a table")));
            };
            let mut plugin = PluginConfig::default();
            for (key, value) in keys {
                match key.get_ref().as_ref() {
                    "path" => plugin.path = Some(PathBuf::from(self.text("path", value)?)),
                    "isolation" => plugin.isolation = Some(self.isolation(kind, value)?),
                    "grants" => plugin.grants = self.texts("grants", value)?,
                    _ => return Err(self.unknown(key, &format!("key in [plugin.{name}]"), &PLUGIN_KEYS)),
                }
            }
            plugins.insert(name, plugin);
        }
        Ok(plugins)
    }

    fn isolation(&self, kind: Option<&str>, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let text = self.text("isolation", value)?;
        let at = value.span().start;
        match Isolation::parse(&text) {
            None => Err(self
                .error(at, &format!("isolation {text:?} is not available"))
                .hint(format!("it is one of {}", Isolation::WORDS.join(", ")))),
            Some(Isolation::Process | Isolation::Wasm) if kind == Some("exec") => Err(self
                .error(at, &format!("isolation {text:?} is not for drivers of kind exec"))
                .hint("each container's shim loads them: isolation = \"in-process\"")),
            Some(_) => Ok(text),
        }
    }

    fn text(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String> {
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(self.error(value.span().start, &format!("`{name}` is empty"))),
            None => Err(self.error(value.span().start, &format!("`{name}` must be a text in quotes"))),
        }
    }

    fn texts(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>> {
        let Some(list) = value.get_ref().as_array() else {
            return Err(self.error(value.span().start, &format!("`{name}` must be a list of texts")));
        };
        list.iter().map(|item| self.text(name, item)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_full_example_is_understood() {
        let config = parse(
            "[graph]\ndriver = \"vfs\"\n[graph.overlay]\nmetacopy = true\nn = 3\n[network]\ndefault = \"host\"\n\
             [plugin.graph-mine]\npath = \"/x.so\"\nisolation = \"in-process\"\ngrants = [\"fs:overlay\"]\n",
        )
        .unwrap();
        assert_eq!(config.graph.driver.as_deref(), Some("vfs"));
        assert_eq!(config.graph.options["overlay"]["metacopy"], "true");
        assert_eq!(config.network.driver.as_deref(), Some("host"));
        assert_eq!(config.plugins["graph-mine"].grants, ["fs:overlay"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_the_nearest_key() {
        for (text, message, hint) in [
            (
                "[graf]\n",
                "line 1, column 2: unknown section `graf`",
                "did you mean `graph`?",
            ),
            (
                "\n[graph]\ndrivr = \"x\"\n",
                "line 3, column 1: unknown key in [graph] `drivr`",
                "did you mean `driver`?",
            ),
            (
                "[network]\ndriver = \"x\"\n",
                "line 2, column 1: unknown key in [network] `driver`",
                "known are default",
            ),
            (
                "[graph]\ndriver = 3\n",
                "line 2, column 10: `graph.driver` must be a text in quotes",
                "",
            ),
            (
                "[graph]\ndriver = \"\"\n",
                "line 2, column 10: `graph.driver` is empty",
                "",
            ),
            (
                "graph = 1\n",
                "line 1, column 9: `graph` must be a table, as in [graph]",
                "",
            ),
            (
                "[plugin.foo]\n",
                "line 1, column 9: `foo` is not <kind>-<name>",
                "kinds are",
            ),
            (
                "[plugin.graph-x]\nisolation = \"jail\"\n",
                "line 2, column 13: isolation \"jail\" is not available",
                "it is one of in-process, process, wasm",
            ),
            (
                "[plugin.exec-x]\nisolation = \"process\"\n",
                "line 2, column 13: isolation \"process\" is not for drivers of kind exec",
                "each container's shim",
            ),
            (
                "[engine]\nrecord = \"calls\"\n",
                "line 2, column 10: `record` must be an absolute path",
                "",
            ),
            (
                "[plugin.graph-x]\npaht = \"x\"\n",
                "line 2, column 1: unknown key in [plugin.graph-x] `paht`",
                "did you mean `path`?",
            ),
            (
                "[graph.overlay]\nx = [1]\n",
                "line 2, column 5: `x` must be a text, a whole number, true or false",
                "",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.message, message);
            assert!(
                error.hint.as_deref().unwrap_or_default().starts_with(hint),
                "{:?}",
                error.hint
            );
        }
        assert!(parse("[graph\n").unwrap_err().message.starts_with("line 1, column"));
    }
}
