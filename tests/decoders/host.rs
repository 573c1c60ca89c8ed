//! What a host reads of its own files and of its package manager.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use patchmesh_common::{inventory::deb, patch::Automatic};
use patchmesh_node::{
    config,
    host::apt::{
        lists::{self, Offers, Target},
        native, simulate, status, update,
    },
    store::log::{self, LogError, MAX_FRAME_BYTES},
};

const NATIVE: &str = "amd64";
/// A host that the samples of indexes offer something for.
const STATUS: &[u8] = b"Package: lib\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\n\n\
    Package: doc\nStatus: hold ok installed\nVersion: 1\nArchitecture: all\nDepends: lib (>= 1) | virtual\n\n";
/// The other way round.
const INDEX: &[u8] = b"Package: lib\nVersion: 9\nArchitecture: amd64\nProvides: virtual (= 1)\n\n\
    Package: a\nVersion: 9\nArchitecture: amd64\nBreaks: lib (<< 1)\n\n";
/// The first bytes of a journal file; without them nothing else of it is looked at.
const LOG_HEADER: &[u8; 16] = b"patchmesh-log\0\x01\n";

/// dpkg's file, and apt's of what was installed automatically.
pub(super) fn dpkg_status(bytes: &[u8]) {
    if let Ok(packages) = status::parse(bytes, "status") {
        assert!(packages.is_sorted_by_key(|package| (&package.name, &package.arch)), "unsorted");
        assert!(status::versions(&packages).len() <= packages.len());
        for package in &packages {
            assert_ne!(package.broken.as_deref(), Some("installed"), "sound and broken at once");
        }
    }
    newer_ones(bytes, INDEX);
    // Marks that cannot be read are an error, whatever it is.
    let _ = status::automatic(bytes, "extended_states");
}

/// What is certain to be upgraded is installed, and to something newer.
fn newer_ones(status: &[u8], index: &[u8]) {
    let Ok(upgrades) = native::upgrades(status, index, NATIVE) else { return };
    // Of what is not installed the other reader reads more.
    let Ok(packages) = status::parse(status, "status") else { return };
    for (name, arch, version) in upgrades {
        let filed = |of: &str| if of == "all" { NATIVE } else { of }.to_owned();
        let old = packages.iter().find(|package| package.name == name && filed(&package.arch) == arch);
        let newer = old.is_some_and(|old| !old.hold && deb::compare(&version, &old.version) == Ordering::Greater);
        assert!(newer, "{name}:{arch} would become {version}");
    }
}

/// The first byte chooses plain, lz4, gzip, a Release's head, or apt's list of indexes.
pub(super) fn apt_index(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let wanted: BTreeSet<String> = ["lib", "doc", "a"].map(str::to_owned).into();
    match kind {
        0 => {
            let mut offers = Offers::new();
            let target = Target::default();
            if lists::collect(bytes, &target, Automatic::Yes, &wanted, NATIVE, &mut offers).is_ok() {
                assert!(offers.keys().all(|(name, _)| wanted.contains(name)), "a name that nobody asked for");
                assert!(offers.values().all(|candidates| !candidates.is_empty()), "an offer of nothing");
            }
            newer_ones(STATUS, bytes);
        }
        1 | 2 => {
            let file = written(if *kind == 1 { "Packages.lz4" } else { "Packages.gz" }, bytes);
            let target = Target { file: file.clone(), ..Target::default() };
            if let Err(error) = lists::read(&[target], &wanted, NATIVE, Path::new("/dev/null")) {
                assert!(error.to_string().contains(&*file.to_string_lossy()), "{error} does not say where");
            }
        }
        3 => {
            lists::automatic(&String::from_utf8_lossy(bytes));
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(targets) = lists::parse_targets(&text) {
                assert!(targets.len() <= text.lines().count());
                targets.iter().for_each(|target| {
                    target.is_security();
                });
            }
        }
    }
}

/// What `apt-get -s` and `apt-get update` print.
pub(super) fn apt_output(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(simulation) = simulate::parse(&text, NATIVE) {
        assert!(simulation.installs.iter().all(|install| !install.new.is_empty()), "an install of no version");
    }
    assert!(update::failures(&text, &text).is_sorted(), "unsorted");
    update::is_locked(&text);
}

/// The file of a journal or a ledger, after its header. Whatever is in it, a second look says the same.
pub(super) fn log_file(bytes: &[u8]) {
    let file = written("runs.log", &[LOG_HEADER, bytes].concat());
    match log::read(&file) {
        Ok(frames) => {
            assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME_BYTES), "a frame over the bound");
            assert!(frames.iter().map(|frame| frame.len() + 32).sum::<usize>() <= bytes.len(), "more than was there");
        }
        Err(LogError::Corrupt { .. }) => {}
        Err(other) => unexpected(&other),
    }
}

/// The daemon's own file.
pub(super) fn config(bytes: &[u8]) {
    let file = written("patchmeshd.toml", bytes);
    match config::load(&file) {
        Ok(settings) => assert!(settings.state.is_absolute() && settings.root.is_absolute(), "{settings:?}"),
        Err(error) => assert!(error.to_string().contains("patchmeshd.toml"), "{error} does not say where"),
    }
}

/// Three versions, parted by zeros: the order is total.
pub(super) fn versions(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.splitn(3, '\0');
    let [Some(a), Some(b), Some(c)] = [words.next(), words.next(), words.next()] else { return };
    // Whether it is one at all is said, never assumed.
    let _ = deb::check(a);
    let (ab, bc, ac) = (deb::compare(a, b), deb::compare(b, c), deb::compare(a, c));
    assert_eq!(ab, deb::compare(b, a).reverse(), "{a:?} and {b:?}");
    assert_eq!(deb::compare(a, a), Ordering::Equal, "{a:?}");
    if ab == bc {
        assert_eq!(ac, ab, "{a:?}, {b:?} and {c:?}");
    }
}

/// A file of this process with `bytes` in it.
#[expect(clippy::expect_used, reason = "without a temporary folder nothing can be tested")]
fn written(name: &str, bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
    // Targets may run in threads beside each other.
    let path = folder.path().join(format!("{:?}-{name}", std::thread::current().id()));
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}

#[expect(clippy::panic, reason = "panicking is what this is for")]
fn unexpected(error: &LogError) {
    panic!("{error}");
}
