//! What the coordinator keeps: baselines in `DIR/baselines/NAME.yaml`, patch groups in `DIR/groups.yaml`, maintenance windows in
//! `DIR/windows/NAME.yaml`, patch policies in `DIR/policies/NAME.yaml`.
//!
//! The files are the truth and are read for every question, so that a file which was edited by hand counts at once. One that
//! cannot be read, or that contradicts another one, is refused by name: nothing is answered or changed beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use patchmesh_common::{
    patch::{
        baseline::PatchBaseline,
        groups::{GroupError, Groups},
        library::{Library, LibraryError, MAX_BASELINES, Put},
    },
    rollout::{
        intent::{Intent, Kind},
        policy::PatchPolicy,
    },
    schedule::window::MaintenanceWindow,
};
use patchmesh_node::store::durable;

use self::folder::Folder;
pub(crate) use self::folder::Kept;
use crate::{baselines, fault::Fault, manifest};

/// File of the registrations, in the coordinator's folder.
const GROUPS: &str = "groups.yaml";
/// Largest file of registrations, in bytes: twice as much as the most registrations with long names take.
pub const MAX_GROUPS_FILE: usize = 8 << 20;
/// The files. Several questions may be asked at the same time.
#[derive(Debug)]
pub struct Store {
    baselines: Folder<PatchBaseline>,
    windows: Folder<MaintenanceWindow>,
    policies: Folder<PatchPolicy>,
    groups: PathBuf,
    /// Held while files are read that belong together, and while one is written.
    turn: Mutex<()>,
    /// Held for the whole of a change: nobody else writes between its judgement and its file. Readers do not wait for the ledger.
    alone: Mutex<()>,
}

/// Saves what is about to change, durably, before the file changes; a change that it refuses is not made. It is called on the
/// thread that changes the store, and may wait.
pub type Note<'a> = &'a dyn Fn(Intent) -> Result<(), Fault>;

/// A change that is being made.
struct Changing<'a> {
    store: &'a Store,
    note: Note<'a>,
    _alone: MutexGuard<'a, ()>,
}

impl Changing<'_> {
    /// Notes `intent`, then does it.
    fn make(&self, intent: Intent, write: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        (self.note)(intent)?;
        let _turn = self.store.turn();
        write().map_err(|fault| Fault { unchanged: NOTED.into(), ..fault })
    }
}

impl Store {
    /// The store in the coordinator's folder `dir`. Reads nothing.
    pub fn new(dir: &Path) -> Self {
        Self {
            baselines: Folder::new(dir),
            windows: Folder::new(dir),
            policies: Folder::new(dir),
            groups: dir.join(GROUPS),
            turn: Mutex::new(()),
            alone: Mutex::new(()),
        }
    }

    /// Every baseline and registration, all of it right.
    ///
    /// # Errors
    /// `store-damaged` names the first file that is not what the store wrote, or the registration without its baseline.
    pub fn read(&self) -> Result<Library, Fault> {
        let _turn = self.turn();
        let library = self.load()?;
        match library.check() {
            Ok(()) => Ok(library),
            Err(error) => Err(self.dangling(&error)),
        }
    }

    fn keep(&self, baseline: PatchBaseline, note: Note<'_>) -> Result<Put, Fault> {
        let changing = self.changing(note);
        let mut library = self.load()?;
        let name = baseline.name.clone();
        let put = library.put(baseline.clone()).map_err(|error| refused(error, &name))?;
        if put != Put::Unchanged {
            self.baselines.write(baseline, put == Put::Created, &changing)?;
        }
        Ok(put)
    }

    fn remove(&self, name: &str, note: Note<'_>) -> Result<PatchBaseline, Fault> {
        let changing = self.changing(note);
        let mut library = self.load()?;
        let gone = library.delete(name).map_err(|error| refused(error, name))?;
        self.baselines.remove(&gone.name, &changing)?;
        Ok(gone)
    }

    /// Changes registrations by `change`, which speaks of the baseline `name`, and keeps them; `false` if they were so already. A
    /// registration whose baseline is not there does not keep it from being taken back.
    fn change(
        &self,
        name: &str,
        note: Note<'_>,
        change: impl FnOnce(&mut Library) -> Result<Intent, LibraryError>,
    ) -> Result<bool, Fault> {
        let changing = self.changing(note);
        let mut library = self.load()?;
        let before = library.groups().clone();
        let intent = change(&mut library).map_err(|error| refused(error, name))?;
        let is_new = *library.groups() != before;
        if is_new {
            let text = manifest::groups::text(library.groups())?;
            changing.make(intent, || {
                durable::write_public(&self.groups, text.as_bytes()).map_err(|error| unwritable(&self.groups, error))
            })?;
        }
        Ok(is_new)
    }

    fn changing<'a>(&'a self, note: Note<'a>) -> Changing<'a> {
        let alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        Changing { store: self, note, _alone: alone }
    }

