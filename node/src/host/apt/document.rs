//! The inventory as the document that baselines are evaluated against.

use std::{cmp::Ordering, collections::BTreeMap, fs};

use patchmesh_common::{
    inventory::{
        deb,
        document::{Host, Inventory, Package, SCHEMA},
    },
    run::message::Refusal,
    time::WallTime,
};

use super::{Apt, lists::Offers, scan::Stocked, status::Installed};
use crate::{clock, host::root::Root};

impl From<Stocked> for Package {
    fn from(stocked: Stocked) -> Self {
        let Stocked { package, candidates } = stocked;
        Self {
            name: package.name,
            arch: package.arch,
            installed: Some(package.version),
            applicable: true,
            section: package.section,
            priority: package.priority,
            candidates: candidates.into_iter().map(Into::into).collect(),
        }
    }
}

impl Apt {
    /// Every installed package with what repositories offer, as `patchmesh inventory -o json` prints it. `at` is now. Changes
    /// nothing, needs no right but to read.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub async fn document(&self, at: WallTime) -> Result<Inventory, Refusal> {
        self.document_of(self.inventory().await?, at)
    }

    pub(super) fn document_of(&self, stocked: Vec<Stocked>, at: WallTime) -> Result<Inventory, Refusal> {
        let facts = self.facts()?;
        let known = |text: String| (!text.is_empty()).then_some(text);
        Ok(Inventory {
            schema: SCHEMA.into(),
            host: Host {
                name: host_name(&self.root),
                os: known(facts.os),
                os_version: known(facts.os_version),
                product: None,
            },
            collected_at: Some(at),
            packages: stocked.into_iter().map(Package::from).collect(),
        })
    }

    pub(super) fn document_from(
        &self,
        packages: &[Installed],
        offers: &Offers,
        at: WallTime,
    ) -> Result<Inventory, Refusal> {
        self.document_of(self.stocked(packages.to_vec(), offers.clone()), at)
    }
}

impl Apt {
    /// Notes what is offered beyond what is installed.
    pub(super) fn sight(&self, packages: &[Installed], offers: &Offers) {
        let Some(diary) = &self.diary else { return };
        let mut offered = BTreeMap::new();
        for package in packages {
            for candidate in offers.get(&self.key(package)).into_iter().flatten() {
                let Some(sha256) = &candidate.sha256 else { continue };
                if deb::compare(&candidate.version, &package.version) == Ordering::Greater {
                    let (name, arch) = (package.name.clone(), package.arch.clone());
                    let seen = (name, arch, candidate.version.clone(), sha256.clone());
                    let dated: &mut Option<WallTime> = offered.entry(seen).or_default();
                    // Of several indexes the one that was there first.
                    *dated = [*dated, candidate.dated].into_iter().flatten().min();
                }
            }
        }
        diary.note(&offered, clock::now().wall);
    }
}

/// The name of the machine that a root is, or else of the one that it is on. `None` if nothing says it.
pub fn host_name(root: &Root) -> Option<String> {
    let own = if root.is_host() { None } else { root.read_small("etc/hostname").ok().flatten() };
    let name = own.or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").ok())?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
