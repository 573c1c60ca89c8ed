//! A folder with one manifest a file, `NAME.yaml`: how the store keeps every kind.
//!
//! The files are the truth and are read for every question, so that a file which was edited by hand counts at once.

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use patchmesh_common::{
    rollout::intent::{Intent, Kind, digest},
    time::WallTime,
};
use patchmesh_node::store::durable;

use super::{Changing, UNCHANGED, damaged, read, told, unwritable};
use crate::{fault::Fault, manifest::MAX_MANIFEST};

/// What is kept under a name, which is letters, digits and `_-.`.
pub(crate) trait Kept: Sized {
    /// Its folder, in the coordinator's.
    const FOLDER: &'static str;
    /// What the ledger calls it.
    const INTENT: Kind;
    /// What people call it.
    const NOUN: &'static str;
    /// Most of them.
    const MOST: usize;

    /// The name under which it is kept.
    fn name(&self) -> &str;

    /// Reads a manifest; `file` is its name in errors.
    fn parse(file: &str, text: &str) -> Result<Self, Fault>;

    /// Its manifest.
    fn yaml(self) -> Result<String, Fault>;
}

/// The folder of one kind. Callers take turns.
#[derive(Debug)]
pub(super) struct Folder<K> {
    path: PathBuf,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kept> Folder<K> {
    /// The folder in the coordinator's folder `dir`. Reads nothing.
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join(K::FOLDER), kind: PhantomData }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of what is kept as `name`, which has passed the check of names.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.yaml"))
    }

    /// Since when what is kept as `name` is as it is: its file is replaced whole whenever it changes.
    ///
    /// # Errors
    /// `store-damaged` if the file has no time that can be read.
    pub(super) fn since(&self, name: &str) -> Result<WallTime, Fault> {
        let path = self.file(name);
        let modified = fs::metadata(&path).and_then(|about| about.modified());
        let since = modified.map_err(|error| damaged(&path, "its time cannot be read".to_owned()).because(error))?;
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(WallTime(i64::try_from(since).unwrap_or(i64::MAX)))
    }

    /// What is kept as `name`, and was just written, is as it is since `since`.
    ///
    /// # Errors
    /// `store-unwritable`.
    pub(super) fn date_back(&self, name: &str, since: WallTime) -> Result<(), Fault> {
        let path = self.file(name);
        let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(since.0).unwrap_or_default());
        let file = fs::OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.set_modified(time)).map_err(|error| unwritable(&path, error))
    }

    /// Everything that is kept, by name.
    ///
    /// # Errors
    /// `store-damaged` names the first file that is not what the store wrote.
    pub(super) fn load(&self) -> Result<Vec<K>, Fault> {
        self.files()?.iter().map(|path| self.one(path)).collect()
    }

    /// Keeps `one`, whole or not at all.
    ///
    /// # Errors
    /// `manifest-invalid` if it is too large, `store-unwritable`, and what the note of the change refuses.
    pub(super) fn write(&self, one: K, is_new: bool, changing: &Changing<'_>) -> Result<(), Fault> {
        let name = one.name().to_owned();
        let text = one.yaml()?;
        if text.len() > MAX_MANIFEST {
            let message = format!("{} {name} takes {} bytes as a manifest", K::NOUN, text.len());
            let remedy = format!("a manifest has at most {MAX_MANIFEST} bytes");
            return Err(Fault::new("manifest-invalid", message, UNCHANGED, remedy));
        }
        let (kind, digest, path) = (K::INTENT, digest(&text), self.file(&name));
        let intent = match is_new {
            true => Intent::Created { kind, name, digest },
            false => Intent::Replaced { kind, name, digest },
        };
        changing.make(intent, || {
            durable::make_folder(&self.path).map_err(|error| unwritable(&self.path, error))?;
            durable::write_public(&path, text.as_bytes()).map_err(|error| unwritable(&path, error))
        })
    }

    /// Takes away what is kept as `name`.
    ///
    /// # Errors
    /// `store-unwritable`, and what the note of the change refuses.
    pub(super) fn remove(&self, name: &str, changing: &Changing<'_>) -> Result<(), Fault> {
        let path = self.file(name);
        changing.make(Intent::Deleted { kind: K::INTENT, name: name.to_owned() }, || {
            fs::remove_file(&path)
                .and_then(|()| fs::File::open(&self.path)?.sync_all())
                .map_err(|error| unwritable(&path, error))
        })
    }

    /// The manifests of the folder. What lies there and is no manifest by its ending is left alone.
    fn files(&self) -> Result<Vec<PathBuf>, Fault> {
        // As many as there can be, and what crashes and people left.
        let most = 2 * K::MOST;
        let unreadable = |error: io::Error| damaged(&self.path, "the folder cannot be read".to_owned()).because(error);
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let mut files = Vec::new();
        for (count, entry) in entries.enumerate() {
            if count >= most {
                return Err(damaged(&self.path, format!("the folder holds more than {most} files")));
            }
            let path = entry.map_err(unreadable)?.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("yaml") => files.push(path),
                Some("yml") => return Err(damaged(&path, format!("a {} is kept as NAME.yaml", K::NOUN))),
                _ => {}
            }
        }
        files.sort();
        Ok(files)
    }

    fn one(&self, path: &Path) -> Result<K, Fault> {
        let (shown, text) = read(path, MAX_MANIFEST)?;
        let found = K::parse(&shown, &text).map_err(told)?;
        let name = found.name();
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(name) {
            return Err(damaged(path, format!("it holds {} {name}, which is kept as {name}.yaml", K::NOUN)));
        }
        Ok(found)
    }
}
