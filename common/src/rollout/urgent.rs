//! "Patch now": what it is limited by if nobody says, and which of its hosts wait for a window or the end of a blackout otherwise.

use std::collections::BTreeMap;

use super::{Operation, limit::Limit, policy::Policy, spec::Targets};
use crate::{id::NodeId, schedule::window::Window, time::WallTime};

/// What installs on some hosts, and not now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover<'a> {
    /// The policy; `None`: it is a window's own task.
    pub policy: Option<&'a str>,
    /// The windows that are closed; empty: it is a blackout.
    pub windows: Vec<&'a str>,
    /// On which hosts.
    targets: Vec<&'a Targets>,
}

impl<'a> Cover<'a> {
    /// What `policy` covers while work may not start by its windows and blackouts. `None` if it is not enabled, installs nothing, or
    /// waits for nothing.
    pub fn of_policy(policy: &'a Policy) -> Option<Self> {
        let bound = !(policy.windows().is_empty() && policy.blackouts().is_empty());
        let installs = policy.recurring(Operation::Install).is_some() && bound;
        let windows = policy.windows().iter().map(String::as_str).collect();
        installs.then(|| Self { policy: Some(&policy.name), windows, targets: vec![policy.targets()] })
    }

    /// What `window` covers at `now`: the targets of its tasks that install, until it opens. `None` while it is open, or if it never
    /// opens again.
    pub fn of_window(window: &'a Window, now: WallTime) -> Option<Self> {
        let next = window.allowed(now, &[], 1).pop()?;
        let installs = window.tasks.iter().filter(|task| task.operation == Operation::Install);
        let targets: Vec<_> = installs.flat_map(|task| task.targets.iter().map(|(_, targets)| targets)).collect();
        let closed = !next.admits_start(now) && !targets.is_empty();
        closed.then(|| Self { policy: None, windows: vec![&window.name], targets })
    }
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

/// Those of `hosts`, names with keys and tags, that `targets` mean and that one of `closed` covers, in the order of `hosts`, with what does.
pub fn covered<'a, 'b>(
    targets: &Targets,
    hosts: impl IntoIterator<Item = (&'a str, &'a NodeId, &'a BTreeMap<String, String>)>,
    closed: &'b [Cover<'b>],
) -> Vec<(&'a str, &'b Cover<'b>)> {
    let meant = hosts.into_iter().filter(|(name, node, tags)| targets.admits(name, node, tags));
    let cover = |name, node, tags| closed.iter().find(|one| one.targets.iter().any(|all| all.admits(name, node, tags)));
    meant.filter_map(|(name, node, tags)| Some((name, cover(name, node, tags)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rollout::policy::{BlackoutText, PatchPolicy, TargetsText, Timing, predefined::host_management},
        schedule::window::MaintenanceWindow,
    };

    const NODE: NodeId = NodeId([1; 32]);

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
        let hosts = [("db-1", &NODE, &db), ("web-1", &NODE, &web), ("web-2", &NODE, &web)];
        let names = |targets: &Targets, policy: Policy| -> Vec<String> {
            let closed: Vec<_> = Cover::of_policy(&policy).into_iter().collect();
            covered(targets, hosts, &closed).into_iter().map(|(host, _)| host.to_owned()).collect()
        };
        assert_eq!(names(&Targets::All, policy(|_| {})), ["web-1", "web-2"]);
        assert_eq!(names(&Targets::Names(["web-2".into(), "db-1".into()].into()), policy(|_| {})), ["web-2"]);
        assert_eq!(names(&Targets::All, policy(|p| p.spec.enabled = Some(false))), [""; 0]);
        assert_eq!(names(&Targets::All, policy(|p| p.spec.windows.clear())), [""; 0]);
        let frozen = policy(|p| {
            p.spec.windows.clear();
            let (from, to) = ("2026-12-18T00:00:00Z".into(), "2027-01-04T00:00:00Z".into());
            p.spec.blackouts = vec![BlackoutText { from, to }];
        });
        assert_eq!(names(&Targets::All, frozen), ["web-1", "web-2"], "a blackout goes on");
        let guarded = policy(|_| {});
        let cover = Cover::of_policy(&guarded).unwrap();
        assert_eq!((cover.policy, cover.windows), (Some("nightly"), vec!["sundays"]));
    }

    #[test]
    fn a_host_is_covered_by_a_window_that_installs_on_it_until_that_opens() {
        let at = |text| WallTime::parse(text).unwrap();
        let spec = |operation: &str, schedule: &str| {
            let text = serde_json::json!({
                "schedule": schedule, "duration": "2h", "cutoff": "1h",
                "targets": [{ "name": "web", "names": ["web-1"] }, { "name": "db", "names": ["db-1"] }],
                "tasks": [
                    { "name": "patch", "operation": operation, "targets": ["web"], "maxConcurrency": "1" },
                    { "name": "scan", "operation": "Scan", "targets": ["db"], "maxConcurrency": "1" },
                ],
            });
            MaintenanceWindow {
                name: "nightly".into(),
                spec: serde_json::from_value(text).unwrap(),
                labels: Default::default(),
            }
            .check()
            .unwrap()
        };
        let nightly = spec("Install", "cron(0 2 * * ? *)");
        let tags = BTreeMap::new();
        let hosts = [("db-1", &NODE, &tags), ("web-1", &NODE, &tags)];
        let before = at("2026-12-01T01:59:59Z");
        let closed = [Cover::of_window(&nightly, before).unwrap()];
        let found = covered(&Targets::All, hosts, &closed);
        assert_eq!(found.iter().map(|(host, _)| *host).collect::<Vec<_>>(), ["web-1"], "a scan disturbs nobody");
        assert_eq!((found[0].1.policy, &found[0].1.windows), (None, &vec!["nightly"]));
        assert_eq!(Cover::of_window(&nightly, at("2026-12-01T02:00:00Z")), None, "it is open");
        assert!(Cover::of_window(&nightly, at("2026-12-01T03:00:00Z")).is_some(), "its last start has come");
        assert_eq!(Cover::of_window(&spec("Scan", "cron(0 2 * * ? *)"), before), None);
        assert_eq!(Cover::of_window(&spec("Install", "at(2026-11-01T02:00:00)"), before), None, "it is over");
    }
}
