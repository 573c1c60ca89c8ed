//! What planning costs the coordinator as a fleet grows: everything between the last host's answer and the plan on the wire, and
//! the decision what may start next.
//!
//! ```text
//! cargo run --release -p patchmesh-coordinator --example plan_cost -- [RUNS]
//! ```
//!
//! The hosts are simulated: their answers, earlier reports and a rollout that still has half of them are made before the clock runs.
//! No machine walks a large memory as fast per host as a small one, so growth is told beside that of a yardstick: the planned hosts
//! copied one by one into a tree, which is linear but for the tree. Ends with 1 if a decision over 10,000 hosts takes more than
//! 50 ms, or if anything grows faster than the yardstick.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement is for people to read, and may break")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use patchmesh_common::{
    gossip::Mode,
    id::{Epoch, Incarnation, LeaseId, MeshId, NodeId, RolloutId},
    inventory::{PackageChange, Transaction},
    patch::{Approval, PatchCounters},
    rollout::{
        OnSuperseded, Operation, RebootOption,
        claim::claims,
        ledger::{Ledger, LedgerAct, LedgerEntry},
        limit::{Limit, Ramp},
        plan::{Plan, PlannedHost, ResolvedLimit, Rollout, Superseded},
        planner::{self, Contact, Desk, Waits},
        ring::{PlannedRing, resolve_steps},
        service::{Absent, Member, Part, ServiceAct, ServiceSpec},
        spec::{Asked, RingSpec, RolloutSpec, Targets},
        survey::{Candidate, Found, Survey},
    },
    run::{
        Phase,
        message::{Answer, Outcome, Report, Resolution, ToCoordinator},
    },
    schedule::Opening,
    seal::{Ed25519Signer, Sealed},
    time::{BootTime, Now, WallTime},
};
use patchmesh_coordinator::api::document::{Frozen, PlanDocument, PlanHost, Time};

/// Fewest runs whose median counts.
const RUNS: usize = 7;
/// Fleets, the smallest first.
const FLEETS: [usize; 4] = [1_000, 2_000, 5_000, 10_000];
/// Packages that each host would change.
const PACKAGES: usize = 5;
/// Longest decision over the largest fleet.
const TARGET: Duration = Duration::from_millis(50);
/// So much faster than the yardstick may anything grow: a machine does other things, too. A square would be ten times as fast.
const SLACK: f64 = 2.0;
const NOW: Now = Now { wall: WallTime(1_000_000), boot: BootTime(1_000_000) };
const BEFORE: RolloutId = RolloutId([1; 8]);
const BESIDE: RolloutId = RolloutId([2; 8]);
const NEXT: RolloutId = RolloutId([3; 8]);

/// What is measured: a word, and whether the target is about it.
const STEPS: [(&str, bool); 9] = [
    ("yardstick", false),
    ("answers of the hosts, frozen", false),
    ("estimates and claims", false),
    ("document and its hash", false),
    ("plan applied to the ledger", false),
    ("decision what starts next", true),
    ("reason of every host that waits", false),
    ("decision, half a service down", true),
    ("reasons, half a service down", false),
];

fn main() -> ExitCode {
    let runs = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(RUNS).max(RUNS);
    println!("medians of {runs} in ms; {PACKAGES} packages per host\n");
    let fleets = FLEETS.map(|hosts| format!("{hosts:>10}")).concat();
    println!("{:<34}{fleets}   {:>8} {:>13}", "hosts", "per host", "of yardstick");
    let medians = FLEETS.map(|hosts| Fleet::new(hosts).measure(runs));
    // Per host, and 1.0 is linear.
    let growth = |at: usize| {
        let times = medians.map(|medians| medians[at]);
        let (first, last) = (times[0].as_secs_f64(), times[FLEETS.len() - 1].as_secs_f64());
        last / first / (FLEETS[FLEETS.len() - 1] as f64 / FLEETS[0] as f64)
    };
    let mut good = true;
    for (at, (name, aimed)) in STEPS.iter().enumerate() {
        let times = medians.map(|medians| medians[at]);
        let (growth, ratio) = (growth(at), growth(at) / growth(0));
        let verdict = match (ratio > SLACK, *aimed && times[FLEETS.len() - 1] > TARGET) {
            (true, _) => "  NOT LINEAR",
            (_, true) => "  TOO SLOW",
            _ => "",
        };
        good &= verdict.is_empty();
        let shown = times.map(|time| format!("{:>10.2}", time.as_secs_f64() * 1000.0)).concat();
        println!("{name:<34}{shown}   {growth:>7.2}x {ratio:>12.2}x{verdict}");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulated hosts, and a ledger that knows them.
struct Fleet {
    spec: RolloutSpec,
    candidates: Vec<Candidate>,
    resolutions: Vec<Resolution>,
    ledger: Ledger,
    desk: Desk,
}

fn node(at: usize) -> NodeId {
    Ed25519Signer::from_secret(&seed(at)).id()
}

fn seed(at: usize) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(at as u64).to_be_bytes());
    seed
}

