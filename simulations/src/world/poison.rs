//! Messages of which a daemon dies, sent to one host by a member: a lease frame, or a record of its own that it seals anew each
//! time, announced and in exchanges among records of others.

use std::{collections::BTreeMap, rc::Rc};

use patchmesh_common::{
    gossip::{ExchangeRequest, Item, NodeRecord},
    id::{CommandId, LeaseId},
    poison::{Name, TO_QUARANTINE},
    run::message::{Command, LeaseFrame, ToHost},
    seal::{Payload, Sealed},
    time::WallTime,
    wire,
};

use super::{
    Happening, World,
    mesh::{News, Question},
};
use crate::{
    keys::{COORDINATOR, Key, MESH},
    scenario::POISON_AGAIN,
    truth::Spot,
};

/// How often one message is sent: some come while the host is down, and the last of those that come must be survived.
const SENT: u64 = TO_QUARANTINE as u64 + 4;
/// Between two of them, in milliseconds: a daemon is back by then.
const PAUSE: u64 = 20_000;
/// Records of others in an exchange.
const INNOCENT: usize = 3;

/// Everything that was ever sent of which a daemon dies, numbered in the order in which it was sent first.
#[derive(Default)]
pub(super) struct Poisons(BTreeMap<Name, u32>);

impl Poisons {
    /// What is sent again, in the same millisecond by the same enemy, keeps its number, and no other gets that number.
    fn insert(&mut self, name: Name) {
        let number = self.0.len() as u32;
        self.0.entry(name).or_insert(number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of what has this name, if it is poison.
    pub(super) fn get(&self, name: &Name) -> Option<u32> {
        self.0.get(name).copied()
    }
}

impl World {
    /// A member sends a neighbour poison. Answers whether there are two such.
    pub(super) fn send_poison(&mut self, lasts: u64) -> bool {
        let hosts = |seat: &&super::seat::Seat| seat.up && seat.number < COORDINATOR;
        let victims: Vec<Spot> = self.seats.iter().filter(hosts).map(|seat| seat.spot).collect();
        let Some(victim) = self.pick(&victims) else { return false };
        let neighbours = self.seats[victim as usize].links.iter().map(|spot| &self.seats[*spot as usize]);
        let enemies: Vec<Spot> = neighbours.filter(hosts).map(|seat| seat.spot).collect();
        let Some(enemy) = self.pick(&enemies) else { return false };
        for number in 0..=lasts / POISON_AGAIN {
            let delay = number * PAUSE / 2;
            match self.poisoner.once_in(2) {
                true => self.send_poison_frames(enemy, victim, delay),
                false => self.send_poison_records(enemy, victim, delay),
            }
        }
        true
    }

    fn pick(&mut self, spots: &[Spot]) -> Option<Spot> {
        let pick = self.poisoner.below(spots.len().max(1) as u64) as usize;
        spots.get(pick).copied()
    }

    fn send_poison_frames(&mut self, enemy: Spot, victim: Spot, delay: u64) {
        let (from, to) = (&self.seats[enemy as usize], &self.seats[victim as usize]);
        let command = Command {
            id: CommandId(u128::from(self.now + delay).to_be_bytes()),
            mesh: MESH,
            to: to.node,
            epoch: Default::default(),
            after: None,
            head: Default::default(),
            expires: WallTime::MAX,
            body: ToHost::Acknowledge { lease: LeaseId([0; 16]) },
        };
        let frame = LeaseFrame { credential: from.credential.clone(), sealed: Sealed::seal(&Key(from.node), &command) };
        self.poisons.insert(Name::of_bytes(&wire::encode(&frame.sealed)));
        let bytes: Rc<[u8]> = wire::encode(&frame).into();
        for time in 0..SENT {
            self.after(5 + delay + time * PAUSE, Happening::Frame { spot: victim, bytes: Rc::clone(&bytes) });
        }
    }

    fn send_poison_records(&mut self, enemy: Spot, victim: Spot, delay: u64) {
        let from = &self.seats[enemy as usize];
        let Some(gossip) = &from.gossip else { return };
        let innocent: Vec<Item> = {
            let others = gossip.view().members().filter(|(node, _)| **node != from.node);
            others.take(INNOCENT).map(|(_, member)| member.item.clone()).collect()
        };
        let Some(own) = gossip.view().get(&from.node).map(|member| member.item.clone()) else { return };
        let Ok(mut record) = wire::decode::<NodeRecord>(&own.record.body, NodeRecord::LIMIT) else { return };
        record.body.tags.insert("poison".into(), (self.now + delay).to_string());
        let wall = from.clock.now(self.now).wall;
        let key = Key(from.node);
        for time in 0..SENT {
            record.version += 1;
            let item = Item { credential: own.credential.clone(), record: Sealed::seal(&key, &record) };
            self.poisons.insert(Name::of_record(&item.record));
            // The first comes with others, over the link that there still is.
            let what = if time % 2 == 0 {
                let items = innocent.iter().chain([&item]).cloned().collect();
                let request = ExchangeRequest::Push { wall, items };
                let question = Rc::new(Question { size: wire::size(&request), request });
                Happening::Ask { spot: victim, from: enemy, question }
            } else {
                Happening::News { spot: victim, from: enemy, news: Rc::new(News::new(&item)) }
            };
            self.after(5 + delay + time * PAUSE, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_poisons_never_share_a_number() {
        let mut poisons = Poisons::default();
        let name = |n| Name([n; 32]);
        [1, 2, 2, 3].map(name).into_iter().for_each(|name| poisons.insert(name));
        assert_eq!([1, 2, 3, 4].map(|n| poisons.get(&name(n))), [Some(0), Some(1), Some(2), None]);
    }
}
