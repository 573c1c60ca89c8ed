//! Faults: where they lie in ambush, how they strike, whether they had an effect, and how they heal.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use patchmesh_common::membership::Role;
use rand::Rng;

use super::{Happening, World, net::Cut, operators::Order, replans::wave_of, seat::Part};
use crate::{
    chance::Chance,
    clock::true_wall,
    fault::{Fault, Kind, Moment},
    keys::{COORDINATOR, credential},
    scenario::MINUTE,
    truth::Spot,
};

/// How many frames an enemy remembers.
const OVERHEARD: usize = 512;
/// How often a fault looks whether its moment has come, in milliseconds.
const LURK: u64 = 500;

/// How often a fault was injected and had an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// How often it was injected.
    pub injected: u64,
    /// How often it had an effect.
    pub effective: u64,
}

struct Ambush {
    fault: Fault,
    /// Moments that are let pass.
    skip: u64,
    done: bool,
}

pub(super) struct Chaos {
    pub(super) chance: Chance,
    /// For what becomes of copies.
    pub(super) copies: Chance,
    ambushes: Vec<Ambush>,
    /// Not before this does any of them strike.
    earliest: u64,
    pub(super) counts: BTreeMap<&'static str, Count>,
    overheard: VecDeque<(Spot, Rc<[u8]>)>,
}

impl Chaos {
    pub(super) fn new(mut chance: Chance, copies: Chance, faults: &[Fault]) -> Self {
        let mut ambush = |fault: &Fault| {
            let most = match fault.kind.moment() {
                Moment::Effect | Moment::Save | Moment::Desk => 25,
                Moment::Hook | Moment::Look => 4,
                _ => 1,
            };
            let drawn = chance.below(most);
            Ambush { fault: fault.clone(), skip: fault.skip.unwrap_or(drawn), done: false }
        };
        let ambushes: Vec<_> = faults.iter().map(&mut ambush).collect();
        let earliest = faults.iter().map(|fault| fault.at).min().unwrap_or(u64::MAX);
        Self { chance, copies, ambushes, earliest, counts: BTreeMap::new(), overheard: VecDeque::new() }
    }

    /// How many faults there are; those that strike by time are asked with [`Chaos::time_of`].
    pub(super) fn timed(&self) -> usize {
        self.ambushes.len()
    }

    pub(super) fn time_of(&self, number: usize) -> u64 {
        self.ambushes[number].fault.at
    }

    /// The fault that strikes `spot` at this moment.
    pub(super) fn strike(&mut self, now: u64, spot: Spot, moment: Moment) -> Option<Fault> {
        if now < self.earliest {
            return None;
        }
        let fits = |ambush: &&mut Ambush| {
            let fault = &ambush.fault;
            !ambush.done
                && fault.at <= now
                && fault.kind.moment() == moment
                && fault.host.is_none_or(|host| host == spot)
        };
        let ambush = self.ambushes.iter_mut().find(fits)?;
        if ambush.skip > 0 {
            ambush.skip -= 1;
            return None;
        }
        ambush.done = true;
        let fault = ambush.fault.clone();
        self.counts.entry(fault.kind.word()).or_default().injected += 1;
        Some(fault)
    }

    fn end(&mut self) {
        self.earliest = u64::MAX;
        self.ambushes.iter_mut().for_each(|ambush| ambush.done = true);
    }

    /// Something else came before a fault that had struck could be felt: it lies in ambush again.
    pub(super) fn rearm(&mut self, kind: Kind) {
        if let Some(ambush) = self.ambushes.iter_mut().find(|ambush| ambush.done && ambush.fault.kind == kind) {
            ambush.done = false;
        }
        self.take_back(kind.word());
    }

    /// A fault that was injected had an effect.
    pub(super) fn effective(&mut self, name: &'static str) {
        if let Some(count) = self.counts.get_mut(name) {
            count.effective += 1;
        }
    }

    pub(super) fn take_back(&mut self, name: &'static str) {
        if let Some(count) = self.counts.get_mut(name) {
            count.injected -= 1;
            if count.injected == 0 {
                self.counts.remove(name);
            }
        }
    }

    /// A fault of a single message: injected and effective at once.
    pub(super) fn happened(&mut self, name: &'static str) {
        let count = self.counts.entry(name).or_default();
        count.injected += 1;
        count.effective += 1;
    }

    pub(super) fn overhear(&mut self, to: Spot, bytes: &Rc<[u8]>) {
        if self.overheard.len() == OVERHEARD {
            self.overheard.pop_front();
        }
        self.overheard.push_back((to, Rc::clone(bytes)));
    }
}

