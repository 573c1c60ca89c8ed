//! The snapshots that this coordinator froze: `DIR/snapshots/ID`, one file each, named by the hash of what it says. None is ever
//! changed; one that is not what its name says is refused by name.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use patchmesh_common::{
    id::SnapshotId,
    patch::snapshot::{MAX_SNAPSHOT, Snapshot, TIMELESS},
    time::WallTime,
    wire,
};
use patchmesh_node::store::durable;

use crate::fault::Fault;

/// Folder of the snapshots, in the coordinator's.
const SNAPSHOTS: &str = "snapshots";
/// Most snapshots that are listed: as many are read, one at a time.
pub const MAX_LISTED: usize = 1000;
/// How long a snapshot stays that nothing needs, from when it was last written. A plan can be applied for a day; whoever asks what a
/// run went by does so within weeks.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most that are removed at once: the disk is others' as well.
const MOST_REMOVED: usize = 100;
/// Fewest digits of an id that is not written out.
pub const SHORTEST: usize = 6;

/// The folder.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    /// Held while one is written, and while one goes: what is frozen again at that moment stays.
    turn: Arc<Mutex<()>>,
}

impl Snapshots {
    /// The snapshots in the coordinator's folder `dir`. Reads nothing.
    pub fn new(dir: &Path) -> Self {
        Self { folder: dir.join(SNAPSHOTS), turn: Arc::default() }
    }

    /// Keeps `snapshot` under its id.
    ///
    /// # Errors
    /// `snapshot-too-large`, or the file system's.
    pub fn keep(&self, snapshot: &Snapshot) -> Result<SnapshotId, Fault> {
        snapshot.check().map_err(|error| {
            let remedy = "use a baseline for fewer packages, or plan for fewer hosts at once";
            Fault::new("snapshot-too-large", error.to_string(), "nothing was planned", remedy)
        })?;
        let id = snapshot.id();
        let path = self.path(id);
        let _turn = self.turn();
        let written = durable::make_folder(&self.folder).and_then(|()| durable::write(&path, &wire::encode(snapshot)));
        written.map_err(|error| {
            let text = format!("{} cannot be written", path.display());
            Fault::new("snapshot-unwritable", text, "nothing was planned", "make room there, or correct its owner")
                .because(error)
        })?;
        Ok(id)
    }

    /// The snapshot whose id is, or alone begins with, `word`.
    ///
    /// # Errors
    /// `not-found`, `ambiguous` or `snapshot-damaged`.
    pub fn find(&self, word: &str) -> Result<(SnapshotId, Snapshot), Fault> {
        let lower = word.to_ascii_lowercase();
        if let Some(id) = SnapshotId::parse(&lower).filter(|id| self.path(*id).exists()) {
            return Ok((id, self.read(id)?));
        }
        let fits = |id: &SnapshotId| lower.len() >= SHORTEST && id.to_string().starts_with(&lower);
        let mut found = self.entries()?.map(|(id, _)| id).filter(fits);
        match (found.next(), found.next()) {
            (Some(id), None) => Ok((id, self.read(id)?)),
            (None, _) => Err(Fault::new(
                "not-found",
                format!("there is no snapshot {word:?}"),
                "nothing was changed",
                format!("see patchmesh get snapshots; an id has at least {SHORTEST} digits"),
            )),
            (Some(one), Some(other)) => Err(Fault::new(
                "ambiguous",
                format!("{word:?} is {one} and {other}"),
                "nothing was changed",
                "write more digits",
            )),
        }
    }

    /// When the snapshot `id` was written last, by its file; [`TIMELESS`] if nobody can say.
    pub fn written(&self, id: SnapshotId) -> WallTime {
        fs::metadata(self.path(id)).and_then(|about| about.modified()).map_or(TIMELESS, wall)
    }

