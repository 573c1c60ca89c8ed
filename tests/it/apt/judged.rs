//! Private roots, judged by baselines of rules.

use patchmesh_common::{
    inventory::{Transaction, document::Inventory},
    patch::{
        Blocked,
        baseline::{Checked, PatchBaseline, RuleText, Rules, Spec},
        overrides::{InstallList, Listed},
        sighting::FirstSeen,
    },
    run::compare::compare,
    time::WallTime,
};
use patchmesh_coordinator::{command, output::Format};
use patchmesh_node::host::apt::{
    Apt,
    judged::{LeftOut, Look},
};

use super::{
    fixture::{Fixture, possible, snapshot, upgrades},
    planned,
};

const DAY: i64 = 86_400_000;

/// A baseline of one rule that approves everything, with what `spec` adds.
pub(super) fn everything(spec: Spec) -> Checked {
    let rule = RuleText { enable_non_security: Some(true), ..RuleText::default() };
    own(Spec { approval_rules: Some(Rules { patch_rules: vec![rule] }), ..spec })
}

fn own(spec: Spec) -> Checked {
    let spec = Spec { operating_system: Some("DEBIAN".into()), ..spec };
    PatchBaseline { name: "own".into(), spec, labels: Default::default() }.check().unwrap()
}

/// What adds a rejected list to a baseline.
pub(super) fn rejecting(names: &[&str], action: &str) -> Spec {
    Spec {
        rejected_patches: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        rejected_patches_action: Some(action.into()),
        ..Spec::default()
    }
}

/// `NAME STATE AVAILABLE BLOCKED REASON` of the rows of a package.
fn row(look: &Look, name: &str) -> Vec<String> {
    let rows = look.evaluation.rows.iter().filter(|row| row.name == name);
    rows.map(|row| {
        let blocked = look.blocked.get(&(row.name.clone(), row.arch.clone())).map_or("-", |blocked| blocked.as_str());
        let available = row.available.as_deref().unwrap_or("-");
        format!("{} {available} {blocked} {}", row.state.as_str(), row.reason.code)
    })
    .collect()
}

fn names(transaction: &Transaction) -> Vec<&str> {
    let mut names: Vec<_> = transaction.changes.iter().map(|change| change.name.as_str()).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn the_typed_inventory_is_the_printed_one() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let args = command::inventory::Args { local: true, root: fixture.root(), output: Format::Json };
    let printed = serde_json::to_value(command::inventory::document(&args).await.unwrap()).unwrap();
    let printed: Inventory = serde_json::from_value(printed).unwrap();
    let typed = fixture.open().await.document(printed.collected_at.unwrap()).await.unwrap();
    assert_eq!(typed, printed);
    assert_eq!((typed.check(), typed.host.name.as_deref()), (Ok(()), Some("private")));
}

#[tokio::test]
async fn what_a_baseline_resolves_is_what_apt_does() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let look = apt.evaluate(&everything(Spec::default()), None, WallTime(0), &FirstSeen::default()).await.unwrap();
    assert_eq!(look.source.as_str(), "manager");
    for (name, rows) in [
        ("held", &["Missing 2 hold approved-rule", "Missing 2 keptBack approved-rule"][..]),
        ("kept", &["Missing 2 keptBack approved-rule"]),
        ("middle", &["Missing 3 pin approved-rule"]),
        ("mixed", &["Missing 3 - approved-rule"]),
        ("phased", &["Missing 2 phased approved-rule"]),
        ("pinned", &["Missing 2 pin approved-rule"]),
        ("stays", &["Installed - - approved-rule"]),
    ] {
        assert_eq!(row(&look, name), rows, "{name}");
    }
    let resolution = apt.resolve_by(&look).await.unwrap();
    assert_eq!((resolution.counters.missing, resolution.counters.blocked), (12, 6));
    let transaction = resolution.transaction;
    let simulated = upgrades(&fixture.apt(&["-s", "-y", "dist-upgrade"]), fixture.native);
    let mut changed: Vec<_> = transaction.changes.iter().filter(|change| change.from.is_some()).collect();
    changed.sort_by_key(|change| (&change.name, &change.arch));
    // A pin keeps the newest version of this one, which is the approved one.
    let expected = simulated.iter().filter(|name| !name.starts_with("middle:")).count();
    assert_eq!((changed.len(), names(&transaction).contains(&"newdep")), (expected, true), "{simulated:?}");
    apt.check(&transaction).await.unwrap();
    let before = apt.installed().unwrap();
    let (ok, output) = fixture.perform(&apt.install_plan(&transaction).unwrap());
    assert!(ok, "{output}");
    let verified = compare(Some(&before), &apt.installed().unwrap(), &transaction);
    assert_eq!((verified.differences, verified.changed), (vec![], transaction.changes));
    let look = apt.evaluate(&everything(Spec::default()), None, WallTime(0), &FirstSeen::default()).await.unwrap();
    assert!(apt.resolve_by(&look).await.unwrap().transaction.is_empty());
}

