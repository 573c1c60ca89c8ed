//! Virtual time, and everything in it. The world performs what the machines ask for and shows the observers what really
//! happened.

mod acts;
mod ailing;
mod chaos;
mod desk;
mod end;
mod forgery;
mod hand;
mod host;
mod life;
mod look;
mod mesh;
mod net;
mod operators;
mod orders;
mod plans;
mod poison;
mod policies;
mod push;
mod replans;
mod rest;
mod rings;
mod seat;
mod services;
mod shown;
mod surveys;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, rc::Rc};

use patchmesh_common::{
    id::CommandId,
    run::{
        act::{ActEnd, ActId},
        message::SignedStop,
    },
};

use self::{
    acts::{Look, RunnerStage},
    chaos::Chaos,
    mesh::{News, Question, Reply},
    net::Net,
    operators::Order,
    seat::Seat,
};
use crate::{
    chance::{Chance, Draws, Seeds},
    invariant::{Observers, Seen},
    keys,
    packages::Repository,
    sabotage::Sabotage,
    scenario::Scenario,
    spread::Spread,
    trace::Trace,
    truth::{Spot, Truth},
};

pub use self::{
    chaos::Count,
    end::{Finish, Outcome},
};

/// How many transitions are kept for a failure's reader.
const REMEMBERED: usize = 20_000;
/// In worlds of at most this many hosts the observers are held against the disks.
const SMALL: u32 = 50;
/// How often, in milliseconds.
const RECOUNT: u64 = 5_000;

enum Happening {
    Start { spot: Spot },
    PowerOn { spot: Spot },
    PowerOff { spot: Spot, boots: u32 },
    WakeMesh { spot: Spot, life: u32 },
    WakeRun { spot: Spot, life: u32 },
    WakeDesk { spot: Spot, life: u32 },
    View { spot: Spot, life: u32 },
    Survey { spot: Spot, life: u32, request: CommandId },
    Due { spot: Spot, life: u32 },
    Saved { spot: Spot, life: u32 },
    Frame { spot: Spot, bytes: Rc<[u8]> },
    News { spot: Spot, from: Spot, news: Rc<News> },
    Ask { spot: Spot, from: Spot, question: Rc<Question> },
    Reply { spot: Spot, from: Spot, reply: Rc<Reply> },
    LinkUp { one: Spot, other: Spot, lives: (u32, u32) },
    LinkDown { spot: Spot, other: Spot },
    Sever { one: Spot, other: Spot },
    ActEnd { spot: Spot, life: u32, act: ActId, end: Box<ActEnd> },
    Look { spot: Spot, life: u32, act: ActId, look: Box<Look> },
    Runner { spot: Spot, boots: u32, stage: RunnerStage },
    Resume { spot: Spot },
    Fault { number: usize },
    Operator { order: Order },
    Retire { spot: Spot },
    Jump { spot: Spot, by: i64 },
    Change { every: u64 },
    Replan { spot: Spot, life: u32 },
    Shown { spot: Spot, life: u32, asking: shown::Asking },
    Order { spot: Spot, life: u32, signed: Box<SignedStop> },
    Ordered { spot: Spot, life: u32, signed: Box<SignedStop> },
    Heal,
    Judge,
    Recount,
    Rest,
}

impl Happening {
    /// The machine that must be awake for it.
    fn seat(&self) -> Option<Spot> {
        match self {
            Self::WakeMesh { spot, .. }
            | Self::WakeRun { spot, .. }
            | Self::WakeDesk { spot, .. }
            | Self::View { spot, .. }
            | Self::Survey { spot, .. }
            | Self::Replan { spot, .. }
            | Self::Due { spot, .. }
            | Self::Shown { spot, .. }
            | Self::Order { spot, .. }
            | Self::Ordered { spot, .. }
            | Self::Saved { spot, .. }
            | Self::Frame { spot, .. }
            | Self::News { spot, .. }
            | Self::Ask { spot, .. }
            | Self::Reply { spot, .. }
            | Self::LinkDown { spot, .. }
            | Self::ActEnd { spot, .. }
            | Self::Look { spot, .. } => Some(*spot),
            _ => None,
        }
    }

