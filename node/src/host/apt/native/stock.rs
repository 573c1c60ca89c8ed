//! What is installed and what is offered for it, with everything that decides whether apt would take it.

use std::{collections::BTreeMap, io::Read};

use core::cmp::Ordering;

use patchmesh_common::{
    inventory::{deb, document::MAX_OFFERS},
    patch::{Automatic, Candidate},
};

use super::{
    Doubt,
    paragraphs::{self, Field, Paragraph},
};
use crate::host::apt::{lists::Target, space::kibibytes, status::Installed};

/// Most packages of one index that the system needs and that are not installed; real ones have a few dozen.
const MAX_NEEDED: usize = 1000;

/// Whether packages of other architectures may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MultiArch {
    #[default]
    No,
    Same,
    Foreign,
    Allowed,
}

/// What one version of a package asks of others, and what else tells it from one of the same number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: String,
    pub(super) multi_arch: MultiArch,
    /// The system does not work without it, or apt takes it for that.
    pub(super) essential: bool,
    pub(super) depends: String,
    pub(super) pre_depends: String,
    pub(super) recommends: String,
    pub(super) conflicts: String,
    pub(super) breaks: String,
    pub(super) provides: String,
    replaces: String,
    unpacked: String,
    /// Bytes of the archive file; dpkg's database does not know it.
    download: String,
}

/// A version that a repository offers.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) candidate: Candidate,
    pub(super) version: Version,
}

/// One installed package and what is not older than it, in the order of the host's sources.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) installed: Installed,
    pub(super) version: Version,
    /// dpkg is asked to keep or install it, not to remove it.
    pub(super) wanted: bool,
    pub(super) offers: Vec<Offered>,
}

/// What one index offers.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    offers: BTreeMap<Key, Vec<Offered>>,
    needed: Vec<String>,
}

/// By (name, architecture); an `all` package counts as native.
pub(super) type Key = (String, String);

/// Everything of a root that takes part.
#[derive(Debug, Default)]
pub(super) struct Stock {
    pub(super) native: String,
    pub(super) items: BTreeMap<Key, Item>,
    /// Names of packages that apt installs because the system needs them, and that are not installed.
    pub(super) needed: Vec<String>,
}

impl Version {
    fn read(paragraph: &Paragraph) -> Result<Self, Doubt> {
        let text = |field| paragraph.text(field).map(str::to_owned);
        let multi_arch = match paragraph.text(Field::MultiArch)? {
            "" | "no" => MultiArch::No,
            "same" => MultiArch::Same,
            "foreign" => MultiArch::Foreign,
            "allowed" => MultiArch::Allowed,
            other => return Err(Doubt::new(format!("a Multi-Arch of {other}"))),
        };
        let essential = [Field::Essential, Field::Protected, Field::Important];
        Ok(Self {
            number: text(Field::Version)?,
            multi_arch,
            essential: essential.iter().any(|field| paragraph.says_yes(*field)),
            depends: text(Field::Depends)?,
            pre_depends: text(Field::PreDepends)?,
            recommends: text(Field::Recommends)?,
            conflicts: text(Field::Conflicts)?,
            breaks: text(Field::Breaks)?,
            provides: text(Field::Provides)?,
            replaces: text(Field::Replaces)?,
            unpacked: text(Field::InstalledSize)?,
            download: text(Field::Size)?,
        })
    }

    /// Whether apt takes two of one number for the same: it compares what they ask of others and their sizes, and upgrades to one of
    /// the same number that differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let parts = |version: &Self| {
            [&version.depends, &version.pre_depends, &version.conflicts, &version.breaks, &version.replaces].map(
                |text| {
                    let mut plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
                    plain.make_ascii_lowercase();
                    plain
                },
            )
        };
        let sizes = self.download.is_empty() || other.download.is_empty() || self.download == other.download;
        self.number == other.number
            && self.multi_arch == other.multi_arch
            && self.unpacked == other.unpacked
            && sizes
            && parts(self) == parts(other)
    }
}

