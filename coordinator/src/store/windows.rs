//! The maintenance windows that are kept.

use patchmesh_common::{
    labels::Labels,
    rollout::{intent::Kind, policy::PatchPolicy},
    schedule::{
        Opening,
        blackout::Blackout,
        window::{MaintenanceWindow, Problem, Window},
    },
    time::WallTime,
};

use super::{
    Note, Store, UNCHANGED,
    folder::Kept,
    judged::{Judged, checked, find},
};
use crate::{api::document::KeptDocument, fault::Fault, manifest};

/// Most windows of one coordinator.
pub const MAX_WINDOWS: usize = 1000;

impl Kept for MaintenanceWindow {
    const FOLDER: &'static str = "windows";
    const INTENT: Kind = Kind::Window;
    const NOUN: &'static str = "window";
    const MOST: usize = MAX_WINDOWS;

    fn name(&self) -> &str {
        &self.name
    }

    fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        manifest::window::parse(file, text)
    }

    fn yaml(self) -> Result<String, Fault> {
        manifest::window::yaml(self)
    }
}

impl Judged for MaintenanceWindow {
    const KIND: &'static str = manifest::window::KIND;
    const NOUNS: &'static str = "windows";
    const TOO_MANY: &'static str = "too-many-windows";

    type Checked = Window;

    fn labels(&mut self) -> &mut Labels {
        &mut self.labels
    }

    fn judge(&self) -> Result<Window, Vec<Problem>> {
        self.check()
    }
}

/// A maintenance window of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWindow {
    /// As it is written.
    pub written: MaintenanceWindow,
    /// What it is.
    pub window: Window,
    /// Since when it is as it is: what opened before that starts no task.
    pub since: WallTime,
}

impl Store {
    /// Every window, by name.
    ///
    /// # Errors
    /// `store-damaged` names the first file that is not what the store wrote.
    pub fn windows(&self) -> Result<Vec<KeptWindow>, Fault> {
        let _turn = self.turn();
        let kept = |written: MaintenanceWindow| self.kept_window(written);
        self.windows.load()?.into_iter().map(kept).collect()
    }

    /// The window `name`.
    ///
    /// # Errors
    /// As [`Self::windows`], or if it is not there.
    pub fn window(&self, name: &str) -> Result<KeptWindow, Fault> {
        let _turn = self.turn();
        let known = self.windows.load()?;
        let written = find(&known, name)?.clone();
        self.kept_window(written)
    }

    fn kept_window(&self, written: MaintenanceWindow) -> Result<KeptWindow, Fault> {
        let since = self.windows.since(&written.name)?;
        Ok(KeptWindow { window: checked(&written)?.kept_since(since), since, written })
    }

    /// Keeps `window`, the baselines of whose tasks must be there.
    ///
    /// # Errors
    /// As [`Self::windows`]; a limit that it breaks, what is not there, one window too many, a file that cannot be written.
    pub fn put_window(&self, window: MaintenanceWindow, note: Note<'_>) -> Result<KeptDocument, Fault> {
        let changing = self.changing(note);
        for task in checked(&window)?.tasks {
            self.named(&format!("task {} of window {}", task.name, window.name), task.baseline())?;
        }
        self.windows.put(window, &changing)
    }

    /// Takes the window `name` away. Plans that were made by it keep their openings.
    ///
    /// # Errors
    /// As [`Self::window`]; `window-in-use` if a policy installs in it, a file that cannot be removed.
    pub fn delete_window(&self, name: &str, note: Note<'_>) -> Result<KeptDocument, Fault> {
        let changing = self.changing(note);
        let policies: Vec<PatchPolicy> = self.policies.load()?;
        let needs = |one: &&PatchPolicy| one.spec.windows.iter().any(|window| window == name);
        let needed_by: Vec<_> = policies.iter().filter(needs).map(|one| one.name.as_str()).collect();
        if let [first, more @ ..] = needed_by.as_slice() {
            let (more, verb) = match more.len() {
                0 => (String::new(), "installs"),
                count => (format!(" and {count} more"), "install"),
            };
            let text = format!("window {name} cannot be deleted: policy {first}{more} {verb} in it");
            let remedy =
                format!("take it out of that policy's windows, or patchmesh delete policy {first}, then try again");
            return Err(Fault::new("window-in-use", text, UNCHANGED, remedy));
        }
        self.windows.take(name, &changing)
    }

