//! One host, one baseline, two clocks: what AWS says of dates on Debian, and what the mesh says.

use patchmesh_common::{
    inventory::document::{Host, Inventory, Offer, Package, SCHEMA},
    patch::{
        baseline::{PatchBaseline, aws::AwsBaseline},
        evaluation::evaluate,
        sighting::FirstSeen,
    },
    time::WallTime,
};

/// A baseline as create-patch-baseline takes it: on Debian AWS ignores how many days it waits (spec 1.5).
const AWS: &str = r#"{
  "Name": "weekly", "OperatingSystem": "DEBIAN",
  "ApprovalRules": {"PatchRules": [{
    "PatchFilterGroup": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]},
    "ComplianceLevel": "HIGH", "ApproveAfterDays": 7, "EnableNonSecurity": true
  }]},
  "RejectedPatches": ["telnet"], "RejectedPatchesAction": "BLOCK"
}"#;

fn time(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

/// Four packages at 1.0 that are offered 2.0, and what the mesh knows of three of them.
fn inventory() -> Inventory {
    let package = |name: &str| Package {
        name: name.into(),
        arch: "amd64".into(),
        installed: Some("1.0".into()),
        applicable: true,
        candidates: vec![Offer { version: "2.0".into(), sha256: Some(format!("{name}-sum")), ..Offer::default() }],
        ..Package::default()
    };
    let host = Host { os: Some("debian".into()), os_version: Some("12".into()), ..Host::default() };
    let packages = ["fresh", "settled", "strange", "telnet"].map(package).into();
    let mut inventory = Inventory { schema: SCHEMA.into(), host, collected_at: None, packages };
    let seen =
        [("fresh", "2026-12-05T00:00:00Z"), ("settled", "2026-12-01T00:00:00Z"), ("telnet", "2026-11-01T00:00:00Z")];
    let seen = seen.map(|(name, since)| {
        ((name.to_owned(), "amd64".to_owned(), "2.0".to_owned(), format!("{name}-sum")), time(since))
    });
    FirstSeen::from_iter(seen).fill(&mut inventory);
    inventory
}

/// State, reason and its words, by package.
fn answers(baseline: &PatchBaseline, inventory: &Inventory) -> Vec<String> {
    let checked = baseline.check().unwrap();
    let evaluation = evaluate(&checked, inventory, time("2026-12-08T18:00:00Z")).unwrap();
    let told = evaluation
        .rows
        .iter()
        .map(|row| format!("{} {} {}: {}", row.name, row.state.as_str(), row.reason.code, row.reason.text));
    told.collect()
}

#[test]
fn the_same_host_is_judged_by_awss_clock_and_by_the_meshs_and_both_say_why() {
    let inventory = inventory();
    let aws: AwsBaseline = serde_json::from_str(AWS).unwrap();
    let by_aws = PatchBaseline::from(aws);
    assert_eq!(
        answers(&by_aws, &inventory),
        [
            "fresh Missing approved-rule: 2.0 is approved by rule 1; its date gate does not count here",
            "settled Missing approved-rule: 2.0 is approved by rule 1; its date gate does not count here",
            "strange Missing approved-rule: 2.0 is approved by rule 1; its date gate does not count here",
            "telnet InstalledRejected rejected: 1.0 is rejected by \"telnet\" of the rejected list, and blocked",
        ]
    );
    let mut by_mesh = by_aws;
    by_mesh.spec.approval_clock = Some("mesh".into());
    assert_eq!(
        answers(&by_mesh, &inventory),
        [
            "fresh InstalledOther date-gate: 2.0 is not approved before 2026-12-12T00:00:00Z (rule 1)",
            "settled Missing approved-rule: 2.0 is approved by rule 1",
            "strange InstalledOther unseen: nobody knows since when 2.0 exists, and rule 1 waits",
            "telnet InstalledRejected rejected: 1.0 is rejected by \"telnet\" of the rejected list, and blocked",
        ]
    );
}
