//! The lock of one process on a file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    ops::Deref,
    path::Path,
};

/// An open file that no other process has locked. Dropping it unlocks it.
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Locks `file`; `None` if another process has.
    ///
    /// # Errors
    /// What the system said.
    pub fn take(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Opens or creates `path`, locks it and writes the pid of this process there. The inner error is whoever has it: the pid
    /// that it wrote, or `unknown`.
    ///
    /// # Errors
    /// What the system said.
    pub fn own(path: &Path) -> io::Result<Result<Self, String>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let Some(locked) = Self::take(file.try_clone()?)? else {
            let mut owner = String::new();
            let known = (&mut file).take(32).read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            return Ok(Err(if known { owner.trim().to_owned() } else { String::from("unknown") }));
        };
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(locked))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    /// Said, not left to closing the file: a child that was forked meanwhile has a copy of it until its program begins, and by that
    /// the lock.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Locked::own(&path).unwrap().unwrap();
        let copy = first.try_clone().unwrap();
        let owner = Locked::own(&path).unwrap().unwrap_err();
        assert_eq!(owner, std::process::id().to_string());
        drop(first);
        Locked::own(&path).unwrap().unwrap();
        drop(copy);
    }

    #[test]
    fn whoever_left_no_pid_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _first = Locked::take(File::create(&path).unwrap()).unwrap().unwrap();
        assert_eq!(Locked::own(&path).unwrap().unwrap_err(), "unknown");
    }
}
