//! A frozen plan: what would be done on which host, and who is left out and why.

use std::{collections::BTreeMap, time::Duration};

use patchmesh_common::{
    id::SnapshotId,
    inventory::{PackageChange, PackageRemoval, Transaction},
    labels::{self, LabelError, Labels},
    patch::{Approval, baseline::OperatingSystem, overrides::InstallList},
    rollout::{
        OnHookFailure, OnSuperseded, Operation, RebootOption,
        limit::{Limit, Ramp},
        plan::ResolvedLimit,
        policy::{Labels as TagsText, TargetsText},
        ring::PlannedRing,
        spec::{Asked, RingSpec, RolloutSpec, SpecError, Targets, Urgent},
    },
    run::gate::Gate,
    schedule::Opening,
    selector::Selector,
};
use serde::{Deserialize, Serialize};

use super::{BlackoutDocument, LimitDocument, LimitsDocument, OpeningDocument, Time};
use crate::api::canonical::{self, CanonicalError};

/// Hosts that carry every one of these labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectorDocument {
    /// Label to value.
    pub match_labels: BTreeMap<String, String>,
}

/// Which hosts: exactly one member is not null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsDocument {
    /// `true`: every host.
    pub all: Option<bool>,
    /// By name.
    pub names: Option<Vec<String>>,
    /// By label.
    pub selector: Option<SelectorDocument>,
    /// By a selector, as `get hosts -l` takes it.
    pub matching: Option<Selector>,
    /// By patch group.
    pub patch_groups: Option<Vec<String>>,
}

/// A rollout as asked for, with every default written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpecDocument {
    /// Name of the rollout.
    pub name: String,
    /// What people note of it; absent if they note nothing.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Scan or Install.
    pub operation: Operation,
    /// Which hosts.
    pub targets: TargetsDocument,
    /// Which patches: `all`, `security` or a baseline's name; null if one of the next two decides, or every host's patch group.
    pub baseline: Option<String>,
    /// The name of a baseline for every operating system, if they decide.
    pub baselines: Option<BTreeMap<OperatingSystem, String>>,
    /// The id of the snapshot that decides.
    pub snapshot: Option<String>,
    /// The `BaselineOverride` that decides: AWS's JSON, as a text.
    pub baseline_override: Option<String>,
    /// What an Install installs instead of what is approved.
    pub install_override_list: Option<InstallList>,
    /// How many hosts at once.
    pub max_concurrency: Limit,
    /// How many failed hosts are tolerated.
    pub max_errors: Limit,
    /// Empty, and without windows: from now on, without end.
    pub openings: Vec<OpeningDocument>,
    /// The maintenance windows that were asked for, by name.
    pub windows: Vec<String>,
    /// When nothing is done.
    pub blackouts: Vec<BlackoutDocument>,
    /// Whether hosts reboot.
    pub reboot: RebootOption,
    /// Time-out of every single hook.
    pub hook_timeout_seconds: u64,
    /// What the failure of a hook means: the host fails, is left out if nothing was changed on it, or ends the rollout.
    pub on_hook_failure: OnHookFailure,
    /// In order; empty: one ring of every target.
    pub rings: Vec<RingDocument>,
    /// How fast each ring reaches the limit.
    pub ramp: Ramp,
    /// That it is done at once, and why outside windows; null of any other rollout.
    pub urgent: Option<Urgent>,
    /// What every host must show after its run, in this order.
    pub gates: Vec<Gate>,
    /// What the coordinator must be shown after every ring, in this order.
    pub ring_gates: Vec<Gate>,
    /// What becomes of a host that would now do something else than was planned.
    pub on_superseded: OnSuperseded,
}

