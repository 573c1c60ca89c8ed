//! The patch policies that are kept.

use patchmesh_common::{
    labels::Labels,
    patch::library::system,
    rollout::{
        intent::Kind,
        policy::{
            PatchPolicy, Policy, baseline_names,
            predefined::{HOST_MANAGEMENT, host_management},
        },
        spec::Asked,
    },
    schedule::window::{MaintenanceWindow, Problem},
    time::WallTime,
};

use super::{
    Note, Store, UNCHANGED,
    folder::Kept,
    judged::{Judged, checked, find},
};
use crate::{api::document::KeptDocument, fault::Fault, manifest};

/// Most policies of one coordinator.
pub const MAX_POLICIES: usize = 1000;

impl Kept for PatchPolicy {
    const FOLDER: &'static str = "policies";
    const INTENT: Kind = Kind::Policy;
    const NOUN: &'static str = "policy";
    const MOST: usize = MAX_POLICIES;

    fn name(&self) -> &str {
        &self.name
    }

    fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        manifest::policy::parse(file, text)
    }

    fn yaml(self) -> Result<String, Fault> {
        manifest::policy::yaml(self)
    }
}

impl Judged for PatchPolicy {
    const KIND: &'static str = manifest::policy::KIND;
    const NOUNS: &'static str = "policies";
    const TOO_MANY: &'static str = "too-many-policies";

    type Checked = Policy;

    fn labels(&mut self) -> &mut Labels {
        &mut self.labels
    }

    fn judge(&self) -> Result<Policy, Vec<Problem>> {
        self.check()
    }
}

/// A policy of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPolicy {
    /// As it is written.
    pub written: PatchPolicy,
    /// What it is.
    pub policy: Policy,
    /// Since when it is as it is: nothing before that is due.
    pub since: WallTime,
    /// Whether it is ours, and nobody has written another one.
    pub predefined: bool,
}

impl Store {
    /// Every policy by name, the predefined one too.
    ///
    /// # Errors
    /// `store-damaged` names the first file that is not what the store wrote.
    pub fn policies(&self) -> Result<Vec<KeptPolicy>, Fault> {
        let _turn = self.turn();
        let mut known = self.policies.load()?.into_iter().map(|one| self.kept(one)).collect::<Result<Vec<_>, _>>()?;
        if known.iter().all(|one| one.written.name != HOST_MANAGEMENT) {
            let written = host_management();
            let policy = checked(&written)?;
            known.push(KeptPolicy { written, policy, since: WallTime::MAX, predefined: true });
        }
        known.sort_by(|a, b| a.written.name.cmp(&b.written.name));
        Ok(known)
    }

    fn kept(&self, written: PatchPolicy) -> Result<KeptPolicy, Fault> {
        let since = self.policies.since(&written.name)?;
        Ok(KeptPolicy { policy: checked(&written)?, written, since, predefined: false })
    }

    /// Keeps `policy`, whose baselines and windows must be there.
    ///
    /// # Errors
    /// As [`Self::policies`]; a limit that it breaks, what is not there, one policy too many, a file that cannot be written.
    pub fn put_policy(&self, policy: PatchPolicy, note: Note<'_>) -> Result<KeptDocument, Fault> {
        let changing = self.changing(note);
        let checked = checked(&policy)?;
        let windows: Vec<MaintenanceWindow> = self.windows.load()?;
        for name in checked.windows() {
            find(&windows, name)?;
        }
        self.named(&format!("policy {}", policy.name), checked.baseline())?;
        self.policies.put(policy, &changing)
    }

    /// Refuses a baseline that `whose` names and that is not there, or is not for the operating system that it stands at.
    pub(super) fn named(&self, whose: &str, asked: &Asked) -> Result<(), Fault> {
        let names = baseline_names(asked);
        if names.is_empty() {
            return Ok(());
        }
        let library = self.load()?;
        for (os, name) in names {
            let baseline = library.find(name).ok_or_else(|| {
                let text = format!("{whose} names baseline {name:?}, which is not there");
                Fault::new("not-found", text, UNCHANGED, "see patchmesh get baselines, or import it first")
            })?;
            let own = system(&baseline);
            if os.is_some_and(|os| os != own) {
                let text = format!("{whose}: baseline {name:?} is for {}", own.as_str());
                let remedy = "name a baseline of the operating system that it stands at";
                return Err(Fault::new("other-operating-system", text, UNCHANGED, remedy));
            }
        }
        Ok(())
    }

