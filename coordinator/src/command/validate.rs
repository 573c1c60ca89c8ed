//! `validate -f FILE|DIR`: checks manifests, offline.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::folder;
use crate::{
    cli::Output,
    fault::{ErrorDocument, Exit, Fault},
    manifest::{self, Manifest},
    output::{self, Format},
};

/// Flags of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The manifest, or AWS's JSON; - is stdin. Of a folder, everything in it that ends in .yaml,
    /// .yml or .json
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

/// `patchmesh.validations/v1`: of a folder.
#[derive(Debug, Serialize)]
struct ValidationsDocument {
    schema: &'static str,
    folder: String,
    valid: bool,
    files: Vec<FileDocument>,
}

#[derive(Debug, Serialize)]
struct FileDocument {
    file: String,
    kind: Option<&'static str>,
    name: Option<String>,
    valid: bool,
    error: Option<ErrorDocument>,
}

/// Runs `validate`.
///
/// # Errors
/// Everything that is wrong, with file, line and field; of a folder, how many of its files are.
pub fn run(args: &ValidateArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("validate", &[Format::Table, Format::Json, Format::Yaml])?;
    if args.file.is_dir() {
        return of_folder(&args.file, format);
    }
    let (file, text) = manifest::read_text(&args.file, manifest::MAX_MANIFEST, "check the path given with -f")?;
    let (kind, name) = manifest::parse(&file, &text)?.identity();
    match format {
        Format::Table => output::print(&right(&file, kind, name.as_deref()))?,
        _ => {
            let document = ValidationDocument { schema: "patchmesh.validation/v1", file, kind, name, valid: true };
            output::print_document(&document, format)?;
        }
    }
    Ok(Exit::Done)
}

fn right(file: &str, kind: &str, name: Option<&str>) -> String {
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    format!("{file}: {kind}{name} is right\n")
}

fn of_folder(folder: &Path, format: Format) -> Result<Exit, Fault> {
    let mut read = folder::read(folder)?;
    folder::refuse_twins(&mut read);
    let wrong = read.iter().filter(|one| one.manifest.is_err()).count();
    let (count, shown) = (read.len(), folder.display());
    match format {
        Format::Table => {
            for one in &read {
                match &one.manifest {
                    Ok(manifest) => {
                        let (kind, name) = manifest.identity();
                        output::print(&right(&one.file, kind, name.as_deref()))?;
                    }
                    Err(fault) => output::talk(&fault.text()),
                }
            }
        }
        _ => output::print_document(&document(folder, read), format)?,
    }
    if wrong == 0 {
        return Ok(Exit::Done);
    }
    let text = format!("{wrong} of the {count} files of {shown} are wrong");
    Err(Fault::new(
        "manifest-invalid",
        text,
        "nothing was planned and no host was changed",
        "correct them and try again",
    ))
}

fn document(folder: &Path, read: Vec<folder::Read>) -> ValidationsDocument {
    let file = |one: folder::Read| {
        let identity = one.manifest.as_ref().ok().map(Manifest::identity);
        let (kind, name) = identity.map_or((None, None), |(kind, name)| (Some(kind), name));
        let error = one.manifest.err().map(|fault| fault.document());
        FileDocument { file: one.file, kind, name, valid: error.is_none(), error }
    };
    let valid = read.iter().all(|one| one.manifest.is_ok());
    ValidationsDocument {
        schema: "patchmesh.validations/v1",
        folder: folder.display().to_string(),
        valid,
        files: read.into_iter().map(file).collect(),
    }
}
