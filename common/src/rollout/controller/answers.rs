//! What the answers of hosts mean for the ledger and for the talk with them.

use super::{Controller, Effect, MAX_DEFERRALS, RESEND, SUPERSEDED_AGAIN, open_answer};
use crate::{
    id::{Epoch, LeaseId, NodeId, Nonce, RolloutId},
    machine::Cx,
    rollout::{lease::is_final, ledger::LedgerAct, planner::Handshake},
    run::message::{LeaseFrame, Outcome, Refusal, RefusalCode, ToCoordinator, ToHost},
    seal::Sealed,
    time::BootTime,
};

impl Controller {
    pub(super) fn heard(&mut self, cx: &mut Cx<'_, Effect>, frame: &LeaseFrame) {
        let Some(answer) = open_answer(&self.settings, frame, cx.now.wall, cx.keys) else { return };
        let from = frame.sealed.author;
        let contact = self.contact(from, cx.now.boot);
        (contact.heard, contact.quiet_until) = (cx.now.boot, BootTime::default());
        contact.last = contact.last.max(Some(cx.now.wall));
        self.note_answer(from, answer.epoch, cx.now.boot);
        // These two say it themselves.
        if !matches!(answer.body, ToCoordinator::Fenced { .. } | ToCoordinator::Reported(_)) {
            self.overheard(cx, from, answer.epoch);
        }
        let says = match &answer.body {
            ToCoordinator::Adopted { held } | ToCoordinator::Fenced { held, .. } => held.map(|(lease, _)| lease),
            ToCoordinator::Reported(report) => Some(report.lease),
            _ => None,
        };
        // Somebody else took it down: what it showed before says nothing of what it is after that.
        if says.is_some_and(|lease| !self.ledger.known.contains(&lease)) {
            self.desk.probes.remove(&from);
        }
        match answer.body {
            ToCoordinator::Adopted { held } => self.adopted(cx, from, held, answer.epoch),
            ToCoordinator::Fenced { saved, .. } => self.fenced(cx, from, saved),
            ToCoordinator::Ready { lease, nonce } => self.ready(cx, from, lease, nonce),
            ToCoordinator::Refused { lease, refusal } => self.refused(cx, from, lease, refusal),
            ToCoordinator::Progress { lease, phase, detail } => {
                if self.ledger.leased.get(&from).is_some_and(|(_, held)| *held == lease) {
                    self.contact(from, cx.now.boot).progress = Some((phase, detail));
                }
            }
            ToCoordinator::Reported(report) => {
                self.note_other(cx, from, report.lease, answer.epoch);
                self.reported(cx, from, report.lease, report.rollout, report.outcome, &frame.sealed);
            }
            ToCoordinator::StopSaved { sequence, .. } => {
                if self.unstopped.get(&from).is_some_and(|(_, wanted)| *wanted <= sequence) {
                    self.unstopped.remove(&from);
                }
            }
            ToCoordinator::Probed { request, result } => self.probed(from, request, &result),
            // Planning is the shell's talk with a host: it changes nothing that the ledger holds.
            ToCoordinator::Resolved { .. } | ToCoordinator::Patches { .. } | ToCoordinator::Sightings { .. } => {}
        }
    }

    fn adopted(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, held: Option<(LeaseId, RolloutId)>, epoch: Epoch) {
        if epoch != self.epoch() || !self.ledger.discontinuous {
            return;
        }
        // A lease of another ledger ends without a word to this one: whoever granted it may have taken the report.
        let over = self.ledger.foreign.get(&from).is_some_and(|known| held.is_none_or(|(lease, _)| lease != *known));
        if over || !self.ledger.adopted.contains(&from) || self.ledger.outlived(from, held.map(|(lease, _)| lease)) {
            self.save(cx, LedgerAct::Adopted { host: from, held });
        }
    }

    /// Somebody else coordinated, before the present epoch or above it: jump above both, trust nothing until every host has
    /// said what it holds.
    fn fenced(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, saved: Epoch) {
        if saved.serial > self.settings.serial {
            self.desk.superseded = true;
        } else if saved.admits(&self.epoch()) && self.ledger.epochs.contains(&saved) {
            // It missed some of our starts, and nobody else came in between.
            self.behind.insert(from, saved);
            self.contact(from, cx.now.boot).handshake = None;
        } else if (!saved.admits(&self.epoch()) || self.ledger.follows.is_some()) && !self.stands_back_from(cx, from) {
            self.jumps += 1;
            self.jump(cx, saved.counter.saturating_add(1));
            for contact in self.desk.contacts.values_mut() {
                contact.handshake = None;
            }
        }
    }

    /// An answer that another coordinator of this key was owed: the two are one peer to a host, which answers either. A host that
    /// obeys a higher epoch than this one's is as good as fenced, or both would wait for the answers that the other gets.
    fn overheard(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, epoch: Epoch) {
        if !epoch.admits(&self.epoch()) && !self.ledger.epochs.contains(&epoch) {
            self.fenced(cx, from, epoch);
        }
    }

