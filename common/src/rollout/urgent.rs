//! "Patch now": what it is limited by if nobody says, and which of its hosts wait for a window or the end of a blackout otherwise.

use std::collections::BTreeMap;

use super::{Operation, limit::Limit, policy::Policy, spec::Targets};

/// A host that a policy installs on only in windows, none of which is open, or not in a blackout that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Its name.
    pub host: String,
    /// The policy.
    pub policy: String,
    /// The policy's windows; empty: it is the blackout.
    pub windows: Vec<String>,
}

/// AWS's fixed limits of "Patch now" for so many `targets`: most hosts at once, and most failed ones (spec 4.5).
pub fn limits(operation: Operation, targets: usize) -> (Limit, Limit) {
    match (operation, targets) {
        (Operation::Scan, _) => (Limit::count(1000), Limit::count(1000)),
        (Operation::Install, 0..25) => (Limit::count(1), Limit::count(1)),
        (Operation::Install, 25..=100) => (Limit::share(5), Limit::count(5)),
        (Operation::Install, 101..=1000) => (Limit::share(8), Limit::count(10)),
        (Operation::Install, _) => (Limit::share(10), Limit::count(10)),
    }
}

/// Those of `hosts`, names with tags, that `targets` mean and that one of `policies` covers, in the order of `hosts`. `is_open` says
/// whether work may start by the policy's windows and blackouts. A policy that is not enabled, or installs nothing, covers nobody.
pub fn covered<'a>(
    targets: &Targets,
    hosts: impl IntoIterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
    policies: &[Policy],
    is_open: impl Fn(&Policy) -> bool,
) -> Vec<Covered> {
    let bound = |policy: &Policy| !(policy.windows().is_empty() && policy.blackouts().is_empty());
    let installs = |policy: &&Policy| policy.recurring(Operation::Install).is_some() && bound(policy);
    let closed: Vec<_> = policies.iter().filter(installs).filter(|policy| !is_open(policy)).collect();
    let meant = hosts.into_iter().filter(|(name, tags)| targets.admits(name, tags));
    let covered = meant.filter_map(|(name, tags)| {
        let policy = closed.iter().find(|policy| policy.targets().admits(name, tags))?;
        Some(Covered { host: name.to_owned(), policy: policy.name.clone(), windows: policy.windows().to_vec() })
    });
    covered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::{BlackoutText, PatchPolicy, TargetsText, Timing, predefined::host_management};

    #[test]
    fn limits_are_those_of_the_table() {
        let told = |operation, targets| {
            let (concurrency, errors) = limits(operation, targets);
            format!("{concurrency} {errors}")
        };
        assert_eq!(told(Operation::Scan, 3), "1000 1000");
        for (targets, expected) in
            [(0, "1 1"), (24, "1 1"), (25, "5% 5"), (100, "5% 5"), (101, "8% 10"), (1000, "8% 10")]
        {
            assert_eq!(told(Operation::Install, targets), expected, "{targets}");
        }
        assert_eq!(told(Operation::Install, 1001), "10% 10");
    }

    fn policy(change: impl FnOnce(&mut PatchPolicy)) -> Policy {
        let mut written = host_management();
        written.name = "nightly".into();
        written.spec.enabled = None;
        written.spec.install = Some(Timing { schedule: "rate(1 day)".into(), catch_up: None });
        written.spec.windows = vec!["sundays".into()];
        written.spec.targets = TargetsText { matching: Some("app=web".parse().unwrap()), ..TargetsText::default() };
        change(&mut written);
        written.check().unwrap()
    }

    #[test]
    fn a_host_is_covered_by_a_policy_that_waits_for_windows_that_are_closed() {
        let (web, db): (BTreeMap<_, _>, BTreeMap<_, _>) =
            ([("app".to_owned(), "web".to_owned())].into(), [("app".to_owned(), "db".to_owned())].into());
        let hosts = [("db-1", &db), ("web-1", &web), ("web-2", &web)];
        let names = |targets: &Targets, policy: Policy, open: bool| -> Vec<String> {
            covered(targets, hosts, &[policy], |_| open).into_iter().map(|one| one.host).collect()
        };
        assert_eq!(names(&Targets::All, policy(|_| {}), false), ["web-1", "web-2"]);
        assert_eq!(names(&Targets::All, policy(|_| {}), true), [""; 0], "it is open");
        assert_eq!(names(&Targets::Names(["web-2".into(), "db-1".into()].into()), policy(|_| {}), false), ["web-2"]);
        assert_eq!(names(&Targets::All, policy(|p| p.spec.enabled = Some(false)), false), [""; 0]);
        assert_eq!(names(&Targets::All, policy(|p| p.spec.windows.clear()), false), [""; 0]);
        let frozen = policy(|p| {
            p.spec.windows.clear();
            let (from, to) = ("2026-12-18T00:00:00Z".into(), "2027-01-04T00:00:00Z".into());
            p.spec.blackouts = vec![BlackoutText { from, to }];
        });
        assert_eq!(names(&Targets::All, frozen, false), ["web-1", "web-2"], "a blackout goes on");
        let found = covered(&Targets::All, hosts, &[policy(|_| {})], |_| false).remove(0);
        assert_eq!((found.policy.as_str(), found.windows), ("nightly", vec!["sundays".to_owned()]));
    }
}
