//! The promises of the design, one file each. An observer sees every transition of the truth, judges it in constant time, and
//! in small worlds is held against a full recomputation from the hosts' own disks.

mod authorship;
mod availability;
mod concurrency;
mod durability;
mod errors;
mod exactness;
mod fencing;
mod hooks;
mod liveness;
mod order;
mod recurring;
mod stop;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{Epoch, Incarnation, LeaseId, NodeId, RolloutId},
    rollout::ring::Place,
    run::message::StopScope,
    time::WallTime,
};

use crate::truth::{PolicyRun, Spot, Truth};

/// The names, in the order of the design.
pub const PROMISES: [&str; 12] = [
    "concurrency",
    "availability",
    "window",
    "errors",
    "order",
    "hooks",
    "exactness",
    "fencing",
    "authorship",
    "durability",
    "stop",
    "liveness",
];

/// Most violations that are kept: the first one tells the story.
const MAX_VIOLATIONS: usize = 20;

/// One transition, with when and where.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Virtual time in milliseconds.
    pub at: u64,
    /// Where.
    pub spot: Spot,
    /// Whose identity is there.
    pub node: NodeId,
    /// What.
    pub truth: &'a Truth,
    /// Whether the identity ran on two machines at once: a promise to one host cannot be kept to two.
    pub excused: bool,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: &'static str,
    /// Virtual time in milliseconds.
    pub at: u64,
    /// Machines concerned.
    pub spots: Vec<Spot>,
    /// What happened.
    pub text: String,
}

/// Counts checks and keeps violations.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Checks, by promise.
    pub checked: BTreeMap<&'static str, u64>,
    /// Violations, by promise.
    pub broken: BTreeMap<&'static str, u64>,
    /// The first of them, in order.
    pub violations: Vec<Violation>,
}

impl Record {
    /// Demands that `kept` holds.
    pub fn demand(
        &mut self,
        promise: &'static str,
        at: u64,
        spots: &[Spot],
        kept: bool,
        text: impl FnOnce() -> String,
    ) {
        *self.checked.entry(promise).or_default() += 1;
        if kept {
            return;
        }
        *self.broken.entry(promise).or_default() += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { promise, at, spots: spots.to_vec(), text: text() });
        }
    }
}

/// What is on the disks, read in full: for cross-checks in small worlds.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Every machine that has a run journal.
    pub hosts: Vec<HostBook>,
    /// Every coordinator.
    pub desks: Vec<(Spot, DeskBook)>,
}

/// One run journal.
#[derive(Clone, Debug)]
pub struct HostBook {
    /// Where.
    pub spot: Spot,
    /// The lease whose outcome is not fixed.
    pub live: Option<(LeaseId, RolloutId)>,
    /// The highest epoch.
    pub epoch: Option<Epoch>,
    /// The winning orders.
    pub stops: BTreeMap<StopScope, (u64, bool)>,
    /// The view, if the daemon runs.
    pub view: Vec<(NodeId, (Incarnation, u64))>,
}

/// What one ledger says of one rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskRollout {
    /// Who holds a slot, by which lease.
    pub held: BTreeMap<NodeId, LeaseId>,
    /// Whether its leases take hosts down.
    pub disrupts: bool,
    /// How many failed.
    pub failed: u32,
    /// Whether a hook failed that ends it.
    pub hook_failed: bool,
    /// Whether it has latched.
    pub halted: bool,
    /// The step at which it stands.
    pub place: Place,
    /// When the one before settled.
    pub since: Option<WallTime>,
    /// Whether a host of the step was granted.
    pub opened: bool,
    /// Hosts that it let go: they refused for good, were released by name, or are passed over.
    pub gone: BTreeSet<NodeId>,
    /// The last ring in which a host began, or was done.
    pub begun: Option<u16>,
    /// Rings that have shown that all is well, each by which asking.
    pub passed: BTreeMap<u16, u32>,
    /// The run of a policy that it is.
    pub run: Option<PolicyRun>,
}

