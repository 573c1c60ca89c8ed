use std::collections::BTreeMap;

use patchmesh_common::{
    gossip::{Mode, NodeRecord, RecordBody},
    id::{Incarnation, MeshId},
    inventory::{HostFacts, Transaction},
    membership::{Membership, Role},
    patch::{PatchCounters, compliance},
    poison::{Abort, Name, Poison},
    rollout::{
        Operation, RebootOption,
        limit::Ramp,
        plan::{ExcludedBecause, Plan},
        spec::{Asked, MAX_OPENINGS, RingSpec, Targets},
    },
    run::message::Outcome,
    schedule::{Opening, blackout::Blackout},
};

use patchmesh_node::{api::document::tags, peer::Presence};

use super::*;
use crate::api::document::OpeningDocument;
use crate::fault::Exit;
use crate::status::tests::{World, node};

const NOW: WallTime = WallTime(1_000_000);

fn plan_of(hosts: &[(&str, u8)], max_concurrency: &str) -> PlanDocument {
    let spec = RolloutSpec {
        urgent: None,
        name: "wave".into(),
        operation: Operation::Install,
        targets: Targets::All,
        baseline: Asked::All,
        install_list: None,
        max_concurrency: max_concurrency.parse().unwrap(),
        max_errors: "50%".parse().unwrap(),
        openings: vec![],
        windows: vec![],
        blackouts: vec![],
        reboot: RebootOption::Never,
        hook_timeout: std::time::Duration::from_secs(60),
        on_hook_failure: Default::default(),
        rings: vec![],
        ramp: Ramp::Full,
        gates: vec![],
        ring_gates: vec![],
        on_superseded: patchmesh_common::rollout::OnSuperseded::Skip,
    };
    let host = |(name, seed): &(&str, u8)| {
        PlanHost::new((*name).into(), node(*seed).to_string(), &Transaction::default(), RebootOption::Never)
    };
    let times = (Time(NOW), Time(WallTime(NOW.0 + PLAN_LIFETIME)));
    let waiting = |code: &str| WaitingDocument { code: code.into(), text: "why".into(), command: None };
    let left_out = |(seed, code): (u8, &str)| Excluded {
        host: format!("out-{seed}"),
        node_id: Some(node(seed).to_string()),
        waiting: waiting(code),
    };
    let excluded = [(20, "silent"), (21, "observe-mode"), (22, "locked")].map(left_out).to_vec();
    PlanDocument::new(&spec, Frozen::default(), times, vec![hosts.iter().map(host).collect()], excluded).unwrap()
}

/// A plan for one host.
pub(super) fn thawed() -> Plan {
    thaw(plan_of(&[("web-1", 1)], "1"), NOW).unwrap()
}

#[test]
fn a_plan_document_thaws_into_what_it_froze() {
    let plan = thaw(plan_of(&[("b", 2), ("c", 3), ("d", 4), ("a", 1)], "50%"), NOW).unwrap();
    let names: Vec<_> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["b", "c", "d", "a"], "in the order that somebody reviewed");
    assert_eq!((plan.max_concurrency.resolved, plan.max_errors.resolved), (2, 2), "of the four that are planned");
    assert_eq!(plan.openings, [Opening::endless(NOW)], "none means from now on");
    let because: Vec<_> = plan.excluded.iter().map(|host| host.because).collect();
    assert_eq!(because, [ExcludedBecause::Silent, ExcludedBecause::Observing, ExcludedBecause::Refused]);
}

