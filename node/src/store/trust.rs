//! Whom the file system lets change what the daemon obeys: its key, its journals, its hooks.

use std::{
    fs::{self, DirBuilder, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::Path,
};

use rustix::process::geteuid;

/// Why a file or folder may have been changed by somebody else than root and the daemon's user, as a fragment that follows
/// its name and ends in a remedy. `None` if nobody else may.
pub fn distrust(about: &Metadata) -> Option<String> {
    let own = geteuid().as_raw();
    let (owner, mode) = (about.uid(), about.mode() & 0o7777);
    if owner != 0 && owner != own {
        return Some(format!("belongs to user {owner}, not to root or user {own}; chown it"));
    }
    (mode & 0o022 != 0).then(|| format!("is writable by others (mode {mode:04o}); chmod go-w it"))
}

/// Creates the folder `path` for this user alone, or takes the one that is there if nobody else may write to it.
///
/// # Errors
/// What the system says, or [`distrust`]'s words; nothing was changed.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let about = fs::metadata(path)?;
    if !about.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    match distrust(&about) {
        Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it {why}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_new_folder_is_private_and_one_that_others_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        private_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        private_folder(&path).unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = private_folder(&path).unwrap_err().to_string();
            assert_eq!(error, format!("it is writable by others (mode {mode:04o}); chmod go-w it"));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        private_folder(&path).unwrap();
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            return eprintln!("skipped: giving a folder away needs root");
        }
        let error = private_folder(&path).unwrap_err().to_string();
        assert!(error.starts_with("it belongs to user 12345, not to root or user"), "{error}");
    }
}
