//! Commands: who may give them, the fence, and the handshake that a start needs.
//!
//! Whatever is refused has not begun and never begins: every refusal of a lease is saved, and forgets its offer and with it
//! the nonce.

use core::time::Duration;

use super::{
    act::{Act, ActEnd, ActId},
    frame::FrameError,
    gate::MAX_PROBING,
    guard::within_skew,
    journal::JournalEntry,
    machine::{Effect, PatchRun},
    message::{
        Command, GO_WITHIN, Lease, LeaseFrame, Refusal, RefusalCode, SignedStop, StopOrder, ToCoordinator, ToHost,
    },
};
use crate::{
    gossip::Mode,
    id::{CommandId, LeaseId, NodeId, Nonce, SnapshotId},
    machine::Cx,
    membership::Membership,
    rollout::{Operation, chain::Head},
    time::Now,
};

/// How far wall and boot clock may drift apart between `Ready` and `Go`: more is a step or a pause.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// How many questions may be in flight: each may be a package manager process.
const MAX_LOOKING: usize = 2;
/// How many checks may be in flight: that of the offer, and that of one which a newer coordinator made stale.
const MAX_CHECKING: usize = 2;

/// A question of a coordinator that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// What would be done.
    Resolve,
    /// What the last report found.
    Patches,
    /// Since when versions are offered.
    Sightings,
    /// Whether the host passes a service's probe.
    Probe,
}

impl Look {
    fn refused(self, request: CommandId, why: Refusal) -> ToCoordinator {
        match self {
            Self::Resolve => ToCoordinator::Resolved { request, result: Err(why) },
            Self::Patches => ToCoordinator::Patches { request, result: Err(why) },
            Self::Sightings => ToCoordinator::Sightings { request, result: Err(why) },
            Self::Probe => ToCoordinator::Probed { request, result: Err(why.text) },
        }
    }

    /// How many of its kind may be in flight. Probes neither wait for the package manager nor keep anybody from asking it.
    fn most(self) -> usize {
        if self == Self::Probe { MAX_PROBING } else { MAX_LOOKING }
    }
}

/// A lease that may be started once the coordinator says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offer {
    lease: Lease,
    coordinator: NodeId,
    stage: OfferStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OfferStage {
    Checking(ActId),
    Ready { nonce: Nonce, said_at: Now },
}

impl PatchRun {
    pub(super) fn command(&mut self, cx: &mut Cx<'_, Effect>, frame: &LeaseFrame) {
        let author = frame.sealed.author;
        if let Err(why) = self.obey(cx, frame) {
            cx.emit(Effect::Ignored { author, why });
        }
    }

    fn obey(&mut self, cx: &mut Cx<'_, Effect>, frame: &LeaseFrame) -> Result<(), FrameError> {
        let (member, command) = frame.command(self.settings.me, self.settings.mesh, cx.now.wall, cx.keys)?;
        let in_time = command.in_time(cx.now.wall);
        if let ToHost::Stop(signed) = &command.body {
            in_time?;
            return self.stop(cx, member.key, signed);
        }
        if in_time.is_err() {
            self.expired(cx, member.key, &command);
        }
        in_time?;
        self.admit(cx, &member, &command)
    }

    /// The fence: nothing is done under an epoch that is not saved.
    fn admit(&mut self, cx: &mut Cx<'_, Effect>, member: &Membership, command: &Command) -> Result<(), FrameError> {
        if command.epoch.serial != member.serial {
            return Err(FrameError::ForeignEpoch(command.epoch));
        }
        match self.journal.epoch {
            Some(saved) if !command.follows(saved) => {
                let held = self.journal.held();
                self.answer(cx, member.key, ToCoordinator::Fenced { saved, held });
                return Ok(());
            }
            Some(saved) if saved == command.epoch => {}
            _ => {
                self.offer = None;
                self.save(cx, JournalEntry::Epoch(command.epoch));
            }
        }
        self.coordinator = Some(member.key);
        self.dispatch(cx, member.key, command.head, command.body.clone())
    }

