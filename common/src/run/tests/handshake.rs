//! Who may command, the fence, and the start.

use super::*;
use crate::run::{
    gate::{Ask, Gate},
    message::{Refusal, RefusalCode, Resolution},
};
use crate::{
    id::SnapshotId,
    patch::{
        Baseline,
        snapshot::{Choice, Rules, Snapshot},
    },
};

fn offer() -> ToHost {
    ToHost::Offer(Box::new(lease()))
}

fn refusals(effects: &[Effect]) -> Vec<RefusalCode> {
    let code = |body: ToCoordinator| match body {
        ToCoordinator::Refused { refusal, .. } => Some(refusal.code),
        _ => None,
    };
    answers(effects).into_iter().filter_map(code).collect()
}

#[test]
fn an_offer_is_checked_before_ready_and_starts_nothing() {
    let mut bench = Bench::new();
    let effects = bench.say(offer());
    assert_eq!(words(&effects), ["save epoch 1", "start check"]);
    assert_eq!(words(&bench.say(offer())), [""; 0], "a repetition while checking starts no second check");
    assert_eq!(words(&bench.end(started(&effects), ActEnd::Checked(Ok(())))), ["answer ready"]);
    assert_eq!(words(&bench.say(offer())), ["answer ready"], "a lost Ready is repeated");
    assert_eq!(bench.machine.journal().held(), None);
}

#[test]
fn checking_is_bounded_whatever_is_offered() {
    let mut bench = Bench::new();
    let other = |number| ToHost::Offer(Box::new(Lease { id: LeaseId([number; 16]), ..lease() }));
    let first = started(&bench.say(other(1)));
    assert_eq!(words(&bench.say(other(2))), ["start check"]);
    assert_eq!(refusals(&bench.say(other(3))), [RefusalCode::Busy]);
    assert_eq!(words(&bench.end(first, ActEnd::Checked(Ok(())))), [""; 0], "that offer was forgotten");
    assert_eq!(words(&bench.say(other(4))), ["start check"]);
}

#[test]
fn a_changed_plan_is_refused_and_forgotten() {
    let mut bench = Bench::new();
    let effects = bench.say(offer());
    let changed = Refusal { code: RefusalCode::PlanChanged, text: "tool is 3 now".into(), remedy: "plan".into() };
    let effects = bench.end(started(&effects), ActEnd::Checked(Err(changed)));
    assert_eq!(refusals(&effects), [RefusalCode::PlanChanged]);
    let go = ToHost::Go { lease: LEASE, nonce: Nonce([0; 16]) };
    assert_eq!(refusals(&bench.say(go)), [RefusalCode::StaleGo]);
}

#[test]
fn what_hinders_an_offer_is_named() {
    type Change = fn(&mut Bench);
    let cases: [(RefusalCode, Change); 5] = [
        (RefusalCode::ObserveMode, |bench| bench.mode = Mode::Observe),
        (RefusalCode::Stopped, |bench| {
            bench.say(ToHost::Stop(Box::new(stop_order(1, true, COORDINATOR, Role::Coordinator))));
        }),
        (RefusalCode::OutsideOpening, |bench| bench.wall += 600_000),
        (RefusalCode::ClockSkew, |_| {}),
        (RefusalCode::Busy, |bench| {
            bench.granted(Lease { id: LeaseId([9; 16]), ..lease() });
        }),
    ];
    for (code, change) in cases {
        let mut bench = Bench::new();
        change(&mut bench);
        bench.rebuild(false);
        bench.send(Event::Started);
        let skew = if code == RefusalCode::ClockSkew { None } else { Some(30_000) };
        bench.send(Event::Skew(skew));
        assert_eq!(refusals(&bench.say(offer())), [code]);
    }
}

