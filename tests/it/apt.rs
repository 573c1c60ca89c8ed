//! apt on private roots and on the machine itself, as the user who runs the tests and, if that is root, as an ordinary one.

mod fetched;
mod fixture;
mod generated;
mod judged;
mod large;
mod pinned;
mod preflight;
mod refused;
mod sighted;
mod sources;
mod unchanged;
mod worlds;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use patchmesh_common::{
    inventory::{Transaction, document::Inventory},
    patch::{
        Baseline,
        baseline::{PatchBaseline, RuleText, Rules, Spec},
        evaluation::{State, evaluate},
    },
    run::{compare::compare, message::RefusalCode},
    time::WallTime,
};
use patchmesh_coordinator::command;
use patchmesh_node::host::{
    apt::{Apt, scan::Scan},
    root::Root,
};

use self::fixture::{Fixture, possible, run, snapshot, upgrades};

/// Set for the copy of this binary that runs as an ordinary user.
const SECOND_USER: &str = "PATCHMESH_TEST_SECOND_USER";
/// Set for the copy of this binary that holds a lock: the file.
pub(crate) const HOLD: &str = "PATCHMESH_TEST_HOLD";

fn free(scan: &Scan, native: &str) -> Vec<String> {
    let free = scan.rows.iter().filter(|row| row.state.as_str() == "Missing" && row.blocked.is_none());
    let arch = |arch: &str| if arch == "all" { native.to_owned() } else { arch.to_owned() };
    let mut found: Vec<_> = free.map(|row| format!("{}:{}", row.name, arch(&row.arch))).collect();
    found.sort();
    found
}

fn told(scan: &Scan) -> Vec<String> {
    scan.rows
        .iter()
        .map(|row| {
            let or = |text: Option<&str>| text.unwrap_or("-").to_owned();
            let (available, archive) = (or(row.available.as_deref()), or(row.archive.as_deref()));
            let blocked = or(row.blocked.map(|blocked| blocked.as_str()));
            format!("{} {} {available} {archive} {blocked}", row.name, row.state.as_str())
        })
        .collect()
}

fn planned(transaction: &Transaction) -> Vec<String> {
    transaction
        .changes
        .iter()
        .map(|change| {
            format!("{}:{} {} {}", change.name, change.arch, change.from.as_deref().unwrap_or("-"), change.to)
        })
        .collect()
}

/// How often the machine's own dpkg has installed a package that only a fixture has: its log may grow at any time for others.
fn on_the_machine() -> usize {
    let log = fs::read("/var/log/dpkg.log").unwrap_or_default();
    String::from_utf8_lossy(&log).matches(" install newdep:").count()
}

#[tokio::test]
async fn a_scan_is_what_apt_would_do_and_changes_nothing() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let expected = upgrades(&fixture.apt(&["-s", "-y", "dist-upgrade"]), fixture.native);
    assert!(expected.len() >= 6, "{expected:?}");
    let before = snapshot(&fixture.root());
    let apt = Apt::look(Root::open(&fixture.root()).unwrap(), None).await.unwrap();
    let scan = apt.scan(Baseline::All).await.unwrap();
    assert_eq!(free(&scan, fixture.native), expected);
    assert_eq!(
        told(&scan),
        [
            "app Missing 1:1.0 stable -",
            "epo Missing 1:0.5 stable -",
            "held Missing 2 stable hold",
            "held Missing 2 stable keptBack",
            "kept Missing 2 stable keptBack",
            "lib Missing 2.0 stable-security -",
            "lib Missing 2.0 stable-security -",
            "middle Missing 2 stable -",
            "mixed Missing 3 stable -",
            "phased Missing 2 stable phased",
            "pinned Missing 2 stable pin",
            "stays Installed - - -",
            "til Missing 1.0 stable-security -",
        ]
    );
    let security = apt.scan(Baseline::Security).await.unwrap();
    let missing: Vec<_> = told(&security).into_iter().filter(|row| row.contains("Missing")).collect();
    assert_eq!(
        missing,
        [
            "lib Missing 2.0 stable-security -",
            "lib Missing 2.0 stable-security -",
            "mixed Missing 2 stable-security -",
            "til Missing 1.0 stable-security -",
        ]
    );
    let stocked = apt.inventory().await.unwrap();
    let til = stocked.iter().find(|stocked| stocked.package.name == "til").unwrap();
    let versions: Vec<_> = til.candidates.iter().map(|candidate| candidate.version.as_str()).collect();
    assert_eq!(versions, ["1.0~beta2", "1.0~beta10", "1.0"]);
    assert!(til.candidates.iter().all(|candidate| candidate.sha256.as_ref().is_some_and(|sum| sum.len() == 64)));
    assert_eq!(apt.facts().unwrap().os, "debian");
    drop(apt);
    assert_eq!(snapshot(&fixture.root()), before, "a look changed something");
}

