//! The shell around [`PatchRun`]: events in, effects performed in order, saves that take time or fail, and the truth of both.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use patchmesh_common::{
    gossip::Mode,
    id::{BootId, Epoch, LeaseId, NodeId},
    inventory::Transaction,
    machine::{Cx, Machine},
    run::{
        Phase,
        act::ActId,
        compare::{PackageSet, compare},
        journal::{Journal, JournalEntry},
        machine::{Effect, Event, PatchRun, Settings},
        message::{Answer, Command, LeaseFrame, MAX_FRAME, Report},
        recovery::MAX_ATTEMPTS,
    },
    seal::{Payload, Sealed},
    wire,
};

use super::{Happening, World, acts::Run};
use crate::{
    chance::Chance,
    fault::{Kind, Moment},
    keys::{Key, Keys, MESH},
    packages::Installed,
    truth::{Spot, Truth},
};

/// How many events wait while a save is in flight; the rest is refused, as by the actor's mailbox.
const MAILBOX: usize = 64;

/// What a host has beside its place in the mesh.
pub(super) struct Host {
    pub(super) machine: PatchRun,
    pub(super) chance: Chance,
    /// The run journal: what is durable.
    pub(super) frames: Vec<Vec<u8>>,
    /// The fold of so many frames. They only ever grow in number, so that a fold is good until there is another one.
    folded: RefCell<(usize, Rc<Journal>)>,
    /// Effects that wait for the save before them.
    pub(super) pending: VecDeque<Effect>,
    /// Events that came meanwhile.
    pub(super) inbox: VecDeque<Event>,
    pub(super) wake: u64,
    pub(super) full_until: u64,
    /// Saves take so many milliseconds, until then.
    pub(super) slow_disk: (u64, u64),
    /// The daemon dies after so many effects.
    pub(super) crash_after: Option<usize>,
    pub(super) locked_until: u64,
    pub(super) offline_until: u64,
    pub(super) installed: Installed,
    /// For what becomes of an unclean package database.
    pub(super) packages: Chance,
    /// The package database is unclean and no repair helps.
    pub(super) stubborn: bool,
    /// The package set before the first transaction of a lease: durable.
    pub(super) before: BTreeMap<LeaseId, PackageSet>,
    /// The package set when a lease was granted: the truth.
    pub(super) granted_with: BTreeMap<LeaseId, PackageSet>,
    pub(super) runs: BTreeMap<(LeaseId, u32), Run>,
    /// The act that waits for a runner.
    pub(super) waiting: Option<(ActId, LeaseId, u32)>,
    /// The epoch of the command in hand.
    pub(super) commanded: Epoch,
}

impl Host {
    pub(super) fn new(chance: Chance, packages: Chance, node: NodeId) -> Self {
        let settings = Settings { mesh: MESH, me: node, mode: Mode::Enforce, boot_id: BootId([0; 16]) };
        Self {
            machine: PatchRun::rebuild(settings, []),
            chance,
            frames: Vec::new(),
            folded: Default::default(),
            pending: VecDeque::new(),
            inbox: VecDeque::new(),
            wake: 0,
            full_until: 0,
            slow_disk: (0, 0),
            crash_after: None,
            locked_until: 0,
            offline_until: 0,
            installed: Installed::default(),
            packages,
            stubborn: false,
            before: BTreeMap::new(),
            granted_with: BTreeMap::new(),
            runs: BTreeMap::new(),
            waiting: None,
            commanded: Epoch::default(),
        }
    }

    /// The fold of what is durable.
    pub(super) fn journal(&self) -> Rc<Journal> {
        let mut folded = self.folded.borrow_mut();
        if folded.0 != self.frames.len() {
            let entries: Vec<_> = self.frames.iter().filter_map(|frame| JournalEntry::decode(frame).ok()).collect();
            *folded = (self.frames.len(), Rc::new(Journal::fold(&entries)));
        }
        Rc::clone(&folded.1)
    }

    fn save(&mut self, entry: &JournalEntry) {
        self.frames.push(entry.encode());
    }
}

impl World {
    pub(super) fn start_run(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (node, boot_id) = (seat.node, seat.boot_id());
        let Some(host) = seat.host_mut() else { return };
        let entries: Vec<_> = host.frames.iter().filter_map(|frame| JournalEntry::decode(frame).ok()).collect();
        let settings = Settings { mesh: MESH, me: node, mode: Mode::Enforce, boot_id };
        host.machine = PatchRun::rebuild(settings, &entries);
        (host.wake, host.waiting) = (0, None);
        host.pending.clear();
        host.inbox.clear();
        self.run_event(spot, Event::Started);
    }

    /// What a machine that starts on somebody else's disk has saved already.
    pub(super) fn tell_copied(&mut self, spot: Spot) {
        let Some(journal) = self.seats[spot as usize].host().map(Host::journal) else { return };
        if let Some(epoch) = journal.epoch {
            self.tell(spot, Truth::EpochSaved(epoch));
        }
        for (scope, (sequence, stop)) in journal.stops.clone() {
            self.tell(spot, Truth::StopSaved { scope, sequence, stop });
        }
    }

