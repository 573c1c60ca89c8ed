//! Rollouts by baseline over real daemons and real apt: what is approved for a group is installed there and nothing else, and what
//! one group got another gets exactly.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    fleet::{Again, PACKAGES, json, program, versions, wait_for},
    wave::result,
};

/// Approves everything but what asks for a reboot.
const DEV: &str = "
apiVersion: patchmesh/v1
kind: PatchBaseline
metadata: {name: dev-base}
spec:
  operatingSystem: DEBIAN
  approvalRules:
    patchRules:
      - {patchFilterGroup: {patchFilters: [{key: PRODUCT, values: ['*']}]}, complianceLevel: HIGH, enableNonSecurity: true}
  rejectedPatches: [pm-demo-kernel]
  rejectedPatchesAction: BLOCK
";
/// Approves everything that the mesh has known for a week, and the library at once.
const PROD: &str = "
apiVersion: patchmesh/v1
kind: PatchBaseline
metadata: {name: prod-base}
spec:
  operatingSystem: DEBIAN
  approvalClock: mesh
  approvalRules:
    patchRules:
      - patchFilterGroup: {patchFilters: [{key: PRODUCT, values: ['*']}]}
        complianceLevel: CRITICAL
        approveAfterDays: 7
        enableNonSecurity: true
  approvedPatches: [pm-demo-lib]
  approvedPatchesEnableNonSecurity: true
";

/// Of every demo package of a host's current report: state and reason.
fn states(demo: &Path, host: &str) -> BTreeMap<String, (String, String)> {
    let report = json(&demo.join("hosts").join(host).join("state/reports/current.json")).expect("a report");
    let rows = report["rows"].as_array().expect("rows").iter();
    let word = |row: &Value, member: &str| row[member].as_str().expect("a word").to_owned();
    rows.map(|row| (word(row, "name"), (word(row, "state"), word(row, "code")))).collect()
}

fn state_words(demo: &Path, host: &str) -> [String; 3] {
    let states = states(demo, host);
    PACKAGES.map(|package| format!("{} {}", states[package].0, states[package].1))
}

fn installed(demo: &Path, host: &str) -> [String; 3] {
    let versions = versions(demo, host);
    PACKAGES.map(|package| versions[package].clone())
}

fn tag(demo: &Path, host: &str, group: &str) {
    let config = demo.join("hosts").join(host).join("patchmesh.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    let tagged = text.replace("[tags]\n", &format!("[tags]\n\"Patch Group\" = \"{group}\"\n"));
    assert_ne!(tagged, text, "the demo tags its hosts");
    fs::write(&config, tagged).expect("the configuration");
}

