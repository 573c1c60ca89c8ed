//! The snapshots that this coordinator froze: `DIR/snapshots/ID`, one file each, named by the hash of what it says. None is ever
//! changed; one that is not what its name says is refused by name.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    id::SnapshotId,
    patch::snapshot::{MAX_SNAPSHOT, Snapshot},
    wire,
};
use patchmesh_node::store::durable;

use crate::fault::Fault;

/// Folder of the snapshots, in the coordinator's.
const SNAPSHOTS: &str = "snapshots";
/// Most snapshots that are listed and searched.
const MAX_FILES: usize = 10_000;
/// Fewest digits of an id that is not written out.
const SHORTEST: usize = 6;

/// The folder.
#[derive(Clone, Debug)]
pub struct Snapshots(PathBuf);

impl Snapshots {
    /// The snapshots in the coordinator's folder `dir`. Reads nothing.
    pub fn new(dir: &Path) -> Self {
        Self(dir.join(SNAPSHOTS))
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
        let path = self.0.join(id.to_string());
        let written = fs::create_dir_all(&self.0).and_then(|()| durable::write(&path, &wire::encode(snapshot)));
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
        let fits = |id: &SnapshotId| lower.len() >= SHORTEST && id.to_string().starts_with(&lower);
        let mut found = self.ids()?.into_iter().filter(fits);
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

    /// Every snapshot, the newest first.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn list(&self) -> Result<Vec<(SnapshotId, Snapshot)>, Fault> {
        let mut all = self.ids()?.into_iter().map(|id| Ok((id, self.read(id)?))).collect::<Result<Vec<_>, Fault>>()?;
        all.sort_by_key(|(id, snapshot)| (std::cmp::Reverse(snapshot.at), *id));
        Ok(all)
    }

    fn ids(&self) -> Result<Vec<SnapshotId>, Fault> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| damaged(&self.0, "the folder cannot be read").because(error))?,
        };
        let names = entries.take(MAX_FILES).flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| SnapshotId::parse(&name)).collect())
    }

    fn read(&self, id: SnapshotId) -> Result<Snapshot, Fault> {
        let path = self.0.join(id.to_string());
        let mut bytes = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(MAX_SNAPSHOT as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| damaged(&path, "it cannot be read").because(error))?;
        let decoded = wire::decode::<Snapshot>(&bytes, MAX_SNAPSHOT).ok().filter(|snapshot| snapshot.id() == id);
        decoded.ok_or_else(|| damaged(&path, "it is not what its name says"))
    }
}

fn damaged(path: &Path, why: &str) -> Fault {
    let text = format!("{}: {why}", path.display());
    Fault::new("snapshot-damaged", text, "nothing was changed", "restore it from a backup, or remove it")
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        patch::snapshot::{Choice, Rules},
        time::WallTime,
    };

    use super::*;

    fn snapshot(at: i64) -> Snapshot {
        Snapshot { at: WallTime(at), rules: Rules::plain(Choice::All), versions: None }
    }

    #[test]
    fn what_is_kept_is_found_by_the_beginning_of_its_id_and_listed_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Snapshots::new(folder.path());
        assert_eq!(store.list().unwrap(), []);
        let ids: Vec<_> = [1, 3, 2].map(|at| store.keep(&snapshot(at)).unwrap()).into();
        assert_eq!(store.find(&ids[1].to_string()[..8].to_uppercase()).unwrap(), (ids[1], snapshot(3)));
        let order: Vec<_> = store.list().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, [ids[1], ids[2], ids[0]]);
        assert_eq!(store.find(&ids[1].to_string()[..5]).unwrap_err().code, "not-found");
        assert_eq!(store.find("0123456789").unwrap_err().code, "not-found");
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
    }
}
