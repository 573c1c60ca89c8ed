//! Policies at a coordinator: it asks again and again what is due and starts it, by the way that waves go too.
//!
//! What is kept outlives the process, as the daemon's store does; what was tried, and every plan that is being made, dies with it.

use std::{borrow::Cow, collections::BTreeMap};

use patchmesh_common::{
    id::RolloutId,
    patch::Approval,
    rollout::{
        Operation,
        attempts::{Attempts, Kept as AllKept, Start},
        controller::Event,
        ledger::Ledger,
        plan::{Plan, ResolvedLimit, Superseded},
        policy::{OPERATIONS, Policy},
        replan::{AWAITED, lineage},
        spec::RolloutSpec,
        started::Key,
        survey::Found,
    },
    schedule::{Opening, recurring::GRACE},
    time::{Now, WallTime},
};
use rand::Rng;

use super::{Happening, World, operators::Order, rings, surveys::For};
use crate::{
    scenario::policy::KEPT_ON,
    truth::{PolicyRun, Spot, Truth},
};

/// How often a coordinator asks what is due, in milliseconds, as the daemon does.
const LOOK: u64 = 2_000;
/// Operators who find no coordinator look again after this, in milliseconds.
const AGAIN: u64 = 5_000;
/// So long before it is too late for a time it is demanded that a look starts something for it, in milliseconds.
const MARGIN: i64 = 60_000;

/// A policy in a coordinator's store.
#[derive(Clone)]
struct Kept {
    policy: Policy,
    since: WallTime,
    /// Whether scans and installs are made up for.
    catches_up: [bool; 2],
}

/// What a coordinator has of policies.
#[derive(Default)]
pub(super) struct Policies {
    kept: Vec<Kept>,
    attempts: Attempts,
    /// When this process began.
    began: WallTime,
    /// The newest time of each that the observers were told of.
    due: BTreeMap<Key, WallTime>,
    /// The newest time of each for which they were told that nothing is started.
    refused: BTreeMap<Key, WallTime>,
}

impl Policies {
    /// The process is gone.
    pub(super) fn forget(&mut self) {
        self.attempts = Attempts::default();
        self.refused.clear();
    }

    /// What a copy of the store has of them.
    pub(super) fn copy(&self) -> Self {
        Self { kept: self.kept.clone(), ..Self::default() }
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.kept.len()
    }
}

/// The run that a rollout of this name is, which `by` applied; `None` if it is none.
pub(super) fn run(by: &str, name: &str) -> Option<PolicyRun> {
    let (key, of) = Key::of(by, name)?;
    run_for(&key, of)
}

/// The run of `key` for the time `of`; nothing but policies is kept here.
fn run_for(key: &Key, of: WallTime) -> Option<PolicyRun> {
    match key {
        Key::Policy { policy, operation } => Some(PolicyRun { policy: policy.clone(), operation: *operation, of }),
        Key::Task { .. } => None,
    }
}

/// Whether a run of `key` that `ledger` knows at `now` was on its way at the time `of`: that time is passed over. What plans a run
/// again is of it, and for a while it may still be to be planned.
fn is_busy(ledger: &Ledger, key: &Key, of: WallTime, now: WallTime) -> bool {
    ledger.rollouts.values().any(|state| {
        let (first, _) = lineage(ledger, state);
        let own = Key::of(&first.by, &first.plan.name).is_some_and(|(other, _)| other == *key);
        let again = matches!(state.plan.on_superseded, Superseded::Replan(_)) && state.tally.refused > 0;
        let until = |ended: WallTime| if again { ended.plus(AWAITED) } else { ended };
        own && state.ended_at.is_none_or(|ended| of <= until(ended) && ended <= now)
    })
}

impl World {
    /// Operators keep every policy at its time, and drop them all when it is seen that they go on after the healing.
    pub(super) fn begin_policies(&mut self) {
        for policy in 0..self.scenario.policies.len() {
            self.at(self.scenario.policies[policy].at, Happening::Operator { order: Order::Keep { policy } });
        }
        if !self.scenario.policies.is_empty() {
            self.at(self.last_of_policies(), Happening::Operator { order: Order::DropPolicies });
        }
    }

    fn last_of_policies(&self) -> u64 {
        self.scenario.heal + KEPT_ON
    }

    /// Whether runs may still come.
    pub(super) fn has_policies(&self) -> bool {
        !self.scenario.policies.is_empty() && self.now < self.last_of_policies()
    }

