//! Maintenance windows: when work may start again and again (spec 4.6).
//!
//! [`MaintenanceWindow`] is what people write; [`MaintenanceWindow::check`] turns it into a [`Window`], which yields openings.

use core::{fmt, iter, time::Duration};
use std::borrow::Cow;

use jiff::ToSpan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Opening,
    blackout::{Blackout, without},
    cron::{Cron, MAX_YEAR},
    expression::{MAX_SCHEDULE, Schedule},
    zone::{Note, Zone},
};
use crate::{
    duration, labels,
    rollout::task::{MAX_TARGETS, MAX_TASKS, TargetText, Task, TaskText, check as check_tasks},
    time::WallTime,
};

/// Shortest name, in characters.
pub const MIN_NAME: usize = 3;
/// Longest name, in characters.
pub const MAX_NAME: usize = 128;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 128;
/// Longest name of a zone, in characters.
pub const MAX_ZONE: usize = 64;
/// Longest opening.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest opening.
pub const MIN_DURATION: Duration = Duration::from_secs(60);
/// Most days after a hit of a cron expression.
pub const MAX_OFFSET_DAYS: i64 = 6;
/// Most openings that one question of [`Window::allowed`] looks at: a year of hourly ones.
pub const MAX_LOOK: usize = 366 * 24;
/// Longest echo of what somebody wrote, in characters.
const MAX_ECHO: usize = 80;
/// How far the first look for the newest opening goes back, in milliseconds; every further one goes [`FURTHER`] times as far.
const FIRST_LOOK: i64 = 60 * 60 * 1000;
const FURTHER: i64 = 16;
/// A zone can skip a whole day, so that a local time begins to count two days early.
const EARLY_DAYS: i64 = 2;

/// A window as it is written: `metadata.name` and `spec` of a manifest of kind `MaintenanceWindow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// 3 to 128 letters, digits and `_-.`.
    pub name: String,
    /// What people note of it.
    pub labels: labels::Labels,
    /// Everything else.
    pub spec: Spec,
}

/// `spec` of a manifest of kind `MaintenanceWindow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// `cron(minutes hours day-of-month month day-of-week year)`, `rate(VALUE UNIT)` or `at(YYYY-MM-DDThh:mm:ss)`. A rate counts
    /// from `startDate`, or from 1970 on.
    #[schemars(length(min = 1, max = MAX_SCHEDULE))]
    pub schedule: String,
    /// An IANA name; absent is UTC. Times that its clocks skip are moved to the first instant after the gap; of two the earlier
    /// one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_ZONE))]
    pub timezone: Option<String>,
    /// How long an opening is: 1m to 24h, whatever clocks on walls do.
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub duration: String,
    /// How long before its end nothing starts any more; shorter than `duration`. Absent is 0h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub cutoff: Option<String>,
    /// So many days after every hit of a cron expression; 0 to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_OFFSET_DAYS))]
    pub offset_days: Option<i64>,
    /// RFC 3339: nothing opens before it, nor by a hit of a cron expression before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// RFC 3339: nothing opens from it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// What hosts at work do at the cutoff: with `CONTINUE_TASK` (default) they go on, with `CANCEL_TASK` they finish the step
    /// that they are in, and begin none that disrupts. No host starts after it in either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CutoffBehavior>")]
    pub cutoff_behavior: Option<String>,
    /// `false`: it never opens. Absent is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Sets of hosts that the tasks name. Which hosts they are is looked up when a task starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_TARGETS))]
    pub targets: Vec<TargetText>,
    /// What is done in every opening, by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_TASKS))]
    pub tasks: Vec<TaskText>,
}

/// What hosts at work do at the cutoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CutoffBehavior {
    /// They go on to the end of the opening.
    ContinueTask,
    /// They finish their step.
    CancelTask,
}

/// One thing that is wrong with a window, or with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field: `name`, or a member of `spec` with its path, such as `tasks[0].name`.
    pub field: Cow<'static, str>,
    /// The offending value.
    pub value: String,
    /// The limit that it breaks, as a fragment.
    pub limit: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.field, self.value, self.limit)
    }
}

impl core::error::Error for Problem {}

