//! Golden bytes: every wire type and every ledger entry, encoded, beside what it was encoded to when its protocol version was made.
//!
//! A difference means that old and new hosts no longer understand each other: make a new protocol version instead of changing
//! a line of `golden.txt`. New variants go last, and get lines of their own.

use core::{fmt::Debug, time::Duration};
use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    gossip::{ExchangeAnswer, ExchangeRequest, Hello, Item, Mode, NodeRecord, RecordBody, Stamp},
    id::{CommandId, Epoch, Incarnation, LeaseId, MeshId, NodeId, Nonce, RolloutId, SnapshotId},
    inventory::{HostFacts, PackageChange, PackageRemoval, Transaction},
    membership::{Credential, Membership, Role},
    patch::{
        Approval, Baseline, Blocked, PatchCounters,
        baseline::OperatingSystem,
        compliance::{Counters, HostReport, Operated, PatchRow, Standing},
        evaluation::State,
        overrides::{InstallList, Listed},
        sighting::{Seen, Sighting},
        snapshot::{Choice, Pinned, Registered, Rules, Since, Snapshot, Written},
    },
    rollout::{
        OnHookFailure, OnSuperseded, Operation, RebootOption,
        approval::{SignedVerdict, Verdict},
        chain::Head,
        intent::{Intent, Kind},
        ledger::{LedgerAct, LedgerEntry},
        limit::Ramp,
        plan::{ExcludedBecause, ExcludedHost, Plan, PlannedHost, ResolvedLimit, Rollout, Superseded},
        ring::PlannedRing,
        ring_gate::RingVerdict,
        service::{Absent, Member, Part, ServiceAct, ServiceSpec},
        slots::Hold,
        spec::{Asked, RingSpec, RolloutSpec, Targets, Urgent},
    },
    run::{
        Phase,
        gate::{Ask, Gate},
        message::{
            Answer, Command, LatestStart, Lease, LeaseFrame, OrderStamp, Outcome, Refusal, RefusalCode, Report,
            Resolution, RunError, SignedStop, StepReport, StopOrder, StopScope, ToCoordinator, ToHost,
        },
    },
    schedule::{Opening, blackout::Blackout},
    seal::{Ed25519Signer, Sealed, Signature, Signer as _},
    time::WallTime,
    wire,
};

const GOLDEN: &str = include_str!("golden.txt");
const WALL: WallTime = WallTime(1_790_000_000_000);

/// Collects lines and compares them at the end, so that one run shows every difference.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add<T: Serialize + DeserializeOwned + Debug + PartialEq>(&mut self, name: &str, value: &T) {
        let bytes = wire::encode(value);
        assert_eq!(wire::decode::<T>(&bytes, bytes.len()).as_ref(), Ok(value), "{name} does not come back");
        assert!(wire::decode::<T>(&[&bytes[..], &[0]].concat(), usize::MAX).is_err(), "{name} takes a trailing byte");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push(format!("{name} {hex}"));
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn sealed(body: &[u8]) -> Sealed {
    Sealed { author: NodeId([2; 32]), body: body.to_vec(), signature: Signature::from_bytes(&[3; 64]) }
}

fn credential() -> Credential {
    Credential { membership: sealed(&[1]), issuer: Some(sealed(&[2])) }
}

fn membership() -> Membership {
    Membership {
        mesh: MeshId([1; 32]),
        key: NodeId([2; 32]),
        name: text("db-01"),
        role: Role::Coordinator,
        serial: 7,
        expires: WALL,
        may_issue: true,
        tags: BTreeMap::from([(text("role"), text("db"))]),
    }
}

fn counters() -> PatchCounters {
    let [installed, installed_other, installed_pending_reboot, missing, failed, blocked] = [1, 2, 3, 4, 5, 6];
    PatchCounters { installed, installed_other, installed_pending_reboot, missing, failed, blocked }
}