    pub(super) fn keep_policy(&mut self, number: usize) {
        let Some(written) = self.scenario.policies.get(number).filter(|_| self.has_policies()) else { return };
        let Ok(policy) = written.manifest(number).check() else { return };
        let timings = [(&written.spec.scan, true), (&written.spec.install, false)];
        let catches_up = timings.map(|(timing, usual)| timing.as_ref().and_then(|one| one.catch_up).unwrap_or(usual));
        let Some(spot) = self.primary().filter(|spot| self.awake(*spot)) else {
            return self.after(AGAIN, Happening::Operator { order: Order::Keep { policy: number } });
        };
        let seat = &mut self.seats[spot as usize];
        let since = seat.clock.now(self.now).wall;
        if let Some(desk) = seat.desk_mut() {
            desk.policies.kept.push(Kept { policy, since, catches_up });
        }
    }

    pub(super) fn drop_policies(&mut self) {
        let Some(spot) = self.primary().filter(|spot| self.awake(*spot)) else {
            return self.after(AGAIN, Happening::Operator { order: Order::DropPolicies });
        };
        if let Some(desk) = self.seats[spot as usize].desk_mut() {
            desk.policies.kept.clear();
        }
        self.tell(spot, Truth::PoliciesDropped);
    }

    /// The process begins to look.
    pub(super) fn follow_policies(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (life, wall) = (seat.life, seat.clock.now(self.now).wall);
        if let Some(desk) = seat.desk_mut().filter(|_| !self.scenario.policies.is_empty()) {
            desk.policies.began = wall;
            self.after(0, Happening::Due { spot, life });
        }
    }

    /// Starts what is due.
    pub(super) fn look_for_due(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (now, life) = (seat.clock.now(self.now), seat.life);
        let Some(desk) = seat.desk_mut() else { return };
        let (mut attempts, began) = (std::mem::take(&mut desk.policies.attempts), desk.policies.began);
        let ledger = self.sabotage.as_mut().and_then(|sabotage| sabotage.due_ledger());
        let ledger = ledger.map_or(Cow::Borrowed(desk.ledger()), Cow::Owned);
        let since = |kept: &Kept| match &self.sabotage {
            Some(sabotage) => sabotage.due_since(kept.since, began),
            None => kept.since,
        };
        let kept: Vec<_> = desk.policies.kept.iter().map(|kept| (&kept.policy, since(kept))).collect();
        let kept = AllKept { policies: kept, windows: Vec::new() };
        let starts = attempts.due(&kept, &ledger, desk.talk(), now);
        desk.policies.attempts = attempts;
        self.tell_due(spot, now);
        for start in starts {
            self.plan_run(spot, start, now);
        }
        self.tell_not_started(spot);
        self.after(LOOK, Happening::Due { spot, life });
    }

