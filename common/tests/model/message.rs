//! Messages on their way, and what they mean.

use core::{fmt, hash::Hash as _};
use std::sync::Arc;

use patchmesh_common::{
    id::Epoch,
    run::message::{Answer, Command, ToCoordinator, ToHost},
    time::WallTime,
};

use crate::canon::Recorder;

/// What travels to a host.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) epoch: Epoch,
    pub(crate) after: Option<Epoch>,
    pub(crate) body: ToHost,
    pub(crate) print: Recorder,
}

/// What travels to the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) answer: Answer,
    pub(crate) print: Recorder,
}

/// A message that is held back, and of which host's link. A command expires one lifetime after it was sealed.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    Down(usize, Arc<Down>, WallTime),
    Up(usize, Arc<Up>),
}

impl Down {
    pub(crate) fn new(Command { epoch, after, body, .. }: Command) -> Self {
        let print = Recorder::of(|r| {
            epoch_print(after).hash(r);
            record_down(epoch, &body, r);
        });
        Self { epoch, after, body, print }
    }
}

impl Up {
    pub(crate) fn new(answer: Answer) -> Self {
        let print = Recorder::of(|r| record_up(&answer, r));
        Self { answer, print }
    }

    pub(crate) fn is_progress(&self) -> bool {
        matches!(self.answer.body, ToCoordinator::Progress { .. })
    }
}

/// The order of epochs, as a number that is no count of acts.
pub(crate) fn epoch_print(epoch: Option<Epoch>) -> u64 {
    1_000_000 + epoch.map_or(0, |epoch| epoch.counter)
}

/// What a command means: a lease is its id and its number; the rest never changes.
fn record_down(epoch: Epoch, body: &ToHost, r: &mut Recorder) {
    epoch_print(Some(epoch)).hash(r);
    core::mem::discriminant(body).hash(r);
    match body {
        ToHost::Offer(lease) => (lease.id, lease.attempt).hash(r),
        ToHost::Go { lease, nonce } => (lease, nonce).hash(r),
        ToHost::Acknowledge { lease } | ToHost::Withdraw { lease } | ToHost::Release { lease } => lease.hash(r),
        ToHost::Adopt
        | ToHost::Resolve { .. }
        | ToHost::ResolveBy { .. }
        | ToHost::Patches { .. }
        | ToHost::Sightings { .. }
        | ToHost::Probe { .. }
        | ToHost::Stop(_) => {}
    }
}

/// What an answer means: not its prose, nor the times and steps in a report.
fn record_up(answer: &Answer, r: &mut Recorder) {
    core::mem::discriminant(&answer.body).hash(r);
    match &answer.body {
        ToCoordinator::Ready { lease, nonce } => (lease, nonce).hash(r),
        ToCoordinator::Refused { lease, refusal } => (lease, refusal.code).hash(r),
        ToCoordinator::Progress { lease, phase, .. } => (lease, phase).hash(r),
        ToCoordinator::Reported(report) => (report.lease, report.outcome).hash(r),
        ToCoordinator::Adopted { held } => (epoch_print(Some(answer.epoch)), held).hash(r),
        ToCoordinator::Fenced { saved, held } => (epoch_print(Some(*saved)), held).hash(r),
        ToCoordinator::Resolved { .. }
        | ToCoordinator::StopSaved { .. }
        | ToCoordinator::Patches { .. }
        | ToCoordinator::Sightings { .. }
        | ToCoordinator::Probed { .. } => {}
    }
}

/// The number of a drawn id.
fn last(id: &[u8; 16]) -> u8 {
    id[15]
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, ", self.epoch.counter)?;
        match &self.body {
            ToHost::Offer(lease) => write!(f, "Offer({})", last(&lease.id.0)),
            ToHost::Go { lease, nonce } => write!(f, "Go({}, nonce {})", last(&lease.0), last(&nonce.0)),
            ToHost::Acknowledge { lease } => write!(f, "Acknowledge({})", last(&lease.0)),
            ToHost::Withdraw { lease } => write!(f, "Withdraw({})", last(&lease.0)),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, ", self.answer.epoch.counter)?;
        match &self.answer.body {
            ToCoordinator::Ready { lease, nonce } => write!(f, "Ready({}, nonce {})", last(&lease.0), last(&nonce.0)),
            ToCoordinator::Refused { lease, refusal } => write!(f, "Refused({}, {})", last(&lease.0), refusal.text),
            ToCoordinator::Progress { lease, phase, .. } => {
                write!(f, "Progress({}, {})", last(&lease.0), phase.as_str())
            }
            ToCoordinator::Reported(report) => write!(f, "Reported({}, {:?})", last(&report.lease.0), report.outcome),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(at, message, _) => write!(f, "to host {at}: {message}"),
            Self::Up(at, message) => write!(f, "from host {at}: {message}"),
        }
    }
}
