//! Three hosts, one loss: what must happen was worked out by hand, to the millisecond.
//!
//! Every draw of a machine is 0, so whatever it does takes the shortest time that it may take, and every clock is wrong by the
//! same two seconds, which is right by the mesh's median. Every draw of the network is 1: no message is lost, and each takes
//! one millisecond more than its pair is apart.

use patchmesh_common::{
    id::NodeId,
    rollout::controller,
    run::{
        machine,
        message::{ToCoordinator, ToHost},
    },
};

use crate::{
    chance::Draws,
    keys::node,
    sabotage::Sabotage,
    scenario::{Network, Pace, Scenario, Wave},
    truth::{Step, Truth},
    world::{Finish, Outcome, World},
};

fn scenario() -> Scenario {
    let wave = Wave {
        at: 30_000,
        install: true,
        max_concurrency: 1,
        max_errors: 0,
        reboot: false,
        reboot_at: None,
        openings: Vec::new(),
        broken: 0,
        rings: Vec::new(),
        ramp: false,
        gated: false,
        unwell: 0,
        waits: false,
        on_hook_failure: Default::default(),
        replans: false,
        shown: false,
        sick: None,
    };
    Scenario {
        hosts: 3,
        demanding: false,
        heal: 120_000,
        patience: 60_000,
        least: 0,
        rests: false,
        network: Network::default(),
        pace: Pace { heartbeat: 30_000, exchange: 5_000 },
        waves: vec![wave],
        services: Vec::new(),
        fleet: 0,
        policies: Vec::new(),
        faults: Vec::new(),
    }
}

/// Which message is lost, once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Nothing,
    /// The first `Go` to this host.
    Go(u32),
    /// The first report of this host.
    Report(u32),
    /// The first acknowledgement to this host.
    Acknowledge(u32),
}

impl Sabotage for Loss {
    fn desk_effects(&mut self, effects: &mut Vec<controller::Effect>) {
        let wanted = |effect: &controller::Effect| match (effect, *self) {
            (controller::Effect::Tell { to, body: ToHost::Go { .. } }, Self::Go(host)) => *to == node(host),
            (controller::Effect::Tell { to, body: ToHost::Acknowledge { .. } }, Self::Acknowledge(host)) => {
                *to == node(host)
            }
            _ => false,
        };
        if let Some(at) = effects.iter().position(wanted) {
            effects.remove(at);
            *self = Self::Nothing;
        }
    }

    fn host_effects(&mut self, me: NodeId, effects: &mut Vec<machine::Effect>) -> Option<machine::Event> {
        let report = |effect: &machine::Effect| match effect {
            machine::Effect::Answer(answer) => matches!(answer.body, ToCoordinator::Reported(_)),
            _ => false,
        };
        if let Self::Report(host) = *self
            && me == node(host)
            && let Some(at) = effects.iter().position(report)
        {
            effects.remove(at);
            *self = Self::Nothing;
        }
        None
    }
}

fn run(loss: Loss) -> Outcome {
    let mut draws = Draws::from([("network".to_owned(), vec![1; 60_000])]);
    draws.extend((0..4).map(|spot| (format!("machine {spot}"), vec![0; 1_000])));
    World::replay(1, scenario(), draws).sabotaged(Box::new(loss)).run()
}

fn word(truth: &Truth) -> Option<String> {
    let host = |id: &NodeId| (0..3).find(|number| node(*number) == *id).unwrap();
    Some(match truth {
        Truth::GoSaved { host: id, .. } => format!("go saved for {}", host(id)),
        Truth::Returned { host: id, .. } => format!("slot of {} is free again", host(id)),
        Truth::Granted { .. } => "granted".into(),
        Truth::Step { step: Step::Transaction, .. } => "package manager starts".into(),
        Truth::Hook { point, attempt, .. } => format!("{} hooks, attempt {attempt}", point.as_str()),
        Truth::ResultSaved(_) => "result saved".into(),
        Truth::Settled { outcome, .. } => format!("settled {outcome:?}"),
        Truth::Folded { host: id, outcome, .. } => format!("report of {} folded: {outcome:?}", host(id)),
        Truth::Acknowledged(_) => "acknowledged".into(),
        Truth::Ended { .. } => "rollout ended".into(),
        _ => return None,
    })
}

/// When, where and what, from the first `Go` on.
fn events(outcome: &Outcome) -> Vec<(u64, u32, String)> {
    let all = outcome.history.iter().filter_map(|(at, spot, truth)| Some((*at, *spot, word(truth)?)));
    let all: Vec<_> = all.collect();
    let start = all.first().unwrap().0;
    all.into_iter().map(|(at, spot, word)| (at - start, spot, word)).collect()
}

