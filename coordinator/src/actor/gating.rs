//! Gates of rings: asked beside the actor, which goes on meanwhile, and answered as one more event.

use actix::{Addr, Context, Handler, Message};
use patchmesh_common::{
    id::RolloutId,
    rollout::{controller::Event, ring_gate::RingVerdict},
    run::{gate::Gate, message::Refusal},
};
use patchmesh_node::host::gates::RingContext;

use super::CoordinatorActor;

/// One asking, as the machine named it.
pub(super) struct Asking {
    pub(super) rollout: RolloutId,
    pub(super) ring: u16,
    pub(super) name: String,
    pub(super) attempt: u32,
}

/// What came of it.
struct Answered {
    asking: Asking,
    verdict: RingVerdict,
}

impl Message for Answered {
    type Result = ();
}

impl CoordinatorActor {
    /// Why one of `gates` of a ring could never be passed here; `None` if each may be. Nothing is asked.
    pub(crate) fn hindrance(&self, gates: &[Gate]) -> Option<Refusal> {
        self.gates.hindrance(gates)
    }

    /// Begins to ask. A coordinator that ends meanwhile kills what it runs, and the next one asks again.
    pub(super) fn ask_gates(&self, asking: Asking, gates: Vec<Gate>, answer: Addr<Self>) {
        let (asker, mesh) = (self.gates.clone(), self.settings.mesh);
        actix::spawn(async move {
            let Asking { rollout, attempt, name, .. } = &asking;
            let context = RingContext { rollout: *rollout, attempt: *attempt, ring: name, mesh };
            let verdict = match asker.ask_ring(&gates, &context).await {
                Ok(()) => RingVerdict::Passed,
                Err(not) => RingVerdict::Failed { gate: u16::try_from(not.gate).unwrap_or(u16::MAX), text: not.text },
            };
            // An actor that has ended asks again when it is started.
            let _ = answer.send(Answered { asking, verdict }).await;
        });
    }
}

impl Handler<Answered> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Answered { asking, verdict }: Answered, cx: &mut Context<Self>) {
        let Asking { rollout, ring, attempt, .. } = asking;
        self.feed(Event::Gated { rollout, ring, attempt, verdict }, cx);
    }
}
