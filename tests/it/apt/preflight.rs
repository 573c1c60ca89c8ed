//! What keeps a host from saying `Ready`, and what is repaired: each message is printed, each state looked at afterwards.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Lines},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use patchmesh_common::{
    inventory::Transaction,
    patch::Baseline,
    run::message::{Refusal, RefusalCode},
};
use patchmesh_node::host::apt::Apt;

use crate::fleet::wait_for;

use super::{
    HOLD,
    fixture::{Fixture, digest, possible, run},
};

/// Set for the copy of this binary that has a small file system of its own.
const SMALL_DISK: &str = "PATCHMESH_TEST_SMALL_DISK";
const CONF: &str = "etc/tool.conf";

fn show(what: &str, refusal: &Refusal) {
    println!("{what}: {}: {}; {}", refusal.code.as_str(), refusal.text, refusal.remedy);
}

/// Builds package `tool` with one configuration file; its paragraph of an index.
fn tool(fixture: &Fixture, version: &str, conf: &str) -> String {
    let tree = tempfile::tempdir_in(fixture.folder.path()).unwrap();
    for folder in ["DEBIAN", "etc"] {
        fs::create_dir(tree.path().join(folder)).unwrap();
        fs::set_permissions(tree.path().join(folder), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut stanza = format!(
        "Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@example.org>\nSection: misc\nPriority: optional\n\
         Description: test\n"
    );
    fs::write(tree.path().join("DEBIAN/control"), &stanza).unwrap();
    fs::write(tree.path().join("DEBIAN/conffiles"), format!("/{CONF}\n")).unwrap();
    fs::write(tree.path().join(CONF), conf).unwrap();
    let file = format!("main/tool_{version}.deb");
    let target = fixture.folder.path().join("repo").join(&file);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "-b"]).arg(tree.path()).arg(&target));
    let (size, sum) = digest(&target);
    writeln!(stanza, "Filename: {file}\nSize: {size}\nSHA256: {sum}\n").unwrap();
    stanza
}

/// A root with `tool` 1 and a repository with 1 and 2; the plan for 2.
async fn with_tool(second: &str) -> (Fixture, Apt, Transaction) {
    let fixture = Fixture::bare();
    let packages = tool(&fixture, "1", "one\n") + &tool(&fixture, "2", second);
    let native = fixture.native;
    let index =
        |suite: &str, arch: &str| if (suite, arch) == ("main", native) { packages.clone() } else { String::new() };
    fixture.publish_indexes(index);
    fixture.apt(&["update"]);
    fixture.apt(&["-y", "install", "tool=1"]);
    let apt = fixture.open().await;
    let transaction = apt.resolve(Baseline::All).await.unwrap().transaction;
    assert_eq!(transaction.changes[0].to, "2");
    (fixture, apt, transaction)
}

#[tokio::test]
async fn a_configuration_file_changed_on_both_sides_is_refused_unless_the_host_answers() {
    if !possible() {
        return;
    }
    let (fixture, apt, transaction) = with_tool("two\n").await;
    let conf = fixture.root().join(CONF);
    apt.check(&transaction).await.unwrap();
    fs::write(&conf, "mine\n").unwrap();
    let refusal = apt.check(&transaction).await.unwrap_err();
    show("configuration file changed on both sides", &refusal);
    assert_eq!(refusal.code, RefusalCode::ConfigConflict);
    assert_eq!(refusal.text, "dpkg would ask what to do: /etc/tool.conf was changed here and by tool 2");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "mine\n", "nothing was changed");
    fs::write(&conf, "two\n").unwrap();
    apt.check(&transaction).await.expect("the same change is no conflict");
    fs::write(&conf, "mine\n").unwrap();

    let answer = "DPkg::Options:: \"--force-confold\";\n";
    fs::write(fixture.root().join("etc/apt/apt.conf.d/50answer"), answer).unwrap();
    apt.check(&transaction).await.expect("the host itself answers");
    let (ok, output) = fixture.perform(&apt.install_plan(&transaction).unwrap());
    assert!(ok, "{output}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "mine\n");
    assert_eq!(fs::read_to_string(conf.with_extension("conf.dpkg-dist")).unwrap(), "two\n");
}

#[tokio::test]
async fn a_configuration_file_changed_on_one_side_is_no_conflict() {
    if !possible() {
        return;
    }
    let (fixture, apt, transaction) = with_tool("one\n").await;
    fs::write(fixture.root().join(CONF), "mine\n").unwrap();
    apt.check(&transaction).await.unwrap();
}

#[tokio::test]
async fn a_pin_set_after_the_plan_is_not_overridden() {
    if !possible() {
        return;
    }
    let (fixture, apt, transaction) = with_tool("two\n").await;
    let pin = "Package: tool\nPin: version 1\nPin-Priority: 1001\n";
    fs::write(fixture.root().join("etc/apt/preferences.d/tool"), pin).unwrap();
    let refusal = apt.check(&transaction).await.unwrap_err();
    show("pinned after the plan", &refusal);
    assert_eq!(refusal.code, RefusalCode::Held);
    assert_eq!(refusal.text, "tool:all is pinned to 1, below 2");
}

