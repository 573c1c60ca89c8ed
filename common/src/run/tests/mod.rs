//! Effect, crash, law and golden tests of the machine.

mod crash;
mod effects;
mod found;
mod gates;
mod golden;
mod handshake;
mod laws;
mod reboot_at;
mod released;
mod rows;
mod safe;

use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};

use super::{
    act::{Act, ActEnd, ActId, HooksEnd, Looked, TransactionEnd, Verdict, Verified},
    compare::Comparison,
    journal::JournalEntry,
    machine::{Effect, Event, PatchRun, Settings},
    message::{
        Answer, Command, LatestStart, Lease, LeaseFrame, SignedStop, StopOrder, StopScope, ToCoordinator, ToHost,
    },
};
use crate::{
    gossip::Mode,
    id::{BootId, CommandId, Epoch, Incarnation, LeaseId, MeshId, NodeId, Nonce, RolloutId},
    inventory::{PackageChange, Transaction},
    machine::{Cx, Machine},
    membership::{Credential, Membership, Role},
    patch::{Approval, PatchCounters},
    rollout::{OnHookFailure, Operation, RebootOption, chain::Head},
    schedule::Opening,
    seal::{Sealed, Signature, Signer, Verifier},
    time::{BootTime, Now, WallTime},
};

/// A key whose signature is a hash that names it: nothing here tests cryptography.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) u8);

fn mark(author: &NodeId, context: &str, body: &[u8]) -> Signature {
    let mut bytes = [0; 64];
    let hash = blake3::hash(&[&author.0, context.as_bytes(), body].concat());
    bytes[..32].copy_from_slice(hash.as_bytes());
    Signature::from_bytes(&bytes)
}

impl Signer for Key {
    fn id(&self) -> NodeId {
        NodeId([self.0; 32])
    }
    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        mark(&self.id(), context, body)
    }
}

pub(super) struct Keys;

impl Verifier for Keys {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        mark(author, context, body) == *signature
    }
}

pub(super) const OWNER: Key = Key(1);
pub(super) const HOST: Key = Key(2);
pub(super) const COORDINATOR: Key = Key(3);
pub(super) const OPERATOR: Key = Key(4);
pub(super) const MESH: MeshId = MeshId([1; 32]);
pub(super) const LEASE: LeaseId = LeaseId([7; 16]);
pub(super) const ROLLOUT: RolloutId = RolloutId([8; 8]);
/// Wall time at boot time zero.
pub(super) const EPOCH_WALL: i64 = 1_800_000_000_000;

pub(super) fn credential(key: Key, role: Role) -> Credential {
    let membership = Membership {
        mesh: MESH,
        key: key.id(),
        name: format!("member-{}", key.0),
        role,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: Default::default(),
    };
    Credential { membership: Sealed::seal(&OWNER, &membership), issuer: None }
}

pub(super) fn epoch(counter: u64) -> Epoch {
    Epoch { serial: 1, counter, incarnation: Incarnation(5) }
}

pub(super) fn transaction() -> Transaction {
    let change = PackageChange {
        name: "tool".into(),
        arch: "amd64".into(),
        from: Some("1".into()),
        to: "2".into(),
        sha256: "ab".into(),
    };
    Transaction { changes: vec![change], removals: Vec::new() }
}

pub(super) fn lease() -> Lease {
    Lease {
        id: LEASE,
        rollout: ROLLOUT,
        host: HOST.id(),
        attempt: 1,
        operation: Operation::Install,
        baseline: Approval::All,
        transaction: transaction(),
        reboot: RebootOption::IfNeeded,
        hook_timeout: 300,
        opening: Opening {
            opens: WallTime(EPOCH_WALL),
            last_start: WallTime(EPOCH_WALL + 600_000),
            closes: WallTime(EPOCH_WALL + 900_000),
        },
        latest_start: LatestStart { pre_install: 10, transaction: 200, post_install: 400, reboot: 600 },
        gates: Vec::new(),
    }
}

/// Where the ledger ends in every command.
pub(super) const HEAD: Head = Head { entries: 3, hash: [0x4e; 32] };

pub(super) fn command_at(wall: WallTime, epoch: Epoch, body: ToHost) -> Command {
    let expires = WallTime(wall.0 + 60_000);
    Command { id: CommandId([0; 16]), mesh: MESH, to: HOST.id(), epoch, after: None, head: HEAD, expires, body }
}

pub(super) fn frame(command: &Command) -> Event {
    let sealed = Sealed::seal(&COORDINATOR, command);
    Event::Command(Box::new(LeaseFrame { credential: credential(COORDINATOR, Role::Coordinator), sealed }))
}

