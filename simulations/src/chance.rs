//! One seed, a tree of named generators: a draw that is added in one place moves nothing elsewhere. Every draw can be kept, and
//! given back later, so that a failure outlives the generators.

use core::convert::Infallible;
use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, TryRng, rngs::Xoshiro256PlusPlus};
use sha2::{Digest, Sha256};

/// Draws by the name of their generator.
pub type Draws = BTreeMap<String, Vec<u64>>;

/// The root of the tree.
#[derive(Clone, Debug, Default)]
pub struct Seeds {
    seed: u64,
    keep: bool,
    given: Draws,
}

impl Seeds {
    /// Generators of `seed`; their draws are kept if `keep`.
    pub fn new(seed: u64, keep: bool) -> Self {
        Self { seed, keep, given: Draws::new() }
    }

    /// Generators that first give back what was `given`, and then what `seed` has not drawn yet: ids would come twice.
    pub fn replay(seed: u64, given: Draws) -> Self {
        Self { seed, keep: false, given }
    }

    /// The generator called `name`.
    pub fn chance(&mut self, name: &str) -> Chance {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(name.as_bytes());
        let given = self.given.remove(name).unwrap_or_default().into_iter();
        if given.len() > 0 {
            hash.update(b" goes on");
        }
        Chance { rng: Xoshiro256PlusPlus::from_seed(hash.finalize().into()), given, kept: self.keep.then(Vec::new) }
    }
}

/// One generator.
#[derive(Clone, Debug)]
pub struct Chance {
    rng: Xoshiro256PlusPlus,
    given: std::vec::IntoIter<u64>,
    kept: Option<Vec<u64>>,
}

impl Chance {
    fn draw(&mut self, below: u64) -> u64 {
        let drawn = self.given.next().unwrap_or_else(|| self.rng.next_u64());
        let drawn = if below == 0 { drawn } else { drawn % below };
        if let Some(kept) = &mut self.kept {
            kept.push(drawn);
        }
        drawn
    }

    /// A number from 0 to `bound - 1`; 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw(bound.max(1))
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Once in `n`; never if 0.
    pub fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// Everything that was drawn, if it was kept.
    pub fn kept(&mut self) -> Option<Vec<u64>> {
        self.kept.take()
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.draw(0) >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw(0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.draw(0).to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_draws_tell_when_a_generator_changes() {
        let mut chance = Seeds::new(1, false).chance("network");
        let drawn: Vec<u64> = (0..4).map(|_| chance.below(1000)).collect();
        assert_eq!(drawn, GOLDEN, "the generator has changed: every seed now means another run");
    }

    const GOLDEN: [u64; 4] = [193, 597, 684, 51];

    #[test]
    fn a_generator_more_and_a_draw_more_move_nothing_elsewhere() {
        let drawn = |mut chance: Chance| (0..5).map(|_| chance.below(100)).collect::<Vec<_>>();
        let expected = drawn(Seeds::new(7, false).chance("one"));
        let mut seeds = Seeds::new(7, false);
        let mut other = seeds.chance("other");
        other.below(3);
        assert_eq!(drawn(seeds.chance("one")), expected);
        assert_ne!(drawn(seeds.chance("two")), expected);
    }

    #[test]
    fn generators_are_independent_and_draws_come_back() {
        let mut seeds = Seeds::new(7, true);
        let (mut one, mut other) = (seeds.chance("one"), seeds.chance("other"));
        let drawn: Vec<u64> = (0..5).map(|_| one.below(100)).collect();
        let wide = one.next_u64();
        assert_ne!(drawn, (0..5).map(|_| other.below(100)).collect::<Vec<_>>());
        let kept = Draws::from([("one".to_owned(), one.kept().unwrap())]);
        let mut again = Seeds::replay(99, kept).chance("one");
        assert_eq!((0..5).map(|_| again.below(100)).collect::<Vec<_>>(), drawn);
        assert_eq!(again.next_u64(), wide);
        let kept = Draws::from([("one".to_owned(), vec![wide])]);
        let mut longer = Seeds::replay(7, kept).chance("one");
        assert_ne!((longer.next_u64(), longer.below(100)), (wide, drawn[0]), "what was drawn does not come twice");
    }
}
