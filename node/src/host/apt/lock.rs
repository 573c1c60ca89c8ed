//! Who holds the package manager's locks.

use std::{fs, io, time::Duration};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::host::root::Root;

/// The locks of dpkg and apt, in the order in which apt takes them.
const LOCKS: [&str; 4] =
    ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/cache/apt/archives/lock", "var/lib/apt/lists/lock"];

/// Unit of process times in `/proc`, per second: a constant of Linux' interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The locked file.
    pub file: String,
    /// The process; `None` if the system does not show it from here (another container).
    pub pid: Option<i32>,
    /// Its command name.
    pub name: Option<String>,
    /// How long it has been running.
    pub age: Option<Duration>,
}

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} is held by ", self.file)?;
        match self.pid {
            Some(pid) => write!(f, "process {pid} ({})", self.name.as_deref().unwrap_or("name unknown"))?,
            None => f.write_str("a process that cannot be seen from here")?,
        }
        match self.age {
            Some(age) => write!(f, ", running for {} s", age.as_secs()),
            None => Ok(()),
        }
    }
}

/// The owner of the first lock of `root` that another process holds. A lock that this user may not look at counts as free.
///
/// # Errors
/// What the system says of a lock file that is there.
pub fn owner(root: &Root) -> io::Result<Option<Owner>> {
    for lock in LOCKS {
        let path = root.join(lock);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => continue,
            Err(error) => return Err(error),
        };
        if let Some(held) = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))? {
            let pid = held.pid.map(|pid| pid.as_raw_nonzero().get());
            let read = |what: &str| pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/{what}")).ok());
            let name = read("comm").map(|name| name.trim().to_owned());
            let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
            let age = read("stat").and_then(|stat| age(&stat, &uptime));
            return Ok(Some(Owner { file: path.display().to_string(), pid, name, age }));
        }
    }
    Ok(None)
}

/// Age of a process by its `stat` and the machine's `uptime`.
pub(super) fn age(stat: &str, uptime: &str) -> Option<Duration> {
    // The command name in parentheses may hold anything; the start is the 20th field after it.
    let started: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let up: u64 = uptime.split('.').next()?.parse().ok()?;
    Some(Duration::from_secs(up.saturating_sub(started / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_process_is_read_past_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5000 1 1";
        assert_eq!(age(stat, "80.25 1.0"), Some(Duration::from_secs(30)));
        assert_eq!(age("rubbish", "80.25"), None);
        assert_eq!(age(stat, ""), None);
    }

    #[test]
    fn an_owner_is_told_in_one_sentence() {
        let owner = Owner {
            file: "/var/lib/dpkg/lock".into(),
            pid: Some(7),
            name: Some("apt".into()),
            age: Some(Duration::from_secs(90)),
        };
        assert_eq!(owner.to_string(), "/var/lib/dpkg/lock is held by process 7 (apt), running for 90 s");
    }
}
