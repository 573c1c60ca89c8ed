//! The network: latency per pair, loss, duplication, reordering, partitions, slow hosts.

use super::World;
use crate::{
    chance::Chance,
    fault::{DUPLICATION, LOSS, REORDERING},
    scenario::Network,
    truth::Spot,
};

/// A split of the mesh.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Counts as this fault.
    pub(super) name: &'static str,
    /// Machines on the one side.
    pub(super) side: Vec<bool>,
    /// Only from the one side to the other.
    pub(super) one_way: bool,
    /// Open every other stretch of so many milliseconds; 0: never.
    pub(super) flaps: u64,
    /// Until when; longer if it has not kept back anything by then.
    pub(super) until: u64,
    /// Whether it has kept back anything.
    pub(super) felt: bool,
}

impl Cut {
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.felt && now >= self.until
    }

    fn parts(&self, now: u64, from: Spot, to: Spot) -> bool {
        let side = |spot: Spot| self.side.get(spot as usize).copied().unwrap_or(false);
        !self.is_over(now)
            && (self.flaps == 0 || (now / self.flaps).is_multiple_of(2))
            && side(from) != side(to)
            && (!self.one_way || side(from))
    }
}

/// What lies between the machines.
pub(super) struct Net {
    pub(super) chance: Chance,
    pub(super) rates: Network,
    /// Least and most milliseconds from one machine to another; every pair has its own.
    pub(super) latency: [u64; 2],
    pub(super) cuts: Vec<Cut>,
}

impl Net {
    pub(super) fn new(chance: Chance, rates: Network) -> Self {
        Self { chance, rates, latency: LATENCY, cuts: Vec::new() }
    }

    /// Nothing is lost, doubled, late or cut any more. Returns the cuts.
    pub(super) fn heal(&mut self) -> Vec<Cut> {
        self.rates = Network::default();
        std::mem::take(&mut self.cuts)
    }

    /// Whether a message of now from `from` to `to` is kept back.
    pub(super) fn is_cut(&self, now: u64, from: Spot, to: Spot) -> bool {
        self.cuts.iter().any(|cut| cut.parts(now, from, to))
    }
}

/// Of a network of several sites, in milliseconds.
const LATENCY: [u64; 2] = [1, 40];

/// The same for a pair at all times.
fn distance(one: Spot, other: Spot, [least, most]: [u64; 2]) -> u64 {
    let (low, high) = (u64::from(one.min(other)), u64::from(one.max(other)));
    let mixed = (low.wrapping_mul(0x9e37_79b9) ^ high.wrapping_mul(0x85eb_ca6b)).rotate_left(17);
    least + mixed % (most.saturating_sub(least) + 1)
}

impl World {
    /// When copies of a message that is sent now arrive; none if it is lost.
    pub(super) fn transit(&mut self, from: Spot, to: Spot) -> [Option<u64>; 2] {
        let mut kept_back = false;
        for cut in self.net.cuts.iter_mut().filter(|cut| cut.parts(self.now, from, to)) {
            self.chaos.effective(cut.name);
            (cut.felt, kept_back) = (true, true);
        }
        if kept_back {
            return [None; 2];
        }
        let rates = self.net.rates;
        if self.net.chance.once_in(rates.loss) {
            self.chaos.happened(LOSS);
            return [None; 2];
        }
        let first = Some(self.delay(from, to));
        if self.net.chance.once_in(rates.duplication) {
            self.chaos.happened(DUPLICATION);
            return [first, Some(self.delay(from, to))];
        }
        [first, None]
    }

    fn delay(&mut self, from: Spot, to: Spot) -> u64 {
        let mut delay = distance(from, to, self.net.latency) + self.net.chance.below(8);
        for spot in [from, to] {
            if self.seats[spot as usize].slow_until > self.now {
                delay += self.net.chance.between(200, 4_000);
            }
        }
        if self.net.chance.once_in(self.net.rates.reordering) {
            self.chaos.happened(REORDERING);
            // Mostly seconds, now and then minutes.
            let most = if self.net.chance.once_in(8) { 300_000 } else { 15_000 };
            delay += self.net.chance.between(500, most);
        }
        delay
    }
}
