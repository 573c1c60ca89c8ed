//! The repair of a package database that a run's own transaction left unclean: a bounded recipe, every step recorded.
//!
//! It is part of that transaction: it runs before the transaction's end is stored, so that whatever comes next (hooks, the
//! scan, the reboot) finds a sound database or is told that it is not. Each step is a runner of its own in
//! `run/LEASE/repair-N/`, which a restarted daemon adopts like any other, and a line in the output of the run's step.
//!
//! What is unclean before a run begins is not repaired here. The offer is refused (`dirty-database`), because nothing may be
//! changed without a lease, outside of its opening and its deadlines. Damage by an earlier run can only be met there if this
//! recipe has failed on it already: doing the same again, unasked, helps nobody; a person must look.

use std::{io, path::Path, time::Duration};

use patchmesh_common::{
    id::LeaseId,
    inventory::Transaction,
    patch::Approval,
    run::act::{TransactionEnd, Verdict},
};

use super::{acts::Host, backend::Mend, looks::words};
use crate::host::{
    adopt::{self, Adopted},
    runner::{self, Step, StepExit},
};

/// The steps, each only while the database is unclean. What these do not mend needs a person.
const RECIPE: [Mend; 3] = [Mend::Configure, Mend::Complete, Mend::Configure];
/// Most runners of one repair, with those that were cut off.
const MAX_RUNNERS: u32 = 9;
/// Most runners of what follows on a repair.
const MAX_FINISHES: u32 = 3;
/// Pause after a runner of this life was cut off, times the number of runners so far: what ends it at once, such as a machine
/// without memory, may pass.
const PAUSE: Duration = Duration::from_secs(1);

impl Host {
    pub(super) async fn repair(
        &self,
        (lease, attempt): (LeaseId, u32),
        approval: Approval,
        transaction: &Transaction,
        because: &str,
    ) -> TransactionEnd {
        let mut output = adopt::output(&self.folder(lease, &attempt.to_string()));
        let sources = self.sources(approval).map_err(words);
        let (mut step, mut number) = (0, 0);
        while let Some(mend) = RECIPE.get(step).filter(|_| number < MAX_RUNNERS) {
            number += 1;
            let folder = self.folder(lease, &format!("repair-{number}"));
            let told = if folder.exists() {
                // One of an earlier life of the daemon is awaited before anything is judged.
                told(&self.ended(&folder).await)
            } else if self.dirty().await.is_none() {
                break;
            } else {
                let plan = match (&sources, mend) {
                    (Err(text), Mend::Complete) => Err(text.clone()),
                    (sources, _) => {
                        let sources = sources.as_deref().unwrap_or_default();
                        self.backend.repair_plan(*mend, transaction, sources).await
                    }
                };
                let told = self.work_off(&folder, plan).await;
                if told.is_none() {
                    tokio::time::sleep(PAUSE * number).await;
                }
                told
            };
            let printed = adopt::output(&folder);
            let told = match told {
                Some(told) => {
                    step += 1;
                    format!("repair {step} of {}: {told}", RECIPE.len())
                }
                None => {
                    // What was cut off has to be configured before apt does anything.
                    step = 0;
                    "a repair was cut off, and is begun anew".to_owned()
                }
            };
            output = format!("{output}\n{printed}{told}\n");
        }
        let dirty = self.dirty().await;
        if dirty.is_none() {
            output.push_str(&self.finish(lease, attempt).await);
        }
        let verdict = match self.compare(lease, transaction).await {
            Ok(comparison) if !comparison.differences.is_empty() => {
                Verdict::Failed(format!("{because}; after a repair, {}", comparison.differences.join("; ")))
            }
            Ok(_) if dirty.is_none() => Verdict::Ok,
            Ok(_) => Verdict::Failed(because.to_owned()),
            Err(error) => Verdict::Failed(format!("{because}; what is installed cannot be seen: {error}")),
        };
        TransactionEnd { verdict, output, reboot_required: self.backend.reboot_required().await, dirty }
    }

    /// What the transaction was to do after its package manager: automatic marks, as they were before apt saw the names. What it
    /// printed, and how it ended.
    async fn finish(&self, lease: LeaseId, attempt: u32) -> String {
        let rest = match runner::spec(&self.folder(lease, &attempt.to_string())) {
            Ok(spec) => spec.steps.into_iter().skip(1).collect::<Vec<_>>(),
            Err(error) => return format!("what was to follow is not known: {error}\n"),
        };
        if rest.is_empty() {
            return String::new();
        }
        for number in 1..=MAX_FINISHES {
            let folder = self.folder(lease, &format!("finish-{number}"));
            let told = match folder.exists() {
                true => told(&self.ended(&folder).await),
                false => self.work_off(&folder, Ok(rest.clone())).await,
            };
            if let Some(told) = told {
                return format!("{}afterwards: {told}\n", adopt::output(&folder));
            }
        }
        "what was to follow was cut off each time\n".to_owned()
    }

    /// Runs `steps` in `folder`; how they ended as [`told`].
    async fn work_off(&self, folder: &Path, steps: Result<Vec<Step>, String>) -> Option<String> {
        let launched = match steps {
            Ok(steps) => self.launch(folder, steps, None).await,
            Err(text) => Err(text),
        };
        match launched {
            Ok(()) => told(&self.ended(folder).await),
            Err(text) => Some(format!("left out: {text}")),
        }
    }
}

/// How a runner of a repair ended, for people; `None` if it did not: its runner was killed, or never began because the daemon
/// was killed just then.
fn told(adopted: &io::Result<Adopted>) -> Option<String> {
    let exit = |exit: &StepExit| format!("{}: {}", exit.program, exit.text);
    match adopted {
        Ok(Adopted::Finished(result)) => Some(result.exits.iter().map(exit).collect::<Vec<_>>().join(", ")),
        Ok(Adopted::NeverStarted | Adopted::Dead | Adopted::Running(_)) => None,
        Err(error) => Some(format!("its runner cannot be asked: {error}")),
    }
}
