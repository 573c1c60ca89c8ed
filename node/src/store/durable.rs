//! Small files that are there whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Of files that may hold what only their owner shall read: keys, and the proxy passwords of a runner's environment.
const PRIVATE: u32 = 0o600;
/// Of files for everybody: memberships.
const PUBLIC: u32 = 0o644;

/// Replaces `path` with `bytes`, for its owner only, and returns when that is durable. A crash leaves the old content or the
/// new.
///
/// # Errors
/// The file system's; the old content is still there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, PRIVATE)
}

/// As [`write`], for everybody to read.
///
/// # Errors
/// The file system's; the old content is still there.
pub fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, PUBLIC)
}

/// Creates `path` with `bytes`, for its owner only, whole and durable, unless it exists. `false` if somebody else created it
/// first.
///
/// # Errors
/// The file system's; `path` was not created.
pub fn create_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let fresh = temporary(path, bytes, PRIVATE)?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = temporary(path, bytes, mode)?;
    std::fs::rename(&fresh, path).inspect_err(|_| forget(&fresh))?;
    sync_folder(path)
}

/// How many temporary files this process has named: two threads may write one path at the same time.
static NAMED: AtomicU64 = AtomicU64::new(0);

/// A synced file beside `path`, of a name that no other process uses, and no other thread. What lies there is left of a crash and
/// is not followed.
fn temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{}.new", std::process::id(), NAMED.fetch_add(1, Ordering::Relaxed)));
    let fresh = PathBuf::from(name);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| forget(&fresh))?;
    Ok(fresh)
}

/// What could not be finished is not left behind: nobody would use its name again.
fn forget(fresh: &Path) {
    // It is only in the way, and the error before this one says what is wrong.
    let _ = std::fs::remove_file(fresh);
}

/// Makes the folder `path` and what it lies in, as far as they are not there, and returns when that is durable.
///
/// # Errors
/// The file system's, also if something else has the name.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if parent != Path::new("") => {
                make_folder(parent)?;
                std::fs::create_dir(path)?;
                sync_folder(path)
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Makes the names in the folder of `path` durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert!(!create_once(&path, b"three").unwrap());
        assert!(create_once(&folder.path().join("other"), b"three").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary files stay behind");
    }

    #[test]
    fn threads_that_write_one_file_at_the_same_time_all_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let writes = || {
            for _ in 0..50 {
                write(&path, b"one").unwrap();
                create_once(&other, b"one").unwrap();
            }
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(writes)));
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary files stay behind");
    }

    #[test]
    fn a_folder_is_made_with_what_it_lies_in_and_only_where_nothing_else_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert!(deep.is_dir());
        write(&deep.join("file"), b"one").unwrap();
        assert_eq!(make_folder(&deep.join("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(deep.join("file")).unwrap(), b"one");
        assert!(make_folder(&deep.join("file/below")).is_err());
    }

    #[test]
    fn only_what_is_public_may_be_read_by_others_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let victim = folder.path().join("victim");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        std::fs::write(&victim, "unchanged").unwrap();
        // Other tests of this process take names as well.
        let next = NAMED.load(Ordering::Relaxed);
        for named in next..next + 1_000 {
            symlink(&victim, folder.path().join(format!("file.{}-{named}.new", std::process::id()))).unwrap();
        }
        write(&path, b"one").unwrap();
        assert_eq!(mode(), 0o600);
        write_public(&path, b"two").unwrap();
        assert_eq!(mode() & 0o600, 0o600);
        assert_eq!(std::fs::read(&victim).unwrap(), b"unchanged");
    }
}
