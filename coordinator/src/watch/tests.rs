use patchmesh_common::run::message::Outcome;

use super::*;
use crate::status::tests::{ID, World, node};

fn received(events: &mut mpsc::Receiver<WatchEvent>) -> Vec<WatchEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

fn words(events: &[WatchEvent]) -> Vec<String> {
    let word = |event: &WatchEvent| match event {
        WatchEvent::Event(event) => {
            let what = match event.kind {
                EventKind::HostPhase => event.phase.map(|phase| phase.as_str()),
                EventKind::State => event.state.map(|state| state.as_str()),
                EventKind::HostOutcome | EventKind::HostWaiting => event.outcome.map(|outcome| outcome.as_str()),
            };
            format!("{} {}", event.host.as_deref().unwrap_or("rollout"), what.unwrap_or("-"))
        }
        WatchEvent::Progress(_) => "progress".to_owned(),
        WatchEvent::Recap(recap) => format!("recap {}", recap.state.as_str()),
    };
    events.iter().map(word).collect()
}

#[test]
fn only_changes_are_shown_and_the_recap_is_last() {
    let mut world = World::new(2, 1, vec![]);
    let (mut watcher, mut events) = Watcher::new(ID, 16);
    assert!(watcher.show(&world.view()));
    assert_eq!(
        words(&received(&mut events)),
        ["host-1 notStarted", "host-2 notStarted", "rollout Waiting", "progress"]
    );
    assert!(watcher.show(&world.view()));
    assert_eq!(words(&received(&mut events)), [""; 0], "nothing happened");
    world.grant(1);
    watcher.show(&world.view());
    assert_eq!(words(&received(&mut events)), ["host-1 granted", "rollout Running", "progress"]);
    world.desk.contacts.get_mut(&node(1)).unwrap().progress = Some((Phase::Transaction, "unpacking".into()));
    watcher.show(&world.view());
    assert_eq!(words(&received(&mut events)), ["host-1 transaction", "progress"]);
    world.report(1, Outcome::Failed);
    watcher.show(&world.view());
    let shown = received(&mut events);
    assert_eq!(words(&shown), ["host-1 failed", "rollout Waiting", "progress"]);
    let WatchEvent::Event(failed) = &shown[0] else { panic!("an event") };
    assert_eq!((failed.code.as_deref(), failed.text.as_str()), (Some("hook-failed"), "no"));
    world.grant(2);
    world.pass(61, &[2]);
    watcher.show(&world.view());
    let shown = received(&mut events);
    let WatchEvent::Event(lost) = &shown[0] else { panic!("an event") };
    assert_eq!((words(&shown)[0].as_str(), lost.code.as_deref()), ("host-2 lost", Some("lost")));
    world.end();
    assert!(!watcher.show(&world.view()), "it is over");
    assert_eq!(words(&received(&mut events)).last().unwrap(), "recap CompletedWithFailures");
}

#[test]
fn a_slow_watcher_loses_events_and_never_the_recap() {
    let mut world = World::new(3, 0, vec![]);
    let (mut watcher, mut events) = Watcher::new(ID, 1);
    assert!(watcher.show(&world.view()), "the queue is full, and nobody waits for it");
    world.end();
    assert!(watcher.show(&world.view()), "kept until the recap fits");
    assert_eq!(words(&received(&mut events)), ["host-1 notStarted"]);
    let mut last = Vec::new();
    while watcher.show(&world.view()) {
        last = received(&mut events);
    }
    last.extend(received(&mut events));
    assert!(words(&last).last().unwrap().starts_with("recap"), "{:?}", words(&last));
}

#[test]
fn who_has_gone_or_watches_nothing_is_forgotten() {
    let world = World::new(1, 0, vec![]);
    let (mut watcher, events) = Watcher::new(ID, 1);
    drop(events);
    assert!(!watcher.show(&world.view()));
    let (mut watcher, _events) = Watcher::new(RolloutId([1; 8]), 1);
    assert!(!watcher.show(&world.view()));
}
