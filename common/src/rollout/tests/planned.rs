//! What a ledger knows of hosts before they are planned for again.

use std::collections::BTreeSet;

use super::*;
use crate::rollout::{
    claim::{Claim, claims},
    estimate::Estimate,
    why::Scene,
};

#[test]
fn a_rollout_claims_its_hosts_until_it_has_nothing_left_to_do_on_them_and_leaves_their_times() {
    let mut world = World::new(3);
    let nodes = |seeds: &[u8]| -> BTreeSet<NodeId> { seeds.iter().map(|seed| signer(*seed).id()).collect() };
    let of = |world: &World, seeds: &[u8]| claims(world.controller.ledger(), &nodes(seeds));
    let estimate = |world: &World, seed: u8| {
        let durations = &world.controller.ledger().durations;
        durations.estimate(&signer(seed).id(), Operation::Install, RebootOption::Never, None)
    };
    world.apply(plan_of(3, 1, 0, open()));
    let claim = |seeds: &[u8]| Claim { rollout: ID, name: "wave".into(), hosts: nodes(seeds) };
    assert_eq!(of(&world, &[1, 2, 9]), [claim(&[1, 2])]);
    assert_eq!(of(&world, &[9]), []);
    world.round();
    world.round();
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    assert_eq!(of(&world, &[1, 2, 3]), [claim(&[1, 2, 3])], "a pause lets nobody go");
    world.send(Event::Stop { rollout: ID, by: "ops".into() });
    assert_eq!(of(&world, &[1, 2, 3]), [claim(&[1])], "what never starts is free");
    assert_eq!(estimate(&world, 1), None);
    world.finish_one();
    assert_eq!(of(&world, &[1, 2, 3]), []);
    assert_eq!(estimate(&world, 2), Some(Estimate { p50: 0, p95: 0 }), "it ended in the same instant");
}

/// Three runs of every host that took so many seconds, one host after the other.
fn learned(world: &mut World, seconds: &[u64]) {
    for round in 0..3 {
        let id = RolloutId([100 + round; 8]);
        let hosts = u8::try_from(seconds.len()).unwrap();
        let plan = Plan { reboot: RebootOption::Never, hash: [100 + round; 32], ..plan_of(hosts, 1, 0, open()) };
        world.send(Event::Apply { id, plan: Box::new(plan), by: "ops".into() });
        for took in seconds {
            while world.running.is_empty() {
                world.round();
                world.pass(500);
            }
            let (node, lease) = world.running.pop_first().unwrap();
            let ToCoordinator::Reported(mut report) = world.report(lease, true) else { panic!("a report") };
            report.started = WallTime(world.now.wall.0 - i64::try_from(*took).unwrap() * 1000);
            let seed = world.scripts[&node].0;
            world.answer(seed, ToCoordinator::Reported(report));
            world.round();
        }
    }
}

/// An opening of a minute, and one of ten minutes an hour later.
fn two_openings(world: &World) -> [Opening; 2] {
    let at = |after: i64| WallTime(world.now.wall.0 + after);
    [(0, 60_000), (HOUR, HOUR + 600_000)].map(|(opens, closes)| Opening {
        opens: at(opens),
        last_start: at(closes),
        closes: at(closes),
    })
}

#[test]
fn what_will_not_end_inside_the_opening_does_not_start_and_says_so() {
    let mut world = World::new(3);
    learned(&mut world, &[10, 200, 30]);
    let openings = two_openings(&world);
    world.apply(Plan { reboot: RebootOption::Never, ..plan_of(3, 3, 0, openings.to_vec()) });
    let waits =
        |world: &World, at| planner::waiting(world.controller.ledger(), ID, at, world.controller.desk(), world.now);
    let no_time = Waiting::NoTime { needs: 200, reboot: None, opening: openings[0], next: Some(openings[1]) };
    assert_eq!(waits(&world, 1), Some(no_time));
    assert_eq!(waits(&world, 0), Some(Waiting::Handshake), "ten seconds are left");
    world.pass(31_000);
    for _ in 0..8 {
        world.round();
        world.pass(500);
    }
    assert_eq!(world.running.keys().copied().collect::<Vec<_>>(), [signer(1).id()], "less than 30 s were left");
    world.finish_one();
    let scene = Scene { ledger: world.controller.ledger(), desk: world.controller.desk(), now: world.now };
    let first = &scene.host(signer(2).id(), None)[0];
    assert_eq!((first.code.as_str(), first.at), ("no-time", Some(openings[0].opens)));
    assert!(first.text.contains("needs up to 200 s"), "{first:?}");
    world.pass(HOUR as u64);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.judge.violations().len()), (3, 0));
}

