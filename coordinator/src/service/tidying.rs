//! Takes snapshots away that nothing needs any more.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use patchmesh_common::{id::SnapshotId, rollout::ledger::Ledger};

use super::Coordinator;
use crate::{fault::Fault, snapshots::KEPT_FOR};

/// How often it is looked for them.
const LOOK: Duration = Duration::from_secs(3600);

impl Coordinator {
    /// Takes old snapshots away, a few at a time, for as long as it is polled.
    pub async fn follow_snapshots(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut spared = BTreeSet::new();
        loop {
            looks.tick().await;
            match self.tidy(spared.clone()).await {
                Ok((removed, stay)) => {
                    if removed > 0 {
                        tracing::info!(removed, "snapshots that nothing needs any more were removed");
                    }
                    spared = stay;
                }
                Err(fault) => tracing::warn!("old snapshots are not removed: {}", fault.chain()),
            }
        }
    }

    async fn tidy(&self, mut spared: BTreeSet<SnapshotId>) -> Result<(usize, BTreeSet<SnapshotId>), Fault> {
        let needed = self.ask(|actor, _| needed(actor.status().ledger)).await?;
        let Some(before) = SystemTime::now().checked_sub(KEPT_FOR) else { return Ok((0, spared)) };
        self.on_disk(move |kept| Ok((kept.tidy(before, &needed, &mut spared)?, spared))).await
    }
}

/// By what the hosts of rollouts that have not ended judge.
fn needed(ledger: &Ledger) -> BTreeSet<SnapshotId> {
    let active = ledger.active.iter().filter_map(|id| ledger.rollouts.get(id));
    active.filter_map(|state| state.plan.baseline.snapshot()).collect()
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        id::RolloutId,
        patch::Approval,
        rollout::{
            ledger::{LedgerAct, LedgerEntry},
            plan::Rollout,
        },
        time::WallTime,
    };

    use super::*;
    use crate::service::tests::thawed;

    #[test]
    fn what_a_rollout_judges_by_is_needed_until_it_has_ended() {
        let (rollout, snapshot) = (RolloutId([1; 8]), SnapshotId([2; 32]));
        let mut plan = thawed();
        plan.baseline = Approval::Snapshot(snapshot);
        let mut ledger = Ledger::default();
        let mut act = |act| {
            ledger.fold(&LedgerEntry { at: WallTime(0), act }).unwrap();
            needed(&ledger)
        };
        let started = LedgerAct::Started(Box::new(Rollout { id: rollout, plan, by: "ops".into(), replans: None }));
        assert_eq!(act(started), [snapshot].into());
        assert_eq!(act(LedgerAct::Ended { rollout }), [].into());
    }
}
