//! JSON Schemas of the kinds of manifests, for editors and for `explain`.
//!
//! A Rollout is read with positions, which a schema has no words for: its fields are described here, and a test holds them equal to
//! those that the reader knows.

use std::{borrow::Cow, collections::BTreeMap};

use patchmesh_common::{
    patch::baseline::schema::{self, manifest},
    rollout::{
        policy::{GatesText, HttpText, schema::patch_policy},
        ring::{MAX_APPROVALS, MAX_RINGS, MAX_STEPS},
        service::MAX_LAST,
        spec::{MAX_BLACKOUTS, MAX_LABELS, MAX_NAME, MAX_NAMES, MAX_OPENINGS, MAX_WINDOWS, MAX_WORD},
    },
    schedule::schema::maintenance_window,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

type MakesSchema = fn() -> Schema;

/// A kind of manifest, or a file of AWS's, and its schema.
pub const KINDS: [(&str, MakesSchema); 7] = [
    ("Rollout", rollout),
    ("MaintenanceWindow", maintenance_window),
    ("PatchPolicy", patch_policy),
    ("Service", service),
    ("PatchBaseline", schema::patch_baseline),
    ("BaselineOverride", schema::baseline_override),
    ("InstallOverrideList", schema::install_override_list),
];

/// Of a manifest of kind `Rollout`.
pub fn rollout() -> Schema {
    manifest::<Spec>("Rollout", name("rollout"))
}

/// Of a manifest of kind `Service`.
pub fn service() -> Schema {
    manifest::<ServiceSpec>("Service", name("service"))
}

fn name(of: &str) -> Schema {
    let told = format!("Name of the {of}: a-z, 0-9, '-' and '.', with a letter or digit at both ends.");
    json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME, "description": told })
}

/// How many hosts with some tags stay up, over all rollouts, whatever takes the others down.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ServiceSpec {
    /// Whose members: every host with these tags.
    selector: Selector,
    /// How many members stay up: a count such as 2, or a share such as 60%, of the members; rounded up.
    min_available: LimitText,
    /// A tag: members that are down have one value of it, so that one zone is patched at a time. Left out: any members may be.
    #[schemars(length(min = 1, max = MAX_WORD))]
    spread: Option<String>,
    /// Members that start after the others in every rollout; those of a later selector after those of an earlier one.
    #[schemars(length(max = MAX_LAST))]
    last: Option<Vec<Selector>>,
    /// What a member must show to count as up, asked every 30 seconds. Left out: it is up as long as the mesh hears it and no rollout
    /// has it.
    probe: Option<Probe>,
}

/// Exactly one of command, systemdUnit and http.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Probe {
    /// An executable in the folder probe of the host's hooks ends with 0: its name, then its arguments.
    command: Option<Vec<String>>,
    /// This unit is active.
    systemd_unit: Option<String>,
    /// A GET from the host is answered as this says.
    http: Option<HttpText>,
    /// How long it may take: 1s to 30s. Left out: 10s.
    timeout: Option<String>,
}

