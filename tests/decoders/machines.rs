//! The machines, fed with whatever decodes. Every signature counts as right, because what a member signs is any bytes too.

use std::collections::BTreeMap;

use patchmesh_common::{
    gossip::{self, ExchangeAnswer, ExchangeRequest, Gossip, Item, MAX_EXCHANGE, MAX_ITEM, Mode},
    id::{BootId, MeshId, NodeId, Nonce},
    machine::{Cx, Machine as _},
    membership::{Credential, Membership, Role},
    patch::PatchCounters,
    rollout::{
        ledger::{Ledger, LedgerEntry},
        planner::{self, Desk},
    },
    run::{
        act::{Act, ActEnd, Adoption, HooksEnd, Looked, TransactionEnd, Verdict},
        journal::{Journal, JournalEntry},
        machine::{Effect, Event, PatchRun, Settings},
        message::{Command, LeaseFrame, Refusal, RefusalCode, Resolution, ToCoordinator, ToHost},
    },
    seal::{Payload, Sealed, Signature, Verifier},
    time::{BootTime, Now, WallTime},
    wire,
};
use rand::{SeedableRng as _, rngs::ChaCha8Rng};

use super::pieces;

const MESH: MeshId = MeshId([1; 32]);
const ME: NodeId = NodeId([2; 32]);
const COORDINATOR: NodeId = NodeId([3; 32]);
const NOW: Now = Now { wall: WallTime(1_789_999_999_000), boot: BootTime(500_000) };
/// Most events of one input: enough for a whole run, and few enough for thousands of inputs a second.
const EVENTS: usize = 64;

/// Believes every signature.
struct Credulous;

impl Verifier for Credulous {
    fn verify(&self, _: &NodeId, _: &str, _: &[u8], _: &Signature) -> bool {
        true
    }
}

fn sealed<T: Payload>(author: NodeId, payload: &T) -> Sealed {
    Sealed { author, body: wire::encode(payload), signature: Signature::from_bytes(&[0; 64]) }
}

/// A ledger's entries in pieces: whatever folds, the counters beside the hosts are those of a count, and plans can be made.
pub(super) fn ledger(bytes: &[u8]) {
    let mut ledger = Ledger::default();
    for piece in pieces(bytes).take(EVENTS) {
        let Ok(entry) = wire::decode::<LedgerEntry>(piece, LedgerEntry::LIMIT) else { continue };
        let before = ledger.clone();
        if ledger.fold(&entry).is_err() {
            assert_eq!(ledger, before, "an entry that does not fit changed something");
        }
        for (id, state) in &ledger.rollouts {
            assert_eq!(state.recounted(), state.tally, "after {entry:?}");
            planner::plan(&ledger, *id, &Desk::default(), NOW);
            for at in 0..state.hosts.len() {
                planner::waiting(&ledger, *id, at, &Desk::default(), NOW);
            }
        }
    }
}

/// A journal's entries in pieces: the machine that they leave goes on, and is again the fold of what it saved.
pub(super) fn journal(bytes: &[u8]) {
    let entries = pieces(bytes).take(EVENTS).filter_map(|piece| JournalEntry::decode(piece).ok());
    Host::new(entries.collect()).run(|_| None);
}

/// Commands of a coordinator in pieces, each obeyed as far as it may be; the nonce of a `Go` is always the right one.
pub(super) fn lease(bytes: &[u8]) {
    let mut commands =
        pieces(bytes).take(EVENTS).filter_map(|piece| wire::decode::<Command>(piece, Command::LIMIT).ok());
    Host::new(Vec::new()).run(|nonce| {
        let mut command = commands.next()?;
        if let ToHost::Go { nonce: told, .. } = &mut command.body {
            *told = nonce.unwrap_or(*told);
        }
        let membership = Membership {
            mesh: MESH,
            key: COORDINATOR,
            name: String::from("control"),
            role: Role::Coordinator,
            serial: command.epoch.serial,
            expires: WallTime::MAX,
            may_issue: false,
            tags: BTreeMap::new(),
        };
        let credential = Credential { membership: sealed(NodeId(MESH.0), &membership), issuer: None };
        Some(LeaseFrame { credential, sealed: sealed(COORDINATOR, &command) })
    });
}

struct Host {
    machine: PatchRun,
    settings: Settings,
    saved: Vec<JournalEntry>,
    nonce: Option<Nonce>,
    now: Now,
    rng: ChaCha8Rng,
}

impl Host {
    fn new(saved: Vec<JournalEntry>) -> Self {
        let settings = Settings { mesh: MESH, me: ME, mode: Mode::Enforce, boot_id: BootId([0xb0; 16]) };
        let machine = PatchRun::rebuild(settings.clone(), &saved);
        Self { machine, settings, saved, nonce: None, now: NOW, rng: ChaCha8Rng::seed_from_u64(1) }
    }

