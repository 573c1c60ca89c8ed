//! The canonical trace, as a running hash: equal for equal arguments on every machine and thread count.

use sha2::{Digest, Sha256};

use crate::{
    fault::Kind,
    keys::digest,
    truth::{Spot, Truth},
};

/// Bytes that are gathered before they are hashed.
const CHUNK: usize = 8192;

/// Takes everything that happens.
#[derive(Default)]
pub(crate) struct Trace {
    hash: Sha256,
    waiting: Vec<u8>,
    /// Faults as they struck.
    pub(crate) struck: Vec<(u64, Spot, Kind)>,
}

impl Trace {
    fn add(&mut self, mark: u8, at: u64, spot: Spot, digest: u64) {
        self.waiting.push(mark);
        self.waiting.extend(at.to_be_bytes());
        self.waiting.extend(spot.to_be_bytes());
        self.waiting.extend(digest.to_be_bytes());
        if self.waiting.len() >= CHUNK {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
    }

    /// An event was delivered.
    pub(crate) fn event(&mut self, at: u64, kind: u8, spot: Spot, digest: u64) {
        self.add(kind, at, spot, digest);
    }

    /// The truth moved.
    pub(crate) fn truth(&mut self, at: u64, spot: Spot, truth: &Truth) {
        self.add(0xfe, at, spot, digest(format!("{truth:?}").as_bytes()));
    }

    /// A fault struck.
    pub(crate) fn fault(&mut self, at: u64, spot: Spot, kind: Kind) {
        self.add(0xff, at, spot, kind as u64);
        self.struck.push((at, spot, kind));
    }

    /// SHA-256 so far, in hex.
    pub(crate) fn hash(&self) -> String {
        let mut hash = self.hash.clone();
        hash.update(&self.waiting);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
