//! JSON Schema of what people write, from the types that read it.

use schemars::{Schema, json_schema};

use super::window::{MAX_NAME, MIN_NAME, Spec};
use crate::patch::baseline::schema::{DRAFT, generator, tidy};

/// Of a manifest of kind `MaintenanceWindow`.
pub fn maintenance_window() -> Schema {
    let mut generator = generator();
    let mut schema = json_schema!({
        "$schema": DRAFT,
        "title": "kind: MaintenanceWindow",
        "type": "object",
        "properties": {
            "apiVersion": { "const": "patchmesh/v1" },
            "kind": { "const": "MaintenanceWindow" },
            "metadata": {
                "type": "object",
                "properties": {
                    "name": { "type": "string", "minLength": MIN_NAME, "maxLength": MAX_NAME, "pattern": "^[a-zA-Z0-9_.-]+$" },
                },
                "required": ["name"],
                "additionalProperties": false,
            },
            "spec": generator.subschema_for::<Spec>(),
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    });
    tidy(&mut schema);
    for date in ["startDate", "endDate"] {
        // A window without end is often written with the member all the same.
        if let Some(kind) = schema.pointer_mut(&format!("/properties/spec/properties/{date}/type")) {
            *kind = serde_json::json!(["string", "null"]);
        }
    }
    schema
}
