//! When this host first met the versions that it is offered: its word to the mesh, and what `approvalClock: mesh` reads where there
//! is no mesh to ask.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use patchmesh_common::{
    patch::sighting::{FirstSeen, MAX_WORDS, Seen, Sighting, fits},
    time::WallTime,
    wire,
};

use super::root::Root;
use crate::store::durable;

/// Most versions that are remembered: the mesh hears no more of one host.
pub const MAX_SIGHTINGS: usize = MAX_WORDS;
/// Largest file.
const MAX_BYTES: usize = 12 << 20;
/// The first bytes of the file; a checksum of the rest follows.
const MAGIC: &[u8; 16] = b"patchmesh-seen\x01\n";
/// Where a daemon keeps it, below a root, unless its state is elsewhere.
const USUAL: &str = "var/lib/patchmesh/sightings";

/// Every version that was met, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    by: BTreeMap<Seen, Sighting>,
}

impl Sightings {
    /// What the daemon of a root remembers; nothing if there is none, or its file cannot be read by this user.
    pub fn of_root(root: &Root) -> Self {
        read(&root.join(USUAL)).ok().flatten().unwrap_or_default()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Seen, Sighting)> {
        self.by.iter().map(|(seen, sighting)| (seen, *sighting))
    }

    /// Since when versions exist, by the word of this host alone.
    pub fn first_seen(&self) -> FirstSeen {
        self.iter().map(|(seen, sighting)| (seen.clone(), sighting.evidence())).collect()
    }

    /// Notes what is offered now, with the signed dates of its indexes. A clock that was ahead at the first look is corrected by
    /// a later one, which is believed where signed dates show that it is not behind. What is no longer offered is forgotten when there
    /// is no more room; what is new then is not noted. Returns whether anything changed.
    ///
    /// # Errors
    /// [`Behind`] if the clock contradicts a signed date; nothing is noted then.
    fn note(&mut self, offered: &BTreeMap<Seen, Option<WallTime>>, now: WallTime) -> Result<bool, Behind> {
        let known = self.by.values().map(|sighting| sighting.index);
        let newest = known.chain(offered.values().copied()).flatten().max();
        if let Some(newest) = newest.filter(|newest| now < *newest) {
            return Err(Behind { now, newest });
        }
        let before = self.clone();
        let fresh = offered.keys().filter(|seen| !self.by.contains_key(*seen)).count();
        if self.by.len() + fresh > MAX_SIGHTINGS {
            self.by.retain(|seen, _| offered.contains_key(seen));
        }
        for (seen, index) in offered.iter().filter(|(seen, _)| fits(seen)) {
            if let Some(known) = self.by.get_mut(seen) {
                // Where no index has a date nothing speaks against a clock that is behind, and what it moved would stay moved.
                known.seen = if newest.is_some() { known.seen.min(now) } else { known.seen };
            } else if self.by.len() < MAX_SIGHTINGS {
                self.by.insert(seen.clone(), Sighting { seen: now, index: *index });
            }
        }
        Ok(*self != before)
    }
}

/// The clock is before a date that an archive has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock says {}, and an index that was read is of {}", .now.rfc3339(), .newest.rfc3339())]
struct Behind {
    now: WallTime,
    newest: WallTime,
}

/// The file of a daemon.
#[derive(Debug)]
pub struct Diary {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sightings: Sightings,
    /// Nothing was noted since the file was begun.
    is_new: bool,
    /// The file is there and cannot be read: it is not replaced.
    locked: bool,
}

impl Diary {
    /// Opens it, or begins it. A damaged one is moved aside, and told of in the log.
    pub fn open(path: PathBuf) -> Self {
        let (sightings, is_new, locked) = match read(&path) {
            Ok(Some(sightings)) => (sightings, false, false),
            Ok(None) => {
                let aside = path.with_extension("damaged");
                let moved = fs::rename(&path, &aside);
                let why = moved.as_ref().err().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(file = %path.display(), aside = %aside.display(), why, "what this host has seen is damaged; it begins anew, and delays begin with it");
                (Sightings::default(), true, moved.is_err())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Sightings::default(), true, false),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "what this host has seen cannot be read; it is left as it is");
                (Sightings::default(), true, true)
            }
        };
        Self { path, inner: Mutex::new(Inner { sightings, is_new, locked }) }
    }

    /// What is remembered.
    pub fn sightings(&self) -> Sightings {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).sightings.clone()
    }

    /// Whether nothing was noted yet, so that an old answer of a scan is no reason not to look.
    pub(super) fn is_new(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_new
    }

    /// Notes what is offered at `now`, and saves it if that is news. What cannot be saved is told of and tried again at the next
    /// news.
    pub(super) fn note(&self, offered: &BTreeMap<Seen, Option<WallTime>>, now: WallTime) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let news = match inner.sightings.note(offered, now) {
            Ok(news) => news,
            Err(error) => {
                tracing::warn!(%error, "what this host is offered is not noted, and delays do not begin, until its clock is right");
                return;
            }
        };
        if !std::mem::replace(&mut inner.is_new, false) && !news || inner.locked {
            return;
        }
        let content = wire::encode(&inner.sightings.iter().collect::<Vec<_>>());
        let bytes = [&MAGIC[..], blake3::hash(&content).as_bytes(), &content].concat();
        if let Err(error) = durable::write_public(&self.path, &bytes) {
            inner.is_new = true;
            tracing::warn!(file = %self.path.display(), %error, "what this host has seen cannot be saved");
        }
    }
}

