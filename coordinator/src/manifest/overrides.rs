//! What decides which patches a Rollout is about: a baseline, a snapshot, or AWS's two overrides, which are a path relative to the
//! manifest, or the same inline.

use std::{fmt, marker::PhantomData, path::Path};

use patchmesh_common::{
    patch::{
        baseline::{aws::AwsBaseline, check::MAX_NAME},
        overrides::InstallList,
    },
    rollout::spec::Asked,
};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_saphyr::{Location, Spanned};

use super::{MAX_MANIFEST, Place, baseline, clip, locate::locate, read_text};
use crate::{fault::Fault, snapshots::SHORTEST};

/// What stands in the manifest.
pub(super) enum Given<T> {
    /// A path.
    File(String),
    /// The content itself.
    Inline(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor(PhantomData))
    }
}

struct GivenVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for GivenVisitor<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or the content of such a file")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Given<T>, E> {
        Ok(Given::File(path.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Given<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Given::Inline)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Given<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(Given::Inline)
    }
}

/// The fields of a Rollout that decide.
pub(super) struct Deciding {
    /// `all`, `security` or a name.
    pub(super) baseline: Option<Spanned<String>>,
    /// An id, or the beginning of one.
    pub(super) snapshot: Option<Spanned<String>>,
    /// AWS's `BaselineOverride`.
    pub(super) baseline_override: Option<Spanned<Given<Vec<AwsBaseline>>>>,
}

/// A whole one, in hex digits.
const MAX_ID: usize = 64;

impl Deciding {
    /// What they ask for; `text` is the manifest. None of them: the baseline of every host's patch group.
    ///
    /// # Errors
    /// Several of them, or one that is not what it should be.
    pub(super) fn asked(self, place: &Place<'_>, text: &str) -> Result<Asked, Fault> {
        let Self { baseline, snapshot, baseline_override } = self;
        match (baseline, snapshot, baseline_override) {
            (None, None, None) => Ok(Asked::Group),
            (Some(given), None, None) => match given.value.as_str() {
                "all" => Ok(Asked::All),
                "security" => Ok(Asked::Security),
                _ => named(place, given),
            },
            (None, Some(given), None) => {
                let id = &given.value;
                let is_hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if is_hex && (SHORTEST..=MAX_ID).contains(&id.len()) {
                    return Ok(Asked::Snapshot(given.value));
                }
                let message = format!(
                    "snapshot {:?} is no id: write {MAX_ID} of 0-9 and a-f, or at least its first {SHORTEST}",
                    clip(id)
                );
                Err(place.fault(Some(given.referenced), message))
            }
            (None, None, Some(given)) => baseline_override_of(place, text, given).map(Asked::Override),
            (_, snapshot, baseline_override) => {
                let last = baseline_override.map(|given| given.referenced).or(snapshot.map(|given| given.referenced));
                Err(place.fault(last, "at most one of baseline, snapshot and baselineOverride can be given"))
            }
        }
    }
}

fn named(place: &Place<'_>, given: Spanned<String>) -> Result<Asked, Fault> {
    let name = &given.value;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if (3..=MAX_NAME).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(Asked::Baseline(given.value));
    }
    let message = format!(
        "baseline {:?} is no baseline's name: write all, security, or a name of 3 to {MAX_NAME} letters, digits, _, - and .",
        clip(name)
    );
    Err(place.fault(Some(given.referenced), message))
}

/// The checked install list of the field `installOverrideList`.
pub(super) fn install_list(
    place: &Place<'_>,
    text: &str,
    given: Spanned<Given<InstallList>>,
) -> Result<InstallList, Fault> {
    let field = "installOverrideList";
    match given.value {
        Given::Inline(list) => checked(place, text, "spec.installOverrideList.", list),
        Given::File(path) => {
            let (shown, found) = beside(place, given.referenced, field, &path)?;
            let place = Place { file: &shown };
            checked(&place, &found, "", place.yaml(&found)?)
        }
    }
}

