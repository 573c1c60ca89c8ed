//! Why a host is where it is: what its rollouts say, the newest first, then what its own record says.

use super::{
    super::{
        Operation,
        ledger::{Progress, Release, RolloutState},
        plan::ExcludedHost,
        planner, replan,
        slots::Hold,
        waiting::Waiting,
    },
    Cause, Heard, MAX_ROLLOUTS, Scene, is_done, release_command,
    roots::{by, failed, failure, ring_failure},
};
use crate::{
    gossip::Mode,
    id::{NodeId, RolloutId},
    patch::PatchCounters,
    poison::{QUARANTINE_TAG, SAFE_TAG},
    run::message::{MEND_DATABASE, RefusalCode, RunError},
    schedule::{self, Standing},
};

/// The word for a package database that needs repair.
const DIRTY: &str = RefusalCode::DirtyDatabase.as_str();

/// How a rollout knows a host.
enum Place<'a> {
    At(usize),
    LeftOut(&'a ExcludedHost),
}

impl Scene<'_> {
    /// Why `node` is where it is. Empty only if no rollout has anything left to do on it, and its own record lacks nothing.
    pub fn host(&self, node: NodeId, heard: Option<Heard<'_>>) -> Vec<Cause> {
        let outside = self.slots().into_iter();
        let outside = outside.filter(|slot| slot.host == node && matches!(slot.held, Hold::Foreign | Hold::Unknown));
        let mut chain: Vec<Cause> = outside.map(|slot| self.holder(&slot)).collect();
        let (mut told, mut outdone, mut under_way, mut unclean) = (0, false, false, None);
        for (id, state) in self.newest_first() {
            // What failed before an install went well explains nothing any more.
            if outdone && state.ended_at.is_some() {
                continue;
            }
            let Some(place) = place(state, node) else { continue };
            // The newest word counts: it may have been mended since.
            unclean = unclean.or_else(|| self.is_unclean(state, &place));
            match place {
                Place::At(at) if is_done(state, at) => {
                    outdone |= state.plan.operation == Operation::Install;
                    continue;
                }
                Place::At(at) => {
                    let open = matches!(state.hosts[at].progress, Progress::NotStarted | Progress::Running { .. });
                    under_way |= open && state.ended_at.is_none();
                    chain.extend(self.in_rollout(id, state, at));
                    chain.push(self.applied(id, state));
                }
                Place::LeftOut(host) => chain.push(left_out(state, host)),
            }
            told += 1;
            if told == MAX_ROLLOUTS {
                break;
            }
        }
        match heard {
            Some(heard) => {
                let told = chain.first().is_some_and(|first| ["lost", "silent"].contains(&first.code.as_str()));
                chain.extend(self.silence(node, heard).filter(|_| !told));
                chain.extend(own_words(heard, under_way, unclean.unwrap_or(false)));
            }
            None => chain.push(Cause::new(
                "unheard",
                "the coordinator has not heard of it since it started",
                None,
                Some("systemctl status patchmeshd".to_owned()),
            )),
        }
        chain
    }

    /// Whether the host said in the rollout that its package database is unclean; `None` if it said nothing of it.
    fn is_unclean(&self, state: &RolloutState, place: &Place<'_>) -> Option<bool> {
        let Place::At(at) = place else {
            return matches!(place, Place::LeftOut(host) if host.code == DIRTY).then_some(true);
        };
        let host = &state.hosts[*at];
        let refused = || self.desk.contacts.get(&state.plan.hosts[*at].node)?.refused.as_ref();
        match &host.progress {
            Progress::Refused(refusal) => (refusal.code == RefusalCode::DirtyDatabase).then_some(true),
            Progress::NotStarted => refused().filter(|(no, ..)| no.code == RefusalCode::DirtyDatabase).map(|_| true),
            // A run ends by looking at it.
            Progress::Reported | Progress::LeftOut => {
                let error = host.report.as_ref().and_then(|report| report.error.as_ref());
                Some(error.is_some_and(RunError::left_unclean))
            }
            Progress::Running { .. } | Progress::Skipped | Progress::Released(_) => None,
        }
    }

    /// Why the host at `at` is not done in the rollout. Never empty for one that is not.
    pub(super) fn in_rollout(&self, id: RolloutId, state: &RolloutState, at: usize) -> Vec<Cause> {
        let (planned, name) = (&state.plan.hosts[at], &state.plan.name);
        match &state.hosts[at].progress {
            Progress::Running { .. } => self.running(id, state, at).into_iter().collect(),
            Progress::NotStarted => {
                let waiting = planner::waiting(self.ledger, id, at, self.desk, self.now);
                match waiting.filter(|_| state.ended_at.is_none()) {
                    Some(waiting) => self.waits(id, state, &planned.node, &waiting),
                    None => never_started(state),
                }
            }
            Progress::Released(release) => {
                let text = format!("rollout {name}: {}", release.text());
                vec![Cause::new("released", text, Some(release.at), Some("systemctl status patchmeshd".to_owned()))]
            }
            Progress::Refused(refusal) => {
                let text = format!("refused rollout {name}: {}", refusal.text);
                let at = state.hosts[at].report.as_ref().map(|report| report.ended).or(state.ended_at);
                let cause = Cause::new(refusal.code.as_str(), text, at, Some(refusal.remedy.clone()));
                let again = self.replan(id, state).filter(|_| replan::is_superseded(refusal.code));
                core::iter::once(cause).chain(again).collect()
            }
            Progress::Reported | Progress::LeftOut => self.reported(state, at),
            Progress::Skipped => Vec::new(),
        }
    }

    /// A host that holds a slot: at work, or lost.
    pub(super) fn running(&self, id: RolloutId, state: &RolloutState, at: usize) -> Option<Cause> {
        let Progress::Running { since, .. } = state.hosts[at].progress else { return None };
        let (host, rollout) = (&state.plan.hosts[at], &state.plan.name);
        let contact = self.desk.contacts.get(&host.node);
        if state.ended_at.is_some() || self.desk.is_lost(self.ledger, state, at, self.now.boot) {
            let slot = self.slots().into_iter().find(|slot| slot.host == host.node);
            let silence = slot.map_or_else(|| "it is silent".to_owned(), |slot| slot.text());
            let text = format!("holds a slot of rollout {rollout}, and is lost: {silence}");
            let heard = self.heard_at(&host.node).or(Some(since));
            return Some(Cause::new("lost", text, heard, Some(release_command(&host.name))));
        }
        let told = contact.and_then(|contact| contact.progress.as_ref());
        let phase = told.map_or("granted", |(phase, _)| phase.as_str());
        let said = told.map(|(_, line)| line.as_str()).filter(|line| !line.is_empty());
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        let text = format!("is at work for rollout {rollout}, in phase {phase}{said}");
        Some(Cause::new("running", text, Some(since), Some(format!("patchmesh rollout watch {id}"))))
    }

    /// That nobody hears it.
    fn silence(&self, node: NodeId, heard: Heard<'_>) -> Option<Cause> {
        let last = self.heard_at(&node).max(Some(heard.record.sealed_at.min(self.now.wall)));
        let (text, mend) = ("the mesh does not hear it", "systemctl start patchmeshd");
        (!heard.alive).then(|| Cause::new("silent", text, last, Some(mend.to_owned())))
    }

    fn reported(&self, state: &RolloutState, at: usize) -> Vec<Cause> {
        let Some(report) = state.hosts[at].report.as_ref() else { return Vec::new() };
        let failed = failure(state, at).into_iter();
        // The error is about the first of them; what went wrong after it is told too.
        let steps = report.steps.iter().filter(|step| !step.ok).map(|step| {
            let last = step.output.lines().rev().find(|line| !line.trim().is_empty());
            let said = last.map(|line| format!(" and last said: {}", line.trim())).unwrap_or_default();
            let text = format!("step {} (attempt {}) failed{said}", step.phase.as_str(), step.attempt);
            Cause::new("step-failed", text, Some(step.ended), None)
        });
        failed.chain(steps).collect()
    }
}