/// A process that holds `lock` until its stdin is closed, and what it prints.
fn hold(lock: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "apt::holds_a_lock_for_another_test", "--nocapture"])
        .env(HOLD, lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")), "the lock was not taken");
    (holder, lines)
}

#[tokio::test]
async fn a_lock_of_the_indexes_names_its_owner_and_age() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let (mut holder, _lines) = hold(&fixture.root().join("var/lib/apt/lists/lock"));
    let refusal = apt.refresh().await.unwrap_err();
    show("lock held by another process", &refusal);
    assert_eq!(refusal.code, RefusalCode::Locked);
    let owner = format!("lists/lock is held by process {} (", holder.id());
    assert!(refusal.text.contains(&owner) && refusal.text.contains("running for"), "{}", refusal.text);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    apt.refresh().await.unwrap();
}

#[tokio::test]
async fn another_manager_is_seen_without_a_lock() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let script = fixture.folder.path().join("dpkg");
    fs::write(&script, "read line <&3\n").unwrap();
    let root = format!("--root={}", apt.root().path().display());
    // Not a child of ours: what we start ourselves is no other manager.
    let mut parent = Command::new("/bin/sh")
        .args(["-c", "exec 3<&0; /bin/sh \"$@\" & wait", "parent"])
        .arg(&script)
        .args([&root, "--configure", "--pending"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let refusal = wait_for("the other manager to be seen", || apt.ready().err());
    show("another manager", &refusal);
    assert_eq!(refusal.code, RefusalCode::OtherManager);
    assert!(refusal.text.starts_with("dpkg (process "), "{}", refusal.text);
    assert!(refusal.text.contains(") is at work, running for "), "{}", refusal.text);
    drop(parent.stdin.take());
    parent.wait().unwrap();
    apt.ready().unwrap();
}

/// Writes that `package` is in `state`, as a dpkg does that is cut off.
fn tear(fixture: &Fixture, package: &str, state: &str) {
    let status = fixture.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    let sound = format!("Package: {package}\nStatus: install ok installed");
    assert!(text.contains(&sound));
    fs::write(&status, text.replacen(&sound, &format!("Package: {package}\nStatus: {state}"), 1)).unwrap();
}

#[tokio::test]
async fn every_half_state_is_refused_and_mended_by_the_recipe() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let planned = apt.resolve(Baseline::All).await.unwrap().transaction;
    let pending = "install ok triggers-pending\nTriggers-Pending: /usr/share/x";
    for state in ["install ok half-configured", "install ok unpacked", pending, "install reinstreq half-installed"] {
        tear(&fixture, "epo", state);
        let refusal = apt.resolve(Baseline::All).await.unwrap_err();
        show(state.lines().next().unwrap(), &refusal);
        assert_eq!(refusal.code, RefusalCode::DirtyDatabase);
        assert_eq!(apt.check(&planned).await.unwrap_err().code, RefusalCode::DirtyDatabase);
        let (ok, output) = fixture.perform(&[apt.configure_plan()]);
        if state.contains("reinstreq") {
            assert!(!apt.audit().await.unwrap().is_empty(), "{ok}: {output}");
            let beyond = apt.complete_plan(&Transaction::default()).await.unwrap();
            let (_, output) = fixture.perform(&[beyond]);
            assert!(!apt.audit().await.unwrap().is_empty(), "what is not planned is not unpacked: {output}");
            let (ok, output) = fixture.perform(&[apt.complete_plan(&planned).await.unwrap()]);
            assert!(ok, "{output}");
            assert_eq!(apt.installed().unwrap()[&("epo".into(), fixture.native.into())], "1:0.5");
        }
        assert_eq!(apt.audit().await.unwrap(), Vec::<String>::new(), "{state}: {output}");
    }
    let rest: Vec<_> = apt.resolve(Baseline::All).await.unwrap().transaction.changes;
    assert_eq!(rest.len() + 1, planned.changes.len(), "only what was torn was installed");
}

#[tokio::test]
async fn a_repair_goes_on_with_the_plan_where_what_was_unpacked_needs_it() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let planned = apt.resolve(Baseline::All).await.unwrap().transaction;
    // Cut off between two packages: a new `app` whose new dependency comes later, and `epo` in the middle.
    let mut unpack = apt.configure_plan();
    unpack.argv.retain(|word| !["--configure", "--pending"].contains(&word.as_str()));
    let archive = fixture.folder.path().join("repo/main/app_1%3a1.0_all.deb");
    unpack.argv.extend(["--unpack".to_owned(), archive.display().to_string()]);
    let (ok, output) = fixture.perform(&[unpack]);
    assert!(ok, "{output}");
    tear(&fixture, "epo", "install reinstreq half-installed");
    let (ok, output) = fixture.perform(&[apt.configure_plan()]);
    assert!(!ok && !apt.audit().await.unwrap().is_empty(), "{output}");
    let (ok, output) = fixture.perform(&[apt.complete_plan(&planned).await.unwrap()]);
    assert!(ok, "{output}");
    assert_eq!(apt.audit().await.unwrap(), Vec::<String>::new());
    let installed = apt.installed().unwrap();
    for change in &planned.changes {
        let now = installed.get(&(change.name.clone(), change.arch.clone()));
        assert_eq!(now, Some(&change.to), "{}", change.name);
    }
}

