//! From what a rollout asks for to what its hosts are asked with.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::NodeId,
    patch::{
        Baseline,
        baseline::{OperatingSystem, PatchBaseline},
        library::{Library, system},
        snapshot::{Choice, Registered, Rules, Snapshot, Written},
    },
    rollout::{
        plan::PlannedHost,
        spec::{Asked, MAX_OPENINGS, RolloutSpec},
    },
    schedule::{Opening, blackout::without},
    time::WallTime,
};

use crate::{
    api::document::OpeningDocument,
    fault::{Exit, Fault},
    manifest,
    snapshots::Snapshots,
    store::Store,
};

/// What hosts are asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Without anything of the user's.
    Plain(Baseline),
    /// With this.
    By(Box<Snapshot>),
}

/// What the hosts of `spec` are asked with, whose operating systems are among `systems`.
///
/// # Errors
/// A [`Fault`] that names the baseline or snapshot that is not there, or is not right.
pub fn question(
    spec: &RolloutSpec,
    library: &Library,
    snapshots: &Snapshots,
    systems: &BTreeSet<OperatingSystem>,
    at: WallTime,
) -> Result<Question, Fault> {
    let (mut rules, versions) = match &spec.baseline {
        Asked::All => return Ok(Question::Plain(Baseline::All)),
        Asked::Security => return Ok(Question::Plain(Baseline::Security)),
        Asked::Baseline(name) => (one(library, name)?, None),
        Asked::Group => (by_group(library, systems), None),
        Asked::Override(text) => (by_system(text)?, None),
        Asked::Systems(names) => (by_name(library, names, systems)?, None),
        Asked::Snapshot(word) => {
            let (id, snapshot) = snapshots.find(word)?;
            let versions = snapshot.versions.ok_or_else(|| {
                let text = format!("snapshot {id} has no versions: it is what a Scan was asked with");
                Fault::new("snapshot-unresolved", text, NOTHING, "name the snapshot of an Install")
            })?;
            (by_group(library, systems), Some(versions))
        }
    };
    rules.list = match &spec.install_list {
        Some(list) => Some(serde_json::to_string(list).map_err(|error| {
            Fault::new("spec-invalid", "the install override list has no written form", NOTHING, "report this")
                .because(error)
        })?),
        None => None,
    };
    Ok(Question::By(Box::new(Snapshot::new(at, rules, versions))))
}

const NOTHING: &str = "nothing was planned";

impl Question {
    /// This, if it can be sent: no host is asked otherwise.
    ///
    /// # Errors
    /// `snapshot-too-large`.
    pub fn sendable(self) -> Result<Self, Fault> {
        if let Self::By(snapshot) = &self {
            snapshot.check().map_err(|error| {
                let remedy = "use baselines with fewer entries, or a shorter install override list";
                Fault::new("snapshot-too-large", error.to_string(), NOTHING, remedy)
            })?;
        }
        Ok(self)
    }
}

/// What the hosts of a plan, whose operating systems and versions are in `facts`, resolved by `asked`. `None`, and told in the log,
/// if that takes more than a snapshot may: nothing but a promotion needs it, and it is the hosts that say how much it is.
pub fn versions(
    asked: &Snapshot,
    planned: &[PlannedHost],
    facts: &BTreeMap<NodeId, (String, String)>,
) -> Option<Snapshot> {
    let resolved = planned.iter().filter_map(|host| {
        let (os, os_version) = facts.get(&host.node)?;
        Some((os.as_str(), os_version.as_str(), &host.transaction))
    });
    let frozen = asked.frozen(resolved);
    match frozen.check() {
        Ok(()) => Some(frozen),
        Err(error) => {
            tracing::warn!(%error, "the versions of a plan are not kept as a snapshot");
            None
        }
    }
}

