//! What the host keeps of looks behind it: the current report, earlier standings, what waits for a reboot, and the snapshots that
//! it was asked with. Small files in the state folder; one that cannot be read is moved aside and told: no run has to fail for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    id::{LeaseId, SnapshotId},
    inventory::Transaction,
    patch::{
        compliance::{HostReport, MAX_HISTORY, PatchRow, Standing},
        evaluation::settle::Pending,
        snapshot::{MAX_SNAPSHOT, Snapshot},
    },
    run::message::{Refusal, RefusalCode},
    wire,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::store::durable;

/// Name of the folder in the state folder.
pub const REPORTS: &str = "reports";
const CURRENT: &str = "current.json";
const HISTORY: &str = "history.json";
const PENDING: &str = "pending.json";
const SNAPSHOTS: &str = "snapshots";
/// Snapshots that are kept: several rollouts may be under way.
const KEPT_SNAPSHOTS: usize = 64;
/// Largest file that is read: a report of [`patchmesh_common::inventory::document::MAX_PACKAGES`] rows stays below.
const MAX_FILE: u64 = 128 << 20;

/// The folder.
#[derive(Clone, Debug)]
pub struct Reports(PathBuf);

#[derive(Serialize, Deserialize)]
struct Current {
    /// Whose report it is; `None` in what a daemon of an earlier release wrote.
    #[serde(default)]
    lease: Option<LeaseId>,
    standing: Standing,
    rows: Vec<PatchRow>,
}

impl Reports {
    /// The folder in the state folder `state`. It is made when something is kept.
    pub fn new(state: &Path) -> Self {
        Self(state.join(REPORTS))
    }

    /// The current report as it is told; `None` before the first.
    ///
    /// # Errors
    /// The file system's.
    pub fn told(&self) -> io::Result<Option<HostReport>> {
        let Some(Current { standing, rows, .. }) = self.read(CURRENT)? else { return Ok(None) };
        Ok(Some(HostReport::bounded(standing, rows, self.read(HISTORY)?.unwrap_or_default())))
    }

    /// The current standing; `None` before the first report.
    ///
    /// # Errors
    /// The file system's.
    pub fn standing(&self) -> io::Result<Option<Standing>> {
        Ok(self.read::<Current>(CURRENT)?.map(|current| current.standing))
    }

    /// Replaces the current report by that of `lease`; its standing goes to the history, unless it was of the same lease: a run
    /// that was interrupted looks again.
    ///
    /// # Errors
    /// The file system's; the current report is the old one or the new one.
    pub fn replace(&self, lease: LeaseId, standing: Standing, rows: Vec<PatchRow>) -> io::Result<()> {
        let before = self.read::<Current>(CURRENT)?.filter(|before| before.lease != Some(lease));
        if let Some(Current { standing: before, .. }) = before {
            let mut history: Vec<Standing> = self.read(HISTORY)?.unwrap_or_default();
            // A crash between the two writes must not tell one twice.
            if history.first() != Some(&before) {
                history.insert(0, before);
            }
            history.truncate(MAX_HISTORY);
            self.write(HISTORY, &history)?;
        }
        self.write(CURRENT, &Current { lease: Some(lease), standing, rows })
    }

    /// What waits for a reboot.
    ///
    /// # Errors
    /// The file system's.
    pub fn pending(&self) -> io::Result<Pending> {
        Ok(self.read(PENDING)?.unwrap_or_default())
    }

