//! apt as the patcher's package manager.

use futures::future::{BoxFuture, FutureExt as _};
use patchmesh_common::{
    inventory::Transaction,
    patch::{Baseline, PatchCounters},
    run::{
        compare::PackageSet,
        message::{Refusal, Resolution},
    },
};

use super::backend::{Backend, Mend};
use crate::host::{
    apt::{Apt, command::list},
    runner::Step,
};

fn words(refusal: Refusal) -> String {
    format!("{}; {}", refusal.text, refusal.remedy)
}

impl Backend for Apt {
    fn resolve(&self, baseline: Baseline) -> BoxFuture<'_, Result<Resolution, Refusal>> {
        async move {
            self.refresh().await?;
            Apt::resolve(self, baseline).await
        }
        .boxed()
    }

    fn check<'a>(&'a self, _baseline: Baseline, transaction: &'a Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            self.refresh().await?;
            Apt::check(self, transaction).await
        }
        .boxed()
    }

    fn install_plan(&self, transaction: &Transaction) -> Result<Vec<Step>, String> {
        Apt::install_plan(self, transaction).map_err(words)
    }

    fn repair_plan<'a>(&'a self, mend: Mend, transaction: &'a Transaction) -> BoxFuture<'a, Result<Vec<Step>, String>> {
        async move {
            match mend {
                Mend::Configure => Ok(vec![self.configure_plan()]),
                Mend::Complete => self.complete_plan(transaction).await.map(|step| vec![step]).map_err(words),
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

    fn refresh(&self) -> BoxFuture<'_, Result<(), String>> {
        async move { Apt::refresh(self).await.map_err(words) }.boxed()
    }

    fn scan(&self, baseline: Baseline) -> BoxFuture<'_, Result<PatchCounters, String>> {
        async move { Apt::scan(self, baseline).await.map(|scan| scan.counters).map_err(words) }.boxed()
    }

    fn reboot_required(&self) -> BoxFuture<'_, bool> {
        async move { self.root().reboot_required() }.boxed()
    }
}
