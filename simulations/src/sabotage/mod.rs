//! Wrappers that edit what machines hear and say, so that a promise breaks: the proof that the observers see.

use patchmesh_common::{
    gossip,
    id::NodeId,
    poison::Poison,
    rollout::{controller, ledger::Ledger},
    run::machine,
    time::WallTime,
};

/// Edits events before a machine hears them, and effects before they are performed.
pub trait Sabotage {
    /// Before a host's run hears it.
    fn host_event(&mut self, _event: &mut machine::Event) {}
    /// After a host's run has answered. What is returned is heard without being saved.
    fn host_effects(&mut self, _me: NodeId, _effects: &mut Vec<machine::Effect>) -> Option<machine::Event> {
        None
    }
    /// Before a coordinator hears it.
    fn desk_event(&mut self, _event: &mut controller::Event) {}
    /// Before a coordinator's effects are performed.
    fn desk_effects(&mut self, _effects: &mut Vec<controller::Effect>) {}
    /// When a coordinator asks what of its policies is due: what it reads instead of its ledger.
    fn due_ledger(&mut self) -> Option<Ledger> {
        None
    }
    /// The same: since when it takes a policy for kept that is kept since `since`. Its process began at `began`.
    fn due_since(&self, since: WallTime, _began: WallTime) -> WallTime {
        since
    }
    /// When a daemon starts: what is remembered of earlier lives' deaths.
    fn remembered(&mut self, _poison: &mut Poison) {}
    /// Before a host's mesh hears it.
    fn mesh_event(&mut self, _event: &mut gossip::Event) {}
}

mod desk;
mod gates;
mod host;
mod mesh;
mod stage;

use crate::scenario::Scenario;

/// One sabotage.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The promise that it breaks, and that must catch it.
    pub promise: &'static str,
    /// What it does.
    pub what: &'static str,
    make: fn() -> Box<dyn Sabotage>,
    stage: fn() -> Scenario,
}

impl Entry {
    /// A fresh one.
    pub fn make(&self) -> Box<dyn Sabotage> {
        (self.make)()
    }

    /// A world in which it bites, whatever the seed.
    pub fn scenario(&self) -> Scenario {
        (self.stage)()
    }
}

macro_rules! entry {
    ($name:literal, $promise:literal, $what:literal, $make:expr, $stage:ident) => {
        Entry { name: $name, promise: $promise, what: $what, make: || Box::new($make), stage: stage::$stage }
    };
}

/// Every sabotage, by promise.
pub const ALL: &[Entry] = &[
    entry!("progress-frees-slots", "concurrency", "a sign of life is heard as a refusal", desk::ProgressFrees, wave),
    entry!(
        "fleet-unheard",
        "concurrency",
        "a coordinator never hears how many hosts of the fleet may be at work",
        desk::FleetUnheard,
        limited
    ),
    entry!("tags-unread", "availability", "the coordinator reads no host's tags", desk::TagsUnread, serving),
    entry!("probes-unread", "availability", "whatever a probe shows is read as good", desk::ProbesUnread, ailing),
    entry!("endless-openings", "window", "hosts read every opening as endless", host::EndlessOpenings, closing),
    entry!("failures-hidden", "errors", "the coordinator reads failures as successes", desk::FailuresHidden, failing),
    entry!(
        "hook-failures-renamed",
        "errors",
        "the coordinator reads the failure of a hook as another one",
        desk::HookFailuresRenamed,
        halting_hook
    ),
    entry!("rings-forgotten", "order", "the coordinator reads every plan as one ring", desk::RingsForgotten, ringed),
    entry!(
        "pauses-skipped",
        "order",
        "the coordinator reads no wait and no bake in a plan",
        desk::PausesSkipped,
        ringed
    ),
    entry!(
        "approvals-assumed",
        "order",
        "the coordinator reads every ring as approved",
        desk::ApprovalsAssumed,
        ringed
    ),
    entry!(
        "ring-gate-ignored",
        "order",
        "whatever the gates of a ring show is read as good",
        desk::RingGateIgnored,
        sick
    ),
    entry!(
        "ring-gate-early",
        "order",
        "the gates of a ring are asked when it settles, and the answer is told after its bake",
        gates::AskedEarly::default(),
        sickening
    ),
    entry!(
        "last-ring-unasked",
        "order",
        "the gates of the last ring are read as good without being asked",
        gates::LastUnasked::default(),
        sick_at_last
    ),
    entry!("gate-ignored", "order", "whatever a gate shows is read as good", host::GateIgnored, unwell),
    entry!("hooks-never-fail", "hooks", "the end of every hook is read as good", host::HooksNeverFail, failing_hook),
    entry!("packages-unchecked", "exactness", "what is installed is not compared", host::PackagesUnchecked, failing),
    entry!("epochs-unsaved", "fencing", "hosts do not save the epoch that they obey", host::EpochsUnsaved, wave),
    entry!(
        "releases-forgotten",
        "fencing",
        "a released lease goes on as if nothing had been saved",
        host::ReleasesForgotten::default(),
        released
    ),
    entry!(
        "copies-unmarked",
        "fencing",
        "a coordinator takes every store for the one that it left",
        desk::CopiesUnmarked,
        copied
    ),
    entry!(
        "rival-unseen",
        "fencing",
        "whoever hears of another's epoch opens a new one at once",
        desk::RivalUnseen::default(),
        copied
    ),
    entry!("records-rewritten", "authorship", "records are changed on their way", mesh::RecordsRewritten, wave),
    entry!(
        "reports-unsaved",
        "durability",
        "reports are acknowledged and not saved",
        desk::ReportsUnsaved,
        all_at_once
    ),
    entry!(
        "runners-forgotten",
        "durability",
        "a runner that works is taken for one that never started",
        host::RunnersForgotten,
        killed
    ),
    entry!(
        "policy-runs-forgotten",
        "durability",
        "a coordinator reads an empty ledger when it asks what of its policies is due",
        desk::PolicyRunsForgotten,
        recurring
    ),
    entry!("dirt-unseen", "durability", "no host hears that a package database is dirty", host::DirtUnseen, unclean),
    entry!("stops-forgotten", "stop", "a saved STOP is forgotten at once", host::StopsForgotten, stopped),
    entry!(
        "stops-unsaved",
        "stop",
        "a STOP that came over the mesh is confirmed and not saved",
        host::StopsUnsaved,
        all_stopped
    ),
    entry!("go-unsent", "liveness", "no Go ever leaves the coordinator", desk::GoUnsent, wave),
    entry!(
        "aborts-forgotten",
        "liveness",
        "what a daemon died of is forgotten at its next start",
        host::AbortsForgotten,
        poisoned
    ),
    entry!(
        "missed-times-forgotten",
        "liveness",
        "a coordinator takes its policies for kept since its start",
        desk::MissedTimesForgotten,
        missed
    ),
    entry!("safe-mode-unheard", "liveness", "no host's run hears of safe mode", host::SafeModeUnheard, poisoned_twice),
];

/// The sabotage called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}
