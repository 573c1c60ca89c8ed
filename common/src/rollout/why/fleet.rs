//! Why a rollout, or a patch, is where it is: its hosts in groups that wait for the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        ledger::{Progress, RolloutState},
        planner::{self, Waits},
    },
    Cause, MAX_NAMED, MAX_ROLLOUTS, Scene,
    host::mended,
    hosts, is_done, named,
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
    Waits(Said),
    NeverStarted,
    Running,
    Lost,
    Failed,
    Refused(Said),
    Released,
}

/// What a host says, or is said of it. Two hosts stand alike if nothing of it differs: what helps one may not help the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    code: &'static str,
    text: String,
    command: Option<String>,
}

impl Kind {
    /// The word that groups with different texts share.
    fn word(&self) -> Option<&'static str> {
        match self {
            Self::Waits(said) | Self::Refused(said) => Some(said.code),
            _ => None,
        }
    }

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
            groups.entry(self.kind(waits.as_ref(), id, state, at)).or_default().push(at);
        }
        let groups: Vec<_> = groups.into_iter().collect();
        let alike = |(a, _): &(Kind, _), (b, _): &(Kind, _)| {
            core::mem::discriminant(a) == core::mem::discriminant(b) && a.word() == b.word()
        };
        let mut chain = Vec::new();
        for alike in groups.chunk_by(alike) {
            let mut alike: Vec<_> = alike.iter().collect();
            // The largest first; of very many with a text of their own the rest is counted.
            alike.sort_by_key(|(_, members)| core::cmp::Reverse(members.len()));
            let rest = alike.split_off(alike.len().min(MAX_NAMED));
            for (kind, members) in alike {
                chain.extend(self.group(id, state, kind, members));
            }
            let rest: Vec<usize> = rest.into_iter().flat_map(|(_, members)| members).copied().collect();
            chain.extend((!rest.is_empty()).then(|| more(id, state, "something like it goes", &rest)));
        }
        chain
    }

    /// What one group is told with.
    fn group(&self, id: RolloutId, state: &RolloutState, kind: &Kind, members: &[usize]) -> Vec<Cause> {
        let shown = if kind.is_told_one_by_one() { members.len().min(MAX_NAMED) } else { 1 };
        let mut chain = Vec::new();
        for at in &members[..shown] {
            let mut causes = self.in_rollout(id, state, *at);
            if let Some(first) = causes.first_mut() {
                first.text = match members.len() {
                    many if many > shown && shown == 1 => {
                        format!("{} ({}): {}", hosts(many), names(state, members), of_many(&first.text))
                    }
                    _ => format!("{}: {}", state.plan.hosts[*at].name, first.text),
                };
            }
            chain.extend(causes);
        }
        let rest = &members[shown..];
        if kind.is_told_one_by_one() && !rest.is_empty() {
            chain.push(more(id, state, "the same goes", rest));
        }
        chain
    }

    fn kind(&self, waits: Option<&Waits<'_>>, id: RolloutId, state: &RolloutState, at: usize) -> Kind {
        let lost = || state.ended_at.is_some() || self.desk.is_lost(self.ledger, state, at, self.now.boot);
        match &state.hosts[at].progress {
            Progress::NotStarted => {
                let waiting = waits.and_then(|waits| waits.at(at));
                waiting.map_or(Kind::NeverStarted, |waiting| {
                    let (code, text, command) = (waiting.code(), waiting.text(), waiting.command(id));
                    Kind::Waits(Said { code, text, command })
                })
            }
            Progress::Running { .. } if lost() => Kind::Lost,
            Progress::Running { .. } => Kind::Running,
            Progress::Refused(Refusal { code, text, remedy }) => {
                Kind::Refused(Said { code: code.as_str(), text: text.clone(), command: Some(remedy.clone()) })
            }
            Progress::Released(_) => Kind::Released,
            Progress::Reported | Progress::LeftOut | Progress::Skipped => Kind::Failed,
        }
    }
}

/// The first of these hosts by name, and how many more.
fn names(state: &RolloutState, of: &[usize]) -> String {
    named(of.iter().map(|at| state.plan.hosts[*at].name.as_str()))
}

/// What is said of one host, said of several.
fn of_many(text: &str) -> String {
    let verbs = [("was ", "were "), ("is ", "are "), ("waits ", "wait ")];
    let found = verbs.iter().find_map(|(one, many)| Some(format!("{many}{}", text.strip_prefix(one)?)));
    found.unwrap_or_else(|| text.to_owned())
}

/// Hosts that are not told of one by one.
fn more(id: RolloutId, state: &RolloutState, what: &str, rest: &[usize]) -> Cause {
    let text = format!("{what} for {} more: {}", hosts(rest.len()), names(state, rest));
    Cause::new("more", text, None, Some(format!("patchmesh rollout status {id}")))
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
        Cause::new(code, text, Some(state.plan.created_at), Some(mended(code)))
    };
    groups.into_iter().map(cause).collect()
}

/// What holds up many hosts is told once.
fn without_repeats(chain: Vec<Cause>) -> Vec<Cause> {
    let mut seen = BTreeSet::new();
    chain.into_iter().filter(|cause| seen.insert((cause.code.clone(), cause.text.clone()))).collect()
}
