//! `kind: PatchBaseline`, and the same as AWS's JSON.

use std::collections::BTreeMap;

use patchmesh_common::patch::baseline::{OperatingSystem, PatchBaseline, Problem, Spec, aws::AwsBaseline};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use super::{Place, clip, locate::locate, written};
use crate::fault::Fault;

/// The kind.
pub const KIND: &str = "PatchBaseline";

/// A manifest as it is written, and as it travels over the API.
pub type Written = written::Written<Spec>;

impl From<PatchBaseline> for Written {
    fn from(baseline: PatchBaseline) -> Self {
        Self::new(KIND, (baseline.name, baseline.labels), baseline.spec)
    }
}

impl Written {
    /// The baseline, of which nothing has been checked; `None` for another kind or version.
    pub fn baseline(self) -> Option<PatchBaseline> {
        self.parts(KIND).map(|(name, labels, spec)| PatchBaseline { name, labels, spec })
    }
}

/// Parses a manifest of kind `PatchBaseline`, and holds it against every limit; `file` is its name in errors.
///
/// # Errors
/// Exit 1, with file, line and field of everything that is wrong; exit 64 for what is not built yet.
pub fn parse(file: &str, text: &str) -> Result<PatchBaseline, Fault> {
    let place = Place { file };
    let (name, labels, spec) = written::read(&place, text, KIND, "baseline")?;
    let baseline = PatchBaseline { name, labels, spec };
    judged(&place, text, baseline, |problem| match problem.field.as_str() {
        "name" => "metadata.name".to_owned(),
        field => format!("spec.{field}"),
    })
}

/// Whether JSON is one of our manifests rather than a file of AWS's.
pub(super) fn is_manifest(text: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ours {
        #[serde(rename = "apiVersion")]
        _api_version: IgnoredAny,
    }
    // A list of one element would be read as the members in their order.
    !is_list(text) && serde_json::from_str::<Ours>(text).is_ok()
}

/// Whether what `import` reads is one of our manifests: everything in YAML, and JSON that says so.
pub fn is_written(file: &str, text: &str) -> bool {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| file.ends_with(end));
    is_yaml || is_manifest(text) || !text.trim_start().starts_with(['{', '['])
}

/// Parses AWS's JSON: what create-patch-baseline takes, or what get-patch-baseline prints.
///
/// # Errors
/// As [`parse`].
pub fn parse_aws(file: &str, text: &str) -> Result<PatchBaseline, Fault> {
    let place = Place { file };
    if is_list(text) {
        let message = "this is a list of baselines (BaselineOverride), and one baseline is expected";
        return Err(Fault::new(
            "manifest-invalid",
            place.at(None, message),
            "nothing was changed",
            "write each object of the list into a file of its own",
        ));
    }
    let theirs: AwsBaseline = aws(&place, text)?;
    judged(&place, text, theirs.into(), Problem::aws_field)
}

