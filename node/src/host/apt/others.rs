//! Other package managers at work on this root. Some let go of their locks between two packages, so locks do not tell all.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use super::lock;
use crate::host::root::Root;

/// Words that make these programs change packages.
const VERBS: [&str; 9] = [
    "install",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "safe-upgrade",
    "reinstall",
    "remove",
    "purge",
    "autoremove",
];
const DPKG_VERBS: [&str; 10] = [
    "-i",
    "--install",
    "--unpack",
    "--configure",
    "-r",
    "--remove",
    "-P",
    "--purge",
    "--triggers-only",
    "--update-avail",
];
const SIMULATES: [&str; 6] = ["-s", "--simulate", "--just-print", "--dry-run", "--recon", "--no-act"];

/// A package manager that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    name: String,
    pid: u32,
    age: Option<Duration>,
}

impl core::fmt::Display for Other {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (process {}) is at work", self.name, self.pid)?;
        self.age.map_or(Ok(()), |age| write!(f, ", running for {} s", age.as_secs()))
    }
}

/// The first other package manager that changes packages of `root` now. On a private root only one whose command line names
/// the root counts. What `/proc` does not show from here cannot be seen.
pub(super) fn at_work(root: &Root) -> Option<Other> {
    let own = std::process::id().to_string();
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let mut entries: Vec<_> = fs::read_dir("/proc").ok()?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    entries.iter().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let name = work(&words)?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (state, parent) = stat.rsplit_once(')')?.1.trim_start().split_once(' ')?;
        let ours = parent.split(' ').next() == Some(&own);
        (state != "Z" && !ours && concerns(&words, &entry.path(), root)).then(|| Other {
            name: name.to_owned(),
            pid,
            age: lock::age(&stat, &uptime),
        })
    })
}

/// The program's name, if this command line changes packages.
fn work<W: AsRef<str>>(words: &[W]) -> Option<&str> {
    // A script is the second word, after its interpreter.
    words.iter().take(2).enumerate().find_map(|(at, word)| {
        let name = word.as_ref().rsplit('/').next()?;
        let rest = &words[at + 1..];
        let any = |known: &[&str]| rest.iter().any(|word| known.contains(&word.as_ref()));
        let works = match name {
            "unattended-upgrade" | "unattended-upgrades" => true,
            "apt" | "apt-get" | "aptitude" => any(&VERBS),
            "dpkg" => any(&DPKG_VERBS),
            _ => false,
        };
        (works && !any(&SIMULATES)).then_some(name)
    })
}

fn concerns<W: AsRef<str>>(words: &[W], process: &Path, root: &Root) -> bool {
    let named = words.iter().find_map(|word| word.as_ref().strip_prefix("--root="));
    if !root.is_host() {
        return named.is_some_and(|named| Path::new(named) == root.path());
    }
    // One of a container has another root.
    let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    named.is_none_or(|named| named == "/") && place(&process.join("root")) == place(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_packages_is_at_work() {
        let told = |line: &str| work(&line.split(' ').collect::<Vec<_>>()).map(str::to_owned);
        for (line, name) in [
            ("/usr/bin/python3 /usr/bin/unattended-upgrade", "unattended-upgrade"),
            ("apt-get -y dist-upgrade", "apt-get"),
            ("/usr/bin/dpkg --status-fd 9 --configure --pending", "dpkg"),
            ("aptitude safe-upgrade", "aptitude"),
        ] {
            assert_eq!(told(line).as_deref(), Some(name), "{line}");
        }
        for line in [
            "/usr/bin/python3 /usr/share/unattended-upgrades/unattended-upgrade-shutdown --wait-for-signal",
            "unattended-upgrade --dry-run",
            "apt-get -s dist-upgrade",
            "apt list --upgradable",
            "dpkg -l",
            "vim /etc/apt/install",
            "",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }
}
