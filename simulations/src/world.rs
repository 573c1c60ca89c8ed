//! Virtual time, the network, the faults, and the books of what really happened.

use core::time::Duration;
use std::collections::BTreeMap;

use patchmesh_common::{
    id::{NodeId, RolloutId},
    patch::Baseline,
    rollout::{
        Operation, RebootOption, controller,
        ledger::RolloutState,
        plan::{Plan, PlannedHost, ResolvedLimit},
    },
    run::{
        HookPoint,
        act::{ActEnd, ActId},
        machine,
        message::LeaseFrame,
    },
    schedule::Opening,
    seal::Sealed,
    time::{BootTime, Now, WallTime},
    wire,
};
use rand::{Rng, SeedableRng, rngs::Xoshiro256PlusPlus};

use crate::{
    host::{SimHost, Want as HostWant},
    keys::{Key, node},
    office::{Office, Want as OfficeWant},
};

const ID: RolloutId = RolloutId([7; 8]);
/// Wall clock at virtual time zero.
const EPOCH: i64 = 1_800_000_000_000;
/// Silence after which a simulated host counts as lost: longer than the longest reboot here.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// A run that needs more events than this does not end.
const MAX_EVENTS: u64 = 5_000_000;

/// What goes wrong, each as one in so many; 0 never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages that are lost.
    pub loss: u64,
    /// Messages that arrive twice.
    pub duplication: u64,
    /// Steps of a host after which its daemon dies in the middle of its effects.
    pub host_crash: u64,
    /// Steps of the coordinator after which it dies in the middle of its effects.
    pub coordinator_crash: u64,
    /// When the faults end, in milliseconds: safety under chaos, then liveness.
    pub until: u64,
}

/// What is asked of the fleet.
#[derive(Clone, Debug)]
pub struct Wave {
    /// How many hosts.
    pub hosts: usize,
    /// Most hosts that hold a slot at once.
    pub limit: u32,
    /// Most failed hosts that do not halt.
    pub max_errors: u32,
    /// The package fails on the first so many.
    pub broken: usize,
    /// Openings in milliseconds of virtual time: opens, last start, closes. Empty: open without end.
    pub openings: Vec<[u64; 3]>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Promises that were broken, in words.
    pub broken: Vec<String>,
    /// How the rollout stands at the end; `None` if it was never applied.
    pub state: Option<RolloutState>,
    /// Most hosts that were really disrupted at once, by the world's books.
    pub peak: usize,
    /// How often each fault had an effect.
    pub faults: BTreeMap<&'static str, u64>,
    /// BLAKE3 over every delivered event, in order: equal for equal arguments.
    pub trace: [u8; 32],
    /// When it ended, in milliseconds.
    pub ended: u64,
}

enum Happening {
    ToHost(usize, Box<LeaseFrame>),
    ToOffice(Box<LeaseFrame>),
    ActEnd { host: usize, life: u64, act: ActId, end: Box<ActEnd> },
    StartHost { host: usize, reboot: bool },
    StartOffice,
    WakeHost { host: usize, life: u64 },
    WakeOffice { life: u64 },
}

/// The engine: a map ordered by (time, sequence), which breaks ties the same way every time.
pub struct World {
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    hosts: Vec<SimHost>,
    office: Office,
    faults: Faults,
    network: Xoshiro256PlusPlus,
    chaos: Xoshiro256PlusPlus,
    effective: BTreeMap<&'static str, u64>,
    trace: blake3::Hasher,
    peak: usize,
    /// The limit that the books hold the fleet to.
    expected: u32,
    wave: Wave,
}

/// A generator of its own for each part: a draw added in one place moves nothing elsewhere.
fn generator(seed: u64, name: &str) -> Xoshiro256PlusPlus {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_be_bytes());
    Xoshiro256PlusPlus::from_seed(*blake3::keyed_hash(&key, name.as_bytes()).as_bytes())
}

impl World {
    /// A fleet that has just been switched on.
    pub fn new(seed: u64, wave: Wave, faults: Faults) -> Self {
        let host = |number| SimHost::new(number, number < wave.broken, generator(seed, &format!("host {number}")));
        let mut world = Self {
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            hosts: (0..wave.hosts).map(host).collect(),
            office: Office::new(wave.hosts, LOST_AFTER, generator(seed, "coordinator")),
            faults,
            network: generator(seed, "network"),
            chaos: generator(seed, "chaos"),
            effective: BTreeMap::new(),
            trace: blake3::Hasher::new(),
            peak: 0,
            expected: wave.limit,
            wave,
        };
        for host in 0..world.hosts.len() {
            world.at(0, Happening::StartHost { host, reboot: false });
        }
        world.at(1, Happening::StartOffice);
        world
    }

    /// Sabotage: the world's books expect this limit, while the plan keeps the wave's.
    #[cfg(test)]
    pub(crate) fn sabotage_limit(&mut self, expected: u32) {
        self.expected = expected;
    }

