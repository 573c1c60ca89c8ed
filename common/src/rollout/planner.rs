//! The one function that says what may happen next in a rollout, and why everything else waits.
//!
//! It reads the whole state every time: restart, retry and duplicate delivery are one code path.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{
    Operation,
    availability::{Rooms, goes_before},
    ledger::{Ledger, Progress, RolloutState},
    probe::Probes,
    reboot,
    ring::Place,
    service::Absent,
    waiting::Waiting,
};
use crate::{
    id::{LeaseId, NodeId, Nonce, RolloutId},
    poison::Poison,
    run::{
        Phase,
        message::{GO_WITHIN, MAX_SKEW, Refusal},
    },
    schedule::{Opening, Standing, standing},
    time::{BootTime, Now, WallTime},
};

mod fit;
mod front;
mod gates;

use fit::Fit;
use front::{beyond, front, ramp_room, ramping, settles};
pub use gates::gating;

/// How old a `Ready` may be when `Go` is sent: [`GO_WITHIN`] less the time that the message may need.
const READY_USABLE: Duration = Duration::from_secs(GO_WITHIN.as_secs() - 2);
/// An offer without an answer is taken back after this; resolving on a slow host takes a few seconds.
const OFFER_PATIENCE: Duration = Duration::from_secs(20);
/// An offer that is not answered for this long no longer keeps the next host from being asked.
pub(super) const OFFER_SLOW: Duration = Duration::from_secs(3);
/// A host that prepared before a slot was free, and in vain, is not asked to again for this long: a reboot may take minutes,
/// and every preparation refreshes package indexes.
const AHEAD_PAUSE: Duration = Duration::from_secs(60);
/// Nothing is granted later than this before the last start. A lease counts whole seconds from its offer, so that a later one
/// leaves no time to begin: the host could only give it back, and the next offer would follow at once.
const LAST_GRANT: Duration = Duration::from_secs(1);
/// A host that left an offer unanswered is asked again after this, or when it says anything.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// Where the start handshake with a host stands. Lives in memory only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// Offered, not answered.
    Offered {
        /// In this opening.
        opening: Opening,
    },
    /// The host can start.
    Ready {
        /// In this opening.
        opening: Opening,
        /// To be repeated by `Go`.
        nonce: Nonce,
    },
}

/// What the coordinator remembers of its talk with one host. Lives in memory only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contact {
    /// Last sealed answer from the host, or the start of this process if there was none.
    pub heard: BootTime,
    /// When anybody last heard of the host: its newest record or answer, also of before this process. `None` if nobody did. Tells
    /// people since when it is silent, and decides nothing.
    pub last: Option<WallTime>,
    /// Whether the mesh hears the host.
    pub alive: bool,
    /// Whether it has answered this process. What the mesh remembers of earlier is alive until it is silent for long enough.
    pub answered: bool,
    /// The handshake, of which rollout, with which lease, since when.
    pub handshake: Option<(RolloutId, LeaseId, Handshake, BootTime)>,
    /// The last refusal, since when the host refuses, and when to ask again.
    pub refused: Option<(Refusal, BootTime, BootTime)>,
    /// The phase that the host last reported, with the last line of output.
    pub progress: Option<(Phase, String)>,
    /// Until when the host is not asked, because it left an offer unanswered.
    pub quiet_until: BootTime,
    /// When something was last sent again.
    pub resent: BootTime,
    /// When its `Ready` last grew too old unused.
    pub in_vain: Option<BootTime>,
}

