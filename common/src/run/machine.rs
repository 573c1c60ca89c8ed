//! [`PatchRun`]: obeys one coordinator's leases, one at a time, and survives being killed anywhere.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Phase,
    act::{Act, ActEnd, ActId},
    frame::FrameError,
    handshake::{Look, Offer},
    journal::{Journal, JournalEntry, StepResult},
    message::{Answer, LeaseFrame, OrderStamp, SignedStop, ToCoordinator},
};
use crate::{
    gossip::Mode,
    id::{BootId, CommandId, LeaseId, MeshId, NodeId, RolloutId},
    machine::{Cx, Machine},
    time::{BootInstant, BootTime, Now},
};

/// How often a running lease says that it runs.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// First pause before an unacknowledged report is sent again; doubled up to [`REPORT_SLOWEST`].
pub const REPORT_AGAIN: Duration = Duration::from_secs(2);
/// Longest pause between two sendings of a report: one small message, so that a returning coordinator hears soon.
pub const REPORT_SLOWEST: Duration = Duration::from_secs(30);
/// How long an accepted reboot may take to end this process before it is asked for again. Services may take minutes to stop.
pub const REBOOT_PATIENCE: Duration = Duration::from_secs(600);
/// How long a run waits for the mesh to tell how far its clock is off, before a disruptive phase is given up.
pub const SKEW_PATIENCE: Duration = Duration::from_secs(120);
/// Longest detail in a progress message, in bytes.
pub const MAX_DETAIL: usize = 160;

/// Who the host is, in this life of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Which mesh commands it.
    pub mesh: MeshId,
    /// Its own key.
    pub me: NodeId,
    /// Whether it obeys Install leases.
    pub mode: Mode,
    /// The present boot.
    pub boot_id: BootId,
}

/// What the shell tells the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// First of all after a (re)build.
    Started,
    /// A lease frame that some member delivered. Nothing of it has been checked.
    Command(Box<LeaseFrame>),
    /// The mesh knows an order. Nothing of it has been checked.
    Ordered(Box<SignedStop>),
    /// The time is at or after [`Machine::deadline`].
    Tick,
    /// How far the wall clock is from the mesh's median, in milliseconds; `None` while unknown.
    Skew(Option<i64>),
    /// Whether safe mode is on: see [`crate::poison`]. Off until told.
    Safe(bool),
    /// A started act has ended.
    Ended {
        /// Which.
        act: ActId,
        /// How.
        end: ActEnd,
    },
    /// The last line of output of the running act.
    Detail(String),
}

/// What the machine asks of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append durably. Later effects wait for it.
    Save(JournalEntry),
    /// Seal with the host's key and send to `to`; may be lost.
    Answer(Box<Answer>),
    /// Start `act`.
    Start {
        /// For the end.
        id: ActId,
        /// What.
        act: Act,
    },
    /// The lease for the host's gossiped record has changed.
    Held(Option<(LeaseId, RolloutId)>),
    /// The orders for the host's gossiped record have changed: the winning one of every scope, all of them saved.
    Orders(Vec<OrderStamp>),
    /// A frame or an order was not obeyed and not answered. For the host's log.
    Ignored {
        /// Who sealed it, or claims to have.
        author: NodeId,
        /// Why.
        why: FrameError,
    },
}

/// The machine of one host. See the module documentation of [`super`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PatchRun {
    pub(super) settings: Settings,
    pub(super) journal: Journal,
    /// Milliseconds from the median, while known.
    pub(super) skew: Option<i64>,
    /// Nothing new is begun: the process that holds this machine died too often.
    pub(super) safe: bool,
    /// Not saved: a restart forgets it, and the coordinator offers again.
    pub(super) offer: Option<Offer>,
    pub(super) looking: BTreeMap<ActId, (Look, CommandId, NodeId)>,
    /// Checks that run, also those whose offer has been forgotten.
    pub(super) checking: BTreeSet<ActId>,
    /// The act of the present phase.
    pub(super) acting: Option<ActId>,
    pub(super) acts: u64,
    /// What verifying found, while the gates are asked. Not saved: after a restart both are done again.
    pub(super) found: Option<Box<StepResult>>,
    /// The attempt at the transaction whose runner provably never starts.
    pub(super) revoked: Option<u32>,
    /// Who last commanded under an admitted epoch; where progress and reports go.
    pub(super) coordinator: Option<NodeId>,
    pub(super) detail: String,
    pub(super) progress_at: BootTime,
    pub(super) report_at: BootTime,
    pub(super) report_pause: Duration,
    /// Until when an accepted reboot is waited for.
    pub(super) reboot_by: Option<BootTime>,
    /// Until when the skew is waited for.
    pub(super) skew_by: Option<BootTime>,
    /// Until when the time of the reboot is waited for. Not saved: the lease has it.
    pub(super) wait_by: Option<BootTime>,
}