fn record() -> NodeRecord {
    let facts = HostFacts {
        os: text("debian"),
        os_version: text("12"),
        arch: text("amd64"),
        manager: text("apt"),
        agent_version: text("0.1.0"),
        kernel: text("6.1.0"),
    };
    let body = RecordBody {
        addresses: vec![text("/ip4/10.0.0.1/tcp/7878")],
        facts,
        tags: BTreeMap::from([(text("zone"), text("a"))]),
        mode: Mode::Enforce,
        counters: counters(),
        reboot_required: true,
        held: Some((LeaseId([4; 16]), RolloutId([5; 8]))),
        inventory: [6; 32],
        scanned_at: Some(WALL),
        orders: vec![OrderStamp { scope: StopScope::Rollout(RolloutId([5; 8])), sequence: 5, stop: true }],
    };
    NodeRecord { mesh: MeshId([1; 32]), incarnation: Incarnation(300), version: 2, sealed_at: WALL, body }
}

fn transaction() -> Transaction {
    let change = PackageChange {
        name: text("libc6"),
        arch: text("amd64"),
        from: Some(text("1:2.36-9")),
        to: text("1:2.36-10"),
        sha256: text("ab"),
    };
    let removal = PackageRemoval { name: text("old"), arch: text("all"), version: text("1") };
    Transaction { changes: vec![change], removals: vec![removal] }
}

fn gates() -> Vec<Gate> {
    let asks = [
        Ask::Command(vec![text("check"), text("-q")]),
        Ask::SystemdUnit(text("a.service")),
        Ask::NoNewFailedUnits,
        Ask::Http { url: text("http://a/"), status: 204 },
    ];
    asks.into_iter().map(|ask| Gate { ask, timeout_seconds: 30 }).collect()
}

fn lease() -> Lease {
    Lease {
        id: LeaseId([4; 16]),
        rollout: RolloutId([5; 8]),
        host: NodeId([2; 32]),
        attempt: 1,
        operation: Operation::Install,
        baseline: Approval::Security,
        transaction: transaction(),
        reboot: RebootOption::IfNeeded,
        hook_timeout: 300,
        opening: Opening { opens: WALL, last_start: WALL, closes: WallTime::MAX },
        latest_start: LatestStart { pre_install: 60, transaction: 120, post_install: 180, reboot: 240 },
        gates: gates(),
    }
}

fn refusal() -> Refusal {
    Refusal { code: RefusalCode::RemovalsNeeded, text: text("t"), remedy: text("r") }
}

fn report() -> Report {
    let step =
        StepReport { phase: Phase::OnExit, attempt: 2, ok: true, started: WALL, ended: WALL, output: text("out") };
    Report {
        lease: LeaseId([4; 16]),
        rollout: RolloutId([5; 8]),
        outcome: Outcome::Deferred,
        phase: Phase::Settled,
        rebooted: true,
        packages: transaction().changes,
        error: Some(RunError { code: text("hook-failed"), text: text("t"), log: text("l") }),
        counters: counters(),
        steps: vec![step],
        started: WALL,
        ended: WALL,
    }
}

fn gossip(lines: &mut Lines) {
    let stamp = Stamp { author: NodeId([2; 32]), incarnation: Incarnation(300), version: 2 };
    let item = Item { credential: credential(), record: sealed(&[9]) };
    lines.add("membership", &membership());
    lines.add("credential", &credential());
    lines.add("record", &record());
    lines.add("item", &item);
    lines.add("hello", &Hello { wall: WALL, credential: credential(), full: true });
    lines.add("pull", &ExchangeRequest::Pull { wall: WALL, digest: vec![stamp] });
    lines.add("push", &ExchangeRequest::Push { wall: WALL, items: vec![item.clone()] });
    lines.add("delta", &ExchangeAnswer::Delta { wall: WALL, items: vec![item], want: vec![NodeId([8; 32])] });
    lines.add("taken", &ExchangeAnswer::Taken { wall: WALL });
    let signed = SignedStop { order: sealed(&[9]), credential: credential() };
    lines.add("orders", &ExchangeRequest::Orders { wall: WALL, orders: vec![signed] });
}

fn snapshot() -> Snapshot {
    let seen = Since { name: text("libc6"), arch: text("amd64"), version: text("1"), sha256: text("ab"), since: WALL };
    let registered = Registered { groups: vec![(text("prod"), text("web"))], defaults: vec![text("web")] };
    let pinned = Pinned {
        os: text("debian"),
        os_version: text("12"),
        name: text("libc6"),
        arch: text("amd64"),
        version: text("1"),
        sha256: text("ab"),
    };
    let rules = Rules {
        baselines: vec![Written { name: text("web"), spec: text("{}") }],
        choice: Choice::Group(registered),
        list: Some(text("{}")),
        first_seen: vec![seen],
    };
    Snapshot { at: WALL, rules, versions: Some(vec![pinned]) }
}

