//! What a run changes in a report: failures, and what waits for a reboot (spec 3.1, 3.2, 6.4).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Evaluation, Row, State};
use crate::{id::BootId, run::compare::Unfinished};

/// (name, arch) of a package.
pub type Key = (String, String);

/// What runs installed without a reboot after it. Kept by the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Written>", from = "Vec<Written>")]
pub struct Pending {
    entries: BTreeMap<Brought, Wait>,
}

/// (name, arch, version).
type Brought = (String, String, String);

/// Since when something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    boot: BootId,
    /// It waits whether a package asked for a reboot or not.
    always: bool,
}

/// (name, architecture, version, boot, whether it waits in any case): an entry as it is written.
type Written = (String, String, String, BootId, bool);

impl From<Pending> for Vec<Written> {
    fn from(pending: Pending) -> Self {
        let entry = |((name, arch, version), wait): (Brought, Wait)| (name, arch, version, wait.boot, wait.always);
        pending.entries.into_iter().map(entry).collect()
    }
}

impl From<Vec<Written>> for Pending {
    fn from(written: Vec<Written>) -> Self {
        let entry = |(name, arch, version, boot, always)| ((name, arch, version), Wait { boot, always });
        Self { entries: written.into_iter().take(MAX_PENDING).map(entry).collect() }
    }
}

/// Most entries: more than one transaction can have.
pub const MAX_PENDING: usize = 16_384;

impl Pending {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes that a run in the boot `boot` is about to install these (name, arch, version). What does not fit is not noted.
    pub fn note(&mut self, boot: BootId, versions: impl IntoIterator<Item = (String, String, String)>) {
        for version in versions {
            if self.entries.len() < MAX_PENDING || self.entries.contains_key(&version) {
                self.entries.insert(version, Wait { boot, always: false });
            }
        }
    }

    /// The run that brought these was not to reboot: they wait in any case (spec 3.2). What was not noted does not.
    pub fn unwanted(&mut self, versions: impl IntoIterator<Item = (String, String, String)>) {
        for version in versions {
            if let Some(wait) = self.entries.get_mut(&version) {
                wait.always = true;
            }
        }
    }

    /// Forgets what is not there in the look behind a run: the run has not brought it, and whoever does later is not the run.
    pub fn found(&mut self, evaluation: &Evaluation) {
        let rows = evaluation.rows.iter();
        let there: BTreeSet<_> =
            rows.filter_map(|row| Some((&*row.name, &*row.arch, row.installed.as_deref()?))).collect();
        self.entries.retain(|(name, arch, version), _| there.contains(&(&**name, &**arch, &**version)));
    }

    /// Forgets what an earlier boot installed: the host has started since. By the boot's id, so that no clock can be wrong.
    pub fn started(&mut self, boot: BootId) {
        self.entries.retain(|_, wait| wait.boot == boot);
    }

    /// Marks what waits. Only what runs of ours changed since the host started does, and only in the version that they brought
    /// (spec 10, F); it is marked until a scan after the reboot. What a run brought that may reboot waits only if a package `asked`
    /// for that.
    pub fn mark(&self, evaluation: &mut Evaluation, asked: bool) {
        for row in evaluation.rows.iter_mut().filter(|row| row.state == State::Installed) {
            let Some(version) = row.installed.clone() else { continue };
            let wait = self.entries.get(&(row.name.clone(), row.arch.clone(), version));
            if wait.is_some_and(|wait| asked || wait.always) {
                row.state = State::InstalledPendingReboot;
                row.reason.text.push_str("; it was installed since the host started");
            }
        }
    }
}

/// Turns the look behind an Install into its report: what is still missing has failed. With an override list, `listed` is what it
/// names and is still not installed: that has failed, approved or not, and the rest stays as it is.
pub fn after_install(evaluation: &mut Evaluation, listed: Option<&BTreeSet<Key>>) {
    let failed = |row: &Row| match listed {
        Some(listed) => listed.contains(&(row.name.clone(), row.arch.clone())),
        None => row.state == State::Missing,
    };
    evaluation.rows.iter_mut().filter(|row| failed(row)).for_each(|row| row.state = State::Failed);
}

