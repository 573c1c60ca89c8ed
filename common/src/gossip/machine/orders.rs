//! How orders travel: at once over every link, and again to whoever has not saved them.

use super::Gossip;
use crate::{
    gossip::{ExchangeRequest, event::Effect, orders::MAX_ORDERS},
    id::NodeId,
    machine::Cx,
    run::message::{OrderStamp, SignedStop},
};

impl Gossip {
    /// Takes orders from anybody. What is news goes to every neighbour at once, not only to those that records are announced to:
    /// a STOP is rare, and must not wait for a repair. Each passes it on once.
    pub(super) fn take_orders(&mut self, cx: &mut Cx<'_, Effect>, from: Option<NodeId>, orders: Vec<SignedStop>) {
        let (mut news, mut offence) = (Vec::new(), None);
        if orders.len() > MAX_ORDERS {
            offence = Some(format!("{} orders at once, more than {MAX_ORDERS}", orders.len()));
        }
        for signed in orders.into_iter().take(MAX_ORDERS) {
            match self.orders.take(signed.clone(), cx.now.wall, cx.keys) {
                Ok(true) => news.push(signed),
                Err(error) if error.blames_the_sender() => offence = Some(error.to_string()),
                Ok(false) | Err(_) => {}
            }
        }
        if let (Some(node), Some(why)) = (from, offence) {
            cx.emit(Effect::Block { node, why });
        }
        if news.is_empty() {
            return;
        }
        for signed in &news {
            cx.emit(Effect::Ordered(Box::new(signed.clone())));
        }
        cx.emit(Effect::RememberOrders(self.orders.signed().cloned().collect()));
        for to in self.overlay.all().filter(|peer| Some(*peer) != from) {
            let request = ExchangeRequest::Orders { wall: cx.now.wall, orders: news.clone() };
            cx.emit(Effect::Exchange { to, request });
        }
        cx.emit(Effect::Changed);
    }

    /// Repairs what passing on has missed, and serves who comes later: a neighbour gets the orders that its record does not name.
    pub(super) fn offer_orders(&self, cx: &mut Cx<'_, Effect>, to: NodeId) {
        let saved = self.view.get(&to).map(|member| member.record.body.orders.as_slice()).unwrap_or_default();
        self.send_orders(cx, to, saved);
    }

    /// Sends the orders that are not in `saved`.
    pub(super) fn send_orders(&self, cx: &mut Cx<'_, Effect>, to: NodeId, saved: &[OrderStamp]) {
        let orders: Vec<_> = self.orders.beyond(saved).cloned().collect();
        if !orders.is_empty() {
            cx.emit(Effect::Exchange { to, request: ExchangeRequest::Orders { wall: cx.now.wall, orders } });
        }
    }

    /// The sequence of an order that outranks every other that this host knows of: of its own orders, and of those that the
    /// records of the others name.
    pub fn next_sequence(&self) -> u64 {
        let named = self.view.members().flat_map(|(_, member)| &member.record.body.orders);
        let known = self.orders.stamps().chain(named.chain(&self.body.orders).copied());
        known.map(|stamp| stamp.sequence).max().unwrap_or(0).saturating_add(1)
    }

    /// Forgets what nobody believes any more, and hands up again what is not saved: whoever obeys orders here may have been away,
    /// or too busy to take them.
    pub(super) fn tend_orders(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.orders.expire(cx.now.wall) {
            cx.emit(Effect::RememberOrders(self.orders.signed().cloned().collect()));
        }
        for signed in self.orders.beyond(&self.body.orders) {
            cx.emit(Effect::Ordered(Box::new(signed.clone())));
        }
    }
}