#[test]
fn a_late_wrong_or_clock_stepped_go_starts_nothing() {
    type Change = fn(&mut Bench);
    let cases: [(&str, Change); 3] = [
        ("Ready was said 10 s ago", |bench| bench.boot += 10_001),
        ("apart since Ready", |bench| bench.wall -= 1_001),
        ("a restart forgets offers", |bench| {
            bench.rebuild(false);
            bench.send(Event::Started);
        }),
    ];
    for (text, change) in cases {
        let mut bench = Bench::new();
        let nonce = bench.ready(lease());
        change(&mut bench);
        match answers(&bench.say(ToHost::Go { lease: LEASE, nonce })).as_slice() {
            [ToCoordinator::Refused { refusal, .. }] => assert!(refusal.text.contains(text), "{}", refusal.text),
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(bench.machine.journal().held(), None);
    }
    let mut bench = Bench::new();
    let nonce = bench.ready(lease());
    assert_eq!(refusals(&bench.say(ToHost::Go { lease: LEASE, nonce: Nonce([0; 16]) })), [RefusalCode::StaleGo]);
    let late = bench.say(ToHost::Go { lease: LEASE, nonce });
    assert_eq!(refusals(&late), [RefusalCode::StaleGo], "what was refused cannot start without a new offer");
}

#[test]
fn repetitions_of_a_running_lease_answer_progress_and_do_nothing() {
    let mut bench = Bench::new();
    let nonce = bench.ready(lease());
    bench.say(ToHost::Go { lease: LEASE, nonce });
    assert_eq!(words(&bench.say(ToHost::Go { lease: LEASE, nonce })), ["answer progress pre-install"]);
    assert_eq!(words(&bench.say(offer())), ["answer progress pre-install"]);
    assert_eq!(words(&bench.say(ToHost::Acknowledge { lease: LEASE })), [""; 0]);
}

#[test]
fn a_withdrawn_lease_never_starts_unless_it_has_begun() {
    let withdraw = ToHost::Withdraw { lease: LEASE };
    let mut bench = Bench::new();
    let nonce = bench.ready(lease());
    assert_eq!(words(&bench.say(withdraw.clone())), ["save refused", "answer refused stale-go"]);
    assert_eq!(refusals(&bench.say(ToHost::Go { lease: LEASE, nonce })), [RefusalCode::StaleGo]);
    assert_eq!(
        refusals(&bench.say(withdraw.clone())),
        [RefusalCode::StaleGo],
        "it is said again as often as it is asked"
    );
    let mut bench = Bench::new();
    bench.granted(lease());
    assert_eq!(words(&bench.say(withdraw)), ["answer progress pre-install"]);
}

#[test]
fn lower_and_twin_epochs_are_fenced_and_a_higher_one_is_saved_first() {
    let mut bench = Bench::new();
    let at = bench.now().wall;
    assert_eq!(
        words(&bench.send(frame(&command_at(at, epoch(4), ToHost::Adopt)))),
        ["save epoch 4", "answer adopted false"]
    );
    assert_eq!(words(&bench.send(frame(&command_at(at, epoch(3), ToHost::Adopt)))), ["answer fenced 4"]);
    let twin = Epoch { incarnation: Incarnation(6), ..epoch(4) };
    assert_eq!(words(&bench.send(frame(&command_at(at, twin, offer())))), ["answer fenced 4"]);
    assert_eq!(words(&bench.send(frame(&command_at(at, epoch(4), ToHost::Adopt)))), ["answer adopted false"]);
    let continues = |after: u64| Command { after: Some(epoch(after)), ..command_at(at, epoch(6), ToHost::Adopt) };
    let said = words(&bench.send(frame(&continues(5))));
    assert_eq!(said, ["answer fenced 4"], "somebody else, or an older start, was obeyed last");
    assert_eq!(words(&bench.send(frame(&continues(4)))), ["save epoch 6", "answer adopted false"]);
    assert_eq!(words(&bench.send(frame(&continues(5)))), ["answer adopted false"], "it is saved now");
    let foreign = Epoch { serial: 2, ..epoch(9) };
    let said = words(&bench.send(frame(&command_at(at, foreign, ToHost::Adopt))));
    assert!(said[0].contains("serial"), "{said:?}");
}

#[test]
fn a_new_epoch_makes_the_nonce_of_the_old_one_stale() {
    let mut bench = Bench::new();
    let nonce = bench.ready(lease());
    let at = bench.now().wall;
    let go = ToHost::Go { lease: LEASE, nonce };
    let effects = bench.send(frame(&command_at(at, epoch(2), go)));
    assert_eq!(words(&effects), ["save epoch 2", "save refused", "answer refused stale-go"]);
}

#[test]
fn frames_of_strangers_nodes_and_for_others_are_ignored() {
    let mut bench = Bench::new();
    let good = command_at(bench.now().wall, epoch(1), offer());
    let with = |credential: Credential, signer: Key, command: &Command| {
        Event::Command(Box::new(LeaseFrame { credential, sealed: Sealed::seal(&signer, command) }))
    };
    let coordinator = || credential(COORDINATOR, Role::Coordinator);
    let mut unsigned = coordinator();
    unsigned.membership.author = COORDINATOR.id();
    let cases = [
        ("no membership", with(unsigned, COORDINATOR, &good), "membership was not accepted"),
        ("a node", with(credential(HOST, Role::Node), HOST, &good), "role Node"),
        ("an operator", with(credential(OPERATOR, Role::Operator), OPERATOR, &good), "role Operator"),
        ("stolen membership", with(coordinator(), HOST, &good), "shows the membership of"),
        ("another host", frame(&Command { to: OWNER.id(), ..good.clone() }), "not for this host"),
        ("another mesh", frame(&Command { mesh: MeshId([9; 32]), ..good.clone() }), "is for mesh"),
    ];
    for (name, event, wanted) in cases {
        let said = words(&bench.send(event));
        assert!(said.len() == 1 && said[0].starts_with("ignored") && said[0].contains(wanted), "{name}: {said:?}");
    }
    let old = Command { expires: bench.now().wall, ..good };
    let said = words(&bench.send(frame(&old)));
    assert_eq!(said[..2], ["save refused", "answer refused clock-skew"]);
    assert!(said[2].contains("expired"), "{said:?}");
}

#[test]
fn the_highest_stop_wins_and_a_tie_is_stop() {
    let mut bench = Bench::new();
    let mut order = |sequence, stop| {
        words(&bench.say(ToHost::Stop(Box::new(stop_order(sequence, stop, OPERATOR, Role::Operator)))))
    };
    assert_eq!(order(2, false), ["save stop 2 false", "orders 1", "answer stop-saved 2"]);
    assert_eq!(order(1, true), ["answer stop-saved 1"]);
    assert_eq!(order(2, true), ["save stop 2 true", "orders 1", "answer stop-saved 2"]);
    assert_eq!(order(2, false), ["answer stop-saved 2"]);
    assert!(bench.machine.journal().stopped(ROLLOUT) && !bench.machine.journal().stopped(RolloutId([0; 8])));
    let said = words(&bench.say(ToHost::Stop(Box::new(stop_order(3, false, HOST, Role::Node)))));
    assert!(said[0].contains("role Node"), "{said:?}");
    assert!(bench.machine.journal().stopped(ROLLOUT));
}

#[test]
fn a_fenced_coordinator_still_delivers_a_stop() {
    let mut bench = Bench::new();
    let at = bench.now().wall;
    bench.send(frame(&command_at(at, epoch(5), ToHost::Adopt)));
    let stop = ToHost::Stop(Box::new(stop_order(1, true, OPERATOR, Role::Operator)));
    let said = words(&bench.send(frame(&command_at(at, epoch(1), stop))));
    assert_eq!(said, ["save stop 1 true", "orders 1", "answer stop-saved 1"]);
}

#[test]
fn an_order_of_the_mesh_is_judged_saved_and_only_then_shown() {
    let mut bench = Bench::new();
    let order = |sequence, stop, signer, role| Event::Ordered(Box::new(stop_order(sequence, stop, signer, role)));
    assert_eq!(words(&bench.send(order(1, true, OPERATOR, Role::Operator))), ["save stop 1 true", "orders 1"]);
    assert_eq!(words(&bench.send(order(1, true, OPERATOR, Role::Operator))), ["orders 1"], "known, and shown again");
    assert_eq!(words(&bench.send(order(1, false, OPERATOR, Role::Operator))), ["orders 1"], "a tie is stop");
    let said = words(&bench.send(order(2, false, HOST, Role::Node)));
    assert!(said.len() == 1 && said[0].contains("role Node"), "{said:?}");
    assert!(bench.machine.journal().stopped(ROLLOUT));
    // Whoever asks after a restart reads the same.
    bench.rebuild(false);
    assert!(words(&bench.send(Event::Started)).contains(&"orders 1".to_owned()));
    assert_eq!(words(&bench.send(order(2, false, OPERATOR, Role::Operator))), ["save stop 2 false", "orders 1"]);
    assert!(!bench.machine.journal().stopped(ROLLOUT));
}

#[test]
fn resolving_is_bounded_and_answered_to_the_asker() {
    let mut bench = Bench::new();
    let ask = |byte| ToHost::Resolve { request: CommandId([byte; 16]), baseline: Baseline::Security };
    let effects = bench.say(ask(1));
    assert_eq!(words(&effects), ["save epoch 1", "start resolve"]);
    assert!(bench.say(ask(1)).is_empty());
    assert_eq!(words(&bench.say(ask(2))), ["start resolve"]);
    assert_eq!(words(&bench.say(ask(3))), ["answer resolved false"]);
    let resolution = Resolution { transaction: transaction(), counters: PatchCounters::default() };
    assert_eq!(words(&bench.end(started(&effects), ActEnd::Resolved(Ok(resolution)))), ["answer resolved true"]);
}

#[test]
fn the_offer_of_a_scan_is_checked_if_a_snapshot_judges_it() {
    let scan = Lease { operation: Operation::Scan, transaction: Transaction::default(), ..lease() };
    let judged = Lease { baseline: Approval::Snapshot(SnapshotId([4; 32])), ..scan.clone() };
    assert_eq!(words(&Bench::new().say(ToHost::Offer(Box::new(scan))))[1..], ["answer ready"]);
    let mut bench = Bench::new();
    let effects = bench.say(ToHost::Offer(Box::new(judged)));
    let check = Act::Check {
        operation: Operation::Scan,
        baseline: Approval::Snapshot(SnapshotId([4; 32])),
        transaction: Transaction::default(),
        gates: Vec::new(),
    };
    assert_eq!(starts(&effects)[0].1, check);
    let code = RefusalCode::NoBaseline;
    let unknown = Refusal { code, text: "it was never asked with it".into(), remedy: "make a new plan".into() };
    let effects = bench.end(started(&effects), ActEnd::Checked(Err(unknown)));
    assert_eq!(words(&effects), ["save refused", "answer refused no-baseline"]);
}

#[test]
fn the_snapshots_of_what_is_held_and_offered_are_not_forgotten_for_another() {
    let judged = |n| Lease { id: LeaseId([n; 16]), baseline: Approval::Snapshot(SnapshotId([n; 32])), ..lease() };
    let ask = |bench: &mut Bench, n| {
        let rules = Rules::plain(Choice::All);
        let snapshot = Box::new(Snapshot { at: WallTime(0), rules, versions: None });
        let (request, operation) = (CommandId([n; 16]), Operation::Scan);
        match &starts(&bench.say(ToHost::ResolveBy { request, operation, snapshot }))[..] {
            [(_, Act::ResolveBy { held, .. })] => held.clone(),
            other => panic!("{other:?}"),
        }
    };
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, 1), []);
    bench.ready(judged(5));
    assert_eq!(ask(&mut bench, 2), [SnapshotId([5; 32])], "offered");
    let mut bench = Bench::new();
    bench.granted(judged(6));
    assert_eq!(ask(&mut bench, 3), [SnapshotId([6; 32])], "held");
}