/// Fails what the package manager has begun and not finished: it is not installed, whatever version its database names. Of what
/// is not approved only what the run has `tried`.
pub fn fail_unfinished(evaluation: &mut Evaluation, unfinished: &Unfinished, tried: &BTreeSet<Key>) {
    for row in &mut evaluation.rows {
        let key = (row.name.clone(), row.arch.clone());
        let Some(word) = unfinished.get(&key) else { continue };
        if row.state == State::Installed || (row.state == State::InstalledOther && tried.contains(&key)) {
            row.state = State::Failed;
            row.reason.text.push_str(&format!("; the package manager has not finished it: {word}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Reason, *};
    use crate::patch::baseline::{ComplianceLevel, SecurityUpdates};

    fn row(name: &str, state: State) -> Row {
        Row {
            name: name.into(),
            arch: "amd64".into(),
            installed: Some("2".into()),
            available: None,
            state,
            level: ComplianceLevel::High,
            classification: None,
            reason: Reason {
                code: "approved-rule",
                text: String::new(),
                rule: None,
                opens_at: None,
                ignored_date_gate: false,
            },
        }
    }

    fn look() -> Evaluation {
        Evaluation {
            rows: vec![row("a", State::Installed), row("b", State::Missing), row("c", State::InstalledOther)],
            not_applicable: 0,
        }
    }

    fn states(evaluation: &Evaluation) -> Vec<State> {
        evaluation.rows.iter().map(|row| row.state).collect()
    }

    fn noted(name: &str, version: &str) -> (String, String, String) {
        (name.into(), "amd64".into(), version.into())
    }

    const FIRST: BootId = BootId([1; 16]);
    const SECOND: BootId = BootId([2; 16]);

    #[test]
    fn an_install_leaves_nothing_missing_unless_it_was_not_listed() {
        let mut all = look();
        after_install(&mut all, None);
        assert_eq!(states(&all), [State::Installed, State::Failed, State::InstalledOther]);
        let mut listed = look();
        after_install(&mut listed, Some(&BTreeSet::from([("x".into(), "amd64".into())])));
        assert_eq!(states(&listed), states(&look()));
        // What is not approved was tried too.
        after_install(&mut listed, Some(&BTreeSet::from([("c".into(), "amd64".into())])));
        assert_eq!(states(&listed), [State::Installed, State::Missing, State::Failed]);
    }

    #[test]
    fn what_was_begun_and_not_finished_has_failed_and_does_not_wait_for_a_reboot() {
        let unfinished = ["a", "b", "c"].map(|name| ((name.to_owned(), "amd64".to_owned()), "half-configured".into()));
        let unfinished = Unfinished::from(unfinished);
        let mut pending = Pending::default();
        pending.note(FIRST, [noted("a", "2")]);
        let mut scan = look();
        fail_unfinished(&mut scan, &unfinished, &BTreeSet::new());
        pending.mark(&mut scan, true);
        assert_eq!(states(&scan), [State::Failed, State::Missing, State::InstalledOther]);
        assert_eq!(scan.rows[0].reason.text, "; the package manager has not finished it: half-configured");
        assert_eq!(scan.summary(SecurityUpdates::Compliant).severity, Some(ComplianceLevel::High));
        // What is not approved was tried by name.
        let mut listed = look();
        fail_unfinished(&mut listed, &unfinished, &BTreeSet::from([("c".into(), "amd64".into())]));
        assert_eq!(states(&listed), [State::Failed, State::Missing, State::Failed]);
    }

    #[test]
    fn what_a_run_installed_waits_until_the_host_has_started_and_is_scanned() {
        let mut pending = Pending::default();
        pending.note(FIRST, [noted("a", "2"), noted("c", "2"), noted("b", "3")]);
        let mut scan = look();
        pending.mark(&mut scan, true);
        assert_eq!(states(&scan), [State::InstalledPendingReboot, State::Missing, State::InstalledOther]);
        assert_eq!(scan.summary(SecurityUpdates::Compliant).severity, Some(ComplianceLevel::High));
        pending.started(FIRST);
        assert!(!pending.is_empty());
        pending.started(SECOND);
        let mut after = look();
        pending.mark(&mut after, true);
        assert_eq!(states(&after)[0], State::Installed);
    }

    #[test]
    fn without_a_wish_of_a_package_only_what_was_not_to_reboot_waits() {
        let mut pending = Pending::default();
        pending.note(FIRST, [noted("a", "2"), noted("c", "2")]);
        let mut scan = look();
        scan.rows[2].state = State::Installed;
        pending.mark(&mut scan, false);
        assert_eq!(states(&scan), [State::Installed, State::Missing, State::Installed]);
        pending.unwanted([noted("a", "2"), noted("b", "2")]);
        pending.mark(&mut scan, false);
        assert_eq!(states(&scan), [State::InstalledPendingReboot, State::Missing, State::Installed]);
        let kept: Pending = serde_json::from_str(&serde_json::to_string(&pending).unwrap()).unwrap();
        assert_eq!(kept, pending);
    }

    #[test]
    fn what_a_run_did_not_bring_does_not_wait_when_somebody_else_brings_it() {
        let mut pending = Pending::default();
        pending.note(FIRST, [noted("a", "2")]);
        // A second run fails, or never begins: what the first has brought goes on waiting.
        pending.note(FIRST, [noted("a", "3"), noted("b", "4")]);
        pending.found(&look());
        let mut scan = look();
        pending.mark(&mut scan, true);
        assert_eq!(states(&scan)[0], State::InstalledPendingReboot);
        for row in &mut scan.rows {
            (row.installed, row.state) = (Some(if row.name == "a" { "3" } else { "4" }.into()), State::Installed);
        }
        pending.mark(&mut scan, true);
        assert_eq!(states(&scan), [State::Installed; 3], "by hand, afterwards");
    }

    #[test]
    fn another_version_than_the_run_brought_does_not_wait() {
        let mut pending = Pending::default();
        pending.note(FIRST, [noted("a", "1")]);
        let mut scan = look();
        pending.mark(&mut scan, true);
        assert_eq!(states(&scan)[0], State::Installed);
    }
}