    fn dispatch(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, head: Head, body: ToHost) -> Result<(), FrameError> {
        match body {
            ToHost::Adopt => self.answer(cx, from, ToCoordinator::Adopted { held: self.journal.held() }),
            ToHost::Resolve { request, baseline } => {
                self.look(cx, from, Look::Resolve, request, Act::Resolve { request, baseline });
            }
            ToHost::ResolveBy { request, operation, snapshot } => {
                let held = self.judges();
                self.look(cx, from, Look::Resolve, request, Act::ResolveBy { request, operation, snapshot, held });
            }
            ToHost::Patches { request } => self.look(cx, from, Look::Patches, request, Act::Patches),
            ToHost::Sightings { request } => self.look(cx, from, Look::Sightings, request, Act::Sightings),
            ToHost::Probe { request, probe } => self.look(cx, from, Look::Probe, request, Act::Probe { probe }),
            ToHost::Offer(lease) if lease.host != self.settings.me => {
                return Err(FrameError::OtherAddressee(lease.host));
            }
            ToHost::Offer(lease) => self.offered(cx, from, *lease),
            ToHost::Go { lease, nonce } => self.go(cx, from, head, lease, nonce),
            ToHost::Acknowledge { lease } => self.acknowledged(cx, lease),
            ToHost::Withdraw { lease } => self.withdrawn(cx, from, lease),
            ToHost::Release { lease } => self.released(cx, from, lease),
            ToHost::Stop(_) => {}
        }
        Ok(())
    }

    /// A command that is too old by this host's clock is not obeyed, but its author learns why where that is harmless.
    fn expired(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, command: &Command) {
        let why = refusal(
            RefusalCode::ClockSkew,
            format!("the command expired at {}, and it is {} here", command.expires.rfc3339(), cx.now.wall.rfc3339()),
            "set the clocks of both right, or repeat the command",
        );
        match &command.body {
            ToHost::Offer(lease) if !self.knows(lease.id) => self.refuse(cx, from, lease.id, why),
            ToHost::Resolve { request, .. } | ToHost::ResolveBy { request, .. } => {
                self.answer(cx, from, Look::Resolve.refused(*request, why));
            }
            ToHost::Patches { request } => self.answer(cx, from, Look::Patches.refused(*request, why)),
            ToHost::Sightings { request } => self.answer(cx, from, Look::Sightings.refused(*request, why)),
            ToHost::Probe { request, .. } => self.answer(cx, from, Look::Probe.refused(*request, why)),
            _ => {}
        }
    }