impl Release {
    /// What became of a released host, as far as anybody knows.
    pub fn text(&self) -> String {
        let Self { at, by, because, .. } = self;
        format!(
            "its slot was released at {} by {by} ({because}); what it last did is unknown; it reports when its daemon is \
             back, and begins nothing disruptive under that lease once it hears of that",
            at.rfc3339()
        )
    }
}

fn place(state: &RolloutState, node: NodeId) -> Option<Place<'_>> {
    let left_out = || state.plan.excluded.iter().find(|host| host.node == node).map(Place::LeftOut);
    state.index.get(&node).map(|at| Place::At(*at)).or_else(left_out)
}

fn left_out(state: &RolloutState, host: &ExcludedHost) -> Cause {
    let text = format!("rollout {} left it out: {}", state.plan.name, host.text);
    Cause::new(&host.code, text, Some(state.plan.created_at), Some(mended(&host.code)))
}

/// What has to be done first about a host that was left out for the reason `code`.
pub(super) fn mended(code: &str) -> String {
    if code == DIRTY { MEND_DATABASE } else { "patchmesh plan -f FILE" }.to_owned()
}

/// Why a host of a rollout that has ended never started.
fn never_started(state: &RolloutState) -> Vec<Cause> {
    let (name, ended) = (&state.plan.name, state.ended_at);
    let over = |end| schedule::standing(&state.plan.openings, end) == Standing::Over;
    let stopped = state.since.stopped.as_ref();
    let (code, why, at) = if state.halted {
        let why = match planner::halted(state) {
            Waiting::RingFailed(failed) => format!("ring {} failed its gates", failed.ring),
            Waiting::Gate { host } => format!("{host} failed its gate"),
            Waiting::Hook { host } => format!("a hook of {host} failed"),
            _ => "more hosts failed than maxErrors allows".to_owned(),
        };
        ("halted", why, state.since.halted)
    } else if state.stopped.is_some() {
        ("stopped", format!("it was stopped by {}", by(stopped)), stopped.map(|held| held.at))
    } else if let Some(rejection) = &state.course.rejected {
        ("rejected", "an operator rejected a ring".to_owned(), Some(rejection.at))
    } else if ended.is_some_and(over) {
        ("window-closed", "no opening was left".to_owned(), ended)
    } else {
        ("lost", "it was silent".to_owned(), ended)
    };
    let text = format!("was never started in rollout {name}: {why}");
    let cause = Cause::new(code, text, at, Some("patchmesh plan -f FILE".to_owned()));
    let behind = if state.halted { failed(state) } else { Vec::new() };
    let ring = ring_failure(state).filter(|_| state.halted);
    core::iter::once(cause).chain(ring).chain(behind).collect()
}

