//! The end: is everything settled, what has been promised, and what came of it.

use std::collections::BTreeMap;

use patchmesh_common::id::RolloutId;

use super::{Happening, RECOUNT, World, chaos::Count, desk::Desk, policies};
use crate::{
    chance::Draws,
    fault::Kind,
    invariant::{Books, HostBook, PROMISES, Record},
    keys::COORDINATOR,
    spread::Spread,
    truth::{Spot, Truth},
};

/// How often it is judged whether everything has settled, in milliseconds.
const JUDGE: u64 = 10_000;

/// How long operators wait for lost hosts, in milliseconds.
const GIVE_UP: u64 = 40 * 60_000;

/// How a simulation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Finish {
    /// Every promise held, and everything came to its end.
    Completed,
    /// A promise was broken.
    PromiseBroken,
    /// Everything was mended and something did not come to its end.
    NotLive,
}

/// What came of a simulation.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub finish: Finish,
    /// Events that happened.
    pub events: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Copies of news among them that came to who had heard it: no events, because nothing happens.
    pub redundant: u64,
    /// Messages that were delivered, those copies included.
    pub messages: u64,
    /// Virtual milliseconds.
    pub ended: u64,
    /// Those of them that were counted instead of simulated: a mesh at rest repeats itself.
    pub rested: u64,
    /// SHA-256 of the canonical trace, in hex.
    pub trace: String,
    /// The promises.
    pub record: Record,
    /// The faults.
    pub faults: BTreeMap<&'static str, Count>,
    /// The last transitions.
    pub history: Vec<(u64, Spot, Truth)>,
    /// Faults as they struck.
    pub struck: Vec<(u64, Spot, Kind)>,
    /// Every draw, if they were kept.
    pub draws: Draws,
    /// How every rollout ended, in words.
    pub rollouts: Vec<String>,
    /// How news spread, if that was watched.
    pub spread: Option<Box<Spread>>,
}

impl World {
    pub(super) fn recount(&mut self) {
        let books = self.books();
        self.observers.recount(self.now, &books);
        self.after(RECOUNT, Happening::Recount);
    }

    fn books(&self) -> Books {
        let mut books = Books::default();
        for seat in &self.seats {
            if let Some(host) = seat.host() {
                let journal = host.journal();
                let live = journal.run.as_ref().filter(|run| run.report.is_none());
                let view = seat.gossip.as_ref().map(|gossip| {
                    gossip.view().members().map(|(node, member)| (*node, member.stamp().rank())).collect()
                });
                books.hosts.push(HostBook {
                    spot: seat.spot,
                    live: live.map(|run| (run.lease.id, run.lease.rollout)),
                    epoch: journal.epoch,
                    stops: journal.stops.clone(),
                    view: view.unwrap_or_default(),
                });
            } else if let Some(desk) = seat.desk().filter(|_| seat.up) {
                books.desks.push((seat.spot, desk.book()));
            }
        }
        books
    }

    /// After everything was mended: has everything come to its end?
    pub(super) fn judge(&mut self) {
        self.observers.overdue(self.now);
        let broken = !self.observers.record.violations.is_empty();
        self.resume_all();
        self.look_after_services();
        // A coordinator looks all the time, also when its clock was wrong at the last look.
        if let Some(primary) = self.primary().filter(|spot| self.awake(*spot)) {
            self.look_for_replans(primary);
        }
        self.give_up_lost();
        let late = self.now >= self.scenario.heal + self.scenario.patience;
        if self.now < self.scenario.least && !late {
            return self.after(JUDGE, Happening::Judge);
        }
        let open = self.open_ends();
        let audited = if broken || !open.is_empty() { Vec::new() } else { self.audited() };
        if broken {
            self.finish = Some(Finish::PromiseBroken);
        } else if !audited.is_empty() {
            for (spot, (promise, text)) in audited {
                self.observers.record.demand(promise, self.now, &[spot], false, || text);
            }
            self.finish = Some(Finish::PromiseBroken);
        } else if open.is_empty() && self.now >= self.scenario.least {
            self.observers.record.demand("liveness", self.now, &[], true, String::new);
            self.finish = Some(Finish::Completed);
        } else if late && !open.is_empty() {
            for (spots, text) in open {
                self.observers.record.demand("liveness", self.now, &spots, false, || text);
            }
            self.finish = Some(Finish::NotLive);
        } else {
            self.after(JUDGE, Happening::Judge);
        }
    }

