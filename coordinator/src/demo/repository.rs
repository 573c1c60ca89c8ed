//! A small Debian package repository: three packages, old and new, in a main and a security suite.
//!
//! The archives are made by `dpkg-deb`, which is there wherever apt is; the index files are our own, so that no other tool
//! is needed. The same arguments give the same bytes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{DemoError, tool};

/// The version that hosts begin with.
pub const OLD: &str = "1.0";
/// The version that the rollout installs.
pub const NEW: &str = "1.1";
/// Every package, in the order in which they can be installed.
pub const PACKAGES: [&str; 3] = ["pm-demo-lib", "pm-demo-service", "pm-demo-kernel"];
/// A file in a root that makes the new service fail to configure there.
pub const BREAK_MARKER: &str = "etc/patchmesh-demo-break";
/// Maintainer scripts print a line after each of these.
const TICK: Duration = Duration::from_millis(100);
/// All time stamps inside the archives and indexes: 2024-01-01T00:00:00Z.
const EPOCH: &str = "1704067200";
const EPOCH_DATE: &str = "Mon, 01 Jan 2024 00:00:00 UTC";
/// The only component of both suites.
const COMPONENT: &str = "demo";

/// A built repository.
#[derive(Clone, Debug)]
pub struct Repository {
    folder: PathBuf,
}

/// One archive and its paragraph of an index.
struct Archive {
    suite: Suite,
    control: String,
    file: String,
    bytes: u64,
    sha256: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Suite {
    Main,
    Security,
}

impl Suite {
    const ALL: [Self; 2] = [Self::Main, Self::Security];

    fn codename(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Security => "security",
        }
    }

    /// What tells a security archive from others is its suite and label, as Debian's own has them.
    fn suite_and_label(self) -> (&'static str, &'static str) {
        match self {
            Self::Main => ("demo", "Patchmesh-Demo"),
            Self::Security => ("demo-security", "Debian-Security"),
        }
    }
}

impl Repository {
    /// Builds the repository in `folder`, which must not exist. On one host the maintainer scripts of the new versions
    /// sleep `install` in all, in steps of 100 ms.
    ///
    /// # Errors
    /// [`DemoError`] if a file cannot be written or `dpkg-deb` fails.
    pub fn build(folder: PathBuf, architecture: &str, install: Duration) -> Result<Self, DemoError> {
        let mut archives = Vec::new();
        let work = folder.join("work");
        create(&folder.join("pool"))?;
        for (index, package) in PACKAGES.iter().enumerate() {
            for version in [OLD, NEW] {
                let ticks = if version == NEW { share(install, index) } else { 0 };
                archives.push(archive(&folder, &work, package, version, &postinst(package, version, ticks))?);
            }
        }
        fs::remove_dir_all(&work).map_err(DemoError::file(&work))?;
        for suite in Suite::ALL {
            write_index(&folder, suite, architecture, archives.iter().filter(|archive| archive.suite == suite))?;
        }
        Ok(Self { folder })
    }

    /// The lines of a `sources.list`.
    pub fn sources(&self) -> String {
        let uri = format!("file:{}", encode(&self.folder));
        Suite::ALL.iter().map(|suite| format!("deb [trusted=yes] {uri} {} {COMPONENT}\n", suite.codename())).collect()
    }

    /// The archives of `version`, in the order in which they can be installed.
    pub fn archives(&self, version: &str) -> Vec<PathBuf> {
        PACKAGES.iter().map(|package| self.folder.join("pool").join(file_name(package, version))).collect()
    }
}

/// The part of `install` that the package at `index` sleeps, in ticks; the parts sum to the whole.
fn share(install: Duration, index: usize) -> u128 {
    let ticks = (install.as_millis() + TICK.as_millis() / 2) / TICK.as_millis();
    let (index, packages) = (index as u128, PACKAGES.len() as u128);
    ticks * (index + 1) / packages - ticks * index / packages
}

fn file_name(package: &str, version: &str) -> String {
    format!("{package}_{version}_all.deb")
}

fn postinst(package: &str, version: &str, ticks: u128) -> String {
    let mut script = format!(
        "#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\nn=0\nwhile [ $n -lt {ticks} ]; do\n  n=$((n + 1))\n  \
         echo \"{package} {version}: step $n of {ticks}\"\n  sleep 0.1\ndone\n"
    );
    match package {
        "pm-demo-service" if version == NEW => script.push_str(&format!(
            "if [ -e \"$DPKG_ROOT/{BREAK_MARKER}\" ]; then\n  \
             echo \"{package} {version}: this host was chosen by --break\" >&2\n  exit 1\nfi\n"
        )),
        "pm-demo-kernel" if version == NEW => script.push_str(&format!(
            "mkdir -p \"$DPKG_ROOT/run\"\n\
             echo '*** System restart required ***' > \"$DPKG_ROOT/run/reboot-required\"\n\
             echo {package} >> \"$DPKG_ROOT/run/reboot-required.pkgs\"\n"
        )),
        _ => {}
    }
    script
}

