//! What is installed, by dpkg's own file.

use std::{
    fs,
    io::{self, BufRead, BufReader},
};

use super::{
    space::kibibytes,
    stanza::{Capped, StanzaError, Stanzas},
};
use crate::host::root::{Root, STATUS};

/// Largest package database that is read: a desktop with 5,000 packages has 6 MB.
pub(super) const MAX_STATUS: u64 = 256 << 20;

const FIELDS: &[&str] = &["Package", "Status", "Version", "Architecture", "Section", "Priority", "Installed-Size"];

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Binary package name.
    pub name: String,
    /// Architecture, `all` as it is.
    pub arch: String,
    /// Installed version.
    pub version: String,
    /// On hold.
    pub hold: bool,
    /// dpkg's word for a state between two steps (`half-configured` …), or that it must be installed again.
    pub broken: Option<String>,
    /// `Section`.
    pub section: Option<String>,
    /// `Priority`.
    pub priority: Option<String>,
    /// Bytes on disk; `None` if the database does not say.
    pub unpacked: Option<u64>,
}

impl Installed {
    /// Whether it was cut off while it was unpacked: only unpacking it anew makes it whole.
    pub fn is_torn(&self) -> bool {
        matches!(self.broken.as_deref(), Some("reinstreq" | "half-installed"))
    }
}

/// Reads a package database, sorted by (name, arch). A package counts as installed from the first unpacked file on, as for
/// apt; what only left its configuration files does not.
///
/// # Errors
/// [`StanzaError`] with `place` and line.
pub fn parse(reader: impl BufRead, place: &str) -> Result<Vec<Installed>, StanzaError> {
    let mut stanzas = Stanzas::new(reader, place, FIELDS);
    let mut packages = Vec::new();
    while let Some(stanza) = stanzas.read_next()? {
        let field = |name: &str| stanza.get(name).map(str::to_owned);
        let (name, status) = (field("Package"), field("Status"));
        let (arch, version) = (field("Architecture"), field("Version"));
        let (section, priority) = (field("Section"), field("Priority"));
        let unpacked = stanza.get("Installed-Size").and_then(kibibytes);
        let (Some(name), Some(status)) = (name, status) else {
            return Err(stanzas.malformed("the paragraph has no Package or no Status"));
        };
        let [want, flag, state] = status.split_ascii_whitespace().collect::<Vec<_>>()[..] else {
            return Err(stanzas.malformed(format!("the Status of {name} is {status:?}, not three words")));
        };
        if matches!(state, "not-installed" | "config-files") {
            continue;
        }
        let (Some(arch), Some(version)) = (arch, version) else {
            return Err(stanzas.malformed(format!("{name} is {state} without an Architecture or a Version")));
        };
        let broken = if flag == "ok" { state } else { flag };
        let broken = (broken != "installed").then(|| broken.to_owned());
        packages.push(Installed { name, arch, version, hold: want == "hold", broken, section, priority, unpacked });
    }
    packages.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
    Ok(packages)
}

/// Reads the package database of `root`.
///
/// # Errors
/// [`StanzaError`] with file and line.
pub fn read(root: &Root) -> Result<Vec<Installed>, StanzaError> {
    let path = root.join(STATUS);
    let place = path.display().to_string();
    let file = fs::File::open(&path).map_err(|source| StanzaError::Io { place: place.clone(), line: 0, source })?;
    parse(BufReader::new(Capped::new(file, MAX_STATUS)), &place)
}

/// Whether dpkg was interrupted and left notes that the database does not show yet (`var/lib/dpkg/updates`).
///
/// # Errors
/// What the system says of the folder.
pub fn interrupted(root: &Root) -> io::Result<bool> {
    let entries = match fs::read_dir(root.join("var/lib/dpkg/updates")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        if !name.is_empty() && name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Installed versions by (name, architecture).
pub type Versions = patchmesh_common::run::compare::PackageSet;

/// The versions of a list of packages.
pub fn versions(packages: &[Installed]) -> Versions {
    packages.iter().map(|package| ((package.name.clone(), package.arch.clone()), package.version.clone())).collect()
}

/// The packages that are marked as automatically installed, as (name, architecture), by apt's own file.
///
/// # Errors
/// [`StanzaError`] with `place` and line.
pub fn automatic(reader: impl BufRead, place: &str) -> Result<Vec<(String, String)>, StanzaError> {
    let mut stanzas = Stanzas::new(reader, place, &["Package", "Architecture", "Auto-Installed"]);
    let mut marked = Vec::new();
    while let Some(stanza) = stanzas.read_next()? {
        if let (Some(name), Some(arch), Some("1")) =
            (stanza.get("Package"), stanza.get("Architecture"), stanza.get("Auto-Installed"))
        {
            marked.push((name.to_owned(), arch.to_owned()));
        }
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "\
Package: lib
Status: install ok installed
Priority: optional
Section: libs
Architecture: i386
Multi-Arch: same
Version: 1.0

Package: lib
Status: hold ok installed
Architecture: amd64
Version: 1:2~rc1-3
Conffiles:
 /etc/x 0123

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: torn
Status: install reinstreq half-installed
Architecture: all
Version: 5

Package: half
Status: install ok half-configured
Architecture: all
Version: 6
";

    #[test]
    fn what_is_installed_is_told_from_what_left_its_configuration() {
        let packages = parse(CAPTURED.as_bytes(), "status").unwrap();
        let told: Vec<_> = packages
            .iter()
            .map(|p| format!("{}:{}={} {} {}", p.name, p.arch, p.version, p.hold, p.broken.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            told,
            [
                "half:all=6 false half-configured",
                "lib:amd64=1:2~rc1-3 true -",
                "lib:i386=1.0 false -",
                "torn:all=5 false reinstreq"
            ]
        );
        assert_eq!(versions(&packages)[&("lib".to_owned(), "i386".to_owned())], "1.0");
    }

    #[test]
    fn a_damaged_database_is_refused_with_its_place() {
        let error = parse("Package: a\nStatus: installed\n".as_bytes(), "st").unwrap_err();
        assert_eq!(error.to_string(), "st:1: the Status of a is \"installed\", not three words");
        let error = parse("\nPackage: a\nStatus: install ok installed\n".as_bytes(), "st").unwrap_err();
        assert_eq!(error.to_string(), "st:2: a is installed without an Architecture or a Version");
    }

    #[test]
    fn automatic_marks_are_read() {
        let text =
            "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\nArchitecture: i386\nAuto-Installed: 0\n";
        assert_eq!(automatic(text.as_bytes(), "x").unwrap(), [("a".to_owned(), "amd64".to_owned())]);
    }
}
