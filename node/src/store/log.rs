//! Append-only journals: checksummed, fsynced frames. Generic over bytes: runs and ledgers use the same file format.
//!
//! One process writes, under a lock; others may [`read`]. A torn last frame is cut off and reported; damage before the last
//! frame is an error that changes nothing.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    durable,
    lock::Locked,
    log_format::{self, HEADER, Parsed, frame, parse},
};

pub use super::log_format::{MAX_FRAME_BYTES, Rest};

/// An open journal. Dropping it releases the lock.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    next: u64,
    /// Set by a failed append: what is on disk is uncertain, so nothing may follow it.
    broken: bool,
    _lock: Locked,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whether the file was made just now.
    pub created: bool,
    /// How many bytes of a torn last frame were cut off. They were never acknowledged to anybody.
    pub torn_bytes: u64,
}

/// Why a journal cannot be used. The file was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has it.
    #[error("{path} is in use by process {owner}; nothing was changed; stop that process, or use another folder")]
    Locked {
        /// The journal.
        path: PathBuf,
        /// Its pid, or `unknown`.
        owner: String,
    },
    /// Not a journal, or one of a newer version.
    #[error(
        "{path} is not a journal of this version; it was left as it is; move it away, or use the release that wrote it"
    )]
    Foreign {
        /// The journal.
        path: PathBuf,
    },
    /// Damaged before the last frame.
    #[error(
        "{path} is damaged: frame {frame} at byte {offset} does not match its checksum, and whole frames follow; \
         the file was left as it is; restore it from a backup, or move it away and lose its history"
    )]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// From 0.
        frame: u64,
        /// In the file.
        offset: usize,
    },
    /// A frame larger than [`MAX_FRAME_BYTES`].
    #[error("a frame of {size} bytes does not fit {path}, which takes {MAX_FRAME_BYTES}; nothing was written")]
    TooLarge {
        /// The journal.
        path: PathBuf,
        /// Of the frame.
        size: usize,
    },
    /// An earlier append failed.
    #[error("{path} was not written since an append failed; restart to read back what is there")]
    Broken {
        /// The journal.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {doing} {path}")]
    Io {
        /// The verb.
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Log {
    /// Opens or creates the journal at `path`, whose folder must exist; also gives every frame in it, in order.
    ///
    /// The lock is a file of its own beside it (`NAME.lock`), which stays behind and holds the owner's pid.
    ///
    /// # Errors
    /// [`LogError`]; the journal was left as it was.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>, Opened), LogError> {
        let lock = lock(path)?;
        let created = !path.try_exists().map_err(|source| failed("look for", path, source))?;
        if created {
            // The header appears whole or not at all, so that a short header is damage and never a crash.
            durable::write(path, &HEADER).map_err(|source| failed("create", path, source))?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).open(path).map_err(|source| failed("open", path, source))?;
        let (frames, end, size) = load(&mut file, path)?;
        let torn_bytes = size - end;
        if torn_bytes > 0 {
            let cut = file.set_len(end).and_then(|()| file.sync_all());
            cut.map_err(|source| failed("cut the torn end off", path, source))?;
        }
        file.seek(SeekFrom::Start(end)).map_err(|source| failed("open", path, source))?;
        let log = Self { file, path: path.to_owned(), next: frames.len() as u64, broken: false, _lock: lock };
        Ok((log, frames, Opened { created, torn_bytes }))
    }

    /// Appends one frame and returns when it is durable.
    ///
    /// # Errors
    /// [`LogError::TooLarge`] left the journal as it was. After any other error the end of the file is uncertain and
    /// nothing can be appended any more: open it anew.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), LogError> {
        if payload.len() > MAX_FRAME_BYTES {
            return Err(LogError::TooLarge { path: self.path.clone(), size: payload.len() });
        }
        if self.broken {
            return Err(LogError::Broken { path: self.path.clone() });
        }
        self.broken = true;
        let written = self.file.write_all(&frame(self.next, payload)).and_then(|()| self.file.sync_data());
        written.map_err(|source| failed("append to", &self.path, source))?;
        self.broken = false;
        self.next += 1;
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The whole frames of the journal at `path`, for a process that does not own it. A frame that is just being written, or is
/// torn, is left out. A journal that does not exist has none.
///
/// # Errors
/// [`LogError`]; nothing is ever changed.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>, LogError> {
    match File::open(path) {
        Ok(mut file) => load(&mut file, path).map(|(frames, _, _)| frames),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(failed("open", path, source)),
    }
}

/// The whole frames of the journal at `path`, and what stands behind them: for a process that does not own it and must not
/// take a changed frame for one that is just being written.
///
/// # Errors
/// [`LogError`], also if there is no journal; nothing is ever changed.
pub fn look(path: &Path) -> Result<(Vec<Vec<u8>>, Rest), LogError> {
    let mut file = File::open(path).map_err(|source| failed("open", path, source))?;
    Ok(log_format::look(&bytes(&mut file, path)?))
}

/// The whole file, of which the header was checked.
fn bytes(file: &mut File, path: &Path) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|source| failed("read", path, source))?;
    if bytes.starts_with(&HEADER) { Ok(bytes) } else { Err(LogError::Foreign { path: path.to_owned() }) }
}

