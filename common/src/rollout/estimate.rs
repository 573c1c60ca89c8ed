//! How long a host is expected to take: learned from the runs that its reports tell of, and while it has too few of its own from
//! those of the fleet.
//!
//! An estimate is said before a plan is applied, and judges whether a run still fits into an opening. It never frees a slot.

use core::time::Duration;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use super::{
    Operation, RebootOption,
    silence::{Reboots, rank},
};
use crate::{
    id::NodeId,
    run::{
        Phase,
        message::{Outcome, Report},
    },
};

/// Runs of one host that are remembered, of each operation: half a year of weekly ones.
const REMEMBERED: usize = 32;
/// Runs of the whole fleet that are remembered, of each operation.
const POOL: usize = 512;
/// With fewer runs of its own than this, the fleet's say more about a host.
const ENOUGH: usize = 3;
/// No run is taken for longer: a clock that was set makes one of years.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What half and 95 of 100 runs do not exceed, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Estimate {
    /// Half of the runs are no longer.
    pub p50: u32,
    /// 95 of 100 runs are no longer.
    pub p95: u32,
}

/// One run, in seconds by its host's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Took {
    /// From start to end.
    whole: u32,
    /// The same without reboots.
    work: u32,
}

/// Runs of both operations, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Runs {
    scans: VecDeque<Took>,
    installs: VecDeque<Took>,
}

/// What is known of how long runs take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durations {
    hosts: BTreeMap<NodeId, Runs>,
    fleet: Runs,
    /// The fleet's reboots: for hosts of which none was seen.
    reboots: Reboots,
}

impl Runs {
    fn of(&self, operation: Operation) -> &VecDeque<Took> {
        match operation {
            Operation::Scan => &self.scans,
            Operation::Install => &self.installs,
        }
    }

    fn push(&mut self, operation: Operation, took: Took, most: usize) {
        let runs = match operation {
            Operation::Scan => &mut self.scans,
            Operation::Install => &mut self.installs,
        };
        if runs.len() == most {
            runs.pop_front();
        }
        runs.push_back(took);
    }
}

impl Durations {
    /// Takes in a run of `host`. One that did not succeed teaches nothing: it ended early, or hung.
    pub(super) fn learn(&mut self, host: NodeId, operation: Operation, report: &Report) {
        if report.outcome != Outcome::Succeeded {
            return;
        }
        let Some(whole) = seconds(report.ended.0.saturating_sub(report.started.0)) else { return };
        let whole = whole.saturating_sub(waited(report));
        let reboots = report.steps.iter().filter(|step| step.phase == Phase::Reboot);
        let away: u32 = reboots.filter_map(|step| seconds(step.ended.0.saturating_sub(step.started.0))).sum();
        let took = Took { whole, work: whole.saturating_sub(away) };
        self.hosts.entry(host).or_default().push(operation, took, REMEMBERED);
        self.fleet.push(operation, took, POOL);
        self.reboots.learn(report);
    }

    /// How long runs of `operation` are expected to take. What the fleet says is computed here, once for all hosts.
    pub fn expect(&self, operation: Operation, reboot: RebootOption) -> Expectation<'_> {
        let reboots = operation == Operation::Install && reboot.reboots();
        let away = self.reboots.percentile(95).unwrap_or_default();
        Expectation { durations: self, operation, reboots, fleet: Ranks::of(self.fleet.of(operation)), away }
    }

    /// How long a run on `host`, whose own reboots are `own`, is expected to take. `None` if no run like it was ever seen.
    pub fn estimate(
        &self,
        host: &NodeId,
        operation: Operation,
        reboot: RebootOption,
        own: Option<&Reboots>,
    ) -> Option<Estimate> {
        self.expect(operation, reboot).of(host, own)
    }
}

/// What runs of one operation did not exceed: half of them, and 95 of 100; in seconds.
#[derive(Clone, Copy, Debug)]
struct Ranks {
    whole: Estimate,
    work: Estimate,
}

