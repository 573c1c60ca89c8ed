//! Performs the acts of the machine on the host.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use patchmesh_common::{
    id::{BootId, LeaseId},
    inventory::Transaction,
    patch::Approval,
    run::{
        act::{Act, ActEnd, Adoption, Guard, TransactionEnd, Verdict},
        compare::{Comparison, PackageSet, compare},
    },
};
use tokio::{sync::watch, time::interval};

use super::{
    backend::Backend,
    looks::{Done, words},
};
use crate::{
    host::{
        adopt::{self, Adopted, adopt},
        gates::{GateContext, Gates},
        hooks::{self, HookContext},
        runner::{self, Spec, Step},
    },
    reports::Reports,
    store::durable,
};

/// How often the output of a running runner is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many run folders are kept for people to read.
const KEPT_RUNS: usize = 16;
const BEFORE: &str = "before.json";

/// Reboots, or says why not.
pub type Reboot = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The host as acts see it.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) reboot: Reboot,
    pub(super) root: PathBuf,
    pub(super) hooks: PathBuf,
    /// One folder per lease.
    pub(super) runs: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) runner: Vec<String>,
    /// The present boot.
    pub(super) boot: BootId,
    /// `ID` and `VERSION_ID` of os-release.
    pub(super) os: (String, String),
    /// The host's tags, those of its membership over its own.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) reports: Reports,
    /// The last line of output of what runs.
    pub(super) detail: Arc<watch::Sender<String>>,
}

impl Host {
    pub(super) async fn perform(self, act: Act) -> ActEnd {
        if let Act::Hooks { guard: Some(guard), .. } | Act::Reboot { guard } = &act
            && let Some((code, text)) = runner::refusal(guard, &self.journal)
        {
            return ActEnd::Declined { code: code.into(), text };
        }
        match act {
            Act::Resolve { baseline, .. } => ActEnd::Resolved(self.backend.resolve(baseline).await),
            Act::ResolveBy { operation, snapshot, held, .. } => {
                ActEnd::Resolved(self.resolve_by(operation, &snapshot, &held).await)
            }
            Act::Patches => ActEnd::Patches(self.patches()),
            Act::Sightings => ActEnd::Sightings(self.sightings()),
            Act::Probe { probe } => {
                ActEnd::Probed(Gates::of_probes(&self.hooks, &self.root).probe(&probe, &self.root).await)
            }
            Act::Check { operation, baseline, transaction, gates } => {
                if let Some(refusal) = self.gates().hindrance(&gates) {
                    return ActEnd::Checked(Err(refusal));
                }
                ActEnd::Checked(self.check(operation, baseline, &transaction).await)
            }
            Act::Hooks { point, rollout, attempt, timeout, .. } => {
                let timeout = Duration::from_secs(timeout.into());
                let context = HookContext { point, rollout, attempt, root: self.root.clone(), timeout };
                ActEnd::Hooks(hooks::run(&self.hooks, &context).await)
            }
            Act::Transaction { lease, attempt, baseline, transaction, guard, note_units } => {
                if note_units {
                    self.note_units(lease).await;
                }
                self.install((lease, attempt), baseline, &transaction, guard).await
            }
            Act::Adopt { lease, attempt } => {
                let folder = self.folder(lease, &attempt.to_string());
                ActEnd::Adopted(self.outcome(&folder).await)
            }
            Act::Repair { lease, attempt, baseline, transaction, because } => {
                ActEnd::Repaired(self.repair((lease, attempt), baseline, &transaction, &because).await)
            }
            Act::Reboot { .. } => {
                if let Some(what) = self.dirty().await {
                    let text = format!("the package database is unclean: {what}");
                    return ActEnd::Declined { code: "dirty-database".into(), text };
                }
                let reboot = Arc::clone(&self.reboot);
                let asked = tokio::task::spawn_blocking(move || reboot()).await;
                ActEnd::Reboot(asked.unwrap_or_else(|error| Err(error.to_string())))
            }
            Act::Verify { lease, operation, started, reboot, baseline, expected, keep } => {
                let done = Done { lease, operation, started, reboot, approval: baseline, keep };
                ActEnd::Verified(self.verify(done, &expected).await)
            }
            Act::Gates { lease, rollout, attempt, gates } => {
                let context =
                    GateContext { rollout, attempt, root: &self.root, folder: self.runs.join(lease.to_string()) };
                ActEnd::Gates(self.gates().ask(&gates, &context).await)
            }
        }
    }

    fn gates(&self) -> Gates {
        Gates::new(&self.hooks, &self.root)
    }

    /// Notes which units have failed before the first transaction of `lease`. Without the note its gate is not passed, and says so.
    async fn note_units(&self, lease: LeaseId) {
        let folder = self.runs.join(lease.to_string());
        if let Err(error) = self.gates().note_units(&folder).await {
            tracing::warn!(folder = %folder.display(), error, "which units have failed before the transaction is not known");
        }
    }

    pub(super) fn folder(&self, lease: LeaseId, name: &str) -> PathBuf {
        self.runs.join(lease.to_string()).join(name)
    }

