//! The state of the model: the production machines, what is in flight, and what really happened.

use core::fmt;
use std::{collections::VecDeque, sync::Arc};

use patchmesh_common::{
    id::{Incarnation, LeaseId},
    machine::{Cx, Machine as _},
    rollout::{
        controller::{self, Controller, Effect},
        ledger::{Ledger, RolloutState},
    },
    run::{
        machine,
        message::{COMMAND_LIFETIME, LeaseFrame, ToHost},
    },
    time::{Now, WallTime},
};

use crate::{
    canon::Recorder,
    host::Host,
    message::{Down, Held, Up},
    setup::{CREDENTIALS, Counter, HOSTS, ROLLOUT, Trusting, command, index, node, now, plan, seal, settings},
};

/// A promise that was broken, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Work began by a `Go` that was late, of a lower epoch, or of another nonce than that of the last `Ready`.
    StaleStart,
    /// A host started a lease that holds no slot, or one lease twice.
    Fencing,
    /// A transaction was begun twice, or a host forgot a report that the ledger does not hold.
    Durability,
}

/// Everything.
#[derive(Clone)]
pub(crate) struct World {
    /// True time in milliseconds; whole seconds.
    pub(crate) now: u64,
    pub(crate) draws: u64,
    pub(crate) control: Arc<Controller>,
    /// What the controller means; empty since it made a step.
    pub(crate) control_print: Option<Arc<Recorder>>,
    /// How often the coordinator's wall clock was stepped forth.
    pub(crate) control_clock: i8,
    pub(crate) hosts: [Host; HOSTS],
    pub(crate) down: [VecDeque<Arc<Down>>; HOSTS],
    pub(crate) up: [VecDeque<Arc<Up>>; HOSTS],
    pub(crate) held: Vec<Held>,
    pub(crate) broken: Option<Broken>,
    /// Whether a package asks for a reboot.
    pub(crate) reboots: bool,
    /// Whether anything happened since this was last cleared.
    pub(crate) stirred: bool,
    /// How many entries were made durable since this was last cleared.
    pub(crate) saves: u8,
}

impl World {
    /// Everybody is there, nobody is stale, and the plan has just been applied.
    pub(crate) fn new(reboots: bool) -> Self {
        let mut world = Self {
            now: 0,
            draws: 0,
            control: Arc::new(Controller::rebuild(settings(), Ledger::default())),
            control_print: None,
            control_clock: 0,
            hosts: core::array::from_fn(Host::new),
            down: Default::default(),
            up: Default::default(),
            held: Vec::new(),
            broken: None,
            reboots,
            stirred: false,
            saves: 0,
        };
        for at in 0..HOSTS {
            world.host(at, machine::Event::Started, None, None);
            world.host(at, machine::Event::Skew(Some(0)), None, None);
        }
        world.start_control();
        world.tell_control(controller::Event::Apply { id: ROLLOUT, plan: Box::new(plan()), by: "ops".into() }, None);
        world
    }

    pub(crate) fn control_now(&self) -> Now {
        now(self.now, 0, self.control_clock)
    }

    pub(crate) fn host_now(&self, at: usize) -> Now {
        now(self.now, self.hosts[at].boots, self.hosts[at].clock)
    }

    fn start_control(&mut self) {
        let incarnation = Incarnation(1_000);
        self.tell_control(controller::Event::Started { incarnation, continues: true }, None);
        let seen = |at| controller::Seen {
            node: node(at),
            alive: true,
            held: None,
            sealed: Default::default(),
            words: Default::default(),
        };
        self.tell_control(controller::Event::View((0..HOSTS).map(seen).collect()), None);
    }

