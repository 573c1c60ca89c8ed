//! Wall time for windows and dates, boot time for leases and time-outs. Both in whole milliseconds.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::BootId;

/// Milliseconds since 1970-01-01T00:00:00Z by a host's wall clock, which may be wrong or step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub i64);

/// Milliseconds since boot, suspend included (`CLOCK_BOOTTIME`). Comparable only within one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootTime(pub u64);

/// The two clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Now {
    /// Judges windows and dates.
    pub wall: WallTime,
    /// Judges leases and time-outs.
    pub boot: BootTime,
}

/// A boot time that can be stored: it means something only while the boot id is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootInstant {
    /// The boot in which `at` was read.
    pub boot_id: BootId,
    /// Time since that boot.
    pub at: BootTime,
}

impl WallTime {
    /// The end of time: an opening without end closes here.
    pub const MAX: Self = Self(i64::MAX);

    /// Whole milliseconds of `duration` later, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration) as i64))
    }

    /// The instant as RFC 3339 in UTC with whole seconds and `Z`. Instants outside years 1 to 9999 are clamped.
    pub fn rfc3339(self) -> String {
        let clamped = self.0.div_euclid(1000).clamp(-62_135_596_800, 253_402_207_200);
        match jiff::Timestamp::from_second(clamped) {
            Ok(timestamp) => timestamp.to_string(),
            Err(_) => String::from("9999-12-30T22:00:00Z"),
        }
    }

    /// The instant as RFC 3339 in UTC with milliseconds and `Z`, for events.
    pub fn rfc3339_millis(self) -> String {
        let whole = self.rfc3339();
        format!("{}.{:03}Z", whole.trim_end_matches('Z'), self.0.rem_euclid(1000))
    }

    /// Parses RFC 3339 (any offset). `None` if `text` is something else.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|timestamp| Self(timestamp.as_millisecond()))
    }
}

impl BootTime {
    /// Whole milliseconds of `duration` later, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(i64::MAX as u64).min(i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_prints_and_parses_whole_seconds() {
        let time = WallTime::parse("2026-12-01T02:00:00+01:00").unwrap();
        assert_eq!(time.rfc3339(), "2026-12-01T01:00:00Z");
        assert_eq!(WallTime(time.0 + 7).rfc3339_millis(), "2026-12-01T01:00:00.007Z");
        assert_eq!(WallTime::parse("yesterday"), None);
    }

    #[test]
    fn the_end_of_time_prints_and_does_not_overflow() {
        assert_eq!(WallTime::MAX.plus(Duration::MAX), WallTime::MAX);
        assert!(WallTime::MAX.rfc3339().starts_with("9999-"));
    }
}