/// What a plan of `now` freezes of the windows, or of the own openings, of `spec`. Empty means from `apply` on, without end.
///
/// # Errors
/// `not-found` for a window that is not kept, `no-opening` if nothing is left, and what the store says.
pub fn openings(spec: &RolloutSpec, store: &Store, now: WallTime) -> Result<Vec<Opening>, Fault> {
    // Documents tell whole seconds.
    let now = WallTime(now.0 - now.0.rem_euclid(1000));
    if spec.windows.is_empty() {
        return spec.own_openings(now).ok_or_else(|| {
            let last = spec.openings.iter().map(|opening| opening.last_start).max().filter(|last| *last <= now);
            match last {
                Some(last) => Fault::new("no-opening", passed(last), NOTHING, "write later openings"),
                None => {
                    let remedy = "write later openings, or shorter blackouts";
                    Fault::new("no-opening", "the blackouts leave no opening", NOTHING, remedy)
                }
            }
        });
    }
    let found = store.openings(&spec.windows, &spec.blackouts, now, MAX_OPENINGS)?;
    if found.is_empty() {
        let names = spec.windows.join(", ");
        let text = format!("no opening is left: {names} never opens from {} on outside the blackouts", now.rfc3339());
        return Err(Fault::new("no-opening", text, NOTHING, "see patchmesh describe window NAME"));
    }
    Ok(found)
}

/// Refuses a plan none of whose openings is left when it is applied: it would end without a start.
///
/// # Errors
/// `no-opening`, as of a plan that is stale.
pub fn still_open(openings: &[Opening], now: WallTime) -> Result<(), Fault> {
    let last = openings.iter().map(|opening| opening.last_start).max().filter(|last| *last <= now);
    let fault =
        |last| Fault::new("no-opening", passed(last), "no rollout was started", "plan again with later openings");
    last.map_or(Ok(()), |last| Err(fault(last).exit(Exit::StalePlan)))
}

fn passed(last_start: WallTime) -> String {
    format!("no opening is left: the last start of the last one, {}, has passed", last_start.rfc3339())
}

/// Refuses a time for reboots that comes after every one of `openings`.
///
/// # Errors
/// `reboot-too-late` with both times.
pub fn reboot_in(spec: &RolloutSpec, openings: &[Opening]) -> Result<(), Fault> {
    spec.reachable_reboot(openings).map_err(|error| {
        let remedy = "write an earlier time for the reboot, or a window that is open then";
        Fault::new("reboot-too-late", error.to_string(), NOTHING, remedy)
    })
}

/// The openings of a plan that is applied at `now`, if they fit what was asked for. What windows said when it was planned counts,
/// whatever became of them.
pub fn thawed(spec: &RolloutSpec, frozen: &[OpeningDocument], now: WallTime) -> Option<Vec<Opening>> {
    let openings: Vec<Opening> = frozen.iter().copied().map(Opening::from).collect();
    let ordered = |one: &Opening| one.opens <= one.last_start && one.last_start <= one.closes;
    let clear = |one: &Opening| spec.blackouts.is_empty() || without(*one, &spec.blackouts) == [*one];
    let fits = match (spec.windows.is_empty(), spec.blackouts.is_empty()) {
        (true, true) => openings == spec.openings,
        _ => (1..=MAX_OPENINGS).contains(&openings.len()) && openings.iter().all(|one| ordered(one) && clear(one)),
    };
    match openings.is_empty() {
        _ if !fits => None,
        true => Some(vec![Opening::endless(now)]),
        false => Some(openings),
    }
}

fn rules(baselines: impl IntoIterator<Item = PatchBaseline>, choice: Choice) -> Rules {
    let baselines = baselines.into_iter().map(|baseline| Written::new(&baseline)).collect();
    Rules { baselines, ..Rules::plain(choice) }
}

fn one(library: &Library, name: &str) -> Result<Rules, Fault> {
    Ok(rules([find(library, name)?], Choice::One))
}

