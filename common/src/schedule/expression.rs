//! A schedule as it is written: `cron(…)`, `rate(…)` or `at(…)` (spec 4.6.2).

use core::time::Duration;

use jiff::civil::DateTime;

use super::cron::{Cron, MAX_YEAR, MIN_YEAR};

/// Longest schedule, in characters.
pub const MAX_SCHEDULE: usize = 256;
/// Shortest time between two openings of one window.
pub const MIN_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// A checked schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// At the local times of an expression.
    Cron(Cron),
    /// Again and again after this time, whatever a clock on a wall does.
    Rate(Duration),
    /// Once, at this local time.
    At(DateTime),
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// None of the three.
    #[error("write cron(…), rate(…) or at(…)")]
    Form,
    /// Too long.
    #[error("it has {0} characters, and at most {MAX_SCHEDULE} are allowed")]
    Long(usize),
    /// Too few or too many fields.
    #[error(
        "it has {0} fields: write cron(minutes hours day-of-month month day-of-week year), seconds first if at all"
    )]
    Fields(usize),
    /// A field that is not understood.
    #[error("the field {field} is {item:?}: it takes {takes}")]
    Item {
        /// Which field.
        field: &'static str,
        /// What is not understood.
        item: String,
        /// What would be.
        takes: &'static str,
    },
    /// A range that ends before it begins.
    #[error("the field {field} is {item:?}, which ends before it begins: write two ranges with a comma between them")]
    Backwards {
        /// Which field.
        field: &'static str,
        /// The range.
        item: String,
    },
    /// Both day fields decide, or none.
    #[error("exactly one of day-of-month and day-of-week must be ?")]
    Days,
    /// No such rate.
    #[error("write rate(VALUE UNIT) with minutes, hours or days, and minute, hour or day for the value 1")]
    Rate,
    /// No such time.
    #[error("write at(YYYY-MM-DDThh:mm:ss) with a year from {MIN_YEAR} to {MAX_YEAR}")]
    At,
    /// Below [`MIN_INTERVAL`].
    #[error("it opens more often than every 5 minutes")]
    TooOften,
    /// Such as the 31st of February.
    #[error("it never opens: there is no such day")]
    Never,
}

impl Schedule {
    /// Parses a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] says what is not understood, and what would be.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let length = text.chars().count();
        if length > MAX_SCHEDULE {
            return Err(ScheduleError::Long(length));
        }
        let (word, inner) = text.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or(ScheduleError::Form)?;
        match word {
            "cron" => Cron::parse(inner).map(Self::Cron),
            "rate" => rate(inner).map(Self::Rate),
            "at" => at(inner).map(Self::At),
            _ => Err(ScheduleError::Form),
        }
    }
}

fn rate(text: &str) -> Result<Duration, ScheduleError> {
    let (value, unit) = text.split_once(' ').ok_or(ScheduleError::Rate)?;
    let is_number = (1..=9).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    let value = value.parse::<u64>().ok().filter(|value| is_number && *value > 0).ok_or(ScheduleError::Rate)?;
    let seconds = match (value, unit) {
        (1, "minute") | (2.., "minutes") => 60,
        (1, "hour") | (2.., "hours") => 60 * 60,
        (1, "day") | (2.., "days") => 24 * 60 * 60,
        _ => return Err(ScheduleError::Rate),
    };
    let interval = Duration::from_secs(value.saturating_mul(seconds));
    if interval < MIN_INTERVAL { Err(ScheduleError::TooOften) } else { Ok(interval) }
}

fn at(text: &str) -> Result<DateTime, ScheduleError> {
    let time: DateTime = text.parse().map_err(|_| ScheduleError::At)?;
    // A parser of times takes more spellings than this one.
    let is_exact = time.strftime("%Y-%m-%dT%H:%M:%S").to_string() == text;
    if is_exact && (MIN_YEAR..=MAX_YEAR).contains(&time.year()) { Ok(time) } else { Err(ScheduleError::At) }
}
