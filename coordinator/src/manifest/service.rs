//! `kind: Service`.

use std::collections::BTreeMap;

use patchmesh_common::{
    labels::Labels,
    rollout::{limit::Limit, service::ServiceSpec, spec::SpecError},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    API_VERSION, Head, Place, clip,
    gates::{self, GateYaml},
    written::labelled,
};
use crate::fault::Fault;

/// The kind.
pub const KIND: &str = "Service";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    labels: Option<Spanned<Labels>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    selector: Spanned<Selector>,
    min_available: Limit,
    spread: Option<Spanned<String>>,
    last: Option<Spanned<Vec<Selector>>>,
    probe: Option<Spanned<GateYaml>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

/// Parses a manifest of kind `Service`, and holds it against every limit; `file` is its name in errors.
///
/// # Errors
/// Exit 1, with file, line and field of what is wrong; exit 64 for what is not built yet.
pub fn parse(file: &str, text: &str) -> Result<ServiceSpec, Fault> {
    let place = Place { file };
    let head: Head = place.yaml(text)?;
    if (head.api_version.value.as_str(), head.kind.value.as_str()) != (API_VERSION, KIND) {
        let (version, kind) = (clip(&head.api_version.value), clip(&head.kind.value));
        let message = format!("{version} {kind} is no service: {API_VERSION} {KIND} is expected");
        return Err(place.fault(Some(head.kind.referenced), message));
    }
    let Document { metadata, spec, .. } = place.yaml(text)?;
    labelled(&place, metadata.labels)?;
    let (selector_at, spread_at) = (spec.selector.referenced, spec.spread.as_ref().map(|tag| tag.referenced));
    let last_at = spec.last.as_ref().map(|last| last.referenced);
    let probe_at = spec.probe.as_ref().map(|probe| probe.referenced);
    let probe = spec.probe.map(|written| gates::probe(&place, written)).transpose()?;
    let service = ServiceSpec {
        name: metadata.name.value,
        selector: spec.selector.value.match_labels,
        min_available: spec.min_available,
        spread: spec.spread.map(|tag| tag.value),
        last: spec.last.map(|last| last.value).unwrap_or_default().into_iter().map(|one| one.match_labels).collect(),
        probe,
    };
    let told = |at, error: SpecError| place.fault(at, error.to_string());
    // What is wrong lies where a service without it is right.
    match service.check() {
        Ok(()) => Ok(service),
        Err(error @ SpecError::Probe(_)) => Err(told(probe_at, error)),
        Err(error @ SpecError::Name(_)) => Err(told(Some(metadata.name.referenced), error)),
        Err(error) => {
            let without_last = ServiceSpec { last: Vec::new(), ..service.clone() };
            let without_both = ServiceSpec { spread: None, ..without_last.clone() };
            let at = match (without_last.check(), without_both.check()) {
                (Ok(()), _) => last_at,
                (_, Ok(())) => spread_at,
                _ => Some(selector_at),
            };
            Err(told(at, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault::Exit,
        manifest::{self, Manifest},
    };

    const GOOD: &str = "\
apiVersion: patchmesh/v1
kind: Service
metadata: {name: pg}
spec:
  selector: {matchLabels: {app: pg}}
  minAvailable: 2
  spread: zone
  last: [{matchLabels: {pg-role: primary}}]
";

    #[test]
    fn a_manifest_is_read_with_every_field() {
        let service = parse("s.yaml", GOOD).unwrap();
        assert_eq!((service.name.as_str(), service.min_available.given(), service.last.len()), ("pg", "2", 1));
        assert_eq!((service.selector["app"].as_str(), service.spread.as_deref()), ("pg", Some("zone")));
        assert!(matches!(manifest::parse("s.yaml", GOOD), Ok(Manifest::Service(found)) if *found == service));
        let short = "apiVersion: patchmesh/v1\nkind: Service\nmetadata: {name: pg}\nspec:\n  selector: {matchLabels: {app: pg}}\n  minAvailable: 50%\n";
        assert_eq!(parse("s.yaml", short).unwrap().spread, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, at) in [
            ("name: pg", "name: PG", "s.yaml:3:18: the name \"PG\""),
            ("{app: pg}", "{}", "s.yaml:5:13: the selector names no label"),
            ("spread: zone", "spread: a b", "s.yaml:7:11: the label of spread \"a b\""),
            ("{pg-role: primary}", "{}", "s.yaml:8:9: a selector of last names no label"),
            ("minAvailable: 2", "minAvailable: 101%", "s.yaml:6:17: "),
            ("minAvailable: 2", "minAvailble: 2", "s.yaml:6:3: unknown field \"minAvailble\""),
            ("  minAvailable: 2\n", "", "s.yaml:5:3: field spec.minAvailable is missing"),
            ("kind: Service", "kind: Rollout", "s.yaml:2:7: patchmesh/v1 Rollout is no service"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            let fault = parse("s.yaml", &text).unwrap_err();
            assert_eq!(fault.exit, Exit::Error);
            assert!(fault.message.starts_with(at), "{}", fault.message);
        }
        let labels = |text: &str| parse("s.yaml", &GOOD.replace("name: pg}", &format!("name: pg, labels: {text}}}")));
        assert_eq!(labels("{team: web}").unwrap(), parse("s.yaml", GOOD).unwrap());
        let told = labels("{a b: web}").unwrap_err().message;
        assert!(told.starts_with("s.yaml:3:30: metadata.labels: the key \"a b\" is not allowed"), "{told}");
    }

    #[test]
    fn a_probe_is_a_command_a_unit_or_a_url_and_short() {
        let probe = |written: &str| parse("s.yaml", &format!("{GOOD}  probe: {written}\n"));
        let read = |written: &str| probe(written).unwrap().probe.map(|probe| (probe.name(), probe.timeout_seconds));
        assert_eq!(read("{command: [pg-ready, -q]}"), Some(("command pg-ready -q".into(), 10)));
        assert_eq!(read("{systemdUnit: pg.service, timeout: 30s}"), Some(("systemdUnit pg.service".into(), 30)));
        assert_eq!(read("{http: {url: \"http://localhost/up\"}}"), Some(("http http://localhost/up (200)".into(), 10)));
        for (written, told) in [
            ("{}", "s.yaml:9:10: a probe must hold exactly one of command: […], systemdUnit: NAME and http"),
            ("{noNewFailedUnits: true}", "s.yaml:9:10: probe: noNewFailedUnits compares with what was before"),
            ("{command: [/bin/true]}", "s.yaml:9:10: probe: the command \"/bin/true\" is no file name"),
            ("{systemdUnit: pg.service, timeout: 31s}", "s.yaml:9:45: timeout \"31s\" is not allowed: write 1s to 30s"),
            ("{systemdUnit: pg}", "s.yaml:9:10: probe: the unit \"pg\" is not allowed"),
            ("[pg_isready]", "s.yaml:9:10: "),
        ] {
            let fault = probe(written).unwrap_err();
            assert!(fault.message.starts_with(told), "{}", fault.message);
        }
        let tls = probe("{http: {url: \"https://localhost/\"}}").unwrap_err();
        assert_eq!((tls.exit, tls.message.contains("https in a probe")), (Exit::Usage, true), "{}", tls.message);
    }
}
