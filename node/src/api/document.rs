//! What a member's API answers and the CLI prints, member by member as it is published.
//!
//! Members may be added, never renamed or re-typed. A listed member is always present, `null` where unknown. Times are
//! RFC 3339 in UTC with whole seconds; lists are sorted by name.

use std::collections::BTreeMap;

use patchmesh_common::{
    gossip::{KnownHost, Mode, Presence as Heard},
    id::MeshId,
    membership::Role,
    patch::{
        PatchCounters,
        compliance::{Standing, TAG},
    },
    run::message::{OrderStamp, StopScope},
    time::WallTime,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant that travels as RFC 3339 in UTC with whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub WallTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        WallTime::parse(&text).map(Self).ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a time such as 2026-12-01T02:00:00Z (RFC 3339)")
        })
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.rfc3339())
    }
}

/// `patchmesh.error/v1`: an error for a script, and across the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// A stable kebab-case word.
    pub code: String,
    /// The whole chain, as one line.
    pub message: String,
    /// What was left as it was.
    pub unchanged: String,
    /// What to do.
    pub remedy: String,
    /// The exit code that goes with it.
    pub exit: u8,
}

impl ErrorDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.error/v1";

    /// An error that ends a command with exit code 1.
    pub fn new(code: &str, message: impl Into<String>, unchanged: &str, remedy: &str) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            code: code.to_owned(),
            message: message.into(),
            unchanged: unchanged.to_owned(),
            remedy: remedy.to_owned(),
            exit: 1,
        }
    }
}

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

/// Every host of `members`, as a row.
impl From<&[KnownHost]> for HostsDocument {
    fn from(members: &[KnownHost]) -> Self {
        Self::new(members.iter().filter(|host| is_host(host)).map(HostRow::from).collect())
    }
}

impl From<&KnownHost> for HostRow {
    fn from(host: &KnownHost) -> Self {
        let body = &host.record.body;
        let scanned = body.scanned_at.is_some();
        Self {
            host: host.membership.name.clone(),
            node_id: host.node.to_string(),
            os: body.facts.os.clone(),
            os_version: Some(body.facts.os_version.clone()).filter(|version| !version.is_empty()),
            arch: body.facts.arch.clone(),
            mode: body.mode,
            tags: tags(host),
            presence: host.presence.into(),
            last_heard: Some(Time(host.record.sealed_at)),
            counters: scanned.then_some(body.counters.into()),
            reboot_required: scanned.then_some(body.reboot_required),
            held: held(host),
        }
    }
}

impl From<Heard> for Presence {
    fn from(presence: Heard) -> Self {
        match presence {
            Heard::Alive => Self::Live,
            Heard::Silent => Self::Silent,
        }
    }
}

fn held(host: &KnownHost) -> Option<Held> {
    let (lease, rollout) = host.record.body.held?;
    Some(Held { lease: lease.to_string(), rollout: rollout.to_string() })
}

/// What a host's last report says in short; `None` if it has made none, or says what is none.
pub fn standing(member: &KnownHost) -> Option<Standing> {
    Standing::of_tag(member.record.body.tags.get(TAG)?)
}

/// Whether a member is a host that can be patched.
pub fn is_host(member: &KnownHost) -> bool {
    member.membership.role == Role::Node
}

/// A member's tags, the issuer's over its own. Its standing is no tag for people: see [`standing`].
pub fn tags(member: &KnownHost) -> BTreeMap<String, String> {
    let mut tags = member.record.body.tags.clone();
    tags.extend(member.membership.tags.clone());
    tags.remove(TAG);
    tags
}

/// One STOP or resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow {
    /// `all` or `rollout`.
    pub scope: String,
    /// Rollout id, hex; null for `all`.
    pub rollout: Option<String>,
    /// Orders those of one scope: the highest wins, a tie is stop.
    pub sequence: u64,
    /// `true` stops, `false` resumes.
    pub stop: bool,
}

impl From<OrderStamp> for OrderRow {
    fn from(stamp: OrderStamp) -> Self {
        let rollout = match stamp.scope {
            StopScope::All => None,
            StopScope::Rollout(id) => Some(id.to_string()),
        };
        let scope = if rollout.is_some() { "rollout" } else { "all" };
        Self { scope: scope.to_owned(), rollout, sequence: stamp.sequence, stop: stamp.stop }
    }
}

