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
    rollout::ledger::{FoldError, Ledger, LedgerEntry},
    seal::{SealError, Sealed, Signer, Verifier},
    wire::{self, Malformed},
};
use patchmesh_node::store::log::{Log, LogError, MAX_FRAME_BYTES};
use serde::{Deserialize, Serialize};

/// The ledger's name in its folder.
const FILE: &str = "ledger.log";

/// One frame of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    /// BLAKE3 of the frame before; all zero in the first.
    previous: [u8; 32],
    /// The entry, sealed by the coordinator that wrote it.
    entry: Sealed,
}

/// Why the ledger cannot be continued. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file.
    #[error("the ledger cannot be read or written")]
    Log(#[from] LogError),
    /// The file that names its place.
    #[error("{} cannot be read or written", .0.display())]
    Place(PathBuf, #[source] io::Error),
    /// Not a link of a chain.
    #[error("entry {0} of the ledger does not decode")]
    Malformed(usize, #[source] Malformed),
    /// Something was cut out, or put in.
    #[error("entry {0} of the ledger does not follow the one before")]
    Broken(usize),
    /// Signed by somebody else, or changed.
    #[error("entry {0} of the ledger carries no valid seal")]
    Seal(usize, #[source] SealError),
    /// Does not fit what came before.
    #[error("entry {0} of the ledger does not fit the ones before")]
    Fold(usize, #[source] FoldError),
}

/// The open ledger file.
#[derive(Debug)]
pub struct LedgerFile {
    log: Log,
    head: [u8; 32],
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
        let (mut ledger, mut head) = (Ledger::default(), [0; 32]);
        for (number, frame) in frames.iter().enumerate() {
            let link: Link =
                wire::decode(frame, MAX_FRAME_BYTES).map_err(|error| LedgerError::Malformed(number, error))?;
            if link.previous != head || link.entry.author != me {
                return Err(LedgerError::Broken(number));
            }
            let entry: LedgerEntry = link.entry.open(keys).map_err(|error| LedgerError::Seal(number, error))?;
            ledger.fold(&entry).map_err(|error| LedgerError::Fold(number, error))?;
            head = *blake3::hash(frame).as_bytes();
        }
        let continues = !frames.is_empty() && is_in_place(dir, &path)?;
        let unmarked = (!continues).then(|| dir.to_owned());
        Ok(Opened { file: Self { log, head, unmarked }, ledger, continues, torn_bytes: found.torn_bytes })
    }

    /// Appends `entry`, durably. The first entry in a new place also marks the place as the ledger's own.
    ///
    /// # Errors
    /// [`LedgerError`] if the disk refuses; whether the entry is there is then unknown, and the process must end.
    pub fn append(&mut self, signer: &dyn Signer, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let link = Link { previous: self.head, entry: Sealed::seal(signer, entry) };
        let frame = wire::encode(&link);
        self.log.append(&frame)?;
        self.head = *blake3::hash(&frame).as_bytes();
        if let Some(dir) = self.unmarked.take() {
            mark_place(&dir, &dir.join(FILE))?;
        }
        Ok(())
    }
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
