//! The inventory of a host as a document (`patchmesh.inventory/v1`): what a baseline is evaluated against.
//!
//! Members that only some package managers have are optional, and members that are unknown are passed over, so that documents
//! of newer versions can be read. Dates are judged while they are read.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    patch::{Automatic, Candidate, baseline::OperatingSystem},
    time::WallTime,
};

/// The only schema.
pub const SCHEMA: &str = "patchmesh.inventory/v1";
/// Most packages of one host.
pub const MAX_PACKAGES: usize = 100_000;
/// Most versions that are offered for one package, most advisories of one version, and most of whatever an advisory lists.
pub const MAX_OFFERS: usize = 2000;
/// Longest name, version, id or other word, in bytes: they are compared with patterns.
pub const MAX_TEXT: usize = 512;

/// Everything that a host has and is offered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// [`SCHEMA`].
    pub schema: String,
    /// The host.
    pub host: Host,
    /// When it was looked at.
    #[serde(default, deserialize_with = "time")]
    pub collected_at: Option<WallTime>,
    /// One entry per installed (name, architecture); on Windows, macOS and SUSE also what is not installed.
    pub packages: Vec<Package>,
}

/// What kind of host it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// `ID` of os-release, `macos` or `windows`.
    #[serde(default)]
    pub os: Option<String>,
    /// `VERSION_ID` of os-release.
    #[serde(default)]
    pub os_version: Option<String>,
    /// What PRODUCT filters call it, where that does not follow from the two before.
    #[serde(default)]
    pub product: Option<String>,
}

/// A package, or on Windows an update.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Its name; of an update its KB id.
    pub name: String,
    /// Its architecture.
    #[serde(default)]
    pub arch: String,
    /// Installed version; `None` if it is not installed.
    #[serde(default)]
    pub installed: Option<String>,
    /// Whether the host could have it at all: its product is there and nothing installed supersedes it.
    #[serde(default = "yes")]
    pub applicable: bool,
    /// Section of the installed version.
    #[serde(default)]
    pub section: Option<String>,
    /// Priority of the installed version.
    #[serde(default)]
    pub priority: Option<String>,
    /// Versions that repositories offer, the installed one too if they still have it.
    #[serde(default)]
    pub candidates: Vec<Offer>,
}

/// One version in one repository.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The version, as the package manager writes it.
    pub version: String,
    /// The repository; on macOS the package manager.
    #[serde(default)]
    pub archive: Option<String>,
    /// Section of a Debian package.
    #[serde(default)]
    pub section: Option<String>,
    /// Priority of a Debian package.
    #[serde(default)]
    pub priority: Option<String>,
    /// SHA-256 of its archive file in lower-case hex.
    #[serde(default)]
    pub sha256: Option<String>,
    /// When it was built or released; on Debian's family the date of the signed index that first carried it.
    #[serde(default, deserialize_with = "time")]
    pub released: Option<WallTime>,
    /// When the mesh first saw it.
    #[serde(default, deserialize_with = "time")]
    pub first_seen: Option<WallTime>,
    /// Whether it comes from a security pocket.
    #[serde(default)]
    pub security: bool,
    /// Whether its archive wants to be chosen: `yes`, `upgrades` or `no`.
    #[serde(default, deserialize_with = "automatic")]
    pub automatic: Automatic,
    /// The advisories, patches or bulletins that name it.
    #[serde(default)]
    pub advisories: Vec<Advisory>,
    /// The Microsoft product that it is for.
    #[serde(default)]
    pub product: Option<String>,
    /// The family of that product.
    #[serde(default)]
    pub product_family: Option<String>,
    /// `OS` or `APPLICATION`, on Windows.
    #[serde(default)]
    pub patch_set: Option<String>,
    /// Everything else that installing it would install or upgrade.
    #[serde(default)]
    pub requires: Vec<Requirement>,
}

