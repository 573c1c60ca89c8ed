//! Whether a grant leaves every service of the host with as many members as it must keep up.
//!
//! Whatever takes a member down counts, in every rollout: that it is silent, that it holds a lease, that its slot was released
//! and it has not said since what became of it, that it has not said which lease it holds, that it fails the service's probe or
//! has not passed it since it last held a lease. A Scan takes nobody down, and is granted to whom it may.

use std::collections::BTreeMap;

use super::{
    Operation,
    ledger::{Ledger, Progress, RolloutState},
    planner::{Contact, Desk, Handshake, OFFER_SLOW},
    probe::PROBE_FRESH,
    service::{Absent, Part, ServiceSpec},
};
use crate::{
    id::{NodeId, RolloutId},
    time::BootTime,
};

/// Most members that are named in a reason.
const MAX_NAMED: usize = 3;

/// Why a member counts as down. In the order in which they are named: first what somebody has to do something about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Down {
    /// The mesh does not hear it.
    Silent,
    /// Its slot was released, and it has not said since what became of that lease.
    Released,
    /// It does not pass the service's probe.
    Failing {
        /// What is asked.
        probe: String,
        /// What it said.
        shown: String,
    },
    /// It has not said which lease it holds, or it holds one of another ledger.
    Unclear,
    /// It has been asked, and has not said whether it passes the service's probe, or not for too long.
    Unproved {
        /// What is asked.
        probe: String,
    },
    /// It holds a lease of this rollout.
    Leased(RolloutId),
}

impl Down {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Released => "released",
            Self::Failing { .. } => "failing",
            Self::Unclear => "reconciling",
            Self::Unproved { .. } => "unproved",
            Self::Leased(_) => "leased",
        }
    }

    /// What it is, and what to do about it.
    pub fn text(&self) -> String {
        match self {
            Self::Silent => "is silent: start its daemon there".into(),
            Self::Released => {
                "was released and has not said since what became of that lease: start its daemon there".into()
            }
            Self::Failing { probe, shown } => format!("fails the probe {probe}: {shown}; mend that there"),
            Self::Unclear => {
                "has not said which lease it holds: start its daemon there, or see patchmesh slots ls".into()
            }
            Self::Unproved { probe } => {
                let fresh = PROBE_FRESH.as_secs();
                format!(
                    "has not passed the probe {probe} in the last {fresh} s: wait for its answer, or read its daemon's log"
                )
            }
            Self::Leased(rollout) => {
                format!("holds a lease of rollout {rollout}: wait until it has reported, or see patchmesh slots ls")
            }
        }
    }

    /// The command that would change it; `None` if only somebody who knows the service can say.
    pub fn command(&self) -> Option<String> {
        match self {
            Self::Silent | Self::Released => Some("systemctl start patchmeshd".into()),
            Self::Failing { probe, .. } => {
                probe.strip_prefix("systemdUnit ").map(|unit| format!("systemctl status {unit}"))
            }
            Self::Unproved { .. } => None,
            Self::Unclear | Self::Leased(_) => Some("patchmesh slots ls".into()),
        }
    }
}

/// Why `node` counts as down in `spec`, if it does.
pub fn down(ledger: &Ledger, desk: &Desk, node: &NodeId, spec: &ServiceSpec, now: BootTime) -> Option<Down> {
    taken(ledger, desk, node).or_else(|| failing(desk, node, spec, now))
}

/// Why `node` counts as down in every service, if it does.
pub(super) fn taken(ledger: &Ledger, desk: &Desk, node: &NodeId) -> Option<Down> {
    // First, because a host at work may be silent while it reboots, and reports by itself.
    if let Some((rollout, _)) = ledger.leased.get(node).filter(|(rollout, _)| disrupts(ledger, rollout)) {
        return Some(Down::Leased(*rollout));
    }
    if let Some(Absent::Silent) = desk.absent.get(node) {
        return Some(Down::Silent);
    }
    if ledger.unheard.contains(node) || is_released(ledger, node) {
        return Some(Down::Released);
    }
    if ledger.foreign.contains_key(node) || ledger.is_unclear(node) {
        return Some(Down::Unclear);
    }
    None
}

/// Why `node` counts as down for the sake of the service's probe, if it does.
pub(super) fn failing(desk: &Desk, node: &NodeId, spec: &ServiceSpec, now: BootTime) -> Option<Down> {
    let probe = spec.probe.as_ref()?;
    let shown = desk.probes.get(node).and_then(|probes| probes.get(&spec.name)).and_then(|probing| probing.shown(now));
    match shown {
        Some(Ok(())) => None,
        Some(Err(shown)) => Some(Down::Failing { probe: probe.name(), shown: shown.clone() }),
        None => Some(Down::Unproved { probe: probe.name() }),
    }
}

/// Whether a lease of the rollout takes its host down. Of one that is not known it may.
pub(super) fn disrupts(ledger: &Ledger, rollout: &RolloutId) -> bool {
    ledger.rollouts.get(rollout).is_none_or(|state| state.plan.operation == Operation::Install)
}

