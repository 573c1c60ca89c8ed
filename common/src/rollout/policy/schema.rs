//! JSON Schema of what people write, from the types that read it.

use schemars::{Schema, json_schema};

use super::{MAX_NAME, Spec};
use crate::patch::baseline::schema::manifest;

/// Of a manifest of kind `PatchPolicy`.
pub fn patch_policy() -> Schema {
    let name = json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[a-z0-9.-]+$" });
    manifest::<Spec>("PatchPolicy", name)
}