    fn at(&mut self, time: u64, what: Happening) {
        self.sequence += 1;
        self.queue.insert((time.max(self.now), self.sequence), what);
    }

    fn clocks(&self) -> Now {
        // Boot time starts high, so that no time-out is due at once.
        Now { wall: WallTime(EPOCH + self.now as i64), boot: BootTime(self.now + 1_000_000) }
    }

    fn plan(&self) -> Plan {
        let limit = |resolved: u32| ResolvedLimit { given: resolved.to_string(), resolved };
        let time = |millis: u64| WallTime(EPOCH + millis as i64);
        let opening = |[opens, last, closes]: &[u64; 3]| Opening {
            opens: time(*opens),
            last_start: time(*last),
            closes: time(*closes),
        };
        let openings: Vec<_> = self.wave.openings.iter().map(opening).collect();
        Plan {
            name: "wave".into(),
            hash: [0; 32],
            created_at: time(0),
            operation: Operation::Install,
            baseline: Baseline::All,
            reboot: RebootOption::IfNeeded,
            hook_timeout: 60,
            max_concurrency: limit(self.wave.limit),
            max_errors: limit(self.wave.max_errors),
            openings: if openings.is_empty() { vec![Opening::endless(time(0))] } else { openings },
            hosts: (0..self.wave.hosts)
                .map(|number| PlannedHost {
                    node: node(number),
                    name: format!("host-{number:04}"),
                    transaction: SimHost::transaction(),
                })
                .collect(),
            excluded: Vec::new(),
        }
    }

    /// Runs one wave to its end, or until nothing happens any more.
    pub fn run(mut self) -> Verdict {
        for _ in 0..MAX_EVENTS {
            let Some(((time, _), what)) = self.queue.pop_first() else { break };
            self.now = time;
            self.happen(what);
            self.peak = self.peak.max(self.hosts.iter().filter(|host| host.is_at_work()).count());
            if self.state().is_some_and(|state| state.ended_at.is_some() && state.tally.busy.is_empty()) {
                break;
            }
        }
        self.verdict()
    }

    fn state(&self) -> Option<&RolloutState> {
        self.office.machine.ledger().rollouts.get(&ID)
    }

    fn strikes(&mut self, name: &'static str, one_in: u64) -> bool {
        let struck = one_in > 0 && self.now < self.faults.until && self.chaos.next_u64().is_multiple_of(one_in);
        *self.effective.entry(name).or_default() += u64::from(struck);
        struck
    }

    /// How many effects of a step are performed before the process dies.
    fn budget(&mut self, name: &'static str, one_in: u64) -> usize {
        if self.strikes(name, one_in) { (self.chaos.next_u64() % 4) as usize } else { usize::MAX }
    }

    fn happen(&mut self, what: Happening) {
        self.trace.update(&self.now.to_be_bytes());
        match what {
            Happening::ToHost(host, frame) => {
                self.trace.update(&frame.sealed.body);
                self.step_host(host, machine::Event::Command(frame));
            }
            Happening::ToOffice(frame) => {
                self.trace.update(&frame.sealed.body);
                self.step_office(controller::Event::Heard(frame));
            }
            Happening::ActEnd { host, life, act, end } if self.hosts[host].life == life => {
                self.step_host(host, machine::Event::Ended { act, end: *end });
            }
            Happening::WakeHost { host, life } if self.hosts[host].life == life => {
                self.step_host(host, machine::Event::Tick);
            }
            Happening::WakeOffice { life } if self.office.life == life => self.step_office(controller::Event::Tick),
            Happening::StartHost { host, reboot } => {
                let (now, mut wants) = (self.clocks(), Vec::new());
                self.hosts[host].start(now, reboot, &mut wants);
                self.grant_host(host, wants);
            }
            Happening::StartOffice => self.start_office(),
            Happening::ActEnd { .. } | Happening::WakeHost { .. } | Happening::WakeOffice { .. } => {}
        }
    }

    fn start_office(&mut self) {
        let (now, mut wants) = (self.clocks(), Vec::new());
        self.office.start(now, LOST_AFTER, &mut wants);
        self.grant_office(wants);
        if self.state().is_none() {
            let plan = Box::new(self.plan());
            self.step_office(controller::Event::Apply { id: ID, plan });
        }
    }

    fn step_host(&mut self, host: usize, event: machine::Event) {
        if !self.hosts[host].up {
            return;
        }
        let budget = self.budget("host-crash", self.faults.host_crash);
        let (now, mut wants) = (self.clocks(), Vec::new());
        let died = self.hosts[host].step(now, event, budget, &mut wants);
        self.grant_host(host, wants);
        if died {
            self.at(self.now + 700, Happening::StartHost { host, reboot: false });
        }
    }

