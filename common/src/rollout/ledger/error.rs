//! Why an entry is not folded.

use crate::{
    id::{NodeId, RolloutId},
    rollout::ring::Place,
    wire::Malformed,
};

/// Why an entry does not fit what came before. The state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// It names a rollout that was never started.
    #[error("rollout {0} was never started")]
    UnknownRollout(RolloutId),
    /// It names a host that is not in the rollout.
    #[error("host {1} is not in rollout {0}")]
    UnknownHost(RolloutId, NodeId),
    /// The evidence is not a report.
    #[error("the evidence of a report does not decode")]
    Evidence(#[source] Malformed),
    /// The evidence is an answer of another kind.
    #[error("the evidence of a report holds another answer")]
    NotAReport,
    /// The evidence is no order.
    #[error("the evidence of a STOP does not decode")]
    Order(#[source] Malformed),
    /// The evidence is no verdict.
    #[error("the evidence of an approval or rejection does not decode")]
    Verdict(#[source] Malformed),
    /// It is about another asking of gates than the one that is open, or that comes next.
    #[error("attempt {2} is not the one at which the gates of ring {1} of rollout {0} are asked")]
    OtherAsking(RolloutId, u16, u32),
    /// It is about another step than the one at which the rollout stands.
    #[error("rollout {0} does not stand at ring {ring}, step {step}", ring = .1.ring, step = .1.step)]
    OtherStep(RolloutId, Place),
    /// It plans a rollout again that goes on, was stopped or halted, or was planned again before.
    #[error("rollout {0} is none that may be planned again")]
    Replanned(RolloutId),
}
