//! The model: which events and faults are possible in a [`World`], and what must hold.

use core::hash::{Hash, Hasher};
use std::{collections::BTreeSet, sync::Mutex};

use patchmesh_common::time::WallTime;
use stateright::{Model, Property};

use crate::{
    canon::Canon,
    faults::{Faults, Kind, LATE},
    host::Pending,
    message::{Down, Held},
    setup::HOSTS,
    world::{Broken, World},
};

/// A check that is taken out of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// How long ago `Ready` was said, and whether the clocks moved together since.
    Freshness,
    /// Whether the nonce is that of the last `Ready`.
    Nonce,
}

/// A message that is next on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// To this host.
    Down(usize),
    /// From this host.
    Up(usize),
}

/// What happens next. With a number, who hears of it is killed when it has saved that many entries because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next message arrives.
    Deliver(Link, Option<u8>),
    /// A message that was held back arrives.
    Release(usize),
    /// The package manager ends.
    RunnerEnds(usize, Option<u8>),
    /// The reboot happens.
    Reboots(usize),
    /// Nothing travels and nothing works: time passes until somebody does something.
    Wait,
    /// Fault: the next message is lost.
    Lose(Link),
    /// Fault: the next message will arrive twice.
    Double(Link),
    /// Fault: the next message is held back.
    HoldBack(Link),
    /// Fault: the daemon is killed between two events.
    Kill(usize),
    /// Fault: the host loses power between two events.
    PowerLoss(usize),
    /// Fault: the coordinator is killed between two events.
    KillControl,
    /// Fault: a wall clock is set, forth or back; the coordinator's if there is no host.
    Step(Option<usize>, bool),
    /// Fault: [`LATE`] passes.
    Late,
}

impl Action {
    /// Which fault it is, if any.
    fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::Deliver(Link::Down(_), Some(_)) | Self::RunnerEnds(_, Some(_)) => Kind::HostCrash,
            Self::Deliver(Link::Up(_), Some(_)) | Self::KillControl => Kind::ControlCrash,
            Self::Kill(_) | Self::PowerLoss(_) => Kind::HostCrash,
            Self::Lose(_) => Kind::Loss,
            Self::Double(_) => Kind::Doubling,
            Self::HoldBack(_) => Kind::Reordering,
            Self::Step(..) => Kind::Step,
            Self::Late => Kind::Delay,
            Self::Deliver(_, None) | Self::Release(_) | Self::RunnerEnds(_, None) | Self::Reboots(_) | Self::Wait => {
                return None;
            }
        })
    }
}

/// A world, the faults that are left, and its fingerprints: without and with those.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    left: Faults,
    bare: u64,
    pub(crate) print: u64,
}

impl State {
    fn new(mut world: World, left: Faults) -> Self {
        let mut canon = Canon::default();
        world.fold(&mut canon);
        let bare = canon.finish();
        canon.word(left.print());
        Self { world, left, bare, print: canon.finish() }
    }

