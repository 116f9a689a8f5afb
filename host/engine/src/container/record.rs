//! A container's record: what its row holds.

use std::collections::BTreeMap;

use bollard_stubs::models;
use longshore_core::graph::LayerRef;
use longshore_core::types::{LayerId, Note};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::store::ContainerRow;

/// Everything that is kept of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    /// The boot in which it was made: files of it that are not there were lost in a power cut when it
    /// is another one, and never written when it is this one.
    #[serde(default)]
    pub(crate) boot: String,
    /// What the user called the image.
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// The chain ID of the image's topmost layer.
    pub(crate) chain: Option<String>,
    /// The graph driver that holds its layer; it stays there.
    pub(crate) driver: String,
    pub(crate) layer: String,
    pub(crate) note: Vec<u8>,
    pub(crate) exec_driver: String,
    pub(crate) network: String,
    /// Docker's config, the image's settings merged in.
    pub(crate) config: models::ContainerConfig,
    pub(crate) host: models::HostConfig,
    /// What is run: entry and arguments.
    pub(crate) args: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    /// How it ended last.
    pub(crate) ended: Option<Ended>,
    /// When it was started last.
    pub(crate) started: Option<String>,
    /// Why the last start failed.
    pub(crate) error: Option<String>,
}

/// One mount of a container.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Mount {
    pub(crate) target: String,
    pub(crate) source: MountSource,
    pub(crate) read_only: bool,
    pub(crate) propagation: Option<String>,
    /// A path below the volume's root.
    pub(crate) subpath: Option<String>,
    /// Whether an empty volume takes the image's content.
    pub(crate) copy_up: bool,
}

/// What is mounted.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) enum MountSource {
    /// A path of the host that the user wrote. `make`: a missing one is made, as `-v` has it and
    /// `--mount` has not.
    Bind {
        path: String,
        #[serde(default)]
        make: bool,
    },
    /// A volume; anonymous ones go with the container.
    Volume { name: String, anonymous: bool },
    /// A file system in memory, with mount options by name.
    Tmpfs(BTreeMap<String, String>),
}

/// How a container ended.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: i64,
    pub(crate) oom: bool,
    /// RFC 3339, UTC.
    pub(crate) at: String,
}

impl Record {
    pub(crate) fn from_row(row: &ContainerRow) -> Result<Self> {
        Ok(serde_json::from_str(&row.doc)?)
    }

    pub(crate) fn to_row(&self, id: &str) -> Result<ContainerRow> {
        Ok(ContainerRow {
            id: id.to_owned(),
            name: self.name.clone(),
            doc: serde_json::to_string(self)?,
        })
    }

    /// The reference of its layer.
    pub(crate) fn layer_ref(&self) -> Result<LayerRef> {
        Ok(LayerRef {
            id: LayerId::parse(self.layer.clone())?,
            note: Note::parse(self.note.clone())?,
        })
    }

    pub(crate) fn auto_remove(&self) -> bool {
        self.host.auto_remove.unwrap_or(false)
    }

    pub(crate) fn tty(&self) -> bool {
        self.config.tty.unwrap_or(false)
    }

    pub(crate) fn open_stdin(&self) -> bool {
        self.config.open_stdin.unwrap_or(false)
    }
}
