//! Counts and percentages. Rounding is written here and nowhere else.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest limit as written (AWS's own bound): seven digits.
pub const MAX_LIMIT_TEXT: usize = 7;

/// A count (`3`) or a share of the targets (`10%`). Keeps the text as it was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    given: String,
    amount: Amount,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Amount {
    Count(u32),
    Percent(u32),
}

/// What a limit given as `given` means, with what a share is of: `10 % of 240 = 24`, or `24`.
pub fn based(given: &str, resolved: u32, of: usize) -> String {
    match given.strip_suffix('%') {
        Some(share) => format!("{share} % of {of} = {resolved}"),
        None => resolved.to_string(),
    }
}

/// Why a text is no limit. Names the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Neither digits nor digits and `%`, or with leading zeros.
    #[error("{0:?} is not a limit: write a count of at most {MAX_LIMIT_TEXT} digits such as 3, or a share such as 10%")]
    Syntax(String),
    /// More than all of them.
    #[error("{0:?} is more than 100%")]
    OverAll(String),
    /// A concurrency of zero would never start anything.
    #[error("{0:?} would never start a host: max-concurrency is at least 1 or 1%")]
    ZeroConcurrency(String),
}

impl Limit {
    /// So many hosts.
    pub fn count(hosts: u32) -> Self {
        Self { given: hosts.to_string(), amount: Amount::Count(hosts) }
    }

    /// So many of a hundred hosts, at most 100.
    pub fn share(percent: u32) -> Self {
        let percent = percent.min(100);
        Self { given: format!("{percent}%"), amount: Amount::Percent(percent) }
    }

    /// The text as it was written.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The same limit, if it may be a max-concurrency: at least `1` or `1%`.
    ///
    /// # Errors
    /// [`LimitError::ZeroConcurrency`].
    pub fn for_concurrency(self) -> Result<Self, LimitError> {
        match self.amount {
            Amount::Count(0) | Amount::Percent(0) => Err(LimitError::ZeroConcurrency(self.given)),
            _ => Ok(self),
        }
    }

    /// Whether it is at least `other` however many targets there are; never of a count and a share.
    pub fn is_at_least(&self, other: &Self) -> bool {
        match (self.amount, other.amount) {
            (Amount::Count(own), Amount::Count(other)) | (Amount::Percent(own), Amount::Percent(other)) => own >= other,
            _ => false,
        }
    }

    /// How many of `targets` hosts may run at once: rounded down, at least 1, at most `targets` (so 0 of 0).
    pub fn resolve_concurrency(&self, targets: u32) -> u32 {
        self.floor(targets).max(1).min(targets)
    }

    /// How many of `targets` hosts may fail before nothing more starts: rounded down.
    pub fn resolve_errors(&self, targets: u32) -> u32 {
        self.floor(targets)
    }

    /// How many of `members` stay up: rounded up, so that a share never means less than it says. May be more than there are.
    pub fn resolve_least(&self, members: u32) -> u32 {
        match self.amount {
            Amount::Count(count) => count,
            Amount::Percent(percent) => (u64::from(members) * u64::from(percent)).div_ceil(100) as u32,
        }
    }

    fn floor(&self, targets: u32) -> u32 {
        match self.amount {
            Amount::Count(count) => count,
            // At most 100% of a u32, so it fits one again.
            Amount::Percent(percent) => (u64::from(targets) * u64::from(percent) / 100) as u32,
        }
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let plain = !digits.is_empty()
            && text.len() <= MAX_LIMIT_TEXT
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        // Never echo an unbounded text into an error.
        let syntax = || LimitError::Syntax(text.chars().take(40).collect());
        let number: u32 = plain.then(|| digits.parse().ok()).flatten().ok_or_else(syntax)?;
        let amount = match (text.ends_with('%'), number) {
            (false, count) => Amount::Count(count),
            (true, 0..=100) => Amount::Percent(number),
            (true, _) => return Err(LimitError::OverAll(text.to_owned())),
        };
        Ok(Self { given: text.to_owned(), amount })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({})", self.given)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.given)
    }
}

