//! An image's config: its raw bytes are the image, what is read out of them is here.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Largest config in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// What the engine reads of an OCI image config (image-spec, config.md). Everything else stays in
/// the raw bytes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ImageFile {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<RunConfig>,
    pub(crate) rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<History>,
}

/// The layers that an image is made of.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type", default)]
    pub(crate) typ: String,
    #[serde(default)]
    pub(crate) diff_ids: Vec<String>,
}

/// How a container of the image runs unless it is told otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<HashMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

/// One line of an image's history.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_layer: bool,
}

impl ImageFile {
    /// Reads a config.
    ///
    /// # Errors
    /// `Invalid`, with the place, for what is no image config.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self> {
        // serde_json stops at a depth of 128 by itself.
        let file: Self = serde_json::from_slice(raw)
            .map_err(|e| Error::invalid(format!("the image's config is not an image config: {e}")))?;
        Ok(file)
    }

    /// The run settings, empty where there are none.
    pub(crate) fn run(&self) -> RunConfig {
        self.config.clone().unwrap_or_default()
    }
}

impl RunConfig {
    /// Applies one `--change` of `import`: the Dockerfile instructions that touch no layer.
    ///
    /// # Errors
    /// `Invalid` for an instruction that is not one of these.
    pub(crate) fn change(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        let list = |text: &str| -> Vec<String> {
            serde_json::from_str(text).unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
        };
        let pair = |text: &str| -> Result<(String, String)> {
            text.split_once('=')
                .or_else(|| text.split_once(char::is_whitespace))
                .map(|(key, value)| (key.to_owned(), value.trim().trim_matches('"').to_owned()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| Error::invalid(format!("--change {line:?} needs a name and a value")))
        };
        match word.to_ascii_uppercase().as_str() {
            _ if rest.is_empty() => return Err(Error::invalid(format!("--change {line:?} has no value"))),
            "CMD" => self.cmd = Some(list(rest)),
            "ENTRYPOINT" => self.entrypoint = Some(list(rest)),
            "USER" => self.user = Some(rest.to_owned()),
            "WORKDIR" => self.working_dir = Some(rest.to_owned()),
            "STOPSIGNAL" => self.stop_signal = Some(rest.to_owned()),
            "ENV" => {
                let (key, value) = pair(rest)?;
                self.env.get_or_insert_default().push(format!("{key}={value}"));
            }
            "LABEL" => {
                let (key, value) = pair(rest)?;
                self.labels.get_or_insert_default().insert(key, value);
            }
            "VOLUME" => {
                let names: Vec<String> =
                    serde_json::from_str(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect());
                let volumes = self.volumes.get_or_insert_default();
                volumes.extend(names.into_iter().map(|name| (name, serde_json::json!({}))));
            }
            "EXPOSE" => {
                let ports = self.exposed_ports.get_or_insert_default();
                ports.extend(rest.split_whitespace().map(|port| {
                    let port = if port.contains('/') {
                        port.to_owned()
                    } else {
                        format!("{port}/tcp")
                    };
                    (port, serde_json::json!({}))
                }));
            }
            other => {
                return Err(Error::invalid(format!("{other} is not a valid --change instruction"))
                    .hint("valid are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn changes_set_what_a_dockerfile_would() {
        let mut run = RunConfig::default();
        for line in [
            "CMD [\"a\",\"b\"]",
            "env A=1",
            "WORKDIR /x",
            "VOLUME /a /b",
            "EXPOSE 80",
            "LABEL k=v",
        ] {
            run.change(line).unwrap();
        }
        assert_eq!(run.cmd.unwrap(), ["a", "b"]);
        assert_eq!(run.env.unwrap(), ["A=1"]);
        assert_eq!(run.volumes.unwrap().len(), 2);
        assert!(run.exposed_ports.unwrap().contains_key("80/tcp"));
        for bad in ["RUN x", "CMD", "ENV =", ""] {
            assert!(RunConfig::default().change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_config_without_layers_is_not_one() {
        assert!(ImageFile::parse(b"{}").is_err());
        assert!(ImageFile::parse(b"[]").is_err());
        assert!(ImageFile::parse(br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#).is_ok());
    }
}
