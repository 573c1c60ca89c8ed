//! One simulated host: the production [`PatchRun`], a durable journal, a runner that outlives the daemon, and the truth.

use patchmesh_common::{
    gossip::Mode,
    id::{BootId, LeaseId},
    inventory::{PackageChange, Transaction},
    machine::{Cx, Machine},
    membership::{Credential, Role},
    patch::PatchCounters,
    run::{
        HookPoint,
        act::{Act, ActEnd, ActId, Adoption, HooksEnd, TransactionEnd, Verdict, Verified},
        compare::Comparison,
        journal::JournalEntry,
        machine::{Effect, Event, PatchRun, Settings},
        message::{Answer, Resolution},
    },
    time::Now,
};
use rand::{Rng, rngs::Xoshiro256PlusPlus};

use crate::keys::{Keys, MESH, credential, node};

/// How long a transaction takes, in milliseconds of virtual time.
pub(crate) const INSTALL: u64 = 4_000;
const HOOK: u64 = 150;
const LOOK: u64 = 300;
const REBOOT: u64 = 8_000;

/// What a host really did, whatever its daemon believes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Transactions that were started, each with its lease.
    pub(crate) installs: Vec<LeaseId>,
    /// Hooks in the order in which they began.
    pub(crate) hooks: Vec<HookPoint>,
    /// Reboots that the run asked for.
    pub(crate) reboots: u32,
    /// When each disruptive step began.
    pub(crate) disruptions: Vec<u64>,
}

/// A runner process: it lives on its own.
#[derive(Clone, Copy, Debug)]
struct Runner {
    lease: LeaseId,
    attempt: u32,
    ends: u64,
}

/// What the host wants the world to do.
pub(crate) enum Want {
    /// Send to the coordinator.
    Answer(Box<Answer>),
    /// Tell the host at this time how its act ended.
    End { at: u64, act: ActId, end: ActEnd },
    /// Start the daemon again at this time; with a new boot if `reboot`.
    Start { at: u64, reboot: bool },
    /// Wake the machine at this time.
    Wake { at: u64 },
}

pub(crate) struct SimHost {
    pub(crate) number: usize,
    pub(crate) credential: Credential,
    pub(crate) truth: Truth,
    /// Grows with every start: what was meant for an earlier life is dropped.
    pub(crate) life: u64,
    /// The soonest wake that is under way.
    wake: u64,
    pub(crate) up: bool,
    breaks: bool,
    machine: PatchRun,
    journal: Vec<JournalEntry>,
    boot: u8,
    runner: Option<Runner>,
    rng: Xoshiro256PlusPlus,
}

impl SimHost {
    pub(crate) fn new(number: usize, breaks: bool, rng: Xoshiro256PlusPlus) -> Self {
        let machine = PatchRun::rebuild(settings(number, 0), []);
        Self {
            number,
            credential: credential(number, Role::Node),
            truth: Truth::default(),
            life: 0,
            wake: 0,
            up: false,
            breaks,
            machine,
            journal: Vec::new(),
            boot: 0,
            runner: None,
            rng,
        }
    }

    /// What this host would install.
    pub(crate) fn transaction() -> Transaction {
        let change = PackageChange {
            name: "tool".into(),
            arch: "amd64".into(),
            from: Some("1.0".into()),
            to: "1.1".into(),
            sha256: "00".repeat(32),
        };
        Transaction { changes: vec![change], removals: Vec::new() }
    }

    /// Starts the daemon from what is durable.
    pub(crate) fn start(&mut self, now: Now, reboot: bool, wants: &mut Vec<Want>) {
        if reboot {
            self.boot += 1;
            self.runner = None;
        }
        self.life += 1;
        self.wake = 0;
        self.up = true;
        self.machine = PatchRun::rebuild(settings(self.number, self.boot), &self.journal);
        self.step(now, Event::Started, usize::MAX, wants);
        self.step(now, Event::Skew(Some(0)), usize::MAX, wants);
    }

    /// Whether a lease runs here whose outcome is not fixed.
    pub(crate) fn is_at_work(&self) -> bool {
        self.machine.phase().is_some()
    }

    /// The daemon dies; a runner goes on.
    pub(crate) fn kill(&mut self) {
        self.life += 1;
        self.up = false;
    }

