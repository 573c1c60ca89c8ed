//! What the patcher needs of a package manager.

use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    inventory::Transaction,
    patch::{
        Baseline, Blocked,
        baseline::{SecurityUpdates, Source},
        evaluation::{Evaluation, settle::Key},
        sighting::{FirstSeen, Seen, Sighting},
        snapshot::{By, Pinned},
    },
    run::{
        compare::{PackageSet, Unfinished},
        message::{Refusal, Resolution},
    },
    time::WallTime,
};

use crate::host::runner::Step;

/// One step of the repair of a package database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Finish what is unpacked: configure, and run the triggers that wait.
    Configure,
    /// Let the package manager supply what is missing, within the transaction that was cut off.
    Complete,
}

/// What a host is asked by a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What judges it.
    pub by: By,
    /// When date gates are judged.
    pub at: WallTime,
    /// Since when versions exist.
    pub first_seen: FirstSeen,
    /// Nothing but these is installed; `None` if what is approved is.
    pub pinned: Option<Vec<Pinned>>,
    /// Repositories in place of the host's own; none if it uses those.
    pub sources: Vec<Source>,
}

/// What was found on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The state of every package, and why.
    pub evaluation: Evaluation,
    /// What keeps a missing version from being installed.
    pub blocked: BTreeMap<Key, Blocked>,
    /// What an Install tries by its override list; `None` without a list.
    pub listed: Option<BTreeSet<Key>>,
    /// Whether security updates that are not approved count as wrong.
    pub updates: SecurityUpdates,
}

/// A package manager on one root. Only what [`Backend::install_plan`] and [`Backend::repair_plan`] return changes anything,
/// and only a runner runs it. `sources` are repositories in place of the host's own, as in [`Question`]; what the host does not allow
/// is refused.
pub trait Backend: Send + Sync + 'static {
    /// What would be done for `baseline`, in full.
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>>;
    /// What would be done by `question`, in full.
    fn resolve_by<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Resolution, Refusal>>;
    /// Whether exactly `transaction` would be done now, and could be.
    fn check<'a>(&'a self, transaction: &'a Transaction, sources: &'a [Source]) -> BoxFuture<'a, Result<(), Refusal>>;
    /// The commands that do exactly `transaction`: the first changes packages, the others only finish, and may run again. The
    /// error says why there are none.
    fn install_plan(&self, transaction: &Transaction, sources: &[Source]) -> Result<Vec<Step>, String>;
    /// The commands of one step of a repair after `transaction` was cut off. They remove nothing and install nothing that
    /// `transaction` does not. The error says why there are none.
    fn repair_plan<'a>(
        &'a self,
        mend: Mend,
        transaction: &'a Transaction,
        sources: &'a [Source],
    ) -> BoxFuture<'a, Result<Vec<Step>, String>>;
    /// What is wrong with the package database; `None` if nothing is.
    ///
    /// The error says why it could not be looked at.
    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// Every installed version by (name, architecture).
    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>>;
    /// What was begun and is not finished, of [`Self::installed`].
    fn unfinished(&self) -> BoxFuture<'_, Result<Unfinished, String>>;
    /// Fetches the package indexes. The text names every repository that could not be reached, whose indexes are as old as before;
    /// the others are fresh. The error says why there is nothing to judge by: no index at all, or nothing could be fetched.
    fn refresh<'a>(&'a self, sources: &'a [Source]) -> BoxFuture<'a, Result<Option<String>, String>>;
    /// The state of every package by `question`. The error says why the host could not be scanned.
    fn look<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Found, String>>;
    /// When this host first met the versions that it is offered.
    fn sightings(&self) -> Vec<(Seen, Sighting)>;
    /// Whether the host's own file lets it be sent to `sources`. Changes nothing.
    fn allows(&self, sources: &[Source]) -> Result<(), Refusal>;
    /// Whether a package has asked for a reboot since the last one.
    fn reboot_required(&self) -> BoxFuture<'_, bool>;
}
