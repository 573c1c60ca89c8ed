//! Manifests that the coordinator keeps: a name and a `spec`, read strictly, written, and read again.

use patchmesh_common::{
    labels::{self, Labels},
    schedule::window::Problem,
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_saphyr::Spanned;

use super::{API_VERSION, Head, Place, clip, locate::locate};
use crate::fault::Fault;

/// A manifest as it is written, and as it travels over the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Written<S> {
    api_version: String,
    kind: String,
    metadata: WrittenMetadata,
    spec: S,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMetadata {
    name: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

impl<S> Written<S> {
    /// The manifest of kind `kind` called `name`, with `labels`.
    pub(super) fn new(kind: &str, (name, labels): (String, Labels), spec: S) -> Self {
        let metadata = WrittenMetadata { name, labels };
        Self { api_version: API_VERSION.to_owned(), kind: kind.to_owned(), metadata, spec }
    }

    /// Name and `spec`, of which nothing has been checked, and labels; `None` for another kind or version, and for labels that are
    /// not allowed.
    pub(super) fn parts(self, kind: &str) -> Option<(String, Labels, S)> {
        let WrittenMetadata { name, labels } = self.metadata;
        let ours = self.api_version == API_VERSION && self.kind == kind && labels::check(&labels).is_ok();
        ours.then_some((name, labels, self.spec))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    labels: Option<Spanned<Labels>>,
}

/// Name, labels and `spec` of a manifest of kind `kind`, in words a `noun`.
///
/// # Errors
/// Exit 1 for another kind or version, for what does not fit `S`, and for labels that are not allowed.
pub(super) fn read<S: DeserializeOwned>(
    place: &Place<'_>,
    text: &str,
    kind: &str,
    noun: &str,
) -> Result<(String, Labels, S), Fault> {
    let head: Head = place.yaml(text)?;
    if head.api_version.value != API_VERSION {
        let message =
            format!("apiVersion {:?} is unknown: {API_VERSION} is the only one", clip(&head.api_version.value));
        return Err(place.fault(Some(head.api_version.referenced), message));
    }
    if head.kind.value != kind {
        let message = format!("kind {:?} is no {noun}: {kind} is expected", clip(&head.kind.value));
        return Err(place.fault(Some(head.kind.referenced), message));
    }
    let Document { metadata, spec, .. } = place.yaml(text)?;
    Ok((metadata.name, labelled(place, metadata.labels)?, spec))
}

/// The labels of a manifest, which decide nothing.
pub(super) fn labelled(place: &Place<'_>, given: Option<Spanned<Labels>>) -> Result<Labels, Fault> {
    let Some(Spanned { value, referenced, .. }) = given else { return Ok(Labels::new()) };
    match labels::check(&value) {
        Ok(()) => Ok(value),
        Err(error) => Err(place.fault(Some(referenced), format!("metadata.labels: {error}"))),
    }
}

/// What a check found, as one fault.
pub(super) fn judged(place: &Place<'_>, text: &str, problems: Vec<Problem>) -> Fault {
    let told = problems.into_iter().map(|problem| {
        let field = match problem.field.as_ref() {
            "name" => "metadata.name".to_owned(),
            field => format!("spec.{field}"),
        };
        (field, (!problem.value.is_empty()).then(|| format!("{:?}", problem.value)), problem.limit)
    });
    refused(place, text, told.collect())
}

/// The text of `written`, a `noun`, if `parse` reads it as the same.
///
/// # Errors
/// If what is written would not be read as the same one.
pub(super) fn yaml<S: Serialize, K: PartialEq>(
    noun: &str,
    written: &Written<S>,
    same: &K,
    parse: impl FnOnce(&str, &str) -> Result<K, Fault>,
) -> Result<String, Fault> {
    let failed = |cause: String| {
        let message = format!("{noun} {} cannot be written as YAML", written.metadata.name);
        Fault::new("output-failed", message, "nothing was changed", "report this").because(cause)
    };
    let text = serde_saphyr::to_string(written).map_err(|error| failed(error.to_string()))?;
    match parse("what was written", &text) {
        Ok(back) if back == *same => Ok(text),
        Ok(_) => Err(failed("it would be read as another one".to_owned())),
        Err(fault) => Err(failed(fault.chain())),
    }
}

/// All of `problems` as one fault: the path of a field in `text`, its value and the limit that it breaks.
pub(super) fn refused(place: &Place<'_>, text: &str, problems: Vec<(String, Option<String>, String)>) -> Fault {
    let fields: Vec<_> = problems.iter().map(|(field, ..)| field.clone()).collect();
    let told: Vec<_> = problems
        .into_iter()
        .zip(locate(text, &fields))
        .map(|((field, value, limit), at)| {
            let said = match value {
                Some(value) => format!("{field} {value}: {limit}"),
                None => format!("{field}: {limit}"),
            };
            place.at(at, &said)
        })
        .collect();
    let message = match told.as_slice() {
        [one] => one.clone(),
        several => format!("{}: {} problems: {}", place.file, several.len(), several.join("; ")),
    };
    Fault::new("manifest-invalid", message, "nothing was changed", "correct the file and try again")
}