/// A ring as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RingDocument {
    /// Its name.
    pub name: String,
    /// Which of the targets.
    pub selects: TargetsDocument,
    /// How many of its hosts may have begun in each step; empty: all at once.
    pub steps: Vec<Limit>,
    /// Between a step's settling and the next step.
    pub wait_seconds: u64,
    /// Between its settling and the next ring.
    pub bake_seconds: u64,
    /// How many operators must approve before it begins.
    pub approvals: u8,
}

impl From<&Targets> for TargetsDocument {
    fn from(targets: &Targets) -> Self {
        let mut document = Self::default();
        match targets {
            Targets::All => document.all = Some(true),
            Targets::Names(names) => document.names = Some(names.iter().cloned().collect()),
            Targets::Labels(labels) => document.selector = Some(SelectorDocument { match_labels: labels.clone() }),
            Targets::Matching(selector) => document.matching = Some(selector.clone()),
            Targets::Groups(groups) => document.patch_groups = Some(groups.iter().cloned().collect()),
        }
        document
    }
}

impl TryFrom<TargetsDocument> for Targets {
    type Error = SpecDocumentError;

    fn try_from(document: TargetsDocument) -> Result<Self, SpecDocumentError> {
        let TargetsDocument { all, names, selector, matching, patch_groups } = document;
        let labels = selector.map(|selector| TagsText { match_labels: selector.match_labels });
        TargetsText { all, names, selector: labels, matching, patch_groups }
            .targets()
            .map_err(|_| SpecDocumentError::Targets)
    }
}

impl From<&RingSpec> for RingDocument {
    fn from(ring: &RingSpec) -> Self {
        Self {
            name: ring.name.clone(),
            selects: TargetsDocument::from(&ring.selects),
            steps: ring.steps.clone(),
            wait_seconds: ring.wait.as_secs(),
            bake_seconds: ring.bake.as_secs(),
            approvals: ring.approvals,
        }
    }
}

impl TryFrom<RingDocument> for RingSpec {
    type Error = SpecDocumentError;

    fn try_from(document: RingDocument) -> Result<Self, SpecDocumentError> {
        Ok(Self {
            name: document.name,
            selects: document.selects.try_into()?,
            steps: document.steps,
            wait: Duration::from_secs(document.wait_seconds),
            bake: Duration::from_secs(document.bake_seconds),
            approvals: document.approvals,
        })
    }
}

/// Why a [`SpecDocument`] is no rollout.
#[derive(Debug, thiserror::Error)]
pub enum SpecDocumentError {
    /// Several of the three ways.
    #[error("at most one of baseline, baselines, snapshot and baselineOverride can be given")]
    Baselines,
    /// None or several of the three ways.
    #[error("targets, and every ring, must hold exactly one of all: true, names, selector, matching and patchGroups")]
    Targets,
    /// A value.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// What people note.
    #[error("labels: {0}")]
    Labels(#[from] LabelError),
}

impl From<&RolloutSpec> for SpecDocument {
    fn from(spec: &RolloutSpec) -> Self {
        Self {
            name: spec.name.clone(),
            labels: Labels::new(),
            operation: spec.operation,
            targets: TargetsDocument::from(&spec.targets),
            baseline: match &spec.baseline {
                Asked::All => Some("all".to_owned()),
                Asked::Security => Some("security".to_owned()),
                Asked::Baseline(name) => Some(name.clone()),
                Asked::Group | Asked::Snapshot(_) | Asked::Override(_) | Asked::Systems(_) => None,
            },
            baselines: if let Asked::Systems(names) = &spec.baseline { Some(names.clone()) } else { None },
            snapshot: if let Asked::Snapshot(id) = &spec.baseline { Some(id.clone()) } else { None },
            baseline_override: if let Asked::Override(text) = &spec.baseline { Some(text.clone()) } else { None },
            install_override_list: spec.install_list.clone(),
            max_concurrency: spec.max_concurrency.clone(),
            max_errors: spec.max_errors.clone(),
            openings: spec.openings.iter().copied().map(OpeningDocument::from).collect(),
            windows: spec.windows.clone(),
            blackouts: spec.blackouts.iter().copied().map(BlackoutDocument::from).collect(),
            reboot: spec.reboot,
            hook_timeout_seconds: spec.hook_timeout.as_secs(),
            on_hook_failure: spec.on_hook_failure,
            rings: spec.rings.iter().map(RingDocument::from).collect(),
            ramp: spec.ramp,
            urgent: spec.urgent.clone(),
            gates: spec.gates.clone(),
            ring_gates: spec.ring_gates.clone(),
            on_superseded: spec.on_superseded,
        }
    }
}

impl SpecDocument {
    /// `spec`, with what people note of it.
    pub fn labelled(spec: &RolloutSpec, labels: Labels) -> Self {
        Self { labels, ..Self::from(spec) }
    }
}

impl TryFrom<SpecDocument> for RolloutSpec {
    type Error = SpecDocumentError;

