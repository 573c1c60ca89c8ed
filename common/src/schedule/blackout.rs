//! Times in which nothing is done, whatever is open.

use serde::{Deserialize, Serialize};

use super::Opening;
use crate::time::WallTime;

/// A stretch of time without any disruptive step. `from < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Blackout {
    /// First instant.
    pub from: WallTime,
    /// First instant after it.
    pub to: WallTime,
}

/// What is left of `opening`, in order. What ends at a blackout keeps the opening's distance from the last start to the end; what
/// is too short for that is gone.
pub fn without(opening: Opening, blackouts: &[Blackout]) -> Vec<Opening> {
    let cutoff = opening.closes.0.saturating_sub(opening.last_start.0);
    let mut sorted = blackouts.to_vec();
    sorted.sort();
    let mut left = Vec::new();
    let mut opens = opening.opens;
    for blackout in sorted.iter().filter(|blackout| blackout.from < opening.closes) {
        let last_start = WallTime(blackout.from.0.saturating_sub(cutoff)).min(opening.last_start);
        left.push(Opening { opens, last_start, closes: blackout.from });
        opens = opens.max(blackout.to);
    }
    left.push(Opening { opens, ..opening });
    left.retain(|piece| piece.opens < piece.last_start);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(opens: i64, last_start: i64, closes: i64) -> Opening {
        Opening { opens: WallTime(opens), last_start: WallTime(last_start), closes: WallTime(closes) }
    }

    fn cut(blackouts: &[(i64, i64)]) -> Vec<Opening> {
        let blackouts: Vec<_> =
            blackouts.iter().map(|(from, to)| Blackout { from: WallTime(*from), to: WallTime(*to) }).collect();
        without(opening(100, 180, 200), &blackouts)
    }

    #[test]
    fn pieces_keep_the_cutoff_before_a_blackout() {
        assert_eq!(cut(&[]), [opening(100, 180, 200)]);
        assert_eq!(cut(&[(150, 160)]), [opening(100, 130, 150), opening(160, 180, 200)]);
        assert_eq!(cut(&[(160, 170), (120, 130)]), [opening(130, 140, 160), opening(170, 180, 200)]);
        assert_eq!(cut(&[(150, 160), (155, 157)]), [opening(100, 130, 150), opening(160, 180, 200)], "one in another");
        assert_eq!(cut(&[(190, 300)]), [opening(100, 170, 190)]);
        assert_eq!(cut(&[(0, 100), (200, 300)]), [opening(100, 180, 200)], "what only touches takes nothing");
        assert_eq!(cut(&[(0, 180)]), [], "nothing could start after it");
        assert_eq!(cut(&[(0, 1000)]), []);
    }

    #[test]
    fn an_opening_without_end_is_cut_too() {
        let blackout = Blackout { from: WallTime(50), to: WallTime(60) };
        let rest = without(Opening::endless(WallTime(0)), &[blackout]);
        assert_eq!(rest, [opening(0, 50, 50), Opening::endless(WallTime(60))]);
    }
}