    /// `action` with the message that it is about.
    pub(crate) fn tell(&self, action: Action) -> String {
        let world = &self.world;
        let message = match action {
            Action::Deliver(link, _) | Action::Lose(link) | Action::Double(link) | Action::HoldBack(link) => {
                first(world, link).map(|message| message.to_string())
            }
            Action::Release(which) => world.held.get(which).map(|message| message.to_string()),
            _ => None,
        };
        format!("{action:?}  {}", message.unwrap_or_default())
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for State {}

/// One model: its faults, and what is taken out.
pub(crate) struct Waves {
    faults: Faults,
    /// Whether a package asks for a reboot.
    reboots: bool,
    sabotage: Option<Sabotage>,
    /// Fingerprints of worlds from which the rollout is known to end when nothing more goes wrong.
    healing: [Mutex<BTreeSet<u64>>; 64],
}

impl Waves {
    pub(crate) fn new(faults: Faults, reboots: bool, sabotage: Option<Sabotage>) -> Self {
        Self { faults, reboots, sabotage, healing: [const { Mutex::new(BTreeSet::new()) }; 64] }
    }

    fn healing(&self, print: u64) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.healing[(print % 64) as usize].lock().expect("no property panics")
    }

    /// Whether the rollout ends if no fault happens any more: every path does what is possible in one fixed order, and
    /// joins one that was walked before or comes to the end.
    fn heals(&self, from: &State) -> bool {
        /// More events than any rollout of three hosts needs.
        const LONGEST: usize = 2_000;
        if self.healing(from.bare).contains(&from.bare) {
            return true;
        }
        let mut state = from.clone();
        let mut walked = Vec::new();
        while !state.world.is_over() && !self.healing(state.bare).contains(&state.bare) {
            walked.push(state.bare);
            let action = calm(&state.world).next();
            if walked.len() > LONGEST || action.and_then(|action| self.perform(&mut state.world, action)).is_none() {
                return false;
            }
            state = State::new(state.world, Faults::NONE);
        }
        walked.into_iter().for_each(|print| {
            self.healing(print).insert(print);
        });
        true
    }

    fn command(&self, world: &mut World, at: usize, message: &Down, expires: WallTime, cut: Option<u8>) -> Option<()> {
        match self.sabotage {
            None => world.deliver_down(at, message, expires, cut),
            Some(Sabotage::Freshness) => world.deliver_unhurried(at, message, expires),
            Some(Sabotage::Nonce) => world.deliver_any_nonce(at, message, expires),
        }
    }

    /// Crashes while `whole`, an event without a fault, is handled: one after each entry that it makes durable.
    fn cuts<'a>(
        &self,
        world: &World,
        whole: Action,
        cut: impl Fn(u8) -> Action + 'a,
    ) -> impl Iterator<Item = Action> + 'a {
        let mut tried = world.clone();
        tried.saves = 0;
        let saves = self.perform(&mut tried, whole).map_or(0, |()| tried.saves);
        (1..=saves).map(cut)
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let State { world, left, .. } = state;
        for link in links(world) {
            let (crash, whole) = match link {
                Link::Down(_) => (Kind::HostCrash, Action::Deliver(link, None)),
                Link::Up(_) => (Kind::ControlCrash, Action::Deliver(link, None)),
            };
            if left.allow(crash) {
                actions.extend(self.cuts(world, whole, |saves| Action::Deliver(link, Some(saves))));
            }
            let message = [Action::Lose(link), Action::Double(link), Action::HoldBack(link)];
            actions.extend(message.into_iter().filter(|fault| fault.kind().is_some_and(|kind| left.allow(kind))));
        }
        if left.allow(Kind::HostCrash) {
            for at in 0..HOSTS {
                if matches!(world.hosts[at].pending, Some(Pending::Runner(_) | Pending::Adopted(_))) {
                    actions.push(Action::RunnerEnds(at, Some(0)));
                    let whole = Action::RunnerEnds(at, None);
                    actions.extend(self.cuts(world, whole, |saves| Action::RunnerEnds(at, Some(saves))));
                }
                actions.extend([Action::Kill(at), Action::PowerLoss(at)]);
            }
        }
        if left.allow(Kind::ControlCrash) {
            actions.push(Action::KillControl);
        }
        if left.allow(Kind::Step) {
            let who = [None, Some(0), Some(1), Some(2)];
            actions.extend(who.into_iter().flat_map(|who| [Action::Step(who, true), Action::Step(who, false)]));
        }
        if left.allow(Kind::Delay) && !world.is_quiet() {
            actions.push(Action::Late);
        }
    }

    /// Does `action` to `world`; `None` if it is not possible.
    fn perform(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::Deliver(Link::Down(at), cut) => {
                let (message, expires) = (world.down[at].pop_front()?, world.expiry());
                self.command(world, at, &message, expires, cut)?;
            }
            Action::Deliver(Link::Up(at), cut) => {
                let message = world.up[at].pop_front()?;
                world.deliver_up(at, &message, cut)?;
            }
            Action::Release(which) => match world.held.remove(which) {
                Held::Up(at, message) => world.deliver_up(at, &message, None)?,
                Held::Down(at, message, expires) => self.command(world, at, &message, expires, None)?,
            },
            Action::RunnerEnds(at, cut) => world.runner_ends(at, cut)?,
            Action::Reboots(at) | Action::PowerLoss(at) => world.restart_host(at, true),
            Action::Wait => world.wait()?,
            Action::Lose(link) => drop(take(world, link)?),
            Action::Double(link) => {
                let copy = first(world, link)?;
                world.held.push(copy);
            }
            Action::HoldBack(link) => {
                let message = take(world, link)?;
                world.held.push(message);
            }
            Action::Kill(at) => world.restart_host(at, false),
            Action::KillControl => world.kill_control(),
            Action::Step(who, forth) => {
                let clock = match who {
                    Some(at) => &mut world.hosts[at].clock,
                    None => &mut world.control_clock,
                };
                *clock += if forth { 1 } else { -1 };
            }
            Action::Late => world.pass(LATE),
        }
        Some(())
    }
}

