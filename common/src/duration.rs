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

#[cfg(test)]
mod tests {
    use super::*;

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
