//! The repair of a package database that a run's own transaction left unclean: a bounded recipe, every step recorded.
//!
//! It is part of that transaction: it runs before the transaction's end is stored, so that whatever comes next (hooks, the
//! scan, the reboot) finds a sound database or is told that it is not. Each step is a runner of its own in
//! `run/LEASE/repair-N/`, which a restarted daemon adopts like any other, and a line in the output of the run's step.
//!
//! What is unclean before a run begins is not repaired here. The offer is refused (`dirty-database`), because nothing may be
//! changed without a lease, outside of its opening and its deadlines. Damage by an earlier run can only be met there if this
//! recipe has failed on it already: doing the same again, unasked, helps nobody; a person must look.

use std::io;

use patchmesh_common::{
    id::LeaseId,
    inventory::Transaction,
    run::act::{TransactionEnd, Verdict},
};

use super::{acts::Host, backend::Mend};
use crate::host::{
    adopt,
    runner::{Adopted, StepExit},
};

/// The steps, each only while the database is unclean. What these do not mend needs a person.
const RECIPE: [Mend; 3] = [Mend::Configure, Mend::Complete, Mend::Configure];

impl Host {
    pub(super) async fn repair(
        &self,
        lease: LeaseId,
        attempt: u32,
        transaction: &Transaction,
        because: &str,
    ) -> TransactionEnd {
        let mut output = adopt::output(&self.folder(lease, &attempt.to_string()));
        for (number, mend) in (1..).zip(RECIPE) {
            let folder = self.folder(lease, &format!("repair-{number}"));
            let mut said = Ok(());
            // One of an earlier life of the daemon is awaited before anything is judged.
            if !folder.exists() {
                if self.dirty().await.is_none() {
                    break;
                }
                said = match self.backend.repair_plan(mend, transaction).await {
                    Ok(steps) => self.launch(&folder, steps, None).await,
                    Err(text) => Err(text),
                };
            }
            let told = match said {
                Ok(()) => ended(&self.ended(&folder).await),
                Err(text) => format!("left out: {text}"),
            };
            output = format!("{output}\n{}repair {number} of {}: {told}\n", adopt::output(&folder), RECIPE.len());
        }
        let dirty = self.dirty().await;
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
}

/// How a step of the recipe ended, for people.
fn ended(adopted: &io::Result<Adopted>) -> String {
    let exit = |exit: &StepExit| format!("{}: {}", exit.program, exit.text);
    match adopted {
        Ok(Adopted::Finished(result)) => result.exits.iter().map(exit).collect::<Vec<_>>().join(", "),
        Ok(Adopted::NeverStarted) => "its runner never started".to_owned(),
        Ok(Adopted::Dead | Adopted::Running(_)) => "its runner was killed".to_owned(),
        Err(error) => format!("its runner cannot be asked: {error}"),
    }
}
