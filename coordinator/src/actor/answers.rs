//! What the mesh relies on of what one host says it would do.

use patchmesh_common::{
    inventory::MAX_CHANGES,
    patch::sighting::MAX_SEEN,
    run::message::{Refusal, RefusalCode, Resolution},
};

/// `answer`, or a refusal in the host's name if no package manager can have said it: a plan and a snapshot hold all of it.
pub(super) fn credible(answer: Result<Resolution, Refusal>) -> Result<Resolution, Refusal> {
    let Resolution { transaction, .. } = answer.as_ref().map_err(Clone::clone)?;
    let count = transaction.changes.len() + transaction.removals.len();
    let changes = transaction
        .changes
        .iter()
        .flat_map(|change| [&change.name, &change.arch, &change.to, &change.sha256].into_iter().chain(&change.from));
    let removals = transaction.removals.iter().flat_map(|removal| [&removal.name, &removal.arch, &removal.version]);
    let longest = changes.chain(removals).map(String::len).max().unwrap_or(0);
    let text = if count > MAX_CHANGES {
        format!("the host answers with {count} packages, and at most {MAX_CHANGES} are believed")
    } else if longest > MAX_SEEN {
        format!("the host answers with a word of {longest} bytes, and at most {MAX_SEEN} are believed")
    } else {
        return answer;
    };
    let remedy = "look at the host: no package manager says this".to_owned();
    Err(Refusal { code: RefusalCode::ManagerFailed, text, remedy })
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        inventory::{PackageChange, PackageRemoval, Transaction},
        patch::PatchCounters,
    };

    use super::*;

    fn answer(changes: usize, removals: usize, word: &str) -> Result<Resolution, Refusal> {
        let change = |n: usize| PackageChange {
            name: n.to_string(),
            arch: "all".into(),
            from: Some("1".into()),
            to: word.into(),
            sha256: "5e".repeat(32),
        };
        let removal = |n: usize| PackageRemoval { name: n.to_string(), arch: "all".into(), version: word.into() };
        let transaction =
            Transaction { changes: (0..changes).map(change).collect(), removals: (0..removals).map(removal).collect() };
        Ok(Resolution { transaction, counters: PatchCounters::default() })
    }

    #[test]
    fn what_no_package_manager_says_is_refused_in_the_name_of_the_host() {
        let longest = "1".repeat(MAX_SEEN);
        for good in [answer(0, 0, ""), answer(MAX_CHANGES, 0, "1"), answer(1, 1, &longest)] {
            assert_eq!(credible(good.clone()), good);
        }
        let long = format!("{longest}1");
        let mut from = answer(1, 0, "1").unwrap();
        from.transaction.changes[0].from = Some(long.clone());
        let many = answer(MAX_CHANGES, 1, "1");
        for (bad, what) in [
            (many, "8193 packages"),
            (answer(1, 0, &long), "513 bytes"),
            (answer(0, 1, &long), "513"),
            (Ok(from), "513"),
        ] {
            let refusal = credible(bad).unwrap_err();
            assert!(refusal.code == RefusalCode::ManagerFailed && refusal.text.contains(what), "{refusal:?}");
        }
        let no = Refusal { code: RefusalCode::Locked, text: "held".into(), remedy: "wait".into() };
        assert_eq!(credible(Err(no.clone())), Err(no));
    }
}