    /// Whether the lease is offered, running or unreported.
    fn knows(&self, lease: LeaseId) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.lease.id == lease)
            || self.journal.run.as_ref().is_some_and(|run| run.lease.id == lease)
    }

    fn stop(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, signed: &SignedStop) -> Result<(), FrameError> {
        let (order, news) = self.saved_order(cx, signed)?;
        if news {
            cx.emit(Effect::Orders(self.journal.orders()));
        }
        self.answer(cx, from, ToCoordinator::StopSaved { scope: order.scope, sequence: order.sequence });
        Ok(())
    }

    /// An order that came over the mesh: whoever asks reads in the host's record that it is saved. The mesh hands it up as long as
    /// the record does not say so, which may have been lost.
    pub(super) fn ordered(&mut self, cx: &mut Cx<'_, Effect>, signed: &SignedStop) {
        match self.saved_order(cx, signed) {
            Ok(_) => cx.emit(Effect::Orders(self.journal.orders())),
            Err(why) => cx.emit(Effect::Ignored { author: signed.order.author, why }),
        }
    }

    /// Saves the order in `signed` unless it, or a higher one, is saved already; and whether it did.
    fn saved_order(&mut self, cx: &mut Cx<'_, Effect>, signed: &SignedStop) -> Result<(StopOrder, bool), FrameError> {
        let order = signed.order(self.settings.mesh, cx.now.wall, cx.keys)?;
        let news = self.journal.accepts_stop(&order);
        if news {
            self.save(cx, JournalEntry::Stop(order));
        }
        Ok((order, news))
    }

    /// Starts an act that only looks. It is started once, however often it is asked for.
    fn look(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, look: Look, request: CommandId, act: Act) {
        if self.looking.values().any(|pending| *pending == (look, request, from)) {
            return;
        }
        if self.safe {
            return self.answer(cx, from, look.refused(request, safe_mode()));
        }
        let most = look.most();
        let kind = |(other, ..): &&(Look, CommandId, NodeId)| (*other == Look::Probe) == (look == Look::Probe);
        if self.looking.values().filter(kind).count() >= most {
            let busy = refusal(
                RefusalCode::Busy,
                format!("{most} other questions are being answered already"),
                "ask again when they have ended",
            );
            return self.answer(cx, from, look.refused(request, busy));
        }
        let id = self.start(cx, act);
        self.looking.insert(id, (look, request, from));
    }

    pub(super) fn looked(&mut self, cx: &mut Cx<'_, Effect>, act: ActId, end: ActEnd) {
        let Some((_, request, from)) = self.looking.remove(&act) else { return };
        match end {
            ActEnd::Resolved(result) => self.answer(cx, from, ToCoordinator::Resolved { request, result }),
            ActEnd::Patches(result) => self.answer(cx, from, ToCoordinator::Patches { request, result }),
            ActEnd::Sightings(seen) => {
                self.answer(cx, from, ToCoordinator::Sightings { request, result: Ok(seen) });
            }
            ActEnd::Probed(result) => self.answer(cx, from, ToCoordinator::Probed { request, result }),
            _ => {}
        }
    }

    fn offered(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: Lease) {
        if self.already(cx, from, lease.id) {
            return;
        }
        if let Some(why) = self.hindrance(&lease, cx.now) {
            return self.refuse(cx, from, lease.id, why);
        }
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.lease == lease) {
            offer.coordinator = from;
            match offer.stage {
                OfferStage::Checking(_) => return,
                OfferStage::Ready { nonce, said_at } if cx.now.boot.since(said_at.boot) <= GO_WITHIN / 2 => {
                    let lease = lease.id;
                    return self.answer(cx, from, ToCoordinator::Ready { lease, nonce });
                }
                OfferStage::Ready { .. } => {}
            }
        }
        // Without a snapshot there is nothing that a Scan could be refused for.
        if lease.operation == Operation::Scan && lease.baseline.snapshot().is_none() {
            return self.ready(cx, from, lease);
        }
        if self.checking.len() >= MAX_CHECKING {
            let text =
                format!("{MAX_CHECKING} other offers are being checked already: the package manager is slow, or hangs");
            return self.refuse(
                cx,
                from,
                lease.id,
                refusal(RefusalCode::Busy, text, "offer again when they have ended"),
            );
        }
        let (operation, baseline, transaction) = (lease.operation, lease.baseline, lease.transaction.clone());
        let gates = lease.gates.clone();
        let check = self.start(cx, Act::Check { operation, baseline, transaction, gates });
        self.checking.insert(check);
        self.offer = Some(Offer { lease, coordinator: from, stage: OfferStage::Checking(check) });
    }

    /// The snapshots of the leases that are held or offered.
    fn judges(&self) -> Vec<SnapshotId> {
        let held = self.journal.run.iter().map(|run| &run.lease);
        let leases = held.chain(self.offer.iter().map(|offer| &offer.lease));
        leases.filter_map(|lease| lease.baseline.snapshot()).collect()
    }

    /// Answers for a lease that needs no handshake any more.
    fn already(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId) -> bool {
        match &self.journal.run {
            Some(run) if run.lease.id == lease => match run.report {
                Some(_) => self.report(cx),
                None => self.progress(cx),
            },
            _ if self.journal.ended.contains(&lease) => {
                let why = refusal(
                    RefusalCode::StaleGo,
                    format!("lease {lease} has ended here and its report was acknowledged"),
                    "grant a new lease",
                );
                self.refuse(cx, from, lease, why);
            }
            _ if self.journal.refused.contains(&lease) => {
                let text = format!("lease {lease} was refused here before");
                self.refuse(cx, from, lease, refusal(RefusalCode::StaleGo, text, "grant a new lease"));
            }
            Some(run) => {
                let text = format!("lease {} of rollout {} is not finished here", run.lease.id, run.lease.rollout);
                self.refuse(cx, from, lease, refusal(RefusalCode::Busy, text, "wait for its report"));
            }
            None => return false,
        }
        true
    }

    /// Why `lease` may not start now.
    fn hindrance(&self, lease: &Lease, now: Now) -> Option<Refusal> {
        if self.safe {
            return Some(safe_mode());
        }
        let install = lease.operation == Operation::Install;
        if install && self.settings.mode != Mode::Enforce {
            return Some(refusal(
                RefusalCode::ObserveMode,
                "the host's own file does not say mode = \"enforce\"".into(),
                "set it there and restart the daemon",
            ));
        }
        if self.journal.stopped(lease.rollout) {
            let text = format!("a STOP that covers rollout {} is saved here", lease.rollout);
            return Some(refusal(RefusalCode::Stopped, text, "resume the rollout"));
        }
        if !lease.opening.admits_start(now.wall) {
            let (from, to) = (lease.opening.opens.rfc3339(), lease.opening.last_start.rfc3339());
            let text = format!("{} is outside the starts {from} to {to}", now.wall.rfc3339());
            return Some(refusal(
                RefusalCode::OutsideOpening,
                text,
                "wait for the next opening, or set the clock right",
            ));
        }
        match self.skew {
            _ if !install => None,
            Some(skew) if within_skew(skew) => None,
            Some(skew) => {
                let text = format!("the clock is {skew} ms from the mesh's median");
                Some(refusal(RefusalCode::ClockSkew, text, "set the clock right"))
            }
            None => {
                let text = String::from("how far the clock is from the mesh's median is not known yet");
                Some(refusal(RefusalCode::ClockSkew, text, "offer again when the host has met other members"))
            }
        }
    }

    pub(super) fn checked(&mut self, cx: &mut Cx<'_, Effect>, act: ActId, result: Result<(), Refusal>) {
        self.checking.remove(&act);
        let Some(offer) = self.offer.take_if(|offer| offer.stage == OfferStage::Checking(act)) else { return };
        match result {
            Ok(()) => self.ready(cx, offer.coordinator, offer.lease),
            Err(why) => self.refuse(cx, offer.coordinator, offer.lease.id, why),
        }
    }

    fn ready(&mut self, cx: &mut Cx<'_, Effect>, coordinator: NodeId, lease: Lease) {
        let nonce = Nonce(cx.draw_u128().to_be_bytes());
        let id = lease.id;
        self.offer = Some(Offer { lease, coordinator, stage: OfferStage::Ready { nonce, said_at: cx.now } });
        self.answer(cx, coordinator, ToCoordinator::Ready { lease: id, nonce });
    }

    /// Saved first: the answer may be heard after a repeated offer of the same lease has led to its `Go`, also by another life
    /// of this process.
    fn refuse(&mut self, cx: &mut Cx<'_, Effect>, to: NodeId, lease: LeaseId, refusal: Refusal) {
        self.offer = self.offer.take().filter(|offer| offer.lease.id != lease);
        if !self.journal.refused.contains(&lease) && !self.journal.ended.contains(&lease) {
            self.save(cx, JournalEntry::Refused { lease });
        }
        self.answer(cx, to, ToCoordinator::Refused { lease, refusal });
    }

    fn go(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, head: Head, lease: LeaseId, nonce: Nonce) {
        if self.already(cx, from, lease) {
            return;
        }
        let fresh = match &self.offer {
            Some(offer) if offer.lease.id == lease => offer.freshness(nonce, cx.now),
            _ => Err(String::from("no such offer is known here; a restart forgets offers")),
        };
        if let Err(text) = fresh {
            return self.refuse(cx, from, lease, refusal(RefusalCode::StaleGo, text, "offer the lease again"));
        }
        let Some(offer) = self.offer.take() else { return };
        if let Some(why) = self.hindrance(&offer.lease, cx.now) {
            return self.refuse(cx, from, lease, why);
        }
        let at = self.instant(cx.now);
        let entry =
            JournalEntry::Granted { lease: Box::new(offer.lease), coordinator: from, at, wall: cx.now.wall, head };
        self.save(cx, entry);
        self.detail.clear();
        self.revoked = None;
        cx.emit(Effect::Held(self.journal.held()));
        self.progress(cx);
        self.advance(cx);
    }

    /// What has begun goes on, and says so; anything else is refused for good, whatever the coordinator said before.
    fn withdrawn(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId) {
        if !self.already(cx, from, lease) {
            let text = format!("lease {lease} was withdrawn by the coordinator before it began");
            self.refuse(cx, from, lease, refusal(RefusalCode::StaleGo, text, "wait for a new lease"));
        }
    }

    /// Somebody else may have the slot by now. Saved first: also another life of this process begins nothing more.
    fn released(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, lease: LeaseId) {
        let news = |run: &super::journal::Run| run.lease.id == lease && run.report.is_none() && !run.released;
        if self.journal.run.as_ref().is_some_and(news) {
            self.save(cx, JournalEntry::Released { lease });
        }
        self.withdrawn(cx, from, lease);
        // What waited to begin does not.
        self.advance(cx);
    }

    fn acknowledged(&mut self, cx: &mut Cx<'_, Effect>, lease: LeaseId) {
        let settled = |run: &super::journal::Run| run.lease.id == lease && run.report.is_some();
        if self.journal.run.as_ref().is_some_and(settled) {
            self.save(cx, JournalEntry::Acknowledged { lease });
            cx.emit(Effect::Held(None));
        }
    }
}