#[tokio::test]
async fn what_is_blocked_never_comes_and_what_needs_it_stays_out() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let look = async |spec| {
        let baseline = everything(spec);
        apt.evaluate(&baseline, None, WallTime(0), &FirstSeen::default()).await.unwrap()
    };
    let free = look(Spec::default()).await;
    let all = apt.resolve_by(&free).await.unwrap().transaction;
    assert!(names(&all).contains(&"newdep") && names(&all).contains(&"app"));

    let blocking = look(rejecting(&["newdep", "stays"], "BLOCK")).await;
    assert_eq!(row(&blocking, "app"), ["Missing 1:1.0 - needs-rejected"]);
    let reason = blocking.evaluation.rows.iter().find(|row| row.name == "app").unwrap().reason.text.clone();
    assert!(reason.contains("needs newdep, which \"newdep\" of the rejected list blocks"), "{reason}");
    assert_eq!(row(&blocking, "stays"), ["InstalledRejected - - rejected"]);
    let fewer = apt.resolve_by(&blocking).await.unwrap().transaction;
    let mut expected = all.clone();
    expected.changes.retain(|change| !["app", "newdep"].contains(&change.name.as_str()));
    assert_eq!(fewer, expected);
    apt.check(&fewer).await.unwrap();

    // A look of which nobody has noticed that something needs what is blocked.
    let mut stale = free.clone();
    stale.baseline = everything(rejecting(&["newdep"], "BLOCK"));
    assert_eq!(apt.resolve_by(&stale).await.unwrap().transaction, expected);

    let allowing = look(rejecting(&["newdep", "stays", "til"], "ALLOW_AS_DEPENDENCY")).await;
    assert_eq!(row(&allowing, "app"), ["Missing 1:1.0 - approved-rule"]);
    assert_eq!(row(&allowing, "stays"), ["InstalledOther - - rejected"]);
    let mut expected = all.clone();
    expected.changes.retain(|change| change.name != "til");
    assert_eq!(apt.resolve_by(&allowing).await.unwrap().transaction, expected);

    // Of two that cannot come the other one still does, and so does what both have nothing to do with.
    let both = look(rejecting(&["newdep", "lib"], "BLOCK")).await;
    assert_eq!(names(&apt.resolve_by(&both).await.unwrap().transaction), ["epo", "mixed", "til"]);
}

#[tokio::test]
async fn a_delayed_package_waits_by_the_clock_of_the_mesh() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let rule = RuleText { enable_non_security: Some(true), approve_after_days: Some(7), ..RuleText::default() };
    let baseline = own(Spec {
        approval_rules: Some(Rules { patch_rules: vec![rule] }),
        approval_clock: Some("mesh".into()),
        ..Spec::default()
    });
    let inventory = apt.document(WallTime(0)).await.unwrap();
    let epo = inventory.packages.iter().find(|package| package.name == "epo").unwrap();
    let offer = epo.candidates.iter().find(|offer| offer.version == "1:0.5").unwrap();
    let seen = (epo.name.clone(), epo.arch.clone(), offer.version.clone(), offer.sha256.clone().unwrap());
    let first_seen: FirstSeen = [(seen.clone(), WallTime(DAY))].into_iter().collect();
    let look = async |day: i64, first_seen: &FirstSeen| {
        apt.evaluate(&baseline, None, WallTime(day * DAY), first_seen).await.unwrap()
    };
    let early = look(7, &first_seen).await;
    assert_eq!(row(&early, "epo"), ["InstalledOther 1:0.5 - date-gate"]);
    assert_eq!(row(&early, "til"), ["InstalledOther 1.0 - unseen"]);
    assert!(apt.resolve_by(&early).await.unwrap().transaction.is_empty());
    let late = look(8, &first_seen).await;
    assert_eq!(row(&late, "epo"), ["Missing 1:0.5 - approved-rule"]);
    let expected = [format!("epo:{} 9.0 1:0.5", fixture.native)];
    assert_eq!(planned(&apt.resolve_by(&late).await.unwrap().transaction), expected);
    // Other contents under the same number were not seen.
    let other = (seen.0, seen.1, seen.2, "00".repeat(32));
    let forged = look(8, &[(other, WallTime(DAY))].into_iter().collect()).await;
    assert_eq!(row(&forged, "epo"), ["InstalledOther 1:0.5 - unseen"]);
}

