//! Gates after a ring: what the coordinator itself asks once a ring has settled and baked, and what became of that.

use serde::{Deserialize, Serialize};

use super::{ledger::RolloutState, plan::Plan};
use crate::{run::gate::Gate, time::WallTime};

/// How much of what a gate showed is kept, in bytes: it stays in the ledger for ever.
pub const MAX_SHOWN: usize = 1024;
/// How much of a gate's own words is told, in characters.
const MAX_NAME: usize = 120;

/// How the gates of a ring were answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RingVerdict {
    /// Every one has passed.
    Passed,
    /// One has not; those after it were not asked.
    Failed {
        /// Which of the plan's gates, from 0.
        gate: u16,
        /// Why, and what it showed; at most [`MAX_SHOWN`] bytes.
        text: String,
    },
}

impl RingVerdict {
    /// The verdict with as much text as is kept.
    #[must_use]
    pub fn bounded(self) -> Self {
        match self {
            Self::Failed { gate, mut text } => {
                text.truncate(text.floor_char_boundary(MAX_SHOWN));
                Self::Failed { gate, text }
            }
            Self::Passed => Self::Passed,
        }
    }
}

/// Where the gates of one ring stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RingGates {
    /// How often they were begun to be asked; from 1.
    pub attempt: u32,
    /// When they were asked, or answered.
    pub at: WallTime,
    /// How.
    pub answer: Answered,
}

/// What came of an asking.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// Nothing yet.
    NotYet,
    /// The ring began to bake after that: whatever comes of it counts no more.
    Void,
    /// This.
    With(RingVerdict),
}

impl Answered {
    /// What is left of it when the ring begins to bake, or one of its hosts changes: a failure is one for good.
    pub(super) fn looked_too_early(&self) -> Self {
        match self {
            Self::With(RingVerdict::Failed { .. }) => self.clone(),
            _ => Self::Void,
        }
    }
}

/// A gate that a ring failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailedRing {
    /// The ring's name.
    pub ring: String,
    /// The gate, in words.
    pub gate: String,
    /// Why, in one line.
    pub why: String,
    /// What else it showed; may have several lines.
    pub shown: String,
    /// When.
    pub at: WallTime,
}

impl Plan {
    /// The name of a ring; empty if there is none.
    pub fn ring_name(&self, ring: u16) -> String {
        self.rings.get(usize::from(ring)).map(|ring| ring.name.clone()).unwrap_or_default()
    }
}

impl RolloutState {
    /// Whether nothing is left to be shown by the gates of `ring`.
    pub fn has_shown(&self, ring: u16) -> bool {
        let passed = |gates: &RingGates| gates.answer == Answered::With(RingVerdict::Passed);
        self.plan.ring_gates.is_empty() || self.course.gates.get(&ring).is_some_and(passed)
    }

    /// The first ring that failed one of its gates: nothing begins after it.
    pub fn failed_ring(&self) -> Option<FailedRing> {
        self.course.gates.iter().find_map(|(ring, gates)| {
            let Answered::With(RingVerdict::Failed { gate, text }) = &gates.answer else { return None };
            let (why, shown) = text.split_once('\n').unwrap_or((text, ""));
            Some(FailedRing {
                ring: self.plan.ring_name(*ring),
                gate: self.plan.ring_gates.get(usize::from(*gate)).map(told).unwrap_or_default(),
                why: why.to_owned(),
                shown: shown.to_owned(),
                at: gates.at,
            })
        })
    }

    /// The last ring in which anything was done, if it had yet to show that all is well when the rollout ended.
    pub fn unshown(&self) -> Option<u16> {
        let ended = self.ended_at.is_some() && !self.halted && !self.is_called_off();
        self.last_begun().filter(|ring| ended && !self.has_shown(*ring))
    }

    /// Whether the last asking of the gates of `ring` counts no more, so that they are asked again.
    pub fn has_gone_stale(&self, ring: u16) -> bool {
        self.course.gates.get(&ring).is_some_and(|gates| gates.answer == Answered::Void)
    }

    /// The last ring in which anything was done; `None` if nothing was.
    pub fn last_begun(&self) -> Option<u16> {
        let begun = |host: &super::ledger::HostState| {
            host.attempts > 0
                || matches!(host.progress, super::ledger::Progress::Reported | super::ledger::Progress::LeftOut)
        };
        self.hosts.iter().rposition(begun).map(|at| self.plan.ring_of(at))
    }
}

fn told(gate: &Gate) -> String {
    gate.name().chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_answer_is_bounded_and_whole_characters() {
        let RingVerdict::Failed { gate: 3, text } =
            (RingVerdict::Failed { gate: 3, text: "€".repeat(MAX_SHOWN) }).bounded()
        else {
            panic!("it is another verdict")
        };
        assert_eq!(text, "€".repeat(MAX_SHOWN / 3));
        assert_eq!(RingVerdict::Passed.bounded(), RingVerdict::Passed);
    }
}
