//! Patch policies: rollouts that come again and again (spec 4.3).
//!
//! [`PatchPolicy`] is what people write; [`PatchPolicy::check`] turns it into a [`Policy`], which says what is due and makes the
//! specification of the rollout. A run of a policy is a rollout called `POLICY-OPERATION-TIME`, so that the ledger alone says what
//! was started: nothing else is kept of a policy but its manifest.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{
    OnSuperseded, Operation, RebootOption,
    ledger::Ledger,
    limit::{Limit, Ramp},
    spec::{Asked, DEFAULT_HOOK_TIMEOUT, MAX_NAME as MAX_ROLLOUT, RolloutSpec, SpecError, Targets, is_name},
};
use crate::{
    duration,
    id::RolloutId,
    patch::baseline::OperatingSystem,
    schedule::{
        blackout::Blackout,
        expression::Schedule,
        recurring::{Recurring, Run},
        window::{MAX_DESCRIPTION, Problem, Told},
        zone::Zone,
    },
    time::WallTime,
};

pub mod attempts;
mod careful;
pub mod predefined;
pub mod schema;
mod written;

pub use careful::{BlackoutText, GateText, GatesText, HttpText, OnLimit, RingGateText, RingText};
pub use written::{Hooks, Labels, Spec, TargetsText, Timing};

/// What follows a policy's name in the name of a run at most.
const TAIL: usize = "-install-20261201t020000z".len();
/// Longest name, in characters: those of its runs are names of rollouts.
pub const MAX_NAME: usize = MAX_ROLLOUT - TAIL;

/// A policy as it is written: `metadata.name` and `spec` of a manifest of kind `PatchPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchPolicy {
    /// As of a rollout, and at most [`MAX_NAME`] characters.
    pub name: String,
    /// Everything else.
    pub spec: Spec,
}

/// A policy of which everything is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether anything of it is ever due.
    pub enabled: bool,
    /// When it scans.
    pub scan: Option<Recurring>,
    /// When it installs.
    pub install: Option<Recurring>,
    /// What a run asks for. Name, operation and windows are those of the run.
    template: RolloutSpec,
}

/// What a policy does, in the order in which it is told.
pub const OPERATIONS: [Operation; 2] = [Operation::Scan, Operation::Install];

