//! Small files that are there whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Replaces `path` with `bytes` and returns when that is durable. A crash leaves the old content or the new.
///
/// # Errors
/// The file system's; the old content is still there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = temporary(path, bytes)?;
    std::fs::rename(&fresh, path)?;
    sync_folder(path)
}

/// Creates `path` with `bytes`, whole and durable, unless it exists. `false` if somebody else created it first.
///
/// # Errors
/// The file system's; `path` was not created.
pub fn create_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let fresh = temporary(path, bytes)?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// A synced file beside `path`, of a name that no other process uses.
fn temporary(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fresh)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
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
}
