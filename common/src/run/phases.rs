//! What a run does next, and what the end of an act means for it.

use super::{
    HOOK_FAILED, HOOK_TIMED_OUT, HookPoint, INTERRUPTED, Phase,
    act::{Act, ActEnd, ActId, Adoption, HooksEnd, Looked, TransactionEnd, Verdict},
    gate::{Ask, GATE_FAILED},
    guard::Permit,
    journal::{Fault, Journal, JournalEntry, Run, StepResult},
    machine::{Effect, PatchRun, REBOOT_PATIENCE, REPORT_AGAIN, SKEW_PATIENCE},
    message::{LEFT_UNCLEAN, MAX_TEXT, Outcome, Report, RunError},
    recovery::{self, MAX_ATTEMPTS, Next, Stage},
};
use crate::{
    inventory::Transaction,
    machine::Cx,
    rollout::{RebootOption, reboot},
    time::WallTime,
};

impl PatchRun {
    /// Does what comes next until an act runs or nothing is left to do.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_, Effect>) {
        while self.acting.is_none() {
            let Some(run) = &self.journal.run else { return };
            let (last, attempt) = (run.last, run.last.attempt);
            match recovery::next(run, self.settings.boot_id) {
                Next::Report => return,
                Next::Settle => self.settle(cx),
                Next::Bar => {
                    let because = "the host was rebooted by something else, so deadlines cannot be proven";
                    let fault = run.refuse(following(last.phase), "unexpected-reboot", because);
                    self.save(cx, JournalEntry::Barred(fault));
                }
                Next::Interrupt => {
                    let because = "a reboot that was not the run's own interrupted it";
                    let fault = run.refuse(last.phase, "unexpected-reboot", because);
                    self.end(cx, StepResult { fault: Some(fault), ..StepResult::default() });
                }
                Next::ProveReboot => self.end(cx, StepResult::default()),
                Next::Adopt if self.revoked == Some(attempt) && attempt >= MAX_ATTEMPTS => {
                    let fault = exhausted(last.phase, &self.detail);
                    self.end(cx, StepResult { fault: Some(fault), ..StepResult::default() });
                }
                Next::Adopt if self.revoked == Some(attempt) => {
                    if !self.begin(cx, Phase::Transaction, attempt + 1) {
                        return;
                    }
                }
                Next::Adopt => {
                    let act = Act::Adopt { lease: run.lease.id, attempt };
                    self.acting = Some(self.start(cx, act));
                }
                Next::Again(phase) if attempt >= MAX_ATTEMPTS => {
                    let fault = exhausted(phase, &self.detail);
                    self.end(cx, StepResult { fault: Some(fault), ..StepResult::default() });
                }
                Next::Again(phase) => {
                    if !self.begin(cx, phase, attempt + 1) {
                        return;
                    }
                }
                Next::Begin(phase) => {
                    if !self.begin(cx, phase, 1) {
                        return;
                    }
                }
            }
        }
    }

    /// Begins `phase` if it may begin. `false` if that is not known yet.
    fn begin(&mut self, cx: &mut Cx<'_, Effect>, phase: Phase, attempt: u32) -> bool {
        let Some(run) = &self.journal.run else { return false };
        if phase.is_disruptive() {
            let permit = match self.permit(run, phase, cx.now) {
                Permit::Unsure if self.skew_by.is_some_and(|by| cx.now.boot >= by) => Permit::No(run.refuse(
                    phase,
                    "clock-unknown",
                    "no other member told how far the clock is from the mesh's median",
                )),
                permit => permit,
            };
            match permit {
                Permit::Yes => {}
                Permit::Unsure => {
                    self.wait_by = None;
                    self.skew_by.get_or_insert(cx.now.boot.plus(SKEW_PATIENCE));
                    return false;
                }
                Permit::Wait(at) => {
                    self.wait(cx, at);
                    return false;
                }
                Permit::No(fault) => {
                    (self.skew_by, self.wait_by) = (None, None);
                    self.deny(cx, phase, fault);
                    return true;
                }
            }
        }
        (self.skew_by, self.wait_by) = (None, None);
        self.detail.clear();
        self.found = None;
        let began = JournalEntry::Began { phase, attempt, at: self.instant(cx.now), wall: cx.now.wall };
        self.save(cx, began);
        self.progress(cx);
        let Some(act) = act(&self.journal, phase, attempt) else { return false };
        self.acting = Some(self.start(cx, act));
        true
    }

    /// Waits for `at` by the wall clock, and says so. Asked again at every tick, so that a clock that is set counts at once.
    fn wait(&mut self, cx: &mut Cx<'_, Effect>, at: WallTime) {
        self.skew_by = None;
        self.wait_by = Some(cx.now.boot.plus(RebootOption::At(at).wait(cx.now.wall)));
        let text = reboot::waits(at);
        if self.detail != text {
            self.detail = text;
            self.progress(cx);
        }
    }

    /// Stores that `phase` was not begun, or not begun again.
    fn deny(&mut self, cx: &mut Cx<'_, Effect>, phase: Phase, fault: Fault) {
        let again =
            self.journal.run.as_ref().is_some_and(|run| run.last.phase == phase && run.last.stage == Stage::Begun);
        if again {
            self.end(cx, StepResult { fault: Some(fault), ..StepResult::default() });
        } else {
            self.save(cx, JournalEntry::Barred(fault));
        }
    }

    /// Stores how the phase last begun ended.
    fn end(&mut self, cx: &mut Cx<'_, Effect>, result: StepResult) {
        let Some(run) = &self.journal.run else { return };
        let (phase, attempt) = (run.last.phase, run.last.attempt);
        let (at, wall) = (self.instant(cx.now), cx.now.wall);
        self.acting = None;
        self.save(cx, JournalEntry::Ended { phase, attempt, at, wall, result });
    }

    pub(super) fn ended(&mut self, cx: &mut Cx<'_, Effect>, act: ActId, end: ActEnd) {
        match end {
            end @ (ActEnd::Resolved(_) | ActEnd::Patches(_) | ActEnd::Sightings(_) | ActEnd::Probed(_)) => {
                return self.looked(cx, act, end);
            }
            ActEnd::Checked(result) => return self.checked(cx, act, result),
            _ => {}
        }
        let Some(run) = self.journal.run.as_ref().filter(|_| self.acting == Some(act)) else { return };
        let phase = run.last.phase;
        match end {
            ActEnd::Hooks(end) => {
                let result = hooks_result(run, phase, end);
                self.end(cx, result);
            }
            ActEnd::Transaction(end) | ActEnd::Adopted(Adoption::Finished(end)) => match unclean(&end) {
                Some(because) => return self.repair(cx, because),
                None => self.end(cx, transaction_result(end)),
            },
            ActEnd::Repaired(end) => self.end(cx, transaction_result(end)),
            ActEnd::Adopted(Adoption::NeverStarted) => {
                self.acting = None;
                self.revoked = Some(run.last.attempt);
            }
            ActEnd::Adopted(Adoption::Dead) => {
                return self.repair(cx, String::from("the runner was killed before the transaction ended"));
            }
            ActEnd::Declined { code, text } => {
                let fault = run.refuse(phase, &code, &text);
                self.end(cx, StepResult { fault: Some(fault), ..StepResult::default() });
            }
            ActEnd::Reboot(Ok(())) => {
                self.reboot_by = Some(cx.now.boot.plus(REBOOT_PATIENCE));
                return;
            }
            ActEnd::Reboot(Err(text)) => {
                self.acting = None;
                self.detail = format!("the reboot was refused: {text}");
            }
            ActEnd::Verified(end) => {
                let result = verify_result(end);
                if let Some(act) = gates(run, &result) {
                    self.found = Some(Box::new(result));
                    self.acting = Some(self.start(cx, act));
                    return;
                }
                self.end(cx, result);
            }
            ActEnd::Gates(end) => {
                let found = self.found.take().map(|found| *found).unwrap_or_default();
                self.end(cx, gates_result(found, end));
            }
            ActEnd::Resolved(_)
            | ActEnd::Patches(_)
            | ActEnd::Sightings(_)
            | ActEnd::Probed(_)
            | ActEnd::Checked(_) => return,
        }
        self.advance(cx);
    }

    /// Before anything else: whatever comes next finds the package database sound, or is told that it is not.
    fn repair(&mut self, cx: &mut Cx<'_, Effect>, because: String) {
        let Some(run) = &self.journal.run else { return };
        let (lease, attempt) = (run.lease.id, run.last.attempt);
        let (baseline, transaction) = (run.lease.baseline, run.lease.transaction.clone());
        let act = Act::Repair { lease, attempt, baseline, transaction, because };
        self.acting = Some(self.start(cx, act));
    }

    fn settle(&mut self, cx: &mut Cx<'_, Effect>) {
        let Some(run) = &self.journal.run else { return };
        let verified = run.verified.as_deref().cloned().unwrap_or_default();
        let report = Report {
            lease: run.lease.id,
            rollout: run.lease.rollout,
            outcome: run.fault.as_ref().map_or(Outcome::Succeeded, |fault| fault.outcome),
            phase: run.last.phase,
            rebooted: run.rebooted,
            packages: verified.comparison.changed,
            error: run.fault.as_ref().map(|fault| fault.error.clone()),
            counters: verified.counters,
            steps: run.steps.clone(),
            started: run.started,
            ended: cx.now.wall,
        };
        self.save(cx, JournalEntry::Settled(Box::new(report)));
        self.report_pause = REPORT_AGAIN;
        self.report(cx);
    }
}

