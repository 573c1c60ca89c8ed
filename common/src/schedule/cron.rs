//! `cron(…)`: fields of minutes, hours, days, months and years, in local time (spec 4.6.2).

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time};

use super::{
    days::{Days, OfMonth, OfWeek},
    expression::{MIN_INTERVAL, ScheduleError},
};

/// The first year of a schedule.
pub const MIN_YEAR: i16 = 1970;
/// The last year of a schedule.
pub const MAX_YEAR: i16 = 2199;
/// Longest echo of what somebody wrote, in characters.
const MAX_ECHO: usize = 40;

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// One field: its bounds, and names for its values from the least on.
struct Field {
    name: &'static str,
    least: i16,
    most: i16,
    names: &'static [&'static str],
    takes: &'static str,
}

const SECONDS: Field = Field { name: "seconds", least: 0, most: 59, names: &[], takes: "0-59 with , - * /" };
const MINUTES: Field = Field { name: "minutes", least: 0, most: 59, names: &[], takes: "0-59 with , - * /" };
const HOURS: Field = Field { name: "hours", least: 0, most: 23, names: &[], takes: "0-23 with , - * /" };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS, takes: "1-12 or JAN-DEC with , - * /" };
const YEAR: Field =
    Field { name: "year", least: MIN_YEAR, most: MAX_YEAR, names: &[], takes: "1970-2199 with , - * /" };
const DAY_OF_MONTH: Field =
    Field { name: "day-of-month", least: 1, most: 31, names: &[], takes: "1-31 with , - * ? /, L, or a day and W" };
const DAY_OF_WEEK: Field = Field {
    name: "day-of-week",
    least: 1,
    most: 7,
    names: &WEEKDAYS,
    takes: "1-7 (1 is SUN) or SUN-SAT with , - * ? /, a day and L, or a day, # and 1-5",
};

/// A checked cron expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    seconds: BTreeSet<i16>,
    minutes: BTreeSet<i16>,
    hours: BTreeSet<i16>,
    days: Days,
    months: BTreeSet<i16>,
    years: BTreeSet<i16>,
}

impl Cron {
    /// Parses what stands between the parentheses: six fields, or seven with seconds first. Names in any case.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field and what it takes; also for what never occurs, or more often than every 5 minutes.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let upper = text.to_ascii_uppercase();
        let fields: Vec<&str> = upper.split_ascii_whitespace().collect();
        let (seconds, [minutes, hours, of_month, month, of_week, year]) = match fields[..] {
            [a, b, c, d, e, f] => ("0", [a, b, c, d, e, f]),
            [seconds, a, b, c, d, e, f] => (seconds, [a, b, c, d, e, f]),
            _ => return Err(ScheduleError::Fields(fields.len())),
        };
        let days = match (of_month, of_week) {
            ("?", "?") => return Err(ScheduleError::Days),
            ("?", of_week) => Days::OfWeek(items(&DAY_OF_WEEK, of_week, day_of_week)?),
            (of_month, "?") => Days::OfMonth(items(&DAY_OF_MONTH, of_month, day_of_month)?),
            _ => return Err(ScheduleError::Days),
        };
        let cron = Self {
            seconds: plain(&SECONDS, seconds)?,
            minutes: plain(&MINUTES, minutes)?,
            hours: plain(&HOURS, hours)?,
            days,
            months: plain(&MONTH, month)?,
            years: plain(&YEAR, year)?,
        };
        if cron.dates(Date::MIN).next().is_none() {
            return Err(ScheduleError::Never);
        }
        if cron.is_too_often() {
            return Err(ScheduleError::TooOften);
        }
        Ok(cron)
    }

    /// Every local time from the day `first` on, ascending. Ends with the year 2199.
    pub fn times_from(&self, first: Date) -> impl Iterator<Item = DateTime> + '_ {
        self.dates(first).flat_map(|date| self.times_of_day().map(move |time| date.to_datetime(time)))
    }

    fn dates(&self, first: Date) -> impl Iterator<Item = Date> + '_ {
        let months =
            self.years.range(first.year()..).flat_map(|year| self.months.iter().map(move |month| (*year, *month)));
        let days =
            months.filter(move |month| *month >= (first.year(), i16::from(first.month()))).flat_map(|(year, month)| {
                // Both are within their fields' bounds, so that there is such a month.
                let start = i8::try_from(month).ok().and_then(|month| Date::new(year, month, 1).ok());
                start.into_iter().flat_map(|start| self.days.of(start))
            });
        days.skip_while(move |date| *date < first)
    }

    fn times_of_day(&self) -> impl Iterator<Item = Time> + '_ {
        let minutes = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)));
        minutes.flat_map(|(hour, minute)| {
            self.seconds.iter().filter_map(move |second| {
                let [hour, minute, second] = [hour, minute, *second].map(|part| i8::try_from(part).ok());
                Time::new(hour?, minute?, second?, 0).ok()
            })
        })
    }

    fn is_too_often(&self) -> bool {
        const DAY: i64 = 24 * 60 * 60;
        let least = MIN_INTERVAL.as_secs() as i64;
        let seconds =
            |time: Time| i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
        let times = || self.times_of_day().map(seconds);
        // The first pair that is too close ends this: without one there are at most 288 times.
        if times().zip(times().skip(1)).any(|(one, next)| next - one < least) {
            return true;
        }
        let over_midnight = times().next().unwrap_or(0) + DAY - times().last().unwrap_or(0);
        let follows = |(one, next): (Date, Date)| one.tomorrow().is_ok_and(|tomorrow| tomorrow == next);
        over_midnight < least && self.dates(Date::MIN).zip(self.dates(Date::MIN).skip(1)).any(follows)
    }
}

