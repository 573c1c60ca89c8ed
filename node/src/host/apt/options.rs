//! What apt's configuration decides, by `apt-config dump`: whether the files that we know are the ones that apt reads, and whether
//! an option takes part in apt's decisions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::host::root::Root;

/// Parts of the configuration that take no part in deciding what is installed. Everything else is apt's own business.
const IDLE: [&str; 25] = [
    "acquire",
    "apt::architecture",
    "apt::architectures",
    "apt::archives",
    "apt::autoremove::suggestsimportant",
    "apt::build-essential",
    "apt::changelogs",
    "apt::color",
    "apt::compressor",
    "apt::install-recommends",
    "apt::key",
    "apt::keep-downloaded-packages",
    "apt::move-autobit-sections",
    "apt::never-markauto-sections",
    "apt::neverautoremove",
    "apt::periodic",
    "apt::sandbox",
    "apt::update",
    "apt::versionedkernelpackages",
    "binary::apt",
    "commandline",
    "dpkg",
    "dselect",
    "quiet",
    "unattended-upgrade",
];
/// Where apt must look for the rest of this to be true, below the root.
const PLACES: [(&str, &str); 9] = [
    ("dir::state", "var/lib/apt"),
    ("dir::state::lists", super::fingerprint::LISTS),
    ("dir::state::extended_states", "var/lib/apt/extended_states"),
    ("dir::state::status", crate::host::root::STATUS),
    ("dir::etc", "etc/apt"),
    ("dir::etc::sourcelist", "etc/apt/sources.list"),
    ("dir::etc::sourceparts", "etc/apt/sources.list.d"),
    ("dir::etc::preferences", "etc/apt/preferences"),
    ("dir::etc::preferencesparts", "etc/apt/preferences.d"),
];
/// The same for the configuration itself, and the names that apt gives the parts of these.
const CONFIGURATION: [(&str, &str); 2] =
    [("dir::etc::main", "etc/apt/apt.conf"), ("dir::etc::parts", "etc/apt/apt.conf.d")];
/// Largest part of the configuration that is looked through.
const MAX_PART: u64 = 1 << 20;

/// The configuration that is in force. Names are in small letters; apt does not tell the case of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    values: BTreeMap<String, String>,
    architectures: Vec<String>,
    /// A line that is no setting.
    odd: bool,
}

impl Options {
    /// Reads the output of `apt-config dump`.
    pub(super) fn parse(dump: &str) -> Self {
        let mut options = Self::default();
        for line in dump.lines() {
            let Some((name, value)) = line.strip_suffix("\";").and_then(|line| line.split_once(" \"")) else {
                options.odd = true;
                continue;
            };
            let name = name.to_ascii_lowercase();
            if name == "apt::architectures::" {
                options.architectures.push(value.to_owned());
            }
            // Of a list the last entry stays, which is enough to see that there is one.
            options.values.insert(name, value.to_owned());
        }
        options
    }

    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// `APT::Architecture`, by which names without one are filed.
    pub(super) fn native(&self) -> &str {
        self.get("apt::architecture")
    }

    /// Whether packages of this architecture are looked for.
    pub(super) fn knows(&self, arch: &str) -> bool {
        arch == self.native() || self.architectures.iter().any(|known| known == arch)
    }

    /// As apt's `FindFile`: a name below its parent's, unless it is absolute.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        let value = self.get(name);
        match name.rsplit_once("::") {
            Some((parent, _)) if !value.starts_with('/') => self.place(parent).join(value.trim_start_matches("./")),
            _ => PathBuf::from(value),
        }
    }

    /// Whether everything that apt reads lies where a fingerprint looks.
    pub(super) fn is_watched(&self, root: &Root) -> bool {
        // Components, not letters: a folder may be written with a stroke at its end.
        let lies = |(name, place): &(&str, &str)| self.place(name) == root.join(place);
        !self.odd
            && self.get("rootdir").is_empty()
            && PLACES.iter().chain(&CONFIGURATION).all(lies)
            && !includes(root).unwrap_or(true)
    }

    /// The first setting that may take part in apt's decisions; `None` if none does.
    pub(super) fn meddles(&self) -> Option<&str> {
        let idle = |name: &str| {
            let within =
                |part: &str| name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            IDLE.iter().any(|part| within(part))
                // Where files are is judged by [`Self::is_watched`].
                || (within("dir") && !within("dir::ignore-files-silently"))
                || matches!(name, "apt" | "binary" | "apt::autoremove")
        };
        let usual = |name: &str, value: &str| match name {
            "apt::install-suggests" | "debug::nolocking" => {
                matches!(value, "0" | "false" | "no" | "1") && { name != "apt::install-suggests" || value != "1" }
            }
            // A hook's failure is apt's failure, unless it says that it never fails.
            _ if name.starts_with("aptcli::hooks") => value.is_empty() || value.trim_end().ends_with("|| true"),
            "dir::ignore-files-silently" | "debug" | "aptcli" => value.is_empty(),
            "dir::ignore-files-silently::" => true,
            _ => false,
        };
        self.values.iter().find(|(name, value)| !idle(name) && !usual(name, value)).map(|(name, _)| name.as_str())
    }
}

