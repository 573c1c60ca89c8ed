//! Rollouts that nobody but the coordinator itself starts: whose they are, and which of them there were.
//!
//! The ledger alone says what was started. It names whose a rollout is as [`Key::by`], which is nothing that a person can be called
//! there, and the time that it is for ends its name. So two of the same name are never taken for one another.

use std::collections::BTreeMap;

use super::{Operation, ledger::Ledger, policy::OPERATIONS, policy::word, replan};
use crate::{id::RolloutId, schedule::recurring::Run, time::WallTime};

/// What follows `-` at the end of every name: the time.
pub const TIME: usize = "20261201t020000z".len();

/// What starts rollouts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A policy, and what it does.
    Policy {
        /// Its name.
        policy: String,
        /// What it does.
        operation: Operation,
    },
    /// A task of a maintenance window, on one of its targets.
    Task {
        /// Name of the window.
        window: String,
        /// Name of the task.
        task: String,
        /// Name of the target.
        target: String,
    },
}

impl Key {
    /// Who started it, as the ledger names them. Unlike people, they have no uid.
    pub fn by(&self) -> String {
        match self {
            Self::Policy { policy, .. } => format!("policy {policy}"),
            Self::Task { window, task, target } => format!("window {window} task {task} on {target}"),
        }
    }

    /// The name of its run for the time `of`, in whole seconds. That of a task names the target if it has `several`.
    pub fn run_name(&self, several: bool, of: WallTime) -> String {
        let time = of.rfc3339().replace(['-', ':'], "").to_ascii_lowercase();
        match self {
            Self::Policy { policy, operation } => format!("{policy}-{}-{time}", word(*operation)),
            Self::Task { window, task, target } if several => format!("{window}-{task}-{target}-{time}"),
            Self::Task { window, task, .. } => format!("{window}-{task}-{time}"),
        }
    }

    /// What started the rollout called `name`, which was applied by `by`, and for which time; `None` if a person did.
    pub fn of(by: &str, name: &str) -> Option<(Self, WallTime)> {
        let of = time(name.rsplit_once('-')?.1)?;
        let found = |key: Self| {
            let names = [key.run_name(false, of), key.run_name(true, of)];
            names.iter().any(|one| one == name).then_some((key, of))
        };
        if let Some(policy) = by.strip_prefix("policy ") {
            let key = |operation| Self::Policy { policy: policy.to_owned(), operation };
            return OPERATIONS.into_iter().find_map(|operation| found(key(operation)));
        }
        let (window, rest) = by.strip_prefix("window ")?.split_once(" task ")?;
        let (task, target) = rest.split_once(" on ")?;
        let [window, task, target] = [window, task, target].map(str::to_owned);
        found(Self::Task { window, task, target })
    }
}

