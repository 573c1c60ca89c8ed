//! Whether the world is still the one that a plan was made for.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::{
        claim::{Claim, claims},
        ledger::Ledger,
        moved::{self, Moved, Said},
        plan::{Plan, PlannedHost},
        spec::RolloutSpec,
        survey::Found,
    },
    time::WallTime,
};
use patchmesh_node::clock;

use super::{Coordinator, freeze::Question, thaw};
use crate::{
    api::document::{ClaimDocument, PlanDocument},
    fault::{Exit, Fault},
    render::counted,
    status::View,
};

/// Things that moved which an error names; the rest is counted.
const MAX_TOLD: usize = 5;

impl Coordinator {
    /// Asks the targets again what they would do, and refuses a plan that says something else.
    pub(super) async fn ask_again(&self, document: PlanDocument) -> Result<(), Fault> {
        let now = clock::now().wall;
        unexpired(&document, now)?;
        let judged_by = document.judged_by.clone();
        let spec = RolloutSpec::try_from(document.spec.clone())
            .map_err(|error| crate::api::bad_request("the plan's spec is no rollout").because(error))?;
        let plan = thaw(document, now)?;
        let known = plan.clone();
        if self.ask(move |actor, _| applied(&actor.status(), &known)).await?.is_some() {
            return Ok(());
        }
        let question = match judged_by {
            Some(id) => {
                let found = self.on_disk(move |kept| kept.find(&id)).await?;
                Question::By(Box::new(found.1))
            }
            None => self.question(&spec).await?,
        };
        let of = spec.clone();
        let answer = self.ask(move |actor, _| actor.survey(&of, question)).await?.map_err(gone)?;
        let Found { planned, excluded, rings } = answer.await.map_err(|_| {
            Fault::new("busy", "the survey was dropped", "no rollout was started", "apply the plan again")
        })?;
        let rings = spec.planned_rings(&rings);
        let then = Said { planned: &plan.hosts, excluded: &plan.excluded, rings: &plan.rings };
        stale(&moved::answers(then, Said { planned: &planned, excluded: &excluded, rings: &rings }))
    }
}

/// The rollout that this plan already is.
pub(super) fn applied(view: &View<'_>, plan: &Plan) -> Option<RolloutId> {
    let mut same = view
        .ledger
        .rollouts
        .iter()
        .filter(|(_, state)| state.plan.hash == plan.hash && state.plan.created_at == plan.created_at);
    same.next().map(|(id, _)| *id)
}

/// Refuses a plan that nobody should apply any more.
pub(super) fn unexpired(document: &PlanDocument, now: WallTime) -> Result<(), Fault> {
    if now < document.expires_at.0 {
        return Ok(());
    }
    let text = format!("the plan expired at {}", document.expires_at);
    Err(Fault::new("plan-expired", text, "no rollout was started", REVIEW).exit(Exit::StalePlan))
}

const REVIEW: &str = "plan again and review the new plan";

/// The claims on the hosts of a plan, as it shows them.
pub(super) fn claimed(ledger: &Ledger, hosts: &[PlannedHost]) -> Vec<ClaimDocument> {
    let names = names(hosts);
    let of = |claim: Claim| {
        let mut hosts: Vec<String> =
            claim.hosts.iter().filter_map(|node| names.get(node)).map(|name| (*name).to_owned()).collect();
        hosts.sort();
        ClaimDocument { rollout: claim.rollout.to_string(), name: claim.name, hosts }
    };
    claims(ledger, &names.keys().copied().collect()).into_iter().map(of).collect()
}

/// Refuses a plan whose hosts another rollout has taken since it was made.
pub(super) fn unclaimed(ledger: &Ledger, shown: &[ClaimDocument], hosts: &[PlannedHost]) -> Result<(), Fault> {
    let names = names(hosts);
    let nodes: BTreeSet<NodeId> = names.keys().copied().collect();
    let then = |claim: &ClaimDocument| {
        let of: BTreeSet<&str> = claim.hosts.iter().map(String::as_str).collect();
        let hosts = names.iter().filter(|(_, name)| of.contains(*name)).map(|(node, _)| *node).collect();
        RolloutId::parse(&claim.rollout).map(|rollout| Claim { rollout, name: claim.name.clone(), hosts })
    };
    let then: Vec<Claim> = shown.iter().filter_map(then).collect();
    stale(&moved::claims(&then, &claims(ledger, &nodes), &names))
}

fn names(hosts: &[PlannedHost]) -> BTreeMap<NodeId, &str> {
    hosts.iter().map(|host| (host.node, host.name.as_str())).collect()
}

fn stale(moved: &[Moved]) -> Result<(), Fault> {
    if moved.is_empty() {
        return Ok(());
    }
    let mut told: Vec<String> = moved.iter().take(MAX_TOLD).map(ToString::to_string).collect();
    let more = moved.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        told.push(counted(more, "more change"));
    }
    let text = format!("the world has moved since the plan was made: {}", told.join("; "));
    Err(Fault::new("world-moved", text, "no rollout was started", REVIEW).exit(Exit::StalePlan))
}

/// The targets are not there any more.
fn gone(fault: Fault) -> Fault {
    let text = format!("the world has moved since the plan was made: {}", fault.message);
    Fault::new("world-moved", text, "no rollout was started", REVIEW).exit(Exit::StalePlan)
}
