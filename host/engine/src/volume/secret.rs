//! Secrets among a volume's options: cut out before anything is recorded or sent, kept in a table of
//! their own, and shown as `***`.
//!
//! A driver declares each one as an option of kind `Secret`. One that is called `o.password` is the
//! word `password=…` of the mount options in option `o`; the word is taken out of them. What a driver
//! gets is a number; the performer puts the value where the driver's plan names that number.

use std::collections::{BTreeMap, HashMap};

use bollard_stubs::models;
use longshore_core::driver::{OptionContent, OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_core::types::SecretRef;

use super::Volumes;
use crate::error::{Error, Result};

/// Longest secret: the limit of `fsconfig(2)` for a text.
const MOST: usize = 255;
/// What stands for a secret.
const SHOWN: &str = "***";

/// A volume's secrets by option, in the order of their numbers. Never shown, not even for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secrets(BTreeMap<String, Vec<u8>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl From<Vec<(String, Vec<u8>)>> for Secrets {
    fn from(rows: Vec<(String, Vec<u8>)>) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl Secrets {
    /// Which options they are.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The value of a number.
    pub(crate) fn get(&self, number: SecretRef) -> Option<Vec<u8>> {
        self.0.values().nth(usize::from(number.0)).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.0.iter()
    }
}

/// Options without their secrets, and the secrets.
pub(crate) fn cut(
    options: HashMap<String, String>,
    specs: &[OptionSpec],
) -> Result<(BTreeMap<String, String>, Secrets)> {
    let mut plain: BTreeMap<String, String> = options.into_iter().collect();
    let mut secrets = BTreeMap::new();
    let of_objects = |kind: OptionKind| {
        specs
            .iter()
            .filter(move |spec| spec.scope == OptionScope::Object && spec.kind == kind)
            .map(|spec| spec.name.as_str())
    };
    for name in of_objects(OptionKind::Secret) {
        let mut found: Vec<String> = plain.remove(name).into_iter().collect();
        if let Some((list, key)) = name.split_once('.')
            && of_objects(OptionKind::MountOptions).any(|option| option == list)
            && let Some(words) = plain.get_mut(list)
        {
            let is_secret = |word: &&str| word.split_once('=').is_some_and(|(k, _)| k.trim() == key);
            found.extend(
                words
                    .split(',')
                    .filter(is_secret)
                    .filter_map(|word| Some(word.split_once('=')?.1.to_owned())),
            );
            if !found.is_empty() {
                *words = words
                    .split(',')
                    .filter(|word| !is_secret(word))
                    .collect::<Vec<_>>()
                    .join(",");
            }
        }
        match found.as_slice() {
            [] => {}
            [one] if one.is_empty() => return Err(Error::invalid(format!("option {name}: the value is empty"))),
            [one] if one.len() > MOST || one.contains('\0') => {
                return Err(Error::invalid(format!(
                    "option {name}: the value is longer than {MOST} bytes, or holds a NUL byte"
                )));
            }
            [one] => drop(secrets.insert(name.to_owned(), one.clone().into_bytes())),
            _ => return Err(Error::invalid(format!("option {name} is given more than once"))),
        }
    }
    Ok((plain, Secrets(secrets)))
}

/// Options as a driver takes them.
pub(super) fn values(plain: &BTreeMap<String, String>, secrets: &[String]) -> Vec<OptionValue> {
    let numbered = secrets.iter().zip(0_u16..).map(|(name, number)| OptionValue {
        name: name.clone(),
        value: OptionContent::Secret(SecretRef(number)),
    });
    plain
        .iter()
        .map(|(name, value)| OptionValue::text(name, value))
        .chain(numbered)
        .collect()
}

/// Options as people see them.
pub(super) fn shown(plain: &BTreeMap<String, String>, secrets: &[String]) -> HashMap<String, String> {
    let mut shown: HashMap<String, String> = plain.clone().into_iter().collect();
    for name in secrets {
        match name
            .split_once('.')
            .and_then(|(list, key)| Some((shown.get_mut(list)?, key)))
        {
            Some((words, key)) => {
                if !words.is_empty() {
                    words.push(',');
                }
                words.push_str(&format!("{key}={SHOWN}"));
            }
            None => drop(shown.insert(name.clone(), SHOWN.to_owned())),
        }
    }
    shown
}

impl Volumes {
    /// Puts `***` for every secret in the volume options of a container's mounts: they were for making
    /// the volumes, and the container's record is shown.
    pub(crate) fn mask(&self, host: &mut models::HostConfig) -> Result<()> {
        let fallback = host.volume_driver.clone().filter(|name| !name.is_empty());
        for mount in host.mounts.iter_mut().flatten() {
            let Some(driver) = mount
                .volume_options
                .as_mut()
                .and_then(|options| options.driver_config.as_mut())
            else {
                continue;
            };
            let Some(options) = driver.options.take().filter(|options| !options.is_empty()) else {
                continue;
            };
            let name = driver.name.clone().filter(|name| !name.is_empty()).or(fallback.clone());
            let slot = self.drivers.volume(name.as_deref())?;
            let (plain, secrets) = cut(options, slot.options())?;
            driver.options = Some(shown(&plain, &secrets.names()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn specs() -> Vec<OptionSpec> {
        [
            ("o", OptionKind::MountOptions),
            ("o.password", OptionKind::Secret),
            ("key", OptionKind::Secret),
            ("device", OptionKind::Text),
        ]
        .into_iter()
        .map(|(name, kind)| OptionSpec {
            name: name.into(),
            kind,
            scope: OptionScope::Object,
            required: false,
            default: None,
            help: String::new(),
        })
        .collect()
    }

    fn options(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn secrets_are_cut_out_numbered_and_shown_as_stars() {
        let given = options(&[
            ("o", "username=u,password=a=b,vers=3"),
            ("key", "k"),
            ("device", "//h/s"),
        ]);
        let (plain, secrets) = cut(given, &specs()).unwrap();
        assert_eq!(plain["o"], "username=u,vers=3");
        assert_eq!(secrets.names(), ["key", "o.password"]);
        assert_eq!(secrets.get(SecretRef(1)).unwrap(), b"a=b");
        assert_eq!(secrets.get(SecretRef(2)), None);
        assert!(!format!("{secrets:?}").contains("a=b"));
        let values = values(&plain, &secrets.names());
        assert!(values.contains(&OptionValue {
            name: "o.password".into(),
            value: OptionContent::Secret(SecretRef(1))
        }));
        let shown = shown(&plain, &secrets.names());
        assert_eq!(shown["o"], "username=u,vers=3,password=***");
        assert_eq!(shown["key"], "***");
    }

    #[test]
    fn a_secret_that_is_wrong_is_refused_without_being_shown() {
        let long = "hunter2".repeat(50);
        for (given, why) in [
            (options(&[("o", "password=hunter2,password=hunter2")]), "more than once"),
            (
                options(&[("o", "password=hunter2"), ("o.password", "hunter2")]),
                "more than once",
            ),
            (options(&[("o", "password=")]), "empty"),
            (options(&[("key", &long)]), "longer than"),
        ] {
            let error = cut(given, &specs()).unwrap_err();
            assert!(
                error.message.contains(why) && !error.message.contains("hunter2"),
                "{error}"
            );
        }
    }
}
