//! Patch groups: which baseline judges a host (spec 4.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::{OperatingSystem, predefined};

/// The tags whose value is the group. Letters' case counts.
pub const GROUP_TAGS: [&str; 2] = ["Patch Group", "PatchGroup"];
/// Longest name of a group, in characters.
pub const MAX_GROUP: usize = 256;
/// Most groups of one baseline.
pub const MAX_GROUPS: usize = 25;
/// Most registrations in all: with the longest names they take some 2 MiB.
pub const MAX_REGISTERED: usize = 5000;
/// Longest name of a baseline, in characters.
const MAX_BASELINE: usize = 128;

/// Which baseline was chosen for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its name.
    pub baseline: String,
    /// Why.
    pub because: Because,
}

/// Why a baseline was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The host's group has it for this operating system.
    Group(String),
    /// It was made the default of the operating system.
    Default,
    /// Nothing was registered: the predefined one.
    Predefined,
}

/// Why a registration is refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A group has one baseline per operating system.
    #[error("patch group {group:?} already has baseline {baseline} for {os}", os = os.as_str())]
    Taken {
        /// The group.
        group: String,
        /// What it has.
        baseline: String,
        /// For what.
        os: OperatingSystem,
    },
    /// The baseline has as many groups as it may.
    #[error("baseline {0} already has {MAX_GROUPS} patch groups")]
    TooMany(String),
    /// The mesh has as many registrations as it may.
    #[error("{MAX_REGISTERED} patch groups are registered, and no more are allowed")]
    Full,
    /// No name of a group.
    #[error("{0:?} is no patch group: 1 to {MAX_GROUP} letters, digits, spaces and _.:/=+-@ are allowed")]
    Name(String),
    /// A host is in one group at most.
    #[error("the tags {tags:?} say two patch groups, {first:?} and {second:?}", tags = GROUP_TAGS)]
    TwoGroups {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
}

/// Why a written form is refused: which of its entries, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrittenError {
    /// A registration that could not have been made.
    #[error("groups[{0}]: {1}")]
    Group(usize, GroupError),
    /// An entry that is there twice.
    #[error("{0}[{1}]: it is there twice")]
    Twice(&'static str, usize),
    /// A word that is no operating system.
    #[error("{0}[{1}].operatingSystem: {2:?} is no operating system")]
    System(&'static str, usize, String),
    /// A baseline without a usable name.
    #[error("{0}[{1}].baseline: a name has 1 to {MAX_BASELINE} characters")]
    Baseline(&'static str, usize),
    /// More entries than there can be.
    #[error("{0}: {1} entries, and at most {2} are allowed")]
    TooMany(&'static str, usize, usize),
}

/// What was registered, as it is kept and sent. [`Groups`] reads and writes it, and takes nothing that breaks a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Written {
    /// By group, then operating system.
    pub groups: Vec<WrittenGroup>,
    /// By operating system. Those that are not here have their predefined baseline.
    pub defaults: Vec<WrittenDefault>,
}

/// That a group has a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenGroup {
    /// 1 to [`MAX_GROUP`] characters.
    pub group: String,
    /// An [`OperatingSystem`].
    pub operating_system: String,
    /// The baseline's name.
    pub baseline: String,
}

/// That an operating system has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenDefault {
    /// An [`OperatingSystem`].
    pub operating_system: String,
    /// The baseline's name.
    pub baseline: String,
}

/// What was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Groups {
    registered: BTreeMap<(String, OperatingSystem), String>,
    defaults: BTreeMap<OperatingSystem, String>,
}

/// The group that `tags` name; `None` if they name none.
///
/// # Errors
/// If they name two, or something that is no group.
pub fn group_of(tags: &BTreeMap<String, String>) -> Result<Option<&str>, GroupError> {
    let mut found = GROUP_TAGS.iter().filter_map(|tag| tags.get(*tag)).map(String::as_str);
    match (found.next(), found.next()) {
        (Some(first), Some(second)) if first != second => {
            Err(GroupError::TwoGroups { first: first.to_owned(), second: second.to_owned() })
        }
        (Some(group), _) => check_name(group).map(|()| Some(group)),
        _ => Ok(None),
    }
}

