//! Durations as people write them: `90s`, `15m`, `4h`, `7d`.

use core::time::Duration;

/// Parses a whole number and one of `s`, `m`, `h`, `d`. `None` for anything else, and beyond 10 years.
pub fn parse(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds <= 10 * 366 * 24 * 60 * 60).then(|| Duration::from_secs(seconds))
}

/// The same in the largest unit that has no rest: `25h`, `90s`. What is no whole number of seconds is told in milliseconds.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let units = [(24 * 60 * 60, 'd'), (60 * 60, 'h'), (60, 'm')];
    let fits = units.into_iter().find(|(unit, _)| seconds != 0 && seconds.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_they_are_written() {
        for text in ["0s", "90s", "15m", "25h", "31d"] {
            assert_eq!(words(parse(text).unwrap()), text);
        }
        assert_eq!(words(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("4h", 14_400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5", "5 m", "-5m", "1.5h", "5min", "5é", "9999999999s", "999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
