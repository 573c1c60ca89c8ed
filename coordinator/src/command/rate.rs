//! `patchmesh rate`: what limits mean for a number of hosts. Offline and pure.

use clap::{Args, ValueEnum};
use patchmesh_common::rollout::limit::{Limit, Ramp, based, batches, stops_at_error};
use serde::Serialize;

use crate::{
    api::document::LimitDocument,
    cli::Output,
    fault::{Exit, Fault},
    output::{self, Format},
};

/// Most targets: more than any fleet, and the batches still fit in memory.
const MAX_TARGETS: u32 = 1_000_000;
/// Batches that the table shows.
const MAX_SHOWN: usize = 20;

/// Flags of `rate`.
#[derive(Debug, Args)]
pub struct RateArgs {
    /// How many hosts
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_TARGETS)))]
    targets: u32,
    /// How many at once: a count or a share, 3 or 10%
    #[arg(long, value_parser = concurrency)]
    max_concurrency: Limit,
    /// How many may fail: a count or a share, 0 or 10%
    #[arg(long)]
    max_errors: Limit,
    /// How the limit is reached: aws starts 1, 2, 4, … hosts
    #[arg(long, value_enum)]
    ramp: Option<RampArg>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RampArg {
    Aws,
}

pub(super) fn concurrency(text: &str) -> Result<Limit, String> {
    text.parse::<Limit>().and_then(Limit::for_concurrency).map_err(|error| error.to_string())
}

/// `patchmesh.rate/v1`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RateDocument {
    schema: &'static str,
    targets: u32,
    max_concurrency: LimitDocument,
    max_errors: LimitDocument,
    stops_at_error: u64,
    batches: Vec<u32>,
}

/// Runs the verb.
///
/// # Errors
/// Only what printing says.
pub fn run(args: &RateArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("rate", &[Format::Table, Format::Json, Format::Yaml])?;
    let document = document(args);
    match format {
        Format::Table => output::print(&text(&document))?,
        _ => output::print_document(&document, format)?,
    }
    Ok(Exit::Done)
}

fn document(args: &RateArgs) -> RateDocument {
    let concurrency = args.max_concurrency.resolve_concurrency(args.targets);
    let errors = args.max_errors.resolve_errors(args.targets);
    let limit = |limit: &Limit, resolved| LimitDocument { given: limit.given().to_owned(), resolved };
    let ramp = match args.ramp {
        Some(RampArg::Aws) => Ramp::Aws,
        None => Ramp::Full,
    };
    RateDocument {
        schema: "patchmesh.rate/v1",
        targets: args.targets,
        max_concurrency: limit(&args.max_concurrency, concurrency),
        max_errors: limit(&args.max_errors, errors),
        stops_at_error: stops_at_error(errors),
        batches: batches(args.targets, concurrency, ramp).collect(),
    }
}

fn text(document: &RateDocument) -> String {
    let mut batches: Vec<_> = document.batches.iter().take(MAX_SHOWN).map(u32::to_string).collect();
    if document.batches.len() > MAX_SHOWN {
        batches.push(format!("… ({} batches)", document.batches.len()));
    }
    let limit = |limit: &LimitDocument| match limit.given.ends_with('%') {
        true => based(&limit.given, limit.resolved, document.targets as usize),
        false => format!("{} (given {})", limit.resolved, limit.given),
    };
    format!(
        "targets          {}\nmax concurrency  {}\nmax errors       {}\nstops at error   {}\nbatches          {}\n",
        document.targets,
        limit(&document.max_concurrency),
        limit(&document.max_errors),
        document.stops_at_error,
        if batches.is_empty() { "none".to_owned() } else { batches.join(" ") }
    )
}