    /// Asks the hosts of a run what they would do.
    fn plan_run(&mut self, spot: Spot, start: Start, now: Now) {
        // Every third install finds something new.
        if start.spec.operation == Operation::Install
            && let Some(desk) = self.seats[spot as usize].desk_mut()
        {
            let drawn = desk.chance.next_u64();
            if drawn.is_multiple_of(3) {
                self.repository.publish((drawn >> 32) as u32 % crate::packages::PACKAGES);
            }
        }
        let (key, spec) = (start.key.clone(), start.spec.clone());
        let Some(openings) = spec.own_openings(now.wall) else {
            return self.run_tried(spot, &key, Some("the blackouts leave no opening".into()));
        };
        match self.ask_all(spot, &spec, For::Run(Box::new(start), openings)) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.run_tried(spot, &key, Some(error.to_string())),
            None => self.run_tried(spot, &key, Some("there is no mesh".into())),
        }
    }

    /// Starts a run for which the hosts were asked.
    pub(super) fn apply_run(&mut self, spot: Spot, start: &Start, openings: Vec<Opening>, found: Found) {
        let now = self.seats[spot as usize].clock.now(self.now);
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        let spec = &start.spec;
        if let Some((ring, _)) = spec.rings.iter().zip(&found.rings).find(|(_, hosts)| **hosts == 0) {
            let fault = format!("ring {} has no host that could be planned", ring.name);
            return self.run_tried(spot, &start.key, Some(fault));
        }
        // Never that of a wave, which counts up from 1 in the lower half.
        let id = RolloutId((desk.chance.next_u64() | 1 << 31).to_be_bytes());
        let plan = plan_of(&start.spec, openings, found, now.wall);
        if let Some(ringed) = rings::ringed(id, &plan) {
            self.tell(spot, ringed);
        }
        self.desk_event(spot, Event::Apply { id, plan: Box::new(plan), by: start.key.by() });
        self.run_tried(spot, &start.key, None);
    }

    fn run_tried(&mut self, spot: Spot, key: &Key, fault: Option<String>) {
        let seat = &mut self.seats[spot as usize];
        let now = seat.clock.now(self.now);
        if let Some(desk) = seat.desk_mut() {
            desk.policies.attempts.ended(key, fault, now.boot);
        }
    }

    /// Tells the observers which times a coordinator that looks now, after the healing, must not let pass.
    fn tell_due(&mut self, spot: Spot, now: Now) {
        if !self.healed || self.primary() != Some(spot) {
            return;
        }
        let Some(desk) = self.seats[spot as usize].desk_mut().filter(|desk| !desk.talk().stands_back(now.boot)) else {
            return;
        };
        let mut told = Vec::new();
        for kept in &desk.policies.kept {
            for (operation, catches_up) in OPERATIONS.into_iter().zip(kept.catches_up) {
                let newest = kept.policy.recurring(operation).and_then(|times| times.newest(kept.since, now.wall));
                let in_time = |of: &WallTime| now.wall.0 - of.0 < GRACE.as_millis() as i64 - MARGIN;
                let Some(of) = newest.filter(|of| catches_up || in_time(of)) else { continue };
                let key = Key::Policy { policy: kept.policy.name.clone(), operation };
                if desk.policies.due.get(&key) != Some(&of) {
                    let busy = is_busy(desk.ledger(), &key, of, now.wall);
                    told.push((key, of, busy));
                }
            }
        }
        for (key, of, busy) in told {
            let run = run_for(&key, of);
            if let Some(desk) = self.seats[spot as usize].desk_mut() {
                desk.policies.due.insert(key, of);
            }
            if let Some(run) = run {
                self.tell(spot, Truth::Due { run, busy });
            }
        }
    }

    /// Tells the observers what anybody can read who asks why nothing was started.
    fn tell_not_started(&mut self, spot: Spot) {
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        let refused = desk.policies.attempts.not_started();
        let new = refused.into_iter().map(|(key, one)| (key, one.of, one.because));
        let new: Vec<_> = new.filter(|(key, of, _)| desk.policies.refused.get(key) != Some(of)).collect();
        for (key, of, why) in new {
            let run = run_for(&key, of);
            if let Some(desk) = self.seats[spot as usize].desk_mut() {
                desk.policies.refused.insert(key, of);
            }
            if let Some(run) = run {
                self.tell(spot, Truth::NotStarted { run, why });
            }
        }
    }
}

