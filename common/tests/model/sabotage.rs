//! A check is taken out of the handshake, and the model finds the stale start that it keeps away.

use stateright::{Checker as _, Model as _};

use crate::{
    alone, explore,
    faults::{Faults, Kind::*},
    model::{Sabotage, Waves},
    story,
};

/// Takes one check out of the handshake, and prints the shortest path to work that begins by a stale `Go`.
fn sabotaged(sabotage: Sabotage, faults: Faults) {
    let _row = alone();
    let found = (2..50).find_map(|depth| {
        let model = Waves::new(faults, false, Some(sabotage));
        model.checker().target_max_depth(depth).spawn_bfs().join().discovery("no stale start")
    });
    let path = found.expect("the stale start is found");
    println!("without the check of {sabotage:?}, work begins by a stale Go:\n{}", story(path));
    explore("the same faults with the check", faults, false, 1);
}

#[test]
fn a_late_go_starts_work_if_nobody_asks_how_old_ready_is() {
    sabotaged(Sabotage::Freshness, Faults::of(&[Delay], 1, 1));
}

#[test]
fn a_go_starts_work_after_a_clock_step_if_nobody_asks_how_the_clocks_moved() {
    sabotaged(Sabotage::Freshness, Faults::of(&[Step], 1, 1));
}

#[test]
fn a_go_from_before_a_crash_starts_work_if_nobody_compares_nonces() {
    sabotaged(Sabotage::Nonce, Faults::of(&[Reordering, HostCrash], 1, 2));
}
