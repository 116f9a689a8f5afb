//! Times and whiles: `--since 10m`, RFC 3339, seconds; and how times are printed.

use crate::error::{Failure, Result};

const DAY: i64 = 86_400;

/// Seconds since 1970 of `--since` and `--until`, with a fraction where one is given.
pub(crate) fn moment(flag: &str, text: &str, now: i64) -> Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let seconds = text.trim_start_matches('-');
    if !seconds.is_empty() && seconds.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Ok(text.to_owned());
    }
    if let Some(ago) = duration(text) {
        return Ok((now - ago as i64).to_string());
    }
    rfc3339(text).map(|time| time.to_string()).ok_or_else(|| {
        Failure::usage(format!("{flag} {text:?} is neither a time nor a while"))
            .hint("write 2026-01-02T15:04:05Z, or 10m")
    })
}

/// Seconds of a while as Go writes it: `1h30m`, `1.5s`, `10ms`.
pub(crate) fn duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// Seconds since 1970 of a date, or of a date and time; without a zone it is UTC.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let mut date = date.split('-');
    let year: i64 = date.next()?.parse().ok()?;
    let month: i64 = date.next()?.parse().ok()?;
    let day: i64 = date.next()?.parse().ok()?;
    let sane = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || date.next().is_some() {
        return None;
    }
    let (clock, offset) = zone(time)?;
    let clock = clock.split_once('.').map_or(clock, |(clock, _)| clock);
    let mut parts = clock.split(':').map(str::parse::<i64>);
    let hours = parts.next()?.ok()?;
    let minutes = parts.next()?.ok()?;
    let seconds = parts.next().unwrap_or(Ok(0)).ok()?;
    let sane = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..=60).contains(&seconds);
    if !sane || parts.next().is_some() {
        return None;
    }
    Some(days(year, month, day) * DAY + hours * 3600 + minutes * 60 + seconds - offset)
}

/// The clock, and the seconds that the zone is ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    let sign = if time[at..].starts_with('-') { -1 } else { 1 };
    Some((&time[..at], sign * seconds))
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `2026-01-02 15:04:05 +0000 UTC`, as Docker prints times.
pub(crate) fn date(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{:02} {:02}:{:02}:{:02} +0000 UTC",
        of_year - (153 * shifted + 2) / 5 + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Seconds since 1970, now.
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn dates_are_counted_in_seconds() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-01-02T15:04:05.123456789Z", 1_767_366_245),
            ("2026-01-02T15:04:05+01:00", 1_767_362_645),
            ("2026-01-02", 1_767_312_000),
        ] {
            assert_eq!(rfc3339(text), Some(wanted), "{text}");
            assert_eq!(rfc3339(&date(wanted)[..19]), Some(wanted));
        }
        for text in ["", "yesterday", "2026-13-01", "2026-01-02T25:00:00Z", "2026-01-02T1"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_printed_as_docker_prints_it() {
        assert_eq!(date(951_825_600), "2000-02-29 12:00:00 +0000 UTC");
        assert_eq!(date(-1), "1969-12-31 23:59:59 +0000 UTC");
    }

    #[test]
    fn a_while_counts_back_from_now() {
        for (text, wanted) in [("10m", "400"), ("1h30m", "-4400"), ("1.5s", "999"), ("7", "7")] {
            assert_eq!(moment("--since", text, 1000).unwrap(), wanted);
        }
        assert_eq!(moment("--since", "1970-01-01T00:01:00Z", 0).unwrap(), "60");
        assert!(moment("--since", "soon", 0).is_err());
    }
}
