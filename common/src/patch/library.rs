//! Which baselines a mesh has, and whose they are: what may be kept, registered and taken away (spec 4.1).

use std::collections::BTreeMap;

use super::{
    baseline::{OperatingSystem, PatchBaseline, Problem, predefined},
    groups::{GroupError, Groups},
};

/// Most baselines of a mesh's own.
pub const MAX_BASELINES: usize = 500;
/// Most groups that an error names.
const MAX_NAMED: usize = 5;

/// The baselines of a mesh's own, and what is registered. The predefined baselines are always there besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Library {
    /// By name; each of them passed its check, and none has a predefined one's name.
    baselines: BTreeMap<String, PatchBaseline>,
    groups: Groups,
}

/// What became of a baseline that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none of the name.
    Created,
    /// It took the place of another one.
    Replaced,
    /// It was there already.
    Unchanged,
}

/// Why something is refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// Nobody has the name.
    #[error("there is no baseline {0:?}")]
    Unknown(String),
    /// A predefined one is what it is.
    #[error("baseline {0} is predefined: it can be neither replaced nor deleted")]
    Predefined(String),
    /// A word that means something else in a Rollout.
    #[error("no baseline can be called {0}: in a Rollout that word means what needs no baseline")]
    Reserved(String),
    /// It breaks a limit.
    #[error("baseline {0}: {1}")]
    Limit(String, Problem),
    /// The mesh has as many baselines as it may.
    #[error("{MAX_BASELINES} baselines are kept, and no more are allowed")]
    Full,
    /// A baseline of a group, or a default, cannot go away or become one for other hosts.
    #[error("baseline {baseline} is in use: it is {used}")]
    InUse {
        /// Its name.
        baseline: String,
        /// For whom, in words.
        used: String,
    },
    /// A baseline is for one operating system.
    #[error("baseline {baseline} is for {of}, not for {asked}", of = .of.as_str(), asked = .asked.as_str())]
    OtherSystem {
        /// Its name.
        baseline: String,
        /// What it is for.
        of: OperatingSystem,
        /// What was asked for.
        asked: OperatingSystem,
    },
    /// Nothing to take back.
    #[error("patch group {group:?} does not have baseline {baseline}")]
    NotRegistered {
        /// The baseline.
        baseline: String,
        /// The group.
        group: String,
    },
    /// Something registered names a baseline that is not there, or that is for something else.
    #[error("{what} has baseline {baseline} for {os}, and {why}", os = .os.as_str())]
    Dangling {
        /// A group or the default.
        what: String,
        /// The baseline.
        baseline: String,
        /// For what.
        os: OperatingSystem,
        /// What is wrong with it.
        why: String,
    },
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// What `baseline:` of a Rollout says for every newer version, and for those of security archives.
pub const RESERVED: [&str; 2] = ["all", "security"];

/// Whose patches `baseline` judges.
pub fn system(baseline: &PatchBaseline) -> OperatingSystem {
    let word = baseline.spec.operating_system.as_deref();
    word.and_then(OperatingSystem::parse).unwrap_or(OperatingSystem::Windows)
}

impl Library {
    /// A library of `baselines` and what is registered. What is registered may name baselines that are not there:
    /// [`Self::check`] says so.
    ///
    /// # Errors
    /// A baseline that cannot be kept.
    pub fn new(baselines: impl IntoIterator<Item = PatchBaseline>, groups: Groups) -> Result<Self, LibraryError> {
        let mut library = Self { baselines: BTreeMap::new(), groups };
        for baseline in baselines {
            library.add(baseline)?;
        }
        Ok(library)
    }

    /// Whether everything that is registered names a baseline that is there, for the same operating system.
    ///
    /// # Errors
    /// The first registration that does not.
    pub fn check(&self) -> Result<(), LibraryError> {
        let groups = self.groups.registered().map(|(group, os, name)| (format!("patch group {group:?}"), os, name));
        let defaults = self.groups.defaults().map(|(os, name)| ("the default".to_owned(), os, name));
        for (what, os, name) in groups.chain(defaults) {
            let why = match self.find(name).map(|found| system(&found)) {
                Some(of) if of == os => continue,
                Some(of) => format!("it is for {}", of.as_str()),
                None => "there is no such baseline".to_owned(),
            };
            return Err(LibraryError::Dangling { what, baseline: name.to_owned(), os, why });
        }
        Ok(())
    }

    /// The baselines of the mesh's own, by name.
    pub fn own(&self) -> impl Iterator<Item = &PatchBaseline> {
        self.baselines.values()
    }

    /// What is registered.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The baseline of this name, predefined ones included.
    pub fn find(&self, name: &str) -> Option<PatchBaseline> {
        self.baselines.get(name).cloned().or_else(|| predefined::find(name))
    }

