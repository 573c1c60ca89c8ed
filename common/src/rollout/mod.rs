//! Intent and permission: what a rollout wants, and what the coordinator may grant.
//!
//! `spec` is what was asked for, `survey` asks the hosts, `plan` is the frozen intent, `ledger` what was permitted and what
//! came of it, `planner` the one function that says what may happen next and why the rest waits, `controller` the machine
//! around it, `ring` which hosts go before which, `ring_gate` what must be shown in between, `approval` what operators say about that, `service` what must stay up and
//! `availability` whether it does, `probe` what its members show of themselves, `estimate` how long hosts take, `hook_failure` what a failed hook means for all of them,
//! `claim` which other rollouts have them, `moved` what changed since
//! a plan was made, `witness` asks since when versions exist, `slots` who holds what and may be released by name, `silence` when a
//! host is lost, `reboot` when a host reboots, `policy` what comes again and again, `task` what is done in a window, `attempts` what
//! of both is to be started and `started` what was, `replan` what is planned again because versions moved, `urgent` what cannot wait,
//! `why` the chain of causes behind a host, rollout or patch that is not done, `status` how all that is called by AWS,
//! `intent` what operators keep beside rollouts, `check` the
//! judge that knows the rules of a valid ledger and
//! nothing about how it was made, `chain` how its entries hang together, `audit` both over a real one.

pub mod approval;
pub mod attempts;
pub mod audit;
pub mod availability;
pub mod chain;
pub mod check;
pub mod claim;
pub mod controller;
pub mod estimate;
pub mod hook_failure;
pub mod intent;
mod lease;
pub mod ledger;
pub mod limit;
pub mod moved;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod probe;
pub mod reboot;
pub mod replan;
pub mod ring;
pub mod ring_gate;
pub mod service;
pub mod silence;
pub mod slots;
pub mod spec;
pub mod started;
pub mod status;
pub mod survey;
pub mod task;
pub mod urgent;
pub mod waiting;
pub mod why;
pub mod witness;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use hook_failure::OnHookFailure;
pub use reboot::RebootOption;

/// The only two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Report what is missing, change nothing.
    Scan,
    /// Scan, install what is approved, reboot as asked.
    Install,
}

/// What becomes of a host that would now do something else than its plan froze: a newer version is offered, or the planned one is
/// gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnSuperseded {
    /// It is left out: refused for good.
    Skip,
    /// It is asked again until its versions are there again, or an operator stops the rollout; its step and ring wait with it.
    Wait,
    /// It is left out, and when the rollout has ended the same is planned again as another one, from the first ring on: see
    /// [`replan`].
    Replan,
}
