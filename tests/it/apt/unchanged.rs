//! Scans of roots that did not change, and of roots with indexes that nobody should have written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use patchmesh_common::patch::Baseline;
use patchmesh_node::host::{
    apt::{Apt, scan::Source},
    root::Root,
};
use serde_json::Value;

use super::{
    fixture::{Fixture, possible, run, snapshot, upgrades},
    free,
};

/// Files that were written a moment ago may be written again unseen, so an answer is kept only after a while. So long this waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that is done to a root, and its name.
type Change<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// Scans until the answer is an old one, and returns it.
async fn settle(apt: &Apt) -> patchmesh_node::host::apt::scan::Scan {
    let begun = Instant::now();
    loop {
        let scan = apt.scan(Baseline::All).await.unwrap();
        if scan.source == Source::Unchanged {
            return scan;
        }
        assert!(begun.elapsed() < PATIENCE, "the answer is never kept");
    }
}

#[tokio::test]
async fn an_unchanged_host_is_not_scanned_again_and_every_change_is_seen() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let first = apt.scan(Baseline::All).await.unwrap();
    assert_eq!(first.source, Source::Manager);
    let kept = settle(&apt).await;
    assert_eq!((kept.rows, kept.counters), (first.rows, first.counters));
    let security = apt.scan(Baseline::Security).await.unwrap();
    assert_ne!(security.source, Source::Unchanged, "another question");

    let pins = fixture.root().join("etc/apt/preferences.d/pins");
    let hold = |word: &'static str| run(fixture.command("apt-mark").args([word, "epo"]));
    let changes: [Change<'_>; 6] = [
        ("a hold", Box::new(|| drop(hold("hold")))),
        ("no hold", Box::new(|| drop(hold("unhold")))),
        ("a pin", Box::new(|| fs::write(&pins, "Package: til\nPin: version 1.0~beta10\nPin-Priority: 990\n").unwrap())),
        ("no pin", Box::new(|| fs::write(&pins, "").unwrap())),
        (
            "other indexes",
            Box::new(|| {
                fixture.publish(|deb| deb.name != "epo");
                fixture.apt(&["update"]);
            }),
        ),
        ("an installation", Box::new(|| drop(fixture.apt(&["-y", "install", "til"])))),
    ];
    for (what, change) in changes {
        settle(&apt).await;
        change();
        let scan = apt.scan(Baseline::All).await.unwrap();
        assert_ne!(scan.source, Source::Unchanged, "{what}");
        let expected = upgrades(&fixture.apt(&["-s", "-y", "dist-upgrade"]), fixture.native);
        assert_eq!(free(&scan, fixture.native), expected, "{what}");
    }
}

#[test]
fn the_command_keeps_its_answer_at_home_and_nothing_in_the_root() {
    let Some(program) = crate::fleet::program().filter(|_| possible()) else { return };
    let fixture = Fixture::new();
    let home = fixture.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let scan = |home: &Path, more: &[&str]| -> Value {
        let mut command = Command::new(&program);
        command.args(["scan", "--local", "-o", "json", "--root"]).arg(fixture.root()).args(more);
        serde_json::from_slice(&run(command.env("XDG_CACHE_HOME", home)).stdout).unwrap()
    };
    let before = snapshot(&fixture.root());
    let begun = Instant::now();
    let (first, kept) = loop {
        let first = scan(&home, &[]);
        let second = scan(&home, &[]);
        if second["source"] == "unchanged" {
            break (first, second);
        }
        assert!(begun.elapsed() < PATIENCE, "the answer is never kept");
    };
    for member in ["host", "baseline", "summary", "patches"] {
        assert_eq!(first[member], kept[member], "{member}");
    }
    assert_eq!(scan(&home, &["--no-cache"])["source"], "manager");

    // Whatever else lies there is not believed, and replaced.
    let folder = home.join("patchmesh");
    let file: PathBuf = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "rubbish").unwrap();
    assert_eq!(scan(&home, &[])["source"], "manager");
    assert_eq!(scan(&home, &[])["source"], "unchanged");
    // No folder of its own, no answer kept: a root is not written to.
    assert_eq!(scan(&fixture.root().canonicalize().unwrap(), &[])["source"], "manager");
    assert_eq!(scan(Path::new("/nonexistent"), &[])["source"], "manager");
    assert_eq!(snapshot(&fixture.root()), before, "a look changed something");
}

