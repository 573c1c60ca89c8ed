//! Snapshots: what is approved for a rollout, frozen, and named by the hash of what it says (spec 1.6, 6.5).
//!
//! A rollout by baselines is asked for with the rules: every host chooses its baseline by its operating system and group and
//! judges at one instant. What the hosts answer is frozen as versions, so that the same versions can be installed elsewhere,
//! later, after the repositories have moved on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    baseline::{Checked, OperatingSystem, PatchBaseline, Problem, Spec},
    groups::{GroupError, Groups, group_of},
    overrides::{self, BadOverride, InstallList},
    sighting::{FirstSeen, Seen},
};
use crate::{
    id::SnapshotId,
    inventory::{PackageChange, Transaction, deb},
    time::WallTime,
    wire,
};

/// A package of one release: os, its version, name, architecture.
type Package<'a> = (&'a str, &'a str, &'a str, &'a str);
/// A version of it: its number, and the checksum of its archive file.
type Contents<'a> = (&'a str, &'a str);

/// Largest encoded snapshot: it travels in one message.
pub const MAX_SNAPSHOT: usize = 1 << 20;
/// The instant of a snapshot of which nothing is judged by the time.
pub const TIMELESS: WallTime = WallTime(0);

/// What is approved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The instant at which date gates are judged; [`TIMELESS`] if there are none.
    pub at: WallTime,
    /// What decides.
    pub rules: Rules,
    /// Nothing but these is installed; `None` before a rollout has resolved them.
    pub versions: Option<Vec<Pinned>>,
}

/// What decides which patches are approved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rules {
    /// Every baseline that some host may need.
    pub baselines: Vec<Written>,
    /// Which of them judges a host.
    pub choice: Choice,
    /// An [`InstallList`] as JSON: what an Install installs instead of what the baseline approves.
    pub list: Option<String>,
    /// Since when versions exist, for baselines whose clock is the mesh's.
    pub first_seen: Vec<Since>,
}

/// A baseline as it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its [`Spec`] as JSON.
    pub spec: String,
}

/// Which baseline judges a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Choice {
    /// None: every newer version is approved.
    All,
    /// None: versions from a security archive are approved.
    Security,
    /// The only one, whatever the host's group.
    One,
    /// By operating system: a `BaselineOverride`.
    System,
    /// The one that the host's group has, or the default of its operating system.
    Group(Registered),
    /// By operating system, as a policy names them: unlike an override they are what the host is held against from then on.
    Systems,
}

/// What [`Groups`] knows, as far as the baselines of a snapshot are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Registered {
    /// (group, baseline).
    pub groups: Vec<(String, String)>,
    /// Defaults of operating systems.
    pub defaults: Vec<String>,
}

/// One version, exactly, on hosts of one release of an operating system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pinned {
    /// `ID` of os-release.
    pub os: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// Binary package name.
    pub name: String,
    /// Architecture of the package, `all` as it is.
    pub arch: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the archive file in lower-case hex.
    pub sha256: String,
}

/// Since when a version exists, by the word of the mesh ([`super::sighting`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Since {
    /// Binary package name.
    pub name: String,
    /// Architecture of the package, `all` as it is.
    pub arch: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the archive file in lower-case hex.
    pub sha256: String,
    /// Since when.
    pub since: WallTime,
}

/// Who is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// `ID` of os-release.
    pub os: &'a str,
    /// `VERSION_ID` of os-release.
    pub os_version: &'a str,
    /// Its tags, those of its membership over its own.
    pub tags: &'a BTreeMap<String, String>,
}

/// What a snapshot says of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What judges it.
    pub by: By,
    /// Its patch group, if its tags say one. Two count as none where the group decides nothing.
    pub group: Option<String>,
}

/// What judges a host.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// Every newer version is approved.
    All,
    /// Versions from a security archive are approved.
    Security,
    /// A baseline, and what is installed instead of what it approves.
    Baseline(Box<Checked>, Option<InstallList>),
}

impl By {
    /// `all`, `security`, or the baseline's name.
    pub fn name(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Security => "security",
            Self::Baseline(baseline, _) => &baseline.name,
        }
    }
}