pub(crate) fn check_name(group: &str) -> Result<(), GroupError> {
    let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
    let count = group.chars().count();
    if (1..=MAX_GROUP).contains(&count) && group.chars().all(allowed) {
        return Ok(());
    }
    Err(GroupError::Name(group.chars().take(80).collect()))
}

impl Groups {
    /// Gives `group` the baseline `baseline` of `os`. The same registration again changes nothing.
    ///
    /// # Errors
    /// If the group has another one for `os`, the baseline has too many groups, or `group` is no name.
    pub fn register(&mut self, baseline: &str, os: OperatingSystem, group: &str) -> Result<(), GroupError> {
        check_name(group)?;
        if let Some(known) = self.registered.get(&(group.to_owned(), os)) {
            if known == baseline {
                return Ok(());
            }
            return Err(GroupError::Taken { group: group.to_owned(), baseline: known.clone(), os });
        }
        if self.groups(baseline).count() >= MAX_GROUPS {
            return Err(GroupError::TooMany(baseline.to_owned()));
        }
        if self.registered.len() >= MAX_REGISTERED {
            return Err(GroupError::Full);
        }
        self.registered.insert((group.to_owned(), os), baseline.to_owned());
        Ok(())
    }

    /// Takes it back. `false` if it was not registered.
    pub fn deregister(&mut self, baseline: &str, group: &str) -> bool {
        let before = self.registered.len();
        self.registered.retain(|(known, _), named| !(known == group && named == baseline));
        self.registered.len() < before
    }

    /// Makes `baseline` the default of `os`; the predefined default's name takes an earlier one back.
    pub fn set_default(&mut self, baseline: &str, os: OperatingSystem) {
        match baseline == predefined::default_for(os) {
            true => self.defaults.remove(&os),
            false => self.defaults.insert(os, baseline.to_owned()),
        };
    }

    /// Every registration: group, operating system, baseline; by group, then operating system.
    pub fn registered(&self) -> impl Iterator<Item = (&str, OperatingSystem, &str)> {
        self.registered.iter().map(|((group, os), baseline)| (group.as_str(), *os, baseline.as_str()))
    }

    /// Every default that was set, by operating system.
    pub fn defaults(&self) -> impl Iterator<Item = (OperatingSystem, &str)> {
        self.defaults.iter().map(|(os, baseline)| (*os, baseline.as_str()))
    }

    /// The groups of a baseline, by name.
    pub fn groups(&self, baseline: &str) -> impl Iterator<Item = &str> {
        self.registered.iter().filter(move |(_, named)| *named == baseline).map(|((group, _), _)| group.as_str())
    }

    /// The default of `os`.
    pub fn default_of(&self, os: OperatingSystem) -> Resolved {
        let predefined = predefined::default_for(os);
        match self.defaults.get(&os) {
            Some(name) => Resolved { baseline: name.clone(), because: Because::Default },
            None => Resolved { baseline: predefined.to_owned(), because: Because::Predefined },
        }
    }

    /// The baseline of a host with `tags`: its group's for `os`, or the default of `os`.
    ///
    /// # Errors
    /// If the tags name two groups, or something that is no group.
    pub fn resolve(&self, tags: &BTreeMap<String, String>, os: OperatingSystem) -> Result<Resolved, GroupError> {
        let registered = group_of(tags)?.and_then(|group| {
            let baseline = self.registered.get(&(group.to_owned(), os))?.clone();
            Some(Resolved { baseline, because: Because::Group(group.to_owned()) })
        });
        Ok(registered.unwrap_or_else(|| self.default_of(os)))
    }
}