fn sighting() -> (Seen, Sighting) {
    let seen = (text("libc6"), text("amd64"), text("1"), text("ab"));
    (seen, Sighting { seen: WALL, index: Some(WALL) })
}

fn host_report() -> HostReport {
    let standing = Standing {
        at: WALL,
        operation: Operation::Scan,
        baseline: text("web"),
        group: Some(text("prod")),
        counters: Counters { installed: 1, missing: 2, ..Counters::default() },
        severity: Some(text("HIGH")),
        operated: Operated {
            started: Some(WALL),
            snapshot: Some(text("ab")),
            install_list: true,
            reboot: Some(RebootOption::IfNeeded),
            last_no_reboot: None,
        },
    };
    let row = PatchRow {
        name: text("libc6"),
        arch: text("amd64"),
        installed: Some(text("1")),
        available: Some(text("2")),
        state: State::Missing,
        level: text("HIGH"),
        classification: Some(text("Security")),
        blocked: Some(Blocked::Hold),
        code: text("rule"),
        text: text("t"),
        rule: Some(1),
        opens_at: Some(WALL),
        ignored_date_gate: true,
    };
    HostReport { standing: standing.clone(), rows: vec![row], left_out: 3, history: vec![standing] }
}

fn lease_messages(lines: &mut Lines) {
    let (lease_id, rollout) = (LeaseId([4; 16]), RolloutId([5; 8]));
    let held = Some((lease_id, rollout));
    let stop = SignedStop { order: sealed(&[9]), credential: credential() };
    let to_host = [
        ("adopt", ToHost::Adopt),
        ("resolve", ToHost::Resolve { request: CommandId([6; 16]), baseline: Baseline::All }),
        ("offer", ToHost::Offer(Box::new(lease()))),
        ("go", ToHost::Go { lease: lease_id, nonce: Nonce([7; 16]) }),
        ("acknowledge", ToHost::Acknowledge { lease: lease_id }),
        ("stop", ToHost::Stop(Box::new(stop))),
        ("withdraw", ToHost::Withdraw { lease: lease_id }),
        ("release", ToHost::Release { lease: lease_id }),
        (
            "resolve-by",
            ToHost::ResolveBy {
                request: CommandId([6; 16]),
                operation: Operation::Install,
                snapshot: Box::new(snapshot()),
            },
        ),
        ("patches", ToHost::Patches { request: CommandId([6; 16]) }),
        ("sightings", ToHost::Sightings { request: CommandId([6; 16]) }),
        ("probe", ToHost::Probe { request: CommandId([6; 16]), probe: probe() }),
    ];
    let epoch = Epoch { serial: 1, counter: 2, incarnation: Incarnation(3) };
    let head = Head { entries: 300, hash: [8; 32] };
    for (name, body) in to_host {
        let (id, mesh, to) = (CommandId([6; 16]), MeshId([1; 32]), NodeId([2; 32]));
        lines.add(
            &format!("command.{name}"),
            &Command { id, mesh, to, epoch, after: Some(epoch), head, expires: WALL, body },
        );
    }
    let resolution = Resolution { transaction: transaction(), counters: counters() };
    let request = CommandId([6; 16]);
    let to_coordinator = [
        ("adopted", ToCoordinator::Adopted { held }),
        ("fenced", ToCoordinator::Fenced { saved: epoch, held: None }),
        ("resolved", ToCoordinator::Resolved { request, result: Ok(resolution) }),
        ("unresolved", ToCoordinator::Resolved { request, result: Err(refusal()) }),
        ("ready", ToCoordinator::Ready { lease: lease_id, nonce: Nonce([7; 16]) }),
        ("refused", ToCoordinator::Refused { lease: lease_id, refusal: refusal() }),
        ("progress", ToCoordinator::Progress { lease: lease_id, phase: Phase::Transaction, detail: text("d") }),
        ("reported", ToCoordinator::Reported(Box::new(report()))),
        ("stop-saved", ToCoordinator::StopSaved { scope: StopScope::Rollout(rollout), sequence: 5 }),
        ("patches", ToCoordinator::Patches { request, result: Ok(Box::new(host_report())) }),
        ("sightings", ToCoordinator::Sightings { request, result: Ok(vec![sighting()]) }),
        ("no-sightings", ToCoordinator::Sightings { request, result: Err(refusal()) }),
        ("probed", ToCoordinator::Probed { request, result: Ok(()) }),
        ("not-passed", ToCoordinator::Probed { request, result: Err(text("down")) }),
        ("no-patches", ToCoordinator::Patches { request, result: Err(refusal()) }),
    ];
    for (name, body) in to_coordinator {
        let (mesh, to) = (MeshId([1; 32]), NodeId([2; 32]));
        lines.add(&format!("answer.{name}"), &Answer { mesh, to, epoch, head: Some(head), body });
    }
    lines.add("frame", &LeaseFrame { credential: credential(), sealed: sealed(&[9]) });
    let order = StopOrder { mesh: MeshId([1; 32]), scope: StopScope::All, sequence: 5, stop: true };
    lines.add("stop-order", &order);
    let (mesh, rollout) = (MeshId([1; 32]), RolloutId([5; 8]));
    lines.add("verdict", &Verdict { mesh, rollout, ring: 1, approve: true, because: text("b") });
}