/// Why a snapshot is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    /// It takes too much.
    #[error(
        "it takes {0} bytes, and at most {MAX_SNAPSHOT} are allowed: use fewer or shorter baselines, or fewer hosts"
    )]
    Size(usize),
    /// The host is of no operating system that baselines know.
    #[error("no baseline is for the operating system {0:?}")]
    System(String),
    /// None, or more than one, of an override's baselines is for the host.
    #[error("the baseline override does not judge this host: {0}")]
    Override(#[from] BadOverride),
    /// The host's tags say no name of a group, or two groups.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The one that is needed is not there.
    #[error("it has no baseline {0:?}")]
    Absent(String),
    /// A part cannot be read, or breaks a rule.
    #[error("{0} cannot be used: {1}")]
    Part(String, String),
    /// The baseline is for another operating system.
    #[error("baseline {baseline} is for {of}, and the host is {os}")]
    OtherSystem {
        /// The baseline.
        baseline: String,
        /// What it is for.
        of: &'static str,
        /// What the host is.
        os: String,
    },
}

impl Snapshot {
    /// What `rules` approve at `now`, and of that only `versions`. Where no gate reads the time, the same content has the same
    /// name whenever it is asked for.
    pub fn new(now: WallTime, rules: Rules, versions: Option<Vec<Pinned>>) -> Self {
        let at = if rules.read_the_time() { now } else { TIMELESS };
        Self { at, rules, versions }
    }

    /// Its name.
    pub fn id(&self) -> SnapshotId {
        SnapshotId(*blake3::hash(&wire::encode(self)).as_bytes())
    }

    /// Judges its size.
    ///
    /// # Errors
    /// [`BadSnapshot::Size`].
    pub fn check(&self) -> Result<(), BadSnapshot> {
        let size = wire::size(self);
        if size > MAX_SNAPSHOT { Err(BadSnapshot::Size(size)) } else { Ok(()) }
    }

    /// What judges `host`.
    ///
    /// # Errors
    /// [`BadSnapshot`]: why nothing of this can.
    pub fn judge(&self, host: &Subject<'_>) -> Result<Judgement, BadSnapshot> {
        self.rules.judge(host)
    }

    /// Since when versions exist.
    pub fn first_seen(&self) -> FirstSeen {
        let of = |seen: &Since| {
            let Since { name, arch, version, sha256, since } = seen.clone();
            ((name, arch, version, sha256), since)
        };
        self.rules.first_seen.iter().map(of).collect()
    }

    /// What a host may install; `None` if that is not frozen.
    pub fn pinned<'a>(&'a self, host: &'a Subject<'_>) -> Option<impl Iterator<Item = &'a Pinned>> {
        let of = |pinned: &&Pinned| pinned.os == host.os && pinned.os_version == host.os_version;
        Some(self.versions.as_ref()?.iter().filter(of))
    }

    /// This with what its hosts resolved. Where hosts of one release resolved different versions, the one that most of them did; of
    /// two that as many did, the newer.
    pub fn frozen<'a>(&self, resolved: impl IntoIterator<Item = (&'a str, &'a str, &'a Transaction)>) -> Self {
        let mut votes: BTreeMap<Package<'_>, BTreeMap<Contents<'_>, usize>> = BTreeMap::new();
        for (os, os_version, transaction) in resolved {
            let of = |change: &'a PackageChange| {
                let PackageChange { name, arch, to, sha256, .. } = change;
                ((os, os_version, name.as_str(), arch.as_str()), (to.as_str(), sha256.as_str()))
            };
            for (package, contents) in transaction.changes.iter().map(of).collect::<BTreeSet<_>>() {
                *votes.entry(package).or_default().entry(contents).or_default() += 1;
            }
        }
        let pinned = votes.into_iter().filter_map(|((os, os_version, name, arch), votes)| {
            let more = |((a, _), one): &(Contents<'_>, usize), ((b, _), other): &(Contents<'_>, usize)| {
                one.cmp(other).then(deb::compare(a, b))
            };
            let ((version, sha256), _) = votes.into_iter().max_by(more)?;
            Some(Pinned {
                os: os.to_owned(),
                os_version: os_version.to_owned(),
                name: name.to_owned(),
                arch: arch.to_owned(),
                version: version.to_owned(),
                sha256: sha256.to_owned(),
            })
        });
        Self { versions: Some(pinned.collect()), ..self.clone() }
    }
}

