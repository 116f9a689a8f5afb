//! Amounts: bytes as Docker writes them, and processors.

use crate::error::{Failure, Result};

/// Bytes: digits, perhaps a fraction, and a unit of `b k m g t p`, all powers of 1024.
pub(crate) fn bytes(flag: &str, text: &str) -> Result<i64> {
    let wrong =
        || Failure::usage(format!("{flag} {text:?} is not a size")).hint("write digits and a unit, as 512m or 2g");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.strip_prefix(' ') {
        Some("") => return Err(wrong()),
        Some(unit) => unit.to_ascii_lowercase(),
        None => unit.to_ascii_lowercase(),
    };
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 1,
        "m" | "mb" | "mi" | "mib" => 2,
        "g" | "gb" | "gi" | "gib" => 3,
        "t" | "tb" | "ti" | "tib" => 4,
        "p" | "pb" | "pi" | "pib" => 5,
        _ => return Err(wrong()),
    };
    if number.is_empty() || !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let scale = 1024_i64.pow(power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale).ok_or_else(|| too_large(flag, text));
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let amount = number * scale as f64;
    if amount >= i64::MAX as f64 {
        return Err(too_large(flag, text));
    }
    Ok(amount as i64)
}

fn too_large(flag: &str, text: &str) -> Failure {
    Failure::usage(format!("{flag} {text:?} is more than can be counted"))
}

/// Processors as billionths, exactly.
pub(crate) fn processors(text: &str) -> Result<i64> {
    let wrong = || {
        Failure::usage(format!("--cpus {text:?} is not a number of processors"))
            .hint("write a number as 2 or 0.5, with at most nine digits after the point")
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let billionths: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(billionths))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, wanted) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32 kB", 32 << 10),
            ("32KiB", 32 << 10),
            ("32.5k", 33_280),
            ("32m", 32 << 20),
            ("1.5g", 1_610_612_736),
            ("1t", 1 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(bytes("-m", text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "hello",
            "-32",
            ".5k",
            " 32",
            "32 ",
            "32mm",
            "32.5.5k",
            "1e",
            "9999999999g",
            "32k b",
        ] {
            assert!(bytes("-m", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn processors_are_exact() {
        for (text, wanted) in [
            ("2", 2_000_000_000),
            ("0.5", 500_000_000),
            (".25", 250_000_000),
            ("1.123456789", 1_123_456_789),
            ("0", 0),
        ] {
            assert_eq!(processors(text).unwrap(), wanted, "{text}");
        }
        for text in ["", ".", "-1", "1.1234567891", "two", "1,5", "99999999999"] {
            assert!(processors(text).is_err(), "{text:?}");
        }
    }
}
