//! From local times to instants, where clocks are set forward and back.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::Serialize;

use crate::time::WallTime;

/// A zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// What clocks did at a local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Note {
    /// They skipped it: this is the first instant after it that there is.
    Gap,
    /// They showed it twice: this is the earlier one, and there is no other.
    Overlap,
}

impl Note {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Overlap => "overlap",
        }
    }
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of an IANA name in any case; `None` if there is none. The rules are those that this program was built with.
    pub fn parse(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        (zone.iana_name().is_some() && !zone.is_unknown()).then_some(Self(zone))
    }

    /// Its name, as IANA spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// `at` as RFC 3339 with the zone's offset; `None` beyond the year 9999.
    pub fn local(&self, at: WallTime) -> Option<String> {
        let at = Timestamp::from_millisecond(at.0).ok()?;
        Some(at.display_with_offset(self.0.to_offset(at)).to_string())
    }

    /// The day of `at` here; `None` beyond the year 9999.
    pub fn date(&self, at: WallTime) -> Option<Date> {
        Some(self.0.to_datetime(Timestamp::from_millisecond(at.0).ok()?).date())
    }

    /// When clocks here show `local`: in a gap the first instant after it, of two the earlier one. `None` beyond the year 9999.
    pub fn instant(&self, local: DateTime) -> Option<(WallTime, Option<Note>)> {
        let (at, note) = match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(local).ok()?, None),
            AmbiguousOffset::Fold { before, .. } => (before.to_timestamp(local).ok()?, Some(Note::Overlap)),
            AmbiguousOffset::Gap { before, after } => {
                // Read with the new offset it lies before the change, with the old one at or after it.
                let (earlier, later) = (after.to_timestamp(local).ok()?, before.to_timestamp(local).ok()?);
                let mut changes = self.0.following(earlier).take_while(|change| change.timestamp() <= later);
                let change = changes.find(|change| change.offset() == after).map(|change| change.timestamp());
                (change.unwrap_or(later), Some(Note::Gap))
            }
        };
        Some((WallTime(at.as_millisecond()), note))
    }
}
