//! Alternative repositories (spec 1.9): apt on the same root, with other sources.
//!
//! Nothing of the root's own configuration or indexes is touched, so that nothing has to be restored, whatever dies when. Sources,
//! indexes and caches are in a folder of their own, named by what the sources say, and the generated configuration tells apt of it.
//! It lies below the root's folder of apt and not in the daemon's private one, so that apt's downloads can run as the user that apt
//! has for them.

use std::{
    fs, io,
    ops::Deref,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use patchmesh_common::{
    patch::baseline::{
        Source,
        sources::{self, BadSource, Line},
    },
    run::message::{Refusal, RefusalCode},
};

use super::{
    Apt,
    command::failed,
    config::{LISTS, SOURCES},
    unreadable,
};
use crate::{host::root::Root, store::trust::distrust};

/// Where the folders are, below a root.
const FOLDERS: &str = "var/lib/apt/patchmesh";
/// How long a folder is kept after its last use: longer than any run, whose runner and repair still need it.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most folders: each holds the indexes of its repositories.
const MAX_FOLDERS: usize = 8;
/// What a refresh is told: the host's own configuration, read after the generated one, may be more lenient with its own
/// repositories.
pub(super) const STRICT: [&str; 3] = [
    "-oAcquire::AllowInsecureRepositories=false",
    "-oAcquire::AllowWeakRepositories=false",
    "-oAcquire::AllowDowngradeToInsecureRepositories=false",
];
/// Hex digits of a folder's name.
const NAME_DIGITS: usize = 16;

/// apt with the root's own sources, or with those of a baseline.
pub enum At<'a> {
    /// The root's own.
    Own(&'a Apt),
    /// A baseline's.
    Other(Box<Apt>),
}

impl Deref for At<'_> {
    type Target = Apt;

    fn deref(&self) -> &Apt {
        match self {
            Self::Own(apt) => apt,
            Self::Other(apt) => apt,
        }
    }
}

fn not_allowed(text: String, remedy: &str) -> Refusal {
    Refusal { code: RefusalCode::SourceNotAllowed, text, remedy: remedy.to_owned() }
}

impl Apt {
    /// The repositories of `sources`, if this host's own file lets it be sent to all of them. Changes nothing.
    ///
    /// # Errors
    /// `SourceNotAllowed` naming what it does not allow, or a keyring that somebody else may write to.
    pub fn allows(&self, sources: &[Source]) -> Result<Vec<Line>, Refusal> {
        let lines = sources::lines(sources, &self.allowed).map_err(refused)?;
        lines.iter().try_for_each(|line| trusted(Path::new(&line.keyring)))?;
        Ok(lines)
    }

    /// apt with `sources` in place of the root's own; with none, the root's own. Changes nothing of the root's configuration.
    ///
    /// # Errors
    /// As [`Self::allows`], or `ManagerFailed` if the folder cannot be written or there are too many.
    pub fn at(&self, sources: &[Source]) -> Result<At<'_>, Refusal> {
        if sources.is_empty() {
            return Ok(At::Own(self));
        }
        let lines = self.allows(sources)?;
        let folder = self.root.join(FOLDERS).join(name(&lines));
        let unwritten = |error: io::Error| unreadable(&format!("cannot keep sources in {}", folder.display()), &error);
        if !folder.exists() {
            self.make_room()?;
        }
        fs::create_dir_all(folder.join(LISTS).join("partial")).map_err(unwritten)?;
        // apt's own user must get there, whatever the daemon's umask; what is in there is public.
        for place in [self.root.join(FOLDERS), folder.clone(), folder.join(LISTS)] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o755)).map_err(unwritten)?;
        }
        let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
        let (fresh, list) = (folder.join("sources.new"), folder.join(SOURCES));
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, list)).map_err(unwritten)?;
        let (read, change, nowhere) = super::configure(&self.root, &folder, Some(&folder))?;
        Ok(At::Other(Box::new(Self {
            root: self.root.clone(),
            native: self.native.clone(),
            read,
            change,
            refreshing: Arc::clone(&self.refreshing),
            memory: None,
            diary: self.diary.clone(),
            allowed: Vec::new(),
            alternative: Some(folder),
            nowhere,
            _scratch: None,
        })))
    }

    /// Refuses if the root's own configuration of apt, which is read after the generated one, sends apt elsewhere.
    pub(super) async fn require_sources(&self) -> Result<(), Refusal> {
        let Some(folder) = &self.alternative else { return Ok(()) };
        let options = self.options().await?;
        let places = [
            ("dir::etc::sourcelist", folder.join(SOURCES)),
            ("dir::etc::sourceparts", self.nowhere.clone()),
            ("dir::state::lists", folder.join(LISTS)),
        ];
        match places.iter().find(|(name, place)| options.place(name) != *place) {
            None => Ok(()),
            Some((name, _)) => Err(not_allowed(
                format!("apt's own configuration sets {name}, so that a baseline's sources cannot be used alone"),
                "remove that from the configuration of apt, or use a baseline without sources",
            )),
        }
    }

    /// Makes room for one more folder.
    fn make_room(&self) -> Result<(), Refusal> {
        let kept = sweep(&self.root).map_err(|error| unreadable("old sources cannot be removed", &error))?;
        if kept < MAX_FOLDERS {
            return Ok(());
        }
        let text = format!(
            "{kept} baselines have sent this host to other repositories within a day, and at most {MAX_FOLDERS} may"
        );
        Err(failed(text, "wait, or use one baseline's sources for several rollouts"))
    }
}