    /// Nothing of the store is in memory that a panic elsewhere could have left half done.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Result<Library, Fault> {
        Library::new(self.baselines.load()?, self.registered()?).map_err(|error| {
            let name = match &error {
                LibraryError::Predefined(name) | LibraryError::Reserved(name) | LibraryError::Limit(name, _) => {
                    name.as_str()
                }
                _ => "",
            };
            let folder = self.baselines.path().to_owned();
            let place = if name.is_empty() { folder } else { self.baselines.file(name) };
            damaged(&place, error.to_string())
        })
    }

    fn registered(&self) -> Result<Groups, Fault> {
        match fs::symlink_metadata(&self.groups) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Groups::default()),
            _ => {
                let (shown, text) = read(&self.groups, MAX_GROUPS_FILE)?;
                manifest::groups::parse(&shown, &text).map_err(told)
            }
        }
    }

    fn dangling(&self, error: &LibraryError) -> Fault {
        let remedy = match error {
            LibraryError::Dangling { baseline, .. } => format!(
                "put {} back, or take the registration back with patchmesh deregister, a default with patchmesh default",
                self.baselines.file(baseline).display()
            ),
            _ => REMEDY.to_owned(),
        };
        Fault { remedy, ..damaged(&self.groups, error.to_string()) }
    }
}

const UNCHANGED: &str = "nothing was changed";
const NOTED: &str = "what is kept was left as it is; the ledger says that somebody asked for this";
const REMEDY: &str = "mend this file in the coordinator's folder, or move it away, and try again";

fn read(path: &Path, most: usize) -> Result<(String, String), Fault> {
    manifest::read_text(path, most, REMEDY).map_err(told)
}

/// What a reader of manifests said, as said of a file of the store.
fn told(fault: Fault) -> Fault {
    Fault::new("store-damaged", fault.chain(), UNCHANGED, REMEDY)
}

fn damaged(path: &Path, what: String) -> Fault {
    Fault::new("store-damaged", format!("{}: {what}", path.display()), UNCHANGED, REMEDY)
}

fn unwritable(path: &Path, error: io::Error) -> Fault {
    let message = format!("cannot write {}", path.display());
    let remedy = "make room or give the coordinator the right to write there, and try again";
    Fault::new("store-unwritable", message, UNCHANGED, remedy).because(error)
}

/// Why the library refuses something of the baseline `name`, with what to do.
fn refused(error: LibraryError, name: &str) -> Fault {
    let name: String = name.chars().take(128).collect();
    let (code, remedy) = match &error {
        LibraryError::Unknown(_) => ("not-found", "see patchmesh get baselines".to_owned()),
        LibraryError::Reserved(_) => ("baseline-reserved", "give the baseline another name".to_owned()),
        LibraryError::Predefined(_) => ("baseline-predefined", "give your own baseline another name".to_owned()),
        LibraryError::Limit(..) => ("manifest-invalid", "correct the baseline and try again".to_owned()),
        LibraryError::Full => ("too-many-baselines", "delete one with patchmesh delete baseline NAME".to_owned()),
        LibraryError::InUse { .. } => (
            "baseline-in-use",
            format!("patchmesh deregister {name} --group GROUP, or make another one the default, then try again"),
        ),
        LibraryError::OtherSystem { of, .. } => (
            "other-operating-system",
            format!("leave --os out or write --os {}, or register a baseline of that operating system", of.as_str()),
        ),
        LibraryError::NotRegistered { .. } => ("not-registered", "see patchmesh get groups".to_owned()),
        LibraryError::Dangling { .. } => ("store-damaged", REMEDY.to_owned()),
        LibraryError::Group(GroupError::Taken { group, baseline, .. }) => {
            ("group-taken", format!("patchmesh deregister {baseline} --group {group:?} first"))
        }
        LibraryError::Group(GroupError::TooMany(_)) => {
            ("too-many-groups", "give the hosts' tag fewer values, or register a second baseline".to_owned())
        }
        LibraryError::Group(GroupError::Full) => ("too-many-groups", "deregister groups that no host has".to_owned()),
        LibraryError::Group(GroupError::Name(_) | GroupError::TwoGroups { .. }) => {
            ("bad-group", "write the value of the hosts' tag \"Patch Group\" or PatchGroup".to_owned())
        }
    };
    Fault::new(code, error.to_string(), UNCHANGED, remedy)
}

impl Kept for PatchBaseline {
    const FOLDER: &'static str = "baselines";
    const INTENT: Kind = Kind::Baseline;
    const NOUN: &'static str = "baseline";
    const MOST: usize = MAX_BASELINES;

    fn name(&self) -> &str {
        &self.name
    }

    fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        manifest::baseline::parse(file, text)
    }

    fn yaml(self) -> Result<String, Fault> {
        baselines::yaml(self)
    }
}

mod answers;
mod folder;
mod judged;
pub mod policies;
pub mod windows;

#[cfg(test)]
pub(crate) mod tests;