/// What the planner knows beside the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Desk {
    /// By host.
    pub contacts: BTreeMap<NodeId, Contact>,
    /// Median of the mesh's clocks minus this clock, in milliseconds.
    pub skew: Option<i64>,
    /// Whether a coordinator with a newer membership was seen.
    pub superseded: bool,
    /// Until when a copied or restored ledger listens for another coordinator before it grants anything.
    pub listening: Option<BootTime>,
    /// Until when this coordinator, on such a ledger, leaves the field to another one that is at work.
    pub rival: Option<BootTime>,
    /// Silence after which a host counts as lost while nothing is known of its reboots.
    pub lost_after: Duration,
    /// What earlier lives of the process died of: nothing is granted in safe mode.
    pub poison: Poison,
    /// When safe mode was last on: until then nobody could be seen.
    pub safe_at: BootTime,
    /// By rollout, before when the step at which it stands does not open, as far as this process lived through the pause: no
    /// clock that is set makes that shorter.
    pub opens: BTreeMap<RolloutId, BootTime>,
    /// By rollout, the ring whose gates this process is asking, and which attempt that is.
    pub asking: BTreeMap<RolloutId, (u16, u32)>,
    /// Members of services that are down although the ledger does not say so, as the mesh was last seen.
    pub absent: BTreeMap<NodeId, Absent>,
    /// What members of services with a probe have shown.
    pub probes: BTreeMap<NodeId, Probes>,
}

/// What may happen next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Start these: position and nonce of the `Ready`.
    pub go: Vec<(usize, Nonce, LeaseId, Opening)>,
    /// Offer a lease to these, in this opening.
    pub offer: Vec<(usize, Opening)>,
    /// More hosts failed than allowed, a host or ring failed a gate that guards what comes next, or a hook that ends the rollout:
    /// latch.
    pub halt: bool,
    /// Nothing moves any more.
    pub end: bool,
    /// This step has settled, without these hosts. Then nothing else is decided, but to halt or end.
    pub settles: Option<(Place, Vec<NodeId>)>,
    /// The gates of this ring are to be asked.
    pub ask: Option<u16>,
}

impl Desk {
    /// Whether another coordinator may be at work, or is, and this one has the copy.
    pub fn stands_back(&self, now: BootTime) -> bool {
        self.rival.is_some() || self.listening.is_some_and(|until| now < until)
    }

    /// Whether the host at `at` is silent for too long. Time turns a busy slot into a lost one, never into a free one.
    pub fn is_lost(&self, ledger: &Ledger, state: &RolloutState, at: usize, now: BootTime) -> bool {
        let node = &state.plan.hosts[at].node;
        let Some(contact) = self.contacts.get(node) else { return true };
        let silent = now.since(contact.heard);
        match state.hosts[at].progress {
            // It may be in the middle of its reboot.
            Progress::Running { .. } => {
                let learned = ledger.reboots.get(node).map(|reboots| reboots.patience(self.lost_after));
                silent > learned.unwrap_or(self.lost_after)
            }
            Progress::NotStarted => silent.min(now.since(self.safe_at)) > self.lost_after && !contact.alive,
            _ => false,
        }
    }

    fn lost_busy(&self, ledger: &Ledger, state: &RolloutState, now: BootTime) -> usize {
        state.tally.busy.iter().filter(|at| self.is_lost(ledger, state, **at, now)).count()
    }
}

