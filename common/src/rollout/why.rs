//! Why a host, a rollout or a patch is where it is, as a chain of causes: the newest first, each with the command that would
//! change it, each but the first the cause of one before it. Reads the ledger and what is known beside it, decides nothing.
//!
//! The chain is never empty for something that is not done: a property test over random fleets demands it.

mod fleet;
mod host;
mod replan;
mod roots;

use crate::{
    gossip::NodeRecord,
    id::{NodeId, RolloutId},
    run::message::Outcome,
    time::{BootTime, Now, WallTime},
};

use core::time::Duration;

use super::{
    ledger::{Ledger, Progress, RolloutState},
    limit::based,
    plan::ResolvedLimit,
    planner::Desk,
    replan::asked_by,
    slots::{Slot, slots},
};

/// Hosts that one cause names; the rest is counted.
pub const MAX_NAMED: usize = 5;
/// Rollouts that a chain tells of: the newest that explain anything.
pub const MAX_ROLLOUTS: usize = 8;

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// A stable kebab-case word.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// Since when; `None` if nobody wrote it down.
    pub at: Option<WallTime>,
    /// What would change it: a command, or what to do where no command does it. `None` if nothing but time does.
    pub command: Option<String>,
}

/// What the mesh has of a host.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Its own record.
    pub record: &'a NodeRecord,
    /// Whether it is heard.
    pub alive: bool,
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What was permitted and what came of it.
    pub ledger: &'a Ledger,
    /// What is known beside it.
    pub desk: &'a Desk,
    /// The coordinator's clocks.
    pub now: Now,
}

impl Cause {
    fn new(code: &str, text: impl Into<String>, at: Option<WallTime>, command: Option<String>) -> Self {
        Self { code: code.to_owned(), text: text.into(), at, command }
    }
}

impl<'a> Scene<'a> {
    /// The wall time of something that happened at `boot`, by the clocks of now.
    fn wall(&self, boot: BootTime) -> WallTime {
        let ago = i64::try_from(self.now.boot.since(boot).as_millis()).unwrap_or(i64::MAX);
        WallTime(self.now.wall.0.saturating_sub(ago))
    }

    /// When `node` was last heard; `None` if it never was.
    fn heard_at(&self, node: &NodeId) -> Option<WallTime> {
        self.desk.contacts.get(node)?.last
    }

    /// Every held slot, with the silence of hosts that were last heard before this process started.
    fn slots(&self) -> Vec<Slot> {
        let mut slots = slots(self.ledger, self.desk, self.now.boot);
        for slot in &mut slots {
            let quiet =
                self.heard_at(&slot.host).map(|heard| self.now.wall.0.saturating_sub(heard.0).max(0).unsigned_abs());
            slot.silent = quiet
                .map(Duration::from_millis)
                .filter(|_| slot.silent != Duration::MAX)
                .map_or(slot.silent, |quiet| quiet.max(slot.silent));
        }
        slots
    }

    /// Every rollout, the newest first.
    fn newest_first(&self) -> Vec<(RolloutId, &'a RolloutState)> {
        let mut rollouts: Vec<_> = self.ledger.rollouts.iter().map(|(id, state)| (*id, state)).collect();
        rollouts.sort_by_key(|(id, state)| core::cmp::Reverse((state.started_at, *id)));
        rollouts
    }

    /// The root of every chain: that somebody asked for it.
    fn applied(&self, id: RolloutId, state: &RolloutState) -> Cause {
        let plan = &state.plan;
        let text = format!(
            "rollout {} was applied by {}: {}, {} at once, halts if more than {} fail{}",
            plan.name,
            asked_by(self.ledger, state),
            hosts(plan.hosts.len()),
            limit(&plan.max_concurrency, plan.hosts.len()),
            limit(&plan.max_errors, plan.hosts.len()),
            plan.because.as_ref().map(|because| format!("; outside of windows: {because}")).unwrap_or_default(),
        );
        Cause::new("applied", text, Some(state.started_at), Some(format!("patchmesh rollout status {id}")))
    }
}

/// The command that releases the slot of the host `name`.
pub fn release_command(name: &str) -> String {
    format!("patchmesh slots release {name} --because TEXT")
}

/// Whether the rollout has nothing more to do on the host at `at`, and it went well.
fn is_done(state: &RolloutState, at: usize) -> bool {
    let host = &state.hosts[at];
    match host.progress {
        Progress::Skipped => true,
        Progress::Reported => host.report.as_ref().is_some_and(|report| report.outcome == Outcome::Succeeded),
        _ => false,
    }
}

fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

/// What it is, and of what if it was written as a share.
fn limit(limit: &ResolvedLimit, of: usize) -> String {
    based(&limit.given, limit.resolved, of)
}

/// The first of them by name, and how many more.
fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    let shown = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
