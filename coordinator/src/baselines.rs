//! Baselines by name: the predefined ones, and those of a folder of manifests.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    inventory::document::Host,
    patch::{
        baseline::{Checked, OperatingSystem, PatchBaseline, predefined},
        evaluation::{self, Mismatch},
        library::{self, LibraryError},
        overrides,
    },
};

use crate::{
    fault::Fault,
    manifest::{self, Manifest, baseline::Written},
};

/// Most files that are looked at in a folder.
const MAX_FILES: usize = 2000;

/// A baseline and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelved {
    /// The baseline.
    pub baseline: PatchBaseline,
    /// Its file; `None` for a predefined one.
    pub file: Option<PathBuf>,
}

impl Shelved {
    /// Whose patches it judges.
    pub fn os(&self) -> OperatingSystem {
        library::system(&self.baseline)
    }

    /// Whether it judges the hosts of its operating system unless another one is registered.
    pub fn is_default(&self) -> bool {
        predefined::default_for(self.os()) == self.baseline.name
    }
}

/// All baselines that a command can name.
#[derive(Debug)]
pub struct Shelf {
    found: BTreeMap<String, Shelved>,
    /// Names that two files hold.
    twice: BTreeMap<String, Fault>,
    broken: Option<Fault>,
}

impl Shelf {
    /// The predefined ones, and those of `folder`, which win over predefined ones of the same name. Only `*.yaml` and `*.yml` are
    /// looked at, and manifests of other kinds are passed over.
    ///
    /// # Errors
    /// A folder that cannot be read or holds too much. A broken file is told when something is missed ([`Self::find`], [`Self::all`]).
    pub fn open(folder: Option<&Path>) -> Result<Self, Fault> {
        let own = predefined::all().into_iter().map(|baseline| Shelved { baseline, file: None });
        let found = own.map(|one| (one.baseline.name.clone(), one)).collect();
        let mut shelf = Self { found, twice: BTreeMap::new(), broken: None };
        if let Some(folder) = folder {
            for file in manifests(folder)? {
                shelf.add(file);
            }
        }
        Ok(shelf)
    }

    fn add(&mut self, file: PathBuf) {
        let read = manifest::read_text(&file, manifest::MAX_MANIFEST, "check who may read it")
            .and_then(|(shown, text)| manifest::kind(&shown, &text).map(|kind| (shown, text, kind)))
            .and_then(|(shown, text, kind)| match kind.as_str() {
                manifest::baseline::KIND => manifest::baseline::parse(&shown, &text).map(Some),
                _ => Ok(None),
            });
        let found = match read {
            Ok(Some(baseline)) => baseline,
            Ok(None) => return,
            Err(fault) => {
                self.broken.get_or_insert(fault);
                return;
            }
        };
        let name = found.name.clone();
        match self.found.get(&name).and_then(|known| known.file.as_ref()) {
            Some(other) => {
                let message = format!("{} and {} both hold baseline {name}", other.display(), file.display());
                let fault =
                    Fault::new("baseline-twice", message, "nothing was changed", "give one of them another name");
                self.twice.entry(name).or_insert(fault);
            }
            None => {
                self.found.insert(name, Shelved { baseline: found, file: Some(file) });
            }
        }
    }

    /// The baseline of this name.
    ///
    /// # Errors
    /// If there is none, or two; if there is none and a file could not be read, what is wrong with that.
    pub fn find(mut self, name: &str) -> Result<Shelved, Fault> {
        if let Some(fault) = self.twice.remove(name) {
            return Err(fault);
        }
        match (self.found.remove(name), predefined::find(name)) {
            (Some(found), _) => Ok(found),
            // One of them has two names.
            (None, Some(baseline)) => Ok(Shelved { baseline, file: None }),
            (None, None) => Err(self.broken.unwrap_or_else(|| {
                let remedy = "see patchmesh get baselines; --dir DIR also looks at the manifests of a folder";
                let clipped: String = name.chars().take(128).collect();
                Fault::new("not-found", format!("there is no baseline {clipped:?}"), "nothing was changed", remedy)
            })),
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// What is wrong with a file of the folder: a list without it would be wrong.
    pub fn all(self) -> Result<Vec<Shelved>, Fault> {
        match self.broken.or_else(|| self.twice.into_values().next()) {
            Some(fault) => Err(fault),
            None => Ok(self.found.into_values().collect()),
        }
    }
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unreadable = |error: io::Error| {
        let message = format!("cannot read the folder {}", folder.display());
        Fault::new("folder-unreadable", message, "nothing was changed", "check the path given with --dir")
            .because(error)
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let fits = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if fits && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            let message = format!("the folder {} holds more than {MAX_FILES} manifests", folder.display());
            return Err(Fault::new("folder-too-large", message, "nothing was changed", "use several folders"));
        }
    }
    files.sort();
    Ok(files)
}

/// Where the baseline `name` lies in `folder`.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.yaml"))
}