    /// Keeps `baseline`, in the place of one of the same name.
    ///
    /// # Errors
    /// If it breaks a limit, has a predefined one's name, is one too many, or would change the operating system of one in use.
    pub fn put(&mut self, baseline: PatchBaseline) -> Result<Put, LibraryError> {
        let Some(known) = self.baselines.get(&baseline.name) else { return self.add(baseline).map(|()| Put::Created) };
        if *known == baseline {
            return Ok(Put::Unchanged);
        }
        if system(known) != system(&baseline) {
            self.unused(&baseline.name)?;
        }
        self.add(baseline).map(|()| Put::Replaced)
    }

    fn add(&mut self, baseline: PatchBaseline) -> Result<(), LibraryError> {
        let name = || baseline.name.chars().take(128).collect::<String>();
        if let Err(mut problems) = baseline.check() {
            return Err(LibraryError::Limit(name(), problems.swap_remove(0)));
        }
        if predefined::find(&baseline.name).is_some() {
            return Err(LibraryError::Predefined(name()));
        }
        if RESERVED.contains(&baseline.name.as_str()) {
            return Err(LibraryError::Reserved(name()));
        }
        if self.baselines.len() >= MAX_BASELINES && !self.baselines.contains_key(&baseline.name) {
            return Err(LibraryError::Full);
        }
        self.baselines.insert(baseline.name.clone(), baseline);
        Ok(())
    }

    /// Takes the baseline `name` away, and answers it.
    ///
    /// # Errors
    /// If it is not there, predefined, registered for a group, or a default.
    pub fn delete(&mut self, name: &str) -> Result<PatchBaseline, LibraryError> {
        if !self.baselines.contains_key(name) {
            return Err(match predefined::find(name) {
                Some(found) => LibraryError::Predefined(found.name),
                None => unknown(name),
            });
        }
        self.unused(name)?;
        self.baselines.remove(name).ok_or_else(|| unknown(name))
    }

    fn unused(&self, name: &str) -> Result<(), LibraryError> {
        let groups: Vec<_> = self.groups.groups(name).map(|group| format!("{group:?}")).collect();
        let mut used = Vec::new();
        if !groups.is_empty() {
            let more = groups.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = groups.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
            used.push(format!("the baseline of patch group {named}{more}"));
        }
        let default = self.groups.defaults().find(|(_, default)| *default == name);
        used.extend(default.map(|(os, _)| format!("the default of {}", os.as_str())));
        if used.is_empty() {
            return Ok(());
        }
        Err(LibraryError::InUse { baseline: name.to_owned(), used: used.join(", and ") })
    }

    fn known(&self, name: &str, asked: Option<OperatingSystem>) -> Result<(String, OperatingSystem), LibraryError> {
        let found = self.find(name).ok_or_else(|| unknown(name))?;
        let of = system(&found);
        match asked {
            Some(asked) if asked != of => Err(LibraryError::OtherSystem { baseline: found.name, of, asked }),
            _ => Ok((found.name, of)),
        }
    }

    /// Gives `group` the baseline `name`, for the baseline's operating system. `asked` is the one that the caller expects.
    ///
    /// # Errors
    /// If the baseline is not there or for something else, and as [`Groups::register`].
    pub fn register(
        &mut self,
        name: &str,
        group: &str,
        asked: Option<OperatingSystem>,
    ) -> Result<OperatingSystem, LibraryError> {
        let (name, os) = self.known(name, asked)?;
        self.groups.register(&name, os, group)?;
        Ok(os)
    }

    /// Takes the baseline `name` from `group`.
    ///
    /// # Errors
    /// If the group does not have it.
    pub fn deregister(&mut self, name: &str, group: &str) -> Result<(), LibraryError> {
        let canonical = self.find(name).map_or_else(|| name.to_owned(), |found| found.name);
        if self.groups.deregister(&canonical, group) {
            return Ok(());
        }
        let clip = |text: &str, most| text.chars().take(most).collect();
        Err(LibraryError::NotRegistered { baseline: clip(&canonical, 128), group: clip(group, 80) })
    }

    /// Makes the baseline `name` the default of its operating system. A predefined default takes an earlier one back.
    ///
    /// # Errors
    /// If it is not there.
    pub fn set_default(&mut self, name: &str) -> Result<OperatingSystem, LibraryError> {
        let (name, os) = self.known(name, None)?;
        self.groups.set_default(&name, os);
        Ok(os)
    }
}

