//! The canonical form of a document (RFC 8785), so that a plan has one hash whoever wrote it down.
//!
//! Our documents hold strings, integers, booleans, null, arrays and objects. Other numbers are refused rather than
//! written in a form that another implementation might not share.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The largest integer that every JSON reader keeps exactly.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A value without a canonical form here.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A fraction, or beyond 2⁵³ − 1.
    #[error("the number {0} has no canonical form here: only integers up to 2^53-1 have")]
    Number(serde_json::Number),
    /// Not a JSON document at all.
    #[error("the document cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// SHA-256, in lower-case hex, of the canonical form of `document` without its top-level members `without`.
///
/// # Errors
/// [`CanonicalError`] for numbers that are no safe integers.
pub fn hash<T: Serialize>(document: &T, without: &[&str]) -> Result<String, CanonicalError> {
    let mut value = serde_json::to_value(document)?;
    if let Value::Object(members) = &mut value {
        members.retain(|name, _| !without.contains(&name.as_str()));
    }
    let mut text = String::new();
    write(&value, &mut text)?;
    Ok(Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(value: &Value, out: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match magnitude {
                Some(magnitude) if magnitude <= MAX_INTEGER => out.push_str(&number.to_string()),
                _ => return Err(CanonicalError::Number(number.clone())),
            }
        }
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                write(member, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = String::new();
        write(&serde_json::from_str(json).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn members_are_sorted_by_utf16_and_strings_minimally_escaped() {
        // The sorting example of RFC 8785 section 3.2.3, without its fractions.
        let input = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(canonical(input), "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}");
        let escapes = r#"["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", 0, -17, true, null]"#;
        assert_eq!(canonical(escapes), r#"["€$\u000f\nA'B\"\\\\\"/",0,-17,true,null]"#);
    }

    #[test]
    fn numbers_that_readers_disagree_on_are_refused() {
        for json in ["1.5", "9007199254740992", "1e3"] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert!(matches!(write(&value, &mut String::new()), Err(CanonicalError::Number(_))), "{json}");
        }
        assert_eq!(canonical("9007199254740991"), "9007199254740991");
    }

    #[test]
    fn the_hash_leaves_out_the_named_members_and_nothing_else() {
        let document = |hash: &str, rollout: &str| serde_json::json!({"hash": hash, "rollout": rollout});
        let of = |value: &Value| hash(value, &["hash"]).unwrap();
        assert_eq!(of(&document("a", "x")), of(&document("b", "x")));
        assert_ne!(of(&document("a", "x")), of(&document("a", "y")));
        // printf '{"rollout":"x"}' | sha256sum
        assert_eq!(of(&document("a", "x")), "fece80a8841cc2d26e60825a58c5d5bb5743a63809e2fea2cb2d784996f8d812");
    }
}
