//! Work that comes again and again: which of its times is due, which were passed over and why, and when the next one is.
//!
//! Nothing is remembered beside the runs that were started: what became of a time is a function of the schedule, of the last run,
//! and of now. A time that comes while the run before it is still on its way is skipped. A time at which nobody looked (the
//! coordinator was down) is made up for once, if the schedule catches up; if it does not, only within [`GRACE`], and is missed after
//! that. Of several times that were missed together only the newest counts.

use core::time::Duration;

use super::{
    expression::Schedule,
    window::{CutoffBehavior, Window},
    zone::Zone,
};
use crate::time::WallTime;

/// How long after a time its work may begin all the same: as long as a restart takes, and shorter than the shortest interval.
pub const GRACE: Duration = Duration::from_secs(4 * 60);

/// When work comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurring {
    /// A window of which only the first instants of its openings count.
    times: Window,
    /// Whether a missed time is made up for.
    catch_up: bool,
}

/// A run that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// For this time.
    pub of: WallTime,
    /// When it was started.
    pub started: WallTime,
    /// When it ended; `None` while it is on its way.
    pub ended: Option<WallTime>,
}

/// Where work stands that comes again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The time for which a run is to be started now.
    pub now: Option<WallTime>,
    /// The next time after now; `None` if there is none any more.
    pub next: Option<WallTime>,
    /// The newest time that was passed over since the last run, and why. `None` if there was none.
    pub passed: Option<(WallTime, Passed)>,
}

/// Why a time was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The run before it was still on its way.
    Skipped,
    /// Nothing looked in time.
    Missed,
}

impl Recurring {
    /// Work by `schedule`, in `zone`.
    pub fn new(schedule: Schedule, zone: Zone, catch_up: bool) -> Self {
        let times = Window {
            name: String::new(),
            schedule,
            zone,
            offset_days: 0,
            duration: Duration::ZERO,
            cutoff: Duration::ZERO,
            start: None,
            end: None,
            cutoff_behavior: CutoffBehavior::ContinueTask,
            enabled: true,
            tasks: Vec::new(),
            since: None,
        };
        Self { times, catch_up }
    }

    /// The first time at or after `from`.
    pub fn next(&self, from: WallTime) -> Option<WallTime> {
        self.times.openings(from).next().map(|one| one.opening.opens)
    }

    /// The newest time after `after`, and not after `now`.
    pub fn newest(&self, after: WallTime, now: WallTime) -> Option<WallTime> {
        self.times.newest(after, now).map(|one| one.opens)
    }