impl From<Groups> for Written {
    fn from(groups: Groups) -> Self {
        let group = |(group, os, baseline): (&str, OperatingSystem, &str)| WrittenGroup {
            group: group.to_owned(),
            operating_system: os.as_str().to_owned(),
            baseline: baseline.to_owned(),
        };
        let default = |(os, baseline): (OperatingSystem, &str)| WrittenDefault {
            operating_system: os.as_str().to_owned(),
            baseline: baseline.to_owned(),
        };
        Self { groups: groups.registered().map(group).collect(), defaults: groups.defaults().map(default).collect() }
    }
}

impl TryFrom<Written> for Groups {
    type Error = WrittenError;

    fn try_from(written: Written) -> Result<Self, WrittenError> {
        let most = OperatingSystem::ALL.len();
        for (list, count, most) in
            [("groups", written.groups.len(), MAX_REGISTERED), ("defaults", written.defaults.len(), most)]
        {
            if count > most {
                return Err(WrittenError::TooMany(list, count, most));
            }
        }
        let checked = |list, at, word: &str, baseline: &str| {
            if !(1..=MAX_BASELINE).contains(&baseline.chars().count()) {
                return Err(WrittenError::Baseline(list, at));
            }
            let clipped = || word.chars().take(80).collect();
            OperatingSystem::parse(word).ok_or_else(|| WrittenError::System(list, at, clipped()))
        };
        let mut groups = Self::default();
        for (at, one) in written.groups.into_iter().enumerate() {
            let os = checked("groups", at, &one.operating_system, &one.baseline)?;
            let before = groups.registered.len();
            groups.register(&one.baseline, os, &one.group).map_err(|error| WrittenError::Group(at, error))?;
            if groups.registered.len() == before {
                return Err(WrittenError::Twice("groups", at));
            }
        }
        for (at, one) in written.defaults.into_iter().enumerate() {
            let os = checked("defaults", at, &one.operating_system, &one.baseline)?;
            if groups.defaults.insert(os, one.baseline).is_some() {
                return Err(WrittenError::Twice("defaults", at));
            }
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    const DEBIAN: OperatingSystem = OperatingSystem::Debian;

    #[test]
    fn the_group_wins_then_the_default_then_the_predefined_one() {
        let mut groups = Groups::default();
        groups.register("web", DEBIAN, "prod").unwrap();
        let of = |groups: &Groups, pairs: &[(&str, &str)], os| groups.resolve(&tags(pairs), os).unwrap();
        for tag in GROUP_TAGS {
            let resolved = of(&groups, &[(tag, "prod")], DEBIAN);
            assert_eq!(resolved, Resolved { baseline: "web".into(), because: Because::Group("prod".into()) });
        }
        let predefined = Resolved { baseline: "AWS-DebianDefaultPatchBaseline".into(), because: Because::Predefined };
        assert_eq!(of(&groups, &[], DEBIAN), predefined);
        assert_eq!(of(&groups, &[("patch group", "prod")], DEBIAN), predefined);
        assert_eq!(of(&groups, &[("PatchGroup", "dev")], DEBIAN), predefined);
        let ubuntu = of(&groups, &[("PatchGroup", "prod")], OperatingSystem::Ubuntu);
        assert_eq!(ubuntu.baseline, "AWS-UbuntuDefaultPatchBaseline");
        groups.set_default("own", DEBIAN);
        assert_eq!(of(&groups, &[], DEBIAN), Resolved { baseline: "own".into(), because: Because::Default });
        groups.set_default("AWS-DebianDefaultPatchBaseline", DEBIAN);
        assert_eq!(of(&groups, &[], DEBIAN), predefined);
        assert!(groups.deregister("web", "prod") && !groups.deregister("web", "prod"));
        assert_eq!(of(&groups, &[("PatchGroup", "prod")], DEBIAN), predefined);
    }

    #[test]
    fn one_baseline_per_group_and_operating_system() {
        let mut groups = Groups::default();
        groups.register("web", DEBIAN, "prod").unwrap();
        groups.register("web", DEBIAN, "prod").unwrap();
        groups.register("other", OperatingSystem::Ubuntu, "prod").unwrap();
        let taken = groups.register("other", DEBIAN, "prod").unwrap_err();
        assert_eq!(taken.to_string(), "patch group \"prod\" already has baseline web for DEBIAN");
        for n in 1..MAX_GROUPS {
            groups.register("web", DEBIAN, &format!("g{n}")).unwrap();
        }
        assert_eq!(groups.register("web", DEBIAN, "one-more"), Err(GroupError::TooMany("web".into())));
        assert_eq!(groups.groups("web").count(), MAX_GROUPS);
    }

    #[test]
    fn two_groups_and_bad_names_are_refused() {
        let both = tags(&[("Patch Group", "a"), ("PatchGroup", "b")]);
        assert!(matches!(group_of(&both), Err(GroupError::TwoGroups { .. })));
        assert_eq!(group_of(&tags(&[("Patch Group", "a"), ("PatchGroup", "a")])), Ok(Some("a")));
        for bad in ["", "a;b", &"x".repeat(257)] {
            assert!(matches!(group_of(&tags(&[("PatchGroup", bad)])), Err(GroupError::Name(_))), "{bad}");
        }
    }

    #[test]
    fn what_was_registered_is_written_and_read_again() {
        let mut groups = Groups::default();
        groups.register("web", DEBIAN, "prod").unwrap();
        groups.register("own", OperatingSystem::Ubuntu, "prod").unwrap();
        groups.set_default("own", OperatingSystem::Ubuntu);
        let written = Written::from(groups.clone());
        let systems: Vec<_> = written.groups.iter().map(|one| one.operating_system.as_str()).collect();
        assert_eq!((systems, written.defaults.len()), (vec!["UBUNTU", "DEBIAN"], 1));
        assert_eq!(Groups::try_from(written), Ok(groups.clone()));
        assert_eq!(crate::wire::decode::<Groups>(&crate::wire::encode(&groups), 1024), Ok(groups));
    }

    #[test]
    fn a_written_form_that_breaks_a_rule_is_refused_with_its_place() {
        let group = |group: &str, os: &str, baseline: &str| WrittenGroup {
            group: group.into(),
            operating_system: os.into(),
            baseline: baseline.into(),
        };
        let default = |os: &str| WrittenDefault { operating_system: os.into(), baseline: "own".into() };
        let wrong = |groups: Vec<WrittenGroup>, defaults: Vec<WrittenDefault>| {
            Groups::try_from(Written { groups, defaults }).unwrap_err().to_string()
        };
        let one = || group("prod", "DEBIAN", "web");
        assert_eq!(wrong(vec![one(), one()], vec![]), "groups[1]: it is there twice");
        assert_eq!(
            wrong(vec![one(), group("prod", "DEBIAN", "own")], vec![]),
            "groups[1]: patch group \"prod\" already has baseline web for DEBIAN"
        );
        assert!(wrong(vec![group("a;b", "DEBIAN", "web")], vec![]).starts_with("groups[0]: \"a;b\" is no patch group"));
        assert_eq!(
            wrong(vec![group("a", "Debian", "web")], vec![]),
            "groups[0].operatingSystem: \"Debian\" is no operating system"
        );
        assert!(wrong(vec![group("a", "DEBIAN", "")], vec![]).starts_with("groups[0].baseline: "));
        assert_eq!(wrong(vec![], vec![default("DEBIAN"), default("DEBIAN")]), "defaults[1]: it is there twice");
        assert!(wrong(vec![], vec![default("DEBIAN"); 16]).starts_with("defaults: 16 entries"));
        let many = (0..=MAX_REGISTERED).map(|n| group(&format!("g{n}"), "DEBIAN", &format!("b{n}")));
        assert!(wrong(many.collect(), vec![]).starts_with("groups: 5001 entries"));
    }
}
