//! Sabotages of a coordinator.

use patchmesh_common::{
    id::Incarnation,
    rollout::{
        controller::{Effect, Event},
        ledger::{Ledger, LedgerAct},
        limit::Ramp,
        ring::PlannedRing,
        ring_gate::RingVerdict,
    },
    run::message::{Answer, LeaseFrame, Outcome, Refusal, RefusalCode, ToCoordinator, ToHost},
    seal::{Payload, Sealed},
    time::WallTime,
    wire,
};

use super::Sabotage;
use crate::keys::Key;

/// Edits an answer and seals it anew in its author's name.
fn edit(frame: &mut LeaseFrame, change: impl FnOnce(&mut ToCoordinator) -> bool) {
    let Ok(mut answer) = wire::decode::<Answer>(&frame.sealed.body, Answer::LIMIT) else { return };
    if change(&mut answer.body) {
        frame.sealed = Sealed::seal(&Key(frame.sealed.author), &answer);
    }
}

pub(super) struct ProgressFrees;

impl Sabotage for ProgressFrees {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Heard(frame) = event else { return };
        edit(frame, |body| {
            let ToCoordinator::Progress { lease, .. } = *body else { return false };
            let refusal = Refusal { code: RefusalCode::StaleGo, text: String::new(), remedy: String::new() };
            *body = ToCoordinator::Refused { lease, refusal };
            true
        });
    }
}

pub(super) struct TagsUnread;

impl Sabotage for TagsUnread {
    fn desk_event(&mut self, event: &mut Event) {
        if let Event::View(seen) = event {
            seen.iter_mut().for_each(|seen| seen.words.tags.clear());
        }
    }
}

pub(super) struct ProbesUnread;

impl Sabotage for ProbesUnread {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Heard(frame) = event else { return };
        edit(frame, |body| {
            let ToCoordinator::Probed { result, .. } = body else { return false };
            core::mem::replace(result, Ok(())).is_err()
        });
    }
}

pub(super) struct FleetUnheard;

impl Sabotage for FleetUnheard {
    fn desk_event(&mut self, event: &mut Event) {
        if let Event::Fleet(limit) = event {
            *limit = None;
        }
    }
}

pub(super) struct FailuresHidden;

impl Sabotage for FailuresHidden {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Heard(frame) = event else { return };
        edit(frame, |body| {
            let ToCoordinator::Reported(report) = body else { return false };
            let hides = report.outcome == Outcome::Failed;
            report.outcome = if hides { Outcome::Succeeded } else { report.outcome };
            hides
        });
    }
}

pub(super) struct HookFailuresRenamed;

impl Sabotage for HookFailuresRenamed {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Heard(frame) = event else { return };
        edit(frame, |body| {
            let ToCoordinator::Reported(report) = body else { return false };
            let Some(error) = report.error.as_mut().filter(|error| error.code.starts_with("hook-")) else {
                return false;
            };
            error.code = "transaction-failed".to_owned();
            true
        });
    }
}

pub(super) struct ReportsUnsaved;

impl Sabotage for ReportsUnsaved {
    fn desk_effects(&mut self, effects: &mut Vec<Effect>) {
        effects
            .retain(|effect| !matches!(effect, Effect::Save(entry) if matches!(entry.act, LedgerAct::Reported { .. })));
    }
}

pub(super) struct CopiesUnmarked;

impl Sabotage for CopiesUnmarked {
    fn desk_event(&mut self, event: &mut Event) {
        if let Event::Started { continues, .. } = event {
            *continues = true;
        }
    }
}

#[derive(Default)]
pub(super) struct RivalUnseen(u64);

impl Sabotage for RivalUnseen {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Heard(frame) = event else { return };
        let Ok(answer) = wire::decode::<Answer>(&frame.sealed.body, Answer::LIMIT) else { return };
        if matches!(answer.body, ToCoordinator::Fenced { .. }) {
            self.0 += 1;
            *event = Event::Started { incarnation: Incarnation(self.0), continues: false };
        }
    }
}

pub(super) struct GoUnsent;

impl Sabotage for GoUnsent {
    fn desk_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.retain(|effect| !matches!(effect, Effect::Tell { body: ToHost::Go { .. }, .. }));
    }
}

pub(super) struct RingsForgotten;

impl Sabotage for RingsForgotten {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Apply { plan, .. } = event else { return };
        let hosts = plan.rings.iter().map(|ring| ring.hosts).sum();
        plan.rings = vec![PlannedRing::all(hosts, Ramp::Full)];
    }
}

pub(super) struct PausesSkipped;

impl Sabotage for PausesSkipped {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Apply { plan, .. } = event else { return };
        plan.rings.iter_mut().for_each(|ring| (ring.wait, ring.bake) = (0, 0));
    }
}

pub(super) struct RingGateIgnored;

impl Sabotage for RingGateIgnored {
    fn desk_event(&mut self, event: &mut Event) {
        if let Event::Gated { verdict, .. } = event {
            *verdict = RingVerdict::Passed;
        }
    }
}

pub(super) struct ApprovalsAssumed;

impl Sabotage for ApprovalsAssumed {
    fn desk_event(&mut self, event: &mut Event) {
        let Event::Apply { plan, .. } = event else { return };
        plan.rings.iter_mut().for_each(|ring| ring.approvals = 0);
    }
}

pub(super) struct PolicyRunsForgotten;

impl Sabotage for PolicyRunsForgotten {
    fn due_ledger(&mut self) -> Option<Ledger> {
        Some(Ledger::default())
    }
}

pub(super) struct MissedTimesForgotten;

impl Sabotage for MissedTimesForgotten {
    fn due_since(&self, since: WallTime, began: WallTime) -> WallTime {
        since.max(began)
    }
}
