//! Manifests: what people write. Read strictly; everything wrong is named with file, line and field.

pub mod baseline;
mod gates;
pub mod groups;
mod locate;
mod overrides;
pub mod policy;
pub mod reboot;
mod rings;
mod rollout;
pub mod schema;
pub mod service;
pub mod window;
mod words;
pub mod written;

pub use patchmesh_common::duration;

use std::{io::Read, path::Path};

use patchmesh_common::{
    labels::Labels,
    patch::{baseline::PatchBaseline, overrides::InstallList},
    rollout::{policy::PatchPolicy, service::ServiceSpec, spec::RolloutSpec},
    schedule::window::MaintenanceWindow,
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_saphyr::{Error as YamlError, Location, Options, Spanned};

use self::locate::locate;
use crate::fault::{Exit, Fault};

/// Largest manifest, in bytes. Ten thousand host names take about 300 KiB.
pub const MAX_MANIFEST: usize = 1 << 20;
/// Most YAML nodes of one manifest: as many as ten thousand names and all openings need, with room to spare.
const MAX_NODES: usize = 40_000;
/// Kinds that interfaces name and that later versions read.
pub(crate) const KINDS_TO_COME: [&str; 1] = ["Calendar"];
/// The only API version.
const API_VERSION: &str = "patchmesh/v1";

/// Just enough to choose the exact type: a tagged enum would lose line and column.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Spanned<String>,
    kind: Spanned<String>,
}

/// What tells AWS's list of patches from a manifest.
#[derive(Deserialize)]
struct Bare {
    kind: Option<IgnoredAny>,
    patches: Option<IgnoredAny>,
}

/// Reads the Rollout manifest at `path`, with its labels; `-` is stdin.
///
/// # Errors
/// Exit 1 for a file that cannot be read or says something wrong, exit 64 for what is not built yet.
pub fn read_rollout(path: &Path) -> Result<(RolloutSpec, Labels), Fault> {
    let (shown, text) = read_text(path, MAX_MANIFEST, "check the path given with -f")?;
    parse_labelled(&shown, &text)
}

/// Reads the manifest of any kind at `path`; `-` is stdin.
///
/// # Errors
/// As [`read_rollout`].
pub fn read_any(path: &Path) -> Result<Manifest, Fault> {
    let (shown, text) = read_text(path, MAX_MANIFEST, "check the path given with -f")?;
    parse(&shown, &text)
}