impl Field {
    fn wrong(&self, item: &str) -> ScheduleError {
        ScheduleError::Item { field: self.name, item: item.chars().take(MAX_ECHO).collect(), takes: self.takes }
    }

    /// One value, by number or name.
    fn value(&self, text: &str) -> Result<i16, ScheduleError> {
        if let Some(at) = self.names.iter().position(|name| *name == text) {
            return i16::try_from(at).map(|at| self.least + at).map_err(|_| self.wrong(text));
        }
        let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|value| is_number && (self.least..=self.most).contains(value));
        value.ok_or_else(|| self.wrong(text))
    }

    /// `*`, a value, or a range of values; each may have a step.
    fn values(&self, item: &str) -> Result<impl Iterator<Item = i16> + use<>, ScheduleError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let is_number = (1..=3).contains(&step.len()) && step.bytes().all(|byte| byte.is_ascii_digit());
                let span = usize::from((self.most - self.least).unsigned_abs()).max(1);
                let step = step.parse::<usize>().ok().filter(|step| is_number && (1..=span).contains(step));
                (range, Some(step.ok_or_else(|| self.wrong(item))?))
            }
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None => {
                let first = self.value(range).map_err(|_| self.wrong(item))?;
                (first, if step.is_some() { self.most } else { first })
            }
        };
        if first > last {
            return Err(ScheduleError::Backwards { field: self.name, item: item.chars().take(MAX_ECHO).collect() });
        }
        Ok((first..=last).step_by(step.unwrap_or(1)))
    }
}

/// The values of a field without specials.
fn plain(field: &Field, text: &str) -> Result<BTreeSet<i16>, ScheduleError> {
    let mut found = BTreeSet::new();
    for item in text.split(',') {
        found.extend(field.values(item)?);
    }
    Ok(found)
}

/// The items of a day field: `special` reads one, and what it does not know is a plain value.
fn items<T: Ord + From<i8>>(
    field: &Field,
    text: &str,
    special: impl Fn(&Field, &str) -> Result<Option<T>, ScheduleError>,
) -> Result<BTreeSet<T>, ScheduleError> {
    let mut found = BTreeSet::new();
    for item in text.split(',') {
        match special(field, item)? {
            Some(one) => {
                found.insert(one);
            }
            None => found.extend(field.values(item)?.filter_map(|value| i8::try_from(value).ok()).map(T::from)),
        }
    }
    Ok(found)
}

fn small(field: &Field, text: &str, item: &str) -> Result<i8, ScheduleError> {
    field.value(text).ok().and_then(|value| i8::try_from(value).ok()).ok_or_else(|| field.wrong(item))
}

fn day_of_month(field: &Field, item: &str) -> Result<Option<OfMonth>, ScheduleError> {
    match item.strip_suffix('W') {
        Some(day) => small(field, day, item).map(|day| Some(OfMonth::Nearest(day))),
        None if item == "L" => Ok(Some(OfMonth::Last)),
        None => Ok(None),
    }
}

fn day_of_week(field: &Field, item: &str) -> Result<Option<OfWeek>, ScheduleError> {
    if let Some(day) = item.strip_suffix('L') {
        return small(field, day, item).map(|day| Some(OfWeek::Last(day)));
    }
    let Some((day, nth)) = item.split_once('#') else { return Ok(None) };
    let nth = match nth {
        "1" => 1,
        "2" => 2,
        "3" => 3,
        "4" => 4,
        "5" => 5,
        _ => return Err(field.wrong(item)),
    };
    small(field, day, item).map(|day| Some(OfWeek::Nth(day, nth)))
}
