//! What two members say to each other: who they are, and which records the other lacks.

use serde::{Deserialize, Serialize};

use super::{Item, MAX_RECORD, Stamp};
use crate::{id::NodeId, membership::Credential, run::message::SignedStop, time::WallTime};

/// Most members of one view. A plain digest stays below 170 KiB; refused beyond, because digests would not fit.
pub const MAX_MEMBERS: usize = 4096;
/// Most items in one delta: a late joiner of a fleet of 500 has it all after a handful of exchanges.
pub const MAX_DELTA: usize = 64;
/// Largest encoded [`Item`]: a record and two memberships at their limits, with room for lengths and signatures.
pub const MAX_ITEM: usize = MAX_RECORD + 2 * 2048 + 512;
/// Largest exchange message: [`MAX_DELTA`] items at their limit, or a digest of [`MAX_MEMBERS`] stamps.
pub const MAX_EXCHANGE: usize = MAX_DELTA * MAX_ITEM + 1024;
/// Largest hello: it comes from strangers, so it is small. Issuers keep memberships short enough for two to fit.
pub const MAX_HELLO: usize = 4096;

/// `/patchmesh/hello/1`, both ways: the only thing that is said to a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's wall clock.
    pub wall: WallTime,
    /// The sender's right to be here.
    pub credential: Credential,
    /// Whether the sender already speaks every protocol on this connection.
    pub full: bool,
}

/// `/patchmesh/exchange/1`, asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExchangeRequest {
    /// Here is what I have: send what I lack, and say what you lack.
    Pull {
        /// The sender's wall clock.
        wall: WallTime,
        /// One stamp for each member that the sender knows.
        digest: Vec<Stamp>,
    },
    /// Here is what you lack.
    Push {
        /// The sender's wall clock.
        wall: WallTime,
        /// At most [`MAX_DELTA`].
        items: Vec<Item>,
    },
    /// Here are orders that your record does not name.
    Orders {
        /// The sender's wall clock.
        wall: WallTime,
        /// At most [`MAX_ORDERS`](super::MAX_ORDERS).
        orders: Vec<SignedStop>,
    },
}

/// `/patchmesh/exchange/1`, answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExchangeAnswer {
    /// To a pull.
    Delta {
        /// The sender's wall clock.
        wall: WallTime,
        /// What the asker lacks, at most [`MAX_DELTA`].
        items: Vec<Item>,
        /// Whose records the asker has newer, at most [`MAX_DELTA`].
        want: Vec<NodeId>,
    },
    /// To a push, and to orders.
    Taken {
        /// The sender's wall clock.
        wall: WallTime,
    },
}

impl ExchangeRequest {
    /// The sender's wall clock.
    pub fn wall(&self) -> WallTime {
        match self {
            Self::Pull { wall, .. } | Self::Push { wall, .. } | Self::Orders { wall, .. } => *wall,
        }
    }
}

impl ExchangeAnswer {
    /// The sender's wall clock.
    pub fn wall(&self) -> WallTime {
        match self {
            Self::Delta { wall, .. } | Self::Taken { wall } => *wall,
        }
    }
}