impl Offer {
    /// Whether a `Go` with `nonce` may start the lease at `now`.
    fn freshness(&self, nonce: Nonce, now: Now) -> Result<(), String> {
        let OfferStage::Ready { nonce: said, said_at } = self.stage else {
            return Err(String::from("the lease is still being checked here"));
        };
        if said != nonce {
            return Err(String::from("the nonce is not that of the last Ready"));
        }
        let boot = now.boot.since(said_at.boot);
        if boot > GO_WITHIN {
            return Err(format!(
                "Ready was said {} s ago, at most {} s are allowed",
                boot.as_secs(),
                GO_WITHIN.as_secs()
            ));
        }
        let wall = i128::from(now.wall.0) - i128::from(said_at.wall.0);
        let apart = (wall - boot.as_millis() as i128).unsigned_abs();
        if apart > CLOCK_TOLERANCE.as_millis() {
            return Err(format!(
                "wall and boot clock moved {apart} ms apart since Ready: the clock was set, or the host paused"
            ));
        }
        Ok(())
    }
}

fn safe_mode() -> Refusal {
    let text =
        String::from("the daemon aborted three times in ten minutes, and is in safe mode for an hour after the last");
    refusal(RefusalCode::SafeMode, text, "read its log for what it died of; it takes leases again by itself")
}

fn refusal(code: RefusalCode, text: String, remedy: &str) -> Refusal {
    Refusal { code, text, remedy: remedy.into() }
}
