//! Every document that is printed against its published JSON Schema and its example file.

use std::fs;

use patchmesh_common::{
    patch::baseline::{predefined, schema},
    rollout::{policy::schema as policy_schema, status::Command},
    schedule::schema as windows,
    selector::Selector,
    time::WallTime,
};
use patchmesh_coordinator::{
    api::{document::*, not_found},
    audit, manifest, render,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::fake::{self, Fake, ID, patchmesh};

/// A schema and its example, compiled in, so that the test binary also runs where the sources are not.
struct Published {
    name: &'static str,
    schema: &'static str,
    example: &'static str,
}

macro_rules! published {
    ($name:literal) => {
        Published {
            name: $name,
            schema: include_str!(concat!("../../schemas/", $name, ".v1.schema.json")),
            example: include_str!(concat!("../../schemas/", $name, ".v1.example.json")),
        }
    };
}

impl Published {
    /// Holds `document` against the schema and the example (`UPDATE_SCRIPTS=1` writes down what is printed now).
    fn holds(&self, document: &impl Serialize) {
        self.holds_text(&(serde_json::to_string_pretty(document).unwrap() + "\n"));
    }

    fn holds_text(&self, text: &str) {
        let name = self.name;
        assert_eq!(self.misfits(&serde_json::from_str(text).unwrap()), [""; 0]);
        assert!(text.starts_with(&format!("{{\n  \"schema\": \"patchmesh.{name}/v1\"")), "schema is the first member");
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(format!("{}/schemas/{name}.v1.example.json", env!("CARGO_MANIFEST_DIR")), text).unwrap();
        }
        assert_eq!(text, self.example, "{name}");
    }

    fn misfits(&self, value: &Value) -> Vec<String> {
        misfits(value, &serde_json::from_str(self.schema).unwrap(), self.name)
    }
}

/// Everything in `value` that does not fit `schema`, as far as our schemas go: const, enum, anyOf, type, pattern, required,
/// properties, additionalProperties, items, minimum. A member that the schema does not know does not fit either.
fn misfits(value: &Value, schema: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |good: bool, what: String| {
        if !good {
            found.push(format!("{path}: {value} is not {what}"));
        }
    };
    if let Some(only) = schema.get("const") {
        expect(value == only, only.to_string());
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        expect(words.contains(value), format!("one of {words:?}"));
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        expect(choices.iter().any(|choice| misfits(value, choice, path).is_empty()), "any of the choices".into());
    }
    let types: Vec<_> = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => vec![],
    };
    let own = type_of(value);
    let fits = types.contains(&own) || (own == "integer" && types.contains(&"number"));
    expect(types.is_empty() || fits, format!("of type {types:?}"));
    if let (Some(pattern), Some(text)) = (schema.get("pattern").and_then(Value::as_str), value.as_str()) {
        expect(matches(pattern, text), format!("like {pattern}"));
    }
    if let (Some(minimum), Some(number)) = (schema.get("minimum").and_then(Value::as_i64), value.as_i64()) {
        expect(number >= minimum, format!("at least {minimum}"));
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            found.extend(misfits(item, items, &format!("{path}[{index}]")));
        }
    }
    let Some(members) = value.as_object() else { return found };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            found.push(format!("{path}: {name} is missing"));
        }
    }
    let known = schema.get("properties");
    for (name, member) in members {
        let inner = known
            .and_then(|known| known.get(name))
            .or(schema.get("additionalProperties").filter(|rest| rest.is_object()));
        match inner {
            Some(inner) => found.extend(misfits(member, inner, &format!("{path}.{name}"))),
            None if types.is_empty() || schema.get("additionalProperties") == Some(&Value::Bool(true)) => {}
            None => found.push(format!("{path}: {name} is not in the schema")),
        }
    }
    found
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The patterns that our schemas use.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]+$" => !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$" => {
            let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
            shape.eq("0000-00-00T00:00:00Z".bytes())
        }
        "^[0-9]{1,9}[smhd]$" => {
            let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
            (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        "^[0-9]{1,7}%?$" => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        "^[a-z0-9.-]+$" => {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
        }
        "^[0-9a-f]{16}$" => text.len() == 16 && matches("^[0-9a-f]+$", text),
        "^[a-zA-Z0-9_.-]+$" => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)),
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}.[0-9]{3}Z$" => {
            let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
            shape.eq("0000-00-00T00:00:00.000Z".bytes())
        }
        // An unknown pattern fits nothing, so that a new one is noticed.
        _ => false,
    }
}

