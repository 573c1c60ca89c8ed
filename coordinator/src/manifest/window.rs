//! `kind: MaintenanceWindow`.

use std::path::Path;

use patchmesh_common::schedule::window::{MaintenanceWindow, Spec};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    MAX_MANIFEST, Place,
    gates::GatesToCome,
    read_text,
    reboot::{RebootYaml, refuse_aws},
    rollout::{self, HooksToCome},
    written,
};
use crate::fault::Fault;

/// The kind.
pub const KIND: &str = "MaintenanceWindow";

/// A manifest as it is written, and as it travels over the API.
pub type Written = written::Written<Spec>;

impl From<MaintenanceWindow> for Written {
    fn from(window: MaintenanceWindow) -> Self {
        Self::new(KIND, (window.name, window.labels), window.spec)
    }
}

impl Written {
    /// The window, of which nothing has been checked; `None` for another kind or version.
    pub fn window(self) -> Option<MaintenanceWindow> {
        self.parts(KIND).map(|(name, labels, spec)| MaintenanceWindow { name, labels, spec })
    }
}

/// Fields of AWS's windows that are known and refused by name, because nothing would act on them yet.
#[derive(Deserialize)]
struct ToCome {
    kind: String,
    spec: Option<SpecToCome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecToCome {
    tasks: Option<Vec<TaskToCome>>,
    allow_unassociated_targets: NotYet,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskToCome {
    gates: Option<GatesToCome>,
    hooks: Option<HooksToCome>,
    on_superseded: Option<Spanned<String>>,
    reboot: Option<Spanned<RebootYaml>>,
}

impl TaskToCome {
    fn refuse(self, place: &Place<'_>) -> Result<(), Fault> {
        self.gates.map_or(Ok(()), |gates| gates.refuse(place))?;
        self.hooks.map_or(Ok(()), |hooks| hooks.refuse(place))?;
        rollout::on_superseded(place, self.on_superseded.as_ref())?;
        refuse_aws(place, self.reboot.as_ref())
    }
}

type NotYet = Option<Spanned<IgnoredAny>>;

/// Reads the MaintenanceWindow manifest at `path`; `-` is stdin.
///
/// # Errors
/// As [`parse`], and exit 1 for a file that cannot be read.
pub fn read(path: &Path) -> Result<MaintenanceWindow, Fault> {
    let (shown, text) = read_text(path, MAX_MANIFEST, "check the path given with -f")?;
    parse(&shown, &text)
}

/// Parses a manifest of kind `MaintenanceWindow`, and holds it against every limit; `file` is its name in errors.
///
/// # Errors
/// Exit 1, with file, line and field of everything that is wrong; exit 64 for what is not built yet.
pub fn parse(file: &str, text: &str) -> Result<MaintenanceWindow, Fault> {
    let place = Place { file };
    // What is refused here would be no field at all below; what has another shape is told there.
    if let Ok(ToCome { kind, spec: Some(spec) }) = place.yaml(text)
        && kind == KIND
    {
        if let Some(given) = spec.allow_unassociated_targets {
            let instead = "leave it out: every task names targets of the window";
            return Err(place.not_built(given.referenced, "field spec.allowUnassociatedTargets", instead));
        }
        spec.tasks.into_iter().flatten().try_for_each(|task| task.refuse(&place))?;
    }
    let (name, labels, spec) = written::read(&place, text, KIND, "window")?;
    let window = MaintenanceWindow { name, labels, spec };
    match window.check() {
        Ok(_) => Ok(window),
        Err(problems) => Err(written::judged(&place, text, problems)),
    }
}

/// The manifest of `window`.
///
/// # Errors
/// If what is written would not be read as the same window.
pub fn yaml(window: MaintenanceWindow) -> Result<String, Fault> {
    written::yaml("window", &Written::from(window.clone()), &window, parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault::Exit,
        manifest::{self, Manifest},
    };

    const GOOD: &str = "\
apiVersion: patchmesh/v1
kind: MaintenanceWindow
metadata: {name: patch-tuesday}
spec:
  schedule: cron(0 2 ? * TUE#2 *)
  timezone: Europe/Paris
  duration: 4h
  cutoff: 1h
  offsetDays: 0
  startDate: null
  endDate: null
  cutoffBehavior: CONTINUE_TASK
";

    /// What it does in every opening.
    const TASKS: &str = "  targets:
    - {name: web, selector: {matchLabels: {app: web}}}
    - {name: db, patchGroups: [db]}
  tasks:
    - {name: scan, operation: Scan, targets: [web, db], maxConcurrency: 100%}
    - name: patch
      priority: 1
      operation: Install
      targets: [web]
      reboot: ifNeeded
      gates: {afterHost: [{command: [check-web]}], afterRing: [{command: [check-shop]}]}
      onSuperseded: skip
      hooks: {timeout: 5m, onFailure: halt}
      baselines: {DEBIAN: web}
      maxConcurrency: 10%
      cutoffBehavior: CANCEL_TASK
";

    fn message(from: &str, to: &str) -> String {
        let good = format!("{GOOD}{TASKS}");
        let text = good.replace(from, to);
        assert_ne!(text, good);
        let fault = parse("w.yaml", &text).unwrap_err();
        assert_eq!((fault.exit, fault.code), (Exit::Error, "manifest-invalid"));
        fault.chain()
    }

    #[test]
    fn a_manifest_is_read_written_and_read_again() {
        let busy = parse("w.yaml", &format!("{GOOD}{TASKS}")).unwrap();
        assert_eq!((busy.spec.targets.len(), busy.spec.tasks[1].priority), (2, Some(1)));
        assert_eq!(parse("w.yaml", &yaml(busy.clone()).unwrap()).unwrap(), busy);
        let window = parse("w.yaml", GOOD).unwrap();
        assert_eq!((window.name.as_str(), window.spec.offset_days), ("patch-tuesday", Some(0)));
        assert_eq!(parse("w.yaml", &yaml(window.clone()).unwrap()).unwrap(), window);
        assert!(matches!(manifest::parse("w.yaml", GOOD), Ok(Manifest::Window(found)) if *found == window));
        let json = serde_json::to_string(&Written::from(window.clone())).unwrap();
        assert!(matches!(manifest::parse("w.json", &json), Ok(Manifest::Window(found)) if *found == window));
        assert_eq!(serde_json::from_str::<Written>(&json).unwrap().window(), Some(window));
        let other = json.replace(KIND, "PatchBaseline");
        assert_eq!(serde_json::from_str::<Written>(&other).unwrap().window(), None);
        let odd = GOOD.replace("  offsetDays: 0\n", "  description: \"true: \\\"é\\\" # no\"\n");
        assert_eq!(parse("w.yaml", &odd).unwrap().spec.description.as_deref(), Some("true: \"é\" # no"));
        yaml(parse("w.yaml", &odd).unwrap()).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        assert_eq!(
            message("TUE#2", "TUE#6"),
            "w.yaml:5:13: spec.schedule \"cron(0 2 ? * TUE#6 *)\": the field day-of-week is \"TUE#6\": it takes 1-7 \
             (1 is SUN) or SUN-SAT with , - * ? /, a day and L, or a day, # and 1-5"
        );
        assert!(
            message("Europe/Paris", "Paris").starts_with("w.yaml:6:13: spec.timezone \"Paris\": write the name of")
        );
        assert_eq!(
            message("cutoff: 1h", "cutoff: 4h"),
            "w.yaml:8:11: spec.cutoff \"4h\": it must be shorter than the duration 4h"
        );
        assert!(message("patch-tuesday", "p").starts_with("w.yaml:3:18: metadata.name \"p\": write 3 to 128"));
        assert!(
            message("endDate: null", "endDate: 2026-12-01").starts_with("w.yaml:11:12: spec.endDate \"2026-12-01\"")
        );
        assert!(message("  duration: 4h\n", "").ends_with("field spec.duration is missing"));
        let unknown = message("  duration: 4h\n", "  duratoin: 4h\n");
        assert!(unknown.starts_with("w.yaml:7:3: unknown field \"duratoin\": known here are description, schedule"));
        assert!(message("MaintenanceWindow", "Rollout").contains("is no window: MaintenanceWindow is expected"));
        assert!(message("offsetDays: 0", "offsetDays: two").starts_with("w.yaml:9:15: "));
        let both = message("4h\n  cutoff: 1h", "25h\n  cutoff: 30h");
        assert!(both.starts_with("w.yaml: 2 problems: w.yaml:7:13: spec.duration \"25h\""), "{both}");
        assert_eq!(
            message("[web, db]", "[web, bd, web]"),
            "w.yaml: 3 problems: w.yaml:15:14: spec.targets[1].name \"db\": no task names it: leave it out, or name it in the \
             targets of a task; w.yaml:17:52: spec.tasks[0].targets[1] \"bd\": no target of the window has this name; \
             w.yaml:17:56: spec.tasks[0].targets[2] \"web\": it is named twice"
        );
        assert!(
            message("name: patch\n", "name: scan\n")
                .starts_with("w.yaml:18:13: spec.tasks[1].name \"scan\": an earlier")
        );
        assert!(
            message("patchGroups: [db]", "patchGroups: [db], all: true")
                .starts_with("w.yaml:15:7: spec.targets[1]: write")
        );
        assert_eq!(
            message("onFailure: halt", "onFailure: stop"),
            "w.yaml:25:39: hooks.onFailure \"stop\" is unknown: write fail or skip or halt"
        );
        assert!(message("priority: 1", "priority: -1").starts_with("w.yaml:19:17: "));
        assert!(message("      maxConcurrency: 10%\n", "").ends_with("field spec.tasks[1].maxConcurrency is missing"));
        assert!(
            message("CANCEL_TASK", "STOP").starts_with("w.yaml:28:23: spec.tasks[1].cutoffBehavior \"STOP\": write")
        );
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (field, told) in [
            ("  allowUnassociatedTargets: false\n", "w.yaml:13:29: field spec.allowUnassociatedTargets is not"),
            (
                &TASKS.replace("ifNeeded", "RebootIfNeeded"),
                "w.yaml:22:15: reboot RebootIfNeeded, in AWS's meaning, is not",
            ),
        ] {
            let fault = parse("w.yaml", &format!("{GOOD}{field}")).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage, "{}", fault.message);
            assert!(fault.message.starts_with(told), "{told}: {}", fault.message);
        }
        let labelled = parse("w.yaml", &GOOD.replace("tuesday}", "tuesday, labels: {team: web}}")).unwrap();
        assert_eq!(labelled.labels["team"], "web");
        assert_eq!(parse("w.yaml", &yaml(labelled.clone()).unwrap()).unwrap(), labelled);
    }
}
