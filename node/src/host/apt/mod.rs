//! The apt backend: what is installed, what is missing, what exactly would be installed, and the commands that do it.
//!
//! It reads with bounded output and time-outs; it never installs. What changes packages is handed out as [`Step`]s for the
//! runner, a process of its own that nobody kills.

pub mod alternative;
pub mod audit;
pub mod command;
pub mod conffiles;
pub mod config;
pub mod document;
mod fingerprint;
mod frames;
pub mod judged;
pub mod lists;
pub mod lock;
pub mod memory;
pub mod native;
mod options;
mod others;
pub mod pinned;
pub mod resolve;
pub mod scan;
mod sift;
pub mod simulate;
mod space;
pub mod stanza;
pub mod status;
pub mod update;

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use patchmesh_common::{
    inventory::HostFacts,
    patch::baseline::sources::Allowed,
    run::{
        compare::Unfinished,
        message::{Refusal, RefusalCode},
    },
};

use self::{
    command::{Output, argv, failed, list, shorten},
    config::Purpose,
    memory::Memory,
    status::{Installed, Versions},
};
pub use super::runner::Step;
use super::{
    root::{Root, RootError, is_quotable},
    sightings::{Diary, Sightings},
};
use crate::chain;

/// Most time of a command that only reads. A simulation on a slow machine with cold disks takes under a minute.
const READ_LIMIT: Duration = Duration::from_secs(300);
/// Most time of a refresh: it changes no package, and a repository that trickles must not hold a run for ever.
const REFRESH_LIMIT: Duration = Duration::from_secs(1800);

/// apt on one root.
#[derive(Debug)]
pub struct Apt {
    root: Root,
    native: String,
    read: PathBuf,
    change: PathBuf,
    refreshing: Arc<tokio::sync::Mutex<()>>,
    memory: Option<Memory>,
    diary: Option<Arc<Diary>>,
    /// To what baselines may send this host.
    allowed: Vec<Allowed>,
    /// The folder of [`Self::at`].
    alternative: Option<PathBuf>,
    /// An empty folder, for commands that shall find nothing.
    nowhere: PathBuf,
    /// Removed when the backend is dropped.
    _scratch: Option<Scratch>,
}

/// A private folder below the temporary folder, removed with everything in it when it is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let folder = std::env::temp_dir().join(format!("patchmesh-{:016x}", u64::from_le_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A temporary folder that stays is untidy and nothing else.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl From<RootError> for Refusal {
    fn from(error: RootError) -> Self {
        failed(chain(&error), "name `/` or a folder that holds a Debian system")
    }
}

impl From<stanza::StanzaError> for Refusal {
    fn from(error: stanza::StanzaError) -> Self {
        failed(chain(&error), "repair the file, or refresh the indexes")
    }
}

fn unreadable(what: &str, error: &io::Error) -> Refusal {
    failed(format!("{what}: {error}"), "check its permissions")
}

impl Apt {
    /// Opens the backend for a daemon. The generated configuration and apt's caches are kept in `folder`, an absolute path
    /// that is created; the commands of [`Self::install_plan`] need it until they have ended.
    ///
    /// # Errors
    /// `ManagerFailed` if the folder cannot be written or there is no dpkg.
    pub async fn open(root: Root, folder: &Path) -> Result<Self, Refusal> {
        fs::create_dir_all(folder)
            .map_err(|error| unreadable(&format!("cannot create {}", folder.display()), &error))?;
        let mut apt = Self::start(root, folder, None).await?;
        apt.memory = Some(Memory::in_folder(folder));
        if let Err(error) = alternative::sweep(&apt.root) {
            tracing::warn!(%error, "indexes of earlier runs cannot be removed");
        }
        Ok(apt)
    }