#[test]
fn a_plan_goes_by_the_openings_that_it_froze() {
    let opening = |at: i64| Opening {
        opens: WallTime(at * 1000),
        last_start: WallTime(at * 1000 + 400),
        closes: WallTime(at * 1000 + 500),
    };
    let frozen = |change: &dyn Fn(&mut PlanDocument), openings: &[Opening]| {
        let mut document = plan_of(&[("a", 1)], "1");
        document.openings = openings.iter().copied().map(OpeningDocument::from).collect();
        change(&mut document);
        document.hash = document.computed_hash().unwrap();
        thaw(document, NOW).map(|plan| plan.openings).map_err(|fault| fault.message)
    };
    let windows = |document: &mut PlanDocument| document.spec.windows = vec!["nightly".into()];
    let blackout = |from, to| {
        let blackout = Blackout { from: WallTime(from), to: WallTime(to) };
        move |document: &mut PlanDocument| document.spec.blackouts = vec![blackout.into()]
    };
    let misfit = Err("the list \"openings\" of the plan does not fit the rest of it".to_owned());
    let two = [opening(1), opening(9)];
    assert_eq!(frozen(&windows, &two), Ok(two.to_vec()));
    assert_eq!(frozen(&windows, &[]), misfit, "a window is never open without end");
    assert_eq!(frozen(&windows, &[Opening { closes: WallTime(0), ..opening(1) }]), misfit, "out of order");
    assert_eq!(frozen(&windows, &[opening(1); MAX_OPENINGS + 1]), misfit);
    assert_eq!(frozen(&|_| {}, &two), misfit, "nobody asked for openings");
    assert_eq!(frozen(&|_| {}, &[]), Ok(vec![Opening::endless(NOW)]));
    assert_eq!(frozen(&blackout(2000, 3000), &two), Ok(two.to_vec()));
    assert_eq!(frozen(&blackout(1200, 3000), &two), misfit, "one is in the blackout");
    assert_eq!(frozen(&blackout(1200, 3000), &[]), misfit);
}

#[test]
fn openings_that_are_too_short_for_every_host_are_told_and_refuse_nothing() {
    let opens = |seconds: &[i64]| {
        let opening = |seconds: &i64| {
            let end = Time(WallTime(NOW.0 + seconds * 1000));
            OpeningDocument { opens: Time(WallTime(NOW.0 - 60_000)), last_start: end, closes: end }
        };
        seconds.iter().map(opening).collect::<Vec<_>>()
    };
    let warned = |openings: &[i64], needs: [Option<u64>; 2]| {
        let mut plan = plan_of(&[("a", 1), ("b", 2)], "1");
        plan.openings = opens(openings);
        for (host, needs) in plan.rings[0].hosts.iter_mut().zip(needs) {
            host.estimate_seconds = Estimate { p50: needs, p95: needs };
        }
        plan.warning()
    };
    let told = warned(&[60, 90], [Some(100), Some(120)]).unwrap();
    assert!(told.contains("has 90 s,") && told.contains("needs at least 100 s"), "{told}");
    assert!(warned(&[60, 90], [Some(0), Some(120)]).is_some(), "one has nothing to do");
    assert_eq!(warned(&[60, 100], [Some(100), Some(120)]), None);
    assert_eq!(warned(&[60], [None, Some(120)]), None, "nobody knows");
    assert_eq!((warned(&[], [Some(100); 2]), warned(&[60], [Some(0); 2])), (None, None));
}

/// Two rings, one of them in steps: the hosts of the second come after those of the first, whatever they are called.
fn ringed() -> PlanDocument {
    let ring = |name: &str, steps: &[&str]| RingSpec {
        name: name.into(),
        selects: Targets::Names([name.to_owned()].into()),
        steps: steps.iter().map(|step| step.parse().unwrap()).collect(),
        wait: std::time::Duration::ZERO,
        bake: std::time::Duration::ZERO,
        approvals: 0,
    };
    let mut document = plan_of(&[("a", 1), ("b", 2), ("c", 3)], "1");
    let mut spec = RolloutSpec::try_from(document.spec.clone()).unwrap();
    spec.rings = vec![ring("canary", &[]), ring("fleet", &["50%", "100%"])];
    let rest = document.rings[0].hosts.split_off(2);
    let hosts = vec![rest, document.rings[0].hosts.clone()];
    let times = (document.created_at, document.expires_at);
    PlanDocument::new(&spec, Frozen::default(), times, hosts, document.excluded).unwrap()
}

