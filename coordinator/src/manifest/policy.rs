//! `kind: PatchPolicy`.

use patchmesh_common::rollout::policy::{PatchPolicy, Spec};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    Place,
    gates::GatesToCome,
    reboot::{RebootYaml, refuse_aws},
    rings::refuse_gates,
    rollout::{self, HooksToCome},
    written,
};
use crate::fault::Fault;

/// The kind.
pub const KIND: &str = "PatchPolicy";

/// A manifest as it is written, and as it travels over the API.
pub type Written = written::Written<Spec>;

impl From<PatchPolicy> for Written {
    fn from(policy: PatchPolicy) -> Self {
        Self::new(KIND, (policy.name, policy.labels), policy.spec)
    }
}

impl Written {
    /// The policy, of which nothing has been checked; `None` for another kind or version.
    pub fn policy(self) -> Option<PatchPolicy> {
        self.parts(KIND).map(|(name, labels, spec)| PatchPolicy { name, labels, spec })
    }
}

/// Fields that are known and refused by name, because nothing would act on them yet.
#[derive(Deserialize)]
struct ToCome {
    kind: String,
    spec: Option<SpecToCome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecToCome {
    services: NotYet,
    rings: Option<Vec<RingToCome>>,
    gates: Option<GatesToCome>,
    hooks: Option<HooksToCome>,
    on_limit: Option<Spanned<String>>,
    on_superseded: Option<Spanned<String>>,
    reboot: Option<Spanned<RebootYaml>>,
}

#[derive(Deserialize)]
struct RingToCome {
    gates: NotYet,
}

type NotYet = Option<Spanned<IgnoredAny>>;

/// Parses a manifest of kind `PatchPolicy`, and holds it against every limit; `file` is its name in errors.
///
/// # Errors
/// Exit 1, with file, line and field of everything that is wrong; exit 64 for what is not built yet.
pub fn parse(file: &str, text: &str) -> Result<PatchPolicy, Fault> {
    let place = Place { file };
    // What is refused here would be no field at all below; what has another shape is told there.
    if let Ok(ToCome { kind, spec: Some(spec) }) = place.yaml(text)
        && kind == KIND
    {
        if let Some(given) = spec.services {
            let instead = "leave it out: what is kept as kind Service holds for every rollout";
            return Err(place.not_built(given.referenced, "field spec.services", instead));
        }
        spec.rings.iter().flatten().try_for_each(|ring| refuse_gates(&place, ring.gates.as_ref()))?;
        spec.gates.map_or(Ok(()), |gates| gates.refuse(&place))?;
        spec.hooks.map_or(Ok(()), |hooks| hooks.refuse(&place))?;
        rollout::on_limit(&place, spec.on_limit.as_ref())?;
        rollout::on_superseded(&place, spec.on_superseded.as_ref())?;
        refuse_aws(&place, spec.reboot.as_ref())?;
    }
    let (name, labels, spec) = written::read(&place, text, KIND, "policy")?;
    let policy = PatchPolicy { name, labels, spec };
    match policy.check() {
        Ok(_) => Ok(policy),
        Err(problems) => Err(written::judged(&place, text, problems)),
    }
}

/// The manifest of `policy`.
///
/// # Errors
/// If what is written would not be read as the same policy.
pub fn yaml(policy: PatchPolicy) -> Result<String, Fault> {
    written::yaml("policy", &Written::from(policy.clone()), &policy, parse)
}

#[cfg(test)]
mod tests {
    use patchmesh_common::rollout::OnHookFailure;

    use super::*;
    use crate::{
        fault::Exit,
        manifest::{self, Manifest},
    };

