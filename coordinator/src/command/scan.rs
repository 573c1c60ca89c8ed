//! `patchmesh scan --local`: what is missing on this machine or in a private root. Changes nothing, needs no daemon.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use patchmesh_common::{
    inventory::document,
    patch::{Baseline, evaluation::State},
    run::message::{Refusal, RefusalCode},
    time::WallTime,
};
use patchmesh_node::{
    clock,
    host::{
        apt::{
            Apt,
            document::host_name,
            facts,
            memory::Memory,
            scan::{Row, Scan},
        },
        root::{Root, RootError},
        sightings::Sightings,
    },
};
use serde::Serialize;

use super::judged;
use crate::{
    baselines,
    fault::{Exit, Fault},
    output::Format,
};

/// Shows which approved patches are missing on this machine or in a private root. Changes nothing.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  patchmesh scan --local --baseline security\n  patchmesh scan --local --root /srv/root -o json\n  patchmesh scan --local --baseline web.yaml"
)]
pub struct Args {
    /// Scan here, without a daemon.
    #[arg(long)]
    pub local: bool,
    /// The root to look at: the machine itself, or a folder that holds a Debian system.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Which patches are approved: all, security, a manifest of kind PatchBaseline, AWS's JSON, or a predefined baseline.
    #[arg(long, value_name = "all|security|FILE", default_value = "all")]
    pub baseline: String,
    /// Refresh the package indexes first; the only thing that this command ever changes.
    #[arg(long)]
    pub refresh: bool,
    /// Neither use nor keep the last answer, which otherwise holds as long as nothing changes that it depends on.
    #[arg(long)]
    pub no_cache: bool,
    /// How to print: table or json.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

/// The host of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    pub(super) name: Option<String>,
    pub(super) os: Option<String>,
    pub(super) os_version: Option<String>,
    pub(super) arch: String,
    pub(super) manager: String,
    pub(super) root: String,
}

/// The document of `-o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub(super) schema: &'static str,
    pub(super) host: Host,
    pub(super) scanned_at: String,
    pub(super) baseline: String,
    pub(super) source: &'static str,
    pub(super) summary: Summary,
    pub(super) patches: Vec<Patch>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    pub(super) installed: u32,
    pub(super) installed_other: u32,
    pub(super) installed_pending_reboot: u32,
    pub(super) installed_rejected: u32,
    pub(super) missing: u32,
    pub(super) failed: u32,
    pub(super) not_applicable: u32,
    pub(super) blocked: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) installed: String,
    pub(super) available: Option<String>,
    pub(super) classification: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) archive: Option<String>,
    pub(super) state: &'static str,
    pub(super) blocked: Option<&'static str>,
    pub(super) reason: Option<String>,
}

/// Scans and prints.
///
/// # Errors
/// What is not built, a root that is none, or what the package manager refuses, in its words. Nothing is changed.
pub async fn run(args: Args) -> Result<Exit, Fault> {
    let json = only_table_or_json(args.output, "scan")?;
    let document = document(&args).await?;
    print(&if json { to_json(&document)? } else { table(&document) })?;
    Ok(Exit::Done)
}

/// Scans.
///
/// # Errors
/// As [`run`].
pub async fn document(args: &Args) -> Result<Document, Fault> {
    require_local(args.local, "scan")?;
    let baseline = match args.baseline.as_str() {
        "all" => Baseline::All,
        "security" => Baseline::Security,
        file => return by_rules(args, Path::new(file)).await,
    };
    let root = open(&args.root)?;
    let memory = if args.no_cache { None } else { Memory::of_user(&root) };
    let known = memory.as_ref().filter(|_| !args.refresh).and_then(|memory| memory.recall(&root, baseline));
    if let Some(known) = known {
        return assemble(host_of(&root, &known.native)?, baseline, known.scan);
    }
    let apt = Apt::look(root, memory).await.map_err(refused)?;
    refresh(&apt, args).await?;
    let scan = apt.scan(baseline).await.map_err(refused)?;
    assemble(host(&apt)?, baseline, scan)
}

