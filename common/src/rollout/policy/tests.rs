//! Tests of policies: what is wrong with them, and what their runs ask for.

use std::collections::BTreeMap;

use super::{predefined::host_management, *};
use crate::rollout::OnHookFailure;

pub(super) fn policy() -> PatchPolicy {
    let mut policy = host_management();
    policy.name = "nightly".into();
    policy.spec.enabled = None;
    policy.spec.install = Some(Timing { schedule: "cron(0 2 ? * SUN *)".into(), catch_up: None });
    policy.spec.windows = vec!["sundays".into()];
    policy
}

fn at(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

fn wrong(change: impl FnOnce(&mut PatchPolicy)) -> Vec<String> {
    let mut changed = policy();
    change(&mut changed);
    changed.check().unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_run_asks_for_what_the_policy_says_under_a_name_that_says_whose_it_is() {
    let checked = policy().check().unwrap();
    let of = at("2026-12-06T02:00:00Z");
    let install = checked.rollout(Operation::Install, of);
    install.check().unwrap();
    assert_eq!((install.name.as_str(), install.operation), ("nightly-install-20261206t020000z", Operation::Install));
    assert_eq!((&install.targets, &install.baseline), (&Targets::All, &Asked::Group));
    assert_eq!((install.max_concurrency.given(), install.max_errors.given()), ("50", "100%"));
    assert_eq!(install.windows, ["sundays"]);
    let scan = checked.rollout(Operation::Scan, of);
    assert_eq!((scan.name.as_str(), scan.windows.len()), ("nightly-scan-20261206t020000z", 0), "scans wait for none");
    let longest = PatchPolicy { name: "n".repeat(MAX_NAME), ..policy() };
    longest.check().unwrap().rollout(Operation::Install, of).check().unwrap();
    assert_eq!(MAX_NAME + TAIL + replan::TAIL, MAX_ROLLOUT, "what plans it again is called so to the end");
}

/// In order: a canary and the rest, a gate, a blackout, and hosts that wait.
fn careful(spec: &mut Spec) {
    let ring = |name: &str| RingText {
        name: name.into(),
        all: Some(true),
        names: None,
        selector: None,
        matching: None,
        patch_groups: None,
        steps: Vec::new(),
        wait: None,
        bake: None,
        approvals: None,
    };
    let canary = RingText { all: None, names: Some(vec!["web-1".into()]), bake: Some("1h".into()), ..ring("canary") };
    let fleet = RingText { steps: vec![Limit::count(1), Limit::share(100)], wait: Some("10m".into()), ..ring("fleet") };
    spec.rings = vec![canary, RingText { approvals: Some(2), ..fleet }];
    let command = Some(vec!["check".into()]);
    let gate = GateText { command, systemd_unit: None, no_new_failed_units: None, http: None, timeout: None };
    let http = Some(HttpText { url: "http://localhost/".into(), status: None });
    let second = GateText { command: None, http, timeout: Some("2m".into()), ..gate.clone() };
    let command = Some(vec!["check-shop".into(), "--all".into()]);
    let shop = RingGateText { command, http: None, timeout: Some("5m".into()) };
    spec.gates = Some(GatesText { after_host: vec![gate, second], after_ring: vec![shop] });
    let (from, to) = ("2026-12-18T00:00:00Z".into(), "2027-01-04T00:00:00Z".into());
    spec.blackouts = vec![BlackoutText { from, to }];
    spec.hooks = Some(Hooks { timeout: None, on_failure: Some(OnHookFailure::Halt) });
    (spec.on_limit, spec.on_superseded) = (Some(OnLimit::Halt), Some(OnSuperseded::Wait));
}

#[test]
fn installs_have_the_rings_gates_and_blackouts_of_the_policy_and_scans_none() {
    let mut written = policy();
    careful(&mut written.spec);
    let checked = written.check().unwrap();
    let of = at("2026-12-06T02:00:00Z");
    let install = checked.rollout(Operation::Install, of);
    install.check().unwrap();
    let rings: Vec<_> =
        install.rings.iter().map(|ring| (ring.name.as_str(), ring.bake.as_secs(), ring.wait.as_secs())).collect();
    assert_eq!(rings, [("canary", 3600, 0), ("fleet", 0, 600)]);
    assert_eq!(install.rings[0].selects, Targets::Names(["web-1".to_owned()].into()));
    assert_eq!((install.rings[1].approvals, install.rings[1].steps.len()), (2, 2));
    let gates: Vec<_> = install.gates.iter().map(|gate| (gate.name(), gate.timeout_seconds)).collect();
    assert_eq!(gates, [("command check".to_owned(), 30), ("http http://localhost/ (200)".to_owned(), 120)]);
    let gates: Vec<_> = install.ring_gates.iter().map(|gate| (gate.name(), gate.timeout_seconds)).collect();
    assert_eq!(gates, [("command check-shop --all".to_owned(), 300)]);
    let frozen = Blackout { from: at("2026-12-18T00:00:00Z"), to: at("2027-01-04T00:00:00Z") };
    assert_eq!((install.blackouts.as_slice(), checked.blackouts()), (&[frozen][..], &[frozen][..]));
    assert_eq!((install.on_superseded, install.on_hook_failure), (OnSuperseded::Wait, OnHookFailure::Halt));
    let scan = checked.rollout(Operation::Scan, of);
    scan.check().unwrap();
    let shown = scan.gates.len() + scan.ring_gates.len();
    assert_eq!((scan.rings.len(), shown, scan.blackouts.len()), (0, 0, 0), "scans disturb nobody");
    assert_eq!(scan.on_superseded, OnSuperseded::Skip);
    let plain = policy().check().unwrap().rollout(Operation::Install, of);
    assert_eq!((plain.rings.len(), plain.gates.len(), plain.on_superseded), (0, 0, OnSuperseded::Replan));
    assert_eq!(plain.on_hook_failure, OnHookFailure::Fail);

    let mut nothing = written.clone();
    (nothing.spec.install, nothing.spec.windows) = (None, Vec::new());
    let told: Vec<_> = nothing.check().unwrap_err().into_iter().map(|problem| problem.field).collect();
    assert_eq!(told, ["blackouts", "rings", "gates", "onSuperseded"], "nothing would have them");
}

#[test]
fn baselines_are_of_the_groups_of_all_or_of_every_operating_system() {
    let asked = |change: fn(&mut Spec)| {
        let mut changed = policy();
        change(&mut changed.spec);
        changed.check().unwrap().baseline().clone()
    };
    assert_eq!(asked(|spec| spec.baseline = Some("security".into())), Asked::Security);
    assert_eq!(asked(|spec| spec.baseline = Some("web".into())), Asked::Baseline("web".into()));
    let systems = asked(|spec| spec.baselines = Some([(OperatingSystem::Debian, "web".into())].into()));
    assert_eq!(baseline_names(&systems), [(Some(OperatingSystem::Debian), "web")]);
}

#[test]
fn everything_that_is_wrong_is_named() {
    assert_eq!(wrong(|p| p.name = "Nightly".into())[0].split(':').next(), Some("name \"Nightly\""));
    assert_eq!(wrong(|p| p.name = "n".repeat(MAX_NAME + 1)).len(), 1);
    let both = wrong(|p| {
        p.spec.timezone = Some("Paris".into());
        p.spec.scan.as_mut().unwrap().schedule = "rate(1 minute)".into();
    });
    assert!(
        both[0].starts_with("timezone \"Paris\"") && both[1].starts_with("scan.schedule \"rate(1 minute)\""),
        "{both:?}"
    );
    let nothing = wrong(|p| (p.spec.scan, p.spec.install) = (None, None));
    assert!(nothing[0].starts_with("scan \"\": write a schedule") && nothing[1].starts_with("windows"), "{nothing:?}");
    for (change, field) in [
        (
            Box::new(|p: &mut PatchPolicy| p.spec.targets = TargetsText::default()) as Box<dyn Fn(&mut PatchPolicy)>,
            "targets",
        ),
        (Box::new(|p| p.spec.targets.names = Some(vec!["a".into()])), "targets"),
        (
            Box::new(|p| p.spec.targets = TargetsText { names: Some(vec!["a".into(); 2]), ..TargetsText::default() }),
            "targets \"\": names holds \"a\" twice",
        ),
        (Box::new(|p| p.spec.targets = TargetsText { names: Some(Vec::new()), ..TargetsText::default() }), "targets"),
        (Box::new(|p| p.spec.max_concurrency = Limit::count(0)), "maxConcurrency"),
        (Box::new(|p| p.spec.hooks = Some(Hooks { timeout: Some("5".into()), on_failure: None })), "hooks \"5\""),
        (Box::new(|p| p.spec.windows = vec!["a b".into()]), "windows"),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.rings[0].all = Some(true);
            }),
            "rings",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.rings[1].bake = Some("1h".into());
            }),
            "rings",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.rings[0].bake = Some("soon".into());
            }),
            "rings",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.gates.as_mut().unwrap().after_host[0].no_new_failed_units = Some(true);
            }),
            "gates",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.gates.as_mut().unwrap().after_host[1].timeout = Some("0s".into());
            }),
            "gates",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.gates.as_mut().unwrap().after_host[0].command = Some(Vec::new());
            }),
            "gates",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.gates.as_mut().unwrap().after_ring[0].command = Some(vec!["/bin/sh".into()]);
            }),
            "gates",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.gates.as_mut().unwrap().after_ring[0].command = None;
            }),
            "gates",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.blackouts[0].to = "later".into();
            }),
            "blackouts",
        ),
        (
            Box::new(|p| {
                careful(&mut p.spec);
                p.spec.blackouts[0].to = p.spec.blackouts[0].from.clone();
            }),
            "blackouts",
        ),
        (Box::new(|p| p.spec.baselines = Some(BTreeMap::new())), "baselines"),
        (Box::new(|p| p.spec.logs = Some(LogsText { folder: "logs".into() })), "logs.folder"),
        (
            Box::new(|p| p.spec.reboot = Some(RebootOption::At(WallTime(0)))),
            "reboot \"at 1970-01-01T00:00:00Z\": a policy",
        ),
        (Box::new(|p| p.spec.description = Some(String::new())), "description"),
    ] {
        let told = wrong(change);
        assert!(told.len() == 1 && told[0].starts_with(field), "{field}: {told:?}");
    }
    let two = wrong(|p| {
        p.spec.baseline = Some("web".into());
        p.spec.baselines = Some([(OperatingSystem::Debian, "web".into())].into());
    });
    assert!(two[0].starts_with("baselines"), "{two:?}");
}

#[test]
fn what_is_predefined_is_off_until_it_is_enabled_and_only_scans() {
    let mut predefined = host_management();
    let off = predefined.check().unwrap();
    assert!(!off.enabled && off.recurring(Operation::Scan).is_none());
    predefined.spec.enabled = Some(true);
    let on = predefined.check().unwrap();
    assert!(on.recurring(Operation::Scan).is_some() && on.recurring(Operation::Install).is_none());
    let text = serde_json::to_string(&predefined.spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), predefined.spec);
}
