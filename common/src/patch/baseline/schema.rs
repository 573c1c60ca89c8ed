//! JSON Schemas of what people and AWS write, from the types that read it.
//!
//! A schema is for editors: it knows words and limits, not what depends on the operating system. The check knows that.

use std::collections::BTreeSet;

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform::transform_subschemas,
};

use super::{OperatingSystem, Spec, aws::AwsBaseline, check::MAX_GLOBAL_FILTERS, check::MAX_NAME};
use crate::{labels, patch::overrides::InstallList};

/// Of a manifest of kind `PatchBaseline`.
pub fn patch_baseline() -> Schema {
    manifest::<Spec>("PatchBaseline", json_schema!({ "type": "string", "minLength": 3, "maxLength": MAX_NAME }))
}

/// Of a manifest of `kind` with a name of the shape `name` and `S` for its spec.
pub fn manifest<S: JsonSchema>(kind: &str, name: Schema) -> Schema {
    let mut generator = generator();
    let mut schema = json_schema!({
        "$schema": DRAFT,
        "title": format!("kind: {kind}"),
        "type": "object",
        "properties": {
            "apiVersion": { "const": "patchmesh/v1" },
            "kind": { "const": kind },
            "metadata": {
                "type": "object",
                "properties": {
                    "name": name,
                    "labels": {
                        "description": "What people note. It decides nothing. It is kept or shown with the name; not kept of a Service.",
                        "type": "object",
                        "maxProperties": labels::MAX_LABELS,
                        "additionalProperties": { "type": "string", "maxLength": labels::MAX_VALUE },
                    },
                },
                "required": ["name"],
                "additionalProperties": false,
            },
            "spec": generator.subschema_for::<S>(),
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    });
    tidy(&mut schema);
    schema
}

/// Of AWS's `BaselineOverride`: a list of baselines in its own spelling.
pub fn baseline_override() -> Schema {
    let mut generator = generator();
    let mut schema = json_schema!({
        "$schema": DRAFT,
        "title": "BaselineOverride",
        "type": "array",
        "items": generator.subschema_for::<AwsBaseline>(),
        "maxItems": OperatingSystem::ALL.len(),
    });
    tidy(&mut schema);
    schema
}

/// Of AWS's `InstallOverrideList`.
pub fn install_override_list() -> Schema {
    let mut schema = generator().into_root_schema_for::<InstallList>();
    schema.insert("title".to_owned(), "InstallOverrideList".into());
    tidy(&mut schema);
    schema
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator()
}

/// Of the keys, those that some operating system knows.
pub(super) fn filter_key(_: &mut SchemaGenerator) -> Schema {
    let systems = OperatingSystem::ALL.iter();
    let known: BTreeSet<_> = systems.flat_map(|os| os.filters()).map(|(key, _)| key.as_str()).collect();
    json_schema!({ "type": "string", "enum": known })
}

/// The filters of a whole baseline are fewer than those of a rule.
pub(super) fn global_filters(schema: &mut Schema) {
    for name in ["patchFilters", "PatchFilters"] {
        if let Some(filters) =
            schema.pointer_mut(&format!("/properties/{name}")).and_then(|found| found.as_object_mut())
        {
            filters.insert("maxItems".to_owned(), MAX_GLOBAL_FILTERS.into());
        }
    }
}

/// What is absent is left out, never `null`; sizes of numbers and links of our documentation are left out too.
fn tidy(schema: &mut Schema) {
    if let Some(members) = schema.as_object_mut() {
        members.remove("format");
        if let Some(types) = members.get_mut("type") {
            let own: Vec<_> = types.as_array().into_iter().flatten().filter(|one| *one != "null").cloned().collect();
            match own.as_slice() {
                [] => {}
                [one] => *types = one.clone(),
                _ => *types = own.into(),
            }
        }
        for list in ["enum", "anyOf"] {
            if let Some(found) = members.get_mut(list).and_then(|found| found.as_array_mut()) {
                found.retain(|one| !one.is_null() && one.get("type").is_none_or(|kind| kind != "null"));
            }
        }
        if let Some(text) = members.get_mut("description") {
            let plain = text.as_str().unwrap_or_default().replace("[`", "`").replace("`]", "`");
            // What a chapter of the specification is called helps nobody outside.
            let cut = plain.split_once(" (spec ").and_then(|(before, rest)| Some((before, rest.split_once(')')?.1)));
            *text = cut.map_or(plain.clone(), |(before, after)| format!("{before}{after}")).into();
        }
    }
    transform_subschemas(&mut tidy, schema);
}
