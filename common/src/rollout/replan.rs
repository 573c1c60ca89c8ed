//! `onSuperseded: replan`: a host whose planned versions are superseded is left out, as with `skip`, and when its rollout has ended
//! the same specification is planned again, for the same targets, as a rollout of its own. The new content enters the first ring.
//!
//! A plan that runs is never changed: its hash, and the approvals that were given to it, stand for what it holds. What was
//! planned again is in the ledger and nowhere else: [`super::plan::Rollout::replans`].

use core::time::Duration;
use std::collections::BTreeSet;

use super::{
    OnSuperseded, Operation,
    attempts::{Attempts, Persistence},
    ledger::{Ledger, Progress, RolloutState},
    plan::Superseded,
    planner::Desk,
    spec::{Asked, MAX_NAME, RolloutSpec},
};
use crate::{
    id::{NodeId, RolloutId},
    run::message::RefusalCode,
    time::{Now, WallTime},
};

/// How often one rollout is planned again, and again what comes of that. Versions that move faster than a rollout through its
/// rings would never let it end.
pub const MOST: u32 = 3;
/// How long after its end a rollout may be planned again: as long as a plan may be applied. Nobody expects it any more later.
pub const WITHIN: Duration = Duration::from_secs(24 * 3600);
/// How long after its end all the hosts are waited for that it left out: a coordinator that has just started hears them one by one,
/// and would leave the others out again. After that those go that are heard.
pub const HEARD: Duration = Duration::from_secs(300);
/// How long after its end a plan must hold all the hosts that it left out: one whose package manager is locked, or whose repository
/// is being synchronized, is asked again. After that a plan is started that holds any of them.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How long after its end whatever waits for a run waits for the rollout that plans it again: for some tries, of which one is after
/// [`PATIENCE`], and the hosts' answers. What is tried longer than that keeps nothing from its turn.
pub const AWAITED: Duration = Duration::from_secs(1200);
/// How it is tried: without end before [`WITHIN`], since a mirror may take hours to be whole again.
pub const PERSISTENCE: Persistence = Persistence { tries: None, longest: Duration::from_secs(3600) };
/// What a name has at its end, at most, when it is that of a rollout that plans another one again. Names that the coordinator makes
/// leave room for it, so that those of different times and targets remain different.
pub const TAIL: usize = "-replan-3".len();
const _: () = assert!(MOST < 10, "TAIL has one digit");

/// What becomes of the hosts that a rollout left out because their versions were superseded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The rollout has not ended.
    Later,
    /// It is to be planned again, as this.
    Due(Box<RolloutSpec>),
    /// As before, but nothing starts while a STOP of every rollout stands.
    Held,
    /// This rollout plans it again.
    Done(RolloutId),
    /// It is not planned again.
    Never(Never),
}

/// Why a rollout is not planned again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// More hosts failed than allowed, or one failed a gate.
    Halted,
    /// An operator stopped it.
    Stopped,
    /// An operator rejected a ring.
    Rejected,
    /// An operator held it when it ended.
    Paused,
    /// It comes of as many as [`MOST`].
    Often,
    /// It ended longer ago than [`WITHIN`].
    Late,
    /// Every opening that it asked for is over.
    Over,
}

impl Never {
    /// The reason, to go on after "it is not planned again: ".
    pub fn text(self) -> String {
        match self {
            Self::Halted => "it was halted".to_owned(),
            Self::Stopped => "an operator stopped it".to_owned(),
            Self::Rejected => "an operator rejected a ring".to_owned(),
            Self::Paused => "an operator held it when it ended".to_owned(),
            Self::Often => format!("its versions were superseded again after {MOST} rollouts that planned it again"),
            Self::Late => format!("it ended more than {} hours ago", WITHIN.as_secs() / 3600),
            Self::Over => "every opening that it asked for is over".to_owned(),
        }
    }
}