    fn try_from(document: SpecDocument) -> Result<Self, SpecDocumentError> {
        let baseline = match (document.baseline, document.baselines, document.snapshot, document.baseline_override) {
            (Some(name), None, None, None) => match name.as_str() {
                "all" => Asked::All,
                "security" => Asked::Security,
                _ => Asked::Baseline(name),
            },
            (None, Some(names), None, None) => Asked::Systems(names),
            (None, None, Some(id), None) => Asked::Snapshot(id),
            (None, None, None, Some(text)) => Asked::Override(text),
            (None, None, None, None) => Asked::Group,
            _ => return Err(SpecDocumentError::Baselines),
        };
        let spec = Self {
            name: document.name,
            operation: document.operation,
            targets: document.targets.try_into()?,
            baseline,
            install_list: document.install_override_list,
            max_concurrency: document.max_concurrency,
            max_errors: document.max_errors,
            openings: document.openings.into_iter().map(Into::into).collect(),
            windows: document.windows,
            blackouts: document.blackouts.into_iter().map(Into::into).collect(),
            reboot: document.reboot,
            hook_timeout: Duration::from_secs(document.hook_timeout_seconds),
            on_hook_failure: document.on_hook_failure,
            rings: document.rings.into_iter().map(RingSpec::try_from).collect::<Result<_, _>>()?,
            ramp: document.ramp,
            urgent: document.urgent,
            gates: document.gates,
            ring_gates: document.ring_gates,
            on_superseded: document.on_superseded,
        };
        spec.check()?;
        labels::check(&document.labels)?;
        Ok(spec)
    }
}

/// A removal that the plan contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version.
    pub version: String,
}

/// How long a host is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// Half of the runs are shorter; null if unknown.
    pub p50: Option<u64>,
    /// 95 of 100 runs are shorter; null if unknown.
    pub p95: Option<u64>,
}

/// What would be done on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanHost {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// The closed list, new packages included (`from` is null), by (name, arch).
    pub install: Vec<PackageChange>,
    /// Those of `install` that are new.
    pub new_packages: Vec<PackageChange>,
    /// Empty unless removals were allowed.
    pub removals: Vec<Removal>,
    /// Whether it reboots.
    pub reboot: RebootOption,
    /// How long it is expected to take.
    pub estimate_seconds: Estimate,
}

impl PlanHost {
    /// What `transaction` would do on `host`.
    pub fn new(host: String, node_id: String, transaction: &Transaction, reboot: RebootOption) -> Self {
        let removal =
            |r: &PackageRemoval| Removal { name: r.name.clone(), arch: r.arch.clone(), version: r.version.clone() };
        Self {
            host,
            node_id,
            install: transaction.changes.clone(),
            new_packages: transaction.new_packages().cloned().collect(),
            removals: transaction.removals.iter().map(removal).collect(),
            reboot,
            estimate_seconds: Estimate::default(),
        }
    }