#[tokio::test]
async fn an_approved_list_takes_the_version_that_it_approves_and_not_the_newest() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let baseline = own(Spec { approved_patches: Some(vec!["mixed".into(), "lib".into()]), ..Spec::default() });
    let look = apt.evaluate(&baseline, None, WallTime(0), &FirstSeen::default()).await.unwrap();
    assert_eq!(row(&look, "mixed"), ["Missing 2 - approved-list"]);
    assert_eq!(row(&look, "epo"), ["InstalledOther 1:0.5 - no-rule"]);
    let mut expected = [fixture.native, fixture.foreign].map(|arch| format!("lib:{arch} 1.0 2.0")).to_vec();
    expected.sort();
    expected.push(format!("mixed:{} 1 2", fixture.native));
    assert_eq!(planned(&apt.resolve_by(&look).await.unwrap().transaction), expected);
}

#[tokio::test]
async fn an_override_list_decides_alone_and_changes_no_state() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let native = fixture.native;
    let listed = |id: &str, title: Option<String>| Listed { id: id.into(), title };
    let list = InstallList {
        patches: vec![
            listed("til.*", Some(format!("til.{native}:1.0~beta10"))),
            listed("held.*", None),
            listed("kept.*", None),
            listed("middle.*", Some("middle.*:2".into())),
            listed("newdep.*", None),
        ],
    };
    let baseline = everything(rejecting(&["til"], "BLOCK"));
    let plain = apt.evaluate(&baseline, None, WallTime(0), &FirstSeen::default()).await.unwrap();
    let look = apt.evaluate(&baseline, Some(&list), WallTime(0), &FirstSeen::default()).await.unwrap();
    assert_eq!((&look.evaluation, &look.blocked), (&plain.evaluation, &plain.blocked));
    assert_eq!(row(&look, "til"), ["InstalledRejected 1.0 - rejected"]);
    assert_eq!(look.listed().unwrap().len(), 5);
    let expected = [format!("middle:{native} 1 2"), format!("til:{native} 1.0~beta2 1.0~beta10")];
    assert_eq!(planned(&apt.resolve_by(&look).await.unwrap().transaction), expected);
    // A dependency that is not on the list stays blocked.
    let list = InstallList { patches: vec![listed("app.*", None)] };
    let baseline = everything(rejecting(&["newdep"], "BLOCK"));
    let look = apt.evaluate(&baseline, Some(&list), WallTime(0), &FirstSeen::default()).await.unwrap();
    assert!(apt.resolve_by(&look).await.unwrap().transaction.is_empty());
}

#[tokio::test]
async fn a_baseline_of_another_system_judges_nothing() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let spec = Spec { operating_system: Some("UBUNTU".into()), ..Spec::default() };
    let baseline = PatchBaseline { name: "ubuntu".into(), spec, labels: Default::default() }.check().unwrap();
    let apt = fixture.open().await;
    let refusal = apt.evaluate(&baseline, None, WallTime(0), &FirstSeen::default()).await.unwrap_err();
    assert!(refusal.text.contains("baseline ubuntu is for UBUNTU"), "{}", refusal.text);
}

