//! What simulations have found, as the shortest script that shows it.

use super::*;

fn hook_attempts(effects: &[Effect]) -> Vec<u32> {
    let attempt = |(_, act): (ActId, Act)| match act {
        Act::Hooks { attempt, .. } => Some(attempt),
        _ => None,
    };
    starts(effects).into_iter().filter_map(attempt).collect()
}

/// The first lease's hooks ran twice, because the daemon died; those of the second lease must not say 2 again.
#[test]
fn the_attempt_of_a_hook_grows_from_lease_to_lease() {
    let mut bench = Bench::new();
    assert_eq!(hook_attempts(&bench.granted(lease())), [1]);
    bench.rebuild(false);
    bench.send(Event::Started);
    assert_eq!(hook_attempts(&bench.send(Event::Skew(Some(0)))), [2]);
    bench.rebuild(true);
    let mut effects = bench.send(Event::Started);
    effects.extend(bench.send(Event::Skew(Some(0))));
    let verify = started(&effects);
    let effects = bench.end(verify, verified(&[]));
    bench.end(started(&effects), hooks_ok());
    bench.say(ToHost::Acknowledge { lease: LEASE });
    let second = Lease { id: LeaseId([9; 16]), attempt: 2, ..lease() };
    assert_eq!(hook_attempts(&bench.granted(second)), [3]);
}

/// A refusal that is late on its way frees the slot of its lease: a repeated offer must not have started it meanwhile, whatever
/// changed on the host and however often its daemon was started.
#[test]
fn a_lease_that_was_refused_once_never_starts() {
    let mut bench = Bench::new();
    bench.send(Event::Skew(Some(60_000)));
    let said = words(&bench.say(ToHost::Offer(Box::new(lease()))));
    assert_eq!(said, ["save epoch 1", "save refused", "answer refused clock-skew"]);
    for restart in [false, true] {
        if restart {
            bench.rebuild(false);
            bench.send(Event::Started);
        }
        bench.send(Event::Skew(Some(0)));
        assert_eq!(words(&bench.say(ToHost::Offer(Box::new(lease())))), ["answer refused stale-go"]);
    }
    bench.granted(Lease { id: LeaseId([9; 16]), ..lease() });
}

/// The save before a step may take longer than the opening lasts: what the shell checks as its last act ends the step.
#[test]
fn a_step_that_is_declined_at_the_last_moment_ends_deferred() {
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    let [(act, Act::Hooks { guard: Some(guard), .. })] = &starts(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(guard.opening.closes, lease().opening.last_start, "the first step needs a start, not a step");
    let (mut late, now) = (bench.now(), bench.now());
    late.boot = guard.latest.plus(core::time::Duration::from_secs(1));
    let mut saved = bench.machine.journal().clone();
    assert_eq!(guard.refuses(&saved, now), None);
    assert_eq!(guard.refuses(&saved, late).map(|(code, _)| code), Some("past-deadline"));
    saved.push(&JournalEntry::Released { lease: LEASE });
    assert_eq!(guard.refuses(&saved, now).map(|(code, _)| code), Some("released"));
    saved.push(&JournalEntry::Stop(StopOrder { mesh: MESH, scope: StopScope::All, sequence: 1, stop: true }));
    assert_eq!(guard.refuses(&saved, now).map(|(code, _)| code), Some("stopped"));
    let said = words(&bench.end(*act, ActEnd::Declined { code: "stopped".into(), text: "late".into() }));
    assert_eq!(said[..2], ["save ended pre-install stopped", "save began verify 1"]);
    let run = bench.machine.journal().run.as_ref().unwrap();
    assert_eq!(run.fault.as_ref().map(|fault| fault.outcome), Some(crate::run::message::Outcome::Deferred));
}

/// Killed between the save of a begin and its hooks, the daemon came back after the last start and began them all the same.
#[test]
fn a_host_that_comes_back_after_the_last_start_begins_no_hooks() {
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    assert!(words(&effects).contains(&"save began pre-install 1".into()));
    bench.rebuild(false);
    bench.wall = lease().opening.last_start.0 - bench.boot as i64;
    assert!(lease().opening.admits_step(bench.now().wall), "the opening is not over");
    let mut effects = bench.send(Event::Started);
    effects.extend(bench.send(Event::Skew(Some(0))));
    assert_eq!(hook_attempts(&effects), [0; 0]);
    let said = words(&effects);
    assert!(said.contains(&"save ended pre-install outside-opening".into()), "{said:?}");
    let effects = bench.end(started(&effects), verified(&[]));
    assert_eq!(hook_attempts(&effects), [1], "on-exit hooks undo what may have begun");
}