#[test]
fn what_the_api_answers_is_what_is_published() {
    let spec = manifest::parse_rollout("weekly.yaml", include_str!("../scripts/weekly.yaml")).unwrap();
    published!("plan").holds(&fake::plan(&spec));
    published!("rollout").holds(&fake::rollout(RolloutState::Halted));
    published!("hosts").holds(&fake::hosts());
    published!("host").holds(&fake::host("web-1").unwrap());
    published!("why").holds(&fake::why());
    published!("orders").holds(&fake::orders());
    published!("surveys").holds(&fake::surveys());
    published!("stop").holds(&fake::standing());
    published!("slots").holds(&fake::slots());
    published!("commands").holds(&fake::commands::commands());
    let command = fake::commands::command(Command::Failed);
    published!("command").holds(&command);
    let host = command.invocations.into_iter().find(|one| one.host == "web-1").unwrap();
    let schema = HostLogDocument::SCHEMA.to_owned();
    let (id, name, operation) = (ID.to_owned(), command.row.name, command.row.operation);
    published!("host-log").holds(&HostLogDocument { schema, id, name, operation, host });
    published!("release").holds(&fake::release("board is dead"));
    published!("event").holds(&fake::event());
    published!("progress").holds(&fake::progress());
    published!("error").holds(&not_found("host", "web-9").document());
    published!("applied").holds(&AppliedDocument::new(ID.into(), true));
    let urgent = fake::urgent(RolloutState::Halted);
    assert_eq!(published!("rollout").misfits(&serde_json::to_value(&urgent).unwrap()), [""; 0]);
    let rows = [fake::rollout(RolloutState::Running), urgent].map(fake::listed);
    published!("rollouts").holds(&RolloutsDocument::new(rows.into()));
}

#[test]
fn what_is_read_of_a_ledger_file_is_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    fake::ledgers::write(folder.path());
    published!("audit").holds(&audit::verify(&folder.path().join("ledger")).unwrap());
    for name in ["byte", "last", "changed", "dropped", "forged", "rewritten", "busy"] {
        let value = serde_json::to_value(audit::verify(&folder.path().join(name)).unwrap()).unwrap();
        assert_eq!(published!("audit").misfits(&value), [""; 0], "{name}");
    }
    let mut entries = Vec::new();
    audit::export(&folder.path().join("ledger"), |entry| {
        entries.push(entry);
        Ok(())
    })
    .unwrap();
    published!("entry").holds(&entries[11]);
    for entry in &entries {
        assert_eq!(published!("entry").misfits(&serde_json::to_value(entry).unwrap()), [""; 0]);
    }
    let state = audit::state(&folder.path().join("ledger"), WallTime::parse("2026-12-01T02:20:00Z").unwrap()).unwrap();
    published!("state").holds(&state);
}

#[test]
fn what_hosts_reported_is_told_as_it_is_published() {
    published!("compliance").holds(&fake::reports::compliance(&Selector::default()));
    let (node, report) = fake::reports::report("db-1").unwrap();
    published!("patches").holds(&PatchesDocument::new("db-1".into(), node.clone(), report.clone()));
    published!("history").holds(&HistoryDocument::new("db-1".into(), node, report));
}

#[test]
fn what_is_said_of_services_is_what_is_published() {
    published!("services").holds(&fake::services::services());
    published!("service").holds(&fake::services::service("pg").unwrap());
    let dropped = serde_json::to_value(fake::services::dropped("pg").unwrap()).unwrap();
    assert_eq!(published!("kept").misfits(&dropped), [""; 0]);
}

