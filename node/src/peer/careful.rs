//! Messages with care: each is marked as in hand while it is handled, and what this process died of before is dropped or handled
//! alone. In safe mode no record of others reaches the machine.

use actix::Context;
use patchmesh_common::{
    gossip::{Effect, Event, ExchangeAnswer, ExchangeRequest, Item, MAX_ORDERS, Verdict},
    id::NodeId,
    poison::{Name, Sorted, Standing},
    run::message::{LeaseFrame, SignedStop},
    time::WallTime,
    wire,
};

use super::PeerActor;
use crate::clock;

impl PeerActor {
    pub(super) fn announced(&mut self, ctx: &mut Context<Self>, item: Item) {
        let Sorted { together, alone, .. } = self.sort(vec![item]);
        match together.into_iter().chain(alone).next() {
            Some((name, item)) => self.step_holding(ctx, &[name], Event::Announced { token: 0, item }),
            None => {
                self.perform(ctx, Effect::Judge { token: 0, verdict: Verdict::Ignore });
            }
        }
    }

    pub(super) fn asked(&mut self, ctx: &mut Context<Self>, from: NodeId, request: ExchangeRequest) {
        let ask = |request| Event::Asked { from, token: 0, request };
        match request {
            ExchangeRequest::Push { wall, items } => {
                let Sorted { together, alone, .. } = self.sort(items);
                let (names, items): (Vec<_>, _) = together.into_iter().unzip();
                self.step_holding(ctx, &names, ask(ExchangeRequest::Push { wall, items }));
                self.one_by_one(ctx, from, wall, alone);
            }
            ExchangeRequest::Orders { wall, orders } => self.ordered(ctx, from, wall, orders),
            ExchangeRequest::Pull { ref digest, .. } => {
                let name = Name::of_bytes(&wire::encode(digest));
                if self.may_read(&name) {
                    self.step_holding(ctx, &[name], ask(request));
                } else {
                    // Whoever asked is told that there is no answer.
                    self.reply = None;
                }
            }
        }
    }

    /// Also in safe mode: to stop is what a host then still does.
    fn ordered(&mut self, ctx: &mut Context<Self>, from: NodeId, wall: WallTime, mut orders: Vec<SignedStop>) {
        // One too many is enough to be told apart from an honest neighbour.
        orders.truncate(MAX_ORDERS + 1);
        let hand = self.setup.hand.clone();
        let named = orders.into_iter().map(|signed| (Name::of_bytes(&wire::encode(&signed.order)), signed));
        let Sorted { together, alone, dropped } = hand.poison().sort(named.collect::<Vec<_>>());
        hand.tell_dropped(&dropped);
        let (names, orders): (Vec<_>, _) = together.into_iter().unzip();
        let ask = |orders| Event::Asked { from, token: 0, request: ExchangeRequest::Orders { wall, orders } };
        self.step_holding(ctx, &names, ask(orders));
        for (name, signed) in alone {
            self.step_holding(ctx, &[name], ask(vec![signed]));
        }
    }

    pub(super) fn answered(&mut self, ctx: &mut Context<Self>, from: NodeId, answer: ExchangeAnswer) {
        let ExchangeAnswer::Delta { wall, items, mut want } = answer else {
            return self.step(ctx, Event::Answered { from, answer });
        };
        let Sorted { together, alone, .. } = self.sort(items);
        let (mut names, items): (Vec<_>, _) = together.into_iter().unzip();
        if names.is_empty() && !want.is_empty() {
            let name = Name::of_bytes(&wire::encode(&want));
            match self.setup.hand.poison().standing(&name) {
                Standing::Quarantined => want.clear(),
                Standing::Free | Standing::Suspect => names.push(name),
            }
        }
        self.step_holding(ctx, &names, Event::Answered { from, answer: ExchangeAnswer::Delta { wall, items, want } });
        self.one_by_one(ctx, from, wall, alone);
    }

    pub(super) fn framed(&mut self, from: NodeId, frame: LeaseFrame) {
        let hand = self.setup.hand.clone();
        let name = Name::of_bytes(&wire::encode(&frame.sealed));
        if hand.poison().standing(&name) == Standing::Quarantined {
            return hand.tell_dropped(&[name]);
        }
        let _held = hand.hold(&[name]);
        self.hand_up(from, frame);
    }

    fn one_by_one(&mut self, ctx: &mut Context<Self>, from: NodeId, wall: WallTime, alone: Vec<(Name, Item)>) {
        for (name, item) in alone {
            let answer = ExchangeAnswer::Delta { wall, items: vec![item], want: Vec::new() };
            self.step_holding(ctx, &[name], Event::Answered { from, answer });
        }
    }

    fn step_holding(&mut self, ctx: &mut Context<Self>, names: &[Name], event: Event) {
        let hand = self.setup.hand.clone();
        let _held = hand.hold(names);
        self.step(ctx, event);
    }

    fn may_read(&self, name: &Name) -> bool {
        let hand = &self.setup.hand;
        !hand.is_safe(clock::now().wall) && hand.poison().standing(name) != Standing::Quarantined
    }

    /// By what is known of each; what may not be read at all is left out. Looking for its name reads a record, so that is done with
    /// its bytes in hand.
    fn sort(&self, items: Vec<Item>) -> Sorted<Item> {
        let hand = &self.setup.hand;
        let named = items.into_iter().filter_map(|item| {
            let bytes = Name::of_bytes(&wire::encode(&item.record));
            if !self.may_read(&bytes) {
                return None;
            }
            let _held = hand.hold(&[bytes]);
            Some((Name::of_record(&item.record), item))
        });
        let sorted = hand.poison().sort(named.collect::<Vec<_>>());
        hand.tell_dropped(&sorted.dropped);
        sorted
    }
}