    fn step_office(&mut self, event: controller::Event) {
        if !self.office.up {
            return;
        }
        let budget = self.budget("coordinator-crash", self.faults.coordinator_crash);
        let (now, mut wants) = (self.clocks(), Vec::new());
        let died = self.office.step(now, event, budget, &mut wants);
        self.grant_office(wants);
        if died {
            self.at(self.now + 900, Happening::StartOffice);
        }
    }

    /// Boot time runs ahead of virtual time by a constant.
    fn virtual_time(boot: u64) -> u64 {
        boot.saturating_sub(1_000_000)
    }

    fn grant_host(&mut self, host: usize, wants: Vec<HostWant>) {
        for want in wants {
            let life = self.hosts[host].life;
            match want {
                HostWant::Answer(answer) => {
                    let sealed = Sealed::seal(&Key(node(host)), answer.as_ref());
                    let frame = LeaseFrame { credential: self.hosts[host].credential.clone(), sealed };
                    self.post(frame, Happening::ToOffice);
                }
                HostWant::End { at, act, end } => {
                    let end = Box::new(end);
                    self.at(Self::virtual_time(at), Happening::ActEnd { host, life, act, end });
                }
                HostWant::Start { at, reboot } => {
                    self.at(Self::virtual_time(at), Happening::StartHost { host, reboot })
                }
                HostWant::Wake { at } => self.at(Self::virtual_time(at), Happening::WakeHost { host, life }),
            }
        }
    }

    fn grant_office(&mut self, wants: Vec<OfficeWant>) {
        for want in wants {
            match want {
                OfficeWant::Tell { to, frame } => {
                    let Some(host) = self.number(to) else { continue };
                    self.post(*frame, |frame| Happening::ToHost(host, frame));
                }
                OfficeWant::Wake { at } => {
                    let life = self.office.life;
                    self.at(Self::virtual_time(at), Happening::WakeOffice { life });
                }
            }
        }
    }

    fn number(&self, id: NodeId) -> Option<usize> {
        (0..self.hosts.len()).find(|number| node(*number) == id)
    }

    /// Over the production codec: what the wire cannot carry does not arrive.
    fn post(&mut self, frame: LeaseFrame, deliver: impl Fn(Box<LeaseFrame>) -> Happening) {
        if self.strikes("loss", self.faults.loss) {
            return;
        }
        let bytes = wire::encode(&frame);
        let copies = if self.strikes("duplication", self.faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let Ok(frame) = wire::decode(&bytes, patchmesh_common::run::message::MAX_FRAME) else { continue };
            let latency = 2 + self.network.next_u64() % 60;
            self.at(self.now + latency, deliver(Box::new(frame)));
        }
    }

    fn verdict(self) -> Verdict {
        let mut broken: Vec<String> = self
            .office
            .judge
            .violations()
            .iter()
            .map(|violation| format!("{}: {}", violation.promise, violation.text))
            .collect();
        if self.peak > self.expected as usize {
            broken.push(format!("concurrency: {} hosts were at work at once, {} allowed", self.peak, self.expected));
        }
        for host in &self.hosts {
            broken.extend(self.judge_host(host));
        }
        let ended = self.now;
        let state = self.state().cloned();
        if state.as_ref().is_none_or(|state| state.ended_at.is_none()) {
            let tally = state.as_ref().map(|state| &state.tally);
            broken.push(format!("liveness: the rollout has not ended after {ended} ms: {tally:?}"));
        }
        Verdict {
            broken,
            state,
            peak: self.peak,
            faults: self.effective,
            trace: *self.trace.finalize().as_bytes(),
            ended,
        }
    }

    fn judge_host(&self, host: &SimHost) -> Vec<String> {
        let mut broken = Vec::new();
        let mut leases = host.truth.installs.clone();
        leases.sort_unstable();
        leases.dedup();
        if leases.len() != host.truth.installs.len() {
            broken.push(format!("durability: host {} ran one lease's transaction twice", host.number));
        }
        let order = |point: &HookPoint| match point {
            HookPoint::PreInstall => 0,
            HookPoint::PostInstall => 1,
            HookPoint::PostReboot => 2,
            HookPoint::OnExit => 3,
        };
        let runs = host.truth.hooks.split_inclusive(|point| *point == HookPoint::OnExit);
        for run in runs {
            if !run.is_sorted_by_key(order) && !run.contains(&HookPoint::OnExit) {
                broken.push(format!("hooks: host {} ran {run:?}", host.number));
            }
        }
        let open = |time: &u64| {
            let time = Self::virtual_time(*time);
            self.wave.openings.is_empty() || self.wave.openings.iter().any(|[from, _, to]| (*from..*to).contains(&time))
        };
        if !host.truth.disruptions.iter().all(open) {
            broken.push(format!("window: host {} began a disruptive step outside every opening", host.number));
        }
        broken
    }
}
