//! Rollouts that are planned again because versions were superseded: asks what is due, and starts it by the very path that `apply`
//! takes.

use std::sync::Arc;

use patchmesh_common::{
    id::RolloutId,
    rollout::replan::{Due, due},
};
use patchmesh_node::clock;

use super::{Coordinator, Starts, due::LOOK};
use crate::{
    api::document::{PlanDocument, WhyStep},
    fault::Fault,
};

impl Coordinator {
    /// Plans again what is due, for as long as it is polled.
    pub async fn follow_replans(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let (replanning, now) = (Arc::clone(&self.replanning), clock::now());
            let found = self.ask(move |actor, _| {
                let view = actor.status();
                due(&mut replanning.all(), view.ledger, view.desk, now)
            });
            // A coordinator that is busy now is asked at the next look.
            for one in found.await.unwrap_or_default() {
                tokio::spawn(self.clone().plan_again(one));
            }
        }
    }

    async fn plan_again(self, Due { of, spec }: Due) {
        let name = spec.name.clone();
        let started = async {
            let plan = self.make_plan(spec).await?;
            // It would end at once, and nothing would be planned again after it.
            if plan.hosts().next().is_none() {
                return Err(nobody(&plan));
            }
            self.start(plan, Starts::Replan(of)).await
        };
        let started = started.await;
        let fault = match started {
            Ok(id) => {
                tracing::info!(rollout = id, name, %of, "a rollout was planned again");
                None
            }
            Err(fault) => {
                let remedy = &fault.remedy;
                tracing::warn!(name, %of, remedy, "a rollout was not planned again: {}", fault.chain());
                Some(fault.chain())
            }
        };
        self.replanning.all().ended(&of, fault, clock::now().boot);
    }

    /// Why the last try to plan the rollout `of` again came to nothing, as a cause.
    pub(super) fn not_replanned(&self, of: RolloutId) -> Option<WhyStep> {
        let failed = self.replanning.all().not_started().remove(&of)?;
        let next = if failed.gave_up { "when the coordinator has restarted" } else { "soon" };
        let text = format!("could not be planned again, and is tried again {next}: {}", failed.because);
        Some(WhyStep { code: "replan-failed".into(), text, at: None, command: Some("patchmesh plan -f FILE".into()) })
    }
}

/// A plan without a host.
pub(super) fn nobody(plan: &PlanDocument) -> Fault {
    let first = plan.excluded.first();
    let first = first.map(|one| format!(", first of all {} ({})", one.host, one.waiting.code)).unwrap_or_default();
    let text = format!("every target was left out{first}");
    Fault::new("nobody-planned", text, "no rollout was started", "see why with patchmesh plan -f FILE")
}

/// What became of a rollout between its plan and its start.
pub(super) fn not_due(of: RolloutId) -> Fault {
    let text = format!("rollout {of} is not to be planned again any more");
    Fault::new("not-due", text, "no rollout was started", format!("see patchmesh why rollout {of}"))
}
