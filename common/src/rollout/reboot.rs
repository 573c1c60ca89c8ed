//! When a host reboots, and what follows from a time for that.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{schedule::Opening, time::WallTime};

/// When a host reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RebootOption {
    /// Never; a pending reboot is reported.
    Never,
    /// If a package asked for it.
    IfNeeded,
    /// If a package asked for it, and not before this instant; at once if that has passed. In documents whole seconds, RFC 3339.
    At(#[serde(with = "instant")] WallTime),
}

impl RebootOption {
    /// Whether a host reboots if a package asked for it.
    pub fn reboots(self) -> bool {
        self != Self::Never
    }

    /// The instant before which no host reboots, if there is one.
    pub fn at(self) -> Option<WallTime> {
        match self {
            Self::At(at) => Some(at),
            Self::Never | Self::IfNeeded => None,
        }
    }

    /// What is left at `now` until a host may reboot; zero if it may.
    pub fn wait(self, now: WallTime) -> Duration {
        let left = self.at().map_or(0, |at| at.0.saturating_sub(now.0));
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// When the last of `openings` closes, if no host could reboot in any of them: the time for it is not before that. `None` also
    /// if there are no openings, which means one without end.
    pub fn misses(self, openings: &[Opening]) -> Option<WallTime> {
        let last = openings.iter().map(|opening| opening.closes).max()?;
        self.at().filter(|at| *at >= last).map(|_| last)
    }
}

/// What a host says while it waits for the time of its reboot.
pub fn waits(at: WallTime) -> String {
    format!("waits until {} for its reboot", at.rfc3339())
}

/// An instant for people as people write it, for machines in milliseconds.
mod instant {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error};

    use crate::time::WallTime;

    pub(super) fn serialize<S: Serializer>(at: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.serialize_str(&at.rfc3339()) } else { at.serialize(serializer) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        if !deserializer.is_human_readable() {
            return WallTime::deserialize(deserializer);
        }
        let text = String::deserialize(deserializer)?;
        let at = WallTime::parse(&text)
            .ok_or_else(|| D::Error::custom("reboot at: write a time such as 2026-12-01T04:00:00Z"))?;
        // As it is told.
        Ok(WallTime(at.0 - at.0.rem_euclid(1000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn at(text: &str) -> RebootOption {
        RebootOption::At(WallTime::parse(text).unwrap())
    }

    #[test]
    fn it_is_written_for_people_and_for_machines_and_read_again() {
        let four = at("2026-12-01T04:00:00Z");
        let text = serde_json::to_string(&[RebootOption::Never, RebootOption::IfNeeded, four]).unwrap();
        assert_eq!(text, r#"["never","ifNeeded",{"at":"2026-12-01T04:00:00Z"}]"#);
        assert_eq!(serde_json::from_str::<Vec<RebootOption>>(&text).unwrap()[2], four);
        let read = |text: &str| serde_json::from_str::<RebootOption>(text);
        assert_eq!(read(r#"{"at":"2026-12-01T05:00:00.9+01:00"}"#).unwrap(), four);
        assert!(read(r#"{"at":"tomorrow"}"#).unwrap_err().to_string().contains("2026-12-01T04:00:00Z"));
        assert!(read(r#"{"at":1}"#).is_err() && read(r#""at""#).is_err());
        let odd = RebootOption::At(WallTime(1_234_567));
        assert_eq!(wire::decode::<RebootOption>(&wire::encode(&odd), 64).unwrap(), odd);
    }

    #[test]
    fn what_is_left_is_counted_and_a_time_that_no_opening_reaches_is_told() {
        let four = at("2026-12-01T04:00:00Z");
        let WallTime(instant) = four.at().unwrap();
        assert_eq!(four.wait(WallTime(instant - 1500)), Duration::from_millis(1500));
        assert_eq!(
            (four.wait(WallTime(instant)), RebootOption::IfNeeded.wait(WallTime(0))),
            (Duration::ZERO, Duration::ZERO)
        );
        let opening = |closes| Opening { opens: WallTime(0), last_start: WallTime(1), closes: WallTime(closes) };
        assert_eq!(four.misses(&[opening(5), opening(instant), opening(7)]), Some(WallTime(instant)));
        assert_eq!(four.misses(&[opening(5), opening(instant + 1)]), None);
        assert_eq!((four.misses(&[]), RebootOption::Never.misses(&[opening(5)])), (None, None));
    }
}
