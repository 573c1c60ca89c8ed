//! Policies: asks what is due, and starts it by the very path that `apply` takes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use patchmesh_common::{
    rollout::{
        Operation,
        policy::{OPERATIONS, runs},
        spec::RolloutSpec,
    },
    time::{BootTime, WallTime},
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
/// Runs that are being planned at the same time; what else is due waits for a later look.
const MOST_AT_ONCE: usize = 8;
/// How often a run that cannot be started is tried for one time.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(60);

type Key = (String, Operation);

/// What is being started, and what could not be. Nothing of it has to outlive the process: the ledger says what was started.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<BTreeMap<Key, Attempt>>);

#[derive(Debug)]
struct Attempt {
    of: WallTime,
    tries: u32,
    under_way: bool,
    again: BootTime,
    fault: Option<String>,
}

impl Attempts {
    /// Nothing of it could be left half done by a panic elsewhere.
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run of `key` for `of` is to be tried at `now`; if so, it is under way.
    fn begin(&self, key: &Key, of: WallTime, now: BootTime) -> bool {
        let mut all = self.all();
        if all.values().filter(|one| one.under_way).count() >= MOST_AT_ONCE {
            return false;
        }
        let tries = match all.get(key) {
            Some(known) if known.under_way => return false,
            Some(known) if known.of == of && (known.tries >= TRIES || now < known.again) => return false,
            Some(known) if known.of == of => known.tries,
            _ => 0,
        };
        let fault = all.remove(key).and_then(|known| known.fault).filter(|_| tries > 0);
        all.insert(key.clone(), Attempt { of, tries: tries + 1, under_way: true, again: now, fault });
        true
    }

    /// How the try of `key` ended.
    fn ended(&self, key: &Key, fault: Option<String>, now: BootTime) {
        let mut all = self.all();
        match (all.get_mut(key), fault) {
            (Some(known), Some(fault)) => {
                (known.under_way, known.again, known.fault) = (false, now.plus(PAUSE), Some(fault));
            }
            _ => {
                all.remove(key);
            }
        }
    }

    /// Forgets what is nobody's any more.
    fn retain(&self, kept: &[KeptPolicy]) {
        self.all().retain(|(name, _), one| one.under_way || kept.iter().any(|policy| policy.written.name == *name));
    }

    fn not_started(&self) -> NotStarted {
        let told = |(key, one): (&Key, &Attempt)| Some((key.clone(), (one.of, one.fault.clone()?)));
        self.all().iter().filter_map(told).collect()
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
        self.attempts.retain(&kept);
        let runs = self.ask(|actor, _| runs(actor.status().ledger)).await?;
        let now = clock::now();
        for one in &kept {
            for operation in OPERATIONS {
                let key = (one.written.name.clone(), operation);
                let last = runs.get(&key).map(|(_, run)| *run);
                let due =
                    one.policy.recurring(operation).and_then(|recurring| recurring.due(one.since, last, now.wall).now);
                if let Some(of) = due.filter(|of| self.attempts.begin(&key, *of, now.boot)) {
                    tokio::spawn(self.clone().start_run(key, one.policy.rollout(operation, of)));
                }
            }
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
        self.attempts.ended(&key, fault, clock::now().boot);
    }

    async fn kept_policies(&self) -> Result<Vec<KeptPolicy>, Fault> {
        let store = self.store.clone();
        self.on_disk(move |_| store.policies()).await
    }

    pub(super) async fn list_policies(&self) -> Result<PoliciesDocument, Fault> {
        let kept = self.kept_policies().await?;
        let (runs, not_started, now) = self.told_of_policies().await?;
        let rows = kept.iter().flat_map(|one| policy_rows(one, &runs, &not_started, now));
        Ok(PoliciesDocument::new(rows.collect()))
    }

    pub(super) async fn describe_policy(&self, name: &str) -> Result<PolicyDocument, Fault> {
        let kept = self.kept_policies().await?.into_iter().find(|one| one.written.name == name);
        let kept = kept.ok_or_else(|| not_found("policy", name))?;
        let (runs, not_started, now) = self.told_of_policies().await?;
        let rows = policy_rows(&kept, &runs, &not_started, now);
        Ok(PolicyDocument::new(kept, rows))
    }

    async fn told_of_policies(&self) -> Result<(PolicyRuns, NotStarted, WallTime), Fault> {
        let runs = self.ask(|actor, _| told(&actor.status())).await?;
        Ok((runs, self.attempts.not_started(), clock::now().wall))
    }
}

fn told(view: &View<'_>) -> PolicyRuns {
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
    runs(view.ledger).into_iter().filter_map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_cannot_be_started_is_tried_a_few_times_for_one_time() {
        let attempts = Attempts::default();
        let key = ("nightly".to_owned(), Operation::Scan);
        let (mut now, of) = (BootTime(0), WallTime(1000));
        for _ in 0..TRIES {
            assert!(attempts.begin(&key, of, now));
            assert!(!attempts.begin(&key, of, now) && !attempts.begin(&key, WallTime(2000), now), "it is under way");
            attempts.ended(&key, Some("no host".into()), now);
            assert!(!attempts.begin(&key, of, now), "not at once");
            assert_eq!(attempts.not_started()[&key], (of, "no host".to_owned()));
            now = now.plus(PAUSE);
        }
        assert!(!attempts.begin(&key, of, now), "no more of this time");
        assert!(attempts.begin(&key, WallTime(2000), now), "the next one");
        assert_eq!(attempts.not_started(), NotStarted::new());
        attempts.ended(&key, None, now);
        assert!(attempts.all().is_empty());
    }

    #[test]
    fn only_so_many_are_planned_at_the_same_time() {
        let attempts = Attempts::default();
        let key = |at: usize| (format!("policy-{at}"), Operation::Install);
        for at in 0..MOST_AT_ONCE {
            assert!(attempts.begin(&key(at), WallTime(0), BootTime(0)));
        }
        assert!(!attempts.begin(&key(MOST_AT_ONCE), WallTime(0), BootTime(0)));
        attempts.ended(&key(0), None, BootTime(0));
        assert!(attempts.begin(&key(MOST_AT_ONCE), WallTime(0), BootTime(0)));
    }
}