/// What may happen next in `rollout`.
pub fn plan(ledger: &Ledger, id: RolloutId, desk: &Desk, now: Now) -> Decision {
    let Some(state) = ledger.rollouts.get(&id).filter(|state| state.ended_at.is_none()) else {
        return Decision::default();
    };
    let exceeded = state.tally.failed > state.plan.max_errors.resolved
        || state.failed_hook().is_some()
        || state.failed_gate().is_some()
        || state.failed_ring().is_some();
    let halt = !state.halted && exceeded;
    let front = front(id, state, desk, now);
    let last = gates::last(ledger, id, state, desk, now).filter(|_| !halt);
    let end = last.is_none() && ends(ledger, state, halt, front.closed.is_some(), desk, now);
    let mut decision = Decision { halt, end, ..Decision::default() };
    if halt || decision.end {
        return decision;
    }
    if last.is_none() {
        decision.settles = settles(ledger, id, state, desk, now);
    }
    if decision.settles.is_none() {
        decision.ask = gates::asks(ledger, id, state, desk, now);
    }
    if decision.settles.is_some() || blocked(ledger, state, desk, now).is_some() {
        return decision;
    }
    let Standing::Open(opening) = standing(&state.plan.openings, now.wall) else { return decision };
    let in_time = |opening: &Opening| opening.admits_start(now.wall.plus(LAST_GRANT));
    let fit = Fit::of(ledger, state, now);
    let limit = state.plan.max_concurrency.resolved as usize;
    let room = ramp_room(state, desk).unwrap_or(usize::MAX);
    let mut free = limit.saturating_sub(ledger.slots_held(state)).min(room).min(fleet_room(ledger));
    // A host past its transaction frees its slot soon: the next one prepares meanwhile. Not later than that, because a host
    // that reboots is next heard from with its report.
    let soon = state.tally.busy.iter().filter(|at| is_finishing(state, **at, desk, now)).count();
    let mut offers = (free + soon).min(room);
    let mut rooms = None;
    let disrupts = state.plan.operation == Operation::Install;
    for &at in state.tally.eligible.range(..front.open) {
        if offers == 0 {
            break;
        }
        let node = &state.plan.hosts[at].node;
        let Some(contact) = desk.contacts.get(node) else { continue };
        let rooms = rooms.get_or_insert_with(|| Rooms::of(ledger, desk, now.boot));
        match &contact.handshake {
            Some((rollout, lease, Handshake::Ready { opening, nonce }, since)) if *rollout == id => {
                offers -= 1;
                let usable = now.boot.since(*since) <= READY_USABLE && in_time(opening);
                let holds = ledger.leased.contains_key(node) || ledger.foreign.contains_key(node);
                let fits = fit.admits(node, opening)
                    && (!disrupts || rooms.short(node, false).is_none())
                    && goes_before(ledger, state, node, front.open, desk, now.boot).is_none();
                if free > 0 && usable && fits && !holds && ledger.fenced(node).is_none() {
                    free -= 1;
                    if disrupts {
                        rooms.granted(node, id);
                    }
                    decision.go.push((at, *nonce, *lease, *opening));
                }
            }
            Some((rollout, _, _, since)) if *rollout == id && now.boot.since(*since) < OFFER_SLOW => offers -= 1,
            Some(_) => {}
            None if in_time(&opening)
                && host_blocked(ledger, id, node, contact, now).is_none()
                && service_blocked(ledger, state, node, front.open, rooms, desk, now).is_none()
                && fit.admits(node, &opening) =>
            {
                let ahead = offers <= soon;
                offers -= 1;
                if !ahead || contact.in_vain.is_none_or(|since| now.boot.since(since) > AHEAD_PAUSE) {
                    if disrupts {
                        rooms.offered(node);
                    }
                    decision.offer.push((at, opening));
                }
            }
            None => {}
        }
    }
    decision
}

/// Whether a handshake is to be forgotten: the offer was not answered, or its `Ready` is too old.
pub fn is_stale(handshake: &Handshake, since: BootTime, now: BootTime) -> bool {
    let patience = match handshake {
        Handshake::Offered { .. } => OFFER_PATIENCE,
        Handshake::Ready { .. } => READY_USABLE,
    };
    now.since(since) > patience
}

fn is_finishing(state: &RolloutState, at: usize, desk: &Desk, now: Now) -> bool {
    let progress = desk.contacts.get(&state.plan.hosts[at].node).and_then(|contact| contact.progress.as_ref());
    let waits = |said: &str| state.plan.reboot.at().is_some_and(|at| said == reboot::waits(at));
    progress.is_some_and(|(phase, said)| {
        let long = waits(said) && state.plan.reboot.wait(now.wall) > AHEAD_PAUSE;
        *phase > Phase::Transaction && !long
    })
}

fn ends(ledger: &Ledger, state: &RolloutState, halt: bool, closed: bool, desk: &Desk, now: Now) -> bool {
    let moving = state.tally.busy.iter().any(|at| !desk.is_lost(ledger, state, *at, now.boot));
    let standing = standing(&state.plan.openings, now.wall);
    // Nobody is asked while it is paused, under a STOP of every rollout, before an opening or before a step: a host that is away
    // then has lost nothing yet.
    let held = state.paused || closed || ledger.stopped_all().is_some();
    let asks = !held && !matches!(standing, Standing::Before(_));
    let starts_again = !halt
        && !state.is_latched()
        && standing != Standing::Over
        && state.tally.eligible.iter().any(|at| !asks || !desk.is_lost(ledger, state, *at, now.boot));
    !moving && !starts_again && !desk.stands_back(now.boot)
}