    /// Takes the policy `name` away. Its runs go on. The predefined one comes back as it was.
    ///
    /// # Errors
    /// As [`Self::policies`], if it is not there or predefined; a file that cannot be removed.
    pub fn delete_policy(&self, name: &str, note: Note<'_>) -> Result<KeptDocument, Fault> {
        let changing = self.changing(note);
        if name == HOST_MANAGEMENT && !self.policies.file(name).exists() {
            let text = format!("policy {name} is predefined");
            return Err(Fault::new("policy-predefined", text, UNCHANGED, "leave it: it is not enabled"));
        }
        self.policies.take(name, &changing)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use patchmesh_common::schedule::window::Spec;

    use super::*;
    use crate::{api::document::Change, store::tests::unnoted};

    fn nightly() -> PatchPolicy {
        let mut policy = host_management();
        (policy.name, policy.spec.enabled) = ("nightly".into(), None);
        policy
    }

    #[test]
    fn a_policy_is_kept_with_what_it_names_and_the_predefined_one_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let names = |store: &Store| -> Vec<(String, bool)> {
            store.policies().unwrap().into_iter().map(|one| (one.written.name, one.predefined)).collect()
        };
        assert_eq!(names(&store), [("host-management".to_owned(), true)]);
        assert_eq!(store.put_policy(nightly(), &unnoted).unwrap().change, Change::Created);
        assert_eq!(store.put_policy(nightly(), &unnoted).unwrap().change, Change::Unchanged);
        let before = store.policies().unwrap()[1].since;
        assert!(before > WallTime(0) && before < WallTime::MAX);
        let mut own = host_management();
        own.spec.enabled = Some(true);
        store.put_policy(own, &unnoted).unwrap();
        let again = Store::new(dir.path());
        assert_eq!(names(&again), [("host-management".to_owned(), false), ("nightly".to_owned(), false)]);
        again.delete_policy("host-management", &unnoted).unwrap();
        assert_eq!(names(&again), [("host-management".to_owned(), true), ("nightly".to_owned(), false)]);
        assert_eq!(again.delete_policy("host-management", &unnoted).unwrap_err().code, "policy-predefined");
        assert_eq!(again.delete_policy("../windows/x", &unnoted).unwrap_err().code, "not-found");
    }

    #[test]
    fn what_it_names_must_be_there_and_what_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut policy = nightly();
        policy.spec.baselines =
            Some([(patchmesh_common::patch::baseline::OperatingSystem::Debian, "none".into())].into());
        assert_eq!(store.put_policy(policy.clone(), &unnoted).unwrap_err().code, "not-found");
        let ubuntu = "AWS-UbuntuDefaultPatchBaseline";
        policy.spec.baselines.as_mut().unwrap().values_mut().for_each(|name| *name = ubuntu.into());
        assert_eq!(store.put_policy(policy.clone(), &unnoted).unwrap_err().code, "other-operating-system");
        policy.spec.baselines = None;
        policy.spec.install = policy.spec.scan.clone();
        policy.spec.windows = vec!["sundays".into()];
        assert_eq!(store.put_policy(policy.clone(), &unnoted).unwrap_err().message, "there is no window \"sundays\"");
        let spec = Spec { schedule: "cron(0 2 ? * SUN *)".into(), duration: "2h".into(), ..Spec::default() };
        store
            .put_window(MaintenanceWindow { name: "sundays".into(), spec, labels: Default::default() }, &unnoted)
            .unwrap();
        store.put_policy(policy, &unnoted).unwrap();
        fs::write(dir.path().join("policies/nightly.yaml"), "x").unwrap();
        assert_eq!(store.policies().unwrap_err().code, "store-damaged");
    }
}