use patchmesh_common::seal::Signer as _;

fn transaction(at: usize) -> Transaction {
    let change = |n: usize| PackageChange {
        name: format!("package-{n}"),
        arch: "amd64".into(),
        from: Some("1.22.1-9".into()),
        // Hosts of the same kind would do the same.
        to: format!("1.22.1-9+deb12u{}", at % 20),
        sha256: "5e".repeat(32),
    };
    Transaction { changes: (0..PACKAGES).map(change).collect(), removals: vec![] }
}

/// A canary of every hundredth host, and the rest in two steps.
fn rings(hosts: usize) -> Vec<PlannedRing> {
    let ring = |name: &str, hosts: usize, steps: &[&str]| {
        let steps: Vec<Limit> = steps.iter().map(|step| step.parse().unwrap()).collect();
        let hosts = u32::try_from(hosts).unwrap();
        let steps = resolve_steps(&steps, hosts);
        PlannedRing { name: name.to_owned(), steps, ..PlannedRing::all(hosts, Ramp::Full) }
    };
    vec![ring("canary", hosts / 100, &[]), ring("fleet", hosts - hosts / 100, &["50%", "100%"])]
}

fn plan(count: usize) -> Plan {
    let hosts = 0..count;
    let limit = |resolved: u32| ResolvedLimit { given: resolved.to_string(), resolved };
    Plan {
        name: "wave".into(),
        hash: [0; 32],
        created_at: WallTime(0),
        operation: Operation::Install,
        baseline: Approval::All,
        reboot: RebootOption::IfNeeded,
        hook_timeout: 60,
        on_hook_failure: Default::default(),
        max_concurrency: limit(100),
        max_errors: limit(10),
        // So short that every start is held against what the host needs.
        openings: vec![Opening { opens: WallTime(0), last_start: until(4), closes: until(5) }],
        hosts: hosts
            .map(|at| PlannedHost { node: node(at), name: format!("host-{at:05}"), transaction: transaction(at) })
            .collect(),
        excluded: vec![],
        rings: rings(count),
        because: None,
        gates: vec![],
        ring_gates: vec![],
        on_superseded: Superseded::Skip,
    }
}

fn act(ledger: &mut Ledger, act: LedgerAct) {
    ledger.fold(&LedgerEntry { at: NOW.wall, act }).unwrap();
}

fn report(at: usize) -> LedgerAct {
    let report = Report {
        lease: lease(at),
        rollout: BEFORE,
        outcome: Outcome::Succeeded,
        phase: Phase::OnExit,
        rebooted: false,
        packages: transaction(at).changes,
        error: None,
        counters: PatchCounters::default(),
        steps: vec![],
        started: WallTime(0),
        ended: WallTime(30_000 + at as i64 % 60_000),
    };
    let epoch = Epoch { serial: 1, counter: 1, incarnation: Incarnation(1) };
    let answer = Answer {
        mesh: MeshId([0; 32]),
        to: NodeId([0; 32]),
        epoch,
        head: None,
        body: ToCoordinator::Reported(Box::new(report)),
    };
    LedgerAct::Reported { evidence: Sealed::seal(&Ed25519Signer::from_secret(&seed(at)), &answer) }
}

/// So many hours from now.
fn until(hours: u64) -> WallTime {
    NOW.wall.plus(Duration::from_secs(hours * 3600))
}