/// A window of which everything is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name.
    pub name: String,
    /// When it opens.
    pub schedule: Schedule,
    /// Whose local time that is.
    pub zone: Zone,
    /// Days after every hit of a cron expression.
    pub offset_days: i64,
    /// How long an opening is.
    pub duration: Duration,
    /// How long before its end nothing starts any more.
    pub cutoff: Duration,
    /// Nothing opens before it.
    pub start: Option<WallTime>,
    /// Nothing opens from it on.
    pub end: Option<WallTime>,
    /// What hosts at work do at the cutoff.
    pub cutoff_behavior: CutoffBehavior,
    /// Whether it opens at all.
    pub enabled: bool,
    /// What is done in every opening, in the order in which it is.
    pub tasks: Vec<Task>,
    /// Since when somebody keeps it as it is: see [`Window::kept_since`].
    pub since: Option<WallTime>,
}

/// One opening of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowOpening {
    /// When it opens, when nothing starts any more, and when it closes.
    pub opening: Opening,
    /// When it opens, as RFC 3339 with the offset of its zone.
    pub local: String,
    /// What clocks did then; `None` on any other day.
    pub note: Option<Note>,
}

impl MaintenanceWindow {
    /// The window, if everything about it is right.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<Window, Vec<Problem>> {
        let spec = &self.spec;
        let mut told = Told(Vec::new());
        if !is_name(&self.name) {
            told.wrong("name", &self.name, format!("write {MIN_NAME} to {MAX_NAME} letters, digits and _-."));
        }
        if let Some(text) = &spec.description
            && !(1..=MAX_DESCRIPTION).contains(&text.chars().count())
        {
            told.wrong("description", text, format!("write 1 to {MAX_DESCRIPTION} characters"));
        }
        let schedule = Schedule::parse(&spec.schedule);
        if let Err(error) = &schedule {
            told.wrong("schedule", &spec.schedule, error.to_string());
        }
        let zone = spec.timezone.as_ref().map_or(Some(Zone::UTC), |name| Zone::parse(name));
        if zone.is_none() {
            let name = spec.timezone.as_deref().unwrap_or_default();
            told.wrong("timezone", name, "write the name of an IANA zone, such as Europe/Paris");
        }
        let lengths = spec.lengths(&mut told);
        let offset_days = spec.offset_days.unwrap_or(0);
        if !(0..=MAX_OFFSET_DAYS).contains(&offset_days) {
            told.wrong("offsetDays", &offset_days.to_string(), format!("write 0 to {MAX_OFFSET_DAYS}"));
        } else if offset_days > 0 && matches!(schedule, Ok(Schedule::Rate(_) | Schedule::At(_))) {
            told.wrong("offsetDays", &offset_days.to_string(), "only a schedule of the form cron(…) takes it");
        }
        let (start, end) = spec.dates(&mut told);
        let cutoff_behavior = CutoffBehavior::read(spec.cutoff_behavior.as_deref(), &mut told);
        let cutoff_behavior = cutoff_behavior.unwrap_or(CutoffBehavior::ContinueTask);
        let tasks = check_tasks(&self.name, spec, cutoff_behavior, &mut told);
        let name = self.name.clone();
        let enabled = spec.enabled.unwrap_or(true);
        match (schedule, zone, lengths) {
            (Ok(schedule), Some(zone), Some((duration, cutoff))) if told.0.is_empty() => Ok(Window {
                name,
                schedule,
                zone,
                offset_days,
                duration,
                cutoff,
                start,
                end,
                cutoff_behavior,
                enabled,
                tasks,
                since: None,
            }),
            _ => Err(told.0),
        }
    }
}

/// What was found wrong so far.
pub(crate) struct Told(pub(crate) Vec<Problem>);

impl Told {
    pub(crate) fn wrong(&mut self, field: impl Into<Cow<'static, str>>, value: &str, limit: impl Into<String>) {
        let value = value.chars().take(MAX_ECHO).collect();
        self.0.push(Problem { field: field.into(), value, limit: limit.into() });
    }

    /// What is wrong with the entry `place`, such as `tasks[0]`.
    pub(crate) fn within(&mut self, place: &str, inner: Told) {
        let placed = |problem: Problem| {
            let dot = if problem.field.is_empty() { "" } else { "." };
            Problem { field: format!("{place}{dot}{}", problem.field).into(), ..problem }
        };
        self.0.extend(inner.0.into_iter().map(placed));
    }
}

impl CutoffBehavior {
    /// What is written as `cutoffBehavior`; `None` if nothing is, or if it is no such word, which is told.
    pub(crate) fn read(written: Option<&str>, told: &mut Told) -> Option<Self> {
        match written? {
            "CONTINUE_TASK" => Some(Self::ContinueTask),
            "CANCEL_TASK" => Some(Self::CancelTask),
            word => {
                told.wrong("cutoffBehavior", word, "write CONTINUE_TASK or CANCEL_TASK");
                None
            }
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContinueTask => "CONTINUE_TASK",
            Self::CancelTask => "CANCEL_TASK",
        }
    }