/// The baselines of `names` for those of `systems` that have one.
fn by_name(
    library: &Library,
    names: &BTreeMap<OperatingSystem, String>,
    systems: &BTreeSet<OperatingSystem>,
) -> Result<Rules, Fault> {
    let mut found = Vec::new();
    for (os, name) in names.iter().filter(|(os, _)| systems.contains(os)) {
        let baseline = find(library, name)?;
        let own = system(&baseline);
        if own != *os {
            let text = format!("baseline {name:?} is for {}, not for {}", own.as_str(), os.as_str());
            let remedy = "name a baseline of that operating system";
            return Err(Fault::new("other-operating-system", text, NOTHING, remedy));
        }
        found.push(baseline);
    }
    Ok(rules(found, Choice::Systems))
}

fn find(library: &Library, name: &str) -> Result<PatchBaseline, Fault> {
    library.find(name).ok_or_else(|| {
        let text = format!("there is no baseline {name:?}");
        Fault::new("not-found", text, NOTHING, "see patchmesh get baselines, or import it first")
    })
}

fn by_group(library: &Library, systems: &BTreeSet<OperatingSystem>) -> Rules {
    let groups = library.groups();
    let registered = Registered {
        groups: groups
            .registered()
            .filter(|(_, os, _)| systems.contains(os))
            .map(|(group, _, baseline)| (group.to_owned(), baseline.to_owned()))
            .collect(),
        defaults: systems.iter().map(|os| groups.default_of(*os).baseline).collect(),
    };
    let found: Vec<_> = registered.names().into_iter().filter_map(|name| library.find(name)).collect();
    rules(found, Choice::Group(registered))
}

