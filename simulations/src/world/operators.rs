//! People: they plan and apply, pause, resume and stop, and sometimes all at once.

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::controller::Event,
    run::message::StopScope,
};

use super::{Happening, World, desk::Desk};
use crate::{chance::Chance, fault::Kind, keys::COORDINATOR, truth::Spot};

/// An operator whose plan came to nothing tries again after this.
const AGAIN: u64 = 20_000;
/// How often one wave is tried.
const TRIES: u32 = 200;

/// What an operator does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Apply {
        wave: usize,
    },
    Pause {
        wave: usize,
    },
    Resume {
        wave: usize,
    },
    Stop {
        wave: usize,
    },
    /// At any member.
    Command {
        scope: StopScope,
        stop: bool,
    },
    Release {
        node: NodeId,
    },
    Approve {
        wave: usize,
    },
    /// A policy.
    Keep {
        policy: usize,
    },
    DropPolicies,
}

pub(super) struct Operators {
    pub(super) chance: Chance,
    /// For what they do at other members than coordinators.
    pub(super) afield: Chance,
    tries: Vec<u32>,
    published: Vec<bool>,
    /// Whether a coordinator was seen to have it.
    applied: Vec<bool>,
    /// How often its rollout was lost with a store: it is another one then.
    lost: Vec<u32>,
}

impl Operators {
    pub(super) fn new(chance: Chance, afield: Chance, waves: usize) -> Self {
        Self {
            chance,
            afield,
            tries: vec![0; waves],
            published: vec![false; waves],
            applied: vec![false; waves],
            lost: vec![0; waves],
        }
    }
}

impl World {
    pub(super) fn begin_operations(&mut self) {
        for wave in 0..self.scenario.waves.len() {
            self.at(self.scenario.waves[wave].at, Happening::Operator { order: Order::Apply { wave } });
        }
        self.begin_policies();
    }

    /// The coordinator that operators talk to.
    pub(super) fn primary(&self) -> Option<Spot> {
        self.seats.iter().find(|seat| seat.number == COORDINATOR && !seat.gone).map(|seat| seat.spot)
    }

    /// The id of wave `number`, as it was applied last.
    pub(super) fn rollout_id(&self, number: usize) -> RolloutId {
        let lost = u64::from(self.operators.lost.get(number).copied().unwrap_or(0));
        RolloutId((lost << 32 | (number as u64 + 1)).to_be_bytes())
    }

    /// The coordinator's store has the rollout of wave `number`.
    pub(super) fn applied(&mut self, number: usize) {
        let new = !std::mem::replace(&mut self.operators.applied[number], true);
        if new && self.scenario.waves[number].rings.iter().any(|ring| ring.approved) {
            self.approve(number);
        }
    }

    pub(super) fn is_applied(&self, wave: usize) -> bool {
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        desk.is_some_and(|desk| desk.shadow.rollouts.contains_key(&self.rollout_id(wave)))
    }

    /// Whether operators have given up on a wave that was never applied.
    pub(super) fn is_given_up(&self, wave: usize) -> bool {
        self.operators.tries[wave] >= TRIES
    }

    pub(super) fn operate(&mut self, order: Order) {
        match order {
            Order::Apply { wave } => self.apply(wave),
            Order::Pause { wave } => {
                self.everywhere(Event::Pause { rollout: self.rollout_id(wave), by: "operator".into() })
            }
            Order::Resume { wave } => {
                self.everywhere(Event::Resume { rollout: self.rollout_id(wave), by: "operator".into() })
            }
            Order::Command { scope, stop } => self.give(scope, stop),
            Order::Approve { wave } => self.approve(wave),
            Order::Keep { policy } => self.keep_policy(policy),
            Order::DropPolicies => self.drop_policies(),
            Order::Stop { wave } => {
                self.everywhere(Event::Stop { rollout: self.rollout_id(wave), by: "operator".into() })
            }
            Order::Release { node } => {
                self.release(node);
            }
        }
    }

    fn apply(&mut self, wave: usize) {
        if !self.operators.published[wave] && self.scenario.waves[wave].install {
            self.operators.published[wave] = true;
            let package = self.operators.chance.below(5) as u32;
            self.repository.publish(package);
            self.repository.publish(package + 1 + self.operators.chance.below(3) as u32);
        }
        if self.is_applied(wave) || self.is_given_up(wave) {
            return;
        }
        if std::mem::take(&mut self.operators.applied[wave]) {
            self.operators.lost[wave] += 1;
        }
        if let Some(spot) = self.primary().filter(|spot| self.awake(*spot))
            && self.survey(spot, wave)
        {
            self.operators.tries[wave] += 1;
        }
        self.after(AGAIN, Happening::Operator { order: Order::Apply { wave } });
    }

