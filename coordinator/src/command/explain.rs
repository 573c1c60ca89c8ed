//! `explain KIND[.FIELD]`: what a manifest says, from the schema of the types that read it.

use clap::Args;
use schemars::Schema;
use serde_json::Value;

use super::refused;
use crate::{
    cli::Output,
    fault::{Exit, Fault},
    manifest::{KINDS_TO_COME, schema::KINDS},
    output::{self, Format},
    render::one_line,
};

/// Kinds that `get` and `describe` call by a shorter name.
const SHORT: [(&str, &str); 3] =
    [("window", "MaintenanceWindow"), ("policy", "PatchPolicy"), ("baseline", "PatchBaseline")];

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A kind of manifest, or a field of one, e.g. Rollout.spec.openings
    #[arg(value_name = "KIND[.FIELD]")]
    path: String,
    #[command(flatten)]
    output: Output,
}

/// Runs `explain`: its JSON Schema, or the same for people. Lists are stepped through: a field of their entries is named like any other.
///
/// # Errors
/// A kind or a field that is not there, exit 64; those that are to come are refused by name.
pub fn run(args: &ExplainArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("explain", &[Format::Table, Format::Json, Format::Yaml])?;
    let mut words = args.path.split('.');
    let kind = words.next().unwrap_or_default();
    let Some((kind, schema)) = KINDS.iter().find(|(name, _)| means(kind, name)) else {
        return Err(no_kind(kind));
    };
    let whole = schema().to_value();
    let (mut found, mut path) = (&whole, (*kind).to_owned());
    let mut required = true;
    for word in words {
        let inner = entry(found);
        let Some(field) = inner.get("properties").and_then(|fields| fields.get(word)) else {
            return Err(no_field(&path, word, inner));
        };
        required = is_required(inner, word);
        found = field;
        path = format!("{path}.{word}");
    }
    match format {
        Format::Table => output::print(&text(&path, found, required))?,
        // As a schema it is written in the order that people expect: what it is before what is in it.
        _ => match Schema::try_from(found.clone()) {
            Ok(schema) => output::print_document(&schema, format)?,
            Err(_) => output::print_document(found, format)?,
        },
    }
    Ok(Exit::Done)
}

/// Whether somebody who writes `given` means the kind `name`: in any case, as `get` and `describe` call it, of one or of many.
fn means(given: &str, name: &str) -> bool {
    let given = given.to_ascii_lowercase();
    let one = match given.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => given.strip_suffix('s').unwrap_or(&given).to_owned(),
    };
    let short = SHORT.iter().find(|(_, kind)| *kind == name).map(|(short, _)| *short);
    short.is_some_and(|short| short == one) || [given, one].iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// What a list is made of, or the thing itself.
fn entry(schema: &Value) -> &Value {
    schema.get("items").unwrap_or(schema)
}

fn is_required(schema: &Value, field: &str) -> bool {
    let mut required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    required.any(|name| name == field)
}

fn text(path: &str, schema: &Value, required: bool) -> String {
    let needed = if required { "required" } else { "may be left out" };
    let mut out = format!("{path}: {}, {needed}\n", shape(schema));
    let inner = entry(schema);
    let own = [schema, inner].into_iter().filter_map(description);
    let mut told: Vec<String> = own.collect();
    told.dedup();
    for line in told {
        out.push_str(&format!("  {line}\n"));
    }
    let Some(fields) = inner.get("properties").and_then(Value::as_object).filter(|fields| !fields.is_empty()) else {
        return out;
    };
    out.push_str("\nfields\n");
    let head = |name: &str, field: &Value| {
        let mark = if is_required(inner, name) { ", required" } else { "" };
        format!("{}{mark}", shape(field))
    };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (name, field) in fields {
        out.push_str(&format!("  {name:width$}  {}\n", head(name, field)));
        if let Some(line) = description(field) {
            out.push_str(&format!("  {:width$}  {line}\n", ""));
        }
    }
    out
}

fn description(schema: &Value) -> Option<String> {
    schema.get("description").and_then(Value::as_str).map(one_line)
}

/// What may stand there, in words.
fn shape(schema: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(only) = schema.get("const") {
        return word(only);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return format!("one of {}", words.iter().map(word).collect::<Vec<_>>().join(", "));
    }
    if let Some(ways) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let words: Vec<_> = ways.iter().filter_map(|way| way.get("const")).map(word).collect();
        // Null stands for what is left out.
        let ways: Vec<_> = ways.iter().filter(|way| way.get("type").and_then(Value::as_str) != Some("null")).collect();
        return match ways.as_slice() {
            [only] if words.is_empty() => shape(only),
            ways if words.is_empty() => {
                let types = ways.iter().filter_map(|way| way.get("type").and_then(Value::as_str));
                types.collect::<Vec<_>>().join(" or ")
            }
            _ => format!("one of {}", words.join(", ")),
        };
    }
    let of = |name: &str| match name {
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", shape(items)),
            None => "list".to_owned(),
        },
        other => other.to_owned(),
    };
    let kind = match schema.get("type") {
        Some(Value::String(one)) => of(one),
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).map(of).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    };
    let bound = |least: &str, most: &str, what: &str| {
        let number = |name: &str| schema.get(name).map(word);
        match (number(least), number(most)) {
            (Some(least), Some(most)) => Some(format!(" of {least} to {most}{what}")),
            (None, Some(most)) => Some(format!(" of at most {most}{what}")),
            (Some(least), None) => Some(format!(" of at least {least}{what}")),
            (None, None) => None,
        }
    };
    if kind.contains(" or ") {
        return kind;
    }
    let bounds = bound("minLength", "maxLength", " characters")
        .or_else(|| bound("minItems", "maxItems", " entries"))
        .or_else(|| bound("minimum", "maximum", ""));
    format!("{kind}{}", bounds.unwrap_or_default())
}

fn no_kind(kind: &str) -> Fault {
    if let Some(to_come) = KINDS_TO_COME.iter().find(|name| name.eq_ignore_ascii_case(kind)) {
        return Fault::not_built(&format!("kind {to_come}"), "write a Rollout; patchmesh explain Rollout");
    }
    let known: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
    refused::unknown("there is no kind", kind, &format!("use patchmesh explain {}", known.join("|")))
}

fn no_field(path: &str, field: &str, inner: &Value) -> Fault {
    let known = inner.get("properties").and_then(Value::as_object);
    let known: Vec<_> = known.into_iter().flat_map(|fields| fields.keys()).map(String::as_str).collect();
    let remedy = match known.as_slice() {
        [] => format!("see patchmesh explain {path}, which has no fields"),
        fields => format!("its fields are {}", fields.join(", ")),
    };
    refused::unknown(&format!("{path} has no field"), field, &remedy)
}
