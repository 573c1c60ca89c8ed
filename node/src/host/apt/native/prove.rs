//! Whether it can be known without a resolver what apt would upgrade.
//!
//! It can if upgrading every package to its newest version leaves nothing to decide: everything that any package asks for is then
//! there, nothing conflicts, and no step on the way needs another before it. The commonest case is that nothing newer is offered
//! at all. Wherever this cannot be shown, apt is asked.

use std::collections::BTreeMap;

use patchmesh_common::patch::{Baseline, Candidate, judge::newest};

use super::{
    Doubt,
    pins::Pins,
    relations::{Atom, atoms},
    stock::{Item, Key, MultiArch, Stock, Version},
};

/// The versions that apt would install over installed ones.
pub(super) type Upgrades = BTreeMap<Key, String>;

/// One package of a state of the host.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    arch: &'a str,
    version: &'a Version,
}

/// Who answers to a name: a package of that name, or one that provides it in a version.
struct Answer<'a> {
    member: usize,
    real: bool,
    version: Option<&'a str>,
}

/// A set of packages by the names that they answer to.
struct State<'a> {
    native: &'a str,
    members: Vec<Member<'a>>,
    names: BTreeMap<&'a str, Vec<Answer<'a>>>,
}

/// What apt would upgrade.
///
/// # Errors
/// It cannot be known without asking.
pub(super) fn upgrades(stock: &Stock, pins: Pins) -> Result<Upgrades, Doubt> {
    if let Some(name) = stock.needed.first() {
        return Err(Doubt::new(format!("{name} is essential and not installed")));
    }
    let mut chosen = BTreeMap::new();
    for (key, item) in &stock.items {
        if !item.wanted {
            return Err(Doubt::new(format!("{} shall be removed", key.0)));
        }
        if let Some(version) = choose(item)? {
            chosen.insert(key, version);
        }
    }
    if pins != Pins::None && stock.items.values().any(|item| newest_of(item).is_some()) {
        return Err(Doubt::new("pins may choose among newer versions"));
    }
    let old = State::new(stock, stock.items.iter().map(|(key, item)| (key, &item.version)))?;
    if chosen.is_empty() {
        old.is_sound()?;
        return Ok(Upgrades::new());
    }
    let then = stock.items.iter().map(|(key, item)| (key, chosen.get(key).copied().unwrap_or(&item.version)));
    let new = State::new(stock, then)?;
    new.is_sound()?;
    for (key, version) in &chosen {
        if let Some(item) = stock.items.get(*key) {
            step(key, &item.version, version, &old, &new)?;
        }
    }
    Ok(chosen.into_iter().map(|(key, version)| (key.clone(), version.number.clone())).collect())
}

fn candidates(item: &Item) -> Vec<Candidate> {
    item.offers.iter().map(|offered| offered.candidate.clone()).collect()
}

fn newest_of(item: &Item) -> Option<String> {
    newest(Baseline::All, &item.installed.version, &candidates(item)).map(|newest| newest.version.clone())
}

/// The version that apt would take for the newest, unless the package is on hold.
fn choose(item: &Item) -> Result<Option<&Version>, Doubt> {
    let name = &item.installed.name;
    for offered in &item.offers {
        if offered.version.number == item.version.number && !offered.version.is_same(&item.version) {
            return Err(Doubt::new(format!("{name} is offered in its installed version, but another build")));
        }
    }
    let Some(number) = newest_of(item) else { return Ok(None) };
    let mut same = item.offers.iter().filter(|offered| offered.version.number == number);
    let Some(first) = same.clone().next() else { return Ok(None) };
    if same.any(|offered| !offered.version.is_same(&first.version)) || differ_in_writing(item, &number) {
        return Err(Doubt::new(format!("{name} {number} is offered in several builds")));
    }
    if item
        .offers
        .iter()
        .any(|offered| offered.version.number == number && offered.candidate.phased.is_some_and(|p| p < 100))
    {
        return Err(Doubt::new(format!("{name} {number} is handed out in phases")));
    }
    if first.version.multi_arch != item.version.multi_arch {
        return Err(Doubt::new(format!("{name} {number} has another Multi-Arch than before")));
    }
    Ok((!item.installed.hold).then_some(&first.version))
}

/// Whether another offer is as new, but written in another way (`1.0` and `1.00`).
fn differ_in_writing(item: &Item, number: &str) -> bool {
    item.offers.iter().any(|offered| {
        offered.version.number != number
            && patchmesh_common::inventory::deb::compare(&offered.version.number, number).is_eq()
    })
}

