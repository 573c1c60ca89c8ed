//! Sabotages of what a coordinator asks about its rings: it hears an answer, but not to what should have been asked.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        controller::{Effect, Event},
        ledger::LedgerAct,
        ring_gate::RingVerdict,
    },
};

use super::Sabotage;

/// The first asking about a ring, as its ledger counts.
const FIRST: u32 = 1;

/// Rings that were looked at when they settled.
#[derive(Default)]
pub(super) struct AskedEarly {
    /// What they showed; `None` as long as it is looked at.
    looks: BTreeMap<(RolloutId, u16), Option<RingVerdict>>,
    /// Those that the coordinator believes to be asked since.
    asked: Vec<(RolloutId, u16)>,
}

impl Sabotage for AskedEarly {
    fn desk_event(&mut self, event: &mut Event) {
        if let Event::Gated { rollout, ring, verdict, .. } = event
            && let Some(look) = self.looks.get_mut(&(*rollout, *ring))
        {
            *look = Some(verdict.clone());
            *event = Event::Tick;
        }
        if !matches!(event, Event::Tick) {
            return;
        }
        let seen = |of: &(RolloutId, u16)| self.looks.get(of).is_some_and(Option::is_some);
        let Some(at) = self.asked.iter().position(seen) else { return };
        let (rollout, ring) = self.asked.remove(at);
        if let Some(verdict) = self.looks.get(&(rollout, ring)).cloned().flatten() {
            *event = Event::Gated { rollout, ring, attempt: FIRST, verdict };
        }
    }

    fn desk_effects(&mut self, effects: &mut Vec<Effect>) {
        let (looks, asked) = (&mut self.looks, &mut self.asked);
        effects.retain(|effect| match effect {
            Effect::AskGates { rollout, ring, attempt: FIRST, .. } if looks.contains_key(&(*rollout, *ring)) => {
                asked.push((*rollout, *ring));
                false
            }
            _ => true,
        });
        let settled: Vec<_> = effects.iter().filter_map(settled).collect();
        for (rollout, ring) in settled {
            self.looks.insert((rollout, ring), None);
            effects.push(Effect::AskGates { rollout, ring, name: String::new(), attempt: FIRST, gates: Vec::new() });
        }
    }
}

fn settled(effect: &Effect) -> Option<(RolloutId, u16)> {
    let Effect::Save(entry) = effect else { return None };
    match entry.act {
        LedgerAct::RingSettled { rollout, ring, .. } => Some((rollout, ring)),
        _ => None,
    }
}

#[derive(Default)]
pub(super) struct LastUnasked {
    last: BTreeMap<RolloutId, u16>,
    answer: Option<Event>,
}

impl Sabotage for LastUnasked {
    fn desk_event(&mut self, event: &mut Event) {
        match event {
            Event::Apply { id, plan, .. } => {
                let last = plan.rings.len().checked_sub(1).and_then(|last| u16::try_from(last).ok());
                self.last.extend(last.map(|last| (*id, last)));
            }
            Event::Tick => {
                if let Some(answer) = self.answer.take() {
                    *event = answer;
                }
            }
            _ => {}
        }
    }

    fn desk_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.retain(|effect| match effect {
            Effect::AskGates { rollout, ring, attempt, .. } if self.last.get(rollout) == Some(ring) => {
                let (rollout, ring, attempt, verdict) = (*rollout, *ring, *attempt, RingVerdict::Passed);
                self.answer = Some(Event::Gated { rollout, ring, attempt, verdict });
                false
            }
            _ => true,
        });
    }
}
