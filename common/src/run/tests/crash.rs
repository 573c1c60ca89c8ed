//! Whole leases in a tiny world, killed and rebuilt after every single effect.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::run::{
    Phase,
    act::Adoption,
    message::{Outcome, Report},
};

/// How the machine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The process dies; runners live on and finish.
    Process,
    /// The process dies between the save and the spawn: the last started act never was.
    Unspawned,
    /// The host dies; a running runner dies with it.
    Host,
    /// The process and, separately, the runner are killed.
    Runner,
}

/// What really happens on the host, whatever the machine believes.
#[derive(Default)]
struct Truth {
    /// Runners by attempt: `true` once they have a result.
    runners: BTreeMap<u32, bool>,
    /// Runners that were started and died.
    dead: Vec<u32>,
    installs: u32,
    reboots: u32,
    hooks: Vec<(String, u32)>,
    installed: bool,
    half: bool,
}

struct World {
    bench: Bench,
    lease: Lease,
    truth: Truth,
    effects: VecDeque<Effect>,
    pending: VecDeque<(ActId, Act)>,
    report: Option<Report>,
    /// Effects performed so far.
    count: usize,
    kill: Option<(usize, Death)>,
}

impl World {
    fn new(kill: Option<(usize, Death)>) -> Self {
        Self::with(lease(), kill)
    }

    fn with(lease: Lease, kill: Option<(usize, Death)>) -> Self {
        let mut bench = Bench::new();
        let nonce = bench.ready(lease.clone());
        // Only what was performed counts as saved: the world saves by itself.
        let effects = bench.say(ToHost::Go { lease: LEASE, nonce }).into();
        bench.saved.truncate(1);
        Self { bench, lease, truth: Truth::default(), effects, pending: VecDeque::new(), report: None, count: 0, kill }
    }

    /// Steps the machine without believing its saves before they are performed.
    fn send(&mut self, event: Event) {
        let saved = self.bench.saved.len();
        let effects = self.bench.send(event);
        self.bench.saved.truncate(saved);
        self.effects.extend(effects);
    }

    fn run(mut self) -> (Truth, Report) {
        for _ in 0..400 {
            if let Some(effect) = self.effects.pop_front() {
                self.perform(effect);
                self.count += 1;
                if let Some((at, death)) = self.kill
                    && at == self.count
                {
                    self.die(death);
                }
            } else if let Some((id, act)) = self.pending.pop_front() {
                self.finish(id, act);
            } else if let Some(report) = self.report.take() {
                assert!(self.bench.machine.journal().run.as_ref().is_some_and(|run| run.report.is_some()));
                return (self.truth, report);
            } else if self.bench.machine.journal().run.is_none() {
                // Killed before the grant was durable: the coordinator asks again.
                let nonce = self.bench.ready(self.lease.clone());
                self.send_go(nonce);
            } else {
                self.bench.boot = self.bench.machine.deadline().expect("a run always has a deadline").0;
                self.send(Event::Tick);
            }
        }
        panic!("the run never ended: {:?}", self.bench.machine.journal().run);
    }

    fn send_go(&mut self, nonce: Nonce) {
        let command = command_at(self.bench.now().wall, epoch(1), ToHost::Go { lease: LEASE, nonce });
        self.send(frame(&command));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Save(entry) => self.bench.saved.push(entry),
            Effect::Answer(answer) => {
                if let ToCoordinator::Reported(report) = answer.body {
                    self.report = Some(*report);
                }
            }
            Effect::Start { id, act } => {
                if let Act::Transaction { attempt, .. } = &act {
                    self.truth.runners.insert(*attempt, false);
                    self.truth.half = true;
                }
                self.pending.push_back((id, act));
            }
            Effect::Held(_) | Effect::Orders(_) => {}
            Effect::Ignored { why, .. } => panic!("{why}"),
        }
    }

    fn install(&mut self, attempt: u32) {
        if self.truth.runners.insert(attempt, true) == Some(false) {
            self.truth.installs += 1;
            (self.truth.installed, self.truth.half) = (true, false);
        }
    }

    fn finish(&mut self, id: ActId, act: Act) {
        let end = match act {
            Act::Hooks { point, attempt, .. } => {
                self.truth.hooks.push((point.as_str().into(), attempt));
                hooks_ok()
            }
            Act::Transaction { attempt, .. } => {
                self.install(attempt);
                ActEnd::Transaction(transaction_end(Verdict::Ok))
            }
            Act::Adopt { attempt, .. } => ActEnd::Adopted(match self.truth.runners.get(&attempt) {
                None => Adoption::NeverStarted,
                Some(_) if self.truth.dead.contains(&attempt) => Adoption::Dead,
                Some(_) => {
                    self.install(attempt);
                    Adoption::Finished(transaction_end(Verdict::Ok))
                }
            }),
            Act::Repair { .. } => {
                self.truth.half = false;
                self.truth.installed = true;
                ActEnd::Repaired(transaction_end(Verdict::Ok))
            }
            Act::Reboot { .. } => {
                assert!(!self.truth.half, "never reboots on a dirty database");
                assert!(self.lease.reboot.at().is_none_or(|at| at <= self.bench.now().wall), "never before its time");
                self.truth.reboots += 1;
                self.restart(true);
                return;
            }
            Act::Verify { expected, .. } => {
                assert_eq!(expected == transaction(), self.truth.installed, "verifies against what was done");
                verified(&[])
            }
            Act::Gates { .. } => ActEnd::Gates(HooksEnd::default()),
            Act::Resolve { .. }
            | Act::ResolveBy { .. }
            | Act::Patches
            | Act::Sightings
            | Act::Probe { .. }
            | Act::Check { .. } => panic!("not after Go"),
        };
        self.send(Event::Ended { act: id, end });
    }

    fn die(&mut self, death: Death) {
        let unfinished: Vec<u32> = self.truth.runners.iter().filter(|(_, done)| !**done).map(|(n, _)| *n).collect();
        match death {
            Death::Host | Death::Runner => self.truth.dead.extend(unfinished),
            Death::Process => unfinished.into_iter().for_each(|attempt| self.install(attempt)),
            Death::Unspawned => {
                for attempt in unfinished {
                    self.truth.runners.remove(&attempt);
                    self.truth.half = false;
                }
            }
        }
        // Once the reboot has begun, a power cut is one: nobody can tell them apart, and nobody needs to.
        let rebooting = matches!(self.bench.saved.last(), Some(JournalEntry::Began { phase: Phase::Reboot, .. }));
        if rebooting && death == Death::Host {
            self.truth.reboots = 1;
        }
        self.restart(death == Death::Host);
    }

    fn restart(&mut self, new_boot: bool) {
        self.effects.clear();
        self.pending.clear();
        self.report = None;
        self.bench.boot += 100;
        self.bench.rebuild(new_boot);
        self.send(Event::Started);
        self.send(Event::Skew(Some(0)));
    }
}