/// Rewrites the index of a suite of the fleet's repository.
pub(crate) fn reindex(demo: &Path, suite: &str, edit: impl FnOnce(String) -> String) {
    let base = demo.join("repository/dists").join(suite);
    let release = fs::read_to_string(base.join("Release")).expect("a Release file");
    let below = release.lines().last().and_then(|line| line.split_whitespace().nth(2)).expect("the index");
    let packages = edit(fs::read_to_string(base.join(below)).expect("an index"));
    fs::write(base.join(below), &packages).expect("an index");
    let sum: String = Sha256::digest(packages.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = |line: &str| match line.ends_with(below) {
        true => format!(" {sum} {} {below}\n", packages.len()),
        false => format!("{line}\n"),
    };
    fs::write(base.join("Release"), release.lines().map(line).collect::<String>()).expect("a Release file");
}

fn ok(output: &std::process::Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn keep_baselines(again: &Again) {
    for (name, text, group) in [("dev-base", DEV, "dev"), ("prod-base", PROD, "prod")] {
        let file = again.dir.path().join(format!("{name}.yaml"));
        fs::write(&file, text).expect("a manifest");
        ok(&again.cli(&["import", file.to_str().expect("UTF-8")]));
        ok(&again.cli(&["register", name, "--group", group]));
    }
}

fn rollout(operation: &str, targets: &str, what: &str) -> String {
    format!(
        "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {{name: by-baseline}}\nspec:\n  operation: {operation}\n  \
         targets: {targets}\n{what}  maxConcurrency: 3\n  maxErrors: 0\n"
    )
}

/// Scans `targets` until all `hosts` of them have: a host that is slow to answer is left out of a plan.
fn scan(again: &Again, targets: &str, hosts: usize) {
    wait_for("every host to be scanned", || {
        let (code, recap) = again.apply(&rollout("Scan", targets, ""));
        assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
        (recap["hosts"]["succeeded"] == hosts).then_some(())
    });
}

/// Scans all until the delays of `prod`'s hosts have begun: the first Scan fetches the indexes,
/// and what a host saw in them counts later.
fn scan_until_delayed(again: &Again, hosts: usize, prod: &[&str]) {
    wait_for("delays to begin", || {
        scan(again, "{all: true}", hosts);
        let reasons = prod.iter().map(|host| states(&again.folder(), host)["pm-demo-kernel"].1.clone());
        let reasons: Vec<_> = reasons.collect();
        assert!(reasons.iter().all(|reason| ["unseen", "date-gate"].contains(&reason.as_str())), "{reasons:?}");
        reasons.iter().all(|reason| reason == "date-gate").then_some(())
    });
}

fn fleet(hosts: u32, groups: &[(&str, &str)]) -> Option<Again> {
    let mut again = Again::prepared(&program()?, hosts, Duration::ZERO, |demo| {
        groups.iter().for_each(|(host, group)| tag(demo, host, group));
    });
    again.wait_for_hosts(hosts as usize);
    Some(again)
}

#[test]
fn two_groups_get_what_their_baselines_approve_and_nothing_else() {
    let groups = [
        ("demo-01", "dev"),
        ("demo-02", "dev"),
        ("demo-03", "dev"),
        ("demo-04", "prod"),
        ("demo-05", "prod"),
        ("demo-06", "prod"),
    ];
    let Some(again) = fleet(6, &groups) else { return };
    let demo = again.folder();
    keep_baselines(&again);
    scan_until_delayed(&again, 6, &["demo-04", "demo-05", "demo-06"]);
    for (host, group) in groups {
        let expected = match group {
            "dev" => ["InstalledRejected rejected", "Missing approved-rule", "Missing approved-rule"],
            _ => ["InstalledOther date-gate", "Missing approved-list", "InstalledOther date-gate"],
        };
        assert_eq!(state_words(&demo, host), expected, "{host} after the Scan");
        assert_eq!(installed(&demo, host), ["1.0 installed"; 3], "a Scan changes nothing");
    }
    let (code, recap) = again.apply(&rollout("Install", "{all: true}", ""));
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
    for (host, group) in groups {
        let (expected, there) = match group {
            "dev" => (
                ["InstalledRejected rejected", "Installed approved-rule", "Installed approved-rule"],
                ["1.0 installed", "1.1 installed", "1.1 installed"],
            ),
            _ => (
                ["InstalledOther date-gate", "Installed approved-list", "InstalledOther date-gate"],
                ["1.0 installed", "1.1 installed", "1.0 installed"],
            ),
        };
        assert_eq!(state_words(&demo, host), expected, "{host} after the Install");
        assert_eq!(installed(&demo, host), there, "{host}, by dpkg");
        let changed: Vec<_> = result(&recap, host)["packages"].as_array().expect("a list").clone();
        assert_eq!(changed.len(), if group == "dev" { 2 } else { 1 }, "{host}: {changed:?}");
    }
}

/// Adds version 1.2 of the service to the security suite, beside 1.1.
pub(crate) fn move_on(demo: &Path) {
    let repository = demo.join("repository");
    let work: PathBuf = demo.join("work");
    let (old, new) = (repository.join("pool/pm-demo-service_1.1_all.deb"), "pool/pm-demo-service_1.2_all.deb");
    ok(&Command::new("dpkg-deb").arg("-R").arg(&old).arg(&work).output().expect("dpkg-deb runs"));
    let control = fs::read_to_string(work.join("DEBIAN/control")).expect("a control file");
    fs::write(work.join("DEBIAN/control"), control.replace("Version: 1.1", "Version: 1.2")).expect("a control file");
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Znone", "--build"]).arg(&work).arg(repository.join(new));
    ok(&build.output().expect("dpkg-deb runs"));
    let bytes = fs::read(repository.join(new)).expect("an archive");
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    reindex(demo, "security", |index| {
        let line = |line: &str| match line.split_once(": ") {
            Some(("Version", _)) => "Version: 1.2\n".to_owned(),
            Some(("Filename", _)) => format!("Filename: {new}\n"),
            Some(("Size", _)) => format!("Size: {}\n", bytes.len()),
            Some(("SHA256", _)) => format!("SHA256: {sum}\n"),
            _ => format!("{line}\n"),
        };
        let service = index.split("\n\n").find(|paragraph| paragraph.starts_with("Package: pm-demo-service\n"));
        let newer: String = service.expect("the service").lines().map(line).collect();
        format!("{index}{newer}\n")
    });
}

pub(crate) fn without(index: &str, package: &str, version: &str) -> String {
    let is = |paragraph: &&str| {
        !(paragraph.contains(&format!("Package: {package}\n"))
            && paragraph.contains(&format!("\nVersion: {version}\n")))
    };
    index.split_inclusive("\n\n").filter(is).collect()
}

#[test]
fn what_dev_got_prod_gets_after_the_repository_has_moved_on_or_the_versions_that_are_gone_are_named() {
    let groups = [("demo-01", "dev"), ("demo-02", "prod"), ("demo-03", "prod")];
    let Some(again) = fleet(3, &groups) else { return };
    let demo = again.folder();
    keep_baselines(&again);
    scan_until_delayed(&again, 3, &["demo-02", "demo-03"]);
    let delayed = ["InstalledOther date-gate", "Missing approved-list", "InstalledOther date-gate"];
    let rejected = ["InstalledRejected rejected", "Missing approved-rule", "Missing approved-rule"];
    assert_eq!(["demo-01", "demo-02", "demo-03"].map(|host| state_words(&demo, host)), [rejected, delayed, delayed]);

    let plan = again.dir.path().join("plan.json");
    let manifest = again.dir.path().join("dev.yaml");
    fs::write(&manifest, rollout("Install", "{names: [demo-01]}", "")).expect("a manifest");
    let planned = again.cli(&["plan", "-f", manifest.to_str().expect("UTF-8"), "-o", "json"]);
    ok(&planned);
    fs::write(&plan, &planned.stdout).expect("the plan");
    let snapshot = json(&plan).expect("a plan")["snapshot"].as_str().expect("a snapshot").to_owned();
    ok(&again.cli(&["apply", plan.to_str().expect("UTF-8"), "-o", "json"]));
    let approved = ["InstalledRejected rejected", "Installed approved-rule", "Installed approved-rule"];
    assert_eq!(state_words(&demo, "demo-01"), approved);
    let got = ["1.0 installed", "1.1 installed", "1.1 installed"];
    assert_eq!(installed(&demo, "demo-01"), got);

    move_on(&demo);
    let promoted =
        |host: &str| rollout("Install", &format!("{{names: [{host}]}}"), &format!("  snapshot: {}\n", &snapshot[..12]));
    let (code, recap) = again.apply(&promoted("demo-02"));
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
    assert_eq!(installed(&demo, "demo-02"), got, "what dev got, and not what is newer by now");
    // The promotion installs what prod's own baseline still delays, and approves nothing by that.
    let states = states(&demo, "demo-02");
    assert_eq!(states["pm-demo-kernel"], ("InstalledOther".into(), "date-gate".into()));
    assert_eq!(states["pm-demo-lib"], ("Installed".into(), "approved-list".into()));
    assert_eq!(states["pm-demo-service"].0, "InstalledOther", "{states:?}");

    reindex(&demo, "main", |index| without(&index, "pm-demo-lib", "1.1"));
    fs::write(&manifest, promoted("demo-03")).expect("a manifest");
    let refused = again.cli_json(&["plan", "-f", manifest.to_str().expect("UTF-8"), "-o", "json"]).expect("a plan");
    let waiting = &refused["excluded"][0]["waiting"];
    assert_eq!(waiting["code"], "version-gone", "{refused}");
    assert!(waiting["text"].as_str().expect("a text").contains("pm-demo-lib:all 1.1"), "{waiting}");
    assert_eq!(installed(&demo, "demo-03"), ["1.0 installed"; 3]);
    assert_eq!(state_words(&demo, "demo-03"), delayed, "what was refused makes no report");
    // Without the snapshot the host would get what is newest.
    let (code, _) = again.apply(&rollout("Install", "{names: [demo-03]}", "  baseline: all\n"));
    assert_eq!(code, 0);
    assert_eq!(installed(&demo, "demo-03"), ["1.1 installed", "1.0 installed", "1.2 installed"]);
}

/// `PATCHMESH_FLEET`: how many hosts; few by default, because every one is a process here.
fn size() -> u32 {
    std::env::var("PATCHMESH_FLEET").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn a_fleet_is_told_by_its_reports() {
    let count = size();
    let width = count.to_string().len().max(2);
    let names: Vec<_> = (1..=count).map(|n| format!("demo-{n:0width$}")).collect();
    let group = |at: usize| if at.is_multiple_of(2) { "dev" } else { "prod" };
    let groups: Vec<_> = names.iter().enumerate().map(|(at, name)| (name.as_str(), group(at))).collect();
    let Some(again) = fleet(count, &groups) else { return };
    keep_baselines(&again);
    // The last host makes no report.
    let scanned = names[..names.len() - 1].join(", ");
    scan(&again, &format!("{{names: [{scanned}]}}"), names.len() - 1);

    let told = wait_for("every standing to be told", || {
        let told = again.cli_json(&["compliance", "-o", "json"])?;
        (told["fleet"]["unspecified"] == 1).then_some(told)
    });
    let whole = &told["fleet"];
    assert_eq!((&whole["hosts"], &whole["compliant"]), (&count.into(), &0.into()), "{whole}");
    assert_eq!((&whole["nonCompliant"], &whole["byReason"]["missing"]), (&(count - 1).into(), &(count - 1).into()));
    let first = &told["hosts"][0];
    assert_eq!((&first["host"], &first["baseline"]), (&names[0].as_str().into(), &"dev-base".into()));
    assert_eq!((&first["patchGroup"], &first["status"]), (&"dev".into(), &"NON_COMPLIANT".into()));
    assert_eq!((&first["counters"]["missing"], &first["counters"]["installedRejected"]), (&2.into(), &1.into()));

    let text = again.cli(&["compliance"]);
    ok(&text);
    println!("{}", String::from_utf8_lossy(&text.stdout));
    let text = again.cli(&["describe", "host", &names[1], "--patches"]);
    ok(&text);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    println!("{text}");
    let of = |package: &str| text.lines().find(|line| line.contains(package)).map(str::to_owned).expect("a line");
    assert!(of("pm-demo-lib").contains("Missing"), "{text}");
    assert!(of("pm-demo-kernel").contains("InstalledOther"), "{text}");
}
