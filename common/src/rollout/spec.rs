//! What people ask for: one rollout, checked before anything is planned.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    OnHookFailure, OnSuperseded, Operation, RebootOption,
    limit::{Limit, Ramp},
    ring::MAX_RINGS,
};
use crate::{
    duration,
    patch::{Approval, baseline::OperatingSystem, overrides::InstallList},
    run::gate::{Gate, GateError},
    schedule::{
        Opening,
        blackout::{Blackout, without},
        window,
    },
    time::WallTime,
};

mod rings;
mod targets;

pub use rings::{RingError, RingSpec};
pub use targets::Targets;

/// Most hosts named one by one; larger fleets use labels.
pub const MAX_NAMES: usize = 10_000;
/// Most openings of one rollout: one a day for two months.
pub const MAX_OPENINGS: usize = 64;
/// Most windows that one rollout names.
pub const MAX_WINDOWS: usize = 16;
/// Most blackouts of one rollout.
pub const MAX_BLACKOUTS: usize = 64;
/// Most labels of one selector.
pub const MAX_LABELS: usize = 64;
/// Longest rollout name: it is a file name and a DNS label elsewhere.
pub const MAX_NAME: usize = 63;
/// Longest host name, label key or label value (DNS's own bound).
pub const MAX_WORD: usize = 253;
/// Longest reason for going outside windows, in characters.
pub const MAX_BECAUSE: usize = 256;
/// Longest time-out of one hook.
pub const MAX_HOOK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Time-out of one hook if none is given.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What decides which patches are approved, as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// Every newer version.
    All,
    /// Versions from a security archive.
    Security,
    /// One baseline of the coordinator's, or a predefined one, by name.
    Baseline(String),
    /// The baseline of every host's patch group, or the default of its operating system.
    Group,
    /// What was frozen under this id, or under the only one that begins so.
    Snapshot(String),
    /// A `BaselineOverride`: AWS's JSON.
    Override(String),
    /// One baseline of the coordinator's, or a predefined one, by name for every operating system.
    Systems(BTreeMap<OperatingSystem, String>),
}

impl Asked {
    /// What hosts are asked with, where nothing has to be frozen for that.
    pub fn plain(&self) -> Option<Approval> {
        match self {
            Self::All => Some(Approval::All),
            Self::Security => Some(Approval::Security),
            Self::Baseline(_) | Self::Group | Self::Snapshot(_) | Self::Override(_) | Self::Systems(_) => None,
        }
    }
}

/// One rollout as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// Name for people; `[a-z0-9]` with `-` and `.` inside.
    pub name: String,
    /// Scan or Install.
    pub operation: Operation,
    /// Which hosts.
    pub targets: Targets,
    /// Which patches.
    pub baseline: Asked,
    /// What an Install installs instead of what is approved.
    pub install_list: Option<InstallList>,
    /// How many hosts at once.
    pub max_concurrency: Limit,
    /// How many failed hosts are tolerated.
    pub max_errors: Limit,
    /// When work may start; empty, and without windows, means from now on, without end.
    pub openings: Vec<Opening>,
    /// The maintenance windows in which work may start, by name, instead of openings.
    pub windows: Vec<String>,
    /// When nothing is done, whatever is open.
    pub blackouts: Vec<Blackout>,
    /// Whether hosts reboot.
    pub reboot: RebootOption,
    /// Time-out of every single hook; whole seconds.
    pub hook_timeout: Duration,
    /// What the failure of a hook means for the rollout.
    pub on_hook_failure: OnHookFailure,
    /// In order. Empty: one ring of every target.
    pub rings: Vec<RingSpec>,
    /// How fast each ring reaches `max_concurrency`.
    pub ramp: Ramp,
    /// That it is to be done at once. `None` of any other rollout.
    pub urgent: Option<Urgent>,
    /// What every host must show after an Install.
    pub gates: Vec<Gate>,
    /// What the coordinator must be shown after every ring of an Install.
    pub ring_gates: Vec<Gate>,
    /// What becomes of a host whose package manager would now do something else than was planned.
    pub on_superseded: OnSuperseded,
}

