//! What the coordinator knows of hosts, and why one is not done.

pub use patchmesh_node::api::document::{Counters, Held, HostRow, HostsDocument, Presence};
use serde::{Deserialize, Serialize};

use super::Time;

/// `patchmesh.host/v1`: `describe host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The same members as in the list.
    #[serde(flatten)]
    pub row: HostRow,
    /// Package manager.
    pub manager: String,
    /// Running kernel release.
    pub kernel: String,
    /// Version of the daemon.
    pub agent_version: String,
    /// Multiaddresses on which it listens.
    pub addresses: Vec<String>,
    /// When its last scan ended.
    pub scanned_at: Option<Time>,
    /// When its membership ends.
    pub membership_expires: Option<Time>,
}

impl HostDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.host/v1";
}

/// What a `why` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// `host`, `rollout` or `patch`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyStep {
    /// A stable kebab-case word.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// Since when.
    pub at: Option<Time>,
    /// What would change it.
    pub command: Option<String>,
}

/// `patchmesh.why/v1`: newest cause first; never empty for something that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// What was asked about.
    pub subject: Subject,
    /// The answer in one sentence.
    pub answer: String,
    /// Causes, newest first.
    pub chain: Vec<WhyStep>,
}

impl WhyDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.why/v1";

    /// The answer for the `kind` (host, rollout or patch) called `name`.
    pub fn new(kind: &str, name: &str, answer: impl Into<String>, chain: Vec<WhyStep>) -> Self {
        let subject = Subject { kind: kind.to_owned(), name: name.to_owned() };
        Self { schema: Self::SCHEMA.to_owned(), subject, answer: answer.into(), chain }
    }
}