fn plan() -> Plan {
    let limit = |given: &str, resolved| ResolvedLimit { given: text(given), resolved };
    let planned = PlannedHost { node: NodeId([2; 32]), name: text("db-01"), transaction: transaction() };
    let excluded = ExcludedHost {
        node: NodeId([8; 32]),
        name: text("db-02"),
        because: ExcludedBecause::Refused,
        code: text("locked"),
        text: text("t"),
        remedy: text("r"),
    };
    let ring = PlannedRing {
        name: text("canary"),
        hosts: 1,
        steps: vec![limit("10%", 1)],
        wait: 60,
        bake: 3600,
        approvals: 2,
        ramp: Ramp::Aws,
    };
    Plan {
        because: Some("cve".into()),
        name: text("weekly"),
        hash: [9; 32],
        created_at: WALL,
        operation: Operation::Install,
        baseline: Approval::Security,
        reboot: RebootOption::IfNeeded,
        hook_timeout: 300,
        on_hook_failure: OnHookFailure::Skip,
        max_concurrency: limit("10%", 1),
        max_errors: limit("2", 2),
        openings: vec![Opening { opens: WALL, last_start: WALL, closes: WallTime::MAX }],
        hosts: vec![planned],
        excluded: vec![excluded],
        rings: vec![ring],
        gates: gates(),
        ring_gates: gates(),
        on_superseded: Superseded::Replan(Box::new(spec())),
    }
}

/// What a plan carries that may be planned again.
fn spec() -> RolloutSpec {
    let ring = RingSpec {
        name: text("canary"),
        selects: Targets::Names([text("web-1")].into()),
        steps: vec!["1".parse().unwrap(), "100%".parse().unwrap()],
        wait: Duration::from_secs(60),
        bake: Duration::from_secs(3600),
        approvals: 1,
    };
    RolloutSpec {
        name: text("weekly"),
        operation: Operation::Install,
        targets: Targets::Matching("app=web".parse().unwrap()),
        baseline: Asked::Systems([(OperatingSystem::Debian, text("web"))].into()),
        install_list: Some(InstallList { patches: vec![Listed { id: text("nginx.amd64"), title: None }] }),
        max_concurrency: "10%".parse().unwrap(),
        max_errors: "2".parse().unwrap(),
        openings: vec![],
        windows: vec![text("nightly")],
        blackouts: vec![Blackout { from: WALL, to: WallTime::MAX }],
        reboot: RebootOption::IfNeeded,
        hook_timeout: Duration::from_secs(300),
        on_hook_failure: OnHookFailure::Halt,
        rings: vec![ring],
        ramp: Ramp::Aws,
        urgent: Some(Urgent { because: Some(text("cve")) }),
        gates: gates(),
        ring_gates: gates(),
        on_superseded: OnSuperseded::Replan,
    }
}

fn verdict() -> Box<SignedVerdict> {
    Box::new(SignedVerdict { verdict: sealed(&[9]), credential: credential() })
}

