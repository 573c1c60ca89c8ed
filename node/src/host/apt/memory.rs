//! The last answer of a scan in one flat file: while nothing that it depends on changes, it is the answer.
//!
//! It holds what can be computed again, so whatever is wrong with the file, it is as if there were none.

use std::{
    env,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use patchmesh_common::{
    patch::{Baseline, PatchCounters},
    wire,
};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::{
    fingerprint::Fingerprint,
    scan::{Row, Scan, Source},
};
use crate::{
    host::root::Root,
    store::trust::{distrust, private_folder},
};

/// First bytes of the file; the last one counts the forms that it had.
const MAGIC: &[u8; 8] = b"pm-scan\x01";
/// Largest file: a desktop with 5,000 packages has below 1 MiB.
const MAX_BYTES: usize = 16 << 20;
/// Before the content: [`MAGIC`] and a checksum.
const HEAD: usize = MAGIC.len() + 32;

/// A folder in which answers are kept: one file for each baseline, for the machine itself and for private roots.
#[derive(Clone, Debug)]
pub struct Memory(PathBuf);

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    agent: String,
    root: String,
    baseline: Baseline,
    /// The native architecture.
    native: String,
    /// Files that the answer depends on beside the usual ones.
    more: Vec<String>,
    fingerprint: [u8; 32],
    rows: Vec<Row>,
    counters: PatchCounters,
}

/// An answer that still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The native architecture of the root.
    pub native: String,
    /// The answer; its source says that it is an old one.
    pub scan: Scan,
}

/// Everything that belongs to an answer, and when its making began.
pub(super) struct Fresh<'a> {
    pub(super) root: &'a Root,
    pub(super) baseline: Baseline,
    pub(super) native: &'a str,
    pub(super) more: Vec<String>,
    pub(super) began: SystemTime,
}

impl Memory {
    /// Answers are kept in this folder, which belongs to the daemon.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Answers are kept for the user who runs this: below `XDG_CACHE_HOME`, or `.cache` at home. `None` if there is no such
    /// folder that is this user's alone to change, or if it lies in the private root that is looked at.
    pub fn of_user(root: &Root) -> Option<Self> {
        let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let (parent, below) = match set("XDG_CACHE_HOME") {
            Some(folder) => (folder, "patchmesh"),
            None => (set("HOME")?, ".cache/patchmesh"),
        };
        let parent = fs::canonicalize(parent).ok()?;
        Self::below(&parent, below, root)
    }

    fn below(parent: &Path, below: &str, root: &Root) -> Option<Self> {
        // A folder of somebody else's could be exchanged for a link at any time.
        if !is_own(&fs::metadata(parent).ok()?) || (!root.is_host() && parent.starts_with(root.path())) {
            return None;
        }
        let folder = parent.join(below);
        private_folder(&folder).ok()?;
        is_own(&fs::symlink_metadata(&folder).ok()?).then_some(Self(folder))
    }

    fn file(&self, root: &Root, baseline: Baseline) -> PathBuf {
        let kind = if root.is_host() { "host" } else { "root" };
        self.0.join(format!("scan-{}-{kind}", baseline.as_str()))
    }

    /// The kept answer, if nothing that it depends on has changed.
    pub fn recall(&self, root: &Root, baseline: Baseline) -> Option<Known> {
        let stored = read(&self.file(root, baseline))?;
        let asked = stored.agent == env!("CARGO_PKG_VERSION")
            && stored.baseline == baseline
            && Path::new(&stored.root) == root.path();
        if !asked || Fingerprint::take(root, &stored.more)?.digest != stored.fingerprint {
            return None;
        }
        let scan = Scan { source: Source::Unchanged, rows: stored.rows, counters: stored.counters };
        Some(Known { native: stored.native, scan })
    }

    /// Keeps an answer, unless what it depends on may have changed while it was made. `before` is how things were when its making
    /// began. Failing costs the next scan its time and nothing else.
    pub(super) fn keep(&self, before: &Fingerprint, fresh: Fresh<'_>, scan: &Scan) -> bool {
        let (root, more) = (fresh.root, fresh.more);
        let unchanged = Fingerprint::take(root, &[]).is_some_and(|now| now == *before);
        let Some(print) = Fingerprint::take(root, &more).filter(|print| unchanged && print.is_settled(fresh.began))
        else {
            return false;
        };
        let Some(path) = root.path().to_str() else { return false };
        let stored = Stored {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            root: path.to_owned(),
            baseline: fresh.baseline,
            native: fresh.native.to_owned(),
            more,
            fingerprint: print.digest,
            rows: scan.rows.clone(),
            counters: scan.counters,
        };
        let content = wire::encode(&stored);
        let bytes = [&MAGIC[..], blake3::hash(&content).as_bytes(), &content].concat();
        bytes.len() <= MAX_BYTES && replace(&self.file(root, fresh.baseline), &bytes).is_ok()
    }
}

fn is_own(about: &Metadata) -> bool {
    about.uid() == geteuid().as_raw() && distrust(about).is_none()
}

fn read(path: &Path) -> Option<Stored> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || !is_own(&about) || about.len() > MAX_BYTES as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64).read_to_end(&mut bytes).ok()?;
    let (head, content) = bytes.split_at_checked(HEAD)?;
    let sum = head.strip_prefix(MAGIC)?;
    if blake3::hash(content).as_bytes() != sum {
        return None;
    }
    wire::decode(content, MAX_BYTES).ok()
}

