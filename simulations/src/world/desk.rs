//! The shell around [`Controller`]: a durable ledger, surveys before plans, commands sealed and sent.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    gossip::{Mode, Presence},
    id::{Epoch, Incarnation, NodeId, RolloutId},
    machine::{Cx, Machine},
    poison::Poison,
    rollout::{
        OnHookFailure, Operation,
        attempts::Attempts,
        audit::Audit,
        chain::{Chain, Head},
        controller::{Controller, Effect, Event, Seen, Settings, Words, open_answer},
        hook_failure::failed_hook,
        ledger::{Ledger, LedgerAct, LedgerEntry, Progress, report_of},
        planner,
        slots::{Slot, slots},
    },
    run::message::{LeaseFrame, OrderStamp, SignedStop, StopOrder, StopScope, ToCoordinator, ToHost},
    seal::Sealed,
    time::Now,
};
use rand::Rng;

use super::{
    Happening, World,
    policies::{self, Policies},
    rings,
    surveys::Asking,
};
use crate::{
    chance::Chance,
    fault::{Kind, Moment},
    invariant::{DeskBook, DeskRollout},
    keys::{COORDINATOR, Key, Keys, MESH, node},
    truth::{Spot, Truth},
};

/// Silence after which a host with a slot counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(300);
/// How long a host may refuse for a passing reason.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a coordinator has beside its place in the mesh.
pub(super) struct Desk {
    machine: Controller,
    pub(super) chance: Chance,
    /// The ledger: what is durable, frame by frame as in the file.
    pub(super) entries: Vec<Vec<u8>>,
    /// Where it ends.
    head: Head,
    /// Whether this store is the one that the last process left here.
    pub(super) continues: bool,
    /// Whether it was once another one that had rollouts, whatever the ledger says of that.
    copied: bool,
    /// The fold of what is durable.
    pub(super) shadow: Ledger,
    /// Hosts for which it says that nobody waits any longer, by rollout with steps.
    gone: BTreeMap<RolloutId, BTreeSet<NodeId>>,
    wake: u64,
    /// Rounds of questions before plans.
    pub(super) asking: Vec<Asking>,
    /// What operators keep here, and what comes of it.
    pub(super) policies: Policies,
    /// What it plans again, and could not.
    pub(super) replanning: Attempts<RolloutId>,
    /// Whether it looks for that, soon.
    pub(super) looks: bool,
    pub(super) view_due: bool,
    /// The process dies after so many effects.
    pub(super) crash_after: Option<usize>,
}

fn settings() -> Settings {
    let poison = Poison::default();
    Settings { mesh: MESH, me: node(COORDINATOR), serial: 1, lost_after: LOST_AFTER, patience: PATIENCE, poison }
}