    /// Opens the backend for one look: everything that is written goes to a private temporary folder, removed at the end.
    /// Nothing below the root is changed by scans and inventories. A scan's answer is kept in `memory`, if there is one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn look(root: Root, memory: Option<Memory>) -> Result<Self, Refusal> {
        let scratch = Scratch::new().map_err(|error| unreadable("cannot create a temporary folder", &error))?;
        for cache in ["pkgcache.bin", "srcpkgcache.bin"] {
            // apt reads a cache that is still true through the link, and replaces the link when it is not.
            let _ = symlink(root.join("var/cache/apt").join(cache), scratch.0.join(cache));
        }
        let folder = scratch.0.clone();
        let mut apt = Self::start(root, &folder, Some(scratch)).await?;
        apt.memory = memory;
        Ok(apt)
    }

    /// Notes in the file `path` when versions are offered for the first time, at every scan.
    #[must_use]
    pub fn noting(mut self, path: PathBuf) -> Self {
        self.diary = Some(Arc::new(Diary::open(path)));
        self
    }

    /// Lets baselines send this host to these repositories, and to no others.
    #[must_use]
    pub fn allowing(mut self, allowed: Vec<Allowed>) -> Self {
        self.allowed = allowed;
        self
    }

    /// When versions were offered for the first time; nothing unless [`Self::noting`].
    pub fn sightings(&self) -> Sightings {
        self.diary.as_deref().map(Diary::sightings).unwrap_or_default()
    }

    async fn start(root: Root, folder: &Path, scratch: Option<Scratch>) -> Result<Self, Refusal> {
        if !folder.is_absolute() || !is_quotable(folder) {
            let text =
                format!("cannot keep apt's configuration in {folder:?}: apt can only be told of absolute plain paths");
            return Err(failed(text, "choose another folder"));
        }
        let (read, change, nowhere) = configure(&root, folder, None)?;
        let mut apt = Self {
            root,
            native: String::new(),
            read,
            change,
            refreshing: Default::default(),
            memory: None,
            diary: None,
            allowed: Vec::new(),
            alternative: None,
            nowhere,
            _scratch: scratch,
        };
        let output = apt.look_with(&argv(&["dpkg", "--print-architecture"])).await?;
        apt.native = output.stdout.trim().to_owned();
        if !output.success() || apt.native.is_empty() {
            return Err(failed(format!("dpkg does not name its architecture: {}", output.errors()), "repair dpkg"));
        }
        Ok(apt)
    }

    /// The root that this backend works on.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The architecture of names without one, e.g. `amd64`.
    pub fn native(&self) -> &str {
        &self.native
    }

    /// Runs a command that only looks.
    async fn look_with(&self, argv: &[String]) -> Result<Output, Refusal> {
        command::read(argv, &command::environment(&self.read), READ_LIMIT).await
    }

    /// What kind of machine the root is. A member that the root does not tell is empty.
    ///
    /// # Errors
    /// `ManagerFailed` if a file that is there cannot be read.
    pub fn facts(&self) -> Result<HostFacts, Refusal> {
        facts(&self.root, &self.native)
    }

    /// The installed packages, sorted by (name, architecture), straight from dpkg's file.
    ///
    /// # Errors
    /// `ManagerFailed` with file and line.
    pub fn packages(&self) -> Result<Vec<Installed>, Refusal> {
        Ok(status::read(&self.root)?)
    }

    /// Installed versions by (name, architecture), straight from dpkg's file.
    ///
    /// # Errors
    /// `ManagerFailed` with file and line.
    pub fn installed(&self) -> Result<Versions, Refusal> {
        Ok(status::versions(&self.packages()?))
    }

    /// What dpkg has begun and not finished, with its word for that, straight from its file.
    ///
    /// # Errors
    /// `ManagerFailed` with file and line.
    pub fn unfinished(&self) -> Result<Unfinished, Refusal> {
        let word = |package: Installed| Some(((package.name, package.arch), package.broken?));
        Ok(self.packages()?.into_iter().filter_map(word).collect())
    }

    /// The packages on hold, as (name, architecture).
    ///
    /// # Errors
    /// `ManagerFailed` with file and line.
    pub fn holds(&self) -> Result<BTreeSet<(String, String)>, Refusal> {
        let held = self.packages()?.into_iter().filter(|package| package.hold);
        Ok(held.map(|package| (package.name, package.arch)).collect())
    }

    /// Refreshes the package indexes.
    ///
    /// # Errors
    /// `RepositoryUnreachable` naming every repository that failed (the others are refreshed), `Locked` if somebody else is at
    /// work, `ManagerFailed` for the rest.
    pub async fn refresh(&self) -> Result<(), Refusal> {
        self.require_sources().await?;
        // apt does not wait for the lock of its indexes: one refresh of ours must not be refused for another.
        let _turn = self.refreshing.lock().await;
        let strict = if self.alternative.is_some() { &alternative::STRICT[..] } else { &[] };
        let argv = argv(&[&["apt-get", "-q"], strict, &["update"]].concat());
        let output = command::read(&argv, &command::environment(&self.change), REFRESH_LIMIT).await?;
        let failures = update::failures(&output.stdout, &output.stderr);
        if !failures.is_empty() {
            let told: Vec<_> = failures.iter().map(|f| format!("{} ({})", f.repository, shorten(&f.why))).collect();
            return Err(Refusal {
                code: RefusalCode::RepositoryUnreachable,
                text: format!("cannot refresh {}", list(&told, "; ")),
                remedy: "the indexes of these repositories are as old as before; check their addresses, keys and dates, and the \
                         network; one whose name or label changed is accepted with apt-get update --allow-releaseinfo-change"
                    .into(),
            });
        }
        if update::is_locked(&output.stderr) {
            // By name and age, unless it has let go since.
            let owner = lock::owner(&self.root).ok().flatten();
            return Err(Refusal {
                code: RefusalCode::Locked,
                text: owner.map_or_else(|| output.errors(), |owner| owner.to_string()),
                remedy: "nothing was refreshed; wait until the other package manager has ended".into(),
            });
        }
        if !output.success() {
            return Err(failed(
                format!("apt-get update: {}", output.errors()),
                "the indexes are as apt left them; it needs the right to write below the root, and correct sources",
            ));
        }
        Ok(())
    }

    /// Refuses while the package database is being changed or needs repair. Changes nothing.
    ///
    /// # Errors
    /// `Locked` naming the owner, `OtherManager` naming it, or `DirtyDatabase` naming the packages.
    pub fn ready(&self) -> Result<(), Refusal> {
        if let Some(owner) = lock::owner(&self.root).map_err(|error| unreadable("cannot look at a lock", &error))? {
            return Err(Refusal {
                code: RefusalCode::Locked,
                text: owner.to_string(),
                remedy: "wait until it has ended".into(),
            });
        }
        if let Some(other) = others::at_work(&self.root) {
            return Err(Refusal {
                code: RefusalCode::OtherManager,
                text: other.to_string(),
                remedy: "wait until it has ended; keep its timer out of the openings".into(),
            });
        }
        let problems = self.problems(&self.packages()?)?;
        if problems.is_empty() {
            return Ok(());
        }
        Err(Refusal {
            code: RefusalCode::DirtyDatabase,
            text: format!(
                "the package database of {} needs repair: {}",
                self.root.path().display(),
                list(&problems, "; ")
            ),
            remedy: "run `dpkg --configure -a`, then `apt-get -f install`".into(),
        })
    }
}

