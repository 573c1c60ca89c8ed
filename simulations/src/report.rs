//! What a simulation says about itself: documents, and stories for whoever mends a failure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    chance::Draws,
    invariant::{Observers, PROMISES},
    scenario::Scenario,
    world::{Count, Finish, Outcome},
};

/// How many transitions a story shows.
const SHOWN: usize = 30;

/// Of one promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// How often it was checked.
    pub checked: u64,
    /// How often it was broken.
    pub violations: u64,
}

/// `patchmesh.simulation/v1`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `patchmesh.simulation/v1`.
    pub schema: &'static str,
    /// The seed.
    pub seed: u64,
    /// Hosts at the beginning.
    pub hosts: u32,
    /// The profile, or the scenario's file.
    pub profile: String,
    /// `full`: every host gossips.
    pub gossip: &'static str,
    /// Events that happened.
    pub events: u64,
    /// Virtual time.
    pub virtual_seconds: f64,
    /// Real time.
    pub wall_seconds: f64,
    /// SHA-256 of the canonical trace.
    pub trace_hash: String,
    /// By name.
    pub promises: BTreeMap<&'static str, Checked>,
    /// By name.
    pub faults: BTreeMap<&'static str, Count>,
    /// How it ended.
    pub outcome: Finish,
    /// The command that gives this run again.
    pub reproduce: String,
}

/// What names a run.
#[derive(Clone, Debug)]
pub struct Name {
    /// The seed.
    pub seed: u64,
    /// The profile's word, or the scenario's file.
    pub profile: String,
    /// The command.
    pub reproduce: String,
}

/// The promises of an outcome.
pub fn promises(outcome: &Outcome) -> BTreeMap<&'static str, Checked> {
    let count = |of: &BTreeMap<&'static str, u64>, name| of.get(name).copied().unwrap_or(0);
    let row = |name| {
        let record = &outcome.record;
        (name, Checked { checked: count(&record.checked, name), violations: count(&record.broken, name) })
    };
    PROMISES.into_iter().map(row).collect()
}

impl Document {
    /// The document of one run.
    pub fn new(name: &Name, hosts: u32, outcome: &Outcome, wall_seconds: f64) -> Self {
        Self {
            schema: "patchmesh.simulation/v1",
            seed: name.seed,
            hosts,
            profile: name.profile.clone(),
            gossip: "full",
            events: outcome.events,
            virtual_seconds: outcome.ended as f64 / 1000.0,
            wall_seconds,
            trace_hash: outcome.trace.clone(),
            promises: promises(outcome),
            faults: outcome.faults.clone(),
            outcome: outcome.finish,
            reproduce: name.reproduce.clone(),
        }
    }
}

/// What a demanding scenario misses: promises that were never checked, faults that never had an effect.
pub fn idle(promises: &BTreeMap<&'static str, Checked>, faults: &BTreeMap<&'static str, Count>) -> Vec<String> {
    let unchecked = promises.iter().filter(|(_, counts)| counts.checked == 0);
    let ineffective = faults.iter().filter(|(_, counts)| counts.injected > 0 && counts.effective == 0);
    let mut idle: Vec<_> = unchecked.map(|(name, _)| format!("the promise {name} was never checked")).collect();
    idle.extend(ineffective.map(|(name, _)| unfelt(name)));
    idle
}

/// Faults that somebody wrote into `scenario` and that never had an effect, struck or not: it does not test what it says.
pub fn vain(scenario: &Scenario, faults: &BTreeMap<&'static str, Count>) -> Vec<String> {
    let kinds: BTreeSet<_> = scenario.faults.iter().map(|fault| fault.kind.word()).collect();
    let felt = |kind: &&str| faults.get(*kind).is_some_and(|counts| counts.effective > 0);
    kinds.into_iter().filter(|kind| !felt(kind)).map(unfelt).collect()
}

fn unfelt(kind: &str) -> String {
    format!("the fault {kind} never had an effect")
}

/// A run as concrete events: it replays after generators have changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceFile {
    /// `patchmesh.trace/v1`.
    pub schema: String,
    /// Goes on where the draws end.
    pub seed: u64,
    /// What it was made from.
    pub profile: String,
    /// What edits the machines; none in an honest run.
    pub sabotage: Option<String>,
    /// How it ended.
    pub outcome: Finish,
    /// The promise that was broken first.
    pub promise: Option<String>,
    /// In words.
    pub text: Option<String>,
    /// Faults, waves, rates.
    pub scenario: Scenario,
    /// Faults as they struck: milliseconds, machine, kind.
    pub struck: Vec<(u64, u32, crate::fault::Kind)>,
    /// Every draw, by generator.
    pub draws: Draws,
}

/// The schema of [`TraceFile`].
pub const TRACE: &str = "patchmesh.trace/v1";

impl TraceFile {
    /// The trace of a run whose draws were kept.
    pub fn new(name: &Name, scenario: Scenario, sabotage: Option<&str>, outcome: &Outcome) -> Self {
        let first = outcome.record.violations.first();
        Self {
            schema: TRACE.into(),
            seed: name.seed,
            profile: name.profile.clone(),
            sabotage: sabotage.map(Into::into),
            outcome: outcome.finish,
            promise: first.map(|violation| violation.promise.into()),
            text: first.map(|violation| violation.text.clone()),
            scenario,
            struck: outcome.struck.clone(),
            draws: outcome.draws.clone(),
        }
    }
}

/// The story of a failure: the promise in words, what happened to the machines concerned, and how to see it again.
pub fn story(name: &Name, outcome: &Outcome, trace: Option<&str>) -> String {
    let mut lines = Vec::new();
    for violation in outcome.record.violations.iter().take(3) {
        lines.push(format!("broken promise: {}", violation.promise));
        lines.push(format!("  it says: {}", Observers::statement(violation.promise)));
        lines.push(format!("  at {} ms: {}", violation.at, violation.text));
        lines.push(format!("  last events of machines {:?}:", violation.spots));
        let concerned = |spot: &u32| violation.spots.is_empty() || violation.spots.contains(spot);
        let events: Vec<_> = outcome.history.iter().rev().filter(|(_, spot, _)| concerned(spot)).take(SHOWN).collect();
        lines.extend(events.into_iter().rev().map(|(at, spot, truth)| format!("    {at:>9} {spot:>4} {truth:?}")));
    }
    lines.extend(outcome.rollouts.iter().map(|rollout| format!("rollout {rollout}")));
    let struck = outcome.struck.iter().map(|(at, spot, kind)| match *spot {
        u32::MAX => format!("{} at {at}", kind.word()),
        spot => format!("{} on {spot} at {at}", kind.word()),
    });
    lines.push(format!("faults: {}", struck.collect::<Vec<_>>().join(", ")));
    lines.push(format!("reproduce: {}", name.reproduce));
    lines.extend(trace.map(|trace| format!("trace: {trace} (patchmesh-sim replay {trace})")));
    lines.join("\n")
}