#[tokio::test]
async fn the_command_prints_the_same_for_a_private_root() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let before = snapshot(&fixture.root());
    let args = command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: "all".into(),
        refresh: false,
        no_cache: true,
        output: patchmesh_coordinator::output::Format::Json,
    };
    let document = serde_json::to_value(command::scan::document(&args).await.unwrap()).unwrap();
    assert_eq!(document["host"]["name"], "private");
    assert_eq!(document["host"]["osVersion"], "12");
    assert_eq!(document["source"], "manager");
    assert_eq!(document["summary"]["missing"], 12);
    assert_eq!(document["summary"]["blocked"], 5);
    assert_eq!(document["patches"].as_array().unwrap().len(), 13);
    let args = command::inventory::Args {
        local: true,
        root: fixture.root(),
        output: patchmesh_coordinator::output::Format::Json,
    };
    let document = serde_json::to_value(command::inventory::document(&args).await.unwrap()).unwrap();
    assert_eq!(document["packages"].as_array().unwrap().len(), 13);
    assert_eq!(snapshot(&fixture.root()), before);
}

#[tokio::test]
async fn a_baseline_with_sources_of_its_own_is_refused_by_name() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let file = fixture.root().with_extension("json");
    let sources = r#"[{"Name": "own", "Products": ["*"], "Configuration": "deb https://a.example s main"}]"#;
    std::fs::write(&file, format!(r#"{{"Name": "web", "OperatingSystem": "DEBIAN", "Sources": {sources}}}"#)).unwrap();
    let args = command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: file.to_str().unwrap().into(),
        refresh: false,
        no_cache: true,
        output: patchmesh_coordinator::output::Format::Json,
    };
    let fault = command::scan::document(&args).await.err().unwrap();
    assert_eq!(fault.message, "a local scan by the sources of baseline web is not built yet");
}

/// (name, architecture, missing version) of every package that is missing.
fn missing(patches: &serde_json::Value) -> Vec<(String, String, String)> {
    let text = |row: &serde_json::Value, member: &str| row[member].as_str().unwrap().to_owned();
    let rows = patches.as_array().unwrap().iter().filter(|row| row["state"] == "Missing");
    rows.map(|row| (text(row, "name"), text(row, "arch"), text(row, "available"))).collect()
}

