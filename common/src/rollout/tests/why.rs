//! Why things are where they are: a cause for everything that is not done, and what stands behind the usual ones.

use std::collections::BTreeSet;

use super::*;
use crate::{
    gossip::{Mode, NodeRecord, RecordBody},
    rollout::{
        plan::{ExcludedBecause, ExcludedHost},
        service::ServiceSpec,
        why::{Cause, Heard, MAX_NAMED, Scene},
    },
    run::message::{RunError, StepReport, StopScope},
};

const OTHER: RolloutId = RolloutId([8; 8]);

impl World {
    pub(super) fn scene(&self) -> Scene<'_> {
        Scene { ledger: self.controller.ledger(), desk: self.controller.desk(), now: self.now }
    }

    pub(super) fn why(&self, seed: u8) -> Vec<Cause> {
        self.scene().host(signer(seed).id(), None)
    }
}

fn codes(chain: &[Cause]) -> Vec<&str> {
    chain.iter().map(|cause| cause.code.as_str()).collect()
}

fn left_out(seed: u8) -> ExcludedHost {
    ExcludedHost {
        node: signer(seed).id(),
        name: format!("host-{seed:02}"),
        because: ExcludedBecause::Observing,
        code: "observe-mode".into(),
        text: "observes".into(),
        remedy: "enforce".into(),
    }
}

/// Law: whatever happened, everything that is not done has a cause, of its own rollout, with a word, a sentence and the root
/// that somebody asked for it; and nothing that is done has one.
pub(super) fn holds(world: &World, context: &str, seen: &mut BTreeSet<String>) {
    let (ledger, scene) = (world.controller.ledger(), world.scene());
    let mut open_somewhere = BTreeSet::new();
    for (id, state) in &ledger.rollouts {
        for (at, planned) in state.plan.hosts.iter().enumerate() {
            let host = &state.hosts[at];
            let good = host.report.as_ref().is_some_and(|report| report.outcome == Outcome::Succeeded);
            if matches!(host.progress, Progress::Skipped) || (host.progress == Progress::Reported && good) {
                continue;
            }
            open_somewhere.insert(*id);
            let newer = |other: &&RolloutState| {
                let known = other.index.get(&planned.node);
                other.started_at >= state.started_at && known.is_some() && other.plan.name != state.plan.name
            };
            // An ended rollout says nothing any more of a host that a newer one patched.
            if state.ended_at.is_some() && ledger.rollouts.values().any(|other| newer(&other)) {
                continue;
            }
            let chain = scene.host(planned.node, None);
            let said: Vec<_> = chain.iter().filter(|cause| cause.text.contains(&state.plan.name)).collect();
            assert!(said.len() >= 2, "{context}: {} in {}: {chain:?}", planned.name, state.plan.name);
            assert!(said.iter().any(|cause| cause.code == "applied"), "{context}: {chain:?}");
            let waiting = planner::waiting(ledger, *id, at, world.controller.desk(), world.now);
            if let Some(waiting) = waiting.filter(|_| state.ended_at.is_none()) {
                assert!(chain.iter().any(|cause| cause.code == waiting.code()), "{context}: {chain:?}");
            }
            checked(&chain, context, seen);
        }
        for out in &state.plan.excluded {
            assert!(codes(&scene.host(out.node, None)).contains(&out.code.as_str()), "{context}");
        }
        let chain = scene.rollout(*id);
        let over = state.ended_at.is_some() && !open_somewhere.contains(id) && state.plan.excluded.is_empty();
        assert_eq!(chain.is_empty(), over, "{context}: {chain:?}");
        assert!(over || chain.last().unwrap().code == "applied", "{context}: {chain:?}");
        checked(&chain, context, seen);
    }
    let patch = scene.patch("lab");
    assert!(patch.planned > 0 && patch.chain.is_empty() == (patch.done == patch.planned), "{context}: {patch:?}");
    checked(&patch.chain, context, seen);
}

fn checked(chain: &[Cause], context: &str, seen: &mut BTreeSet<String>) {
    for cause in chain {
        assert!(!cause.code.is_empty() && cause.text.len() > cause.code.len(), "{context}: {cause:?}");
        seen.insert(cause.code.clone());
    }
}