fn service() -> ServiceSpec {
    let label = |key, value| [(text(key), text(value))].into();
    ServiceSpec {
        name: text("pg"),
        selector: label("app", "pg"),
        min_available: "50%".parse().expect("a limit"),
        spread: Some(text("zone")),
        last: vec![label("role", "primary")],
        probe: Some(probe()),
    }
}

fn probe() -> Gate {
    Gate { ask: Ask::Command(vec![text("pg"), text("-q")]), timeout_seconds: 10 }
}

fn member(node: NodeId) -> Member {
    let of = [(text("pg"), Part { value: Some(text("a")) })].into();
    Member { node, name: text("db-1"), expires: WallTime::MAX, rank: 1, of }
}

fn ledger(lines: &mut Lines) {
    let (lease, rollout, host) = (LeaseId([4; 16]), RolloutId([5; 8]), NodeId([2; 32]));
    let epoch = Epoch { serial: 1, counter: 2, incarnation: Incarnation(3) };
    let opening = Opening { opens: WALL, last_start: WALL, closes: WallTime::MAX };
    let intent = |intent| LedgerAct::Intent { intent, by: text("ops") };
    let failed = RingVerdict::Failed { gate: 3, text: "no".into() };
    let acts = [
        ("epoch-opened", LedgerAct::EpochOpened { epoch, continued: true }),
        ("adopted", LedgerAct::Adopted { host, held: Some((lease, rollout)) }),
        (
            "started",
            LedgerAct::Started(Box::new(Rollout { id: rollout, plan: plan(), by: "ops".into(), replans: None })),
        ),
        ("granted", LedgerAct::Granted { rollout, host, lease, attempt: 1, opening }),
        ("reported", LedgerAct::Reported { evidence: sealed(&[9]) }),
        ("returned", LedgerAct::Returned { rollout, host, lease, refusal: refusal() }),
        ("refused", LedgerAct::Refused { rollout, host, refusal: refusal() }),
        ("paused", LedgerAct::Paused { rollout, by: "ops".into() }),
        ("resumed", LedgerAct::Resumed { rollout, by: "ops".into() }),
        ("halted", LedgerAct::Halted { rollout }),
        ("stopped", LedgerAct::Stopped { rollout, sequence: 5, by: "ops".into() }),
        ("ended", LedgerAct::Ended { rollout }),
        (
            "ordered",
            LedgerAct::Ordered { evidence: Box::new(SignedStop { order: sealed(&[9]), credential: credential() }) },
        ),
        (
            "released",
            LedgerAct::Released {
                host,
                lease: Some(lease),
                held: Hold::Foreign,
                by: text("ops"),
                because: text("dead"),
            },
        ),
        ("step-settled", LedgerAct::StepSettled { rollout, ring: 1, step: 2, without: vec![host] }),
        ("ring-settled", LedgerAct::RingSettled { rollout, ring: 1, without: vec![] }),
        ("approved", LedgerAct::Approved { evidence: verdict() }),
        ("rejected", LedgerAct::Rejected { evidence: verdict() }),
        ("service.kept", LedgerAct::Service(ServiceAct::Kept { spec: Box::new(service()), by: text("ops") })),
        ("service.dropped", LedgerAct::Service(ServiceAct::Dropped { name: text("pg"), by: text("ops") })),
        ("service.fleet", LedgerAct::Service(ServiceAct::Fleet { limit: Some(9) })),
        ("service.members", LedgerAct::Service(ServiceAct::Members { changed: vec![member(host)] })),
        (
            "service.seen",
            LedgerAct::Service(ServiceAct::Seen { absent: vec![(host, Absent::Silent)], back: vec![host] }),
        ),
        (
            "service.probed",
            LedgerAct::Service(ServiceAct::Probed { service: text("pg"), passed: vec![host], failed: vec![host] }),
        ),
        ("ring-asked", LedgerAct::RingAsked { rollout, ring: 1, attempt: 2 }),
        ("ring-passed", LedgerAct::RingGated { rollout, ring: 1, attempt: 2, verdict: RingVerdict::Passed }),
        ("ring-failed", LedgerAct::RingGated { rollout, ring: 1, attempt: 2, verdict: failed }),
        ("intent.created", intent(Intent::Created { kind: Kind::Baseline, name: text("web"), digest: [7; 32] })),
        ("intent.replaced", intent(Intent::Replaced { kind: Kind::Window, name: text("sundays"), digest: [7; 32] })),
        ("intent.deleted", intent(Intent::Deleted { kind: Kind::Policy, name: text("nightly") })),
        ("intent.registered", intent(Intent::Registered { group: text("prod"), baseline: text("web") })),
        ("intent.deregistered", intent(Intent::Deregistered { group: text("prod"), baseline: text("web") })),
        ("intent.made-default", intent(Intent::MadeDefault { baseline: text("web") })),
    ];
    for (name, act) in acts {
        lines.add(&format!("ledger.{name}"), &LedgerEntry { at: WALL, act });
    }
}

