//! Labels: what people note beside the name of a manifest. They are kept and shown, and decide nothing.

use std::collections::BTreeMap;

/// Key to value.
pub type Labels = BTreeMap<String, String>;

/// Most labels of one manifest.
pub const MAX_LABELS: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 128;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 256;

/// What is wrong with labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Too many.
    #[error("{0} labels are more than the {MAX_LABELS} allowed")]
    TooMany(usize),
    /// A key.
    #[error("the key {0:?} is not allowed: write 1 to {MAX_KEY} bytes without blanks and control characters")]
    Key(String),
    /// A value.
    #[error("the value of {0:?} is not allowed: write at most {MAX_VALUE} bytes without control characters")]
    Value(String),
}

/// Holds `labels` against every limit.
///
/// # Errors
/// The first that is broken.
pub fn check(labels: &Labels) -> Result<(), LabelError> {
    if labels.len() > MAX_LABELS {
        return Err(LabelError::TooMany(labels.len()));
    }
    let clip = |key: &str| key.chars().take(40).collect::<String>();
    for (key, value) in labels {
        if !(1..=MAX_KEY).contains(&key.len()) || key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(LabelError::Key(clip(key)));
        }
        if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
            return Err(LabelError::Value(clip(key)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_and_short_and_on_one_line() {
        let of = |key: &str, value: &str| check(&Labels::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(check(&Labels::new()), Ok(()));
        for (key, value) in [("team", ""), ("example.org/team", "web and mail"), (&*"k".repeat(128), &*"v".repeat(256))]
        {
            assert_eq!(of(key, value), Ok(()), "{key}");
        }
        for key in ["", "a b", "a\nb", &"k".repeat(129)] {
            assert!(matches!(of(key, "v"), Err(LabelError::Key(_))), "{key:?}");
        }
        for value in ["a\nb", &"v".repeat(257)] {
            assert_eq!(of("team", value), Err(LabelError::Value("team".into())));
        }
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(check(&many), Err(LabelError::TooMany(65)));
    }
}
