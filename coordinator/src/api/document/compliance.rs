//! What hosts' reports say: the fleet's compliance, and the patches and earlier standings of one host.

use std::collections::BTreeMap;

use patchmesh_common::{
    patch::{
        Blocked,
        compliance::{Counters, HostReport, Operated, PatchRow, Standing},
        evaluation::State,
        groups::group_of,
    },
    rollout::{Operation, RebootOption},
    selector::Selector,
};
use patchmesh_node::{
    api::document::{is_host, standing, tags},
    peer::KnownHost,
};
use serde::{Deserialize, Serialize};

use super::Time;

/// Whether a host is as its baseline wants it, in AWS's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Something is missing, failed, rejected, or waits for a reboot.
    NonCompliant,
    /// It has made no report.
    #[default]
    Unspecified,
    /// Nothing is wrong.
    Compliant,
}

impl Status {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NonCompliant => "NON_COMPLIANT",
            Self::Unspecified => "UNSPECIFIED",
            Self::Compliant => "COMPLIANT",
        }
    }
}

/// A report in short. [`StandingDocument::default`] is that of a host without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingDocument {
    /// What the host was judged by: `all`, `security`, or a baseline's name.
    pub baseline: Option<String>,
    /// The host's patch group; null if it is in none.
    pub patch_group: Option<String>,
    /// Whether it is compliant.
    pub status: Status,
    /// A compliance level: the highest of what is not as it should be; null if nothing is wrong.
    pub severity: Option<String>,
    /// How many patches are in which state.
    pub counters: Option<Counters>,
    /// When the host was looked at.
    pub reported_at: Option<Time>,
    /// Behind a Scan or an Install.
    pub operation: Option<Operation>,
    /// When that began.
    pub operation_started_at: Option<Time>,
    /// When it ended: the host was looked at last.
    pub operation_ended_at: Option<Time>,
    /// Id of the snapshot that the host was judged by; null if nothing was frozen.
    pub snapshot: Option<String>,
    /// Whether a list of patches was installed instead of what the baseline approves.
    pub install_override_list: Option<bool>,
    /// Whether the Install was to reboot the host; null for a Scan.
    pub reboot_option: Option<RebootOption>,
    /// When the last Install ended that was not to reboot the host; null if there was none.
    pub last_no_reboot_install_at: Option<Time>,
}

impl From<Standing> for StandingDocument {
    fn from(standing: Standing) -> Self {
        let status = if standing.is_compliant() { Status::Compliant } else { Status::NonCompliant };
        let Operated { started, snapshot, install_list, reboot, last_no_reboot } = standing.operated;
        Self {
            baseline: Some(standing.baseline),
            patch_group: standing.group,
            status,
            severity: standing.severity,
            counters: Some(standing.counters),
            reported_at: Some(Time(standing.at)),
            operation: Some(standing.operation),
            operation_started_at: started.map(Time),
            operation_ended_at: Some(Time(standing.at)),
            snapshot,
            install_override_list: Some(install_list),
            reboot_option: reboot,
            last_no_reboot_install_at: last_no_reboot.map(Time),
        }
    }
}

/// One host of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComplianceRow {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// What its last report says.
    #[serde(flatten)]
    pub standing: StandingDocument,
}

/// Hosts that have at least one patch in a state that makes them non-compliant. A host may have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByReason {
    /// Approved and not present.
    pub missing: u32,
    /// Tried and not present.
    pub failed: u32,
    /// Installed, and the host has not started since.
    pub pending_reboot: u32,
    /// Present and rejected, where that blocks.
    pub rejected: u32,
}

/// The fleet in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetCompliance {
    /// All of them: the sum of the next three.
    pub hosts: u32,
    /// Nothing is wrong.
    pub compliant: u32,
    /// Something is.
    pub non_compliant: u32,
    /// No report.
    pub unspecified: u32,
    /// What is wrong, on how many hosts.
    pub by_reason: ByReason,
}

/// Hosts of a patch group, and how many of them have at least one patch of a kind (spec 3.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupCompliance {
    /// The group.
    pub patch_group: String,
    /// All of them, also those without a report.
    pub hosts: u32,
    /// The others: hosts whose counter of that name is not zero.
    #[serde(flatten)]
    pub with: Counters,
}

