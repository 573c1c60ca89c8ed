//! `bench`: how fast virtual time passes on one core, what a host costs as the fleet grows, and how fast others are.

mod peers;
mod plot;

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use self::peers::{Engine, Measured};
use super::{Fault, Output, print, say, talk};
use crate::{
    scenario::{HOUR, MAX_HOSTS, Network, Pace, Scenario, Wave},
    world::{Finish, World},
};

/// Virtual seconds before anything is measured: by then every view is whole and the mesh says what it says at rest.
const WARM: u64 = 40;
/// At rest every host speaks up once in so many seconds: what is measured over whole multiples does not depend on when.
const ROUND: u64 = 30;

/// How fast virtual time passes.
#[derive(Args)]
pub(super) struct Bench {
    /// Fleets, by size.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000],
          value_parser = clap::value_parser!(u32).range(3..=i64::from(MAX_HOSTS)))]
    hosts: Vec<u32>,
    /// Virtual seconds that are measured, a multiple of 30, after 40 in which the mesh forms.
    #[arg(long, default_value_t = 60, value_parser = seconds)]
    seconds: u64,
    /// Builds and runs the harnesses for other simulators in this folder, and compares.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "simulations/peers")]
    peers: Option<PathBuf>,
    /// Draws what a host costs at rest by the size of its fleet, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One virtual day with a rollout at noon instead, in which a mesh at rest is counted on instead of simulated.
    #[arg(long, conflicts_with_all = ["seconds", "peers", "plot"])]
    day: bool,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds: &u64| *seconds <= 864_000 && seconds.is_multiple_of(ROUND));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| format!("write a multiple of {ROUND} up to 864000"))
}

/// What the hosts do.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Load {
    /// Nothing new, at the daemon's pace: the cost of a fleet at rest.
    Rest,
    /// One message per host and second, as in the harnesses of the others, but of the production machines and codec.
    Ping,
    /// A day at the daemon's pace, with a rollout over the fleet at noon.
    Day,
}

impl Load {
    fn word(self) -> &'static str {
        match self {
            Self::Rest => "at rest",
            Self::Ping => "ping",
            Self::Day => "day",
        }
    }

    fn scenario(self, hosts: u32, millis: u64) -> Scenario {
        let heartbeat = if self == Self::Ping { 10_000 * HOUR } else { 1000 * ROUND };
        Scenario {
            hosts,
            demanding: false,
            heal: 0,
            patience: millis,
            least: millis,
            rests: false,
            network: Network::default(),
            pace: Pace { heartbeat, exchange: 5_000 },
            waves: Vec::new(),
            services: Vec::new(),
            fleet: 0,
            policies: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn world(self, hosts: u32, millis: u64) -> World {
        let world = World::new(1, self.scenario(hosts, millis), false);
        // 0.4 messages of exchanges, and 0.6 that carry a changed record: each comes a little more than twice.
        if self == Self::Ping { world.changing(3_600) } else { world }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    load: Load,
    hosts: u32,
    virtual_seconds: u64,
    /// Those of them that were counted instead of simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    rested_seconds: Option<u64>,
    cpu_seconds: f64,
    host_seconds_per_second: f64,
    messages_per_host_second: f64,
    events_per_host_second: f64,
    bytes_per_host_second: f64,
}

/// Slopes over the logarithms of fleet size and cost: 0 is flat, 1 grows with the fleet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Growth {
    events: f64,
    bytes: f64,
}

#[derive(Serialize)]
struct BenchDocument {
    schema: &'static str,
    rows: Vec<Row>,
    peers: Vec<Measured>,
    growth: Option<Growth>,
}

/// Seconds that this thread has spent on a core: other processes do not count.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A tenth of the fleet at once.
fn day(hosts: u32) -> Result<Row, Fault> {
    let wave = Wave {
        at: 12 * HOUR,
        install: true,
        max_concurrency: hosts.div_ceil(10),
        max_errors: hosts,
        reboot: true,
        reboot_at: None,
        openings: Vec::new(),
        broken: 0,
        rings: Vec::new(),
        ramp: false,
        gated: false,
        unwell: 0,
        waits: false,
        on_hook_failure: Default::default(),
        replans: false,
        shown: false,
        sick: None,
    };
    let scenario = Scenario { rests: true, waves: vec![wave], ..Load::Rest.scenario(hosts, 24 * HOUR) };
    let begun = spent();
    let outcome = World::new(1, scenario, false).run();
    let cpu_seconds = spent() - begun;
    if outcome.finish != Finish::Completed {
        return Err(Fault::Day(outcome.rollouts.join("; ")));
    }
    let host_seconds = f64::from(hosts) * outcome.ended as f64 / 1000.0;
    let each = |count: u64| count as f64 / host_seconds;
    Ok(Row {
        load: Load::Day,
        hosts,
        virtual_seconds: outcome.ended / 1000,
        rested_seconds: Some(outcome.rested / 1000),
        cpu_seconds,
        host_seconds_per_second: host_seconds / cpu_seconds,
        messages_per_host_second: each(outcome.messages),
        events_per_host_second: each(outcome.events),
        bytes_per_host_second: each(outcome.bytes),
    })
}

fn measure(load: Load, hosts: u32, seconds: u64) -> Row {
    let (begin, end) = (1000 * WARM, 1000 * (WARM + seconds));
    let mut world = load.world(hosts, end + 1000);
    let before = world.advance(begin);
    let begun = spent();
    let after = world.advance(end);
    let cpu_seconds = spent() - begun;
    let host_seconds = f64::from(hosts) * seconds as f64;
    let each = |after: u64, before: u64| (after - before) as f64 / host_seconds;
    Row {
        load,
        hosts,
        virtual_seconds: seconds,
        rested_seconds: None,
        cpu_seconds,
        host_seconds_per_second: host_seconds / cpu_seconds,
        messages_per_host_second: each(after.messages, before.messages),
        events_per_host_second: each(after.events, before.events),
        bytes_per_host_second: each(after.bytes, before.bytes),
    }
}

/// The slope of the line that fits best through the logarithms of both; `None` for fewer than two sizes.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), log| (x + log.0 / count, y + log.1 / count));
    let across: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    let along: f64 = logs.iter().map(|log| (log.0 - x).powi(2)).sum();
    (along > 0.0).then(|| across / along)
}