impl Stock {
    /// Reads dpkg's database.
    ///
    /// # Errors
    /// It holds what apt has to judge: a package that is not whole, one that shall be removed, or what is not plain.
    pub(super) fn installed(reader: impl Read, native: &str) -> Result<Self, Doubt> {
        let mut stock = Self { native: native.to_owned(), ..Self::default() };
        paragraphs::each(reader, |_| true, |paragraph, _| stock.install(paragraph))?;
        Ok(stock)
    }

    fn install(&mut self, paragraph: &Paragraph) -> Result<(), Doubt> {
        let name = paragraph.text(Field::Package)?.to_owned();
        let [want, flag, state] = paragraph.text(Field::Status)?.split_ascii_whitespace().collect::<Vec<_>>()[..]
        else {
            return Err(Doubt::new(format!("{name} has no Status of three words")));
        };
        if matches!(state, "not-installed" | "config-files") && flag == "ok" {
            return Ok(());
        }
        if flag != "ok" || state != "installed" {
            return Err(Doubt::new(format!("{name} is {flag} {state}")));
        }
        let version = Version::read(paragraph)?;
        let arch = paragraph.text(Field::Architecture)?.to_owned();
        if arch.is_empty() || deb::check(&version.number).is_err() {
            return Err(Doubt::new(format!("{name} has no plain version or architecture")));
        }
        let installed = Installed {
            name: name.clone(),
            arch: arch.clone(),
            version: version.number.clone(),
            hold: want == "hold",
            broken: None,
            section: known(paragraph, Field::Section)?,
            priority: known(paragraph, Field::Priority)?,
            unpacked: kibibytes(&version.unpacked),
        };
        let wanted = matches!(want, "install" | "hold");
        let key = (name, self.filed(&arch).to_owned());
        match self.items.insert(key, Item { installed, version, wanted, offers: vec![] }) {
            None => Ok(()),
            Some(twice) => Err(Doubt::new(format!("{} is installed twice", twice.installed.name))),
        }
    }

    fn filed<'a>(&'a self, arch: &'a str) -> &'a str {
        if arch == "all" { &self.native } else { arch }
    }

    /// Reads what one index offers for what is installed.
    ///
    /// # Errors
    /// It holds what is not plain.
    pub(super) fn sift(&self, reader: impl Read) -> Result<Sifted, Doubt> {
        let mut names: Vec<_> = self.items.keys().map(|(name, _)| name.as_bytes()).collect();
        names.dedup();
        let wants = |name: &[u8]| names.binary_search(&name).is_ok();
        let mut sifted = Sifted::default();
        paragraphs::each(reader, wants, |paragraph, wanted| {
            let name = paragraph.bytes(Field::Package).unwrap_or_default();
            // apt takes itself for essential.
            if paragraph.says_yes(Field::Essential) || name == b"apt" {
                sifted.needed.extend(self.need(paragraph)?);
                if sifted.needed.len() > MAX_NEEDED {
                    return Err(Doubt::new(format!("more than {MAX_NEEDED} packages that the system needs")));
                }
            }
            if wanted && let Some((key, offered)) = self.offered(paragraph)? {
                let known = sifted.offers.entry(key).or_default();
                if known.len() == MAX_OFFERS {
                    let name = String::from_utf8_lossy(name);
                    return Err(Doubt::new(format!("{name} is offered in more than {MAX_OFFERS} versions")));
                }
                known.push(offered);
            }
            Ok(())
        })?;
        Ok(sifted)
    }

    /// Adds what an index of an archive offers.
    pub(super) fn add(&mut self, sifted: Sifted, target: &Target, automatic: Automatic) {
        self.needed.extend(sifted.needed);
        let each = sifted.offers.into_iter().flat_map(|(key, all)| all.into_iter().map(move |one| (key.clone(), one)));
        for (key, mut offered) in each {
            let Some(item) = self.items.get_mut(&key) else { continue };
            offered.candidate.archive.clone_from(&target.suite);
            offered.candidate.origin.clone_from(&target.origin);
            offered.candidate.label.clone_from(&target.label);
            offered.candidate.component.clone_from(&target.component);
            offered.candidate.security = target.is_security();
            offered.candidate.automatic = automatic;
            offered.candidate.dated = target.dated;
            // One archive may offer a package in several indexes: `binary-all` beside `binary-amd64`.
            let known = |known: &Offered| known.candidate == offered.candidate && known.version == offered.version;
            if !item.offers.iter().any(known) {
                item.offers.push(offered);
            }
        }
    }