    fn is_message(&self) -> bool {
        matches!(self, Self::Frame { .. } | Self::News { .. } | Self::Ask { .. } | Self::Reply { .. })
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Start { .. } => 0,
            Self::PowerOn { .. } => 1,
            Self::PowerOff { .. } => 2,
            Self::WakeMesh { .. } => 3,
            Self::WakeRun { .. } => 4,
            Self::WakeDesk { .. } => 5,
            Self::View { .. } => 6,
            Self::Survey { .. } => 7,
            Self::Saved { .. } => 8,
            Self::Frame { .. } => 9,
            Self::News { .. } => 10,
            Self::Ask { .. } => 11,
            Self::Reply { .. } => 12,
            Self::LinkUp { .. } => 13,
            Self::LinkDown { .. } => 14,
            Self::Sever { .. } => 15,
            Self::ActEnd { .. } => 16,
            Self::Look { .. } => 17,
            Self::Runner { .. } => 18,
            Self::Resume { .. } => 19,
            Self::Fault { .. } => 20,
            Self::Operator { .. } => 21,
            Self::Retire { .. } => 22,
            Self::Heal => 23,
            Self::Judge => 24,
            Self::Recount => 25,
            Self::Jump { .. } => 26,
            Self::Change { .. } => 27,
            Self::Rest => 28,
            Self::Order { .. } => 29,
            Self::Ordered { .. } => 30,
            Self::Replan { .. } => 31,
            Self::Due { .. } => 32,
            Self::Shown { .. } => 33,
        }
    }

    fn digest(&self) -> u64 {
        match self {
            Self::Frame { bytes, .. } => keys::digest(bytes),
            Self::News { news, .. } => news.id,
            Self::Ask { from, question, .. } => u64::from(*from) << 32 ^ question.size as u64,
            Self::Reply { from, reply, .. } => u64::from(*from) << 32 ^ reply.size as u64,
            Self::ActEnd { act, .. } | Self::Look { act, .. } => act.0,
            Self::Order { signed, .. } | Self::Ordered { signed, .. } => keys::digest(&signed.order.body),
            _ => 0,
        }
    }
}

/// What has happened in a world so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Events.
    pub events: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Messages that came.
    pub messages: u64,
}

/// One simulation.
pub struct World {
    now: u64,
    queue: crate::queue::Queue<Happening>,
    scenario: Scenario,
    seeds: Seeds,
    seats: Vec<Seat>,
    net: Net,
    repository: Repository,
    chaos: Chaos,
    operators: operators::Operators,
    observers: Observers,
    sabotage: Option<Box<dyn Sabotage>>,
    /// What daemons die of.
    poisons: poison::Poisons,
    ailing: ailing::Ailing,
    poisoner: Chance,
    /// How long gates of rings take.
    gates: Chance,
    /// When the hosts of rings were done.
    endings: shown::Endings,
    trace: Trace,
    events: u64,
    bytes: u64,
    messages: u64,
    redundant: u64,
    /// When something other than routine happened last.
    unrest: u64,
    mark: Option<rest::Mark>,
    rested: u64,
    readers: keys::Readers,
    /// Room for what a mesh machine asks for in one step.
    effects: Vec<patchmesh_common::gossip::Effect>,
    history: VecDeque<(u64, Spot, Truth)>,
    spread: Option<Box<Spread>>,
    healed: bool,
    finish: Option<Finish>,
}

impl World {
    /// A world that has just been switched on. Draws are kept if `keep`, so that the run can be given to others.
    pub fn new(seed: u64, scenario: Scenario, keep: bool) -> Self {
        Self::build(Seeds::new(seed, keep), scenario)
    }

    /// A world that meets what was drawn in an earlier one.
    pub fn replay(seed: u64, scenario: Scenario, draws: Draws) -> Self {
        Self::build(Seeds::replay(seed, draws), scenario)
    }

    /// Lets `sabotage` edit what the machines hear and say.
    #[must_use]
    pub fn sabotaged(mut self, sabotage: Box<dyn Sabotage>) -> Self {
        self.sabotage = Some(sabotage);
        self
    }

    /// Puts machines so far from each other: the least and the most milliseconds of a pair.
    #[must_use]
    pub fn far(mut self, latency: [u64; 2]) -> Self {
        self.net.latency = latency;
        self
    }

    /// Lets some host say something new of itself every so many milliseconds.
    #[must_use]
    pub fn changing(mut self, every: u64) -> Self {
        self.after(every, Happening::Change { every });
        self
    }

    /// Watches how news spread.
    #[must_use]
    pub fn watched(mut self, spread: Spread) -> Self {
        self.spread = Some(Box::new(spread));
        self
    }

    fn build(mut seeds: Seeds, scenario: Scenario) -> Self {
        let net = Net::new(seeds.chance("network"), scenario.network);
        let chaos = Chaos::new(seeds.chance("chaos"), seeds.chance("copies"), &scenario.faults);
        let operators = operators::Operators::new(
            seeds.chance("operators"),
            seeds.chance("operators afield"),
            scenario.waves.len(),
        );
        let (poisoner, gates) = (seeds.chance("poison"), seeds.chance("ring gate delays"));
        let mut world = Self {
            now: 0,
            queue: crate::queue::Queue::default(),
            seeds,
            seats: Vec::new(),
            net,
            repository: Repository::default(),
            chaos,
            operators,
            observers: Observers::default(),
            sabotage: None,
            poisons: poison::Poisons::default(),
            ailing: ailing::Ailing::default(),
            poisoner,
            gates,
            endings: shown::Endings::default(),
            trace: Trace::default(),
            events: 0,
            bytes: 0,
            messages: 0,
            redundant: 0,
            unrest: 0,
            mark: None,
            rested: 0,
            readers: keys::Readers::default(),
            effects: Vec::new(),
            history: VecDeque::new(),
            spread: None,
            healed: false,
            finish: None,
            scenario,
        };
        world.populate();
        world
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        self.go();
        self.outcome()
    }