#[test]
fn a_reboot_that_no_opening_reaches_is_no_plan_and_says_both_times() {
    let document = plan_of(&[("a", 1)], "1");
    let spec = RolloutSpec::try_from(document.spec).unwrap();
    let spec = RolloutSpec { reboot: RebootOption::At(WallTime(NOW.0 + 2000)), ..spec };
    let opening = |closes: i64| Opening { opens: NOW, last_start: NOW, closes: WallTime(NOW.0 + closes) };
    let fault = freeze::reboot_in(&spec, &[opening(1000), opening(2000)]).unwrap_err();
    assert_eq!(fault.code, "reboot-too-late");
    assert!(fault.message.starts_with(
        "reboot at 1970-01-01T00:16:42Z is not before the last opening closes, which is at 1970-01-01T00:16:42Z"
    ));
    freeze::reboot_in(&spec, &[opening(1000), opening(3000)]).unwrap();
    freeze::reboot_in(&spec, &[]).unwrap();
}

#[test]
fn rings_thaw_in_order_and_their_limits_are_of_all_hosts() {
    let plan = thaw(ringed(), NOW).unwrap();
    assert_eq!(plan.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
    let steps = |at: usize| plan.rings[at].steps.iter().map(|step| step.resolved).collect::<Vec<_>>();
    assert_eq!((steps(0), steps(1)), (vec![1], vec![1, 2]));
    assert_eq!(plan.max_errors.resolved, 1, "half of three");
}

#[test]
fn rings_that_the_spec_does_not_mean_start_nothing() {
    let refused = |change: fn(&mut PlanDocument)| {
        let mut document = ringed();
        change(&mut document);
        thaw(document, NOW).unwrap_err().message
    };
    let ring = |name: &str| format!("the ring {name:?} of the plan does not fit the rest of it");
    assert_eq!(refused(|plan| plan.rings[1].steps[0].resolved = 2), ring("fleet"));
    assert_eq!(refused(|plan| plan.rings[0].bake_seconds = 1), ring("canary"));
    assert_eq!(refused(|plan| plan.rings[0].name = "first".into()), ring("first"));
    assert_eq!(refused(|plan| plan.rings.swap(0, 1)), ring("fleet"));
    assert_eq!(
        refused(|plan| {
            let host = plan.rings[0].hosts.remove(0);
            plan.rings[1].hosts.push(host);
        }),
        ring("canary"),
        "nobody is left in it"
    );
    assert_eq!(refused(|plan| plan.rings.truncate(1)), ring(""));
}

#[test]
fn a_ring_without_hosts_is_no_plan_and_says_who_is_left_out() {
    let excluded = thaw(plan_of(&[("a", 1)], "1"), NOW).unwrap().excluded;
    let fault = empty_ring("canary", &excluded);
    assert_eq!((fault.code, fault.unchanged.as_str()), ("ring-empty", "nothing was planned"));
    assert_eq!(
        fault.message,
        "ring canary has no host that could be planned; left out are out-20 (silent), out-21 (observe-mode), out-22 (locked)"
    );
    assert!(empty_ring("rest", &[]).message.contains("selects no target"));
    let fault = super::due::nobody(&plan_of(&[], "1"));
    let told = (fault.code, fault.message.as_str());
    assert_eq!(told, ("nobody-planned", "every target was left out, first of all out-20 (silent)"));
}

/// A right hash only says that nobody edited it since somebody hashed it.
#[test]
fn a_document_that_contradicts_itself_starts_nothing() {
    let refused = |change: &dyn Fn(&mut PlanDocument)| {
        let mut document = plan_of(&[("a", 1), ("b", 2)], "1");
        change(&mut document);
        document.hash = document.computed_hash().unwrap();
        let fault = thaw(document, NOW).unwrap_err();
        assert_eq!((fault.code, fault.unchanged.as_str()), ("bad-request", "no rollout was started"));
        fault.message
    };
    let twice = refused(&|plan| {
        let first = plan.rings[0].hosts[0].clone();
        plan.rings[0].hosts.push(first);
    });
    assert_eq!(twice, "the second row of host \"a\" of the plan does not fit the rest of it");
    for resolved in [0, 2] {
        let limits = refused(&|plan| plan.limits.max_concurrency.resolved = resolved);
        assert_eq!(limits, "the limit \"1\" of the plan does not fit the rest of it");
    }
    let key = refused(&|plan| plan.rings[0].hosts[0].node_id = "abc".into());
    assert_eq!(key, "the nodeId \"abc\" of the plan does not fit the rest of it");
}

fn known(host: u8, mode: Mode, presence: Presence, counters: PatchCounters) -> KnownHost {
    let membership = Membership {
        mesh: MeshId([0; 32]),
        key: node(host),
        name: format!("host-{host}"),
        role: Role::Node,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: BTreeMap::from([("app".into(), "issuer".into())]),
    };
    let body = RecordBody {
        addresses: vec![],
        facts: HostFacts {
            os: "debian".into(),
            os_version: "12".into(),
            arch: "amd64".into(),
            manager: "apt".into(),
            agent_version: "0".into(),
            kernel: "6".into(),
        },
        tags: BTreeMap::from([("app".into(), "own".into()), ("zone".into(), "a".into())]),
        mode,
        counters,
        reboot_required: false,
        held: None,
        inventory: [0; 32],
        scanned_at: Some(NOW),
        orders: Vec::new(),
    };
    let record = NodeRecord { mesh: MeshId([0; 32]), incarnation: Incarnation(1), version: 1, sealed_at: NOW, body };
    KnownHost { node: node(host), membership, record, presence, own: false }
}

fn why(world: &World, host: &KnownHost) -> WhyDocument {
    super::why::host(&world.view(), std::slice::from_ref(host), &host.membership.name).unwrap().0
}

fn codes(why: &WhyDocument) -> Vec<&str> {
    why.chain.iter().map(|step| step.code.as_str()).collect()
}

#[test]
fn why_names_what_is_not_done_and_nothing_that_went_well() {
    let mut world = World::new(2, 0, vec![]);
    let clean = known(1, Mode::Enforce, Presence::Alive, PatchCounters::default());
    let missing = PatchCounters { missing: 2, ..PatchCounters::default() };
    assert_eq!(codes(&why(&world, &clean)), ["slot", "applied"], "it waits in the rollout");
    let lacking = known(1, Mode::Enforce, Presence::Alive, missing);
    assert_eq!(codes(&why(&world, &lacking)), ["slot", "applied"], "the rollout sees to what is missing");
    world.grant(1);
    assert_eq!(codes(&why(&world, &clean)), ["running", "applied"]);
    world.report(1, Outcome::Succeeded);
    let done = why(&world, &clean);
    assert_eq!((codes(&done).len(), done.answer.as_str()), (0, "host-1 lacks nothing that its last scan looked for"));
    let mut ill = clean.clone();
    let now = WallTime(3000);
    let deaths = (0..3).map(|at| Abort { at: WallTime(at), in_hand: vec![Name([7; 32])] });
    ill.record.body.tags.extend(Poison::fold(deaths).tags(now));
    let ill = why(&world, &ill);
    assert_eq!(codes(&ill), ["safe-mode", "quarantined"]);
    assert!(ill.answer.contains("takes no lease until 1970-01-01T01:00:00Z"), "{}", ill.answer);
    assert!(ill.chain[1].text.ends_with("(1: 07070707)"), "{}", ill.chain[1].text);
    let lacking = known(1, Mode::Observe, Presence::Silent, missing);
    let why_not = why(&world, &lacking);
    assert_eq!(codes(&why_not), ["silent", "observe-mode", "missing"]);
    assert_eq!(why_not.answer, "host-1: the mesh does not hear it");
    world.grant(2);
    world.report(2, Outcome::Failed);
    let failed = why(&world, &known(2, Mode::Enforce, Presence::Alive, missing));
    assert_eq!(codes(&failed), ["hook-failed", "applied", "missing"]);
}

#[test]
fn why_explains_a_host_that_only_the_ledger_knows() {
    let mut world = World::new(2, 0, vec![]);
    let of = |world: &World, name: &str| super::why::host(&world.view(), &[], name).map(|(why, _)| why);
    let waiting = of(&world, "host-1").unwrap();
    assert_eq!(codes(&waiting), ["slot", "applied", "unheard"]);
    assert!(waiting.answer.starts_with("host-1: waits in rollout wave"), "{}", waiting.answer);
    world.grant(1);
    world.report(1, Outcome::Succeeded);
    assert_eq!(codes(&of(&world, "host-1").unwrap()), ["unheard"]);
    assert_eq!(of(&world, "host-9"), None);
}

#[test]
fn why_answers_for_a_rollout_and_for_a_patch_with_where_it_stands() {
    let mut world = World::new(2, 0, vec![ExcludedBecause::Silent]);
    let rollout = |world: &World| {
        let view = world.view();
        let (id, state) = find(&view, "wave").unwrap();
        super::why::rollout(&view, id, state)
    };
    world.grant(1);
    world.report(1, Outcome::Succeeded);
    let waiting = rollout(&world);
    assert_eq!((waiting.subject.kind.as_str(), waiting.subject.name.as_str()), ("rollout", "wave"));
    assert_eq!(waiting.answer, "wave is Waiting: 0 of 2 slots are held; hosts are asked to start in their order");
    assert_eq!(codes(&waiting), ["slot", "code", "applied"], "the one that was left out is told");
    let patch = |world: &World, name: &str| super::why::patch(&world.view(), name);
    let lab = patch(&world, "lab");
    assert!(lab.answer.starts_with("lab was installed on 1 of the 2 planned for it; host-2: waits"), "{}", lab.answer);
    assert_eq!(codes(&patch(&world, "nginx")), ["not-planned"]);
    world.grant(2);
    world.report(2, Outcome::Succeeded);
    assert_eq!(codes(&patch(&world, "lab")), [""; 0]);
}

#[test]
fn a_plan_shows_the_claims_of_others_and_is_stale_once_another_rollout_takes_a_host() {
    let mut world = World::new(2, 0, vec![]);
    let hosts = thaw(plan_of(&[("host-1", 1), ("host-2", 2), ("host-3", 3)], "1"), NOW).unwrap().hosts;
    let shown = recheck::claimed(&world.ledger, &hosts);
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].name.as_str(), shown[0].hosts.join(" ").as_str()), ("wave", "host-1 host-2"));
    recheck::unclaimed(&world.ledger, &shown, &hosts).unwrap();
    let fault = recheck::unclaimed(&world.ledger, &[], &hosts).unwrap_err();
    assert_eq!(
        (fault.code, fault.exit, fault.unchanged.as_str()),
        ("world-moved", Exit::StalePlan, "no rollout was started")
    );
    assert!(fault.message.ends_with("rollout wave has taken host-1 and 1 more"), "{}", fault.message);
    world.end();
    recheck::unclaimed(&world.ledger, &[], &hosts).unwrap();
    assert_eq!(recheck::claimed(&world.ledger, &hosts), [], "who has ended wants nothing");
}