/// The disruptive phase that `phase` would be followed by.
fn following(phase: Phase) -> Phase {
    match phase {
        Phase::Granted => Phase::PreInstall,
        Phase::PreInstall => Phase::Transaction,
        Phase::Transaction => Phase::PostInstall,
        _ => Phase::Reboot,
    }
}

/// What `phase`, whose begin is in `journal`, does; `None` if no lease runs.
fn act(journal: &Journal, phase: Phase, attempt: u32) -> Option<Act> {
    let run = journal.run.as_ref()?;
    let lease = &run.lease;
    let hooks = |point| Act::Hooks {
        point,
        rollout: lease.rollout,
        attempt: journal.hook_attempt(lease.rollout, phase),
        timeout: lease.hook_timeout,
        guard: phase.is_disruptive().then(|| run.last_check(phase)),
    };
    Some(match phase {
        Phase::PreInstall => hooks(HookPoint::PreInstall),
        Phase::PostInstall => hooks(HookPoint::PostInstall),
        Phase::PostReboot => hooks(HookPoint::PostReboot),
        Phase::OnExit => hooks(HookPoint::OnExit),
        Phase::Reboot => Act::Reboot { guard: run.last_check(phase) },
        Phase::Transaction => Act::Transaction {
            lease: lease.id,
            attempt,
            baseline: lease.baseline,
            transaction: lease.transaction.clone(),
            guard: run.last_check(phase),
            note_units: lease.gates.iter().any(|gate| gate.ask == Ask::NoNewFailedUnits),
        },
        Phase::Granted | Phase::Verify | Phase::Settled => Act::Verify {
            lease: lease.id,
            operation: lease.operation,
            started: run.started,
            reboot: lease.reboot,
            baseline: lease.baseline,
            expected: if run.touched { lease.transaction.clone() } else { Transaction::default() },
            keep: run.touched || run.fault.is_none(),
        },
    })
}

