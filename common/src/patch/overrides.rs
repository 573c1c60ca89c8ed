//! AWS's two overrides of a run: a list of patches to install instead of what a baseline approves (spec 6.6), and baselines to
//! judge by instead of the registered ones (spec 6.7). At most one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    baseline::{Checked, Family, OperatingSystem, PatchBaseline},
    evaluation::Judge,
    glob,
};
use crate::{
    inventory::{
        document::{Inventory, Offer, Package},
        rpm,
    },
    time::WallTime,
};

/// Most entries of an install list.
pub const MAX_LISTED: usize = 5000;
/// Longest id or title, in characters.
pub const MAX_TEXT: usize = 512;

/// `InstallOverrideList`: YAML, as AWS takes it. Members that are unknown there are passed over here too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub struct InstallList {
    /// Of which one must name a patch.
    #[schemars(length(max = MAX_LISTED))]
    pub patches: Vec<Listed>,
}

/// An entry of an install list: id and title must both fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub struct Listed {
    /// `name.arch` on Linux, name or `name.version` on macOS, a KB or bulletin id on Windows; shell patterns on Linux.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub id: String,
    /// `name.arch:epoch:version-release` or `name.arch:version`, with shell patterns. Linux only, passed over elsewhere.
    // Written also where it is none: a plan in the ledger carries the list in a form without names.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub title: Option<String>,
}

/// What is wrong with an override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOverride {
    /// Too many entries.
    #[error("patches: {0} entries, and at most {MAX_LISTED} are allowed")]
    TooMany(usize),
    /// An entry has an empty or endless text.
    #[error("{0}: 1 to {MAX_TEXT} characters are allowed")]
    Text(String),
    /// No baseline of the list is for the host.
    #[error("none of the baselines is for {}", .0.as_str())]
    NoneFor(OperatingSystem),
    /// Two baselines of the list are for the host.
    #[error("{1} of the baselines are for {os}, and one is expected", os = .0.as_str())]
    Several(OperatingSystem, usize),
}

impl InstallList {
    /// Judges every bound.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadOverride> {
        if self.patches.len() > MAX_LISTED {
            return Err(BadOverride::TooMany(self.patches.len()));
        }
        let fits = |text: &str| (1..=MAX_TEXT).contains(&text.chars().count());
        for (at, listed) in self.patches.iter().enumerate() {
            let texts = [("id", Some(listed.id.as_str())), ("title", listed.title.as_deref())];
            if let Some((field, _)) = texts.into_iter().find(|(_, text)| text.is_some_and(|text| !fits(text))) {
                return Err(BadOverride::Text(format!("patches[{at}].{field}")));
            }
        }
        Ok(())
    }

    /// Whether an entry names `offer` of `package`.
    pub fn names(&self, family: Family, package: &Package, offer: &Offer) -> bool {
        self.patches.iter().any(|listed| listed.names(family, package, offer))
    }

    /// What an Install with this list installs of `package`: the newest version that it names and that is newer than the
    /// installed one, whatever the baseline says; on Windows only what the baseline approves too. `None` for what is not
    /// installed on Linux: nothing new comes for its own sake.
    pub fn choice<'a>(
        &self,
        baseline: &Checked,
        inventory: &'a Inventory,
        package: &'a Package,
        at: WallTime,
    ) -> Option<&'a Offer> {
        let family = baseline.os.family();
        let product = inventory.host.product_of(baseline.os);
        let judge = Judge { baseline, product: &product, at };
        let newer = |offer: &&Offer| match package.installed.as_deref() {
            Some(installed) => family.order(&offer.version, installed).is_gt(),
            None => family == Family::Windows && package.applicable,
        };
        let named = package.candidates.iter().filter(newer).filter(|offer| self.names(family, package, offer));
        named
            .filter(|offer| family != Family::Windows || judge.verdict(package, offer).approves())
            .max_by(|a, b| family.order(&a.version, &b.version))
    }
}

impl Listed {
    fn names(&self, family: Family, package: &Package, offer: &Offer) -> bool {
        let (name, arch, version) = (&package.name, &package.arch, &offer.version);
        match family {
            Family::Windows => {
                let bulletin = offer.advisories.iter().any(|advisory| advisory.id.eq_ignore_ascii_case(&self.id));
                bulletin || name.eq_ignore_ascii_case(&self.id)
            }
            Family::MacOs => self.id == *name || self.id == format!("{name}.{version}"),
            Family::Apt | Family::Rpm | Family::Zypper => {
                let title = match family {
                    Family::Apt => format!("{name}.{arch}:{version}"),
                    _ => {
                        let evr = rpm::Evr::parse(version);
                        let epoch = if evr.epoch.is_empty() { "0" } else { evr.epoch };
                        let release = evr.release.map(|release| format!("-{release}")).unwrap_or_default();
                        format!("{name}.{arch}:{epoch}:{}{release}", evr.version)
                    }
                };
                let fits = |pattern: &String| glob::matches(pattern, &title);
                glob::matches(&self.id, &format!("{name}.{arch}")) && self.title.as_ref().is_none_or(fits)
            }
        }
    }
}