/// Frames, where they end, and the size of the file.
fn load(file: &mut File, path: &Path) -> Result<(Vec<Vec<u8>>, u64, u64), LogError> {
    let bytes = bytes(file, path)?;
    match parse(&bytes) {
        Parsed::Good { frames, end } => Ok((frames, end as u64, bytes.len() as u64)),
        Parsed::Corrupt { frames, offset } => {
            Err(LogError::Corrupt { path: path.to_owned(), frame: frames.len() as u64, offset })
        }
    }
}

fn lock(path: &Path) -> Result<Locked, LogError> {
    let name = beside(path, "lock");
    let owned = Locked::own(&name).map_err(|source| failed("lock", &name, source))?;
    owned.map_err(|owner| LogError::Locked { path: path.to_owned(), owner })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> LogError {
    LogError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payloads: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.log");
        let (mut log, frames, opened) = Log::open(&path).unwrap();
        assert!(frames.is_empty() && opened == Opened { created: true, torn_bytes: 0 });
        payloads.iter().for_each(|payload| log.append(payload).unwrap());
        (folder, path)
    }

    #[test]
    fn frames_come_back_in_order_and_more_can_follow() {
        let (_folder, path) = written(&[b"one", b"", b"three"]);
        let (mut log, frames, opened) = Log::open(&path).unwrap();
        assert_eq!(frames, [b"one".to_vec(), vec![], b"three".to_vec()]);
        assert_eq!(opened, Opened::default());
        log.append(b"four").unwrap();
        assert_eq!(read(&path).unwrap().len(), 4, "a reader needs no lock");
        assert_eq!(read(&path.with_extension("absent")).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let (_folder, path) = written(&[]);
        let (first, _, _) = Log::open(&path).unwrap();
        let error = Log::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(first);
        Log::open(&path).unwrap();
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_every_whole_frame() {
        let payloads: [&[u8]; 3] = [b"one", b"two is longer", b"three"];
        let (_folder, path) = written(&payloads);
        let whole = std::fs::read(&path).unwrap();
        let mut ends = vec![HEADER.len()];
        payloads
            .iter()
            .for_each(|payload| ends.push(ends[ends.len() - 1] + super::super::log_format::HEAD + payload.len()));
        for size in 0..=whole.len() {
            std::fs::write(&path, &whole[..size]).unwrap();
            let Some(kept) = ends.iter().filter(|end| **end <= size).count().checked_sub(1) else {
                assert!(matches!(Log::open(&path), Err(LogError::Foreign { .. })), "cut at {size}");
                continue;
            };
            assert_eq!(read(&path).unwrap(), payloads[..kept], "cut at {size}");
            let (mut log, frames, opened) = Log::open(&path).unwrap();
            assert_eq!(frames, payloads[..kept], "cut at {size}");
            assert_eq!(opened.torn_bytes, (size - ends[kept]) as u64, "cut at {size}");
            log.append(b"next").unwrap();
            drop(log);
            assert_eq!(read(&path).unwrap().last().unwrap(), b"next", "cut at {size}");
        }
    }

    #[test]
    fn a_damaged_middle_is_named_and_left_alone() {
        let (_folder, path) = written(&[b"one", b"two", b"three"]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[16 + 35 + 33] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Log::open(&path).unwrap_err().to_string();
        assert!(error.contains("frame 1 at byte 51") && error.contains("runs.log"), "{error}");
        assert!(error.contains("restore it from a backup") && error.contains("left as it is"), "{error}");
        assert!(matches!(read(&path), Err(LogError::Corrupt { frame: 1, offset: 51, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_and_the_next_one_fits() {
        let (_folder, path) = written(&[]);
        let (mut log, _, _) = Log::open(&path).unwrap();
        assert!(matches!(log.append(&vec![0; MAX_FRAME_BYTES + 1]), Err(LogError::TooLarge { .. })));
        log.append(&vec![7; MAX_FRAME_BYTES]).unwrap();
        assert_eq!(read(&path).unwrap()[0].len(), MAX_FRAME_BYTES);
    }

    #[test]
    fn after_a_failed_append_nothing_follows() {
        let (_folder, path) = written(&[b"one"]);
        let (mut log, _, _) = Log::open(&path).unwrap();
        log.file = File::open(&path).unwrap();
        assert!(matches!(log.append(b"two"), Err(LogError::Io { .. })));
        assert!(matches!(log.append(b"two"), Err(LogError::Broken { .. })));
        assert_eq!(read(&path).unwrap(), [b"one".to_vec()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn a_flipped_byte_never_loses_a_frame_silently(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            place in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let (_folder, path) = written(&slices);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = place.index(bytes.len());
            bytes[at] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            match Log::open(&path) {
                // Only the last frame may go, and its loss is reported.
                Ok((_, frames, opened)) => {
                    prop_assert_eq!(&frames[..], &payloads[..payloads.len() - 1]);
                    prop_assert!(opened.torn_bytes > 0);
                }
                Err(LogError::Foreign { .. }) => prop_assert!(at < HEADER.len()),
                Err(LogError::Corrupt { frame, .. }) => {
                    prop_assert!((frame as usize) < payloads.len() - 1);
                    prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