/// Whether one upgrade needs no other before it.
fn step(key: &Key, before: &Version, after: &Version, old: &State<'_>, new: &State<'_>) -> Result<(), Doubt> {
    let me = Member { name: &key.0, arch: &key.1, version: after };
    let was = Member { version: before, ..me };
    let says = |what: &str| Doubt::new(format!("{} {} {what}", key.0, after.number));
    if !old.meets(&me, &after.pre_depends)? {
        return Err(says("needs another upgrade before it is unpacked"));
    }
    let essential = before.essential || after.essential;
    if essential && !old.meets(&me, &after.depends)? {
        return Err(says("is essential and needs another upgrade before it is configured"));
    }
    if old.clashes(&me)? || new.clashes(&was)? {
        return Err(says("goes only together with other upgrades"));
    }
    if after.recommends != before.recommends && !new.meets(&me, &after.recommends)? {
        return Err(says("recommends what is not installed"));
    }
    Ok(())
}

impl<'a> State<'a> {
    fn new(stock: &'a Stock, versions: impl Iterator<Item = (&'a Key, &'a Version)>) -> Result<Self, Doubt> {
        let mut state = Self { native: &stock.native, members: vec![], names: BTreeMap::new() };
        for (key, version) in versions {
            let member = state.members.len();
            state.members.push(Member { name: &key.0, arch: &key.1, version });
            let itself = Answer { member, real: true, version: Some(&version.number) };
            state.names.entry(&key.0).or_default().push(itself);
            for atom in atoms(version.provides.as_bytes()) {
                let atom = atom.map_err(|_| Doubt::new(format!("{} provides what is not plain", key.0)))?;
                let version = match atom.version {
                    None => None,
                    Some((super::relations::Op::Equal, version)) => Some(version),
                    Some(_) => return Err(Doubt::new(format!("{} provides a range", key.0))),
                };
                if atom.qualifier.is_some() || atom.or_next {
                    return Err(Doubt::new(format!("{} provides what is not plain", key.0)));
                }
                state.names.entry(atom.name).or_default().push(Answer { member, real: false, version });
            }
        }
        Ok(state)
    }

    /// Whether every package has what it needs and none stands in another's way.
    fn is_sound(&self) -> Result<(), Doubt> {
        for (at, me) in self.members.iter().enumerate() {
            for relation in [&me.version.pre_depends, &me.version.depends] {
                if !self.meets(me, relation)? {
                    return Err(Doubt::new(format!("{} lacks some of {relation}", me.name)));
                }
            }
            if self.clashes(me)? {
                return Err(Doubt::new(format!("{} conflicts with another package", me.name)));
            }
            // Members are sorted by name.
            let other = self.members.get(at + 1).filter(|other| other.name == me.name);
            let apart = |other: &Member<'_>| {
                let multi = [me.version.multi_arch, other.version.multi_arch];
                multi != [MultiArch::Same; 2] || me.version.number != other.version.number
            };
            if other.is_some_and(apart) {
                return Err(Doubt::new(format!("{} is installed twice in different versions", me.name)));
            }
        }
        Ok(())
    }

    /// Whether everything that `relation` of `me` asks for is here.
    fn meets(&self, me: &Member<'_>, relation: &str) -> Result<bool, Doubt> {
        let mut met = false;
        for atom in atoms(relation.as_bytes()) {
            let atom = atom.map_err(|_| Doubt::new(format!("{} has a relation that is not plain", me.name)))?;
            met = met || self.answers(atom.name).any(|answer| self.fits(me, &atom, answer));
            if !atom.or_next {
                if !met {
                    return Ok(false);
                }
                met = false;
            }
        }
        Ok(true)
    }

    fn answers(&self, name: &str) -> impl Iterator<Item = &Answer<'a>> {
        self.names.get(name).into_iter().flatten()
    }

    /// Whether it surely does: where apt and dpkg may see it otherwise, it does not.
    fn fits(&self, me: &Member<'_>, atom: &Atom<'_>, answer: &Answer<'_>) -> bool {
        let Some(other) = self.members.get(answer.member) else { return false };
        let multi_arch = other.version.multi_arch;
        let arch = match atom.qualifier {
            None => other.arch == me.arch || multi_arch == MultiArch::Foreign,
            Some("any") => answer.real && multi_arch == MultiArch::Allowed,
            Some("native") => other.arch == self.native,
            Some(arch) => answer.real && other.arch == arch,
        };
        arch && agrees(atom, answer)
    }

    /// Whether `me` may stand in the way of another package.
    fn clashes(&self, me: &Member<'_>) -> Result<bool, Doubt> {
        for relation in [&me.version.conflicts, &me.version.breaks] {
            for atom in atoms(relation.as_bytes()) {
                let atom = atom.map_err(|_| Doubt::new(format!("{} has a relation that is not plain", me.name)))?;
                let hit = |answer: &Answer<'_>| {
                    let other = self.members.get(answer.member);
                    other.is_some_and(|other| other.name != me.name) && agrees(&atom, answer)
                };
                if self.answers(atom.name).any(hit) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Whether the version is one that the relation means. What is provided without a version has none.
fn agrees(atom: &Atom<'_>, answer: &Answer<'_>) -> bool {
    match (atom.version, answer.version) {
        (None, _) => true,
        (Some((op, wanted)), Some(version)) => op.holds(version, wanted),
        (Some(_), None) => false,
    }
}
