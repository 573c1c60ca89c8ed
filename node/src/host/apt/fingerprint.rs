//! What a scan's answer depends on, as one number: names, sizes, times and places of every file that apt reads for it.
//!
//! Contents are not read. A file that is written gets a new time of change (`ctime`) from the kernel, which nobody can set; two
//! writes within one tick of the kernel's clock get the same. So a fingerprint can only be relied on if every change that it
//! knows of was over for a while when the reading of the contents began: [`Fingerprint::is_settled`].

use std::{
    env,
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::host::root::Root;

/// Files and folders below the root that apt's answer depends on; folders with everything in them.
const BELOW_ROOT: [&str; 7] = [
    crate::host::root::STATUS,
    "var/lib/dpkg/arch",
    "var/lib/dpkg/updates",
    "var/lib/apt/extended_states",
    LISTS,
    "etc/apt",
    // Decides which phased versions the host takes.
    "etc/machine-id",
];
/// Where apt keeps what it downloaded.
pub(super) const LISTS: &str = "var/lib/apt/lists";
/// In [`LISTS`], what a refresh uses and no answer depends on.
const UNREAD: [&str; 3] = ["lock", "partial", "auxfiles"];
/// The programs that decide: another version of them may decide otherwise.
const PROGRAMS: [&str; 2] = ["/usr/bin/apt-get", "/usr/bin/dpkg"];
/// What decides in apt's place in any program, in Debian's releases from 10 on and from 13 on.
const LIBRARIES: [&str; 2] = ["libapt-pkg.so.6.0", "libapt-pkg.so.7.0"];
/// Most files: a host with a hundred sources in five languages has below 2,000.
const MAX_FILES: usize = 1 << 15;
/// Deepest folder below a watched one.
const MAX_DEPTH: u8 = 6;
/// Longest tick of a clock that file systems take their times from: FAT counts in steps of 2 s.
const TICK: Duration = Duration::from_secs(2);

/// The state of everything that an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// A digest over all of it.
    pub(super) digest: [u8; 32],
    /// The last change of any file, in nanoseconds since 1970.
    latest: i128,
}

impl Fingerprint {
    /// Looks at what apt reads for `root`, and at `more` files. `None` if that is more than can be watched.
    pub(super) fn take(root: &Root, more: &[String]) -> Option<Self> {
        let mut walk = Walk { hasher: blake3::Hasher::new(), latest: i128::MIN, left: MAX_FILES };
        let lists = root.join(LISTS);
        walk.feed(root.path().as_os_str());
        for place in BELOW_ROOT {
            walk.look(&root.join(place), &lists, 0)?;
        }
        for place in PROGRAMS.into_iter().chain(more.iter().map(String::as_str)) {
            walk.look(Path::new(place), &lists, 0)?;
        }
        let libraries = Path::new("/usr/lib").join(triplet());
        for library in LIBRARIES {
            walk.look(&libraries.join(library), &lists, 0)?;
        }
        walk.look(&env::current_exe().ok()?, &lists, 0)?;
        Some(Self { digest: *walk.hasher.finalize().as_bytes(), latest: walk.latest })
    }

    /// Whether every known change was over when the reading of the contents began: one that follows shows in the times.
    pub(super) fn is_settled(&self, began: SystemTime) -> bool {
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.latest < began.saturating_sub(TICK).as_nanos().cast_signed()
    }
}

/// The folder of this architecture's libraries, where Debian calls it as Rust does.
fn triplet() -> String {
    format!("{}-linux-gnu", env::consts::ARCH)
}

struct Walk {
    hasher: blake3::Hasher,
    latest: i128,
    left: usize,
}

impl Walk {
    fn feed(&mut self, text: &OsStr) {
        self.hasher.update(&text.len().to_le_bytes()).update(text.as_bytes());
    }

    fn fail(&mut self, error: &io::Error) {
        self.feed(OsStr::new(&error.kind().to_string()));
    }