impl Desk {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            machine: Controller::rebuild(settings(), Ledger::default()),
            chance,
            entries: Vec::new(),
            head: Head::default(),
            continues: false,
            copied: false,
            shadow: Ledger::default(),
            gone: BTreeMap::new(),
            wake: 0,
            asking: Vec::new(),
            policies: Policies::default(),
            replanning: Attempts::default(),
            looks: false,
            view_due: false,
            crash_after: None,
        }
    }

    pub(super) fn down(&mut self) {
        self.asking.clear();
        self.policies.forget();
        (self.replanning, self.looks) = (Attempts::default(), false);
        self.view_due = false;
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.machine.epoch()
    }

    /// Whether a host is at work for a rollout that has not ended.
    pub(super) fn is_busy(&self) -> bool {
        self.shadow.rollouts.values().any(|state| state.ended_at.is_none() && !state.tally.busy.is_empty())
    }

    /// Whether every rollout has ended and nobody is asked for another.
    pub(super) fn is_idle(&self) -> bool {
        self.asking.is_empty() && !self.looks && self.shadow.rollouts.values().all(|state| state.ended_at.is_some())
    }

    /// Whether `saved` is another coordinator's epoch, and this one has the copy.
    fn has_rival(&self, saved: Epoch) -> bool {
        let Self { shadow, copied, .. } = self;
        // Otherwise it is an answer to an earlier epoch, which came late.
        let later = shadow.follows.is_some() || !saved.admits(&shadow.epoch.unwrap_or_default());
        *copied && later && !shadow.epochs.contains(&saved)
    }

    /// The ledger, read again as an auditor would; what does not hold, by promise.
    pub(super) fn audited(&self) -> Vec<(&'static str, String)> {
        let mut audit = Audit::default();
        for (number, frame) in self.entries.iter().enumerate() {
            if let Err(bad) = audit.read(frame, &Keys) {
                return vec![("authorship", format!("entry {number} of a ledger does not hold: {bad}"))];
            }
        }
        let broken = audit.violations().iter();
        let mut found: Vec<_> =
            broken.map(|one| (one.promise, format!("entry {} of a ledger: {}", one.entry, one.text))).collect();
        found.extend(
            audit.testimonies().denials.iter().map(|one| {
                ("authorship", format!("entry {} of a ledger: {} {}", one.entry, one.host.short(), one.text))
            }),
        );
        found
    }

    /// Who holds a slot.
    pub(super) fn slots(&self, now: Now) -> Vec<Slot> {
        slots(self.machine.ledger(), self.machine.desk(), now.boot)
    }

    /// What its machine holds for durable.
    pub(super) fn ledger(&self) -> &Ledger {
        self.machine.ledger()
    }

    /// What it remembers of its talk with hosts.
    pub(super) fn talk(&self) -> &planner::Desk {
        self.machine.desk()
    }

    /// Why a host does not move, as the controller says it.
    pub(super) fn waiting(&self, rollout: RolloutId, at: usize, now: Now) -> Option<String> {
        planner::waiting(self.machine.ledger(), rollout, at, self.machine.desk(), now).map(|why| why.text())
    }

    pub(super) fn book(&self) -> DeskBook {
        let held = |state: &patchmesh_common::rollout::ledger::RolloutState| {
            let hosts = state.plan.hosts.iter().zip(&state.hosts);
            hosts
                .filter_map(|(planned, host)| match host.progress {
                    Progress::Running { lease, .. } => Some((planned.node, lease)),
                    _ => None,
                })
                .collect::<BTreeMap<_, _>>()
        };
        let rollouts = self.shadow.rollouts.iter();
        rollouts
            .map(|(id, state)| {
                let book = DeskRollout {
                    held: held(state),
                    disrupts: state.plan.operation == Operation::Install,
                    failed: state.tally.failed,
                    hook_failed: state.failed_hook().is_some(),
                    halted: state.halted,
                    place: state.course.place,
                    since: state.course.since,
                    opened: state.course.opened,
                    gone: self.gone.get(id).cloned().unwrap_or_default(),
                    begun: rings::begun(state),
                    passed: rings::passed(state),
                    run: policies::run(&state.by, &state.plan.name),
                };
                (*id, book)
            })
            .collect()
    }
}

impl World {
    pub(super) fn start_desk(&mut self, spot: Spot) {
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        let (mut ledger, mut chain) = (Ledger::default(), Chain::default());
        desk.gone.clear();
        for frame in &desk.entries {
            if let Ok(entry) = chain.next(frame, &Keys) {
                let gone = rings::let_go(&ledger, &entry);
                gone.into_iter().for_each(|(rollout, hosts)| desk.gone.entry(rollout).or_default().extend(hosts));
                // What was saved was folded before.
                let _ = ledger.fold(&entry);
            }
        }
        desk.head = chain.head();
        desk.shadow = ledger.clone();
        desk.machine = Controller::rebuild(settings(), ledger);
        desk.wake = 0;
        let incarnation = Incarnation(desk.chance.next_u64());
        let continues = desk.continues;
        if !continues {
            desk.copied = !desk.shadow.rollouts.is_empty();
        }
        let copied = desk.copied;
        let book = desk.book();
        let orders = desk.shadow.stamps();
        self.observers.replaced(spot, &book);
        if copied {
            let boot = self.seats[spot as usize].clock.now(self.now).boot;
            self.tell(spot, Truth::CopyStarted(boot));
        }
        for OrderStamp { scope, sequence, stop } in orders {
            self.tell(spot, Truth::StopSaved { scope, sequence, stop });
        }
        self.tell_services(spot);
        self.desk_event(spot, Event::Started { incarnation, continues });
        self.limit_fleet(spot);
        self.keep_services(spot);
        self.look_for_replans(spot);
        self.seats[spot as usize].body.mode = Mode::Observe;
        self.follow_policies(spot);
    }