impl PatchPolicy {
    /// The policy, if everything about it is right.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<Policy, Vec<Problem>> {
        let spec = &self.spec;
        let mut told = Told(Vec::new());
        if !is_name(&self.name) || self.name.len() > MAX_NAME {
            let limit = format!(
                "write 1 to {MAX_NAME} of a-z, 0-9, '-' and '.', with a letter or digit at both ends: it begins the names of rollouts"
            );
            told.wrong("name", &self.name, limit);
        }
        if let Some(text) = &spec.description
            && !(1..=MAX_DESCRIPTION).contains(&text.chars().count())
        {
            told.wrong("description", text, format!("write 1 to {MAX_DESCRIPTION} characters"));
        }
        let zone = spec.timezone.as_ref().map_or(Some(Zone::UTC), |name| Zone::parse(name));
        if zone.is_none() {
            let name = spec.timezone.as_deref().unwrap_or_default();
            told.wrong("timezone", name, "write the name of an IANA zone, such as Europe/Paris");
        }
        let zone = zone.unwrap_or(Zone::UTC);
        // A scan that is made up for disturbs nobody; an install at another time than the one that people know may.
        let scan = recurring(&mut told, "scan.schedule", spec.scan.as_ref(), &zone, true);
        let install = recurring(&mut told, "install.schedule", spec.install.as_ref(), &zone, false);
        if spec.scan.is_none() && spec.install.is_none() {
            told.wrong("scan", "", "write a schedule for scan, for install, or for both");
        }
        let of_installs = [
            ("windows", !spec.windows.is_empty()),
            ("blackouts", !spec.blackouts.is_empty()),
            ("rings", !spec.rings.is_empty()),
            ("gates", spec.gates.is_some()),
            ("onSuperseded", spec.on_superseded.is_some()),
        ];
        for (field, _) in of_installs.into_iter().filter(|(_, given)| spec.install.is_none() && *given) {
            told.wrong(field, "", format!("only installs have {field}, and there is no install"));
        }
        let template = self.template(&mut told);
        match template {
            Some(template) if told.0.is_empty() => {
                Ok(Policy { name: self.name.clone(), enabled: spec.enabled.unwrap_or(true), scan, install, template })
            }
            _ => Err(told.0),
        }
    }

    /// What every run asks for, of which a rollout's own check has approved everything.
    fn template(&self, told: &mut Told) -> Option<RolloutSpec> {
        let spec = &self.spec;
        let Some(targets) = spec.targets.targets() else {
            told.wrong("targets", "", "write exactly one of all: true, names, selector, matching and patchGroups");
            return None;
        };
        let baseline = match (&spec.baseline, &spec.baselines) {
            (None, None) => Asked::Group,
            (Some(word), None) if word == "all" => Asked::All,
            (Some(word), None) if word == "security" => Asked::Security,
            (Some(name), None) => Asked::Baseline(name.clone()),
            (None, Some(names)) => Asked::Systems(names.clone()),
            (Some(_), Some(_)) => {
                told.wrong("baselines", "", "it cannot be used with baseline: leave one of them out");
                return None;
            }
        };
        let rings = each(told, "rings", &spec.rings, RingText::ring)?;
        let blackouts = each(told, "blackouts", &spec.blackouts, BlackoutText::blackout)?;
        let after_host = spec.gates.as_ref().map(|gates| gates.after_host.as_slice()).unwrap_or_default();
        let gates = each(told, "gates", after_host, GateText::gate)?;
        let after_ring = spec.gates.as_ref().map(|gates| gates.after_ring.as_slice()).unwrap_or_default();
        let ring_gates = each(told, "gates", after_ring, RingGateText::gate)?;
        let given = spec.hooks.as_ref().and_then(|hooks| hooks.timeout.as_deref());
        let hook_timeout = given.map_or(Some(DEFAULT_HOOK_TIMEOUT), duration::parse).unwrap_or(Duration::ZERO);
        let template = RolloutSpec {
            urgent: None,
            name: "template".to_owned(),
            operation: Operation::Install,
            targets,
            baseline,
            install_list: None,
            max_concurrency: spec.max_concurrency.clone(),
            max_errors: spec.max_errors.clone().unwrap_or(Limit::count(0)),
            openings: Vec::new(),
            windows: spec.windows.clone(),
            blackouts,
            reboot: spec.reboot.unwrap_or(RebootOption::IfNeeded),
            hook_timeout,
            rings,
            ramp: Ramp::Full,
            gates,
            ring_gates,
            on_superseded: spec.on_superseded.unwrap_or(OnSuperseded::Skip),
        };
        if let Err(error) = template.check() {
            let field = match error {
                SpecError::Window(_) | SpecError::SameWindow(_) | SpecError::TooMany { what: "windows", .. } => {
                    "windows"
                }
                SpecError::Blackout(..) | SpecError::TooMany { what: "blackouts", .. } => "blackouts",
                SpecError::Ring(..) | SpecError::TooMany { what: "rings", .. } => "rings",
                SpecError::Gate(..) | SpecError::RingGate(..) => "gates",
                SpecError::HookTimeout(_) => "hooks",
                SpecError::Concurrency(_) => "maxConcurrency",
                SpecError::NoBaselines => "baselines",
                _ => "targets",
            };
            told.wrong(field, given.filter(|_| field == "hooks").unwrap_or_default(), words(&error));
        }
        Some(template)
    }
}

/// What is wrong, with the reason below it.
fn words(error: &SpecError) -> String {
    match error {
        SpecError::Concurrency(cause) => cause.to_string(),
        SpecError::HookTimeout(_) => "write a time-out such as 90s, 15m or 4h, between 1s and 24h".to_owned(),
        SpecError::Gate(_, cause) => format!("afterHost: {cause}"),
        SpecError::RingGate(_, cause) => format!("afterRing: {cause}"),
        other => other.to_string(),
    }
}

/// What is meant by everything of a list; `None`, and what is wrong is told, unless all of it is right.
fn each<T, U>(
    told: &mut Told,
    field: &'static str,
    given: &[T],
    meant: impl Fn(&T) -> Result<U, String>,
) -> Option<Vec<U>> {
    let found = given.iter().map(meant).collect::<Result<_, _>>();
    found.map_err(|wrong| told.wrong(field, "", wrong)).ok()
}

