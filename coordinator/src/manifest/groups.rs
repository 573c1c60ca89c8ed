//! `kind: PatchGroups`: what the coordinator keeps of registrations and defaults.

use patchmesh_common::patch::groups::Groups;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{API_VERSION, Head, Place, clip};
use crate::fault::Fault;

const KIND: &str = "PatchGroups";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    spec: Groups,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: &'a Groups,
}

/// Parses what [`text`] wrote, and holds it against every rule; `file` is its name in errors.
///
/// # Errors
/// Exit 1, with file and place of the first thing that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Groups, Fault> {
    let place = Place { file };
    let head: Head = place.yaml(text)?;
    if (head.api_version.value.as_str(), head.kind.value.as_str()) != (API_VERSION, KIND) {
        let (version, kind) = (clip(&head.api_version.value), clip(&head.kind.value));
        let message = format!("{version} {kind} is not what is kept here: {API_VERSION} {KIND} is expected");
        return Err(place.fault(Some(head.kind.referenced), message));
    }
    let document: Document = place.yaml(text)?;
    Ok(document.spec)
}

/// The document of `groups`.
///
/// # Errors
/// If what is written would not be read as the same groups.
pub fn text(groups: &Groups) -> Result<String, Fault> {
    let failed = |cause: String| {
        Fault::new("output-failed", "the patch groups cannot be written as YAML", "nothing was changed", "report this")
            .because(cause)
    };
    let written = Written { api_version: API_VERSION, kind: KIND, spec: groups };
    let text = serde_saphyr::to_string(&written).map_err(|error| failed(error.to_string()))?;
    match parse("what was written", &text) {
        Ok(back) if back == *groups => Ok(text),
        Ok(_) => Err(failed("they would be read as others".to_owned())),
        Err(fault) => Err(failed(fault.chain())),
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::patch::{
        baseline::OperatingSystem,
        groups::{MAX_GROUPS, MAX_REGISTERED},
    };

    use super::*;

    #[test]
    fn groups_are_written_and_read_again_up_to_the_most() {
        let mut groups = Groups::default();
        assert_eq!(parse("g.yaml", &text(&groups).unwrap()).unwrap(), groups);
        for odd in ["true", "1.5", " a ", "- x", "é: @", "null", "=", "\u{a0}", "a\tb"] {
            groups.register("web", OperatingSystem::Debian, odd).unwrap();
        }
        groups.set_default("web", OperatingSystem::Debian);
        assert_eq!(parse("g.yaml", &text(&groups).unwrap()).unwrap(), groups);
        let mut most = Groups::default();
        for n in 0..MAX_REGISTERED {
            let name = format!("{n:0>256}");
            most.register(&format!("base-{}", n / MAX_GROUPS), OperatingSystem::RedHat, &name).unwrap();
        }
        let whole = text(&most).unwrap();
        assert_eq!(parse("g.yaml", &whole).unwrap(), most);
        assert!(whole.len() < crate::store::MAX_GROUPS_FILE / 2, "{}", whole.len());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let mut groups = Groups::default();
        groups.register("web", OperatingSystem::Debian, "prod").unwrap();
        let good = text(&groups).unwrap();
        let wrong = |from: &str, to: &str| parse("g.yaml", &good.replace(from, to)).unwrap_err().chain();
        assert!(wrong("PatchGroups", "Rollout").starts_with("g.yaml:2:7: patchmesh/v1 Rollout is not what"));
        let system = wrong("DEBIAN", "DEBAIN");
        assert!(system.contains("groups[0].operatingSystem: \"DEBAIN\" is no operating system"), "{system}");
        assert!(wrong("group: prod", "grupp: prod").contains("unknown field \"grupp\""));
        assert!(wrong("spec:", "sepc:").starts_with("g.yaml:"));
        for end in 0..good.len().saturating_sub(1) {
            if let Ok(read) = parse("g.yaml", &good[..end]) {
                assert_ne!(read, groups, "{end}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_quickly() {
        let groups = format!(
            "spec:\n  groups:\n  - &a {{group: {}, operatingSystem: DEBIAN, baseline: web}}\n{}  defaults: []\n",
            "x".repeat(500_000),
            "  - *a\n".repeat(9_000)
        );
        let bomb = format!("apiVersion: patchmesh/v1\nkind: PatchGroups\n{groups}");
        let told = parse("g.yaml", &bomb).unwrap_err().chain();
        assert!(told.starts_with("g.yaml:") && told.contains("budget breached"), "{told}");
    }
}