#[test]
fn everything_that_is_not_done_has_a_cause() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let mut world = World::new(8);
        world.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for host in 1..=8 {
            let script = match world.rng.next_u64() % 8 {
                0 => Script::Bad,
                1 => Script::Refuses(RefusalCode::Locked),
                2 => Script::Refuses(RefusalCode::PlanChanged),
                3 => Script::Silent,
                _ => Script::Good,
            };
            world.script(host, script);
        }
        world.see_all();
        let ends = |hour: i64| WallTime(hour + 20_000 + (seed as i64 % 4) * 100_000);
        let openings = [0, HOUR].map(|at| Opening { opens: WallTime(at), last_start: ends(at), closes: ends(at) });
        let mut plan = plan_of(6, 1 + (seed as u32 % 3), seed as u32 % 3, openings.to_vec());
        plan.excluded = vec![left_out(9)];
        let ring = super::rings::ring;
        plan.rings = match seed % 4 {
            0 => vec![ring("canary", 3, &["1", "100%"], 3, 5), ring("fleet", 3, &[], 0, 0)],
            1 => vec![PlannedRing { ramp: Ramp::Aws, ..ring("all", 6, &[], 0, 0) }],
            2 => {
                let approved = PlannedRing { approvals: 1, ..ring("fleet", 4, &[], 0, 0) };
                vec![ring("canary", 2, &[], 0, 0), approved]
            }
            _ => plan.rings,
        };
        world.apply(plan.clone());
        for step in 0..60 {
            match world.rng.next_u64() % 24 {
                0 => world.send(Event::Pause { rollout: ID, by: "ops".into() }),
                1 | 2 => world.send(Event::Resume { rollout: ID, by: "ops".into() }),
                3 if step > 30 => world.send(Event::Stop { rollout: ID, by: "ops".into() }),
                4 => world.release(1 + (seed % 8) as u8),
                5 => world.pass(61_000),
                6 => world.rebuild(),
                7 if step > 20 => world.script(1 + (seed % 8) as u8, Script::Silent),
                8 => world.send(Event::Skew(Some(40_000 * (seed as i64 % 2)))),
                9 if step > 40 => world.pass(HOUR as u64 / 2),
                10 if seed % 3 == 0 => {
                    let plan = Plan {
                        name: "second".into(),
                        hash: [1; 32],
                        openings: plan.openings.clone(),
                        ..plan_of(8, 1, 0, vec![])
                    };
                    if !world.controller.ledger().rollouts.contains_key(&OTHER) {
                        world.send(Event::Apply { id: OTHER, plan: Box::new(plan), by: "ops".into() });
                    }
                }
                11 if seed % 7 == 0 => {
                    world.send(Event::Started { incarnation: Incarnation(seed + 50), continues: false });
                    world.see_all();
                }
                12..=15 => world.finish_one(),
                16 | 17 => world.pass(1500),
                _ => world.round(),
            }
            holds(&world, &format!("seed {seed} step {step}"), &mut seen);
        }
    }
    // The fleets were wild enough to see every usual reason.
    let usual = [
        "applied",
        "approval",
        "bake",
        "claimed",
        "clock-skew",
        "halted",
        "handshake",
        "listening",
        "lost",
        "locked",
        "observe-mode",
        "paused",
        "plan-changed",
        "ramp",
        "released",
        "ring",
        "running",
        "silent",
        "slot",
        "slot-held",
        "step-wait",
        "stopped",
        "transaction-failed",
        "window-closed",
    ];
    let missing: Vec<_> = usual.iter().filter(|code| !seen.contains(**code)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {seen:?}");
}

/// A rollout that waits for a host that is gone: the chain ends at the command that frees the slot.
#[test]
fn behind_a_full_rollout_stand_the_hosts_that_hold_its_slots() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 2, 2, open()));
    world.round();
    world.round();
    let chain = world.why(3);
    assert_eq!(codes(&chain), ["slot", "slot-held", "slot-held", "applied", "unheard"]);
    assert_eq!(chain[0].command.as_deref(), Some("patchmesh slots ls"));
    assert_eq!((chain[1].command.as_deref(), chain[0].at), (None, Some(WallTime(0))), "time changes it");
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(61_000);
    let chain = world.why(3);
    assert_eq!(chain[1].command.as_deref(), Some("patchmesh slots release host-01 --because TEXT"), "{chain:?}");
    assert!(chain[1].text.starts_with("host-01 holds a slot: silent for 61 s"), "{chain:?}");
    let rollout = world.scene().rollout(ID);
    assert!(rollout[0].text.starts_with("host-03: waits in rollout wave"), "{rollout:?}");
}

