//! A scan without apt's resolver: dpkg's database and the indexes are read directly, and where it is provable what apt would do,
//! that is the answer. Every doubt ends in asking apt: an answer is never a guess.

mod paragraphs;
mod pins;
mod prove;
mod relations;
mod stock;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use patchmesh_common::patch::Automatic;

use self::{
    pins::Pins,
    stock::{Sifted, Stock},
};
use super::{
    fingerprint::LISTS,
    lists::{self, Offers, Target},
    options::Options,
    simulate::{Install, Simulation},
    stanza::Capped,
    status::{self, Installed, MAX_STATUS},
};
use crate::host::root::{Root, STATUS};

/// Why apt has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt(pub(super) String);

impl Doubt {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What apt would upgrade on a host of this package database and one index, without pins and options, as (name, architecture,
/// version); an `all` package counts as native.
///
/// # Errors
/// Why apt has to be asked.
pub fn upgrades(status: &[u8], index: impl Read, native: &str) -> Result<Vec<(String, String, String)>, String> {
    let decide = || {
        let mut stock = Stock::installed(status, native)?;
        let sifted = stock.sift(index)?;
        stock.add(sifted, &Target::default(), Automatic::Yes);
        prove::upgrades(&stock, &Pins::default())
    };
    let upgrades = decide().map_err(|Doubt(why)| why)?;
    Ok(upgrades.into_iter().map(|((name, arch), version)| (name, arch, version)).collect())
}

/// What could be read, and what apt would do if that is certain.
#[derive(Debug)]
pub(super) struct Reading {
    /// By (name, architecture).
    pub(super) packages: Vec<Installed>,
    /// What is not older than an installed package.
    pub(super) offers: Offers,
    /// What apt would do.
    pub(super) decided: Result<Simulation, Doubt>,
}

/// What was read before it is known which indexes the sources name.
#[derive(Debug)]
pub(super) struct Draft {
    stock: Stock,
    sifted: BTreeMap<PathBuf, Result<Sifted, Doubt>>,
}

impl Draft {
    /// Reads dpkg's database and every index in apt's folder that needs no program to be unpacked: while apt is still telling of its
    /// sources, which takes as long. An index that turns out not to be named is left out later.
    ///
    /// # Errors
    /// Something of the database is not plain.
    pub(super) fn read(root: &Root, native: &str) -> Result<Self, Doubt> {
        let file = File::open(root.join(STATUS)).map_err(|error| Doubt::new(format!("{STATUS}: {error}")))?;
        let stock = Stock::installed(Capped::new(file, MAX_STATUS), native)?;
        let mut draft = Self { stock, sifted: BTreeMap::new() };
        for entry in fs::read_dir(root.join(LISTS)).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy();
            if ["_Packages", "_Packages.lz4", "_Packages.gz"].iter().any(|ending| name.ends_with(ending)) {
                let sifted = draft.sift(&path, Path::new(""));
                draft.sifted.insert(path, sifted);
            }
        }
        Ok(draft)
    }

    fn sift(&self, path: &Path, config: &Path) -> Result<Sifted, Doubt> {
        let named = |why: String| Doubt::new(format!("{}: {why}", path.display()));
        let reader = lists::unpack(path, config).map_err(|error| named(error.to_string()))?;
        self.stock.sift(reader).map_err(|Doubt(why)| named(why))
    }

    /// Reads what is missing, and decides.
    ///
    /// # Errors
    /// Something is not plain; the usual readers say what of it is wrong, if anything is.
    pub(super) fn finish(
        mut self,
        root: &Root,
        options: &Options,
        targets: &[Target],
        config: &Path,
    ) -> Result<Reading, Doubt> {
        for target in targets {
            let sifted = match self.sifted.remove(&target.file) {
                Some(sifted) => sifted?,
                None => self.sift(&target.file, config)?,
            };
            self.stock.add(sifted, target, target.automatic());
        }
        let stock = self.stock;
        let decided = decide(root, options, &stock);
        let mut packages = Vec::with_capacity(stock.items.len());
        let mut offers = Offers::new();
        for (key, item) in stock.items {
            let candidates: Vec<_> = item.offers.into_iter().map(|offered| offered.candidate).collect();
            if !candidates.is_empty() {
                offers.insert(key, candidates);
            }
            packages.push(item.installed);
        }
        packages.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        Ok(Reading { packages, offers, decided })
    }
}

/// What apt would do.
fn decide(root: &Root, options: &Options, stock: &Stock) -> Result<Simulation, Doubt> {
    if let Some(name) = options.meddles() {
        return Err(Doubt::new(format!("{name} is set")));
    }
    if status::interrupted(root).unwrap_or(true) {
        return Err(Doubt::new("dpkg was interrupted"));
    }
    if let Some(item) =
        stock.items.values().find(|item| item.installed.arch != "all" && !options.knows(&item.installed.arch))
    {
        return Err(Doubt::new(format!("{} is of an architecture that apt does not know", item.installed.name)));
    }
    marks(root)?;
    let upgrades = prove::upgrades(stock, &pins::read(root)?)?;
    let installs = upgrades.into_iter().filter_map(|(key, new)| {
        let item = stock.items.get(&key)?;
        let old = Some(item.installed.version.clone());
        Some(Install { name: key.0, filed: key.1, old, new, arch: item.installed.arch.clone() })
    });
    Ok(Simulation { installs: installs.collect(), ..Simulation::default() })
}

/// apt's own notes must be such that apt can read them.
fn marks(root: &Root) -> Result<(), Doubt> {
    let path = root.join("var/lib/apt/extended_states");
    match File::open(&path) {
        Ok(file) => status::automatic(std::io::BufReader::new(Capped::new(file, MAX_STATUS)), "extended_states")
            .map(|_| ())
            .map_err(|error| Doubt::new(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Doubt::new(format!("{}: {error}", path.display()))),
    }
}

/// The indexes that are there, of those that the sources name; `None` if one is there in two forms.
pub(super) fn present(root: &Root, named: Vec<Target>, nowhere: &Path) -> Option<Vec<Target>> {
    let lists = root.join(LISTS);
    let mut targets = Vec::new();
    for mut target in named {
        if target.file.parent() == Some(nowhere) {
            target.file = lists.join(target.file.file_name()?);
        }
        let base = target.file.clone().into_os_string();
        let forms = ["", ".zst", ".lz4", ".gz", ".xz", ".bz2", ".lzma"].map(|ending| {
            let mut name = base.clone();
            name.push(ending);
            PathBuf::from(name)
        });
        let mut there = forms.into_iter().filter(|path| path.exists());
        let Some(file) = there.next() else { continue };
        if there.next().is_some() {
            return None;
        }
        target.file = file;
        targets.push(target);
    }
    Some(targets)
}
