//! Whether it can be known without a resolver what apt would upgrade.
//!
//! It can if upgrading every package to its newest version leaves nothing to decide: everything that any package asks for is then
//! there, nothing conflicts, and no step on the way needs another before it. The commonest case is that nothing newer is offered
//! at all. Wherever this cannot be shown, apt is asked.

use std::collections::{BTreeMap, BTreeSet};

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
pub(super) fn upgrades(stock: &Stock, pins: &Pins) -> Result<Upgrades, Doubt> {
    if let Some(name) = stock.needed.first() {
        return Err(Doubt::new(format!("{name} is essential and not installed")));
    }
    let mut chosen = BTreeMap::new();
    for (key, item) in &stock.items {
        if !item.wanted {
            return Err(Doubt::new(format!("{} shall be removed", key.0)));
        }
        // Also one of an archive that does not want to be chosen: a pin can want it.
        let newer = || item.offers.iter().any(|offered| offered.version.number != item.version.number);
        if pins.concern(&key.0) && newer() {
            return Err(Doubt::new(format!("pins may choose among newer versions of {}", key.0)));
        }
        if let Some(version) = choose(item)? {
            chosen.insert(key, version);
        }
    }
    let old = State::new(stock, stock.items.iter().map(|(key, item)| (key, &item.version)))?;
    if chosen.is_empty() {
        old.is_sound()?;
        return Ok(Upgrades::new());
    }
    let then = stock.items.iter().map(|(key, item)| (key, chosen.get(key).copied().unwrap_or(&item.version)));
    let new = State::new(stock, then)?;
    new.is_sound()?;
    // Both states have the same members in the same order.
    for (at, key) in stock.items.keys().enumerate() {
        if chosen.contains_key(key) {
            step(at, &old, &new)?;
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

/// Whether apt can go from one version of a package to the other, and finds an order in which to do so.
fn step(at: usize, old: &State<'_>, new: &State<'_>) -> Result<(), Doubt> {
    let (Some(was), Some(me)) = (old.members.get(at), new.members.get(at)) else { return Ok(()) };
    let (before, after) = (was.version, me.version);
    let says = |what: &str| Doubt::new(format!("{} {} {what}", me.name, after.number));
    let essential = before.essential || after.essential;
    // What is essential works all the time: it is configured at once.
    if in_circle(at, essential, old, new)? {
        return Err(says("needs an upgrade before it that needs it"));
    }
    if essential && !(new.meets(was, &before.pre_depends)? && new.meets(was, &before.depends)?) {
        return Err(says("is essential and other upgrades break it on the way"));
    }
    if old.clashes(me)? || new.clashes(was)? {
        return Err(says("goes only together with other upgrades"));
    }
    if after.recommends != before.recommends && !new.meets(me, &after.recommends)? {
        return Err(says("recommends what is not installed"));
    }
    Ok(())
}

/// Whether a package that needs others before it (to be unpacked, or if `configured` to work) is itself needed by one of these.
fn in_circle(at: usize, configured: bool, old: &State<'_>, new: &State<'_>) -> Result<bool, Doubt> {
    let mut todo = new.leads(at, configured, old)?;
    let mut seen = BTreeSet::new();
    while let Some(next) = todo.pop() {
        if next == at {
            return Ok(true);
        }
        if seen.insert(next) {
            todo.extend(new.leads(next, true, old)?);
        }
    }
    Ok(false)
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
        Ok(clauses(me, relation)?.iter().all(|clause| self.meets_clause(me, clause)))
    }

    fn meets_clause(&self, me: &Member<'_>, clause: &[Atom<'_>]) -> bool {
        clause.iter().any(|atom| self.answers(atom.name).any(|answer| self.fits(me, atom, answer)))
    }

    /// The members that a member asks for, as far as they were not `old` enough: to be unpacked, and to be `configured`.
    fn leads(&self, at: usize, configured: bool, old: &State<'_>) -> Result<Vec<usize>, Doubt> {
        let mut found = Vec::new();
        let Some(me) = self.members.get(at) else { return Ok(found) };
        let depends = if configured { me.version.depends.as_str() } else { "" };
        for relation in [&me.version.pre_depends, depends] {
            for clause in clauses(me, relation)?.iter().filter(|clause| !old.meets_clause(me, clause)) {
                for atom in clause {
                    let fitting = self.answers(atom.name).filter(|answer| self.fits(me, atom, answer));
                    found.extend(fitting.map(|answer| answer.member));
                }
            }
        }
        Ok(found)
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

/// The clauses of a relation: of each, one package is enough.
fn clauses<'r>(me: &Member<'_>, relation: &'r str) -> Result<Vec<Vec<Atom<'r>>>, Doubt> {
    let (mut clauses, mut clause) = (Vec::new(), Vec::new());
    for atom in atoms(relation.as_bytes()) {
        let atom = atom.map_err(|_| Doubt::new(format!("{} has a relation that is not plain", me.name)))?;
        clause.push(atom);
        if !atom.or_next {
            clauses.push(std::mem::take(&mut clause));
        }
    }
    Ok(clauses)
}

/// Whether the version is one that the relation means. What is provided without a version has none.
fn agrees(atom: &Atom<'_>, answer: &Answer<'_>) -> bool {
    match (atom.version, answer.version) {
        (None, _) => true,
        (Some((op, wanted)), Some(version)) => op.holds(version, wanted),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::patch::Automatic;

    use super::*;
    use crate::host::apt::lists::Target;

    /// A paragraph of `name version[ arch]` and further fields.
    fn paragraph(of: &str, more: &str) -> String {
        let words: Vec<_> = of.split(' ').collect();
        let arch = words.get(2).unwrap_or(&"amd64");
        format!("Package: {}\nVersion: {}\nArchitecture: {arch}\n{more}\n", words[0], words[1])
    }

    fn decide(status: &[(&str, &str)], index: &[(&str, &str)], pins: &[&str]) -> Result<String, String> {
        decide_from(status, &[(Automatic::Yes, index)], pins)
    }

    fn decide_from(
        status: &[(&str, &str)],
        indexes: &[(Automatic, &[(&str, &str)])],
        pins: &[&str],
    ) -> Result<String, String> {
        let text = |paragraphs: &[(&str, &str)], state: &str| -> String {
            let all = paragraphs.iter().map(|(of, more)| {
                let state = if more.contains("Status:") { "" } else { state };
                paragraph(of, &format!("{state}{more}"))
            });
            all.collect()
        };
        let status = text(status, "Status: install ok installed\n");
        let mut stock = Stock::installed(status.as_bytes(), "amd64").map_err(|doubt| doubt.0)?;
        for (automatic, index) in indexes {
            let index = text(index, "");
            let sifted = stock.sift(index.as_bytes()).map_err(|doubt| doubt.0)?;
            stock.add(sifted, &Target::default(), *automatic);
        }
        let pinned = Pins::of(pins);
        let upgrades = upgrades(&stock, &pinned).map_err(|doubt| doubt.0)?;
        let told: Vec<_> = upgrades.iter().map(|((name, arch), version)| format!("{name}:{arch}={version}")).collect();
        Ok(told.join(" "))
    }

    #[test]
    fn where_nothing_newer_is_offered_nothing_is_decided() {
        let status = [("a 2", "Depends: b (>= 1) | c, v\n"), ("b 1", "Provides: v\n")];
        let index = [("a 1", ""), ("a 2", "Depends: b (>= 1) | c, v\n"), ("b 1", "Provides: v\n"), ("other 9", "")];
        for pins in [&[][..], &["a", "*"]] {
            assert_eq!(decide(&status, &index, pins).unwrap(), "");
        }
    }

    #[test]
    fn upgrades_that_leave_nothing_open_are_certain() {
        let status = [
            ("a 1", "Depends: lib\n"),
            ("lib 1 amd64", "Multi-Arch: same\n"),
            ("held 1", "Status: hold ok installed\n"),
        ];
        let index = [
            ("a 2", "Depends: lib (>= 2), v (= 3)\nBreaks: lib (<< 1)\n"),
            ("lib 2 amd64", "Multi-Arch: same\nProvides: v (= 3)\n"),
            ("held 2", ""),
        ];
        assert_eq!(decide(&status, &index, &[]).unwrap(), "a:amd64=2 lib:amd64=2");
        assert!(decide(&status, &index, &["other"]).is_ok());
        assert!(decide(&status, &index, &["lib"]).unwrap_err().contains("pins"));
    }

    #[test]
    fn whatever_needs_a_decision_is_in_doubt() {
        let one = [("a 1", ""), ("b 1", "")];
        for (status, index, why) in [
            (&one[..], &[("a 2", "Depends: new\n")][..], "lacks"),
            (&one, &[("a 2", "Depends: b (>= 2)\n")], "lacks"),
            (&one, &[("a 2", "Conflicts: b\n")], "conflicts"),
            (&one, &[("a 2", "Breaks: b (<< 2)\n"), ("b 2", "")], "together"),
            (&one, &[("a 2", "Pre-Depends: b (>= 2)\n"), ("b 2", "Depends: a (>= 2)\n")], "that needs it"),
            (&one, &[("a 2", "Essential: yes\nDepends: b (>= 2)\n"), ("b 2", "Depends: a (>= 2)\n")], "that needs it"),
            (&[("a 1", "Essential: yes\nDepends: b (= 1)\n"), ("b 1", "")], &[("a 2", ""), ("b 2", "")], "on the way"),
            (&one, &[("a 2", "Recommends: new\n")], "recommends"),
            (&one, &[("a 2", "Phased-Update-Percentage: 50\n")], "phases"),
            (&one, &[("a 2", "Multi-Arch: foreign\n")], "another Multi-Arch"),
            (&one, &[("a 1", "Depends: b\n")], "another build"),
            (&one, &[("a 2", "Depends: b\n"), ("a 2", "")], "several builds"),
            (&one, &[("a 2", ""), ("a 2-0", "")], "several builds"),
            (&one, &[("apt 1", "")], "essential"),
            (&one, &[("new 1", "Essential: yes\n")], "essential"),
            (&[("a 1", "Depends: nowhere\n")], &[], "lacks"),
            (&[("a 1", "Conflicts: v\n"), ("b 1", "Provides: v\n")], &[], "conflicts"),
            (&[("a 1", "Status: deinstall ok installed\n")], &[], "removed"),
            (&[("a 1", ""), ("a 1 i386", "")], &[], "twice"),
            (&[("a 1", "Multi-Arch: same\n"), ("a 2 i386", "Multi-Arch: same\n")], &[], "twice"),
            (&[("a 1", "Depends: b:any\n"), ("b 1", "")], &[], "lacks"),
            (&[("a 1", "Depends: b\n"), ("b 1 i386", "")], &[], "lacks"),
            (&[("a 1", "Depends: v (>= 1)\n"), ("b 1", "Provides: v\n")], &[], "lacks"),
            (&[("a 1", "Conflicts: b (>= 2)\n"), ("b 1", "")], &[("a 2", ""), ("b 2", "")], "together"),
        ] {
            let error = decide(status, index, &[]).unwrap_err();
            assert!(error.contains(why), "{error}: {status:?} {index:?}");
        }
    }

    #[test]
    fn what_only_seems_to_need_a_decision_does_not() {
        let one = [("a 1", "Recommends: new\n"), ("b 1", "Multi-Arch: foreign\n"), ("c 1 i386", "Depends: b\n")];
        for index in [
            // It was not there before either, and apt does not ask twice.
            &[("a 2", "Recommends: new\n")][..],
            &[("a 2", "Conflicts: a, v, b (<< 1)\nProvides: v\n")],
            &[("a 2", "Essential: yes\nPre-Depends: b\n")],
            &[("a 2", "Phased-Update-Percentage: 100\n")],
        ] {
            assert_eq!(decide(&one, index, &[]).unwrap(), "a:amd64=2", "{index:?}");
        }
    }

    #[test]
    fn upgrades_that_follow_each_other_are_certain() {
        let status = [("a 1", "Essential: yes\n"), ("b 1", ""), ("c 1", "")];
        let index = [("a 2", "Pre-Depends: b (>= 2)\nDepends: c (>= 2)\n"), ("b 2", "Depends: c (= 2)\n"), ("c 2", "")];
        assert_eq!(decide(&status, &index, &[]).unwrap(), "a:amd64=2 b:amd64=2 c:amd64=2");
    }

    #[test]
    fn archives_that_do_not_want_to_be_chosen_are_not() {
        let status = [("a 1", ""), ("b 1", "")];
        let main = [("a 1", "")];
        let newer = [("a 2", ""), ("b 2", "")];
        let with = |automatic| decide_from(&status, &[(Automatic::Yes, &main), (automatic, &newer)], &[]);
        assert_eq!(with(Automatic::No).unwrap(), "");
        let pinned = decide_from(&status, &[(Automatic::Yes, &main), (Automatic::No, &newer)], &["a"]);
        assert!(pinned.unwrap_err().contains("pins"), "a pin may want what does not want to be chosen");
        // `b` is in no usual archive, so it came from there.
        assert_eq!(with(Automatic::Upgrades).unwrap(), "b:amd64=2");
    }
}
