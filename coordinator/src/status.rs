//! How a rollout stands, in the words of the published documents. Reads the machine's state, decides nothing.

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        ledger::{HostState, Ledger, Progress, RolloutState as Standing},
        limit::based,
        plan::{ExcludedBecause, ExcludedHost, ResolvedLimit},
        planner::{self, Desk, Waits},
        replan::{self, Next},
        waiting::Waiting,
        why::release_command,
    },
    run::{
        Phase,
        message::{Outcome, Report},
    },
    schedule,
    time::Now,
};

use crate::{
    api::document::{
        Active, ChangedPackage, HostCounts, HostOutcome, HostResult, LimitDocument, LimitsDocument, OutsideWindow,
        ProgressDocument, Reason, ReplanDocument, ResultError, RolloutDocument, RolloutRow, RolloutState, Seconds,
        Time, WaitingGroup,
    },
    render::counted,
};

mod rings;

/// Reasons of the coordinator itself, which hold however many hosts are at work.
const UNCERTAIN: [&str; 5] = ["listening", "rival", "reconciling", "superseded", "safe-mode"];

/// What the documents are made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What was permitted and what came of it.
    pub ledger: &'a Ledger,
    /// What is known beside it.
    pub desk: &'a Desk,
    /// The coordinator's clocks.
    pub now: Now,
}