pub(super) fn stop_order(sequence: u64, stop: bool, signer: Key, role: Role) -> SignedStop {
    let order = StopOrder { mesh: MESH, scope: StopScope::Rollout(ROLLOUT), sequence, stop };
    SignedStop { order: Sealed::seal(&signer, &order), credential: credential(signer, role) }
}

pub(super) fn hooks_ok() -> ActEnd {
    ActEnd::Hooks(HooksEnd { error: None, output: "hello".into(), timed_out: false })
}

pub(super) fn transaction_end(verdict: Verdict) -> TransactionEnd {
    TransactionEnd { verdict, output: "Setting up tool".into(), reboot_required: true, dirty: None }
}

pub(super) fn verified(differences: &[&str]) -> ActEnd {
    let differences = differences.iter().map(|text| (*text).into()).collect();
    let verified = Verified {
        comparison: Comparison { changed: transaction().changes, differences },
        counters: PatchCounters { installed: 1, ..PatchCounters::default() },
        dirty: None,
    };
    ActEnd::Verified(Ok(verified.into()))
}

/// A machine under a hand-driven clock, with everything that it ever saved.
pub(super) struct Bench {
    pub(super) machine: PatchRun,
    pub(super) boot: u64,
    pub(super) boot_id: BootId,
    pub(super) mode: Mode,
    pub(super) saved: Vec<JournalEntry>,
    rng: Xoshiro256PlusPlus,
    /// Wall clock minus boot clock.
    pub(super) wall: i64,
}

impl Bench {
    /// A started machine without history, whose clock is exact.
    pub(super) fn new() -> Self {
        let boot_id = BootId([1; 16]);
        let settings = Settings { mesh: MESH, me: HOST.id(), mode: Mode::Enforce, boot_id };
        let mut bench = Self {
            machine: PatchRun::rebuild(settings, []),
            boot: 1000,
            boot_id,
            mode: Mode::Enforce,
            saved: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            wall: EPOCH_WALL,
        };
        bench.send(Event::Started);
        bench.send(Event::Skew(Some(0)));
        bench
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: WallTime(self.wall + self.boot as i64), boot: BootTime(self.boot) }
    }

    pub(super) fn send(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = self.now();
        self.machine.step(&mut Cx::new(now, &mut self.rng, &Keys, &mut effects), event);
        for effect in &effects {
            if let Effect::Save(entry) = effect {
                self.saved.push(entry.clone());
            }
        }
        effects
    }

    pub(super) fn say(&mut self, body: ToHost) -> Vec<Effect> {
        let command = command_at(self.now().wall, epoch(1), body);
        self.send(frame(&command))
    }

    pub(super) fn end(&mut self, act: ActId, end: ActEnd) -> Vec<Effect> {
        self.send(Event::Ended { act, end })
    }

    /// Kills the machine and rebuilds it from what was saved; `Started` is the caller's.
    pub(super) fn rebuild(&mut self, new_boot: bool) {
        if new_boot {
            self.boot_id.0[0] = self.boot_id.0[0].wrapping_add(1);
            self.wall += self.boot as i64;
            self.boot = 500;
        }
        let settings = Settings { mesh: MESH, me: HOST.id(), mode: self.mode, boot_id: self.boot_id };
        self.machine = PatchRun::rebuild(settings, &self.saved);
    }

    /// Up to the start of the first phase; the effects of `Go`.
    pub(super) fn granted(&mut self, lease: Lease) -> Vec<Effect> {
        let id = lease.id;
        let nonce = self.ready(lease);
        self.say(ToHost::Go { lease: id, nonce })
    }

    /// Up to `Ready`.
    pub(super) fn ready(&mut self, lease: Lease) -> Nonce {
        let effects = self.say(ToHost::Offer(Box::new(lease)));
        let effects = match starts(&effects).as_slice() {
            [(id, Act::Check { .. })] => self.end(*id, ActEnd::Checked(Ok(()))),
            _ => effects,
        };
        match answers(&effects).as_slice() {
            [ToCoordinator::Ready { nonce, .. }] => *nonce,
            other => panic!("no Ready but {other:?}"),
        }
    }
}

