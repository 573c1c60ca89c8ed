//! Held slots as documents, and their release by name.

use std::time::Duration;

use patchmesh_common::{
    id::NodeId,
    rollout::{
        controller::Event,
        slots::{Hold, Slot, Unreleased, releasable, slots},
        why::release_command,
    },
    time::{Now, WallTime},
};

use super::Coordinator;
use crate::{
    api::document::{ReleaseDocument, ReleaseRequest, ReleasedSlot, SlotRow, SlotState, SlotsDocument, Time},
    fault::Fault,
    status::View,
};

/// Longest reason, and longest name of who gives it, in bytes: both stay in the ledger for ever.
const MAX_WORDS: usize = 1_000;

impl Coordinator {
    pub(super) async fn list_slots(&self) -> Result<SlotsDocument, Fault> {
        self.ask(|actor, _| {
            let view = actor.status();
            let rows = held(&view).iter().map(|slot| row(&view, slot)).collect();
            SlotsDocument { schema: SlotsDocument::SCHEMA.to_owned(), slots: rows }
        })
        .await
    }

    pub(super) async fn release_slot(&self, host: String, asked: ReleaseRequest) -> Result<ReleaseDocument, Fault> {
        let ReleaseRequest { by, because, even_if_heard } = asked;
        check_words(&[("by", &by), ("because", &because)])?;
        self.ask(move |actor, cx| {
            let before = held(&actor.status());
            let node = releasable(&before, &host, even_if_heard).map_err(|why| refuse(&host, why))?;
            actor.feed(Event::Release { host: node, by: by.clone(), because: because.clone() }, cx);
            let now = actor.status().now.wall;
            Ok(released(&before, node, Time(now), by, because))
        })
        .await?
    }
}

/// Refuses what is said for the ledger and says nothing, or too much.
pub(super) fn check_words(said: &[(&str, &String)]) -> Result<(), Fault> {
    let wrong = said.iter().find(|(_, words)| words.trim().is_empty() || words.len() > MAX_WORDS);
    wrong.map_or(Ok(()), |(what, words)| {
        let is = if words.trim().is_empty() { "empty".to_owned() } else { format!("{} bytes long", words.len()) };
        let remedy = format!("write 1 to {MAX_WORDS} bytes");
        Err(Fault::new("bad-request", format!("`{what}` is {is}"), "nothing was changed", remedy))
    })
}

pub(super) fn held(view: &View<'_>) -> Vec<Slot> {
    slots(view.ledger, view.desk, view.now.boot)
}

fn last_heard(slot: &Slot, now: Now) -> Option<Time> {
    let silent = i64::try_from(slot.silent.as_millis()).ok()?;
    Some(Time(WallTime(now.wall.0.saturating_sub(silent))))
}

fn state(held: Hold) -> SlotState {
    match held {
        Hold::Busy => SlotState::Busy,
        Hold::Lost => SlotState::Lost,
        Hold::Foreign => SlotState::Foreign,
        Hold::Unknown => SlotState::Unknown,
    }
}

fn row(view: &View<'_>, slot: &Slot) -> SlotRow {
    let rollout = slot.rollout.and_then(|id| view.ledger.rollouts.get(&id));
    SlotRow {
        host: slot.name.clone(),
        node_id: slot.host.to_string(),
        state: state(slot.held),
        rollout: slot.rollout.map(|id| id.to_string()),
        rollout_name: rollout.map(|state| state.plan.name.clone()),
        lease: slot.lease.map(|lease| lease.to_string()),
        since: slot.since.map(Time),
        last_heard: last_heard(slot, view.now),
        silent_seconds: (slot.silent != Duration::MAX).then_some(slot.silent.as_secs()),
        lost_after_seconds: slot.patience.as_secs(),
        reboot_seconds: slot.reboots.map(|took| took.as_secs()),
        phase: slot.phase,
        text: slot.text(),
        release: release_command(&slot.name),
    }
}