fn unknown(name: &str) -> LibraryError {
    LibraryError::Unknown(name.chars().take(128).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::baseline::Spec;

    const DEBIAN: OperatingSystem = OperatingSystem::Debian;
    const UBUNTU: OperatingSystem = OperatingSystem::Ubuntu;

    fn own(name: &str, os: OperatingSystem) -> PatchBaseline {
        PatchBaseline {
            name: name.into(),
            spec: Spec { operating_system: Some(os.as_str().into()), ..Spec::default() },
            labels: Default::default(),
        }
    }

    fn library() -> Library {
        Library::new([own("web", DEBIAN), own("mail", UBUNTU)], Groups::default()).unwrap()
    }

    #[test]
    fn baselines_come_and_go() {
        let mut library = library();
        assert_eq!(library.put(own("web", DEBIAN)), Ok(Put::Unchanged));
        assert_eq!(library.put(own("web", UBUNTU)), Ok(Put::Replaced));
        assert_eq!(library.put(own("new", DEBIAN)), Ok(Put::Created));
        assert_eq!(library.own().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["mail", "new", "web"]);
        assert_eq!(library.delete("new"), Ok(own("new", DEBIAN)));
        assert_eq!(library.delete("new"), Err(LibraryError::Unknown("new".into())));
        assert!(library.find("AWS-DebianDefaultPatchBaseline").is_some());
    }

    #[test]
    fn a_predefined_one_is_what_it_is() {
        let mut library = library();
        let name = "AWS-DebianDefaultPatchBaseline";
        assert_eq!(library.put(own(name, DEBIAN)), Err(LibraryError::Predefined(name.into())));
        assert_eq!(library.delete(name), Err(LibraryError::Predefined(name.into())));
        assert_eq!(library.register(name, "prod", None), Ok(DEBIAN));
    }

    #[test]
    fn a_word_that_needs_no_baseline_is_no_name_of_one() {
        for name in RESERVED {
            assert_eq!(library().put(own(name, DEBIAN)), Err(LibraryError::Reserved(name.into())));
        }
    }

    #[test]
    fn limits_are_held() {
        let mut library = library();
        assert!(matches!(library.put(own("a", DEBIAN)), Err(LibraryError::Limit(_, _))));
        for n in 2..MAX_BASELINES {
            library.put(own(&format!("base-{n}"), DEBIAN)).unwrap();
        }
        assert_eq!(library.put(own("one-more", DEBIAN)), Err(LibraryError::Full));
        assert_eq!(library.put(own("base-2", UBUNTU)), Ok(Put::Replaced));
    }

    #[test]
    fn what_is_in_use_stays_and_keeps_its_operating_system() {
        let mut library = library();
        for n in 0..7 {
            library.register("web", &format!("g{n}"), None).unwrap();
        }
        library.set_default("web").unwrap();
        let told = library.delete("web").unwrap_err().to_string();
        assert_eq!(
            told,
            "baseline web is in use: it is the baseline of patch group \"g0\", \"g1\", \"g2\", \"g3\", \"g4\" and 2 more, and the \
             default of DEBIAN"
        );
        assert!(matches!(library.put(own("web", UBUNTU)), Err(LibraryError::InUse { .. })));
        let mut changed = own("web", DEBIAN);
        changed.spec.description = Some("other".into());
        assert_eq!(library.put(changed), Ok(Put::Replaced));
        for n in 0..7 {
            library.deregister("web", &format!("g{n}")).unwrap();
        }
        assert!(library.delete("web").unwrap_err().to_string().ends_with("it is the default of DEBIAN"));
        library.set_default("AWS-DebianDefaultPatchBaseline").unwrap();
        assert!(library.delete("web").is_ok());
    }

    #[test]
    fn registrations_are_for_the_baselines_operating_system() {
        let mut library = library();
        assert_eq!(library.register("web", "prod", Some(DEBIAN)), Ok(DEBIAN));
        assert_eq!(
            library.register("web", "prod", Some(UBUNTU)).unwrap_err().to_string(),
            "baseline web is for DEBIAN, not for UBUNTU"
        );
        assert_eq!(library.register("mail", "prod", None), Ok(UBUNTU));
        library.put(own("other", DEBIAN)).unwrap();
        assert!(matches!(library.register("other", "prod", None), Err(LibraryError::Group(GroupError::Taken { .. }))));
        assert!(matches!(library.register("none", "prod", None), Err(LibraryError::Unknown(_))));
        assert!(matches!(library.set_default("none"), Err(LibraryError::Unknown(_))));
        assert!(matches!(library.deregister("other", "prod"), Err(LibraryError::NotRegistered { .. })));
        assert_eq!(library.deregister("web", "prod"), Ok(()));
    }

    #[test]
    fn a_registration_without_its_baseline_is_found_and_can_be_taken_back() {
        let told = |groups: &Groups| Library::new([own("web", UBUNTU)], groups.clone()).unwrap().check();
        let mut groups = Groups::default();
        groups.register("web", DEBIAN, "prod").unwrap();
        let text = told(&groups).unwrap_err().to_string();
        assert_eq!(text, "patch group \"prod\" has baseline web for DEBIAN, and it is for UBUNTU");
        groups.deregister("web", "prod");
        groups.set_default("gone", DEBIAN);
        let text = told(&groups).unwrap_err().to_string();
        assert_eq!(text, "the default has baseline gone for DEBIAN, and there is no such baseline");
        let mut library = Library::new([], groups).unwrap();
        library.set_default("AWS-DebianDefaultPatchBaseline").unwrap();
        assert_eq!(library.check(), Ok(()));
    }
}
