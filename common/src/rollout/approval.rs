//! An operator's word on a ring that needs approvals: signed with the operator's own key, kept in the ledger as it was signed.

use serde::{Deserialize, Serialize};

use super::ledger::RolloutState;
use crate::{
    id::{MeshId, NodeId, RolloutId},
    membership::{Credential, Membership, Role},
    run::frame::FrameError,
    seal::{Payload, Sealed, Verifier},
    time::WallTime,
    wire::{self, Malformed},
};

/// Longest reason, in bytes: it stays in the ledger for ever.
pub const MAX_BECAUSE: usize = 1_000;
/// Largest encoded [`SignedVerdict`]: a verdict and two memberships at their limits, with room for lengths and signatures.
pub const MAX_VERDICT: usize = Verdict::LIMIT + 2 * 2048 + 512;

/// What an operator says about a ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// Of which mesh.
    pub mesh: MeshId,
    /// Of which rollout.
    pub rollout: RolloutId,
    /// Which of its rings, from 0.
    pub ring: u16,
    /// Whether it may begin.
    pub approve: bool,
    /// Why; may be empty for an approval. At most [`MAX_BECAUSE`] bytes.
    pub because: String,
}

impl Payload for Verdict {
    const CONTEXT: &'static str = "patchmesh/verdict/1";
    const LIMIT: usize = 1_200;
}

/// A sealed [`Verdict`] and the right of its signer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignedVerdict {
    /// A sealed [`Verdict`].
    pub verdict: Sealed,
    /// The signer's membership: role operator.
    pub credential: Credential,
}

impl SignedVerdict {
    /// The verdict in it and who signed it, if that is an operator of `mesh`. A coordinator approves nothing: it would be its own
    /// judge.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn open(&self, mesh: MeshId, now: WallTime, keys: &dyn Verifier) -> Result<(Membership, Verdict), FrameError> {
        let signer = self.credential.check(mesh, now, keys)?;
        if signer.key != self.verdict.author {
            return Err(FrameError::OtherAuthor { author: self.verdict.author, member: signer.key });
        }
        if signer.role != Role::Operator {
            return Err(FrameError::Role { name: signer.name, role: signer.role });
        }
        let verdict: Verdict = self.verdict.open(keys)?;
        if verdict.mesh != mesh {
            return Err(FrameError::OtherMesh(verdict.mesh));
        }
        Ok((signer, verdict))
    }

    /// The verdict in it and the name of who signed it: of one that was judged before it was saved.
    ///
    /// # Errors
    /// [`Malformed`]: the bytes are no verdict.
    pub fn read(&self) -> Result<(String, Verdict), Malformed> {
        let member: Membership = wire::decode(&self.credential.membership.body, Membership::LIMIT)?;
        Ok((member.name, wire::decode(&self.verdict.body, Verdict::LIMIT)?))
    }
}

/// Why a verdict is not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// The rollout grants nothing any more.
    #[error("the rollout is over, halted, stopped or rejected")]
    Latched,
    /// The rings have other numbers.
    #[error("the rollout has no such ring")]
    NoRing,
    /// Nobody has to say anything about it.
    #[error("the ring {0} needs no approval")]
    NotNeeded(String),
    /// It has begun, or has what it needs.
    #[error("the ring {0} is approved")]
    Decided(String),
    /// What is before it has not settled: nobody can have seen what came of it.
    #[error("the ring {ring} cannot be judged before the ring {before} has settled")]
    Early {
        /// Which ring.
        ring: String,
        /// The one that is at work.
        before: String,
    },
    /// One operator counts once.
    #[error("{0} has approved it already: another operator's key is needed")]
    Twice(String),
    /// A rejection says why.
    #[error("the reason is empty, or longer than {MAX_BECAUSE} bytes")]
    Because,
}

/// Whether the word of the operator with the key `by` is taken now.
///
/// # Errors
/// [`Untaken`].
pub fn takes(state: &RolloutState, by: NodeId, verdict: &Verdict) -> Result<(), Untaken> {
    let course = &state.course;
    let ring = state.plan.rings.get(usize::from(verdict.ring)).ok_or(Untaken::NoRing)?;
    let name = || ring.name.clone();
    if state.is_latched() {
        return Err(Untaken::Latched);
    }
    if ring.approvals == 0 {
        return Err(Untaken::NotNeeded(name()));
    }
    if verdict.ring > course.place.ring {
        let before = state.plan.ring(course.place).map(|ring| ring.name.clone()).unwrap_or_default();
        return Err(Untaken::Early { ring: name(), before });
    }
    let begun = verdict.ring < course.place.ring || course.place.step > 0 || course.opened;
    if begun || course.approved.len() >= usize::from(ring.approvals) {
        return Err(Untaken::Decided(name()));
    }
    if verdict.because.len() > MAX_BECAUSE || (!verdict.approve && verdict.because.trim().is_empty()) {
        return Err(Untaken::Because);
    }
    match course.approved.get(&by) {
        Some(by) if verdict.approve => Err(Untaken::Twice(by.clone())),
        _ => Ok(()),
    }
}