#[test]
fn what_fits_into_no_opening_is_planned_again_and_the_rollout_ends() {
    let mut world = World::new(2);
    learned(&mut world, &[10, 3_000]);
    let openings = two_openings(&world);
    world.apply(Plan { reboot: RebootOption::Never, ..plan_of(2, 2, 0, openings.to_vec()) });
    for _ in 0..4 {
        world.round();
        world.pass(500);
    }
    world.finish_one();
    let ledger = world.controller.ledger();
    let waiting = planner::waiting(ledger, ID, 1, world.controller.desk(), world.now).unwrap();
    assert_eq!(waiting, Waiting::NoTime { needs: 3_000, reboot: None, opening: openings[0], next: None });
    assert_eq!(waiting.command(ID).as_deref(), Some("patchmesh plan -f FILE"));
    world.pass(2 * HOUR as u64);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.state().tally.succeeded, 1);
}

#[test]
fn a_run_whose_reboot_would_come_after_the_opening_waits_for_one_that_reaches_it() {
    let mut world = World::new(1);
    let openings = two_openings(&world);
    let at = WallTime(openings[0].closes.0);
    world.apply(Plan { reboot: RebootOption::At(at), ..plan_of(1, 1, 0, openings.to_vec()) });
    let waits =
        |world: &World| planner::waiting(world.controller.ledger(), ID, 0, world.controller.desk(), world.now).unwrap();
    let expected = Waiting::NoTime { needs: 60, reboot: Some(at), opening: openings[0], next: Some(openings[1]) };
    assert_eq!(waits(&world), expected, "nothing is known of its runs, and yet it does not fit");
    assert!(expected.text().contains(&format!("its reboot is not before {}", at.rfc3339())), "{}", expected.text());
    for _ in 0..4 {
        world.round();
        world.pass(500);
    }
    assert!(world.running.is_empty());
    world.pass(HOUR as u64);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.judge.violations().len()), (1, 0), "its time has passed by then");
}

#[test]
fn a_lease_says_until_when_a_host_may_wait_for_its_reboot() {
    let day = 24 * HOUR;
    for (after, opening, seconds) in [
        (0, Opening::endless(WallTime(0)), 24 * 3600),
        (3 * day, Opening::endless(WallTime(0)), 4 * 24 * 3600),
        (HOUR, Opening { closes: WallTime(2 * HOUR), last_start: WallTime(2 * HOUR), opens: WallTime(0) }, 2 * 3600),
    ] {
        let mut world = World::new(1);
        let reboot = RebootOption::At(world.now.wall.plus(Duration::from_millis(after as u64)));
        world.apply(Plan { reboot, ..plan_of(1, 1, 0, vec![opening]) });
        let offered = world.told.iter().find_map(|(_, body)| match body {
            ToHost::Offer(lease) => Some((lease.latest_start, lease.reboot)),
            _ => None,
        });
        let (latest, offered) = offered.unwrap();
        assert_eq!((latest.reboot, offered), (seconds, reboot), "{after}");
        assert_eq!(latest.transaction, seconds.min(24 * 3600));
        let last = super::super::controller::last_step(world.now.wall, &opening, reboot);
        assert_eq!(last.0 - world.now.wall.0, seconds as i64 * 1000);
    }
}

#[test]
fn a_host_that_waits_for_its_reboot_holds_its_slot_and_everybody_says_so() {
    let mut world = World::new(2);
    let at = world.now.wall.plus(Duration::from_secs(3600));
    world.apply(Plan { reboot: RebootOption::At(at), ..plan_of(2, 1, 0, vec![Opening::endless(WallTime(0))]) });
    for _ in 0..4 {
        world.round();
        world.pass(500);
    }
    let lease = world.running[&signer(1).id()];
    let detail = reboot::waits(at);
    world.answer(1, ToCoordinator::Progress { lease, phase: Phase::PostInstall, detail: detail.clone() });
    let (ledger, desk) = (world.controller.ledger(), world.controller.desk());
    let slot = super::super::slots::slots(ledger, desk, world.now.boot).remove(0);
    assert_eq!((slot.host, slot.reboot_at), (signer(1).id(), Some(at)));
    assert_eq!(slot.text(), format!("at work, in phase post-install, {detail}; answered 0 s ago"));
    let scene = Scene { ledger, desk, now: world.now };
    assert!(scene.host(signer(1).id(), None)[0].text.ends_with(&format!("in phase post-install: {detail}")));
    let behind = scene.host(signer(2).id(), None);
    assert!(behind.iter().any(|cause| cause.text.contains(&detail)), "{behind:?}");
}
