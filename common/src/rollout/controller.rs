//! The coordinator's machine: folds what it hears into the ledger, then does what [`planner::plan`] says may happen next.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{
    approval::SignedVerdict,
    availability::disrupts,
    chain::Head,
    intent::Intent,
    lease::make_lease,
    ledger::{Ledger, LedgerAct, LedgerEntry, Progress, RolloutState},
    plan::{Plan, Rollout},
    planner::{self, Contact, Desk, Handshake},
    ring_gate::RingVerdict,
    service::{Labels, ServiceSpec},
};
use crate::{
    id::{CommandId, Epoch, Incarnation, LeaseId, MeshId, NodeId, Nonce, RolloutId},
    machine::{Cx, Machine},
    poison::Poison,
    run::{
        gate::Gate,
        message::{COMMAND_LIFETIME, Command, LeaseFrame, SignedStop, StopOrder, ToHost},
    },
    schedule::Opening,
    time::{BootTime, WallTime},
};

mod answers;
mod gates;
mod orders;
mod probes;
mod release;
mod repeats;
mod replan;
mod rings;
mod rival;
mod services;

pub use super::lease::{last_step, open_answer};

/// How often an unanswered message is repeated.
const RESEND: Duration = Duration::from_secs(2);
/// How often a host whose versions were superseded is asked whether they are there again: every time it refreshes its indexes.
const SUPERSEDED_AGAIN: Duration = Duration::from_secs(300);
/// How often the controller looks at time-outs while something is active.
const TICK: Duration = Duration::from_millis(500);
/// A host whose leases end deferred this often is refused: its clock or its deadlines do not fit the openings.
const MAX_DEFERRALS: u32 = 5;
/// By how much the epoch grows at most on one host's word. More than any coordinator is started between two backups, and 2^64
/// is out of reach by it.
const EPOCH_JUMP: u64 = 1 << 20;

/// What never changes while the process lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Which mesh.
    pub mesh: MeshId,
    /// The coordinator's own key.
    pub me: NodeId,
    /// Serial of the coordinator's membership.
    pub serial: u64,
    /// Silence after which a host with a slot counts as lost.
    pub lost_after: Duration,
    /// How long a host may refuse for a passing reason before it is refused for good.
    pub patience: Duration,
    /// What earlier lives of the process died of.
    pub poison: Poison,
}

/// A member as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Which member.
    pub node: NodeId,
    /// Whether the mesh hears it.
    pub alive: bool,
    /// The lease that its record says it holds.
    pub held: Option<LeaseId>,
    /// When its newest record was sealed, by its own clock.
    pub sealed: WallTime,
    /// What it says of itself, as far as services go by it.
    pub words: Words,
}

/// What the mesh knows of a member, as far as services go by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Words {
    /// Its name in the mesh.
    pub name: String,
    /// Its tags, the issuer's over its own.
    pub tags: Labels,
    /// When its membership ends.
    pub expires: WallTime,
}