impl Pinned {
    /// What is to be there.
    pub fn seen(&self) -> Seen {
        (self.name.clone(), self.arch.clone(), self.version.clone(), self.sha256.clone())
    }
}

impl Rules {
    /// The rules without a baseline: `choice` is [`Choice::All`] or [`Choice::Security`].
    pub fn plain(choice: Choice) -> Self {
        Self { baselines: Vec::new(), choice, list: None, first_seen: Vec::new() }
    }

    fn judge(&self, host: &Subject<'_>) -> Result<Judgement, BadSnapshot> {
        let by = match &self.choice {
            Choice::All => By::All,
            Choice::Security => By::Security,
            Choice::One => {
                self.checked(host, self.baselines.first().map(|one| one.name.as_str()).unwrap_or_default())?
            }
            Choice::System | Choice::Systems => {
                let baselines = self.baselines.iter().map(Written::read).collect::<Result<Vec<_>, _>>()?;
                let chosen = overrides::choose(&baselines, system(host)?)?;
                By::Baseline(Box::new(checked(chosen)?), self.install_list()?)
            }
            Choice::Group(registered) => {
                let groups = registered.groups(self)?;
                self.checked(host, &groups.resolve(host.tags, system(host)?)?.baseline)?
            }
        };
        Ok(Judgement { by, group: group_of(host.tags).ok().flatten().map(str::to_owned) })
    }

    /// The baseline of this name, if it is for the host.
    fn checked(&self, host: &Subject<'_>, name: &str) -> Result<By, BadSnapshot> {
        let os = system(host)?;
        let mut other = None;
        for written in self.baselines.iter().filter(|written| written.name == name) {
            let checked = written.check()?;
            if checked.os.judges(os) {
                return Ok(By::Baseline(Box::new(checked), self.install_list()?));
            }
            other = Some(checked.os);
        }
        Err(match other {
            Some(of) => BadSnapshot::OtherSystem {
                baseline: name.to_owned(),
                of: of.as_str(),
                os: format!("{} {}", host.os, host.os_version).trim_end().to_owned(),
            },
            None => BadSnapshot::Absent(name.to_owned()),
        })
    }

    fn install_list(&self) -> Result<Option<InstallList>, BadSnapshot> {
        let part = |why: String| BadSnapshot::Part("the install override list".to_owned(), why);
        let Some(text) = &self.list else { return Ok(None) };
        let list: InstallList = serde_json::from_str(text).map_err(|error| part(error.to_string()))?;
        list.check().map_err(|error| part(error.to_string()))?;
        Ok(Some(list))
    }

    /// Whether what is approved depends on when that is asked. A baseline that cannot be read counts as if.
    fn read_the_time(&self) -> bool {
        self.baselines.iter().any(|written| written.check().map_or(true, |checked| checked.waits()))
    }

    /// Whether some baseline waits by the mesh's clock, so that sightings count.
    pub fn needs_sightings(&self) -> bool {
        let mesh = |written: &Written| {
            written.check().is_ok_and(|checked| checked.clock == super::baseline::ApprovalClock::Mesh)
        };
        self.baselines.iter().any(mesh)
    }
}

impl Registered {
    fn groups(&self, rules: &Rules) -> Result<Groups, BadSnapshot> {
        let mut groups = Groups::default();
        // However many there are, and however often one is named, each is looked for and read once. The first of a name counts.
        let written: BTreeMap<_, _> = rules.baselines.iter().rev().map(|one| (one.name.as_str(), one)).collect();
        let mut systems = BTreeMap::new();
        for name in self.names() {
            let written = written.get(name).ok_or_else(|| BadSnapshot::Absent(name.to_owned()))?;
            systems.insert(name, written.check()?.os);
        }
        let system = |name: &str| systems.get(name).copied().ok_or_else(|| BadSnapshot::Absent(name.to_owned()));
        for (group, baseline) in &self.groups {
            groups.register(baseline, system(baseline)?, group)?;
        }
        for baseline in &self.defaults {
            groups.set_default(baseline, system(baseline)?);
        }
        Ok(groups)
    }

    /// The names of the baselines that are registered.
    pub fn names(&self) -> BTreeSet<&str> {
        self.groups.iter().map(|(_, baseline)| baseline).chain(&self.defaults).map(String::as_str).collect()
    }
}