/// The install list that stands at the path `prefix` of `text`, if it keeps every bound.
pub(super) fn checked(place: &Place<'_>, text: &str, prefix: &str, list: InstallList) -> Result<InstallList, Fault> {
    list.check().map(|()| list).map_err(|error| {
        let message = format!("{prefix}{error}");
        let path = message.split(": ").next().unwrap_or_default().to_owned();
        place.fault(locate(text, &[path]).pop().flatten(), message)
    })
}

/// The checked list of baselines of the field `baselineOverride` of the manifest `text`, as AWS's JSON.
fn baseline_override_of(
    place: &Place<'_>,
    text: &str,
    given: Spanned<Given<Vec<AwsBaseline>>>,
) -> Result<String, Fault> {
    let field = "baselineOverride";
    match given.value {
        Given::File(path) => {
            let (shown, found) = beside(place, given.referenced, field, &path)?;
            baseline::parse_override(&shown, &found).map(|_| found)
        }
        Given::Inline(theirs) => {
            let written = serde_json::to_string(&theirs).map_err(|error| {
                place.fault(Some(given.referenced), format!("{field} cannot be written as JSON: {error}"))
            })?;
            baseline::check_override(place, text, "spec.baselineOverride", theirs).map(|_| written)
        }
    }
}

/// The text of the file that the manifest calls `path`, and its name in errors.
fn beside(place: &Place<'_>, at: Location, field: &str, path: &str) -> Result<(String, String), Fault> {
    if path.contains("://") {
        let message = format!("{field} {:?}: only files are read: fetch it, and write its path", clip(path));
        return Err(place.fault(Some(at), message));
    }
    // The standard input is the manifest's.
    if ["", "-"].contains(&path) {
        let message = format!("{field} {path:?} is no path: write one, or the content itself");
        return Err(place.fault(Some(at), message));
    }
    let folder = Path::new(place.file).parent().unwrap_or(Path::new(""));
    let remedy = format!("check {field}: a path counts from the folder of the manifest");
    read_text(&folder.join(path), MAX_MANIFEST, &remedy)
        .map_err(|fault| Fault { message: place.at(Some(at), &format!("{field}: {}", fault.message)), ..fault })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse_rollout;

    const HEAD: &str = "\
apiVersion: patchmesh/v1
kind: Rollout
metadata: {name: weekly}
spec:
  operation: Install
  targets: {all: true}
  maxConcurrency: 10%
";

    fn asked(fields: &str) -> (Asked, Option<InstallList>) {
        let spec = parse_rollout("r.yaml", &format!("{HEAD}{fields}")).unwrap();
        (spec.baseline, spec.install_list)
    }

    fn wrong(fields: &str) -> String {
        parse_rollout("r.yaml", &format!("{HEAD}{fields}")).unwrap_err().chain()
    }

    #[test]
    fn one_of_them_decides_or_the_hosts_group() {
        assert_eq!(asked(""), (Asked::Group, None));
        assert_eq!(asked("  baseline: all\n").0, Asked::All);
        assert_eq!(asked("  baseline: security\n").0, Asked::Security);
        assert_eq!(asked("  baseline: AWS-DebianDefaultPatchBaseline\n").0, {
            Asked::Baseline("AWS-DebianDefaultPatchBaseline".into())
        });
        assert_eq!(asked("  snapshot: \"00c4f1\"\n").0, Asked::Snapshot("00c4f1".into()));
        for (fields, at) in [("baseline: all\n  snapshot: abcd", 9), ("snapshot: abcd\n  baselineOverride: []", 9)] {
            let told = wrong(&format!("  {fields}\n"));
            let expected = format!("r.yaml:{at}:");
            assert!(told.starts_with(&expected) && told.contains("at most one of"), "{told}");
        }
        assert!(wrong("  snapshot: ABCDEF\n").starts_with("r.yaml:8:13: snapshot \"ABCDEF\" is no id"));
        assert!(wrong("  snapshot: abcde\n").contains("is no id: write 64 of 0-9 and a-f, or at least its first 6"));
        assert!(wrong("  baseline: a b\n").starts_with("r.yaml:8:13: baseline \"a b\" is no baseline's name"));
    }

    #[test]
    fn overrides_stand_inline() {
        let (asked, list) = asked("  baselineOverride: [{OperatingSystem: DEBIAN, ApprovedPatches: [nano]}]\n");
        let Asked::Override(json) = asked else { panic!("{asked:?}") };
        assert_eq!(
            baseline::parse_override("o.json", &json).unwrap()[0].spec.approved_patches,
            Some(vec!["nano".into()])
        );
        assert_eq!(list, None);
        let (_, list) = self::asked("  installOverrideList: {patches: [{id: nano.amd64, more: 1}]}\n");
        assert_eq!(list.unwrap().patches[0].id, "nano.amd64");
        let field = wrong("  baselineOverride:\n    - OperatingSystem: DEBIAN\n    - Description: ''\n");
        assert!(field.starts_with("r.yaml:10:20: spec.baselineOverride[1].Description \"\": 0 characters"), "{field}");
        let unknown = wrong("  baselineOverride: [{OperatngSystem: DEBIAN}]\n");
        assert!(unknown.starts_with("r.yaml:8:23: unknown field \"OperatngSystem\""), "{unknown}");
        let bound = wrong("  installOverrideList: {patches: [{id: ''}]}\n");
        assert!(bound.starts_with("r.yaml:8:40: spec.installOverrideList.patches[0].id: "), "{bound}");
        assert!(wrong("  installOverrideList: [3]\n").starts_with("r.yaml:8:"));
        assert!(wrong("  baselineOverride: 3\n").starts_with("r.yaml:8:"));
        let both = wrong("  baselineOverride: []\n  installOverrideList: {patches: []}\n");
        assert!(both.starts_with("r.yaml:9:24: installOverrideList cannot be used with baselineOverride"), "{both}");
    }

    #[test]
    fn overrides_lie_beside_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("r.yaml");
        std::fs::create_dir(folder.path().join("lists")).unwrap();
        std::fs::write(folder.path().join("lists/one.yaml"), "patches: [{id: nano.amd64}]\n").unwrap();
        std::fs::write(folder.path().join("over.json"), "[{\"OperatingSystem\": \"DEBIAN\"}]").unwrap();
        let read = |fields: &str| {
            std::fs::write(&manifest, format!("{HEAD}{fields}")).unwrap();
            crate::manifest::read_rollout(&manifest).map(|(spec, _)| spec)
        };
        let spec = read("  installOverrideList: lists/one.yaml\n").unwrap();
        assert_eq!(spec.install_list.unwrap().patches[0].id, "nano.amd64");
        let spec = read("  baselineOverride: over.json\n").unwrap();
        assert_eq!(spec.baseline, Asked::Override("[{\"OperatingSystem\": \"DEBIAN\"}]".into()));
        let absent = read("  baselineOverride: absent.json\n").unwrap_err();
        assert!(absent.message.ends_with("absent.json"), "{}", absent.message);
        std::fs::write(folder.path().join("lists/one.yaml"), "patches: [{id: ''}]\n").unwrap();
        let bad = read("  installOverrideList: lists/one.yaml\n").unwrap_err();
        assert!(bad.message.contains("lists/one.yaml:1:16: patches[0].id: "), "{}", bad.message);
        for (path, what) in
            [("https://a/b.yaml", "only files are read"), ("s3://a/b", "only files"), ("'-'", "no path")]
        {
            let told = read(&format!("  installOverrideList: {path}\n")).unwrap_err().message;
            assert!(told.contains(":8:24: installOverrideList ") && told.contains(what), "{told}");
        }
    }
}
