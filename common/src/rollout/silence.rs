//! How long a host at work may be silent before it is said to be lost: learned from its own reboots.
//!
//! This decides what is said, and what a rollout waits for; it never frees a slot.

use core::time::Duration;
use std::collections::VecDeque;

use crate::run::{Phase, message::Report};

/// How many reboots of a host are remembered: with fewer than 100, the p99 is the longest.
const REMEMBERED: usize = 128;
/// A host is patient with itself for this many of its own reboots.
const FACTOR: u32 = 2;
/// No host with known reboots is lost before this, unless the setting is shorter still: networks are away for minutes, too.
pub const LEAST: Duration = Duration::from_secs(5 * 60);
/// Nor waited for any longer than this, unless the setting is longer still: a clock that was set makes a reboot of years.
pub const MOST: Duration = Duration::from_secs(2 * 3600);

/// How long the reboots of one host took, by its own wall clock, oldest first, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reboots(VecDeque<u32>);

impl Reboots {
    /// Takes in the reboot that `report` tells of, if it tells of one that could be measured.
    pub(super) fn learn(&mut self, report: &Report) {
        let reboots = report.steps.iter().filter(|step| step.phase == Phase::Reboot && step.ok);
        for step in reboots {
            let took = u64::try_from(step.ended.0.saturating_sub(step.started.0)).unwrap_or(0).div_ceil(1000);
            if took == 0 {
                continue;
            }
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(u32::try_from(took.min(MOST.as_secs())).unwrap_or(u32::MAX));
        }
    }

    /// What 99 of 100 of its reboots did not exceed; `None` if none was seen.
    pub fn p99(&self) -> Option<Duration> {
        self.percentile(99)
    }

    /// What so many of 100 of its reboots did not exceed; `None` if none was seen.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let found = rank(self.0.iter().copied().collect(), percent);
        found.map(|seconds| Duration::from_secs(u64::from(seconds)))
    }

    /// The silence after which the host is lost. `setting` stands in while nothing is known.
    pub fn patience(&self, setting: Duration) -> Duration {
        let learned = self.p99().map(|p99| (p99 * FACTOR).clamp(LEAST.min(setting), MOST.max(setting)));
        learned.unwrap_or(setting)
    }
}

/// What `percent` of 100 of the values do not exceed (nearest rank); `None` if there are none.
pub(super) fn rank(mut values: Vec<u32>, percent: usize) -> Option<u32> {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    rank.checked_sub(1).and_then(|at| values.get(at)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{LeaseId, RolloutId},
        patch::PatchCounters,
        run::message::{Outcome, StepReport},
        time::WallTime,
    };

    const SETTING: Duration = Duration::from_secs(15 * 60);

    fn after(reboots: &[(i64, bool)]) -> Reboots {
        let step = |(millis, ok): &(i64, bool)| StepReport {
            phase: Phase::Reboot,
            attempt: 1,
            ok: *ok,
            started: WallTime(1_000_000),
            ended: WallTime(1_000_000 + millis),
            output: String::new(),
        };
        let mut learned = Reboots::default();
        learned.learn(&Report {
            lease: LeaseId([1; 16]),
            rollout: RolloutId([1; 8]),
            outcome: Outcome::Succeeded,
            phase: Phase::OnExit,
            rebooted: true,
            packages: vec![],
            error: None,
            counters: PatchCounters::default(),
            steps: reboots.iter().map(step).collect(),
            started: WallTime(0),
            ended: WallTime(0),
        });
        learned
    }

    #[test]
    fn the_setting_holds_until_a_reboot_was_seen() {
        assert_eq!(after(&[]).patience(SETTING), SETTING);
        assert_eq!(after(&[(40_000, false)]).p99(), None, "one that did not happen teaches nothing");
        assert_eq!(after(&[(-40_000, true)]).p99(), None, "nor one during which the clock was set back");
    }

    #[test]
    fn a_slow_host_is_waited_for_and_a_fast_one_is_missed_sooner() {
        let minutes = |n: i64| (n * 60_000, true);
        assert_eq!(after(&[minutes(20), minutes(3)]).patience(SETTING), Duration::from_secs(40 * 60));
        assert_eq!(after(&[minutes(4)]).patience(SETTING), Duration::from_secs(8 * 60));
        assert_eq!(after(&[(40_000, true)]).patience(SETTING), LEAST);
        assert_eq!(after(&[(40_000, true)]).patience(Duration::from_secs(5)), Duration::from_secs(80));
        assert_eq!(after(&[(1_000, true)]).patience(Duration::from_secs(5)), Duration::from_secs(5));
    }

    #[test]
    fn a_reboot_of_years_is_bounded() {
        let years = after(&[(20 * 365 * 24 * 3_600_000, true)]);
        assert_eq!((years.p99(), years.patience(SETTING)), (Some(MOST), MOST));
        assert_eq!(years.patience(MOST * 3), MOST * 2, "a longer setting is the bound then");
    }

    #[test]
    fn one_of_a_hundred_is_an_outlier_and_old_ones_are_forgotten() {
        let mut many = vec![(60_000, true); 99];
        many.push((3_000_000, true));
        assert_eq!(after(&many).p99(), Some(Duration::from_secs(60)));
        assert_eq!(after(&many[98..]).p99(), Some(Duration::from_secs(3_000)));
        let mut first = vec![(3_000_000, true); 5];
        first.extend([(10_000, true); REMEMBERED]);
        assert_eq!(after(&first).p99(), Some(Duration::from_secs(10)));
    }
}