impl<'de> Deserialize<'de> for Limit {
    /// From a string; in formats for people also from a number, so that YAML's `maxErrors: 2` needs no quotes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Words)
        } else {
            deserializer.deserialize_str(Words)
        }
    }
}

struct Words;

impl de::Visitor<'_> for Words {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count such as 3, or a share such as 10%")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Limit, E> {
        count.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Limit, E> {
        count.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Limit, E> {
        Err(E::custom(LimitError::Syntax(number.to_string())))
    }
}

/// How fast a rollout reaches its concurrency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ramp {
    /// The full limit at once.
    #[default]
    Full,
    /// 1, 2, 4, … up to the limit, as AWS Run Command does.
    Aws,
}

/// After which failure nothing more starts, if `max_errors` are allowed: the first one that exceeds them.
pub fn stops_at_error(max_errors: u32) -> u64 {
    u64::from(max_errors) + 1
}

/// The starts of `targets` hosts if all earlier ones are acknowledged before the next begin. Sums to `targets`; empty if
/// `targets` or `concurrency` is zero.
pub fn batches(targets: u32, concurrency: u32, ramp: Ramp) -> impl Iterator<Item = u32> {
    let mut left = if concurrency == 0 { 0 } else { targets };
    let mut next = match ramp {
        Ramp::Full => concurrency,
        Ramp::Aws => 1,
    };
    core::iter::from_fn(move || {
        let batch = next.min(concurrency).min(left);
        left -= batch;
        next = next.saturating_mul(2);
        (batch > 0).then_some(batch)
    })
}