/// What its own record says. What it lacks is not told while a rollout is `under_way` that sees to it. On a `dirty` package database
/// nobody reboots: it is mended first.
fn own_words(heard: Heard<'_>, under_way: bool, dirty: bool) -> Vec<Cause> {
    let body = &heard.record.body;
    let mut chain = Vec::new();
    // Since when the rest holds, a record does not say.
    let mut add = |code: &str, text: String, command: Option<&str>| {
        chain.push(Cause::new(code, text, None, command.map(str::to_owned)));
    };
    if body.mode == Mode::Observe {
        let mend = "set mode = \"enforce\" in the host's own file and restart its daemon";
        add("observe-mode", "its own file does not say mode = \"enforce\"".into(), Some(mend));
    }
    if let Some(until) = body.tags.get(SAFE_TAG) {
        let text = format!("its daemon aborted three times in ten minutes; it takes no lease {until}");
        add("safe-mode", text, Some("journalctl -u patchmeshd"));
    }
    if let Some(which) = body.tags.get(QUARANTINE_TAG) {
        let text = format!("its daemon died twice over the same message, and drops it unread ({which})");
        add("quarantined", text, Some("journalctl -u patchmeshd"));
    }
    if under_way {
        return chain;
    }
    let PatchCounters { missing, blocked, failed, installed_pending_reboot, .. } = body.counters;
    if body.reboot_required || installed_pending_reboot > 0 {
        let (text, mend) = match dirty {
            true => ("a reboot is pending, and its package database is unclean: mend that first", MEND_DATABASE),
            false => ("a reboot is pending", "systemctl reboot"),
        };
        add("reboot-required", text.into(), Some(mend));
    }
    if missing + failed > 0 {
        let text = format!("its last scan found {missing} missing, {failed} failed, and {blocked} blocked on the host");
        add("missing", text, Some("patchmesh plan -f FILE"));
    }
    if body.scanned_at.is_none() {
        add("never-scanned", "it has not scanned yet".into(), Some("systemctl status patchmeshd"));
    }
    chain
}