/// What the controller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process started. `continues`: this store is the one that the last process left, neither new, copied nor restored.
    Started {
        /// Random for every start.
        incarnation: Incarnation,
        /// Whether every lease that is out is in the ledger.
        continues: bool,
    },
    /// A host said something.
    Heard(Box<LeaseFrame>),
    /// What the mesh sees now: every member, as far as it knows.
    View(Vec<Seen>),
    /// Median of the mesh's clocks minus this clock, in milliseconds.
    Skew(Option<i64>),
    /// An operator applies a plan.
    Apply {
        /// The new rollout's id.
        id: RolloutId,
        /// The frozen plan.
        plan: Box<Plan>,
        /// Who.
        by: String,
    },
    /// The rollout `of` has ended and was planned again. Nothing comes of it unless that is still due: see [`super::replan`].
    Replan {
        /// The new rollout's id.
        id: RolloutId,
        /// The rollout that is planned again.
        of: RolloutId,
        /// The frozen plan.
        plan: Box<Plan>,
    },
    /// An operator pauses a rollout.
    Pause {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: String,
    },
    /// An operator resumes a rollout.
    Resume {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: String,
    },
    /// An operator stops a rollout. It ends when its last running host is heard or lost, unless it is resumed by a higher order
    /// before that.
    Stop {
        /// Which.
        rollout: RolloutId,
        /// Who.
        by: String,
    },
    /// The mesh knows an order. Nothing of it has been checked.
    Ordered(Box<SignedStop>),
    /// An operator releases whatever slots a host holds. See [`super::slots::releasable`].
    Release {
        /// Which host.
        host: NodeId,
        /// Who, as they say.
        by: String,
        /// Why.
        because: String,
    },
    /// An operator approves or rejects a ring. Nothing of it has been checked.
    Judged(Box<SignedVerdict>),
    /// An operator keeps a service, new or changed. It has passed its own check, and there are not too many.
    Keep {
        /// The service.
        spec: Box<ServiceSpec>,
        /// Who, as they say.
        by: String,
    },
    /// An operator drops a service.
    Drop {
        /// Its name.
        name: String,
        /// Who, as they say.
        by: String,
    },
    /// An operator is about to change what is kept in files. It has been judged.
    Intend {
        /// What changes.
        intent: Intent,
        /// Who, as they say.
        by: String,
    },
    /// The gates of a ring that [`Effect::AskGates`] named were asked.
    Gated {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// As the effect said.
        attempt: u32,
        /// What they showed.
        verdict: RingVerdict,
    },
    /// Most slots of all rollouts together, as the coordinator's file says at its start.
    Fleet(Option<u32>),
    /// Time passed.
    Tick,
}

/// What the controller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Append, durably, before anything after it.
    Save(Box<LedgerEntry>),
    /// Seal and send, under the current epoch.
    Tell {
        /// To this host.
        to: NodeId,
        /// This.
        body: ToHost,
    },
    /// Seal the order itself as a STOP, and give it to the mesh: whoever does not hear this coordinator gets it from a neighbour.
    Order(StopOrder),
    /// Begin to ask the gates of a ring, up to the first that is not passed. It ends as [`Event::Gated`].
    AskGates {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// Its name.
        name: String,
        /// The first, second, … time.
        attempt: u32,
        /// In this order.
        gates: Vec<Gate>,
    },
    /// Seal the order itself as a STOP, then send it.
    TellStop {
        /// To this host.
        to: NodeId,
        /// The order.
        order: StopOrder,
    },
}

/// Holds the ledger and the talk with every host; grants leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    settings: Settings,
    ledger: Ledger,
    desk: Desk,
    /// Hosts that have not confirmed the STOP of a rollout.
    unstopped: std::collections::BTreeMap<NodeId, (RolloutId, u64)>,
    /// Hosts that saved an epoch of this ledger, and missed those after it.
    behind: std::collections::BTreeMap<NodeId, Epoch>,
    /// How often it jumped above another's epoch, since it last stood back.
    jumps: u32,
    /// The mesh as it was last seen.
    view: std::collections::BTreeMap<NodeId, Seen>,
    /// After a pause without a new epoch, until when no answer makes a member of a service up.
    deaf_until: BootTime,
    /// When probes were last asked.
    probed_at: BootTime,
    wake: Option<BootTime>,
}

impl Controller {
    /// A controller that continues `ledger`. Send it [`Event::Started`] first.
    pub fn rebuild(settings: Settings, ledger: Ledger) -> Self {
        let desk = Desk { lost_after: settings.lost_after, poison: settings.poison.clone(), ..Desk::default() };
        Self {
            settings,
            ledger,
            desk,
            unstopped: Default::default(),
            behind: Default::default(),
            jumps: 0,
            view: Default::default(),
            deaf_until: BootTime::default(),
            probed_at: BootTime::default(),
            wake: None,
        }
    }

    /// What was permitted and what came of it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is known beside the ledger.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The epoch under which commands are sealed.
    pub fn epoch(&self) -> Epoch {
        self.ledger.epoch.unwrap_or_default()
    }

