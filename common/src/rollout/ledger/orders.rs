//! STOPs and their ends, as a ledger folds them.

use super::Ledger;
use crate::run::message::{OrderStamp, StopScope};

impl Ledger {
    /// The highest sequence of a scope wins, a tie is stop. A rollout that has ended stays as it ended.
    pub(super) fn fold_order(&mut self, order: OrderStamp) {
        if !self.lacks(&order) {
            return;
        }
        self.stop_sequence = self.stop_sequence.max(order.sequence);
        self.orders.insert(order.scope, order.rank());
        if let StopScope::Rollout(id) = order.scope
            && let Some(state) = self.rollouts.get_mut(&id).filter(|state| state.ended_at.is_none())
        {
            state.stopped = order.stop.then_some(order.sequence);
        }
    }

    /// Whether `order` changes what is saved here.
    pub fn lacks(&self, order: &OrderStamp) -> bool {
        self.orders.get(&order.scope).is_none_or(|saved| order.rank() > *saved)
    }

    /// The winning order of every scope, by scope.
    pub fn stamps(&self) -> Vec<OrderStamp> {
        OrderStamp::list(&self.orders)
    }

    /// The sequence of the STOP of every rollout that stands.
    pub fn stopped_all(&self) -> Option<u64> {
        self.orders.get(&StopScope::All).filter(|(_, stop)| *stop).map(|(sequence, _)| *sequence)
    }
}
