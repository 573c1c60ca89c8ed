//! Which days of a month a cron expression means.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};

/// One item of the field day-of-month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfMonth {
    /// This day, where the month has it.
    Day(i8),
    /// `L`: the last day.
    Last,
    /// `W`: the weekday nearest to this day, in the same month; nothing where the month does not have the day.
    Nearest(i8),
}

/// One item of the field day-of-week; 1 is Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfWeek {
    /// Every such day.
    Day(i8),
    /// `L`: the last such day of the month.
    Last(i8),
    /// `#`: the nth such day of the month, where there is one.
    Nth(i8, i8),
}

impl From<i8> for OfMonth {
    fn from(day: i8) -> Self {
        Self::Day(day)
    }
}

impl From<i8> for OfWeek {
    fn from(day: i8) -> Self {
        Self::Day(day)
    }
}

/// The day field that is not `?`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Days {
    /// By number.
    OfMonth(BTreeSet<OfMonth>),
    /// By weekday.
    OfWeek(BTreeSet<OfWeek>),
}

impl Days {
    /// Those of the month that begins with `start`, ascending.
    pub fn of(&self, start: Date) -> BTreeSet<Date> {
        match self {
            Self::OfMonth(items) => items.iter().filter_map(|item| item.of(start)).collect(),
            Self::OfWeek(items) => items.iter().flat_map(|item| item.of(start)).collect(),
        }
    }
}

impl OfMonth {
    fn of(self, start: Date) -> Option<Date> {
        let day = |day: i8| start.with().day(day).build().ok();
        match self {
            Self::Day(wanted) => day(wanted),
            Self::Last => Some(start.last_of_month()),
            Self::Nearest(wanted) => {
                let last = start.days_in_month();
                let moved = match day(wanted)?.weekday() {
                    Weekday::Saturday if wanted > 1 => wanted - 1,
                    Weekday::Saturday => wanted + 2,
                    Weekday::Sunday if wanted < last => wanted + 1,
                    Weekday::Sunday => wanted - 2,
                    _ => wanted,
                };
                day(moved)
            }
        }
    }
}

impl OfWeek {
    fn of(self, start: Date) -> Vec<Date> {
        let nth = |day, nth| {
            let weekday = Weekday::from_sunday_one_offset(day).ok()?;
            start.nth_weekday_of_month(nth, weekday).ok()
        };
        match self {
            Self::Day(day) => (1..=5).filter_map(|n| nth(day, n)).collect(),
            Self::Last(day) => nth(day, -1).into_iter().collect(),
            Self::Nth(day, n) => nth(day, n).into_iter().collect(),
        }
    }
}