/// Whether JSON is a list, as a `BaselineOverride` is.
pub(super) fn is_list(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// Parses AWS's `BaselineOverride`: a list of baselines, which need no names.
///
/// # Errors
/// As [`parse`].
pub fn parse_override(file: &str, text: &str) -> Result<Vec<PatchBaseline>, Fault> {
    let place = Place { file };
    check_override(&place, text, "", aws(&place, text)?)
}

/// The baselines of a `BaselineOverride` that stands at the path `prefix` of `text`, judged one by one.
pub(super) fn check_override(
    place: &Place<'_>,
    text: &str,
    prefix: &str,
    theirs: Vec<AwsBaseline>,
) -> Result<Vec<PatchBaseline>, Fault> {
    if theirs.len() > OperatingSystem::ALL.len() {
        let message = format!("{} baselines, and at most one per operating system is expected", theirs.len());
        return Err(place.fault(None, message));
    }
    let mut systems = BTreeMap::new();
    for (at, one) in theirs.iter().enumerate() {
        let os = one.operating_system.as_deref().unwrap_or(OperatingSystem::Windows.as_str());
        if let Some(first) = systems.insert(os, at) {
            let field = format!("{prefix}[{at}].OperatingSystem");
            let message = format!("{field} {:?}: {prefix}[{first}] is for it too, and one is expected", clip(os));
            return Err(place.fault(locate(text, &[field]).pop().flatten(), message));
        }
    }
    let named = |mut theirs: AwsBaseline| {
        if theirs.name.is_empty() {
            theirs.name = OVERRIDE.to_owned();
        }
        PatchBaseline::from(theirs)
    };
    let numbered = theirs.into_iter().map(named).enumerate();
    numbered
        .map(|(at, one)| judged(place, text, one, |problem| format!("{prefix}[{at}].{}", problem.aws_field())))
        .collect()
}

/// What a baseline of an override is called if it has no name.
const OVERRIDE: &str = "BaselineOverride";

/// Reads one JSON document; errors name file, line and field.
pub(crate) fn json_document<T: for<'de> Deserialize<'de>>(file: &str, text: &str) -> Result<T, Fault> {
    json(&Place { file }, text)
}

/// Reads AWS's JSON. A list in the place of an object, whose members would be taken in their order, is refused.
fn aws<T: for<'de> Deserialize<'de> + Serialize>(place: &Place<'_>, text: &str) -> Result<T, Fault> {
    let found: T = json(place, text)?;
    let (given, read) = (json::<Value>(place, text)?, serde_json::to_value(&found).unwrap_or_default());
    let Some(path) = list_for_object(&given, &read) else { return Ok(found) };
    let message = format!("{}: a list stands where an object is expected", path.trim_start_matches('.'));
    Err(place.fault(locate(text, &[path]).pop().flatten(), message))
}

/// Where `given` has a list of what was read as an object.
fn list_for_object(given: &Value, read: &Value) -> Option<String> {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(given), Value::Array(read)) => {
            let mut pairs = given.iter().zip(read).enumerate();
            pairs.find_map(|(at, (given, read))| Some(format!("[{at}]{}", list_for_object(given, read)?)))
        }
        (Value::Object(given), Value::Object(read)) => {
            let mut pairs = given.iter().filter_map(|(name, given)| Some((name, given, read.get(name)?)));
            pairs.find_map(|(name, given, read)| Some(format!(".{name}{}", list_for_object(given, read)?)))
        }
        _ => None,
    }
}

fn json<T: for<'de> Deserialize<'de>>(place: &Place<'_>, text: &str) -> Result<T, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let wrong = |path: Option<String>, error: &serde_json::Error| {
        let told = error.to_string();
        let end = told.rfind(" at line ").unwrap_or(told.len());
        let path = path.filter(|path| path != ".").map(|path| format!("{path}: ")).unwrap_or_default();
        let at = format!("{}:{}:{}: {path}{}", place.file, error.line(), error.column(), clip_long(&told[..end]));
        Fault::new("manifest-invalid", at, "nothing was changed", "correct the file and try again")
    };
    let found = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| wrong(Some(error.path().to_string()), error.inner()))?;
    deserializer.end().map_err(|error| wrong(None, &error))?;
    Ok(found)
}

/// Long enough for a list of every known field.
fn clip_long(text: &str) -> String {
    text.chars().take(800).collect()
}