/// Writes `baseline` to `folder/NAME.yaml`, whole or not at all, and makes the folder. An earlier file of the name is replaced.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write(folder: &Path, baseline: PatchBaseline) -> Result<PathBuf, Fault> {
    let path = path(folder, &baseline.name);
    let failed = |error: io::Error| {
        let message = format!("cannot write {}", path.display());
        Fault::new("folder-unwritable", message, "no file was changed", "check the path given with --dir")
            .because(error)
    };
    if library::RESERVED.contains(&baseline.name.as_str()) {
        let message = LibraryError::Reserved(baseline.name).to_string();
        return Err(Fault::new("baseline-reserved", message, "no file was changed", "give the baseline another name"));
    }
    fs::create_dir_all(folder).map_err(failed)?;
    if let Ok(Shelved { file: Some(other), .. }) = Shelf::open(Some(folder))?.find(&baseline.name)
        && other != path
    {
        let message = format!("{} holds baseline {} already", other.display(), baseline.name);
        return Err(Fault::new(
            "baseline-twice",
            message,
            "no file was changed",
            "remove it, or give one another name",
        ));
    }
    let text = yaml(baseline)?;
    // Not a manifest by its ending, so that nobody reads half of it.
    let half = folder.join(format!(".import-{}.tmp", std::process::id()));
    let written = fs::write(&half, &text).and_then(|()| fs::rename(&half, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&half);
        return Err(failed(error));
    }
    Ok(path)
}

/// The manifest of `baseline`.
///
/// # Errors
/// If what is written would not be read as the same baseline.
pub fn yaml(baseline: PatchBaseline) -> Result<String, Fault> {
    let failed = |cause: String| {
        let message = format!("baseline {} cannot be written as YAML", baseline.name);
        Fault::new("output-failed", message, "nothing was changed", "use --format aws").because(cause)
    };
    let text = serde_saphyr::to_string(&Written::from(baseline.clone())).map_err(|error| failed(error.to_string()))?;
    match manifest::baseline::parse("what was written", &text) {
        Ok(back) if back == baseline => Ok(text),
        Ok(_) => Err(failed("it would be read as another one".to_owned())),
        Err(fault) => Err(failed(fault.chain())),
    }
}

/// The baselines that a flag names: one in a file of ours or of AWS's, a predefined one, or AWS's `BaselineOverride`, of which
/// one is for the host.
///
/// # Errors
/// A file that cannot be read, is something else, or breaks a limit.
pub fn named(text: &Path) -> Result<Vec<PatchBaseline>, Fault> {
    if let Some(found) = text.to_str().filter(|_| !text.exists()).and_then(predefined::find) {
        return Ok(vec![found]);
    }
    let (shown, text) = manifest::read_text(text, manifest::MAX_MANIFEST, "check the path given with --baseline")?;
    match manifest::parse(&shown, &text)? {
        Manifest::Baseline(found) => Ok(vec![*found]),
        Manifest::Override(several) => Ok(several),
        Manifest::Rollout(..)
        | Manifest::Window(_)
        | Manifest::Service(_)
        | Manifest::Policy(_)
        | Manifest::InstallList(_) => Err(Fault::new(
            "manifest-invalid",
            format!("{shown}: this is no baseline"),
            "nothing was changed",
            "give a manifest of kind PatchBaseline, or AWS's JSON",
        )),
    }
}

/// Of the baselines that a flag named, the one that judges `host`. `place` says where the host is described.
///
/// # Errors
/// `baseline-mismatch` if none or several are for the host's operating system, `manifest-invalid` for one that breaks a limit.
pub fn for_host(named: &[PatchBaseline], flag: &Path, host: &Host, place: &str) -> Result<Checked, Fault> {
    let wrong = |code, message: String, remedy: &str| Fault::new(code, message, "nothing was changed", remedy);
    let baseline = match (named, host.operating_system()) {
        ([one], _) => one,
        (several, Some(os)) => overrides::choose(several, os).map_err(|error| {
            let message = format!("{}: {error}", flag.display());
            wrong("baseline-mismatch", message, "give a list with one baseline per operating system")
        })?,
        (_, None) => {
            let message = format!("{place}: the host's operating system is not known");
            return Err(wrong("baseline-mismatch", message, "give a single baseline"));
        }
    };
    let checked = baseline.check().map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        wrong("manifest-invalid", first, "correct the baseline and try again")
    })?;
    evaluation::fits(&checked, host).map_err(|error| mismatch(place, &error))?;
    Ok(checked)
}

