//! What is due: asks for it, and starts it by the very path that `apply` takes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use patchmesh_common::{
    rollout::{
        attempts::{Attempts, Kept, Start},
        replan::HEARD,
        started::{Key, runs},
    },
    schedule::recurring::Run,
    time::{BootTime, WallTime},
};
use patchmesh_node::clock;

use super::{Coordinator, Starts};
use crate::{
    actor::EMPTY_TARGETS,
    api::document::{NotStarted, PlanDocument, RecurringRun, RecurringRuns, Time},
    fault::Fault,
    status::View,
    store::{policies::KeptPolicy, windows::KeptWindow},
};

/// How often it is asked what is due.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// What this process is starting, and what it could not start.
#[derive(Debug)]
pub(super) struct Trying<K: Ord = Key> {
    attempts: Mutex<Attempts<K>>,
    /// When this process began to look.
    began: BootTime,
}

impl<K: Ord> Default for Trying<K> {
    fn default() -> Self {
        Self { attempts: Mutex::default(), began: clock::now().boot }
    }
}

impl<K: Ord> Trying<K> {
    /// Nothing of it could be left half done by a panic elsewhere.
    pub(super) fn all(&self) -> MutexGuard<'_, Attempts<K>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the mesh has had the time to be heard: until then nobody knows for which hosts there are none.
    fn has_heard(&self) -> bool {
        clock::now().boot.since(self.began) >= HEARD
    }
}

impl Coordinator {
    /// Starts what is due of policies and of windows, for as long as it is polled.
    pub async fn follow_due(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            looks.tick().await;
            let failed = self.start_due().await.err().map(|fault| fault.chain());
            if let Some(error) = failed.as_ref().filter(|error| told.as_ref() != Some(*error)) {
                tracing::error!("not everything that is due can be started: {error}");
            }
            told = failed;
        }
    }

    async fn start_due(&self) -> Result<(), Fault> {
        // What is damaged of one kind keeps the other one from nothing.
        let mut failed = None;
        let policies = self.kept_policies().await.unwrap_or_else(|fault| left_out(&mut failed, fault));
        let windows = self.kept_windows().await.unwrap_or_else(|fault| left_out(&mut failed, fault));
        let now = clock::now();
        let trying = Arc::clone(&self.trying);
        let starts = self.ask(move |actor, _| {
            let view = actor.status();
            let kept = Kept {
                policies: policies.iter().map(|KeptPolicy { policy, since, .. }| (policy, *since)).collect(),
                windows: windows.iter().map(|KeptWindow { window, since, .. }| (window, *since)).collect(),
            };
            trying.all().due(&kept, view.ledger, view.desk, now)
        });
        for start in starts.await? {
            tokio::spawn(self.clone().start_run(start));
        }
        failed.map_or(Ok(()), Err)
    }

    async fn start_run(self, start: Start) {
        let last_start = start.last_start();
        let Start { key, spec, .. } = start;
        let (name, by) = (spec.name.clone(), key.by());
        let started = async {
            let plan = self.make_plan(spec).await?;
            // It would end at once, and its time would be over, although the hosts may be heard again soon.
            if plan.hosts().next().is_none() {
                return Err(nobody(&plan));
            }
            // Planning takes its time, and what has come to its last start meanwhile is not started.
            match last_start.filter(|last| *last <= clock::now().wall) {
                Some(last) => Err(too_late(last)),
                None => self.start(plan, Starts::Due(by.clone())).await.map(|applied| applied.id),
            }
        };
        let fault = match started.await {
            Ok(id) => {
                tracing::info!(by, rollout = id, name, "what was due was started");
                None
            }
            Err(fault) if fault.code == EMPTY_TARGETS && self.trying.has_heard() => {
                tracing::info!(by, name, "what was due is over: {}", fault.message);
                return self.trying.all().was_empty(&key, fault.message);
            }
            Err(fault) => {
                tracing::warn!(by, name, remedy = fault.remedy, "what was due was not started: {}", fault.chain());
                Some(fault.chain())
            }
        };
        self.trying.all().ended(&key, fault, clock::now().boot);
    }

    /// What was started and what could not be, and when that was so.
    pub(super) async fn told_of_due(&self) -> Result<(RecurringRuns, NotStarted, WallTime), Fault> {
        let now = clock::now().wall;
        let runs = self.ask(move |actor, _| told(&actor.status(), now)).await?;
        Ok((runs, self.trying.all().not_started(), now))
    }
}

/// Nothing is kept, as far as anybody can see; `failed` says why.
fn left_out<T>(failed: &mut Option<Fault>, fault: Fault) -> Vec<T> {
    *failed = Some(fault);
    Vec::new()
}

/// A plan without a host.
pub(super) fn nobody(plan: &PlanDocument) -> Fault {
    let first = plan.excluded.first();
    let first = first.map(|one| format!(", first of all {} ({})", one.host, one.waiting.code)).unwrap_or_default();
    let text = format!("every target was left out{first}");
    Fault::new("nobody-planned", text, "no rollout was started", "see why with patchmesh plan -f FILE")
}

fn too_late(last_start: WallTime) -> Fault {
    let text = format!("the last start {} passed while it was planned", last_start.rfc3339());
    Fault::new("no-opening", text, "no rollout was started", "give the window a longer duration, or a shorter cutoff")
}

fn told(view: &View<'_>, now: WallTime) -> RecurringRuns {
    let run = |(key, (id, run)): (Key, (_, Run))| {
        let state = view.ledger.rollouts.get(&id)?;
        let (row, reason) = (view.row(id, state), view.state(id, state).1);
        let run = RecurringRun {
            due_at: Time(run.of),
            rollout: row.id,
            name: row.name,
            state: row.state,
            started_at: Time(run.started),
            ended_at: run.ended.map(Time),
            reason: reason.map(|reason| reason.text),
        };
        Some((key, run))
    };
    runs(view.ledger, now).into_iter().filter_map(run).collect()
}