    fn need(&self, paragraph: &Paragraph) -> Result<Option<String>, Doubt> {
        let arch = self.filed(paragraph.text(Field::Architecture)?).to_owned();
        let key = (paragraph.text(Field::Package)?.to_owned(), arch);
        Ok((key.1 == self.native && !self.items.contains_key(&key)).then_some(key.0))
    }

    /// A version, unless it is older than the installed one. Its archive is not known here.
    fn offered(&self, paragraph: &Paragraph) -> Result<Option<(Key, Offered)>, Doubt> {
        let (name, number) = (paragraph.text(Field::Package)?, paragraph.text(Field::Version)?);
        let arch = paragraph.text(Field::Architecture)?;
        if arch.is_empty() || deb::check(number).is_err() {
            return Err(Doubt::new(format!("{name} is offered without a plain version or architecture")));
        }
        let key = (name.to_owned(), self.filed(arch).to_owned());
        let Some(item) = self.items.get(&key) else { return Ok(None) };
        match deb::compare(number, &item.version.number) {
            Ordering::Less => return Ok(None),
            Ordering::Equal if number != item.version.number => {
                return Err(Doubt::new(format!("{name} {number} is as new as the installed one")));
            }
            _ => {}
        }
        let phased = match known(paragraph, Field::Phased)? {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|_| Doubt::new(format!("{name} is handed out to {text} per cent of all")))?)
            }
        };
        let version = Version::read(paragraph)?;
        let candidate = Candidate {
            version: number.to_owned(),
            section: known(paragraph, Field::Section)?,
            priority: known(paragraph, Field::Priority)?,
            sha256: known(paragraph, Field::Sha256)?.map(|sum| sum.to_ascii_lowercase()),
            download: version.download.parse().ok(),
            unpacked: kibibytes(&version.unpacked),
            phased,
            ..Candidate::default()
        };
        Ok(Some((key, Offered { candidate, version })))
    }
}