/// The file's content; `None` if it is damaged.
fn read(path: &Path) -> io::Result<Option<Sightings>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let decoded = || {
        let (sum, content) = bytes.strip_prefix(MAGIC)?.split_at_checked(blake3::OUT_LEN)?;
        if blake3::hash(content).as_bytes() != sum {
            return None;
        }
        let entries: Vec<(Seen, Sighting)> = wire::decode(content, MAX_BYTES).ok()?;
        (entries.len() <= MAX_SIGHTINGS).then(|| Sightings { by: entries.into_iter().collect() })
    };
    Ok(decoded())
}

#[cfg(test)]
mod tests {
    use patchmesh_common::patch::sighting::MAX_SEEN;

    use super::*;

    fn seen(name: &str, version: &str) -> Seen {
        (name.into(), "amd64".into(), version.into(), "ab".into())
    }

    fn offered(versions: &[(&str, Option<i64>)]) -> BTreeMap<Seen, Option<WallTime>> {
        versions.iter().map(|(version, index)| (seen("web", version), index.map(WallTime))).collect()
    }

    #[test]
    fn the_first_look_counts_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sightings");
        let diary = Diary::open(path.clone());
        assert!(diary.is_new());
        diary.note(&offered(&[("2", Some(5)), ("3", None)]), WallTime(100));
        diary.note(&offered(&[("2", Some(50)), ("3", Some(60)), ("4", None)]), WallTime(200));
        let again = Diary::open(path);
        assert!(!again.is_new());
        assert_eq!(again.sightings(), diary.sightings());
        let first = again.sightings().first_seen();
        let dates = ["2", "3", "4", "5"].map(|version| first.get(&seen("web", version)).map(|time| time.0));
        assert_eq!(dates, [Some(5), Some(100), Some(200), None]);
    }

    #[test]
    fn a_clock_that_was_ahead_is_corrected_and_nothing_moves_later() {
        let mut sightings = Sightings::default();
        let both = offered(&[("1", Some(5)), ("2", None)]);
        assert_eq!(sightings.note(&both, WallTime(1000)), Ok(true));
        assert_eq!(sightings.note(&both, WallTime(10)), Ok(true));
        assert_eq!(sightings.note(&both, WallTime(500)), Ok(false));
        assert_eq!(sightings.by[&seen("web", "2")], Sighting { seen: WallTime(10), index: None });
    }

    #[test]
    fn a_clock_before_a_signed_date_notes_nothing_and_moves_nothing() {
        let mut sightings = Sightings::default();
        let both = offered(&[("1", Some(500)), ("2", None)]);
        sightings.note(&both, WallTime(1000)).unwrap();
        let before = sightings.clone();
        // The date may be of an index that is read now, or of one that was read before.
        for (offers, newest) in
            [(both, 500), (offered(&[("2", None), ("3", None)]), 500), (offered(&[("4", Some(700))]), 700)]
        {
            let behind = Behind { now: WallTime(499), newest: WallTime(newest) };
            assert_eq!(sightings.note(&offers, WallTime(499)), Err(behind));
            assert_eq!(sightings, before);
        }
        assert_eq!(sightings.note(&offered(&[("3", None)]), WallTime(500)), Ok(true));
    }

    #[test]
    fn where_no_index_has_a_date_no_clock_moves_what_was_seen() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.note(&offered(&[("2", None)]), WallTime(1000)), Ok(true));
        assert_eq!(sightings.note(&offered(&[("2", None)]), WallTime(10)), Ok(false));
        assert_eq!(sightings.by[&seen("web", "2")].seen, WallTime(1000));
    }

    #[test]
    fn a_diary_that_could_note_nothing_is_still_new() {
        let folder = tempfile::tempdir().unwrap();
        let diary = Diary::open(folder.path().join("sightings"));
        diary.note(&offered(&[("2", Some(500))]), WallTime(499));
        assert!(diary.is_new() && diary.sightings() == Sightings::default());
        diary.note(&offered(&[("2", Some(500))]), WallTime(500));
        assert!(!diary.is_new() && diary.sightings() != Sightings::default());
    }

    #[test]
    fn it_is_bounded_and_what_is_offered_outlives_what_is_not() {
        let many = |from: usize, to: usize| (from..to).map(|n| (seen("many", &n.to_string()), None)).collect();
        let mut sightings = Sightings::default();
        sightings.note(&many(0, MAX_SIGHTINGS), WallTime(1)).unwrap();
        sightings.note(&many(10, MAX_SIGHTINGS + 5), WallTime(2)).unwrap();
        assert_eq!(sightings.iter().count(), MAX_SIGHTINGS - 5);
        assert!(!sightings.by.contains_key(&seen("many", "0")));
        assert_eq!(sightings.by[&seen("many", "10")].seen, WallTime(1));
        sightings.note(&many(10, MAX_SIGHTINGS + 500), WallTime(3)).unwrap();
        assert_eq!(sightings.iter().count(), MAX_SIGHTINGS);
        let mut sightings = Sightings::default();
        let endless = BTreeMap::from([(seen("web", &"1".repeat(MAX_SEEN)), None)]);
        assert_eq!(sightings.note(&endless, WallTime(1)), Ok(false));
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sightings");
        Diary::open(path.clone()).note(&offered(&[("2", None)]), WallTime(100));
        let good = fs::read(&path).unwrap();
        for at in [0, MAGIC.len(), MAGIC.len() + blake3::OUT_LEN, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let diary = Diary::open(path.clone());
            assert!(diary.is_new() && diary.sightings() == Sightings::default(), "byte {at}");
            assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bad);
            diary.note(&offered(&[("2", None)]), WallTime(300));
            assert_eq!(Diary::open(path.clone()).sightings().iter().next().unwrap().1.seen, WallTime(300));
        }
    }
}