fn recurring(
    told: &mut Told,
    field: &'static str,
    timing: Option<&Timing>,
    zone: &Zone,
    catch_up: bool,
) -> Option<Recurring> {
    let timing = timing?;
    match Schedule::parse(&timing.schedule) {
        Ok(schedule) => Some(Recurring::new(schedule, zone.clone(), timing.catch_up.unwrap_or(catch_up))),
        Err(error) => {
            told.wrong(field, &timing.schedule, error.to_string());
            None
        }
    }
}

impl Policy {
    /// When it does `operation`; `None` if never.
    pub fn recurring(&self, operation: Operation) -> Option<&Recurring> {
        let timing = match operation {
            Operation::Scan => &self.scan,
            Operation::Install => &self.install,
        };
        timing.as_ref().filter(|_| self.enabled)
    }

    /// What the run of `operation` for the time `of` asks for. A scan disturbs nobody: it waits for nothing and shows nothing.
    pub fn rollout(&self, operation: Operation, of: WallTime) -> RolloutSpec {
        let run = RolloutSpec { name: run_name(&self.name, operation, of), operation, ..self.template.clone() };
        match operation {
            Operation::Install => run,
            Operation::Scan => RolloutSpec {
                windows: Vec::new(),
                blackouts: Vec::new(),
                rings: Vec::new(),
                gates: Vec::new(),
                ring_gates: Vec::new(),
                on_superseded: OnSuperseded::Skip,
                ..run
            },
        }
    }

    /// Which hosts it is for.
    pub fn targets(&self) -> &Targets {
        &self.template.targets
    }

    /// The windows that its installs wait for.
    pub fn windows(&self) -> &[String] {
        &self.template.windows
    }

    /// When its installs begin nothing, whatever is open.
    pub fn blackouts(&self) -> &[Blackout] {
        &self.template.blackouts
    }

    /// What decides which patches are approved.
    pub fn baseline(&self) -> &Asked {
        &self.template.baseline
    }
}

/// What is told and written for an operation.
pub fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Scan => "scan",
        Operation::Install => "install",
    }
}

/// The name of the run of `operation` of `policy` for the time `of`, in whole seconds.
pub fn run_name(policy: &str, operation: Operation, of: WallTime) -> String {
    let time = of.rfc3339().replace(['-', ':'], "").to_ascii_lowercase();
    format!("{policy}-{}-{time}", word(operation))
}

/// The policy, the operation and the time of a run that is called `name`; `None` if it is no name of a run.
pub fn run_of(name: &str) -> Option<(&str, Operation, WallTime)> {
    let (rest, time) = name.rsplit_once('-')?;
    let (policy, operation) = rest.rsplit_once('-')?;
    let operation = OPERATIONS.into_iter().find(|one| word(*one) == operation)?;
    let (date, clock) = time.strip_suffix('z')?.split_once('t')?;
    let parts = [date.get(..4)?, date.get(4..6)?, date.get(6..)?, clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?];
    let [year, month, day, hour, minute, second] = parts;
    let of = WallTime::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
    (run_name(policy, operation, of) == name).then_some((policy, operation, of))
}

/// The newest run of every policy and operation.
pub type Runs = BTreeMap<(String, Operation), (RolloutId, Run)>;

/// The newest run of every policy and operation that `ledger` knows at `now`. A run of a time that has not come by this clock counts
/// while it is on its way, and then not until that time comes: the clock was ahead when it was started, and what is due meanwhile
/// must not wait for it.
pub fn runs(ledger: &Ledger, now: WallTime) -> Runs {
    let mut newest = Runs::new();
    for (id, state) in &ledger.rollouts {
        let Some((policy, operation, of)) = run_of(&state.plan.name) else { continue };
        // A time that had not come is no policy's: somebody chose the name, and it must keep nothing from being due.
        if of > state.started_at || of > now && state.ended_at.is_some() {
            continue;
        }
        let run = Run { of, started: state.started_at, ended: state.ended_at };
        let known = newest.entry((policy.to_owned(), operation)).or_insert((*id, run));
        if (known.1.of, known.1.started) < (run.of, run.started) {
            *known = (*id, run);
        }
    }
    newest
}

/// The systems of `baseline` with the names of their baselines, and a name for all of them.
pub fn baseline_names(baseline: &Asked) -> Vec<(Option<OperatingSystem>, &str)> {
    match baseline {
        Asked::Baseline(name) => vec![(None, name)],
        Asked::Systems(names) => names.iter().map(|(os, name)| (Some(*os), name.as_str())).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