    /// What `tell` makes of every snapshot, or of what is wrong with it, and of when it was written; each is read when its turn
    /// comes. The first were written last. Of more than [`MAX_LISTED`] those that were written last, and how many are left out.
    ///
    /// # Errors
    /// `snapshot-damaged` if the folder cannot be read.
    pub fn list<T>(
        &self,
        tell: impl Fn(SnapshotId, Result<Snapshot, Fault>, WallTime) -> T,
    ) -> Result<(Vec<T>, usize), Fault> {
        let (mut newest, mut left_out) = (BTreeSet::new(), 0);
        for (id, entry) in self.entries()? {
            let written = entry.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            newest.insert((written, id));
            if newest.len() > MAX_LISTED {
                newest.pop_first();
                left_out += 1;
            }
        }
        Ok((newest.into_iter().rev().map(|(written, id)| tell(id, self.read(id), wall(written))).collect(), left_out))
    }

    /// Removes snapshots that were last written before `before`, that freeze no versions, and that are not `needed`: up to a hundred;
    /// answers how many. One with versions can be named in a manifest for as long as somebody likes, and stays. One that is not what
    /// its name says is left for people to look at. `spared` are those that were read and stay, whatever comes: none is read twice.
    ///
    /// # Errors
    /// `snapshot-damaged` if the folder cannot be read, `snapshot-unwritable` if a file cannot be removed.
    pub fn tidy(
        &self,
        before: SystemTime,
        needed: &BTreeSet<SnapshotId>,
        spared: &mut BTreeSet<SnapshotId>,
    ) -> Result<usize, Fault> {
        let mut removed = 0;
        for (id, entry) in self.entries()? {
            let is_old = || entry.metadata().and_then(|about| about.modified()).is_ok_and(|written| written < before);
            if needed.contains(&id) || spared.contains(&id) || !is_old() {
                continue;
            }
            if !self.read(id).is_ok_and(|snapshot| snapshot.versions.is_none()) {
                spared.insert(id);
                continue;
            }
            let _turn = self.turn();
            if !is_old() {
                continue;
            }
            fs::remove_file(entry.path()).map_err(|error| {
                let text = format!("{} cannot be removed", entry.path().display());
                Fault::new("snapshot-unwritable", text, "it stays", "correct the owner of the folder").because(error)
            })?;
            removed += 1;
            if removed == MOST_REMOVED {
                break;
            }
        }
        Ok(removed)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: SnapshotId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn entries(&self) -> Result<impl Iterator<Item = (SnapshotId, fs::DirEntry)>, Fault> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => {
                Some(entries.map_err(|error| damaged(&self.folder, "the folder cannot be read").because(error))?)
            }
        };
        let of = |entry: fs::DirEntry| Some((SnapshotId::parse(entry.file_name().to_str()?)?, entry));
        Ok(entries.into_iter().flatten().flatten().filter_map(of))
    }

    fn read(&self, id: SnapshotId) -> Result<Snapshot, Fault> {
        let path = self.path(id);
        let mut bytes = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(MAX_SNAPSHOT as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| damaged(&path, "it cannot be read").because(error))?;
        let decoded = wire::decode::<Snapshot>(&bytes, MAX_SNAPSHOT).ok().filter(|snapshot| snapshot.id() == id);
        decoded.ok_or_else(|| damaged(&path, "it is not what its name says"))
    }
}

fn wall(time: SystemTime) -> WallTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn damaged(path: &Path, why: &str) -> Fault {
    let text = format!("{}: {why}", path.display());
    Fault::new("snapshot-damaged", text, "nothing was changed", "restore it from a backup, or remove it")
}

#[cfg(test)]
mod tests {
    use patchmesh_common::patch::snapshot::{Choice, Rules};

    use super::*;

    /// Id and instant, or the fault's code.
    type Told = (SnapshotId, Result<i64, &'static str>);

    fn listed(store: &Snapshots) -> (Vec<Told>, usize) {
        store.list(|id, read, _| (id, read.map(|snapshot| snapshot.at.0).map_err(|fault| fault.code))).unwrap()
    }

    fn snapshot(at: i64) -> Snapshot {
        Snapshot { at: WallTime(at), rules: Rules::plain(Choice::All), versions: None }
    }

    #[test]
    fn what_is_kept_is_found_by_its_id_and_the_beginning_of_that() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        assert_eq!(listed(&store), (vec![], 0));
        let ids: Vec<_> = [1, 3, 2].map(|at| store.keep(&snapshot(at)).unwrap()).into();
        assert_eq!(store.find(&ids[1].to_string()[..8].to_uppercase()).unwrap(), (ids[1], snapshot(3)));
        assert_eq!(store.find(&ids[0].to_string()).unwrap(), (ids[0], snapshot(1)));
        assert_eq!(store.find(&ids[1].to_string()[..5]).unwrap_err().code, "not-found");
        assert_eq!(store.find("0123456789").unwrap_err().code, "not-found");
    }

