//! Private roots with the old packages installed, and hooks that write down when they ran.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use patchmesh_common::run::HookPoint;

use super::{
    DemoError,
    repository::{BREAK_MARKER, OLD, Repository, chmod, create, put},
    run_tool, tool,
};

/// Every hook point, in the order of a run.
pub const HOOK_POINTS: [HookPoint; 4] =
    [HookPoint::PreInstall, HookPoint::PostInstall, HookPoint::PostReboot, HookPoint::OnExit];

/// Folders that apt and dpkg expect.
const FOLDERS: [&str; 15] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "run",
    "tmp",
    "usr/bin",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/lib/dpkg/triggers",
    "var/log/apt",
    "var/tmp",
    "var/lib/dpkg/parts",
];

/// Where one host of the demo lives on disk.
#[derive(Clone, Debug)]
pub struct HostFiles {
    /// `demo-01`.
    pub name: String,
    /// The private root.
    pub root: PathBuf,
    /// The hook folders.
    pub hooks: PathBuf,
    /// What the hooks append to.
    pub hooks_log: PathBuf,
    /// What dpkg appends to.
    pub dpkg_log: PathBuf,
    /// State of the daemon.
    pub state: PathBuf,
    /// Configuration of the daemon.
    pub config: PathBuf,
    /// Output of the daemon.
    pub log: PathBuf,
}

impl HostFiles {
    /// The files of host number `number` (from 1) of `total` below `folder`. Names ascend with the numbers.
    pub fn new(folder: &Path, number: u32, total: u32) -> Self {
        let width = total.to_string().len().max(2);
        let name = format!("demo-{number:0width$}");
        let home = folder.join(&name);
        let root = home.join("root");
        Self {
            hooks: home.join("hooks"),
            hooks_log: home.join("hooks.log"),
            dpkg_log: root.join("var/log/dpkg.log"),
            state: home.join("state"),
            config: home.join("patchmesh.toml"),
            log: home.join("daemon.log"),
            root,
            name,
        }
    }
}

/// A root with the old packages, made once and copied for every host.
#[derive(Debug)]
pub struct Template {
    root: PathBuf,
}

impl Template {
    /// Installs the old packages into a new root at `root`.
    ///
    /// # Errors
    /// [`DemoError`] if a file cannot be written or dpkg fails.
    pub fn build(root: PathBuf, repository: &Repository) -> Result<Self, DemoError> {
        for folder in FOLDERS {
            create(&root.join(folder))?;
        }
        // Relative: an absolute one would leave the root.
        symlink("../run", root.join("var/run")).map_err(DemoError::file(&root.join("var/run")))?;
        put(&root.join("etc/os-release"), OS_RELEASE, 0o644)?;
        put(&root.join("etc/apt/sources.list"), &repository.sources(), 0o644)?;
        for empty in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
            put(&root.join(empty), "", 0o644)?;
        }
        let mut install = tool("dpkg");
        install
            .arg(joined("--root=", &root))
            .args(["--force-not-root", "--force-script-chrootless"])
            .arg(joined("--log=", &root.join("var/log/dpkg.log")))
            .arg("--install")
            .args(repository.archives(OLD));
        run_tool(install)?;
        // What the template did is no part of any host's history.
        put(&root.join("var/log/dpkg.log"), "", 0o644)?;
        Ok(Self { root })
    }

    /// Makes `host`'s root and hooks. With `broken`, the new service will fail to configure there.
    ///
    /// # Errors
    /// [`DemoError`] names the file.
    pub fn instantiate(&self, host: &HostFiles, broken: bool) -> Result<(), DemoError> {
        copy(&self.root, &host.root)?;
        if broken {
            put(&host.root.join(BREAK_MARKER), "chosen by --break\n", 0o644)?;
        }
        put(&host.hooks_log, "", 0o644)?;
        for point in HOOK_POINTS {
            let folder = host.hooks.join(point.as_str());
            create(&folder)?;
            // Whatever the umask: hooks that others may write are refused.
            chmod(&host.hooks, 0o755)?;
            chmod(&folder, 0o755)?;
            put(&folder.join("10-log"), &hook(&host.name, &host.hooks_log)?, 0o755)?;
        }
        Ok(())
    }

    /// Removes the template; the roots made from it stay.
    ///
    /// # Errors
    /// [`DemoError`] names the file.
    pub fn remove(self) -> Result<(), DemoError> {
        fs::remove_dir_all(&self.root).map_err(DemoError::file(&self.root))
    }
}

const OS_RELEASE: &str = "PRETTY_NAME=\"Patchmesh demo root\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";

/// One line per run, by one write: `<unix-nanoseconds> <phase> <host> <attempt>`.
fn hook(host: &str, log: &Path) -> Result<String, DemoError> {
    let log = log.to_str().ok_or_else(|| DemoError::Folder(log.to_owned(), "its name is not UTF-8"))?;
    Ok(format!(
        "#!/bin/sh\nset -e\nnow=$(date +%s%N)\n\
         printf '%s %s %s %s\\n' \"$now\" \"$PATCHMESH_PHASE\" {host} \"$PATCHMESH_ATTEMPT\" >> {}\n",
        quote(log)
    ))
}

/// A text as one word for `sh`.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

pub(super) fn joined(option: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(option);
    argument.push(path);
    argument
}

/// Copies folders, files with their modes, and links as links. A root of the demo holds nothing else.
fn copy(from: &Path, to: &Path) -> Result<(), DemoError> {
    create(to)?;
    for entry in fs::read_dir(from).map_err(DemoError::file(from))? {
        let entry = entry.map_err(DemoError::file(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(DemoError::file(&source))?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(DemoError::file(&source))?;
            symlink(link, &target).map_err(DemoError::file(&target))?;
        } else {
            fs::copy(&source, &target).map_err(DemoError::file(&target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_with_the_numbers() {
        let names = |total: u32| (1..=total).map(move |n| HostFiles::new(Path::new("/d"), n, total).name);
        assert_eq!(names(12).next().unwrap(), "demo-01");
        assert!(names(120).is_sorted() && names(120).next().unwrap() == "demo-001");
    }

    #[test]
    fn a_log_with_quotes_in_its_path_stays_one_word() {
        let hook = hook("demo-01", Path::new("/tmp/it's/$x")).unwrap();
        assert!(hook.ends_with(">> '/tmp/it'\\''s/$x'\n"), "{hook}");
    }
}
