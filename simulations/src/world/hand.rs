//! The message in hand, as the daemon keeps it: what a process died of is on its host's disk, and decides how the next life
//! handles the same message. Until the first poison is sent nobody can die of a message, and nothing is named.

use std::rc::Rc;

use patchmesh_common::{
    gossip::{Event, ExchangeAnswer, ExchangeRequest, Item},
    id::NodeId,
    poison::{Abort, Name, Poison, Sorted, Standing},
    run::{machine, message::LeaseFrame},
    time::WallTime,
    wire,
};

use super::{
    Happening, World,
    mesh::{About, News, Question, Reply},
};
use crate::{
    chance::Chance,
    fault::Kind,
    truth::{Spot, Truth},
};

/// A daemon that aborted is back after this, in milliseconds, at least and at most: its restart, and the pause that it draws so
/// that a fleet does not start as one.
const BACK: (u64, u64) = (500, 13_000);

/// What a machine knows of its daemon's deaths.
pub(super) struct Hand {
    /// On disk: in which boot a process died of what. A new boot makes it void.
    left: Option<(u32, Abort)>,
    /// On disk: the deaths that are remembered.
    poison: Poison,
    /// Whether the last life ended in an abort.
    aborted: bool,
    /// Whether the host's run was told that safe mode is on.
    told: bool,
    chance: Chance,
}

impl Hand {
    pub(super) fn new(chance: Chance) -> Self {
        Self { left: None, poison: Poison::default(), aborted: false, told: false, chance }
    }

    pub(super) fn kept(&mut self) -> Option<Vec<u64>> {
        self.chance.kept()
    }

    /// What this life starts without: it may be what the last one died of.
    pub(super) fn drops_memory(&self) -> bool {
        self.aborted
    }

    fn is_safe(&self, now: WallTime) -> bool {
        self.poison.safe_until(now).is_some()
    }
}

impl World {
    /// A daemon starts: it reads what the last life left.
    pub(super) fn open_hand(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (boots, now) = (seat.boots, seat.clock.now(self.now).wall);
        let hand = &mut seat.hand;
        let left = hand.left.take().filter(|(boot, _)| *boot == boots);
        (hand.aborted, hand.told) = (left.is_some(), false);
        if let Some((_, abort)) = left {
            hand.poison.push(Abort { at: abort.at.min(now), ..abort });
        }
        if let Some(sabotage) = &mut self.sabotage {
            sabotage.remembered(&mut hand.poison);
        }
    }

    /// Tells a host's run whether safe mode is on: it ends by itself.
    pub(super) fn tell_safe(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let safe = seat.hand.is_safe(seat.clock.now(self.now).wall);
        if seat.host().is_some() && std::mem::replace(&mut seat.hand.told, safe) != safe {
            self.run_event(spot, machine::Event::Safe(safe));
        }
    }

    /// Whether a machine takes a frame up; otherwise it is dropped unread, or the daemon has died of it.
    pub(super) fn takes_up(&mut self, spot: Spot, frame: &LeaseFrame) -> bool {
        if self.poisons.is_empty() {
            return true;
        }
        let name = Name::of_bytes(&wire::encode(&frame.sealed));
        self.seats[spot as usize].hand.poison.standing(&name) != Standing::Quarantined && !self.dies_of(spot, &[name])
    }

    pub(super) fn announced(&mut self, spot: Spot, item: Item, from: Spot, news: &Rc<News>) {
        let Sorted { together, alone, .. } = self.sorted(spot, vec![item]);
        if let Some((name, item)) = together.into_iter().chain(alone).next() {
            self.step_holding(spot, &[name], Event::Announced { token: 0, item }, About::News(from, Rc::clone(news)));
        }
    }

