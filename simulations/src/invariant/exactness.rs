//! What is installed is what was planned, or the report says what differs.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::LeaseId,
    inventory::{PackageChange, Transaction},
    rollout::Operation,
    run::message::Outcome,
};

use super::{Promise, Record, Seen};
use crate::truth::Truth;

/// The promise.
pub(super) const STATEMENT: &str =
    "the package set after a run is the lease's closed transaction, or the run is reported failed with the difference";

/// Remembers what each lease allowed.
#[derive(Default)]
pub(super) struct Exactness {
    leases: BTreeMap<LeaseId, (Operation, Transaction)>,
}

fn versions(changes: &[PackageChange]) -> Vec<(&str, &str)> {
    changes.iter().map(|change| (change.name.as_str(), change.to.as_str())).collect()
}

impl Promise for Exactness {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::Granted { lease, operation, transaction, .. } => {
                self.leases.insert(*lease, (*operation, transaction.clone()));
            }
            Truth::Settled { lease, outcome, reported, changed, verified, .. } => {
                let Some((operation, transaction)) = self.leases.remove(lease) else { return };
                let expected = match (operation, outcome) {
                    (Operation::Install, Outcome::Succeeded) => versions(&transaction.changes),
                    _ => Vec::new(),
                };
                let exact = *outcome == Outcome::Failed || versions(changed) == expected;
                record.demand("exactness", seen.at, &[seen.spot], exact, || {
                    format!("a run settled as {outcome:?} and changed {:?}, not {expected:?}", versions(changed))
                });
                let told = !verified || versions(reported) == versions(changed);
                record.demand("exactness", seen.at, &[seen.spot], told, || {
                    format!("a report names {:?}, changed was {:?}", versions(reported), versions(changed))
                });
            }
            _ => {}
        }
    }
}
