//! `shrink`: fewer hosts, faults, waves and policies that still break the same promise.

use std::path::PathBuf;

use clap::Args;

use super::{Fault, Which, run::write_trace, say, talk};
use crate::{
    report::Name,
    scenario::{Network, Scenario},
    world::World,
};

/// Fewer hosts and faults that still break the same promise.
#[derive(Args)]
pub(super) struct Shrink {
    /// The seed that fails.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    which: Which,
    /// Most simulations that are tried.
    #[arg(long, default_value_t = 300)]
    tries: u32,
    /// Where the smaller run is written.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
}

struct Search {
    seed: u64,
    promise: &'static str,
    best: Scenario,
    left: u32,
}

impl Shrink {
    pub(super) fn run(self) -> Result<bool, Fault> {
        let scenario = self.which.scenario(self.seed)?;
        let outcome = World::new(self.seed, scenario.clone(), false).run();
        let Some(promise) = outcome.record.violations.first().map(|violation| violation.promise) else {
            talk("every promise holds: there is nothing to shrink");
            return Ok(false);
        };
        let mut search = Search { seed: self.seed, promise, best: scenario, left: self.tries };
        search.reduce();
        let mut name: Name = self.which.name(self.seed);
        name.reproduce = format!("patchmesh-sim replay {}", self.trace.display());
        write_trace(&self.trace, &name, &search.best)?;
        say(&format!(
            "{promise} is still broken with {} hosts, {} faults and {} waves: {}",
            search.best.hosts,
            search.best.faults.len(),
            search.best.waves.len(),
            name.reproduce
        ))?;
        Ok(true)
    }
}

impl Search {
    /// Keeps `smaller` if it breaks the same promise.
    fn keeps(&mut self, smaller: Scenario) -> bool {
        if self.left == 0 || smaller == self.best {
            return false;
        }
        self.left -= 1;
        let outcome = World::new(self.seed, smaller.clone(), false).run();
        let same = outcome.record.violations.first().is_some_and(|violation| violation.promise == self.promise);
        if same {
            self.best = smaller;
        }
        same
    }

    fn reduce(&mut self) {
        loop {
            let before = self.best.clone();
            self.fewer_faults();
            self.fewer_waves();
            self.fewer_policies();
            self.quieter_network();
            self.fewer_hosts();
            if self.best == before || self.left == 0 {
                return;
            }
        }
    }

    /// Halves, quarters, …, single faults.
    fn fewer_faults(&mut self) {
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut smaller = self.best.clone();
                smaller.faults.drain(at..(at + size).min(smaller.faults.len()));
                if !self.keeps(smaller) {
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn fewer_waves(&mut self) {
        for wave in (0..self.best.waves.len()).rev() {
            let mut smaller = self.best.clone();
            // From the end, so that the others keep their ids.
            smaller.waves.truncate(wave);
            if wave > 0 && !self.keeps(smaller) {
                return;
            }
        }
    }

    fn fewer_policies(&mut self) {
        for policy in (0..self.best.policies.len()).rev() {
            let mut smaller = self.best.clone();
            // From the end, so that the others keep their names.
            smaller.policies.truncate(policy);
            if !self.keeps(smaller) {
                return;
            }
        }
    }

    fn quieter_network(&mut self) {
        for change in [
            (|network| network.loss = 0) as fn(&mut Network),
            |network| network.duplication = 0,
            |network| network.reordering = 0,
        ] {
            let mut smaller = self.best.clone();
            change(&mut smaller.network);
            self.keeps(smaller);
        }
    }

    fn fewer_hosts(&mut self) {
        for hosts in [3, 4, 6, 8, 12, 20, 30] {
            if hosts < self.best.hosts {
                let smaller = Scenario { hosts, ..self.best.clone() };
                if self.keeps(smaller) {
                    return;
                }
            }
        }
    }
}
