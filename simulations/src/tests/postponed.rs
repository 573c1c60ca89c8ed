//! Reboots at a time: hosts work at once, reboot when it has come, and the wave ends after that.

use crate::{
    sabotage::find,
    scenario::MINUTE,
    truth::{Step, Truth},
    world::{Finish, World},
};

const AT: u64 = 15 * MINUTE;
/// A right clock is off by half a minute at most.
const OFF: u64 = MINUTE / 2;

#[test]
fn hosts_install_at_once_and_reboot_when_the_time_has_come() {
    let mut reboots = 0;
    for seed in 1..=8 {
        let mut scenario = find("progress-frees-slots").unwrap().scenario();
        scenario.waves[0].reboot_at = Some(AT);
        let outcome = World::new(seed, scenario, false).run();
        assert_eq!(outcome.finish, Finish::Completed, "seed {seed}: {:?}", outcome.record.violations);
        let steps = |of: Step| {
            let is = move |truth: &Truth| matches!(truth, Truth::Step { step, .. } if *step == of);
            let found = outcome.history.iter().filter(move |(_, _, truth)| is(truth));
            found.map(|(at, ..)| *at).collect::<Vec<_>>()
        };
        assert!(steps(Step::Transaction)[0] < 5 * MINUTE, "seed {seed}: nobody waits for it to install");
        let late = steps(Step::Reboot);
        assert!(late.iter().all(|at| *at + OFF >= AT), "seed {seed}: {late:?}");
        reboots += late.len();
    }
    assert!(reboots > 0, "no package asked for one");
}
