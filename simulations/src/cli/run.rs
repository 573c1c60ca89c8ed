//! `run` and `replay`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Fault, Output, Which, print, read, say, talk, timed};
use crate::{
    report::{Document, Name, TRACE, TraceFile, promises, story},
    sabotage,
    scenario::Scenario,
    world::{Finish, Outcome, World},
};

/// One seed.
#[derive(Args)]
pub(super) struct Run {
    /// The root of every random number.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    which: Which,
    /// Threads; one run uses one. Accepted so that scripts need not care; never changes a result.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where the trace of a failure is written; by default the temporary folder.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Run {
    pub(super) fn run(self) -> Result<bool, Fault> {
        // One world runs on one thread: the number given has nothing to change.
        let _ = self.threads;
        let (scenario, name) = (self.which.scenario(self.seed)?, self.which.name(self.seed));
        let (outcome, seconds) = timed(|| World::new(self.seed, scenario.clone(), false).run());
        if outcome.finish != Finish::Completed {
            let path = self.trace.unwrap_or_else(|| {
                std::env::temp_dir().join(format!("patchmesh-sim-{}-{}.trace.json", self.seed, scenario.hosts))
            });
            write_trace(&path, &name, &scenario)?;
            talk(&story(&name, &outcome, Some(&path.display().to_string())));
        }
        let idle = match outcome.finish {
            Finish::Completed => self.which.idle(&scenario, &promises(&outcome), &outcome.faults),
            _ => Vec::new(),
        };
        show(&name, &scenario, &outcome, seconds, self.output, &idle)
    }
}

/// Runs once more, keeping every draw, and writes the trace.
pub(super) fn write_trace(path: &Path, name: &Name, scenario: &Scenario) -> Result<(), Fault> {
    let outcome = World::new(name.seed, scenario.clone(), true).run();
    let file = TraceFile::new(name, scenario.clone(), None, &outcome);
    let failed = |source| Fault::File { doing: "write", path: path.to_owned(), source };
    let bytes = serde_json::to_vec(&file).map_err(|error| failed(error.into()))?;
    std::fs::write(path, bytes).map_err(failed)
}

/// Prints a result; whether it is good. `idle` is what came to nothing.
fn show(
    name: &Name,
    scenario: &Scenario,
    outcome: &Outcome,
    seconds: f64,
    output: Output,
    idle: &[String],
) -> Result<bool, Fault> {
    let document = Document::new(name, scenario.hosts, outcome, seconds);
    idle.iter().for_each(|text| talk(text));
    match output {
        Output::Json => print(&document)?,
        Output::Text => {
            say(&format!(
                "{:?}: {} events, {:.0} virtual seconds in {seconds:.2} s, trace {}",
                outcome.finish,
                outcome.events,
                document.virtual_seconds,
                &outcome.trace[..16]
            ))?;
            for (promise, counts) in &document.promises {
                say(&format!("  {promise:<12} {:>9} checked {:>4} broken", counts.checked, counts.violations))?;
            }
            for (fault, counts) in &document.faults {
                say(&format!("  {fault:<22} {:>7} injected {:>7} effective", counts.injected, counts.effective))?;
            }
            for rollout in &outcome.rollouts {
                say(&format!("  {rollout}"))?;
            }
        }
    }
    Ok(outcome.finish == Finish::Completed && idle.is_empty())
}

/// A trace file, as it was.
#[derive(Args)]
pub(super) struct Replay {
    /// Written by `run`, `sweep` or `shrink`.
    #[arg(value_name = "TRACE")]
    file: PathBuf,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Replay {
    pub(super) fn run(self) -> Result<bool, Fault> {
        let file = parse(&self.file, &read(&self.file)?)?;
        let reproduce = format!("patchmesh-sim replay {}", self.file.display());
        let name = Name { seed: file.seed, profile: file.profile.clone(), reproduce };
        let scenario = file.scenario.clone();
        let (outcome, seconds) = timed(|| replay(file));
        if outcome.finish != Finish::Completed {
            talk(&story(&name, &outcome, None));
        }
        // What had no effect was told by the run that wrote it: a trace is replayed for its promise.
        show(&name, &scenario, &outcome, seconds, self.output, &[])
    }
}

fn parse(path: &Path, text: &str) -> Result<TraceFile, Fault> {
    let wrong = |why: String| Fault::Format { path: path.to_owned(), what: "trace", why };
    let file: TraceFile = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if file.schema != TRACE {
        return Err(wrong(format!("its schema is {:?}, not {TRACE:?}", file.schema)));
    }
    match &file.sabotage {
        Some(name) if sabotage::find(name).is_none() => Err(wrong(format!("there is no sabotage {name:?}"))),
        _ => Ok(file),
    }
}

/// Runs what a trace says.
pub(crate) fn replay(file: TraceFile) -> Outcome {
    let world = World::replay(file.seed, file.scenario, file.draws);
    match file.sabotage.as_deref().and_then(sabotage::find) {
        Some(entry) => world.sabotaged(entry.make()).run(),
        None => world.run(),
    }
}