    /// A command around `body`, for the shell to seal; `id` is random, and the ledger that the shell wrote ends at `head`.
    pub fn command(&self, to: NodeId, body: ToHost, id: u128, now: WallTime, head: Head) -> Command {
        let after = self.ledger.follows.map(|last| self.behind.get(&to).copied().unwrap_or(last));
        Command {
            id: CommandId(id.to_be_bytes()),
            mesh: self.settings.mesh,
            to,
            epoch: self.epoch(),
            after,
            head,
            expires: now.plus(COMMAND_LIFETIME),
            body,
        }
    }

    fn save(&mut self, cx: &mut Cx<'_, Effect>, act: LedgerAct) {
        let entry = LedgerEntry { at: cx.now.wall, act };
        // An entry that does not fit is never written: the caller checked, and a replay must not fail later.
        if self.ledger.fold(&entry).is_ok() {
            cx.emit(Effect::Save(Box::new(entry)));
        }
    }

    fn contact(&mut self, node: NodeId, now: BootTime) -> &mut Contact {
        self.desk.contacts.entry(node).or_insert_with(|| Contact { heard: now, ..Contact::default() })
    }

    fn open_epoch(&mut self, cx: &mut Cx<'_, Effect>, counter: u64, incarnation: Incarnation, continued: bool) {
        let epoch = Epoch { serial: self.settings.serial, counter, incarnation };
        self.save(cx, LedgerAct::EpochOpened { epoch, continued });
    }

    /// Opens an epoch at least as high as `counter`, and higher than the present one, without a new start: it keeps the
    /// incarnation, by which the ledger tells the two apart.
    ///
    /// `counter` is what one host says, without proof: it moves the own one by [`EPOCH_JUMP`] at most, so that no member can use
    /// the numbers up. Behind an honest one, the next refusal goes on from there.
    fn jump(&mut self, cx: &mut Cx<'_, Effect>, counter: u64) {
        let Epoch { counter: own, incarnation, .. } = self.epoch();
        let counter = counter.clamp(own.saturating_add(1), own.saturating_add(EPOCH_JUMP));
        self.open_epoch(cx, counter, incarnation, false);
    }

    fn started(&mut self, cx: &mut Cx<'_, Effect>, incarnation: Incarnation, continues: bool) {
        let counter = self.epoch().counter.saturating_add(1);
        self.open_epoch(cx, counter, incarnation, continues);
        self.listen(cx);
        self.resume_pauses(cx);
        self.look();
        let targets: Vec<NodeId> = self.targets().collect();
        for node in targets {
            self.contact(node, cx.now.boot);
        }
    }