/// The acts that `effects` start.
pub(super) fn starts(effects: &[Effect]) -> Vec<(ActId, Act)> {
    let start = |effect: &Effect| match effect {
        Effect::Start { id, act } => Some((*id, act.clone())),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

/// The one act that `effects` start.
pub(super) fn started(effects: &[Effect]) -> ActId {
    match starts(effects).as_slice() {
        [(id, _)] => *id,
        other => panic!("not one act but {other:?}"),
    }
}

/// What `effects` answer.
pub(super) fn answers(effects: &[Effect]) -> Vec<ToCoordinator> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer(answer) => Some(answer.body.clone()),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

/// One short word per effect, for tests that compare whole lists.
pub(super) fn words(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(word).collect()
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Save(JournalEntry::Epoch(epoch)) => format!("save epoch {}", epoch.counter),
        Effect::Save(JournalEntry::Stop(order)) => format!("save stop {} {}", order.sequence, order.stop),
        Effect::Save(JournalEntry::Granted { .. }) => "save granted".into(),
        Effect::Save(JournalEntry::Began { phase, attempt, .. }) => format!("save began {} {attempt}", phase.as_str()),
        Effect::Save(JournalEntry::Ended { phase, result, .. }) => {
            let how = result.fault.as_ref().map_or("ok", |fault| fault.error.code.as_str());
            format!("save ended {} {how}", phase.as_str())
        }
        Effect::Save(JournalEntry::Barred(fault)) => format!("save barred {:?} {}", fault.outcome, fault.error.code),
        Effect::Save(JournalEntry::Settled(report)) => format!("save settled {:?}", report.outcome),
        Effect::Save(JournalEntry::Acknowledged { .. }) => "save acknowledged".into(),
        Effect::Save(JournalEntry::Refused { .. }) => "save refused".into(),
        Effect::Save(JournalEntry::Released { .. }) => "save released".into(),
        Effect::Answer(answer) => format!("answer {}", answer_word(&answer.body)),
        Effect::Start { act, .. } => format!("start {}", act_word(act)),
        Effect::Held(held) => format!("held {}", held.is_some()),
        Effect::Orders(orders) => format!("orders {}", orders.len()),
        Effect::Ignored { why, .. } => format!("ignored: {why}"),
    }
}

fn act_word(act: &Act) -> String {
    match act {
        Act::Resolve { .. } => "resolve".into(),
        Act::ResolveBy { operation, .. } => format!("resolve by snapshot {operation:?}"),
        Act::Patches => "patches".into(),
        Act::Sightings => "sightings".into(),
        Act::Probe { probe } => format!("probe {}", probe.name()),
        Act::Check { .. } => "check".into(),
        Act::Hooks { point, attempt, .. } => format!("hooks {} {attempt}", point.as_str()),
        Act::Transaction { attempt, .. } => format!("transaction {attempt}"),
        Act::Adopt { attempt, .. } => format!("adopt {attempt}"),
        Act::Repair { because, .. } => format!("repair: {because}"),
        Act::Reboot { .. } => "reboot".into(),
        Act::Verify { expected, .. } => format!("verify {}", expected.changes.len()),
        Act::Gates { attempt, gates, .. } => format!("gates {} {attempt}", gates.len()),
    }
}

fn answer_word(body: &ToCoordinator) -> String {
    match body {
        ToCoordinator::Adopted { held } => format!("adopted {}", held.is_some()),
        ToCoordinator::Fenced { saved, .. } => format!("fenced {}", saved.counter),
        ToCoordinator::Resolved { result, .. } => format!("resolved {}", result.is_ok()),
        ToCoordinator::Ready { .. } => "ready".into(),
        ToCoordinator::Refused { refusal, .. } => format!("refused {}", refusal.code.as_str()),
        ToCoordinator::Progress { phase, .. } => format!("progress {}", phase.as_str()),
        ToCoordinator::Reported(report) => format!("reported {:?}", report.outcome),
        ToCoordinator::StopSaved { sequence, .. } => format!("stop-saved {sequence}"),
        ToCoordinator::Patches { result, .. } => format!("patches {}", result.is_ok()),
        ToCoordinator::Sightings { result, .. } => format!("sightings {}", result.is_ok()),
        ToCoordinator::Probed { result, .. } => format!("probed {result:?}"),
    }
}

#[test]
fn fake_keys_tell_authors_apart() {
    let answer =
        Answer { mesh: MESH, to: OWNER.id(), epoch: epoch(1), head: None, body: ToCoordinator::Adopted { held: None } };
    let mut sealed = Sealed::seal(&HOST, &answer);
    assert_eq!(sealed.open::<Answer>(&Keys), Ok(answer));
    sealed.author = OPERATOR.id();
    assert!(sealed.open::<Answer>(&Keys).is_err());
}