/// What is done, on which hosts, how many at once and when.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Spec {
    /// Scan: report what is missing, change nothing. Install: also install what is approved, and reboot as asked.
    operation: Operation,
    /// Which hosts. Exactly one of its members is given: there is no default.
    targets: Targets,
    /// Which patches: all, security, or a baseline of the coordinator's by name. Left out, with the next two: the baseline of every
    /// host's patch group.
    baseline: Option<String>,
    /// The id of a snapshot, or the beginning of one: what was approved or resolved then.
    snapshot: Option<String>,
    /// AWS's BaselineOverride: a path beside the manifest, or the same inline.
    baseline_override: Option<FileOrList>,
    /// AWS's InstallOverrideList, which an Install installs instead of what is approved: a path beside the manifest, or the same
    /// inline.
    install_override_list: Option<FileOrObject>,
    /// How many hosts at once: a count such as 3, or a share such as 10%, of the hosts that are planned; rounded down, at least 1.
    max_concurrency: LimitText,
    /// How many hosts may fail before nothing starts any more: a count, or a share that is rounded down. 0 if it is left out.
    max_errors: Option<LimitText>,
    /// When work may start. Left out: from apply on, without end.
    #[schemars(length(max = MAX_OPENINGS))]
    openings: Option<Vec<Opening>>,
    /// Instead of openings: MaintenanceWindows that the coordinator keeps, by name. Work may start while one of them is open.
    #[schemars(length(max = MAX_WINDOWS))]
    windows: Option<Vec<String>>,
    /// When nothing is done, whatever is open.
    #[schemars(length(max = MAX_BLACKOUTS))]
    blackouts: Option<Vec<Blackout>>,
    /// Whether hosts reboot: never; ifNeeded (a package asked for it), which holds if it is left out; or {at: TIME}, if a package asked
    /// for it and not before that time. A host waits for it with its post-install hooks done and holds its slot; a time that has passed
    /// means at once. An opening that closes before it is none to reboot in: a host starts in a later one, and if there is none the
    /// plan is refused.
    reboot: Option<Reboot>,
    /// What holds for the hooks of every host.
    hooks: Option<Hooks>,
    /// Which hosts go before which, in order. Left out: one ring of every target.
    #[schemars(length(max = MAX_RINGS))]
    rings: Option<Vec<Ring>>,
    /// How fast each ring reaches maxConcurrency: full, which holds if it is left out, at once; aws: 1, 2, 4, … hosts.
    ramp: Option<Ramp>,
    /// What hosts must show after an install, and rings after their bake.
    gates: Option<GatesText>,
    /// What is done once more hosts have failed than maxErrors allows. There is only halt.
    on_limit: Option<OnLimit>,
    /// What becomes of a host that would now install something else than was planned: replan, which holds if it is left out (of the
    /// versions of a snapshot: skip), wait, or skip.
    on_superseded: Option<Superseded>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum Operation {
    Scan,
    Install,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Reboot {
    Word(RebootWord),
    Time(RebootTime),
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
enum RebootWord {
    Never,
    IfNeeded,
}

/// If a package asked for it, and not before this.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct RebootTime {
    /// RFC 3339, such as 2026-12-01T04:00:00Z.
    at: String,
}

/// Which hosts: exactly one of these.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Targets {
    /// true: every host of the mesh.
    all: Option<bool>,
    /// Hosts by name, or by the 64 hex digits of their node ids, each once.
    #[schemars(length(min = 1, max = MAX_NAMES))]
    names: Option<Vec<String>>,
    /// Hosts by their tags.
    selector: Option<Selector>,
    /// Hosts by terms, as get hosts -l takes them, such as site=a,!canary.
    matching: Option<String>,
    /// Hosts by the value of their tag Patch Group or PatchGroup, each once.
    patch_groups: Option<Vec<String>>,
}

/// Hosts by their tags.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Selector {
    /// Tag to value: a host must carry every one. The issuer's tags win over a host's own.
    #[schemars(schema_with = "labels")]
    match_labels: BTreeMap<String, String>,
}

/// One stretch of time in which work may start. opens ≤ lastStart ≤ closes, each an RFC 3339 time.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Opening {
    /// First instant.
    opens: String,
    /// A host's run may start up to, and not including, this instant.
    last_start: String,
    /// No disruptive step begins at or after this instant. Running steps finish.
    closes: String,
}

/// One stretch of time in which nothing is done. from < to, each an RFC 3339 time.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Blackout {
    /// First instant.
    from: String,
    /// The first instant after it.
    to: String,
}

/// Hosts that go before those of the next ring. Exactly one of all, names, selector, matching and patchGroups says which of the
/// targets; each is in the first ring that selects it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Ring {
    /// Its name, which no other ring of the rollout has.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// true: every target that no ring before it selects.
    all: Option<bool>,
    /// Hosts by name, or by the 64 hex digits of their node ids, each once.
    #[schemars(length(min = 1, max = MAX_NAMES))]
    names: Option<Vec<String>>,
    /// Hosts by their tags.
    selector: Option<Selector>,
    /// Hosts by terms, as get hosts -l takes them, such as site=a,!canary.
    matching: Option<String>,
    /// Hosts by the value of their tag Patch Group or PatchGroup, each once.
    patch_groups: Option<Vec<String>>,
    /// How many of its hosts may have begun in each step: counts, or shares of the ring, that grow. Left out: all at once.
    #[schemars(length(max = MAX_STEPS))]
    steps: Option<Vec<LimitText>>,
    /// Between a step's settling and the next step: at most 30d, written as 90s, 15m, 4h or 7d.
    wait: Option<String>,
    /// Between the ring's settling and the next ring: at most 30d.
    bake: Option<String>,
    /// How many operators must approve before its first host begins, each with an own key.
    #[schemars(range(max = MAX_APPROVALS))]
    approvals: Option<u8>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
