//! What becomes of hosts whose versions were superseded.

use super::{
    super::{
        ledger::RolloutState,
        replan::{self, Next},
    },
    Cause, Scene,
};
use crate::id::RolloutId;

impl Scene<'_> {
    /// Whether, and as what, the rollout is planned again. `None` if nothing of it was superseded, or its plan leaves it at that.
    pub(super) fn replan(&self, id: RolloutId, state: &RolloutState) -> Option<Cause> {
        let name = &state.plan.name;
        let status = |id: RolloutId| Some(format!("patchmesh rollout status {id}"));
        Some(match replan::next(self.ledger, id, self.now.wall)? {
            Next::Later => Cause::new(
                "replan",
                format!("rollout {name} is planned again when it has ended"),
                None,
                Some(format!("patchmesh rollout watch {id}")),
            ),
            Next::Due(spec) => {
                let heard = replan::is_heard(state, self.desk, self.now.wall);
                let until = if heard { "" } else { ", when the hosts that it left out are heard" };
                let text = format!("rollout {name} is to be planned again as {}{until}", spec.name);
                Cause::new("replan", text, None, status(id))
            }
            Next::Held => Cause::new(
                "replan",
                format!("rollout {name} is planned again when the STOP of every rollout has ended"),
                self.ledger.stopped_all_since,
                Some("patchmesh resume --all --key FILE".to_owned()),
            ),
            Next::Done(follower) => {
                let again = self.ledger.rollouts.get(&follower)?;
                let text = format!("rollout {} plans {name} again", again.plan.name);
                Cause::new("replanned", text, Some(again.started_at), status(follower))
            }
            Next::Never(why) => Cause::new(
                "not-replanned",
                format!("rollout {name} is not planned again: {}", why.text()),
                state.ended_at,
                Some("patchmesh plan -f FILE".to_owned()),
            ),
        })
    }
}
