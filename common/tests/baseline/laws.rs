//! What holds for every baseline and every host.

use patchmesh_common::{
    inventory::document::{Host, Inventory, Package},
    patch::{
        baseline::{Checked, OperatingSystem, PatchBaseline, RuleText, Rules, SecurityUpdates},
        evaluation::{Judge, Mismatch, State, evaluate},
    },
    time::WallTime,
};
use proptest::{prelude::*, sample::Index};

use super::{arbitrary::baseline_of, table::groups};

/// The number of a group.
fn number() -> impl Strategy<Value = usize> {
    0..groups().len()
}

/// A host of the hand-worked cases with all packages of its group, and its baseline.
fn group(number: usize) -> (PatchBaseline, Inventory, WallTime) {
    let group = &groups()[number];
    let mut all = group.inventories().enumerate().map(|(at, mut inventory)| {
        inventory.packages.iter_mut().for_each(|package| package.arch = format!("{}-{at}", package.arch));
        inventory
    });
    let mut inventory = all.next().unwrap();
    inventory.packages.extend(all.flat_map(|inventory| inventory.packages));
    (group.baseline(), inventory, group.at())
}

/// The number of a group, and rules for its operating system.
fn group_and_rules() -> impl Strategy<Value = (usize, Vec<RuleText>)> {
    number().prop_flat_map(|number| {
        let more = baseline_of(checked(&group(number).0).os);
        (Just(number), more.prop_map(|more| more.spec.approval_rules.unwrap_or_default().patch_rules))
    })
}

