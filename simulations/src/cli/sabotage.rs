//! `sabotage`: the observers under test.

use clap::Args;

use super::{Fault, say, talk};
use crate::{
    sabotage::{self, Entry},
    scenario::{Profile, Scenario},
    world::{Finish, World},
};

/// Hosts of a sabotaged world.
const HOSTS: u32 = 12;

/// Break a promise on purpose and see that it is caught.
#[derive(Args)]
pub(super) struct Sabotage {
    /// Which; see `--list`.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Every sabotage with the promise that it breaks.
    #[arg(long, conflicts_with = "name")]
    list: bool,
    /// Seeds 1 to K.
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
}

/// How often a sabotage was caught, and by what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Caught {
    /// Seeds in which the named promise was broken first.
    pub by_name: u64,
    /// Seeds in which another was.
    pub otherwise: u64,
    /// Seeds that fail without the sabotage.
    pub honest: u64,
}

/// The scenario in which sabotages are tried.
pub(crate) fn scenario(seed: u64) -> Scenario {
    Scenario::make(seed, HOSTS, Profile::Hostile, 0)
}

/// Runs `entry` with one seed.
pub(crate) fn attempt(entry: &Entry, seed: u64, caught: &mut Caught) {
    let outcome = World::new(seed, scenario(seed), false).sabotaged(entry.make()).run();
    match outcome.record.violations.first() {
        Some(violation) if violation.promise == entry.promise => caught.by_name += 1,
        Some(_) => caught.otherwise += 1,
        None => {}
    }
}

impl Sabotage {
    pub(super) fn run(self) -> Result<bool, Fault> {
        let Some(name) = self.name else {
            sabotage::ALL.iter().try_for_each(|entry| say(&format!("{} {}", entry.name, entry.promise)))?;
            return Ok(true);
        };
        let Some(entry) = sabotage::find(&name) else {
            return Err(Fault::Usage(format!("there is no sabotage {name:?}: see patchmesh-sim sabotage --list")));
        };
        let mut caught = Caught::default();
        for seed in 1..=self.seeds {
            attempt(entry, seed, &mut caught);
            let honest = World::new(seed, scenario(seed), false).run();
            if honest.finish != Finish::Completed {
                talk(&format!("seed {seed} fails without the sabotage"));
                caught.honest += 1;
            }
        }
        say(&format!(
            "{}: {}; {} of {} seeds caught it as {}, {} as something else, {} failed without it",
            entry.name, entry.what, caught.by_name, self.seeds, entry.promise, caught.otherwise, caught.honest
        ))?;
        Ok(caught.by_name > 0 && caught.honest == 0)
    }
}