/// An advisory of a version.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advisory {
    /// Its id.
    pub id: String,
    /// Its kind: `Security`, `Bugfix`, …
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Its severity.
    #[serde(default)]
    pub severity: Option<String>,
    /// When it was issued.
    #[serde(default, deserialize_with = "time")]
    pub issued: Option<WallTime>,
    /// When it was last changed.
    #[serde(default, deserialize_with = "time")]
    pub updated: Option<WallTime>,
    /// The CVEs that it names.
    #[serde(default)]
    pub cves: Vec<String>,
    /// The Bugzilla ids that it names.
    #[serde(default)]
    pub bugs: Vec<String>,
}

/// A package that comes along.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Requirement {
    /// Its name.
    pub name: String,
    /// Its architecture.
    #[serde(default)]
    pub arch: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// What is wrong with an inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInventory {
    /// It is something else, or of a later version.
    #[error("the schema is {0:?}, and {SCHEMA} is expected")]
    Schema(String),
    /// It has too many packages.
    #[error("{0} packages, and at most {MAX_PACKAGES} are allowed")]
    Packages(usize),
    /// A package has a nameless or endless part.
    #[error("package {name:?}: {what}")]
    Package {
        /// The package.
        name: String,
        /// What is wrong, as a fragment.
        what: &'static str,
    },
}

impl From<Candidate> for Offer {
    /// Debian's indexes have no dates and name no advisories.
    fn from(candidate: Candidate) -> Self {
        Self {
            version: candidate.version,
            archive: candidate.archive,
            section: candidate.section,
            priority: candidate.priority,
            sha256: candidate.sha256,
            security: candidate.security,
            automatic: candidate.automatic,
            ..Self::default()
        }
    }
}

impl Host {
    /// Its operating system, as baselines call it; `None` if it does not say, or is none of theirs.
    pub fn operating_system(&self) -> Option<OperatingSystem> {
        OperatingSystem::of_host(self.os.as_deref()?, self.os_version.as_deref().unwrap_or_default())
    }

    /// What PRODUCT filters of baselines of `os` call it.
    pub fn product_of(&self, os: OperatingSystem) -> String {
        let version = self.os_version.as_deref().unwrap_or_default();
        self.product.clone().unwrap_or_else(|| os.product(version))
    }
}

impl Package {
    /// Everything written about it and its versions.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let own = [Some(&self.name), Some(&self.arch), self.installed.as_ref(), self.section.as_ref()];
        let own = own.into_iter().chain([self.priority.as_ref()]).flatten().map(String::as_str);
        own.chain(self.candidates.iter().flat_map(Offer::texts))
    }
}

impl Offer {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let own = [
            Some(&self.version),
            self.archive.as_ref(),
            self.section.as_ref(),
            self.priority.as_ref(),
            self.sha256.as_ref(),
            self.product.as_ref(),
            self.product_family.as_ref(),
            self.patch_set.as_ref(),
        ];
        let own = own.into_iter().flatten().map(String::as_str);
        let needed = self.requires.iter().flat_map(|needed| [&needed.name, &needed.arch, &needed.version]);
        own.chain(needed.map(String::as_str)).chain(self.advisories.iter().flat_map(Advisory::texts))
    }
}

impl Advisory {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let own = [Some(&self.id), self.kind.as_ref(), self.severity.as_ref()].into_iter().flatten();
        own.chain(&self.cves).chain(&self.bugs).map(String::as_str)
    }
}