    pub(super) fn wake_desk(&mut self, spot: Spot) {
        self.desk_event(spot, Event::Tick);
    }

    pub(super) fn desk_event(&mut self, spot: Spot, mut event: Event) {
        if let Some(sabotage) = &mut self.sabotage {
            sabotage.desk_event(&mut event);
        }
        let seat = &mut self.seats[spot as usize];
        let now = seat.clock.now(self.now);
        if !seat.up {
            return;
        }
        let Some(desk) = seat.desk_mut() else { return };
        let mut effects = Vec::new();
        desk.machine.step(&mut Cx::new(now, &mut desk.chance, &Keys, &mut effects), event);
        if let Some(sabotage) = &mut self.sabotage {
            sabotage.desk_effects(&mut effects);
        }
        for effect in effects {
            if self.crashes(spot) {
                return;
            }
            self.desk_effect(spot, effect);
        }
        self.show_orders(spot);
        self.arm_desk(spot);
    }

    fn crashes(&mut self, spot: Spot) -> bool {
        let busy = self.seats[spot as usize].desk().is_some_and(Desk::is_busy);
        if busy && self.chaos.strike(self.now, spot, Moment::Desk).is_some() {
            let left = self.chaos.chance.below(6) as usize;
            let earlier = self.seats[spot as usize].desk_mut().and_then(|desk| desk.crash_after.replace(left));
            if earlier.is_some() {
                self.chaos.rearm(Kind::CoordinatorCrash);
            }
        }
        let Some(left) = self.seats[spot as usize].desk_mut().and_then(|desk| desk.crash_after.as_mut()) else {
            return false;
        };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        self.chaos.effective(Kind::CoordinatorCrash.word());
        if let Some(desk) = self.seats[spot as usize].desk_mut() {
            desk.crash_after = None;
        }
        self.kill(spot, false);
        true
    }

    fn desk_effect(&mut self, spot: Spot, effect: Effect) {
        match effect {
            Effect::Save(entry) => self.save_entry(spot, &entry),
            Effect::Tell { to, body } => self.command(spot, to, body),
            Effect::TellStop { to, order } => {
                let signed = self.sealed_stop(spot, &order);
                self.command(spot, to, ToHost::Stop(signed));
            }
            Effect::AskGates { rollout, ring, attempt, .. } => self.ask_gates(spot, rollout, ring, attempt),
            // A message to the mesh's actor, which may start after this.
            Effect::Order(order) => {
                let (life, signed) = (self.seats[spot as usize].life, self.sealed_stop(spot, &order));
                self.after(0, Happening::Order { spot, life, signed });
            }
        }
    }

    fn sealed_stop(&self, spot: Spot, order: &StopOrder) -> Box<SignedStop> {
        let credential = self.seats[spot as usize].credential.clone();
        Box::new(SignedStop { order: Sealed::seal(&Key(node(COORDINATOR)), order), credential })
    }

    /// The coordinator's own record names what its ledger holds.
    fn show_orders(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let Some(orders) = seat.desk().map(|desk| desk.shadow.stamps()) else { return };
        if seat.body.orders != orders {
            seat.body.orders = orders.clone();
            self.tell(spot, Truth::Confirmed(orders));
            self.describe(spot);
        }
    }

    pub(super) fn command(&mut self, spot: Spot, to: NodeId, body: ToHost) {
        let now = self.seats[spot as usize].clock.now(self.now);
        let credential = self.seats[spot as usize].credential.clone();
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        let id = u128::from(desk.chance.next_u64());
        let command = desk.machine.command(to, body, id, now.wall, desk.head);
        let frame = LeaseFrame { credential, sealed: Sealed::seal(&Key(node(COORDINATOR)), &command) };
        self.send_frame(spot, &to, &frame);
    }

