//! Why a host, a rollout or a patch is where it is, as a document: the causes are found in `common`.

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::{
        ledger::RolloutState as Standing,
        replan::waited_for_by,
        why::{Cause, Heard, Scene},
    },
};
use patchmesh_node::peer::{KnownHost, Presence};

use crate::{
    api::document::{Time, WhyDocument, WhyStep},
    status::View,
};

/// Rollouts that left a host out and are to be planned again, with their names.
pub type Waits = Vec<(RolloutId, String)>;

/// Why the host `name` is where it is: what its rollouts say, newest first, then what its own record says. `None` if neither
/// the mesh nor a rollout knows it. A coordinator that has just started has heard of nobody, and its ledger explains all the same.
/// With what is to be planned again for its sake.
pub fn host(view: &View<'_>, members: &[KnownHost], name: &str) -> Option<(WhyDocument, Waits)> {
    let heard = members.iter().find(|host| host.membership.name == name);
    let node = heard.map(|host| host.node).or_else(|| planned(view, name))?;
    let own = heard.map(|host| Heard { record: &host.record, alive: host.presence != Presence::Silent });
    let chain = scene(view).host(node, own);
    let nothing = || format!("{name} lacks nothing that its last scan looked for");
    let answer = chain.first().map_or_else(nothing, |first| format!("{name}: {}", first.text));
    let waits = waited_for_by(view.ledger, node, view.now.wall).map(|(id, state)| (id, state.plan.name.clone()));
    Some((WhyDocument::new("host", name, answer, steps(chain)), waits.collect()))
}

/// Why the rollout is where it is.
pub(super) fn rollout(view: &View<'_>, id: RolloutId, state: &Standing) -> WhyDocument {
    let (standing, reason) = view.state(id, state);
    let because = reason.map(|reason| format!(": {}", reason.text)).unwrap_or_default();
    let answer = format!("{} is {}{because}", state.plan.name, standing.as_str());
    WhyDocument::new("rollout", &state.plan.name, answer, steps(scene(view).rollout(id)))
}

/// Why the package called `name` is not on every host for which a rollout planned it.
pub(super) fn patch(view: &View<'_>, name: &str) -> WhyDocument {
    let patch = scene(view).patch(name);
    let answer = match (patch.done, patch.planned) {
        (_, 0) => format!("nobody knows of a rollout that installs {name}"),
        (done, planned) if done == planned => format!("{name} was installed on each of the {planned} planned for it"),
        (done, planned) => {
            let first = patch.chain.first().map(|first| format!("; {}", first.text)).unwrap_or_default();
            format!("{name} was installed on {done} of the {planned} planned for it{first}")
        }
    };
    WhyDocument::new("patch", name, answer, steps(patch.chain))
}

fn scene<'a>(view: &View<'a>) -> Scene<'a> {
    Scene { ledger: view.ledger, desk: view.desk, now: view.now }
}

/// The host of that name in the rollout that began last; also one that was left out of it.
fn planned(view: &View<'_>, name: &str) -> Option<NodeId> {
    let named = |state: &Standing| {
        let planned = state.plan.hosts.iter().map(|host| (&host.name, host.node));
        let left_out = state.plan.excluded.iter().map(|host| (&host.name, host.node));
        planned.chain(left_out).find(|(of, _)| *of == name).map(|(_, node)| node)
    };
    let found = view.ledger.rollouts.values().filter_map(|state| Some((state.started_at, named(state)?)));
    found.max_by_key(|(started, _)| *started).map(|(_, node)| node)
}

fn steps(chain: Vec<Cause>) -> Vec<WhyStep> {
    let step = |Cause { code, text, at, command }| WhyStep { code, text, at: at.map(Time), command };
    chain.into_iter().map(step).collect()
}
