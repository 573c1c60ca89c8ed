//! What is done in a maintenance window: tasks with a priority, on the window's targets (spec 4.6.4, 4.6.5).
//!
//! Every task becomes a rollout in every opening of its window, one for each of its targets, so that rate control applies inside
//! each. A rollout has that one opening. [`Standing`] says which of them are due; what was started is read from the ledger.

use std::collections::BTreeSet;

use super::{
    OnSuperseded, Operation, RebootOption,
    attempts::Start,
    limit::{Limit, Ramp},
    policy::parts,
    replan,
    spec::{Asked, MAX_NAME, RolloutSpec, Targets, bounded, is_name},
    started::{Key, TIME},
};
use crate::schedule::{
    Opening,
    window::{CutoffBehavior, Spec, Told},
};

mod standing;
mod written;

pub(super) use standing::wanted;
pub use standing::{Stage, Standing, stages};
pub use written::{TargetText, TaskText};

/// Most tasks of one window: AWS's quota (spec 4.6.1).
pub const MAX_TASKS: usize = 20;
/// Most targets of one window: AWS's quota.
pub const MAX_TARGETS: usize = 100;
/// Most targets of one task: AWS's quota.
pub const MAX_TASK_TARGETS: usize = 10;

/// A task of which everything is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Lower is earlier.
    pub priority: u32,
    /// Scan or Install.
    pub operation: Operation,
    /// What hosts at work do at the cutoff: its own word, or the window's.
    pub cutoff_behavior: CutoffBehavior,
    /// In the order in which they are taken, by name. Never empty.
    pub targets: Vec<(String, Targets)>,
    /// What its rollouts ask for. Name, targets and openings are those of the single one.
    template: RolloutSpec,
}

impl Task {
    /// What starts its rollouts on `target`, as a task of `window`.
    pub fn key(&self, window: &str, target: &str) -> Key {
        Key::Task { window: window.to_owned(), task: self.name.clone(), target: target.to_owned() }
    }

    /// What decides which patches are approved.
    pub fn baseline(&self) -> &Asked {
        &self.template.baseline
    }

    /// The rollout on `targets`, started by `key` in `opening`.
    fn start(&self, key: Key, targets: &Targets, opening: Opening) -> Start {
        let name = key.run_name(self.targets.len() > 1, opening.opens);
        let openings = vec![self.cutoff_behavior.cut(opening)];
        let spec = RolloutSpec { name, targets: targets.clone(), openings, ..self.template.clone() };
        Start { key, of: opening.opens, spec }
    }
}

/// The tasks of the window called `window`, in the order in which they are done. What is wrong is told; then they mean nothing.
pub(crate) fn check(window: &str, spec: &Spec, cutoff_behavior: CutoffBehavior, told: &mut Told) -> Vec<Task> {
    for (field, most, count) in [("targets", MAX_TARGETS, spec.targets.len()), ("tasks", MAX_TASKS, spec.tasks.len())] {
        if let Err(error) = bounded(field, count, most) {
            told.wrong(field, "", error.to_string());
            return Vec::new();
        }
    }
    if !spec.tasks.is_empty() && !is_name(window) {
        told.wrong("name", window, format!("it begins the names of its tasks' rollouts: {NAME}"));
    }
    let targets = check_targets(spec, told);
    let mut tasks = Vec::new();
    for (at, task) in spec.tasks.iter().enumerate() {
        let mut inner = Told(Vec::new());
        if spec.tasks[..at].iter().any(|earlier| earlier.name == task.name) {
            inner.wrong("name", &task.name, "an earlier task has this name");
        }
        tasks.extend(task.check(window, &targets, cutoff_behavior, &mut inner));
        told.within(&format!("tasks[{at}]"), inner);
    }
    tasks.sort_by_key(|task| task.priority);
    tasks
}

const NAME: &str = "write a-z, 0-9, '-' and '.', with a letter or digit at both ends";

/// The targets of the window, by name, in the order in which they are written.
fn check_targets(spec: &Spec, told: &mut Told) -> Vec<(String, Targets)> {
    let used: BTreeSet<_> = spec.tasks.iter().flat_map(|task| &task.targets).collect();
    let mut targets: Vec<(String, Targets)> = Vec::new();
    for (at, target) in spec.targets.iter().enumerate() {
        let mut inner = Told(Vec::new());
        if !is_name(&target.name) {
            inner.wrong("name", &target.name, format!("{NAME}: at most {MAX_NAME} of them"));
        } else if spec.targets[..at].iter().any(|earlier| earlier.name == target.name) {
            inner.wrong("name", &target.name, "an earlier target has this name");
        } else if !used.contains(&target.name) {
            inner.wrong("name", &target.name, "no task names it: leave it out, or name it in the targets of a task");
        }
        let hosts = target.hosts().targets();
        match hosts.as_ref().map(Targets::check) {
            Err(why) => inner.wrong("", "", why.clone()),
            Ok(Err(error)) => inner.wrong("", "", error.to_string()),
            Ok(Ok(())) => {}
        }
        // Tasks that name a wrong one are not wrong for that.
        targets.push((target.name.clone(), hosts.unwrap_or(Targets::All)));
        told.within(&format!("targets[{at}]"), inner);
    }
    targets
}