/// A ring waits for the canary, and the canary for a slot that a silent host holds.
#[test]
fn behind_a_ring_stand_the_hosts_before_it_and_what_they_wait_for() {
    let mut world = World::new(5);
    let rings = vec![super::rings::ring("canary", 3, &[], 0, 300), super::rings::ring("fleet", 2, &[], 0, 0)];
    world.apply(Plan { rings, ..plan_of(5, 1, 1, open()) });
    world.round();
    world.round();
    world.script(1, Script::Silent);
    world.script(3, Script::Silent);
    world.see_all();
    world.pass(61_000);
    let chain = world.why(5);
    assert_eq!(codes(&chain), ["ring", "lost", "slot", "silent", "applied", "unheard"], "{chain:?}");
    let commands: Vec<_> = chain[..4].iter().map(|cause| cause.command.as_deref().unwrap()).collect();
    let release = "patchmesh slots release host-01 --because TEXT";
    assert_eq!(commands, ["patchmesh slots ls", release, "patchmesh slots ls", "systemctl start patchmeshd"]);
    assert_eq!(chain[0].at, Some(WallTime(0)), "since it was applied: no step has settled yet");
    assert!(chain[2].text.starts_with("host-02 goes before it, and waits: 1 of 1 slots are held"), "{chain:?}");
}

#[test]
fn behind_a_halt_stands_the_host_that_failed_and_the_step_that_did() {
    let mut world = World::new(3);
    world.script(1, Script::Bad);
    world.apply(plan_of(3, 1, 0, open()));
    world.pass(7_000);
    world.round();
    world.round();
    let (node, lease) = world.running.pop_first().unwrap();
    assert_eq!(node, signer(1).id());
    let ToCoordinator::Reported(mut report) = world.report(lease, false) else { panic!("a report") };
    // The hook of its end ran after what failed.
    report.phase = Phase::OnExit;
    report.steps = vec![StepReport {
        phase: Phase::Transaction,
        attempt: 1,
        ok: false,
        started: WallTime(0),
        ended: WallTime(1),
        output: "unpacking\nno space left\n\n".into(),
    }];
    world.answer(1, ToCoordinator::Reported(report));
    let chain = world.why(2);
    assert_eq!(codes(&chain), ["halted", "transaction-failed", "applied", "unheard"]);
    assert_eq!(chain[1].command.as_deref(), Some("patchmesh rollout steps 0707070707070707 --host host-01"));
    assert!(chain[1].text.contains(", in phase transaction: "), "{chain:?}");
    let own = world.why(1);
    assert_eq!(codes(&own), ["transaction-failed", "step-failed", "applied", "unheard"]);
    assert_eq!(own[1].text, "step transaction (attempt 1) failed and last said: no space left");
}

#[test]
fn who_held_it_up_since_when_is_told_until_it_ends() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.pass(5_000);
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    world.pass(5_000);
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    let first = |world: &World| world.why(2).remove(0);
    assert_eq!((first(&world).code.as_str(), first(&world).at), ("paused", Some(WallTime(5_000))));
    assert_eq!(first(&world).text, "waits in rollout wave: paused by ops");
    assert_eq!(first(&world).command.as_deref(), Some("patchmesh rollout resume 0707070707070707"));
    world.send(Event::Resume { rollout: ID, by: "ops".into() });
    assert_eq!(world.state().since, Default::default());
    world.send(super::operated::order(StopScope::All, 3, true, Role::Operator));
    assert_eq!((first(&world).code.as_str(), first(&world).at), ("stopped", Some(WallTime(10_000))));
    world.send(super::operated::order(StopScope::All, 4, false, Role::Operator));
    assert_eq!(world.controller.ledger().stopped_all_since, None);
    world.send(Event::Stop { rollout: ID, by: "ops".into() });
    assert!(first(&world).text.ends_with(" stopped by ops"), "{}", first(&world).text);
    assert_eq!(world.why(2)[1].text, "rollout wave was applied by ops: 2 hosts, 1 at once, halts if more than 0 fail");
}

#[test]
fn many_hosts_that_wait_for_the_same_are_one_cause_and_a_patch_names_what_lacks_it() {
    let mut world = World::new(12);
    let opening = Opening { opens: WallTime(HOUR), last_start: WallTime(2 * HOUR), closes: WallTime(2 * HOUR) };
    world.apply(plan_of(12, 3, 0, vec![opening]));
    let chain = world.scene().rollout(ID);
    assert_eq!(codes(&chain), ["window-closed", "applied"]);
    let names = (1..=MAX_NAMED).map(|seed| format!("host-{seed:02}")).collect::<Vec<_>>().join(", ");
    assert!(chain[0].text.starts_with(&format!("12 hosts ({names} and 7 more): wait in rollout wave")), "{chain:?}");
    world.pass(HOUR as u64);
    world.run();
    assert_eq!(world.scene().rollout(ID), []);
    let lab = world.scene().patch("lab");
    assert_eq!((lab.planned, lab.done, lab.chain), (12, 12, vec![]));
    let nobody = world.scene().patch("nginx");
    assert_eq!((nobody.planned, codes(&nobody.chain)), (0, vec!["not-planned"]));
}

