//! Behind a wait: who holds the slots, which hosts failed, what another rollout does with the host.

use super::{
    super::{
        availability::{Down, Fallen},
        ledger::{Held, Progress, RolloutState},
        planner::Waits,
        ring_gate::{Answered, FailedRing},
        slots::{Hold, Slot},
        waiting::Waiting,
    },
    Cause, MAX_NAMED, Scene, hosts, named, release_command,
};
use crate::{
    id::{NodeId, RolloutId},
    run::message::{MEND_DATABASE, Outcome},
    time::WallTime,
};

impl Scene<'_> {
    /// Why `node` waits in the rollout, and what is behind that.
    pub(super) fn waits(&self, id: RolloutId, state: &RolloutState, node: &NodeId, waiting: &Waiting) -> Vec<Cause> {
        let text = match waiting {
            // What the host wants done is the command.
            Waiting::Refused(refusal) => format!("refused: {}", refusal.text),
            Waiting::Paused => format!("paused by {}", by(state.since.paused.as_ref())),
            Waiting::Stopped => format!("stopped by {}", by(state.since.stopped.as_ref())),
            _ => waiting.text(),
        };
        let text = format!("waits in rollout {}: {text}", state.plan.name);
        // It waits since the rollout was applied at the earliest, however old what it waits for is.
        let at = self.since(state, node, waiting).map(|at| at.max(state.started_at));
        let command = waiting.command(id);
        let mut chain = vec![Cause::new(waiting.code(), text, at, command)];
        chain.extend(self.behind(id, state, node, waiting));
        chain
    }

    /// Since when it waits for this reason.
    fn since(&self, state: &RolloutState, node: &NodeId, waiting: &Waiting) -> Option<WallTime> {
        let contact = self.desk.contacts.get(node);
        match waiting {
            // Full since the newest of the slots was taken.
            Waiting::Slot { .. } => state.tally.busy.iter().filter_map(|at| running_since(state, *at)).max(),
            Waiting::Lost { .. } => {
                let lost = state.tally.busy.iter().filter_map(|at| self.heard_at(&state.plan.hosts[*at].node));
                lost.chain(failures(state).map(|(_, ended)| ended)).max()
            }
            // Closed since the last start that has passed, or since there is a rollout.
            Waiting::WindowClosed { .. } => {
                let closed = state.plan.openings.iter().map(|opening| opening.last_start);
                closed.filter(|end| *end <= self.now.wall).max().or(Some(state.started_at))
            }
            Waiting::Paused => state.since.paused.as_ref().map(|held| held.at),
            Waiting::Halted => state.since.halted,
            Waiting::Gate { .. } | Waiting::Hook { .. } => failures(state).map(|(_, ended)| ended).max(),
            Waiting::RingFailed(failed) => Some(failed.at),
            Waiting::RingGates { .. } => asked_since(state),
            Waiting::Stopped => state.since.stopped.as_ref().map(|held| held.at),
            Waiting::AllStopped { .. } => self.ledger.stopped_all_since,
            Waiting::Silent => self.heard_at(node),
            Waiting::Refused(_) | Waiting::Outdated(_) => {
                contact?.refused.as_ref().map(|(_, since, _)| self.wall(*since))
            }
            Waiting::Handshake => contact?.handshake.as_ref().map(|(.., since)| self.wall(*since)),
            Waiting::Claimed(other) => {
                let other = self.ledger.rollouts.get(other)?;
                other.index.get(node).and_then(|at| running_since(other, *at)).or(Some(other.started_at))
            }
            // Held up since the step before has settled.
            Waiting::Ring { .. } | Waiting::StepWait { .. } | Waiting::Bake { .. } | Waiting::Approval { .. } => {
                state.course.since.or(Some(state.started_at))
            }
            // Since the newest of those that have to speak first began.
            Waiting::Ramp { .. } => state.tally.busy.iter().filter_map(|at| running_since(state, *at)).max(),
            Waiting::Rejected(rejection) => Some(rejection.at),
            // Since the last instant at which it would have fitted.
            Waiting::NoTime { needs, reboot: None, opening, .. } => {
                Some(WallTime(opening.closes.0.saturating_sub(i64::from(*needs) * 1000)).max(opening.opens))
            }
            Waiting::NoTime { opening, .. } => Some(opening.opens),
            // Since the newest of those that are down was heard, or began.
            Waiting::Service(short) => short.down.iter().filter_map(|one| self.down_since(one)).max(),
            Waiting::Fleet { .. } => self.held(|_| true).iter().filter_map(|slot| slot.since).max(),
            Waiting::Last { .. }
            | Waiting::Reconciling { .. }
            | Waiting::ClockSkew { .. }
            | Waiting::Superseded
            | Waiting::Released
            | Waiting::Listening
            | Waiting::Rival
            | Waiting::SafeMode { .. } => None,
        }
    }

    fn behind(&self, id: RolloutId, state: &RolloutState, node: &NodeId, waiting: &Waiting) -> Vec<Cause> {
        match waiting {
            Waiting::Slot { .. } | Waiting::Ramp { .. } => self.holders(state, |_| true),
            Waiting::Ring { .. } => self.before(id, state),
            Waiting::Reconciling { .. } => {
                self.holders(state, |slot| matches!(slot.held, Hold::Foreign | Hold::Unknown))
            }
            Waiting::Lost { .. } => {
                let mut chain = self.holders(state, Slot::is_lost);
                chain.extend(failed(state));
                chain
            }
            Waiting::Fleet { .. } => self.told(self.held(|_| true), "slots are held"),
            Waiting::Service(short) => {
                let told = |one: &Fallen| {
                    let command = one.why.command().unwrap_or_else(|| short.describe());
                    Cause::new(one.why.code(), one.text(), self.down_since(one), Some(command))
                };
                short.down.iter().map(told).collect()
            }
            Waiting::Halted | Waiting::Gate { .. } | Waiting::Hook { .. } => failed(state),
            Waiting::RingFailed(_) => ring_failure(state).into_iter().chain(failed(state)).collect(),
            Waiting::Claimed(other) => {
                let Some(state) = self.ledger.rollouts.get(other) else { return Vec::new() };
                let running = state.index.get(node).and_then(|at| self.running(*other, state, *at));
                running.into_iter().chain([self.applied(*other, state)]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Who holds the slots of the rollout: those that are not at work first, because nothing but a person changes them.
    fn holders(&self, state: &RolloutState, of: impl Fn(&Slot) -> bool) -> Vec<Cause> {
        let own = |slot: &Slot| state.index.contains_key(&slot.host) && holds(state, slot) && of(slot);
        self.told(self.held(own), "of its slots are held")
    }

    fn held(&self, of: impl Fn(&Slot) -> bool) -> Vec<Slot> {
        let mut held = self.slots();
        held.retain(of);
        held.sort_by_key(|slot| slot.held == Hold::Busy);
        held
    }

    fn told(&self, mut held: Vec<Slot>, what: &str) -> Vec<Cause> {
        let rest = held.split_off(held.len().min(MAX_NAMED));
        let mut chain: Vec<Cause> = held.iter().map(|slot| self.holder(slot)).collect();
        if !rest.is_empty() {
            let text = format!("{} more {what}", rest.len());
            chain.push(Cause::new("holders", text, None, Some("patchmesh slots ls".to_owned())));
        }
        chain
    }

    /// Since when a member of a service is down: since its run began, or since it was heard.
    fn down_since(&self, one: &Fallen) -> Option<WallTime> {
        let Down::Leased(rollout) = one.why else { return self.heard_at(&one.node) };
        let state = self.ledger.rollouts.get(&rollout)?;
        running_since(state, *state.index.get(&one.node)?)
    }

    /// Which hosts of the step that is open are not done: those at work or lost, then those that wait themselves.
    fn before(&self, id: RolloutId, state: &RolloutState) -> Vec<Cause> {
        let end = state.plan.step_range(state.course.place).end;
        let mut chain = self.holders(state, |slot| state.index.get(&slot.host).is_some_and(|at| *at < end));
        let open: Vec<usize> = state.tally.eligible.range(..end).copied().collect();
        let waits = Waits::of(self.ledger, id, self.desk, self.now);
        chain.extend(open.iter().take(MAX_NAMED).filter_map(|at| {
            let (name, waiting) = (&state.plan.hosts[*at].name, waits.as_ref()?.at(*at)?);
            let (node, text) =
                (&state.plan.hosts[*at].node, format!("{name} goes before it, and waits: {}", waiting.text()));
            let at = self.since(state, node, &waiting).map(|at| at.max(state.started_at));
            Some(Cause::new(waiting.code(), text, at, waiting.command(id)))
        }));
        let rest = open.get(MAX_NAMED..).unwrap_or_default();
        if !rest.is_empty() {
            let names = named(rest.iter().map(|at| state.plan.hosts[*at].name.as_str()));
            chain.push(Cause::new("ring", format!("{} more go before it: {names}", hosts(rest.len())), None, None));
        }
        chain
    }

    pub(super) fn holder(&self, slot: &Slot) -> Cause {
        let (at, release) = (slot.since.or_else(|| self.heard_at(&slot.host)), slot.held != Hold::Busy);
        let command = release.then(|| release_command(&slot.name));
        let code = if slot.held == Hold::Busy { "slot-held" } else { slot.held.as_str() };
        Cause::new(code, format!("{} holds a slot: {}", slot.name, slot.text()), at, command)
    }
}

/// Since when the gates of a ring are being asked, or the ring before the present one has settled.
pub(super) fn asked_since(state: &RolloutState) -> Option<WallTime> {
    let open = state.course.gates.values().filter(|gates| gates.answer == Answered::NotYet).map(|gates| gates.at);
    open.max().or(state.course.since)
}

/// What a ring showed that failed one of its gates.
pub(super) fn ring_failure(state: &RolloutState) -> Option<Cause> {
    let FailedRing { ring, gate, why, shown, at } = state.failed_ring()?;
    let lines: Vec<&str> = shown.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = if lines.is_empty() { String::new() } else { format!("; it said: {}", lines.join(" | ")) };
    let text = format!("ring {ring} of rollout {} failed its gate {gate}: {why}{shown}", state.plan.name);
    Some(Cause::new("ring-gate-failed", text, Some(at), Some("patchmesh plan -f FILE".to_owned())))
}

/// Whether the slot is one of this rollout's: its own, or one of a lease that nobody here granted.
fn holds(state: &RolloutState, slot: &Slot) -> bool {
    let own = || state.index.get(&slot.host).is_some_and(|at| state.tally.busy.contains(at));
    matches!(slot.held, Hold::Foreign | Hold::Unknown) || own()
}

/// Who held it up.
pub(super) fn by(held: Option<&Held>) -> &str {
    held.map_or("an operator", |held| &held.by)
}

fn running_since(state: &RolloutState, at: usize) -> Option<WallTime> {
    match state.hosts[at].progress {
        Progress::Running { since, .. } => Some(since),
        _ => None,
    }
}

/// Hosts whose report says that they failed, and when.
fn failures(state: &RolloutState) -> impl Iterator<Item = (usize, WallTime)> + '_ {
    state.hosts.iter().enumerate().filter_map(|(at, host)| {
        let report = host.report.as_ref().filter(|report| report.outcome == Outcome::Failed)?;
        (host.progress == Progress::Reported).then_some((at, report.ended))
    })
}

/// The hosts that failed in the rollout, the last first.
pub(super) fn failed(state: &RolloutState) -> Vec<Cause> {
    let mut found: Vec<_> = failures(state).collect();
    found.sort_by_key(|(at, ended)| core::cmp::Reverse((*ended, *at)));
    let rest = found.split_off(found.len().min(MAX_NAMED));
    let told = |at: usize| {
        let cause = failure(state, at)?;
        Some(Cause { text: format!("{}: {}", state.plan.hosts[at].name, cause.text), ..cause })
    };
    let mut chain: Vec<Cause> = found.iter().filter_map(|(at, _)| told(*at)).collect();
    if !rest.is_empty() {
        let names = named(rest.iter().map(|(at, _)| state.plan.hosts[*at].name.as_str()));
        chain.push(Cause::new("failed", format!("{} more failed: {names}", hosts(rest.len())), None, None));
    }
    chain
}

/// What the report of the host at `at`, which failed or was left out, says went wrong.
pub(super) fn failure(state: &RolloutState, at: usize) -> Option<Cause> {
    let (name, plan) = (&state.plan.hosts[at].name, &state.plan.name);
    let report = state.hosts[at].report.as_ref().filter(|report| report.outcome == Outcome::Failed)?;
    let (code, said) = match &report.error {
        Some(error) => (error.code.as_str(), format!(": {}", error.text)),
        None => ("failed", String::new()),
    };
    // What is left to do after a failure, such as the hooks of its end, goes on: it is not what failed.
    let phase = report.steps.iter().find(|step| !step.ok).map_or(report.phase, |step| step.phase);
    let text = match state.hosts[at].progress {
        Progress::LeftOut => format!("was left out of rollout {plan}, in phase {}{said}", phase.as_str()),
        _ => format!("failed in rollout {plan}, in phase {}{said}", phase.as_str()),
    };
    let command = match &report.error {
        Some(error) if error.left_unclean() => MEND_DATABASE.to_owned(),
        _ => format!("patchmesh rollout steps {} --host {name}", report.rollout),
    };
    Some(Cause::new(code, text, Some(report.ended), Some(command)))
}
