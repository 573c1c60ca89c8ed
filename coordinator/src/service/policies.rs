//! Policies: asks what is due, and starts it by the very path that `apply` takes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use patchmesh_common::{
    rollout::{
        policy::{
            attempts::{Attempts, Key, Start},
            runs,
        },
        spec::RolloutSpec,
    },
    time::WallTime,
};
use patchmesh_node::clock;

use super::Coordinator;
use crate::{
    api::{
        document::{NotStarted, PoliciesDocument, PolicyDocument, PolicyRun, PolicyRuns, Time, policy_rows},
        not_found,
    },
    fault::Fault,
    status::View,
    store::policies::KeptPolicy,
};

/// How often it is asked what is due.
const LOOK: Duration = Duration::from_secs(2);

/// What this process is starting, and what it could not start.
#[derive(Debug, Default)]
pub(super) struct Trying(Mutex<Attempts>);

impl Trying {
    /// Nothing of it could be left half done by a panic elsewhere.
    fn all(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coordinator {
    /// Starts what is due, for as long as it is polled.
    pub async fn follow_policies(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            looks.tick().await;
            let failed = self.start_due().await.err().map(|fault| fault.chain());
            if let Some(error) = failed.as_ref().filter(|error| told.as_ref() != Some(*error)) {
                tracing::error!("policies start nothing: {error}");
            }
            told = failed;
        }
    }

    async fn start_due(&self) -> Result<(), Fault> {
        let kept = self.kept_policies().await?;
        let now = clock::now();
        let trying = Arc::clone(&self.trying);
        let starts = self.ask(move |actor, _| {
            let view = actor.status();
            let kept: Vec<_> = kept.iter().map(|one| (&one.policy, one.since)).collect();
            trying.all().due(&kept, view.ledger, view.desk, now)
        });
        for Start { key, spec, .. } in starts.await? {
            tokio::spawn(self.clone().start_run(key, spec));
        }
        Ok(())
    }

    async fn start_run(self, key: Key, spec: RolloutSpec) {
        let name = spec.name.clone();
        let by = format!("policy {}", key.0);
        let started = async { self.start(self.make_plan(spec).await?, by).await }.await;
        let fault = match started {
            Ok(id) => {
                tracing::info!(policy = key.0, rollout = id, name, "a policy's run was started");
                None
            }
            Err(fault) => {
                tracing::warn!(
                    policy = key.0,
                    name,
                    remedy = fault.remedy,
                    "a policy's run was not started: {}",
                    fault.chain()
                );
                Some(fault.chain())
            }
        };
        self.trying.all().ended(&key, fault, clock::now().boot);
    }

    pub(super) async fn kept_policies(&self) -> Result<Vec<KeptPolicy>, Fault> {
        let store = self.store.clone();
        self.on_disk(move |_| store.policies()).await
    }

    pub(super) async fn list_policies(&self) -> Result<PoliciesDocument, Fault> {
        let kept = self.kept_policies().await?;
        let (runs, not_started, now) = self.told_of_policies().await?;
        let rows =
            kept.iter().flat_map(|one| policy_rows(one, &runs, &not_started, |folder| self.writing.fault(folder), now));
        Ok(PoliciesDocument::new(rows.collect()))
    }

    pub(super) async fn describe_policy(&self, name: &str) -> Result<PolicyDocument, Fault> {
        let kept = self.kept_policies().await?.into_iter().find(|one| one.written.name == name);
        let kept = kept.ok_or_else(|| not_found("policy", name))?;
        let (runs, not_started, now) = self.told_of_policies().await?;
        let rows = policy_rows(&kept, &runs, &not_started, |folder| self.writing.fault(folder), now);
        Ok(PolicyDocument::new(kept, rows))
    }

    async fn told_of_policies(&self) -> Result<(PolicyRuns, NotStarted, WallTime), Fault> {
        let now = clock::now().wall;
        let runs = self.ask(move |actor, _| told(&actor.status(), now)).await?;
        Ok((runs, self.trying.all().not_started(), now))
    }
}

fn told(view: &View<'_>, now: WallTime) -> PolicyRuns {
    let run = |(key, (id, run)): (Key, (_, patchmesh_common::schedule::recurring::Run))| {
        let row = view.row(id, view.ledger.rollouts.get(&id)?);
        let run = PolicyRun {
            due_at: Time(run.of),
            rollout: row.id,
            name: row.name,
            state: row.state,
            started_at: Time(run.started),
            ended_at: run.ended.map(Time),
        };
        Some((key, run))
    };
    runs(view.ledger, now).into_iter().filter_map(run).collect()
}