/// What a rollout that is halted was halted for.
pub fn halted(state: &RolloutState) -> Waiting {
    let plan = &state.plan;
    if state.tally.failed > plan.max_errors.resolved {
        return Waiting::Halted;
    }
    let hook = state.failed_hook().map(|at| Waiting::Hook { host: plan.hosts[at].name.clone() });
    let host = || state.failed_gate().map(|at| Waiting::Gate { host: plan.hosts[at].name.clone() });
    let ring = || state.failed_ring().map(|failed| Waiting::RingFailed(Box::new(failed)));
    hook.or_else(host).or_else(ring).unwrap_or(Waiting::Halted)
}

/// What holds the whole rollout up, whatever time it is: nothing starts, and no gate of a ring is asked.
fn held(ledger: &Ledger, state: &RolloutState, desk: &Desk, now: Now) -> Option<Waiting> {
    if state.halted {
        return Some(halted(state));
    }
    if state.stopped.is_some() {
        return Some(Waiting::Stopped);
    }
    if let Some(rejection) = &state.course.rejected {
        return Some(Waiting::Rejected(rejection.clone()));
    }
    if let Some(sequence) = ledger.stopped_all() {
        return Some(Waiting::AllStopped { sequence });
    }
    if state.paused {
        return Some(Waiting::Paused);
    }
    if desk.superseded {
        return Some(Waiting::Superseded);
    }
    if let Some(until) = desk.poison.safe_until(now.wall) {
        return Some(Waiting::SafeMode { until });
    }
    if desk.stands_back(now.boot) {
        return Some(if desk.rival.is_some() { Waiting::Rival } else { Waiting::Listening });
    }
    None
}

/// Why no host of the rollout may start, if there is a common reason.
fn blocked(ledger: &Ledger, state: &RolloutState, desk: &Desk, now: Now) -> Option<Waiting> {
    let plan = &state.plan;
    if let Some(held) = held(ledger, state, desk, now) {
        return Some(held);
    }
    match standing(&plan.openings, now.wall) {
        Standing::Open(_) => {}
        Standing::Before(next) => return Some(Waiting::WindowClosed { next: Some(next) }),
        Standing::Over => return Some(Waiting::WindowClosed { next: None }),
    }
    if let Some(skew) = desk.skew.filter(|skew| u128::from(skew.unsigned_abs()) > MAX_SKEW.as_millis()) {
        return Some(Waiting::ClockSkew { skew });
    }
    let lost = desk.lost_busy(ledger, state, now.boot);
    let max_errors = plan.max_errors.resolved;
    if state.tally.failed as usize + lost > max_errors as usize {
        return Some(Waiting::Lost { failed: state.tally.failed, lost, max_errors });
    }
    let limit = plan.max_concurrency.resolved;
    let held = ledger.slots_held(state);
    if held >= limit as usize && held > state.tally.busy.len() {
        return Some(Waiting::Reconciling { missing: held - state.tally.busy.len() });
    }
    None
}

/// Why this one host may not be offered a lease.
fn host_blocked(ledger: &Ledger, id: RolloutId, node: &NodeId, contact: &Contact, now: Now) -> Option<Waiting> {
    if let Some((other, _)) = ledger.leased.get(node).filter(|(other, _)| *other != id) {
        return Some(Waiting::Claimed(*other));
    }
    if ledger.foreign.contains_key(node) || (ledger.discontinuous && !ledger.adopted.contains(node)) {
        return Some(Waiting::Reconciling { missing: 1 });
    }
    if ledger.fenced(node).is_some() {
        return Some(Waiting::Released);
    }
    if let Some((refusal, _, _)) = contact.refused.as_ref().filter(|(_, _, until)| now.boot < *until) {
        let plan = ledger.rollouts.get(&id).map(|state| &state.plan);
        let waits = plan.is_some_and(|plan| plan.waits_after(refusal.code));
        return Some(if waits { Waiting::Outdated(refusal.clone()) } else { Waiting::Refused(refusal.clone()) });
    }
    (!contact.alive || now.boot < contact.quiet_until).then_some(Waiting::Silent)
}

