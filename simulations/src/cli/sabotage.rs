//! `sabotage`: the observers under test.

use clap::Args;

use super::{Fault, say, sweep::range, talk};
use crate::{
    invariant::Violation,
    sabotage::{self, Entry},
    world::{Finish, World},
};

/// Break promises on purpose and see that they are caught.
#[derive(Args)]
pub(super) struct Sabotage {
    /// Which; all if none is named.
    name: Option<String>,
    /// Every sabotage with the promise that it breaks.
    #[arg(long, conflicts_with = "name")]
    list: bool,
    /// Seeds 1 to K, or from A to B.
    #[arg(long, value_name = "K|A..B", default_value = "4", value_parser = seeds)]
    seeds: (u64, u64),
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    match text.parse::<u64>() {
        Ok(last) => range(&format!("1..{last}")),
        Err(_) => range(text),
    }
}

/// What came of one sabotage over some seeds.
#[derive(Debug, Default)]
pub(crate) struct Caught {
    /// Seeds in which the named promise was broken first.
    pub(crate) by_name: Vec<u64>,
    /// What the first of them found.
    pub(crate) first: Option<Violation>,
    /// Seeds in which another promise was broken first, with its name.
    pub(crate) otherwise: Vec<(u64, &'static str)>,
    /// Seeds in which nobody noticed.
    pub(crate) unseen: Vec<u64>,
    /// Seeds that fail without the sabotage.
    pub(crate) honest: Vec<u64>,
}

impl Caught {
    /// Runs `entry` with every one of `seeds`, and every seed without it.
    pub(crate) fn over(entry: &Entry, seeds: impl IntoIterator<Item = u64>) -> Self {
        let mut caught = Self::default();
        for seed in seeds {
            let outcome = World::new(seed, entry.scenario(), false).sabotaged(entry.make()).run();
            match outcome.record.violations.into_iter().next() {
                Some(violation) if violation.promise == entry.promise => {
                    caught.by_name.push(seed);
                    caught.first.get_or_insert(violation);
                }
                Some(violation) => caught.otherwise.push((seed, violation.promise)),
                None => caught.unseen.push(seed),
            }
            if World::new(seed, entry.scenario(), false).run().finish != Finish::Completed {
                caught.honest.push(seed);
            }
        }
        caught
    }

    /// Whether the named promise caught it, and nothing fails without it.
    pub(crate) fn is_good(&self) -> bool {
        !self.by_name.is_empty() && self.honest.is_empty()
    }
}

impl Sabotage {
    pub(super) fn run(self) -> Result<bool, Fault> {
        if self.list {
            sabotage::ALL.iter().try_for_each(|entry| say(&format!("{} {}", entry.name, entry.promise)))?;
            return Ok(true);
        }
        let entries: Vec<&Entry> = match &self.name {
            None => sabotage::ALL.iter().collect(),
            Some(name) => vec![sabotage::find(name).ok_or_else(|| {
                Fault::Usage(format!("there is no sabotage {name:?}: see patchmesh-sim sabotage --list"))
            })?],
        };
        let (from, to) = self.seeds;
        let mut good = true;
        say(&format!("{:<22} {:<12} {:<12} {:>6}  {}", "SABOTAGE", "PROMISE", "CAUGHT BY", "SEEDS", "AGAIN"))?;
        for entry in entries {
            let caught = Caught::over(entry, from..=to);
            good &= caught.is_good();
            let by = match caught.otherwise.first() {
                _ if !caught.by_name.is_empty() => entry.promise,
                Some((_, promise)) => promise,
                None => "nobody",
            };
            let seed = caught.by_name.first().copied().unwrap_or(from);
            let share = format!("{}/{}", caught.by_name.len(), to - from + 1);
            let again = format!("patchmesh-sim sabotage {} --seeds {seed}..{seed}", entry.name);
            say(&format!("{:<22} {:<12} {by:<12} {share:>6}  {again}", entry.name, entry.promise))?;
            if let Some(first) = caught.first.filter(|_| self.name.is_some()) {
                say(&format!("{}: at {} ms: {}", entry.what, first.at, first.text))?;
            }
            for seed in &caught.honest {
                talk(&format!("seed {seed} fails without {}", entry.name));
            }
        }
        Ok(good)
    }
}
