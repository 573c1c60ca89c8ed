//! What every host knows of every other: records, digests, deltas, the view.
//!
//! [`Gossip`] decides what is believed, what is told to whom, and which links are kept. It knows no transport.

mod event;
mod machine;
mod orders;
mod overlay;
#[cfg(test)]
mod tests;
mod view;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{Incarnation, LeaseId, MeshId, NodeId, RolloutId},
    inventory::HostFacts,
    membership::{Credential, Membership},
    patch::PatchCounters,
    run::message::OrderStamp,
    seal::{Payload, Sealed},
    time::WallTime,
};

pub use event::{Effect, Event, Settings, Start, Verdict};
pub use machine::Gossip;
pub use orders::{MAX_ORDERS, Orders};
pub use view::{Member, Merged, Rejected, View};
pub use wire::{ExchangeAnswer, ExchangeRequest, Hello, MAX_DELTA, MAX_EXCHANGE, MAX_HELLO, MAX_ITEM, MAX_MEMBERS};

/// What a host does with leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Scans, gossips, answers plans, installs nothing.
    #[default]
    Observe,
    /// Obeys leases.
    Enforce,
}

/// What a host says of itself, apart from its identity: the shell fills it, the machine seals and spreads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordBody {
    /// Multiaddresses on which the host listens.
    pub addresses: Vec<String>,
    /// What kind of machine it is.
    pub facts: HostFacts,
    /// Tags of the host's own file.
    pub tags: BTreeMap<String, String>,
    /// Observe or enforce.
    pub mode: Mode,
    /// Against the baseline of the last scan.
    pub counters: PatchCounters,
    /// Whether a reboot is pending.
    pub reboot_required: bool,
    /// The lease that the host runs or has to report.
    pub held: Option<(LeaseId, RolloutId)>,
    /// BLAKE3 of the full inventory; all zero if there is none yet.
    pub inventory: [u8; 32],
    /// When the last scan ended.
    pub scanned_at: Option<WallTime>,
    /// The STOPs and resumes that the host has saved, by scope: whoever ordered one reads here that it is obeyed. A record names
    /// at most [`MAX_ORDERS`].
    pub orders: Vec<OrderStamp>,
}

impl RecordBody {
    /// Whether the host has saved `order`, or a later one of its scope.
    pub fn confirms(&self, order: &OrderStamp) -> bool {
        self.orders.iter().any(|saved| saved.scope == order.scope && saved.rank() >= order.rank())
    }
}

/// One author's record: replaced whole, accepted only if (incarnation, version) grew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Which mesh.
    pub mesh: MeshId,
    /// Grows with every start of the author.
    pub incarnation: Incarnation,
    /// Grows with every change in one incarnation.
    pub version: u64,
    /// The author's wall clock when it sealed.
    pub sealed_at: WallTime,
    /// What it says.
    pub body: RecordBody,
}

impl Payload for NodeRecord {
    const CONTEXT: &'static str = "patchmesh/record/1";
    const LIMIT: usize = MAX_RECORD;
}

/// Largest encoded record.
pub const MAX_RECORD: usize = 4096;

/// A sealed [`NodeRecord`] with its author's membership, as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// The author's membership.
    pub credential: Credential,
    /// A sealed [`NodeRecord`].
    pub record: Sealed,
}

/// Which record of an author somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Whose record.
    pub author: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its version.
    pub version: u64,
}

impl Stamp {
    /// The part that grows.
    pub fn rank(&self) -> (Incarnation, u64) {
        (self.incarnation, self.version)
    }
}

/// Whether a member was heard of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// A link to it is up, or a newer record came within [`Settings::silent_after`].
    Alive,
    /// Neither. It may be down, or cut off from us.
    Silent,
}

/// What one host knows of one member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KnownHost {
    /// Its key.
    pub node: NodeId,
    /// Its rights; the name is in here.
    pub membership: Membership,
    /// Its newest record that we have.
    pub record: NodeRecord,
    /// Whether it was heard of lately.
    pub presence: Presence,
    /// Whether it is the host that answers.
    pub own: bool,
}
