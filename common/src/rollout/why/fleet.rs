//! Why a rollout, or a patch, is where it is: its hosts in groups that wait for the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        ledger::{Progress, RolloutState},
        planner::{self, Waits},
    },
    Cause, MAX_NAMED, MAX_ROLLOUTS, Scene, hosts, is_done, named,
    roots::{asked_since, ring_failure},
};
use crate::{
    id::{NodeId, RolloutId},
    inventory::Transaction,
    run::message::Refusal,
};

/// How a host that is not done stands; in the order in which they are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Waits(&'static str),
    NeverStarted,
    Running,
    Lost,
    Failed,
    Refused(&'static str),
    Released,
}

impl Kind {
    /// Whether every host of the group has something of its own to tell.
    fn is_told_one_by_one(&self) -> bool {
        matches!(self, Self::Lost | Self::Failed | Self::Released)
    }
}

/// What the ledger knows of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStanding {
    /// Hosts for which it was planned.
    pub planned: usize,
    /// Hosts on which the newest rollout that planned it went well.
    pub done: usize,
    /// Why not on the others. Empty only if there are none, and it was planned for some.
    pub chain: Vec<Cause>,
}

impl Scene<'_> {
    /// Why the rollout is where it is. Empty only if it is over, left nobody out and went well everywhere, or is not known.
    pub fn rollout(&self, id: RolloutId) -> Vec<Cause> {
        let Some(state) = self.ledger.rollouts.get(&id) else { return Vec::new() };
        let mut chain: Vec<Cause> = self.gating(id, state).into_iter().collect();
        chain.extend(self.groups(id, state, 0..state.hosts.len()));
        // Every host may have ended well, and their ring not.
        chain.extend(ring_failure(state));
        chain.extend(left_out(state));
        if state.ended_at.is_none() || !chain.is_empty() {
            chain.push(self.applied(id, state));
        }
        without_repeats(chain)
    }

    /// That the gates of the last ring are being asked, with which no host waits.
    fn gating(&self, id: RolloutId, state: &RolloutState) -> Option<Cause> {
        let waiting =
            planner::gating(self.ledger, id, self.desk, self.now).filter(|_| state.tally.eligible.is_empty())?;
        let text = format!("rollout {} waits: {}", state.plan.name, waiting.text());
        Some(Cause::new(waiting.code(), text, asked_since(state), waiting.command(id)))
    }

    /// Why the package called `name` is not on every host for which it was planned.
    pub fn patch(&self, name: &str) -> PatchStanding {
        let mut standing = PatchStanding::default();
        let mut seen: BTreeSet<NodeId> = BTreeSet::new();
        let mut told = 0;
        for (id, state) in self.newest_first() {
            let planned = state.plan.hosts.iter().enumerate().filter(|(_, host)| has(&host.transaction, name));
            // A newer rollout has the last word on a host.
            let planned: Vec<usize> = planned.filter(|(_, host)| seen.insert(host.node)).map(|(at, _)| at).collect();
            standing.planned += planned.len();
            let (done, open): (Vec<usize>, Vec<usize>) = planned.into_iter().partition(|at| is_done(state, *at));
            standing.done += done.len();
            if open.is_empty() || told == MAX_ROLLOUTS {
                continue;
            }
            told += 1;
            standing.chain.extend(self.groups(id, state, open.into_iter()));
            standing.chain.extend(left_out(state));
            standing.chain.push(self.applied(id, state));
        }
        if standing.planned == 0 {
            let text = format!("no rollout of this ledger was planned to install {name}");
            let look = Some("patchmesh describe host NAME --patches".to_owned());
            standing.chain.push(Cause::new("not-planned", text, None, look));
        }
        standing.chain = without_repeats(standing.chain);
        standing
    }

    /// Those of `among` that are not done, grouped by how they stand, with what is behind it.
    fn groups(&self, id: RolloutId, state: &RolloutState, among: impl Iterator<Item = usize>) -> Vec<Cause> {
        let waits = Waits::of(self.ledger, id, self.desk, self.now).filter(|_| state.ended_at.is_none());
        let mut groups: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for at in among.filter(|at| !is_done(state, *at)) {
            groups.entry(self.kind(waits.as_ref(), state, at)).or_default().push(at);
        }
        let name = |at: &usize| state.plan.hosts[*at].name.as_str();
        let mut chain = Vec::new();
        for (kind, members) in groups {
            let shown = if kind.is_told_one_by_one() { members.len().min(MAX_NAMED) } else { 1 };
            for at in &members[..shown] {
                let who = match members.len() {
                    many if many > shown && shown == 1 => {
                        format!("{} ({})", hosts(many), named(members.iter().map(name)))
                    }
                    _ => name(at).to_owned(),
                };
                let mut causes = self.in_rollout(id, state, *at);
                if let Some(first) = causes.first_mut() {
                    first.text = format!("{who}: {}", first.text);
                }
                chain.extend(causes);
            }
            if kind.is_told_one_by_one() && members.len() > shown {
                let rest = named(members[shown..].iter().map(name));
                let text = format!("the same goes for {} more: {rest}", hosts(members.len() - shown));
                chain.push(Cause::new("more", text, None, Some(format!("patchmesh rollout status {id}"))));
            }
        }
        chain
    }

    fn kind(&self, waits: Option<&Waits<'_>>, state: &RolloutState, at: usize) -> Kind {
        let lost = || state.ended_at.is_some() || self.desk.is_lost(self.ledger, state, at, self.now.boot);
        match &state.hosts[at].progress {
            Progress::NotStarted => {
                let waiting = waits.and_then(|waits| waits.at(at));
                waiting.map_or(Kind::NeverStarted, |waiting| Kind::Waits(waiting.code()))
            }
            Progress::Running { .. } if lost() => Kind::Lost,
            Progress::Running { .. } => Kind::Running,
            Progress::Refused(Refusal { code, .. }) => Kind::Refused(code.as_str()),
            Progress::Released(_) => Kind::Released,
            Progress::Reported | Progress::LeftOut | Progress::Skipped => Kind::Failed,
        }
    }
}

fn has(transaction: &Transaction, name: &str) -> bool {
    transaction.changes.iter().any(|change| change.name == name)
}

/// The targets that the plan left out, by reason.
fn left_out(state: &RolloutState) -> Vec<Cause> {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for host in &state.plan.excluded {
        groups.entry((&host.code, &host.text)).or_default().push(&host.name);
    }
    let cause = |((code, text), names): ((&str, &str), Vec<&str>)| {
        let (count, names) = (names.len(), named(names));
        let text = format!("rollout {} left out {} ({names}): {text}", state.plan.name, hosts(count));
        Cause::new(code, text, Some(state.plan.created_at), Some("patchmesh plan -f FILE".to_owned()))
    };
    groups.into_iter().map(cause).collect()
}

/// What holds up many hosts is told once.
fn without_repeats(chain: Vec<Cause>) -> Vec<Cause> {
    let mut seen = BTreeSet::new();
    chain.into_iter().filter(|cause| seen.insert((cause.code.clone(), cause.text.clone()))).collect()
}
