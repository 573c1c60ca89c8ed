//! Rings and their steps go in order: each when the one before has really ended, its hosts are well, its pause is over, it was asked
//! after that and all was well, and operators have said yes. And nothing ends well before its last ring was asked.

mod shown;

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::ring::Place,
    run::message::{Outcome, StopScope},
    time::{Now, WallTime},
};

use self::shown::Shown;
use super::{Books, DeskBook, Promise, Record, Seen, stop::Orders};
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
    shown: Shown,
    halted: bool,
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
    /// Rollouts whose rings must show that all is well.
    gated: BTreeSet<RolloutId>,
    /// Askings that really showed it, by rollout and ring: a store that is copied or started again remembers them.
    passed: BTreeSet<(RolloutId, u16, u32)>,
    orders: Orders,
    courses: BTreeMap<(Spot, RolloutId), Course>,
}

impl Promise for Order {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, node, truth, .. } = seen;
        match truth {
            Truth::Ringed { rollout, steps, shown } => {
                for (step, known) in steps.iter().enumerate() {
                    self.steps.extend(known.hosts.iter().map(|host| ((*rollout, *host), step)));
                }
                self.rollouts.insert(*rollout, steps.clone());
                self.gated.extend(shown.then_some(*rollout));
            }
            Truth::Applied { rollout, .. } => {
                let course = self.course(*rollout, BTreeSet::new());
                self.courses.extend(course.map(|course| ((spot, *rollout), course)));
            }
            Truth::Settled { rollout, outcome, .. } => {
                let new = *outcome != Outcome::Deferred && self.done.insert((*rollout, node));
                let step = self.steps.get(&(*rollout, node)).filter(|_| new);
                let courses = self.courses.iter_mut().filter(|((_, other), _)| other == rollout);
                for (_, course) in courses {
                    course.shown.over(&node);
                    let left = step.and_then(|step| course.left.get_mut(*step));
                    left.filter(|_| !course.gone.contains(&node)).into_iter().for_each(|left| *left -= 1);
                }
            }
            Truth::Returned { rollout, host, .. } => {
                let course = self.courses.get_mut(&(spot, *rollout));
                course.into_iter().for_each(|course| course.shown.over(host));
            }
            Truth::Folded { rollout, host, counted: true, .. } => {
                let ring = self.ring(*rollout, host);
                let course = self.courses.get_mut(&(spot, *rollout));
                course.zip(ring).into_iter().for_each(|(course, ring)| course.shown.changes(ring));
            }
            Truth::LetGo { rollout, hosts } => {
                let Some(course) = self.courses.get_mut(&(spot, *rollout)) else { return };
                hosts.iter().for_each(|host| course.shown.over(host));
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
            Truth::RingAsked { rollout, ring, attempt, now, error } => {
                let early = self.early(spot, *rollout, *ring, (at, *now, *error));
                let course = self.courses.get_mut(&(spot, *rollout));
                course.into_iter().for_each(|course| course.shown.asked(*ring, *attempt, early));
            }
            Truth::RingShown { rollout, ring, attempt, ok } => {
                let Some(course) = self.courses.get_mut(&(spot, *rollout)) else { return };
                let shown = course.shown.shown(*ring, *attempt, *ok);
                if shown == Ok(true) {
                    self.passed.insert((*rollout, *ring, *attempt));
                }
                record.demand("order", at, &[spot], shown.is_ok(), || {
                    let early = shown.err().unwrap_or_default();
                    format!("ring {ring} of rollout {rollout} fails what it was asked {early}")
                });
            }
            Truth::StopSaved { scope, sequence, stop } => {
                // One that does not win is for another promise.
                let _ = self.orders.save(spot, *scope, (*sequence, *stop));
            }
            Truth::Halted(rollout) => {
                let course = self.courses.get_mut(&(spot, *rollout));
                course.into_iter().for_each(|course| course.halted = true);
            }
            // While anybody might still begin, or is lost at work, nobody promises to ask.
            Truth::Ended { rollout, left: 0 } if self.gated.contains(rollout) => {
                let off = self.orders.stops(spot, StopScope::Rollout(*rollout));
                let course = self.courses.get(&(spot, *rollout)).filter(|course| !course.halted && !off);
                let unshown = course.and_then(|course| course.shown.unshown());
                record.demand("order", at, &[spot], unshown.is_none(), || {
                    let ring = unshown.unwrap_or_default();
                    format!("rollout {rollout} ends, and its last ring, {ring}, has not shown that all is well")
                });
            }
            Truth::Approved { rollout, ring } => {
                self.approved.insert((*rollout, *ring));
            }
            Truth::StepSettled { rollout, place, now, error } => {
                let step = self.step(*rollout, *place);
                let Some((course, step)) = self.courses.get_mut(&(spot, *rollout)).zip(step) else { return };
                let since = Since { wall: now.wall, seen: Some((at, *now, *error)) };
                (course.step, course.since, course.opened) = (step + 1, Some(since), false);
                let next = self.rollouts.get(rollout).and_then(|steps| steps.get(step + 1));
                if next.is_some_and(|next| next.place.step == 0) {
                    course.shown.bakes(place.ring);
                }
            }
            Truth::GoSaved { rollout, host, now, error, .. } => {
                let why = self.broken(spot, *rollout, *host, (at, *now, *error));
                let kept = why.is_none();
                record.demand("order", at, &[spot], kept, || why.unwrap_or_default());
                let (ring, done) = (self.ring(*rollout, host), self.done.contains(&(*rollout, *host)));
                let course = self.courses.get_mut(&(spot, *rollout));
                if let Some((course, ring)) = course.zip(ring) {
                    let awaited = !done && !course.gone.contains(host);
                    course.shown.granted(ring, *host, awaited);
                }
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.courses.retain(|(other, _), _| *other != spot);
        self.orders.forget(spot);
        for (rollout, book) in desk {
            let step = self.step(*rollout, book.place);
            let Some((course, step)) = self.course(*rollout, book.gone.clone()).zip(step) else { continue };
            let since = book.since.map(|wall| Since { wall, seen: None });
            let is_true = |ring, attempt| self.passed.contains(&(*rollout, ring, attempt));
            let is_over = |host: &NodeId| self.done.contains(&(*rollout, *host)) || book.gone.contains(host);
            let shown = Shown::of(book, is_true, is_over);
            let (opened, halted) = (book.opened, book.halted);
            self.courses.insert((spot, *rollout), Course { step, since, opened, shown, halted, ..course });
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
        Some(Course { left, step: 0, since: None, opened: false, gone, shown: Shown::default(), halted: false })
    }

    fn ring(&self, rollout: RolloutId, host: &NodeId) -> Option<u16> {
        let step = *self.steps.get(&(rollout, *host))?;
        self.rollouts.get(&rollout)?.get(step).map(|step| step.place.ring)
    }

    /// Why nobody should ask about `ring` now; `None` if it is time.
    fn early(&self, spot: Spot, rollout: RolloutId, ring: u16, when: (u64, Now, i64)) -> Option<&'static str> {
        let course = self.courses.get(&(spot, rollout))?;
        if !course.shown.is_quiet() {
            return Some("while hosts were at work");
        }
        let next = ring.checked_add(1).and_then(|ring| self.step(rollout, Place { ring, step: 0 }));
        // What is asked because nobody is left who could begin needs no bake, and lets nobody begin.
        let next =
            next.filter(|next| *next == course.step && !course.opened && course.left.iter().any(|left| *left > 0))?;
        if course.left[..next].iter().any(|left| *left > 0) {
            return Some("before it had settled");
        }
        let pause = self.rollouts.get(&rollout)?.get(next)?.pause;
        course.is_pausing(pause, when).then_some("before its bake was over")
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
        if let Some(ring) = course.shown.failed() {
            return Some(format!("a host of step {step} of rollout {rollout} begins although ring {ring} is not well"));
        }
        if step > course.step {
            return Some(format!("a host of step {step} of rollout {rollout} begins at step {}", course.step));
        }
        if step < course.step || core::mem::replace(&mut course.opened, true) {
            return None;
        }
        let before = plan.place.ring.checked_sub(1).filter(|_| plan.place.step == 0 && self.gated.contains(&rollout));
        if let Some(before) = before.filter(|before| !course.shown.has_passed(*before)) {
            return Some(format!(
                "ring {} of rollout {rollout} begins, and ring {before} has not shown after its bake that all is well",
                plan.place.ring
            ));
        }
        if plan.approved && !self.approved.contains(&(rollout, plan.place.ring)) {
            return Some(format!("ring {} of rollout {rollout} begins, and nobody has approved it", plan.place.ring));
        }
        let pause = plan.pause;
        let short = course.is_pausing(pause, (at, now, error));
        short.then(|| format!("step {step} of rollout {rollout} begins before its pause of {pause} ms is over"))
    }
}

impl Course {
    /// Whether less than `millis` have passed since the step before settled, at a moment by the coordinator's clocks.
    fn is_pausing(&self, millis: u64, (at, now, error): (u64, Now, i64)) -> bool {
        let Some(since) = self.since.filter(|_| millis > 0) else { return false };
        let pause = i64::try_from(millis).unwrap_or(i64::MAX);
        let mut short = now.wall.0 - since.wall.0 < pause;
        if let Some((then, clocks, before)) = since.seen {
            let even = (error - before).abs() <= DRIFT;
            short |= now.boot.since(clocks.boot).as_millis() < u128::from(millis);
            short |= even && i64::try_from(at - then).unwrap_or(i64::MAX) + DRIFT < pause;
        }
        short
    }
}