#[test]
fn a_host_keeps_the_head_of_the_last_go_and_says_it_to_that_coordinator_only() {
    let mut bench = Bench::new();
    let said = |effects: &[Effect]| {
        let head = |effect: &Effect| match effect {
            Effect::Answer(answer) => Some(answer.head),
            _ => None,
        };
        effects.iter().filter_map(head).collect::<Vec<_>>()
    };
    assert_eq!(said(&bench.say(ToHost::Adopt)), [None], "nothing was accepted yet");
    bench.granted(lease());
    assert_eq!(bench.machine.journal().head, Some((COORDINATOR.id(), HEAD)));
    assert_eq!(said(&bench.say(ToHost::Adopt)), [Some(HEAD)]);
    let others = bench.machine.journal().head.filter(|(of, _)| *of == OWNER.id());
    assert_eq!(others, None, "what one coordinator said is no word about another's ledger");
    // Another life of the process still knows.
    bench.rebuild(false);
    assert_eq!(said(&bench.say(ToHost::Adopt)), [Some(HEAD)]);
}

#[test]
fn a_probe_is_asked_beside_the_package_manager_and_answered_with_what_it_showed() {
    let mut bench = Bench::new();
    let probe = |byte| ToHost::Probe {
        request: CommandId([byte; 16]),
        probe: Gate { ask: Ask::SystemdUnit("pg.service".into()), timeout_seconds: 10 },
    };
    let look = |byte| ToHost::Resolve { request: CommandId([byte; 16]), baseline: Baseline::Security };
    bench.say(look(1));
    bench.say(look(2));
    let effects = bench.say(probe(3));
    assert_eq!(words(&effects), ["start probe systemdUnit pg.service"], "two questions wait for the package manager");
    assert_eq!(words(&bench.say(probe(3))), [""; 0], "it is asked once");
    let end = bench.end(started(&effects), ActEnd::Probed(Err("the unit is failed".into())));
    assert_eq!(words(&end), ["answer probed Err(\"the unit is failed\")"]);
    (10..26).for_each(|byte| assert_eq!(words(&bench.say(probe(byte))).len(), 1));
    assert_eq!(words(&bench.say(probe(26))), ["answer probed Err(\"16 other questions are being answered already\")"]);
    bench.send(Event::Safe(true));
    let refused = words(&bench.say(probe(27)));
    assert!(refused[0].starts_with("answer probed Err(\"the daemon aborted three times"), "{refused:?}");
}