#[tokio::test]
async fn a_repair_takes_the_versions_of_the_plan_and_not_those_that_apt_would_choose() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let planned = apt.resolve(Baseline::Security).await.unwrap().transaction;
    let status = fixture.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    // As if a new `stays`, which is in no repository any more, had been unpacked and needed a newer `mixed`: security has 2,
    // and apt would choose 3.
    let at = text.find("Package: stays\n").unwrap();
    let torn = text[at..].replacen("Version: 1\n", "Version: 9\nDepends: mixed (>= 2)\n", 1);
    fs::write(&status, text[..at].to_owned() + &torn).unwrap();
    let beyond = apt.complete_plan(&Transaction::default()).await.unwrap_err();
    assert!(
        beyond.text.contains("install mixed:") && beyond.text.contains(" 3, which the plan does not"),
        "{}",
        beyond.text
    );
    let (ok, output) = fixture.perform(&[apt.complete_plan(&planned).await.unwrap()]);
    assert!(ok, "{output}");
    assert_eq!(apt.installed().unwrap()[&("mixed".into(), fixture.native.into())], "2");
}

#[tokio::test]
async fn a_repair_that_would_install_more_than_was_planned_is_left_out() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let status = fixture.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    // As if a new `app` had been unpacked whose new dependency is not there yet.
    fs::write(&status, text.replacen("Depends: lib\n", "Depends: lib, newdep\n", 1)).unwrap();
    let refusal = apt.complete_plan(&Transaction::default()).await.unwrap_err();
    show("repair", &refusal);
    assert_eq!(refusal.code, RefusalCode::PlanChanged);
    let beyond = format!("apt-get -f install would install newdep:{} 1, which the plan does not", fixture.native);
    assert_eq!(refusal.text, beyond);
}

/// Runs `test` of this binary with its temporary folder on a file system of `megabytes`, in mounts of its own.
fn on_a_small_disk(test: &str, megabytes: u32) {
    let unshare = ["--mount", "--propagation=private", "--"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: a file system of its own needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size={megabytes}m,mode=1777 none \"$TMPDIR\" && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(unshare)
        .args(["/bin/sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("TMPDIR", folder.path())
        .env(SMALL_DISK, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let talk = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!(
        "{}",
        talk.lines().filter(|line| line.contains("disk")).fold(String::new(), |text, line| text + line + "\n")
    );
    assert!(output.status.success() && talk.contains("1 passed"), "{talk}");
}

/// The folder of the small file system, inside of it.
fn small_disk() -> Option<PathBuf> {
    std::env::var_os(SMALL_DISK).map(PathBuf::from)
}

#[tokio::test]
async fn a_full_disk_is_refused_before_and_mended_after() {
    const TEST: &str = "apt::preflight::a_full_disk_is_refused_before_and_mended_after";
    if !possible() {
        return;
    }
    let Some(disk) = small_disk() else { return on_a_small_disk(TEST, 160) };
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let transaction = apt.resolve(Baseline::All).await.unwrap().transaction;
    apt.check(&transaction).await.unwrap();
    let filler = disk.join("filler");
    // `dd` ends with an error when nothing is left.
    let fill = |blocks: &str| {
        let of = format!("of={}", filler.display());
        let _ = Command::new("dd").args(["if=/dev/zero", &of, "bs=4096", blocks]).output().unwrap();
    };
    fill("count=30000");
    let refusal = apt.check(&transaction).await.unwrap_err();
    show("disk nearly full", &refusal);
    assert_eq!(refusal.code, RefusalCode::NoSpace);
    assert!(refusal.text.contains("var/lib/dpkg has ") && refusal.text.contains(" MiB are needed"), "{}", refusal.text);

    // Full in the middle: what began fails, and is mended once there is room.
    fill("count=100000");
    let (ok, output) = fixture.perform(&apt.install_plan(&transaction).unwrap());
    assert!(!ok);
    let dirty = apt.audit().await.map_or_else(|refusal| refusal.text, |found| found.join("; "));
    println!("disk full in the transaction: unclean: {dirty:?}: {output}");
    fs::remove_file(&filler).unwrap();
    fixture.perform(&[apt.configure_plan()]);
    if !apt.audit().await.unwrap().is_empty() {
        fixture.perform(&[apt.complete_plan(&transaction).await.unwrap()]);
    }
    assert_eq!(apt.audit().await.unwrap(), Vec::<String>::new());
    println!("disk freed: the database is sound");
}