fn released(before: &[Slot], node: NodeId, at: Time, by: String, because: String) -> ReleaseDocument {
    let own: Vec<&Slot> = before.iter().filter(|slot| slot.host == node).collect();
    let one = |slot: &&Slot| ReleasedSlot {
        lease: slot.lease.map(|lease| lease.to_string()),
        rollout: slot.rollout.map(|id| id.to_string()),
        state: state(slot.held),
        risk: slot.held.risk().to_owned(),
    };
    ReleaseDocument {
        schema: ReleaseDocument::SCHEMA.to_owned(),
        host: own.first().map_or_else(|| node.to_string(), |slot| slot.name.clone()),
        node_id: node.to_string(),
        at,
        by,
        because,
        released: own.iter().map(one).collect(),
    }
}

fn refuse(host: &str, why: Unreleased) -> Fault {
    let seconds = |time: Duration| time.as_secs();
    let (code, text, unchanged, remedy) = match why {
        Unreleased::NotHeld => {
            let remedy = "see patchmesh slots ls for those that do".to_owned();
            ("not-held", format!("{host} holds no slot"), "nothing was changed", remedy)
        }
        Unreleased::Ambiguous(keys) => {
            let keys: Vec<_> = keys.iter().map(NodeId::to_string).collect();
            let text = format!("{host} is the name of {} hosts that hold slots", keys.len());
            ("ambiguous-host", text, "their slots stay held", format!("name one by its key: {}", keys.join(", ")))
        }
        Unreleased::Heard(slot) => (
            "host-is-heard",
            format!(
                "{host} answered {} s ago and counts as lost after {} s: {}",
                seconds(slot.silent),
                seconds(slot.patience),
                slot.held.risk()
            ),
            "its slot stays held",
            "wait for its report; if it hangs, take that risk with --even-if-heard".to_owned(),
        ),
    };
    Fault::new(code, text, unchanged, remedy)
}

#[cfg(test)]
mod tests {
    use patchmesh_common::rollout::ledger::LedgerAct;

    use super::*;
    use crate::status::tests::{World, node};

    #[test]
    fn a_held_slot_says_how_long_its_host_was_silent_and_how_to_release_it() {
        let mut world = World::new(2, 1, vec![]);
        world.grant(1);
        world.grant(2);
        world.pass(190, &[1]);
        let view = world.view();
        let rows: Vec<_> = held(&view).iter().map(|slot| row(&view, slot)).collect();
        let states: Vec<_> = rows.iter().map(|row| (row.state, row.silent_seconds, row.lost_after_seconds)).collect();
        assert_eq!(states, [(SlotState::Lost, Some(190), 60), (SlotState::Busy, Some(0), 60)]);
        assert_eq!(rows[0].text, "silent for 190 s; lost after 60 s");
        assert_eq!(rows[0].release, "patchmesh slots release host-1 --because TEXT");
        assert_eq!(rows[0].rollout_name.as_deref(), Some("wave"));
    }

    #[test]
    fn a_refused_release_names_the_host_what_stays_and_what_to_do() {
        let mut world = World::new(1, 1, vec![]);
        world.grant(1);
        let slots = held(&world.view());
        let fault = |host: &str| refuse(host, releasable(&slots, host, false).unwrap_err());
        let heard = fault("host-1");
        assert_eq!((heard.code, heard.unchanged.as_str()), ("host-is-heard", "its slot stays held"));
        assert!(heard.remedy.contains("--even-if-heard"), "{}", heard.remedy);
        assert_eq!(fault("host-9").code, "not-held");
    }

    #[test]
    fn a_released_host_is_lost_in_the_recap_with_who_released_it_and_why() {
        let mut world = World::new(1, 1, vec![]);
        world.grant(1);
        world.pass(61, &[1]);
        let slot = held(&world.view()).remove(0);
        let (by, because) = ("ops".to_owned(), "burnt".to_owned());
        world.act(LedgerAct::Released { host: node(1), lease: slot.lease, held: slot.held, by, because });
        world.end();
        let recap = world.recap();
        assert_eq!((recap.hosts.lost, recap.state.as_str()), (1, "CompletedWithLost"));
        let error = recap.results[0].error.clone().unwrap();
        assert_eq!(error.code, "released");
        assert!(error.text.contains("ops") && error.text.contains("burnt"), "{}", error.text);
    }
}
