//! Every document that is printed against its published JSON Schema and its example file.

use std::{fs, path::PathBuf};

use patchmesh_coordinator::{
    api::{document::*, not_found},
    manifest,
};
use serde::Serialize;
use serde_json::Value;

use super::fake::{self, ID, patchmesh};

fn file(name: &str, kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.v1.{kind}.json"))
}

/// Holds `document` against the schema `name`, and against the example file of that name
/// (`UPDATE_SCRIPTS=1` writes down what is printed now).
fn held(name: &str, document: &impl Serialize) {
    let value = serde_json::to_value(document).unwrap();
    let schema: Value = serde_json::from_str(&fs::read_to_string(file(name, "schema")).unwrap()).unwrap();
    assert_eq!(misfits(&value, &schema, name), [""; 0]);
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    assert!(text.starts_with(&format!("{{\n  \"schema\": \"patchmesh.{name}/v1\"")), "schema is the first member");
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        fs::write(file(name, "example"), &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(file(name, "example")).unwrap(), "{name}");
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
    expect(types.is_empty() || types.contains(&type_of(value)), format!("of type {types:?}"));
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
        let inner = known.and_then(|known| known.get(name)).or(schema.get("additionalProperties"));
        match inner {
            Some(inner) => found.extend(misfits(member, inner, &format!("{path}.{name}"))),
            None if types.is_empty() => {}
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

/// The two patterns that our schemas use.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]+$" => !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$" => {
            let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
            shape.eq("0000-00-00T00:00:00Z".bytes())
        }
        // An unknown pattern fits nothing, so that a new one is noticed.
        _ => false,
    }
}

#[test]
fn what_the_api_answers_is_what_is_published() {
    let spec = manifest::parse_rollout("weekly.yaml", include_str!("../scripts/weekly.yaml")).unwrap();
    held("plan", &fake::plan(&spec));
    held("rollout", &fake::rollout(RolloutState::Halted));
    held("hosts", &fake::hosts());
    held("host", &fake::host("web-1").unwrap());
    held("why", &fake::why());
    held("event", &fake::event());
    held("progress", &fake::progress());
    held("error", &not_found("host", "web-9").document());
    held("applied", &AppliedDocument { schema: AppliedDocument::SCHEMA.into(), id: ID.into() });
    let RolloutDocument { id, name, operation, state, hosts, started_at, ended_at, .. } =
        fake::rollout(RolloutState::Running);
    let row = RolloutRow { id, name, operation, state, hosts, started_at, ended_at };
    held("rollouts", &RolloutsDocument::new(vec![row]));
}

#[test]
fn every_state_and_an_empty_plan_fit_too() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(file("rollout", "schema")).unwrap()).unwrap();
    for state in [RolloutState::Running, RolloutState::Succeeded, RolloutState::Stopped, RolloutState::WindowClosed] {
        let value = serde_json::to_value(fake::rollout(state)).unwrap();
        assert_eq!(misfits(&value, &schema, "rollout"), [""; 0]);
    }
    let mut spec = manifest::parse_rollout("weekly.yaml", include_str!("../scripts/weekly.yaml")).unwrap();
    spec.openings.clear();
    spec.targets = patchmesh_common::rollout::spec::Targets::Names(["nobody".into()].into());
    let times = (fake::plan(&spec).created_at, fake::plan(&spec).expires_at);
    let plan = PlanDocument::new(&spec, times, vec![], vec![]).unwrap();
    let schema: Value = serde_json::from_str(&fs::read_to_string(file("plan", "schema")).unwrap()).unwrap();
    assert_eq!(misfits(&serde_json::to_value(plan).unwrap(), &schema, "plan"), [""; 0]);
}

#[test]
fn rate_prints_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["rate", "--targets", "20", "--max-concurrency", "25%", "--max-errors", "1", "--ramp", "aws", "-o", "json"];
    let output = patchmesh(folder.path()).args(words).output().unwrap();
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        fs::write(file("rate", "example"), &output.stdout).unwrap();
    }
    assert_eq!(String::from_utf8(output.stdout).unwrap(), fs::read_to_string(file("rate", "example")).unwrap());
    let schema: Value = serde_json::from_str(&fs::read_to_string(file("rate", "schema")).unwrap()).unwrap();
    let value: Value = serde_json::from_str(&fs::read_to_string(file("rate", "example")).unwrap()).unwrap();
    assert_eq!(misfits(&value, &schema, "rate"), [""; 0]);
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(file("rollout", "schema")).unwrap()).unwrap();
    let wrong = |change: fn(&mut Value)| {
        let mut value = serde_json::to_value(fake::rollout(RolloutState::Halted)).unwrap();
        change(&mut value);
        !misfits(&value, &schema, "rollout").is_empty()
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
