//! The chain of a ledger: every frame holds the hash of the one before, so that nothing can be cut out, put in or changed
//! without a trace.

use serde::{Deserialize, Serialize};

use super::ledger::LedgerEntry;
use crate::{
    id::NodeId,
    seal::{Payload, SealError, Sealed, Signer, Verifier},
    wire::{self, Malformed},
};

/// Largest frame of a ledger, in bytes: the largest entry, and room for its signature and its link.
pub const MAX_LINK: usize = LedgerEntry::LIMIT + (64 << 10);

/// One frame of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// BLAKE3 of the frame before; all zero in the first.
    pub previous: [u8; 32],
    /// The entry, sealed by the coordinator that wrote it.
    pub entry: Sealed,
}

/// Where a ledger ends, or ended once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// How many entries it has.
    pub entries: u64,
    /// BLAKE3 of the last frame; all zero if there is none.
    pub hash: [u8; 32],
}

impl Head {
    /// The frame that appends `entry` here.
    pub fn link(&self, signer: &dyn Signer, entry: &LedgerEntry) -> Vec<u8> {
        wire::encode(&Link { previous: self.hash, entry: Sealed::seal(signer, entry) })
    }

    /// Where the ledger ends after `frame`.
    #[must_use]
    pub fn after(self, frame: &[u8]) -> Self {
        Self { entries: self.entries + 1, hash: *blake3::hash(frame).as_bytes() }
    }
}

/// Why a frame is not the next one of its ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// Not a link of a chain.
    #[error("it does not decode")]
    Malformed(#[source] Malformed),
    /// Something was cut out, or put in.
    #[error("it does not follow the one before")]
    Broken,
    /// Written by somebody else than the ones before.
    #[error("it is sealed by another key, {0}")]
    Foreign(NodeId),
    /// Changed, or signed by somebody else.
    #[error("it carries no valid seal")]
    Seal(#[source] SealError),
}

/// Follows a chain frame by frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    head: Head,
    author: Option<NodeId>,
}

impl Chain {
    /// A chain that only `author` may write; without one, whoever wrote the first entry.
    pub fn of(author: Option<NodeId>) -> Self {
        Self { head: Head::default(), author }
    }

    /// Where it ends so far.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whose ledger it is; `None` while it is empty.
    pub fn author(&self) -> Option<NodeId> {
        self.author
    }

    /// The entry in the next frame.
    ///
    /// # Errors
    /// [`BadLink`]; the chain ends where it did.
    pub fn next(&mut self, frame: &[u8], keys: &dyn Verifier) -> Result<LedgerEntry, BadLink> {
        let link: Link = wire::decode(frame, MAX_LINK).map_err(BadLink::Malformed)?;
        if link.previous != self.head.hash {
            return Err(BadLink::Broken);
        }
        let author = link.entry.author;
        if self.author.is_some_and(|known| known != author) {
            return Err(BadLink::Foreign(author));
        }
        let entry = link.entry.open(keys).map_err(BadLink::Seal)?;
        self.author = Some(author);
        self.head = self.head.after(frame);
        Ok(entry)
    }
}