/// The gates, if there are any and everything before them went well: they judge what was done, and decide nothing of a run that
/// has failed already or has installed nothing.
fn gates(run: &Run, verified: &StepResult) -> Option<Act> {
    let lease = &run.lease;
    let asked = !lease.gates.is_empty() && run.touched && run.fault.is_none() && verified.fault.is_none();
    let (attempt, gates) = (run.last.attempt, lease.gates.clone());
    asked.then_some(Act::Gates { lease: lease.id, rollout: lease.rollout, attempt, gates })
}

/// Verifying went well: what it found, with what the gates say.
fn gates_result(found: StepResult, end: HooksEnd) -> StepResult {
    let fault = end.error.map(|error| {
        let text = format!("{error}; the packages stay as they are");
        failed(GATE_FAILED, tail(&text), &end.output)
    });
    let lines = [found.output.as_str(), end.output.as_str()];
    let lines: Vec<_> = lines.into_iter().filter(|text| !text.is_empty()).collect();
    StepResult { fault, output: tail(&lines.join("\n")), ..found }
}

fn failed(code: &str, text: String, log: &str) -> Fault {
    Fault { outcome: Outcome::Failed, error: RunError { code: code.into(), text, log: tail(log) } }
}

fn exhausted(phase: Phase, detail: &str) -> Fault {
    let (code, text) = match phase {
        Phase::Reboot => (
            "reboot-did-not-happen",
            format!(
                "the host was asked to reboot {MAX_ATTEMPTS} times and its boot id is still the same; reboot it by hand"
            ),
        ),
        _ => (
            INTERRUPTED,
            format!("{} was begun {MAX_ATTEMPTS} times and never ended; it is not begun again", phase.as_str()),
        ),
    };
    failed(code, text, detail)
}