    /// Hosts of rollouts that have not ended, and hosts that hold a slot of one that has.
    fn targets(&self) -> impl Iterator<Item = NodeId> + '_ {
        let active = self.ledger.active.iter().filter_map(|id| self.ledger.rollouts.get(id));
        active.flat_map(|state| state.plan.hosts.iter().map(|host| host.node)).chain(self.ledger.leased.keys().copied())
    }

    /// Whether more slots are held, or may be, than the limit allows: another coordinator granted too.
    fn is_overbooked(&self, rollout: RolloutId) -> bool {
        let over = |state: &RolloutState| self.ledger.slots_held(state) > state.plan.max_concurrency.resolved as usize;
        self.ledger.rollouts.get(&rollout).is_some_and(over)
    }

    fn is_stopped(&self, rollout: RolloutId) -> bool {
        self.ledger.stopped_all().is_some() || self.is_latched(rollout)
    }

    /// Whether a host that was granted a lease in `opening`, and has not begun, may begin now.
    fn may_begin(&self, cx: &Cx<'_, Effect>, rollout: RolloutId, opening: Opening) -> bool {
        opening.admits_start(cx.now.wall) && !self.is_stopped(rollout) && !self.is_overbooked(rollout)
    }

    fn is_latched(&self, rollout: RolloutId) -> bool {
        self.ledger.rollouts.get(&rollout).is_none_or(|state| state.stopped.is_some())
    }

    fn running(&self, rollout: RolloutId, node: NodeId) -> Option<(usize, Opening)> {
        let state = self.ledger.rollouts.get(&rollout)?;
        let at = *state.index.get(&node)?;
        match state.hosts[at].progress {
            Progress::Running { opening, .. } => Some((at, opening)),
            _ => None,
        }
    }

    fn apply(&mut self, cx: &mut Cx<'_, Effect>, mut rollout: Rollout) {
        if self.ledger.rollouts.contains_key(&rollout.id) {
            return;
        }
        // Services may have changed since it was planned.
        rollout.plan.put_last(&self.ledger.services);
        for host in &rollout.plan.hosts {
            self.contact(host.node, cx.now.boot);
        }
        self.save(cx, LedgerAct::Started(Box::new(rollout)));
    }

    /// Pauses or resumes; what is so already is not written again.
    fn pause(&mut self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, paused: bool, by: String) {
        let active = self.ledger.active.contains(&rollout);
        if active && self.ledger.rollouts.get(&rollout).is_some_and(|state| state.paused != paused) {
            self.save(cx, if paused { LedgerAct::Paused { rollout, by } } else { LedgerAct::Resumed { rollout, by } });
        }
    }

    /// Does what the planner says may happen next, in every rollout that has not ended.
    fn advance(&mut self, cx: &mut Cx<'_, Effect>) {
        let now = cx.now;
        self.come_back(cx);
        if self.desk.poison.safe_until(now.wall).is_some() {
            self.desk.safe_at = now.boot;
        }
        for contact in self.desk.contacts.values_mut() {
            let Some((_, _, handshake, since)) = &contact.handshake else { continue };
            if planner::is_stale(handshake, *since, now.boot) {
                match handshake {
                    Handshake::Offered { .. } => contact.quiet_until = now.boot.plus(planner::QUIET),
                    Handshake::Ready { .. } => contact.in_vain = Some(now.boot),
                }
                contact.handshake = None;
            }
        }
        let active: Vec<RolloutId> = self.ledger.active.iter().copied().collect();
        for id in active {
            let decision = self.decide(cx, id);
            if decision.halt {
                self.save(cx, LedgerAct::Halted { rollout: id });
            }
            if let Some(ring) = decision.ask {
                self.ask_gates(cx, id, ring);
            }
            for (at, nonce, lease, opening) in decision.go {
                self.grant(cx, id, at, nonce, lease, opening);
            }
            for (at, opening) in decision.offer {
                self.offer(cx, id, at, opening);
            }
            if decision.end {
                self.save(cx, LedgerAct::Ended { rollout: id });
                self.desk.opens.remove(&id);
                self.desk.asking.remove(&id);
            }
        }
        self.ask_probes(cx);
        self.repeat(cx);
        self.wake = self.next_wake(cx);
    }

    fn grant(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        id: RolloutId,
        at: usize,
        nonce: Nonce,
        lease: LeaseId,
        opening: Opening,
    ) {
        let Some(state) = self.ledger.rollouts.get(&id) else { return };
        let (host, attempt) = (state.plan.hosts[at].node, state.hosts[at].attempts + 1);
        let contact = self.contact(host, cx.now.boot);
        contact.handshake = None;
        contact.progress = None;
        contact.resent = cx.now.boot;
        self.testify(cx, host);
        self.testify_probes(cx, host);
        self.save(cx, LedgerAct::Granted { rollout: id, host, lease, attempt, opening });
        if disrupts(&self.ledger, &id) {
            self.desk.probes.remove(&host);
        }
        cx.emit(Effect::Tell { to: host, body: ToHost::Go { lease, nonce } });
    }

    fn offer(&mut self, cx: &mut Cx<'_, Effect>, id: RolloutId, at: usize, opening: Opening) {
        let lease = LeaseId(cx.draw_u128().to_be_bytes());
        let Some(state) = self.ledger.rollouts.get(&id) else { return };
        let (host, attempt) = (state.plan.hosts[at].node, state.hosts[at].attempts + 1);
        let body = ToHost::Offer(Box::new(make_lease(&state.plan, id, at, attempt, lease, opening, cx.now.wall)));
        let now = cx.now.boot;
        let contact = self.contact(host, now);
        contact.handshake = Some((id, lease, Handshake::Offered { opening }, now));
        cx.emit(Effect::Tell { to: host, body });
    }
}

