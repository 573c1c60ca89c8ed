//! The only file that knows sled: a small cache of what can be rebuilt.
//!
//! sled 0.34 can lose or age values without a word, and panics while opening a badly damaged store. So every value carries a
//! number and a checksum, a head entry carries a digest over all of them, a marker file carries the number of the last
//! flush, and a store that does not agree with these is moved aside and begun anew.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use super::lock::Locked;
use crate::clock;

/// sled's own cache; its default is 1 GiB.
const SLED_CACHE: u64 = 8 << 20;
/// sled does not unlock its file, it only closes it: a child of this process that was forked meanwhile has the lock until its
/// program begins. So long it is waited for.
const SLED_LOCK: Duration = Duration::from_secs(5);
/// Damaged stores kept for people to look at; beyond it they are deleted.
const KEPT_ASIDE: u32 = 8;
/// Bytes before the value: number and checksum.
const PREFIX: usize = 8 + 16;
const HEAD: &[u8] = b"head";
const ENTRY: u8 = b'i';

/// A store that only one process at a time has open.
#[derive(Debug)]
pub struct Cache {
    db: sled::Db,
    /// sled's own file, for the sync that sled's `flush` leaves out.
    data: File,
    marker: PathBuf,
    number: u64,
    hashes: BTreeMap<Vec<u8>, [u8; 32]>,
    digest: [u8; 32],
    _lock: Locked,
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Why there is no cache. A store that another process has open is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Two daemons on one store.
    #[error("the store {} is in use by process {owner}: two daemons cannot share it; stop that one, or set another `state`", dir.display())]
    InUse {
        /// Which store.
        dir: PathBuf,
        /// The other process, as it wrote itself down.
        owner: String,
    },
    /// The file system said no.
    #[error("cannot use the store {}", dir.display())]
    Io {
        /// Which store.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new, empty store does not work either.
    #[error("a new store in {} does not work: {text}", dir.display())]
    Broken {
        /// Which store.
        dir: PathBuf,
        /// What sled said.
        text: String,
    },
}

/// A damaged store that was moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong with it.
    pub why: String,
    /// Where it is now; `None` if it was deleted, because enough others are kept.
    pub kept: Option<PathBuf>,
}

impl Cache {
    /// Opens, or creates, the store in `state/cache`. A damaged one is moved to `state/cache.corrupt-N`, and a new one begun.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn open(state: &Path) -> Result<(Self, Option<Repair>), CacheError> {
        let failed = |source| CacheError::Io { dir: state.into(), source };
        fs::create_dir_all(state).map_err(failed)?;
        let lock = Locked::own(&state.join("cache.lock")).map_err(failed)?;
        let lock = lock.map_err(|owner| CacheError::InUse { dir: state.into(), owner })?;
        let (dir, opening) = (state.join("cache"), state.join("cache.opening"));
        // sled may end the process while it opens a damaged store; then this file tells the next start.
        let ended = opening.exists().then(|| String::from("the last attempt to open it ended the process"));
        write_small(&opening, b"").map_err(failed)?;
        let opened = match ended {
            Some(why) => Err(why),
            None => open_checked(state, &dir),
        };
        let (parts, repair) = match opened {
            Ok(parts) => (parts, None),
            Err(why) => {
                let kept = move_aside(state, &dir).map_err(failed)?;
                let parts = open_checked(state, &dir).map_err(|text| CacheError::Broken { dir: state.into(), text })?;
                (parts, Some(Repair { why, kept }))
            }
        };
        let data = File::open(dir.join("db")).map_err(failed)?;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        File::open(state).and_then(|dir| dir.sync_all()).map_err(failed)?;
        fs::remove_file(&opening).map_err(failed)?;
        let Parts { db, number, hashes, digest } = parts;
        Ok((Self { db, data, marker: state.join("cache.marker"), number, hashes, digest, _lock: lock }, repair))
    }

    /// Every key with its value, by key.
    ///
    /// # Errors
    /// sled's own, as text.
    pub fn all(&self) -> Result<Vec<Entry>, String> {
        self.db
            .scan_prefix([ENTRY])
            .map(|entry| {
                let (key, value) = entry.map_err(|error| error.to_string())?;
                Ok((key[1..].to_vec(), value[PREFIX.min(value.len())..].to_vec()))
            })
            .collect()
    }

    /// Sets one value; `None` removes it. On disk with the next [`Cache::flush`].
    ///
    /// # Errors
    /// sled's own, as text; nothing was changed.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let number = self.number + 1;
        let entry: Vec<u8> = [&[ENTRY], key].concat();
        let stored = value.map(|value| seal(key, number, value));
        let mut digest = self.digest;
        let old = self.hashes.get(&entry);
        let new = stored.as_ref().map(|stored| entry_hash(&entry, stored));
        old.into_iter().chain(&new).for_each(|hash| xor(&mut digest, hash));
        let mut batch = sled::Batch::default();
        match &stored {
            Some(stored) => batch.insert(entry.as_slice(), stored.as_slice()),
            None => batch.remove(entry.as_slice()),
        }
        batch.insert(HEAD, head(number, &digest));
        self.db.apply_batch(batch).map_err(|error| error.to_string())?;
        (self.number, self.digest) = (number, digest);
        match new {
            Some(hash) => self.hashes.insert(entry, hash),
            None => self.hashes.remove(&entry),
        };
        Ok(())
    }

    /// Makes everything durable: sled's flush, the sync that it leaves out, and then the marker that says how far it got.
    ///
    /// # Errors
    /// What the system said; the store is behind, not broken.
    pub fn flush(&self) -> io::Result<()> {
        self.db.flush().map_err(io::Error::other)?;
        self.data.sync_data()?;
        let draft = self.marker.with_extension("marker.new");
        write_small(&draft, self.number.to_string().as_bytes())?;
        fs::rename(draft, &self.marker)
    }
}