/// Damages an index; what apt makes of it is apt's business, but a scan says the same, or which file is to blame.
#[tokio::test]
async fn hostile_indexes_are_named_or_read_as_apt_does() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let lists = fixture.root().join("var/lib/apt/lists");
    let index = fs::read_dir(&lists).unwrap().map(|entry| entry.unwrap().path());
    let ending = format!("main_main_binary-{}_Packages", fixture.native);
    let index = index.into_iter().find(|path| path.to_string_lossy().ends_with(&ending)).unwrap();
    let good = fs::read(&index).unwrap();
    // Where apt only links to a repository at hand, the link makes room for a file.
    fs::remove_file(&index).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let at = |part: &str| text.find(part).unwrap();
    let mut latin = good.clone();
    latin[at("Maintainer: t") + 12] = 0xe9;
    let mut number = good.clone();
    number[at("Version: ") + 9] = 0xff;
    let middle = &good[..at("Version: 1:0.5") + 11];
    let damages: [(&str, Vec<u8>); 9] = [
        ("cut off", middle.to_vec()),
        ("nothing", vec![]),
        ("zeros", vec![0; 1 << 16]),
        ("one line", vec![b'x'; 9 << 20]),
        ("another encoding", latin),
        ("a version that is none", number),
        ("a relation that is none", text.replacen("Depends: nothere", "Depends: nothere (>=", 1).into_bytes()),
        ("no name", text.replacen("Package: stays\n", "", 1).into_bytes()),
        ("no end of fields", format!("{text}Package: stays\n{}\n", "X: y\n".repeat(1 << 15)).into_bytes()),
    ];
    for (what, bytes) in damages {
        fs::write(&index, bytes).unwrap();
        // Either is fine; that they agree is what is judged.
        let _ = judge(&fixture, what).await;
    }
    fs::remove_file(&index).unwrap();
    for (ending, program) in [("gz", "gzip"), ("xz", "xz")] {
        if Command::new(program).arg("--version").output().is_err() {
            continue;
        }
        let packed = index.with_file_name(format!("{}.{ending}", index.file_name().unwrap().to_str().unwrap()));
        fs::write(&index, &good).unwrap();
        run(Command::new(program).arg("-f").arg(&index));
        judge(&fixture, ending).await.unwrap();
        let bytes = fs::read(&packed).unwrap();
        for (what, bytes) in [("half", &bytes[..bytes.len() / 2]), ("rubbish", &b"rubbish"[..])] {
            fs::write(&packed, bytes).unwrap();
            let text = judge(&fixture, what).await.expect_err("a torn file is no index");
            assert!(text.contains(packed.file_name().unwrap().to_str().unwrap()), "{what} {ending}: {text}");
        }
        fs::remove_file(&packed).unwrap();
    }
}

/// Holds a scan against apt; the words of a scan that fails.
async fn judge(fixture: &Fixture, what: &str) -> Result<(), String> {
    let judge = fixture.command("apt-get").args(["-s", "-y", "dist-upgrade"]).output().unwrap();
    let (expected, talk) = (String::from_utf8_lossy(&judge.stdout), String::from_utf8_lossy(&judge.stderr));
    let apt = Apt::look(Root::open(&fixture.root()).unwrap(), None).await.unwrap();
    match apt.scan(Baseline::All).await {
        Ok(scan) => {
            assert!(judge.status.success(), "{what}: apt fails, the scan does not: {talk}");
            assert_eq!(free(&scan, fixture.native), upgrades(&expected, fixture.native), "{what}");
            Ok(())
        }
        Err(refusal) => {
            eprintln!("{what}: {} (apt: {})", refusal.text, judge.status);
            assert!(refusal.text.contains("Packages") || !judge.status.success(), "{what}: {}", refusal.text);
            Err(refusal.text)
        }
    }
}