fn control(package: &str, version: &str) -> String {
    let (section, depends, about) = match package {
        "pm-demo-lib" => ("libs", "", "library of the Patchmesh demo"),
        "pm-demo-service" => ("net", "Depends: pm-demo-lib (>= 1.0)\n", "service of the Patchmesh demo"),
        _ => ("kernel", "", "package of the Patchmesh demo that asks for a reboot"),
    };
    format!(
        "Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: Patchmesh <demo@patchmesh.invalid>\n\
         {depends}Section: {section}\nPriority: optional\nDescription: {about}\n"
    )
}

fn archive(folder: &Path, work: &Path, package: &str, version: &str, postinst: &str) -> Result<Archive, DemoError> {
    let tree = work.join(format!("{package}-{version}"));
    let share = tree.join("usr/share").join(package);
    for made in [&tree.join("DEBIAN"), &share] {
        create(made)?;
    }
    // dpkg-deb refuses control folders that an unusual umask made, and file modes are part of the archive.
    for made in [&tree, &tree.join("DEBIAN"), &tree.join("usr"), &tree.join("usr/share"), &share] {
        chmod(made, 0o755)?;
    }
    let control = control(package, version);
    put(&tree.join("DEBIAN/control"), &control, 0o644)?;
    put(&tree.join("DEBIAN/postinst"), postinst, 0o755)?;
    put(&share.join("version"), &format!("{version}\n"), 0o644)?;

    let file = format!("pool/{}", file_name(package, version));
    let path = folder.join(&file);
    let mut build = tool("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", EPOCH).args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&path);
    super::run_tool(build)?;

    let bytes = fs::read(&path).map_err(DemoError::file(&path))?;
    let secure = version == NEW && package != "pm-demo-lib";
    Ok(Archive {
        suite: if secure { Suite::Security } else { Suite::Main },
        control,
        file,
        bytes: bytes.len() as u64,
        sha256: sha256(&bytes),
    })
}

fn write_index<'a>(
    folder: &Path,
    suite: Suite,
    architecture: &str,
    archives: impl Iterator<Item = &'a Archive>,
) -> Result<(), DemoError> {
    let base = folder.join("dists").join(suite.codename());
    let below = format!("{COMPONENT}/binary-{architecture}/Packages");
    let mut packages = String::new();
    for archive in archives {
        let Archive { control, file, bytes, sha256, .. } = archive;
        packages.push_str(&format!("{control}Filename: {file}\nSize: {bytes}\nSHA256: {sha256}\n\n"));
    }
    create(&base.join(&below).with_file_name(""))?;
    put(&base.join(&below), &packages, 0o644)?;
    let (name, label) = suite.suite_and_label();
    let release = format!(
        "Origin: Patchmesh\nLabel: {label}\nSuite: {name}\nCodename: {}\nDate: {EPOCH_DATE}\nArchitectures: {architecture}\n\
         Components: {COMPONENT}\nDescription: packages of the Patchmesh demo\nSHA256:\n {} {} {below}\n",
        suite.codename(),
        sha256(packages.as_bytes()),
        packages.len(),
    );
    put(&base.join("Release"), &release, 0o644)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as a `file:` URI's: apt decodes `%XX` and takes spaces and brackets as syntax.
fn encode(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("%{byte:02x}")),
        }
        out
    })
}

pub(super) fn create(folder: &Path) -> Result<(), DemoError> {
    fs::create_dir_all(folder).map_err(DemoError::file(folder))
}

pub(super) fn chmod(path: &Path, mode: u32) -> Result<(), DemoError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(DemoError::file(path))
}

pub(super) fn put(path: &Path, text: &str, mode: u32) -> Result<(), DemoError> {
    fs::write(path, text).map_err(DemoError::file(path))?;
    chmod(path, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_sum_to_the_whole() {
        for (millis, ticks) in [(0, 0), (1000, 10), (5000, 50), (149, 1), (150, 2)] {
            let sum: u128 = (0..PACKAGES.len()).map(|index| share(Duration::from_millis(millis), index)).sum();
            assert_eq!(sum, ticks, "{millis} ms");
        }
    }

    #[test]
    fn odd_paths_stay_one_word_of_a_source() {
        assert_eq!(encode(Path::new("/tmp/a b/[c]%")), "/tmp/a%20b/%5bc%5d%25");
    }
}
