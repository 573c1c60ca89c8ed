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

/// A package manager on one root. Only what [`Backend::install_plan`] and [`Backend::repair_plan`] return changes anything,
/// and only a runner runs it.
pub trait Backend: Send + Sync + 'static {
    /// What would be done for `baseline`, in full.
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>>;
    /// Whether exactly `transaction` would be done now, and could be.
    fn check<'a>(&'a self, baseline: Baseline, transaction: &'a Transaction) -> BoxFuture<'a, Result<(), Refusal>>;
    /// The commands that do exactly `transaction`. The error says why there are none.
    fn install_plan(&self, transaction: &Transaction) -> Result<Vec<Step>, String>;
    /// The commands that repair the package database after a transaction was cut off.
    fn repair_plan(&self) -> Vec<Step>;
    /// What is wrong with the package database; `None` if nothing is.
    ///
    /// The error says why it could not be looked at.
    fn audit(&self) -> BoxFuture<'_, Result<Option<String>, String>>;
    /// Every installed version by (name, architecture).
    fn installed(&self) -> BoxFuture<'_, Result<PackageSet, String>>;
    /// Counters against `baseline`. The error says why the host could not be scanned.
    fn scan(&self, baseline: Baseline) -> BoxFuture<'_, Result<PatchCounters, String>>;
    /// Whether a package has asked for a reboot since the last one.
    fn reboot_required(&self) -> BoxFuture<'_, bool>;
}
