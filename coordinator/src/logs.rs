//! Files of logs in a folder that somebody named: written whole, and never where somebody else could lead them.
//!
//! Every part of the path is opened below the one before it and no link is followed, so that nothing that is renamed meanwhile
//! changes where a file goes.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, open, openat, renameat, unlinkat},
    io::Errno,
    process::geteuid,
};

use crate::fault::Fault;

/// Of a run's folder.
const FOLDER: u32 = 0o750;
/// Of a file: its group may read it, such as that of a collector of logs.
const FILE: u32 = 0o640;
/// Of whom nobody else may write to a folder.
const OTHERS: u32 = 0o022;

const UNCHANGED: &str = "no log was written there; rollouts go on, and it is tried again";

/// A folder of logs that was looked at: nobody but the coordinator's user and root can write to it.
#[derive(Debug)]
pub struct LogFolder {
    path: PathBuf,
    folder: OwnedFd,
}

impl LogFolder {
    /// Opens the folder at `path`, which must be there, absolute and without links.
    ///
    /// # Errors
    /// `logs-unsafe` if others could write there or a part of the path is a link, `logs-unwritable`; nothing was changed.
    pub fn open(path: &str) -> Result<Self, Fault> {
        let path = PathBuf::from(path);
        let root = open("/", flags(), Mode::empty()).map_err(|error| unwritable(&path, error))?;
        let mut parts = PathBuf::from("/");
        let mut folder = root;
        for part in path.strip_prefix("/").unwrap_or(&path).components() {
            parts.push(part);
            folder = below(&folder, Path::new(part.as_os_str()), &parts)?;
        }
        own(&folder, &path)?;
        Ok(Self { path, folder })
    }

    /// Writes `bytes` as `name` in the folder `run`, which is made if it is not there; both are file names. Does nothing if the file
    /// says so already. `true` if it was written.
    ///
    /// # Errors
    /// As [`LogFolder::open`]; the file is as it was.
    pub fn write(&self, run: &str, name: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let path = self.path.join(run);
        match mkdirat(&self.folder, run, Mode::from_raw_mode(FOLDER)) {
            Ok(()) => sync(&self.folder).map_err(|error| unwritable(&self.path, error))?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(unwritable(&path, error)),
        }
        let folder = below(&self.folder, Path::new(run), &path)?;
        own(&folder, &path)?;
        if says(&folder, name, bytes) {
            return Ok(false);
        }
        replace(&folder, name, bytes).map_err(|error| unwritable(&path.join(name), error))?;
        Ok(true)
    }
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The folder `name` in `folder`; `path` is what it is called in errors.
fn below(folder: &OwnedFd, name: &Path, path: &Path) -> Result<OwnedFd, Fault> {
    openat(folder, name, flags(), Mode::empty()).map_err(|error| match error {
        // A link is no folder to whoever does not follow it.
        Errno::LOOP | Errno::NOTDIR => unsafe_folder(path, "is a link or a file"),
        error => unwritable(path, error),
    })
}

/// Refuses a folder that somebody else owns or may write to.
fn own(folder: &OwnedFd, path: &Path) -> Result<(), Fault> {
    let about = fstat(folder).map_err(|error| unwritable(path, error))?;
    if about.st_uid != 0 && about.st_uid != geteuid().as_raw() {
        return Err(unsafe_folder(path, &format!("belongs to user {}", about.st_uid)));
    }
    match about.st_mode & OTHERS {
        0 => Ok(()),
        _ => Err(unsafe_folder(path, &format!("may be written by others (mode {:o})", about.st_mode & 0o7777))),
    }
}

/// Whether the file `name` is one of ours and holds exactly `bytes`.
fn says(folder: &OwnedFd, name: &str, bytes: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, name, flags, Mode::empty()) else { return false };
    let plain = fstat(&file).is_ok_and(|about| {
        FileType::from_raw_mode(about.st_mode) == FileType::RegularFile && about.st_size == bytes.len() as i64
    });
    let mut found = Vec::new();
    plain && File::from(file).take(bytes.len() as u64 + 1).read_to_end(&mut found).is_ok() && found == bytes
}

/// Writes a file beside it, and gives it the name once it is durable. A crash leaves the old one or the new.
fn replace(folder: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!(".{name}.new");
    match unlinkat(folder, &fresh, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &fresh, flags, Mode::from_raw_mode(FILE))?);
    file.write_all(bytes)?;
    file.sync_all()?;
    renameat(folder, &fresh, folder, name)?;
    sync(folder)
}

fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}