impl Machine for Controller {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, event: Event) {
        let (lapsed, epoch) = (self.has_lapsed(cx.now.boot), self.epoch());
        match event {
            Event::Started { incarnation, continues } => {
                self.started(cx, incarnation, continues);
                let stopped: Vec<_> =
                    self.ledger.rollouts.iter().filter_map(|(id, state)| state.stopped.map(|seq| (*id, seq))).collect();
                for (id, sequence) in stopped {
                    if self.ledger.active.contains(&id) {
                        self.spread_stop(cx, id, sequence);
                    }
                    self.demand_stop(cx, id, sequence);
                }
            }
            Event::Heard(frame) => self.heard(cx, &frame),
            Event::View(seen) => {
                let unknown = seen.iter().filter_map(|seen| seen.held).any(|lease| !self.ledger.known.contains(&lease));
                // Whoever is not in it any more, because its membership has ended, is not heard either. And whoever was not heard,
                // or was to be forgotten since, answers anew: what is news to the mesh then may be an old record that somebody
                // brings back.
                let alive: BTreeSet<NodeId> = seen.iter().filter(|seen| seen.alive).map(|seen| seen.node).collect();
                for Seen { node, sealed, .. } in &seen {
                    // A clock that is ahead says nothing of what is to come.
                    let sealed = Some((*sealed).min(cx.now.wall));
                    let contact = self.contact(*node, cx.now.boot);
                    contact.last = contact.last.max(sealed);
                }
                for (node, contact) in &mut self.desk.contacts {
                    let over = self.view.get(node).is_some_and(|before| cx.now.wall >= before.words.expires);
                    contact.alive = alive.contains(node);
                    contact.answered &= contact.alive && !over;
                }
                self.view = seen.into_iter().map(|seen| (seen.node, seen)).collect();
                self.see_again(cx);
                // A lease that this ledger never granted: the store is older than the fleet.
                if unknown && !self.ledger.discontinuous {
                    self.jump(cx, 0);
                }
            }
            Event::Skew(skew) => self.desk.skew = skew,
            Event::Apply { id, plan, by } => self.apply(cx, Rollout { id, plan: *plan, by, replans: None }),
            Event::Replan { id, of, plan } => self.replan(cx, id, of, *plan),
            Event::Pause { rollout, by } => self.pause(cx, rollout, true, by),
            Event::Resume { rollout, by } => self.pause(cx, rollout, false, by),
            Event::Stop { rollout, by } => self.stop(cx, rollout, by),
            Event::Ordered(signed) => self.ordered(cx, signed),
            Event::Release { host, by, because } => self.release(cx, host, &by, &because),
            Event::Judged(evidence) => self.judged(cx, evidence),
            Event::Keep { spec, by } => self.keep(cx, spec, by),
            Event::Drop { name, by } => self.drop_service(cx, name, by),
            Event::Intend { intent, by } => self.save(cx, LedgerAct::Intent { intent, by }),
            Event::Gated { rollout, ring, attempt, verdict } => self.gated(cx, rollout, (ring, attempt), verdict),
            Event::Fleet(limit) => self.limit_fleet(cx, limit),
            Event::Tick => {}
        }
        // After the event, which may be the word that another coordinator is at work: then no epoch is opened.
        if lapsed {
            self.note_lapse(cx, epoch);
        }
        self.advance(cx);
    }

    fn deadline(&self) -> Option<BootTime> {
        self.wake
    }
}