type Line = (u64, u32, &'static str);

/// Hosts are machines 0, 1 and 2; the coordinator is machine 3. From it to the hosts it is 34, 34 and 10 ms.
///
/// A host that got its `Go` takes 100 ms for hooks before, 20 ms until the package manager starts, 2,000 ms for it, 1 ms to
/// notice its end, 100 ms for hooks after, 200 ms to verify and 100 ms for on-exit hooks.
///
/// There is one slot. When a host says that its hooks after the transaction run, the next one is offered a lease: there, 300 ms
/// to check, and back, which is sooner than the report. So the next `Go` is saved in the step that folds the report. The
/// acknowledgement needs one way.
const NOTHING_LOST: [Line; 30] = [
    (0, 3, "go saved for 0"),
    (34, 0, "granted"),
    (34, 0, "pre-install hooks, attempt 1"),
    (154, 0, "package manager starts"),
    (2155, 0, "result saved"),
    // Heard at 2189. Host 1 is Ready at 2523, and the coordinator knows it at 2557.
    (2155, 0, "post-install hooks, attempt 1"),
    (2455, 0, "on-exit hooks, attempt 1"),
    (2555, 0, "settled Succeeded"),
    (2589, 3, "report of 0 folded: Succeeded"),
    (2589, 3, "go saved for 1"),
    (2623, 0, "acknowledged"),
    (2623, 1, "granted"),
    (2623, 1, "pre-install hooks, attempt 1"),
    (2743, 1, "package manager starts"),
    (4744, 1, "result saved"),
    // Heard at 4778. Host 2 is Ready at 5088, and the coordinator knows it at 5098.
    (4744, 1, "post-install hooks, attempt 1"),
    (5044, 1, "on-exit hooks, attempt 1"),
    (5144, 1, "settled Succeeded"),
    (5178, 3, "report of 1 folded: Succeeded"),
    (5178, 3, "go saved for 2"),
    (5188, 2, "granted"),
    (5188, 2, "pre-install hooks, attempt 1"),
    (5212, 1, "acknowledged"),
    (5308, 2, "package manager starts"),
    (7309, 2, "result saved"),
    (7309, 2, "post-install hooks, attempt 1"),
    (7609, 2, "on-exit hooks, attempt 1"),
    (7709, 2, "settled Succeeded"),
    (7719, 3, "report of 2 folded: Succeeded"),
    (7719, 3, "rollout ended"),
];

/// From the report of host 1 on, whose first copy is lost. It is sent again two seconds later, at 7144. Host 2 has been Ready
/// for less than eight seconds then.
const REPORT_LOST: [Line; 13] = [
    (5144, 1, "settled Succeeded"),
    (7178, 3, "report of 1 folded: Succeeded"),
    (7178, 3, "go saved for 2"),
    (7188, 2, "granted"),
    (7188, 2, "pre-install hooks, attempt 1"),
    (7212, 1, "acknowledged"),
    (7308, 2, "package manager starts"),
    (9309, 2, "result saved"),
    (9309, 2, "post-install hooks, attempt 1"),
    (9609, 2, "on-exit hooks, attempt 1"),
    (9709, 2, "settled Succeeded"),
    (9719, 3, "report of 2 folded: Succeeded"),
    (9719, 3, "rollout ended"),
];

/// What happened until the rollout ended; nothing but one acknowledgement comes after it.
fn told(loss: Loss) -> Vec<(u64, u32, String)> {
    let outcome = run(loss);
    assert_eq!(outcome.finish, Finish::Completed, "{:?}", outcome.record.violations);
    let mut all = events(&outcome);
    let end = all.iter().position(|(.., word)| word == "rollout ended").unwrap();
    let after: Vec<_> = all.drain(end + 1..).collect();
    assert_eq!(after, [(all[end].0 + 10, 2, "acknowledged".to_owned())]);
    all
}

fn lines(all: &[Line]) -> Vec<(u64, u32, String)> {
    all.iter().map(|(at, spot, word)| (*at, *spot, (*word).to_owned())).collect()
}

#[test]
fn without_a_loss_three_hosts_are_done_one_after_the_other() {
    assert_eq!(told(Loss::Nothing), lines(&NOTHING_LOST));
}

#[test]
fn a_report_that_is_lost_is_sent_again_and_the_slot_is_held_until_then() {
    let settled = NOTHING_LOST.iter().position(|line| *line == REPORT_LOST[0]).unwrap();
    let expected = [&NOTHING_LOST[..settled], &REPORT_LOST[..]].concat();
    assert_eq!(told(Loss::Report(1)), lines(&expected));
}

/// The report is sent again two seconds after the first, at 7144; it is in the ledger, so it is acknowledged and not folded.
#[test]
fn an_acknowledgement_that_is_lost_delays_nobody() {
    let mut expected = NOTHING_LOST.to_vec();
    expected.retain(|line| *line != (5212, 1, "acknowledged"));
    let later = expected.iter().position(|(at, ..)| *at > 7212).unwrap();
    expected.insert(later, (7212, 1, "acknowledged"));
    assert_eq!(told(Loss::Acknowledge(1)), lines(&expected));
}

/// The `Go` is durable, so nobody else gets the slot. The lease is offered again at the first tick, of half a second, after two
/// seconds; the host, which is Ready for less than five, says its nonce again, and `Go` is repeated: three ways in all instead
/// of one. From then on everything happens as it would have, and as late.
#[test]
fn a_go_that_is_lost_is_repeated_and_everything_else_is_as_late() {
    let told = told(Loss::Go(1));
    let granted = NOTHING_LOST.iter().position(|line| *line == (2623, 1, "granted")).unwrap();
    let late = told[granted].0 - NOTHING_LOST[granted].0;
    assert!((2_000 + 68..=2_500 + 68).contains(&late), "{late}");
    let expected = NOTHING_LOST.iter().enumerate();
    let expected =
        expected.map(|(place, (at, spot, word))| (at + if place >= granted { late } else { 0 }, *spot, *word));
    assert_eq!(told, lines(&expected.collect::<Vec<_>>()));
}