impl Ranks {
    fn of(runs: &VecDeque<Took>) -> Option<Self> {
        let of = |took: fn(&Took) -> u32| {
            let at = |percent: usize| rank(runs.iter().map(took).collect(), percent);
            Some(Estimate { p50: at(50)?, p95: at(95)? })
        };
        Some(Self { whole: of(|run| run.whole)?, work: of(|run| run.work)? })
    }
}

/// How long runs of one operation are expected to take.
#[derive(Clone, Debug)]
pub struct Expectation<'a> {
    durations: &'a Durations,
    operation: Operation,
    /// Whether hosts may reboot.
    reboots: bool,
    fleet: Option<Ranks>,
    /// What the fleet's reboots did not exceed.
    away: Duration,
}

impl Expectation<'_> {
    /// How long a run on `host`, whose own reboots are `own`, is expected to take. `None` if no run like it was ever seen.
    ///
    /// Whether it will have to reboot is not known before: half of the time is what runs took, the longer one has room for a reboot.
    /// Neither counts what a run waits for the time of its reboot.
    pub fn of(&self, host: &NodeId, own: Option<&Reboots>) -> Option<Estimate> {
        let runs = self.durations.hosts.get(host).map(|runs| runs.of(self.operation));
        let Ranks { whole, work } = match runs.filter(|runs| runs.len() >= ENOUGH) {
            Some(runs) => Ranks::of(runs)?,
            None => self.fleet?,
        };
        if !self.reboots {
            return Some(work);
        }
        Some(Estimate { p50: whole.p50, p95: whole.p95.max(work.p95.saturating_add(self.away(own))) })
    }

    /// What 95 of 100 reboots of a host, whose own are `own`, do not exceed; in seconds.
    pub fn away(&self, own: Option<&Reboots>) -> u32 {
        let away = own.and_then(|own| own.percentile(95)).unwrap_or(self.away);
        u32::try_from(away.as_secs()).unwrap_or(u32::MAX)
    }
}

/// Seconds for which the run waited for the time of its reboot: between the step before it and its first attempt. That is no work.
fn waited(report: &Report) -> u32 {
    let first = report.steps.iter().position(|step| step.phase == Phase::Reboot);
    let pair = first.and_then(|at| Some((report.steps.get(at.checked_sub(1)?)?, &report.steps[at])));
    pair.and_then(|(before, reboot)| u32::try_from(reboot.started.0.saturating_sub(before.ended.0) / 1000).ok())
        .unwrap_or(0)
}

/// Whole seconds, rounded up and bounded. `None` if the clock was set back meanwhile.
fn seconds(millis: i64) -> Option<u32> {
    let seconds = u64::try_from(millis).ok()?.div_ceil(1000).min(LONGEST.as_secs());
    u32::try_from(seconds).ok()
}