/// A baseline that cannot judge the host that `place` describes.
pub fn mismatch(place: &str, error: &Mismatch) -> Fault {
    let remedy = "give a baseline of the host's operating system; patchmesh get baselines lists the predefined ones";
    Fault::new("baseline-mismatch", format!("{place}: {error}"), "nothing was changed", remedy)
}

#[cfg(test)]
mod tests {
    use patchmesh_common::patch::baseline::aws::AwsBaseline;

    use super::*;

    fn own(name: &str) -> PatchBaseline {
        PatchBaseline {
            name: name.into(),
            spec: predefined::find("AWS-DebianDefaultPatchBaseline").unwrap().spec,
            labels: Default::default(),
        }
    }

    #[test]
    fn a_folder_adds_to_the_predefined_ones_and_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper");
        assert_eq!(write(&path, own("web")).unwrap(), path.join("web.yaml"));
        write(&path, own("web")).unwrap();
        write(&path, own("AWS-UbuntuDefaultPatchBaseline")).unwrap();
        fs::write(path.join("notes.txt"), "kind: {").unwrap();
        fs::write(path.join("other.yml"), "apiVersion: patchmesh/v1\nkind: Rollout\n").unwrap();
        let open = || Shelf::open(Some(&path)).unwrap();
        assert_eq!(open().all().unwrap().len(), predefined::all().len() + 1);
        assert_eq!(open().find("web").unwrap().baseline, own("web"));
        assert!(open().find("AWS-UbuntuDefaultPatchBaseline").unwrap().file.is_some());
        let predefined = open().find("AWS-RaspbianDefaultPatchBaseline").unwrap();
        assert!(predefined.file.is_none() && predefined.is_default());
        assert_eq!(open().find("web2").unwrap_err().code, "not-found");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 4);
    }

    #[test]
    fn what_aws_wrote_is_exported_from_a_folder_as_it_came() {
        let folder = tempfile::tempdir().unwrap();
        for (number, baseline) in predefined::all().into_iter().enumerate() {
            let named = PatchBaseline { name: format!("own-{number}"), ..baseline };
            let theirs = serde_json::to_string(&AwsBaseline::try_from(named).unwrap()).unwrap();
            let read = manifest::baseline::parse_aws("theirs.json", &theirs).unwrap();
            let name = read.name.clone();
            write(folder.path(), read).unwrap();
            let found = Shelf::open(Some(folder.path())).unwrap().find(&name).unwrap().baseline;
            assert_eq!(serde_json::to_string(&AwsBaseline::try_from(found).unwrap()).unwrap(), theirs);
        }
    }

    #[test]
    fn a_name_that_another_file_holds_or_that_means_something_else_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let other = write(folder.path(), own("web")).unwrap().with_file_name("a.yaml");
        fs::rename(folder.path().join("web.yaml"), &other).unwrap();
        let fault = write(folder.path(), own("web")).unwrap_err();
        assert_eq!(fault.code, "baseline-twice");
        assert!(fault.message.ends_with("a.yaml holds baseline web already"), "{}", fault.message);
        assert_eq!(write(folder.path(), own("security")).unwrap_err().code, "baseline-reserved");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_file_is_told_when_something_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), own("web")).unwrap();
        fs::write(folder.path().join("broken.yaml"), "kind: {").unwrap();
        let open = || Shelf::open(Some(folder.path())).unwrap();
        assert!(open().find("web").is_ok());
        assert!(open().find("other").unwrap_err().message.contains("broken.yaml"));
        assert!(open().all().unwrap_err().message.contains("broken.yaml"));
        fs::remove_file(folder.path().join("broken.yaml")).unwrap();
        fs::copy(folder.path().join("web.yaml"), folder.path().join("web2.yaml")).unwrap();
        assert_eq!(open().find("web").unwrap_err().code, "baseline-twice");
        assert!(open().all().unwrap_err().message.ends_with("both hold baseline web"));
    }

    #[test]
    fn a_folder_that_is_absent_or_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert_eq!(Shelf::open(Some(&absent)).unwrap_err().code, "folder-unreadable");
        fs::write(&absent, "").unwrap();
        assert_eq!(write(&absent, own("web")).unwrap_err().code, "folder-unwritable");
    }
}