impl GroupCompliance {
    fn add(&mut self, host: &StandingDocument) {
        self.hosts += 1;
        self.with.add_hosts(&host.counters.unwrap_or_default());
    }
}

/// `patchmesh.compliance/v1`: `compliance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComplianceDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// In numbers.
    pub fleet: FleetCompliance,
    /// By name.
    pub hosts: Vec<ComplianceRow>,
    /// By name; hosts in no group are in none of them.
    pub groups: Vec<GroupCompliance>,
}

impl ComplianceDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.compliance/v1";

    /// The document over `hosts`, counted and sorted by name.
    pub fn new(mut hosts: Vec<ComplianceRow>) -> Self {
        hosts.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
        let mut fleet = FleetCompliance::default();
        let mut groups: BTreeMap<_, GroupCompliance> = BTreeMap::new();
        for host in &hosts {
            fleet.add(&host.standing);
            if let Some(name) = &host.standing.patch_group {
                groups.entry(name.clone()).or_default().add(&host.standing);
            }
        }
        let groups = groups.into_iter().map(|(patch_group, group)| GroupCompliance { patch_group, ..group });
        Self { schema: Self::SCHEMA.to_owned(), fleet, groups: groups.collect(), hosts }
    }

    /// The hosts of `members` that `selector` admits, as their own records say. The group of one without a report is that of its
    /// tags.
    pub fn of(members: &[KnownHost], selector: &Selector) -> Self {
        let chosen = members.iter().filter(|member| is_host(member) && selector.admits(&tags(member)));
        let row = |member: &KnownHost| ComplianceRow {
            host: member.membership.name.clone(),
            node_id: member.node.to_string(),
            standing: standing(member).map(StandingDocument::from).unwrap_or_else(|| StandingDocument {
                patch_group: group_of(&tags(member)).ok().flatten().map(str::to_owned),
                ..StandingDocument::default()
            }),
        };
        Self::new(chosen.map(row).collect())
    }
}

impl FleetCompliance {
    fn add(&mut self, host: &StandingDocument) {
        self.hosts += 1;
        *match host.status {
            Status::Compliant => &mut self.compliant,
            Status::NonCompliant => &mut self.non_compliant,
            Status::Unspecified => &mut self.unspecified,
        } += 1;
        let counters = host.counters.unwrap_or_default();
        let by = &mut self.by_reason;
        by.missing += u32::from(counters.missing > 0);
        by.failed += u32::from(counters.failed > 0);
        by.pending_reboot += u32::from(counters.installed_pending_reboot > 0);
        by.rejected += u32::from(counters.installed_rejected > 0);
    }
}

/// Why a patch is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchReason {
    /// A stable kebab-case word.
    pub code: String,
    /// For people.
    pub text: String,
    /// The rule that decided, from 1.
    pub rule: Option<u32>,
    /// When the gate opens that keeps the patch from being approved.
    pub opens_at: Option<Time>,
    /// The rule has a date gate, and that does not count on this operating system.
    pub ignored_date_gate: bool,
}

/// One patch of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchDocument {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version; null if none is.
    pub installed: Option<String>,
    /// The newer version that is missing, or that the reason speaks of.
    pub available: Option<String>,
    /// Its state.
    pub state: State,
    /// Of the rule or list that approved it.
    pub compliance_level: String,
    /// Kind of update.
    pub classification: Option<String>,
    /// What keeps the package manager from installing what is missing.
    pub blocked: Option<Blocked>,
    /// Why.
    pub reason: PatchReason,
}

impl From<PatchRow> for PatchDocument {
    fn from(row: PatchRow) -> Self {
        Self {
            name: row.name,
            arch: row.arch,
            installed: row.installed,
            available: row.available,
            state: row.state,
            compliance_level: row.level,
            classification: row.classification,
            blocked: row.blocked,
            reason: PatchReason {
                code: row.code,
                text: row.text,
                rule: row.rule,
                opens_at: row.opens_at.map(Time),
                ignored_date_gate: row.ignored_date_gate,
            },
        }
    }
}