impl World {
    /// A fault that strikes by time, or while hosts are at work.
    pub(super) fn fault_due(&mut self, number: usize) {
        let ambush = &self.chaos.ambushes[number];
        let moment = ambush.fault.kind.moment();
        let ready = match moment {
            Moment::Time | Moment::Rest => true,
            Moment::Busy => self.is_busy() && self.primary().is_some_and(|spot| self.awake(spot)),
            _ => return,
        };
        if ambush.done {
            return;
        }
        if !ready {
            return self.after(LURK, Happening::Fault { number });
        }
        let fault = self.chaos.ambushes[number].fault.clone();
        self.chaos.counts.entry(fault.kind.word()).or_default().injected += 1;
        if self.unleash(&fault) {
            self.chaos.ambushes[number].done = true;
            self.trace.fault(self.now, u32::MAX, fault.kind);
        } else {
            // Nobody was there to be hurt.
            self.chaos.take_back(fault.kind.word());
            self.after(LURK, Happening::Fault { number });
        }
    }

    /// A fault that strikes a host at a moment of its run. Answers whether the daemon, or the step, is over.
    pub(super) fn disturb(&mut self, spot: Spot, moment: Moment) -> bool {
        let Some(fault) = self.chaos.strike(self.now, spot, moment) else { return false };
        self.trace.fault(self.now, spot, fault.kind);
        let (now, lasts, word) = (self.now, fault.lasts, fault.kind.word());
        let amount = self.chaos.chance.next_u64();
        let seat = &mut self.seats[spot as usize];
        match fault.kind {
            Kind::DaemonCrash => {
                let earlier = seat.host_mut().and_then(|host| host.crash_after.replace((amount % 4) as usize));
                if earlier.is_some() {
                    self.chaos.rearm(fault.kind);
                }
            }
            Kind::DaemonKill => {
                self.chaos.effective(word);
                self.kill(spot, false);
                return true;
            }
            Kind::RunnerKill => {
                let killed = self.kill_runners(spot, amount.is_multiple_of(2));
                if killed {
                    self.chaos.effective(word);
                }
            }
            Kind::PowerLoss => {
                self.chaos.effective(word);
                let pause = 1_000 + amount % 12_000;
                let boots = seat.boots;
                self.after(pause, Happening::PowerOff { spot, boots });
                self.after(pause + 5_000 + lasts / 2, Happening::PowerOn { spot });
            }
            Kind::DiskTorn => {
                self.chaos.effective(word);
                self.tear(spot);
                self.power_off(spot);
                self.after(5_000 + lasts / 2, Happening::PowerOn { spot });
                return true;
            }
            Kind::DiskFull => {
                if let Some(host) = seat.host_mut() {
                    host.full_until = now + lasts;
                }
            }
            Kind::DiskSlow => {
                if let Some(host) = seat.host_mut() {
                    (host.slow_disk, host.full_until) = ((now + 60_000, lasts.clamp(100, 10_000)), 0);
                }
            }
            Kind::ViewLost => {
                seat.view_lost = true;
                self.chaos.effective(word);
                self.kill(spot, false);
                return true;
            }
            // One obstacle at a time, so that each is felt.
            Kind::RepositoryGone => {
                if let Some(host) = seat.host_mut() {
                    (host.offline_until, host.locked_until) = (now + lasts, 0);
                }
            }
            Kind::ManagerLocked => {
                if let Some(host) = seat.host_mut() {
                    (host.offline_until, host.locked_until) = (0, now + lasts);
                }
            }
            Kind::RepositoryAhead => {
                if let Some(host) = seat.host_mut() {
                    (host.offline_until, host.locked_until) = (0, 0);
                }
                self.repository.publish((amount % 5) as u32);
            }
            Kind::ClockJump | Kind::ClockYears => {
                let most = if fault.kind == Kind::ClockJump { 48 * 3_600_000 } else { 20 * 365 * 24 * 3_600_000_i64 };
                // Between two steps, not inside one.
                self.after(1, Happening::Jump { spot, by: (amount % (2 * most as u64)) as i64 - most });
            }
            Kind::ClockDrift => {
                (seat.clock.drift, seat.clock.since) = ((amount % 400_000) as i64 - 200_000, now);
                self.chaos.effective(word);
            }
            Kind::Suspend => {
                self.chaos.effective(word);
                self.pause(spot, lasts);
            }
            Kind::HostSlow => {
                seat.slow_until = now + lasts;
                self.chaos.effective(word);
            }
            _ => {}
        }
        false
    }

    /// A process dies, or is spared: a crash that was still to come comes to another.
    pub(super) fn disarm(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (host, desk) = match &mut seat.part {
            Part::Host(host) => (host.crash_after.take(), None),
            Part::Desk(desk) => (None, desk.crash_after.take()),
        };
        if host.is_some() {
            self.chaos.rearm(Kind::DaemonCrash);
        }
        if desk.is_some() {
            self.chaos.rearm(Kind::CoordinatorCrash);
        }
    }

