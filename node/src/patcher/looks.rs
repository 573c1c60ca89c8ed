//! Looks at the host's packages: what would be done, and what a run left, kept as the host's report.

use std::collections::BTreeSet;

use patchmesh_common::{
    id::{LeaseId, SnapshotId},
    inventory::Transaction,
    patch::{
        Approval, PatchCounters,
        baseline::{ApprovalClock, SecurityUpdates, Source},
        compliance::{Counters, HostReport, Operated, PatchRow, Standing},
        evaluation::{Evaluation, Row, State, settle},
        groups::group_of,
        sighting::{FirstSeen, Seen, Sighting},
        snapshot::{By, Choice, Pinned, Snapshot, Subject},
    },
    rollout::{Operation, RebootOption},
    run::{
        act::{Looked, Verified},
        compare::Unfinished,
        message::{MAX_SIGHTINGS, Refusal, RefusalCode, Resolution},
    },
    time::WallTime,
    wire,
};

use super::{
    acts::Host,
    backend::{Found, Question},
};
use crate::clock;

/// What a run has done, of which a report is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) lease: LeaseId,
    pub(super) operation: Operation,
    pub(super) started: WallTime,
    pub(super) reboot: RebootOption,
    pub(super) approval: Approval,
    /// Whether the operation did its work.
    pub(super) keep: bool,
}

/// A refusal where only words are told.
pub(super) fn words(refusal: Refusal) -> String {
    format!("{}; {}", refusal.text, refusal.remedy)
}

impl Host {
    /// Keeps the snapshot beside those that are `held`, and for an Install asks what it comes to. Refuses what cannot judge this
    /// host, and versions of which none is for it.
    pub(super) async fn resolve_by(
        &self,
        operation: Operation,
        snapshot: &Snapshot,
        held: &[SnapshotId],
    ) -> Result<Resolution, Refusal> {
        let question = self.question(snapshot)?.0;
        if operation == Operation::Install && question.pinned.as_ref().is_some_and(Vec::is_empty) {
            return Err(Refusal {
                code: RefusalCode::NoBaseline,
                text: format!("the snapshot has no versions for {}", format!("{} {}", self.os.0, self.os.1).trim_end()),
                remedy: "make a snapshot of hosts of this release, or leave this host out".into(),
            });
        }
        self.backend.allows(&question.sources)?;
        self.reports.keep(snapshot, held)?;
        match operation {
            Operation::Install => self.backend.resolve_by(&question).await,
            Operation::Scan => {
                Ok(Resolution { transaction: Transaction::default(), counters: PatchCounters::default() })
            }
        }
    }

    /// Whether the host could be judged, and of an Install whether exactly `transaction` would be done now.
    pub(super) async fn check(
        &self,
        operation: Operation,
        approval: Approval,
        transaction: &Transaction,
    ) -> Result<(), Refusal> {
        let sources = self.sources(approval)?;
        match operation {
            Operation::Install => self.backend.check(transaction, &sources).await,
            Operation::Scan => self.backend.allows(&sources),
        }
    }

    /// What `snapshot` asks of this host, and its patch group. What the mesh has not decided counts since this host met it.
    fn question(&self, snapshot: &Snapshot) -> Result<(Question, Option<String>), Refusal> {
        let subject = Subject { os: &self.os.0, os_version: &self.os.1, tags: &self.tags };
        let refused = |text: String| Refusal {
            code: RefusalCode::NoBaseline,
            text,
            remedy: "correct the baseline or the host's tags, then plan again".into(),
        };
        let judged = snapshot.judge(&subject).map_err(|error| refused(error.to_string()))?;
        let sources = match &judged.by {
            By::All | By::Security => Vec::new(),
            By::Baseline(baseline, _) => {
                let fitting = baseline.sources_for(&baseline.os.product(&self.os.1));
                fitting.map_err(|error| refused(error.to_string()))?
            }
        };
        let pinned = snapshot.pinned(&subject).map(|pinned| pinned.cloned().collect());
        let waits = matches!(&judged.by, By::Baseline(baseline, _) if baseline.clock == ApprovalClock::Mesh);
        let own = || self.backend.sightings().into_iter().map(|(seen, sighting)| (seen, sighting.evidence())).collect();
        let first_seen = if waits { snapshot.first_seen().or(own()) } else { FirstSeen::default() };
        Ok((Question { by: judged.by, at: snapshot.at, first_seen, pinned, sources }, judged.group))
    }