/// Whether a part of the configuration takes in a file from anywhere; an error if one cannot be looked through.
fn includes(root: &Root) -> Result<bool, std::io::Error> {
    let mut parts = vec![root.join("etc/apt/apt.conf")];
    if let Ok(entries) = fs::read_dir(root.join("etc/apt/apt.conf.d")) {
        for entry in entries {
            parts.push(entry?.path());
        }
    }
    for part in parts {
        if includes_in(&part)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn includes_in(part: &Path) -> Result<bool, std::io::Error> {
    use std::io::Read as _;
    let mut text = Vec::new();
    match fs::File::open(part) {
        Ok(file) => file.take(MAX_PART + 1).read_to_end(&mut text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let word = b"#include";
    Ok(text.len() as u64 > MAX_PART || text.windows(word.len()).any(|found| found.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(root: &Root) -> String {
        let dir = root.path().display();
        format!(
            "APT \"\";\nAPT::Architecture \"amd64\";\nAPT::Architectures \"\";\nAPT::Architectures:: \"amd64\";\n\
             APT::Architectures:: \"i386\";\nAPT::Install-Recommends \"1\";\nAPT::Install-Suggests \"0\";\nDir \"{dir}\";\n\
             Dir::State \"var/lib/apt\";\nDir::State::lists \"lists/\";\nDir::State::extended_states \"extended_states\";\n\
             Dir::State::status \"{dir}/var/lib/dpkg/status\";\nDir::Etc \"etc/apt/\";\nDir::Etc::sourcelist \"sources.list\";\n\
             Dir::Etc::sourceparts \"sources.list.d\";\nDir::Etc::main \"apt.conf\";\nDir::Etc::parts \"apt.conf.d\";\n\
             Dir::Etc::preferences \"preferences\";\nDir::Etc::preferencesparts \"preferences.d\";\n\
             Dir::Ignore-Files-Silently \"\";\nDir::Ignore-Files-Silently:: \"~$\";\nDebug \"\";\nDebug::NoLocking \"1\";\n\
             AptCli \"\";\nAptCli::Hooks::Upgrade \"\";\nAptCli::Hooks::Upgrade:: \"[ ! -f /x ] || /x || true\";\n\
             DPkg \"\";\nDPkg::Options:: \"--x\";\nAcquire::Languages \"none\";\nAPT::Update::Post-Invoke:: \"rm -f /x\";\n"
        )
    }

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        for path in ["var/lib/dpkg", "etc/apt/apt.conf.d"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_usual_configuration_decides_nothing() {
        let (_folder, root) = root();
        let options = Options::parse(&dump(&root));
        assert_eq!(options.meddles(), None);
        assert!(options.is_watched(&root));
        assert_eq!(options.native(), "amd64");
        assert!(options.knows("i386") && !options.knows("arm64"));
    }

    #[test]
    fn whatever_may_decide_is_named() {
        let (_folder, root) = root();
        for line in [
            "APT::Default-Release \"x\";",
            "APT::Get::Fix-Broken \"1\";",
            "apt::solver \"3.0\";",
            "APT::Ignore-Hold \"1\";",
            "APT::Install-Suggests \"1\";",
            "APT::Architecture-Like \"1\";",
            "Binary::apt-get::APT::Get::X \"1\";",
            "pkgCacheGen::Essential \"all\";",
            "AptCli::Hooks::Upgrade:: \"false\";",
            "Unknown \"\";",
        ] {
            let text = format!("{}{line}\n", dump(&root));
            let options = Options::parse(&text);
            let name = line.split(' ').next().unwrap().to_ascii_lowercase();
            assert_eq!(options.meddles(), Some(name.as_str()));
        }
    }

    #[test]
    fn files_elsewhere_are_not_watched() {
        let (folder, root) = root();
        for line in [
            "Dir::State::lists \"/srv/lists\";",
            "Dir::State::status \"/x\";",
            "Dir::Etc::preferences \"pins\";",
            "Dir::Etc::main \"../x\";",
            "RootDir \"/x\";",
            "Dir \"/\";",
            "not a setting",
        ] {
            let options = Options::parse(&format!("{}{line}\n", dump(&root)));
            assert!(!options.is_watched(&root), "{line}");
        }
        let part = folder.path().join("etc/apt/apt.conf.d/x");
        fs::write(&part, "// x\n#Include \"/y\";\n").unwrap();
        assert!(!Options::parse(&dump(&root)).is_watched(&root));
        fs::write(&part, "// x\n").unwrap();
        assert!(Options::parse(&dump(&root)).is_watched(&root));
    }
}