    pub(super) fn asked(&mut self, spot: Spot, from: Spot, question: Rc<Question>) {
        if !self.seats[spot as usize].links.contains(&from) {
            return;
        }
        let node = self.seats[from as usize].node;
        let ask = |request| Event::Asked { from: node, token: 0, request };
        match Rc::unwrap_or_clone(question).request {
            ExchangeRequest::Push { wall, items } => {
                let Sorted { together, alone, .. } = self.sorted(spot, items);
                let (names, items): (Vec<_>, _) = together.into_iter().unzip();
                self.step_holding(spot, &names, ask(ExchangeRequest::Push { wall, items }), About::Question(from));
                self.one_by_one(spot, node, wall, alone);
            }
            request @ ExchangeRequest::Pull { .. } if self.is_safe(spot) => drop(request),
            request => self.mesh_step(spot, ask(request), About::Question(from)),
        }
    }

    pub(super) fn answered(&mut self, spot: Spot, from: Spot, reply: Rc<Reply>) {
        if !self.seats[spot as usize].links.contains(&from) {
            return;
        }
        let node = self.seats[from as usize].node;
        let answer = |answer| Event::Answered { from: node, answer };
        match Rc::unwrap_or_clone(reply).answer {
            ExchangeAnswer::Delta { wall, items, want } => {
                let Sorted { together, alone, .. } = self.sorted(spot, items);
                let (names, items): (Vec<_>, _) = together.into_iter().unzip();
                self.step_holding(spot, &names, answer(ExchangeAnswer::Delta { wall, items, want }), About::Nothing);
                self.one_by_one(spot, node, wall, alone);
            }
            taken @ ExchangeAnswer::Taken { .. } => self.mesh_step(spot, answer(taken), About::Nothing),
        }
    }

    fn one_by_one(&mut self, spot: Spot, from: NodeId, wall: WallTime, alone: Vec<(Name, Item)>) {
        for (name, item) in alone {
            let answer = ExchangeAnswer::Delta { wall, items: vec![item], want: Vec::new() };
            self.step_holding(spot, &[name], Event::Answered { from, answer }, About::Nothing);
        }
    }

    fn step_holding(&mut self, spot: Spot, names: &[Name], event: Event, about: About) {
        if !self.dies_of(spot, names) {
            self.mesh_step(spot, event, about);
        }
    }

    fn is_safe(&self, spot: Spot) -> bool {
        let seat = &self.seats[spot as usize];
        !self.poisons.is_empty() && seat.hand.is_safe(seat.clock.now(self.now).wall)
    }

    /// By what is known of each; what may not be read at all is left out.
    fn sorted(&self, spot: Spot, items: Vec<Item>) -> Sorted<Item> {
        let hand = &self.seats[spot as usize].hand;
        let safe = self.is_safe(spot);
        let read = |item: &Item| hand.poison.standing(&Name::of_bytes(&wire::encode(&item.record)));
        let name = |item: Item| match self.poisons.is_empty() {
            // Nobody asks.
            true => Some((Name([0; 32]), item)),
            false => (!safe && read(&item) != Standing::Quarantined).then(|| (Name::of_record(&item.record), item)),
        };
        hand.poison.sort(items.into_iter().filter_map(name))
    }

    /// Whether a daemon is dead, by what it holds or before.
    fn dies_of(&mut self, spot: Spot, names: &[Name]) -> bool {
        let seat = &mut self.seats[spot as usize];
        if !seat.up {
            return true;
        }
        let Some(poison) = names.iter().find_map(|name| self.poisons.get(name)) else { return false };
        let (boot, at) = (seat.boot_id(), seat.clock.now(self.now).wall);
        seat.hand.left = Some((seat.boots, Abort { at, in_hand: names.to_vec() }));
        let pause = seat.hand.chance.between(BACK.0, BACK.1);
        self.chaos.effective(Kind::PoisonMessage.word());
        self.tell(spot, Truth::Aborted { poison, boot, at });
        self.die(spot, false);
        self.after(pause, Happening::Start { spot });
        true
    }
}