    /// Keeps what waits for a reboot.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_pending(&self, pending: &Pending) -> io::Result<()> {
        if pending.is_empty() && !self.0.join(PENDING).exists() { Ok(()) } else { self.write(PENDING, pending) }
    }

    /// Keeps `snapshot` under its id, and of more than [`KEPT_SNAPSHOTS`] the newest and those that are `held`.
    ///
    /// # Errors
    /// `NoBaseline` if it is too large or cannot be written.
    pub fn keep(&self, snapshot: &Snapshot, held: &[SnapshotId]) -> Result<SnapshotId, Refusal> {
        snapshot.check().map_err(|error| no_baseline(format!("the snapshot cannot be used: {error}")))?;
        let (id, folder) = (snapshot.id(), self.0.join(SNAPSHOTS));
        let path = folder.join(id.to_string());
        let kept = durable::make_folder(&folder)
            .and_then(|()| durable::write(&path, &wire::encode(snapshot)))
            .and_then(|()| prune(&folder, &[held, &[id]].concat()));
        kept.map_err(|error| no_baseline(format!("{} cannot be written: {error}", path.display())))?;
        Ok(id)
    }

    /// The snapshot that was kept under `id`.
    ///
    /// # Errors
    /// `NoBaseline` if it is not there, or not what its name says.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot, Refusal> {
        let path = self.0.join(SNAPSHOTS).join(id.to_string());
        let bytes =
            capped(&path).map_err(|error| no_baseline(format!("{} cannot be read: {error}", path.display())))?;
        let decoded = wire::decode::<Snapshot>(&bytes, MAX_SNAPSHOT).ok().filter(|snapshot| snapshot.id() == id);
        decoded.ok_or_else(|| no_baseline(format!("{} is damaged", path.display())))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let path = self.0.join(name);
        let bytes = match capped(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::warn!(file = %path.display(), aside = %aside.display(), %error, "a damaged file was moved aside; {}", consequence(name));
                fs::rename(&path, &aside)?;
                Ok(None)
            }
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        durable::make_folder(&self.0)?;
        durable::write(&self.0.join(name), &serde_json::to_vec(value).map_err(io::Error::other)?)
    }

    /// Notes what a run is about to install in the boot `boot`: marked only if it is there afterwards.
    ///
    /// # Errors
    /// The file system's.
    pub fn note(&self, boot: patchmesh_common::id::BootId, transaction: &Transaction) -> io::Result<()> {
        let mut pending = self.pending()?;
        let changes = transaction.changes.iter();
        pending.note(boot, changes.map(|change| (change.name.clone(), change.arch.clone(), change.to.clone())));
        self.keep_pending(&pending)
    }
}

fn no_baseline(text: String) -> Refusal {
    Refusal { code: RefusalCode::NoBaseline, text, remedy: "make a new plan".into() }
}

fn capped(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the loss of a file means.
fn consequence(name: &str) -> &'static str {
    match name {
        HISTORY => "the earlier reports are forgotten",
        PENDING => "what waits for a reboot since an earlier run is not known any more",
        _ => "the next Scan makes it again",
    }
}

