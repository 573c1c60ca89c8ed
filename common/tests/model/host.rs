//! One host: its production machine, what is durable of it, what its acts do, and what really happened there.

use std::{collections::VecDeque, sync::Arc};

use patchmesh_common::{
    id::{Epoch, LeaseId, Nonce},
    machine::{Cx, Machine as _},
    patch::PatchCounters,
    run::{
        act::{Act, ActEnd, ActId, Adoption, Guard, HooksEnd, TransactionEnd, Verdict, Verified},
        compare::Comparison,
        journal::{Journal, JournalEntry},
        machine::{Effect, Event, PatchRun},
        message::{Answer, GO_WITHIN, ToCoordinator},
    },
    time::Now,
};

use crate::{
    canon::Recorder,
    message::Up,
    setup::{Counter, Trusting, host_settings, node},
    world::{Broken, World},
};

/// Work that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// The package manager works and the daemon waits for its end.
    Runner(ActId),
    /// The same, found by a daemon that was restarted.
    Adopted(ActId),
    /// The reboot was accepted.
    Reboot(ActId),
}

/// The package manager of one lease; it outlives its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    Running,
    Ended,
    Dead,
}

/// The last `Ready` that a host said in this life of its daemon, by the truth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) nonce: Nonce,
    pub(crate) at: u64,
    pub(crate) clock: i8,
}

/// The saved entries of a host, newest first; shared by the states that they have in common.
#[derive(Debug)]
pub(crate) struct Durable(JournalEntry, Option<Arc<Durable>>);

/// One host.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) machine: Arc<PatchRun>,
    /// What the machine means; empty since it made a step.
    pub(crate) print: Option<Arc<Recorder>>,
    durable: Option<Arc<Durable>>,
    pub(crate) boots: u8,
    /// How often the wall clock was stepped forth.
    pub(crate) clock: i8,
    pub(crate) pending: Option<Pending>,
    pub(crate) runner: Option<(LeaseId, u32, Runner)>,
    pub(crate) said: Option<Said>,
    epoch: Option<Epoch>,
    /// Leases that it worked on, and those of which a package manager was started.
    pub(crate) granted: Vec<LeaseId>,
    pub(crate) begun: Vec<LeaseId>,
}

