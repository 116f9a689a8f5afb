//! Sizes, ages and cut-off text, in Docker's words.

/// Bytes in powers of 1000, three digits: `72.8MB`.
pub(crate) fn size(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut amount = bytes.max(0) as f64;
    let mut unit = 0;
    while amount >= 1000.0 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{}{}", three_digits(amount), UNITS[unit])
}

/// `%.3g` of a number from 0 to below 1000.
fn three_digits(amount: f64) -> String {
    let decimals = match amount {
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{amount:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Bytes in powers of 1024, as `info` prints memory: `23.4GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes.max(0) as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{}{}", three_digits(amount), UNITS[unit])
}

/// How long something lasted, in one rough unit.
pub(crate) fn span(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `3 minutes ago`; nothing is known of times before 1970.
pub(crate) fn ago(created: i64, now: i64) -> String {
    match created {
        ..1 => "N/A".to_owned(),
        _ => format!("{} ago", span(now - created)),
    }
}

/// At most `width` characters, the last an ellipsis where something was cut.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The twelve digits by which people know an ID.
pub(crate) fn short_id(id: &str) -> String {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, wanted) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234, "1.23kB"),
            (1_240_000, "1.24MB"),
            (72_800_000, "72.8MB"),
            (204_000_000, "204MB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(size(bytes), wanted);
        }
        assert_eq!(binary_size(25_165_824), "24MiB");
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, wanted) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (49 * 3600, "2 days"),
            (15 * 86_400, "2 weeks"),
            (70 * 86_400, "2 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(span(seconds), wanted, "{seconds}");
        }
        assert_eq!(ago(0, 100), "N/A");
        assert_eq!(ago(90, 100), "10 seconds ago");
    }

    #[test]
    fn what_is_cut_ends_in_an_ellipsis() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("longer text", 5), "long…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
