//! What the coordinator knows of hosts, and why one is not done.

use std::collections::BTreeMap;

use patchmesh_common::{gossip::Mode, patch::PatchCounters};
use serde::{Deserialize, Serialize};

use super::Time;

/// Whether a host is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// Heard lately.
    Live,
    /// Not heard for longer than a live host is ever silent.
    Silent,
    /// A member that was never heard.
    Unheard,
}

impl Presence {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Unheard => "unheard",
        }
    }
}

/// Counters of a host's last scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Approved and present.
    pub installed: u32,
    /// Present, not approved.
    pub installed_other: u32,
    /// Installed by a run, waiting for a reboot.
    pub installed_pending_reboot: u32,
    /// Approved and not present.
    pub missing: u32,
    /// Tried and not present.
    pub failed: u32,
    /// Missing and held back.
    pub blocked: u32,
}

impl From<PatchCounters> for Counters {
    fn from(counters: PatchCounters) -> Self {
        let PatchCounters { installed, installed_other, installed_pending_reboot, missing, failed, blocked } = counters;
        Self { installed, installed_other, installed_pending_reboot, missing, failed, blocked }
    }
}

/// The lease that a host runs or has to report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Lease id, hex.
    pub lease: String,
    /// Rollout id, hex.
    pub rollout: String,
}

/// One host, as its own last record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostRow {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// `ID` of os-release.
    pub os: String,
    /// `VERSION_ID` of os-release; null if it has none.
    pub os_version: Option<String>,
    /// Native architecture.
    pub arch: String,
    /// `observe` installs nothing; `enforce` obeys leases.
    pub mode: Mode,
    /// Tags, the issuer's over the host's own.
    pub tags: BTreeMap<String, String>,
    /// Whether it is heard.
    pub presence: Presence,
    /// When it was last heard.
    pub last_heard: Option<Time>,
    /// Of its last scan; null if it never scanned.
    pub counters: Option<Counters>,
    /// Whether a reboot is pending; null if unknown.
    pub reboot_required: Option<bool>,
    /// What it runs or has to report.
    pub held: Option<Held>,
}

/// `patchmesh.hosts/v1`: `get hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name.
    pub hosts: Vec<HostRow>,
}

impl HostsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.hosts/v1";

    /// The document over `hosts`, sorted by name.
    pub fn new(mut hosts: Vec<HostRow>) -> Self {
        hosts.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
        Self { schema: Self::SCHEMA.to_owned(), hosts }
    }
}

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
    /// `host`.
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

    /// The answer for one host.
    pub fn host(name: &str, answer: impl Into<String>, chain: Vec<WhyStep>) -> Self {
        let subject = Subject { kind: "host".to_owned(), name: name.to_owned() };
        Self { schema: Self::SCHEMA.to_owned(), subject, answer: answer.into(), chain }
    }
}
