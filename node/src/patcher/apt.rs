//! apt as the patcher's package manager.

use futures::future::{BoxFuture, FutureExt as _};
use patchmesh_common::{
    inventory::Transaction,
    patch::{
        Baseline, PatchState,
        baseline::{ComplianceLevel, SecurityUpdates, Source},
        evaluation::{Evaluation, Reason, Row, State},
        sighting::{Seen, Sighting},
        snapshot::{By, Pinned},
    },
    run::{
        compare::{PackageSet, Unfinished},
        message::{Refusal, RefusalCode, Resolution},
    },
};

use super::{
    backend::{Backend, Found, Mend, Question},
    looks::words,
};
use crate::host::{
    apt::{
        Apt,
        command::list,
        scan::{self, Scan},
    },
    runner::Step,
};

/// A scan without a baseline of the user's, as an evaluation.
fn found(scan: Scan) -> Found {
    let blocked =
        scan.rows.iter().filter_map(|row| Some(((row.name.clone(), row.arch.clone()), row.blocked?))).collect();
    let row = |row: scan::Row| {
        let (state, code) = match row.state {
            PatchState::Installed => (State::Installed, "newest"),
            PatchState::InstalledOther => (State::InstalledOther, "not-security"),
            PatchState::Missing => (State::Missing, "newer"),
        };
        let text = row.reason.unwrap_or_else(|| match state {
            State::InstalledOther => "no security archive offers it".to_owned(),
            _ => "nothing newer is approved".to_owned(),
        });
        Row {
            name: row.name,
            arch: row.arch,
            installed: Some(row.installed),
            available: row.available,
            state,
            level: ComplianceLevel::Unspecified,
            classification: row.classification,
            reason: Reason { code, text, rule: None, opens_at: None, ignored_date_gate: false },
        }
    };
    Found {
        evaluation: Evaluation { rows: scan.rows.into_iter().map(row).collect(), not_applicable: 0 },
        blocked,
        listed: None,
        updates: SecurityUpdates::Compliant,
    }
}

impl Backend for Apt {
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>> {
        async move {
            self.refresh().await?;
            Apt::resolve(self, baseline).await
        }
        .boxed()
    }

    fn resolve_by<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Resolution, Refusal>> {
        async move {
            let apt = self.at(&question.sources)?;
            apt.refresh().await?;
            match (&question.pinned, &question.by) {
                (Some(pinned), by) => {
                    let versions: Vec<_> = pinned.iter().map(Pinned::seen).collect();
                    apt.resolve_versions(&versions, by).await
                }
                (None, By::All) => Apt::resolve(&apt, Baseline::All).await,
                (None, By::Security) => Apt::resolve(&apt, Baseline::Security).await,
                (None, By::Baseline(baseline, list)) => {
                    let look = apt.evaluate(baseline, list.as_ref(), question.at, &question.first_seen).await?;
                    Apt::resolve_by(&apt, &look).await
                }
            }
        }
        .boxed()
    }

    fn check<'a>(&'a self, transaction: &'a Transaction, sources: &'a [Source]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let apt = self.at(sources)?;
            apt.refresh().await?;
            Apt::check(&apt, transaction).await
        }
        .boxed()
    }

    fn install_plan(&self, transaction: &Transaction, sources: &[Source]) -> Result<Vec<Step>, String> {
        self.at(sources).and_then(|apt| Apt::install_plan(&apt, transaction)).map_err(words)
    }

    fn repair_plan<'a>(
        &'a self,
        mend: Mend,
        transaction: &'a Transaction,
        sources: &'a [Source],
    ) -> BoxFuture<'a, Result<Vec<Step>, String>> {
        async move {
            match mend {
                Mend::Configure => Ok(vec![self.configure_plan()]),
                Mend::Complete => {
                    let apt = self.at(sources).map_err(words)?;
                    apt.complete_plan(transaction).await.map(|step| vec![step]).map_err(words)
                }
            }
        }
        .boxed()
    }

    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>> {
        async move {
            let problems = Apt::audit(self).await.map_err(words)?;
            Ok(if problems.is_empty() { None } else { Some(list(&problems, "; ")) })
        }
        .boxed()
    }

    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>> {
        async move { Apt::installed(self).map_err(words) }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, String>> {
        async move { Apt::unfinished(self).map_err(words) }.boxed()
    }

    fn refresh<'a>(&'a self, sources: &'a [Source]) -> BoxFuture<'a, Result<Option<String>, String>> {
        async move {
            let apt = self.at(sources).map_err(words)?;
            match Apt::refresh(&apt).await {
                Ok(()) => Ok(None),
                Err(refusal) if refusal.code == RefusalCode::RepositoryUnreachable => {
                    if apt.has_indexes().await.map_err(words)? { Ok(Some(words(refusal))) } else { Err(words(refusal)) }
                }
                Err(refusal) => Err(words(refusal)),
            }
        }
        .boxed()
    }

    fn look<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, String>> {
        async move {
            let apt = self.at(&question.sources).map_err(words)?;
            match &question.by {
                By::All => Ok(found(Apt::scan(&apt, Baseline::All).await.map_err(words)?)),
                By::Security => Ok(found(Apt::scan(&apt, Baseline::Security).await.map_err(words)?)),
                By::Baseline(baseline, list) => {
                    let look = apt.evaluate(baseline, list.as_ref(), question.at, &question.first_seen);
                    let look = look.await.map_err(words)?;
                    Ok(Found {
                        updates: look.baseline.security_updates,
                        listed: look.listed(),
                        evaluation: look.evaluation,
                        blocked: look.blocked,
                    })
                }
            }
        }
        .boxed()
    }

    fn sightings(&self) -> Vec<(Seen, Sighting)> {
        Apt::sightings(self).iter().map(|(seen, sighting)| (seen.clone(), sighting)).collect()
    }

    fn allows(&self, sources: &[Source]) -> Result<(), Refusal> {
        Apt::allows(self, sources).map(drop)
    }

    fn reboot_required(&self) -> BoxFuture<'_, bool> {
        async move { self.root().reboot_required() }.boxed()
    }
}