struct Parts {
    db: sled::Db,
    number: u64,
    hashes: BTreeMap<Vec<u8>, [u8; 32]>,
    digest: [u8; 32],
}

/// Opens on a thread of its own, named for what it does: sled panics on some damage. Where panics end the process, the mark
/// left by [`Cache::open`] is what remains; elsewhere the thread's end is enough.
fn open_checked(state: &Path, dir: &Path) -> Result<Parts, String> {
    let (path, marker) = (dir.to_path_buf(), state.join("cache.marker"));
    thread::Builder::new()
        .name(format!("open {}", dir.display()))
        .spawn(move || {
            let config = sled::Config::new().path(path).cache_capacity(SLED_CACHE).flush_every_ms(None);
            let until = clock::now().boot.plus(SLED_LOCK);
            let opened = loop {
                match config.open() {
                    Err(error) if is_locked(&error) && clock::now().boot < until => thread::yield_now(),
                    opened => break opened,
                }
            };
            check(opened.map_err(|error| error.to_string())?, &marker)
        })
        .map_err(|error| error.to_string())?
        .join()
        .unwrap_or_else(|_| Err(String::from("sled panicked while it was opened")))
}

/// Nobody else has the store open, because [`Cache`] has a lock of its own.
fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn check(db: sled::Db, marker: &Path) -> Result<Parts, String> {
    let flushed: u64 = match fs::read_to_string(marker) {
        Ok(text) => text.trim().parse().map_err(|_| format!("its marker says `{}`, not a number", text.trim()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(format!("its marker cannot be read: {error}")),
    };
    let mut hashes = BTreeMap::new();
    let mut digest = [0; 32];
    for entry in db.scan_prefix([ENTRY]) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        if !is_sealed(&key[1..], &value) {
            return Err(String::from("a value does not match its checksum"));
        }
        let hash = entry_hash(&key, &value);
        xor(&mut digest, &hash);
        hashes.insert(key.to_vec(), hash);
    }
    let stored = db.get(HEAD).map_err(|error| error.to_string())?;
    let number = match &stored {
        None if hashes.is_empty() => 0,
        None => return Err(String::from("it has values and no head")),
        Some(bytes) => {
            let number = bytes.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
            if *bytes != head(number, &digest).as_slice() {
                return Err(String::from("some of its values are missing, or older than its head says"));
            }
            number
        }
    };
    if number < flushed {
        return Err(format!("it ends at change {number}, and {flushed} changes had been made durable"));
    }
    Ok(Parts { db, number, hashes, digest })
}

fn head(number: u64, digest: &[u8; 32]) -> Vec<u8> {
    [&number.to_be_bytes()[..], digest].concat()
}

fn seal(key: &[u8], number: u64, value: &[u8]) -> Vec<u8> {
    let number = number.to_be_bytes();
    [&number[..], &checksum(key, &number, value), value].concat()
}

fn is_sealed(key: &[u8], stored: &[u8]) -> bool {
    stored.len() >= PREFIX && checksum(key, &stored[..8], &stored[PREFIX..]) == stored[8..PREFIX]
}

fn checksum(key: &[u8], number: &[u8], value: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    sum.copy_from_slice(&entry_hash(&[key, number].concat(), value)[..16]);
    sum
}

fn entry_hash(key: &[u8], value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes()).update(key).update(value);
    *hasher.finalize().as_bytes()
}