    /// Ends every act as well as it can, and takes frames and ticks in between.
    fn run(mut self, mut frames: impl FnMut(Option<Nonce>) -> Option<LeaseFrame>) {
        let mut events = vec![Event::Skew(Some(0)), Event::Started];
        for _ in 0..EVENTS {
            let event = match events.pop() {
                Some(event) => event,
                None => match (frames(self.nonce), self.machine.deadline()) {
                    (Some(frame), _) => Event::Command(Box::new(frame)),
                    (None, Some(deadline)) => {
                        self.now.boot = self.now.boot.max(deadline);
                        Event::Tick
                    }
                    (None, None) => break,
                },
            };
            events.extend(self.step(event));
        }
        let again = PatchRun::rebuild(self.settings, &self.saved);
        assert_eq!(again.journal(), self.machine.journal(), "the machine is not the fold of what it saved");
        assert_eq!(&Journal::fold(&self.saved), self.machine.journal());
    }

    fn step(&mut self, event: Event) -> Vec<Event> {
        let mut effects = Vec::new();
        self.machine.step(&mut Cx::new(self.now, &mut self.rng, &Credulous, &mut effects), event);
        let mut events = Vec::new();
        for effect in effects {
            match effect {
                Effect::Save(entry) => {
                    assert_eq!(JournalEntry::decode(&entry.encode()).as_ref(), Ok(&entry), "saved for ever unreadable");
                    self.saved.push(entry);
                }
                Effect::Answer(answer) => {
                    if let ToCoordinator::Ready { nonce, .. } = answer.body {
                        self.nonce = Some(nonce);
                    }
                }
                Effect::Start { id, act } => events.push(Event::Ended { act: id, end: well(act) }),
                Effect::Held(_) | Effect::Orders(_) | Effect::Ignored { .. } => {}
            }
        }
        events
    }
}

fn no_report() -> Refusal {
    Refusal { code: RefusalCode::NoReport, text: String::new(), remedy: String::new() }
}

/// How an act ends where all is well.
fn well(act: Act) -> ActEnd {
    let done = TransactionEnd { verdict: Verdict::Ok, output: String::new(), reboot_required: false, dirty: None };
    match act {
        Act::Resolve { .. } | Act::ResolveBy { .. } => {
            ActEnd::Resolved(Ok(Resolution { transaction: Default::default(), counters: PatchCounters::default() }))
        }
        Act::Patches => ActEnd::Patches(Err(no_report())),
        Act::Sightings => ActEnd::Sightings(Vec::new()),
        Act::Check { .. } => ActEnd::Checked(Ok(())),
        Act::Hooks { .. } => ActEnd::Hooks(HooksEnd::default()),
        Act::Transaction { .. } | Act::Repair { .. } => ActEnd::Transaction(done),
        Act::Adopt { .. } => ActEnd::Adopted(Adoption::Finished(done)),
        Act::Reboot { .. } => ActEnd::Reboot(Ok(())),
        Act::Verify { .. } => ActEnd::Verified(Ok(Looked::default())),
        Act::Gates { .. } => ActEnd::Gates(HooksEnd::default()),
        Act::Probe { .. } => ActEnd::Probed(Ok(())),
    }
}

/// What neighbours say in pieces; the first byte of each chooses announcement, question or answer.
pub(super) fn gossip(bytes: &[u8]) {
    let start = gossip::Start {
        me: ME,
        mesh: MESH,
        settings: gossip::Settings::default(),
        bootstrap: BTreeMap::new(),
        saved: Vec::new(),
        orders: Vec::new(),
    };
    let mut machine = Gossip::new(start, NOW, &Credulous);
    let (mut rng, mut now) = (ChaCha8Rng::seed_from_u64(1), NOW);
    let mut step = |machine: &mut Gossip, event| {
        let mut effects = Vec::new();
        machine.step(&mut Cx::new(now, &mut rng, &Credulous, &mut effects), event);
        now.boot = machine.deadline().map_or(now.boot, |deadline| deadline.max(now.boot));
        for effect in effects {
            if let gossip::Effect::Answer { answer, .. } = effect {
                assert!(wire::size(&answer) <= MAX_EXCHANGE, "an answer that nobody takes");
            }
        }
    };
    step(&mut machine, gossip::Event::LinkUp { peer: COORDINATOR, wall: NOW.wall });
    for piece in pieces(bytes).take(EVENTS) {
        let Some((kind, bytes)) = piece.split_first() else { continue };
        let from = COORDINATOR;
        let event = match kind {
            0 => wire::decode::<Item>(bytes, MAX_ITEM).ok().map(|item| gossip::Event::Announced { token: 0, item }),
            1 => wire::decode::<ExchangeRequest>(bytes, MAX_EXCHANGE).ok().map(|request| gossip::Event::Asked {
                from,
                token: 0,
                request,
            }),
            2 => wire::decode::<ExchangeAnswer>(bytes, MAX_EXCHANGE)
                .ok()
                .map(|answer| gossip::Event::Answered { from, answer }),
            _ => Some(gossip::Event::Tick),
        };
        if let Some(event) = event {
            step(&mut machine, event);
        }
    }
    machine.hosts();
}