/// Writes the configuration for reading and the one for changing into `folder`, and makes its empty folder. `sources`: as
/// [`config::text`] takes it.
fn configure(root: &Root, folder: &Path, sources: Option<&Path>) -> Result<(PathBuf, PathBuf, PathBuf), Refusal> {
    let (read, change) = (folder.join("apt-read.conf"), folder.join("apt-change.conf"));
    for (path, purpose) in [(&read, Purpose::Read(folder)), (&change, Purpose::Change)] {
        // Made anew at every start, so whole is enough; a scan shall not wait for the disk.
        let write = |path: &Path| {
            let fresh = path.with_extension("new");
            fs::write(&fresh, config::text(root, purpose, sources))?;
            fs::rename(&fresh, path)
        };
        write(path).map_err(|error| unreadable(&format!("cannot write {}", path.display()), &error))?;
    }
    let nowhere = folder.join(config::NOWHERE);
    fs::create_dir_all(&nowhere)
        .map_err(|error| unreadable(&format!("cannot create {}", nowhere.display()), &error))?;
    Ok((read, change, nowhere))
}

/// What kind of machine a root is, whose native architecture is known. A member that the root does not tell is empty.
///
/// # Errors
/// `ManagerFailed` if a file that is there cannot be read.
pub fn facts(root: &Root, native: &str) -> Result<HostFacts, Refusal> {
    let mut release = String::new();
    for file in ["etc/os-release", "usr/lib/os-release"] {
        let text = root.read_small(file).map_err(|error| unreadable(file, &error))?;
        if let Some(text) = text {
            release = text;
            break;
        }
    }
    Ok(HostFacts {
        os: os_release(&release, "ID").unwrap_or_default(),
        os_version: os_release(&release, "VERSION_ID").unwrap_or_default(),
        arch: native.to_owned(),
        manager: "apt".into(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    })
}

/// The value of a variable in the text of os-release, without its quotes.
fn os_release(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(unquoted.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_apt_cannot_be_told_of_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("var/lib/dpkg")).unwrap();
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let refusal = Apt::open(root, &folder.path().join("a\"b")).await.unwrap_err();
        assert!(refusal.text.contains("absolute plain paths"), "{}", refusal.text);
    }

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE='x'\n";
        assert_eq!(os_release(text, "ID").as_deref(), Some("debian"));
        assert_eq!(os_release(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_release(text, "ID_LIKE").as_deref(), Some("x"));
        assert_eq!(os_release(text, "NAME"), None);
    }
}
