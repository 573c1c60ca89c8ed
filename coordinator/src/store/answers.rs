//! What the store says and does, as documents.

use patchmesh_common::{
    patch::{
        baseline::{OperatingSystem, PatchBaseline, predefined},
        library::{Library, LibraryError, Put, system},
    },
    rollout::intent::Intent,
};

use super::{Note, Store, UNCHANGED, refused};
use crate::{
    api::document::{
        BaselineDocument, BaselineRow, BaselinesDocument, Change, ChangedDocument, DefaultRow, GroupRow,
        GroupsDocument, RegisterRequest,
    },
    fault::Fault,
    manifest::baseline::Written,
};

impl Store {
    /// Every baseline.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn list(&self) -> Result<BaselinesDocument, Fault> {
        let library = self.read()?;
        let own = library.own().map(|one| row(&library, one, false));
        let predefined = predefined::all();
        let rows = own.chain(predefined.iter().map(|one| row(&library, one, true))).collect();
        Ok(BaselinesDocument::new(rows))
    }

    /// The baseline `name`.
    ///
    /// # Errors
    /// As [`Self::read`], or if it is not there.
    pub fn show(&self, name: &str) -> Result<BaselineDocument, Fault> {
        let library = self.read()?;
        let unknown = || refused(LibraryError::Unknown(name.chars().take(128).collect()), name);
        let found = library.find(name).ok_or_else(unknown)?;
        let row = row(&library, &found, predefined::find(name).is_some());
        Ok(BaselineDocument::new(row, Written::from(found)))
    }

    /// Keeps `baseline`.
    ///
    /// # Errors
    /// What the library refuses, and as [`Self::read`]; a file that cannot be written.
    pub fn put(&self, baseline: PatchBaseline, note: Note<'_>) -> Result<ChangedDocument, Fault> {
        let (name, os) = (baseline.name.clone(), system(&baseline));
        let change = match self.keep(baseline, note)? {
            Put::Created => Change::Created,
            Put::Replaced => Change::Replaced,
            Put::Unchanged => Change::Unchanged,
        };
        Ok(changed(change, name, Some(os), None))
    }

    /// Takes the baseline `name` away.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn delete(&self, name: &str, note: Note<'_>) -> Result<ChangedDocument, Fault> {
        let gone = self.remove(name, note)?;
        let os = system(&gone);
        Ok(changed(Change::Deleted, gone.name, Some(os), None))
    }

    /// Every patch group with a baseline, and every default.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn groups(&self) -> Result<GroupsDocument, Fault> {
        let library = self.read()?;
        let group = |(group, os, baseline): (&str, OperatingSystem, &str)| GroupRow {
            group: group.to_owned(),
            operating_system: os.as_str().to_owned(),
            baseline: baseline.to_owned(),
        };
        let default = |os: &OperatingSystem| DefaultRow {
            operating_system: os.as_str().to_owned(),
            baseline: library.groups().default_of(*os).baseline,
        };
        let groups = library.groups().registered().map(group).collect();
        Ok(GroupsDocument::new(groups, OperatingSystem::ALL.iter().map(default).collect()))
    }

    /// Gives `group` a baseline.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn register(&self, group: &str, asked: &RegisterRequest, note: Note<'_>) -> Result<ChangedDocument, Fault> {
        let word = asked.operating_system.as_deref();
        let expected = word.map(|word| OperatingSystem::parse(word).ok_or_else(|| no_system(word))).transpose()?;
        let mut registered = (String::new(), None);
        let is_new = self.change(&asked.baseline, note, |library| {
            registered.1 = Some(library.register(&asked.baseline, group, expected)?);
            registered.0 = canonical(library, &asked.baseline);
            Ok(Intent::Registered { group: group.to_owned(), baseline: registered.0.clone() })
        })?;
        let change = if is_new { Change::Registered } else { Change::Unchanged };
        Ok(changed(change, registered.0, registered.1, Some(group)))
    }

    /// Takes a baseline from `group`.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn deregister(&self, group: &str, asked: &RegisterRequest, note: Note<'_>) -> Result<ChangedDocument, Fault> {
        let mut gone = (String::new(), None);
        self.change(&asked.baseline, note, |library| {
            gone.0 = canonical(library, &asked.baseline);
            gone.1 = library.find(&gone.0).map(|found| system(&found));
            library.deregister(&asked.baseline, group)?;
            Ok(Intent::Deregistered { group: group.to_owned(), baseline: gone.0.clone() })
        })?;
        Ok(changed(Change::Deregistered, gone.0, gone.1, Some(group)))
    }

    /// Makes the baseline `name` the default of its operating system.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn set_default(&self, name: &str, note: Note<'_>) -> Result<ChangedDocument, Fault> {
        let mut made = (String::new(), None);
        let is_new = self.change(name, note, |library| {
            made.1 = Some(library.set_default(name)?);
            made.0 = canonical(library, name);
            Ok(Intent::MadeDefault { baseline: made.0.clone() })
        })?;
        let change = if is_new { Change::MadeDefault } else { Change::Unchanged };
        Ok(changed(change, made.0, made.1, None))
    }
}

fn canonical(library: &Library, name: &str) -> String {
    library.find(name).map_or_else(|| name.chars().take(128).collect(), |found| found.name)
}

fn row(library: &Library, baseline: &PatchBaseline, predefined: bool) -> BaselineRow {
    let os = system(baseline);
    BaselineRow {
        name: baseline.name.clone(),
        operating_system: os.as_str().to_owned(),
        description: baseline.spec.description.clone(),
        predefined,
        default: library.groups().default_of(os).baseline == baseline.name,
        file: None,
        groups: library.groups().groups(&baseline.name).map(str::to_owned).collect(),
    }
}

fn changed(change: Change, baseline: String, os: Option<OperatingSystem>, group: Option<&str>) -> ChangedDocument {
    ChangedDocument {
        schema: ChangedDocument::SCHEMA.to_owned(),
        change,
        baseline,
        operating_system: os.map(|os| os.as_str().to_owned()),
        group: group.map(str::to_owned),
    }
}

fn no_system(word: &str) -> Fault {
    let clipped: String = word.chars().take(80).collect();
    let known: Vec<_> = OperatingSystem::ALL.iter().map(|os| os.as_str()).collect();
    Fault::new("usage", format!("{clipped:?} is no operating system"), UNCHANGED, format!("write {}", known.join(", ")))
        .exit(crate::fault::Exit::Usage)
}