/// How many hosts may have begun in all while a rollout ramps up as AWS does and so many of them have said that they are at work;
/// `None` once it has reached `concurrency`, which is then the only bound.
pub fn ramp_allows(acknowledged: u32, concurrency: u32) -> Option<u32> {
    let mut batch = 1_u32;
    while batch < concurrency {
        let begun = batch.saturating_mul(2).saturating_sub(1);
        if acknowledged < begun {
            return Some(begun);
        }
        batch = batch.saturating_mul(2);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn awss_own_examples() {
        assert_eq!(stops_at_error(limit("3").resolve_errors(50)), 4);
        assert_eq!(stops_at_error(limit("0").resolve_errors(50)), 1);
        assert_eq!(stops_at_error(limit("10%").resolve_errors(50)), 6);
    }

    #[test]
    fn shares_round_down_and_concurrency_stays_between_one_and_all() {
        assert_eq!(limit("10%").resolve_concurrency(19), 1);
        assert_eq!(limit("10%").resolve_concurrency(9), 1);
        assert_eq!(limit("10%").resolve_errors(9), 0);
        assert_eq!(limit("100%").resolve_concurrency(7), 7);
        assert_eq!(limit("50").resolve_concurrency(7), 7);
        assert_eq!(limit("50").resolve_concurrency(0), 0);
        assert_eq!(limit("50").resolve_errors(7), 50);
        assert_eq!(limit("100%").resolve_concurrency(u32::MAX), u32::MAX);
    }

    #[test]
    fn what_stays_up_is_rounded_up() {
        assert_eq!(limit("50%").resolve_least(3), 2);
        assert_eq!(limit("1%").resolve_least(3), 1);
        assert_eq!(limit("0%").resolve_least(3), 0);
        assert_eq!(limit("100%").resolve_least(u32::MAX), u32::MAX);
        assert_eq!(limit("4").resolve_least(3), 4);
    }

    #[test]
    fn what_is_no_limit_is_refused_by_its_text() {
        for text in ["", "%", "-1", "+1", "03", "00%", "1.5", "10 %", " 3", "3%%", "12345678", "1234567%", "١"] {
            let error = text.parse::<Limit>().unwrap_err();
            assert_eq!(error, LimitError::Syntax(text.to_owned()), "{text}");
            assert!(error.to_string().starts_with(&format!("{text:?}")));
        }
        assert_eq!("101%".parse::<Limit>(), Err(LimitError::OverAll("101%".into())));
        for text in ["0", "0%"] {
            assert_eq!(limit(text).for_concurrency(), Err(LimitError::ZeroConcurrency(text.into())));
        }
    }

    /// AWS's two patterns, written down once more: `^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$` for concurrency,
    /// `^([1-9][0-9]*|[0]|[1-9][0-9]%|[0-9]%|100%)$` for errors, both of 1 to 7 characters.
    fn is_awss(text: &str, errors: bool) -> bool {
        let digit = |byte: &u8| byte.is_ascii_digit();
        let shape = match text.as_bytes() {
            b"100%" => true,
            b"0" | b"0%" => errors,
            [first, b'%'] => digit(first) && *first != b'0',
            [first, second, b'%'] => digit(first) && *first != b'0' && digit(second),
            [first, rest @ ..] => digit(first) && *first != b'0' && rest.iter().all(digit),
            [] => false,
        };
        shape && (1..=7).contains(&text.len())
    }

    /// Every text of up to five of the characters that matter, and where the length does.
    #[test]
    fn a_limit_is_what_aws_takes_and_nothing_else() {
        let mut texts = vec![String::new()];
        let mut longest = texts.clone();
        for _ in 0..5 {
            let longer = |text: &String| ["0", "1", "9", "%", " ", "-"].map(|one| format!("{text}{one}"));
            longest = longest.iter().flat_map(longer).collect();
            texts.extend_from_slice(&longest);
        }
        texts.extend(["999999", "9999999", "99999999", "10000000%", "0000000", "101%", "199%"].map(String::from));
        for text in texts {
            let errors = text.parse::<Limit>();
            assert_eq!(errors.is_ok(), is_awss(&text, true), "{text:?} for errors");
            let concurrency = errors.and_then(Limit::for_concurrency);
            assert_eq!(concurrency.is_ok(), is_awss(&text, false), "{text:?} for concurrency");
        }
    }

    /// The rows of AWS's table: percent bases, rounding, and at which error nothing more is sent.
    #[test]
    fn shares_of_a_table() {
        // Targets, share, concurrency, errors.
        let table = [
            (50, "10%", 5, 5),
            (1, "1%", 1, 0),
            (99, "1%", 1, 0),
            (100, "1%", 1, 1),
            (199, "1%", 1, 1),
            (200, "1%", 2, 2),
            (10, "50%", 5, 5),
            (11, "50%", 5, 5),
            (3, "34%", 1, 1),
            (3, "33%", 1, 0),
            (3, "66%", 1, 1),
            (3, "67%", 2, 2),
            (3, "99%", 2, 2),
            (3, "100%", 3, 3),
            (240, "10%", 24, 24),
            (0, "10%", 0, 0),
        ];
        for (targets, share, concurrency, errors) in table {
            let resolved = (limit(share).resolve_concurrency(targets), limit(share).resolve_errors(targets));
            assert_eq!(resolved, (concurrency, errors), "{share} of {targets}");
            assert_eq!(stops_at_error(errors), u64::from(errors) + 1);
        }
        // A count is no share: of errors it may be more than the targets, of concurrency it is capped.
        assert_eq!((limit("7").resolve_concurrency(3), limit("7").resolve_errors(3)), (3, 7));
    }

    #[test]
    fn ramps() {
        let all = |targets, concurrency, ramp| batches(targets, concurrency, ramp).collect::<Vec<_>>();
        assert_eq!(all(10, 3, Ramp::Full), [3, 3, 3, 1]);
        assert_eq!(all(20, 5, Ramp::Aws), [1, 2, 4, 5, 5, 3]);
        assert_eq!(all(0, 3, Ramp::Aws), [0u32; 0]);
        assert_eq!(all(3, 0, Ramp::Full), [0u32; 0]);
    }

    #[test]
    fn a_limit_travels_as_its_text() {
        let bytes = crate::wire::encode(&limit("10%"));
        assert_eq!(bytes, b"\x0310%");
        assert_eq!(crate::wire::decode::<Limit>(&bytes, 16), Ok(limit("10%")));
        assert!(crate::wire::decode::<Limit>(b"\x0399x", 16).is_err());
    }

    proptest! {
        #[test]
        fn the_text_survives(text in "[1-9][0-9]{0,6}|0|[1-9]?[0-9]%|100%") {
            let limit = limit(&text);
            prop_assert_eq!(limit.given(), &text);
        }

        #[test]
        fn concurrency_is_within_bounds_and_grows_with_the_targets(percent in 1u32..=100, targets in 1u32..100_000) {
            let share = limit(&format!("{percent}%"));
            let resolved = share.resolve_concurrency(targets);
            prop_assert!((1..=targets).contains(&resolved));
            prop_assert!(resolved <= share.resolve_concurrency(targets + 1));
            // Never more than the share, unless that is less than one host.
            prop_assert!(resolved == 1 || u64::from(resolved) * 100 <= u64::from(targets) * u64::from(percent));
        }

        /// Whoever begins as many as is allowed, and waits until all of them have said so, starts AWS's batches until the limit.
        #[test]
        fn a_ramp_allows_the_batches(targets in 1u32..5_000, concurrency in 1u32..500) {
            let mut begun = 0;
            for batch in batches(targets, concurrency, Ramp::Aws) {
                let allowed = ramp_allows(begun, concurrency).unwrap_or(begun.saturating_add(concurrency));
                prop_assert_eq!(batch, (allowed - begun).min(targets - begun));
                // Until the last of them has said so, nobody follows.
                let later = begun + batch - 1;
                prop_assert!(ramp_allows(later, concurrency).is_none_or(|all| all == allowed));
                begun += batch;
            }
        }

        /// Rounded down, never below one host of some, never above all.
        #[test]
        fn the_rounding_rules_hold(percent in 0u32..=100, targets: u32) {
            let share = limit(&format!("{percent}%"));
            let (whole, exact) = (u128::from(targets), u128::from(targets) * u128::from(percent));
            let errors = u128::from(share.resolve_errors(targets));
            prop_assert!(errors * 100 <= exact && exact < (errors + 1) * 100);
            let concurrency = u128::from(share.resolve_concurrency(targets));
            prop_assert_eq!(concurrency, errors.max(1).min(whole));
            prop_assert!(share.resolve_errors(targets) <= share.resolve_errors(targets.saturating_add(1)));
        }

        /// Whatever fails first in batches that are acknowledged one by one, AWS's bound is exact at one host at a time.
        #[test]
        fn with_one_at_a_time_no_more_fail_than_the_first_that_is_too_many(max_errors in 0u32..50, targets in 0u32..200) {
            let mut failed = 0u64;
            for batch in batches(targets, 1, Ramp::Aws) {
                if failed >= stops_at_error(max_errors) {
                    break;
                }
                failed += u64::from(batch);
            }
            prop_assert_eq!(failed, stops_at_error(max_errors).min(u64::from(targets)));
        }

        #[test]
        fn batches_start_every_target_once_and_never_exceed_the_limit(
            targets in 0u32..5_000, concurrency in 1u32..500, aws: bool,
        ) {
            let ramp = if aws { Ramp::Aws } else { Ramp::Full };
            let all: Vec<_> = batches(targets, concurrency, ramp).collect();
            prop_assert_eq!(all.iter().sum::<u32>(), targets);
            prop_assert!(all.iter().all(|batch| (1..=concurrency).contains(batch)));
            prop_assert!(all.windows(2).rev().skip(1).all(|pair| pair[0] <= pair[1]));
            prop_assert!(!aws || all.windows(2).all(|pair| pair[1] <= 2 * pair[0]));
        }
    }
}
