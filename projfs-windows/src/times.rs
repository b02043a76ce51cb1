//! Times: nanoseconds since 1970 here, ticks of 100 ns since 1601 on Windows (FILETIME).

use fs_core::Timestamp;

const TICK_NANOS: i64 = 100;
/// Ticks from 1601 to 1970 ("FILETIME structure", Microsoft).
const TICKS_TO_UNIX: i64 = 116_444_736_000_000_000;

/// Never below 1: to Windows 0 is "no time".
#[must_use]
pub fn to_ticks(time: Timestamp) -> i64 {
    time.0.div_euclid(TICK_NANOS).saturating_add(TICKS_TO_UNIX).max(1)
}

#[must_use]
pub fn from_ticks(ticks: i64) -> Timestamp {
    Timestamp(ticks.saturating_sub(TICKS_TO_UNIX).saturating_mul(TICK_NANOS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_to_the_tick() {
        for nanos in [0, 1_700_000_000_123_456_700, -1_000_000_000, 100] {
            assert_eq!(from_ticks(to_ticks(Timestamp(nanos))), Timestamp(nanos));
        }
        assert_eq!(to_ticks(Timestamp(0)), TICKS_TO_UNIX);
        assert_eq!(to_ticks(Timestamp(i64::MIN)), TICKS_TO_UNIX - i64::MAX / 100 - 1);
        assert_eq!(to_ticks(Timestamp(199)), to_ticks(Timestamp(100)));
    }
}