/// Whether something that takes the host down may go on under a lease whose slot was released.
fn is_released(ledger: &Ledger, node: &NodeId) -> bool {
    let mut released = ledger.released.iter().filter(|(_, host)| *host == node);
    released.any(|(lease, _)| ledger.released_in(*node, *lease).is_none_or(|rollout| disrupts(ledger, &rollout)))
}

/// A member that is down. In the order in which they are named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fallen {
    /// Why.
    pub why: Down,
    /// Its name.
    pub name: String,
    /// Its key.
    pub node: NodeId,
}

impl Fallen {
    /// Who it is, what it is, and what to do about it.
    pub fn text(&self) -> String {
        format!("{} {}", self.name, self.why.text())
    }
}

/// What keeps a host from being granted a lease for a service's sake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Short {
    /// Which service.
    pub service: String,
    /// How many members it has.
    pub members: u32,
    /// How many of them must stay up.
    pub least: u32,
    /// How many are up now.
    pub up: u32,
    /// The tag of which all that are down must have one value, if it is that which keeps the host.
    pub spread: Option<String>,
    /// Members that are down, at most [`MAX_NAMED`].
    pub down: Vec<Fallen>,
    /// How many more are down.
    pub more: usize,
    /// Nobody is down yet: members that have been asked to start.
    pub asked: u32,
}

impl Short {
    /// The reason in one line.
    pub fn text(&self) -> String {
        let Self { service, members, least, up, spread, more, asked, .. } = self;
        let mut named: Vec<String> = self.down.iter().map(Fallen::text).collect();
        if *more > 0 {
            named.push(if *more == 1 { "1 more is down".to_owned() } else { format!("{more} more are down") });
        }
        if *asked > 0 {
            named.push(match asked {
                1 => "1 other has been asked to start".to_owned(),
                many => format!("{many} others have been asked to start"),
            });
        }
        let named = named.join("; ");
        match spread {
            Some(tag) => format!("members of service {service} with another {tag} are down: {named}"),
            None if named.is_empty() => format!(
                "service {service} must keep {least} of its {members} members up, so that none can be taken down; apply it again \
                 with a lower minAvailable"
            ),
            // Those that were asked are granted a lease in a moment, or not.
            None if self.down.is_empty() && *more == 0 => {
                format!("service {service} must keep {least} of its {members} members up, and {up} are: {named}")
            }
            None => format!(
                "service {service} must keep {least} of its {members} members up, and {up} are: {named}; or apply the service \
                 again with a lower minAvailable"
            ),
        }
    }

    /// The command that would change it.
    pub fn command(&self) -> String {
        let first = self.down.first().and_then(|first| first.why.command());
        first.unwrap_or_else(|| self.describe())
    }

    /// The command that shows every member.
    pub(super) fn describe(&self) -> String {
        format!("patchmesh describe service {}", self.service)
    }
}

/// How one service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How many members it has.
    pub members: u32,
    /// How many of them must stay up.
    pub least: u32,
    /// How many are up.
    pub up: u32,
    /// Who is not, and why.
    pub down: BTreeMap<NodeId, Down>,
    /// The first of them, one more than are named: every host of a large rollout asks, and leaves itself out.
    first: Vec<Fallen>,
    /// By value of the service's `spread`, how many are down.
    values: BTreeMap<Option<String>, u32>,
    /// Who was asked to start and may be granted a lease at any moment, with the value.
    asked: BTreeMap<NodeId, Option<String>>,
}

impl Room {
    /// How `spec` stands.
    pub fn of(ledger: &Ledger, desk: &Desk, spec: &ServiceSpec, now: BootTime) -> Self {
        let mut room = Self::default();
        for member in ledger.services.members_of(&spec.name) {
            let value = member.of.get(&spec.name).and_then(|part| part.value.clone());
            room.members += 1;
            match down(ledger, desk, &member.node, spec, now) {
                Some(why) => room.fell(ledger, member.node, why, value),
                None => {
                    room.up += 1;
                    if desk.contacts.get(&member.node).is_some_and(|contact| is_asked(ledger, contact, now)) {
                        room.asked.insert(member.node, value);
                    }
                }
            }
        }
        room.least = spec.min_available.resolve_least(room.members);
        room
    }

    fn fell(&mut self, ledger: &Ledger, node: NodeId, why: Down, value: Option<String>) {
        *self.values.entry(value).or_default() += 1;
        let name = ledger.services.members.get(&node).map_or("", |member| member.name.as_str());
        let goes_before = |other: &Fallen| (&other.why, other.name.as_str(), &other.node) < (&why, name, &node);
        let at = self.first.partition_point(goes_before);
        // Of a large service most that are down are only counted.
        if at <= MAX_NAMED {
            self.first.insert(at, Fallen { why: why.clone(), name: name.to_owned(), node });
            self.first.truncate(MAX_NAMED + 1);
        }
        self.down.insert(node, why);
    }