impl View<'_> {
    /// How the host at `at` stands.
    pub fn outcome(&self, state: &Standing, at: usize) -> HostOutcome {
        let lost = || self.desk.is_lost(self.ledger, state, at, self.now.boot);
        match &state.hosts[at].progress {
            Progress::Running { .. } if state.ended_at.is_some() || lost() => HostOutcome::Lost,
            Progress::Running { .. } => HostOutcome::Running,
            Progress::NotStarted if state.ended_at.is_some() && !is_cut_short(state) => HostOutcome::Lost,
            Progress::NotStarted => HostOutcome::NotStarted,
            Progress::Reported => match state.hosts[at].report.as_ref().map(|report| report.outcome) {
                Some(Outcome::Succeeded) => HostOutcome::Succeeded,
                _ => HostOutcome::Failed,
            },
            Progress::Refused(_) | Progress::LeftOut => HostOutcome::Refused,
            Progress::Skipped => HostOutcome::Skipped,
            Progress::Released(_) => HostOutcome::Lost,
        }
    }

    /// Why the host at `at` is not moving.
    pub fn waiting(&self, id: RolloutId, at: usize) -> Option<Waiting> {
        planner::waiting(self.ledger, id, at, self.desk, self.now)
    }

    /// Why hosts of a rollout are not moving, for those who ask of many.
    pub fn waits(&self, id: RolloutId) -> Option<Waits<'_>> {
        Waits::of(self.ledger, id, self.desk, self.now)
    }

    fn counts(&self, state: &Standing) -> HostCounts {
        let planned = (0..state.hosts.len()).map(|at| self.outcome(state, at));
        HostCounts::of(planned.chain(state.plan.excluded.iter().map(excluded_outcome)))
    }

    /// Where the rollout stands, and why.
    pub fn state(&self, id: RolloutId, state: &Standing) -> (RolloutState, Option<Reason>) {
        let reason = |code: &str, text: String| Some(Reason { code: code.to_owned(), text });
        let counts = self.counts(state);
        if state.halted {
            let waiting = planner::halted(state);
            if waiting != Waiting::Halted {
                return (RolloutState::Halted, reason(waiting.code(), waiting.text()));
            }
            let limit = &state.plan.max_errors;
            let limit = based(&limit.given, limit.resolved, state.plan.hosts.len());
            let text = format!("{} failed; maxErrors is {limit}", hosts(counts.failed));
            return (RolloutState::Halted, reason("max-errors-exceeded", text));
        }
        if state.stopped.is_some() {
            return (RolloutState::Stopped, reason("stopped", "stopped by an operator".into()));
        }
        if let Some(rejection) = &state.course.rejected {
            return (RolloutState::Stopped, reason("rejected", Waiting::Rejected(rejection.clone()).text()));
        }
        if state.ended_at.is_some() {
            return if counts.not_started > 0 {
                let text = format!("no opening is left for {}", hosts(counts.not_started));
                (RolloutState::WindowClosed, reason("window-closed", text))
            } else if counts.failed + counts.refused > 0 {
                let text = format!("{} failed, {} refused", hosts(counts.failed), counts.refused);
                (RolloutState::CompletedWithFailures, reason("failures", text))
            } else if counts.lost > 0 {
                (RolloutState::CompletedWithLost, reason("lost", lost(counts.lost)))
            } else if let Some(ring) = state.unshown() {
                let ring = state.plan.ring_name(ring);
                let text = format!("the gates of ring {ring} were not asked after its last host was done");
                (RolloutState::CompletedWithLost, reason("ring-gates-unasked", text))
            } else {
                (RolloutState::Succeeded, None)
            };
        }
        if state.paused {
            return (RolloutState::Paused, reason("paused", Waiting::Paused.text()));
        }
        let first = state.tally.eligible.first().and_then(|at| self.waiting(id, *at));
        let first = first.or_else(|| planner::gating(self.ledger, id, self.desk, self.now));
        let why = first.map(|waiting| Reason { code: waiting.code().to_owned(), text: waiting.text() });
        match why {
            // Hosts at work, as far as this ledger knows: whoever asks must hear that it may not be the last word.
            Some(why) if counts.running > 0 && UNCERTAIN.contains(&why.code.as_str()) => {
                (RolloutState::Running, Some(why))
            }
            _ if counts.running > 0 => (RolloutState::Running, None),
            Some(why) if why.code == "handshake" => (RolloutState::Running, Some(why)),
            Some(why) if state.peak == 0 && why.code == "window-closed" => (RolloutState::Planned, Some(why)),
            Some(why) => (RolloutState::Waiting, Some(why)),
            None if counts.lost > 0 => (RolloutState::Waiting, reason("lost", lost(counts.lost))),
            None => (RolloutState::Running, None),
        }
    }

    /// The recap.
    pub fn recap(&self, id: RolloutId, state: &Standing) -> RolloutDocument {
        let (name, reason) = self.state(id, state);
        // What hosts have in common is computed once.
        let waits = self.waits(id).filter(|_| state.ended_at.is_none());
        let planned = (0..state.hosts.len()).map(|at| self.result(state, at, waits.as_ref()));
        let mut results: Vec<_> = planned.chain(state.plan.excluded.iter().map(excluded_result)).collect();
        results.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
        let end = state.ended_at.unwrap_or(self.now.wall);
        RolloutDocument {
            schema: RolloutDocument::SCHEMA.to_owned(),
            id: id.to_string(),
            name: state.plan.name.clone(),
            operation: state.plan.operation,
            state: name,
            reason,
            limits: LimitsDocument {
                max_concurrency: limit(&state.plan.max_concurrency),
                max_errors: limit(&state.plan.max_errors),
            },
            hosts: self.counts(state),
            peak_concurrency: state.peak,
            started_at: Some(Time(state.started_at)),
            ended_at: state.ended_at.map(Time),
            duration_seconds: u64::try_from(end.0.saturating_sub(state.started_at.0).max(0)).ok().map(Seconds),
            rings: self.rings(id, state),
            replans: state.replans.and_then(|of| self.named(of)),
            replanned_as: self.replanned_as(id),
            results,
            outside_window: self.outside_window(state),
        }
    }

    /// The rollout that plans this one again, also if it is still to be started.
    fn replanned_as(&self, id: RolloutId) -> Option<ReplanDocument> {
        match replan::next(self.ledger, id, self.now.wall)? {
            Next::Done(follower) => self.named(follower),
            Next::Due(spec) => Some(ReplanDocument { name: spec.name, id: None }),
            Next::Later | Next::Held | Next::Never(_) => None,
        }
    }

    fn outside_window(&self, state: &Standing) -> Option<OutsideWindow> {
        let because = state.plan.because.clone()?;
        Some(OutsideWindow { because, by: replan::asked_by(self.ledger, state) })
    }

    fn named(&self, id: RolloutId) -> Option<ReplanDocument> {
        let name = self.ledger.rollouts.get(&id)?.plan.name.clone();
        Some(ReplanDocument { name, id: Some(id.to_string()) })
    }

    /// One row of `get rollouts`.
    pub fn row(&self, id: RolloutId, state: &Standing) -> RolloutRow {
        RolloutRow {
            id: id.to_string(),
            name: state.plan.name.clone(),
            operation: state.plan.operation,
            state: self.state(id, state).0,
            hosts: self.counts(state),
            started_at: Some(Time(state.started_at)),
            ended_at: state.ended_at.map(Time),
            outside_window: self.outside_window(state),
        }
    }

    fn result(&self, state: &Standing, at: usize, waits: Option<&Waits<'_>>) -> HostResult {
        let (planned, host) = (&state.plan.hosts[at], &state.hosts[at]);
        let outcome = self.outcome(state, at);
        let report = host.report.as_deref();
        HostResult {
            host: planned.name.clone(),
            node_id: planned.node.to_string(),
            outcome,
            phase: self.phase(state, at),
            attempts: host.attempts,
            rebooted: report.is_some_and(|report| report.rebooted),
            packages: report.map(changed).unwrap_or_default(),
            error: result_error(outcome, host, &planned.name),
            detail: match outcome {
                HostOutcome::Running => self.detail(state, at).map(str::to_owned),
                HostOutcome::NotStarted => waits.and_then(|waits| waits.at(at)).map(|waiting| waiting.text()),
                _ => None,
            },
        }
    }

    /// The phase last begun on the host at `at`.
    pub fn phase(&self, state: &Standing, at: usize) -> Option<Phase> {
        let contact = self.desk.contacts.get(&state.plan.hosts[at].node);
        match &state.hosts[at].progress {
            Progress::Running { .. } => {
                Some(contact.and_then(|contact| contact.progress.as_ref()).map_or(Phase::Granted, |(phase, _)| *phase))
            }
            Progress::Reported | Progress::LeftOut => Some(Phase::Settled),
            _ => state.hosts[at].report.as_ref().map(|report| report.phase),
        }
    }

    /// What the work on the host at `at` said last; `None` if nothing.
    pub fn detail(&self, state: &Standing, at: usize) -> Option<&str> {
        let contact = self.desk.contacts.get(&state.plan.hosts[at].node)?;
        contact.progress.as_ref().map(|(_, line)| line.as_str()).filter(|line| !line.is_empty())
    }

    /// The standing for the live view.
    pub fn progress(&self, id: RolloutId, state: &Standing) -> ProgressDocument {
        let (name, reason) = self.state(id, state);
        let active = state.tally.busy.iter().map(|&at| {
            let since = match state.hosts[at].progress {
                Progress::Running { since, .. } => self.now.wall.0.saturating_sub(since.0).max(0) / 1000,
                _ => 0,
            };
            Active {
                host: state.plan.hosts[at].name.clone(),
                phase: self.phase(state, at).unwrap_or(Phase::Granted),
                seconds: u64::try_from(since).unwrap_or(0),
                detail: self.detail(state, at).unwrap_or_default().to_owned(),
            }
        });
        ProgressDocument {
            schema: ProgressDocument::SCHEMA.to_owned(),
            rollout: id.to_string(),
            state: name,
            reason,
            rings: self.rings(id, state),
            active: active.collect(),
            waiting: self.waiting_groups(id, state),
        }
    }

    fn waiting_groups(&self, id: RolloutId, state: &Standing) -> Vec<WaitingGroup> {
        let mut groups: Vec<WaitingGroup> = Vec::new();
        let Some(waits) = self.waits(id) else { return groups };
        for waiting in state.tally.eligible.iter().filter_map(|at| waits.at(*at)) {
            match groups.iter_mut().find(|group| group.code == waiting.code()) {
                Some(group) => group.hosts += 1,
                None => groups.push(WaitingGroup { code: waiting.code().to_owned(), text: waiting.text(), hosts: 1 }),
            }
        }
        groups.sort_by_key(|group| core::cmp::Reverse(group.hosts));
        groups
    }
}

