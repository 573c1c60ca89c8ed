//! Debian's version order: `[epoch:]upstream[-revision]`, as `dpkg --compare-versions` judges it.

use core::{cmp::Ordering, fmt};

/// The three parts of a version. Any text has parts; [`check`] says whether it is a version that dpkg accepts.
///
/// Two parts that differ in writing may be equal in order (`1.0` and `1.00`), so this type has no `Eq`: use [`compare`].
#[derive(Clone, Copy, Debug)]
pub struct Evr<'a> {
    /// Decimal digits, or empty for 0.
    pub epoch: &'a str,
    /// What the authors of the program call it.
    pub upstream: &'a str,
    /// What Debian calls its packaging; empty for a native package, which orders like `0`.
    pub revision: &'a str,
}

impl<'a> Evr<'a> {
    /// Splits at the first colon and the last hyphen. A text before a colon that is not a number is no epoch.
    pub fn parse(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }
}

/// Orders two versions as dpkg does. Total over all texts: what is no valid version is ordered by the same rules.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Evr::parse(a), Evr::parse(b));
    numbers(a.epoch, b.epoch).then_with(|| parts(a.upstream, b.upstream)).then_with(|| parts(a.revision, b.revision))
}

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadVersion {
    /// The offending text.
    pub text: String,
    /// What is wrong with it, as a fragment.
    pub why: &'static str,
}

impl fmt::Display for BadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a Debian version: {}", self.text, self.why)
    }
}

impl core::error::Error for BadVersion {}

/// Whether `text` is a version that dpkg accepts without a warning.
///
/// # Errors
/// The text and the first thing that is wrong with it.
pub fn check(text: &str) -> Result<(), BadVersion> {
    let bad = |why| Err(BadVersion { text: text.to_owned(), why });
    if text.is_empty() {
        return bad("it is empty");
    }
    let evr = Evr::parse(text);
    if text.contains(':') && evr.epoch.is_empty() {
        return bad("the epoch before the colon is not a number");
    }
    // dpkg reads the epoch into an int.
    if !evr.epoch.is_empty() && evr.epoch.parse::<i32>().is_err() {
        return bad("the epoch is too big");
    }
    if !evr.upstream.starts_with(|c: char| c.is_ascii_digit()) {
        return bad("the upstream part does not start with a digit");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~');
    if !evr.upstream.chars().all(|c| plain(c) || matches!(c, '-' | ':')) {
        return bad("the upstream part holds a character other than letters, digits and .+-:~");
    }
    if !evr.revision.chars().all(plain) {
        return bad("the revision holds a character other than letters, digits and .+~");
    }
    if text.ends_with('-') {
        return bad("the revision is empty");
    }
    Ok(())
}

/// Orders digits by value, however long: leading zeros count for nothing.
fn numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Orders two upstream parts or two revisions: stretches of non-digits and of digits in turn.
fn parts(mut a: &str, mut b: &str) -> Ordering {
    while !(a.is_empty() && b.is_empty()) {
        let (a_text, a_rest) = split(a, |byte| !byte.is_ascii_digit());
        let (b_text, b_rest) = split(b, |byte| !byte.is_ascii_digit());
        let (a_digits, a_next) = split(a_rest, |byte| byte.is_ascii_digit());
        let (b_digits, b_next) = split(b_rest, |byte| byte.is_ascii_digit());
        let order = texts(a_text, b_text).then_with(|| numbers(a_digits, b_digits));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_next, b_next);
    }
    Ordering::Equal
}

/// The longest prefix whose bytes satisfy `belongs`, and the rest.
fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    // Digits are ASCII, so every border between digits and other bytes is a border between characters.
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn texts(a: &str, b: &str) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        None => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    (0..a.len().max(b.len()))
        .map(|i| rank(a.get(i)).cmp(&rank(b.get(i))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::{super::oracle, *};

    #[test]
    fn tilde_comes_before_the_end_and_the_end_before_letters() {
        for (lower, higher) in [
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("1.9", "1.10"),
            ("9", "1:0"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0", "1.0-1"),
            ("2.2~rc-4", "2.2-1"),
            ("1-1", "1-1-1"),
        ] {
            assert_eq!(compare(lower, higher), Ordering::Less, "{lower} {higher}");
            assert_eq!(compare(higher, lower), Ordering::Greater, "{higher} {lower}");
        }
        for (a, b) in [("1.0", "1.00"), ("0:1", "1"), ("1-0", "1"), ("01:1", "1:1"), ("1.", "1.0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn a_bad_version_is_named_with_its_fault() {
        for good in ["1", "1:2.3-4", "0~", "1.2+dfsg-1~bpo12+1", "1:2:3-1"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "x1", "a:1", ":1", "1-", "1_2", "99999999999:1", "1-a_b", "1 2"] {
            let error = check(bad).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{bad:?} is not")), "{error}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        ("([0-2]:)?", "[0-9][0-9a-cA-C.+~]{0,6}", "(-[0-9a-c+~]{1,4})?").prop_map(|(e, u, r)| format!("{e}{u}{r}"))
    }

    #[test]
    fn the_order_is_the_one_of_dpkg() {
        if Command::new("dpkg").arg("--version").output().is_err() {
            eprintln!("skipped: there is no dpkg to compare with");
            return;
        }
        let script =
            r#"while read -r a op b; do dpkg --compare-versions "$a" "$op" "$b" || echo "$a $op $b"; done; echo end"#;
        // dpkg warns of what is no version, and orders it all the same.
        let pairs = oracle::pairs(version(), |text| check(text).is_ok());
        let lines = pairs.into_iter().map(|(a, b)| format!("{a} {} {b}\n", oracle::word(compare(&a, &b))));
        oracle::ask("sh", &["-c", script], lines);
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in version(), b in version(), c in version()) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn any_text_is_ordered_without_a_panic(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let _ = check(&a);
        }
    }
}
