//! Policies of a simulation: drawn for the profiles, or written in a scenario's file.

use std::collections::BTreeMap;

use patchmesh_common::rollout::{
    RebootOption,
    limit::Limit,
    policy::{self, BlackoutText, Labels, PatchPolicy, RingText, Spec, TargetsText, Timing},
};
use serde::{Deserialize, Serialize};

use super::MINUTE;
use crate::{chance::Chance, clock::true_wall, keys};

/// Most policies of one simulation.
pub const MAX_POLICIES: usize = 20;
/// How long after the healing policies are kept, in milliseconds: the longest interval of those that are drawn, with time for what
/// it starts.
pub const KEPT_ON: u64 = 16 * MINUTE;
/// The longest interval that is drawn, in minutes.
const LONGEST: u64 = 12;
/// Half of the hosts carry this tag with the value `0`, the others with `1`.
pub(crate) const SIDE: &str = "side";

/// A policy. Operators keep it until [`KEPT_ON`] after every fault has healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// When it is kept, in milliseconds.
    pub at: u64,
    /// As in a manifest of kind `PatchPolicy`, without windows, without approvals, and with the baseline `all`.
    pub spec: Spec,
}

impl Policy {
    /// Its manifest, as the policy `number` of its scenario.
    pub fn manifest(&self, number: usize) -> PatchPolicy {
        PatchPolicy { name: format!("policy-{number}"), spec: self.spec.clone(), labels: Default::default() }
    }

    /// What is wrong with the policy `number`; `None` if a simulation can have it.
    pub fn wrong(&self, number: usize) -> Option<String> {
        let name = format!("policy {number}");
        if let Err(problems) = self.manifest(number).check() {
            let told = problems.iter().map(ToString::to_string);
            return Some(format!("{name}: {}", told.collect::<Vec<_>>().join("; ")));
        }
        if !self.spec.windows.is_empty() {
            return Some(format!("{name}: windows are kept by no simulation: use blackouts"));
        }
        if self.spec.rings.iter().any(|ring| ring.approvals.unwrap_or(0) > 0) {
            return Some(format!("{name}: nobody approves its rings: leave approvals out"));
        }
        (self.spec.baseline.as_deref() != Some("all")).then(|| format!("{name}: write baseline: all"))
    }
}

/// A policy that does nothing yet, for every host.
pub(crate) fn idle(max_concurrency: Limit, max_errors: Limit) -> Spec {
    let written = policy::predefined::host_management().spec;
    Spec {
        description: None,
        enabled: None,
        scan: None,
        baseline: Some("all".to_owned()),
        max_concurrency,
        max_errors: Some(max_errors),
        ..written
    }
}

/// A schedule that comes at least every [`LONGEST`] minutes.
fn often(chance: &mut Chance) -> Timing {
    let schedule = match chance.below(3) {
        0 => {
            // What divides an hour, so that no two times are closer together.
            let every = [5, 6, 10, 12][chance.below(4) as usize];
            format!("cron({}/{every} * * * ? *)", chance.below(every))
        }
        _ => format!("rate({} minutes)", 5 + chance.below(LONGEST - 4)),
    };
    Timing { schedule, catch_up: None }
}

/// Whom an install is for, and the number of the first of them. Those with the numbers 0 and 1 never leave.
fn targets(chance: &mut Chance) -> (TargetsText, u32) {
    let first = chance.below(2) as u32;
    if chance.once_in(3) {
        return (TargetsText { all: Some(true), ..TargetsText::default() }, first);
    }
    let match_labels = BTreeMap::from([(SIDE.to_owned(), first.to_string())]);
    (TargetsText { selector: Some(Labels { match_labels }), ..TargetsText::default() }, first)
}

/// One host, then the rest in two steps.
fn rings(first: u32, chance: &mut Chance) -> Vec<RingText> {
    let ring = |name: &str| RingText {
        name: name.to_owned(),
        all: None,
        names: None,
        selector: None,
        matching: None,
        patch_groups: None,
        steps: Vec::new(),
        wait: None,
        bake: None,
        approvals: None,
    };
    let bake = Some(format!("{}s", 5 + chance.below(60)));
    let canary = RingText { names: Some(vec![keys::name(first)]), bake, ..ring("canary") };
    let wait = Some(format!("{}s", chance.below(30)));
    let steps = vec![Limit::share(30 + chance.below(40) as u32), Limit::share(100)];
    vec![canary, RingText { all: Some(true), steps, wait, ..ring("rest") }]
}

