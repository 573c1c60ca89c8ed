//! Rollouts that are planned again because versions were superseded: asks what is due, and starts it by the very path that `apply`
//! takes.

use std::{collections::BTreeSet, sync::Arc};

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::replan::{Due, PERSISTENCE, WITHIN, due},
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

    async fn plan_again(self, due: Due) {
        let (of, name) = (due.of, due.spec.name.clone());
        let started = async {
            let plan = self.make_plan(due.spec.clone()).await?;
            let planned = plan.hosts().filter_map(|host| NodeId::parse(&host.node_id)).collect();
            due.may_start(&planned, clock::now().wall).map_err(|missing| without(&plan, &missing))?;
            self.start(plan, Starts::Replan(of)).await.map(|applied| applied.id)
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

    /// Why the last try to plan the rollout `of`, which is called `name`, again came to nothing, as a cause.
    pub(super) fn not_replanned(&self, of: RolloutId, name: &str) -> Option<WhyStep> {
        let failed = self.replanning.all().not_started().remove(&of)?;
        let text = not_replanned(name, &failed.because);
        Some(WhyStep { code: "replan-failed".into(), text, at: None, command: Some("patchmesh plan -f FILE".into()) })
    }
}

/// When it is tried again is said as the longest pause: the next try may be nearer.
pub(super) fn not_replanned(name: &str, because: &str) -> String {
    let (minutes, hours) = (PERSISTENCE.longest.as_secs() / 60, WITHIN.as_secs() / 3600);
    format!(
        "rollout {name} could not be planned again, and is tried again within {minutes} minutes, until {hours} hours after its end: \
         {because}"
    )
}

/// A plan without the hosts `missing`, for whose sake it was made.
pub(super) fn without(plan: &PlanDocument, missing: &BTreeSet<NodeId>) -> Fault {
    let is_missing =
        |node: &Option<String>| node.as_deref().and_then(NodeId::parse).is_some_and(|node| missing.contains(&node));
    let first = plan.excluded.iter().find(|one| is_missing(&one.node_id));
    let first = first.map(|one| format!(", first of all {} ({})", one.host, one.waiting.code)).unwrap_or_default();
    let text = format!("{} of the hosts that are to be planned again cannot be planned{first}", missing.len());
    Fault::new("left-out-again", text, "no rollout was started", "see why with patchmesh plan -f FILE")
}

/// What became of a rollout between its plan and its start.
pub(super) fn not_due(of: RolloutId) -> Fault {
    let text = format!("rollout {of} is not to be planned again any more");
    Fault::new("not-due", text, "no rollout was started", format!("see patchmesh why rollout {of}"))
}