fn unwritable(path: &Path, error: impl Into<io::Error>) -> Fault {
    let text = format!("logs cannot be written to {}", path.display());
    let remedy = "make the folder of spec.logs, with room, for the coordinator's user; under systemd its service must be allowed to write there (ReadWritePaths=)";
    Fault::new("logs-unwritable", text, UNCHANGED, remedy).because(error.into())
}

fn unsafe_folder(path: &Path, what: &str) -> Fault {
    let text = format!("logs are not written to {}: it {what}", path.display());
    let remedy = "name a folder, by a path without links, that only the coordinator's user or root may write to";
    Fault::new("logs-unsafe", text, UNCHANGED, remedy)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn folder() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("logs");
        fs::create_dir(&real).unwrap();
        let path = real.to_str().unwrap().to_owned();
        (dir, path)
    }

    fn mode(path: &str, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_written_once_and_again_when_it_says_something_else() {
        let (_dir, path) = folder();
        let logs = LogFolder::open(&path).unwrap();
        assert!(logs.write("run", "a.json", b"one").unwrap());
        assert!(!logs.write("run", "a.json", b"one").unwrap());
        assert!(LogFolder::open(&format!("{path}/")).unwrap().write("run", "a.json", b"two").unwrap());
        let file = format!("{path}/run/a.json");
        assert_eq!(fs::read(&file).unwrap(), b"two");
        let about = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(about & 0o137, 0, "{about:o}");
        assert_eq!(fs::read_dir(format!("{path}/run")).unwrap().count(), 1, "nothing stays beside it");
    }

    #[test]
    fn a_folder_that_is_not_there_or_no_folder_is_refused_and_taken_once_it_is_right() {
        let (_dir, path) = folder();
        let missing = format!("{path}/later");
        let fault = LogFolder::open(&missing).unwrap_err();
        assert_eq!(fault.code, "logs-unwritable");
        assert!(fault.chain().starts_with(&format!("logs cannot be written to {missing}")), "{}", fault.chain());
        fs::create_dir(&missing).unwrap();
        LogFolder::open(&missing).unwrap();
        fs::write(format!("{path}/file"), "x").unwrap();
        assert_eq!(LogFolder::open(&format!("{path}/file")).unwrap_err().code, "logs-unsafe");
        fs::write(format!("{path}/run"), "somebody's").unwrap();
        assert_eq!(LogFolder::open(&path).unwrap().write("run", "a.json", b"one").unwrap_err().code, "logs-unsafe");
        assert_eq!(fs::read(format!("{path}/run")).unwrap(), b"somebody's");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_also_that_of_a_run() {
        let (_dir, path) = folder();
        for wrong in [0o777, 0o775, 0o1777] {
            mode(&path, wrong);
            let fault = LogFolder::open(&path).unwrap_err();
            assert_eq!(fault.code, "logs-unsafe", "{wrong:o}");
            assert!(fault.message.contains(&format!("(mode {wrong:o})")), "{}", fault.message);
        }
        mode(&path, 0o755);
        let logs = LogFolder::open(&path).unwrap();
        fs::create_dir(format!("{path}/run")).unwrap();
        mode(&format!("{path}/run"), 0o777);
        assert_eq!(logs.write("run", "a.json", b"one").unwrap_err().code, "logs-unsafe");
        assert_eq!(fs::read_dir(format!("{path}/run")).unwrap().count(), 0);
    }

    #[test]
    fn no_link_is_followed_wherever_it_lies() {
        let (_dir, path) = folder();
        let (_other, victim) = folder();
        symlink(&victim, format!("{path}/link")).unwrap();
        fs::create_dir(format!("{victim}/deep")).unwrap();
        for led in ["link", "link/deep"] {
            assert_eq!(LogFolder::open(&format!("{path}/{led}")).unwrap_err().code, "logs-unsafe", "{led}");
        }
        let logs = LogFolder::open(&path).unwrap();
        assert_eq!(logs.write("link", "a.json", b"one").unwrap_err().code, "logs-unsafe");
        fs::write(format!("{victim}/file"), "unchanged").unwrap();
        fs::create_dir(format!("{path}/run")).unwrap();
        for name in ["a.json", ".a.json.new"] {
            symlink(format!("{victim}/file"), format!("{path}/run/{name}")).unwrap();
        }
        assert!(logs.write("run", "a.json", b"unchanged").unwrap(), "what a link leads to says nothing");
        assert!(!fs::symlink_metadata(format!("{path}/run/a.json")).unwrap().is_symlink());
        assert_eq!(fs::read(format!("{victim}/file")).unwrap(), b"unchanged");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let (_dir, path) = folder();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let fault = LogFolder::open(&path).unwrap_err();
        assert_eq!(fault.message, format!("logs are not written to {path}: it belongs to user 65534"));
    }
}