    /// A host that reports under an epoch of another coordinator was not fenced before, because nobody asked it anything: the
    /// ledger says that others were at work before it keeps what the host saw of theirs.
    fn note_other(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId, epoch: Epoch) {
        if !self.ledger.epochs.contains(&epoch) && !self.ledger.reported.contains(&lease) {
            self.fenced(cx, from, epoch);
        }
    }

    fn ready(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId, nonce: Nonce) {
        if let Some((rollout, held)) = self.ledger.leased.get(&from).copied() {
            // The `Go` is durable and was lost: repeat it for the new nonce. A host that may not start gives the lease back, or it
            // would hold its slot for as long as it is ready: only its refusal proves that no older `Go` is under way.
            if let Some((_, opening)) = self.running(rollout, from).filter(|_| held == lease) {
                let may = self.may_begin(cx, rollout, opening);
                let body = if may { ToHost::Go { lease, nonce } } else { ToHost::Withdraw { lease } };
                cx.emit(Effect::Tell { to: from, body });
            }
            return;
        }
        let now = cx.now.boot;
        let contact = self.contact(from, now);
        if let Some((_, offered, handshake @ Handshake::Offered { .. }, since)) = &mut contact.handshake
            && *offered == lease
            && let Handshake::Offered { opening } = *handshake
        {
            *handshake = Handshake::Ready { opening, nonce };
            *since = now;
            contact.refused = None;
        }
    }

    fn refused(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId, refusal: Refusal) {
        if self.ledger.released.get(&lease) == Some(&from) {
            return self.released_refused(cx, from, lease, refusal);
        }
        let now = cx.now.boot;
        let rollout = match self.ledger.leased.get(&from).copied() {
            Some((rollout, held)) if held == lease => {
                // The host forgot the nonce when it refused: nothing began, and no `Go` that is under way can start it.
                self.save(cx, LedgerAct::Returned { rollout, host: from, lease, refusal: refusal.clone() });
                rollout
            }
            _ => match self.contact(from, now).handshake.take() {
                Some((rollout, offered, ..)) if offered == lease => rollout,
                other => {
                    self.contact(from, now).handshake = other;
                    return;
                }
            },
        };
        let patience = self.settings.patience;
        let waits = self.ledger.rollouts.get(&rollout).is_some_and(|state| state.plan.waits_after(refusal.code));
        let contact = self.contact(from, now);
        contact.handshake = None;
        if refusal.code == RefusalCode::StaleGo {
            // Of that lease, not of the next one: it says nothing of what the host would do.
            return;
        }
        if waits {
            contact.refused = Some((refusal, now, now.plus(SUPERSEDED_AGAIN)));
            return;
        }
        // What it waited for before has nothing to do with what it refuses now.
        let before = contact.refused.as_ref().filter(|(no, ..)| !is_final(no.code));
        let since = before.map_or(now, |(_, since, _)| *since);
        if is_final(refusal.code) || now.since(since) > patience {
            contact.refused = None;
            self.save(cx, LedgerAct::Refused { rollout, host: from, refusal });
        } else {
            contact.refused = Some((refusal, since, now.plus(RESEND)));
        }
    }

    fn reported(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        from: NodeId,
        lease: LeaseId,
        rollout: RolloutId,
        outcome: Outcome,
        evidence: &Sealed,
    ) {
        if self.desk.stands_back(cx.now.boot) {
            // It is repeated until whoever is at work has it: acknowledged here, it would be lost to the other.
            return;
        }
        let released = self.ledger.released_in(from, lease) == Some(rollout);
        let known = released || self.ledger.leased.get(&from) == Some(&(rollout, lease));
        // Also of a lease that this ledger never granted: after the acknowledgement nobody else can learn of it.
        if !self.ledger.reported.contains(&lease) {
            self.save(cx, LedgerAct::Reported { evidence: evidence.clone() });
        }
        let contact = self.contact(from, cx.now.boot);
        contact.progress = None;
        contact.refused = None;
        // It may refuse what it was offered meanwhile, and that must not replace what it did.
        contact.handshake = contact.handshake.take().filter(|(offered, ..)| *offered != rollout);
        cx.emit(Effect::Tell { to: from, body: ToHost::Acknowledge { lease } });
        if known && outcome == Outcome::Deferred && self.ledger.deferrals(rollout, from) >= MAX_DEFERRALS {
            let refusal = Refusal {
                code: RefusalCode::OutsideOpening,
                text: format!("{MAX_DEFERRALS} leases ended before anything could be installed"),
                remedy: "compare the host's clock and the length of its hooks with the openings".into(),
            };
            self.save(cx, LedgerAct::Refused { rollout, host: from, refusal });
        }
    }
}