/// The urgent path: at once, with every limit and promise. Where windows cover hosts somebody must say why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Urgent {
    /// Why it goes outside windows; `None`: it does not.
    pub because: Option<String>,
}

/// What is wrong with a [`RolloutSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The rollout's name.
    #[error(
        "the name {0:?} is not allowed: write 1 to {MAX_NAME} of a-z, 0-9, '-' and '.', with a letter or digit at both ends"
    )]
    Name(String),
    /// A host name, label key or value.
    #[error("the {0} {1:?} is not allowed: write 1 to {MAX_WORD} characters without spaces or control characters")]
    Word(&'static str, String),
    /// What no host's tag can be.
    #[error("the patch group {0:?} is not allowed: write 1 to 256 letters, digits, spaces and _.:/=+-@")]
    Group(String),
    /// A map without an entry.
    #[error("baselines are empty: name one for at least one operating system, or leave them out")]
    NoBaselines,
    /// No reason that anybody could read later.
    #[error("the reason {0:?} is not allowed: write 1 to {MAX_BECAUSE} characters without control characters")]
    Because(String),
    /// It cannot be at once and at some time.
    #[error("what is urgent waits for no windows, openings or blackouts: leave them out")]
    UrgentLater,
    /// Nothing would be chosen.
    #[error("the {0} of the targets are empty: name at least one, or write all: true")]
    NoTargets(&'static str),
    /// A list is longer than anyone needs.
    #[error("{count} {what} are more than the {limit} allowed")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many were given.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Never starts anything.
    #[error("maxConcurrency is not usable")]
    Concurrency(#[from] super::limit::LimitError),
    /// `opens ≤ lastStart ≤ closes` does not hold.
    #[error(
        "opening {0} (opens {opens}, lastStart {last_start}, closes {closes}) is not in order: opens ≤ lastStart ≤ closes",
        opens = .1.opens.rfc3339(), last_start = .1.last_start.rfc3339(), closes = .1.closes.rfc3339()
    )]
    Opening(usize, Opening),
    /// No window can have such a name.
    #[error("the window {0:?} is not allowed: write 3 to 128 letters, digits and _-.")]
    Window(String),
    /// The same window, more than once.
    #[error("windows hold {0:?} twice")]
    SameWindow(String),
    /// Both ways to say when.
    #[error("openings cannot be used with windows: leave one of them out")]
    OpeningsWithWindows,
    /// It ends before it begins.
    #[error(
        "blackout {0} (from {from}, to {to}) is not in order: from < to",
        from = .1.from.rfc3339(), to = .1.to.rfc3339()
    )]
    Blackout(usize, Blackout),
    /// The install list breaks a bound.
    #[error("installOverrideList: {0}")]
    List(#[from] crate::patch::overrides::BadOverride),
    /// The install list goes with something that it excludes.
    #[error("installOverrideList cannot be used with {0}: leave one of them out")]
    ListWith(&'static str),
    /// A selector of a service would admit every host.
    #[error("{0} names no label: write at least one")]
    NoLabels(&'static str),
    /// Zero, too long, or not whole seconds.
    #[error("the hook time-out {told} is not allowed: write whole seconds, between 1s and 24h", told = duration::words(*.0))]
    HookTimeout(Duration),
    /// The probe of a service.
    #[error("probe: {0}")]
    Probe(GateError),
    /// One of the rings, counted from 0.
    #[error("ring {1:?}: {2}")]
    Ring(usize, String, RingError),
    /// One of the gates after a host, counted from 0, or all of them.
    #[error("gates.afterHost: {1}")]
    Gate(Option<usize>, GateError),
    /// Planning again would bring the same versions.
    #[error(
        "onSuperseded: replan cannot be used with snapshot, whose versions are frozen: write skip or wait, or name a baseline"
    )]
    ReplanOfSnapshot,
    /// No host could reboot.
    #[error(
        "reboot at {at} is not before the last opening closes, which is at {closes}: write an earlier time or a later opening",
        at = .0.rfc3339(), closes = .1.rfc3339()
    )]
    RebootTooLate(WallTime, WallTime),
    /// Nothing is installed that could ask for a reboot.
    #[error("reboot at a time cannot be used with operation: Scan: leave one of them out")]
    RebootOfScan,
    /// One of the gates after a ring, counted from 0, or all of them.
    #[error("gates.afterRing: {1}")]
    RingGate(Option<usize>, GateError),
    /// Nothing is done that a gate could judge.
    #[error("gates cannot be used with operation: Scan: leave one of them out")]
    GatesOfScan,
}