    pub(super) fn wake_run(&mut self, spot: Spot) {
        self.run_event(spot, Event::Tick);
    }

    pub(super) fn tell_part_skew(&mut self, spot: Spot, skew: Option<i64>) {
        match self.seats[spot as usize].desk().is_some() {
            true => self.desk_event(spot, patchmesh_common::rollout::controller::Event::Skew(skew)),
            false => self.run_event(spot, Event::Skew(skew)),
        }
    }

    /// Feeds the machine, or lets the event wait for the save in flight.
    pub(super) fn run_event(&mut self, spot: Spot, event: Event) {
        let Some(host) = self.seats[spot as usize].host_mut() else { return };
        if host.pending.is_empty() {
            self.run_step(spot, event);
        } else if host.inbox.len() < MAILBOX || matches!(event, Event::Ended { .. } | Event::Safe(_)) {
            host.inbox.push_back(event);
        }
    }

    fn run_step(&mut self, spot: Spot, mut event: Event) {
        if let Some(sabotage) = &mut self.sabotage {
            sabotage.host_event(&mut event);
        }
        let seat = &mut self.seats[spot as usize];
        let now = seat.clock.now(self.now);
        if !seat.up {
            return;
        }
        let Some(host) = seat.host_mut() else { return };
        if let Event::Command(frame) = &event
            && let Ok(command) = wire::decode::<Command>(&frame.sealed.body, Command::LIMIT)
        {
            host.commanded = command.epoch;
        }
        let mut effects = Vec::new();
        host.machine.step(&mut Cx::new(now, &mut host.chance, &Keys, &mut effects), event);
        if let Some(sabotage) = &mut self.sabotage {
            let seat = &mut self.seats[spot as usize];
            let node = seat.node;
            let Some(host) = seat.host_mut() else { return };
            if let Some(more) = sabotage.host_effects(node, &mut effects) {
                let mut unsaved = Vec::new();
                host.machine.step(&mut Cx::new(now, &mut host.chance, &Keys, &mut unsaved), more);
            }
        }
        let Some(host) = self.seats[spot as usize].host_mut() else { return };
        host.pending.extend(effects);
        self.perform(spot);
    }

    /// Performs what waits until a save takes time, or the daemon dies.
    pub(super) fn perform(&mut self, spot: Spot) {
        loop {
            let Some(host) = self.seats[spot as usize].host_mut() else { return };
            let Some(effect) = host.pending.front() else { break };
            let saves = matches!(effect, Effect::Save(_));
            let working = host.machine.journal().run.is_some();
            if let Some(left) = &mut host.crash_after {
                if *left == 0 {
                    host.crash_after = None;
                    self.chaos.effective(Kind::DaemonCrash.word());
                    return self.kill(spot, false);
                }
                *left -= 1;
            }
            if working && self.disturb(spot, Moment::Effect) {
                return;
            }
            if saves {
                if working && self.disturb(spot, Moment::Save) {
                    return;
                }
                let now = self.now;
                let life = self.seats[spot as usize].life;
                let Some(host) = self.seats[spot as usize].host_mut() else { return };
                if host.full_until > now {
                    self.chaos.effective(Kind::DiskFull.word());
                    return self.kill(spot, false);
                }
                if host.slow_disk.0 > now {
                    let pause = host.slow_disk.1;
                    self.chaos.effective(Kind::DiskSlow.word());
                    return self.after(pause, Happening::Saved { spot, life });
                }
            }
            self.perform_first(spot);
            if !self.seats[spot as usize].up {
                return;
            }
        }
        self.arm_run(spot);
        let next = self.seats[spot as usize].host_mut().and_then(|host| host.inbox.pop_front());
        if let Some(event) = next {
            self.run_step(spot, event);
        }
    }

    /// The save in flight is durable.
    pub(super) fn saved(&mut self, spot: Spot) {
        self.perform_first(spot);
        self.perform(spot);
    }

    /// The power fails in the middle of a save: it is durable, or torn and gone.
    pub(super) fn tear(&mut self, spot: Spot) {
        let Some(host) = self.seats[spot as usize].host_mut() else { return };
        let whole = host.chance.once_in(2);
        if let Some(Effect::Save(entry)) = host.pending.pop_front().filter(|_| whole) {
            self.save(spot, &entry);
        }
    }

    fn perform_first(&mut self, spot: Spot) {
        let Some(effect) = self.seats[spot as usize].host_mut().and_then(|host| host.pending.pop_front()) else {
            return;
        };
        match effect {
            Effect::Save(entry) => self.save(spot, &entry),
            Effect::Answer(answer) => self.answer(spot, &answer),
            Effect::Start { id, act } => self.start_act(spot, id, act),
            Effect::Held(held) => {
                self.seats[spot as usize].body.held = held;
                self.describe(spot);
            }
            Effect::Orders(orders) => {
                self.tell(spot, Truth::Confirmed(orders.clone()));
                self.seats[spot as usize].body.orders = orders;
                self.describe(spot);
            }
            Effect::Ignored { .. } => self.chaos.effective(Kind::Forge.word()),
        }
    }