/// The value of a field; `None` if the paragraph lacks it.
fn known(paragraph: &Paragraph, field: Field) -> Result<Option<String>, Doubt> {
    paragraph.bytes(field).is_some().then(|| paragraph.text(field).map(str::to_owned)).transpose()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const STATUS: &str = "\
Package: a
Status: install ok installed
Version: 1.0
Architecture: amd64
Depends: b (>= 1), c

Package: left
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: doc
Status: hold ok installed
Version: 3
Architecture: all
";

    fn stock() -> Stock {
        Stock::installed(STATUS.as_bytes(), "amd64").unwrap()
    }

    fn offered(index: &str) -> Result<Stock, Doubt> {
        let mut stock = stock();
        let sifted = stock.sift(index.as_bytes())?;
        stock.add(sifted, &Target::default(), Automatic::Yes);
        Ok(stock)
    }

    fn offers(stock: &Stock, name: &str) -> Vec<String> {
        let item = &stock.items[&(name.to_owned(), "amd64".to_owned())];
        item.offers.iter().map(|offered| offered.version.number.clone()).collect()
    }

    #[test]
    fn what_is_installed_is_read_and_all_counts_as_native() {
        let stock = stock();
        let told: Vec<_> = stock.items.values().map(|item| (&*item.installed.name, item.installed.hold)).collect();
        assert_eq!(told, [("a", false), ("doc", true)]);
    }

    #[test]
    fn a_database_that_is_not_whole_is_not_judged() {
        for (from, to) in [
            ("install ok installed", "install ok half-configured"),
            ("install ok installed", "install reinstreq installed"),
            ("install ok installed", "install ok"),
            ("Version: 1.0\n", ""),
            ("Package: doc\nStatus: hold", "Package: a\nStatus: hold"),
            ("Architecture: amd64\n", "Architecture: amd64\nMulti-Arch: some\n"),
        ] {
            let text = STATUS.replacen(from, to, 1);
            assert_ne!(text, STATUS);
            assert!(Stock::installed(text.as_bytes(), "amd64").is_err(), "{to}");
        }
    }

    #[test]
    fn only_what_is_not_older_is_kept() {
        let stanza = |name: &str, version: &str, arch: &str| {
            format!("Package: {name}\nVersion: {version}\nArchitecture: {arch}\n\n")
        };
        let index = [
            stanza("a", "0.9", "amd64"),
            stanza("a", "2.0", "amd64"),
            stanza("a", "1.0", "amd64"),
            stanza("a", "3.0", "i386"),
            stanza("doc", "4", "all"),
            stanza("other", "1", "amd64"),
        ];
        let stock = offered(&index.concat()).unwrap();
        assert_eq!(offers(&stock, "a"), ["2.0", "1.0"]);
        assert_eq!(offers(&stock, "doc"), ["4"]);
        assert!(offered(&stanza("a", "1.00", "amd64")).is_err(), "as new, but written in another way");
        assert!(offered(&stanza("a", "x", "amd64")).is_err());
        assert!(offered("Package: a\nVersion: 2\nArchitecture: amd64\nPhased-Update-Percentage: some\n").is_err());
    }

    #[test]
    fn essential_packages_that_are_not_installed_are_noted() {
        let stanza =
            |name: &str, arch: &str, more: &str| format!("Package: {name}\nVersion: 1\nArchitecture: {arch}\n{more}\n");
        let needed = |text: String| offered(&text).unwrap().needed;
        assert_eq!(needed(stanza("base", "amd64", "Essential: yes\n")), ["base"]);
        assert_eq!(needed(stanza("apt", "amd64", "")), ["apt"]);
        for harmless in [stanza("base", "i386", "Essential: yes\n"), stanza("a", "amd64", "Essential: yes\n")] {
            assert_eq!(needed(harmless), Vec::<String>::new());
        }
    }

    #[test]
    fn another_build_of_one_number_is_told_by_what_it_asks_for() {
        let version = |said: &str| {
            let text = format!("Package: a\nVersion: 1.0\nArchitecture: amd64\n{said}\n");
            let stock = offered(&text).unwrap();
            stock.items.values().next().unwrap().offers[0].version.clone()
        };
        let installed = stock().items.into_values().next().unwrap().version;
        assert!(installed.is_same(&version("Depends: b (>=1) ,c\nSize: 9\nSuggests: x\n")));
        for other in [
            "Depends: b (>= 1)\n",
            "Depends: b (>= 1), c\nInstalled-Size: 1\n",
            "Depends: b (>= 1), c\nMulti-Arch: same\n",
        ] {
            assert!(!installed.is_same(&version(other)), "{other}");
        }
        let sized = |size: &str| version(&format!("Depends: b (>= 1), c\nSize: {size}\n"));
        assert!(!sized("1").is_same(&sized("2")));
    }

    /// An index without end in sight, made as it is read.
    struct Endless {
        left: u64,
        stanza: Vec<u8>,
        at: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(buffer.len() <= 1 << 20, "a buffer of {} bytes", buffer.len());
            if self.left == 0 && self.at == 0 {
                return Ok(0);
            }
            let rest = &self.stanza[self.at..];
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            self.at = (self.at + read) % self.stanza.len();
            self.left = self.left.saturating_sub(read as u64);
            Ok(read)
        }
    }

    #[test]
    fn an_index_of_200_megabytes_takes_one_buffer() {
        let stanza = format!(
            "Package: other\nVersion: 1\nArchitecture: amd64\nDepends: x (>= 1), y\nDescription: {}\n\n",
            "x".repeat(40_000)
        );
        let reader = Endless { left: 200_000_000, stanza: stanza.into_bytes(), at: 0 };
        assert!(stock().sift(reader).unwrap().offers.is_empty());
    }
}