/// How many effects an undisturbed run performs.
fn length() -> usize {
    let mut world = World::new(None);
    let mut count = 0;
    while world.report.is_none() {
        match (world.effects.pop_front(), world.pending.pop_front()) {
            (Some(effect), act) => {
                world.perform(effect);
                count += 1;
                world.pending.extend(act);
            }
            (None, Some((id, act))) => world.finish(id, act),
            (None, None) => panic!("stuck"),
        }
    }
    count
}

fn killed_everywhere(death: Death, check: impl Fn(usize, &Truth, &Report)) {
    let length = length();
    assert!(length > 25, "the run has {length} effects");
    for at in 1..=length {
        let (truth, report) = World::new(Some((at, death))).run();
        assert!(truth.installs <= 1, "{death:?} after effect {at}: installed {} times", truth.installs);
        assert!(!truth.half, "{death:?} after effect {at}: left half-installed");
        assert!(truth.reboots <= 1, "{death:?} after effect {at}: {} reboots", truth.reboots);
        let drained = truth.hooks.iter().any(|(point, _)| point == "pre-install");
        let undrained = truth.hooks.iter().any(|(point, _)| point == "on-exit");
        assert!(!drained || undrained, "{death:?} after effect {at}: on-exit is owed");
        assert_eq!(report.rebooted, truth.reboots == 1, "{death:?} after effect {at}");
        check(at, &truth, &report);
    }
}

#[test]
fn an_undisturbed_run_succeeds() {
    let (truth, report) = World::new(None).run();
    assert_eq!((truth.installs, truth.reboots, report.outcome), (1, 1, Outcome::Succeeded));
    let hooks: Vec<_> = truth.hooks.iter().map(|(point, attempt)| (point.as_str(), *attempt)).collect();
    assert_eq!(hooks, [("pre-install", 1), ("post-install", 1), ("post-reboot", 1), ("on-exit", 1)]);
}

#[test]
fn a_killed_process_changes_nothing_but_attempts() {
    killed_everywhere(Death::Process, |at, truth, report| {
        assert_eq!(report.outcome, Outcome::Succeeded, "after effect {at}: {:?}", report.error);
        assert_eq!((truth.installs, truth.reboots), (1, 1), "after effect {at}");
    });
}

#[test]
fn an_act_that_was_never_spawned_is_spawned() {
    killed_everywhere(Death::Unspawned, |at, truth, report| {
        assert_eq!(report.outcome, Outcome::Succeeded, "after effect {at}: {:?}", report.error);
        assert_eq!((truth.installs, truth.reboots), (1, 1), "after effect {at}");
    });
}

#[test]
fn a_host_that_dies_ends_in_a_known_reported_state() {
    killed_everywhere(Death::Host, |at, truth, report| match report.outcome {
        Outcome::Succeeded => assert!(truth.installed, "after effect {at}"),
        Outcome::Deferred => assert!(!truth.installed, "after effect {at}"),
        Outcome::Failed => {
            let code = report.error.as_ref().map(|error| error.code.as_str());
            assert_eq!(code, Some("unexpected-reboot"), "after effect {at}");
        }
    });
}

#[test]
fn a_dead_runner_is_repaired_and_never_started_again() {
    killed_everywhere(Death::Runner, |at, truth, report| {
        assert_eq!(report.outcome, Outcome::Succeeded, "after effect {at}: {:?}", report.error);
        assert!(truth.runners.len() == 1, "after effect {at}");
    });
}

#[test]
fn one_that_waits_for_the_time_of_its_reboot_goes_on_waiting_in_every_life() {
    let at = WallTime(EPOCH_WALL + 100_000);
    let waits = || Lease { reboot: RebootOption::At(at), ..lease() };
    for death in [Death::Process, Death::Unspawned, Death::Host, Death::Runner] {
        for effect in 1..=length() + 40 {
            let (truth, report) = World::with(waits(), Some((effect, death))).run();
            assert!(truth.installs <= 1 && truth.reboots <= 1, "{death:?} after effect {effect}");
            assert_eq!(report.rebooted, truth.reboots == 1, "{death:?} after effect {effect}");
            if death != Death::Host {
                assert_eq!((truth.installed, truth.reboots), (true, 1), "{death:?} after effect {effect}");
                assert_eq!(report.outcome, Outcome::Succeeded, "{death:?} after effect {effect}");
            }
        }
    }
}