    /// `opening`, as long as hosts that are at work in it may begin a step that disrupts.
    pub fn cut(self, opening: Opening) -> Opening {
        match self {
            Self::ContinueTask => opening,
            Self::CancelTask => Opening { closes: opening.last_start, ..opening },
        }
    }
}

impl Spec {
    /// Duration and cutoff.
    fn lengths(&self, told: &mut Told) -> Option<(Duration, Duration)> {
        let within = |text: &str, least| duration::parse(text).filter(|length| (least..=MAX_DURATION).contains(length));
        let length = within(&self.duration, MIN_DURATION);
        if length.is_none() {
            told.wrong("duration", &self.duration, "write 1m to 24h");
        }
        let given = self.cutoff.as_deref().unwrap_or("0h");
        let cutoff = within(given, Duration::ZERO);
        match (length, cutoff) {
            (_, None) => told.wrong("cutoff", given, "write 0h or more, and less than the duration"),
            (Some(length), Some(cutoff)) if cutoff >= length => {
                told.wrong("cutoff", given, format!("it must be shorter than the duration {}", self.duration));
            }
            _ => {}
        }
        length.zip(cutoff)
    }

    /// Start and end date.
    fn dates(&self, told: &mut Told) -> (Option<WallTime>, Option<WallTime>) {
        let mut date = |field: &'static str, text: &Option<String>| {
            let text = text.as_ref()?;
            let parsed = WallTime::parse(text).filter(|time| time.0 % 1000 == 0);
            if parsed.is_none() {
                told.wrong(field, text, "write an RFC 3339 time in whole seconds, such as 2026-12-01T02:00:00Z");
            }
            parsed
        };
        let (start, end) = (date("startDate", &self.start_date), date("endDate", &self.end_date));
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            told.wrong("endDate", &end.rfc3339(), format!("it is not after startDate {}", start.rfc3339()));
        }
        (start, end)
    }
}

/// Whether a window may be called `name`.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (MIN_NAME..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

impl Window {
    /// The window as it is kept since `since`. AWS's rule: if the day of the cron expression had passed by then, and only the day of
    /// the offset was still ahead, that period has no opening.
    pub fn kept_since(self, since: WallTime) -> Self {
        Self { since: Some(since), ..self }
    }