    /// The transaction that a lease carries.
    pub fn transaction(&self) -> Transaction {
        let removal =
            |r: &Removal| PackageRemoval { name: r.name.clone(), arch: r.arch.clone(), version: r.version.clone() };
        let mut transaction =
            Transaction { changes: self.install.clone(), removals: self.removals.iter().map(removal).collect() };
        transaction.changes.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        transaction.removals.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        transaction
    }
}

/// Hosts that go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRing {
    /// Its name; `all` if the rollout asks for no rings.
    pub name: String,
    /// How many of its hosts may have begun in each step, as given and resolved. The last one is all of them.
    pub steps: Vec<LimitDocument>,
    /// Between a step's settling and the next step.
    pub wait_seconds: u32,
    /// Between its settling and the next ring.
    pub bake_seconds: u32,
    /// How many operators must approve before it begins.
    pub approvals: u8,
    /// In the order in which they start: by name, but those that their services start last come last.
    pub hosts: Vec<PlanHost>,
}

impl PlanRing {
    /// `ring` with its hosts, in the order in which they start.
    pub fn new(ring: PlannedRing, hosts: Vec<PlanHost>) -> Self {
        let step = |step: ResolvedLimit| LimitDocument { given: step.given, resolved: step.resolved };
        Self {
            name: ring.name,
            steps: ring.steps.into_iter().map(step).collect(),
            wait_seconds: ring.wait,
            bake_seconds: ring.bake,
            approvals: ring.approvals,
            hosts,
        }
    }
}

/// Why a host is not moving, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitingDocument {
    /// A stable kebab-case word.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// What would change it; null if nothing but time does.
    pub command: Option<String>,
}

/// A targeted host that the plan leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Excluded {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex; null if no such host was ever heard.
    pub node_id: Option<String>,
    /// Why.
    pub waiting: WaitingDocument,
}

/// Another rollout that has hosts of a plan, and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimDocument {
    /// Its id.
    pub rollout: String,
    /// Its name.
    pub name: String,
    /// The hosts that it has not begun with, or is at work on; by name.
    pub hosts: Vec<String>,
}

/// `patchmesh.plan/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// SHA-256 over the canonical form without `hash`, `createdAt` and `expiresAt`.
    pub hash: String,
    /// Name of the rollout.
    pub rollout: String,
    /// When it was made.
    pub created_at: Time,
    /// When it is stale.
    pub expires_at: Time,
    /// The id under which the versions of an Install are kept; null for a Scan, and where they take more than a snapshot may.
    pub snapshot: Option<String>,
    /// The id of the snapshot by which the hosts judge; null for `all` and `security`.
    pub judged_by: Option<String>,
    /// As given and resolved for the hosts of the plan.
    pub limits: LimitsDocument,
    /// Those of the windows, or those that were asked for, without the blackouts. Empty: from `apply` on, without end.
    pub openings: Vec<OpeningDocument>,
    /// In order.
    pub rings: Vec<PlanRing>,
    /// By name.
    pub excluded: Vec<Excluded>,
    /// Other rollouts that have some of the hosts: a host does one run at a time.
    pub claims: Vec<ClaimDocument>,
    /// What was asked for, with every default written out.
    pub spec: SpecDocument,
}

/// What a plan freezes beside its hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// When work may start; empty means from `apply` on, without end.
    pub openings: Vec<Opening>,
    /// The snapshot by which the hosts judge.
    pub rules: Option<SnapshotId>,
    /// The snapshot of what they resolved; `None` for a Scan, and where it takes more than a snapshot may.
    pub versions: Option<SnapshotId>,
}