    /// Where the work stands at `now`, which nobody asked for before `since`, and whose last run was `last`.
    pub fn due(&self, since: WallTime, last: Option<Run>, now: WallTime) -> Due {
        let next = self.next(WallTime(now.0.saturating_add(1)));
        let after = last.map_or(since, |run| run.of.max(since));
        let Some(newest) = self.newest(after, now) else { return Due { next, ..Due::default() } };
        // A run began for an earlier time, so that whatever came until its end found it on its way. It did not end in the future:
        // the clock was ahead then, and what it said of the end counts for nothing.
        let skipped = last.is_some_and(|run| run.ended.is_none_or(|ended| newest <= ended && ended <= now));
        let late = newest.plus(GRACE) < now && !self.catch_up;
        match (skipped, late) {
            (true, _) => Due { next, passed: Some((newest, Passed::Skipped)), now: None },
            (false, true) => Due { next, passed: Some((newest, Passed::Missed)), now: None },
            (false, false) => Due { next, passed: None, now: Some(newest) },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recurring(schedule: &str, catch_up: bool) -> Recurring {
        Recurring::new(Schedule::parse(schedule).unwrap(), Zone::UTC, catch_up)
    }

    fn at(text: &str) -> WallTime {
        WallTime::parse(&format!("2026-12-{text}Z")).unwrap()
    }

    fn run(of: &str, started: &str, ended: Option<&str>) -> Option<Run> {
        Some(Run { of: at(of), started: at(started), ended: ended.map(at) })
    }

    const NIGHTLY: &str = "cron(0 2 * * ? *)";

    #[test]
    fn a_time_is_due_once_and_what_was_before_it_was_asked_for_is_not() {
        let nightly = recurring(NIGHTLY, false);
        let since = at("01T12:00:00");
        let next = Some(at("02T02:00:00"));
        assert_eq!(nightly.due(since, None, at("02T01:59:59")), Due { next, ..Due::default() });
        let due = nightly.due(since, None, at("02T02:00:00"));
        assert_eq!((due.now, due.next, due.passed), (next, Some(at("03T02:00:00")), None));
        let done = run("02T02:00:00", "02T02:00:01", Some("02T02:20:00"));
        assert_eq!(nightly.due(since, done, at("02T02:00:02")).now, None);
        assert_eq!(nightly.due(since, done, at("03T02:00:00")).now, Some(at("03T02:00:00")));
    }

    #[test]
    fn a_time_that_nobody_saw_is_missed_or_made_up_for_once() {
        let since = at("01T12:00:00");
        let done = run("02T02:00:00", "02T02:00:01", Some("02T02:20:00"));
        let back = at("05T09:00:00");
        let newest = at("05T02:00:00");
        assert_eq!(recurring(NIGHTLY, true).due(since, done, back).now, Some(newest), "the newest one alone");
        let made_up = run("05T02:00:00", "05T09:00:01", Some("05T09:10:00"));
        assert_eq!(recurring(NIGHTLY, true).due(since, made_up, back).now, None);
        let missed = recurring(NIGHTLY, false).due(since, done, back);
        assert_eq!((missed.now, missed.passed), (None, Some((newest, Passed::Missed))));
        assert_eq!(recurring(NIGHTLY, false).due(since, done, at("05T02:04:00")).now, Some(newest), "a restart");
        assert_eq!(recurring(NIGHTLY, false).due(since, done, at("05T02:04:01")).now, None);
    }

    #[test]
    fn what_comes_while_the_run_before_is_on_its_way_is_skipped() {
        let (nightly, since) = (recurring(NIGHTLY, true), at("01T12:00:00"));
        let skipped = Some((at("03T02:00:00"), Passed::Skipped));
        let now = at("03T05:00:00");
        let going = run("02T02:00:00", "02T02:00:01", None);
        assert_eq!((nightly.due(since, going, now).now, nightly.due(since, going, now).passed), (None, skipped));
        let ended = run("02T02:00:00", "02T02:00:01", Some("03T04:00:00"));
        assert_eq!(nightly.due(since, ended, now).passed, skipped, "its end makes up for nothing");
        assert_eq!(nightly.due(since, ended, at("04T02:00:00")).now, Some(at("04T02:00:00")));
        let ahead = run("02T02:00:00", "02T02:00:01", Some("09T04:00:00"));
        assert_eq!(nightly.due(since, ahead, now).now, Some(at("03T02:00:00")), "it ended while the clock was ahead");
    }

    #[test]
    fn a_clock_that_is_set_back_starts_nothing_twice() {
        let done = run("03T02:00:00", "03T02:00:01", Some("03T02:20:00"));
        let nightly = recurring(NIGHTLY, true);
        let due = nightly.due(at("01T12:00:00"), done, at("02T02:00:00"));
        assert_eq!((due.now, due.passed), (None, None));
    }

    #[test]
    fn rare_and_frequent_times_are_found_and_one_shots_end() {
        let since = at("01T00:00:00");
        let yearly = recurring("cron(0 2 1 1 ? *)", true);
        let newest = |one: &Recurring, now: &str| one.newest(WallTime(0), WallTime::parse(now).unwrap());
        assert_eq!(newest(&yearly, "2026-12-31T00:00:00Z"), WallTime::parse("2026-01-01T02:00:00Z"));
        let often = recurring("rate(5 minutes)", true);
        assert_eq!(newest(&often, "2026-12-31T00:04:59Z"), WallTime::parse("2026-12-31T00:00:00Z"));
        let once = recurring("at(2026-12-02T02:00:00)", false);
        assert_eq!(once.due(since, None, at("02T02:00:00")).now, Some(at("02T02:00:00")));
        let done = run("02T02:00:00", "02T02:00:01", None);
        assert_eq!(once.due(since, done, at("02T02:00:01")), Due::default());
    }

    proptest! {
        /// Whatever the schedule, the pauses of the coordinator and the length of runs: one run at a time, one for a time, none
        /// before it was asked for, none late without catching up; and every time has a run or is told as passed over.
        #[test]
        fn one_run_at_a_time_and_a_word_for_every_time(
            minutes in 5u64..90,
            catch_up: bool,
            pauses in prop::collection::vec((1i64..200, 0i64..400), 1..60),
        ) {
            let recurring = recurring(&format!("rate({minutes} minutes)"), catch_up);
            let minute = 60_000;
            let since = at("01T00:07:00");
            let (mut now, mut runs) = (since, Vec::<Run>::new());
            for (pause, length) in pauses {
                now = WallTime(now.0 + pause * minute);
                if let Some(run) = runs.last_mut()
                    && run.ended.is_none()
                    && now.0 >= run.started.0 + length * minute
                {
                    run.ended = Some(WallTime(run.started.0 + length * minute));
                }
                let last = runs.last().copied();
                let due = recurring.due(since, last, now);
                prop_assert!(due.next.is_some_and(|next| next > now));
                let after = last.map_or(since, |run| run.of);
                let passed_or_due = due.now.or(due.passed.map(|(time, _)| time));
                prop_assert_eq!(passed_or_due, recurring.newest(after, now));
                if let Some(time) = due.now {
                    prop_assert!(time > after && time <= now);
                    prop_assert!(last.is_none_or(|run| run.ended.is_some_and(|ended| ended < time)));
                    prop_assert!(catch_up || now <= time.plus(GRACE));
                    runs.push(Run { of: time, started: now, ended: None });
                    prop_assert_eq!(recurring.due(since, runs.last().copied(), now).now, None);
                }
            }
        }
    }
}
