//! Openings: when work may start, and when it must have ended.

pub mod blackout;
pub mod cron;
pub mod days;
pub mod expression;
pub mod recurring;
pub mod schema;
pub mod window;
pub mod zone;

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// One stretch of time in which work is allowed. `opens ≤ last_start ≤ closes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// First instant.
    pub opens: WallTime,
    /// A host's run may start up to, and not including, this instant.
    pub last_start: WallTime,
    /// No disruptive step begins at or after this instant. Running steps finish.
    pub closes: WallTime,
}

impl Opening {
    /// Open from `opens` on, without end.
    pub fn endless(opens: WallTime) -> Self {
        Self { opens, last_start: WallTime::MAX, closes: WallTime::MAX }
    }

    /// Whether a host's run may start at `now`.
    pub fn admits_start(&self, now: WallTime) -> bool {
        self.opens <= now && now < self.last_start
    }

    /// Whether a later disruptive step of a started run may begin at `now`.
    pub fn admits_step(&self, now: WallTime) -> bool {
        self.opens <= now && now < self.closes
    }
}

/// Where `now` stands among `openings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Runs may start in this opening.
    Open(Opening),
    /// Nothing starts before this one.
    Before(Opening),
    /// Nothing starts any more.
    Over,
}

/// Where `now` stands among `openings`, which may overlap and need no order.
pub fn standing(openings: &[Opening], now: WallTime) -> Standing {
    if let Some(open) = openings.iter().filter(|o| o.admits_start(now)).max_by_key(|o| (o.last_start, o.closes)) {
        return Standing::Open(*open);
    }
    match openings.iter().filter(|o| o.opens > now && o.opens < o.last_start).min_by_key(|o| o.opens) {
        Some(next) => Standing::Before(*next),
        None => Standing::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(opens: i64, last_start: i64, closes: i64) -> Opening {
        Opening { opens: WallTime(opens), last_start: WallTime(last_start), closes: WallTime(closes) }
    }

    #[test]
    fn starts_end_at_last_start_and_steps_at_closes() {
        let o = opening(10, 20, 30);
        assert!(!o.admits_start(WallTime(9)) && o.admits_start(WallTime(10)) && !o.admits_start(WallTime(20)));
        assert!(o.admits_step(WallTime(20)) && !o.admits_step(WallTime(30)));
    }

    #[test]
    fn standing_finds_the_open_the_next_or_nothing() {
        let all = [opening(100, 150, 160), opening(10, 20, 30)];
        assert_eq!(standing(&all, WallTime(5)), Standing::Before(all[1]));
        assert_eq!(standing(&all, WallTime(15)), Standing::Open(all[1]));
        assert_eq!(standing(&all, WallTime(20)), Standing::Before(all[0]));
        assert_eq!(standing(&all, WallTime(150)), Standing::Over);
    }
}
