//! `sweep`: many seeds over all cores. Threads never change a result: seeds are counted in order, up to the first that fails.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Fault, Output, Which, print, run::write_trace, say, talk, timed};
use crate::{
    report::{Checked, promises, story},
    world::{Count, Finish, World},
};

/// Most seeds of one sweep.
const MAX_SEEDS: u64 = 10_000_000;

/// Many seeds, over all cores.
#[derive(Args)]
pub(super) struct Sweep {
    /// First and last seed, e.g. `1..500`.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: (u64, u64),
    #[command(flatten)]
    which: Which,
    /// How many run at once; by default as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is no range of seeds: write A..B with A not above B, e.g. 1..500");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from > to || to - from >= MAX_SEEDS {
        return Err(wrong());
    }
    Ok((from, to))
}

#[derive(Clone, Default)]
struct Row {
    promises: BTreeMap<&'static str, Checked>,
    faults: BTreeMap<&'static str, Count>,
    events: u64,
    ended: u64,
    good: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SweepDocument {
    schema: &'static str,
    profile: String,
    hosts: u32,
    from: u64,
    to: u64,
    /// Seeds up to the first that failed.
    seeds: u64,
    clean: bool,
    first_failing: Option<u64>,
    events: u64,
    virtual_seconds: f64,
    wall_seconds: f64,
    promises: BTreeMap<&'static str, Checked>,
    faults: BTreeMap<&'static str, Count>,
    reproduce: Option<String>,
}

impl Sweep {
    pub(super) fn run(self) -> Result<bool, Fault> {
        let (from, to) = self.seeds;
        let scenario = self.which.scenario(from)?;
        let threads = match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let (rows, wall_seconds) = timed(|| self.rows(threads));
        let first_failing = rows.iter().find(|(_, row)| !row.good).map(|(seed, _)| *seed);
        let mut sum = Row::default();
        for row in rows.range(..=first_failing.unwrap_or(to)).map(|(_, row)| row) {
            sum.add(row);
        }
        let idle = match first_failing {
            None => self.which.idle(&scenario, &sum.promises, &sum.faults),
            Some(_) => Vec::new(),
        };
        idle.iter().for_each(|text| talk(text));
        let reproduce = first_failing.map(|seed| self.which.name(seed).reproduce);
        if let Some(seed) = first_failing {
            self.explain(seed)?;
        }
        let document = SweepDocument {
            schema: "patchmesh.sweep/v1",
            profile: self.which.name(from).profile,
            hosts: scenario.hosts,
            from,
            to,
            seeds: first_failing.unwrap_or(to) - from + 1,
            clean: first_failing.is_none() && idle.is_empty(),
            first_failing,
            events: sum.events,
            virtual_seconds: sum.ended as f64 / 1000.0,
            wall_seconds,
            promises: sum.promises,
            faults: sum.faults,
            reproduce,
        };
        let clean = document.clean;
        match self.output {
            Output::Json => print(&document)?,
            Output::Text => table(&document)?,
        }
        Ok(clean)
    }

    fn rows(&self, threads: usize) -> BTreeMap<u64, Row> {
        let (from, to) = self.seeds;
        let (next, worst) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
        let rows = Mutex::new(BTreeMap::new());
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(to - from + 1) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left") {
            bar.set_style(style);
        }
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        // Seeds above one that failed are not wanted any more; those below it are.
                        if seed > to || seed > worst.load(Ordering::Relaxed) {
                            return;
                        }
                        let row = self.row(seed);
                        if !row.good {
                            worst.fetch_min(seed, Ordering::Relaxed);
                        }
                        rows.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, row);
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        rows.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, seed: u64) -> Row {
        // The scenario was read once before; a file that vanishes meanwhile fails its seeds.
        let Ok(scenario) = self.which.scenario(seed) else { return Row::default() };
        let outcome = World::new(seed, scenario, false).run();
        Row {
            promises: promises(&outcome),
            faults: outcome.faults,
            events: outcome.events,
            ended: outcome.ended,
            good: outcome.finish == Finish::Completed,
        }
    }

    fn explain(&self, seed: u64) -> Result<(), Fault> {
        let (scenario, name) = (self.which.scenario(seed)?, self.which.name(seed));
        let path = std::env::temp_dir().join(format!("patchmesh-sim-{seed}-{}.trace.json", scenario.hosts));
        write_trace(&path, &name, &scenario)?;
        let outcome = World::new(seed, scenario, false).run();
        talk(&story(&name, &outcome, Some(&path.display().to_string())));
        Ok(())
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        for (name, counts) in &other.promises {
            let sum = self.promises.entry(name).or_default();
            sum.checked += counts.checked;
            sum.violations += counts.violations;
        }
        for (name, counts) in &other.faults {
            let sum = self.faults.entry(name).or_default();
            sum.injected += counts.injected;
            sum.effective += counts.effective;
        }
        self.events += other.events;
        self.ended += other.ended;
    }
}

fn table(document: &SweepDocument) -> Result<(), Fault> {
    let verdict = match document.first_failing {
        Some(seed) => format!("seed {seed} failed"),
        None if document.clean => String::from("clean"),
        None => String::from("something never had an effect"),
    };
    say(&format!(
        "{} at {} hosts, seeds {}..{}: {verdict}; {} events, {:.0} virtual hours in {:.0} s",
        document.profile,
        document.hosts,
        document.from,
        document.to,
        document.events,
        document.virtual_seconds / 3600.0,
        document.wall_seconds
    ))?;
    for (promise, counts) in &document.promises {
        say(&format!("  {promise:<12} {:>12} checked {:>4} broken", counts.checked, counts.violations))?;
    }
    for (fault, counts) in &document.faults {
        say(&format!("  {fault:<22} {:>9} injected {:>9} effective", counts.injected, counts.effective))?;
    }
    document.reproduce.iter().try_for_each(|command| say(command))
}