impl PatchRun {
    /// The machine as its saved entries left it. [`Event::Started`] must be the first event.
    pub fn rebuild<'a>(settings: Settings, entries: impl IntoIterator<Item = &'a JournalEntry>) -> Self {
        let journal = Journal::fold(entries);
        let coordinator = journal.run.as_ref().map(|run| run.coordinator);
        Self {
            settings,
            journal,
            skew: None,
            safe: false,
            offer: None,
            looking: BTreeMap::new(),
            checking: BTreeSet::new(),
            acting: None,
            acts: 0,
            found: None,
            revoked: None,
            coordinator,
            detail: String::new(),
            progress_at: BootTime::default(),
            report_at: BootTime::default(),
            report_pause: REPORT_AGAIN,
            reboot_by: None,
            skew_by: None,
            wait_by: None,
        }
    }

    /// The fold of everything saved.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The phase of the lease that runs; `None` if none does, or its outcome is fixed.
    pub fn phase(&self) -> Option<Phase> {
        self.journal.run.as_ref().map(|run| run.last.phase).filter(|phase| *phase != Phase::Settled)
    }

    pub(super) fn save(&mut self, cx: &mut Cx<'_, Effect>, entry: JournalEntry) {
        self.journal.push(&entry);
        cx.emit(Effect::Save(entry));
    }

    pub(super) fn answer(&self, cx: &mut Cx<'_, Effect>, to: NodeId, body: ToCoordinator) {
        let epoch = self.journal.epoch.unwrap_or_default();
        let head = self.journal.head.filter(|(of, _)| *of == to).map(|(_, head)| head);
        cx.emit(Effect::Answer(Box::new(Answer { mesh: self.settings.mesh, to, epoch, head, body })));
    }

    pub(super) fn start(&mut self, cx: &mut Cx<'_, Effect>, act: Act) -> ActId {
        self.acts += 1;
        let id = ActId(self.acts);
        cx.emit(Effect::Start { id, act });
        id
    }

    pub(super) fn instant(&self, now: Now) -> BootInstant {
        BootInstant { boot_id: self.settings.boot_id, at: now.boot }
    }

    fn tick(&mut self, cx: &mut Cx<'_, Effect>) {
        let due = |by: Option<BootTime>| by.is_some_and(|by| cx.now.boot >= by);
        if due(self.reboot_by) {
            self.reboot_by = None;
            self.acting = None;
        }
        self.advance(cx);
        let Some(run) = &self.journal.run else { return };
        if run.report.is_some() && cx.now.boot >= self.report_at {
            self.report(cx);
        } else if run.report.is_none() && cx.now.boot >= self.progress_at {
            self.progress(cx);
        }
    }

    /// Says where the run is.
    pub(super) fn progress(&mut self, cx: &mut Cx<'_, Effect>) {
        let (Some(run), Some(to)) = (&self.journal.run, self.coordinator) else { return };
        let (lease, phase) = (run.lease.id, run.last.phase);
        self.progress_at = cx.now.boot.plus(PROGRESS_EVERY);
        self.answer(cx, to, ToCoordinator::Progress { lease, phase, detail: self.detail.clone() });
    }

    /// Says how the run ended, and when to say so again.
    pub(super) fn report(&mut self, cx: &mut Cx<'_, Effect>) {
        let Some(report) = self.journal.run.as_ref().and_then(|run| run.report.clone()) else { return };
        let Some(to) = self.coordinator else { return };
        self.report_at = cx.now.boot.plus(self.report_pause);
        self.report_pause = (self.report_pause * 2).min(REPORT_SLOWEST);
        self.answer(cx, to, ToCoordinator::Reported(Box::new(report)));
    }
}

impl Machine for PatchRun {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, event: Event) {
        match event {
            Event::Started => {
                cx.emit(Effect::Held(self.journal.held()));
                if !self.journal.stops.is_empty() {
                    cx.emit(Effect::Orders(self.journal.orders()));
                }
                self.tick(cx);
            }
            Event::Command(frame) => self.command(cx, &frame),
            Event::Ordered(signed) => self.ordered(cx, &signed),
            Event::Tick => self.tick(cx),
            Event::Skew(skew) => {
                self.skew = skew;
                self.advance(cx);
            }
            Event::Safe(safe) => self.safe = safe,
            Event::Ended { act, end } => self.ended(cx, act, end),
            Event::Detail(line) => self.detail = shorten(&line),
        }
    }

    fn deadline(&self) -> Option<BootTime> {
        let run = self.journal.run.as_ref()?;
        let repeat = if run.report.is_some() { self.report_at } else { self.progress_at };
        [Some(repeat), self.reboot_by, self.skew_by, self.wait_by].into_iter().flatten().min()
    }
}

/// At most [`MAX_DETAIL`] bytes, cut between characters.
fn shorten(line: &str) -> String {
    let end = (0..=MAX_DETAIL.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    line[..end].to_owned()
}
