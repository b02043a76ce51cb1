//! Small pieces of text: sizes, ages, counts, paths.

use protocol::control::PathText;
use std::time::Duration;

/// `41 MB`, as disks and file managers count (powers of 1,000).
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        value /= 1_000.0;
        unit = next;
        if value < 999.5 {
            break;
        }
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `12 s`, `3 min`, `2 h`, `5 days`.
pub(crate) fn age(span: Duration) -> String {
    match span.as_secs() {
        0 => "1 s".into(),
        secs @ 1..=119 => format!("{secs} s"),
        secs @ 120..=7_199 => format!("{} min", secs / 60),
        secs @ 7_200..=172_799 => format!("{} h", secs / 3_600),
        secs => format!("{} days", secs / 86_400),
    }
}

/// `1 file`, `3 files`, `12,345 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A path for people: control characters and bytes that are not UTF-8 are escaped, so that a name can
/// neither move the cursor nor pretend to be another line.
pub(crate) fn path(path: &PathText) -> String {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return ".".into();
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Local time from nanoseconds since 1970.
pub(crate) fn time(nanos: i64) -> String {
    let Ok(stamp) = jiff::Timestamp::from_nanosecond(i128::from(nanos)) else {
        return format!("{nanos} ns since 1970");
    };
    stamp.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (9_960, "10 kB"),
            (41_000_000, "41 MB"),
            (999_600, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn ages_and_counts() {
        assert_eq!(age(Duration::from_millis(12)), "1 s");
        assert_eq!(age(Duration::from_secs(12)), "12 s");
        assert_eq!(age(Duration::from_secs(200)), "3 min");
        assert_eq!(age(Duration::from_secs(7_300)), "2 h");
        assert_eq!(age(Duration::from_secs(900_000)), "10 days");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1_234_567, "file", "files"), "1,234,567 files");
    }

    #[test]
    fn paths_cannot_play_tricks() {
        assert_eq!(path(&PathText::Text(String::new())), ".");
        assert_eq!(path(&PathText::Text("a/bü".into())), "a/bü");
        assert_eq!(
            path(&PathText::from_bytes(b"a\nb\x1b[0m\xff".to_vec())),
            "a\\nb\\u{1b}[0m\\xff"
        );
    }
}