#[tokio::test]
async fn a_baseline_of_everything_that_is_security_finds_what_the_scan_for_security_finds() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let output = patchmesh_coordinator::output::Format::Json;
    let args = command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: "security".into(),
        refresh: false,
        no_cache: true,
        output,
    };
    let scan = serde_json::to_value(command::scan::document(&args).await.unwrap()).unwrap();
    let args = command::inventory::Args { local: true, root: fixture.root(), output };
    let inventory = serde_json::to_value(command::inventory::document(&args).await.unwrap()).unwrap();
    let inventory: Inventory = serde_json::from_value(inventory).unwrap();
    let rule = RuleText::default();
    let spec = Spec {
        operating_system: Some("DEBIAN".into()),
        approval_rules: Some(Rules { patch_rules: vec![rule] }),
        ..Spec::default()
    };
    let baseline = PatchBaseline { name: "security".into(), spec, labels: Default::default() }.check().unwrap();
    let found = evaluate(&baseline, &inventory, WallTime(0)).unwrap().rows;
    assert_eq!(found.len(), scan["patches"].as_array().unwrap().len());
    let found = found.into_iter().filter(|row| row.state == State::Missing);
    let found: Vec<_> = found.map(|row| (row.name, row.arch, row.available.unwrap())).collect();
    assert_eq!((found.len(), &found), (4, &missing(&scan["patches"])));
}

/// The machine itself before and after a scan, and what the scan and apt would upgrade; `None` if that failed.
struct Machine {
    before: Vec<String>,
    after: Vec<String>,
    scan: Option<Vec<String>>,
    simulation: Option<Vec<String>>,
    words: String,
}

impl Machine {
    async fn look() -> Self {
        let state = || {
            let places = ["/var/cache/apt", "/var/log/apt", "/var/lib/apt", "/var/lib/dpkg/status"];
            places.iter().flat_map(|path| snapshot(Path::new(path))).collect::<Vec<_>>()
        };
        let before = state();
        let apt = Apt::look(Root::open(Path::new("/")).unwrap(), None).await.unwrap();
        let scanned = apt.scan(Baseline::All).await;
        let after = state();
        // Without caches: apt would write them anew under the feet of the same test as an ordinary user.
        let simulation = Command::new("apt-get")
            .args(["-s", "-y", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "dist-upgrade"])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&simulation.stderr).into_owned();
        let upgrades = upgrades(&String::from_utf8_lossy(&simulation.stdout), apt.native());
        let (scan, refusal) = match scanned {
            Ok(scan) => (Some(free(&scan, apt.native())), String::new()),
            Err(refusal) => (None, refusal.text),
        };
        let simulation = simulation.status.success().then_some(upgrades);
        Self { before, after, scan, simulation, words: refusal + &words }
    }

    fn agrees(&self) -> bool {
        self.before == self.after && self.scan == self.simulation
    }
}

#[tokio::test]
async fn the_machine_itself_is_scanned_like_apt_does() {
    if !possible() {
        return;
    }
    if Root::open(Path::new("/")).is_err() {
        eprintln!("skipped: this machine is no Debian");
        return;
    }
    let mut seen = Machine::look().await;
    // The machine's own timers may have refreshed or upgraded something meanwhile, once.
    for _ in 0..2 {
        if seen.agrees() {
            break;
        }
        seen = Machine::look().await;
    }
    assert_eq!(seen.after, seen.before, "a look changed something");
    assert_eq!(seen.scan, seen.simulation, "{}", seen.words);
}