/// The time that ends a name.
fn time(text: &str) -> Option<WallTime> {
    let (date, clock) = text.strip_suffix('z')?.split_once('t')?;
    let parts = [date.get(..4)?, date.get(4..6)?, date.get(6..)?, clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?];
    let [year, month, day, hour, minute, second] = parts;
    WallTime::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The newest run of everything that starts some, with the rollout that shows how it stands.
pub type Runs = BTreeMap<Key, (RolloutId, Run)>;

/// The newest run of everything that started one, which `ledger` knows at `now`. A run of a time that has not come by this clock
/// counts while it is on its way, and then not until that time comes: the clock was ahead when it was started, and what is due
/// meanwhile must not wait for it.
///
/// A rollout that plans another one again is of the same run, which ends with the newest of them. A run of which one is still to be
/// planned is on its way, but for [`replan::AWAITED`] at most.
pub fn runs(ledger: &Ledger, now: WallTime) -> Runs {
    let mut newest = Runs::new();
    for (id, state) in &ledger.rollouts {
        if state.replanned_as.is_some_and(|follower| ledger.rollouts.contains_key(&follower)) {
            continue;
        }
        let (first, _) = replan::lineage(ledger, state);
        let Some((key, of)) = Key::of(&first.by, &first.plan.name) else { continue };
        let ended = state.ended_at.filter(|_| !replan::is_awaited(ledger, *id, state, now));
        if of > now && ended.is_some() {
            continue;
        }
        let run = Run { of, started: state.started_at, ended };
        let known = newest.entry(key).or_insert((*id, run));
        if (known.1.of, known.1.started) < (run.of, run.started) {
            *known = (*id, run);
        }
    }
    newest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        rollout::{
            ledger::{LedgerAct, LedgerEntry, Progress},
            plan::{Plan, Rollout, Superseded},
            tests::{plan_of, replanned::spec},
        },
        run::message::{Refusal, RefusalCode, StopScope},
        schedule::Opening,
    };

    pub(in crate::rollout) fn at(text: &str) -> WallTime {
        WallTime::parse(text).unwrap()
    }

    /// Puts the rollout `name` of `by` into `ledger`.
    pub(in crate::rollout) fn start(
        ledger: &mut Ledger,
        id: u8,
        by: &str,
        name: &str,
        started: WallTime,
        ended: Option<WallTime>,
    ) {
        let mut plan = plan_of(1, 1, 0, vec![Opening::endless(WallTime(0))]);
        plan.name = name.to_owned();
        let id = RolloutId([id; 8]);
        let act = LedgerAct::Started(Box::new(Rollout { id, plan, by: by.to_owned(), replans: None }));
        ledger.fold(&LedgerEntry { at: started, act }).unwrap();
        ledger.rollouts.get_mut(&id).unwrap().ended_at = ended;
    }

    /// The only host of the rollout is left out, since its version is gone, and it is to be planned again.
    pub(in crate::rollout) fn supersede(ledger: &mut Ledger, id: u8) {
        let state = ledger.rollouts.get_mut(&RolloutId([id; 8])).unwrap();
        let refusal = Refusal { code: RefusalCode::VersionGone, text: "gone".into(), remedy: "wait".into() };
        state.hosts[0].progress = Progress::Refused(refusal);
        state.tally.refused = 1;
        state.plan.on_superseded = Superseded::Replan(Box::new(spec()));
    }

    /// Puts the rollout `id` into `ledger`, which plans the rollout `of` again.
    pub(in crate::rollout) fn follow(ledger: &mut Ledger, id: u8, of: u8, started: WallTime) {
        let of = RolloutId([of; 8]);
        let plan = Plan { name: "again-replan-1".into(), ..plan_of(1, 1, 0, vec![Opening::endless(WallTime(0))]) };
        let by = format!("replan of {of}");
        let act = LedgerAct::Started(Box::new(Rollout { id: RolloutId([id; 8]), plan, by, replans: Some(of) }));
        ledger.fold(&LedgerEntry { at: started, act }).unwrap();
    }

    fn policy(policy: &str, operation: Operation) -> Key {
        Key::Policy { policy: policy.into(), operation }
    }

    fn task(window: &str, task: &str, target: &str) -> Key {
        Key::Task { window: window.into(), task: task.into(), target: target.into() }
    }

    #[test]
    fn a_name_and_who_started_it_say_whose_a_run_is_and_for_which_time() {
        let of = at("2026-12-06T02:00:00Z");
        let keys = [
            policy("nightly", Operation::Install),
            policy("a-scan-b", Operation::Scan),
            task("nightly", "scan", "web"),
            task("a", "b-c", "d"),
            task("a-b", "c", "d"),
        ];
        for key in &keys {
            for several in [false, true] {
                assert_eq!(Key::of(&key.by(), &key.run_name(several, of)), Some((key.clone(), of)));
            }
        }
        assert_eq!(keys[0].run_name(false, of), "nightly-install-20261206t020000z");
        assert_eq!(keys[2].run_name(false, of), "nightly-scan-20261206t020000z");
        assert_eq!(keys[2].run_name(true, of), "nightly-scan-web-20261206t020000z");
        assert_eq!(policy("nightly", Operation::Scan).run_name(false, of), keys[2].run_name(false, of));
        for (by, name) in [
            ("ops (uid 0)", "nightly-scan-20261206t020000z"),
            ("policy nightly (uid 0)", "nightly-scan-20261206t020000z"),
            ("policy nightly", "nightly-scan-20261306t020000z"),
            ("policy nightly", "nightly-look-20261206t020000z"),
            ("policy nightly", "a-scan-20261206t02000z"),
            ("policy nightly", "nightly"),
            ("window nightly task scan", "nightly-scan-20261206t020000z"),
        ] {
            assert_eq!(Key::of(by, name), None, "{by}: {name}");
        }
    }

    #[test]
    fn the_ledger_alone_says_which_runs_there_were() {
        let mut ledger = Ledger::default();
        let mut start = |id: u8, by: &str, name: &str, started: &str, ended: Option<&str>| {
            start(&mut ledger, id, by, name, at(started), ended.map(at));
        };
        let by = "policy nightly";
        start(1, by, "nightly-scan-20261201t020000z", "2026-12-01T02:00:01Z", Some("2026-12-01T02:05:00Z"));
        start(2, by, "nightly-scan-20261202t020000z", "2026-12-02T02:00:01Z", None);
        start(3, by, "nightly-install-20261201t030000z", "2026-12-01T03:00:01Z", None);
        start(4, "ops", "weekly", "2026-12-01T03:00:01Z", None);
        start(5, "ops", "nightly-scan-20991202t020000z", "2026-12-02T02:00:02Z", None);
        start(6, &task("nightly", "scan", "web").by(), "nightly-scan-20261203t020000z", "2026-12-03T02:00:02Z", None);
        let found = runs(&ledger, WallTime::MAX);
        assert_eq!(found.len(), 3, "and none that somebody else named so");
        let scan = policy("nightly", Operation::Scan);
        let (id, run) = found[&scan];
        assert_eq!((id, run.of, run.ended), (RolloutId([2; 8]), at("2026-12-02T02:00:00Z"), None));
        assert_eq!(found[&policy("nightly", Operation::Install)].0, RolloutId([3; 8]));
        assert_eq!(found[&task("nightly", "scan", "web")].0, RolloutId([6; 8]));
        let before = at("2026-12-02T01:59:59Z");
        assert_eq!(
            runs(&ledger, before)[&scan].0,
            RolloutId([2; 8]),
            "the clock was set back, but this one is on its way"
        );
        ledger.rollouts.get_mut(&RolloutId([2; 8])).unwrap().ended_at = Some(at("2026-12-02T02:01:00Z"));
        assert_eq!(runs(&ledger, before)[&scan].0, RolloutId([1; 8]), "it ended, and its time has not come");
        assert_eq!(
            runs(&ledger, WallTime(before.0 + 1000))[&scan].0,
            RolloutId([2; 8]),
            "nothing is started for it again"
        );
    }

    #[test]
    fn a_run_ends_with_the_newest_rollout_that_plans_it_again_and_waits_for_one_that_is_due_for_a_while() {
        let (mut ledger, install) = (Ledger::default(), policy("nightly", Operation::Install));
        let (of, ended) = (at("2026-12-02T02:00:00Z"), at("2026-12-02T02:30:00Z"));
        start(&mut ledger, 1, &install.by(), &install.run_name(false, of), of, Some(ended));
        assert_eq!(runs(&ledger, ended)[&install].1.ended, Some(ended), "nobody was left out");
        supersede(&mut ledger, 1);
        let run = |ledger: &Ledger, now: WallTime| runs(ledger, now)[&install];
        let first = RolloutId([1; 8]);
        let going = Run { of, started: of, ended: None };
        let late = ended.plus(replan::AWAITED);
        for now in [ended, late] {
            assert_eq!(run(&ledger, now), (first, going), "it is still to be planned again");
        }
        let over = Run { ended: Some(ended), ..going };
        assert_eq!(run(&ledger, WallTime(late.0 + 1)), (first, over), "nothing waits for it any longer");
        assert_eq!(run(&ledger, WallTime(ended.0 - 1)).1.ended, Some(ended), "the clock was set back");
        ledger.orders.insert(StopScope::All, (1, true));
        assert_eq!(run(&ledger, ended), (first, going), "nor while a STOP of every rollout stands");
        assert_eq!(run(&ledger, WallTime(late.0 + 1)), (first, over), "and no longer for that");

        let (second, again) = (RolloutId([2; 8]), WallTime(late.0 + 5000));
        follow(&mut ledger, 2, 1, again);
        let going = Run { started: again, ..going };
        assert_eq!(run(&ledger, again), (second, going), "and it goes on, for the same time");
        let done = again.plus(core::time::Duration::from_secs(60));
        ledger.rollouts.get_mut(&second).unwrap().ended_at = Some(done);
        assert_eq!(run(&ledger, done), (second, Run { ended: Some(done), ..going }));

        let mut halted = Ledger::default();
        start(&mut halted, 1, &install.by(), &install.run_name(false, of), of, Some(ended));
        supersede(&mut halted, 1);
        halted.rollouts.get_mut(&first).unwrap().halted = true;
        assert_eq!(run(&halted, ended), (first, over), "it is never planned again");
    }

    /// The clock is set back by two hours between the time for which a run is planned and its start.
    #[test]
    fn a_run_that_began_before_its_time_because_the_clock_was_set_back_is_known_when_that_time_comes_again() {
        let mut ledger = Ledger::default();
        let (scan, of) = (policy("nightly", Operation::Scan), at("2026-12-02T02:00:00Z"));
        start(&mut ledger, 1, &scan.by(), &scan.run_name(false, of), at("2026-12-02T00:01:00Z"), None);
        assert!(runs(&ledger, at("2026-12-02T00:02:00Z")).contains_key(&scan), "it is on its way");
        ledger.rollouts.get_mut(&RolloutId([1; 8])).unwrap().ended_at = Some(at("2026-12-02T00:05:00Z"));
        assert!(runs(&ledger, at("2026-12-02T01:59:59Z")).is_empty());
        assert_eq!(runs(&ledger, of)[&scan].1.of, of, "nothing is started for it a second time");
    }
}