#[test]
fn what_was_frozen_and_what_was_done_is_told_as_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let kept = fake::snapshots::keep(folder.path());
    let listed = SnapshotsDocument::of(&kept).unwrap();
    published!("snapshots").holds(&listed);
    let document = |row: &SnapshotRow| {
        let (id, snapshot) = kept.find(&row.id).unwrap();
        SnapshotDocument::new(id, snapshot, kept.written(id))
    };
    published!("snapshot").holds(&document(&listed.snapshots[0]));
    for row in &listed.snapshots {
        let value = serde_json::to_value(document(row)).unwrap();
        assert_eq!(published!("snapshot").misfits(&value), [""; 0]);
    }
    // One that is damaged is listed as such, and keeps no other from being listed.
    let lost = &listed.snapshots[1].id;
    fs::write(folder.path().join("snapshots").join(lost), "x").unwrap();
    let rest = SnapshotsDocument::of(&kept).unwrap();
    assert_eq!(published!("snapshots").misfits(&serde_json::to_value(&rest).unwrap()), [""; 0]);
    assert_eq!((rest.snapshots.len(), &rest.damaged[0].id), (2, lost));
    let table = render::snapshots(&rest, false).table();
    let last = table.lines().last().unwrap();
    assert!(last.starts_with(&format!("{}  -", &lost[..12])) && last.contains("damaged: "), "{table}");
    published!("steps").holds(&fake::steps::steps(fake::rollout(RolloutState::Halted), None).unwrap());
}

#[test]
fn every_state_and_an_empty_plan_fit_too() {
    let ringed = serde_json::to_value(fake::rings::ringed(&["anna"])).unwrap();
    assert_eq!(published!("rollout").misfits(&ringed), [""; 0]);
    for replanned in [fake::replans::superseded(true), fake::replans::superseded(false), fake::replans::again()] {
        assert_eq!(published!("rollout").misfits(&serde_json::to_value(replanned).unwrap()), [""; 0]);
    }
    let rings = manifest::parse_rollout("rings.yaml", include_str!("../scripts/rings.yaml")).unwrap();
    assert_eq!(published!("plan").misfits(&serde_json::to_value(fake::plan(&rings)).unwrap()), [""; 0]);
    for state in [RolloutState::Running, RolloutState::Succeeded, RolloutState::Stopped, RolloutState::WindowClosed] {
        let value = serde_json::to_value(fake::rollout(state)).unwrap();
        assert_eq!(published!("rollout").misfits(&value), [""; 0]);
    }
    let mut spec = manifest::parse_rollout("weekly.yaml", include_str!("../scripts/weekly.yaml")).unwrap();
    spec.openings.clear();
    spec.targets = patchmesh_common::rollout::spec::Targets::Names(["nobody".into()].into());
    let times = (fake::plan(&spec).created_at, fake::plan(&spec).expires_at);
    let plan = PlanDocument::new(&spec, Frozen::default(), times, vec![vec![]], vec![]).unwrap();
    assert_eq!(published!("plan").misfits(&serde_json::to_value(plan).unwrap()), [""; 0]);
}

/// Everything in a `fleet.json` that does not fit its schema.
pub(crate) fn fleet_misfits(document: &Value) -> Vec<String> {
    published!("demo").misfits(document)
}

#[test]
fn the_example_of_a_fleet_fits() {
    assert_eq!(fleet_misfits(&serde_json::from_str(published!("demo").example).unwrap()), [""; 0]);
}

#[test]
fn rate_prints_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["rate", "--targets", "20", "--max-concurrency", "25%", "--max-errors", "1", "--ramp", "aws", "-o", "json"];
    let output = patchmesh(folder.path()).args(words).output().unwrap();
    published!("rate").holds_text(&String::from_utf8(output.stdout).unwrap());
}