#[tokio::test]
async fn exactly_what_was_resolved_is_installed() {
    if !possible() {
        return;
    }
    let (fixture, before_all) = (Fixture::new(), on_the_machine());
    let apt = fixture.open().await;
    let security = apt.resolve(Baseline::Security).await.unwrap().transaction;
    let (native, foreign) = (fixture.native, fixture.foreign);
    let mut expected = vec![
        format!("lib:{native} 1.0 2.0"),
        format!("lib:{foreign} 1.0 2.0"),
        format!("mixed:{native} 1 2"),
        format!("til:{native} 1.0~beta2 1.0"),
    ];
    expected.sort();
    assert_eq!(planned(&security), expected);

    let all = apt.resolve(Baseline::All).await.unwrap();
    assert_eq!(all.counters.missing, 12);
    let transaction = all.transaction;
    assert!(planned(&transaction).contains(&format!("newdep:{native} - 1")), "{:?}", planned(&transaction));
    assert!(transaction.changes.iter().all(|change| change.sha256.len() == 64));
    apt.check(&transaction).await.unwrap();

    let before = apt.installed().unwrap();
    assert!(!apt.root().reboot_required());
    let (ok, output) = fixture.perform(&apt.install_plan(&transaction).unwrap());
    assert!(ok, "{output}");
    assert!(output.contains("configuring app 1:1.0"), "{output}");
    let verified = compare(Some(&before), &apt.installed().unwrap(), &transaction);
    assert_eq!(verified.differences, Vec::<String>::new());
    assert_eq!(verified.changed, transaction.changes);
    assert_eq!(apt.audit().await.unwrap(), Vec::<String>::new());
    assert!(apt.root().reboot_required());
    assert_eq!(apt.root().reboot_packages().unwrap(), ["epo"]);
    apt.root().clear_reboot_required().unwrap();
    assert!(!apt.root().reboot_required());

    // What apt chose by itself before is still so, a new dependency too, and nothing else.
    let mut marks = fixture.automatic();
    marks.sort_unstable();
    assert_eq!(marks, ["lib".to_owned(), format!("lib:{foreign}"), "newdep".into()]);
    assert_eq!(free(&apt.scan(Baseline::All).await.unwrap(), native), Vec::<String>::new());
    // Not more: logs are rotated.
    assert!(on_the_machine() <= before_all, "the machine's own dpkg installed it");
    let root_log = fs::read_to_string(fixture.root().join("var/log/dpkg.log")).unwrap();
    assert_eq!(root_log.matches("upgrade epo:").count(), 1);
    assert_eq!(root_log.matches(" install newdep:").count(), 1);
}

#[tokio::test]
async fn a_plan_that_no_longer_holds_is_refused() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let transaction = apt.resolve(Baseline::All).await.unwrap().transaction;

    fixture.publish(|deb| (deb.name, deb.version) != ("middle", "2"));
    apt.refresh().await.unwrap();
    let refusal = apt.check(&transaction).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::VersionGone);
    assert!(refusal.text.contains(&format!("middle:{} 2", fixture.native)), "{}", refusal.text);

    fixture.publish(|_| true);
    apt.refresh().await.unwrap();
    apt.check(&transaction).await.unwrap();
    let mut smaller = transaction.clone();
    smaller.changes.retain(|change| change.name != "newdep");
    let refusal = apt.check(&smaller).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::PlanChanged);
    assert!(refusal.text.contains(&format!("newdep:{} 1 would be installed too", fixture.native)), "{}", refusal.text);
    run(fixture.command("apt-mark").args(["hold", "epo"]));
    let refusal = apt.check(&transaction).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Held);
    assert_eq!(refusal.text, format!("epo:{} is on hold", fixture.native));
}

#[tokio::test]
async fn a_repository_that_vanished_is_named() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let dists = fixture.folder.path().join("repo/dists");
    fs::rename(dists.join("sec"), dists.join("gone")).unwrap();
    let refusal = apt.refresh().await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::RepositoryUnreachable);
    let name = format!("file:{} sec", fixture.folder.path().join("repo").display());
    assert!(refusal.text.contains(&name) && !refusal.text.contains("repo main"), "{}", refusal.text);
}

#[tokio::test]
async fn a_scan_goes_on_without_a_repository_and_not_without_the_right_to_refresh() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let dists = fixture.folder.path().join("repo/dists");
    fs::rename(dists.join("sec"), dists.join("gone")).unwrap();
    let args = command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: "all".into(),
        refresh: true,
        no_cache: true,
        output: patchmesh_coordinator::output::Format::Json,
    };
    let document = serde_json::to_value(command::scan::document(&args).await.unwrap()).unwrap();
    assert_eq!(document["patches"].as_array().unwrap().len(), 13);
    // A folder where the lock shall be: even root cannot write it.
    let lock = fixture.root().join("var/lib/apt/lists/lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let fault = command::scan::document(&args).await.unwrap_err();
    assert_eq!(fault.code, "manager-failed");
    assert!(fault.message.contains("lists/lock"), "{}", fault.message);
    assert_eq!(fault.unchanged, "the indexes are as apt left them");
}