    /// Feeds one event and performs at most `budget` effects; answers whether the daemon died because the budget ran out.
    pub(crate) fn step(&mut self, now: Now, event: Event, budget: usize, wants: &mut Vec<Want>) -> bool {
        let mut effects = Vec::new();
        self.machine.step(&mut Cx::new(now, &mut self.rng, &Keys, &mut effects), event);
        for (performed, effect) in effects.into_iter().enumerate() {
            if performed >= budget {
                self.kill();
                return true;
            }
            match effect {
                Effect::Save(entry) => self.journal.push(entry),
                Effect::Answer(answer) => wants.push(Want::Answer(answer)),
                Effect::Start { id, act } => self.act(now.boot.0, id, act, wants),
                Effect::Held(_) | Effect::Ignored { .. } => {}
            }
        }
        if let Some(deadline) = self.machine.deadline() {
            let at = deadline.0.max(now.boot.0 + 1);
            if self.wake <= now.boot.0 || at < self.wake {
                self.wake = at;
                wants.push(Want::Wake { at });
            }
        }
        false
    }

    fn act(&mut self, now: u64, act: ActId, what: Act, wants: &mut Vec<Want>) {
        let jitter = self.rng.next_u64() % 200;
        let mut end = |at: u64, end: ActEnd| wants.push(Want::End { at, act, end });
        match what {
            Act::Resolve { .. } => {
                let resolution = Resolution { transaction: Self::transaction(), counters: PatchCounters::default() };
                end(now + LOOK + jitter, ActEnd::Resolved(Ok(resolution)));
            }
            Act::Check { .. } => end(now + LOOK + jitter, ActEnd::Checked(Ok(()))),
            Act::Hooks { point, .. } => {
                self.truth.hooks.push(point);
                if matches!(point, HookPoint::PreInstall | HookPoint::PostInstall) {
                    self.truth.disruptions.push(now);
                }
                end(now + HOOK + jitter, ActEnd::Hooks(HooksEnd::default()));
            }
            Act::Transaction { lease, attempt, .. } => {
                self.truth.installs.push(lease);
                self.truth.disruptions.push(now);
                let ends = now + INSTALL + jitter;
                self.runner = Some(Runner { lease, attempt, ends });
                end(ends, ActEnd::Transaction(self.transaction_end()));
            }
            Act::Adopt { lease, attempt } => match self.runner {
                Some(runner) if (runner.lease, runner.attempt) == (lease, attempt) => {
                    let done = ActEnd::Adopted(Adoption::Finished(self.transaction_end()));
                    end(runner.ends.max(now + 1), done);
                }
                _ if self.truth.installs.contains(&lease) => end(now + LOOK, ActEnd::Adopted(Adoption::Dead)),
                _ => end(now + LOOK, ActEnd::Adopted(Adoption::NeverStarted)),
            },
            Act::Repair { .. } => end(now + LOOK, ActEnd::Transaction(self.transaction_end())),
            Act::Reboot => {
                self.truth.reboots += 1;
                self.truth.disruptions.push(now);
                self.kill();
                wants.push(Want::Start { at: now + REBOOT + jitter, reboot: true });
            }
            Act::Verify { lease, .. } => {
                let installed = self.truth.installs.contains(&lease) && !self.breaks;
                let changed = if installed { Self::transaction().changes } else { Vec::new() };
                let differences = if installed { Vec::new() } else { vec!["tool is at 1.0, not at 1.1".into()] };
                let verified = Verified {
                    comparison: Comparison { changed, differences },
                    counters: PatchCounters::default(),
                    dirty: None,
                };
                end(now + LOOK + jitter, ActEnd::Verified(Ok(verified)));
            }
        }
    }

    fn transaction_end(&self) -> TransactionEnd {
        let verdict = if self.breaks { Verdict::Failed("postinst exits 1".into()) } else { Verdict::Ok };
        TransactionEnd { verdict, output: String::new(), reboot_required: !self.breaks, dirty: None }
    }
}

fn settings(number: usize, boot: u8) -> Settings {
    let boot_id = BootId([boot; 16]);
    Settings { mesh: MESH, me: node(number), mode: Mode::Enforce, boot_id }
}
