//! HTTP + JSON over a unix socket: what the service answers and what every client speaks.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/hosts` | | `patchmesh.hosts/v1` |
//! | `GET /v1/hosts/NAME` | | `patchmesh.host/v1` |
//! | `GET /v1/hosts/NAME/why` | | `patchmesh.why/v1` |
//! | `GET /v1/hosts/NAME/patches` | | `patchmesh.patches/v1`; asks the host |
//! | `GET /v1/hosts/NAME/history` | | `patchmesh.history/v1`; asks the host |
//! | `GET /v1/compliance?selector=SELECTOR` | | `patchmesh.compliance/v1` |
//! | `POST /v1/plans` | a spec, as in the plan's member `spec` | `patchmesh.plan/v1` |
//! | `GET /v1/plans` | | `patchmesh.surveys/v1`: whose answers the plans that are being made wait for |
//! | `POST /v1/rollouts` | `patchmesh.plan/v1` | `patchmesh.applied/v1` |
//! | `GET /v1/rollouts` | | `patchmesh.rollouts/v1` |
//! | `GET /v1/rollouts/ID` | | `patchmesh.rollout/v1` |
//! | `GET /v1/rollouts/ID/steps` | | `patchmesh.steps/v1` |
//! | `GET /v1/rollouts/ID/steps/HOST` | | `patchmesh.steps/v1` of one host |
//! | `GET /v1/rollouts/ID/watch` | | one JSON document per line, the recap last |
//! | `POST /v1/rollouts/ID/{pause,resume,stop}` | | `patchmesh.rollout/v1` |
//! | `POST /v1/rollouts/ID/verdicts` | `{"verdict": HEX}`: an operator's sealed word on a ring | `patchmesh.rollout/v1` |
//! | `GET /v1/orders` | | `patchmesh.orders/v1` |
//! | `POST /v1/orders` | `{"order": HEX}`: a sealed STOP or resume | `patchmesh.stop/v1` |
//! | `GET /v1/orders/{all,ROLLOUT}` | | `patchmesh.stop/v1` |
//! | `GET /v1/slots` | | `patchmesh.slots/v1` |
//! | `POST /v1/slots/HOST/release` | `by`, `because`, `evenIfHeard` | `patchmesh.release/v1` |
//! | `GET /v1/baselines` | | `patchmesh.baselines/v1` |
//! | `GET /v1/baselines/NAME` | | `patchmesh.baseline/v1` |
//! | `PUT /v1/baselines/NAME` | a manifest of kind `PatchBaseline` | `patchmesh.changed/v1` |
//! | `DELETE /v1/baselines/NAME` | | `patchmesh.changed/v1` |
//! | `POST /v1/baselines/NAME/default` | | `patchmesh.changed/v1` |
//! | `GET /v1/groups` | | `patchmesh.groups/v1` |
//! | `POST /v1/groups/GROUP/{register,deregister}` | `baseline`, `operatingSystem` | `patchmesh.changed/v1` |
//! | `GET /v1/services` | | `patchmesh.services/v1` |
//! | `GET /v1/services/NAME` | | `patchmesh.service/v1` |
//! | `PUT /v1/services/NAME` | the manifest's spec | `patchmesh.kept/v1` |
//! | `DELETE /v1/services/NAME` | | `patchmesh.kept/v1` |
//! | `GET /v1/windows` | | `patchmesh.window-list/v1` |
//! | `GET /v1/windows/NAME` | | `patchmesh.window/v1` |
//! | `PUT /v1/windows/NAME` | a manifest of kind `MaintenanceWindow` | `patchmesh.kept/v1` |
//! | `DELETE /v1/windows/NAME` | | `patchmesh.kept/v1` |
//! | `GET /v1/policies` | | `patchmesh.policies/v1` |
//! | `GET /v1/policies/NAME` | | `patchmesh.policy/v1` |
//! | `PUT /v1/policies/NAME` | a manifest of kind `PatchPolicy` | `patchmesh.kept/v1` |
//! | `DELETE /v1/policies/NAME` | | `patchmesh.kept/v1` |
//! | `GET /v1/snapshots` | | `patchmesh.snapshots/v1` |
//! | `GET /v1/snapshots/ID` | | `patchmesh.snapshot/v1`; the beginning of an id will do |
//!
//! `ID` is an id or a name. Every error is a `patchmesh.error/v1` document; its member `exit` is the CLI's exit code.