impl RolloutSpec {
    /// Refuses a time for reboots that none of `openings` reaches.
    ///
    /// # Errors
    /// [`SpecError::RebootTooLate`] with both times.
    pub fn reachable_reboot(&self, openings: &[Opening]) -> Result<(), SpecError> {
        let late = self.reboot.at().zip(self.reboot.misses(openings));
        late.map_or(Ok(()), |(at, closes)| Err(SpecError::RebootTooLate(at, closes)))
    }

    /// Refuses what no rollout can mean. Also for specifications that came over the API.
    ///
    /// # Errors
    /// [`SpecError`] names the first value that is wrong.
    pub fn check(&self) -> Result<(), SpecError> {
        name(&self.name)?;
        self.targets.check()?;
        if matches!(&self.baseline, Asked::Systems(baselines) if baselines.is_empty()) {
            return Err(SpecError::NoBaselines);
        }
        if let Some(list) = &self.install_list {
            list.check()?;
            let excluded = match (&self.baseline, self.operation) {
                (_, Operation::Scan) => Some("operation: Scan"),
                (Asked::Override(_), _) => Some("baselineOverride"),
                (Asked::Systems(_), _) => Some("baselines"),
                (Asked::Snapshot(_), _) => Some("snapshot"),
                (Asked::All | Asked::Security, _) => Some("baseline: all or security"),
                _ => None,
            };
            excluded.map_or(Ok(()), |what| Err(SpecError::ListWith(what)))?;
        }
        if self.on_superseded == OnSuperseded::Replan && matches!(self.baseline, Asked::Snapshot(_)) {
            return Err(SpecError::ReplanOfSnapshot);
        }
        self.max_concurrency.clone().for_concurrency()?;
        bounded("openings", self.openings.len(), MAX_OPENINGS)?;
        for (index, opening) in self.openings.iter().enumerate() {
            if !(opening.opens <= opening.last_start && opening.last_start <= opening.closes) {
                return Err(SpecError::Opening(index + 1, *opening));
            }
        }
        self.check_windows()?;
        if self.reboot.at().is_some() && self.operation == Operation::Scan {
            return Err(SpecError::RebootOfScan);
        }
        self.reachable_reboot(&self.openings)?;
        if let Some(urgent) = &self.urgent {
            if !(self.windows.is_empty() && self.openings.is_empty() && self.blackouts.is_empty()) {
                return Err(SpecError::UrgentLater);
            }
            let told = |text: &&String| {
                !(1..=MAX_BECAUSE).contains(&text.chars().count())
                    || text.trim().is_empty()
                    || text.contains(char::is_control)
            };
            if let Some(text) = urgent.because.as_ref().filter(told) {
                return Err(SpecError::Because(text.chars().take(40).collect()));
            }
        }
        let whole = self.hook_timeout.subsec_nanos() == 0;
        if !whole || self.hook_timeout.is_zero() || self.hook_timeout > MAX_HOOK_TIMEOUT {
            return Err(SpecError::HookTimeout(self.hook_timeout));
        }
        bounded("rings", self.rings.len(), MAX_RINGS)?;
        for (at, ring) in self.rings.iter().enumerate() {
            let twice = self.rings[..at].iter().any(|earlier| earlier.name == ring.name);
            let last = at + 1 == self.rings.len();
            let whole = self.rings[..at].iter().find(|earlier| earlier.selects == Targets::All);
            let checked = match whole {
                _ if twice => Err(RingError::Twice),
                Some(whole) => Err(RingError::NobodyLeft(whole.name.clone())),
                None => ring.check(last),
            };
            checked.map_err(|error| SpecError::Ring(at, ring.name.chars().take(MAX_NAME + 1).collect(), error))?;
        }
        if self.operation == Operation::Scan && !(self.gates.is_empty() && self.ring_gates.is_empty()) {
            return Err(SpecError::GatesOfScan);
        }
        Gate::check_all(&self.gates).map_err(|(at, error)| SpecError::Gate(at, error))?;
        Gate::check_after_ring(&self.ring_gates).map_err(|(at, error)| SpecError::RingGate(at, error))?;
        Ok(())
    }

