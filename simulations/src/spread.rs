//! How news spread through a mesh: who heard them from whom, how long after, and how many copies came. The same books are kept
//! of simulated hosts and, by a test, of real daemons.

use std::collections::BTreeMap;

use crate::{
    scenario::{MINUTE, Network, Pace, Scenario},
    world::World,
};

/// When one member first had one piece of news.
#[derive(Clone, Copy, Debug)]
struct Had {
    at: u64,
    hops: usize,
}

#[derive(Clone, Debug, Default)]
struct Trail {
    had: BTreeMap<u32, Had>,
    copies: u64,
}

/// The books. Members and news have numbers; times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Spread {
    window: (u64, u64),
    trails: BTreeMap<u64, Trail>,
    hops: u64,
    hop_millis: u64,
}

/// How news reach a member, over all news and all members but their authors.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Pieces of news.
    pub news: usize,
    /// The part of members that heard them at all, from 0 to 1.
    pub reached: f64,
    /// The part that heard them over at most so many hops, from 1 hop on; the last entry is [`Curve::reached`].
    pub by_hops: Vec<f64>,
    /// Mean milliseconds of one hop.
    pub hop_millis: f64,
    /// When 10, 50, 90, 99 and 100 % of those that heard them had, in mean hops.
    pub times: [f64; 5],
    /// Copies that came to one member, of one piece of news; 1 would be none too many.
    pub copies: f64,
}

impl Spread {
    /// Books of the news that begin between these two times.
    pub fn new(from: u64, until: u64) -> Self {
        Self { window: (from, until), trails: BTreeMap::new(), hops: 0, hop_millis: 0 }
    }

    /// An author has told its neighbours.
    pub fn begins(&mut self, news: u64, author: u32, at: u64) {
        if (self.window.0..self.window.1).contains(&at) {
            self.trails.entry(news).or_default().had.entry(author).or_insert(Had { at, hops: 0 });
        }
    }

    /// A copy has come.
    pub fn comes(&mut self, news: u64, to: u32, from: u32, at: u64) {
        let Some(trail) = self.trails.get_mut(&news) else { return };
        trail.copies += 1;
        let Some(before) = trail.had.get(&from).copied() else { return };
        trail.had.entry(to).or_insert_with(|| {
            self.hops += 1;
            self.hop_millis += at.saturating_sub(before.at);
            Had { at, hops: before.hops + 1 }
        });
    }

    /// A copy comes where an earlier one has come, or is about to.
    pub fn doubles(&mut self, news: u64) {
        if let Some(trail) = self.trails.get_mut(&news) {
            trail.copies += 1;
        }
    }

    /// Copies have come of which it is not known to whom.
    pub fn come_too(&mut self, copies: u64) {
        if let Some(mut trail) = self.trails.first_entry() {
            trail.get_mut().copies += copies;
        }
    }

    /// Members that had each piece of news, authors included.
    pub fn reached(&self) -> Vec<usize> {
        self.trails.values().map(|trail| trail.had.len()).collect()
    }

    /// What came of it among `members`.
    pub fn curve(&self, members: usize) -> Curve {
        let wanted = (self.trails.len() * members.saturating_sub(1)).max(1) as f64;
        let hop_millis = self.hop_millis as f64 / self.hops.max(1) as f64;
        let (mut times, mut by_hops) = (Vec::new(), Vec::new());
        for trail in self.trails.values() {
            let began = trail.had.values().find(|had| had.hops == 0).map_or(0, |had| had.at);
            for had in trail.had.values().filter(|had| had.hops > 0) {
                times.push(had.at.saturating_sub(began));
                by_hops.resize(by_hops.len().max(had.hops), 0.0);
                by_hops[had.hops - 1] += 1.0 / wanted;
            }
        }
        for hop in 1..by_hops.len() {
            by_hops[hop] += by_hops[hop - 1];
        }
        times.sort_unstable();
        let when = |percent: usize| {
            let last = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(last).map_or(0.0, |time| *time as f64 / hop_millis.max(1.0))
        };
        Curve {
            news: self.trails.len(),
            reached: times.len() as f64 / wanted,
            by_hops,
            hop_millis,
            times: [10, 50, 90, 99, 100].map(when),
            copies: self.trails.values().map(|trail| trail.copies).sum::<u64>() as f64 / wanted,
        }
    }
}

impl Curve {
    /// The part of members that heard the news over at most `hops` hops.
    pub fn within(&self, hops: usize) -> f64 {
        let last = self.by_hops.len().min(hops);
        last.checked_sub(1).and_then(|at| self.by_hops.get(at)).copied().unwrap_or(0.0)
    }

    /// The widest gap between two curves by hops.
    pub fn gap(&self, other: &Self) -> f64 {
        let most = self.by_hops.len().max(other.by_hops.len());
        (1..=most).map(|hops| (self.within(hops) - other.within(hops)).abs()).fold(0.0, f64::max)
    }
}

/// How news spread among `members` simulated hosts with links of `latency`, from the least to the most milliseconds: no losses, and
/// no exchanges once the mesh stands.
pub fn simulated(seed: u64, members: u32, latency: [u64; 2]) -> Spread {
    let end = MINUTE + 20_000;
    let scenario = Scenario {
        // The coordinator is a member too.
        hosts: members.saturating_sub(1).max(3),
        demanding: false,
        heal: 0,
        patience: end,
        least: end,
        rests: false,
        network: Network::default(),
        pace: Pace { heartbeat: 30_000, exchange: 60 * MINUTE },
        waves: Vec::new(),
        services: Vec::new(),
        fleet: 0,
        policies: Vec::new(),
        faults: Vec::new(),
    };
    // By then the mesh stands, and what begins in half a minute ends in time.
    let window = Spread::new(end - 35_000, end - 5_000);
    let outcome = World::new(seed, scenario, false).far(latency).watched(window.clone()).run();
    outcome.spread.map_or(window, |spread| *spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_counts_hops_and_copies_of_everybody_but_the_author() {
        let mut spread = Spread::new(100, 200);
        spread.begins(1, 0, 50);
        spread.comes(1, 1, 0, 60);
        spread.begins(2, 0, 100);
        for (to, from, at) in [(1, 0, 110), (2, 1, 130), (1, 2, 140), (3, 9, 140), (2, 0, 141)] {
            spread.comes(2, to, from, at);
        }
        let curve = spread.curve(4);
        assert_eq!((curve.news, curve.by_hops.len()), (1, 2), "the first piece was too early");
        assert!((curve.within(1) - 1.0 / 3.0).abs() < 1e-9 && (curve.within(7) - curve.reached).abs() < 1e-9);
        assert!((curve.reached - 2.0 / 3.0).abs() < 1e-9, "whoever heard it from a stranger has no way");
        assert!((curve.copies - 5.0 / 3.0).abs() < 1e-9);
        assert!((curve.hop_millis - 15.0).abs() < 1e-9);
        assert_eq!(curve.times.map(|time| (time * 15.0) as u64), [10, 10, 30, 30, 30]);
        assert!((curve.gap(&Spread::new(0, 0).curve(4)) - curve.reached).abs() < 1e-9);
    }

    #[test]
    fn simulated_news_reach_everybody() {
        let curve = simulated(1, 12, [5, 9]).curve(12);
        assert!((curve.reached - 1.0).abs() < 1e-9, "{curve:?}");
        assert!(curve.news >= 10 && curve.copies > 1.0 && curve.copies < 4.0, "{curve:?}");
    }
}
