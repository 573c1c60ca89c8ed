//! JSON Schema of what people write, from the types that read it.

use schemars::{Schema, json_schema};

use super::{MAX_NAME, Spec};
use crate::patch::baseline::schema::{DRAFT, generator, tidy};

/// Of a manifest of kind `PatchPolicy`.
pub fn patch_policy() -> Schema {
    let mut generator = generator();
    let mut schema = json_schema!({
        "$schema": DRAFT,
        "title": "kind: PatchPolicy",
        "type": "object",
        "properties": {
            "apiVersion": { "const": "patchmesh/v1" },
            "kind": { "const": "PatchPolicy" },
            "metadata": {
                "type": "object",
                "properties": {
                    "name": { "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[a-z0-9.-]+$" },
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
    schema
}