    /// The openings that open at or after `from`, in order, no two at one instant. Ends with the end date, or with the year 2199.
    pub fn openings(&self, from: WallTime) -> impl Iterator<Item = WindowOpening> + '_ {
        let mut hits = self.hits(from).peekable();
        let mut merged = iter::from_fn(move || {
            let (at, mut note) = hits.next()?;
            // Several local times of one gap, or the first one after it: then it is on the schedule anyhow.
            while let Some((_, other)) = hits.next_if(|(next, _)| *next == at) {
                note = note.and(other);
            }
            Some((at, note))
        })
        .skip_while(move |(at, _)| *at < from)
        .take_while(|(at, _)| self.end.is_none_or(|end| *at < end));
        iter::from_fn(move || {
            let (opens, note) = merged.next()?;
            let closes = opens.plus(self.duration);
            let last_start = opens.plus(self.duration.saturating_sub(self.cutoff));
            Some(WindowOpening { opening: Opening { opens, last_start, closes }, local: self.zone.local(opens)?, note })
        })
    }

    /// Up to `most` openings in which a rollout may still start hosts at `now` or later, the one that is open included, without
    /// what `blackouts` cover. With `CANCEL_TASK` they close at the last start. Looks at [`MAX_LOOK`] openings at most.
    pub fn allowed(&self, now: WallTime, blackouts: &[Blackout], most: usize) -> Vec<Opening> {
        let since = WallTime(now.0.saturating_sub(self.duration.as_millis() as i64));
        self.openings(since)
            .take(MAX_LOOK)
            .flat_map(|one| without(one.opening, blackouts))
            .filter(|piece| now < piece.last_start)
            .take(most)
            .map(|piece| self.cutoff_behavior.cut(piece))
            .collect()
    }

    /// The newest opening that opened after `after`, and not after `now`; it may be over.
    pub fn newest(&self, after: WallTime, now: WallTime) -> Option<Opening> {
        let mut back = FIRST_LOOK;
        loop {
            let from = WallTime(now.0.saturating_sub(back)).max(WallTime(after.0.saturating_add(1)));
            let openings = self.openings(from).map(|one| one.opening);
            let newest = openings.take(MAX_LOOK).take_while(|one| one.opens <= now).last();
            if newest.is_some() || from.0 <= after.0.saturating_add(1) {
                return newest;
            }
            back = back.saturating_mul(FURTHER);
        }
    }

    /// Instants of the schedule, not descending, the first of them not after what opens next at `from`.
    fn hits(&self, from: WallTime) -> Box<dyn Iterator<Item = (WallTime, Option<Note>)> + '_> {
        let from = from.max(self.start.unwrap_or(from));
        match &self.schedule {
            _ if !self.enabled => Box::new(iter::empty()),
            Schedule::Cron(cron) => Box::new(self.local_hits(cron, from)),
            Schedule::Rate(interval) => Box::new(self.regular_hits(*interval, from)),
            Schedule::At(time) => {
                let hit = self.zone.instant(*time);
                Box::new(hit.filter(|(at, _)| self.start.is_none_or(|start| start <= *at)).into_iter())
            }
        }
    }

    fn local_hits<'a>(&'a self, cron: &'a Cron, from: WallTime) -> impl Iterator<Item = (WallTime, Option<Note>)> + 'a {
        // Schedules begin in 1970, and end before what cannot be told apart from it here.
        let from = WallTime(from.0.clamp(0, END));
        let early = (self.offset_days + EARLY_DAYS).days();
        let first = self.zone.date(from).and_then(|date| date.checked_sub(early).ok());
        first.into_iter().flat_map(|first| cron.times_from(first)).filter_map(|local| {
            let (hit, note) = self.zone.instant(local)?;
            if self.start.is_some_and(|start| hit < start) {
                return None;
            }
            if self.offset_days == 0 {
                return Some((hit, note));
            }
            if self.since.is_some_and(|since| hit < since) {
                return None;
            }
            self.zone.instant(local.checked_add(self.offset_days.days()).ok()?)
        })
    }

    fn regular_hits(&self, interval: Duration, from: WallTime) -> impl Iterator<Item = (WallTime, Option<Note>)> {
        let start = self.start.unwrap_or(WallTime(0));
        let step = interval.as_millis() as i64;
        let passed = from.0.saturating_sub(start.0).max(0);
        let begun = passed / step + i64::from(passed % step > 0);
        let instant = move |count: i64| start.0.checked_add(count.checked_mul(step)?);
        (begun..).map_while(instant).take_while(|at| *at < END).map(|at| (WallTime(at), None))
    }
}

/// 2200-01-01T00:00:00Z, in milliseconds: no schedule goes on after that.
const END: i64 = 7_258_118_400_000;
const _: () = assert!(MAX_YEAR == 2199);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).unwrap()
    }

    fn opens(offset_days: Option<i64>, since: Option<&str>) -> String {
        let spec =
            Spec { schedule: "cron(0 2 ? * TUE#2 *)".into(), duration: "2h".into(), offset_days, ..Spec::default() };
        let window =
            MaintenanceWindow { name: "patch-tuesday".into(), spec, labels: Default::default() }.check().unwrap();
        let kept = since.map_or(window.clone(), |since| window.kept_since(at(since)));
        let (from, next) = (at("2026-12-10T00:00:00Z"), kept.openings(at("2026-12-08T00:00:00Z")).next().unwrap());
        let newest = kept.newest(from, next.opening.opens).filter(|_| offset_days.is_some());
        assert_eq!(newest.unwrap_or(next.opening), next.opening);
        next.opening.opens.rfc3339()
    }

    #[test]
    fn a_period_whose_day_had_passed_when_the_window_was_kept_has_no_opening() {
        assert_eq!(opens(Some(3), None), "2026-12-11T02:00:00Z", "nobody keeps it");
        assert_eq!(opens(Some(3), Some("2026-12-08T02:00:00Z")), "2026-12-11T02:00:00Z");
        assert_eq!(opens(Some(3), Some("2026-12-08T02:00:00.001Z")), "2027-01-15T02:00:00Z");
        assert_eq!(opens(Some(3), Some("2026-12-11T01:59:59Z")), "2027-01-15T02:00:00Z");
        // Without an offset what is not over is on.
        assert_eq!(opens(None, Some("2026-12-08T02:00:00.001Z")), "2026-12-08T02:00:00Z");
    }
}