/// Judges by a baseline of rules. Its answer changes with time, so that none is kept.
async fn by_rules(args: &Args, file: &Path) -> Result<Document, Fault> {
    let named = baselines::named(file)?;
    let apt = look(&args.root).await?;
    let host = host(&apt)?;
    let described =
        document::Host { os: host.os.clone(), os_version: host.os_version.clone(), ..document::Host::default() };
    let baseline = baselines::for_host(&named, file, &described, &host.root)?;
    if !baseline.sources.is_empty() {
        let what = format!("a local scan by the sources of baseline {}", baseline.name);
        return Err(Fault::not_built(&what, "apply a Rollout with operation: Scan, or leave sources out"));
    }
    refresh(&apt, args).await?;
    let at = clock::now().wall;
    let first_seen = Sightings::of_root(apt.root()).first_seen();
    let look = apt.evaluate(&baseline, None, at, &first_seen).await.map_err(refused)?;
    Ok(judged::document(host, at, look))
}

async fn refresh(apt: &Apt, args: &Args) -> Result<(), Fault> {
    if args.refresh {
        match apt.refresh().await {
            // The other repositories are fresh, and these are judged by what is known: the scan goes on.
            Err(refusal) if refusal.code == RefusalCode::RepositoryUnreachable => warn(&refusal),
            other => other.map_err(refused)?,
        }
    }
    Ok(())
}

fn assemble(host: Host, baseline: Baseline, scan: Scan) -> Result<Document, Fault> {
    let sums = scan.counters;
    Ok(Document {
        schema: "patchmesh.scan/v1",
        host,
        scanned_at: now(),
        baseline: baseline.as_str().to_owned(),
        source: scan.source.as_str(),
        summary: Summary {
            installed: sums.installed,
            installed_other: sums.installed_other,
            installed_pending_reboot: sums.installed_pending_reboot,
            installed_rejected: 0,
            missing: sums.missing,
            failed: sums.failed,
            not_applicable: 0,
            blocked: sums.blocked,
        },
        patches: scan.rows.into_iter().map(patch).collect(),
    })
}

fn patch(row: Row) -> Patch {
    Patch {
        name: row.name,
        arch: row.arch,
        installed: row.installed,
        available: row.available,
        classification: row.classification,
        severity: row.severity,
        archive: row.archive,
        state: row.state.as_str(),
        blocked: row.blocked.map(|blocked| blocked.as_str()),
        reason: row.reason,
    }
}

/// Columns for people: what is missing, and the sums.
fn table(document: &Document) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "ARCH", "INSTALLED", "AVAILABLE", "STATE", "BLOCKED", "REASON"]);
    let is_told = |patch: &&Patch| patch.available.is_some() || patch.state == State::InstalledRejected.as_str();
    let missing: Vec<_> = document.patches.iter().filter(is_told).collect();
    for patch in &missing {
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        table.add_row([
            patch.name.clone(),
            patch.arch.clone(),
            patch.installed.clone(),
            or_dash(patch.available.as_deref()),
            patch.state.to_owned(),
            or_dash(patch.blocked),
            or_dash(patch.reason.as_deref()),
        ]);
    }
    let sums = document.summary;
    let table = if missing.is_empty() { String::new() } else { format!("{}\n\n", table.trim_fmt()) };
    let rejected = match sums.installed_rejected {
        0 => String::new(),
        rejected => format!(", {rejected} rejected and installed"),
    };
    format!(
        "{table}{} missing ({} of them blocked), {} installed, {} installed from elsewhere{rejected}; baseline {}\n",
        sums.missing, sums.blocked, sums.installed, sums.installed_other, document.baseline
    )
}

/// `true` for JSON, `false` for a table.
///
/// # Errors
/// `not-built-yet` naming any other format.
pub(super) fn only_table_or_json(format: Format, verb: &str) -> Result<bool, Fault> {
    match format {
        Format::Json => Ok(true),
        Format::Table => Ok(false),
        other => {
            let name = clap::ValueEnum::to_possible_value(&other).map(|value| value.get_name().to_owned());
            let what = format!("`{verb} -o {}`", name.unwrap_or_default());
            Err(Fault::not_built(&what, "use `-o table` or `-o json`"))
        }
    }
}

