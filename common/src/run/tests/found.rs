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