/// When the last of the hosts that take so many seconds is done, if they start in order and so many are at work `at_once`.
pub fn makespan(seconds: impl IntoIterator<Item = u64>, at_once: u32) -> u64 {
    let mut ends: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    let mut last = 0;
    for took in seconds {
        let begins = if ends.len() < at_once.max(1) as usize { 0 } else { ends.pop().map_or(0, |Reverse(end)| end) };
        let end = begins.saturating_add(took);
        last = last.max(end);
        ends.push(Reverse(end));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{LeaseId, RolloutId},
        patch::PatchCounters,
        run::message::StepReport,
        time::WallTime,
    };

    const HOST: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    fn report(whole: i64, reboot: i64, outcome: Outcome) -> Report {
        let step = StepReport {
            phase: Phase::Reboot,
            attempt: 1,
            ok: true,
            started: WallTime(0),
            ended: WallTime(reboot * 1000),
            output: String::new(),
        };
        Report {
            lease: LeaseId([1; 16]),
            rollout: RolloutId([1; 8]),
            outcome,
            phase: Phase::OnExit,
            rebooted: reboot > 0,
            packages: vec![],
            error: None,
            counters: PatchCounters::default(),
            steps: if reboot > 0 { vec![step] } else { vec![] },
            started: WallTime(0),
            ended: WallTime(whole * 1000),
        }
    }

    fn learned(host: NodeId, runs: &[(i64, i64)]) -> Durations {
        let mut durations = Durations::default();
        for (whole, reboot) in runs {
            durations.learn(host, Operation::Install, &report(*whole, *reboot, Outcome::Succeeded));
        }
        durations
    }

    fn both(durations: &Durations, host: NodeId, reboot: RebootOption) -> Option<(u32, u32)> {
        durations.estimate(&host, Operation::Install, reboot, None).map(|found| (found.p50, found.p95))
    }

    #[test]
    fn what_a_run_waited_for_the_time_of_its_reboot_is_no_work() {
        let mut waited = report(1000, 60, Outcome::Succeeded);
        let hooks = StepReport { phase: Phase::PostInstall, ended: WallTime(20_000), ..waited.steps[0].clone() };
        (waited.steps[0].started, waited.steps[0].ended) = (WallTime(920_000), WallTime(980_000));
        let again = StepReport { attempt: 2, started: WallTime(990_000), ..waited.steps[0].clone() };
        waited.steps.insert(0, hooks);
        let mut durations = Durations::default();
        durations.learn(HOST, Operation::Install, &waited);
        assert_eq!(both(&durations, HOST, RebootOption::Never), Some((40, 40)));
        assert_eq!(both(&durations, HOST, RebootOption::At(WallTime(0))), Some((100, 100)));
        waited.steps.push(again);
        assert_eq!(super::waited(&waited), 900, "before the first attempt only");
    }

    #[test]
    fn the_longer_time_has_room_for_a_reboot_and_the_usual_one_is_what_runs_took() {
        let durations = learned(HOST, &[(100, 0), (160, 60), (120, 0), (110, 0)]);
        assert_eq!(both(&durations, HOST, RebootOption::IfNeeded), Some((110, 180)));
        assert_eq!(both(&durations, HOST, RebootOption::Never), Some((100, 120)));
        let slow = learned(OTHER, &[(500, 400)]).reboots;
        let own = durations.estimate(&HOST, Operation::Install, RebootOption::IfNeeded, Some(&slow));
        assert_eq!(own.map(|found| found.p95), Some(520), "its own reboots count before the fleet's");
    }

    #[test]
    fn a_host_with_too_few_runs_of_its_own_is_expected_to_be_like_the_fleet() {
        let mut durations = learned(HOST, &[(100, 0), (100, 0), (100, 0)]);
        assert_eq!(both(&durations, OTHER, RebootOption::Never), Some((100, 100)));
        for _ in 0..ENOUGH {
            durations.learn(OTHER, Operation::Install, &report(9, 0, Outcome::Succeeded));
        }
        assert_eq!(both(&durations, OTHER, RebootOption::Never), Some((9, 9)));
        assert_eq!(durations.estimate(&HOST, Operation::Scan, RebootOption::Never, None), None, "a scan is no install");
    }

    #[test]
    fn what_failed_or_was_measured_by_a_clock_that_was_set_teaches_nothing_wild() {
        let mut durations = Durations::default();
        durations.learn(HOST, Operation::Install, &report(7, 0, Outcome::Failed));
        durations.learn(HOST, Operation::Install, &report(-7, 0, Outcome::Succeeded));
        assert_eq!(durations, Durations::default());
        durations.learn(HOST, Operation::Install, &report(20 * 365 * 86_400, 0, Outcome::Succeeded));
        assert_eq!(both(&durations, HOST, RebootOption::Never), Some((86_400, 86_400)));
        for _ in 0..REMEMBERED {
            durations.learn(HOST, Operation::Install, &report(10, 0, Outcome::Succeeded));
        }
        assert_eq!(both(&durations, HOST, RebootOption::Never), Some((10, 10)), "old ones are forgotten");
    }

    #[test]
    fn a_rollout_ends_with_the_last_of_those_that_share_its_slots() {
        assert_eq!(makespan([10, 10, 10], 1), 30);
        assert_eq!(makespan([10, 10, 10], 2), 20);
        assert_eq!(makespan([30, 10, 10, 10], 2), 30, "who is done makes room while another is at work");
        assert_eq!((makespan([], 4), makespan([5], 9), makespan([5, 5], 0)), (0, 5, 10));
    }
}