/// A policy that scans, installs, or does both.
fn draw_one(hosts: u32, chance: &mut Chance) -> Policy {
    let limit = |chance: &mut Chance, most: u64| match chance.below(2) {
        0 => Limit::count(1 + chance.below(most) as u32),
        _ => Limit::share(10 + chance.below(91) as u32),
    };
    let errors = [Limit::count(0), Limit::count(1), Limit::share(20), Limit::share(100)];
    let max_errors = errors[chance.below(4) as usize].clone();
    let mut spec = idle(limit(chance, u64::from(hosts / 3).max(1)), max_errors);
    let installs = !chance.once_in(3);
    if !installs || chance.once_in(2) {
        spec.scan = Some(often(chance));
    }
    if installs {
        let (chosen, first) = targets(chance);
        (spec.install, spec.targets) = (Some(often(chance)), chosen);
        spec.reboot = chance.once_in(2).then_some(RebootOption::Never);
        if chance.once_in(2) {
            spec.rings = rings(first, chance);
        }
        if chance.once_in(3) {
            let from = 5 * MINUTE + chance.below(10 * MINUTE);
            let to = from + MINUTE + chance.below(4 * MINUTE);
            let [from, to] = [from, to].map(|at| true_wall(at / 1000 * 1000).rfc3339());
            spec.blackouts = vec![BlackoutText { from, to }];
        }
    }
    Policy { at: MINUTE + chance.below(2 * MINUTE), spec }
}

/// The policies of a profile, whose place among them is `rank`, in a mesh of so many hosts.
pub(super) fn draw(hosts: u32, rank: u8, chance: &mut Chance) -> Vec<Policy> {
    let count = match rank {
        0 => 0,
        1 => chance.below(2),
        _ => 1 + chance.below(2),
    };
    (0..count).map(|_| draw_one(hosts, chance)).collect()
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        rollout::{Operation, policy::OPERATIONS},
        time::WallTime,
    };

    use super::*;
    use crate::chance::Seeds;

    #[test]
    fn whatever_is_drawn_is_a_policy_that_comes_often_enough_to_be_seen_after_the_healing() {
        let (mut scans, mut installs, mut ringed, mut dark) = (0, 0, 0, 0);
        for seed in 0..300 {
            let drawn = draw(12, 3, &mut Seeds::new(seed, false).chance("policies"));
            assert!((1..=2).contains(&drawn.len()));
            for (number, policy) in drawn.iter().enumerate() {
                assert_eq!(policy.wrong(number), None, "seed {seed}");
                let checked = policy.manifest(number).check().unwrap();
                for recurring in OPERATIONS.into_iter().filter_map(|operation| checked.recurring(operation)) {
                    let next = recurring.next(true_wall(20 * MINUTE)).unwrap();
                    assert!(next < WallTime(true_wall(20 * MINUTE).0 + (LONGEST * MINUTE) as i64), "seed {seed}");
                }
                scans += u32::from(checked.recurring(Operation::Scan).is_some());
                installs += u32::from(checked.recurring(Operation::Install).is_some());
                (ringed, dark) = (ringed + policy.spec.rings.len() / 2, dark + policy.spec.blackouts.len());
            }
        }
        assert!(scans > 100 && installs > 100 && ringed > 50 && dark > 50, "{scans} {installs} {ringed} {dark}");
    }

    #[test]
    fn what_no_simulation_can_have_is_told() {
        let good = || {
            let mut spec = idle(Limit::count(1), Limit::count(0));
            spec.install = Some(Timing { schedule: "rate(5 minutes)".into(), catch_up: None });
            Policy { at: 0, spec }
        };
        assert_eq!(good().wrong(0), None);
        let told = |change: fn(&mut Spec)| {
            let mut policy = good();
            change(&mut policy.spec);
            policy.wrong(3).unwrap()
        };
        assert!(told(|spec| spec.windows = vec!["nightly".into()]).contains("policy 3: windows"));
        assert!(told(|spec| spec.baseline = None).ends_with("write baseline: all"));
        assert!(told(|spec| spec.install = None).contains("scan"));
        let mut chance = Seeds::new(1, false).chance("policies");
        let mut approved = good();
        approved.spec.rings = rings(0, &mut chance);
        approved.spec.rings[1].approvals = Some(1);
        assert!(approved.wrong(0).unwrap().contains("leave approvals out"));
    }
}