    fn go(&mut self) {
        while self.finish.is_none() {
            let Some((time, what)) = self.queue.pop() else { break };
            self.now = time.max(self.now);
            self.happen(what);
            if !self.observers.record.violations.is_empty() {
                break;
            }
        }
    }

    /// Goes on to a moment, in milliseconds, and says what has happened until then.
    pub fn advance(&mut self, until: u64) -> Done {
        while self.queue.due().is_some_and(|due| due <= until) {
            let Some((time, what)) = self.queue.pop() else { break };
            self.now = time.max(self.now);
            self.happen(what);
        }
        Done { events: self.events, bytes: self.bytes, messages: self.messages + self.redundant }
    }

    fn at(&mut self, time: u64, what: Happening) {
        self.queue.push(time.max(self.now), what);
    }

    fn after(&mut self, pause: u64, what: Happening) {
        self.queue.push(self.now + pause, what);
    }

    fn happen(&mut self, what: Happening) {
        if let Some(spot) = what.seat()
            && self.seats[spot as usize].paused_until > self.now
        {
            return self.park(spot, what);
        }
        self.events += 1;
        self.messages += u64::from(what.is_message());
        if !what.is_routine() {
            self.unrest = self.now;
        }
        self.trace.event(self.now, what.kind(), what.seat().unwrap_or(u32::MAX), what.digest());
        match what {
            Happening::Start { spot } => self.start(spot),
            Happening::PowerOn { spot } => self.power_on(spot),
            Happening::PowerOff { spot, boots } => self.reboot_off(spot, boots),
            Happening::WakeMesh { spot, life } if self.lives(spot, life) => self.wake_mesh(spot),
            Happening::WakeRun { spot, life } if self.lives(spot, life) => self.wake_run(spot),
            Happening::WakeDesk { spot, life } if self.lives(spot, life) => self.wake_desk(spot),
            Happening::View { spot, life } if self.lives(spot, life) => self.tell_view(spot),
            Happening::Survey { spot, life, request } if self.lives(spot, life) => self.survey_on(spot, request),
            Happening::Replan { spot, life } if self.lives(spot, life) => self.replan(spot),
            Happening::Due { spot, life } if self.lives(spot, life) => self.look_for_due(spot),
            Happening::Shown { spot, life, asking } if self.lives(spot, life) => self.shown(spot, asking),
            Happening::Saved { spot, life } if self.lives(spot, life) => self.saved(spot),
            Happening::Frame { spot, bytes } => self.frame_arrives(spot, &bytes),
            Happening::News { spot, from, news } => self.news_arrives(spot, from, &news),
            Happening::Ask { spot, from, question } => self.asked(spot, from, question),
            Happening::Reply { spot, from, reply } => self.answered(spot, from, reply),
            Happening::LinkUp { one, other, lives } => self.link_up(one, other, lives),
            Happening::LinkDown { spot, other } => self.link_down(spot, other),
            Happening::Sever { one, other } => self.sever_if_cut(one, other),
            Happening::ActEnd { spot, life, act, end } if self.lives(spot, life) => self.act_ended(spot, act, *end),
            Happening::Look { spot, life, act, look } if self.lives(spot, life) => self.looked(spot, act, &look),
            Happening::Runner { spot, boots, stage } => self.runner(spot, boots, stage),
            Happening::Resume { spot } => self.resume(spot),
            Happening::Fault { number } => self.fault_due(number),
            Happening::Operator { order } => self.operate(order),
            Happening::Retire { spot } => self.retire(spot),
            Happening::Jump { spot, by } => self.jump(spot, by),
            Happening::Change { every } => self.change(every),
            Happening::Order { spot, life, signed } if self.lives(spot, life) => self.order(spot, signed),
            Happening::Ordered { spot, life, signed } if self.lives(spot, life) => self.ordered(spot, signed),
            Happening::Heal => self.heal(),
            Happening::Judge => self.judge(),
            Happening::Recount => self.recount(),
            Happening::Rest => self.rest(),
            // Meant for an earlier life.
            _ => {}
        }
    }

    fn lives(&self, spot: Spot, life: u32) -> bool {
        let seat = &self.seats[spot as usize];
        seat.up && seat.life == life
    }

    /// Shows one transition of the truth to the observers.
    fn tell(&mut self, spot: Spot, truth: Truth) {
        let node = self.seats[spot as usize].node;
        self.endings.see(self.now, node, &truth);
        self.observers.see(Seen { at: self.now, spot, node, truth: &truth, excused: false });
        if matches!(truth, Truth::Sealed { .. } | Truth::Believed { .. }) {
            return;
        }
        self.trace.truth(self.now, spot, &truth);
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back((self.now, spot, truth));
    }
}