/// The words that are stored and sent as numbers, in the order of their numbers.
fn words(lines: &mut Lines) {
    use RefusalCode::*;
    lines.add("choice.systems", &Choice::Systems);
    let refusals = vec![
        ObserveMode,
        Busy,
        PlanChanged,
        VersionGone,
        RepositoryUnreachable,
        Locked,
        DirtyDatabase,
        ClockSkew,
        OutsideOpening,
        Stopped,
        StaleEpoch,
        ManagerFailed,
        StaleGo,
        RemovalsNeeded,
        NoSpace,
        SafeMode,
        Held,
        ConfigConflict,
        OtherManager,
        NoBaseline,
        NoReport,
        SourceNotAllowed,
        GateNotApplicable,
    ];
    lines.add("words.refusal", &refusals);
    lines.add("words.outcome", &vec![Outcome::Succeeded, Outcome::Failed, Outcome::Deferred]);
    let phases = [Phase::Granted, Phase::PreInstall, Phase::Transaction, Phase::PostInstall, Phase::Reboot];
    let later = [Phase::PostReboot, Phase::Verify, Phase::OnExit, Phase::Settled];
    lines.add("words.phase", &[&phases[..], &later[..]].concat());
    lines.add("words.role", &vec![Role::Node, Role::Coordinator, Role::Operator]);
    lines.add("words.mode", &vec![Mode::Observe, Mode::Enforce]);
    lines.add("words.baseline", &vec![Baseline::All, Baseline::Security]);
    lines.add("words.approval", &vec![Approval::All, Approval::Security, Approval::Snapshot(SnapshotId([9; 32]))]);
    lines.add("words.operation", &vec![Operation::Scan, Operation::Install]);
    lines.add(
        "words.reboot",
        &vec![RebootOption::Never, RebootOption::IfNeeded, RebootOption::At(WallTime(1_800_000_000_000))],
    );
    let excluded =
        vec![ExcludedBecause::Silent, ExcludedBecause::Observing, ExcludedBecause::Refused, ExcludedBecause::NoRing];
    lines.add("words.excluded", &excluded);
    lines.add("words.ramp", &vec![Ramp::Full, Ramp::Aws]);
    lines.add("words.planned-superseded", &vec![Superseded::Skip, Superseded::Wait]);
    lines.add("words.superseded", &vec![OnSuperseded::Skip, OnSuperseded::Wait, OnSuperseded::Replan]);
    lines.add("words.hook-failure", &vec![OnHookFailure::Fail, OnHookFailure::Skip, OnHookFailure::Halt]);
    lines.add("words.hold", &vec![Hold::Busy, Hold::Lost, Hold::Foreign, Hold::Unknown]);
}

#[test]
fn no_wire_type_has_moved() {
    let mut lines = Lines::default();
    gossip(&mut lines);
    lease_messages(&mut lines);
    ledger(&mut lines);
    words(&mut lines);
    // The signed bytes, too: context, separator, body.
    let signer = Ed25519Signer::from_secret(&[7; 32]);
    lines.add("signature", &signer.sign("patchmesh/record/1", b"body"));
    let golden: Vec<&str> = GOLDEN.lines().collect();
    let moved: Vec<&String> = lines.0.iter().filter(|line| !golden.contains(&line.as_str())).collect();
    assert!(
        moved.is_empty(),
        "these lines differ from golden.txt:\n{}",
        moved.iter().map(|l| l.as_str()).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(golden.len(), lines.0.len(), "golden.txt has lines that nothing makes");
}