#[test]
fn what_is_said_of_windows_is_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("closing.yaml"), include_str!("../scripts/closing.yaml")).unwrap();
    let words = ["windows", "next", "-f", "closing.yaml", "--from", "2021-03-20T00:00:00Z", "-o", "json"];
    let output = patchmesh(folder.path()).args(words).output().unwrap();
    published!("windows").holds_text(&String::from_utf8(output.stdout).unwrap());

    let generated = windows::maintenance_window();
    let schema =
        holds_schema("maintenance-window", include_str!("../../schemas/maintenance-window.v1.schema.json"), &generated);
    let window: Value = serde_saphyr::from_str(include_str!("../scripts/patch-tuesday.yaml")).unwrap();
    assert_eq!(misfits(&window, &schema, "it"), [""; 0]);
    let mut endless = window.clone();
    endless["spec"]["endDate"] = Value::Null;
    assert_eq!(misfits(&endless, &schema, "it"), [""; 0]);
    for (path, wrong) in [
        ("/kind", json!("Window")),
        ("/metadata/name", json!("patch tuesday")),
        ("/spec/offsetDays", json!("3")),
        ("/spec/duration", json!("four hours")),
        ("/spec/cutoff", json!(1)),
    ] {
        let mut changed = window.clone();
        *changed.pointer_mut(path).unwrap() = wrong;
        assert!(!misfits(&changed, &schema, "it").is_empty(), "{path}");
    }
    // What is described carries a whole manifest.
    let described = include_str!("../../schemas/window.v1.schema.json");
    let mut whole: Value = serde_json::from_str(described).unwrap();
    whole["properties"]["manifest"] = schema.clone();
    for member in ["$schema", "title"] {
        whole["properties"]["manifest"].as_object_mut().unwrap().remove(member);
    }
    holds_schema("window", described, &whole);
    let mut unknown = window;
    unknown["spec"]["allowUnassociatedTargets"] = json!(false);
    assert!(!misfits(&unknown, &schema, "it").is_empty());
    let tasks: Value = serde_saphyr::from_str(include_str!("../scripts/tasks.yaml")).unwrap();
    assert_eq!(misfits(&tasks, &schema, "it"), [""; 0]);
    for (path, wrong) in [
        ("/spec/targets/0/names", json!("web-1")),
        ("/spec/tasks/0/operation", json!("Reboot")),
        ("/spec/tasks/0/priority", json!(-1)),
        ("/spec/tasks/0/targets", json!("web")),
        ("/spec/tasks/0/maxConcurrency", json!("ten")),
        ("/spec/tasks/1", json!({ "name": "scan" })),
    ] {
        let mut changed = tasks.clone();
        *changed.pointer_mut(path).unwrap() = wrong;
        assert!(!misfits(&changed, &schema, "it").is_empty(), "{path}");
    }
}

#[test]
fn what_is_said_of_kept_windows_is_what_is_published() {
    let fake = Fake::default();
    let manifest = |name, text| manifest::window::parse(name, text).unwrap();
    let change =
        fake.store.put_window(manifest("last.yaml", include_str!("../scripts/last.yaml")), &fake::unnoted).unwrap();
    published!("kept").holds(&change);
    fake.store.put_window(manifest("closing.yaml", include_str!("../scripts/closing.yaml")), &fake::unnoted).unwrap();
    fake.store.put_window(manifest("tasks.yaml", include_str!("../scripts/tasks.yaml")), &fake::unnoted).unwrap();
    published!("window-list").holds(&fake::windows::list(fake.aged()).unwrap());
    published!("window").holds(&fake::windows::one(fake.aged(), "patch-tuesday").unwrap());
}

#[test]
fn what_is_said_of_policies_is_what_is_published() {
    let generated = policy_schema::patch_policy();
    let schema = holds_schema("patch-policy", include_str!("../../schemas/patch-policy.v1.schema.json"), &generated);
    for text in [
        include_str!("../scripts/nightly.yaml"),
        include_str!("../scripts/weekly-policy.yaml"),
        include_str!("../scripts/guarded.yaml"),
        include_str!("../scripts/careful-policy.yaml"),
    ] {
        assert_eq!(misfits(&serde_saphyr::from_str(text).unwrap(), &schema, "it"), [""; 0]);
    }
    let nightly: Value = serde_saphyr::from_str(include_str!("../scripts/nightly.yaml")).unwrap();
    for (path, wrong) in [
        ("/kind", json!("Policy")),
        ("/metadata/name", json!("Nightly")),
        ("/spec/scan", json!("rate(1 day)")),
        ("/spec/reboot", json!("NoReboot")),
        ("/spec/maxConcurrency", json!("ten")),
        ("/spec/windows", json!("sundays")),
    ] {
        let mut changed = nightly.clone();
        *changed.pointer_mut(path).unwrap() = wrong;
        assert!(!misfits(&changed, &schema, "it").is_empty(), "{path}");
    }
    let careful: Value = serde_saphyr::from_str(include_str!("../scripts/careful-policy.yaml")).unwrap();
    for (path, wrong) in [
        ("/spec/rings/0", json!("canary")),
        ("/spec/rings/1/steps/0", json!("ten")),
        ("/spec/rings/0/bake", json!("soon")),
        ("/spec/gates", json!([])),
        ("/spec/gates/afterHost/0", json!("check-web")),
        ("/spec/gates/afterHost/3/http/status", json!(99)),
        ("/spec/gates/afterRing/0", json!({ "systemdUnit": "a.service" })),
        ("/spec/gates/afterRing/1/http/status", json!(99)),
        ("/spec/blackouts/0/from", json!(2026)),
        ("/spec/onLimit", json!("pause")),
        ("/spec/onSuperseded", json!("retry")),
    ] {
        let mut changed = careful.clone();
        *changed.pointer_mut(path).unwrap() = wrong;
        assert!(!misfits(&changed, &schema, "it").is_empty(), "{path}");
    }
    let described = include_str!("../../schemas/policy.v1.schema.json");
    let mut whole: Value = serde_json::from_str(described).unwrap();
    whole["properties"]["manifest"] = schema;
    for member in ["$schema", "title"] {
        whole["properties"]["manifest"].as_object_mut().unwrap().remove(member);
    }
    holds_schema("policy", described, &whole);

    let fake = Fake::default();
    let window = manifest::window::parse("w.yaml", include_str!("../scripts/patch-tuesday.yaml")).unwrap();
    fake.store.put_window(window, &fake::unnoted).unwrap();
    for text in [include_str!("../scripts/nightly.yaml"), include_str!("../scripts/weekly-policy.yaml")] {
        fake.store.put_policy(manifest::policy::parse("p.yaml", text).unwrap(), &fake::unnoted).unwrap();
    }
    published!("policies").holds(&fake::policies::list(&fake.store).unwrap());
    published!("policy").holds(&fake::policies::one(&fake.store, "nightly").unwrap());
}