    fn look(&mut self, path: &Path, lists: &Path, depth: u8) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        self.feed(path.as_os_str());
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            Err(error) => {
                self.fail(&error);
                return Some(());
            }
        };
        let mut folder = about.is_dir();
        self.stat(&about);
        if about.is_symlink() {
            match fs::read_link(path) {
                Ok(target) => self.feed(target.as_os_str()),
                Err(error) => self.fail(&error),
            }
            match fs::metadata(path) {
                Ok(target) => {
                    folder = target.is_dir();
                    self.stat(&target);
                }
                Err(error) => self.fail(&error),
            }
        }
        if folder { self.enter(path, lists, depth) } else { Some(()) }
    }

    /// Of a folder the names count, not its times: a lock that comes and goes changes them.
    fn enter(&mut self, path: &Path, lists: &Path, depth: u8) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        let entries = fs::read_dir(path).and_then(|entries| {
            let names = entries.take(self.left.saturating_add(1)).map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<io::Result<Vec<_>>>()
        });
        let mut names = match entries {
            Ok(names) => names,
            Err(error) => {
                self.fail(&error);
                return Some(());
            }
        };
        names.sort();
        names.retain(|name| path != lists || !UNREAD.iter().any(|unread| name == unread));
        self.hasher.update(&names.len().to_le_bytes());
        names.iter().try_for_each(|name| self.look(&path.join(name), lists, depth + 1))
    }

    fn stat(&mut self, about: &Metadata) {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        for number in [u64::from(about.mode()), u64::from(about.uid()), about.dev(), about.ino()] {
            self.hasher.update(&number.to_le_bytes());
        }
        if about.is_dir() {
            return;
        }
        let (written, changed) =
            (nanoseconds(about.mtime(), about.mtime_nsec()), nanoseconds(about.ctime(), about.ctime_nsec()));
        self.hasher.update(&about.size().to_le_bytes());
        self.hasher.update(&written.to_le_bytes()).update(&changed.to_le_bytes());
        self.latest = self.latest.max(changed);
    }
}

