//! Wrappers that edit what machines hear and say, so that a promise breaks: the proof that the observers see.

use patchmesh_common::{gossip, rollout::controller, run::machine};

/// Edits events before a machine hears them, and effects before they are performed.
pub trait Sabotage {
    /// Before a host's run hears it.
    fn host_event(&mut self, _event: &mut machine::Event) {}
    /// After a host's run has answered. What is returned is heard without being saved.
    fn host_effects(&mut self, _effects: &mut Vec<machine::Effect>) -> Option<machine::Event> {
        None
    }
    /// Before a coordinator hears it.
    fn desk_event(&mut self, _event: &mut controller::Event) {}
    /// Before a coordinator's effects are performed.
    fn desk_effects(&mut self, _effects: &mut Vec<controller::Effect>) {}
    /// Before a host's mesh hears it.
    fn mesh_event(&mut self, _event: &mut gossip::Event) {}
}