fn lease(at: usize) -> LeaseId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(at as u64).to_be_bytes());
    LeaseId(id)
}

/// The same as asked for: the canary by name.
fn spec_rings(hosts: usize) -> Vec<RingSpec> {
    let ring = |name: &str, selects: Targets, steps: &[&str]| RingSpec {
        name: name.to_owned(),
        selects,
        steps: steps.iter().map(|step| step.parse().unwrap()).collect(),
        wait: Duration::ZERO,
        bake: Duration::ZERO,
        approvals: 0,
    };
    let canary = (0..hosts / 100).map(|at| format!("host-{at:05}")).collect();
    vec![ring("canary", Targets::Names(canary), &[]), ring("fleet", Targets::All, &["50%", "100%"])]
}

impl Fleet {
    fn new(hosts: usize) -> Self {
        let mut ledger = Ledger::default();
        act(
            &mut ledger,
            LedgerAct::Started(Box::new(Rollout { id: BEFORE, plan: plan(hosts), by: "ops".into(), replans: None })),
        );
        for at in 0..hosts {
            let opening = Opening::endless(WallTime(0));
            let granted = LedgerAct::Granted { rollout: BEFORE, host: node(at), lease: lease(at), attempt: 1, opening };
            act(&mut ledger, granted);
            act(&mut ledger, report(at));
        }
        act(&mut ledger, LedgerAct::Ended { rollout: BEFORE });
        act(
            &mut ledger,
            LedgerAct::Started(Box::new(Rollout {
                id: BESIDE,
                plan: plan(hosts / 2),
                by: "ops".into(),
                replans: None,
            })),
        );
        let contact = Contact { alive: true, heard: NOW.boot, ..Contact::default() };
        let candidate = |at: usize| Candidate {
            node: node(at),
            name: format!("host-{at:05}"),
            tags: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            mode: Mode::Enforce,
            alive: true,
            rank: 0,
        };
        Self {
            spec: RolloutSpec {
                urgent: None,
                name: "wave".into(),
                operation: Operation::Install,
                targets: Targets::Labels([("app".into(), "web".into())].into()),
                baseline: Asked::All,
                install_list: None,
                max_concurrency: "1%".parse().unwrap(),
                max_errors: "10".parse().unwrap(),
                openings: vec![],
                windows: vec![],
                blackouts: vec![],
                rings: spec_rings(hosts),
                ramp: Ramp::Full,
                reboot: RebootOption::IfNeeded,
                hook_timeout: Duration::from_secs(60),
                on_hook_failure: Default::default(),
                gates: vec![],
                ring_gates: vec![],
                on_superseded: OnSuperseded::Skip,
            },
            candidates: (0..hosts).map(candidate).collect(),
            resolutions: (0..hosts)
                .map(|at| Resolution { transaction: transaction(at), counters: PatchCounters::default() })
                .collect(),
            desk: Desk {
                contacts: (0..hosts).map(|at| (node(at), contact.clone())).collect(),
                lost_after: Duration::from_secs(900),
                ..Desk::default()
            },
            ledger,
        }
    }

    /// The median of each step.
    fn measure(&self, runs: usize) -> [Duration; STEPS.len()] {
        let mut times: [Vec<Duration>; STEPS.len()] = Default::default();
        for _ in 0..runs {
            for (times, took) in times.iter_mut().zip(self.once()) {
                times.push(took);
            }
        }
        times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
    }

