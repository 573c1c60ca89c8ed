//! Every sabotage is caught by the promise that it breaks, and nothing is caught without one.

use crate::{cli::sabotage::Caught, invariant::PROMISES, sabotage::ALL};

#[test]
fn there_is_a_sabotage_for_every_promise() {
    for promise in PROMISES {
        assert!(ALL.iter().any(|entry| entry.promise == promise), "{promise}");
    }
    assert!(ALL.iter().all(|entry| PROMISES.contains(&entry.promise)));
}

#[test]
fn every_sabotage_is_caught_by_the_name_of_its_promise_in_every_seed() {
    for entry in ALL {
        let caught = Caught::over(entry, 1..=2);
        assert_eq!(caught.by_name, [1, 2], "{}: {caught:?}", entry.name);
        assert!(caught.is_good(), "{}: {caught:?}", entry.name);
    }
}