impl Written {
    /// `baseline`, as it travels: without what only AWS knows of it.
    pub fn new(baseline: &PatchBaseline) -> Self {
        let spec = Spec { aws: None, ..baseline.spec.clone() };
        // A Spec has no map and no key that is not a text.
        Self { name: baseline.name.clone(), spec: serde_json::to_string(&spec).unwrap_or_default() }
    }

    fn read(&self) -> Result<PatchBaseline, BadSnapshot> {
        let spec = serde_json::from_str(&self.spec).map_err(|error| self.part(error.to_string()))?;
        Ok(PatchBaseline { name: self.name.clone(), spec, labels: Default::default() })
    }

    fn check(&self) -> Result<Checked, BadSnapshot> {
        checked(&self.read()?)
    }

    fn part(&self, why: String) -> BadSnapshot {
        part(&self.name, why)
    }
}

fn checked(baseline: &PatchBaseline) -> Result<Checked, BadSnapshot> {
    let first = |problems: Vec<Problem>| problems.first().map(ToString::to_string).unwrap_or_default();
    baseline.check().map_err(|problems| part(&baseline.name, first(problems)))
}

fn part(name: &str, why: String) -> BadSnapshot {
    BadSnapshot::Part(format!("baseline {name}"), why)
}

fn system(host: &Subject<'_>) -> Result<OperatingSystem, BadSnapshot> {
    OperatingSystem::of_host(host.os, host.os_version)
        .ok_or_else(|| BadSnapshot::System(format!("{} {}", host.os, host.os_version).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(name: &str, os: &str) -> PatchBaseline {
        let spec = Spec { operating_system: Some(os.into()), ..Spec::default() };
        PatchBaseline { name: name.into(), spec, labels: Default::default() }
    }

    fn snapshot(baselines: &[PatchBaseline], choice: Choice) -> Snapshot {
        let rules = Rules { baselines: baselines.iter().map(Written::new).collect(), ..Rules::plain(choice) };
        Snapshot { at: WallTime(7), rules, versions: None }
    }

    fn tags(group: Option<&str>) -> BTreeMap<String, String> {
        group.map(|group| ("Patch Group".to_owned(), group.to_owned())).into_iter().collect()
    }

    fn judged(snapshot: &Snapshot, os: &str, group: Option<&str>) -> Result<(String, Option<String>), String> {
        let tags = tags(group);
        let host = Subject { os, os_version: "12", tags: &tags };
        let judged = snapshot.judge(&host).map_err(|error| error.to_string())?;
        Ok((judged.by.name().to_owned(), judged.group))
    }

    fn change(name: &str, to: &str) -> PackageChange {
        let (arch, sha256) = ("amd64".to_owned(), format!("{name}{to}"));
        PackageChange { name: name.into(), arch, from: Some("0".into()), to: to.into(), sha256 }
    }

    #[test]
    fn the_same_content_has_the_same_name_wherever_it_is_made() {
        let web = || snapshot(&[baseline("web", "DEBIAN")], Choice::One);
        assert_eq!(web().id(), web().id());
        assert_ne!(web().id(), Snapshot { at: WallTime(8), ..web() }.id());
        let known = PatchBaseline {
            spec: Spec { aws: Some(Default::default()), ..baseline("web", "DEBIAN").spec },
            ..baseline("web", "DEBIAN")
        };
        assert_eq!(web().id(), snapshot(&[known], Choice::One).id(), "what only AWS knows is no part of it");
    }

    #[test]
    fn when_it_was_asked_for_is_part_of_the_name_only_where_a_gate_reads_the_time() {
        let ids = |os: &str, clock: &str, gate: &str| {
            let text = format!(
                r#"{{"operatingSystem":"{os}","approvalClock":"{clock}","approvalRules":{{"patchRules":[{{
                    "patchFilterGroup":{{"patchFilters":[{{"key":"PRIORITY","values":["*"]}}]}}{gate}}}]}}}}"#
            );
            let text = if os == "DEBIAN" {
                text
            } else {
                text.replace("PRIORITY", "SEVERITY").replace(r#""approvalClock":"aws","#, "")
            };
            let read = PatchBaseline {
                name: "own".into(),
                spec: serde_json::from_str(&text).unwrap(),
                labels: Default::default(),
            };
            read.check().unwrap();
            let rules = Rules { baselines: vec![Written::new(&read)], ..Rules::plain(Choice::One) };
            [7, 8].map(|at| Snapshot::new(WallTime(at), rules.clone(), None).id())
        };
        let (days, until) = (r#","approveAfterDays":7"#, r#","approveUntilDate":"2026-01-01""#);
        for (os, clock, gate, reads) in [
            ("DEBIAN", "aws", "", false),
            ("DEBIAN", "aws", days, false),
            ("DEBIAN", "mesh", days, true),
            ("DEBIAN", "mesh", until, false),
            ("REDHAT_ENTERPRISE_LINUX", "aws", days, true),
            ("REDHAT_ENTERPRISE_LINUX", "aws", until, false),
        ] {
            let [one, other] = ids(os, clock, gate);
            assert_eq!(one != other, reads, "{os} {clock} {gate}");
        }
        for choice in [Choice::All, Choice::Security] {
            let [one, other] = [7, 8].map(|at| Snapshot::new(WallTime(at), Rules::plain(choice.clone()), None).id());
            assert_eq!(one, other);
        }
        let broken = Written { name: "own".into(), spec: "?".into() };
        let rules = Rules { baselines: vec![broken], ..Rules::plain(Choice::One) };
        assert_eq!(Snapshot::new(WallTime(7), rules, None).at, WallTime(7), "what cannot be read may read it");
    }

    #[test]
    fn the_group_decides_then_the_default_and_one_system_is_never_judged_by_another_s() {
        let all = [baseline("web", "DEBIAN"), baseline("base", "DEBIAN"), baseline("ubu", "UBUNTU")];
        let registered = Registered {
            groups: vec![("prod".into(), "web".into()), ("prod".into(), "ubu".into())],
            defaults: vec!["base".into()],
        };
        let by_group = snapshot(&all, Choice::Group(registered.clone()));
        assert_eq!(judged(&by_group, "debian", Some("prod")), Ok(("web".into(), Some("prod".into()))));
        assert_eq!(judged(&by_group, "ubuntu", Some("prod")), Ok(("ubu".into(), Some("prod".into()))));
        assert_eq!(judged(&by_group, "debian", Some("dev")), Ok(("base".into(), Some("dev".into()))));
        assert_eq!(judged(&by_group, "debian", None), Ok(("base".into(), None)));
        // Nothing is the default of Ubuntu here, and the predefined one did not come along.
        let error = judged(&by_group, "ubuntu", None).unwrap_err();
        assert_eq!(error, "it has no baseline \"AWS-UbuntuDefaultPatchBaseline\"");
        let error = judged(&by_group, "plan9", None).unwrap_err();
        assert_eq!(error, "no baseline is for the operating system \"plan9 12\"");
        let short = snapshot(&all[..1], Choice::Group(registered));
        let error = judged(&short, "debian", None).unwrap_err();
        assert_eq!(error, "it has no baseline \"base\"", "of several the first by name");
    }

    #[test]
    fn one_baseline_judges_all_and_an_override_by_system() {
        let one = snapshot(&[baseline("web", "DEBIAN")], Choice::One);
        assert_eq!(judged(&one, "debian", Some("dev")), Ok(("web".into(), Some("dev".into()))));
        assert_eq!(judged(&one, "ubuntu", None).unwrap_err(), "baseline web is for DEBIAN, and the host is ubuntu 12");
        let systems = [baseline("BaselineOverride", "DEBIAN"), baseline("BaselineOverride", "UBUNTU")];
        for choice in [Choice::System, Choice::Systems] {
            let by_system = snapshot(&systems, choice);
            for os in ["debian", "ubuntu"] {
                assert_eq!(judged(&by_system, os, None).unwrap().0, "BaselineOverride");
            }
            assert!(judged(&by_system, "centos", None).unwrap_err().contains("none of the baselines is for"));
        }
        assert_eq!(judged(&snapshot(&[], Choice::All), "plan9", None).unwrap().0, "all");
        // Raspbian's would do for Debian, too.
        let related = [baseline("BaselineOverride", "RASPBIAN"), baseline("BaselineOverride", "DEBIAN")];
        let tags = BTreeMap::new();
        let host = Subject { os: "debian", os_version: "12", tags: &tags };
        let By::Baseline(chosen, _) = snapshot(&related, Choice::System).judge(&host).unwrap().by else { panic!() };
        assert_eq!(chosen.os, OperatingSystem::Debian);
    }

    #[test]
    fn two_groups_count_only_where_the_group_decides() {
        let tags = BTreeMap::from([("Patch Group", "dev"), ("PatchGroup", "prod")]);
        let tags = tags.into_iter().map(|(tag, group)| (tag.to_owned(), group.to_owned())).collect();
        let host = Subject { os: "debian", os_version: "12", tags: &tags };
        let registered = Registered { groups: vec![], defaults: vec!["web".into()] };
        for (choice, judges) in [
            (Choice::All, true),
            (Choice::Security, true),
            (Choice::One, true),
            (Choice::System, true),
            (Choice::Systems, true),
            (Choice::Group(registered), false),
        ] {
            let judged = snapshot(&[baseline("web", "DEBIAN")], choice.clone()).judge(&host);
            assert_eq!(judged.is_ok(), judges, "{choice:?}: {judged:?}");
            assert_eq!(judged.ok().and_then(|judged| judged.group), None);
        }
    }

    #[test]
    fn a_part_that_cannot_be_read_is_named() {
        let mut broken = snapshot(&[baseline("web", "DEBIAN")], Choice::One);
        broken.rules.baselines[0].spec = "{\"approvalRules\":7}".into();
        assert!(judged(&broken, "debian", None).unwrap_err().starts_with("baseline web cannot be used: "));
        let mut listed = snapshot(&[baseline("web", "DEBIAN")], Choice::One);
        listed.rules.list = Some("{\"patches\":[{\"id\":\"\"}]}".into());
        let error = judged(&listed, "debian", None).unwrap_err();
        assert!(error.starts_with("the install override list cannot be used: patches[0]"), "{error}");
        let mut large = snapshot(&[], Choice::All);
        large.rules.list = Some("x".repeat(MAX_SNAPSHOT));
        assert!(matches!(large.check(), Err(BadSnapshot::Size(size)) if size > MAX_SNAPSHOT));
    }

    #[test]
    fn of_different_versions_most_hosts_decide_and_no_host_more_than_once() {
        let host = |changes: &[(&str, &str)]| Transaction {
            changes: changes.iter().map(|(name, to)| change(name, to)).collect(),
            removals: vec![],
        };
        let honest = host(&[("a", "2")]);
        let forged = host(&[("a", "9:1"), ("a", "9:1"), ("a", "9:1"), ("b", "1")]);
        let hosts = [&honest, &honest, &forged].map(|transaction| ("debian", "12", transaction));
        let versions = snapshot(&[], Choice::All).frozen(hosts).versions.unwrap();
        let versions: Vec<_> = versions.iter().map(|pinned| (pinned.name.as_str(), pinned.version.as_str())).collect();
        assert_eq!(versions, [("a", "2"), ("b", "1")]);
    }

    #[test]
    fn what_was_resolved_is_frozen_by_release_and_of_two_versions_the_newer() {
        let one = Transaction { changes: vec![change("a", "2"), change("b", "1")], removals: vec![] };
        let other = Transaction { changes: vec![change("a", "10")], removals: vec![] };
        let frozen = snapshot(&[], Choice::All).frozen([
            ("debian", "12", &one),
            ("debian", "12", &other),
            ("debian", "13", &one),
        ]);
        let tags = BTreeMap::new();
        let of = |os_version| {
            let host = Subject { os: "debian", os_version, tags: &tags };
            let pinned = frozen.pinned(&host).unwrap();
            pinned.map(|pinned| format!("{} {} {}", pinned.name, pinned.version, pinned.sha256)).collect::<Vec<_>>()
        };
        assert_eq!(of("12"), ["a 10 a10", "b 1 b1"]);
        assert_eq!(of("13"), ["a 2 a2", "b 1 b1"]);
        assert_eq!(of("11"), Vec::<String>::new());
        assert_ne!(frozen.id(), snapshot(&[], Choice::All).id());
        let host = Subject { os: "debian", os_version: "12", tags: &tags };
        assert!(snapshot(&[], Choice::All).pinned(&host).is_none());
    }
}