    fn arm_desk(&mut self, spot: Spot) {
        let now = self.now;
        let seat = &mut self.seats[spot as usize];
        let (clock, life) = (seat.clock, seat.life);
        let Some(desk) = seat.desk_mut() else { return };
        let Some(deadline) = desk.machine.deadline() else { return };
        let at = clock.when(deadline).max(now + 1);
        if desk.wake <= now || at < desk.wake {
            desk.wake = at;
            self.at(at, Happening::WakeDesk { spot, life });
        }
    }

    /// Makes an entry durable, and tells what that means.
    fn save_entry(&mut self, spot: Spot, entry: &LedgerEntry) {
        let seat = &mut self.seats[spot as usize];
        let (now, error) = (seat.clock.now(self.now), seat.clock.error(self.now));
        let Some(desk) = seat.desk_mut() else { return };
        let frame = desk.head.link(&Key(node(COORDINATOR)), entry);
        desk.head = desk.head.after(&frame);
        desk.entries.push(frame);
        // As the real one: a process that dies before it wrote anything leaves a copied store a copied store.
        desk.continues = true;
        let before = reported_place(&desk.shadow, entry);
        let gone = rings::let_go(&desk.shadow, entry);
        let settled = rings::settled(&desk.shadow, entry);
        // The machine saves only what folds.
        let _ = desk.shadow.fold(entry);
        let counted = before.is_some() && before != reported_place(&desk.shadow, entry);
        let copied = desk.copied;
        if let LedgerAct::Started(rollout) = &entry.act
            && let Some(run) = policies::run(&rollout.by, &rollout.plan.name)
        {
            self.tell(spot, Truth::RunStarted { rollout: rollout.id, run });
        }
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        if let Some((rollout, hosts)) = gone {
            desk.gone.entry(rollout).or_default().extend(hosts.iter().copied());
            self.tell(spot, Truth::LetGo { rollout, hosts });
        }
        let truth = match &entry.act {
            LedgerAct::Started(rollout) => Truth::Applied {
                rollout: rollout.id,
                max_concurrency: rollout.plan.max_concurrency.resolved,
                max_errors: rollout.plan.max_errors.resolved,
                on_hook_failure: rollout.plan.on_hook_failure,
            },
            LedgerAct::Granted { rollout, host, lease, opening, .. } => {
                let desk = self.seats[spot as usize].desk();
                let plan = desk.and_then(|desk| desk.shadow.rollouts.get(rollout)).map(|state| &state.plan);
                let disrupts = plan.is_none_or(|plan| plan.operation == Operation::Install);
                Truth::GoSaved {
                    rollout: *rollout,
                    host: *host,
                    lease: *lease,
                    disrupts,
                    opening: *opening,
                    now,
                    error,
                }
            }
            LedgerAct::Returned { rollout, host, lease, .. } => {
                Truth::Returned { rollout: *rollout, host: *host, lease: *lease }
            }
            LedgerAct::Released { host, lease, .. } => Truth::Released { host: *host, lease: *lease },
            LedgerAct::Adopted { host, .. } => Truth::Adopted(*host),
            LedgerAct::EpochOpened { .. } if copied => Truth::CopyOpened(now.boot),
            LedgerAct::Reported { evidence } => {
                let Ok(report) = report_of(evidence) else { return };
                Truth::Folded {
                    rollout: report.rollout,
                    host: evidence.author,
                    lease: report.lease,
                    outcome: report.outcome,
                    counted,
                    hook: (failed_hook(&report), OnHookFailure::Skip.leaves_out(&report)),
                }
            }
            LedgerAct::Stopped { rollout, sequence, .. } => {
                Truth::StopSaved { scope: StopScope::Rollout(*rollout), sequence: *sequence, stop: true }
            }
            LedgerAct::Ordered { evidence } => {
                let Ok(order) = evidence.read() else { return };
                Truth::StopSaved { scope: order.scope, sequence: order.sequence, stop: order.stop }
            }
            LedgerAct::StepSettled { .. } | LedgerAct::RingSettled { .. } => {
                let Some((rollout, place)) = settled else { return };
                Truth::StepSettled { rollout, place, now, error }
            }
            LedgerAct::Service(act) => {
                let Some(truth) = self.service_truth(act) else { return };
                truth
            }
            LedgerAct::Halted { rollout } => Truth::Halted(*rollout),
            LedgerAct::Ended { rollout } => Truth::Ended {
                rollout: *rollout,
                left: self.seats[spot as usize].desk().map_or(0, |desk| desk.left(*rollout)),
            },
            _ => return,
        };
        let ends = matches!(truth, Truth::Ended { .. });
        self.tell(spot, truth);
        if ends {
            self.look_for_replans(spot);
        }
    }