    /// Whether hosts are asked before a plan is made: what would be installed, or whether they can be judged at all.
    pub fn asks(&self) -> bool {
        self.operation == Operation::Install || self.baseline.plain().is_none()
    }

    fn check_windows(&self) -> Result<(), SpecError> {
        bounded("windows", self.windows.len(), MAX_WINDOWS)?;
        bounded("blackouts", self.blackouts.len(), MAX_BLACKOUTS)?;
        if !self.windows.is_empty() && !self.openings.is_empty() {
            return Err(SpecError::OpeningsWithWindows);
        }
        for (index, name) in self.windows.iter().enumerate() {
            if !window::is_name(name) {
                return Err(SpecError::Window(name.chars().take(40).collect()));
            }
            if self.windows.iter().take(index).any(|other| other == name) {
                return Err(SpecError::SameWindow(name.clone()));
            }
        }
        let wrong = self.blackouts.iter().enumerate().find(|(_, blackout)| blackout.from >= blackout.to);
        wrong.map_or(Ok(()), |(index, blackout)| Err(SpecError::Blackout(index + 1, *blackout)))
    }

    /// What a plan of `now` freezes of its own openings: without what blackouts cover. Empty means from its start on, without end;
    /// `None` that nothing is left.
    pub fn own_openings(&self, now: WallTime) -> Option<Vec<Opening>> {
        if self.blackouts.is_empty() {
            let over = !self.openings.is_empty() && self.openings.iter().all(|opening| opening.last_start <= now);
            return (!over).then(|| self.openings.clone());
        }
        let endless = [Opening::endless(now)];
        let given = if self.openings.is_empty() { &endless[..] } else { &self.openings };
        let left = given.iter().flat_map(|opening| without(*opening, &self.blackouts));
        let left: Vec<_> = left.filter(|opening| now < opening.last_start).take(MAX_OPENINGS).collect();
        (!left.is_empty()).then_some(left)
    }
}

pub(super) fn name(text: &str) -> Result<(), SpecError> {
    if is_name(text) { Ok(()) } else { Err(SpecError::Name(text.chars().take(MAX_NAME + 1).collect())) }
}

pub(super) fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=MAX_NAME).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte) || matches!(byte, b'-' | b'.'))
        && bytes.first().is_some_and(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| inner(*byte))
}

pub(super) fn word(what: &'static str, text: &str) -> Result<(), SpecError> {
    let good = (1..=MAX_WORD).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if good { Ok(()) } else { Err(SpecError::Word(what, text.chars().take(40).collect())) }
}

pub(super) fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), SpecError> {
    if count <= limit { Ok(()) } else { Err(SpecError::TooMany { what, count, limit }) }
}