/// The plan of a run, as a coordinator makes it of what its hosts answered.
pub(super) fn plan_of(spec: &RolloutSpec, openings: Vec<Opening>, found: Found, now: WallTime) -> Plan {
    let hosts = u32::try_from(found.planned.len()).unwrap_or(u32::MAX);
    let limit = |given: &str, resolved| ResolvedLimit { given: given.to_owned(), resolved };
    let endless = || vec![Opening::endless(now)];
    Plan {
        because: None,
        name: spec.name.clone(),
        hash: [0; 32],
        created_at: now,
        operation: spec.operation,
        baseline: spec.baseline.plain().unwrap_or(Approval::All),
        reboot: spec.reboot,
        on_hook_failure: spec.on_hook_failure,
        hook_timeout: u32::try_from(spec.hook_timeout.as_secs()).unwrap_or(u32::MAX),
        max_concurrency: limit(spec.max_concurrency.given(), spec.max_concurrency.resolve_concurrency(hosts)),
        max_errors: limit(spec.max_errors.given(), spec.max_errors.resolve_errors(hosts)),
        openings: if openings.is_empty() { endless() } else { openings },
        rings: spec.planned_rings(&found.rings),
        hosts: found.planned,
        excluded: found.excluded,
        gates: spec.gates.clone(),
        ring_gates: spec.ring_gates.clone(),
        on_superseded: Superseded::of(spec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sabotage::find,
        scenario::{MINUTE, Policy as Scripted, Scenario, policy},
        world::{Finish, Outcome},
    };

    /// The stage of a sabotage without the sabotage.
    fn stage(name: &str) -> Scenario {
        find(name).unwrap().scenario()
    }

    fn run(seed: u64, scenario: Scenario) -> Outcome {
        let outcome = World::new(seed, scenario, false).run();
        assert_eq!(outcome.finish, Finish::Completed, "seed {seed}: {:?}", outcome.record.violations);
        outcome
    }

    /// When which time's run of `operation` was started, in minutes.
    fn started(outcome: &Outcome, operation: Operation) -> Vec<(u64, i64)> {
        let minute = |of: WallTime| (of.0 - crate::clock::true_wall(0).0) / MINUTE as i64;
        let runs = outcome.history.iter().filter_map(|(at, _, truth)| match truth {
            Truth::RunStarted { run, .. } if run.operation == operation => Some((at / MINUTE, minute(run.of))),
            _ => None,
        });
        runs.collect()
    }

    #[test]
    fn a_policy_comes_again_and_again_until_it_is_dropped() {
        for seed in 1..=3 {
            let outcome = run(seed, stage("policy-runs-forgotten"));
            assert_eq!(started(&outcome, Operation::Scan), [(5, 5), (10, 10), (15, 15)], "seed {seed}");
            assert!(outcome.ended >= 20 * MINUTE, "seed {seed}");
        }
    }

    /// Both are due every five minutes. The coordinator is away from minute 4 on, until minute 14 or 6.
    #[test]
    fn a_scan_that_nobody_saw_is_made_up_for_and_an_install_only_if_it_is_not_too_late() {
        let long = (600_000, (14, 10), vec![(15, 15)]);
        let short = (120_000, (6, 5), vec![(6, 5), (10, 10), (15, 15)]);
        for (lasts, scan, expected) in [long, short] {
            let mut scenario = stage("missed-times-forgotten");
            (scenario.heal, scenario.faults[0].lasts) = (16 * MINUTE, lasts);
            let twice = scenario.policies[0].clone();
            let mut installs = policy::idle("1".parse().unwrap(), "3".parse().unwrap());
            installs.install = twice.spec.scan.clone();
            scenario.policies.push(Scripted { spec: installs, ..twice });
            let outcome = run(1, scenario);
            let (scans, installs) = (started(&outcome, Operation::Scan), started(&outcome, Operation::Install));
            assert_eq!(scans[0], scan);
            let early = installs.into_iter().filter(|(_, of)| *of <= 15).collect::<Vec<_>>();
            assert_eq!(early, expected);
        }
    }

    #[test]
    fn what_was_being_planned_is_lost_with_the_process_and_planned_again() {
        let mut scenario = stage("policy-runs-forgotten");
        let mut installs = policy::idle("3".parse().unwrap(), "3".parse().unwrap());
        installs.install = scenario.policies[0].spec.scan.take();
        scenario.policies[0].spec = installs;
        let mut world = World::new(1, scenario, false);
        let mut at = 5 * MINUTE;
        let spot = world.primary().unwrap();
        while !world.seats[spot as usize].desk().unwrap().plans_runs() {
            at += 10;
            world.advance(at);
        }
        world.kill(spot, false);
        let desk = world.seats[spot as usize].desk().unwrap();
        assert!(!desk.plans_runs() && desk.policies.attempts == Attempts::default() && desk.policies.count() == 1);
        world.go();
        let outcome = world.outcome();
        assert_eq!(outcome.finish, Finish::Completed, "{:?}", outcome.record.violations);
        assert_eq!(started(&outcome, Operation::Install)[0], (5, 5));
    }

    #[test]
    fn a_ring_without_a_host_is_told_and_not_started() {
        let mut scenario = stage("policy-runs-forgotten");
        let mut spec = scenario.policies[0].spec.clone();
        spec.install = spec.scan.take();
        let ring = r#"{"name": "nobody", "names": ["host-0099"]}"#;
        spec.rings = vec![serde_json::from_str(ring).unwrap()];
        scenario.policies[0].spec = spec;
        let outcome = run(1, scenario);
        assert_eq!(started(&outcome, Operation::Install), []);
        let told = outcome.history.iter().filter_map(|(_, _, truth)| match truth {
            Truth::NotStarted { why, .. } => Some(why.as_str()),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), ["no host is called host-0099"; 3]);
    }
}