/// Those of `files` that are not in the folder of lists, as text; `None` if one is no text.
pub(super) fn elsewhere<'a>(root: &Root, files: impl Iterator<Item = &'a PathBuf>) -> Option<Vec<String>> {
    let lists = root.join(LISTS);
    files.filter(|file| file.parent() != Some(&lists)).map(|file| file.to_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, FileTimes, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn debian() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in [
            ("var/lib/dpkg/status", "Package: a\n"),
            ("var/lib/dpkg/arch", "amd64\n"),
            ("var/lib/apt/extended_states", ""),
            ("var/lib/apt/lists/x_Packages", "Package: a\n"),
            ("var/lib/apt/lists/x_InRelease", "Suite: x\n"),
            ("var/lib/apt/lists/lock", ""),
            ("var/lib/apt/lists/partial/x", ""),
            ("etc/apt/apt.conf.d/10x", "A \"1\";\n"),
            ("etc/apt/sources.list", "deb file:/x x x\n"),
            ("etc/machine-id", "0\n"),
        ] {
            write(path, text);
        }
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn every_kind_of_change_is_noticed_one_by_one() {
        let (folder, root) = debian();
        let path = |path: &str| folder.path().join(path);
        let other = path("repository");
        fs::write(&other, "Package: a\n").unwrap();
        let more = [other.to_str().unwrap().to_owned()];
        let digest = || Fingerprint::take(&root, &more).unwrap().digest;
        let mut last = digest();
        assert_eq!(digest(), last);
        let mut differs = |what: &str| {
            let now = digest();
            assert_ne!(now, last, "{what}");
            last = now;
        };
        fs::write(path("var/lib/dpkg/status"), "Package: a\nX: y\n").unwrap();
        differs("a longer package database");
        // The same length and the old time of writing: only the kernel's own time of change tells.
        let times = File::open(path("var/lib/dpkg/status")).unwrap().metadata().unwrap();
        let times = FileTimes::new().set_modified(times.modified().unwrap());
        let status = File::options().write(true).open(path("var/lib/dpkg/status")).unwrap();
        let before = status.metadata().unwrap();
        // The kernel's clock advances in ticks: the write is repeated until it falls into another.
        while status.metadata().unwrap().ctime_nsec() == before.ctime_nsec() {
            fs::write(path("var/lib/dpkg/status"), "Package: b\nX: y\n").unwrap();
        }
        status.set_times(times).unwrap();
        differs("another content of the same size, its time set back");
        fs::write(path("new"), "Package: b\nX: y\n").unwrap();
        fs::rename(path("new"), path("var/lib/dpkg/status")).unwrap();
        differs("a file that was put in its place");
        fs::write(path("var/lib/dpkg/arch"), "amd64\ni386\n").unwrap();
        differs("an architecture");
        fs::create_dir(path("var/lib/dpkg/updates")).unwrap();
        fs::write(path("var/lib/dpkg/updates/0001"), "").unwrap();
        differs("an interrupted dpkg");
        fs::write(path("var/lib/apt/extended_states"), "Package: a\n").unwrap();
        differs("a mark");
        fs::write(path("var/lib/apt/lists/y_Packages.lz4"), "").unwrap();
        differs("a new index");
        fs::remove_file(path("var/lib/apt/lists/x_Packages")).unwrap();
        differs("an index that is gone");
        fs::write(path("var/lib/apt/lists/x_InRelease"), "Suite: y\nX: y\n").unwrap();
        differs("a Release");
        symlink(&other, path("var/lib/apt/lists/z_Packages")).unwrap();
        differs("a link to an index");
        fs::write(&other, "Package: a\n\nPackage: b\n").unwrap();
        differs("an index behind a link");
        for (file, what) in [
            ("etc/apt/apt.conf", "a configuration"),
            ("etc/apt/apt.conf.d/20y", "a part of the configuration"),
            ("etc/apt/preferences", "pins"),
            ("etc/apt/preferences.d/x", "a part of the pins"),
            ("etc/apt/sources.list.d/x.sources", "a source"),
        ] {
            fs::create_dir_all(path(file).parent().unwrap()).unwrap();
            fs::write(path(file), "#\n").unwrap();
            differs(what);
        }
        fs::set_permissions(path("etc/apt/sources.list"), Permissions::from_mode(0o600)).unwrap();
        differs("a mode");
        fs::write(path("etc/machine-id"), "01\n").unwrap();
        differs("the machine's identity");

        fs::write(path("var/lib/apt/lists/lock"), "1").unwrap();
        fs::write(path("var/lib/apt/lists/partial/y"), "1").unwrap();
        fs::write(path("etc/hostname"), "x").unwrap();
        assert_eq!(digest(), last, "what no answer depends on");
    }

    #[test]
    fn what_changed_a_moment_ago_may_change_again_unseen() {
        let (_folder, root) = debian();
        let now = SystemTime::now();
        let print = Fingerprint::take(&root, &[]).unwrap();
        assert!(!print.is_settled(now));
        assert!(print.is_settled(now + Duration::from_secs(3600)));
    }

    #[test]
    fn folders_without_end_are_not_watched() {
        let (folder, root) = debian();
        let deep = folder.path().join("etc/apt/1/2/3/4/5/6/7");
        fs::create_dir_all(deep).unwrap();
        assert_eq!(Fingerprint::take(&root, &[]), None);
        fs::remove_dir_all(folder.path().join("etc/apt/1")).unwrap();
        symlink(".", folder.path().join("etc/apt/loop")).unwrap();
        assert_eq!(Fingerprint::take(&root, &[]), None);
    }

    #[test]
    fn only_indexes_elsewhere_need_a_look_of_their_own() {
        let (_folder, root) = debian();
        let files = [root.join("var/lib/apt/lists/a"), PathBuf::from("/srv/Packages")];
        assert_eq!(elsewhere(&root, files.iter()).unwrap(), ["/srv/Packages"]);
    }
}
