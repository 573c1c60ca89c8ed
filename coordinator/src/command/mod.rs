//! One file per verb, or per family of verbs.

pub mod audit;
pub mod baseline;
pub mod baselines;
pub mod commands;
pub mod compliance;
pub mod get;
pub mod groups;
pub mod inventory;
mod judged;
pub mod mesh;
pub mod patch_now;
pub mod plan;
pub mod policies;
pub mod process;
pub mod rate;
pub mod refused;
pub mod rollout;
pub mod scan;
pub mod slots;
pub mod stop;
pub mod transfer;
pub mod verdict;
pub mod version;
pub mod watch;
pub mod windows;

use std::future::Future;

use crate::fault::Fault;

/// Runs one question to the coordinator to its end, on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Fault::new("no-runtime", "cannot start", "nothing was done", "check the limits of this user (ulimit -a)")
            .because(error)
    })?;
    runtime.block_on(future)
}
