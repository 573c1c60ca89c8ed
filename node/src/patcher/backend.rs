//! What the patcher needs of a package manager.

use futures::future::BoxFuture;
use patchmesh_common::{
    inventory::Transaction,
    patch::{Baseline, PatchCounters},
    run::{
        compare::PackageSet,
        message::{Refusal, Resolution},
    },
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

/// A package manager on one root. Only what [`Backend::install_plan`] and [`Backend::repair_plan`] return changes anything,
/// and only a runner runs it.
pub trait Backend: Send + Sync + 'static {
    /// What would be done for `baseline`, in full.
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>>;
    /// Whether exactly `transaction` would be done now, and could be.
    fn check<'a>(&'a self, baseline: Baseline, transaction: &'a Transaction) -> BoxFuture<'a, Result<(), Refusal>>;
    /// The commands that do exactly `transaction`: the first changes packages, the others only finish, and may run again. The
    /// error says why there are none.
    fn install_plan(&self, transaction: &Transaction) -> Result<Vec<Step>, String>;
    /// The commands of one step of a repair after `transaction` was cut off. They remove nothing and install nothing that
    /// `transaction` does not. The error says why there are none.
    fn repair_plan<'a>(&'a self, mend: Mend, transaction: &'a Transaction) -> BoxFuture<'a, Result<Vec<Step>, String>>;
    /// What is wrong with the package database; `None` if nothing is.
    ///
    /// The error says why it could not be looked at.
    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// Every installed version by (name, architecture).
    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>>;
    /// Fetches the package indexes. The error names every repository that could not be reached; the others are fresh then.
    fn refresh(&self) -> BoxFuture<'_, Result<(), String>>;
    /// Counters against `baseline`. The error says why the host could not be scanned.
    fn scan(&self, baseline: Baseline) -> BoxFuture<'_, Result<PatchCounters, String>>;
    /// Whether a package has asked for a reboot since the last one.
    fn reboot_required(&self) -> BoxFuture<'_, bool>;
}
