//! A Debian root: the machine's own `/`, or a private folder that holds a Debian system.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

/// Largest small file (os-release, release names, lists of packages that want a reboot) that is read whole, in bytes.
const MAX_SMALL_FILE: u64 = 1 << 20;

/// Where Debian keeps what is installed, below a root.
pub const STATUS: &str = "var/lib/dpkg/status";

/// Why a folder cannot be used as a root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It is not there, or cannot be entered.
    #[error("cannot use {path} as a root")]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has no package database.
    #[error("{path} is not a Debian root: it has no {STATUS}")]
    NotDebian {
        /// As it was given.
        path: PathBuf,
    },
    /// Its name cannot be written into an apt configuration file, which knows no escape.
    #[error("cannot use {path:?} as a root: its name holds a quote, a line break or bytes that are not UTF-8")]
    BadName {
        /// As it was given.
        path: PathBuf,
    },
}

/// Whether a path can be written into an apt configuration file.
pub(super) fn is_quotable(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.contains(['"', '\\']) && !text.chars().any(char::is_control))
}

/// A root that was looked at and holds a package database. Absolute, without symbolic links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// Opens the root at `path`; `/` is the machine itself.
    ///
    /// # Errors
    /// [`RootError`]; nothing is changed.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let unreadable = |source| RootError::Unreadable { path: path.to_owned(), source };
        let real = fs::canonicalize(path).map_err(unreadable)?;
        if !is_quotable(&real) {
            return Err(RootError::BadName { path: path.to_owned() });
        }
        match fs::metadata(real.join(STATUS)) {
            Ok(meta) if meta.is_file() => Ok(Self { path: real }),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => Err(unreadable(source)),
            _ => Err(RootError::NotDebian { path: path.to_owned() }),
        }
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the machine's own root.
    pub fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// A path below the root; `relative` has no leading slash.
    pub fn join(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// Reads a small text file below the root; `None` if it is not there. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// What the system says, or that the file is larger than 1 MiB.
    pub fn read_small(&self, relative: &str) -> io::Result<Option<String>> {
        let file = match fs::File::open(self.join(relative)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_SMALL_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SMALL_FILE {
            let text = format!("{} is larger than {MAX_SMALL_FILE} bytes", self.join(relative).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The folders in which packages ask for a reboot. A private root's `var/run` is often a link to the machine's own
    /// `/run`, which says nothing about the root.
    fn run_folders(&self) -> impl Iterator<Item = PathBuf> {
        ["run", "var/run"]
            .into_iter()
            .map(|folder| self.join(folder))
            .filter(|folder| self.is_host() || fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir()))
    }

    /// Whether a package asked for a reboot.
    pub fn reboot_required(&self) -> bool {
        self.run_folders().any(|folder| folder.join("reboot-required").exists())
    }

    /// The packages that asked for a reboot, sorted; empty if none left its name.
    ///
    /// # Errors
    /// What the system says of a list that is there and cannot be read.
    pub fn reboot_packages(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for folder in ["run", "var/run"] {
            if self.run_folders().any(|usable| usable == self.join(folder)) {
                let list = self.read_small(&format!("{folder}/reboot-required.pkgs"))?.unwrap_or_default();
                names.extend(list.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Forgets that a reboot was asked for, as a real boot does by emptying `/run`. Only for a private root, whose reboot is
    /// a restart of its daemon.
    ///
    /// # Errors
    /// `Unsupported` for the machine itself, otherwise what the system says of the first file that stays.
    pub fn clear_reboot_required(&self) -> io::Result<()> {
        if self.is_host() {
            let text = "only a real boot forgets that the machine itself wants a reboot";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        for folder in self.run_folders() {
            for name in ["reboot-required", "reboot-required.pkgs"] {
                match fs::remove_file(folder.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("var/lib/dpkg")).unwrap();
        fs::write(folder.path().join(STATUS), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_folder_without_a_package_database_is_no_root() {
        let folder = tempfile::tempdir().unwrap();
        let error = Root::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not a Debian root: it has no var/lib/dpkg/status"), "{error}");
        let error = Root::open(&folder.path().join("absent")).unwrap_err();
        assert!(matches!(error, RootError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn a_name_that_apt_cannot_quote_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bad = folder.path().join("a\"b");
        fs::create_dir_all(bad.join("var/lib/dpkg")).unwrap();
        fs::write(bad.join(STATUS), "").unwrap();
        assert!(matches!(Root::open(&bad), Err(RootError::BadName { .. })));
    }

    #[test]
    fn a_private_root_asks_for_a_reboot_and_forgets_it() {
        let (_folder, root) = debian();
        assert!(!root.reboot_required());
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/reboot-required"), "").unwrap();
        fs::write(root.join("run/reboot-required.pkgs"), "b\na\nb\n").unwrap();
        assert!(root.reboot_required());
        assert_eq!(root.reboot_packages().unwrap(), ["a", "b"]);
        root.clear_reboot_required().unwrap();
        assert!(!root.reboot_required() && root.reboot_packages().unwrap().is_empty());
    }

    #[test]
    fn a_link_out_of_the_root_does_not_speak_for_it() {
        let (_folder, root) = debian();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("reboot-required"), "").unwrap();
        fs::create_dir_all(root.join("var")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join("var/run")).unwrap();
        assert!(!root.reboot_required());
        root.clear_reboot_required().unwrap();
        assert!(elsewhere.path().join("reboot-required").exists());
    }
}