    fn once(&self) -> [Duration; STEPS.len()] {
        let hosts = plan(self.candidates.len()).hosts;
        let begun = Instant::now();
        let tree: BTreeMap<NodeId, PlannedHost> = hosts.iter().map(|host| (host.node, host.clone())).collect();
        let yardstick = begun.elapsed();
        assert_eq!(tree.len(), hosts.len());
        drop((hosts, tree));

        let (candidates, resolutions) = (self.candidates.clone(), self.resolutions.clone());
        let nodes: Vec<NodeId> = candidates.iter().map(|host| host.node).collect();
        let begun = Instant::now();
        let mut survey = Survey::begin(&self.spec, candidates, NOW.boot).unwrap();
        for (node, resolution) in nodes.iter().zip(resolutions) {
            survey.answered(*node, Ok(resolution));
            // As the coordinator does after every answer.
            assert_eq!(survey.is_over(NOW.boot), node == nodes.last().unwrap());
        }
        let Found { planned, excluded, rings } = survey.freeze();
        let frozen = begun.elapsed();
        assert_eq!((planned.len(), excluded.len()), (nodes.len(), 0));

        let begun = Instant::now();
        let expected = self.ledger.durations.expect(self.spec.operation, self.spec.reboot);
        let of = |host: &PlannedHost| expected.of(&host.node, self.ledger.reboots.get(&host.node));
        let known = planned.iter().filter_map(of).count();
        let claimed = claims(&self.ledger, &nodes.iter().copied().collect::<BTreeSet<_>>());
        let expected = begun.elapsed();
        assert_eq!((known, claimed[0].hosts.len()), (nodes.len(), nodes.len() / 2));

        let begun = Instant::now();
        let host = |host: &PlannedHost| {
            PlanHost::new(host.name.clone(), host.node.to_string(), &host.transaction, self.spec.reboot)
        };
        let mut left = planned.iter().map(host);
        let hosts = rings.iter().map(|count| left.by_ref().take(*count as usize).collect()).collect();
        let times = (Time(NOW.wall), Time(WallTime::MAX));
        let document = PlanDocument::new(&self.spec, Frozen::default(), times, hosts, vec![]).unwrap();
        let written = begun.elapsed();
        assert_eq!(document.hosts().count(), nodes.len());

        let mut ledger = self.ledger.clone();
        let entry = LedgerAct::Started(Box::new(Rollout {
            id: NEXT,
            plan: plan(nodes.len()),
            by: "ops".into(),
            replans: None,
        }));
        let begun = Instant::now();
        act(&mut ledger, entry);
        let applied = begun.elapsed();

        let begun = Instant::now();
        let decision = planner::plan(&ledger, NEXT, &self.desk, NOW);
        let decided = begun.elapsed();
        // Half of them are with another rollout, which has not begun: all of the canary may be asked.
        assert_eq!(decision.offer.len(), 100.min(nodes.len() / 100));

        let begun = Instant::now();
        let waits = Waits::of(&ledger, NEXT, &self.desk, NOW).unwrap();
        let reasons = (0..nodes.len()).filter_map(|at| waits.at(at)).count();
        let told = begun.elapsed();
        assert_eq!(reasons, nodes.len());
        let [held_up, told_why] = self.serving(ledger);
        [yardstick, frozen, expected, written, applied, decided, told, held_up, told_why]
    }

    /// The decision and the reasons where every host is in one service, of which every other member is down.
    fn serving(&self, mut ledger: Ledger) -> [Duration; 2] {
        let pg = ServiceSpec {
            name: "pg".into(),
            selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            min_available: "90%".parse().unwrap(),
            spread: None,
            last: vec![],
            probe: None,
        };
        let member = |host: &Candidate| Member {
            node: host.node,
            name: host.name.clone(),
            expires: WallTime::MAX,
            rank: 0,
            of: BTreeMap::from([("pg".to_owned(), Part::default())]),
        };
        let changed = self.candidates.iter().map(member).collect();
        act(&mut ledger, LedgerAct::Service(ServiceAct::Kept { spec: Box::new(pg), by: "ops".into() }));
        act(&mut ledger, LedgerAct::Service(ServiceAct::Members { changed }));
        let absent = self.candidates.iter().step_by(2).map(|host| (host.node, Absent::Silent)).collect();
        let desk = Desk { absent, ..self.desk.clone() };

        let begun = Instant::now();
        let decision = planner::plan(&ledger, NEXT, &desk, NOW);
        let decided = begun.elapsed();
        assert!(decision.offer.is_empty(), "nobody may be taken down");

        let begun = Instant::now();
        let waits = Waits::of(&ledger, NEXT, &desk, NOW).unwrap();
        let reasons = (0..self.candidates.len()).filter_map(|at| waits.at(at)).count();
        assert_eq!(reasons, self.candidates.len());
        [decided, begun.elapsed()]
    }
}
