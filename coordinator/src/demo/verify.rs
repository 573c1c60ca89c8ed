//! Holds a recap against what dpkg itself says of every root.

use std::{collections::BTreeMap, path::Path};

use super::{
    DemoError,
    repository::{NEW, OLD, PACKAGES},
    roots::HostFiles,
    run_tool, tool,
};
use crate::api::document::{HostOutcome, HostResult, RolloutDocument};

/// Package to (version, status); a status of `ii` is installed and configured.
type Installed = BTreeMap<String, (String, String)>;

/// Every difference between `recap` and the roots of `hosts`, as sentences. Empty if there is none.
///
/// # Errors
/// [`DemoError`] if `dpkg-query` cannot be run.
pub fn differences(recap: &RolloutDocument, hosts: &[&HostFiles]) -> Result<Vec<String>, DemoError> {
    let mut found = Vec::new();
    for host in hosts {
        match recap.results.iter().find(|result| result.host == host.name) {
            Some(result) => found.extend(compare(result, &installed(&host.root)?)),
            None => found.push(format!("{} is not in the recap", host.name)),
        }
    }
    Ok(found)
}

fn installed(root: &Path) -> Result<Installed, DemoError> {
    let mut query = tool("dpkg-query");
    query.arg("--admindir").arg(root.join("var/lib/dpkg"));
    query.args(["-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\\n"]);
    let said = run_tool(query)?;
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, (words.next()?, words.next()?)))
    };
    Ok(said.lines().filter_map(line).collect())
}

fn compare(result: &HostResult, installed: &Installed) -> Vec<String> {
    let host = &result.host;
    let expect = |name: &str, version: &str| {
        let (found, status) = installed.get(name).map_or(("none", "none"), |(v, s)| (v.as_str(), s.as_str()));
        let same = found == version && status == "ii";
        (!same).then(|| format!("{host}: the recap says {name} {version}, dpkg says {found} ({status})"))
    };
    let claimed = result.packages.iter().filter_map(|package| expect(&package.name, &package.to));
    let mut found: Vec<_> = claimed.collect();
    match result.outcome {
        HostOutcome::Succeeded => found.extend(PACKAGES.iter().filter_map(|name| expect(name, NEW))),
        HostOutcome::NotStarted | HostOutcome::Refused | HostOutcome::Skipped => {
            found.extend(PACKAGES.iter().filter_map(|name| expect(name, OLD)));
        }
        // Anything may be on disk there; only what the recap claims is held against it.
        HostOutcome::Failed | HostOutcome::Lost | HostOutcome::Running => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document::ChangedPackage;

    fn result(outcome: HostOutcome, to: &str) -> HostResult {
        HostResult {
            detail: None,
            host: "demo-01".into(),
            node_id: "00".into(),
            outcome,
            phase: None,
            attempts: 1,
            rebooted: false,
            packages: vec![ChangedPackage {
                name: "pm-demo-lib".into(),
                arch: "all".into(),
                from: Some(OLD.into()),
                to: to.into(),
            }],
            error: None,
        }
    }

    fn all(version: &str, status: &str) -> Installed {
        PACKAGES.iter().map(|name| ((*name).to_owned(), (version.to_owned(), status.to_owned()))).collect()
    }

    #[test]
    fn a_recap_that_claims_too_much_is_found_out() {
        assert_eq!(compare(&result(HostOutcome::Succeeded, NEW), &all(NEW, "ii")), [""; 0]);
        assert_eq!(compare(&result(HostOutcome::Succeeded, NEW), &all(NEW, "iF")).len(), 4);
        assert_eq!(compare(&result(HostOutcome::Failed, NEW), &all(NEW, "ii")), [""; 0]);
        assert_eq!(
            compare(&result(HostOutcome::Failed, NEW), &all(NEW, "iF")),
            ["demo-01: the recap says pm-demo-lib 1.1, dpkg says 1.1 (iF)"]
        );
        assert_eq!(
            compare(&result(HostOutcome::Failed, NEW), &all(OLD, "ii")),
            ["demo-01: the recap says pm-demo-lib 1.1, dpkg says 1.0 (ii)"]
        );
        assert_eq!(compare(&result(HostOutcome::NotStarted, OLD), &all(NEW, "ii")).len(), 4);
        assert_eq!(compare(&result(HostOutcome::NotStarted, OLD), &all(OLD, "ii")), [""; 0]);
    }
}