impl OnSuperseded {
    /// What holds if nothing is said. The versions of a snapshot are frozen, so that planning again would bring the same; and a Scan
    /// installs none.
    pub fn default_of(operation: Operation, baseline: &Asked) -> Self {
        match (operation, baseline) {
            (Operation::Scan, _) | (_, Asked::Snapshot(_)) => Self::Skip,
            (Operation::Install, _) => Self::Replan,
        }
    }
}

/// Whether a host that refuses with `code` would do something else than was planned.
pub fn is_superseded(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::PlanChanged | RefusalCode::VersionGone)
}

impl RolloutState {
    /// Why it is not planned again, as far as it says that itself.
    fn barred(&self) -> Option<Never> {
        let reasons = [
            (self.halted, Never::Halted),
            (self.stopped.is_some(), Never::Stopped),
            (self.course.rejected.is_some(), Never::Rejected),
            (self.paused, Never::Paused),
        ];
        reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
    }

    /// Whether an entry may say that another rollout plans this one again.
    pub(super) fn may_be_replanned(&self) -> bool {
        self.ended_at.is_some() && self.replanned_as.is_none() && self.barred().is_none()
    }
}

/// What becomes of the superseded hosts of the rollout `id` at `now`, by the coordinator's wall clock. `None` if there are none, or
/// its plan says nothing of planning again.
pub fn next(ledger: &Ledger, id: RolloutId, now: WallTime) -> Option<Next> {
    let state = ledger.rollouts.get(&id)?;
    let Superseded::Replan(asked) = &state.plan.on_superseded else { return None };
    if let Some(follower) = state.replanned_as {
        return Some(Next::Done(follower));
    }
    left_out(state).next()?;
    let Some(ended) = state.ended_at else { return Some(Next::Later) };
    let (first, number) = lineage(ledger, state);
    let never = state.barred().or_else(|| {
        let reasons = [
            (number >= MOST, Never::Often),
            (now > ended.plus(WITHIN), Never::Late),
            (is_over(asked, now), Never::Over),
        ];
        reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
    });
    Some(match never {
        Some(why) => Next::Never(why),
        None if ledger.stopped_all().is_some() => Next::Held,
        None => Next::Due(Box::new(RolloutSpec { name: name(&first.plan.name, number + 1), ..(**asked).clone() })),
    })
}

/// The hosts that it left out because their versions were superseded.
fn left_out(state: &RolloutState) -> impl Iterator<Item = NodeId> + '_ {
    let hosts = state.plan.hosts.iter().zip(&state.hosts).filter(|_| state.tally.refused > 0);
    hosts.filter_map(|(planned, host)| match &host.progress {
        Progress::Refused(refusal) if is_superseded(refusal.code) => Some(planned.node),
        _ => None,
    })
}

/// The rollouts at `now` that left `node` out and are to be planned again.
pub fn waited_for_by(ledger: &Ledger, node: NodeId, now: WallTime) -> impl Iterator<Item = (RolloutId, &RolloutState)> {
    let waits = move |id: RolloutId, state: &RolloutState| {
        left_out(state).any(|one| one == node) && matches!(next(ledger, id, now), Some(Next::Due(_)))
    };
    ledger.rollouts.iter().map(|(id, state)| (*id, state)).filter(move |(id, state)| waits(*id, state))
}

/// Whether what comes after the rollout waits at `now` for the one that is to plan it again. For [`AWAITED`] at most.
pub(super) fn is_awaited(ledger: &Ledger, id: RolloutId, state: &RolloutState, now: WallTime) -> bool {
    let recent = state.ended_at.is_some_and(|ended| ended <= now && now <= ended.plus(AWAITED));
    recent && matches!(next(ledger, id, now), Some(Next::Due(_) | Next::Held))
}

/// Whether the hosts are heard for whose sake the rollout is planned again.
pub fn is_heard(state: &RolloutState, desk: &Desk, now: WallTime) -> bool {
    let alive = |node: NodeId| desk.contacts.get(&node).is_some_and(|contact| contact.alive);
    let late = state.ended_at.is_some_and(|ended| now > ended.plus(HEARD));
    if late { left_out(state).any(alive) } else { left_out(state).all(alive) }
}

