//! Who holds a slot of the fake's rollout.

use patchmesh_common::run::Phase;
use patchmesh_coordinator::api::document::*;

use super::{ID, node, time};

pub(crate) fn slots() -> SlotsDocument {
    let busy = SlotRow {
        host: "web-1".into(),
        node_id: node(1),
        state: SlotState::Busy,
        rollout: Some(ID.into()),
        rollout_name: Some("weekly".into()),
        lease: Some("ab".repeat(16)),
        since: Some(time("2026-12-01T02:00:00Z")),
        last_heard: Some(time("2026-12-01T02:03:06Z")),
        silent_seconds: Some(1),
        lost_after_seconds: 900,
        reboot_seconds: None,
        phase: Some(Phase::Transaction),
        text: "at work, in phase transaction; answered 1 s ago".into(),
        release: "patchmesh slots release web-1 --because TEXT".into(),
    };
    let lost = SlotRow {
        host: "db-1".into(),
        node_id: node(3),
        state: SlotState::Lost,
        last_heard: Some(time("2026-12-01T01:56:57Z")),
        silent_seconds: Some(370),
        lost_after_seconds: 300,
        reboot_seconds: Some(40),
        phase: Some(Phase::Reboot),
        text: "silent for 370 s; its reboots took up to 40 s".into(),
        release: "patchmesh slots release db-1 --because TEXT".into(),
        ..busy.clone()
    };
    let unknown = SlotRow {
        host: "old-1".into(),
        node_id: node(4),
        state: SlotState::Unknown,
        rollout: None,
        rollout_name: None,
        lease: None,
        since: None,
        last_heard: None,
        reboot_seconds: None,
        phase: None,
        text: "has not said which lease it holds; silent for 370 s; lost after 300 s".into(),
        release: "patchmesh slots release old-1 --because TEXT".into(),
        ..lost.clone()
    };
    SlotsDocument { schema: SlotsDocument::SCHEMA.into(), slots: vec![lost, unknown, busy] }
}

pub(crate) fn release(because: &str) -> ReleaseDocument {
    let slot = ReleasedSlot {
        lease: Some("ab".repeat(16)),
        rollout: Some(ID.into()),
        state: SlotState::Lost,
        risk: patchmesh_common::rollout::slots::Hold::Lost.risk().into(),
    };
    ReleaseDocument {
        schema: ReleaseDocument::SCHEMA.into(),
        host: "db-1".into(),
        node_id: node(3),
        at: time("2026-12-01T02:03:07Z"),
        by: "ops".into(),
        because: because.into(),
        released: vec![slot],
    }
}
