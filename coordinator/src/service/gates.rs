//! Gates of rings that the coordinator could never ask: told before anything is planned or started, not after the first ring.

use patchmesh_common::run::gate::Gate;

use super::Coordinator;
use crate::fault::Fault;

impl Coordinator {
    /// Refuses gates that could never be passed here; `unchanged` says what was not done.
    pub(super) async fn judge_ring_gates(&self, gates: &[Gate], unchanged: &'static str) -> Result<(), Fault> {
        if gates.is_empty() {
            return Ok(());
        }
        let gates = gates.to_vec();
        let hindrance = self.ask(move |actor, _| actor.hindrance(&gates)).await?;
        let remedy = "put the executable there, or leave the gate out of gates.afterRing";
        hindrance.map_or(Ok(()), |refusal| Err(Fault::new("gate-not-applicable", refusal.text, unchanged, remedy)))
    }
}