/// What may happen without a fault.
fn calm(world: &World) -> impl Iterator<Item = Action> + '_ {
    let arrives = links(world).map(|link| Action::Deliver(link, None));
    let works = (0..HOSTS).filter_map(|at| match world.hosts[at].pending? {
        Pending::Runner(_) | Pending::Adopted(_) => Some(Action::RunnerEnds(at, None)),
        Pending::Reboot(_) => Some(Action::Reboots(at)),
    });
    let released = (0..world.held.len()).map(Action::Release);
    arrives.chain(works).chain(released).chain(world.is_quiet().then_some(Action::Wait))
}

fn links(world: &World) -> impl Iterator<Item = Link> + '_ {
    let down = (0..HOSTS).filter(|at| !world.down[*at].is_empty()).map(Link::Down);
    (0..HOSTS).filter(|at| !world.up[*at].is_empty()).map(Link::Up).chain(down)
}

/// The next message of `link`.
fn first(world: &World, link: Link) -> Option<Held> {
    Some(match link {
        Link::Down(at) => Held::Down(at, world.down[at].front()?.clone(), world.expiry()),
        Link::Up(at) => Held::Up(at, world.up[at].front()?.clone()),
    })
}

fn take(world: &mut World, link: Link) -> Option<Held> {
    let message = first(world, link);
    match link {
        Link::Down(at) => drop(world.down[at].pop_front()),
        Link::Up(at) => drop(world.up[at].pop_front()),
    }
    message
}

impl Model for Waves {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(World::new(self.reboots), self.faults)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a broken promise is of no interest.
        if state.world.broken.is_none() && !state.world.is_over() {
            actions.extend(calm(&state.world));
            self.faults(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let left = match action.kind() {
            Some(kind) => last.left.spend(kind)?,
            None => last.left,
        };
        let mut world = last.world.clone();
        self.perform(&mut world, action)?;
        Some(State::new(world, left))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("concurrency", |_, state: &State| state.world.at_work() <= 1),
            Property::always("no stale start", |_, state: &State| state.world.broken != Some(Broken::StaleStart)),
            Property::always("fencing", |_, state: &State| state.world.broken != Some(Broken::Fencing)),
            Property::always("durability", |_, state: &State| {
                let world = &state.world;
                world.broken != Some(Broken::Durability) && (!world.is_over() || world.all_reported())
            }),
            Property::always("liveness", Self::heals),
            Property::sometimes("all succeed", |_, state: &State| {
                state.world.is_over() && state.world.succeeded() == HOSTS
            }),
        ]
    }
}
