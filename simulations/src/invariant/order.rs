//! Rings and their steps go in order: each when the one before has really ended, its hosts are well, its pause is over, and operators
//! have said yes.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::ring::Place,
    run::message::Outcome,
    time::{Now, WallTime},
};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{RingStep, Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "no ring starts before the one before it settled, soaked and passed its gates";

/// How far a clock may drift during a pause, in milliseconds, without having been set.
const DRIFT: i64 = 1_000;

/// When the step before settled, as one ledger says.
#[derive(Clone, Copy)]
struct Since {
    wall: WallTime,
    /// In true time, with both clocks and their error; unknown to a process that was started since.
    seen: Option<(u64, Now, i64)>,
}

/// Where one ledger stands.
struct Course {
    /// Hosts of each step that have not really ended, and for which this ledger still waits.
    left: Vec<usize>,
    /// Which step is open, or opens next.
    step: usize,
    since: Option<Since>,
    opened: bool,
    /// Hosts for which this ledger waits no longer.
    gone: BTreeSet<NodeId>,
}

/// Knows what operators applied, and which hosts have really ended.
#[derive(Default)]
pub(super) struct Order {
    rollouts: BTreeMap<RolloutId, Vec<RingStep>>,
    steps: BTreeMap<(RolloutId, NodeId), usize>,
    done: BTreeSet<(RolloutId, NodeId)>,
    approved: BTreeSet<(RolloutId, u16)>,
    /// Hosts that were unwell when they were last asked, by rollout and step.
    unwell: BTreeSet<(RolloutId, usize, NodeId)>,
    /// Whether all was well when the gates of a ring were last asked.
    rings: BTreeMap<(RolloutId, u16), bool>,
    courses: BTreeMap<(Spot, RolloutId), Course>,
}

impl Promise for Order {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, node, truth, .. } = seen;
        match truth {
            Truth::Ringed { rollout, steps } => {
                for (step, known) in steps.iter().enumerate() {
                    self.steps.extend(known.hosts.iter().map(|host| ((*rollout, *host), step)));
                }
                self.rollouts.insert(*rollout, steps.clone());
            }
            Truth::Applied { rollout, .. } => {
                let course = self.course(*rollout, BTreeSet::new());
                self.courses.extend(course.map(|course| ((spot, *rollout), course)));
            }
            Truth::Settled { rollout, outcome, .. }
                if *outcome != Outcome::Deferred && self.done.insert((*rollout, node)) =>
            {
                let courses = self.courses.iter_mut().filter(|((_, other), _)| other == rollout);
                let step = self.steps.get(&(*rollout, node));
                for (_, course) in courses.filter(|(_, course)| !course.gone.contains(&node)) {
                    step.and_then(|step| course.left.get_mut(*step)).into_iter().for_each(|left| *left -= 1);
                }
            }
            Truth::LetGo { rollout, hosts } => {
                let Some(course) = self.courses.get_mut(&(spot, *rollout)) else { return };
                for host in hosts.iter().filter(|host| course.gone.insert(**host)) {
                    let step = self.steps.get(&(*rollout, *host)).filter(|_| !self.done.contains(&(*rollout, *host)));
                    step.and_then(|step| course.left.get_mut(*step)).into_iter().for_each(|left| *left -= 1);
                }
            }
            Truth::Gated { rollout, ok, .. } => {
                let Some(step) = self.steps.get(&(*rollout, node)) else { return };
                let key = (*rollout, *step, node);
                let _ = if *ok { self.unwell.remove(&key) } else { self.unwell.insert(key) };
            }
            Truth::RingShown { rollout, ring, ok } => {
                self.rings.insert((*rollout, *ring), *ok);
            }
            Truth::Approved { rollout, ring } => {
                self.approved.insert((*rollout, *ring));
            }
            Truth::StepSettled { rollout, place, now, error } => {
                let step = self.step(*rollout, *place);
                let Some((course, step)) = self.courses.get_mut(&(spot, *rollout)).zip(step) else { return };
                let since = Since { wall: now.wall, seen: Some((at, *now, *error)) };
                (course.step, course.since, course.opened) = (step + 1, Some(since), false);
            }
            Truth::GoSaved { rollout, host, now, error, .. } => {
                let why = self.broken(spot, *rollout, *host, (at, *now, *error));
                let kept = why.is_none();
                record.demand("order", at, &[spot], kept, || why.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.courses.retain(|(other, _), _| *other != spot);
        for (rollout, book) in desk {
            let step = self.step(*rollout, book.place);
            let Some((course, step)) = self.course(*rollout, book.gone.clone()).zip(step) else { continue };
            let since = book.since.map(|wall| Since { wall, seen: None });
            self.courses.insert((spot, *rollout), Course { step, since, opened: book.opened, ..course });
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for (spot, desk) in &books.desks {
            for (rollout, book) in desk {
                let Some(counted) = self.courses.get(&(*spot, *rollout)) else { continue };
                let real = self.course(*rollout, book.gone.clone())?.left;
                if counted.left != real {
                    return Some(format!("of {rollout} {real:?} hosts are left at {spot}, counted {:?}", counted.left));
                }
            }
        }
        None
    }
}

impl Order {
    fn step(&self, rollout: RolloutId, place: Place) -> Option<usize> {
        self.rollouts.get(&rollout)?.iter().position(|step| step.place == place)
    }

    /// Of a ledger that waits for everybody but those who are `gone`.
    fn course(&self, rollout: RolloutId, gone: BTreeSet<NodeId>) -> Option<Course> {
        let open = |host: &&NodeId| !gone.contains(*host) && !self.done.contains(&(rollout, **host));
        let left = self.rollouts.get(&rollout)?.iter().map(|step| step.hosts.iter().filter(open).count()).collect();
        Some(Course { left, step: 0, since: None, opened: false, gone })
    }

    /// Why the host may not begin now; `None` if it may.
    fn broken(
        &mut self,
        spot: Spot,
        rollout: RolloutId,
        host: NodeId,
        (at, now, error): (u64, Now, i64),
    ) -> Option<String> {
        let step = *self.steps.get(&(rollout, host))?;
        let plan = &self.rollouts.get(&rollout)?[step];
        let course = self.courses.get_mut(&(spot, rollout))?;
        let left: usize = course.left[..step].iter().sum();
        if left > 0 {
            return Some(format!(
                "a host of step {step} of rollout {rollout} begins while {left} before it have not ended"
            ));
        }
        let first = (rollout, 0, NodeId([0; 32]));
        let before = self.unwell.range(first..(rollout, step, NodeId([0; 32])));
        if let Some((_, at, host)) = before.into_iter().find(|(.., host)| !course.gone.contains(host)) {
            return Some(format!(
                "a host of step {step} of rollout {rollout} begins although {} of step {at} failed its gate",
                host.short()
            ));
        }
        let shown = self.rollouts.get(&rollout)?[..=step].iter().filter(|step| step.shown);
        let mut before = shown.filter_map(|step| step.place.ring.checked_sub(1));
        if let Some(ring) = before.find(|ring| self.rings.get(&(rollout, *ring)) != Some(&true)) {
            return Some(format!(
                "a host of step {step} of rollout {rollout} begins, and ring {ring} has not shown that all is well"
            ));
        }
        if step > course.step {
            return Some(format!("a host of step {step} of rollout {rollout} begins at step {}", course.step));
        }
        if step < course.step || core::mem::replace(&mut course.opened, true) {
            return None;
        }
        if plan.approved && !self.approved.contains(&(rollout, plan.place.ring)) {
            return Some(format!("ring {} of rollout {rollout} begins, and nobody has approved it", plan.place.ring));
        }
        let since = course.since.filter(|_| plan.pause > 0)?;
        let pause = i64::try_from(plan.pause).unwrap_or(i64::MAX);
        let mut short = now.wall.0 - since.wall.0 < pause;
        if let Some((then, clocks, before)) = since.seen {
            let even = (error - before).abs() <= DRIFT;
            short |= now.boot.since(clocks.boot).as_millis() < u128::from(plan.pause);
            short |= even && i64::try_from(at - then).unwrap_or(i64::MAX) + DRIFT < pause;
        }
        short.then(|| format!("step {step} of rollout {rollout} begins before its pause of {pause} ms is over"))
    }
}
