//! The ledger on disk: an append-only log of entries, each signed and chained to the one before by its hash.
//!
//! Beside it lies a small file that names the place in which the ledger was written. A ledger in another place is a copy: it
//! may be older than the fleet, and the controller must then ask every host what it holds before it grants anything.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    id::NodeId,
    rollout::{
        chain::{BadLink, Chain, Head},
        ledger::{FoldError, Ledger, LedgerEntry},
    },
    seal::{Signer, Verifier},
};
use patchmesh_node::store::log::{self, Log, LogError, Rest};

/// The ledger's name in its folder.
const FILE: &str = "ledger.log";

/// Why the ledger cannot be continued. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file.
    #[error("the ledger cannot be read or written")]
    Log(#[from] LogError),
    /// The file that names its place.
    #[error("{} cannot be read or written", .0.display())]
    Place(PathBuf, #[source] io::Error),
    /// Not the next link of the chain.
    #[error("entry {0} of the ledger cannot be used")]
    Link(usize, #[source] BadLink),
    /// Does not fit what came before.
    #[error("entry {0} of the ledger does not fit the ones before")]
    Fold(usize, #[source] FoldError),
}

/// The open ledger file.
#[derive(Debug)]
pub struct LedgerFile {
    log: Log,
    head: Head,
    /// The folder, until its place is marked: only after an entry says that this ledger may not know every lease.
    unmarked: Option<PathBuf>,
}

/// What opening a ledger found.
#[derive(Debug)]
pub struct Opened {
    /// The file, for appending.
    pub file: LedgerFile,
    /// The fold of every entry.
    pub ledger: Ledger,
    /// Whether this is the store that the last process left here: neither new, copied nor restored.
    pub continues: bool,
    /// How many bytes of a torn last frame were cut off: never acknowledged to anybody.
    pub torn_bytes: u64,
}

impl LedgerFile {
    /// Opens or creates the ledger in `dir`, checking every link.
    ///
    /// # Errors
    /// [`LedgerError`] names the first entry that does not hold.
    pub fn open(dir: &Path, me: NodeId, keys: &dyn Verifier) -> Result<Opened, LedgerError> {
        let path = dir.join(FILE);
        let (log, frames, found) = Log::open(&path)?;
        let (mut ledger, mut chain) = (Ledger::default(), Chain::of(Some(me)));
        for (number, frame) in frames.iter().enumerate() {
            let entry = chain.next(frame, keys).map_err(|error| LedgerError::Link(number, error))?;
            ledger.fold(&entry).map_err(|error| LedgerError::Fold(number, error))?;
        }
        let continues = !frames.is_empty() && is_in_place(dir, &path)?;
        let unmarked = (!continues).then(|| dir.to_owned());
        Ok(Opened { file: Self { log, head: chain.head(), unmarked }, ledger, continues, torn_bytes: found.torn_bytes })
    }

    /// Where it ends, durably.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends `entry`, durably. The first entry in a new place also marks the place as the ledger's own.
    ///
    /// # Errors
    /// [`LedgerError`] if the disk refuses; whether the entry is there is then unknown, and the process must end.
    pub fn append(&mut self, signer: &dyn Signer, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let frame = self.head.link(signer, entry);
        self.log.append(&frame)?;
        self.head = self.head.after(&frame);
        if let Some(dir) = self.unmarked.take() {
            mark_place(&dir, &dir.join(FILE))?;
        }
        Ok(())
    }
}

/// The frames of the ledger in `dir`, for somebody who does not own it and changes nothing: also while a coordinator writes it.
///
/// # Errors
/// [`LogError`] if it cannot be read, or is none.
pub fn look(dir: &Path) -> Result<(Vec<Vec<u8>>, Rest), LogError> {
    log::look(&dir.join(FILE))
}

/// Machine, device and inode of the ledger file: a copy on another machine or beside the original differs.
fn place_of(ledger: &Path) -> io::Result<String> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let meta = fs::metadata(ledger)?;
    Ok(format!("{} {} {}\n", machine.trim(), meta.dev(), meta.ino()))
}

fn is_in_place(dir: &Path, ledger: &Path) -> Result<bool, LedgerError> {
    let marker = dir.join("ledger.place");
    let here = place_of(ledger).map_err(|error| LedgerError::Place(marker.clone(), error))?;
    match fs::read_to_string(&marker) {
        Ok(there) => Ok(there == here),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LedgerError::Place(marker, error)),
    }
}

fn mark_place(dir: &Path, ledger: &Path) -> Result<(), LedgerError> {
    let marker = dir.join("ledger.place");
    place_of(ledger).and_then(|here| fs::write(&marker, here)).map_err(|error| LedgerError::Place(marker, error))
}

#[cfg(test)]
mod tests;
