//! The driver's options: which features of the kernel's overlay its mounts use.

use longshore_plugin::driver::{OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_plugin::steps::{MountOption, OptionText};
use longshore_plugin::{Error, Result};

/// Features of overlay (Documentation/filesystems/overlayfs.rst). All are said in each mount, so
/// that the module's defaults do not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Copy up only metadata when only metadata changes.
    metacopy: bool,
    /// Rename directories of lower layers by a redirect.
    redirect_dir: bool,
    /// Keep hard links whole over a copy-up.
    index: bool,
}

const NAMES: [(&str, &str); 3] = [
    (
        "metacopy",
        "copy up only metadata when only metadata changes; native changes are then not to be had",
    ),
    (
        "redirect_dir",
        "rename directories of lower layers in place; native changes are then not to be had",
    ),
    ("index", "keep hard links whole when a file is copied up"),
];

/// The options as the host lists them.
pub(crate) fn specs() -> Vec<OptionSpec> {
    NAMES
        .iter()
        .map(|(name, help)| OptionSpec {
            name: (*name).into(),
            kind: OptionKind::Flag,
            scope: OptionScope::Driver,
            required: false,
            default: Some("false".into()),
            help: (*help).into(),
        })
        .collect()
}

impl Options {
    pub(crate) fn read(values: &[OptionValue]) -> Result<Self> {
        let mut options = Self::default();
        for option in values {
            let flag = match option.as_text() {
                Some("true" | "on") => true,
                Some("false" | "off") => false,
                _ => {
                    return Err(Error::invalid(format!(
                        "overlay option {} must be true or false",
                        option.name
                    )));
                }
            };
            match option.name.as_str() {
                "metacopy" => options.metacopy = flag,
                "redirect_dir" => options.redirect_dir = flag,
                "index" => options.index = flag,
                other => {
                    return Err(Error::invalid(format!(
                        "overlay has no option {other}; it has metacopy, redirect_dir and index"
                    )));
                }
            }
        }
        Ok(options)
    }

    /// Whether a layer's folder holds exactly its difference. A metadata-only copy or a redirect
    /// refers to lower layers by attributes that mean nothing outside the mount.
    pub(crate) fn plain_differences(self) -> bool {
        !self.metacopy && !self.redirect_dir
    }

    /// The mount options of a writable overlay.
    pub(crate) fn for_mount(self) -> Vec<MountOption> {
        let text = |on: bool| OptionText::Text(if on { "on" } else { "off" }.into());
        [
            ("metacopy", self.metacopy),
            ("redirect_dir", self.redirect_dir),
            ("index", self.index),
        ]
        .into_iter()
        .map(|(key, on)| MountOption {
            key: key.into(),
            value: text(on),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn options_are_flags_and_unknown_ones_are_named() {
        assert!(Options::read(&[OptionValue::text("metacopy", "on")]).unwrap().metacopy);
        assert!(
            !Options::read(&[OptionValue::text("metacopy", "on")])
                .unwrap()
                .plain_differences()
        );
        let error = Options::read(&[OptionValue::text("size", "1")]).unwrap_err();
        assert!(error.message.contains("size must be true") || error.message.contains("no option size"));
        assert!(Options::read(&[OptionValue::text("index", "maybe")]).is_err());
    }
}
