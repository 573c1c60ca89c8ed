//! `diff -f FILE|DIR`: what the coordinator, or a folder, keeps otherwise than manifests say. Changes nothing.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{baselines, block_on, folder};
use crate::{
    api::document::ServiceRequest,
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::{Manifest, baseline::Written, policy, service, window},
    output::{self, Format},
    render::one_line,
};

/// Flags of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A manifest, or a folder of them; - is stdin
    #[arg(short, long)]
    file: PathBuf,
    /// A folder of manifests instead of the coordinator; needs none
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End with 2 if anything differs, with 0 if not
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// `patchmesh.diff/v1`.
#[derive(Debug, Serialize)]
struct DiffDocument {
    schema: &'static str,
    changes: Vec<ChangeDocument>,
}

/// What a manifest would change.
#[derive(Debug, Serialize)]
struct ChangeDocument {
    file: String,
    kind: &'static str,
    name: Option<String>,
    change: Change,
    fields: Vec<FieldDocument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    /// Nothing of that name is kept.
    Created,
    /// Something else is kept.
    Changed,
    /// The same is kept.
    Unchanged,
    /// Things of its kind are used, not kept.
    NotKept,
}

/// One value that differs; null where there is none.
#[derive(Debug, PartialEq, Serialize)]
struct FieldDocument {
    path: String,
    from: Option<Value>,
    to: Option<Value>,
}

/// Runs `diff`.
///
/// # Errors
/// A manifest that is wrong, or what the coordinator or the folder says.
pub fn run(args: &DiffArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("diff", &[Format::Table, Format::Json, Format::Yaml])?;
    let mut read = if args.file.is_dir() { folder::read(&args.file)? } else { vec![folder::one(&args.file)] };
    folder::refuse_twins(&mut read);
    let mut changes = Vec::new();
    for one in read {
        changes.push(change(args, one.file, one.manifest?)?);
    }
    let differs = changes.iter().any(|one| matches!(one.change, Change::Created | Change::Changed));
    let document = DiffDocument { schema: "patchmesh.diff/v1", changes };
    match format {
        Format::Table => output::print(&text(&document))?,
        _ => output::print_document(&document, format)?,
    }
    Ok(if args.detailed_exitcode && differs { Exit::Changes } else { Exit::Done })
}

fn change(args: &DiffArgs, file: String, manifest: Manifest) -> Result<ChangeDocument, Fault> {
    let (kind, name) = manifest.identity();
    let (then, now) = match manifest {
        Manifest::Baseline(baseline) => {
            let kept = found(baselines::find(&baseline.name, args.dir.as_deref(), &args.socket))?;
            let kept = kept.map(baselines::read).transpose()?.map(Written::from);
            (kept.as_ref().map(tree).transpose()?, tree(&Written::from(*baseline))?)
        }
        // A folder keeps baselines only.
        Manifest::Window(window) if args.dir.is_none() => {
            let kept = found(block_on(args.socket.client().window(&window.name)))?;
            let kept = kept.map(|kept| tree(&kept.manifest)).transpose()?;
            (kept, tree(&window::Written::from(*window))?)
        }
        Manifest::Policy(policy) if args.dir.is_none() => {
            let kept = found(block_on(args.socket.client().policy(&policy.name)))?;
            let kept = kept.map(|kept| tree(&kept.manifest)).transpose()?;
            (kept, tree(&policy::Written::from(*policy))?)
        }
        Manifest::Service(service) if args.dir.is_none() => {
            let kept = found(block_on(args.socket.client().service(&service.name)))?;
            let kept = kept.and_then(|kept| kept.row.request());
            (kept.as_ref().map(tree).transpose()?, tree(&ServiceRequest::new(*service))?)
        }
        _ => return Ok(ChangeDocument { file, kind, name, change: Change::NotKept, fields: Vec::new() }),
    };
    let fields = then.as_ref().map(|then| fields(then, &now)).unwrap_or_default();
    let change = match then {
        None => Change::Created,
        Some(_) if fields.is_empty() => Change::Unchanged,
        Some(_) => Change::Changed,
    };
    Ok(ChangeDocument { file, kind, name, change, fields })
}

/// What was found, or that nothing of that name is kept.
fn found<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(kept) => Ok(Some(kept)),
        Err(fault) if fault.document().code == "not-found" => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn tree(written: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(written).map_err(|error| {
        Fault::new("output-failed", "a manifest has no written form", "nothing was changed", "report this")
            .because(error)
    })
}

/// Every value that differs, by where it is. Lists of the same length are compared entry by entry, others as a whole.
fn fields(then: &Value, now: &Value) -> Vec<FieldDocument> {
    let mut found = Vec::new();
    walk("", Some(then), Some(now), &mut found);
    found
}

fn walk(path: &str, then: Option<&Value>, now: Option<&Value>, found: &mut Vec<FieldDocument>) {
    match (then, now) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&inner, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                walk(&format!("{path}[{at}]"), Some(before), Some(after), found);
            }
        }
        (then, now) if then == now => {}
        (then, now) => found.push(FieldDocument { path: path.to_owned(), from: then.cloned(), to: now.cloned() }),
    }
}

/// Why things of this kind are not compared, and what to do instead.
fn not_kept(kind: &str) -> &'static str {
    match kind {
        "Rollout" => "is not kept there: patchmesh plan -f shows what it would do",
        window::KIND | policy::KIND | service::KIND => {
            "is not kept in folders: leave --dir out to compare it with the coordinator's"
        }
        _ => "is not kept: a Rollout names it",
    }
}

fn text(document: &DiffDocument) -> String {
    let mut out = String::new();
    for one in &document.changes {
        let name = one.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let (mark, what) = match one.change {
            Change::Created => ('+', "would be created"),
            Change::Changed => ('~', "would be changed"),
            Change::Unchanged => ('=', "is the same"),
            Change::NotKept => ('.', not_kept(one.kind)),
        };
        out.push_str(&format!("{mark} {}{name} {what} ({})\n", one.kind, one.file));
        for field in &one.fields {
            let shown = |value: &Option<Value>| value.as_ref().map(|value| one_line(&value.to_string()));
            let line = match (shown(&field.from), shown(&field.to)) {
                (Some(from), Some(to)) => format!("~ {}: {from} -> {to}", field.path),
                (None, Some(to)) => format!("+ {}: {to}", field.path),
                (from, None) => format!("- {}: {}", field.path, from.unwrap_or_default()),
            };
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_told_by_its_place() {
        let then =
            json!({ "spec": { "a": 1, "gone": true, "list": [1, { "b": 2 }], "long": [1, 2], "same": { "x": 1 } } });
        let now = json!({ "spec": { "a": 2, "list": [1, { "b": 3 }], "long": [1], "new": "n", "same": { "x": 1 } } });
        let field = |path: &str, from: Option<Value>, to: Option<Value>| FieldDocument { path: path.into(), from, to };
        assert_eq!(
            fields(&then, &now),
            [
                field("spec.a", Some(json!(1)), Some(json!(2))),
                field("spec.gone", Some(json!(true)), None),
                field("spec.list[1].b", Some(json!(2)), Some(json!(3))),
                field("spec.long", Some(json!([1, 2])), Some(json!([1]))),
                field("spec.new", None, Some(json!("n"))),
            ]
        );
        assert_eq!(fields(&now, &now), []);
    }
}