fn prune(folder: &Path, held: &[SnapshotId]) -> io::Result<()> {
    let held: Vec<_> = held.iter().map(ToString::to_string).collect();
    let mut files: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| !held.iter().any(|held| entry.file_name() == held.as_str()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(KEPT_SNAPSHOTS.saturating_sub(held.len()));
    files.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        id::BootId,
        inventory::PackageChange,
        patch::{
            compliance::{Counters, Operated},
            snapshot::{Choice, Rules},
        },
        rollout::Operation,
        time::WallTime,
    };

    use super::*;

    fn lease(number: i64) -> LeaseId {
        LeaseId([u8::try_from(number).unwrap(); 16])
    }

    fn standing(at: i64) -> Standing {
        Standing {
            at: WallTime(at),
            operation: Operation::Scan,
            baseline: "web".into(),
            group: None,
            counters: Counters::default(),
            severity: None,
            operated: Operated::default(),
        }
    }

    #[test]
    fn the_current_report_is_replaced_and_earlier_ones_are_kept_in_short() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        assert_eq!(reports.told().unwrap(), None);
        for at in 1..=i64::try_from(MAX_HISTORY).unwrap() + 3 {
            reports.replace(lease(at), standing(at), vec![]).unwrap();
        }
        let told = reports.told().unwrap().unwrap();
        let newest = i64::try_from(MAX_HISTORY).unwrap() + 3;
        assert_eq!((told.standing, told.history.len()), (standing(newest), MAX_HISTORY));
        assert_eq!((&told.history[0], told.history.last()), (&standing(newest - 1), Some(&standing(3))));
    }

    #[test]
    fn a_crash_between_the_two_files_tells_no_standing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        reports.replace(lease(1), standing(1), vec![]).unwrap();
        // The history was written, and the report not.
        reports.write(HISTORY, &vec![standing(1)]).unwrap();
        reports.replace(lease(2), standing(2), vec![]).unwrap();
        assert_eq!(reports.told().unwrap().unwrap().history, [standing(1)]);
    }

    #[test]
    fn a_run_that_looks_again_after_a_crash_is_one_report() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        for (of, at) in [(1, 1), (2, 2), (2, 3)] {
            reports.replace(lease(of), standing(at), vec![]).unwrap();
        }
        let told = reports.told().unwrap().unwrap();
        assert_eq!((told.standing, told.history), (standing(3), vec![standing(1)]));
    }

    #[test]
    fn the_report_of_an_earlier_release_is_read_and_goes_to_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        reports.write(CURRENT, &serde_json::json!({"standing": standing(1), "rows": []})).unwrap();
        assert_eq!(reports.standing().unwrap(), Some(standing(1)));
        reports.replace(lease(2), standing(2), vec![]).unwrap();
        assert_eq!(reports.told().unwrap().unwrap().history, [standing(1)]);
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        reports.replace(lease(1), standing(1), vec![]).unwrap();
        fs::write(folder.path().join(REPORTS).join(CURRENT), b"{\"standing\":").unwrap();
        assert_eq!(reports.standing().unwrap(), None);
        assert!(folder.path().join(REPORTS).join("current.damaged").exists());
        reports.replace(lease(2), standing(2), vec![]).unwrap();
        assert_eq!(reports.standing().unwrap(), Some(standing(2)));
    }

    #[test]
    fn what_waits_for_a_reboot_outlives_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let change = PackageChange {
            name: "a".into(),
            arch: "all".into(),
            from: Some("1".into()),
            to: "2".into(),
            sha256: String::new(),
        };
        let transaction = Transaction { changes: vec![change], removals: vec![] };
        Reports::new(folder.path()).note(BootId([1; 16]), &transaction).unwrap();
        let mut pending = Reports::new(folder.path()).pending().unwrap();
        assert!(!pending.is_empty());
        pending.started(BootId([2; 16]));
        Reports::new(folder.path()).keep_pending(&pending).unwrap();
        assert!(Reports::new(folder.path()).pending().unwrap().is_empty());
    }

    #[test]
    fn snapshots_are_kept_by_what_they_say_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::new(folder.path());
        let snapshot = |at| Snapshot { at: WallTime(at), rules: Rules::plain(Choice::All), versions: None };
        let id = reports.keep(&snapshot(1), &[]).unwrap();
        assert_eq!(reports.snapshot(id).unwrap(), snapshot(1));
        let path = folder.path().join(REPORTS).join(SNAPSHOTS).join(id.to_string());
        fs::write(&path, wire::encode(&snapshot(2))).unwrap();
        let refusal = reports.snapshot(id).unwrap_err();
        assert_eq!((refusal.code, refusal.text.ends_with("is damaged")), (RefusalCode::NoBaseline, true));
        let held = reports.keep(&snapshot(3), &[]).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        for id in [id, held] {
            let path = folder.path().join(REPORTS).join(SNAPSHOTS).join(id.to_string());
            fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        for at in 4..4 + i64::try_from(KEPT_SNAPSHOTS).unwrap() {
            let id = reports.keep(&snapshot(at), &[held]).unwrap();
            assert!(reports.snapshot(id).is_ok());
        }
        // A clock that is behind makes the newest the oldest.
        for file in fs::read_dir(folder.path().join(REPORTS).join(SNAPSHOTS)).unwrap() {
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
            fs::File::open(file.unwrap().path()).unwrap().set_modified(later).unwrap();
        }
        let behind = reports.keep(&snapshot(1000), &[held]).unwrap();
        assert!(reports.snapshot(behind).is_ok(), "what was just kept stays");
        let kept = fs::read_dir(folder.path().join(REPORTS).join(SNAPSHOTS)).unwrap().count();
        assert_eq!(kept, KEPT_SNAPSHOTS);
        assert_eq!(reports.snapshot(held).unwrap(), snapshot(3), "a lease is judged by it");
        assert!(reports.snapshot(id).is_err(), "the oldest of the others");
    }
}