fn filled(what: &'static str, count: usize) -> Result<(), SpecError> {
    if count > 0 { Ok(()) } else { Err(SpecError::NoTargets(what)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::run::gate::Ask;

    pub(super) fn spec() -> RolloutSpec {
        RolloutSpec {
            urgent: None,
            name: "weekly.web-1".into(),
            operation: Operation::Install,
            targets: Targets::Names(["a".into(), "b".into()].into()),
            baseline: Asked::All,
            install_list: None,
            max_concurrency: "10%".parse().unwrap(),
            max_errors: "0".parse().unwrap(),
            openings: vec![Opening { opens: WallTime(0), last_start: WallTime(1000), closes: WallTime(1000) }],
            windows: Vec::new(),
            blackouts: Vec::new(),
            reboot: RebootOption::IfNeeded,
            hook_timeout: DEFAULT_HOOK_TIMEOUT,
            on_hook_failure: Default::default(),
            rings: vec![
                ring("canary", &["1", "10%", "100%"]),
                RingSpec { selects: Targets::All, bake: Duration::ZERO, ..ring("fleet", &[]) },
            ],
            ramp: Ramp::Full,
            gates: vec![Gate { ask: Ask::NoNewFailedUnits, timeout_seconds: 30 }],
            ring_gates: vec![Gate { ask: Ask::Command(vec!["check-shop".into()]), timeout_seconds: 30 }],
            on_superseded: OnSuperseded::Wait,
        }
    }

    pub(super) fn ring(name: &str, steps: &[&str]) -> RingSpec {
        RingSpec {
            name: name.into(),
            selects: Targets::Names([format!("{name}-1")].into()),
            steps: steps.iter().map(|step| step.parse().unwrap()).collect(),
            wait: if steps.is_empty() { Duration::ZERO } else { Duration::from_secs(60) },
            bake: Duration::from_secs(3600),
            approvals: 0,
        }
    }

    pub(super) fn wrong(change: impl FnOnce(&mut RolloutSpec)) -> SpecError {
        let mut changed = spec();
        change(&mut changed);
        changed.check().unwrap_err()
    }

    #[test]
    fn a_good_spec_passes_and_travels() {
        spec().check().unwrap();
        let text = serde_json::to_string(&spec()).unwrap();
        assert_eq!(serde_json::from_str::<RolloutSpec>(&text).unwrap(), spec());
    }

    #[test]
    fn every_bound_is_checked() {
        for name in ["", "-a", "a.", "A", "a b", "a/b", &"a".repeat(64)] {
            assert!(matches!(wrong(|s| s.name = name.into()), SpecError::Name(_)), "{name}");
        }
        assert_eq!(wrong(|s| s.targets = Targets::Names([].into())), SpecError::NoTargets("names"));
        assert_eq!(wrong(|s| s.targets = Targets::Labels([].into())), SpecError::NoTargets("labels"));
        assert!(matches!(
            wrong(|s| s.targets = Targets::Names(["a b".into()].into())),
            SpecError::Word("host name", _)
        ));
        let many: BTreeSet<_> = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
        assert!(matches!(wrong(|s| s.targets = Targets::Names(many)), SpecError::TooMany { count: 10_001, .. }));
        assert!(matches!(wrong(|s| s.openings = vec![s.openings[0]; 65]), SpecError::TooMany { count: 65, .. }));
        assert!(matches!(wrong(|s| s.max_concurrency = "0".parse().unwrap()), SpecError::Concurrency(_)));
        assert!(matches!(wrong(|s| s.hook_timeout = Duration::from_millis(1500)), SpecError::HookTimeout(_)));
        assert!(matches!(wrong(|s| s.hook_timeout = Duration::ZERO), SpecError::HookTimeout(_)));
        assert_eq!(wrong(|s| s.operation = Operation::Scan), SpecError::GatesOfScan);
        let never = wrong(|s| s.gates[0].timeout_seconds = 0);
        assert_eq!(never, SpecError::Gate(Some(0), GateError::Timeout(0)));
        let scan = wrong(|s| (s.operation, s.gates) = (Operation::Scan, Vec::new()));
        assert_eq!(scan, SpecError::GatesOfScan, "gates after a ring alone");
        let units = wrong(|s| s.ring_gates.push(s.gates[0].clone()));
        assert_eq!(units, SpecError::RingGate(Some(1), GateError::OfHosts("noNewFailedUnits")));
    }

    #[test]
    fn windows_and_blackouts_are_checked() {
        let windows = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            wrong(|s| (s.openings, s.windows) = (Vec::new(), names))
        };
        assert_eq!(windows(&["ab"]), SpecError::Window("ab".into()));
        assert_eq!(windows(&["../../x"]), SpecError::Window("../../x".into()));
        assert_eq!(windows(&["nightly", "weekly", "nightly"]), SpecError::SameWindow("nightly".into()));
        assert!(matches!(windows(&["nightly"; 17]), SpecError::TooMany { count: 17, .. }));
        assert_eq!(wrong(|s| s.windows = vec!["nightly".into()]), SpecError::OpeningsWithWindows);
        let never = Blackout { from: WallTime(1000), to: WallTime(1000) };
        assert_eq!(wrong(|s| s.blackouts = vec![never]), SpecError::Blackout(1, never));
        assert!(matches!(wrong(|s| s.blackouts = vec![never; 65]), SpecError::TooMany { count: 65, .. }));
    }

    #[test]
    fn a_time_for_reboots_is_of_installs_and_before_the_last_opening_closes() {
        let late = |s: &mut RolloutSpec| s.reboot = RebootOption::At(s.openings[0].closes);
        let closes = spec().openings[0].closes;
        assert_eq!(wrong(late), SpecError::RebootTooLate(closes, closes));
        let told = SpecError::RebootTooLate(WallTime(0), WallTime(1000)).to_string();
        assert!(told.starts_with(
            "reboot at 1970-01-01T00:00:00Z is not before the last opening closes, which is at 1970-01-01T00:00:01Z"
        ));
        let scan = |s: &mut RolloutSpec| (s.operation, s.reboot) = (Operation::Scan, RebootOption::At(WallTime(0)));
        assert_eq!(wrong(scan), SpecError::RebootOfScan);
        let good = RolloutSpec { reboot: RebootOption::At(WallTime(closes.0 - 1)), ..spec() };
        assert_eq!(good.check(), Ok(()));
    }

    #[test]
    fn what_is_urgent_is_at_once_and_has_a_reason_that_can_be_read() {
        let urgent = |text: Option<&str>| Some(Urgent { because: text.map(str::to_owned) });
        assert_eq!(wrong(|s| s.urgent = urgent(None)), SpecError::UrgentLater);
        for text in ["", " ", "a\nb", &"a".repeat(257)] {
            let error = wrong(|s| (s.openings, s.urgent) = (Vec::new(), urgent(Some(text))));
            assert!(matches!(error, SpecError::Because(_)), "{text:?}");
        }
        let good = RolloutSpec { openings: Vec::new(), urgent: urgent(Some("CVE-2026-0001 is exploited")), ..spec() };
        good.check().unwrap();
    }

    #[test]
    fn blackouts_are_cut_out_of_what_is_open() {
        let mut spec = spec();
        let opening = |opens, last_start| Opening {
            opens: WallTime(opens),
            last_start: WallTime(last_start),
            closes: WallTime(last_start),
        };
        assert_eq!(spec.own_openings(WallTime(5000)), None, "its last start has passed");
        assert_eq!(spec.own_openings(WallTime(999)), Some(vec![opening(0, 1000)]), "as they are written");
        spec.blackouts = vec![Blackout { from: WallTime(200), to: WallTime(300) }];
        assert_eq!(spec.own_openings(WallTime(0)), Some(vec![opening(0, 200), opening(300, 1000)]));
        assert_eq!(spec.own_openings(WallTime(200)), Some(vec![opening(300, 1000)]), "what is past is left out");
        assert_eq!(spec.own_openings(WallTime(1000)), None);
        spec.openings.clear();
        let endless = Opening::endless(WallTime(300));
        assert_eq!(spec.own_openings(WallTime(100)), Some(vec![opening(100, 200), endless]));
        spec.blackouts[0] = Blackout { from: WallTime(0), to: WallTime::MAX };
        assert_eq!(spec.own_openings(WallTime(100)), None);
        spec.blackouts.clear();
        assert_eq!(spec.own_openings(WallTime(100)), Some(Vec::new()), "from its start on");
    }

    #[test]
    fn an_opening_out_of_order_is_named_with_its_times() {
        let error = wrong(|s| s.openings[0].last_start = WallTime(2000)).to_string();
        assert!(error.starts_with("opening 1 (opens 1970-01-01T00:00:00Z, lastStart 1970-01-01T00:00:02Z"), "{error}");
        assert!(matches!(wrong(|s| s.openings[0].opens = WallTime(1001)), SpecError::Opening(1, _)));
    }
}