pub mod canonical;
pub mod client;
pub mod document;
mod kept;
pub mod server;
pub mod verdicts;
pub mod who;

use std::{future::Future, pin::Pin, sync::Arc};

use patchmesh_common::{
    rollout::{approval::SignedVerdict, intent::Intent, service::ServiceSpec, spec::RolloutSpec},
    run::message::{SignedStop, StopScope},
    selector::Selector,
};
use tokio::sync::mpsc;

use self::canonical::CanonicalError;
use self::document::{
    AppliedDocument, CommandDocument, CommandsDocument, ComplianceDocument, HistoryDocument, HostDocument,
    HostsDocument, KeptDocument, OrdersDocument, PatchesDocument, PlanDocument, PoliciesDocument, PolicyDocument,
    ReleaseDocument, ReleaseRequest, RolloutDocument, RolloutsDocument, ServiceDocument, ServicesDocument,
    SlotsDocument, StepsDocument, StopDocument, SurveysDocument, WatchEvent, WhyDocument, WindowDocument,
    WindowListDocument,
};
use crate::{
    fault::{Exit, Fault},
    snapshots::Snapshots,
    store::Store,
};

/// Where a host's daemon answers if its state is where it usually is.
pub const DAEMON_SOCKET: &str = "/var/lib/patchmesh/daemon.sock";
/// Where `patchmesh serve` listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/patchmesh/api.sock";
/// Largest request or answer body, in bytes. A plan for 1,000 hosts with 300 packages each takes about 50 MB.
pub const MAX_BODY: usize = 64 << 20;
/// Events that one watcher may be behind. A watcher that is slower loses events, never the recap.
pub const WATCH_QUEUE: usize = 256;

