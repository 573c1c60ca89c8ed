//! `bench`: how fast virtual time passes at rest, on one core, and what a host costs as the fleet grows.

use clap::Args;
use serde::Serialize;

use super::{Fault, Output, print, say, timed};
use crate::{
    scenario::{HOUR, MAX_HOSTS, Network, Pace, Scenario, Wave},
    world::World,
};

/// How fast virtual time passes.
#[derive(Args)]
pub(super) struct Bench {
    /// Fleets, by size.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000],
          value_parser = clap::value_parser!(u32).range(3..=i64::from(MAX_HOSTS)))]
    hosts: Vec<u32>,
    /// Virtual seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=864_000))]
    seconds: u64,
    /// A day with a rollout at noon instead. A mesh at rest is counted on instead of simulated.
    #[arg(long, conflicts_with = "seconds")]
    day: bool,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    hosts: u32,
    virtual_seconds: u64,
    /// Those of them that were counted instead of simulated.
    rested_seconds: u64,
    wall_seconds: f64,
    host_seconds_per_second: f64,
    events_per_host_second: f64,
    bytes_per_host_second: f64,
}

#[derive(Serialize)]
struct BenchDocument {
    schema: &'static str,
    rows: Vec<Row>,
}

fn at_rest(hosts: u32, millis: u64) -> Scenario {
    Scenario {
        hosts,
        demanding: false,
        heal: 0,
        patience: millis,
        least: millis,
        rests: false,
        network: Network::default(),
        // The daemon's own pace.
        pace: Pace { heartbeat: 30_000, exchange: 5_000 },
        waves: Vec::new(),
        faults: Vec::new(),
    }
}

/// A tenth of the fleet at once.
fn day(hosts: u32) -> Scenario {
    let wave = Wave {
        at: 12 * HOUR,
        install: true,
        max_concurrency: hosts.div_ceil(10),
        max_errors: hosts,
        reboot: true,
        openings: Vec::new(),
        broken: 0,
    };
    Scenario { rests: true, waves: vec![wave], ..at_rest(hosts, 24 * HOUR) }
}

impl Bench {
    pub(super) fn run(self) -> Result<bool, Fault> {
        let rows = self.hosts.iter().map(|hosts| {
            let scenario = if self.day { day(*hosts) } else { at_rest(*hosts, self.seconds * 1000) };
            let (outcome, wall_seconds) = timed(|| World::new(1, scenario, false).run());
            let host_seconds = f64::from(*hosts) * outcome.ended as f64 / 1000.0;
            Row {
                hosts: *hosts,
                virtual_seconds: outcome.ended / 1000,
                rested_seconds: outcome.rested / 1000,
                wall_seconds,
                host_seconds_per_second: host_seconds / wall_seconds,
                events_per_host_second: outcome.events as f64 / host_seconds,
                bytes_per_host_second: outcome.bytes as f64 / host_seconds,
            }
        });
        let document = BenchDocument { schema: "patchmesh.simbench/v1", rows: rows.collect() };
        match self.output {
            Output::Json => print(&document)?,
            Output::Text => {
                for row in &document.rows {
                    say(&format!(
                        "{:>6} hosts: {:>9.0} host-seconds per second, {:.2} events and {:.0} bytes per host and second",
                        row.hosts, row.host_seconds_per_second, row.events_per_host_second, row.bytes_per_host_second
                    ))?;
                }
            }
        }
        Ok(true)
    }
}