    /// A host's wall clock jumps.
    pub(super) fn jump(&mut self, spot: Spot, by: i64) {
        if !self.healed {
            self.seats[spot as usize].clock.offset += by;
            self.chaos.effective(Kind::ClockJump.word());
            self.chaos.effective(Kind::ClockYears.word());
        }
    }

    /// Answers whether there was anything to strike.
    fn unleash(&mut self, fault: &Fault) -> bool {
        let (kind, word, lasts) = (fault.kind, fault.kind.word(), fault.lasts);
        let Some(primary) = self.primary() else { return false };
        match kind {
            Kind::CoordinatorKill => {
                self.chaos.effective(word);
                self.die(primary, false);
                self.after(lasts, Happening::Start { spot: primary });
            }
            Kind::CoordinatorIsolated => {
                let side = (0..self.seats.len()).map(|spot| spot == primary as usize).collect();
                self.cut(Cut { name: word, side, one_way: false, flaps: 0, until: self.now + lasts, felt: false });
            }
            Kind::CoordinatorPaused => {
                self.chaos.effective(word);
                self.pause(primary, lasts);
            }
            Kind::CoordinatorTwin => self.twin(primary, lasts),
            Kind::CoordinatorRestored => {
                self.chaos.effective(word);
                self.die(primary, false);
                let cut = self.chaos.chance.between(1, 30) as usize;
                if let Some(desk) = self.seats[primary as usize].desk_mut() {
                    let keep = desk.entries.len().saturating_sub(cut).max(2);
                    desk.entries.truncate(keep);
                    desk.continues = false;
                }
                self.after(2_000, Happening::Start { spot: primary });
                // What operators applied may be gone with the store; they look, and apply it again.
                for wave in 0..self.scenario.waves.len() {
                    let at = self.scenario.waves[wave].at.max(self.now + 30_000);
                    self.at(at, Happening::Operator { order: Order::Apply { wave } });
                }
            }
            Kind::CoordinatorClock => {
                self.chaos.effective(word);
                let amount = self.chaos.chance.below(4 * 3_600_000) as i64 - 2 * 3_600_000;
                self.seats[primary as usize].clock.offset += amount;
            }
            Kind::Partition | Kind::PartitionOneWay | Kind::PartitionFlapping => {
                let mut side: Vec<bool> = (0..self.seats.len()).map(|_| self.chaos.chance.once_in(2)).collect();
                if side.iter().all(|one| *one == side[0]) {
                    side[primary as usize] = !side[primary as usize];
                }
                let flaps = if kind == Kind::PartitionFlapping { 3_000 + self.chaos.chance.below(5_000) } else { 0 };
                let one_way = kind == Kind::PartitionOneWay;
                self.cut(Cut { name: word, side, one_way, flaps, until: self.now + lasts, felt: false });
            }
            Kind::HostJoin => {
                self.chaos.effective(word);
                let number = self.seats.iter().map(|seat| seat.number).filter(|number| *number < COORDINATOR).max();
                let spot = self.settle(number.unwrap_or(0) + 1, None);
                self.after(100, Happening::Start { spot });
            }
            Kind::HostLeave => return self.leave(word),
            Kind::HostClone => return self.clone_host(word, lasts),
            Kind::OperatorCollision => return self.collide(false),
            Kind::OperatorRelease => return self.release_one(),
            Kind::OperatorStop => {
                // The first wave feeds the other faults.
                let ready = |wave: &usize| *wave > 0 || self.now > 6 * 60_000;
                let Some(wave) = self.busy_wave().filter(ready) else { return false };
                self.after(1, Happening::Operator { order: Order::Stop { wave } });
                return self.collide(true);
            }
            Kind::StopEverything => return self.stop_everything(primary, lasts),
            Kind::Forge => return self.forge(),
            Kind::ServiceSick => return self.fall_ill(lasts),
            Kind::PoisonMessage => return self.send_poison(lasts),
            Kind::Replay | Kind::Flood => {
                let count = if kind == Kind::Flood { 600 } else { 60 };
                for _ in 0..count {
                    let pick = self.chaos.chance.below(self.chaos.overheard.len().max(1) as u64) as usize;
                    let Some((spot, bytes)) = self.chaos.overheard.get(pick).cloned() else { return false };
                    let pause = self.chaos.chance.below(lasts.max(1_000));
                    self.chaos.effective(word);
                    self.after(pause, Happening::Frame { spot, bytes });
                }
            }
            _ => {}
        }
        true
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        self.net.cuts.retain(|old| !old.is_over(self.now));
        self.net.cuts.push(cut);
        self.strain_links();
    }