impl PlanDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.plan/v1";
    /// A plan with its hash. `hosts` has those of each ring, in order. Limits are resolved for as many hosts as are planned.
    ///
    /// # Errors
    /// [`CanonicalError`] if a number has no canonical form.
    pub fn new(
        spec: &RolloutSpec,
        frozen: Frozen,
        (created_at, expires_at): (Time, Time),
        hosts: Vec<Vec<PlanHost>>,
        mut excluded: Vec<Excluded>,
    ) -> Result<Self, CanonicalError> {
        excluded.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
        let counts: Vec<u32> = hosts.iter().map(|ring| u32::try_from(ring.len()).unwrap_or(u32::MAX)).collect();
        let targets = counts.iter().copied().fold(0, u32::saturating_add);
        let mut hosts = hosts.into_iter();
        let rings = spec.planned_rings(&counts).into_iter();
        let mut plan = Self {
            schema: Self::SCHEMA.to_owned(),
            hash: String::new(),
            rollout: spec.name.clone(),
            created_at,
            expires_at,
            snapshot: frozen.versions.map(|id| id.to_string()),
            judged_by: frozen.rules.map(|id| id.to_string()),
            limits: LimitsDocument::resolve(&spec.max_concurrency, &spec.max_errors, targets),
            openings: frozen.openings.into_iter().map(OpeningDocument::from).collect(),
            rings: rings.map(|ring| PlanRing::new(ring, hosts.next().unwrap_or_default())).collect(),
            excluded,
            claims: Vec::new(),
            spec: SpecDocument::from(spec),
        };
        plan.hash = plan.computed_hash()?;
        Ok(plan)
    }

    /// The same plan, with what people note of it.
    ///
    /// # Errors
    /// [`CanonicalError`] if a number has no canonical form.
    pub fn labelled(mut self, labels: Labels) -> Result<Self, CanonicalError> {
        if self.spec.labels != labels {
            self.spec.labels = labels;
            self.hash = self.computed_hash()?;
        }
        Ok(self)
    }

    /// The same plan, beside `claims` of other rollouts.
    ///
    /// # Errors
    /// [`CanonicalError`] if a number has no canonical form.
    pub fn claimed_by(mut self, claims: Vec<ClaimDocument>) -> Result<Self, CanonicalError> {
        if self.claims != claims {
            self.claims = claims;
            self.hash = self.computed_hash()?;
        }
        Ok(self)
    }

    /// Why nothing of it would start although it can be applied: no opening is as long as the shortest run of a host may take. `None`
    /// while one of them fits, or may: nothing is known of a host that ran nothing like it.
    pub fn warning(&self) -> Option<String> {
        let start = self.created_at.0;
        let length = |one: &OpeningDocument| one.closes.0.0.saturating_sub(one.opens.0.max(start).0).max(0) / 1000;
        let longest = u64::try_from(self.openings.iter().map(length).max()?).ok()?;
        let work = self.hosts().map(|host| host.estimate_seconds.p95).filter(|needs| *needs != Some(0));
        let shortest = work.collect::<Option<Vec<u64>>>()?.into_iter().min().filter(|needs| *needs > longest)?;
        Some(format!(
            "nothing would start: the longest opening has {longest} s, and by its earlier runs every host that has something to do \
             needs at least {shortest} s"
        ))
    }

    /// The hash that this document should carry.
    ///
    /// # Errors
    /// [`CanonicalError`] if a number has no canonical form.
    pub fn computed_hash(&self) -> Result<String, CanonicalError> {
        canonical::hash(self, &["hash", "createdAt", "expiresAt"])
    }

    /// What a lease of this plan is judged by; `None` if the document does not say.
    pub fn approval(&self, asked: &Asked) -> Option<Approval> {
        match (asked.plain(), &self.judged_by) {
            (Some(plain), None) => Some(plain),
            (None, Some(id)) => SnapshotId::parse(id).map(Approval::Snapshot),
            _ => None,
        }
    }

    /// Every host, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &PlanHost> {
        self.rings.iter().flat_map(|ring| &ring.hosts)
    }

    /// Whether applying it would change any host.
    pub fn has_changes(&self) -> bool {
        self.hosts().any(|host| !host.install.is_empty() || !host.removals.is_empty())
    }
}
