//! Limits that hold at certain hours of the day, by the clock of this device.

use crate::config::Size;
use jiff::civil::Time;
use serde::Deserialize;

/// From `from` until just before `to`, every day; over midnight if `to` is not later.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    from: Clock,
    to: Clock,
    /// Bytes a second; absent: as fast as it goes.
    pub(crate) limit: Option<Size>,
}

/// `08:30`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Clock(Time);

impl TryFrom<String> for Clock {
    type Error = String;

    fn try_from(text: String) -> Result<Clock, String> {
        let wrong = || format!("`{text}` is not an hour of the day; write it like 08:30");
        Time::strptime("%H:%M", &text).map(Clock).map_err(|_| wrong())
    }
}

impl Hours {
    fn has(&self, now: Time) -> bool {
        let (from, to) = (self.from.0, self.to.0);
        if from < to { from <= now && now < to } else { from <= now || now < to }
    }
}

/// The limit that holds at `now`: of the first hours that have it, or else `always`.
pub(crate) fn limit_at(always: Option<Size>, hours: &[Hours], now: Time) -> Option<Size> {
    hours.iter().find(|hours| hours.has(now)).map_or(always, |hours| hours.limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    fn hours(from: &str, to: &str, limit: Option<u64>) -> Hours {
        let clock = |text: &str| Clock::try_from(text.to_owned()).unwrap();
        Hours { from: clock(from), to: clock(to), limit: limit.map(Size) }
    }

    #[test]
    fn the_first_hours_that_fit_count() {
        let plan = [hours("08:00", "18:00", Some(5)), hours("22:30", "06:00", None)];
        let at = |hour, minute| limit_at(Some(Size(9)), &plan, time(hour, minute, 0, 0));
        assert_eq!(at(7, 59), Some(Size(9)));
        assert_eq!(at(8, 0), Some(Size(5)));
        assert_eq!(at(17, 59), Some(Size(5)));
        assert_eq!(at(18, 0), Some(Size(9)));
        assert_eq!([at(22, 30), at(0, 0), at(5, 59)], [None; 3]);
        assert_eq!(at(6, 0), Some(Size(9)));
    }

    #[test]
    fn the_same_hour_twice_is_the_whole_day() {
        let plan = [hours("00:00", "00:00", Some(5))];
        assert_eq!(limit_at(None, &plan, time(13, 0, 0, 0)), Some(Size(5)));
    }

    #[test]
    fn what_is_no_hour_is_refused() {
        for text in ["", "8", "25:00", "08:60", "noon"] {
            assert!(Clock::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