    fn question_of(&self, approval: Approval) -> Result<(Question, Option<String>), Refusal> {
        let by = match approval {
            Approval::All => By::All,
            Approval::Security => By::Security,
            Approval::Snapshot(id) => return self.question(&self.reports.snapshot(id)?),
        };
        let (at, first_seen) = (clock::now().wall, FirstSeen::default());
        let group = group_of(&self.tags).ok().flatten().map(str::to_owned);
        Ok((Question { by, at, first_seen, pinned: None, sources: Vec::new() }, group))
    }

    /// The repositories in place of the host's own for what was approved by `approval`.
    pub(super) fn sources(&self, approval: Approval) -> Result<Vec<Source>, Refusal> {
        Ok(self.question_of(approval)?.0.sources)
    }

    /// The current report.
    pub(super) fn patches(&self) -> Result<Box<HostReport>, Refusal> {
        let refused = |text: String| Refusal {
            code: RefusalCode::NoReport,
            text,
            remedy: "run a rollout with operation: Scan".into(),
        };
        let told = self.reports.told().map_err(|error| refused(format!("the report cannot be read: {error}")))?;
        told.map(Box::new).ok_or_else(|| refused("the host has made no report yet".into()))
    }

    /// When this host first met what it is offered; of too many what has been there the longest: the others wait longer.
    pub(super) fn sightings(&self) -> Vec<(Seen, Sighting)> {
        let mut all = self.backend.sightings();
        all.sort_by(|(a, one), (b, other)| (one.evidence(), a).cmp(&(other.evidence(), b)));
        let mut room = MAX_SIGHTINGS;
        all.into_iter()
            .take_while(|word| {
                let size = wire::size(word);
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .collect()
    }

    pub(super) async fn verify(&self, done: Done, expected: &Transaction) -> Result<Looked, String> {
        let unfinished = self.backend.unfinished().await?;
        let comparison = self.compare(done.lease, expected).await?.finished(&unfinished);
        let mut notes = Vec::new();
        // A Scan has fetched no indexes yet: by old ones nothing would be missing. Before an Install they were fetched.
        if done.operation == Operation::Scan {
            notes.extend(self.backend.refresh(&self.sources(done.approval).map_err(words)?).await?);
        }
        let counters = match self.report(done, expected, &unfinished, &mut notes).await {
            Err(text) if done.operation == Operation::Install => {
                // What was done is told all the same.
                tracing::warn!(why = text, "no report could be made");
                notes.push(format!("no report could be made: {text}"));
                PatchCounters::default()
            }
            counters => counters?,
        };
        Ok(Looked { verified: Verified { comparison, counters, dirty: self.dirty().await }, notes })
    }

    /// Looks at the host, and keeps what was found as its report unless that is to be left in place.
    async fn report(
        &self,
        done: Done,
        expected: &Transaction,
        unfinished: &Unfinished,
        notes: &mut Vec<String>,
    ) -> Result<PatchCounters, String> {
        let Done { lease, operation, approval, keep, .. } = done;
        let (question, group) = self.question_of(approval).map_err(words)?;
        let Found { mut evaluation, blocked, listed, updates } = self.backend.look(&question).await?;
        if operation == Operation::Install && keep {
            let pinned = question.pinned.as_deref().map(|pinned| tried(pinned, &evaluation));
            settle::after_install(&mut evaluation, pinned.as_ref().or(listed.as_ref()));
        }
        let tried = expected.changes.iter().map(|change| (change.name.clone(), change.arch.clone())).collect();
        settle::fail_unfinished(&mut evaluation, unfinished, &tried);
        let kept = |error: std::io::Error| format!("the report cannot be kept: {error}");
        let mut pending = self.reports.pending().map_err(kept)?;
        pending.started(self.boot);
        pending.found(&evaluation);
        if operation == Operation::Install && done.reboot == RebootOption::Never {
            let changes = expected.changes.iter();
            pending.unwanted(changes.map(|change| (change.name.clone(), change.arch.clone(), change.to.clone())));
        }
        pending.mark(&mut evaluation, self.backend.reboot_required().await);
        self.reports.keep_pending(&pending).map_err(kept)?;
        let sums = evaluation.summary(updates);
        let at = clock::now().wall;
        let operated = self.operated(done, &question, at).map_err(kept)?;
        let standing = Standing {
            at,
            operation,
            baseline: question.by.name().to_owned(),
            group,
            counters: Counters::new(&sums, u32::try_from(blocked.len()).unwrap_or(u32::MAX)),
            severity: sums.severity.map(|level| level.as_str().to_owned()),
            operated,
        };
        let counters = standing.counters.brief();
        if self.is_override(approval).map_err(words)? {
            notes.extend(printed(&evaluation, updates));
        } else if keep {
            let of = |row: &Row| PatchRow::new(row, blocked.get(&(row.name.clone(), row.arch.clone())).copied());
            self.reports.replace(lease, standing, evaluation.rows.iter().map(of).collect()).map_err(kept)?;
        }
        Ok(counters)
    }

    /// Whether a baseline override judges, whose findings are no report of the host (spec 6.7).
    fn is_override(&self, approval: Approval) -> Result<bool, Refusal> {
        let Some(id) = approval.snapshot() else { return Ok(false) };
        Ok(self.reports.snapshot(id)?.rules.choice == Choice::System)
    }

    fn operated(&self, done: Done, question: &Question, at: WallTime) -> std::io::Result<Operated> {
        let before = self.reports.standing()?.and_then(|before| before.operated.last_no_reboot);
        let operated = Operated::new(done.operation, done.reboot, done.started, at, before);
        let listed = done.operation == Operation::Install && matches!(question.by, By::Baseline(_, Some(_)));
        Ok(match done.approval {
            Approval::Snapshot(id) => operated.by(id, listed),
            Approval::All | Approval::Security => operated,
        })
    }
}

/// What an Install of exactly `pinned` has tried of what is still missing: newer versions than those it has left out.
fn tried(pinned: &[Pinned], evaluation: &Evaluation) -> BTreeSet<settle::Key> {
    let pinned: BTreeSet<_> = pinned.iter().map(|one| (&one.name, &one.arch, Some(&one.version))).collect();
    let missing = evaluation.rows.iter().filter(|row| row.state == State::Missing);
    let rows = missing.filter(|row| pinned.contains(&(&row.name, &row.arch, row.available.as_ref())));
    rows.map(|row| (row.name.clone(), row.arch.clone())).collect()
}

/// What is not as it should be by a baseline override, for people.
fn printed(evaluation: &Evaluation, updates: SecurityUpdates) -> Vec<String> {
    let wrong = evaluation.rows.iter().filter(|row| !row.is_compliant(updates));
    let line = |row: &Row| {
        let version = row.available.as_ref().or(row.installed.as_ref()).map(String::as_str).unwrap_or_default();
        format!("{}:{} {version} {}", row.name, row.arch, row.state.as_str())
    };
    let mut lines: Vec<_> = wrong.map(line).collect();
    let text = "not as it should be by the baseline override; the host's report is left as it is";
    lines.push(format!("{} {text}", lines.len()));
    lines
}