/// The baseline of a `BaselineOverride` that judges hosts of `os`.
///
/// # Errors
/// If there is none or more than one.
pub fn choose(baselines: &[PatchBaseline], os: OperatingSystem) -> Result<&PatchBaseline, BadOverride> {
    let of = |baseline: &&PatchBaseline| match baseline.spec.operating_system.as_deref() {
        Some(word) => word == os.as_str(),
        None => os == OperatingSystem::Windows,
    };
    let found: Vec<_> = baselines.iter().filter(of).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(BadOverride::NoneFor(os)),
        several => Err(BadOverride::Several(os, several.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::document::{Advisory, Host},
        patch::baseline::{Spec, predefined},
    };

    fn listed(id: &str, title: Option<&str>) -> InstallList {
        InstallList { patches: vec![Listed { id: id.into(), title: title.map(str::to_owned) }] }
    }

    fn package(name: &str, installed: Option<&str>, offers: &[&str]) -> Package {
        Package {
            name: name.into(),
            arch: "x86_64".into(),
            installed: installed.map(str::to_owned),
            applicable: true,
            candidates: offers.iter().map(|v| Offer { version: (*v).into(), ..Offer::default() }).collect(),
            ..Package::default()
        }
    }

    fn choice(list: &InstallList, baseline: &str, package: &Package) -> Option<String> {
        let inventory =
            Inventory { schema: String::new(), host: Host::default(), collected_at: None, packages: Vec::new() };
        let checked = predefined::find(baseline).unwrap().check().unwrap();
        list.choice(&checked, &inventory, package, WallTime(0)).map(|offer| offer.version.clone())
    }

    #[test]
    fn id_and_title_must_both_fit() {
        let openssl = package("openssl", Some("1:1.0.2k-1"), &["1:1.0.2k-2", "1:1.1.1-1"]);
        let on = |list: &InstallList| choice(list, "AWS-AmazonLinux2DefaultPatchBaseline", &openssl);
        assert_eq!(on(&listed("openssl.x86_64", None)).as_deref(), Some("1:1.1.1-1"));
        assert_eq!(on(&listed("open*", Some("openssl.x86_64:1:1.0.2k-*"))).as_deref(), Some("1:1.0.2k-2"));
        assert_eq!(on(&listed("openssl.x86_64", Some("*:0:1.1.1-1"))), None);
        assert_eq!(on(&listed("openssl", None)), None);
        assert_eq!(on(&listed("openssl.i686", None)), None);
        let absent = package("openssl", None, &["1-1"]);
        assert_eq!(choice(&listed("*", None), "AWS-AmazonLinux2DefaultPatchBaseline", &absent), None);
        let nginx = package("nginx", Some("1.0"), &["2.0"]);
        let apt = |title| choice(&listed("nginx.x86_64", Some(title)), "AWS-DebianDefaultPatchBaseline", &nginx);
        assert_eq!((apt("nginx.x86_64:2.0").as_deref(), apt("nginx.x86_64:0:2.0")), (Some("2.0"), None));
    }

    #[test]
    fn on_windows_the_baseline_must_approve_too_and_on_macos_names_are_exact() {
        let mut update = package("KB5001", None, &["1"]);
        let on = |update: &Package| choice(&listed("kb5001", Some("passed over")), "AWS-DefaultPatchBaseline", update);
        assert_eq!(on(&update), None);
        update.candidates[0].advisories.push(Advisory {
            id: "MS10-048".into(),
            kind: Some("SecurityUpdates".into()),
            severity: Some("Critical".into()),
            issued: Some(WallTime(-8 * 86_400_000)),
            ..Advisory::default()
        });
        assert_eq!(on(&update).as_deref(), Some("1"));
        assert!(choice(&listed("MS10-048", None), "AWS-DefaultPatchBaseline", &update).is_some());
        let git = package("git", Some("1"), &["2"]);
        let mac = |id: &str| choice(&listed(id, None), "AWS-MacOSDefaultPatchBaseline", &git);
        assert!(mac("git").is_some() && mac("git.2").is_some() && mac("git.1").is_none() && mac("g*").is_none());
    }

    #[test]
    fn bounds_are_held() {
        assert_eq!(listed("a", None).check(), Ok(()));
        assert_eq!(listed("", None).check(), Err(BadOverride::Text("patches[0].id".into())));
        assert_eq!(listed("a", Some("")).check(), Err(BadOverride::Text("patches[0].title".into())));
        assert_eq!(listed(&"a".repeat(MAX_TEXT + 1), None).check(), Err(BadOverride::Text("patches[0].id".into())));
        let many = InstallList { patches: vec![listed("a", None).patches.remove(0); MAX_LISTED + 1] };
        assert_eq!(many.check(), Err(BadOverride::TooMany(5001)));
    }

    #[test]
    fn one_baseline_of_an_override_is_for_the_host() {
        let own = |os: Option<&str>| PatchBaseline {
            name: "x".into(),
            spec: Spec { operating_system: os.map(str::to_owned), ..Spec::default() },
            labels: Default::default(),
        };
        let all = [own(Some("DEBIAN")), own(None), own(Some("CENTOS")), own(Some("CENTOS"))];
        assert_eq!(choose(&all, OperatingSystem::Debian), Ok(&all[0]));
        assert_eq!(choose(&all, OperatingSystem::Windows), Ok(&all[1]));
        assert_eq!(
            choose(&all, OperatingSystem::CentOs).unwrap_err().to_string(),
            "2 of the baselines are for CENTOS, and one is expected"
        );
        assert_eq!(choose(&all, OperatingSystem::Suse), Err(BadOverride::NoneFor(OperatingSystem::Suse)));
    }
}
