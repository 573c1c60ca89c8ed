//! `patchmesh-sim`: the simulator's command line. Documents go to stdout, talk to stderr.

mod bench;
pub(crate) mod run;
pub(crate) mod sabotage;
mod shrink;
mod sweep;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::{
    report::{Checked, Name, idle, vain},
    scenario::{MAX_HOSTS, Profile, Scenario},
    world::Count,
};

const EXAMPLES: &str = "Examples:
  patchmesh-sim run --seed 1 --hosts 200 --profile hostile -o json
  patchmesh-sim sweep --seeds 1..500 --profile flaky --hosts 50
  patchmesh-sim sabotage --list
  patchmesh-sim sabotage
  patchmesh-sim sabotage stops-forgotten --seeds 20
  patchmesh-sim shrink --seed 7 --hosts 50 --profile disaster --trace small.json
  patchmesh-sim replay small.json
  patchmesh-sim bench --hosts 100,1000

Exit codes: 0 every promise held · 1 one was broken, or something never had an effect · 64 usage";

/// Chaos simulations of Patchmesh under virtual time.
#[derive(Parser)]
#[command(name = "patchmesh-sim", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// One seed.
    Run(run::Run),
    /// Many seeds, over all cores.
    Sweep(sweep::Sweep),
    /// A trace file, as it was.
    Replay(run::Replay),
    /// Fewer hosts and faults that still break the same promise.
    Shrink(shrink::Shrink),
    /// Break promises on purpose and see that they are caught.
    Sabotage(sabotage::Sabotage),
    /// How fast virtual time passes.
    Bench(bench::Bench),
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Which world.
#[derive(Args, Clone)]
struct Which {
    /// Hosts at the beginning.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(3..=i64::from(MAX_HOSTS)))]
    hosts: u32,
    /// How bad it gets.
    #[arg(long, value_enum, default_value_t = Profile::Flaky)]
    profile: Profile,
    /// At least so many days of virtual time, however soon everything has settled.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=366))]
    days: u32,
    /// A scenario in YAML instead of a profile.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hosts", "profile", "days"])]
    scenario: Option<PathBuf>,
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot {doing} {}; nothing was simulated", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no {what}; nothing was simulated; {why}", path.display())]
    Format { path: PathBuf, what: &'static str, why: String },
    #[error("cannot print the result")]
    Print(#[from] std::io::Error),
    #[error("{0}; nothing was simulated")]
    Usage(String),
    #[error("the fleet did not get through its day: {0}")]
    Day(String),
}

impl Which {
    fn scenario(&self, seed: u64) -> Result<Scenario, Fault> {
        let Some(path) = &self.scenario else { return Ok(Scenario::make(seed, self.hosts, self.profile, self.days)) };
        let scenario: Scenario = serde_saphyr::from_str(&read(path)?).map_err(|error| Fault::Format {
            path: path.clone(),
            what: "scenario",
            why: error.to_string(),
        })?;
        scenario.wrong().map_or(Ok(scenario), |wrong| Err(Fault::Usage(wrong)))
    }

    /// Everything of `scenario` that came to nothing, summed over one run or many.
    fn idle(
        &self,
        scenario: &Scenario,
        promises: &BTreeMap<&'static str, Checked>,
        faults: &BTreeMap<&'static str, Count>,
    ) -> Vec<String> {
        let mut idle = if scenario.demanding { idle(promises, faults) } else { Vec::new() };
        if self.scenario.is_some() {
            idle.extend(vain(scenario, faults));
            idle.sort();
            idle.dedup();
        }
        idle
    }

    fn name(&self, seed: u64) -> Name {
        let (profile, rest) = match &self.scenario {
            Some(path) => (path.display().to_string(), format!("--scenario {}", path.display())),
            None => {
                let days = if self.days > 0 { format!(" --days {}", self.days) } else { String::new() };
                let word = self.profile.word();
                (word.to_owned(), format!("--hosts {} --profile {word}{days}", self.hosts))
            }
        };
        Name { seed, profile, reproduce: format!("patchmesh-sim run --seed {seed} {rest}") }
    }
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|source| Fault::File { doing: "read", path: path.to_owned(), source })
}

fn print<T: Serialize>(document: &T) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, document).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn say(text: &str) -> Result<(), Fault> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

fn talk(text: &str) {
    // Nobody listens any more: there is nothing to do about it.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Seconds that `work` takes, and what it gives. The only clock in this crate.
#[expect(clippy::disallowed_methods, reason = "how long a simulation takes is no part of it")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = std::time::Instant::now();
    let done = work();
    (done, begun.elapsed().as_secs_f64())
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let usage = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if usage { 64 } else { 0 });
        }
    };
    let done = match cli.verb {
        Verb::Run(verb) => verb.run(),
        Verb::Sweep(verb) => verb.run(),
        Verb::Replay(verb) => verb.run(),
        Verb::Shrink(verb) => verb.run(),
        Verb::Sabotage(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Fault::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fault) => {
            let mut text = format!("error: {fault}");
            let mut cause = std::error::Error::source(&fault);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            talk(&text);
            ExitCode::from(if matches!(fault, Fault::Usage(_)) { 64 } else { 1 })
        }
    }
}
