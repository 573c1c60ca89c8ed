//! Patch groups: which baseline judges a host (spec 4.1).

use std::collections::BTreeMap;

use super::baseline::{OperatingSystem, predefined};

/// The tags whose value is the group. Letters' case counts.
pub const GROUP_TAGS: [&str; 2] = ["Patch Group", "PatchGroup"];
/// Longest name of a group, in characters.
pub const MAX_GROUP: usize = 256;
/// Most groups of one baseline.
pub const MAX_GROUPS: usize = 25;

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

/// What was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

fn check_name(group: &str) -> Result<(), GroupError> {
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
        self.registered.insert((group.to_owned(), os), baseline.to_owned());
        Ok(())
    }

    /// Takes it back. `false` if it was not registered.
    pub fn deregister(&mut self, baseline: &str, group: &str) -> bool {
        let before = self.registered.len();
        self.registered.retain(|(known, _), named| !(known == group && named == baseline));
        self.registered.len() < before
    }

    /// Makes `baseline` the default of `os`; a predefined one's name takes an earlier default back.
    pub fn set_default(&mut self, baseline: &str, os: OperatingSystem) {
        self.defaults.insert(os, baseline.to_owned());
    }

    /// The groups of a baseline, by name.
    pub fn groups(&self, baseline: &str) -> impl Iterator<Item = &str> {
        self.registered.iter().filter(move |(_, named)| *named == baseline).map(|((group, _), _)| group.as_str())
    }

    /// The default of `os`.
    pub fn default_of(&self, os: OperatingSystem) -> Resolved {
        let predefined = predefined::default_for(os);
        match self.defaults.get(&os).filter(|name| *name != predefined) {
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
}
