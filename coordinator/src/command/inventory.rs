//! `patchmesh inventory --local`: what is installed and what repositories offer. The input of baselines.

use std::path::PathBuf;

use patchmesh_common::{
    patch::{Candidate, sighting::FirstSeen},
    time::WallTime,
};
use patchmesh_node::host::{apt::scan::Stocked, sightings::Sightings};
use serde::Serialize;

use super::scan::{Host, host, look, now, only_table_or_json, print, refused, require_local, to_json};
use crate::{
    fault::{Exit, Fault},
    output::Format,
};

/// Shows what is installed and what the repositories offer for it. Changes nothing.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  patchmesh inventory --local -o json > inventory.json")]
pub struct Args {
    /// Look here, without a daemon.
    #[arg(long)]
    pub local: bool,
    /// The root to look at: the machine itself, or a folder that holds a Debian system.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// How to print: table or json.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

/// The document of `-o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    schema: &'static str,
    host: Host,
    collected_at: String,
    reboot_required: bool,
    kernel: Kernel,
    packages: Vec<Package>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Kernel {
    running: Option<String>,
    newest: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Package {
    name: String,
    arch: String,
    installed: String,
    hold: bool,
    /// Section and priority of the installed version, which no archive may have any more.
    section: Option<String>,
    priority: Option<String>,
    candidates: Vec<Offer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    version: String,
    archive: Option<String>,
    origin: Option<String>,
    label: Option<String>,
    component: Option<String>,
    section: Option<String>,
    priority: Option<String>,
    sha256: Option<String>,
    /// Debian's indexes have no dates.
    released: Option<String>,
    /// Known to a daemon that remembers, never to a single look.
    first_seen: Option<String>,
    security: bool,
    automatic: &'static str,
    advisories: Vec<Advisory>,
}

/// Debian's indexes name no advisories; the list is empty until a source of them is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Advisory {}

/// Collects and prints.
///
/// # Errors
/// What is not built, a root that is none, or what the package manager refuses, in its words. Nothing is changed.
pub async fn run(args: Args) -> Result<Exit, Fault> {
    let json = only_table_or_json(args.output, "inventory")?;
    let document = document(&args).await?;
    print(&if json { to_json(&document)? } else { table(&document) })?;
    Ok(Exit::Done)
}

/// Collects.
///
/// # Errors
/// As [`run`].
pub async fn document(args: &Args) -> Result<Document, Fault> {
    require_local(args.local, "inventory")?;
    let apt = look(&args.root).await?;
    let stocked = apt.inventory().await.map_err(refused)?;
    let first_seen = Sightings::of_root(apt.root()).first_seen();
    let running = apt.facts().map_err(refused)?.kernel;
    Ok(Document {
        schema: "patchmesh.inventory/v1",
        host: host(&apt)?,
        collected_at: now(),
        reboot_required: apt.root().reboot_required(),
        kernel: Kernel {
            running: (!running.is_empty()).then_some(running),
            newest: apt.newest_kernel().map_err(refused)?,
        },
        packages: stocked.into_iter().map(|stocked| package(stocked, &first_seen)).collect(),
    })
}

fn package(stocked: Stocked, first_seen: &FirstSeen) -> Package {
    let (name, arch) = (stocked.package.name.clone(), stocked.package.arch.clone());
    let since = |offered: &Candidate| {
        let sha256 = offered.sha256.clone()?;
        first_seen.get(&(name.clone(), arch.clone(), offered.version.clone(), sha256))
    };
    let candidates = stocked.candidates.into_iter().map(|candidate| offer(since(&candidate), candidate)).collect();
    Package {
        name: stocked.package.name,
        arch: stocked.package.arch,
        installed: stocked.package.version,
        hold: stocked.package.hold,
        section: stocked.package.section,
        priority: stocked.package.priority,
        candidates,
    }
}

fn offer(first_seen: Option<WallTime>, candidate: Candidate) -> Offer {
    Offer {
        version: candidate.version,
        archive: candidate.archive,
        origin: candidate.origin,
        label: candidate.label,
        component: candidate.component,
        section: candidate.section,
        priority: candidate.priority,
        sha256: candidate.sha256,
        released: None,
        first_seen: first_seen.map(WallTime::rfc3339),
        security: candidate.security,
        automatic: candidate.automatic.as_str(),
        advisories: Vec::new(),
    }
}

/// Columns for people: every package with its newest offer.
fn table(document: &Document) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "ARCH", "INSTALLED", "HOLD", "NEWEST", "ARCHIVE"]);
    for package in &document.packages {
        let newest = package.candidates.last();
        table.add_row([
            package.name.clone(),
            package.arch.clone(),
            package.installed.clone(),
            if package.hold { "hold" } else { "-" }.to_owned(),
            newest.map_or("-", |offer| &offer.version).to_owned(),
            newest.and_then(|offer| offer.archive.as_deref()).unwrap_or("-").to_owned(),
        ]);
    }
    let reboot = if document.reboot_required { "a reboot is required" } else { "no reboot is required" };
    format!("{}\n\n{} packages; {reboot}\n", table.trim_fmt(), document.packages.len())
}

#[cfg(test)]
mod tests {
    use patchmesh_node::host::apt::status::Installed;

    use super::{super::scan::tests as scan, *};

    fn example() -> Document {
        let installed = Installed {
            name: "openssl".into(),
            arch: "amd64".into(),
            version: "3.0.1-1".into(),
            hold: true,
            broken: None,
            section: None,
            priority: None,
            unpacked: None,
        };
        let candidate = Candidate {
            version: "3.0.2-1".into(),
            archive: Some("stable-security".into()),
            security: true,
            ..Candidate::default()
        };
        Document {
            schema: "patchmesh.inventory/v1",
            host: scan::example_host(),
            collected_at: now(),
            reboot_required: false,
            kernel: Kernel { running: Some("6.1.0".into()), newest: None },
            packages: vec![package(Stocked { package: installed, candidates: vec![candidate] }, &FirstSeen::default())],
        }
    }

    #[test]
    fn the_output_is_the_one_of_its_schema() {
        let (schema, shown) = (
            include_str!("../../schemas/inventory.v1.schema.json"),
            include_str!("../../schemas/inventory.v1.example.json"),
        );
        scan::hold(schema, shown, &to_json(&example()).unwrap());
    }

    #[test]
    fn what_is_printed_is_what_a_baseline_is_evaluated_against() {
        use patchmesh_common::inventory::document::{Inventory, SCHEMA};
        let shown = include_str!("../../schemas/inventory.v1.example.json");
        for text in [shown, &to_json(&example()).unwrap()] {
            let read: Inventory = serde_json::from_str(text).unwrap();
            assert_eq!((read.schema.as_str(), read.check()), (SCHEMA, Ok(())));
            let package = &read.packages[0];
            assert!(package.installed.is_some() && package.candidates[0].security && package.applicable);
        }
    }

    #[test]
    fn the_table_shows_the_newest_offer() {
        let table = table(&example());
        assert!(table.contains("3.0.2-1") && table.ends_with("1 packages; no reboot is required\n"), "{table}");
    }

    #[tokio::test]
    async fn without_local_it_is_not_built() {
        let fault = run(Args { local: false, root: "/".into(), output: Format::Table }).await.unwrap_err();
        assert_eq!(fault.message, "`inventory` of other hosts is not built yet");
    }
}
