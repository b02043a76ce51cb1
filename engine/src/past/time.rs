//! Times as people write them in a path.

use fs_core::Timestamp;
use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// A time, and whether it is one that moves along with the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct When {
    pub(super) time: Timestamp,
    pub(super) moves: bool,
}

/// Units of times that count back from now, with their seconds.
const UNITS: [(char, i64); 5] =
    [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 7 * 86_400)];
const NS_PER_SECOND: i64 = 1_000_000_000;

/// `2026-11-24T10:00:00Z` and the like (RFC 3339), the same without an offset or down to the day in
/// local time, or back from now: `-2h`, `-1d12h`, `-90s`. `None`: not a time.
pub(super) fn parse(text: &[u8], now: Timestamp, zone: &TimeZone) -> Option<When> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(back) = text.strip_prefix('-') {
        let time = now.0.checked_sub(back_ns(back)?)?;
        return Some(When { time: Timestamp(time), moves: true });
    }
    let fixed = |time: jiff::Timestamp| {
        let time = Timestamp(i64::try_from(time.as_nanosecond()).ok()?);
        Some(When { time, moves: false })
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return fixed(time);
    }
    // A date alone is its first moment; an hour that the clock skips or repeats is the earlier one.
    let civil = match text.parse::<Date>() {
        Ok(date) if text.len() == "2026-11-24".len() => {
            date.to_datetime(jiff::civil::Time::midnight())
        }
        _ => text.parse::<DateTime>().ok().filter(|_| text.contains(['T', 't', ' ']))?,
    };
    fixed(zone.to_timestamp(civil).ok()?)
}

/// Nanoseconds of `1d12h`.
fn back_ns(text: &str) -> Option<i64> {
    let (mut total, mut digits) = (0_i64, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let (_, seconds) = UNITS.iter().find(|(unit, _)| *unit == letter)?;
        let count: i64 = digits.parse().ok()?;
        total = total.checked_add(count.checked_mul(*seconds)?)?;
        digits.clear();
    }
    (digits.is_empty() && !text.is_empty()).then(|| total.checked_mul(NS_PER_SECOND)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::offset;

    #[test]
    fn times_that_are_understood_and_others() {
        let zone = TimeZone::fixed(offset(2));
        let now = Timestamp(1_795_000_000_000_000_000);
        let at = |text: &str| parse(text.as_bytes(), now, &zone);
        let utc = |text: &str| {
            let time = text.parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64;
            Some(When { time: Timestamp(time), moves: false })
        };
        let ago = |seconds: i64| {
            Some(When { time: Timestamp(now.0 - seconds * NS_PER_SECOND), moves: true })
        };
        assert_eq!(at("2026-11-24T10:00:00Z"), utc("2026-11-24T10:00:00Z"));
        assert_eq!(at("2026-11-24T10:00:00.5+01:00"), utc("2026-11-24T09:00:00.5Z"));
        assert_eq!(at("2026-11-24T10:00"), utc("2026-11-24T08:00:00Z"));
        assert_eq!(at("2026-11-24T10:00:30"), utc("2026-11-24T08:00:30Z"));
        assert_eq!(at("2026-11-24 10:00"), utc("2026-11-24T08:00:00Z"));
        assert_eq!(at("2026-11-24"), utc("2026-11-23T22:00:00Z"));
        assert_eq!(at("-2h"), ago(7_200));
        assert_eq!(at("-1d12h"), ago(129_600));
        assert_eq!(at("-90s"), ago(90));
        assert_eq!(at("-3w"), ago(1_814_400));
        for wrong in
            ["", "-", "-2", "-h", "-2x", "2h", "yesterday", "2026-13-01", "2026-11", "--2h"]
        {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(at("-9223372036854775807w"), None);
        assert_eq!(parse(b"\xff\xfe", now, &zone), None);
    }
}