impl Bench {
    fn loads(&self) -> &'static [Load] {
        if self.day { &[Load::Day] } else { &[Load::Rest, Load::Ping] }
    }

    pub(super) fn run(self) -> Result<bool, Fault> {
        let steps = self.hosts.len() * self.loads().len() + self.peers.iter().count();
        let shown = std::io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(steps as u64) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        let tell = |text: String| if shown { bar.set_message(text) } else { talk(&text) };
        if let Some(folder) = &self.peers {
            tell(format!("building {}", folder.display()));
            peers::build(folder)?;
        }
        let mut rows = Vec::new();
        for hosts in &self.hosts {
            for load in self.loads() {
                tell(format!("{hosts} hosts, {}", load.word()));
                rows.push(if *load == Load::Day { day(*hosts)? } else { measure(*load, *hosts, self.seconds) });
                bar.inc(1);
            }
        }
        let mut peers = Vec::new();
        if let Some(folder) = &self.peers {
            for row in rows.iter().filter(|row| row.load == Load::Ping) {
                for engine in Engine::ALL.into_iter().filter(|engine| engine.bears(row.hosts)) {
                    tell(format!("{} hosts of {}", row.hosts, engine.word()));
                    peers.push(engine.measure(folder, row.hosts, self.seconds, row.host_seconds_per_second)?);
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let resting: Vec<&Row> = rows.iter().filter(|row| row.load == Load::Rest).collect();
        let by =
            |what: fn(&Row) -> f64| resting.iter().map(|row| (f64::from(row.hosts), what(row))).collect::<Vec<_>>();
        let (events, bytes) = (by(|row| row.events_per_host_second), by(|row| row.bytes_per_host_second));
        let growth = slope(&events).zip(slope(&bytes)).map(|(events, bytes)| Growth { events, bytes });
        if let Some(path) = &self.plot {
            let Some(growth) = &growth else {
                return Err(Fault::Usage("a plot needs two fleets of different size".into()));
            };
            let drawn = plot::draw(&[
                plot::Panel { title: "events per host and second", points: events, slope: growth.events },
                plot::Panel { title: "bytes per host and second", points: bytes, slope: growth.bytes },
            ]);
            let failed = |source| Fault::File { doing: "write", path: path.clone(), source };
            std::fs::write(path, drawn).map_err(failed)?;
        }
        let document = BenchDocument { schema: "patchmesh.simbench/v1", rows, peers, growth };
        match self.output {
            Output::Json => print(&document)?,
            Output::Text => document.say()?,
        }
        Ok(true)
    }
}

impl BenchDocument {
    fn say(&self) -> Result<(), Fault> {
        say("               hosts   host-seconds/s   messages     events      bytes   (per host and second)")?;
        for row in &self.rows {
            let name = row.load.word();
            say(&format!(
                "{name:<12} {:>7} {:>16.0} {:>10.2} {:>10.2} {:>10.0}",
                row.hosts,
                row.host_seconds_per_second,
                row.messages_per_host_second,
                row.events_per_host_second,
                row.bytes_per_host_second
            ))?;
        }
        for peer in &self.peers {
            say(&format!(
                "{:<12} {:>7} {:>16.0} {:>10.2}      ours is {:.3} times that",
                peer.engine, peer.hosts, peer.host_seconds_per_second, peer.messages_per_host_second, peer.ratio
            ))?;
        }
        if let Some(growth) = &self.growth {
            say(&format!("growth at rest: slope {:.2} in events, {:.2} in bytes", growth.events, growth.bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_powers() {
        let power = |by: f64| [100.0f64, 320.0, 1000.0].map(|hosts| (hosts, 7.0 * hosts.powf(by)));
        assert!((slope(&power(1.0)).unwrap() - 1.0).abs() < 1e-9);
        assert!(slope(&power(0.0)).unwrap().abs() < 1e-9);
        assert_eq!(slope(&[(100.0, 3.0)]), None);
    }

    #[test]
    fn a_pinging_host_hears_one_message_a_second() {
        let row = measure(Load::Ping, 12, 300);
        assert!((0.8..1.2).contains(&row.messages_per_host_second), "{}", row.messages_per_host_second);
    }
}