enum OnLimit {
    Halt,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
enum Superseded {
    Replan,
    Wait,
    Skip,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
enum Ramp {
    Full,
    Aws,
}

/// What holds for every hook.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Hooks {
    /// Time-out of every single hook: 1s to 24h, written as 90s, 15m or 4h. 5m if it is left out.
    timeout: Option<String>,
    /// What the failure of a hook means, or that it ran out of its time: fail, which holds if it is left out, counts the host against
    /// maxErrors; skip leaves out a host whose pre-install hooks failed, so that nothing was changed on it, and counts no error; halt
    /// ends the rollout for good, whatever maxErrors allows, and hosts at work finish.
    on_failure: Option<OnHookFailure>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
enum OnHookFailure {
    Fail,
    Skip,
    Halt,
}

/// Schemas of values that may be of several types.
macro_rules! several {
    ($($name:ident $types:tt)*) => { $(
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types })
            }
        }
    )* };
}

several! {
    LimitText ["integer", "string"]
    FileOrList ["string", "array"]
    FileOrObject ["string", "object"]
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_LABELS,
        "additionalProperties": { "type": "string", "minLength": 1, "maxLength": MAX_WORD },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::manifest::{parse_rollout, rollout::TO_COME};

    /// The fields that the reader knows at a place, which is where a manifest has one that it does not.
    fn known(text: &str) -> Vec<String> {
        let fault = parse_rollout("it.yaml", text).unwrap_err();
        let (_, list) = fault.message.split_once("known here are ").unwrap_or_else(|| panic!("{}", fault.message));
        let mut fields: Vec<_> = list.split(", ").map(str::to_owned).collect();
        fields.retain(|field| !TO_COME.contains(&field.as_str()));
        fields.sort();
        fields
    }

    #[test]
    fn the_schema_of_a_rollout_has_exactly_the_fields_that_are_read() {
        let schema: Value = serde_json::to_value(rollout()).unwrap();
        let head = "apiVersion: patchmesh/v1\nkind: Rollout\n";
        let spec = format!("{head}metadata: {{name: a}}\nspec:\n");
        for (text, place) in [
            (format!("{head}x: 1\n"), ""),
            (format!("{head}metadata: {{x: 1}}\n"), "/properties/metadata"),
            (format!("{spec}  x: 1\n"), "/properties/spec"),
            (format!("{spec}  targets: {{x: 1}}\n"), "/properties/spec/properties/targets"),
            (
                format!("{spec}  targets: {{selector: {{x: 1}}}}\n"),
                "/properties/spec/properties/targets/properties/selector",
            ),
            (format!("{spec}  openings: [{{x: 1}}]\n"), "/properties/spec/properties/openings/items"),
            (format!("{spec}  hooks: {{x: 1}}\n"), "/properties/spec/properties/hooks"),
            (format!("{spec}  blackouts: [{{x: 1}}]\n"), "/properties/spec/properties/blackouts/items"),
            (format!("{spec}  rings: [{{x: 1}}]\n"), "/properties/spec/properties/rings/items"),
            (format!("{spec}  gates: {{x: 1}}\n"), "/properties/spec/properties/gates"),
        ] {
            let described = schema.pointer(place).and_then(|found| found["properties"].as_object());
            let mut fields: Vec<_> = described.unwrap_or_else(|| panic!("{place}")).keys().cloned().collect();
            fields.sort();
            let mut known = known(&text);
            // Gates of a ring are refused by name.
            known.retain(|field| !place.ends_with("/rings/items") || field != "gates");
            assert_eq!(fields, known, "{place}");
        }
        let required = &schema["properties"]["spec"]["required"];
        assert_eq!(*required, serde_json::json!(["operation", "targets", "maxConcurrency"]));
    }
}