    /// A second coordinator on a copy of the store.
    fn twin(&mut self, primary: Spot, lasts: u64) {
        self.chaos.effective(Kind::CoordinatorTwin.word());
        let store = self.seats[primary as usize].desk().map(|desk| (desk.entries.clone(), desk.policies.copy()));
        let (entries, policies) = store.unwrap_or_default();
        let spot = self.settle(COORDINATOR, None);
        if let Some(desk) = self.seats[spot as usize].desk_mut() {
            (desk.entries, desk.policies, desk.continues) = (entries, policies, false);
        }
        self.after(100, Happening::Start { spot });
        self.after(lasts, Happening::Retire { spot });
        // Long enough for a copy to learn that it is one, before its machine is started again.
        if lasts >= MINUTE && self.chaos.copies.once_in(2) {
            let pause = self.chaos.copies.between(5_000, lasts / 2);
            self.after(pause, Happening::PowerOff { spot, boots: 1 });
            self.after(pause + 1_000, Happening::PowerOn { spot });
        }
    }

    /// A host with no work, other than those that everybody dials first.
    pub(super) fn idle_host(&mut self) -> Option<Spot> {
        let idle: Vec<Spot> = self
            .seats
            .iter()
            .filter(|seat| seat.up && seat.number > 1 && seat.number < COORDINATOR)
            .filter(|seat| seat.host().is_some_and(|host| host.machine.journal().run.is_none()))
            .map(|seat| seat.spot)
            .collect();
        let pick = self.chaos.chance.below(idle.len().max(1) as u64) as usize;
        idle.get(pick).copied()
    }

    fn leave(&mut self, word: &'static str) -> bool {
        let Some(spot) = self.idle_host() else { return false };
        self.chaos.effective(word);
        // Its last record carries a membership that ends soon.
        let until = true_wall(self.now + 120_000);
        let seat = &mut self.seats[spot as usize];
        seat.credential = credential(seat.number, Role::Node, until);
        self.after(1_000, Happening::Retire { spot });
        true
    }

    fn clone_host(&mut self, word: &'static str, lasts: u64) -> bool {
        let Some(original) = self.idle_host() else { return false };
        self.chaos.effective(word);
        let number = self.seats[original as usize].number;
        self.observers.excuse(self.seats[original as usize].node);
        let copy = self.seats[original as usize].host().map(|host| (host.frames.clone(), host.installed.clone()));
        let spot = self.settle(number, None);
        if let (Some(host), Some((frames, installed))) = (self.seats[spot as usize].host_mut(), copy) {
            (host.frames, host.installed) = (frames, installed);
        }
        self.tell_copied(spot);
        self.after(100, Happening::Start { spot });
        self.after(lasts, Happening::Retire { spot });
        true
    }

    /// Whether the packages of this wave break on this host.
    pub(super) fn breaks(&self, spot: Spot, _transaction: &patchmesh_common::inventory::Transaction) -> bool {
        self.every(spot, |wave| wave.broken)
    }

    /// Whether the host is unwell after what it does now.
    pub(super) fn is_unwell(&self, spot: Spot) -> bool {
        self.every(spot, |wave| wave.unwell)
    }

    /// Whether the host is one of those that the wave at which it is at work has chosen, every so many.
    fn every(&self, spot: Spot, of: impl Fn(&crate::scenario::Wave) -> u64) -> bool {
        let number = u64::from(self.seats[spot as usize].number);
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        let held = self.seats[spot as usize].host().and_then(|host| host.machine.journal().held());
        let Some((_, rollout)) = held.filter(|_| desk.is_some()) else { return false };
        let wave = wave_of(rollout).and_then(|number| self.scenario.waves.get(number));
        wave.map(of).is_some_and(|every| every > 0 && number.is_multiple_of(every))
    }

    /// Everything that can be mended is mended.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.chaos.end();
        self.recover_all();
        for cut in self.net.heal().into_iter().filter(|cut| !cut.felt) {
            self.chaos.take_back(cut.name);
        }
        let primary = self.primary();
        for spot in 0..self.seats.len() as Spot {
            self.disarm(spot);
            let seat = &mut self.seats[spot as usize];
            let copy = seat.number == COORDINATOR && Some(spot) != primary;
            seat.clock.heal();
            (seat.paused_until, seat.slow_until) = (0, 0);
            if let Some(host) = seat.host_mut() {
                (host.full_until, host.slow_disk, host.locked_until, host.offline_until) = (0, (0, 0), 0, 0);
                if std::mem::take(&mut host.stubborn) {
                    host.installed.configure();
                }
            }
            if copy {
                self.retire(spot);
                continue;
            }
            self.resume(spot);
            self.after(100, Happening::Start { spot });
            self.after(60_000, Happening::PowerOn { spot });
        }
        for wave in 0..self.scenario.waves.len() {
            self.after(5_000, Happening::Operator { order: Order::Resume { wave } });
        }
        self.after(10_000, Happening::Judge);
    }
}
