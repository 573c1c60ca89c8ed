//! Patch policies: rollouts that come again and again (spec 4.3).
//!
//! [`PatchPolicy`] is what people write; [`PatchPolicy::check`] turns it into a [`Policy`], which says what is due and makes the
//! specification of the rollout. A run of a policy is a rollout called `POLICY-OPERATION-TIME`, so that the ledger alone says what
//! was started: nothing else is kept of a policy but its manifest.

use super::{
    OnSuperseded, Operation, RebootOption,
    attempts::Start,
    limit::{Limit, Ramp},
    replan,
    spec::{Asked, MAX_NAME as MAX_ROLLOUT, RolloutSpec, Targets, is_name},
    started::{Key, Runs},
};
use crate::{
    labels,
    patch::baseline::OperatingSystem,
    schedule::{
        blackout::Blackout,
        expression::Schedule,
        recurring::Recurring,
        window::{MAX_DESCRIPTION, Problem, Told},
        zone::Zone,
    },
    time::WallTime,
};

mod careful;
pub mod logs;
pub(crate) mod parts;
pub mod predefined;
pub mod schema;
mod written;

pub use careful::{BlackoutText, GateText, GatesText, HttpText, OnLimit, RingGateText, RingText};
pub use logs::LogsText;
pub use written::{Hooks, Labels, Spec, TargetsText, Timing};

/// What follows a policy's name in the name of a run at most.
const TAIL: usize = "-install-20261201t020000z".len();
/// Longest name, in characters: those of its runs are names of rollouts, also of those that plan a run again.
pub const MAX_NAME: usize = MAX_ROLLOUT - TAIL - replan::TAIL;

/// A policy as it is written: `metadata.name` and `spec` of a manifest of kind `PatchPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchPolicy {
    /// As of a rollout, and at most [`MAX_NAME`] characters.
    pub name: String,
    /// What people note of it.
    pub labels: labels::Labels,
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
    /// Where the logs of its runs go; `None` if nowhere.
    pub logs: Option<String>,
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
        let logs = spec.logs.as_ref().map(|logs| logs.folder.clone());
        if let Some(folder) = logs.as_ref().filter(|folder| !logs::is_folder(folder)) {
            let limit =
                format!("write the absolute path of a folder, without . and .., of at most {} bytes", logs::MAX_FOLDER);
            told.wrong("logs.folder", folder, limit);
        }
        if let Some(at) = spec.reboot.and_then(RebootOption::at) {
            let limit = "a policy comes again and again: write ifNeeded, and the windows in which hosts may reboot";
            told.wrong("reboot", &format!("at {}", at.rfc3339()), limit);
        }
        let template = self.template(&mut told);
        match template {
            Some(template) if told.0.is_empty() => {
                let (name, enabled) = (self.name.clone(), spec.enabled.unwrap_or(true));
                Ok(Policy { name, enabled, scan, install, logs, template })
            }
            _ => Err(told.0),
        }
    }

    /// What every run asks for, of which a rollout's own check has approved everything.
    fn template(&self, told: &mut Told) -> Option<RolloutSpec> {
        let spec = &self.spec;
        let targets = match spec.targets.targets() {
            Ok(targets) => targets,
            Err(why) => {
                told.wrong("targets", "", why);
                return None;
            }
        };
        let baseline = parts::asked(told, spec.baseline.as_deref(), spec.baselines.as_ref())?;
        let rings = parts::each(told, "rings", &spec.rings, RingText::ring)?;
        let blackouts = parts::each(told, "blackouts", &spec.blackouts, BlackoutText::blackout)?;
        let (gates, ring_gates) = parts::gates(told, spec.gates.as_ref())?;
        let on_superseded = OnSuperseded::default_of(Operation::Install, &baseline);
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
            hook_timeout: parts::hook_timeout(spec.hooks.as_ref()),
            on_hook_failure: parts::on_hook_failure(spec.hooks.as_ref()),
            rings,
            ramp: Ramp::Full,
            gates,
            ring_gates,
            on_superseded: spec.on_superseded.unwrap_or(on_superseded),
        };
        parts::judge(told, &template, spec.hooks.as_ref());
        Some(template)
    }
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
    /// What starts its runs of `operation`.
    pub fn key(&self, operation: Operation) -> Key {
        Key::Policy { policy: self.name.clone(), operation }
    }

    /// The runs that are due at `now`, if it is so since `since` and `runs` were started.
    pub(super) fn wanted<'a>(
        &'a self,
        since: WallTime,
        runs: &'a Runs,
        now: WallTime,
    ) -> impl Iterator<Item = Start> + 'a {
        OPERATIONS.into_iter().filter_map(move |operation| {
            let key = self.key(operation);
            let last = runs.get(&key).map(|(_, run)| *run);
            let of = self.recurring(operation)?.due(since, last, now).now?;
            Some(Start { key, of, spec: self.rollout(operation, of) })
        })
    }

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
        let run = RolloutSpec { name: self.key(operation).run_name(false, of), operation, ..self.template.clone() };
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