#[test]
fn a_plan_expects_of_its_hosts_what_their_reports_taught() {
    let mut world = World::new(2, 0, vec![]);
    let change = world.ledger.rollouts[&crate::status::tests::ID].plan.hosts[0].transaction.clone();
    let spec = RolloutSpec::try_from(plan_of(&[("a", 1)], "1").spec).unwrap();
    let planned = |seed, transaction| PlannedHost { node: node(seed), name: "a".into(), transaction };
    let hosts = [planned(1, change), planned(2, Transaction::default())];
    let of = |world: &World| estimates(&world.ledger, &spec, &hosts);
    let nothing = Estimate { p50: Some(0), p95: Some(0) };
    assert_eq!(of(&world), [Estimate::default(), nothing]);
    world.grant(1);
    world.report(1, Outcome::Succeeded);
    assert_eq!(of(&world), [Estimate { p50: Some(40), p95: Some(40) }, nothing]);
}

#[test]
fn the_issuers_tags_win_over_the_hosts_own() {
    let host = known(1, Mode::Enforce, Presence::Alive, PatchCounters::default());
    let tags = tags(&host);
    assert_eq!((tags["app"].as_str(), tags["zone"].as_str()), ("issuer", "a"));
}

#[test]
fn compliance_is_what_the_hosts_own_records_say_and_nonsense_is_no_report() {
    let standing = compliance::Standing {
        at: NOW,
        operation: Operation::Scan,
        baseline: "web".into(),
        group: Some("prod".into()),
        counters: compliance::Counters { missing: 2, ..Default::default() },
        severity: Some("HIGH".into()),
        operated: compliance::Operated::default(),
    };
    let host = |seed, tag: Option<String>| {
        let mut host = known(seed, Mode::Enforce, Presence::Silent, PatchCounters::default());
        host.record.body.tags.extend(tag.map(|tag| (compliance::TAG.to_owned(), tag)));
        host
    };
    let mut other = host(4, None);
    other.membership.role = Role::Coordinator;
    let members = [host(3, Some("{}".into())), host(2, None), host(1, standing.to_tag()), other];
    let of = |selector: &str| ComplianceDocument::of(&members, &Selector::parse(selector).unwrap());
    let document = of("app=issuer,!patchmesh/compliance");
    let names: Vec<_> = document.hosts.iter().map(|row| row.host.as_str()).collect();
    assert_eq!(names, ["host-1", "host-2", "host-3"]);
    assert_eq!((document.fleet.non_compliant, document.fleet.unspecified), (1, 2));
    let first = &document.hosts[0].standing;
    assert_eq!((first.severity.as_deref(), first.patch_group.as_deref()), (Some("HIGH"), Some("prod")));
    assert_eq!(of("app=own").fleet.hosts, 0, "the issuer's tags win");
}

#[test]
fn a_rollout_is_found_by_id_and_by_name() {
    let world = World::new(1, 0, vec![]);
    let view = world.view();
    let id = crate::status::tests::ID;
    assert_eq!(find(&view, &id.to_string()).unwrap().0, id);
    assert_eq!(find(&view, "wave").unwrap().0, id);
    assert_eq!(find(&view, "other").unwrap_err().code, "not-found");
}

#[test]
fn a_plan_that_leaves_out_again_whom_it_is_made_for_names_them() {
    let fault = replans::without(&plan_of(&[("a", 1)], "1"), &[node(22), node(30)].into());
    assert_eq!((fault.code, fault.unchanged.as_str()), ("left-out-again", "no rollout was started"));
    assert_eq!(
        fault.message,
        "2 of the hosts that are to be planned again cannot be planned, first of all out-22 (locked)"
    );
    let fault = replans::without(&plan_of(&[], "1"), &[node(30)].into());
    assert_eq!(
        fault.message, "1 of the hosts that are to be planned again cannot be planned",
        "it is no target any more"
    );
    assert_eq!(
        replans::not_replanned("wave", "no host"),
        "rollout wave could not be planned again, and is tried again within 60 minutes, until 24 hours after its end: no host"
    );
}
