//! What the reader of YAML says, in words for whoever wrote the manifest, and of which field.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Deserializer, Segment, Track};
use serde_saphyr::{Error as YamlError, with_deserializer_from_str_with_options};

use super::options;

/// What a member is called that holds a value beside its place.
const SPANNED: &str = "value";

/// The field at which `text` stops being a `T`, as a path; of a field that is missing the one that it is missing in. Empty at
/// the top.
pub(super) fn field<T: DeserializeOwned>(text: &str) -> String {
    let mut track = Track::new();
    // What is wrong is known already.
    let _: Result<(), YamlError> = with_deserializer_from_str_with_options(text, options(), |reader| {
        T::deserialize(Deserializer::new(reader, &mut track)).map(drop)
    });
    let mut path = String::new();
    for segment in track.path().iter() {
        match segment {
            Segment::Map { key } if key != SPANNED => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.extend(key.chars().take(80));
            }
            Segment::Seq { index } => path.push_str(&format!("[{index}]")),
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    path
}

/// What to write instead; `None` if the reader's own words say it.
pub(super) fn instead(error: &YamlError) -> Option<String> {
    let whole = |most: u64| format!("write a whole number from 0 to {most}");
    Some(match error {
        YamlError::Unexpected { expected, .. } => match *expected {
            "sequence start" => "write a list, such as [a, b]".to_owned(),
            "mapping start" => FIELDS.to_owned(),
            "string scalar" | "scalar" => "write a text, no list and no fields".to_owned(),
            _ => return None,
        },
        YamlError::NullIntoString { .. } => "write a text: it is empty".to_owned(),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{:?} is there twice: write it once", key.chars().take(80).collect::<String>())
        }
        YamlError::InvalidBooleanStrict { .. } => "write true or false".to_owned(),
        YamlError::InvalidScalar { ty, .. } => match *ty {
            "u8" => whole(u8::MAX.into()),
            "u16" => whole(u16::MAX.into()),
            "u32" => whole(u32::MAX.into()),
            ty if ty.starts_with('u') => "write a whole number, at least 0".to_owned(),
            ty if ty.starts_with('i') => "write a whole number".to_owned(),
            _ => "write a number".to_owned(),
        },
        YamlError::SerdeInvalidType { expected, .. } if expected.starts_with("struct ") => FIELDS.to_owned(),
        YamlError::SerdeInvalidType { expected, .. } | YamlError::SerdeInvalidValue { expected, .. } => {
            format!("write {expected}")
        }
        _ => return None,
    })
}

const FIELDS: &str = "write fields, such as {name: value}";

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_saphyr::Spanned;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        rings: Vec<Spanned<Inner>>,
        on: Option<Spanned<bool>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        name: Spanned<String>,
        approvals: Option<u8>,
    }

    #[test]
    fn every_mistake_is_told_with_its_field_and_what_to_write() {
        for (text, path, told) in [
            ("rings: [{name: a}, {approvals: 1}]", "rings[1]", None),
            ("on: true", "", None),
            ("rings: [{name: a, approvals: 300}]", "rings[0].approvals", Some("write a whole number from 0 to 255")),
            ("rings: 5", "rings", Some("write a list, such as [a, b]")),
            ("rings: [x]", "rings[0]", Some(FIELDS)),
            ("rings: [{name: [a]}]", "rings[0].name", Some("write a text, no list and no fields")),
            ("{rings: [], on: perhaps}", "on", Some("write true or false")),
            ("rings: [{name: }]", "rings[0].name", Some("write a text: it is empty")),
            ("{rings: [], rings: []}", "", Some("\"rings\" is there twice: write it once")),
        ] {
            let error = serde_saphyr::from_str_with_options::<Outer>(text, options()).unwrap_err();
            let error = error.without_snippet();
            assert_eq!((field::<Outer>(text).as_str(), instead(error).as_deref()), (path, told), "{text}: {error:?}");
        }
    }
}
