//! Model checking: the production machines, every order of events within bounds. What is explored and what is left out
//! stands in the README of this crate.

#![expect(clippy::expect_used, reason = "a model that cannot be set up fails")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "how much was explored, and what was not, is the result"
)]

mod canon;
mod faults;
mod host;
mod meaning;
mod message;
mod model;
mod rows;
mod sabotage;
mod setup;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use faults::{Faults, Kind};
use model::{Action, State, Waves};
use stateright::{Checker, Model, Path};

/// A row that takes longer than this has failed: on two slow cores the largest takes a fraction of it.
const LONGEST: Duration = Duration::from_secs(900);

/// Rows use two cores, and up to some gigabytes: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ROW: Mutex<()> = Mutex::new(());
    ROW.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Explores everything, demands that every promise holds, prints how much there was, and fails if it was fewer than `least`
/// states: then the model has lost its faults, or its fingerprints their meaning.
fn explore(name: &str, faults: Faults, reboots: bool, least: usize) {
    let began = clock();
    let model = Waves::new(faults, reboots, None);
    let checker = model.checker().threads(2).timeout(LONGEST).spawn_bfs().join();
    let (paths, states, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    println!(
        "model: {name}: {states} states, {paths} transitions, depth {depth}, {:.1} s",
        began.elapsed().as_secs_f32()
    );
    for (promise, path) in checker.discoveries() {
        if promise != "all succeed" {
            println!("{promise} is broken:\n{}", story(path));
        }
    }
    checker.assert_properties();
    assert!(began.elapsed() < LONGEST, "not explored to the end");
    assert!(states >= least, "{states} states are fewer than {least}");
}

#[expect(clippy::disallowed_methods, reason = "tells people how long it took")]
fn clock() -> Instant {
    Instant::now()
}

/// A path in words.
fn story(path: Path<State, Action>) -> String {
    let line = |(state, action): (State, Option<Action>)| match action {
        Some(action) => format!("{:>4} s  {}\n", state.world.now / 1000, state.tell(action)),
        None => format!("{:?}\n", state.world),
    };
    path.into_vec().into_iter().map(line).collect()
}

/// What makes two states one is right: from both, the same states can be reached.
fn bisimilar(faults: Faults, reboots: bool) {
    let model = Waves::new(faults, reboots, None);
    let next = |state: &State| {
        let mut actions = Vec::new();
        model.actions(state, &mut actions);
        let next: Vec<State> = actions.into_iter().filter_map(|action| model.next_state(state, action)).collect();
        let mut prints: Vec<u64> = next.iter().map(|state| state.print).collect();
        prints.sort_unstable();
        prints.dedup();
        (next, prints)
    };
    let mut known: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut left = model.init_states();
    let mut again = 0;
    while let Some(state) = left.pop() {
        let (states, prints) = next(&state);
        match known.get(&state.print) {
            Some(futures) => {
                again += 1;
                assert!(*futures == prints, "one fingerprint, two futures: {:?}", state.world);
            }
            None => {
                known.insert(state.print, prints);
                left.extend(states);
            }
        }
    }
    println!("{} states, met {again} times more", known.len());
    assert!(again > known.len());
}

#[test]
fn states_that_count_as_one_have_the_same_futures() {
    bisimilar(Faults::of(&Kind::ALL, 1, 1), false);
}
