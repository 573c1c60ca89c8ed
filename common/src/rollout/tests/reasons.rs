//! What reasons say: how long somebody is silent, and nothing without content.

use super::*;
use crate::{
    gossip::{Mode, NodeRecord, RecordBody},
    rollout::{
        availability::Short,
        why::{Cause, Heard},
    },
};

fn codes(chain: &[Cause]) -> Vec<&str> {
    chain.iter().map(|cause| cause.code.as_str()).collect()
}

/// The process is young, and the host has been away for long: the mesh knows since when.
#[test]
fn silence_counts_from_what_the_mesh_last_heard_and_no_wait_is_older_than_its_rollout() {
    let mut world = World::new(2);
    world.pass(HOUR as u64);
    world.rebuild();
    world.script(2, Script::Silent);
    let words = Words::default();
    let seen = |seed: u8, sealed: i64| Seen {
        node: signer(seed).id(),
        alive: seed != 2,
        held: None,
        sealed: WallTime(sealed),
        words: words.clone(),
    };
    world.send(Event::View(vec![seen(1, HOUR), seen(2, 5_000)]));
    let record = |sealed: i64| NodeRecord {
        mesh: mesh(),
        incarnation: Incarnation(1),
        version: 1,
        sealed_at: WallTime(sealed),
        body: RecordBody { mode: Mode::Enforce, ..RecordBody::default() },
    };
    let silent = |world: &World, sealed: i64| {
        let heard = Heard { record: &record(sealed), alive: false };
        let chain = world.scene().host(signer(2).id(), Some(heard));
        chain.into_iter().find(|cause| cause.code == "silent").unwrap().at
    };
    assert_eq!((silent(&world, 0), silent(&world, 7_000)), (Some(WallTime(5_000)), Some(WallTime(7_000))));
    assert_eq!(silent(&world, 9 * HOUR), Some(WallTime(HOUR)), "a clock that is ahead");
    let mut plan = plan_of(2, 2, 0, open());
    plan.hosts.remove(0);
    world.apply(plan);
    world.pass(1_000);
    let chain = world.why(2);
    assert_eq!((codes(&chain)[0], chain[0].at), ("silent", Some(WallTime(HOUR))), "since it was applied: {chain:?}");
    let mut times: Vec<_> = chain.iter().filter_map(|cause| cause.at).collect();
    times.dedup();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {chain:?}");
}

/// A host that died at work: after a restart of the coordinator as long ago as before.
#[test]
fn a_restart_makes_no_silence_shorter() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 1, open()));
    world.round();
    world.round();
    let began = world.now.wall;
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(HOUR as u64);
    world.rebuild();
    let seen = |seed: u8, sealed| Seen {
        node: signer(seed).id(),
        alive: seed != 1,
        held: None,
        sealed,
        words: Words::default(),
    };
    world.send(Event::View(vec![seen(1, began), seen(2, world.now.wall)]));
    world.pass(61_000);
    let lost = world.why(1).remove(0);
    assert_eq!((lost.code.as_str(), lost.at), ("lost", Some(began)));
    assert!(lost.text.contains("silent for 3661 s"), "{lost:?}");
}

#[test]
fn a_host_that_is_asked_in_its_turn_does_not_say_that_slots_are_held() {
    let slot = |held, lost| Waiting::Slot { held, limit: 2, lost };
    assert_eq!(slot(0, 0).text(), "0 of 2 slots are held; hosts are asked to start in their order");
    assert_eq!(slot(0, 0).command(ID).as_deref(), Some("patchmesh rollout watch 0707070707070707"));
    assert_eq!(slot(2, 0).text(), "2 of 2 slots are held");
    assert_eq!(slot(2, 1).command(ID).as_deref(), Some("patchmesh slots ls"));
}

#[test]
fn a_window_that_opens_later_is_waited_for_and_nobody_is_told_to_go_outside_of_it() {
    let opening = Opening { opens: WallTime(HOUR), last_start: WallTime(2 * HOUR), closes: WallTime(2 * HOUR) };
    let command = |next| Waiting::WindowClosed { next }.command(ID).unwrap();
    assert_eq!(command(Some(opening)), format!("patchmesh rollout watch {ID}"));
    assert_eq!(command(None), "patchmesh plan -f FILE");
}

#[test]
fn one_is_not_many() {
    let approval = |given, needed| Waiting::Approval { rollout: ID, ring: "fleet".into(), given, needed }.text();
    assert_eq!(approval(0, 1), "ring fleet begins when 1 operator has approved it; 0 have");
    assert_eq!(approval(1, 2), "ring fleet begins when 2 operators have approved it; 1 has");
    let short = |more, asked| {
        let (service, spread, down) = ("pg".into(), None, Vec::new());
        Short { service, members: 5, least: 4, up: 4, spread, down, more, asked }.text()
    };
    assert!(short(1, 1).contains(": 1 more is down; 1 other has been asked to start; or"), "{}", short(1, 1));
    assert!(short(2, 2).contains(": 2 more are down; 2 others have been asked to start; or"), "{}", short(2, 2));
    assert!(Waiting::Reconciling { missing: 1 }.text().starts_with("1 host has not said"));
}

#[test]
fn a_share_is_told_with_what_it_is_of() {
    use crate::rollout::limit::based;
    assert_eq!(based("10%", 24, 240), "10 % of 240 = 24");
    assert_eq!(based("3", 3, 240), "3");
    let mut world = World::new(5);
    let mut plan = plan_of(5, 2, 1, open());
    plan.max_concurrency.given = "40%".into();
    world.apply(plan);
    let applied = world.why(5).into_iter().find(|cause| cause.code == "applied").unwrap();
    assert!(applied.text.ends_with(": 5 hosts, 40 % of 5 = 2 at once, halts if more than 1 fail"), "{applied:?}");
}