    const GOOD: &str = "\
apiVersion: patchmesh/v1
kind: PatchPolicy
metadata: {name: nightly}
spec:
  timezone: Europe/Paris
  scan: {schedule: cron(0 1 * * ? *)}
  install: {schedule: cron(0 2 ? * SUN *), catchUp: true}
  targets: {patchGroups: [prod]}
  baselines: {DEBIAN: web}
  maxConcurrency: 10%
  maxErrors: 3
  reboot: never
  hooks: {timeout: 5m}
  windows: [sundays]
  logs: {folder: /var/log/patchmesh}
";

    /// What makes it careful.
    const CAREFUL: &str = "  blackouts: [{from: 2026-12-18T00:00:00Z, to: 2027-01-04T00:00:00Z}]
  rings:
    - {name: canary, names: [web-1], bake: 1h}
    - {name: fleet, all: true, steps: [1, 10%, 100%], wait: 10m, approvals: 2}
  gates:
    afterHost:
      - {command: [check-web, --fast], timeout: 2m}
      - {http: {url: 'http://127.0.0.1:8080/health', status: 204}}
    afterRing:
      - {command: [check-shop], timeout: 5m}
  onLimit: halt
  onSuperseded: wait
";

    fn fault(from: &str, to: &str) -> Fault {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD);
        parse("p.yaml", &text).unwrap_err()
    }