fn xor(digest: &mut [u8; 32], hash: &[u8; 32]) {
    digest.iter_mut().zip(hash).for_each(|(a, b)| *a ^= b);
}

/// Moves store and marker away, so that a new store begins with nothing.
fn move_aside(state: &Path, dir: &Path) -> io::Result<Option<PathBuf>> {
    match fs::remove_file(state.join("cache.marker")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if !dir.exists() {
        return Ok(None);
    }
    for n in 1..=KEPT_ASIDE {
        let aside = state.join(format!("cache.corrupt-{n}"));
        if !aside.exists() {
            fs::rename(dir, &aside)?;
            return Ok(Some(aside));
        }
    }
    if dir.is_dir() {
        fs::remove_dir_all(dir)?
    } else {
        fs::remove_file(dir)?
    }
    Ok(None)
}

fn write_small(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(state: &Path, values: u32) {
        let (mut cache, repair) = Cache::open(state).unwrap();
        assert_eq!(repair, None);
        for n in 0..values {
            cache.set(&n.to_be_bytes(), Some(&[7; 400])).unwrap();
        }
        cache.set(&0u32.to_be_bytes(), Some(b"newest")).unwrap();
        cache.set(&1u32.to_be_bytes(), None).unwrap();
        cache.flush().unwrap();
    }

    #[test]
    fn what_was_flushed_is_there_again() {
        let state = tempfile::tempdir().unwrap();
        filled(state.path(), 3);
        let (cache, repair) = Cache::open(state.path()).unwrap();
        assert_eq!(repair, None);
        let all = cache.all().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], (0u32.to_be_bytes().to_vec(), b"newest".to_vec()));
    }

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let state = tempfile::tempdir().unwrap();
        let _first = Cache::open(state.path()).unwrap();
        let error = Cache::open(state.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    }

    /// Every kind of damage ends in a working store: either nothing was lost, or the damaged one was moved aside.
    #[test]
    fn a_damaged_store_is_moved_aside_and_begun_anew() {
        type Damage = fn(&Path);
        let cases: [(&str, Damage); 5] = [
            ("emptied", |db| fs::write(db, b"").unwrap()),
            ("zeroed", |db| fs::write(db, vec![0; fs::read(db).unwrap().len()]).unwrap()),
            ("cut in half", |db| {
                let bytes = fs::read(db).unwrap();
                fs::write(db, &bytes[..bytes.len() / 2]).unwrap();
            }),
            ("a garbled stretch", |db| {
                let mut bytes = fs::read(db).unwrap();
                let start = bytes.len().min(3000);
                let end = bytes.len().min(40_000);
                bytes[start..end].fill(0xa5);
                fs::write(db, bytes).unwrap();
            }),
            ("no folder", |db| {
                let dir = db.parent().unwrap();
                fs::remove_dir_all(dir).unwrap();
                fs::write(dir, b"not a folder").unwrap();
            }),
        ];
        for (name, damage) in cases {
            let state = tempfile::tempdir().unwrap();
            filled(state.path(), 200);
            damage(&state.path().join("cache/db"));
            let (mut cache, repair) = Cache::open(state.path()).unwrap();
            let repair = repair.unwrap_or_else(|| panic!("{name}: not noticed, {} values", cache.all().unwrap().len()));
            assert!(repair.kept.is_some_and(|kept| kept.ends_with("cache.corrupt-1")), "{name}");
            assert_eq!(cache.all().unwrap(), [], "{name}");
            cache.set(b"k", Some(b"v")).unwrap();
            cache.flush().unwrap();
            drop(cache);
            assert_eq!(Cache::open(state.path()).unwrap().1, None, "{name}: the new store is sound");
        }
    }

    #[test]
    fn an_old_copy_of_the_store_is_noticed() {
        let state = tempfile::tempdir().unwrap();
        filled(state.path(), 3);
        let db = state.path().join("cache/db");
        let old = fs::read(&db).unwrap();
        let (mut cache, _) = Cache::open(state.path()).unwrap();
        cache.set(b"later", Some(b"value")).unwrap();
        cache.flush().unwrap();
        drop(cache);
        fs::write(&db, old).unwrap();
        assert!(Cache::open(state.path()).unwrap().1.is_some());
    }

    #[test]
    fn a_store_that_ended_the_last_process_is_not_opened_again() {
        let state = tempfile::tempdir().unwrap();
        filled(state.path(), 3);
        fs::write(state.path().join("cache.opening"), b"").unwrap();
        let repair = Cache::open(state.path()).unwrap().1.unwrap();
        assert!(repair.why.contains("ended the process"));
        assert_eq!(Cache::open(state.path()).unwrap().1, None);
    }
}
