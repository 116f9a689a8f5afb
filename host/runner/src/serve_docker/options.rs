//! Docker's options of a volume as a driver takes them: those that it lists, with secrets apart.

use std::collections::BTreeMap;

use longshore_core::driver::{ANY_OPTION, OptionContent, OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_core::error::{Error, Result};
use longshore_core::types::SecretRef;

/// Longest name or value.
const LONGEST: usize = 4096;
/// Longest secret: the limit of `fsconfig(2)` for a text.
const LONGEST_SECRET: usize = 255;

/// Options by name.
pub(super) type Texts = BTreeMap<String, String>;

/// Sorts options into plain ones and secrets. A secret that is called `o.password` is also the word
/// `password=…` in option `o`, and is taken out of it.
///
/// # Errors
/// `Invalid`, naming the option, never a secret's value.
pub(super) fn sort(mut given: Texts, specs: &[OptionSpec]) -> Result<(Texts, Texts)> {
    let known: Vec<&OptionSpec> = specs.iter().filter(|spec| spec.scope == OptionScope::Object).collect();
    let mut secrets = Texts::new();
    for spec in known.iter().filter(|spec| spec.kind == OptionKind::Secret) {
        let mut found: Vec<String> = given.remove(&spec.name).into_iter().collect();
        if let Some((list, key)) = spec.name.split_once('.')
            && let Some(words) = given.get_mut(list)
        {
            let value = |word: &str| {
                let (name, value) = word.split_once('=')?;
                (name.trim() == key).then(|| value.to_owned())
            };
            found.extend(words.split(',').filter_map(value));
            let rest: Vec<&str> = words.split(',').filter(|word| value(word).is_none()).collect();
            *words = rest.join(",");
        }
        let fine = |secret: &String| (1..=LONGEST_SECRET).contains(&secret.len()) && !secret.contains('\0');
        match found.as_slice() {
            [] => {}
            [one] if fine(one) => drop(secrets.insert(spec.name.clone(), one.clone())),
            [_] => {
                return Err(Error::invalid(format!(
                    "option {}: its value must have 1 to {LONGEST_SECRET} bytes and no NUL",
                    spec.name
                )));
            }
            _ => return Err(Error::invalid(format!("option {} is given more than once", spec.name))),
        }
    }
    for (name, value) in &given {
        if name.len() > LONGEST || value.len() > LONGEST {
            return Err(Error::invalid(format!(
                "an option's name or value is longer than {LONGEST} bytes"
            )));
        }
        if !known.iter().any(|spec| spec.name == *name || spec.name == ANY_OPTION) {
            let names: Vec<&str> = known.iter().map(|spec| spec.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "there is no option {:?}: the options are {}",
                name.chars().take(80).collect::<String>(),
                names.join(", ")
            )));
        }
    }
    Ok((given, secrets))
}

/// Sorted options, as a driver takes them: secrets as numbers in the order of their names.
pub(super) fn values(plain: &Texts, secrets: &Texts) -> Vec<OptionValue> {
    let numbered = secrets.keys().zip(0_u16..).map(|(name, number)| OptionValue {
        name: name.clone(),
        value: OptionContent::Secret(SecretRef(number)),
    });
    plain
        .iter()
        .map(|(name, value)| OptionValue::text(name, value))
        .chain(numbered)
        .collect()
}

/// The value of a secret's number.
pub(super) fn secret(secrets: &Texts, number: SecretRef) -> Option<Vec<u8>> {
    secrets
        .values()
        .nth(usize::from(number.0))
        .map(|value| value.clone().into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn specs() -> Vec<OptionSpec> {
        [
            ("o", OptionKind::MountOptions),
            ("o.password", OptionKind::Secret),
            ("device", OptionKind::HostPath),
        ]
        .map(|(name, kind)| OptionSpec {
            name: name.into(),
            kind,
            scope: OptionScope::Object,
            required: false,
            default: None,
            help: String::new(),
        })
        .to_vec()
    }

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_secret_among_mount_options_is_taken_out_of_them() {
        let given = texts(&[("o", "username=u,password=hunter2,vers=3"), ("device", "//h/s")]);
        let (plain, secrets) = sort(given, &specs()).unwrap();
        assert_eq!(plain, texts(&[("o", "username=u,vers=3"), ("device", "//h/s")]));
        assert_eq!(secret(&secrets, SecretRef(0)).unwrap(), b"hunter2");
        assert_eq!(secret(&secrets, SecretRef(1)), None);
        assert_eq!(values(&plain, &secrets).len(), 3);
    }

    #[test]
    fn what_a_driver_does_not_list_is_refused_and_no_secret_is_shown() {
        for (given, why) in [
            (texts(&[("hunter", "2")]), "the options are o, o.password, device"),
            (texts(&[("device", &"x".repeat(5000))]), "longer than"),
            (texts(&[("o", "password=hunter2,password=hunter2")]), "more than once"),
            (texts(&[("o.password", &"hunter2".repeat(50))]), "1 to 255 bytes"),
        ] {
            let error = sort(given, &specs()).unwrap_err();
            assert!(
                error.message.contains(why) && !error.message.contains("hunter2"),
                "{error}"
            );
        }
    }
}