    pub(super) fn desk_hears(&mut self, spot: Spot, frame: LeaseFrame) {
        let now = self.seats[spot as usize].clock.now(self.now);
        if let Some(answer) = open_answer(&settings(), &frame, now.wall, &Keys) {
            let from = frame.sealed.author;
            let obeys_another = |desk: &Desk| !answer.epoch.admits(&desk.shadow.epoch.unwrap_or_default());
            let says_so = matches!(answer.body, ToCoordinator::Fenced { .. } | ToCoordinator::Reported(_));
            if !says_so && self.seats[spot as usize].desk().is_some_and(obeys_another) {
                self.tell_rival(spot, from, answer.epoch);
            }
            match answer.body {
                ToCoordinator::Resolved { request, result } => {
                    if let Some(desk) = self.seats[spot as usize].desk_mut()
                        && let Some(asking) = desk.asking.iter_mut().find(|asking| asking.request == request)
                    {
                        asking.survey.answered(from, result);
                    }
                }
                ToCoordinator::Fenced { saved, .. } => self.tell_rival(spot, from, saved),
                ToCoordinator::Reported(report) => {
                    let desk = self.seats[spot as usize].desk();
                    if desk.is_some_and(|desk| !desk.shadow.reported.contains(&report.lease)) {
                        self.tell_rival(spot, from, answer.epoch);
                    }
                }
                _ => {}
            }
        } else {
            self.chaos.effective(Kind::Forge.word());
        }
        self.desk_event(spot, Event::Heard(Box::new(frame)));
    }

    /// A host says that it obeys `saved`.
    fn tell_rival(&mut self, spot: Spot, from: NodeId, saved: Epoch) {
        let seat = &self.seats[spot as usize];
        let now = seat.clock.now(self.now);
        let desk = seat.desk().filter(|desk| desk.has_rival(saved));
        if let Some(adopted) = desk.map(|desk| desk.shadow.adopted.contains(&from)) {
            self.tell(spot, Truth::RivalHeard { now: now.boot, adopted });
        }
    }

    pub(super) fn tell_view(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let Some(hosts) = seat.gossip.as_ref().map(|gossip| gossip.hosts()) else { return };
        let Some(desk) = seat.desk_mut() else { return };
        desk.view_due = false;
        let alive: BTreeSet<_> =
            hosts.iter().filter(|host| host.presence == Presence::Alive).map(|host| host.node).collect();
        desk.asking.iter_mut().for_each(|asking| asking.survey.see(&alive));
        let seen = hosts.into_iter().filter(|host| !host.own).map(|host| Seen {
            node: host.node,
            alive: host.presence == Presence::Alive,
            held: host.record.body.held.map(|(lease, _)| lease),
            sealed: host.record.sealed_at,
            words: Words {
                name: host.membership.name.clone(),
                tags: host.record.body.tags.clone(),
                expires: host.membership.expires,
            },
        });
        self.desk_event(spot, Event::View(seen.collect()));
    }
}

/// Where the host of a report stands; `None` if the entry is no report or the ledger has no such host.
fn reported_place(ledger: &Ledger, entry: &LedgerEntry) -> Option<(Progress, u32)> {
    let LedgerAct::Reported { evidence } = &entry.act else { return None };
    let report = report_of(evidence).ok()?;
    let state = ledger.rollouts.get(&report.rollout)?;
    let host = &state.hosts[*state.index.get(&evidence.author)?];
    Some((host.progress.clone(), host.deferrals))
}
