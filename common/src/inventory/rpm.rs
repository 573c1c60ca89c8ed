//! RPM's version order: `[epoch:]version[-release]`, as `rpm` judges it.

use core::{cmp::Ordering, fmt};

/// The three parts of a version. Any text has parts; [`check`] says whether it is usable as a version.
///
/// Two parts that differ in writing may be equal in order (`1.0` and `1_0`), so this type has no `Eq`: use [`compare`].
#[derive(Clone, Copy, Debug)]
pub struct Evr<'a> {
    /// Decimal digits, or empty for 0.
    pub epoch: &'a str,
    /// What the authors of the program call it.
    pub version: &'a str,
    /// What the distribution calls its packaging; `None` comes before every release.
    pub release: Option<&'a str>,
}

impl<'a> Evr<'a> {
    /// Splits at a colon that only digits precede, and at the last hyphen behind it.
    pub fn parse(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        match rest.rsplit_once('-') {
            Some((version, release)) => Self { epoch, version, release: Some(release) },
            None => Self { epoch, version: rest, release: None },
        }
    }
}

/// Orders two versions as rpm does. Total over all texts: what is no valid version is ordered by the same rules.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Evr::parse(a), Evr::parse(b));
    numbers(a.epoch, b.epoch).then_with(|| segments(a.version, b.version)).then_with(|| match (a.release, b.release) {
        (Some(a), Some(b)) => segments(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    })
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
        write!(f, "{:?} is not an rpm version: {}", self.text, self.why)
    }
}

impl core::error::Error for BadVersion {}

/// Whether `text` can be the version of a package: it has a version part, and only printable ASCII.
///
/// # Errors
/// The text and the first thing that is wrong with it.
pub fn check(text: &str) -> Result<(), BadVersion> {
    let bad = |why| Err(BadVersion { text: text.to_owned(), why });
    if text.is_empty() {
        return bad("it is empty");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("it holds a character other than printable ASCII");
    }
    let evr = Evr::parse(text);
    // rpm keeps the epoch in 32 bits.
    if !evr.epoch.is_empty() && evr.epoch.parse::<u32>().is_err() {
        return bad("the epoch is too big");
    }
    if evr.version.is_empty() {
        return bad("the version part is empty");
    }
    if evr.version.contains(':') {
        return bad("the epoch before the colon is not a number");
    }
    Ok(())
}

/// Orders digits by value, however long: leading zeros count for nothing.
fn numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Orders two version parts or two releases: stretches of digits and of letters in turn, whatever separates them. `~` comes
/// before the end, `^` behind it and before everything else.
fn segments(mut a: &str, mut b: &str) -> Ordering {
    let separates = |byte: u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^'));
    loop {
        (a, b) = (split(a, separates).1, split(b, separates).1);
        match (a.bytes().next(), b.bytes().next()) {
            (None, None) => return Ordering::Equal,
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => (a, b) = (split_first(a), split_first(b)),
            (Some(b'~'), _) | (None, Some(b'^')) => return Ordering::Less,
            (_, Some(b'~')) | (Some(b'^'), None) => return Ordering::Greater,
            (Some(b'^'), _) | (None, _) => return Ordering::Less,
            (_, Some(b'^')) | (_, None) => return Ordering::Greater,
            (Some(first), Some(_)) => {
                let digits = first.is_ascii_digit();
                let belongs = move |byte: u8| if digits { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
                let ((a_segment, a_rest), (b_segment, b_rest)) = (split(a, belongs), split(b, belongs));
                let order = if b_segment.is_empty() {
                    // Digits are newer than letters.
                    if digits { Ordering::Greater } else { Ordering::Less }
                } else if digits {
                    numbers(a_segment, b_segment)
                } else {
                    a_segment.cmp(b_segment)
                };
                if order.is_ne() {
                    return order;
                }
                (a, b) = (a_rest, b_rest);
            }
        }
    }
}

fn split_first(text: &str) -> &str {
    text.get(1..).unwrap_or("")
}

/// The longest prefix whose bytes satisfy `belongs`, and the rest.
fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    // What ends a stretch is ASCII, or the first byte of a character behind ASCII.
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::oracle, *};

    #[test]
    fn tilde_comes_before_the_end_and_caret_behind_it() {
        for (lower, higher) in [
            ("1.0~rc1", "1.0"),
            ("1.0~rc1", "1.0~rc2"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("1.0^git1~pre", "1.0^git1"),
            ("1.0~rc1^git1", "1.0"),
            ("1.0a", "1.0.1"),
            ("1.9", "1.10"),
            ("a", "1"),
            ("9", "1:0"),
            ("1.0", "1.0-1"),
            ("1.0-1.el9", "1.0-1.el10"),
            ("5.5p1", "5.5p10"),
        ] {
            assert_eq!(compare(lower, higher), Ordering::Less, "{lower} {higher}");
            assert_eq!(compare(higher, lower), Ordering::Greater, "{higher} {lower}");
        }
        for (a, b) in [("1.0", "1_0"), ("1.0", "1.00"), ("0:1", "1"), ("2a", "2.a"), ("1.", "1"), (":1", "0:1")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn a_bad_version_is_named_with_its_fault() {
        for good in ["1", "1:2.3-4.el9", "1.0^20230101git", "1.0~rc1-1", "0:1"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "a:1", "99999999999:1", "1 2", "-1", "1é", "1:"] {
            let error = check(bad).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{bad:?} is not")), "{error}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        ("([0-2]:)?", "[0-9a-c][0-9a-cA-C.+~^_]{0,7}", "(-[0-9a-c.~^]{1,5})?")
            .prop_map(|(e, v, r)| format!("{e}{v}{r}"))
    }

    #[test]
    fn the_order_is_the_one_of_rpm() {
        let lua = r#"for line in io.lines() do
            local a, b, expected = line:match("^(%S+) (%S+) (%S+)$")
            local order = rpm.vercmp(a, b)
            if order ~= tonumber(expected) then io.write(line .. ", and rpm says " .. order .. "\n") end
        end io.write("end\n")"#;
        let words = [("lt", "-1"), ("eq", "0"), ("gt", "1")];
        let lines = oracle::pairs(version(), |text| check(text).is_ok()).into_iter().map(|(a, b)| {
            let word = oracle::word(compare(&a, &b));
            let number = words.iter().find(|(known, _)| *known == word).map_or("", |(_, number)| number);
            format!("{a} {b} {number}\n")
        });
        oracle::ask("rpm", &["--eval", &format!("%{{lua: {lua}}}")], lines);
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