impl Inventory {
    /// Judges the schema and every bound.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadInventory> {
        if self.schema != SCHEMA {
            return Err(BadInventory::Schema(self.schema.chars().take(80).collect()));
        }
        if self.packages.len() > MAX_PACKAGES {
            return Err(BadInventory::Packages(self.packages.len()));
        }
        for package in &self.packages {
            let bad = |what| Err(BadInventory::Package { name: package.name.chars().take(80).collect(), what });
            if package.name.is_empty() {
                return bad("it has no name");
            }
            if package.texts().any(|text| text.len() > MAX_TEXT) {
                return bad("a text of it is longer than 512 bytes");
            }
            let too_many = |count: usize| count > MAX_OFFERS;
            if too_many(package.candidates.len()) {
                return bad("it is offered in too many versions");
            }
            for offer in &package.candidates {
                if offer.version.is_empty() {
                    return bad("a version of it is empty");
                }
                if too_many(offer.advisories.len()) || too_many(offer.requires.len()) {
                    return bad("a version of it has too many advisories or requirements");
                }
                if offer.advisories.iter().any(|advisory| too_many(advisory.cves.len() + advisory.bugs.len())) {
                    return bad("an advisory of it names too many CVEs or bugs");
                }
            }
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WallTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    match parse_time(&text) {
        Some(time) => Ok(Some(time)),
        None => Err(D::Error::custom(format_args!(
            "{:?} is no time: write 2026-12-01T02:00:00Z or 2026-12-01",
            text.chars().take(80).collect::<String>()
        ))),
    }
}

fn automatic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Automatic, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Automatic::Yes) };
    let all = [Automatic::Yes, Automatic::Upgrades, Automatic::No];
    all.into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
        let text: String = text.chars().take(80).collect();
        D::Error::custom(format_args!("{text:?} is unknown: write yes, upgrades or no"))
    })
}

/// RFC 3339, or what advisories hold, always in UTC: `YYYY-MM-DD`, ` HH:MM`, `:SS`, ` UTC` (spec 1.5).
pub fn parse_time(text: &str) -> Option<WallTime> {
    WallTime::parse(text).or_else(|| {
        let plain = text.strip_suffix(" UTC").unwrap_or(text);
        let (day, clock) = plain.split_once(' ').unwrap_or((plain, "00:00:00"));
        let clock = match clock.len() {
            5 => format!("{clock}:00"),
            8 => clock.to_owned(),
            _ => return None,
        };
        if day.len() == 10 { WallTime::parse(&format!("{day}T{clock}Z")) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_documented_form() {
        for (text, expected) in [
            ("2026-12-01", "2026-12-01T00:00:00Z"),
            ("2026-12-01 18:30", "2026-12-01T18:30:00Z"),
            ("2026-12-01 18:30:05", "2026-12-01T18:30:05Z"),
            ("2026-12-01 18:30:05 UTC", "2026-12-01T18:30:05Z"),
            ("2026-12-01T19:30:05+01:00", "2026-12-01T18:30:05Z"),
        ] {
            assert_eq!(parse_time(text).map(WallTime::rfc3339).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "2026-02-30", "2026-12-01 25:00", "2026-12-01 18", "1-1-1", "2026-12-01  UTC"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_and_schema_are_held() {
        let package = Package { name: "a".into(), ..Package::default() };
        let inventory =
            |packages| Inventory { schema: SCHEMA.into(), host: Host::default(), collected_at: None, packages };
        assert_eq!(inventory(vec![package.clone()]).check(), Ok(()));
        assert_eq!(inventory(vec![Package::default(); MAX_PACKAGES + 1]).check(), Err(BadInventory::Packages(100_001)));
        let with = |offers: Vec<Offer>| inventory(vec![Package { candidates: offers, ..package.clone() }]).check();
        assert!(with(vec![Offer::default()]).unwrap_err().to_string().contains("\"a\": a version of it is empty"));
        let offer = Offer { version: "1".into(), ..Offer::default() };
        assert_eq!(with(vec![offer.clone(); MAX_OFFERS]), Ok(()));
        let advisory = |id: usize| Advisory { id: "x".repeat(id), ..Advisory::default() };
        let advised = |id| with(vec![Offer { advisories: vec![advisory(1), advisory(id)], ..offer.clone() }]);
        assert_eq!(advised(MAX_TEXT), Ok(()));
        assert!(advised(MAX_TEXT + 1).unwrap_err().to_string().contains("longer than 512 bytes"));
        let named = Package { name: "x".repeat(MAX_TEXT + 1), ..Package::default() };
        assert!(inventory(vec![named]).check().is_err());
        assert!(with(vec![offer; MAX_OFFERS + 1]).is_err());
        let other = Inventory { schema: "patchmesh.scan/v1".into(), ..inventory(vec![]) };
        assert!(other.check().unwrap_err().to_string().starts_with("the schema is \"patchmesh.scan/v1\""));
    }
}
