//! A rollout that was planned again because its versions were superseded.

use super::{Controller, Effect};
use crate::{
    id::RolloutId,
    machine::Cx,
    rollout::{
        plan::{Plan, Rollout},
        replan::{self, Next},
    },
};

impl Controller {
    /// Starts what plans `of` again, if nothing has changed since somebody began to plan it.
    pub(super) fn replan(&mut self, cx: &mut Cx<'_, Effect>, id: RolloutId, of: RolloutId, plan: Plan) {
        let due = matches!(replan::next(&self.ledger, of, cx.now.wall), Some(Next::Due(_)));
        if due && !replan::stands_back(&self.desk, cx.now) {
            self.apply(cx, Rollout { id, plan, by: format!("replan of {of}"), replans: Some(of) });
        }
    }
}