/// `patchmesh.patches/v1`: `describe host NAME --patches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchesDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// The report in short; its counters count every patch, also those that are not shown.
    #[serde(flatten)]
    pub standing: StandingDocument,
    /// By (name, arch, installed).
    pub patches: Vec<PatchDocument>,
    /// Patches that did not fit into the host's answer; those that are as they should be are left out first.
    pub left_out: u32,
}

impl PatchesDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.patches/v1";

    /// What `host` answered.
    pub fn new(host: String, node_id: String, report: HostReport) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            host,
            node_id,
            standing: report.standing.into(),
            patches: report.rows.into_iter().map(PatchDocument::from).collect(),
            left_out: report.left_out,
        }
    }
}

/// `patchmesh.history/v1`: `describe host NAME --history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// The current standing and those before it, the newest first.
    pub reports: Vec<StandingDocument>,
}

impl HistoryDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.history/v1";

    /// What `host` answered.
    pub fn new(host: String, node_id: String, report: HostReport) -> Self {
        let reports = std::iter::once(report.standing).chain(report.history).map(StandingDocument::from).collect();
        Self { schema: Self::SCHEMA.to_owned(), host, node_id, reports }
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::time::WallTime;

    use super::*;

    fn row(host: &str, counters: Option<Counters>, severity: Option<&str>) -> ComplianceRow {
        let standing = counters.map(|counters| Standing {
            at: WallTime(0),
            operation: Operation::Scan,
            baseline: "web".into(),
            group: None,
            counters,
            severity: severity.map(str::to_owned),
            operated: Operated::default(),
        });
        let standing = standing.map(StandingDocument::from).unwrap_or_default();
        ComplianceRow { host: host.into(), node_id: "00".into(), standing }
    }

    #[test]
    fn a_fleet_is_counted_by_status_and_by_what_is_wrong() {
        let wrong = |missing, failed, installed_pending_reboot, installed_rejected| {
            Some(Counters { missing, failed, installed_pending_reboot, installed_rejected, ..Counters::default() })
        };
        let rows = vec![
            row("e", None, None),
            row("d", wrong(0, 0, 0, 1), Some("UNSPECIFIED")),
            row("c", wrong(9, 1, 0, 0), Some("HIGH")),
            row("b", wrong(1, 0, 2, 0), Some("CRITICAL")),
            row("a", wrong(0, 0, 0, 0), None),
        ];
        let ComplianceDocument { fleet, hosts, .. } = ComplianceDocument::new(rows);
        assert_eq!((fleet.hosts, fleet.compliant, fleet.non_compliant, fleet.unspecified), (5, 1, 3, 1));
        assert_eq!(fleet.by_reason, ByReason { missing: 2, failed: 1, pending_reboot: 1, rejected: 1 });
        let status: Vec<_> =
            hosts.iter().map(|host| format!("{} {}", host.host, host.standing.status.as_str())).collect();
        assert_eq!(status, ["a COMPLIANT", "b NON_COMPLIANT", "c NON_COMPLIANT", "d NON_COMPLIANT", "e UNSPECIFIED"]);
    }

    #[test]
    fn of_every_group_the_hosts_are_counted_whose_counter_is_not_zero() {
        let of = |group: Option<&str>, counters| {
            let mut row = row("h", counters, None);
            row.standing.patch_group = group.map(str::to_owned);
            row
        };
        let counters = |installed, missing| Some(Counters { installed, missing, ..Counters::default() });
        let rows = vec![
            of(Some("prod"), counters(9, 4)),
            of(Some("prod"), counters(7, 0)),
            of(Some("prod"), None),
            of(Some("dev"), counters(0, 1)),
            of(None, counters(3, 3)),
        ];
        let ComplianceDocument { groups, .. } = ComplianceDocument::new(rows);
        let group = |name: &str, hosts, installed, missing| GroupCompliance {
            patch_group: name.into(),
            hosts,
            with: Counters { installed, missing, ..Counters::default() },
        };
        assert_eq!(groups, [group("dev", 1, 0, 1), group("prod", 3, 2, 1)]);
    }
}