/// The rollout that an operator or a policy asked for, of which `state` comes, and how many came of it up to `state`.
pub fn lineage<'a>(ledger: &'a Ledger, state: &'a RolloutState) -> (&'a RolloutState, u32) {
    let (mut first, mut number) = (state, 0);
    while number < MOST
        && let Some(before) = first.replans.and_then(|of| ledger.rollouts.get(&of))
    {
        (first, number) = (before, number + 1);
    }
    (first, number)
}

/// Who asked for the rollout, for people: of one that plans another one again whoever asked for the first.
pub fn asked_by(ledger: &Ledger, state: &RolloutState) -> String {
    let (first, number) = lineage(ledger, state);
    if number == 0 { first.by.clone() } else { format!("{} (planned again)", first.by) }
}

/// What the `number`th rollout is called that plans `first` again. A long name that somebody gave is cut, so that it remains one.
pub(super) fn name(first: &str, number: u32) -> String {
    let end = format!("-replan-{number}");
    let begin = first.get(..MAX_NAME.saturating_sub(end.len())).unwrap_or(first);
    format!("{}{end}", begin.trim_end_matches(['-', '.']))
}

/// Whether the openings that were written are over. Those of windows are found when it is planned.
fn is_over(asked: &RolloutSpec, now: WallTime) -> bool {
    asked.windows.is_empty() && asked.own_openings(now).is_none()
}

/// A rollout that is to be planned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub of: RolloutId,
    /// As this.
    pub spec: RolloutSpec,
    /// For the sake of these, which it left out.
    pub left_out: BTreeSet<NodeId>,
    /// When it ended.
    pub ended: WallTime,
}

impl Due {
    /// Whether a plan that holds the hosts `planned` is to be started at `now`, also if some of them have nothing to install: with all
    /// the hosts that were left out, and after [`PATIENCE`] with any of them. Another one would end without them, and nothing would be
    /// planned again after it.
    ///
    /// # Errors
    /// Those that are missing from it, if it is not.
    pub fn may_start(&self, planned: &BTreeSet<NodeId>, now: WallTime) -> Result<(), BTreeSet<NodeId>> {
        let missing: BTreeSet<_> = self.left_out.difference(planned).copied().collect();
        let late = now > self.ended.plus(PATIENCE);
        let enough = missing.is_empty() || late && missing.len() < self.left_out.len();
        if enough && !planned.is_empty() { Ok(()) } else { Err(missing) }
    }
}

/// What is to be planned again at `now`, the longest ended first, as far as its hosts are heard. Nothing while the coordinator
/// stands back from another one, or was succeeded by it: it is planned there. All of it is under way until [`Attempts::ended`] is
/// told so by its id.
pub fn due(attempts: &mut Attempts<RolloutId>, ledger: &Ledger, desk: &Desk, now: Now) -> Vec<Due> {
    let mut found: Vec<Due> = Vec::new();
    for (id, state) in &ledger.rollouts {
        if let (Some(ended), Some(Next::Due(spec))) = (state.ended_at, next(ledger, *id, now.wall)) {
            found.push(Due { of: *id, spec: *spec, left_out: left_out(state).collect(), ended });
        }
    }
    attempts.keep(|one| found.iter().any(|due| due.of == *one));
    if stands_back(desk, now) {
        return Vec::new();
    }
    found.sort_by_key(|due| (due.ended, due.of));
    found.retain(|due| {
        let heard = ledger.rollouts.get(&due.of).is_some_and(|state| is_heard(state, desk, now.wall));
        heard && attempts.begin(&due.of, due.ended, PERSISTENCE, now.boot)
    });
    found
}

/// Whether another coordinator plans again what is to be planned again.
pub(super) fn stands_back(desk: &Desk, now: Now) -> bool {
    desk.superseded || desk.stands_back(now.boot)
}