impl TaskText {
    fn check(
        &self,
        window: &str,
        known: &[(String, Targets)],
        of_window: CutoffBehavior,
        told: &mut Told,
    ) -> Option<Task> {
        if !is_name(&self.name) {
            told.wrong("name", &self.name, format!("{NAME}: at most {MAX_NAME} of them"));
        }
        let targets = self.targets(known, told);
        let longest = if targets.len() > 1 { targets.iter().map(|(name, _)| 1 + name.len()).max() } else { None };
        // Those of scans are never planned again.
        let (again, tail) = if self.operation == Operation::Scan { ("", 0) } else { ("-replan-N", replan::TAIL) };
        let length = window.len() + 1 + self.name.len() + longest.unwrap_or(0) + 1 + TIME + tail;
        if length > MAX_NAME {
            let limit = format!(
                "a rollout of it would be called WINDOW-TASK{}-TIME{again}, in {length} characters: {MAX_NAME} are allowed",
                if longest.is_some() { "-TARGET" } else { "" }
            );
            told.wrong("name", &self.name, limit);
        }
        let cutoff_behavior = CutoffBehavior::read(self.cutoff_behavior.as_deref(), told).unwrap_or(of_window);
        let baseline = parts::asked(told, self.baseline.as_deref(), self.baselines.as_ref());
        let gates = parts::gates(told, self.gates.as_ref());
        if let Some(at) = self.reboot.and_then(RebootOption::at) {
            let limit = "a task comes again and again: write ifNeeded, and the window in which hosts may reboot";
            told.wrong("reboot", &format!("at {}", at.rfc3339()), limit);
        }
        if self.operation == Operation::Scan && self.on_superseded.is_some() {
            told.wrong("onSuperseded", "", "only installs have it, and this is a Scan");
        }
        let on_superseded = baseline.as_ref().map(|asked| OnSuperseded::default_of(self.operation, asked));
        let (gates, ring_gates) = gates?;
        let template = RolloutSpec {
            urgent: None,
            name: "template".to_owned(),
            operation: self.operation,
            targets: Targets::All,
            baseline: baseline?,
            install_list: None,
            max_concurrency: self.max_concurrency.clone(),
            max_errors: self.max_errors.clone().unwrap_or(Limit::count(0)),
            openings: Vec::new(),
            windows: Vec::new(),
            blackouts: Vec::new(),
            reboot: self.reboot.unwrap_or(RebootOption::IfNeeded),
            hook_timeout: parts::hook_timeout(self.hooks.as_ref()),
            on_hook_failure: parts::on_hook_failure(self.hooks.as_ref()),
            rings: Vec::new(),
            ramp: Ramp::Full,
            gates,
            ring_gates,
            on_superseded: self.on_superseded.or(on_superseded).unwrap_or(OnSuperseded::Skip),
        };
        parts::judge(told, &template, self.hooks.as_ref());
        let (name, priority) = (self.name.clone(), self.priority.unwrap_or(0));
        Some(Task { name, priority, operation: self.operation, cutoff_behavior, targets, template })
    }

    /// Those of the `known` targets that it names, in its order.
    fn targets(&self, known: &[(String, Targets)], told: &mut Told) -> Vec<(String, Targets)> {
        match self.targets.len() {
            0 => told.wrong("targets", "", "name at least one of the window's targets"),
            count => {
                if let Err(error) = bounded("targets", count, MAX_TASK_TARGETS) {
                    told.wrong("targets", "", error.to_string());
                }
            }
        }
        let mut found: Vec<(String, Targets)> = Vec::new();
        for (at, name) in self.targets.iter().enumerate() {
            let place = format!("targets[{at}]");
            match known.iter().find(|(one, _)| one == name) {
                _ if found.iter().any(|(earlier, _)| earlier == name) => told.wrong(place, name, "it is named twice"),
                None => told.wrong(place, name, "no target of the window has this name"),
                Some(one) => found.push(one.clone()),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
