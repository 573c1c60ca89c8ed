//! The simulated coordinator: the production [`Controller`] over a durable ledger.

use core::time::Duration;

use patchmesh_common::{
    id::{Incarnation, NodeId},
    machine::{Cx, Machine},
    membership::{Credential, Role},
    rollout::{
        check::Judge,
        controller::{Controller, Effect, Event, Seen, Settings, command},
        ledger::{Ledger, LedgerEntry},
    },
    run::message::{LeaseFrame, SignedStop, ToHost},
    seal::Sealed,
    time::Now,
};
use rand::{Rng, rngs::Xoshiro256PlusPlus};

use crate::keys::{COORDINATOR, Key, Keys, MESH, credential, node};

pub(crate) struct Office {
    pub(crate) machine: Controller,
    pub(crate) judge: Judge,
    pub(crate) life: u64,
    /// The soonest wake that is under way.
    wake: u64,
    pub(crate) up: bool,
    entries: Vec<LedgerEntry>,
    credential: Credential,
    rng: Xoshiro256PlusPlus,
    hosts: usize,
}

/// What the coordinator wants the world to do.
pub(crate) enum Want {
    /// Send to a host.
    Tell { to: NodeId, frame: Box<LeaseFrame> },
    /// Wake the machine at this time.
    Wake { at: u64 },
}

impl Office {
    pub(crate) fn new(hosts: usize, lost_after: Duration, rng: Xoshiro256PlusPlus) -> Self {
        Self {
            machine: Controller::rebuild(settings(lost_after), Ledger::default()),
            judge: Judge::default(),
            life: 0,
            wake: 0,
            up: false,
            entries: Vec::new(),
            credential: credential(COORDINATOR, Role::Coordinator),
            rng,
            hosts,
        }
    }

    /// Starts the process from what is durable.
    pub(crate) fn start(&mut self, now: Now, lost_after: Duration, wants: &mut Vec<Want>) {
        let mut ledger = Ledger::default();
        for entry in &self.entries {
            let fits = ledger.fold(entry);
            debug_assert_eq!(fits, Ok(()), "what was saved folds");
        }
        self.life += 1;
        self.wake = 0;
        self.up = true;
        self.machine = Controller::rebuild(settings(lost_after), ledger);
        let (incarnation, continues) = (Incarnation(self.rng.next_u64()), !self.entries.is_empty());
        self.step(now, Event::Started { incarnation, continues }, usize::MAX, wants);
        let seen = (0..self.hosts).map(|number| Seen { node: node(number), alive: true, held: None });
        self.step(now, Event::View(seen.collect()), usize::MAX, wants);
    }

    /// Feeds one event and performs at most `budget` effects; answers whether the process died because the budget ran out.
    pub(crate) fn step(&mut self, now: Now, event: Event, budget: usize, wants: &mut Vec<Want>) -> bool {
        let mut effects = Vec::new();
        self.machine.step(&mut Cx::new(now, &mut self.rng, &Keys, &mut effects), event);
        for (performed, effect) in effects.into_iter().enumerate() {
            if performed >= budget {
                self.life += 1;
                self.up = false;
                return true;
            }
            match effect {
                Effect::Save(entry) => {
                    self.judge.read(&entry);
                    self.entries.push(*entry);
                }
                Effect::Tell { to, body } => wants.push(self.tell(now, to, body)),
                Effect::TellStop { to, order } => {
                    let order = Sealed::seal(&Key(node(COORDINATOR)), &order);
                    let stop = SignedStop { order, credential: self.credential.clone() };
                    wants.push(self.tell(now, to, ToHost::Stop(Box::new(stop))));
                }
            }
        }
        if let Some(deadline) = self.machine.deadline() {
            let at = deadline.0.max(now.boot.0 + 1);
            if self.wake <= now.boot.0 || at < self.wake {
                self.wake = at;
                wants.push(Want::Wake { at });
            }
        }
        false
    }

    fn tell(&mut self, now: Now, to: NodeId, body: ToHost) -> Want {
        let id = u128::from(self.rng.next_u64());
        let command = command(&settings(Duration::ZERO), self.machine.epoch(), to, body, id, now.wall);
        let sealed = Sealed::seal(&Key(node(COORDINATOR)), &command);
        Want::Tell { to, frame: Box::new(LeaseFrame { credential: self.credential.clone(), sealed }) }
    }
}

fn settings(lost_after: Duration) -> Settings {
    Settings { mesh: MESH, me: node(COORDINATOR), serial: 1, lost_after, patience: Duration::from_secs(60) }
}