/// Why a host that could be offered a lease is not, for the sake of its services.
fn service_blocked(
    ledger: &Ledger,
    state: &RolloutState,
    node: &NodeId,
    open: usize,
    rooms: &Rooms<'_>,
    desk: &Desk,
    now: Now,
) -> Option<Waiting> {
    if state.plan.operation == Operation::Scan {
        return None;
    }
    let short = rooms.short(node, true).map(|short| Waiting::Service(Box::new(short)));
    short.or_else(|| {
        let (service, before) = goes_before(ledger, state, node, open, desk, now.boot)?;
        Some(Waiting::Last { service: service.to_owned(), before: before.to_owned() })
    })
}

/// How many slots all rollouts together may still grant.
fn fleet_room(ledger: &Ledger) -> usize {
    ledger.services.fleet.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(ledger.all_slots_held()))
}

/// Why the host at `at` is not moving; `None` if it is running or done.
pub fn waiting(ledger: &Ledger, id: RolloutId, at: usize, desk: &Desk, now: Now) -> Option<Waiting> {
    Waits::of(ledger, id, desk, now)?.at(at)
}

/// Why the hosts of one rollout wait. What they have in common is computed once, so that asking for every host of a large
/// rollout stays linear.
#[derive(Clone, Debug)]
pub struct Waits<'a> {
    ledger: &'a Ledger,
    state: &'a RolloutState,
    id: RolloutId,
    desk: &'a Desk,
    now: Now,
    common: Option<Waiting>,
    slot: Waiting,
    fit: Fit<'a>,
    /// Whether another host would have to end first: then it does not matter who has been asked in advance.
    full: bool,
    /// How many hosts, in the plan's order, are not waiting for a step before theirs.
    open: usize,
    beyond: Option<Waiting>,
    rooms: Rooms<'a>,
}

impl<'a> Waits<'a> {
    /// The reasons in rollout `id`, if there is one.
    pub fn of(ledger: &'a Ledger, id: RolloutId, desk: &'a Desk, now: Now) -> Option<Self> {
        let state = ledger.rollouts.get(&id)?;
        let common = blocked(ledger, state, desk, now);
        let (held, limit) = (ledger.slots_held(state), state.plan.max_concurrency.resolved);
        let slot = Waiting::Slot { held, limit, lost: desk.lost_busy(ledger, state, now.boot) };
        let front = front(id, state, desk, now);
        let beyond = (front.open < state.hosts.len()).then(|| beyond(ledger, state, &front, desk, now));
        let slot = ramping(state, desk).unwrap_or(slot);
        let fleet = ledger.services.fleet.filter(|_| fleet_room(ledger) == 0);
        let slot = fleet.map_or(slot, |limit| Waiting::Fleet { held: ledger.all_slots_held(), limit });
        let full = fleet.is_some() || held >= limit as usize;
        let (fit, rooms) = (Fit::of(ledger, state, now), Rooms::of(ledger, desk, now.boot));
        Some(Self { ledger, state, id, desk, now, common, slot, fit, full, open: front.open, beyond, rooms })
    }

    /// Why the host at `at` is not moving; `None` if it is running or done.
    pub fn at(&self, at: usize) -> Option<Waiting> {
        let node = &self.state.plan.hosts.get(at)?.node;
        if self.state.hosts[at].progress != Progress::NotStarted {
            return None;
        }
        if let Some(common) = &self.common {
            return Some(common.clone());
        }
        if at >= self.open {
            return self.beyond.clone();
        }
        let Some(contact) = self.desk.contacts.get(node) else { return Some(Waiting::Silent) };
        match &contact.handshake {
            Some((rollout, ..)) if *rollout == self.id && self.full => return Some(self.slot.clone()),
            Some((rollout, ..)) if *rollout == self.id => return Some(Waiting::Handshake),
            Some((rollout, ..)) => return Some(Waiting::Claimed(*rollout)),
            None => {}
        }
        let blocked = host_blocked(self.ledger, self.id, node, contact, self.now)
            .or_else(|| self.fit.waiting(node))
            .or_else(|| service_blocked(self.ledger, self.state, node, self.open, &self.rooms, self.desk, self.now));
        Some(blocked.unwrap_or_else(|| self.slot.clone()))
    }
}