/// # Errors
/// `not-built-yet` unless `--local` was given.
pub(super) fn require_local(local: bool, verb: &str) -> Result<(), Fault> {
    if local {
        return Ok(());
    }
    Err(Fault::not_built(
        &format!("`{verb}` of other hosts"),
        &format!("use `patchmesh {verb} --local` on the host itself"),
    ))
}

/// The package manager of a root, for one look.
pub(super) async fn look(root: &Path) -> Result<Apt, Fault> {
    Apt::look(open(root)?, None).await.map_err(refused)
}

fn open(root: &Path) -> Result<Root, Fault> {
    Root::open(root).map_err(|error| {
        let (what, remedy) = (error.to_string(), "name `/` or a folder that holds a Debian system");
        let fault = Fault::new("bad-root", what, "nothing was changed", remedy);
        match error {
            RootError::Unreadable { source, .. } => fault.because(source),
            _ => fault,
        }
    })
}

/// The host of a document.
pub(super) fn host(apt: &Apt) -> Result<Host, Fault> {
    host_of(apt.root(), apt.native())
}

fn host_of(root: &Root, native: &str) -> Result<Host, Fault> {
    let facts = facts(root, native).map_err(refused)?;
    let known = |text: String| (!text.is_empty()).then_some(text);
    Ok(Host {
        name: host_name(root),
        os: known(facts.os),
        os_version: known(facts.os_version),
        arch: facts.arch,
        manager: facts.manager,
        root: root.path().display().to_string(),
    })
}

/// A refusal as a fault. The first of two parts of its remedy says what else was left unchanged.
pub(super) fn refused(refusal: Refusal) -> Fault {
    let (unchanged, remedy) = refusal.remedy.split_once("; ").unwrap_or(("nothing was changed", &refusal.remedy));
    Fault::new(refusal.code.as_str(), refusal.text, unchanged, remedy)
}

/// Now, in whole seconds.
pub(super) fn now() -> String {
    WallTime(jiff::Timestamp::now().as_millisecond()).rfc3339()
}

/// One document and a newline.
pub(super) fn to_json(document: &impl Serialize) -> Result<String, Fault> {
    let text = serde_json::to_string(document).map_err(|error| {
        Fault::new(
            "output-failed",
            "the document cannot be written as JSON",
            "nothing was changed",
            "report this as a fault",
        )
        .because(error)
    })?;
    Ok(text + "\n")
}

/// Writes to standard output; a reader that has seen enough is no error.
pub(super) fn print(text: &str) -> Result<(), Fault> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Fault::new(
            "output-failed",
            "standard output cannot be written",
            "nothing was changed",
            "check where it leads",
        )
        .because(error)),
        _ => Ok(()),
    }
}

fn warn(refusal: &Refusal) {
    // Talk that nobody can read is lost; the scan itself is not.
    let _ = writeln!(io::stderr(), "warning: {}; {}", refusal.text, refusal.remedy);
}

#[cfg(test)]
pub(super) mod tests {
    use patchmesh_common::patch::{Blocked, PatchCounters, PatchState};
    use patchmesh_node::host::apt::scan::Source;
    use serde_json::Value;

    use super::*;