/// The name in errors and the text of the file at `path`; `-` is stdin. `remedy` is what to do if it cannot be read.
///
/// # Errors
/// Exit 1 for a file that cannot be read, is larger than `most` bytes, or is no text.
pub(crate) fn read_text(path: &Path, most: usize, remedy: &str) -> Result<(String, String), Fault> {
    let shown = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Fault::new("manifest-unreadable", format!("cannot read {shown}"), UNCHANGED, remedy).because(error)
    })?;
    let place = Place { file: &shown };
    if bytes.len() > most {
        return Err(place.fault(None, format!("the file is larger than {most} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| place.fault(None, "the file is not UTF-8 text"))?;
    Ok((shown, text))
}

/// The kind that a manifest says it is, built or not.
///
/// # Errors
/// A text that is no manifest.
pub fn kind(file: &str, text: &str) -> Result<String, Fault> {
    let head: Head = Place { file }.yaml(text)?;
    Ok(head.kind.value)
}

/// What a manifest may be.
#[derive(Debug)]
pub enum Manifest {
    /// `kind: Rollout`.
    Rollout(Box<RolloutSpec>, Labels),
    /// `kind: PatchBaseline`, or AWS's JSON.
    Baseline(Box<PatchBaseline>),
    /// `kind: MaintenanceWindow`.
    Window(Box<MaintenanceWindow>),
    /// `kind: Service`.
    Service(Box<ServiceSpec>),
    /// `kind: PatchPolicy`.
    Policy(Box<PatchPolicy>),
    /// AWS's `BaselineOverride`.
    Override(Vec<PatchBaseline>),
    /// AWS's `InstallOverrideList`.
    InstallList(InstallList),
}

impl Manifest {
    /// Its kind, and its name if it has one.
    pub fn identity(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Rollout(rollout, _) => ("Rollout", Some(rollout.name.clone())),
            Self::Baseline(baseline) => (baseline::KIND, Some(baseline.name.clone())),
            Self::Window(window) => (window::KIND, Some(window.name.clone())),
            Self::Policy(policy) => (policy::KIND, Some(policy.name.clone())),
            Self::Service(service) => (service::KIND, Some(service.name.clone())),
            Self::Override(_) => ("BaselineOverride", None),
            Self::InstallList(_) => ("InstallOverrideList", None),
        }
    }
}

/// Parses a manifest of any kind that is built, or AWS's JSON.
///
/// # Errors
/// As [`read_rollout`].
pub fn parse(file: &str, text: &str) -> Result<Manifest, Fault> {
    let place = Place { file };
    // AWS's list of patches says neither version nor kind.
    if let Ok(Bare { kind: None, patches: Some(_) }) = place.yaml(text) {
        return overrides::checked(&place, text, "", place.yaml(text)?).map(Manifest::InstallList);
    }
    if !baseline::is_written(file, text) {
        return match baseline::is_list(text) {
            true => baseline::parse_override(file, text).map(Manifest::Override),
            false => Ok(Manifest::Baseline(Box::new(baseline::parse_aws(file, text)?))),
        };
    }
    let head: Head = place.yaml(text)?;
    match head.kind.value.as_str() {
        baseline::KIND => Ok(Manifest::Baseline(Box::new(baseline::parse(file, text)?))),
        window::KIND => Ok(Manifest::Window(Box::new(window::parse(file, text)?))),
        service::KIND => Ok(Manifest::Service(Box::new(service::parse(file, text)?))),
        policy::KIND => Ok(Manifest::Policy(Box::new(policy::parse(file, text)?))),
        _ => parse_labelled(file, text).map(|(spec, labels)| Manifest::Rollout(Box::new(spec), labels)),
    }
}

/// Parses the text of a Rollout manifest; `file` is its name in errors.
///
/// # Errors
/// As [`read_rollout`].
pub fn parse_rollout(file: &str, text: &str) -> Result<RolloutSpec, Fault> {
    parse_labelled(file, text).map(|(spec, _)| spec)
}

fn parse_labelled(file: &str, text: &str) -> Result<(RolloutSpec, Labels), Fault> {
    let place = Place { file };
    let head: Head = place.yaml(text)?;
    if head.api_version.value != API_VERSION {
        let message =
            format!("apiVersion {:?} is unknown: {API_VERSION} is the only one", clip(&head.api_version.value));
        return Err(place.fault(Some(head.api_version.referenced), message));
    }
    match head.kind.value.as_str() {
        "Rollout" => rollout::spec(&place, text, place.yaml(text)?),
        kind @ (baseline::KIND | window::KIND | policy::KIND) => {
            let message = format!("kind {kind} is no Rollout: patchmesh apply -f keeps it");
            Err(place.fault(Some(head.kind.referenced), message))
        }
        service::KIND => {
            let message = "kind Service is no Rollout: patchmesh apply -f keeps it";
            Err(place.fault(Some(head.kind.referenced), message))
        }
        kind if KINDS_TO_COME.contains(&kind) => {
            let what = place.at(Some(head.kind.referenced), &format!("kind {kind}"));
            Err(Fault::not_built(&what, "write a manifest of kind Rollout with its own openings and baseline"))
        }
        kind => {
            let known = "Rollout, PatchBaseline, MaintenanceWindow, PatchPolicy and Service";
            let message = format!("kind {:?} is unknown: only {known} are read", clip(kind));
            Err(place.fault(Some(head.kind.referenced), message))
        }
    }
}

const UNCHANGED: &str = "nothing was changed";

/// At most 80 characters of what somebody wrote.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Where errors are: the file, and a location in it.
struct Place<'a> {
    file: &'a str,
}

impl Place<'_> {
    fn at(&self, location: Option<Location>, message: &str) -> String {
        match location {
            Some(at) if at != Location::UNKNOWN => format!("{}:{}:{}: {message}", self.file, at.line(), at.column()),
            _ => format!("{}: {message}", self.file),
        }
    }

    fn fault(&self, location: Option<Location>, message: impl AsRef<str>) -> Fault {
        Fault::new(
            "manifest-invalid",
            self.at(location, message.as_ref()),
            UNCHANGED,
            "correct the manifest and try again",
        )
    }

    fn not_built(&self, location: Location, what: &str, instead: &str) -> Fault {
        Fault::not_built(&self.at(Some(location), what), instead).exit(Exit::Usage)
    }

    fn yaml<T: DeserializeOwned>(&self, text: &str) -> Result<T, Fault> {
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let error = error.without_snippet();
            let message = match error {
                YamlError::SerdeUnknownField { field, expected, .. } => {
                    // Serde's own list names fields that are only known to be refused by name.
                    let known: Vec<_> =
                        expected.iter().copied().filter(|name| !rollout::TO_COME.contains(name)).collect();
                    format!("unknown field {:?}: known here are {}", clip(field), known.join(", "))
                }
                // Its location is that of some other field.
                YamlError::SerdeMissingField { field, .. } => {
                    let parent = words::field::<T>(text);
                    let (at, dot) =
                        (locate(text, std::slice::from_ref(&parent)), if parent.is_empty() { "" } else { "." });
                    return self
                        .fault(at.into_iter().next().flatten(), format!("field {parent}{dot}{field} is missing"));
                }
                YamlError::MultipleDocuments { .. } => "the file holds several documents: one is expected".into(),
                other if let Some(instead) = words::instead(other) => match words::field::<T>(text) {
                    field if field.is_empty() => instead,
                    field => format!("{field}: {instead}"),
                },
                // The position is ours to print, in one form everywhere.
                other => {
                    let text = other.to_string();
                    let end = text.find(" at line ").unwrap_or(text.len());
                    text[..end].trim_start_matches("error: ").to_owned()
                }
            };
            self.fault(error.location(), message)
        })
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_documents: 2, max_depth: 16 },
    }
}

#[cfg(test)]
mod tests;