    /// What the ledgers themselves show. A sabotage is looked for in what hosts really did.
    fn audited(&self) -> Vec<(Spot, (&'static str, String))> {
        if self.sabotage.is_some() {
            return Vec::new();
        }
        let desks = self.seats.iter().filter_map(|seat| Some((seat.spot, seat.desk()?)));
        desks.flat_map(|(spot, desk)| desk.audited().into_iter().map(move |found| (spot, found))).collect()
    }

    /// What has not come to its end, in words.
    fn open_ends(&self) -> Vec<(Vec<Spot>, String)> {
        let mut open = Vec::new();
        let Some(primary) = self.primary() else { return open };
        let Some(desk) = self.seats[primary as usize].desk() else { return open };
        for wave in 0..self.scenario.waves.len() {
            match desk.shadow.rollouts.get(&self.rollout_id(wave)) {
                None if self.is_given_up(wave) => {}
                None => open.push((vec![primary], format!("wave {wave} was never applied"))),
                // With all the others, below.
                Some(_) => {}
            }
        }
        if self.has_policies() || desk.policies.count() > 0 {
            open.push((vec![primary], String::from("policies are still kept")));
        }
        let now = self.seats[primary as usize].clock.now(self.now);
        for id in self.awaited(desk) {
            let Some(state) = desk.shadow.rollouts.get(&id).filter(|state| state.ended_at.is_none()) else { continue };
            let eligible = state.tally.eligible.iter().take(4);
            let why: Vec<_> = eligible.filter_map(|at| desk.waiting(id, *at, now)).collect();
            let (name, why) = (&state.plan.name, why.join("; "));
            open.push((vec![primary], format!("{name} has not ended: {:?}; waiting: {why}", state.tally)));
        }
        for id in desk.replannable(now.wall) {
            open.push((vec![primary], format!("rollout {id} is still to be planned again")));
        }
        if desk.plans_runs() {
            open.push((vec![primary], String::from("a run of a policy is being planned")));
        }
        for seat in self.seats.iter().filter(|seat| !seat.gone) {
            if !seat.up {
                open.push((vec![seat.spot], format!("machine {} does not run", seat.spot)));
            }
            let held = seat.host().and_then(|host| host.journal().held());
            if let Some((lease, _)) = held {
                open.push((vec![seat.spot], format!("machine {} still holds lease {lease}", seat.spot)));
            }
        }
        // By far the dearest question: only asked when the others are settled, or when everything must be told.
        if open.is_empty() || self.now >= self.scenario.heal + self.scenario.patience {
            open.extend(self.unconverged());
        }
        open
    }

    /// Rollouts that must end: every wave as it was applied last, every run of a policy, and what plans one of them again.
    fn awaited(&self, desk: &Desk) -> Vec<RolloutId> {
        let waves = (0..self.scenario.waves.len()).map(|wave| self.rollout_id(wave));
        let runs = desk
            .shadow
            .rollouts
            .iter()
            .filter(|(_, state)| state.replans.is_some() || policies::run(&state.by, &state.plan.name).is_some());
        waves.chain(runs.map(|(id, _)| *id)).collect()
    }

    /// Slots that lost hosts hold are freed by evidence only. After a while operators release what cannot go on without them.
    fn give_up_lost(&mut self) {
        if self.now < self.scenario.heal + GIVE_UP {
            return;
        }
        self.stop_stuck();
        let Some(spot) = self.primary() else { return };
        let seat = &self.seats[spot as usize];
        let Some(desk) = seat.desk().filter(|desk| !desk.shadow.active.is_empty()) else { return };
        let gone =
            |node: &patchmesh_common::id::NodeId| !self.seats.iter().any(|seat| seat.node == *node && !seat.gone);
        let held = desk.slots(seat.clock.now(self.now));
        let mut lost: Vec<_> = held.iter().map(|slot| slot.host).filter(gone).collect();
        lost.dedup();
        for node in lost {
            self.operate(super::operators::Order::Release { node });
        }
    }

    /// Views that lack what was published long ago.
    fn unconverged(&self) -> Vec<(Vec<Spot>, String)> {
        let long = self.now.saturating_sub(3 * self.scenario.pace.exchange + 30_000);
        let mut open = Vec::new();
        let living = || self.seats.iter().filter(|seat| seat.up && !seat.gone);
        for author in living() {
            let old = author.published.iter().rev().find(|(at, _)| *at <= long);
            let Some((_, rank)) = old else { continue };
            for reader in living() {
                let view = reader.gossip.as_ref().map(|gossip| gossip.view());
                let have = view.and_then(|view| view.get(&author.node)).map(|member| member.stamp().rank());
                if have < Some(*rank) {
                    open.push((
                        vec![reader.spot, author.spot],
                        format!("the view of {} has {have:?} of {}, published was {rank:?}", reader.spot, author.spot),
                    ));
                    break;
                }
            }
        }
        open
    }

    pub(super) fn outcome(mut self) -> Outcome {
        let broken = !self.observers.record.violations.is_empty();
        let finish = match self.finish {
            Some(finish) => finish,
            None if broken => Finish::PromiseBroken,
            None => Finish::NotLive,
        };
        for promise in PROMISES {
            self.observers.record.checked.entry(promise).or_default();
        }
        let rollouts = self.describe_rollouts();
        let mut draws = Draws::new();
        let mut keep = |name: String, kept: Option<Vec<u64>>| {
            if let Some(kept) = kept.filter(|kept| !kept.is_empty()) {
                draws.insert(name, kept);
            }
        };
        keep("network".into(), self.net.chance.kept());
        keep("chaos".into(), self.chaos.chance.kept());
        keep("copies".into(), self.chaos.copies.kept());
        keep("operators".into(), self.operators.chance.kept());
        keep("operators afield".into(), self.operators.afield.kept());
        keep("poison".into(), self.poisoner.kept());
        keep("ring gate delays".into(), self.gates.kept());
        for seat in &mut self.seats {
            keep(format!("machine {}", seat.spot), seat.chance.kept());
            keep(format!("mesh {}", seat.spot), seat.mesh_chance.kept());
            keep(format!("push {}", seat.spot), seat.push.kept());
            keep(format!("hand {}", seat.spot), seat.hand.kept());
            let inner = match &mut seat.part {
                super::seat::Part::Host(host) => {
                    keep(format!("packages {}", seat.spot), host.packages.kept());
                    host.chance.kept()
                }
                super::seat::Part::Desk(desk) => desk.chance.kept(),
            };
            keep(format!("run {}", seat.spot), inner);
        }
        Outcome {
            finish,
            events: self.events,
            bytes: self.bytes,
            redundant: self.redundant,
            messages: self.messages + self.redundant,
            ended: self.now,
            rested: self.rested,
            trace: self.trace.hash(),
            record: self.observers.record,
            faults: self.chaos.counts,
            history: self.history.into(),
            struck: self.trace.struck,
            draws,
            rollouts,
            spread: self.spread,
        }
    }

    fn describe_rollouts(&self) -> Vec<String> {
        let desk =
            self.seats.iter().filter(|seat| seat.number == COORDINATOR && !seat.gone).find_map(|seat| seat.desk());
        let states = desk.map(|desk| desk.shadow.rollouts.values()).into_iter().flatten();
        states
            .map(|state| {
                let tally = &state.tally;
                format!(
                    "{}: {} hosts, {} succeeded, {} failed, {} refused, {} lost, {} not started{}{}, peak {}",
                    state.plan.name,
                    state.hosts.len(),
                    tally.succeeded,
                    tally.failed,
                    tally.refused,
                    tally.busy.len() + tally.released as usize,
                    tally.eligible.len(),
                    if state.halted { ", halted" } else { "" },
                    if state.stopped.is_some() { ", stopped" } else { "" },
                    state.peak
                )
            })
            .collect()
    }
}
