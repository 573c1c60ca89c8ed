//! Safe mode: nothing new begins, what was begun ends, and STOPs hold.

use super::*;
use crate::patch::Baseline;
use crate::run::message::RefusalCode;

fn refusals(effects: &[Effect]) -> Vec<RefusalCode> {
    let code = |body| match body {
        ToCoordinator::Refused { refusal, .. } | ToCoordinator::Resolved { result: Err(refusal), .. } => {
            Some(refusal.code)
        }
        _ => None,
    };
    answers(effects).into_iter().filter_map(code).collect()
}

#[test]
fn nothing_new_begins_until_it_is_over() {
    let mut bench = Bench::new();
    let offer = |n| ToHost::Offer(Box::new(Lease { id: LeaseId([n; 16]), ..lease() }));
    let resolve = ToHost::Resolve { request: CommandId([1; 16]), baseline: Baseline::All };
    let nonce = bench.ready(lease());
    bench.send(Event::Safe(true));
    assert_eq!(refusals(&bench.say(ToHost::Go { lease: LEASE, nonce })), [RefusalCode::SafeMode]);
    assert_eq!(refusals(&bench.say(offer(20))), [RefusalCode::SafeMode]);
    let scan = Lease { id: LeaseId([21; 16]), operation: Operation::Scan, ..lease() };
    assert_eq!(refusals(&bench.say(ToHost::Offer(Box::new(scan)))), [RefusalCode::SafeMode]);
    assert_eq!(refusals(&bench.say(resolve)), [RefusalCode::SafeMode]);
    bench.send(Event::Safe(false));
    assert_eq!(words(&bench.say(offer(22))), ["start check"]);
}

#[test]
fn a_stop_is_saved_and_a_run_ends_and_reports() {
    let mut bench = Bench::new();
    let hooks = started(&bench.granted(lease()));
    bench.rebuild(false);
    bench.send(Event::Started);
    bench.send(Event::Safe(true));
    let stop = bench.say(ToHost::Stop(Box::new(stop_order(1, true, COORDINATOR, Role::Coordinator))));
    assert!(words(&stop).contains(&String::from("save stop 1 true")), "{:?}", words(&stop));
    let mut effects = bench.send(Event::Skew(Some(0)));
    effects.extend(bench.end(hooks, hooks_ok()));
    while let Some((id, act)) = starts(&effects).pop() {
        effects = bench.end(id, if matches!(act, Act::Verify { .. }) { verified(&[]) } else { hooks_ok() });
    }
    assert!(words(&effects).iter().any(|word| word.starts_with("answer reported")), "{:?}", words(&effects));
    assert_eq!(words(&bench.say(ToHost::Acknowledge { lease: LEASE })), ["save acknowledged", "held false"]);
}