#[tokio::test]
async fn the_command_judges_by_a_file_and_says_why() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("web.json");
    let text = r#"{"Name":"web","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":
        [{"Key":"PRIORITY","Values":["Optional"]}]},"ApproveAfterDays":7,"EnableNonSecurity":true}]},
        "RejectedPatches":["newdep","stays"],"RejectedPatchesAction":"BLOCK"}"#;
    std::fs::write(&file, text).unwrap();
    let before = snapshot(&fixture.root());
    let args = |baseline: &str| command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: baseline.into(),
        refresh: false,
        no_cache: false,
        output: Format::Json,
    };
    let look =
        async |baseline: &str| serde_json::to_value(command::scan::document(&args(baseline)).await.unwrap()).unwrap();
    let found = look(file.to_str().unwrap()).await;
    let sums = &found["summary"];
    assert_eq!((&found["baseline"], &found["source"]), (&"web".into(), &"manager".into()));
    assert_eq!((&sums["missing"], &sums["installedRejected"], &sums["blocked"]), (&12.into(), &1.into(), &6.into()));
    let row = |name: &str| found["patches"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    let app = row("app")["reason"].as_str().unwrap().to_owned();
    assert!(app.contains("its date gate does not count here") && app.contains("it needs newdep"), "{app}");
    assert_eq!(row("middle")["blocked"], "pin");
    assert_eq!(row("stays")["state"], "InstalledRejected");
    // The second look is no old answer: a date may have come.
    assert_eq!(look(file.to_str().unwrap()).await["source"], "manager");
    let of_ubuntu = command::scan::document(&args("AWS-UbuntuDefaultPatchBaseline")).await.unwrap_err();
    assert_eq!(of_ubuntu.code, "baseline-mismatch");
    assert_eq!(look("AWS-DebianDefaultPatchBaseline").await["baseline"], "AWS-DebianDefaultPatchBaseline");
    assert_eq!(snapshot(&fixture.root()), before, "a scan changed something");
}

/// A root with these packages in version 1, and an archive of these (name, version, further fields).
async fn world(fixture: &Fixture, installed: &[&str], offered: &[(&str, &str, &str)]) -> Apt {
    let native = fixture.native;
    let head = |name: &str, version: &str| {
        format!("Package: {name}\nVersion: {version}\nArchitecture: {native}\nMaintainer: t <t@example.org>\n")
    };
    let status = |name: &&str| head(name, "1") + "Status: install ok installed\nDescription: test\n\n";
    let status: String = installed.iter().map(status).collect();
    std::fs::write(fixture.root().join("var/lib/dpkg/status"), status).unwrap();
    fixture.publish_indexes(|suite, arch| {
        let listed = offered.iter().filter(|_| suite == "main" && arch == native);
        let sum = "ab".repeat(32);
        let file = |name: &str| format!("Filename: main/{name}.deb\nSize: 10\nSHA256: {sum}\n");
        listed
            .map(|(name, version, fields)| {
                format!("{}{fields}{}Description: test\n\n", head(name, version), file(name))
            })
            .collect()
    });
    let apt = fixture.open().await;
    apt.refresh().await.unwrap();
    apt
}

#[tokio::test]
async fn apts_resolver_is_not_asked_where_the_indexes_say_it_all() {
    if !possible() {
        return;
    }
    let fixture = Fixture::bare();
    let apt = world(&fixture, &["app", "lib"], &[("app", "2", ""), ("lib", "2", "")]).await;
    let baseline = everything(rejecting(&["lib"], "BLOCK"));
    let look = apt.evaluate(&baseline, None, WallTime(0), &FirstSeen::default()).await.unwrap();
    assert_eq!((row(&look, "app"), row(&look, "lib").len()), (vec!["Missing 2 - approved-rule".to_owned()], 1));
    // It is asked as soon as apt would bring what is blocked.
    assert_eq!(look.source.as_str(), "manager");
    let look = apt.evaluate(&everything(Spec::default()), None, WallTime(0), &FirstSeen::default()).await.unwrap();
    assert_eq!((look.source.as_str(), look.targets.len()), ("native", 2));
    assert_eq!(names(&apt.resolve_by(&look).await.unwrap().transaction), ["app", "lib"]);
}