/// Whole or not at all, but not made durable: a scan shall not wait for the disk, and the checksum tells a torn file.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // What is left of it would be replaced by the next process of this number only.
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt as _, symlink},
        time::Duration,
    };

    use patchmesh_common::patch::PatchState;

    use super::*;

    struct World {
        folder: tempfile::TempDir,
        root: Root,
        memory: Memory,
    }

    fn world() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/var/lib/dpkg")).unwrap();
        fs::create_dir(folder.path().join("memory")).unwrap();
        fs::write(folder.path().join("root/var/lib/dpkg/status"), "").unwrap();
        let root = Root::open(&folder.path().join("root")).unwrap();
        let memory = Memory::in_folder(&folder.path().join("memory"));
        World { folder, root, memory }
    }

    fn scan() -> Scan {
        let row = Row {
            name: "a".into(),
            arch: "all".into(),
            installed: "1".into(),
            available: None,
            classification: None,
            severity: None,
            archive: None,
            state: PatchState::Installed,
            blocked: None,
            reason: None,
        };
        let counters = PatchCounters { installed: 1, ..PatchCounters::default() };
        Scan { source: Source::Manager, rows: vec![row], counters }
    }

    impl World {
        fn keep(&self) -> bool {
            let began = SystemTime::now() + Duration::from_secs(60);
            let before = Fingerprint::take(&self.root, &[]).unwrap();
            let more = vec![self.folder.path().join("more").to_str().unwrap().to_owned()];
            let fresh = Fresh { root: &self.root, baseline: Baseline::All, native: "amd64", more, began };
            self.memory.keep(&before, fresh, &scan())
        }

        fn recall(&self) -> Option<Known> {
            self.memory.recall(&self.root, Baseline::All)
        }

        fn file(&self) -> PathBuf {
            self.memory.file(&self.root, Baseline::All)
        }
    }

    #[test]
    fn an_answer_is_kept_until_something_changes() {
        let world = world();
        assert_eq!(world.recall(), None);
        assert!(world.keep());
        let known = world.recall().unwrap();
        assert_eq!(known.scan, Scan { source: Source::Unchanged, ..scan() });
        assert_eq!(known.native, "amd64");
        assert_eq!(world.memory.recall(&world.root, Baseline::Security), None);
        fs::write(world.folder.path().join("more"), "x").unwrap();
        assert_eq!(world.recall(), None);
        assert!(world.keep() && world.recall().is_some());
        assert_eq!(fs::read_dir(world.folder.path().join("memory")).unwrap().count(), 1, "nothing else stays behind");
    }

    #[test]
    fn an_answer_that_may_be_old_already_is_not_kept() {
        let world = world();
        let before = Fingerprint::take(&world.root, &[]).unwrap();
        let fresh = |began| Fresh { root: &world.root, baseline: Baseline::All, native: "amd64", more: vec![], began };
        assert!(!world.memory.keep(&before, fresh(SystemTime::now()), &scan()), "changed a moment before");
        fs::write(world.root.join("var/lib/dpkg/status"), "\n\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(!world.memory.keep(&before, fresh(later), &scan()), "changed meanwhile");
        assert_eq!(world.recall(), None);
    }

    #[test]
    fn another_root_is_another_question() {
        let (one, mut two) = (world(), world());
        assert!(one.keep());
        two.memory = one.memory.clone();
        assert_eq!(two.recall(), None);
    }

    #[test]
    fn a_damaged_file_is_ignored_and_written_anew() {
        let world = world();
        assert!(world.keep());
        let good = fs::read(world.file()).unwrap();
        for at in [0, 7, 8, HEAD - 1, HEAD, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(world.file(), bad).unwrap();
            assert_eq!(world.recall(), None, "byte {at}");
        }
        for bad in [&good[..good.len() - 1], &good[..HEAD], &good[..4], b""] {
            fs::write(world.file(), bad).unwrap();
            assert_eq!(world.recall(), None, "{} bytes", bad.len());
        }
        let rubbish = [&MAGIC[..], blake3::hash(b"rubbish").as_bytes(), b"rubbish"].concat();
        fs::write(world.file(), rubbish).unwrap();
        assert_eq!(world.recall(), None, "a good checksum over rubbish");
        File::options().write(true).open(world.file()).unwrap().set_len(MAX_BYTES as u64 + 1).unwrap();
        assert_eq!(world.recall(), None, "too large");
        assert!(world.keep());
        assert_eq!(world.recall().unwrap().scan.rows, scan().rows);
    }

    #[test]
    fn a_file_that_others_may_have_written_is_not_believed() {
        let world = world();
        assert!(world.keep());
        fs::set_permissions(world.file(), fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(world.recall(), None);
        fs::set_permissions(world.file(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(world.recall().is_some());
        let moved = world.folder.path().join("moved");
        fs::rename(world.file(), &moved).unwrap();
        symlink(&moved, world.file()).unwrap();
        assert_eq!(world.recall(), None, "a link");
        assert!(world.keep() && world.recall().is_some());
        if std::os::unix::fs::chown(world.file(), Some(12_345), None).is_err() {
            return eprintln!("skipped: giving a file away needs root");
        }
        assert_eq!(world.recall(), None);
    }

    #[test]
    fn nothing_is_kept_in_a_folder_of_others_or_in_the_root_that_is_looked_at() {
        let world = world();
        let home = world.folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let folder = Memory::below(&home, ".cache/patchmesh", &world.root).unwrap().0;
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Memory::below(world.root.path(), ".cache/patchmesh", &world.root).is_none());
        assert!(!world.root.join(".cache").exists());
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Memory::below(&home, ".cache/patchmesh", &world.root).is_none());
    }
}