fn checked(baseline: &PatchBaseline) -> Checked {
    baseline.check().unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Every version that is offered, with what is said of it.
fn verdicts(baseline: &Checked, inventory: &Inventory, at: WallTime) -> Vec<(bool, i32)> {
    let product = baseline.os.product(inventory.host.os_version.as_deref().unwrap());
    let judge = Judge { baseline, product: &product, at };
    let offers = inventory.packages.iter().flat_map(|package| package.candidates.iter().map(move |o| (package, o)));
    offers
        .map(|(package, offer)| {
            let verdict = judge.verdict(package, offer);
            (verdict.approves(), verdict.level as i32)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_rejected_and_blocked_is_never_approved(index in number(), victim in any::<Index>()) {
        let (mut baseline, inventory, at) = group(index);
        let name = victim.get(&inventory.packages).name.clone();
        baseline.spec.rejected_patches = Some(vec![name.clone()]);
        baseline.spec.rejected_patches_action = Some("BLOCK".into());
        baseline.spec.approved_patches.get_or_insert_default().push(name.clone());
        let evaluation = evaluate(&checked(&baseline), &inventory, at).unwrap();
        for row in evaluation.rows.iter().filter(|row| row.name == name) {
            prop_assert_eq!(row.state, State::InstalledRejected, "{:?}", row);
        }
    }

    #[test]
    fn a_further_rule_never_takes_an_approval_away((index, more) in group_and_rules(), place in any::<Index>()) {
        let (baseline, inventory, at) = group(index);
        let mut richer = baseline.clone();
        let rules: &mut Rules = richer.spec.approval_rules.get_or_insert_default();
        for rule in more {
            let at = place.index(rules.patch_rules.len() + 1);
            rules.patch_rules.insert(at, rule);
        }
        let before = verdicts(&checked(&baseline), &inventory, at);
        let after = verdicts(&checked(&richer), &inventory, at);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(after.0 >= before.0 && (!before.0 || after.1 >= before.1), "{:?} {:?}", before, after);
        }
    }

    #[test]
    fn an_evaluation_is_a_function_of_its_arguments(index in number(), turn in any::<Index>()) {
        let (baseline, inventory, at) = group(index);
        let baseline = checked(&baseline);
        let first = evaluate(&baseline, &inventory, at).unwrap();
        let mut turned = inventory.clone();
        turned.packages.rotate_left(turn.index(inventory.packages.len()));
        prop_assert_eq!(&evaluate(&baseline, &turned, at).unwrap(), &first);
        prop_assert!(first.rows.is_sorted_by_key(|row| (&row.name, &row.arch)));
        let sums = first.summary(SecurityUpdates::Compliant);
        let counted = [
            sums.installed, sums.installed_other, sums.installed_pending_reboot, sums.installed_rejected, sums.missing,
            sums.failed, sums.not_applicable, sums.available_security_update,
        ];
        prop_assert_eq!(counted.iter().sum::<u32>() as usize, first.rows.len() + first.not_applicable as usize);
    }

    #[test]
    fn an_approval_after_days_stays_and_the_date_that_is_told_is_the_one_on_which_it_comes(
        index in number(), later in 0..400_i64,
    ) {
        let (mut baseline, inventory, at) = group(index);
        for rule in &mut baseline.spec.approval_rules.get_or_insert_default().patch_rules {
            (rule.approve_after_days, rule.approve_until_date) = (Some(7), None);
        }
        let baseline = checked(&baseline);
        let then = WallTime(at.0 + later * 86_400_000);
        for (before, after) in verdicts(&baseline, &inventory, at).iter().zip(verdicts(&baseline, &inventory, then)) {
            prop_assert!(after.0 >= before.0);
        }
        for row in evaluate(&baseline, &inventory, at).unwrap().rows {
            let Some(opens_at) = row.reason.opens_at else { continue };
            let of = |at| {
                let rows = evaluate(&baseline, &inventory, at).unwrap().rows;
                rows.into_iter().find(|other| (&other.name, &other.arch) == (&row.name, &row.arch)).unwrap().state
            };
            prop_assert!(opens_at > at);
            prop_assert_ne!(of(WallTime(opens_at.0 - 1)), State::Missing);
            prop_assert_eq!(of(opens_at), State::Missing);
        }
    }
}

#[test]
fn a_baseline_judges_only_hosts_of_its_operating_system() {
    let (baseline, mut inventory, at) = group(0);
    let baseline = checked(&baseline);
    assert_eq!(baseline.os, OperatingSystem::Debian);
    inventory.host = Host { os: Some("ubuntu".into()), os_version: Some("22.04".into()), ..Host::default() };
    let error = evaluate(&baseline, &inventory, at).unwrap_err();
    assert_eq!(
        error.to_string(),
        "baseline AWS-DebianDefaultPatchBaseline is for DEBIAN, and the host's operating system is ubuntu 22.04"
    );
    inventory.host.os = None;
    assert_eq!(evaluate(&baseline, &inventory, at), Err(Mismatch::Unknown));
}

#[test]
fn of_several_installed_versions_only_the_newest_is_updated() {
    let (baseline, mut inventory, at) = group(0);
    let kernel = |version: &str| Package {
        name: "kernel".into(),
        arch: "amd64".into(),
        installed: Some(version.into()),
        applicable: true,
        candidates: serde_json::from_value(serde_json::json!([
            {"version": "3", "security": true, "priority": "optional"},
            {"version": "2", "security": true, "priority": "optional"},
        ]))
        .unwrap(),
        ..Package::default()
    };
    inventory.packages = vec![kernel("2"), kernel("1")];
    let rows = evaluate(&checked(&baseline), &inventory, at).unwrap().rows;
    let states: Vec<_> = rows.iter().map(|row| (row.installed.as_deref().unwrap(), row.state)).collect();
    assert_eq!(states, [("1", State::InstalledOther), ("2", State::Missing)]);
}

#[test]
fn a_rejected_package_that_is_needed_is_told_so() {
    let (mut baseline, mut inventory, at) = group(0);
    baseline.spec.rejected_patches = Some(vec!["libx".into()]);
    let package = |name: &str, requires: serde_json::Value| Package {
        name: name.into(),
        arch: "amd64".into(),
        installed: Some("1".into()),
        applicable: true,
        candidates: serde_json::from_value(serde_json::json!([
            {"version": "2", "security": true, "priority": "optional", "requires": requires},
        ]))
        .unwrap(),
        ..Package::default()
    };
    inventory.packages =
        vec![package("app", serde_json::json!([{"name": "libx"}])), package("libx", serde_json::json!([]))];
    let rows = evaluate(&checked(&baseline), &inventory, at).unwrap().rows;
    assert_eq!((rows[0].state, rows[1].state), (State::Missing, State::InstalledOther));
    assert!(rows[1].reason.text.ends_with("it may come as a dependency of app"), "{}", rows[1].reason.text);
}

/// What a rejected advisory names is blocked also where it would come along with something else (spec 1.7).
#[test]
fn what_needs_a_version_of_a_rejected_advisory_is_not_installed() {
    let spec = serde_json::json!({
        "operatingSystem": "REDHAT_ENTERPRISE_LINUX",
        "approvalRules": {"patchRules":
            [{"patchFilterGroup": {"patchFilters": []}, "approveAfterDays": 0, "enableNonSecurity": true}]},
        "rejectedPatches": ["RHSA-2026:9"],
        "rejectedPatchesAction": "BLOCK"
    });
    let baseline =
        PatchBaseline { name: "web".into(), spec: serde_json::from_value(spec).unwrap(), labels: Default::default() }
            .check()
            .unwrap();
    let judged = |needed: &str| {
        let inventory = serde_json::json!({
            "schema": "patchmesh.inventory/v1",
            "host": {"os": "rhel", "osVersion": "8.8"},
            "packages": [
                {"name": "app", "arch": "x86_64", "installed": "1-1", "candidates":
                    [{"version": "2-1", "requires": [{"name": "lib", "arch": "x86_64", "version": needed}]}]},
                {"name": "lib", "arch": "x86_64", "installed": "1-1", "candidates":
                    [{"version": "2-1", "advisories": [{"id": "RHSA-2026:9"}]}, {"version": "3-1"}]}
            ]
        });
        let inventory: Inventory = serde_json::from_value(inventory).unwrap();
        let rows = evaluate(&baseline, &inventory, WallTime(0)).unwrap().rows;
        rows.into_iter().find(|row| row.name == "app").unwrap().reason.code
    };
    assert_eq!((judged("2-1"), judged("3-1")), ("needs-rejected", "approved-rule"));
}