#[tokio::test]
async fn versions_that_cannot_come_are_told_from_those_that_only_come_together() {
    if !possible() {
        return;
    }
    let fixture = Fixture::bare();
    let offered = [
        ("app", "2", "Depends: lib (= 2)\n"),
        ("app", "3", ""),
        ("lib", "2", ""),
        ("lib", "3", ""),
        ("bad", "2", "Depends: nowhere\n"),
        ("bad", "3", ""),
        ("good", "2", ""),
        ("worse", "2", "Pre-Depends: bad (= 2)\n"),
        ("worse", "3", ""),
    ];
    let apt = world(&fixture, &["app", "bad", "good", "lib", "worse"], &offered).await;
    let patches = vec![Listed { id: "*".into(), title: Some("*:2".into()) }];
    let baseline = everything(Spec::default());
    let list = InstallList { patches };
    let look = apt.evaluate(&baseline, Some(&list), WallTime(0), &FirstSeen::default()).await.unwrap();
    let left_out = look.targets.iter().filter(|target| target.left_out.is_some());
    let left_out: Vec<_> = left_out.map(|target| (target.name.as_str(), target.left_out.clone().unwrap())).collect();
    let kept_back = || LeftOut::Blocked(Blocked::KeptBack);
    assert_eq!(left_out, [("bad", kept_back()), ("worse", kept_back())]);
    let native = fixture.native;
    let expected = ["app", "good", "lib"].map(|name| format!("{name}:{native} 1 2"));
    assert_eq!(planned(&apt.resolve_by(&look).await.unwrap().transaction), expected);
}

#[tokio::test]
async fn what_would_remove_a_package_stays_out_alone() {
    if !possible() {
        return;
    }
    let fixture = Fixture::bare();
    let takes_over = "Conflicts: old\nReplaces: old\nProvides: old\n";
    let offered = [("app", "2", takes_over), ("good", "2", "")];
    let apt = world(&fixture, &["app", "good", "old"], &offered).await;
    assert!(fixture.apt(&["-s", "-y", "dist-upgrade"]).contains("Remv old"));
    let list = InstallList { patches: vec![Listed { id: "*".into(), title: None }] };
    for list in [None, Some(&list)] {
        let look = apt.evaluate(&everything(Spec::default()), list, WallTime(0), &FirstSeen::default()).await.unwrap();
        let left_out = look.targets.iter().find(|target| target.name == "app").unwrap().left_out.clone();
        assert_eq!(left_out, Some(LeftOut::Blocked(Blocked::KeptBack)));
        let expected = [format!("good:{} 1 2", fixture.native)];
        assert_eq!(planned(&apt.resolve_by(&look).await.unwrap().transaction), expected);
    }
}

#[tokio::test]
async fn other_contents_under_an_approved_number_do_not_come() {
    if !possible() {
        return;
    }
    let fixture = Fixture::bare();
    let native = fixture.native;
    let apt = world(&fixture, &["app"], &[("app", "2", "")]).await;
    let publish = |of_security: &str| {
        let text = |sum: &str| {
            format!(
                "Package: app\nVersion: 2\nArchitecture: {native}\nMaintainer: t <t@example.org>\nFilename: {sum}.deb\n\
                 Size: 10\nSHA256: {}\nDescription: test\n\n",
                sum.repeat(32)
            )
        };
        fixture.publish_indexes(|suite, arch| match suite {
            _ if arch != native => String::new(),
            "main" => text("ab"),
            "sec" => text(of_security),
            _ => String::new(),
        });
    };
    let security =
        own(Spec { approval_rules: Some(Rules { patch_rules: vec![RuleText::default()] }), ..Spec::default() });
    // Both archives have the same file, or the one that comes first has another than the approved one.
    for (of_security, told, changes) in
        [("ab", "Missing 2 - approved-rule", 1), ("cd", "Missing 2 pin approved-rule", 0)]
    {
        publish(of_security);
        apt.refresh().await.unwrap();
        let look = apt.evaluate(&security, None, WallTime(0), &FirstSeen::default()).await.unwrap();
        assert_eq!(row(&look, "app"), [told], "{of_security}");
        assert_eq!(apt.resolve_by(&look).await.unwrap().transaction.changes.len(), changes, "{of_security}");
    }
}
