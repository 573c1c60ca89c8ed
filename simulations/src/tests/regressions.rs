//! Traces that once broke a promise: they break none any more.

use std::{fs, path::Path};

use crate::{cli::run::replay, report::TraceFile, world::Finish};

#[test]
fn what_failed_once_holds_now() {
    // Where cargo runs tests, or the root of a copy of the tree: the tree that this was built in may be out of reach.
    let folder =
        ["regressions", "simulations/regressions"].into_iter().find(|folder| Path::new(folder).is_dir()).unwrap();
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: TraceFile = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(file.promise.is_some() && file.sabotage.is_none(), "{} tells of no defect", path.display());
        let outcome = replay(file);
        assert_eq!(outcome.finish, Finish::Completed, "{}: {:?}", path.display(), outcome.record.violations);
        replayed += 1;
    }
    assert!(replayed > 0, "there are no traces in {folder}");
}
