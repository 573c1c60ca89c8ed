//! What is read of a ledger file itself: whether it holds, entry by entry, and how things stood at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{RolloutRow, Time};

/// Whether every entry follows the one before, and no host saw another ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainDocument {
    /// Whether the chain holds to its end, and no host saw another one.
    pub ok: bool,
    /// The first entry that does not follow, behind which nothing was looked at, or in which a host says that it saw another
    /// ledger; from 0, null if there is none.
    pub first_bad: Option<u64>,
    /// What is wrong with it; null if nothing is.
    pub text: Option<String>,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokenPromise {
    /// The entry that broke it, from 0.
    pub entry: u64,
    /// The host concerned; null if none is.
    pub host: Option<String>,
    /// One sentence.
    pub text: String,
}

/// One promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseDocument {
    /// How often it was looked at.
    pub checked: u64,
    /// Where it was broken, in order.
    pub violations: Vec<BrokenPromise>,
}

/// A slot that was freed without evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcusedDocument {
    /// The entry that says so, from 0.
    pub entry: u64,
    /// Which host.
    pub host: String,
    /// Which lease, hex; null if the host had not said.
    pub lease: Option<String>,
    /// Why, in the operator's words.
    pub because: String,
}

/// What the hosts say of the ledger: each keeps where it ended when it accepted its last `Go`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestimonyDocument {
    /// How many were compared.
    pub checked: u64,
    /// How many do not fit a ledger that says itself that it is a copy or restored, or that others were at work.
    pub excused: u64,
    /// The others that do not fit: the ledger was written anew, in order.
    pub violations: Vec<BrokenPromise>,
}

/// `patchmesh.audit/v1`: `audit verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Key of the coordinator that wrote it, hex; null if there is no entry.
    pub author: Option<String>,
    /// How many entries follow each other from the first on.
    pub entries: u64,
    /// BLAKE3 of the last of them, hex.
    pub head: String,
    /// Bytes behind the last entry: one that is being written, or that a crash tore.
    pub torn_bytes: u64,
    /// Whether every entry follows the one before.
    pub chain: ChainDocument,
    /// Whether the hosts saw this ledger and no other.
    pub testimonies: TestimonyDocument,
    /// By name: every one that a ledger can show.
    pub promises: BTreeMap<String, PromiseDocument>,
    /// Slots that were released by name: they do not count against `concurrency`.
    pub excused: Vec<ExcusedDocument>,
}

impl AuditDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.audit/v1";
}

/// `patchmesh.entry/v1`: one entry of a ledger, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Its number, from 0.
    pub entry: u64,
    /// When, by the coordinator's clock: RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// What kind of entry it is: a stable kebab-case word.
    pub act: String,
    /// Who did it: an operator, a host, or `coordinator` if it decided so by itself.
    pub by: String,
    /// Rollout id, hex; null if it is about none.
    pub rollout: Option<String>,
    /// Name of its manifest.
    pub rollout_name: Option<String>,
    /// Name of the host, or its key if no plan names it; null if it is about none.
    pub host: Option<String>,
    /// Public key of the host, hex.
    pub node_id: Option<String>,
    /// Lease id, hex; null if it is about none.
    pub lease: Option<String>,
    /// What it says, in one sentence.
    pub text: String,
    /// BLAKE3 of the entry in the file, hex: the next one is chained to it.
    pub hash: String,
}

impl EntryDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.entry/v1";
}

/// A slot that was held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldSlot {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// Rollout id, hex.
    pub rollout: String,
    /// Name of its manifest.
    pub rollout_name: String,
    /// Lease id, hex.
    pub lease: String,
    /// Since this `Go`.
    pub since: Time,
}

/// `patchmesh.state/v1`: `state --at TIME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// When.
    pub at: Time,
    /// How many entries had been written by then.
    pub entries: u64,
    /// When the last of them was written; null if there was none.
    pub last_entry: Option<Time>,
    /// Every rollout by then. Who was silent is in no ledger: hosts at work count as running.
    pub rollouts: Vec<RolloutRow>,
    /// Every slot that was held, by host.
    pub slots: Vec<HeldSlot>,
}

impl StateDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.state/v1";
}