    /// What keeps `host` from being taken down: `None` if nothing does. With `asks`, what has been asked of others counts too.
    fn short(&self, spec: &ServiceSpec, host: &NodeId, part: &Part, asks: bool) -> Option<Short> {
        let others = || self.asked.iter().filter(|(node, _)| asks && *node != host);
        let asked = u32::try_from(others().count()).unwrap_or(u32::MAX);
        let falls = u32::from(!self.down.contains_key(host));
        let few = u64::from(self.up) < u64::from(self.least) + u64::from(falls) + u64::from(asked);
        let apart = self.values.keys().chain(others().map(|(_, value)| value)).any(|value| *value != part.value);
        if !few && !apart {
            return None;
        }
        let down: Vec<_> = self.first.iter().filter(|one| one.node != *host).take(MAX_NAMED).cloned().collect();
        let more = self.down.len() - usize::from(self.down.contains_key(host)) - down.len();
        Some(Short {
            service: spec.name.clone(),
            members: self.members,
            least: self.least,
            up: self.up,
            spread: spec.spread.clone().filter(|_| !few),
            down,
            more,
            asked,
        })
    }
}

/// Whether a `Go` may follow at any moment. An offer that is not answered at once does not keep others.
fn is_asked(ledger: &Ledger, contact: &Contact, now: BootTime) -> bool {
    match contact.handshake.as_ref().filter(|(rollout, ..)| disrupts(ledger, rollout)) {
        Some((_, _, Handshake::Ready { .. }, _)) => true,
        Some((_, _, Handshake::Offered { .. }, since)) => now.since(*since) < OFFER_SLOW,
        None => false,
    }
}

/// How every service stands, and what has just been decided.
#[derive(Clone, Debug)]
pub(super) struct Rooms<'a> {
    ledger: &'a Ledger,
    rooms: BTreeMap<&'a str, Room>,
}

impl<'a> Rooms<'a> {
    pub(super) fn of(ledger: &'a Ledger, desk: &Desk, now: BootTime) -> Self {
        let room = |spec: &'a ServiceSpec| (spec.name.as_str(), Room::of(ledger, desk, spec, now));
        Self { ledger, rooms: ledger.services.specs.values().map(room).collect() }
    }

    /// What keeps `host` from being granted a lease that takes it down, or with `asks` from being offered one.
    pub(super) fn short(&self, host: &NodeId, asks: bool) -> Option<Short> {
        let parts = self.ledger.services.of_host(host);
        parts.filter_map(|(spec, part)| self.rooms.get(spec.name.as_str())?.short(spec, host, part, asks)).next()
    }

    /// `host` is granted a lease of `rollout` by this decision.
    pub(super) fn granted(&mut self, host: &NodeId, rollout: RolloutId) {
        for (spec, part) in self.ledger.services.of_host(host) {
            let Some(room) = self.rooms.get_mut(spec.name.as_str()) else { continue };
            room.asked.remove(host);
            if !room.down.contains_key(host) {
                room.up -= 1;
                room.fell(self.ledger, *host, Down::Leased(rollout), part.value.clone());
            }
        }
    }

    /// `host` is offered a lease by this decision.
    pub(super) fn offered(&mut self, host: &NodeId) {
        for (spec, part) in self.ledger.services.of_host(host) {
            let Some(room) = self.rooms.get_mut(spec.name.as_str()) else { continue };
            if !room.down.contains_key(host) {
                room.asked.insert(*host, part.value.clone());
            }
        }
    }
}

/// A member of one of the host's services that starts before `host` in this rollout and is not done, with the service. Of
/// the rollout's hosts only the first `open` count: nobody waits for a step of the rings after its own. Of a Scan nobody does.
///
/// Ranks are those of hosts, not of members of one service: two hosts never wait for each other.
pub(super) fn goes_before<'a>(
    ledger: &'a Ledger,
    state: &'a RolloutState,
    host: &NodeId,
    open: usize,
    desk: &Desk,
    now: BootTime,
) -> Option<(&'a str, &'a str)> {
    let rank = ledger.services.rank(host);
    if rank == 0 || state.plan.operation == Operation::Scan {
        return None;
    }
    ledger.services.of_host(host).find_map(|(spec, _)| {
        let earlier = ledger.services.members_of(&spec.name).filter(|member| member.rank < rank);
        let mut waiting = earlier.filter_map(|member| {
            let at = state.index.get(&member.node).copied().filter(|at| *at < open)?;
            let waits = match state.hosts[at].progress {
                Progress::NotStarted => !desk.is_lost(ledger, state, at, now),
                Progress::Running { .. } => true,
                _ => false,
            };
            waits.then_some(state.plan.hosts[at].name.as_str())
        });
        waiting.next().map(|name| (spec.name.as_str(), name))
    })
}