impl Host {
    pub(crate) fn new(at: usize) -> Self {
        Self {
            machine: Arc::new(PatchRun::rebuild(host_settings(at, 0), [])),
            print: None,
            durable: None,
            boots: 0,
            clock: 0,
            pending: None,
            runner: None,
            said: None,
            epoch: None,
            granted: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Whether it is between `Go` and the outcome, or its package manager runs.
    pub(crate) fn works(&self) -> bool {
        self.machine.phase().is_some() || matches!(self.runner, Some((.., Runner::Running)))
    }
}

impl World {
    /// Steps of the host, until only work that takes time is left. With `cut`, its daemon is killed once that many entries
    /// are saved, and started again; `None` if there are not so many. `go` is what the event says, if it is a `Go`.
    pub(crate) fn host(&mut self, at: usize, event: Event, go: Option<(Epoch, Nonce)>, cut: Option<u8>) -> Option<()> {
        self.host_at(at, event, go, cut, self.host_now(at))
    }

    /// As [`World::host`], with clocks of one's own.
    pub(crate) fn host_at(
        &mut self,
        at: usize,
        event: Event,
        go: Option<(Epoch, Nonce)>,
        cut: Option<u8>,
        now: Now,
    ) -> Option<()> {
        let mut events = VecDeque::from([event]);
        let mut saves = 0;
        while let Some(event) = events.pop_front() {
            let (mut effects, mut rng) = (Vec::new(), Counter(self.draws));
            self.hosts[at].print = None;
            let machine = Arc::make_mut(&mut self.hosts[at].machine);
            machine.step(&mut Cx::new(now, &mut rng, &Trusting, &mut effects), event);
            self.draws = rng.0;
            for effect in effects {
                match effect {
                    Effect::Save(entry) => {
                        self.stirred = true;
                        self.saved(at, &entry, go);
                        let host = &mut self.hosts[at];
                        host.durable = Some(Arc::new(Durable(entry, host.durable.take())));
                        saves += 1;
                        self.saves += 1;
                        if Some(saves) == cut {
                            self.restart_host(at, false);
                            return Some(());
                        }
                    }
                    Effect::Answer(answer) => self.answered(at, *answer),
                    Effect::Start { id, act } => {
                        self.stirred = true;
                        events.extend(self.act(at, id, act, now).map(|end| Event::Ended { act: id, end }));
                    }
                    Effect::Held(_) | Effect::Orders(_) | Effect::Ignored { .. } => {}
                }
            }
        }
        cut.is_none().then_some(())
    }

    /// The truth behind what is saved.
    fn saved(&mut self, at: usize, entry: &JournalEntry, go: Option<(Epoch, Nonce)>) {
        let now = self.now;
        let host = &mut self.hosts[at];
        match entry {
            JournalEntry::Epoch(epoch) => host.epoch = Some(*epoch),
            JournalEntry::Granted { lease, .. } => {
                let fresh = host.said.zip(go).is_some_and(|(said, (epoch, nonce))| {
                    let late = u128::from(now - said.at) > GO_WITHIN.as_millis();
                    said.nonce == nonce && !late && said.clock == host.clock && host.epoch == Some(epoch)
                });
                let again = host.granted.contains(&lease.id);
                host.granted.push(lease.id);
                let live = self.control.ledger().leased.get(&node(at)).is_some_and(|(_, id)| *id == lease.id);
                if !fresh {
                    self.broken.get_or_insert(Broken::StaleStart);
                }
                if again || !live {
                    self.broken.get_or_insert(Broken::Fencing);
                }
            }
            JournalEntry::Acknowledged { lease } if !self.is_reported(*lease) => {
                self.broken.get_or_insert(Broken::Durability);
            }
            _ => {}
        }
    }

    /// Sends `answer`. Of several signs of life in a row, only the last one travels on.
    fn answered(&mut self, at: usize, answer: Answer) {
        self.stirred = true;
        if let ToCoordinator::Ready { nonce, .. } = answer.body {
            let host = &mut self.hosts[at];
            // The same `Ready`, said again, is as old as when it was said first.
            if host.said.is_none_or(|said| said.nonce != nonce) {
                host.said = Some(Said { nonce, at: self.now, clock: host.clock });
            }
        }
        let message = Up::new(answer);
        if message.is_progress() && self.up[at].back().is_some_and(|last| last.is_progress()) {
            self.up[at].pop_back();
        }
        self.up[at].push_back(Arc::new(message));
    }

    /// Starts `act`; its end, unless it takes time.
    fn act(&mut self, at: usize, id: ActId, act: Act, now: Now) -> Option<ActEnd> {
        let refuses = |guard: &Guard| {
            let declined = |(code, text): (&str, _)| ActEnd::Declined { code: code.into(), text };
            guard.refuses(&Journal::default(), now).map(declined)
        };
        let end = self.transaction_end();
        let host = &mut self.hosts[at];
        match act {
            Act::Check { .. } => Some(ActEnd::Checked(Ok(()))),
            Act::Probe { .. } => Some(ActEnd::Probed(Ok(()))),
            Act::Hooks { guard, .. } => {
                Some(guard.as_ref().and_then(refuses).unwrap_or(ActEnd::Hooks(HooksEnd::default())))
            }
            Act::Transaction { lease, attempt, guard, .. } => {
                if let Some((code, text)) = guard.refuses(&Journal::default(), now) {
                    let verdict = Verdict::Declined { code: code.into(), text };
                    return Some(ActEnd::Transaction(TransactionEnd { verdict, ..end }));
                }
                if host.begun.contains(&lease) {
                    self.broken.get_or_insert(Broken::Durability);
                }
                host.begun.push(lease);
                host.runner = Some((lease, attempt, Runner::Running));
                host.pending = Some(Pending::Runner(id));
                None
            }
            Act::Adopt { lease, attempt } => match host.runner.filter(|(of, nth, _)| (*of, *nth) == (lease, attempt)) {
                None => Some(ActEnd::Adopted(Adoption::NeverStarted)),
                Some((.., Runner::Dead)) => Some(ActEnd::Adopted(Adoption::Dead)),
                Some((.., Runner::Ended)) => Some(ActEnd::Adopted(Adoption::Finished(end))),
                Some((.., Runner::Running)) => {
                    host.pending = Some(Pending::Adopted(id));
                    None
                }
            },
            Act::Repair { .. } => Some(ActEnd::Repaired(end)),
            Act::Reboot { guard } => {
                let refused = refuses(&guard);
                if refused.is_none() {
                    host.pending = Some(Pending::Reboot(id));
                }
                refused
            }
            Act::Verify { expected, .. } => {
                let comparison = Comparison { changed: expected.changes, differences: Vec::new() };
                let verified = Verified { comparison, counters: PatchCounters::default(), dirty: None };
                Some(ActEnd::Verified(Ok(verified.into())))
            }
            Act::Gates { .. } => Some(ActEnd::Gates(HooksEnd::default())),
            Act::Resolve { .. } | Act::ResolveBy { .. } | Act::Patches | Act::Sightings => {
                unreachable!("nobody asks: the plan is made")
            }
        }
    }

    fn transaction_end(&self) -> TransactionEnd {
        TransactionEnd { verdict: Verdict::Ok, output: String::new(), reboot_required: self.reboots, dirty: None }
    }

    /// The package manager ends, and the daemon hears of it. With `cut` 0 it is killed before it does.
    pub(crate) fn runner_ends(&mut self, at: usize, cut: Option<u8>) -> Option<()> {
        let end = self.transaction_end();
        let host = &mut self.hosts[at];
        host.runner.as_mut()?.2 = Runner::Ended;
        let (act, end) = match host.pending.take()? {
            Pending::Runner(act) => (act, ActEnd::Transaction(end)),
            Pending::Adopted(act) => (act, ActEnd::Adopted(Adoption::Finished(end))),
            Pending::Reboot(_) => return None,
        };
        if cut == Some(0) {
            self.restart_host(at, false);
            return Some(());
        }
        self.host(at, Event::Ended { act, end }, None, cut)
    }

    /// Kills the daemon and starts it again on what is durable; in a `new_boot`, the package manager died with it.
    pub(crate) fn restart_host(&mut self, at: usize, new_boot: bool) {
        let host = &mut self.hosts[at];
        host.boots += u8::from(new_boot);
        (host.pending, host.said) = (None, None);
        if let Some((.., runner @ Runner::Running)) = host.runner.as_mut().filter(|_| new_boot) {
            *runner = Runner::Dead;
        }
        let mut entries = Vec::new();
        let mut newest = &host.durable;
        while let Some(durable) = newest {
            entries.push(&durable.0);
            newest = &durable.1;
        }
        let machine = PatchRun::rebuild(host_settings(at, host.boots), entries.into_iter().rev());
        host.machine = Arc::new(machine);
        self.stirred = true;
        self.host(at, Event::Started, None, None);
        self.host(at, Event::Skew(Some(0)), None, None);
    }
}