fn refused(error: BadSource) -> Refusal {
    let remedy = match &error {
        BadSource::NotAllowed { .. } => "allow it by a `[[sources]]` in the host's own file, or correct the baseline",
        _ => "correct the baseline's sources",
    };
    not_allowed(error.to_string(), remedy)
}

/// Refuses a keyring that is no file, or that somebody else may change.
fn trusted(keyring: &Path) -> Result<(), Refusal> {
    let remedy = "correct it, or the host's own file";
    let why = match fs::metadata(keyring) {
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok(about) if !about.is_file() => Some("is no file".to_owned()),
        Ok(about) => distrust(&about),
    };
    why.map_or(Ok(()), |why| Err(not_allowed(format!("the keyring {} {why}", keyring.display()), remedy)))
}

/// The name of the folder for these repositories.
fn name(lines: &[Line]) -> String {
    let mut hash = blake3::Hasher::new();
    for line in lines {
        hash.update(line.text.as_bytes()).update(b"\n");
    }
    hash.finalize().to_hex().chars().take(NAME_DIGITS).collect()
}

/// Removes the folders that no run can need any more; how many are left.
///
/// # Errors
/// The file system's.
pub(super) fn sweep(root: &Root) -> io::Result<usize> {
    let entries = match fs::read_dir(root.join(FOLDERS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut left = 0;
    for entry in entries {
        let folder = entry?.path();
        if is_stale(&folder) {
            fs::remove_dir_all(&folder)?;
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// Whether a folder was last used long ago, or never to the end of its making. Its configuration is written at every use.
fn is_stale(folder: &Path) -> bool {
    let used = |path: PathBuf| fs::metadata(path).and_then(|about| about.modified());
    let Ok(used) = used(folder.join("apt-change.conf")).or_else(|_| used(folder.to_owned())) else { return false };
    let age = SystemTime::now().duration_since(used).unwrap_or_else(|ahead| ahead.duration());
    age > KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_a_day_after_their_last_use() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("var/lib/dpkg")).unwrap();
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(sweep(&root).unwrap(), 0);
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        for (name, used) in [("old", now - 25 * hour), ("ahead", now + 25 * hour), ("used", now - 23 * hour)] {
            let conf = root.join(FOLDERS).join(name).join("apt-change.conf");
            fs::create_dir_all(conf.parent().unwrap()).unwrap();
            fs::File::create(&conf).unwrap().set_modified(used).unwrap();
        }
        fs::create_dir_all(root.join(FOLDERS).join("torn")).unwrap();
        assert_eq!(sweep(&root).unwrap(), 2);
        let mut left: Vec<_> = fs::read_dir(root.join(FOLDERS)).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["torn", "used"]);
    }
}