/// The baseline, if it keeps every limit.
fn judged(
    place: &Place<'_>,
    text: &str,
    baseline: PatchBaseline,
    spelled: impl Fn(&Problem) -> String,
) -> Result<PatchBaseline, Fault> {
    let Err(problems) = baseline.check() else { return Ok(baseline) };
    let told = problems.into_iter().map(|problem| (spelled(&problem), problem.value, problem.limit));
    Err(written::refused(place, text, told.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Exit, manifest};

    const GOOD: &str = "\
apiVersion: patchmesh/v1
kind: PatchBaseline
metadata: {name: web}
spec:
  operatingSystem: DEBIAN
  approvalClock: mesh
  approvalRules:
    patchRules:
      - patchFilterGroup: {patchFilters: [{key: PRIORITY, values: [Required]}]}
        approveAfterDays: 7
";

    fn message(text: &str) -> String {
        let fault = parse("b.yaml", text).unwrap_err();
        assert_eq!((fault.exit, fault.code), (Exit::Error, "manifest-invalid"));
        fault.chain()
    }

    #[test]
    fn a_manifest_is_read_written_and_read_again() {
        let baseline = parse("b.yaml", GOOD).unwrap();
        assert_eq!(baseline.name, "web");
        let text = serde_saphyr::to_string(&Written::from(baseline.clone())).unwrap();
        assert_eq!(parse("b.yaml", &text).unwrap(), baseline);
        assert!(
            matches!(manifest::parse("b.yaml", GOOD), Ok(manifest::Manifest::Baseline(found)) if *found == baseline)
        );
        let as_json = serde_json::to_string(&Written::from(baseline.clone())).unwrap();
        assert!(
            matches!(manifest::parse("b.json", &as_json), Ok(manifest::Manifest::Baseline(found)) if *found == baseline)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        let with = |from: &str, to: &str| message(&GOOD.replace(from, to));
        assert_eq!(
            with("approveAfterDays: 7", "approveAfterDays: 361"),
            "b.yaml:10:27: spec.approvalRules.patchRules[0].approveAfterDays \"361\": 0 to 360 days are allowed"
        );
        assert_eq!(
            with("PRIORITY", "SEVERITY"),
            "b.yaml:9:49: spec.approvalRules.patchRules[0].patchFilterGroup.patchFilters[0].key \"SEVERITY\": DEBIAN knows \
             PRODUCT, PRIORITY, SECTION"
        );
        assert!(with("name: web", "name: a").starts_with("b.yaml:3:18: metadata.name \"a\": 1 characters"));
        assert!(with("  approvalClock", "  clock").starts_with("b.yaml:6:3: unknown field \"clock\": known here are "));
        assert!(with("approveAfterDays: 7", "approveAfterDays: soon").starts_with("b.yaml:10:27: "));
        assert!(with("PatchBaseline", "Rollout").starts_with("b.yaml:2:7: kind \"Rollout\" is no baseline"));
        assert!(with("patchmesh/v1", "v2").starts_with("b.yaml:1:13: apiVersion \"v2\""));
        assert_eq!(message(&GOOD.replace("metadata: {name: web}\n", "")), "b.yaml:1:1: field metadata is missing");
        let two = with("DEBIAN", "CENTOS");
        assert!(two.starts_with("b.yaml: 2 problems: b.yaml:6:18: spec.approvalClock \"mesh\": "), "{two}");
        let labelled = parse("b.yaml", &GOOD.replace("web}", "web, labels: {team: web}}")).unwrap();
        assert_eq!(labelled.labels["team"], "web");
        let plan = manifest::parse_rollout("b.yaml", GOOD).unwrap_err();
        assert!(plan.message.starts_with("b.yaml:2:7: kind PatchBaseline is no Rollout"), "{}", plan.message);
    }

    #[test]
    fn files_of_aws_are_judged_in_their_own_spelling() {
        let wrong = |text: &str| parse_aws("b.json", text).unwrap_err().chain();
        assert_eq!(
            wrong(
                "{\n \"Name\": \"web\",\n \"ApprovalRules\": {\"PatchRules\": [\n  {\"PatchFilterGroup\": {\"PatchFilters\": []}}]}\n}"
            ),
            "b.json:4:3: ApprovalRules.PatchRules[0].ApproveAfterDays: missing: write a number of days, or a last day"
        );
        let unknown = wrong("{\"Name\": \"web\", \"Descripton\": \"x\"}");
        assert!(
            unknown.starts_with("b.json:1:28: Descripton: unknown field `Descripton`, expected one of "),
            "{unknown}"
        );
        let kind = wrong("{\"Name\": \"web\", \"ApprovedPatches\": [1]}");
        assert!(
            kind.starts_with("b.json:1:37: ApprovedPatches[0]: invalid type: integer `1`, expected a string"),
            "{kind}"
        );
        assert!(wrong("{\"Name\": \"web\"} {}").contains("trailing characters"));
        assert!(wrong("{\"Name\": \"web\", \"Name\": \"web\"}").contains("duplicate field"));
        for text in ["", "null", "{", "3", "{\"name\": \"web\"}"] {
            assert!(wrong(text).starts_with("b.json:"), "{text}");
        }
        assert!(
            wrong("[{}]").ends_with("this is a list of baselines (BaselineOverride), and one baseline is expected")
        );
        assert!(wrong(&"[".repeat(100_000).replacen('[', "{\"Name\":[", 1)).starts_with("b.json:1:"));
    }

    #[test]
    fn a_list_of_baselines_is_judged_one_by_one() {
        let found = parse_override("o.json", r#"[{"OperatingSystem": "DEBIAN"}, {"Name": "win"}]"#).unwrap();
        assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("BaselineOverride", "win"));
        let wrong = |text: &str| parse_override("o.json", text).unwrap_err().chain();
        let one = manifest::parse("-", r#" [{"OperatingSystem": "DEBIAN"}]"#);
        assert!(matches!(one, Ok(manifest::Manifest::Override(found)) if found.len() == 1));
        assert_eq!(
            wrong("[{\"OperatingSystem\": \"DEBIAN\"},\n {\"OperatingSystem\": \"DEBIAN\"}]"),
            "o.json:2:22: [1].OperatingSystem \"DEBIAN\": [0] is for it too, and one is expected"
        );
        assert_eq!(
            wrong("[{\"OperatingSystem\": \"DEBIAN\",\n \"Sources\": [[\"own\", [\"*\"], \"deb https://a s main\"]]}]"),
            "o.json:2:14: [0].Sources[0]: a list stands where an object is expected"
        );
        let second = wrong("[{\"OperatingSystem\": \"DEBIAN\"},\n {\"Description\": \"\"}]");
        assert!(second.starts_with("o.json:2:18: [1].Description \"\": 0 characters"), "{second}");
        assert!(wrong(&format!("[{}{{}}]", "{},".repeat(15))).contains("16 baselines"));
        assert!(wrong("[3]").starts_with("o.json:1:2: [0]: "));
    }

    #[test]
    fn damaged_files_are_refused_or_read_and_never_more() {
        let aws = r#"{"Name":"web","OperatingSystem":"CENTOS","RejectedPatches":["a*"],"CreatedDate":1.5}"#;
        for at in 0..aws.len() {
            for byte in *b"\"{[,:x9 \\" {
                let mut damaged = aws.as_bytes().to_vec();
                damaged[at] = byte;
                let _ = parse_aws("b.json", &String::from_utf8(damaged).unwrap());
            }
            assert!(parse_aws("b.json", &aws[..at]).is_err());
        }
        for at in 0..GOOD.len() {
            for text in [GOOD[..at].to_owned(), format!("{}\t&*{{{}", &GOOD[..at], &GOOD[at..])] {
                let _ = manifest::parse("b.yaml", &text);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_quickly() {
        let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let below = format!("*a{}, ", n - 1).repeat(9);
            format!("{text}a{n}: &a{n} [{below}]\n")
        });
        assert!(message(&bomb).starts_with("b.yaml"));
        // Nodes are few, and what they would become is 20 GB.
        let long =
            format!("  description: &a {}\n  approvedPatches: [{}]\n", "x".repeat(500_000), "*a, ".repeat(39_000));
        assert!(message(&format!("{GOOD}{long}")).contains("budget breached"));
        assert!(message(&format!("{GOOD}  approvedPatches: [{}]\n", "x, ".repeat(100_000))).starts_with("b.yaml"));
    }
}
