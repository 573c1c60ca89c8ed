//! What never changes in the model: who is there, what is planned, and how far apart numbers of different meaning lie.

use core::{convert::Infallible, time::Duration};
use std::sync::LazyLock;

use patchmesh_common::{
    gossip::Mode,
    id::{BootId, CommandId, Epoch, MeshId, NodeId, RolloutId},
    inventory::{PackageChange, Transaction},
    membership::{Credential, Membership, Role},
    patch::Approval,
    poison::Poison,
    rollout::{
        Operation, RebootOption, controller,
        limit::Ramp,
        plan::{Plan, PlannedHost, ResolvedLimit, Superseded},
        ring::PlannedRing,
    },
    run::{
        machine,
        message::{Command, LeaseFrame, ToHost},
    },
    schedule::Opening,
    seal::{Payload, Sealed, Signature, Verifier},
    time::{BootTime, Now, WallTime},
    wire,
};

/// How many hosts there are.
pub(crate) const HOSTS: usize = 3;
/// The rollout.
pub(crate) const ROLLOUT: RolloutId = RolloutId([7; 8]);
/// As the coordinator's own default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// First byte of everything that is drawn at random in the model.
pub(crate) const DRAWN: u8 = 0xa5;
/// Boot clocks start here: no other number of the machines is as large and smaller than a drawn one.
pub(crate) const BOOT_BASE: u64 = 1_000_000_000;
/// Wall clocks start here, and are near it for ever.
pub(crate) const WALL_BASE: i64 = 1_800_000_000_000;
/// What a stepped clock is off, in milliseconds. No whole second, so that the rest tells how often it was stepped.
const STEP: i64 = 5_001;
const MESH: MeshId = MeshId([200; 32]);
pub(crate) const COORDINATOR: NodeId = NodeId([100; 32]);

/// Trusts every signature: the model forges nothing, and who may say what has its own tests.
pub(crate) struct Trusting;

impl Verifier for Trusting {
    fn verify(&self, _: &NodeId, _: &str, _: &[u8], _: &Signature) -> bool {
        true
    }
}

/// A generator that counts, and marks what it gives.
pub(crate) struct Counter(pub(crate) u64);

impl rand::TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|value| value as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 += 1;
        Ok(u64::from(DRAWN) << 56 | self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(DRAWN);
        Ok(())
    }
}

/// The clocks `millis` after the start, in this boot, with a wall clock that was stepped `clock` times forth.
pub(crate) fn now(millis: u64, boots: u8, clock: i8) -> Now {
    // Boot times of two boots are far apart, so that comparing them would show.
    let boot = BOOT_BASE + u64::from(boots) * 100_000_000 + millis;
    Now { boot: BootTime(boot), wall: WallTime(WALL_BASE + millis as i64 + i64::from(clock) * STEP) }
}

pub(crate) fn node(at: usize) -> NodeId {
    NodeId([at as u8 + 1; 32])
}

pub(crate) fn index(node: NodeId) -> usize {
    usize::from(node.0[0]) - 1
}

pub(crate) fn host_settings(at: usize, boots: u8) -> machine::Settings {
    let mut id = [DRAWN; 16];
    (id[1], id[2]) = (at as u8, boots);
    machine::Settings { mesh: MESH, me: node(at), mode: Mode::Enforce, boot_id: BootId(id) }
}

pub(crate) fn settings() -> controller::Settings {
    controller::Settings {
        mesh: MESH,
        me: COORDINATOR,
        serial: 1,
        // Nobody is ever lost: a host that is killed starts again.
        lost_after: Duration::from_secs(3_600),
        patience: PATIENCE,
        poison: Poison::default(),
    }
}

/// One package on every host, one host at a time, at any time.
pub(crate) fn plan() -> Plan {
    let limit = |resolved| ResolvedLimit { given: String::new(), resolved };
    let change = PackageChange {
        name: "tool".into(),
        arch: String::new(),
        from: None,
        to: String::new(),
        sha256: String::new(),
    };
    let host = |at| PlannedHost {
        node: node(at),
        name: String::new(),
        transaction: Transaction { changes: vec![change.clone()], removals: vec![] },
    };
    Plan {
        because: None,
        name: String::new(),
        hash: [0; 32],
        created_at: WallTime(0),
        operation: Operation::Install,
        baseline: Approval::All,
        reboot: RebootOption::IfNeeded,
        hook_timeout: 1,
        on_hook_failure: Default::default(),
        max_concurrency: limit(1),
        max_errors: limit(HOSTS as u32),
        openings: vec![Opening::endless(WallTime(0))],
        hosts: (0..HOSTS).map(host).collect(),
        excluded: vec![],
        rings: vec![PlannedRing::all(HOSTS as u32, Ramp::Full)],
        gates: Vec::new(),
        ring_gates: Vec::new(),
        on_superseded: Superseded::Skip,
    }
}

pub(crate) fn seal<T: Payload>(author: NodeId, payload: &T) -> Sealed {
    Sealed { author, body: wire::encode(payload), signature: Signature::from_bytes(&[0; 64]) }
}

/// The coordinator's and the hosts', made once: the machines open them at every message.
pub(crate) static CREDENTIALS: LazyLock<(Credential, [Credential; HOSTS])> = LazyLock::new(|| {
    let hosts = core::array::from_fn(|at| credential(node(at), Role::Node));
    (credential(COORDINATOR, Role::Coordinator), hosts)
});

fn credential(key: NodeId, role: Role) -> Credential {
    let membership = Membership {
        mesh: MESH,
        key,
        name: String::new(),
        role,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: Default::default(),
    };
    Credential { membership: seal(NodeId(MESH.0), &membership), issuer: None }
}

/// What the host at `at` hears: a frame around `body`, as the coordinator sealed it.
pub(crate) fn command(
    at: usize,
    (epoch, after): (Epoch, Option<Epoch>),
    expires: WallTime,
    body: ToHost,
) -> machine::Event {
    let command = Command {
        id: CommandId([0; 16]),
        mesh: MESH,
        to: node(at),
        epoch,
        after,
        head: Default::default(),
        expires,
        body,
    };
    let credential = CREDENTIALS.0.clone();
    machine::Event::Command(Box::new(LeaseFrame { credential, sealed: seal(COORDINATOR, &command) }))
}
