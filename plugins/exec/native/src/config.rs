//! The driver's options: none.

use longshore_plugin::driver::{OptionSpec, OptionValue};
use longshore_plugin::{Error, Result};

pub(crate) fn specs() -> Vec<OptionSpec> {
    Vec::new()
}

/// Refuses any option.
pub(crate) fn check(given: &[OptionValue]) -> Result<()> {
    match given.first() {
        Some(option) => Err(Error::invalid(format!(
            "exec driver native has no option {}",
            option.name
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_refused_by_name() {
        assert!(check(&[]).is_ok());
        let error = check(&[OptionValue::text("systemd", "true")]);
        assert!(error.is_err_and(|e| e.message.contains("systemd")));
    }
}