    /// Up to `most` openings in which a rollout through the windows `names` may start hosts at `now` or later, in order, without
    /// what `blackouts` cover.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn openings(
        &self,
        names: &[String],
        blackouts: &[Blackout],
        now: WallTime,
        most: usize,
    ) -> Result<Vec<Opening>, Fault> {
        let _turn = self.turn();
        let known = self.windows.load()?;
        let mut openings = Vec::new();
        for name in names {
            openings.extend(self.kept_window(find(&known, name)?.clone())?.window.allowed(now, blackouts, most));
        }
        openings.sort();
        openings.dedup();
        openings.truncate(most);
        Ok(openings)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, UNIX_EPOCH},
    };

    use patchmesh_common::{rollout::policy::predefined::host_management, schedule::window::Spec};

    use super::*;
    use crate::{
        api::document::Change,
        store::{UNCHANGED, tests::unnoted},
    };

    fn window(name: &str, schedule: &str) -> MaintenanceWindow {
        let spec =
            Spec { schedule: schedule.into(), duration: "2h".into(), cutoff: Some("30m".into()), ..Spec::default() };
        MaintenanceWindow { name: name.into(), spec, labels: Default::default() }
    }

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).unwrap()
    }

    #[test]
    fn what_is_kept_is_there_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let now = at("2026-12-01T00:00:00Z");
        assert_eq!(store.windows().unwrap(), []);
        let nightly = window("nightly", "cron(0 2 * * ? *)");
        assert_eq!(store.put_window(nightly.clone(), &unnoted).unwrap().change, Change::Created);
        assert_eq!(store.put_window(nightly.clone(), &unnoted).unwrap().change, Change::Unchanged);
        assert_eq!(
            store.put_window(window("nightly", "cron(0 3 * * ? *)"), &unnoted).unwrap().change,
            Change::Replaced
        );
        store.put_window(window("weekly", "cron(0 2 ? * SUN *)"), &unnoted).unwrap();
        let again = Store::new(dir.path());
        let names: Vec<_> = again.windows().unwrap().into_iter().map(|kept| kept.written.name).collect();
        assert_eq!(names, ["nightly", "weekly"]);
        let shown = again.window("nightly").unwrap();
        assert!(shown.since > WallTime(0) && shown.since < WallTime::MAX);
        assert_eq!(shown.window.openings(now).next().unwrap().opening.opens, at("2026-12-01T03:00:00Z"));
        assert_eq!(again.delete_window("nightly", &unnoted).unwrap().change, Change::Deleted);
        assert_eq!(again.delete_window("nightly", &unnoted).unwrap_err().code, "not-found");
        assert_eq!(again.delete_window("../baselines/web", &unnoted).unwrap_err().code, "not-found");
        assert_eq!(again.window("nightly").unwrap_err().code, "not-found");
        let left: Vec<_> =
            fs::read_dir(dir.path().join("windows")).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(left, ["weekly.yaml"], "no temporary files stay behind");
    }

    #[test]
    fn what_a_policy_installs_in_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.put_window(window("sundays", "cron(0 2 ? * SUN *)"), &unnoted).unwrap();
        store.put_window(window("nightly", "cron(0 2 * * ? *)"), &unnoted).unwrap();
        let mut policy = host_management();
        policy.spec.install = policy.spec.scan.clone();
        policy.spec.windows = vec!["nightly".into(), "sundays".into()];
        for name in ["db", "web"] {
            policy.name = name.into();
            store.put_policy(policy.clone(), &unnoted).unwrap();
        }
        let fault = store.delete_window("sundays", &unnoted).unwrap_err();
        let said = "window sundays cannot be deleted: policy db and 1 more install in it";
        assert_eq!((fault.code, fault.message.as_str()), ("window-in-use", said));
        assert!(store.window("sundays").is_ok());
        assert_eq!(store.delete_window("none", &unnoted).unwrap_err().code, "not-found");
        store.delete_policy("db", &unnoted).unwrap();
        policy.spec.windows.pop();
        store.put_policy(policy, &unnoted).unwrap();
        assert_eq!(store.delete_window("sundays", &unnoted).unwrap().change, Change::Deleted);
        assert_eq!(store.delete_window("nightly", &unnoted).unwrap_err().code, "window-in-use");
    }

    #[test]
    fn an_offset_counts_from_days_that_came_after_the_window_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut late = window("late", "cron(0 2 ? * TUE#2 *)");
        late.spec.offset_days = Some(3);
        store.put_window(late, &unnoted).unwrap();
        let next = |since: &str| {
            let file = fs::File::options().write(true).open(dir.path().join("windows/late.yaml")).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_millis(at(since).0 as u64)).unwrap();
            let now = at("2026-12-09T00:00:00Z");
            let found = store.openings(&["late".into()], &[], now, 1).unwrap()[0];
            for kept in store.windows().unwrap().into_iter().chain([store.window("late").unwrap()]) {
                assert_eq!(kept.window.openings(now).next().unwrap().opening, found);
            }
            found.opens.rfc3339()
        };
        assert_eq!(next("2026-12-08T01:00:00Z"), "2026-12-11T02:00:00Z");
        assert_eq!(next("2026-12-08T03:00:00Z"), "2027-01-15T02:00:00Z", "the day of the schedule had passed");
    }

    #[test]
    fn labels_decide_nothing_not_even_since_when_a_window_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut kept = window("late", "cron(0 2 ? * TUE#2 *)");
        store.put_window(kept.clone(), &unnoted).unwrap();
        let since = || fs::metadata(dir.path().join("windows/late.yaml")).unwrap().modified().unwrap();
        let early = UNIX_EPOCH + Duration::from_millis(at("2026-11-01T00:00:00Z").0 as u64);
        let file = fs::File::options().write(true).open(dir.path().join("windows/late.yaml")).unwrap();
        file.set_modified(early).unwrap();
        kept.labels.insert("team".into(), "web".into());
        assert_eq!(store.put_window(kept.clone(), &unnoted).unwrap().change, Change::Replaced);
        assert_eq!((since(), store.windows().unwrap()[0].written.labels.len()), (early, 1));
        kept.spec.duration = "3h".into();
        store.put_window(kept, &unnoted).unwrap();
        assert_ne!(since(), early, "another window from here on");
    }

    #[test]
    fn what_is_wrong_or_damaged_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let now = at("2026-12-01T00:00:00Z");
        assert_eq!(
            store.put_window(window("nightly", "cron(0 2 * * * *)"), &unnoted).unwrap_err().code,
            "manifest-invalid"
        );
        assert_eq!(store.put_window(window("../evil", "rate(1 day)"), &unnoted).unwrap_err().code, "manifest-invalid");
        assert!(!dir.path().join("windows").exists());
        store.put_window(window("nightly", "cron(0 2 * * ? *)"), &unnoted).unwrap();
        let path = dir.path().join("windows/nightly.yaml");
        let good = fs::read_to_string(&path).unwrap();
        for (bad, said) in [
            (good.replace("2h", "200h"), "spec.duration \"200h\""),
            (good.replace("nightly", "other"), "it holds window other, which is kept as other.yaml"),
            (String::new(), ""),
        ] {
            fs::write(&path, bad).unwrap();
            let faults = [
                store.windows().unwrap_err(),
                store.put_window(window("weekly", "rate(7 days)"), &unnoted).unwrap_err(),
                store.delete_window("nightly", &unnoted).unwrap_err(),
                store.openings(&["nightly".into()], &[], now, 3).unwrap_err(),
            ];
            for fault in faults {
                assert_eq!((fault.code, fault.unchanged.as_str()), ("store-damaged", UNCHANGED));
                assert!(
                    fault.message.contains(path.to_str().unwrap()) && fault.message.contains(said),
                    "{}",
                    fault.message
                );
            }
            assert!(store.read().is_ok(), "baselines are another folder");
        }
    }

    #[test]
    fn several_windows_are_one_list_of_openings() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.put_window(window("nightly", "cron(0 2 * * ? *)"), &unnoted).unwrap();
        store.put_window(window("noon", "cron(0 12 * * ? *)"), &unnoted).unwrap();
        store.put_window(window("same", "cron(0 2 * * ? *)"), &unnoted).unwrap();
        let now = at("2026-12-01T03:29:59Z");
        let names = ["noon", "nightly", "same"].map(str::to_owned);
        let opens = |blackouts: &[Blackout], most| -> Vec<String> {
            let found = store.openings(&names, blackouts, now, most).unwrap();
            found.iter().map(|one| one.opens.rfc3339()).collect()
        };
        assert_eq!(opens(&[], 3), ["2026-12-01T02:00:00Z", "2026-12-01T12:00:00Z", "2026-12-02T02:00:00Z"]);
        let freeze = Blackout { from: now, to: at("2026-12-02T00:00:00Z") };
        assert_eq!(opens(&[freeze], 1), ["2026-12-02T02:00:00Z"]);
        assert_eq!(store.openings(&["none".into()], &[], now, 3).unwrap_err().code, "not-found");
    }
}