/// `patchmesh.orders/v1`: the orders that this member knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrdersDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Whose member it is: the owner's public key, hex.
    pub mesh: String,
    /// The sequence that outranks every order that this member knows of.
    pub next_sequence: u64,
    /// The winning order of every scope.
    pub orders: Vec<OrderRow>,
}

impl OrdersDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.orders/v1";

    /// The document over `orders`.
    pub fn new(mesh: MeshId, next_sequence: u64, orders: Vec<OrderStamp>) -> Self {
        let orders = orders.into_iter().map(OrderRow::from).collect();
        Self { schema: Self::SCHEMA.to_owned(), mesh: mesh.to_string(), next_sequence, orders }
    }
}

/// What a member knows of the lease that a host could hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// None was granted.
    None,
    /// Its last disruptive step begins before this instant.
    Until(WallTime),
    /// This member is not who grants, or has not reconciled.
    Unknown,
}

/// A host that has not confirmed an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unconfirmed {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// Whether it is heard.
    pub presence: Presence,
    /// The lease that its last record says it holds.
    pub held: Option<Held>,
    /// `none`, `until`, or `unknown` to this member.
    pub lease: String,
    /// With `until`: it begins no further disruptive step at or after this instant.
    pub lease_until: Option<Time>,
}

/// `patchmesh.stop/v1`: a STOP or a resume, and who has saved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The order.
    #[serde(flatten)]
    pub order: OrderRow,
    /// Hosts that this member knows.
    pub hosts: u32,
    /// Those of them whose own records say that they have saved it, or a later one of its scope.
    pub confirmed: u32,
    /// Whether those that have not could hold a lease: `none`, `until`, or `unknown` to this member.
    pub leases: String,
    /// With `until`: none of them begins a disruptive step at or after this instant.
    pub leases_until: Option<Time>,
    /// Who has not, by name.
    pub unconfirmed: Vec<Unconfirmed>,
}

impl StopDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.stop/v1";

    /// How `order` stands with `members`, of which somebody knows the leases.
    pub fn new(order: OrderStamp, members: &[KnownHost], lease_of: impl Fn(&KnownHost) -> LeaseEnd) -> Self {
        let (mut hosts, mut unconfirmed, mut ends) = (0, Vec::new(), Vec::new());
        for host in members.iter().filter(|host| is_host(host)) {
            hosts += 1;
            if host.record.body.confirms(&order) {
                continue;
            }
            let end = lease_of(host);
            ends.push(end);
            let (lease, lease_until) = words(end);
            unconfirmed.push(Unconfirmed {
                host: host.membership.name.clone(),
                node_id: host.node.to_string(),
                presence: host.presence.into(),
                held: held(host),
                lease,
                lease_until,
            });
        }
        let (leases, leases_until) = words(latest(&ends));
        let confirmed = hosts - u32::try_from(unconfirmed.len()).unwrap_or(hosts);
        Self {
            schema: Self::SCHEMA.to_owned(),
            order: order.into(),
            hosts,
            confirmed,
            leases,
            leases_until,
            unconfirmed,
        }
    }

    /// Whether every known host has saved it.
    pub fn is_complete(&self) -> bool {
        self.unconfirmed.is_empty()
    }
}

/// The last of all: unknown if one of them is.
fn latest(ends: &[LeaseEnd]) -> LeaseEnd {
    ends.iter().fold(LeaseEnd::None, |last, end| match (last, *end) {
        (LeaseEnd::Unknown, _) | (_, LeaseEnd::Unknown) => LeaseEnd::Unknown,
        (LeaseEnd::Until(one), LeaseEnd::Until(other)) => LeaseEnd::Until(one.max(other)),
        (LeaseEnd::None, end) | (end, LeaseEnd::None) => end,
    })
}

fn words(end: LeaseEnd) -> (String, Option<Time>) {
    match end {
        LeaseEnd::None => ("none".to_owned(), None),
        LeaseEnd::Until(until) => ("until".to_owned(), Some(Time(until))),
        LeaseEnd::Unknown => ("unknown".to_owned(), None),
    }
}

/// What `POST /v1/orders` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderRequest {
    /// The sealed order with its signer's membership, as it travels, in hex. The private key stays with whoever signed.
    pub order: String,
}
