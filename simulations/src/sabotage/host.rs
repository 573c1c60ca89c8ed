//! Sabotages of a host.

use patchmesh_common::{
    id::{LeaseId, NodeId, RolloutId},
    membership::Role,
    poison::Poison,
    run::{
        act::{Act, ActEnd, Adoption, Verdict},
        journal::JournalEntry,
        machine::{Effect, Event},
        message::{Command, LatestStart, LeaseFrame, SignedStop, StopOrder, ToHost},
    },
    schedule::Opening,
    seal::{Payload, Sealed},
    time::WallTime,
    wire,
};

use super::Sabotage;
use crate::keys::{COORDINATOR, Key, MESH, credential, node};

pub(super) struct EndlessOpenings;

impl Sabotage for EndlessOpenings {
    fn host_event(&mut self, event: &mut Event) {
        let Event::Command(frame) = event else { return };
        let Ok(mut command) = wire::decode::<Command>(&frame.sealed.body, Command::LIMIT) else { return };
        if let ToHost::Offer(lease) = &mut command.body {
            lease.opening = Opening::endless(WallTime(0));
            lease.latest_start =
                LatestStart { pre_install: 1 << 30, transaction: 1 << 30, post_install: 1 << 30, reboot: 1 << 30 };
            frame.sealed = Sealed::seal(&Key(frame.sealed.author), &command);
        }
    }
}

pub(super) struct HooksNeverFail;

impl Sabotage for HooksNeverFail {
    fn host_event(&mut self, event: &mut Event) {
        if let Event::Ended { end: ActEnd::Hooks(hooks), .. } = event {
            hooks.error = None;
        }
    }
}

pub(super) struct GateIgnored;

impl Sabotage for GateIgnored {
    fn host_event(&mut self, event: &mut Event) {
        if let Event::Ended { end: ActEnd::Gates(gates), .. } = event {
            gates.error = None;
        }
    }
}

pub(super) struct PackagesUnchecked;

impl Sabotage for PackagesUnchecked {
    fn host_event(&mut self, event: &mut Event) {
        match event {
            Event::Ended {
                end: ActEnd::Transaction(end) | ActEnd::Repaired(end) | ActEnd::Adopted(Adoption::Finished(end)),
                ..
            } => end.verdict = Verdict::Ok,
            Event::Ended { end: ActEnd::Verified(Ok(looked)), .. } => looked.verified.comparison.differences.clear(),
            _ => {}
        }
    }
}

pub(super) struct DirtUnseen;

impl Sabotage for DirtUnseen {
    fn host_event(&mut self, event: &mut Event) {
        match event {
            Event::Ended {
                end: ActEnd::Transaction(end) | ActEnd::Repaired(end) | ActEnd::Adopted(Adoption::Finished(end)),
                ..
            } => end.dirty = None,
            Event::Ended { end: ActEnd::Verified(Ok(looked)), .. } => looked.verified.dirty = None,
            _ => {}
        }
    }
}

pub(super) struct EpochsUnsaved;

impl Sabotage for EpochsUnsaved {
    fn host_effects(&mut self, _: NodeId, effects: &mut Vec<Effect>) -> Option<Event> {
        effects.retain(|effect| !matches!(effect, Effect::Save(JournalEntry::Epoch(_))));
        None
    }
}

pub(super) struct RunnersForgotten;

impl Sabotage for RunnersForgotten {
    fn host_event(&mut self, event: &mut Event) {
        if let Event::Ended { end: ActEnd::Adopted(adoption), .. } = event {
            *adoption = Adoption::NeverStarted;
        }
    }
}

pub(super) struct StopsForgotten;

impl Sabotage for StopsForgotten {
    fn host_effects(&mut self, me: NodeId, effects: &mut Vec<Effect>) -> Option<Event> {
        // The last check before a step reads the disk: it is made to ask for a rollout that nobody stops.
        for effect in effects.iter_mut() {
            if let Effect::Start {
                act: Act::Hooks { guard: Some(guard), .. } | Act::Transaction { guard, .. } | Act::Reboot { guard },
                ..
            } = effect
            {
                guard.rollout = RolloutId([0xff; 8]);
            }
        }
        let stop = effects.iter().find_map(|effect| match effect {
            Effect::Save(JournalEntry::Stop(order)) if order.stop => Some(*order),
            _ => None,
        })?;
        let order = StopOrder { sequence: stop.sequence + 1_000, stop: false, ..stop };
        Some(resume(order, me))
    }
}

pub(super) struct StopsUnsaved;

impl Sabotage for StopsUnsaved {
    fn host_effects(&mut self, _: NodeId, effects: &mut Vec<Effect>) -> Option<Event> {
        effects.retain(|effect| !matches!(effect, Effect::Save(JournalEntry::Stop(_))));
        None
    }
}

/// The machine does not hear it, and the last check before a step does not look for it.
#[derive(Default)]
pub(super) struct ReleasesForgotten {
    heard: Option<LeaseId>,
}

impl Sabotage for ReleasesForgotten {
    fn host_event(&mut self, event: &mut Event) {
        let Event::Command(frame) = event else { return };
        let Ok(mut command) = wire::decode::<Command>(&frame.sealed.body, Command::LIMIT) else { return };
        if let ToHost::Release { lease } = command.body {
            self.heard = Some(lease);
            command.body = ToHost::Adopt;
            frame.sealed = Sealed::seal(&Key(frame.sealed.author), &command);
        }
    }

    fn host_effects(&mut self, _: NodeId, effects: &mut Vec<Effect>) -> Option<Event> {
        for effect in effects.iter_mut() {
            if let Effect::Start {
                act: Act::Hooks { guard: Some(guard), .. } | Act::Transaction { guard, .. } | Act::Reboot { guard },
                ..
            } = effect
            {
                guard.lease = None;
            }
        }
        let saved = self.heard.take().map(|lease| Effect::Save(JournalEntry::Released { lease }));
        effects.extend(saved);
        None
    }
}

pub(super) struct AbortsForgotten;

impl Sabotage for AbortsForgotten {
    fn remembered(&mut self, poison: &mut Poison) {
        *poison = Poison::default();
    }
}

pub(super) struct SafeModeUnheard;

impl Sabotage for SafeModeUnheard {
    fn host_event(&mut self, event: &mut Event) {
        if let Event::Safe(safe) = event {
            *safe = false;
        }
    }
}

/// A resume that nobody ordered.
fn resume(order: StopOrder, to: NodeId) -> Event {
    let right = credential(COORDINATOR, Role::Coordinator, WallTime::MAX);
    let signed = SignedStop { order: Sealed::seal(&Key(node(COORDINATOR)), &order), credential: right.clone() };
    let command = Command {
        id: patchmesh_common::id::CommandId([0; 16]),
        mesh: MESH,
        to,
        epoch: Default::default(),
        after: None,
        head: Default::default(),
        expires: WallTime::MAX,
        body: ToHost::Stop(Box::new(signed)),
    };
    let sealed = Sealed::seal(&Key(node(COORDINATOR)), &command);
    Event::Command(Box::new(LeaseFrame { credential: right, sealed }))
}