    fn answer(&mut self, spot: Spot, answer: &Answer) {
        let seat = &self.seats[spot as usize];
        let sealed = Sealed::seal(&Key(seat.node), answer);
        let frame = LeaseFrame { credential: seat.credential.clone(), sealed };
        self.send_frame(spot, &answer.to, &frame);
    }

    pub(super) fn send_frame(&mut self, from: Spot, to: &NodeId, frame: &LeaseFrame) {
        let bytes: Rc<[u8]> = wire::encode(frame).into();
        let spots = self.spots_of(to);
        if spots.is_empty() {
            return;
        }
        let choice = if spots.len() > 1 { self.net.chance.below(spots.len() as u64) } else { 0 };
        let to = spots[choice as usize];
        self.chaos.overhear(to, &bytes);
        for delay in self.transit(from, to).into_iter().flatten() {
            self.bytes += bytes.len() as u64;
            self.after(delay, Happening::Frame { spot: to, bytes: Rc::clone(&bytes) });
        }
    }

    pub(super) fn frame_arrives(&mut self, spot: Spot, bytes: &[u8]) {
        if !self.seats[spot as usize].up {
            return;
        }
        let Ok(frame) = wire::decode::<LeaseFrame>(bytes, MAX_FRAME) else { return };
        if !self.takes_up(spot, &frame) {
            return;
        }
        self.tell_safe(spot);
        match self.seats[spot as usize].desk().is_some() {
            true => self.desk_hears(spot, frame),
            false => self.run_event(spot, Event::Command(Box::new(frame))),
        }
    }

    fn arm_run(&mut self, spot: Spot) {
        let now = self.now;
        let seat = &mut self.seats[spot as usize];
        let (clock, life) = (seat.clock, seat.life);
        let Some(host) = seat.host_mut() else { return };
        let Some(deadline) = host.machine.deadline() else { return };
        let at = clock.when(deadline).max(now + 1);
        if host.wake <= now || at < host.wake {
            host.wake = at;
            self.at(at, Happening::WakeRun { spot, life });
        }
    }

    /// Makes an entry durable, and tells what that means.
    fn save(&mut self, spot: Spot, entry: &JournalEntry) {
        let seat = &mut self.seats[spot as usize];
        let (now, boot) = (seat.clock.now(self.now), seat.boot_id());
        let Some(host) = seat.host_mut() else { return };
        host.save(entry);
        let truth = match entry {
            JournalEntry::Epoch(epoch) => Truth::EpochSaved(*epoch),
            JournalEntry::Stop(order) => {
                Truth::StopSaved { scope: order.scope, sequence: order.sequence, stop: order.stop }
            }
            JournalEntry::Released { lease } => Truth::ReleaseSaved(*lease),
            JournalEntry::Granted { lease, .. } => {
                host.granted_with.insert(lease.id, host.installed.set());
                Truth::Granted {
                    lease: lease.id,
                    rollout: lease.rollout,
                    operation: lease.operation,
                    transaction: lease.transaction.clone(),
                    opening: lease.opening,
                    latest: lease.latest_start,
                    epoch: host.commanded,
                    now,
                    boot,
                }
            }
            JournalEntry::Ended { phase: Phase::Transaction, .. } => {
                let Some((lease, _)) = host.machine.journal().held() else { return };
                Truth::ResultSaved(lease)
            }
            JournalEntry::Ended {
                phase: Phase::PreInstall | Phase::PostInstall | Phase::PostReboot | Phase::OnExit,
                ..
            } => {
                let Some((lease, _)) = host.machine.journal().held() else { return };
                Truth::HookSaved(lease)
            }
            JournalEntry::Settled(report) => settled(host, report),
            JournalEntry::Acknowledged { lease } => {
                host.before.remove(lease);
                host.granted_with.remove(lease);
                host.runs.retain(|(other, _), _| other != lease);
                Truth::Acknowledged(*lease)
            }
            _ => return,
        };
        self.tell(spot, truth);
    }
}

fn settled(host: &Host, report: &Report) -> Truth {
    let (before, after) = (host.granted_with.get(&report.lease), host.installed.set());
    let in_vain = |phase: Phase| {
        let mut steps = report.steps.iter();
        steps.any(|step| step.phase == phase && !step.ok && step.attempt >= MAX_ATTEMPTS)
    };
    let changed = compare(before, &after, &Transaction::default()).finished(&host.installed.unfinished()).changed;
    Truth::Settled {
        lease: report.lease,
        rollout: report.rollout,
        outcome: report.outcome,
        reported: report.packages.clone(),
        changed,
        verified: report.steps.iter().rev().any(|step| step.phase == Phase::Verify && step.ok)
            || report.error.as_ref().is_some_and(|error| error.code == "not-exact"),
        in_vain: in_vain(Phase::OnExit),
        hook: report.error.as_ref().is_some_and(|error| error.code.starts_with("hook-")) || in_vain(Phase::PostReboot),
    }
}
