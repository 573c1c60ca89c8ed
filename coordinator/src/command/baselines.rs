//! `get baselines` and `describe baseline`: the predefined ones and those of a folder. Offline.

use std::path::PathBuf;

use clap::Args;
use patchmesh_common::patch::baseline::{FilterText, PatchBaseline, RuleText};
use serde::Serialize;

use crate::{
    baselines::{Shelf, Shelved},
    cli::Output,
    fault::Fault,
    manifest::baseline::Written,
    output::{self, Format, Rows},
};

/// Flags of `get baselines`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A folder of manifests; without it only the predefined baselines are listed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Name and flags of `describe baseline`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name
    name: String,
    /// A folder of manifests; without it only the predefined baselines are known
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// `patchmesh.baselines/v1`.
#[derive(Debug, Serialize)]
struct ListDocument {
    schema: &'static str,
    baselines: Vec<Listed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    operating_system: &'static str,
    description: Option<String>,
    predefined: bool,
    default: bool,
    file: Option<String>,
}

/// `patchmesh.baseline/v1`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShowDocument {
    schema: &'static str,
    name: String,
    operating_system: &'static str,
    predefined: bool,
    default: bool,
    file: Option<String>,
    manifest: Written,
}

fn listed(one: &Shelved) -> Listed {
    Listed {
        name: one.baseline.name.clone(),
        operating_system: one.os().as_str(),
        description: one.baseline.spec.description.clone(),
        predefined: one.file.is_none(),
        default: one.is_default(),
        file: one.file.as_ref().map(|file| file.display().to_string()),
    }
}

/// Runs `get baselines`.
///
/// # Errors
/// A folder or a file of it that cannot be read, or a format that makes no sense.
pub fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get baselines", &super::get::LIST)?;
    let all = Shelf::open(args.dir.as_deref())?.all()?;
    let document = ListDocument { schema: "patchmesh.baselines/v1", baselines: all.iter().map(listed).collect() };
    let mut rows = Rows::new(&["name", "operating system", "default", "source", "description"]);
    for one in &document.baselines {
        rows.push(vec![
            one.name.clone(),
            one.operating_system.to_owned(),
            if one.default { "yes" } else { "no" }.to_owned(),
            one.file.clone().unwrap_or_else(|| "predefined".to_owned()),
            one.description.clone().unwrap_or_default(),
        ]);
    }
    output::print_rows(&document, &rows, format)
}

/// Runs `describe baseline`.
///
/// # Errors
/// As [`list`], or a baseline that is not there.
pub fn show(args: &ShowArgs) -> Result<(), Fault> {
    let format = args.output.format.among("describe baseline", &super::get::ONE)?;
    let found = Shelf::open(args.dir.as_deref())?.find(&args.name)?;
    let Listed { name, operating_system, predefined, default, file, .. } = listed(&found);
    if format == Format::Table {
        return output::print(&text(&found.baseline, operating_system, file.as_deref().unwrap_or("predefined")));
    }
    let manifest = Written::from(found.baseline);
    let schema = "patchmesh.baseline/v1";
    let document = ShowDocument { schema, name, operating_system, predefined, default, file, manifest };
    output::print_document(&document, format)
}

fn text(baseline: &PatchBaseline, os: &str, source: &str) -> String {
    let spec = &baseline.spec;
    let mut lines = vec![
        ("baseline", baseline.name.clone()),
        ("operating system", os.to_owned()),
        ("source", source.to_owned()),
        ("description", spec.description.clone().unwrap_or_else(|| "-".to_owned())),
    ];
    if let Some(clock) = &spec.approval_clock {
        lines.push(("approval clock", clock.clone()));
    }
    if let Some(group) = &spec.global_filters {
        lines.push(("global filters", filters(&group.patch_filters)));
    }
    let rules = spec.approval_rules.as_ref().map(|rules| rules.patch_rules.as_slice()).unwrap_or_default();
    lines.extend(rules.iter().zip(1..).map(|(one, number)| ("rule", format!("{number}: {}", rule(one)))));
    let list = |entries: &Option<Vec<String>>| match entries.as_deref() {
        None | Some([]) => "-".to_owned(),
        Some(entries) => entries.join(", "),
    };
    let word = |word: &Option<String>, usual: &str| word.clone().unwrap_or_else(|| usual.to_owned());
    lines.push(("approved", list(&spec.approved_patches)));
    if spec.approved_patches.as_ref().is_some_and(|entries| !entries.is_empty()) {
        lines.push(("approved level", word(&spec.approved_patches_compliance_level, "UNSPECIFIED")));
    }
    lines.push(("rejected", list(&spec.rejected_patches)));
    lines.push(("rejected action", word(&spec.rejected_patches_action, "ALLOW_AS_DEPENDENCY")));
    for source in spec.sources.iter().flatten() {
        lines.push(("source for", format!("{}: {}", source.products.join(", "), source.name)));
    }
    lines.iter().map(|(label, value)| format!("{label:<18}{value}\n")).collect()
}

fn filters(filters: &[FilterText]) -> String {
    let one = |filter: &FilterText| format!("{} = {}", filter.key, filter.values.join("|"));
    match filters {
        [] => "everything".to_owned(),
        several => several.iter().map(one).collect::<Vec<_>>().join(" and "),
    }
}

fn rule(rule: &RuleText) -> String {
    let mut text = filters(&rule.patch_filter_group.patch_filters);
    match (rule.approve_after_days, &rule.approve_until_date) {
        (Some(days), _) => text.push_str(&format!(", {days} days after the release")),
        (None, Some(date)) => text.push_str(&format!(", released up to {date}")),
        (None, None) => {}
    }
    if rule.enable_non_security == Some(true) {
        text.push_str(", also non-security updates");
    }
    if let Some(level) = rule.compliance_level.as_ref().filter(|level| *level != "UNSPECIFIED") {
        text.push_str(&format!(", level {level}"));
    }
    text
}
