//! Sabotages of the mesh.

use patchmesh_common::{
    gossip::{Event, NodeRecord},
    seal::{Payload, Sealed},
    wire,
};

use super::Sabotage;
use crate::keys::Key;

pub(super) struct RecordsRewritten;

impl Sabotage for RecordsRewritten {
    fn mesh_event(&mut self, event: &mut Event) {
        let Event::Announced { item, .. } = event else { return };
        let Ok(mut record) = wire::decode::<NodeRecord>(&item.record.body, NodeRecord::LIMIT) else { return };
        record.version += 1;
        item.record = Sealed::seal(&Key(item.record.author), &record);
    }
}
