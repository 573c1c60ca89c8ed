//! JSON Schema of what people write, from the types that read it.

use schemars::{Schema, json_schema};

use super::window::{MAX_NAME, MIN_NAME, Spec};
use crate::patch::baseline::schema::manifest;

/// Of a manifest of kind `MaintenanceWindow`.
pub fn maintenance_window() -> Schema {
    let pattern = "^[a-zA-Z0-9_.-]+$";
    let name = json_schema!({ "type": "string", "minLength": MIN_NAME, "maxLength": MAX_NAME, "pattern": pattern });
    let mut schema = manifest::<Spec>("MaintenanceWindow", name);
    for date in ["startDate", "endDate"] {
        // A window without end is often written with the member all the same.
        if let Some(kind) = schema.pointer_mut(&format!("/properties/spec/properties/{date}/type")) {
            *kind = serde_json::json!(["string", "null"]);
        }
    }
    schema
}
