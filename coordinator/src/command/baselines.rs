//! `get baselines` and `describe baseline`: those of the coordinator, or, offline, of a folder; the predefined ones always.

use std::path::{Path, PathBuf};

use clap::Args;
use patchmesh_common::patch::baseline::{FilterText, PatchBaseline, RuleText, predefined};

use super::block_on;
use crate::{
    api::{
        client::Client,
        document::{BaselineDocument, BaselineRow, BaselinesDocument},
    },
    baselines::{Shelf, Shelved},
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::baseline::Written,
    output::{self, Format, Rows},
    render::one_line,
};

/// Flags of `get baselines`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A folder of manifests instead of the coordinator; needs none
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Name and flags of `describe baseline`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name
    name: String,
    /// A folder of manifests instead of the coordinator; needs none
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

fn row(one: &Shelved) -> BaselineRow {
    BaselineRow {
        name: one.baseline.name.clone(),
        operating_system: one.os().as_str().to_owned(),
        description: one.baseline.spec.description.clone(),
        predefined: one.file.is_none(),
        default: one.is_default(),
        file: one.file.as_ref().map(|file| file.display().to_string()),
        groups: Vec::new(),
    }
}

fn whole(one: Shelved) -> BaselineDocument {
    BaselineDocument::new(row(&one), Written::from(one.baseline))
}

/// What the coordinator answers. `Err` inside if nobody said which one and none answers: then only what needs none is known.
async fn ask<T>(
    socket: &Socket,
    answer: impl AsyncFnOnce(Client) -> Result<T, Fault>,
) -> Result<Result<T, Fault>, Fault> {
    match answer(socket.client()).await {
        Err(fault) if fault.exit == Exit::NoCoordinator && !socket.is_named() => Ok(Err(fault)),
        answered => answered.map(Ok),
    }
}

/// The baseline `name` of the folder `dir`, else of the coordinator, else a predefined one.
///
/// # Errors
/// What the folder or the coordinator says; exit 7 if there is no coordinator that could have it.
pub(super) fn find(name: &str, dir: Option<&Path>, socket: &Socket) -> Result<BaselineDocument, Fault> {
    if dir.is_some() {
        return Shelf::open(dir)?.find(name).map(whole);
    }
    match block_on(ask(socket, async |client| client.baseline(name).await))? {
        Ok(document) => Ok(document),
        Err(nobody) => match predefined::find(name) {
            Some(baseline) => Ok(whole(Shelved { baseline, file: None })),
            None => Err(nobody),
        },
    }
}

/// Runs `get baselines`.
///
/// # Errors
/// A folder or a file of it that cannot be read, what the coordinator says, or a format that makes no sense.
pub fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get baselines", &super::get::LIST)?;
    let offline = || -> Result<BaselinesDocument, Fault> {
        let all = Shelf::open(args.dir.as_deref())?.all()?;
        Ok(BaselinesDocument::new(all.iter().map(row).collect()))
    };
    let document = match &args.dir {
        Some(_) => offline()?,
        None => match block_on(ask(&args.socket, async |client| client.baselines().await))? {
            Ok(document) => document,
            Err(nobody) => {
                output::talk(&format!("{}: only the predefined baselines are shown\n", nobody.message));
                offline()?
            }
        },
    };
    let mut header = vec!["name", "operating system", "default", "source", "description"];
    if format != Format::Table {
        header.push("groups");
    }
    let mut rows = Rows::new(&header);
    for one in &document.baselines {
        let mut cells = vec![
            one.name.clone(),
            one.operating_system.clone(),
            if one.default { "yes" } else { "no" }.to_owned(),
            source(one.predefined, one.file.as_deref()),
            one.description.as_deref().map(one_line).unwrap_or_default(),
        ];
        if format != Format::Table {
            cells.push(one.groups.join(","));
        }
        rows.push(cells);
    }
    output::print_rows(&document, &rows, format)
}

fn source(predefined: bool, file: Option<&str>) -> String {
    match (predefined, file) {
        (true, _) => "predefined".to_owned(),
        (false, Some(file)) => file.to_owned(),
        (false, None) => "coordinator".to_owned(),
    }
}

/// Runs `describe baseline`.
///
/// # Errors
/// As [`list`], or a baseline that is not there.
pub fn show(args: &ShowArgs) -> Result<(), Fault> {
    let format = args.output.format.among("describe baseline", &super::get::ONE)?;
    let document = find(&args.name, args.dir.as_deref(), &args.socket)?;
    match format {
        Format::Table => output::print(&text(document)?),
        _ => output::print_document(&document, format),
    }
}

/// The baseline of a document, which may come from a coordinator of another version.
pub(super) fn read(document: BaselineDocument) -> Result<PatchBaseline, Fault> {
    let name = document.name;
    document.manifest.baseline().ok_or_else(|| {
        let message = format!("the coordinator's baseline {name} is of another version");
        Fault::new("bad-answer", message, "nothing was changed", "use a patchmesh of the coordinator's version")
    })
}

fn text(document: BaselineDocument) -> Result<String, Fault> {
    let baseline = read(document.clone())?;
    let spec = &baseline.spec;
    let mut lines = vec![
        ("baseline", document.name),
        ("operating system", document.operating_system),
        ("source", source(document.predefined, document.file.as_deref())),
    ];
    if !document.groups.is_empty() {
        lines.push(("patch groups", document.groups.join(", ")));
    }
    if document.default {
        lines.push(("default", "yes".to_owned()));
    }
    lines.extend([("description", spec.description.clone().unwrap_or_else(|| "-".to_owned()))]);
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
        let any = spec.approved_patches_enable_non_security == Some(true);
        lines.push(("approved are", if any { "updates of any kind" } else { "security updates only" }.to_owned()));
    }
    lines.push(("rejected", list(&spec.rejected_patches)));
    lines.push(("rejected action", word(&spec.rejected_patches_action, "ALLOW_AS_DEPENDENCY")));
    if let Some(status) = &spec.available_security_updates_compliance_status {
        lines.push(("available security", status.clone()));
    }
    for source in spec.sources.iter().flatten() {
        lines.push(("source for", format!("{}: {}", source.products.join(", "), source.name)));
        lines.extend(source.configuration.lines().map(|line| ("", line.to_owned())));
    }
    Ok(lines.iter().map(|(label, value)| format!("{label:<18}{}\n", one_line(value))).collect())
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
