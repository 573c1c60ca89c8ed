//! Selectors of hosts by their tags: what `-l` takes.
//!
//! Terms are separated by commas, and all of them must hold:
//!
//! | term | holds for hosts |
//! |---|---|
//! | `KEY` | that have the tag, whatever its value |
//! | `!KEY` | that do not have it |
//! | `KEY=VALUE` (also `KEY==VALUE`) | whose tag has this value |
//! | `KEY!=VALUE` | whose tag has another value, or that do not have it |
//! | `KEY in (A,B)` | whose tag has one of these values |
//! | `KEY notin (A,B)` | whose tag has none of these values, or that do not have it |
//!
//! Spaces around keys and values do not count, those inside do (`Patch Group=web servers`). Letters' case counts.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Longest selector, in bytes.
pub const MAX_TEXT: usize = 8192;
/// Most terms of one selector.
pub const MAX_TERMS: usize = 64;
/// Most values of one term.
pub const MAX_VALUES: usize = 256;
/// Longest key or value, in characters.
pub const MAX_WORD: usize = 256;

/// A selector. The empty one, [`Selector::default`], admits every host. Travels as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Term {
    Has(String),
    Lacks(String),
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
}

/// Why a text is no selector: which of its terms, counted from 1, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Nothing between two commas, or no text at all.
    #[error("term {0} is empty: write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY or !KEY, separated by commas")]
    Empty(usize),
    /// A key or value that is missing, too long, or holds what a selector is written with.
    #[error("term {at}: {text:?} is no {what}: 1 to {MAX_WORD} characters are allowed, and none of {not}")]
    Word {
        /// Which term.
        at: usize,
        /// `key` or `value`.
        what: &'static str,
        /// The beginning of what was written.
        text: String,
        /// What it may not hold.
        not: &'static str,
    },
    /// Parentheses that do not close, or that stand elsewhere than after `in` and `notin`.
    #[error("term {0}: parentheses belong around the values of in and notin, and close there: KEY in (A,B)")]
    Parentheses(usize),
    /// Too much of something.
    #[error("the selector has more than {0} {1}")]
    TooMuch(usize, &'static str),
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_TEXT {
            return Err(SelectorError::TooMuch(MAX_TEXT, "bytes"));
        }
        let mut terms = Vec::new();
        for (part, at) in split(text)?.into_iter().zip(1..) {
            if at > MAX_TERMS {
                return Err(SelectorError::TooMuch(MAX_TERMS, "terms"));
            }
            terms.push(term(at, part.trim())?);
        }
        Ok(Self { text: text.to_owned(), terms })
    }

    /// Whether a host with `tags` is meant.
    pub fn admits(&self, tags: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Has(key) => tags.contains_key(key),
            Term::Lacks(key) => !tags.contains_key(key),
            Term::In(key, values) => tags.get(key).is_some_and(|value| values.contains(value)),
            Term::NotIn(key, values) => tags.get(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

impl core::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The terms: what stands between commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, SelectorError> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, found) in text.char_indices() {
        match found {
            '(' if inside => return Err(SelectorError::Parentheses(parts.len() + 1)),
            ')' if !inside => return Err(SelectorError::Parentheses(parts.len() + 1)),
            '(' | ')' => inside = !inside,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(SelectorError::Parentheses(parts.len() + 1));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn term(at: usize, text: &str) -> Result<Term, SelectorError> {
    if text.is_empty() {
        return Err(SelectorError::Empty(at));
    }
    if let Some((before, after)) = text.split_once('(') {
        let list = after.strip_suffix(')').ok_or(SelectorError::Parentheses(at))?;
        let (key, word) = before.trim_end().rsplit_once(char::is_whitespace).unwrap_or((before, ""));
        let values = list.split(',').map(|value| value_of(at, value)).collect::<Result<BTreeSet<_>, _>>()?;
        if values.len() > MAX_VALUES {
            return Err(SelectorError::TooMuch(MAX_VALUES, "values in one term"));
        }
        return match word {
            "in" => Ok(Term::In(key_of(at, key)?, values)),
            "notin" => Ok(Term::NotIn(key_of(at, key)?, values)),
            _ => Err(SelectorError::Parentheses(at)),
        };
    }
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Term::Lacks(key_of(at, key)?));
    }
    let Some((key, value)) = text.split_once('=') else { return Ok(Term::Has(key_of(at, text)?)) };
    if let Some(key) = key.strip_suffix('!') {
        return Ok(Term::NotIn(key_of(at, key)?, [value_of(at, value)?].into()));
    }
    let value = value.strip_prefix('=').unwrap_or(value);
    Ok(Term::In(key_of(at, key)?, [value_of(at, value)?].into()))
}

fn key_of(at: usize, text: &str) -> Result<String, SelectorError> {
    word(at, "key", text, ",()=!")
}

/// Values may hold `=` and `!`, as tags may.
fn value_of(at: usize, text: &str) -> Result<String, SelectorError> {
    word(at, "value", text, ",()")
}

fn word(at: usize, what: &'static str, text: &str, not: &'static str) -> Result<String, SelectorError> {
    let text = text.trim();
    let good = |c: char| !c.is_control() && !not.contains(c);
    if (1..=MAX_WORD).contains(&text.chars().count()) && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err(SelectorError::Word { at, what, text: text.chars().take(40).collect(), not })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags() -> BTreeMap<String, String> {
        let pairs = [("app", "web"), ("zone", "a"), ("Patch Group", "web servers"), ("odd", "a=b!c")];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn admits(text: &str) -> bool {
        Selector::parse(text).unwrap().admits(&tags())
    }

    #[test]
    fn each_kind_of_term_admits_what_it_says() {
        for text in [
            "app",
            "app=web",
            "app==web",
            " app = web ",
            "app!=db",
            "none!=db",
            "app in (db,web)",
            "app in ( web )",
            "app notin (db,mail)",
            "none notin (db)",
            "!none",
            "! none",
            "Patch Group=web servers",
            "Patch Group in (web servers,others)",
            "odd=a=b!c",
            "app=web,zone in (a,b),!none,Patch Group",
        ] {
            assert!(admits(text), "{text}");
        }
        for text in [
            "none",
            "app=db",
            "App=web",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "!app",
            "app=web,zone=b",
            "in in (x)",
        ] {
            assert!(!admits(text), "{text}");
        }
        assert!(Selector::default().admits(&tags()) && Selector::default().admits(&BTreeMap::new()));
    }

    #[test]
    fn what_is_no_selector_is_named_with_its_place() {
        let wrong = |text: &str| Selector::parse(text).unwrap_err();
        for (text, at) in [("", 1), (",app", 1), ("app,", 2), ("app,,zone", 2), ("  ", 1)] {
            assert_eq!(wrong(text), SelectorError::Empty(at), "{text}");
        }
        for text in ["app in (a", "app in a)", "app in ((a))", "app (a)", "app out (a)", "(a)", "app in (a) b", "a=(b)"]
        {
            assert_eq!(wrong(text), SelectorError::Parentheses(1), "{text}");
        }
        for (text, what) in [
            ("=web", "key"),
            ("!", "key"),
            ("!app=web", "key"),
            ("app=", "value"),
            ("app!=", "value"),
            ("app in ()", "value"),
            ("app in (a,)", "value"),
            ("a\u{7}", "key"),
        ] {
            assert!(matches!(wrong(text), SelectorError::Word { at: 1, what: found, .. } if found == what), "{text}");
        }
        assert_eq!(
            wrong("app=web,zone=").to_string(),
            "term 2: \"\" is no value: 1 to 256 characters are allowed, and none of ,()"
        );
    }

    #[test]
    fn bounds_are_held() {
        let word = "x".repeat(MAX_WORD);
        assert!(Selector::parse(&format!("{word}={word}")).is_ok());
        assert!(matches!(Selector::parse(&format!("{word}x")), Err(SelectorError::Word { .. })));
        assert!(Selector::parse(&["a"; MAX_TERMS].join(",")).is_ok());
        assert_eq!(Selector::parse(&["a"; MAX_TERMS + 1].join(",")), Err(SelectorError::TooMuch(64, "terms")));
        let values = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(Selector::parse(&format!("a in ({})", values(MAX_VALUES))).is_ok());
        assert!(Selector::parse(&format!("a in ({})", values(MAX_VALUES + 1))).is_err());
        assert_eq!(Selector::parse(&"a".repeat(MAX_TEXT + 1)), Err(SelectorError::TooMuch(8192, "bytes")));
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "[a-c =!(),\u{e9}in]{0,40}") {
            let _ = Selector::parse(&text);
        }

        #[test]
        fn a_term_and_its_opposite_never_agree(key in "[a-c]", value in "[a-c]", held in "[a-c]") {
            let tags: BTreeMap<_, _> = [("b".to_owned(), held)].into();
            let holds = |text: String| Selector::parse(&text).unwrap().admits(&tags);
            prop_assert_ne!(holds(format!("{key}={value}")), holds(format!("{key}!={value}")));
            prop_assert_ne!(holds(format!("{key} in ({value},x)")), holds(format!("{key} notin ({value},x)")));
            prop_assert_ne!(holds(key.clone()), holds(format!("!{key}")));
        }
    }
}