/// What one ledger says.
pub type DeskBook = BTreeMap<RolloutId, DeskRollout>;

/// One promise, observed.
trait Promise {
    /// Judges a transition.
    fn see(&mut self, seen: Seen<'_>, record: &mut Record);
    /// A coordinator's store was replaced: this is what it says now.
    fn replaced(&mut self, _spot: Spot, _desk: &DeskBook) {}
    /// Every fault has healed, and it is `at`.
    fn overdue(&mut self, _at: u64, _record: &mut Record) {}
    /// What differs between what was counted and what is on the disks; `None` if nothing does.
    fn recount(&self, _books: &Books) -> Option<String> {
        None
    }
}

/// All of them.
pub struct Observers {
    promises: Vec<(&'static str, Box<dyn Promise>)>,
    excused: BTreeSet<NodeId>,
    /// What they found.
    pub record: Record,
}

impl Default for Observers {
    fn default() -> Self {
        let promises: Vec<(&'static str, Box<dyn Promise>)> = vec![
            ("concurrency", Box::<concurrency::Concurrency>::default()),
            ("availability", Box::<availability::Availability>::default()),
            ("window", Box::<window::Window>::default()),
            ("errors", Box::<errors::Errors>::default()),
            ("order", Box::<order::Order>::default()),
            ("hooks", Box::<hooks::Hooks>::default()),
            ("exactness", Box::<exactness::Exactness>::default()),
            ("fencing", Box::<fencing::Fencing>::default()),
            ("authorship", Box::<authorship::Authorship>::default()),
            ("durability", Box::<durability::Durability>::default()),
            ("stop", Box::<stop::Stop>::default()),
            ("liveness", Box::<liveness::Liveness>::default()),
            ("liveness", Box::<recurring::Recurring>::default()),
        ];
        Self { promises, excused: BTreeSet::new(), record: Record::default() }
    }
}

impl Observers {
    /// Shows one transition to everybody who cares.
    pub fn see(&mut self, mut seen: Seen<'_>) {
        let about = match seen.truth {
            Truth::Folded { host, .. } | Truth::Returned { host, .. } | Truth::Released { host, .. } => host,
            _ => &seen.node,
        };
        seen.excused = self.excused.contains(about);
        for (_, promise) in &mut self.promises {
            promise.see(seen, &mut self.record);
        }
    }

    /// An identity runs on two machines from now on.
    pub fn excuse(&mut self, node: NodeId) {
        self.excused.insert(node);
    }

    /// A coordinator's store is another one now.
    pub fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        for (_, promise) in &mut self.promises {
            promise.replaced(spot, desk);
        }
    }

    /// Demands what should have come by now, after the faults have healed.
    pub fn overdue(&mut self, at: u64) {
        for (_, promise) in &mut self.promises {
            promise.overdue(at, &mut self.record);
        }
    }

    /// Holds the counts against the disks. A difference is a fault of an observer, and breaks its promise.
    pub fn recount(&mut self, at: u64, books: &Books) {
        for (name, promise) in &self.promises {
            if let Some(text) = promise.recount(books) {
                self.record.demand(name, at, &[], false, || format!("recount: {text}"));
            }
        }
    }

    /// How a promise is stated.
    pub fn statement(promise: &str) -> &'static str {
        match promise {
            "concurrency" => concurrency::STATEMENT,
            "availability" => availability::STATEMENT,
            "window" => window::STATEMENT,
            "errors" => errors::STATEMENT,
            "order" => order::STATEMENT,
            "hooks" => hooks::STATEMENT,
            "exactness" => exactness::STATEMENT,
            "fencing" => fencing::STATEMENT,
            "authorship" => authorship::STATEMENT,
            "durability" => durability::STATEMENT,
            "stop" => stop::STATEMENT,
            _ => liveness::STATEMENT,
        }
    }
}