    #[test]
    fn a_manifest_is_read_written_and_read_again() {
        let policy = parse("p.yaml", GOOD).unwrap();
        assert_eq!((policy.name.as_str(), policy.spec.windows.len()), ("nightly", 1));
        assert_eq!(parse("p.yaml", &yaml(policy.clone()).unwrap()).unwrap(), policy);
        let careful = parse("p.yaml", &format!("{GOOD}{CAREFUL}")).unwrap();
        let eager = GOOD.replace("timeout: 5m", "timeout: 5m, onFailure: skip");
        let eager = parse("p.yaml", &eager).unwrap();
        assert_eq!(eager.spec.hooks.as_ref().unwrap().on_failure, Some(OnHookFailure::Skip));
        assert_eq!(parse("p.yaml", &yaml(eager.clone()).unwrap()).unwrap(), eager);
        let gates = careful.spec.gates.as_ref().unwrap();
        assert_eq!((careful.spec.rings.len(), gates.after_host.len(), gates.after_ring.len()), (2, 2, 1));
        assert_eq!(parse("p.yaml", &yaml(careful.clone()).unwrap()).unwrap(), careful);
        assert!(matches!(manifest::parse("p.yaml", GOOD), Ok(Manifest::Policy(found)) if *found == policy));
        let json = serde_json::to_string(&Written::from(policy.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Written>(&json).unwrap().policy(), Some(policy));
        let labelled = parse("p.yaml", &GOOD.replace("nightly}", "nightly, labels: {team: web}}")).unwrap();
        assert_eq!(labelled.labels["team"], "web");
        assert_eq!(parse("p.yaml", &yaml(labelled.clone()).unwrap()).unwrap(), labelled);
        for targets in
            ["{all: true}", "{names: [a, b]}", "{selector: {matchLabels: {app: web}}}", "{matching: 'site=a,!b'}"]
        {
            let text = GOOD.replace("{patchGroups: [prod]}", targets);
            let policy = parse("p.yaml", &text).unwrap();
            assert_eq!(parse("p.yaml", &yaml(policy.clone()).unwrap()).unwrap(), policy, "{targets}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        let said = |from, to| {
            let fault = fault(from, to);
            assert_eq!((fault.exit, fault.code), (Exit::Error, "manifest-invalid"));
            fault.chain()
        };
        assert!(
            said("0 1 * * ? *", "0 1 * * * *").starts_with("p.yaml:6:20: spec.scan.schedule \"cron(0 1 * * * *)\"")
        );
        assert!(said("Europe/Paris", "Paris").starts_with("p.yaml:5:13: spec.timezone \"Paris\""));
        assert!(said("10%", "0").starts_with("p.yaml:10:19: spec.maxConcurrency: \"0\" would never start a host"));
        assert!(said("  maxConcurrency: 10%\n", "").ends_with("field spec.maxConcurrency is missing"));
        assert!(said("DEBIAN", "DEBIEN").contains("\"DEBIEN\" is no operating system: write WINDOWS"));
        assert!(said("catchUp", "catchup").contains("unknown field \"catchup\": known here are schedule, catchUp"));
        assert!(
            said("{patchGroups: [prod]}", "{all: true, names: [a]}")
                .starts_with("p.yaml:8:12: spec.targets: write exactly")
        );
        assert!(said("{patchGroups: [prod]}", "{matching: 'a='}").contains("term 1"));
        assert!(
            said("/var/log/patchmesh", "logs/patchmesh")
                .starts_with("p.yaml:15:18: spec.logs.folder \"logs/patchmesh\": write the absolute path of a folder")
        );
        assert!(said("reboot: never", "reboot: {at: 2026-12-01T04:00:00Z}").starts_with(
            "p.yaml:12:11: spec.reboot \"at 2026-12-01T04:00:00Z\": a policy comes again and again: write ifNeeded"
        ));
        assert_eq!(said("{folder: /var/log/patchmesh}", "{}"), "p.yaml:15:9: field spec.logs.folder is missing");
        assert_eq!(said("{schedule: cron(0 1 * * ? *)}", "{}"), "p.yaml:6:9: field spec.scan.schedule is missing");
    }

    #[test]
    fn what_is_wrong_with_rings_gates_and_blackouts_is_named_as_of_a_rollout() {
        for (from, to, told) in [
            ("10%, 100%]", "10%]", "p.yaml:18:5: spec.rings: ring \"fleet\": the last step is 10%"),
            ("bake: 1h", "bake: 1", "p.yaml:18:5: spec.rings: ring \"canary\": write wait and bake such as"),
            ("[check-web,", "[/bin/sh,", "p.yaml:21:5: spec.gates: afterHost: the command \"/bin/sh\" is no file name"),
            ("timeout: 2m", "timeout: 2d", "p.yaml:21:5: spec.gates: timeout \"2d\": write 1s to 1h"),
            (
                "[check-shop]",
                "[/bin/sh]",
                "p.yaml:21:5: spec.gates: afterRing: the command \"/bin/sh\" is no file name",
            ),
            (
                "command: [check-shop]",
                "noNewFailedUnits: true",
                "p.yaml:25:9: gates.afterRing: noNewFailedUnits is asked on",
            ),
            ("2027-01", "2025-01", "p.yaml:16:14: spec.blackouts: blackout 1"),
            (
                "timeout: 5m}",
                "onFailure: ignore}",
                "p.yaml:13:22: hooks.onFailure \"ignore\" is unknown: write fail or skip or halt",
            ),
            ("wait\n", "retry\n", "p.yaml:27:17: onSuperseded \"retry\" is unknown: write replan or wait or skip"),
        ] {
            let text = format!("{GOOD}{CAREFUL}").replace(from, to);
            let fault = parse("p.yaml", &text).unwrap_err();
            assert_eq!(fault.exit, Exit::Error, "{}", fault.message);
            assert!(fault.message.starts_with(told), "{}", fault.message);
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (field, named) in [
            ("services: []", "field spec.services"),
            ("onLimit: pause", "onLimit pause"),
            ("rings: [{name: all, all: true, gates: []}]", "field gates of a ring"),
            ("gates: {afterRing: [{http: {url: 'https://a/'}}]}", "https in a gate"),
            ("gates: {afterHost: [{http: {url: 'https://a/'}}]}", "https in a gate"),
        ] {
            let fault = parse("p.yaml", &format!("{GOOD}  {field}\n")).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage, "{}", fault.message);
            assert!(fault.message.contains(&format!("{named} is not built yet")), "{}", fault.message);
        }
        assert_eq!(fault("never", "NoReboot").exit, Exit::Usage);
    }
}