    /// Holds `value` against the part of JSON Schema that our schemas use. Returns what does not fit.
    pub(crate) fn misfits(schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let mut found = Vec::new();
        let allowed: Vec<_> = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => vec![kind],
        };
        if !allowed.contains(&kind) {
            found.push(format!("{place} is {kind}, not {allowed:?}"));
        }
        if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
            found.push(format!("{place} is {value}, not one of {values:?}"));
        }
        if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
            found.push(format!("{place} is {value}, not {constant}"));
        }
        if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    found.push(format!("{place}.{name} is not there"));
                }
            }
            for (name, member) in members {
                match properties.get(name) {
                    Some(property) => found.extend(misfits(property, member, &format!("{place}.{name}"))),
                    None => found.push(format!("{place}.{name} is unknown")),
                }
            }
        }
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            found.extend(misfits(&schema["items"], item, &format!("{place}[{at}]")));
        }
        found
    }

    /// Holds an example and an output against a schema of which every member is required.
    pub(crate) fn hold(schema: &str, example: &str, output: &str) {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let schema = parse(schema);
        for text in [example, output] {
            assert_eq!(misfits(&schema, &parse(text), "$"), Vec::<String>::new());
            assert!(text.trim_start().trim_start_matches('{').trim_start().starts_with("\"schema\""), "{text}");
        }
        let mut damaged = parse(output);
        damaged.as_object_mut().unwrap().remove("host");
        damaged["more"] = Value::Null;
        assert_eq!(misfits(&schema, &damaged, "$"), ["$.host is not there", "$.more is unknown"]);
    }

    pub(crate) fn example_host() -> Host {
        Host {
            name: Some("web-1".into()),
            os: Some("debian".into()),
            os_version: None,
            arch: "amd64".into(),
            manager: "apt".into(),
            root: "/".into(),
        }
    }

    fn example() -> Document {
        let row = Row {
            name: "openssl".into(),
            arch: "amd64".into(),
            installed: "3.0.1-1".into(),
            available: Some("3.0.2-1".into()),
            classification: Some("Security".into()),
            severity: Some("optional".into()),
            archive: Some("stable-security".into()),
            state: PatchState::Missing,
            blocked: Some(Blocked::Hold),
            reason: Some("3.0.2-1 is in stable-security; the package is on hold".into()),
        };
        let plain = Row {
            name: "zlib1g".into(),
            available: None,
            classification: None,
            severity: None,
            archive: None,
            state: PatchState::Installed,
            blocked: None,
            reason: None,
            ..row.clone()
        };
        let counters = PatchCounters { installed: 1, missing: 1, blocked: 1, ..PatchCounters::default() };
        let scan = Scan { source: Source::Manager, rows: vec![row, plain], counters };
        assemble(example_host(), Baseline::All, scan).unwrap()
    }

    #[test]
    fn the_output_is_the_one_of_its_schema() {
        let (schema, shown) =
            (include_str!("../../schemas/scan.v1.schema.json"), include_str!("../../schemas/scan.v1.example.json"));
        hold(schema, shown, &to_json(&example()).unwrap());
    }

    #[test]
    fn the_table_shows_what_is_missing_and_the_sums() {
        let table = table(&example());
        assert!(table.contains("openssl") && table.contains("hold") && !table.contains("zlib1g"), "{table}");
        assert!(
            table.ends_with("1 missing (1 of them blocked), 1 installed, 0 installed from elsewhere; baseline all\n")
        );
    }

    fn args() -> Args {
        let root = "/".into();
        Args { local: true, root, baseline: "all".into(), refresh: false, no_cache: true, output: Format::Json }
    }

    #[tokio::test]
    async fn what_is_not_built_is_refused_by_name() {
        for (args, words) in [
            (Args { local: false, ..args() }, "`scan` of other hosts is not built yet"),
            (Args { output: Format::Csv, ..args() }, "`scan -o csv` is not built yet"),
        ] {
            let fault = run(args).await.unwrap_err();
            assert!(fault.message.contains(words), "{}", fault.message);
            assert_eq!((fault.code, fault.exit), ("not-built-yet", Exit::Usage));
        }
    }

    #[tokio::test]
    async fn a_root_that_is_none_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let fault = run(Args { root: folder.path().into(), ..args() }).await.unwrap_err();
        assert!(fault.message.contains("is not a Debian root: it has no var/lib/dpkg/status"), "{}", fault.message);
        assert!(fault.message.contains(&*folder.path().to_string_lossy()));
        assert_eq!(fault.unchanged, "nothing was changed");
        assert_eq!(fault.exit, Exit::Error);
        let fault = run(Args { root: Path::new("/no/such/root").into(), ..args() }).await.unwrap_err();
        assert!(fault.message.contains("cannot use /no/such/root as a root"), "{}", fault.message);
    }
}