    async fn install(
        &self,
        (lease, attempt): (LeaseId, u32),
        approval: Approval,
        transaction: &Transaction,
        guard: Guard,
    ) -> ActEnd {
        let folder = self.folder(lease, &attempt.to_string());
        let unstarted = |text: String| {
            let verdict =
                Verdict::Failed(format!("the package manager was not started: {text}; no package was changed"));
            let end = TransactionEnd { verdict, output: String::new(), reboot_required: false, dirty: None };
            ActEnd::Transaction(end)
        };
        if let Err(text) = self.remember(lease).await {
            return unstarted(text);
        }
        // Only what is there afterwards is marked.
        if let Err(error) = self.reports.note(self.boot, transaction) {
            return unstarted(format!("what will wait for a reboot cannot be noted: {error}"));
        }
        let sources = self.sources(approval).map_err(words);
        let steps = match sources.and_then(|sources| self.backend.install_plan(transaction, &sources)) {
            Ok(steps) => steps,
            Err(text) => return unstarted(text),
        };
        match self.launch(&folder, steps, Some(guard)).await {
            Err(text) => unstarted(text),
            Ok(()) => match self.outcome(&folder).await {
                Adoption::Finished(end) => ActEnd::Transaction(end),
                Adoption::Dead => ActEnd::Adopted(Adoption::Dead),
                Adoption::NeverStarted => {
                    unstarted(format!("its runner ended at once: {}", adopt::output(&folder).trim()))
                }
            },
        }
    }

    /// Starts a runner and waits until it has ended, whatever came of it: [`Self::outcome`] tells. The error says why there is
    /// none.
    pub(super) async fn launch(&self, folder: &Path, steps: Vec<Step>, guard: Option<Guard>) -> Result<(), String> {
        let spec = Spec { steps, guard, journal: self.journal.clone() };
        let unit = (self.root == Path::new("/") && runner::has_services()).then(|| self.unit(folder));
        let mut child = runner::launch(folder, &self.runner, unit.as_deref(), &spec)
            .map_err(|error| format!("a runner cannot be started in {}: {error}", folder.display()))?;
        match self.watch(folder, child.wait()).await {
            Ok(status) if status.success() => {}
            Ok(status) => {
                tracing::warn!(folder = %folder.display(), %status, "a runner, or what starts it, ended badly")
            }
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "a runner cannot be awaited as a child"),
        }
        Ok(())
    }

    /// `patchmesh-run-LEASE-NAME`.
    fn unit(&self, folder: &Path) -> String {
        let own = folder.strip_prefix(&self.runs).unwrap_or(folder);
        let parts: Vec<_> = own.iter().map(|part| part.to_string_lossy()).collect();
        format!("patchmesh-run-{}", parts.join("-"))
    }

    /// Awaits `end` and meanwhile shows what the runner prints.
    async fn watch<T>(&self, folder: &Path, end: impl Future<Output = T>) -> T {
        let mut look = interval(LOOK_EVERY);
        tokio::pin!(end);
        loop {
            tokio::select! {
                ended = &mut end => return ended,
                _ = look.tick() => {
                    let line = adopt::last_line(folder);
                    self.detail.send_if_modified(|shown| {
                        let news = !line.is_empty() && *shown != line;
                        if news { *shown = line }
                        news
                    });
                }
            }
        }
    }

    /// The runner in `folder`, which is awaited while it works.
    pub(super) async fn ended(&self, folder: &Path) -> io::Result<Adopted> {
        match adopt(folder) {
            Ok(Adopted::Running(running)) => self.watch(folder, running.ended()).await,
            other => other,
        }
    }

    /// What became of the transaction in `folder`; waits while it works.
    async fn outcome(&self, folder: &Path) -> Adoption {
        match self.ended(folder).await {
            Ok(Adopted::Finished(result)) => {
                let declined = matches!(result.verdict, Verdict::Declined { .. });
                Adoption::Finished(TransactionEnd {
                    verdict: result.verdict,
                    output: adopt::output(folder),
                    reboot_required: self.backend.reboot_required().await,
                    dirty: if declined { None } else { self.dirty().await },
                })
            }
            Ok(Adopted::NeverStarted) => Adoption::NeverStarted,
            Ok(Adopted::Dead | Adopted::Running(_)) => Adoption::Dead,
            Err(error) => {
                // What cannot be read back is treated as the worst that it may be: repair, then look at the packages.
                tracing::warn!(folder = %folder.display(), %error, "the state of a runner cannot be read");
                Adoption::Dead
            }
        }
    }

    pub(super) async fn dirty(&self) -> Option<String> {
        self.backend.audit().await.unwrap_or_else(|error| Some(format!("it cannot be audited: {error}")))
    }

    /// Keeps the package set before the first transaction of `lease`.
    async fn remember(&self, lease: LeaseId) -> Result<(), String> {
        let path = self.folder(lease, BEFORE);
        if path.exists() {
            return Ok(());
        }
        let rows: Vec<_> = self.backend.installed().await?.into_iter().collect();
        let folder = self.runs.join(lease.to_string());
        let written = durable::make_folder(&folder)
            .and_then(|()| durable::write(&path, &serde_json::to_vec(&rows).map_err(std::io::Error::other)?));
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    fn remembered(&self, lease: LeaseId) -> Result<Option<PackageSet>, String> {
        let path = self.folder(lease, BEFORE);
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&error)),
            Ok(bytes) => {
                let rows: Vec<((String, String), String)> =
                    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?;
                Ok(Some(rows.into_iter().collect()))
            }
        }
    }

    pub(super) async fn compare(&self, lease: LeaseId, expected: &Transaction) -> Result<Comparison, String> {
        let after = self.backend.installed().await?;
        Ok(compare(self.remembered(lease)?.as_ref(), &after, expected))
    }

    /// Removes all but the newest run folders, and never that of `held`.
    pub(super) fn prune(&self, held: Option<LeaseId>) {
        let Ok(entries) = std::fs::read_dir(&self.runs) else { return };
        let held = held.map(|lease| lease.to_string());
        let mut folders: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str() != held.as_deref())
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        folders.sort();
        let surplus = folders.len().saturating_sub(KEPT_RUNS);
        for (_, folder) in folders.into_iter().take(surplus) {
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "an old run folder cannot be removed");
            }
        }
    }
}
