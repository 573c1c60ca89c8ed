//! What operators say about rings, signed elsewhere.

use patchmesh_common::{
    rollout::{
        approval::{SignedVerdict, Untaken, takes},
        controller::Event,
    },
    seal::Ed25519,
};
use patchmesh_node::clock;

use super::{Coordinator, find};
use crate::{
    api::{bad_request, document::RolloutDocument},
    fault::Fault,
};

const UNCHANGED: &str = "nothing was approved or rejected";

impl Coordinator {
    /// Takes an operator's word on a ring of the rollout `id`.
    pub(super) async fn take_verdict(&self, id: String, signed: SignedVerdict) -> Result<RolloutDocument, Fault> {
        self.ask(move |actor, cx| {
            let rollout = find(&actor.status(), &id)?.0;
            let (signer, verdict) = signed.open(actor.mesh(), clock::now().wall, &Ed25519).map_err(|error| {
                let remedy = "sign it with a key whose membership of this mesh has the role operator";
                Fault::new("not-an-operator", "the verdict was not accepted", UNCHANGED, remedy).because(error)
            })?;
            if verdict.rollout != rollout {
                return Err(bad_request(format!("the verdict is about rollout {}, not {rollout}", verdict.rollout)));
            }
            let view = actor.status();
            let (_, state) = find(&view, &id)?;
            takes(state, signer.key, &verdict).map_err(|why| refused(&state.plan.name, why))?;
            actor.feed(Event::Judged(Box::new(signed)), cx);
            let view = actor.status();
            find(&view, &id).map(|(id, state)| view.recap(id, state))
        })
        .await?
    }
}

fn refused(rollout: &str, why: Untaken) -> Fault {
    let remedy = match &why {
        Untaken::Latched => "plan again and apply a new rollout",
        Untaken::NoRing | Untaken::NotNeeded(_) | Untaken::Decided(_) => "see patchmesh rollout status for its rings",
        Untaken::Early { .. } => "look at what comes of the ring that is at work, then give it again",
        Untaken::Twice(_) => "let another operator approve, with an own key",
        Untaken::Because => "say why with --because TEXT",
    };
    Fault::new("verdict-refused", format!("rollout {rollout}: {why}"), UNCHANGED, remedy)
}