fn hosts(count: u32) -> String {
    counted(count as usize, "host")
}

fn lost(count: u32) -> String {
    if count == 1 { "1 host is lost".to_owned() } else { format!("{} are lost", hosts(count)) }
}

/// Whether hosts that never started could not start any more, for a reason that is not their silence.
fn is_cut_short(state: &Standing) -> bool {
    let over = |end| schedule::standing(&state.plan.openings, end) == schedule::Standing::Over;
    state.halted || state.stopped.is_some() || state.course.rejected.is_some() || state.ended_at.is_some_and(over)
}

fn limit(limit: &ResolvedLimit) -> LimitDocument {
    LimitDocument { given: limit.given.clone(), resolved: limit.resolved }
}

fn changed(report: &Report) -> Vec<ChangedPackage> {
    let package = |change: &patchmesh_common::inventory::PackageChange| ChangedPackage {
        name: change.name.clone(),
        arch: change.arch.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
    };
    report.packages.iter().map(package).collect()
}

fn result_error(outcome: HostOutcome, host: &HostState, name: &str) -> Option<ResultError> {
    match (&host.progress, outcome) {
        (Progress::Refused(refusal), _) => Some(ResultError {
            code: refusal.code.as_str().to_owned(),
            text: format!("{}; nothing was changed; {}", refusal.text, refusal.remedy),
            log: String::new(),
        }),
        (Progress::NotStarted, HostOutcome::Lost) => Some(ResultError {
            code: "lost".to_owned(),
            text: "the host was silent, so that nothing was started on it; plan again when its daemon is back"
                .to_owned(),
            log: String::new(),
        }),
        (Progress::Released(release), _) => {
            Some(ResultError { code: "released".to_owned(), text: release.text(), log: String::new() })
        }
        (_, HostOutcome::Lost) => Some(ResultError {
            code: "lost".to_owned(),
            text: format!(
                "the host is silent; what it last did is unknown; it reports when its daemon is back; if it never will, \
                 release its slot: {}",
                release_command(name)
            ),
            log: String::new(),
        }),
        (Progress::Reported | Progress::LeftOut, _) => host.report.as_ref()?.error.as_ref().map(|error| ResultError {
            code: error.code.clone(),
            text: error.text.clone(),
            log: error.log.clone(),
        }),
        _ => None,
    }
}

fn excluded_outcome(host: &ExcludedHost) -> HostOutcome {
    match host.because {
        ExcludedBecause::Silent => HostOutcome::Lost,
        ExcludedBecause::Observing | ExcludedBecause::NoRing => HostOutcome::Skipped,
        ExcludedBecause::Refused => HostOutcome::Refused,
    }
}

fn excluded_result(host: &ExcludedHost) -> HostResult {
    HostResult {
        detail: None,
        host: host.name.clone(),
        node_id: host.node.to_string(),
        outcome: excluded_outcome(host),
        phase: None,
        attempts: 0,
        rebooted: false,
        packages: Vec::new(),
        error: Some(ResultError {
            code: host.code.clone(),
            text: format!("{}; nothing was changed; {}", host.text, host.remedy),
            log: String::new(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
