//! `patchmesh import`, `export` and `validate`: baselines in and out of the coordinator, or, offline, of folders of manifests.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use patchmesh_common::patch::{baseline::aws::AwsBaseline, library::system};
use serde::Serialize;

use super::{block_on, groups::print_change, policies};
use crate::{
    api::document::{Change, ChangedDocument},
    baselines,
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::{self, Manifest, baseline::Written},
    output::{self, Format},
};

/// Flags of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// AWS's JSON (what create-patch-baseline takes, or what get-patch-baseline prints), or a manifest of kind PatchBaseline; -
    /// is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A folder of manifests instead of the coordinator; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What is exported.
#[derive(Debug, Subcommand)]
pub enum ExportKind {
    /// A baseline, as a manifest or as AWS's JSON
    #[command(
        after_help = "Examples:\n  patchmesh export baseline web --format aws > web.json\n  patchmesh export baseline web --dir baselines\n  patchmesh export baseline AWS-DebianDefaultPatchBaseline"
    )]
    Baseline(ExportArgs),
    /// A patch policy, as a manifest
    #[command(
        after_help = "Example, which switches the daily scan of every host on:\n  patchmesh export policy host-management | sed 's/enabled: false/enabled: true/' | patchmesh apply -f -"
    )]
    Policy(policies::ExportArgs),
}

/// Flags of `export baseline`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Its name
    name: String,
    /// As what
    #[arg(long, value_enum, default_value = "yaml")]
    format: ExportFormat,
    /// A folder of manifests instead of the coordinator; needs none
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// What create-patch-baseline takes
    Aws,
    /// A manifest
    Yaml,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The manifest, or AWS's JSON; - is stdin
    #[arg(short, long)]
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// `patchmesh.validation/v1`.
#[derive(Debug, Serialize)]
struct ValidationDocument {
    schema: &'static str,
    file: String,
    kind: &'static str,
    name: Option<String>,
    valid: bool,
}

/// Runs `import`: says what became of the baseline, or, with `--dir`, prints the path of the manifest that it wrote.
///
/// # Errors
/// A file that is no baseline or breaks a limit, a folder that cannot be written, or what the coordinator says.
pub fn import(args: &ImportArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("import", &[Format::Table, Format::Json, Format::Yaml])?;
    let (shown, text) = manifest::read_text(&args.file, manifest::MAX_MANIFEST, "check the path")?;
    let baseline = match manifest::baseline::is_written(&shown, &text) {
        true => manifest::baseline::parse(&shown, &text)?,
        false => manifest::baseline::parse_aws(&shown, &text)?,
    };
    let Some(folder) = &args.dir else {
        let (name, manifest) = (baseline.name.clone(), Written::from(baseline));
        print_change(&block_on(args.socket.client().put_baseline(&name, &manifest))?, format)?;
        return Ok(Exit::Done);
    };
    let (name, os) = (baseline.name.clone(), system(&baseline));
    let is_new = !baselines::path(folder, &name).exists();
    let path = baselines::write(folder, baseline)?;
    match format {
        Format::Table => output::print(&format!("{}\n", path.display()))?,
        _ => {
            let document = ChangedDocument {
                schema: ChangedDocument::SCHEMA.to_owned(),
                change: if is_new { Change::Created } else { Change::Replaced },
                baseline: name,
                operating_system: Some(os.as_str().to_owned()),
                group: None,
            };
            output::print_document(&document, format)?;
        }
    }
    Ok(Exit::Done)
}

/// Runs `export`.
///
/// # Errors
/// A baseline that is not there, or that AWS's format has no words for.
pub fn export(kind: &ExportKind) -> Result<Exit, Fault> {
    let args = match kind {
        ExportKind::Baseline(args) => args,
        ExportKind::Policy(args) => return policies::export(args).map(|()| Exit::Done),
    };
    let document = super::baselines::find(&args.name, args.dir.as_deref(), &args.socket)?;
    let found = super::baselines::read(document)?;
    match args.format {
        ExportFormat::Yaml => output::print(&baselines::yaml(found)?)?,
        ExportFormat::Aws => {
            let theirs = AwsBaseline::try_from(found).map_err(|error| {
                let message = format!("baseline {} cannot be written as AWS's JSON", args.name);
                let remedy = "use --format yaml, or leave approvalClock out";
                Fault::new("no-counterpart", message, "nothing was written", remedy).because(error)
            })?;
            output::print_document(&theirs, Format::Json)?;
        }
    }
    Ok(Exit::Done)
}

/// Runs `validate`.
///
/// # Errors
/// Everything that is wrong, with file, line and field.
pub fn validate(args: &ValidateArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("validate", &[Format::Table, Format::Json, Format::Yaml])?;
    let (file, text) = manifest::read_text(&args.file, manifest::MAX_MANIFEST, "check the path given with -f")?;
    let (kind, name) = match manifest::parse(&file, &text)? {
        Manifest::Baseline(baseline) => (manifest::baseline::KIND, Some(baseline.name)),
        Manifest::Rollout(rollout) => ("Rollout", Some(rollout.name)),
        Manifest::Window(window) => (manifest::window::KIND, Some(window.name)),
        Manifest::Policy(policy) => (manifest::policy::KIND, Some(policy.name)),
        Manifest::Override(_) => ("BaselineOverride", None),
        Manifest::InstallList(_) => ("InstallOverrideList", None),
    };
    match format {
        Format::Table => {
            let name = name.map(|name| format!(" {name}")).unwrap_or_default();
            output::print(&format!("{file}: {kind}{name} is right\n"))?;
        }
        _ => {
            let document = ValidationDocument { schema: "patchmesh.validation/v1", file, kind, name, valid: true };
            output::print_document(&document, format)?;
        }
    }
    Ok(Exit::Done)
}