fn hooks_result(run: &Run, phase: Phase, end: HooksEnd) -> StepResult {
    let output = tail(&end.output);
    let fault = end.error.map(|error| {
        let consequence = match phase {
            Phase::PreInstall => "no package was changed",
            Phase::PostInstall if run.reboot_required => "the packages are installed; the host was not rebooted",
            _ => "the packages stay as they are",
        };
        let code = if end.timed_out { HOOK_TIMED_OUT } else { HOOK_FAILED };
        failed(code, format!("{error}; {consequence}"), &output)
    });
    StepResult { fault, output, ..StepResult::default() }
}

/// Why a transaction that has ended is to be repaired; `None` if it is not.
fn unclean(end: &TransactionEnd) -> Option<String> {
    let what = end.dirty.as_ref()?;
    match &end.verdict {
        Verdict::Ok => Some(format!("the transaction ended well and left the package database unclean ({what})")),
        Verdict::Failed(text) => Some(text.clone()),
        Verdict::Declined { .. } => None,
    }
}

fn transaction_result(end: TransactionEnd) -> StepResult {
    let output = tail(&end.output);
    let fault = match (end.verdict, end.dirty) {
        (Verdict::Declined { code, text }, _) => {
            let error = RunError { code, text: format!("{text}; no package was changed"), log: String::new() };
            Some(Fault { outcome: Outcome::Deferred, error })
        }
        (Verdict::Failed(text), dirty) => {
            let dirty = dirty.map(|what| format!("; {LEFT_UNCLEAN}: {what}")).unwrap_or_default();
            Some(failed("transaction-failed", format!("{text}{dirty}"), &output))
        }
        (Verdict::Ok, Some(what)) => {
            let text =
                format!("the package database is unclean after the transaction: {what}; the host was not rebooted");
            Some(failed("dirty-database", text, &output))
        }
        (Verdict::Ok, None) => None,
    };
    StepResult { fault, output, reboot_required: end.reboot_required, verified: None }
}

fn verify_result(end: Result<Looked, String>) -> StepResult {
    match end {
        Err(text) => StepResult {
            fault: Some(failed("verify-failed", text.clone(), "")),
            output: tail(&text),
            ..StepResult::default()
        },
        Ok(Looked { verified, mut notes }) => {
            let differences = verified.comparison.differences.join("\n");
            let fault = match &verified.dirty {
                _ if !differences.is_empty() => {
                    let text = format!(
                        "what is installed is not what was planned: {}",
                        verified.comparison.differences.join("; ")
                    );
                    Some(failed("not-exact", tail(&text), ""))
                }
                Some(what) => Some(failed("dirty-database", format!("the package database is unclean: {what}"), "")),
                None => None,
            };
            notes.extend((!differences.is_empty()).then_some(differences));
            let output = tail(&notes.join("\n"));
            StepResult { fault, output, verified: Some(Box::new(verified)), ..StepResult::default() }
        }
    }
}

/// The last [`MAX_TEXT`] bytes, cut between characters.
fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(MAX_TEXT);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[from..].to_owned()
}