/// Two services, each with a member that is down: what helps the one does not help the other.
#[test]
fn hosts_that_wait_for_the_same_word_with_another_text_are_told_apart() {
    let mut world = World::new(6);
    let tags = |app: &str| [("app".to_owned(), app.to_owned())].into();
    for seed in 1..=6u8 {
        let (name, app) = (format!("host-{seed:02}"), if seed <= 3 { "pg" } else { "web" });
        world.words.insert(signer(seed).id(), Words { name, tags: tags(app), expires: WallTime(9 * HOUR) });
    }
    world.see_all();
    for app in ["pg", "web"] {
        world.keep(ServiceSpec { name: app.into(), selector: tags(app), ..super::services::service("2") });
    }
    world.script(3, Script::Silent);
    world.script(6, Script::Silent);
    world.see_all();
    world.apply(super::services::plan_for(&[1, 2, 4, 5], 4));
    world.settle();
    let chain = world.scene().rollout(ID);
    let waits: Vec<_> = chain.iter().filter(|cause| cause.code == "service").map(|cause| &cause.text).collect();
    assert_eq!(waits.len(), 2, "{chain:?}");
    assert!(waits[0].starts_with("2 hosts (host-01, host-02): wait") && waits[0].contains("service pg"), "{waits:?}");
    assert!(waits[1].starts_with("2 hosts (host-04, host-05): wait") && waits[1].contains("service web"), "{waits:?}");
}

/// However many texts there are, the chain does not grow with the fleet.
#[test]
fn of_very_many_texts_the_largest_groups_are_told_and_the_rest_is_counted() {
    let mut world = World::new(9);
    world.apply(plan_of(9, 9, 9, open()));
    let refused = |seed: u8| Refusal {
        code: RefusalCode::Locked,
        text: format!("held by {}", seed.min(8)),
        remedy: "wait".into(),
    };
    let mut ledger = world.controller.ledger().clone();
    let state = ledger.rollouts.get_mut(&ID).unwrap();
    (1..=9u8).for_each(|seed| state.hosts[usize::from(seed) - 1].progress = Progress::Refused(refused(seed)));
    let chain = Scene { ledger: &ledger, ..world.scene() }.rollout(ID);
    assert_eq!(codes(&chain), ["locked", "locked", "locked", "locked", "locked", "more", "applied"]);
    assert!(chain[0].text.starts_with("2 hosts (host-08, host-09): refused"), "{chain:?}");
    assert_eq!(chain[5].text, "something like it goes for 3 hosts more: host-05, host-06, host-07");
}

#[test]
fn nobody_is_told_to_reboot_on_an_unclean_package_database() {
    let mut world = World::new(2);
    let mend = crate::run::message::MEND_DATABASE;
    let record = NodeRecord {
        mesh: mesh(),
        incarnation: Incarnation(1),
        version: 1,
        sealed_at: WallTime(0),
        body: RecordBody { mode: Mode::Enforce, reboot_required: true, ..RecordBody::default() },
    };
    let heard = Heard { record: &record, alive: true };
    let commands = |world: &World, scene: Scene<'_>| {
        let chain = scene.host(signer(1).id(), Some(heard));
        assert!(world.state().ended_at.is_some(), "{chain:?}");
        let of = |code: &str| chain.iter().find(|cause| cause.code == code).and_then(|cause| cause.command.clone());
        (of("transaction-failed").or_else(|| of("dirty-database")), of("reboot-required").unwrap())
    };
    world.script(1, Script::Bad);
    world.apply(plan_of(2, 1, 2, open()));
    world.run();
    assert_eq!(commands(&world, world.scene()).1, "systemctl reboot", "it failed, and left nothing unclean");
    let with = |code: &str, text: &str| {
        let mut ledger = world.controller.ledger().clone();
        let host = &mut ledger.rollouts.get_mut(&ID).unwrap().hosts[0];
        let report = host.report.as_mut().unwrap();
        report.error = Some(RunError { code: code.into(), text: text.into(), log: String::new() });
        ledger
    };
    let left = format!("dpkg ended with 1; {}: lab is half-configured", crate::run::message::LEFT_UNCLEAN);
    for ledger in [with("transaction-failed", &left), with("dirty-database", "the package database is unclean: lab")] {
        let scene = Scene { ledger: &ledger, ..world.scene() };
        assert_eq!(commands(&world, scene), (Some(mend.into()), mend.into()));
    }
    // A newer run has looked at it since, and found it clean.
    let mut ledger = with("dirty-database", "unclean");
    let mut newer = ledger.rollouts[&ID].clone();
    newer.started_at = WallTime(9);
    newer.hosts[0].report.as_mut().unwrap().error =
        Some(RunError { code: "hook-failed".into(), text: "no".into(), log: String::new() });
    ledger.rollouts.insert(OTHER, newer);
    assert_eq!(commands(&world, Scene { ledger: &ledger, ..world.scene() }).1, "systemctl reboot");
}