    pub(super) fn awake(&self, spot: Spot) -> bool {
        let seat = &self.seats[spot as usize];
        seat.up && seat.paused_until <= self.now
    }

    /// At every coordinator that runs, also at a copy: operators do not know which one is real.
    fn everywhere(&mut self, event: Event) {
        let spots: Vec<Spot> =
            self.seats.iter().filter(|seat| seat.number == COORDINATOR && seat.up).map(|seat| seat.spot).collect();
        for spot in spots.into_iter().filter(|spot| self.awake(*spot)).collect::<Vec<_>>() {
            let entries = self.seats[spot as usize].desk().map_or(0, |desk| desk.entries.len());
            self.desk_event(spot, event.clone());
            if self.seats[spot as usize].desk().map_or(0, |desk| desk.entries.len()) > entries {
                self.chaos.effective(Kind::OperatorCollision.word());
                self.chaos.effective(Kind::OperatorStop.word());
            }
        }
    }

    /// At the coordinator that operators talk to. Answers whether it wrote anything.
    fn release(&mut self, host: NodeId) -> bool {
        let Some(spot) = self.primary().filter(|spot| self.awake(*spot)) else { return false };
        let entries = self.seats[spot as usize].desk().map_or(0, |desk| desk.entries.len());
        let (by, because) = (String::from("operator"), String::from("it does not come back"));
        self.desk_event(spot, Event::Release { host, by, because });
        self.seats[spot as usize].desk().map_or(0, |desk| desk.entries.len()) > entries
    }

    /// Somebody takes a host at work for dead.
    pub(super) fn release_one(&mut self) -> bool {
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        let holders: Vec<NodeId> = desk.map(|desk| desk.shadow.leased.keys().copied().collect()).unwrap_or_default();
        let pick = self.chaos.chance.below(holders.len().max(1) as u64) as usize;
        let Some(node) = holders.get(pick).copied() else { return false };
        if self.release(node) {
            self.chaos.effective(Kind::OperatorRelease.word());
        }
        true
    }

    /// After everything was mended nobody leaves a rollout paused or unapproved, or everything stopped.
    pub(super) fn resume_all(&mut self) {
        self.resume_everything();
        self.approve_all();
        let Some(desk) = self.primary().and_then(|spot| self.seats[spot as usize].desk()) else { return };
        let paused: Vec<usize> = (0..self.scenario.waves.len())
            .filter(|wave| {
                let state = desk.shadow.rollouts.get(&self.rollout_id(*wave));
                state.is_some_and(|state| state.paused && state.ended_at.is_none())
            })
            .collect();
        for wave in paused {
            self.operate(Order::Resume { wave });
        }
    }

    /// Many hands within two seconds.
    pub(super) fn collide(&mut self, stops: bool) -> bool {
        let Some(wave) = self.busy_wave() else { return false };
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        let paused =
            desk.and_then(|desk| desk.shadow.rollouts.get(&self.rollout_id(wave))).is_some_and(|state| state.paused);
        // The first hand turns what is there.
        self.after(
            0,
            Happening::Operator { order: if paused { Order::Resume { wave } } else { Order::Pause { wave } } },
        );
        let mut orders = Vec::new();
        for _ in 0..self.operators.chance.between(3, 8) {
            let pauses = self.operators.chance.once_in(2);
            orders.push(if pauses { Order::Pause { wave } } else { Order::Resume { wave } });
        }
        if stops {
            orders.push(Order::Stop { wave });
        }
        for order in orders {
            let pause = self.operators.chance.below(2_000);
            self.after(pause, Happening::Operator { order });
        }
        let pause = self.operators.chance.between(3_000, 60_000);
        self.after(pause, Happening::Operator { order: Order::Resume { wave } });
        true
    }

    /// A wave that has hosts at work.
    pub(super) fn busy_wave(&self) -> Option<usize> {
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk())?;
        (0..self.scenario.waves.len()).rev().find(|wave| {
            let state = desk.shadow.rollouts.get(&self.rollout_id(*wave));
            state.is_some_and(|state| state.ended_at.is_none() && !state.tally.busy.is_empty())
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.primary().and_then(|spot| self.seats[spot as usize].desk()).is_some_and(Desk::is_busy)
    }
}