#[tokio::test]
async fn a_torn_database_is_refused_and_repaired() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let status = fixture.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    let torn = text.replacen(
        "Package: epo\nStatus: install ok installed",
        "Package: epo\nStatus: install ok half-configured",
        1,
    );
    assert_ne!(torn, text);
    fs::write(&status, torn).unwrap();
    let refusal = apt.resolve(Baseline::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::DirtyDatabase);
    assert!(refusal.text.contains("epo") && refusal.text.contains("half-configured"), "{}", refusal.text);
    assert!(apt.audit().await.unwrap().iter().any(|problem| problem.contains("epo")));
    let (ok, output) = fixture.perform(&[apt.configure_plan()]);
    assert!(ok && output.contains("configuring epo 9.0"), "{output}");
    assert_eq!(apt.audit().await.unwrap(), Vec::<String>::new());
    apt.resolve(Baseline::All).await.unwrap();
}

#[tokio::test]
async fn where_apt_fails_a_scan_fails_with_its_words() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let status = fixture.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    fs::write(&status, text.replacen("Depends: lib\n", "Depends: lib, nowhere\n", 1)).unwrap();
    let simulation = fixture.command("apt-get").args(["-s", "-y", "dist-upgrade"]).output().unwrap();
    assert!(!simulation.status.success());
    let message = String::from_utf8(simulation.stderr).unwrap();
    let message = message.lines().find_map(|line| line.strip_prefix("E: ")).unwrap();
    let apt = fixture.open().await;
    let refusal = apt.scan(Baseline::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ManagerFailed);
    assert!(refusal.text.contains(message) && refusal.text.contains("nowhere"), "{}", refusal.text);
}

#[tokio::test]
async fn the_machines_own_hooks_are_not_even_known() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    drop(fixture.open().await);
    for conf in ["apt-read.conf", "apt-change.conf"] {
        let path = fixture.folder.path().join("state").join(conf);
        let dump = run(Command::new("apt-config").arg("dump").env("APT_CONFIG", path));
        let dump = String::from_utf8(dump.stdout).unwrap();
        let hooks: Vec<_> =
            dump.lines().filter(|line| line.contains("Invoke") || line.contains("Pre-Install-Pkgs")).collect();
        assert!(hooks.iter().all(|line| line.ends_with("\"\";")), "{hooks:?}");
        assert!(dump.contains(&format!("Dir \"{}\";", fixture.root().canonicalize().unwrap().display())), "{dump}");
    }
}

#[tokio::test]
async fn who_holds_the_lock_is_named() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let lock = fixture.root().join("var/lib/dpkg/lock-frontend");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "apt::holds_a_lock_for_another_test", "--nocapture"])
        .env(HOLD, &lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")), "the lock was not taken");
    let refusal = apt.resolve(Baseline::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Locked);
    let owner = format!("is held by process {} (", holder.id());
    assert!(refusal.text.contains(&owner) && refusal.text.contains("running for"), "{}", refusal.text);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    apt.resolve(Baseline::All).await.unwrap();
}

#[test]
fn holds_a_lock_for_another_test() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let file = fs::File::options().create(true).truncate(false).write(true).open(path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    println!("held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn an_ordinary_user_can_do_all_of_it() {
    if !possible() || std::env::var_os(SECOND_USER).is_some() {
        return;
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        eprintln!("skipped: not root, or no setpriv; the other tests ran as the ordinary user that this is");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = folder.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    let output = Command::new("/usr/bin/setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary)
        .args(["apt::", "--nocapture"])
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games")
        .env("TMPDIR", temporary)
        .env(SECOND_USER, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let talk = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{talk}");
    assert!(talk.contains("exactly_what_was_resolved_is_installed ... ok"), "{talk}");
}