    /// One step of the coordinator. With `cut`, it is killed once that many entries are saved, and started again; `None` if
    /// there are not so many.
    fn tell_control(&mut self, event: controller::Event, cut: Option<u8>) -> Option<()> {
        let mut ledger = cut.map(|_| self.control.ledger().clone());
        let (mut effects, mut rng, now) = (Vec::new(), Counter(self.draws), self.control_now());
        let machine = Arc::make_mut(&mut self.control);
        machine.step(&mut Cx::new(now, &mut rng, &Trusting, &mut effects), event);
        self.draws = rng.0;
        self.control_print = None;
        let mut saves = 0;
        self.stirred |= !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Save(entry) => {
                    if let Some(ledger) = &mut ledger {
                        ledger.fold(&entry).expect("the machine saves what fits");
                    }
                    saves += 1;
                    self.saves += 1;
                    if Some(saves) == cut {
                        self.restart_control(ledger.take().unwrap_or_default());
                        return Some(());
                    }
                }
                Effect::Tell { to, body } => {
                    let command = self.control.command(to, body, 0, now.wall, Default::default());
                    self.down[index(to)].push_back(Arc::new(Down::new(command)));
                }
                Effect::TellStop { .. } | Effect::Order(_) => unreachable!("nobody stops the rollout"),
                Effect::AskGates { .. } => unreachable!("no gates were asked for after a ring"),
            }
        }
        cut.is_none().then_some(())
    }

    /// Kills the coordinator between two events, and starts it again.
    pub(crate) fn kill_control(&mut self) {
        self.restart_control(self.control.ledger().clone());
    }

    /// Starts the coordinator again on what is durable.
    fn restart_control(&mut self, ledger: Ledger) {
        self.control = Arc::new(Controller::rebuild(settings(), ledger));
        self.start_control();
    }

    /// Time passes, and whoever is due ticks.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis;
        if self.control.deadline().is_some_and(|due| self.control_now().boot >= due) {
            self.tell_control(controller::Event::Tick, None);
        }
        for at in 0..HOSTS {
            if self.hosts[at].machine.deadline().is_some_and(|due| self.host_now(at).boot >= due) {
                self.host(at, machine::Event::Tick, None, None);
            }
        }
    }

    /// Time passes until anybody does anything. `None` if nobody ever does.
    pub(crate) fn wait(&mut self) -> Option<()> {
        /// More seconds than any time-out that is reached without a fault of a host.
        const LONGEST: usize = 700;
        self.stirred = false;
        (0..LONGEST).find(|_| {
            self.pass(1_000);
            self.stirred
        })?;
        Some(())
    }

    /// When a command expires that is sealed now.
    pub(crate) fn expiry(&self) -> WallTime {
        self.control_now().wall.plus(COMMAND_LIFETIME)
    }

    /// The host hears the command, with `cut` as in [`World::host`].
    pub(crate) fn deliver_down(&mut self, at: usize, message: &Down, expires: WallTime, cut: Option<u8>) -> Option<()> {
        let go = match &message.body {
            ToHost::Go { nonce, .. } => Some((message.epoch, *nonce)),
            _ => None,
        };
        self.host(at, command(at, (message.epoch, message.after), expires, message.body.clone()), go, cut)
    }

    /// The same without the check of how long ago `Ready` was said: the clocks stand still since.
    pub(crate) fn deliver_unhurried(&mut self, at: usize, message: &Down, expires: WallTime) -> Option<()> {
        let (ToHost::Go { nonce, .. }, Some(said)) = (&message.body, self.hosts[at].said) else {
            return self.deliver_down(at, message, expires, None);
        };
        let (go, then) = (Some((message.epoch, *nonce)), now(said.at, self.hosts[at].boots, said.clock));
        self.host_at(at, command(at, (message.epoch, message.after), expires, message.body.clone()), go, None, then)
    }

    /// The same without the check of the nonce: whatever it is, it is that of the last `Ready`.
    pub(crate) fn deliver_any_nonce(&mut self, at: usize, message: &Down, expires: WallTime) -> Option<()> {
        let (ToHost::Go { lease, nonce }, Some(said)) = (&message.body, self.hosts[at].said) else {
            return self.deliver_down(at, message, expires, None);
        };
        let body = ToHost::Go { lease: *lease, nonce: said.nonce };
        self.host(at, command(at, (message.epoch, message.after), expires, body), Some((message.epoch, *nonce)), None)
    }

    /// The coordinator hears the answer, with `cut` as in [`World::tell_control`].
    pub(crate) fn deliver_up(&mut self, at: usize, message: &Up, cut: Option<u8>) -> Option<()> {
        let frame = LeaseFrame { credential: CREDENTIALS.1[at].clone(), sealed: seal(node(at), &message.answer) };
        self.tell_control(controller::Event::Heard(Box::new(frame)), cut)
    }

    fn rollout(&self) -> Option<&RolloutState> {
        self.control.ledger().rollouts.get(&ROLLOUT)
    }

    /// Whether the ledger holds the report of `lease`.
    pub(crate) fn is_reported(&self, lease: LeaseId) -> bool {
        self.control.ledger().reported.contains(&lease)
    }

    /// Whether nothing travels that nobody holds back, and no work takes time.
    pub(crate) fn is_quiet(&self) -> bool {
        self.down.iter().all(VecDeque::is_empty)
            && self.up.iter().all(VecDeque::is_empty)
            && self.hosts.iter().all(|host| host.pending.is_none())
    }

    /// Whether the rollout has ended, every host has forgotten its lease, and nothing travels.
    pub(crate) fn is_over(&self) -> bool {
        self.is_quiet()
            && self.held.is_empty()
            && self.rollout().is_some_and(|state| state.ended_at.is_some())
            && self.hosts.iter().all(|host| host.machine.journal().run.is_none())
    }

    /// How many hosts are at work.
    pub(crate) fn at_work(&self) -> usize {
        self.hosts.iter().filter(|host| host.works()).count()
    }

    /// Whether the ledger holds a report of every lease that a host worked on.
    pub(crate) fn all_reported(&self) -> bool {
        self.hosts.iter().flat_map(|host| &host.granted).all(|lease| self.is_reported(*lease))
    }

    /// How many hosts succeeded.
    pub(crate) fn succeeded(&self) -> usize {
        self.rollout().map_or(0, |state| state.tally.succeeded as usize)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |host: &Host| (host.machine.journal().held(), host.machine.phase(), host.pending, host.runner);
        f.debug_struct("World")
            .field("now", &self.now)
            .field("hosts", &self.hosts.iter().map(host).collect::<Vec<_>>())
            .field("leased", &self.control.ledger().leased)
            .field("over", &self.is_over())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