/// An answer that is being worked out.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// What the API can be asked. The server knows nothing else of the coordinator.
///
/// Methods may be called at the same time. A [`Fault`] travels to the client as it is, with its exit code.
pub trait Service: Send + Sync + 'static {
    /// Every known host.
    fn hosts(&self) -> Answer<'_, HostsDocument>;

    /// One host by name. [`not_found`] if there is none.
    fn host(&self, name: String) -> Answer<'_, HostDocument>;

    /// What the reports of the hosts that `selector` admits say in short.
    fn compliance(&self, selector: Selector) -> Answer<'_, ComplianceDocument>;

    /// Asks one host for its report.
    fn patches(&self, name: String) -> Answer<'_, PatchesDocument>;

    /// Asks one host for its report and those before it, in short.
    fn history(&self, name: String) -> Answer<'_, HistoryDocument>;

    /// Why one host is where it is.
    fn why_host(&self, name: String) -> Answer<'_, WhyDocument>;

    /// Why one rollout, by id or name (the newest of that name), is where it is.
    fn why_rollout(&self, id: String) -> Answer<'_, WhyDocument>;

    /// Why a package is not on every host for which a rollout planned it.
    fn why_patch(&self, name: String) -> Answer<'_, WhyDocument>;

    /// Asks every target to resolve, and freezes what they say. Changes nothing. `spec` has passed its own check.
    fn plan(&self, spec: RolloutSpec) -> Answer<'_, PlanDocument>;

    /// The plans that are being made, and whose answers they wait for.
    fn surveys(&self) -> Answer<'_, SurveysDocument>;

    /// Asks the targets of `plan` again, and refuses with exit 6 and what moved if they would not do any more what it says. A plan
    /// that is already a rollout is not asked about.
    fn recheck(&self, plan: PlanDocument) -> Answer<'_, ()>;

    /// Starts what `plan` froze, in the name of `by`. The plan's schema, spec and hash have been checked;
    /// whether it expired has not. Applying a plan (by hash) that is already a rollout starts nothing, and answers that rollout's id again.
    fn apply(&self, plan: PlanDocument, by: String) -> Answer<'_, AppliedDocument>;

    /// Every rollout of the ledger.
    fn rollouts(&self) -> Answer<'_, RolloutsDocument>;

    /// One rollout by id or name (the newest of that name).
    fn rollout(&self, id: String) -> Answer<'_, RolloutDocument>;

    /// The steps that the hosts of a rollout reported, or only those of `host`, a name or a key.
    fn steps(&self, id: String, host: Option<String>) -> Answer<'_, StepsDocument>;

    /// Every rollout as a command.
    fn commands(&self) -> Answer<'_, CommandsDocument>;

    /// One rollout by id or name as a command, with every target and its steps.
    fn command(&self, id: String) -> Answer<'_, CommandDocument>;

    /// What happens in a rollout from now on. Starts with a progress document; ends with the recap, after which the sender
    /// is dropped. The queue holds [`WATCH_QUEUE`]; a full one must not block the coordinator.
    fn watch(&self, id: String) -> Answer<'_, mpsc::Receiver<WatchEvent>>;

    /// Nothing new starts until `resume`. Answers once it is in the ledger.
    fn pause(&self, id: String, by: String) -> Answer<'_, RolloutDocument>;

    /// Ends a pause.
    fn resume(&self, id: String, by: String) -> Answer<'_, RolloutDocument>;

    /// Ends the rollout: nothing new starts, hosts at work begin no further disruptive step.
    fn stop(&self, id: String, by: String) -> Answer<'_, RolloutDocument>;

    /// Takes an operator's word on a ring. Nothing of it has been checked. Answers once it is in the ledger.
    fn verdict(&self, id: String, signed: SignedVerdict) -> Answer<'_, RolloutDocument>;

    /// The STOPs and resumes that this member knows.
    fn orders(&self) -> Answer<'_, OrdersDocument>;

    /// Hands a STOP or a resume to the mesh. Nothing of it has been checked.
    fn order(&self, signed: SignedStop) -> Answer<'_, StopDocument>;

    /// How the winning order of a scope stands.
    fn standing(&self, scope: StopScope) -> Answer<'_, StopDocument>;

    /// Every held slot.
    fn slots(&self) -> Answer<'_, SlotsDocument>;

    /// Every service.
    fn services(&self) -> Answer<'_, ServicesDocument>;

    /// One service by name. [`not_found`] if there is none.
    fn service(&self, name: String) -> Answer<'_, ServiceDocument>;

    /// Keeps a service, of which nothing has been checked. Answers once it is in the ledger.
    fn keep_service(&self, spec: ServiceSpec, by: String) -> Answer<'_, KeptDocument>;

    /// Drops a service. Answers once it is in the ledger.
    fn drop_service(&self, name: String, by: String) -> Answer<'_, KeptDocument>;

    /// Saves what `by` is about to change in the store. Answers once it is in the ledger.
    fn intend(&self, intent: Intent, by: String) -> Answer<'_, ()>;

    /// What is kept of baselines and patch groups.
    fn store(&self) -> Arc<Store>;

    /// The snapshots that are kept.
    fn snapshots(&self) -> Snapshots;

    /// Every maintenance window, with its next opening and what became of its tasks.
    fn windows(&self) -> Answer<'_, WindowListDocument>;

    /// One maintenance window by name. [`not_found`] if there is none.
    fn window(&self, name: String) -> Answer<'_, WindowDocument>;

    /// Every policy, with its next run and what became of the last one.
    fn policies(&self) -> Answer<'_, PoliciesDocument>;

    /// One policy by name. [`not_found`] if there is none.
    fn policy(&self, name: String) -> Answer<'_, PolicyDocument>;

    /// Frees the slot of `host`, a name or a key. Answers once it is in the ledger.
    fn release(&self, host: String, asked: ReleaseRequest) -> Answer<'_, ReleaseDocument>;
}

/// The code of [`not_found`].
pub const NOT_FOUND: &str = "not-found";

/// The fault for a name that nobody has.
pub fn not_found(kind: &str, name: &str) -> Fault {
    let name: String = name.chars().take(MAX_ECHO).collect();
    Fault::new(
        NOT_FOUND,
        format!("there is no {kind} {name:?}"),
        "nothing was changed",
        match kind.strip_suffix('y') {
            Some(stem) => format!("see patchmesh get {stem}ies"),
            None => format!("see patchmesh get {kind}s"),
        },
    )
}

/// Longest echo of what a client sent, in characters.
const MAX_ECHO: usize = 80;

/// The fault for a plan whose hash cannot be made.
pub(crate) fn uncanonical(error: CanonicalError) -> Fault {
    Fault::new("plan-not-canonical", "the plan has no canonical form", "nothing was planned", "report this")
        .because(error)
}

/// The fault for a request that no version of the API takes.
pub(crate) fn bad_request(message: impl Into<String>) -> Fault {
    Fault::new("bad-request", message, "nothing was changed", "use a patchmesh of the service's version")
        .exit(Exit::Error)
}