    #[test]
    fn what_is_kept_twice_at_the_same_time_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        std::thread::scope(|scope| {
            let keep = || (1..20).for_each(|at| assert_eq!(store.keep(&snapshot(at)).unwrap(), snapshot(at).id()));
            (0..4).for_each(|_| drop(scope.spawn(keep)));
        });
        assert_eq!(listed(&store).0.len(), 19);
    }

    #[test]
    fn what_is_not_what_its_name_says_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        let id = store.keep(&snapshot(1)).unwrap();
        let path = folder.path().join(SNAPSHOTS).join(id.to_string());
        fs::write(&path, wire::encode(&snapshot(2))).unwrap();
        let fault = store.find(&id.to_string()).unwrap_err();
        assert_eq!(fault.code, "snapshot-damaged");
        assert!(fault.message.contains(&id.to_string()), "{}", fault.message);
        // The others are listed all the same.
        let good = store.keep(&snapshot(3)).unwrap();
        let (mut told, _) = listed(&store);
        told.sort();
        let mut expected = [(id, Err("snapshot-damaged")), (good, Ok(3))];
        expected.sort();
        assert_eq!(told, expected);
    }

    #[test]
    fn old_ones_go_a_few_at_a_time_unless_somebody_needs_them_or_may_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        let now = SystemTime::UNIX_EPOCH + 2 * KEPT_FOR;
        let age = |id: SnapshotId, by: Duration| {
            fs::File::options().write(true).open(store.path(id)).unwrap().set_modified(now - by).unwrap();
            id
        };
        let second = Duration::from_secs(1);
        let kept = |at, by| age(store.keep(&snapshot(at)).unwrap(), by);
        let young = kept(1, KEPT_FOR - second);
        let needed = kept(2, KEPT_FOR + second);
        let versions =
            age(store.keep(&Snapshot { versions: Some(Vec::new()), ..snapshot(3) }).unwrap(), KEPT_FOR + second);
        let damaged = kept(4, Duration::ZERO);
        fs::write(store.path(damaged), "x").unwrap();
        age(damaged, KEPT_FOR + second);
        for at in 10..=10 + MOST_REMOVED as i64 {
            fs::write(store.path(snapshot(at).id()), wire::encode(&snapshot(at))).unwrap();
            age(snapshot(at).id(), KEPT_FOR + second);
        }
        let (before, mut spared) = (now - KEPT_FOR, BTreeSet::new());
        let mut tidy = || store.tidy(before, &[needed].into(), &mut spared).unwrap();
        assert_eq!([tidy(), tidy(), tidy()], [MOST_REMOVED, 1, 0]);
        let left: BTreeSet<_> = store.entries().unwrap().map(|(id, _)| id).collect();
        assert_eq!(left, [young, needed, versions, damaged].into());
        assert_eq!(spared, [versions, damaged].into());
    }

    #[test]
    fn of_too_many_the_oldest_are_left_out_and_found_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        let kept = store.keep(&snapshot(0)).unwrap();
        let set = |id: SnapshotId, at: u64| {
            let file = fs::File::options().write(true).open(store.path(id)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at)).unwrap();
        };
        // Kept by hand: a durable write of each takes long.
        for at in 1..=MAX_LISTED as i64 {
            let id = snapshot(at).id();
            fs::write(store.path(id), wire::encode(&snapshot(at))).unwrap();
            set(id, 10 + at as u64);
        }
        set(kept, 5);
        fs::write(folder.path().join(SNAPSHOTS).join("notes"), "mine").unwrap();
        let (told, left_out) = listed(&store);
        assert_eq!((told.len(), left_out), (MAX_LISTED, 1));
        assert_eq!(told[0], (snapshot(MAX_LISTED as i64).id(), Ok(MAX_LISTED as i64)));
        assert_eq!(told[MAX_LISTED - 1].1, Ok(1));
        assert_eq!(store.find(&kept.to_string()).unwrap().1, snapshot(0));
    }
}