fn by_system(text: &str) -> Result<Rules, Fault> {
    let baselines = manifest::baseline::parse_override("baselineOverride", text)?;
    Ok(rules(baselines, Choice::System))
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        inventory::{MAX_CHANGES, PackageChange, Transaction},
        patch::snapshot::MAX_SNAPSHOT,
        rollout::{
            OnSuperseded, Operation, RebootOption,
            limit::Ramp,
            spec::{DEFAULT_HOOK_TIMEOUT, Targets},
        },
        schedule::{
            blackout::Blackout,
            window::{self, MaintenanceWindow},
        },
    };

    use super::*;
    use crate::store::tests::unnoted;

    fn asked(list: Option<String>) -> Snapshot {
        Snapshot { at: WallTime(7), rules: Rules { list, ..Rules::plain(Choice::All) }, versions: None }
    }

    fn host(seed: u8, packages: usize) -> PlannedHost {
        let change = |n: usize| PackageChange {
            name: format!("package-{seed}-{n}"),
            arch: "amd64".into(),
            from: None,
            to: "1".into(),
            sha256: "5e".repeat(32),
        };
        let transaction = Transaction { changes: (0..packages).map(change).collect(), removals: vec![] };
        PlannedHost { node: NodeId([seed; 32]), name: format!("host-{seed}"), transaction }
    }

    #[test]
    fn what_is_too_large_to_be_sent_is_asked_of_nobody() {
        let question = |list| Question::By(Box::new(asked(list)));
        assert_eq!(question(None).sendable().unwrap(), question(None));
        let fault = question(Some("x".repeat(MAX_SNAPSHOT))).sendable().unwrap_err();
        assert_eq!((fault.code, fault.unchanged.as_str()), ("snapshot-too-large", "nothing was planned"));
    }

    fn spec(windows: &[&str], blackouts: &[(&str, &str)]) -> RolloutSpec {
        RolloutSpec {
            urgent: None,
            name: "weekly".into(),
            operation: Operation::Scan,
            targets: Targets::All,
            baseline: Asked::All,
            install_list: None,
            max_concurrency: "1".parse().unwrap(),
            max_errors: "0".parse().unwrap(),
            openings: Vec::new(),
            windows: windows.iter().map(|name| (*name).to_owned()).collect(),
            blackouts: blackouts.iter().map(|(from, to)| Blackout { from: at(from), to: at(to) }).collect(),
            reboot: RebootOption::Never,
            hook_timeout: DEFAULT_HOOK_TIMEOUT,
            on_hook_failure: Default::default(),
            rings: Vec::new(),
            ramp: Ramp::Full,
            gates: Vec::new(),
            ring_gates: Vec::new(),
            on_superseded: OnSuperseded::Skip,
        }
    }

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).unwrap()
    }

    #[test]
    fn a_plan_freezes_the_next_openings_of_its_windows() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let schedule = |schedule: &str| window::Spec {
            schedule: schedule.into(),
            duration: "2h".into(),
            cutoff: Some("30m".into()),
            cutoff_behavior: Some("CANCEL_TASK".into()),
            ..window::Spec::default()
        };
        for (name, spec) in [("nightly", schedule("cron(0 2 * * ? *)")), ("once", schedule("at(2026-12-01T02:00:00)"))]
        {
            store
                .put_window(MaintenanceWindow { name: name.into(), spec, labels: Default::default() }, &unnoted)
                .unwrap();
        }
        let now = at("2026-12-01T03:00:00.250Z");
        let found = openings(&spec(&["nightly"], &[]), &store, now).unwrap();
        assert_eq!(found.len(), MAX_OPENINGS);
        let open = Opening {
            opens: at("2026-12-01T02:00:00Z"),
            last_start: at("2026-12-01T03:30:00Z"),
            closes: at("2026-12-01T03:30:00Z"),
        };
        assert_eq!(found[0], open, "the one that is open; what is cancelled at the cutoff closes there");
        let freeze = ("2026-12-01T03:00:00Z", "2026-12-08T00:00:00Z");
        let found = openings(&spec(&["nightly"], &[freeze]), &store, now).unwrap();
        assert_eq!(found[0].opens, at("2026-12-08T02:00:00Z"));
        let code = |spec: &RolloutSpec| openings(spec, &store, now).unwrap_err().code;
        assert_eq!(code(&spec(&["once"], &[freeze])), "no-opening");
        assert_eq!(code(&spec(&["none"], &[])), "not-found");
        let mut covered = spec(&[], &[freeze]);
        covered.openings = vec![Opening { opens: at(freeze.0), last_start: at(freeze.1), closes: at(freeze.1) }];
        assert_eq!(code(&covered), "no-opening");
        let mut past = spec(&[], &[]);
        past.openings = vec![Opening {
            opens: at("2026-12-01T01:00:00Z"),
            last_start: at("2026-12-01T03:00:00Z"),
            closes: at(freeze.1),
        }];
        let fault = openings(&past, &store, now).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("no-opening", Exit::Error));
        assert!(fault.message.contains("the last one, 2026-12-01T03:00:00Z, has passed"), "{}", fault.message);
        past.openings.push(Opening::endless(at(freeze.1)));
        assert_eq!(openings(&past, &store, now).unwrap(), past.openings, "as they are written");
        still_open(&past.openings, now).unwrap();
        assert_eq!(still_open(&past.openings[..1], now).unwrap_err().exit, Exit::StalePlan);
        assert_eq!(openings(&spec(&[], &[]), &store, now).unwrap(), [], "from apply on");
        let rest = openings(&spec(&[], &[freeze]), &store, now).unwrap();
        assert_eq!(rest, [Opening::endless(at(freeze.1))], "what is closed at once is no opening");
    }

    #[test]
    fn hosts_that_resolve_more_than_a_snapshot_holds_stop_no_plan() {
        let facts: BTreeMap<_, _> =
            [1, 2, 3].map(|seed| (NodeId([seed; 32]), ("debian".to_owned(), "12".to_owned()))).into();
        let frozen = versions(&asked(None), &[host(1, 2)], &facts).unwrap();
        assert_eq!(frozen.versions.unwrap().len(), 2);
        let hosts = [host(1, 2), host(2, MAX_CHANGES), host(3, MAX_CHANGES)];
        assert_eq!(versions(&asked(None), &hosts, &facts), None);
    }
}
