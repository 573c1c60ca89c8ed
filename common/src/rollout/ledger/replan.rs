//! Which rollout plans which one again, as a ledger folds it.

use super::{FoldError, Ledger};
use crate::rollout::plan::Rollout;

impl Ledger {
    /// What it means for the rollout that this one plans again: there is never a second one.
    pub(super) fn fold_replan(&mut self, rollout: &Rollout) -> Result<(), FoldError> {
        let Some(of) = rollout.replans else { return Ok(()) };
        let before = self.rollout(of)?;
        if of == rollout.id || !before.may_be_replanned() {
            return Err(FoldError::Replanned(of));
        }
        before.replanned_as = Some(rollout.id);
        Ok(())
    }
}