#[test]
fn what_is_said_of_baselines_is_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("mesh.yaml", include_str!("../scripts/mesh.yaml")),
        ("inventory.json", include_str!("../scripts/inventory.json")),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let printed = |line: &str| {
        let output = patchmesh(folder.path()).args(line.split(' ')).args(["-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let at = "--at 2026-12-01T02:00:00Z";
    published!("evaluation")
        .holds_text(&printed(&format!("baseline evaluate --baseline mesh.yaml --inventory inventory.json {at}")));
    published!("baselines").holds_text(&printed("get baselines"));
    published!("baseline").holds_text(&printed("describe baseline web-mesh --dir ."));
    published!("validation").holds_text(&printed("validate -f mesh.yaml"));
    fs::create_dir(folder.path().join("kept")).unwrap();
    fs::write(folder.path().join("kept/mesh.yaml"), include_str!("../scripts/mesh.yaml")).unwrap();
    fs::write(folder.path().join("kept/wrong.yaml"), "kind: Pod\n").unwrap();
    let wrong = patchmesh(folder.path()).args(["validate", "-f", "kept", "-o", "json"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    published!("validations").holds_text(&String::from_utf8(wrong.stdout).unwrap());
    fs::remove_file(folder.path().join("kept/wrong.yaml")).unwrap();
    fs::write(folder.path().join("changed.yaml"), include_str!("../scripts/changed.yaml")).unwrap();
    published!("diff").holds_text(&printed("diff -f changed.yaml --dir kept"));
}

/// Holds a file of ours against `generated` (`UPDATE_SCRIPTS=1` writes down what is generated now).
fn holds_schema(name: &str, file: &str, generated: &impl Serialize) -> Value {
    let text = serde_json::to_string_pretty(generated).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        fs::write(format!("{}/schemas/{name}.v1.schema.json", env!("CARGO_MANIFEST_DIR")), &text).unwrap();
    }
    assert_eq!(text, file, "{name}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_schemas_of_what_people_write_come_from_the_types_that_read_it() {
    let baseline = holds_schema(
        "patch-baseline",
        include_str!("../../schemas/patch-baseline.v1.schema.json"),
        &schema::patch_baseline(),
    );
    let list = holds_schema(
        "baseline-override",
        include_str!("../../schemas/baseline-override.v1.schema.json"),
        &schema::baseline_override(),
    );
    let install = holds_schema(
        "install-override-list",
        include_str!("../../schemas/install-override-list.v1.schema.json"),
        &schema::install_override_list(),
    );
    let service = holds_schema(
        "service-manifest",
        include_str!("../../schemas/service-manifest.v1.schema.json"),
        &manifest::schema::service(),
    );
    let pg: Value = serde_saphyr::from_str(include_str!("../scripts/pg.yaml")).unwrap();
    assert_eq!(misfits(&pg, &service, "it"), [""; 0]);
    let rollout = holds_schema(
        "rollout-manifest",
        include_str!("../../schemas/rollout-manifest.v1.schema.json"),
        &manifest::schema::rollout(),
    );
    for text in [
        include_str!("../scripts/weekly.yaml"),
        include_str!("../scripts/listed.yaml"),
        include_str!("../scripts/overridden.yaml"),
        include_str!("../scripts/large.yaml"),
    ] {
        let misfits = misfits(&serde_saphyr::from_str::<Value>(text).unwrap(), &rollout, "it");
        assert_eq!(misfits, [""; 0], "{text}");
    }
    // What is described carries a whole manifest.
    let described = include_str!("../../schemas/baseline.v1.schema.json");
    let mut whole: Value = serde_json::from_str(described).unwrap();
    whole["properties"]["manifest"] = baseline.clone();
    for member in ["$schema", "title"] {
        whole["properties"]["manifest"].as_object_mut().unwrap().remove(member);
    }
    holds_schema("baseline", described, &whole);

    let fits = |value: &Value, schema: &Value| assert_eq!(misfits(value, schema, "it"), [""; 0]);
    let yaml = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let written = |baseline| serde_json::to_value(manifest::baseline::Written::from(baseline)).unwrap();
    let mesh = yaml(include_str!("../scripts/mesh.yaml"));
    fits(&mesh, &baseline);
    predefined::all().into_iter().for_each(|one| fits(&written(one), &baseline));
    fits(&json(include_str!("../scripts/override.json")), &list);
    fits(&json(&format!("[{}]", include_str!("../scripts/web.json"))), &list);
    fits(&yaml(include_str!("../scripts/list.yaml")), &install);
    for (path, wrong) in [
        ("/spec/operatingSystem", "DEBAIN"),
        ("/spec/approvalRules/patchRules/0/patchFilterGroup/patchFilters/0/key", "NAME"),
        ("/spec/approvalRules/patchRules/0/approveAfterDays", "soon"),
        ("/spec/rejectedPatchesAction", "REJECT"),
        ("/kind", "Baseline"),
    ] {
        let mut changed = mesh.clone();
        *changed.pointer_mut(path).unwrap() = wrong.into();
        assert!(!misfits(&changed, &baseline, "it").is_empty(), "{path}");
    }
    let mut unknown = mesh;
    unknown["spec"]["aproved"] = true.into();
    assert!(!misfits(&unknown, &baseline, "it").is_empty());
}

#[test]
fn what_is_said_of_patch_groups_is_what_is_published() {
    let fake = Fake::default();
    let manifest = include_str!("../scripts/mesh.yaml");
    let change = fake.store.put(manifest::baseline::parse("mesh.yaml", manifest).unwrap(), &fake::unnoted).unwrap();
    assert_eq!(published!("changed").misfits(&serde_json::to_value(change).unwrap()), [""; 0]);
    let asked = RegisterRequest { baseline: "web-mesh".into(), operating_system: Some("DEBIAN".into()) };
    published!("changed").holds(&fake.store.register("prod", &asked, &fake::unnoted).unwrap());
    fake.store.set_default("web-mesh", &fake::unnoted).unwrap();
    published!("groups").holds(&fake.store.groups().unwrap());
    for document in [
        published!("baselines").misfits(&serde_json::to_value(fake.store.list().unwrap()).unwrap()),
        published!("baseline").misfits(&serde_json::to_value(fake.store.show("web-mesh").unwrap()).unwrap()),
    ] {
        assert_eq!(document, [""; 0]);
    }
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let wrong = |change: fn(&mut Value)| {
        let mut value = serde_json::to_value(fake::rollout(RolloutState::Halted)).unwrap();
        change(&mut value);
        !published!("rollout").misfits(&value).is_empty()
    };
    assert!(!wrong(|_| {}));
    assert!(wrong(|value| value["state"] = "Haltd".into()));
    assert!(wrong(|value| value["startedAt"] = "2026-12-01T02:00:00.5Z".into()));
    assert!(wrong(|value| value["extra"] = 1.into()));
    assert!(wrong(|value| value["hosts"]["total"] = "3".into()));
    assert!(wrong(|value| value["results"][0]["error"] = serde_json::json!({"code": "x"})));
    assert!(wrong(|value| {
        value.as_object_mut().unwrap().remove("reason");
    }));
}
