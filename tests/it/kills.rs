//! Kills at random instants over a wave of real daemons, real apt and real dpkg: nothing lost, nothing done twice, no
//! database left dirty, and the limit holds.
//!
//! `PATCHMESH_KILLS=200` kills that often, in as many waves as it takes; `PATCHMESH_SEED=N` chooses. What is chosen (whom,
//! after which event, how long after it) follows from the seed alone; what the machine makes of it does not.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use patchmesh_simulations::chance::{Chance, Seeds};
use serde_json::Value;

use crate::{
    fleet::{
        Again, Demo, PACKAGES, audit, configured, hooks_of, host_names, json, overlapping, program, unpacked_again,
        versions, wait_for,
    },
    runs::{Ran, audit_ledger, reports_in_ledger, runs_of},
    victims::{Victim, members_of, runner_of, slay},
};

/// Kills in an ordinary test run.
const FEW: usize = 6;
/// Most kills of one wave, and its hosts: every host gets its turn.
const WAVE: (usize, usize) = (16, 8);
const LIMIT: usize = 3;
/// Longest pause between an event and the kill that it triggers.
const LONGEST_SPIN: u64 = 30_000;
/// Most events that are let pass before one triggers.
const MOST_SKIPPED: u64 = 5;

/// Whom a kill is meant for. A manager is killed with everything in its runner's session, as by a machine that runs out of
/// memory; a host is killed with both and comes back under a new boot id, as by a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Daemon,
    Runner,
    Coordinator,
    Manager,
    Host,
}

const KINDS: [Kind; 5] = [Kind::Daemon, Kind::Runner, Kind::Coordinator, Kind::Manager, Kind::Host];

/// What triggers a kill: one of these files has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Journal,
    DpkgLog,
    HooksLog,
    Ledger,
}

/// One choice, made before the instant that it waits for.
#[derive(Clone, Copy, Debug)]
struct Choice {
    kind: Kind,
    source: Source,
    skip: u64,
    spin: Duration,
}

fn choose(chance: &mut Chance, number: usize) -> Choice {
    let kind = KINDS[number % KINDS.len()];
    let sources: &[Source] = match kind {
        Kind::Coordinator => &[Source::Ledger, Source::Journal, Source::HooksLog, Source::DpkgLog],
        Kind::Daemon | Kind::Host => &[Source::Journal, Source::HooksLog, Source::DpkgLog],
        Kind::Runner | Kind::Manager => &[Source::DpkgLog],
    };
    let source = sources[chance.below(sources.len() as u64) as usize];
    let skip = chance.below(MOST_SKIPPED + 1);
    Choice { kind, source, skip, spin: Duration::from_micros(chance.below(LONGEST_SPIN + 1)) }
}

/// One kill that happened.
#[derive(Debug)]
struct Kill {
    kind: Kind,
    /// `None` for the coordinator.
    host: Option<String>,
    /// Milliseconds of the wall clock.
    at: i64,
}

/// Files of a wave that grow, and how long they were when last looked at.
struct Watched {
    demo: PathBuf,
    lengths: BTreeMap<PathBuf, u64>,
}

impl Watched {
    fn file(&self, source: Source, host: &str) -> PathBuf {
        let home = self.demo.join("hosts").join(host);
        match source {
            Source::Journal => home.join("state/run.log"),
            Source::DpkgLog => home.join("root/var/log/dpkg.log"),
            Source::HooksLog => home.join("hooks.log"),
            Source::Ledger => self.demo.join("coordinator/ledger.log"),
        }
    }

    /// A host whose file has grown since the last look (of the ledger: any host).
    fn grown(&mut self, source: Source, hosts: &[String]) -> Option<String> {
        let grew = hosts.iter().find(|host| {
            let file = self.file(source, host);
            let length = fs::metadata(&file).map_or(0, |meta| meta.len());
            length > self.lengths.insert(file, length).unwrap_or(length)
        });
        grew.cloned()
    }
}

/// Waits for what `choice` waits for and kills. `None` if the wave ended first.
fn strike(demo: &mut Demo, watched: &mut Watched, choice: Choice) -> Option<Kill> {
    let hosts = host_names(&demo.folder());
    let mut skip = choice.skip;
    let end = Instant::now() + crate::fleet::PATIENCE;
    loop {
        assert!(Instant::now() < end, "the wave stands still: {:?}", demo.fleet());
        if demo.ended() {
            return None;
        }
        let Some(host) = watched.grown(choice.source, &hosts) else {
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        };
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let spun = Instant::now();
        while spun.elapsed() < choice.spin {
            std::hint::spin_loop();
        }
        let fleet = demo.fleet()?;
        let home = demo.folder().join("hosts").join(&host);
        let daemon = || {
            let member = fleet["hosts"].as_array()?.iter().find(|member| member["name"] == *host)?;
            member["pid"].as_u64()
        };
        let runner = || runner_of(&home);
        let victims: Option<Vec<u64>> = match choice.kind {
            Kind::Daemon => daemon().map(|pid| vec![pid]),
            Kind::Coordinator => fleet["coordinator"]["pid"].as_u64().map(|pid| vec![pid]),
            Kind::Runner => runner().map(|pid| vec![pid]),
            Kind::Manager => runner().map(members_of),
            Kind::Host => {
                daemon().map(|pid| runner().map(members_of).unwrap_or_default().into_iter().chain([pid]).collect())
            }
        };
        let Some(victims) = victims else { continue };
        if choice.kind == Kind::Host {
            // The daemon reads it when it comes back.
            fs::write(home.join("state/boot-id"), format!("{:032x}\n", choice.spin.as_nanos() + 1)).unwrap();
        }
        let at = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        // One that ended by itself in the last microseconds was not killed.
        if victims.into_iter().map(slay).filter(|victim| *victim == Victim::Killed).count() > 0 {
            let host = (choice.kind != Kind::Coordinator).then_some(host);
            return Some(Kill { kind: choice.kind, host, at });
        }
    }
}

/// What became of what was hit.
fn outcome(kill: &Kill, recap: &Value, runs: &BTreeMap<String, Vec<Ran>>) -> String {
    let Some(host) = &kill.host else { return format!("rollout {}", recap["state"].as_str().unwrap()) };
    match runs[host].iter().find(|ran| ran.granted <= kill.at && ran.settled.is_none_or(|settled| kill.at <= settled)) {
        None => "no lease held".into(),
        Some(ran) => match &ran.report {
            None => "UNREPORTED".into(),
            Some(report) => match &report.error {
                None => format!("{:?}", report.outcome).to_lowercase(),
                Some(error) => format!("{:?} {}", report.outcome, error.code).to_lowercase(),
            },
        },
    }
}

/// One wave with at most `most` kills, held against every promise. Adds to `table`.
fn wave(
    program: &Path,
    chance: &mut Chance,
    first: usize,
    most: usize,
    table: &mut BTreeMap<(Kind, String), usize>,
) -> usize {
    let hosts = if most > FEW { WAVE.1 } else { 4 };
    let flags = ["--hosts", &hosts.to_string(), "--max-concurrency", &LIMIT.to_string(), "--max-errors", "100%"];
    let mut demo = Demo::start(program, &flags);
    wait_for("the fleet", || {
        assert!(!demo.ended(), "the demo ended too soon: {}", demo.talk());
        demo.fleet()?["rolloutId"].as_str().map(|_| ())
    });
    let mut watched = Watched { demo: demo.folder(), lengths: BTreeMap::new() };
    let mut kills = Vec::new();
    for number in first..first + most {
        let choice = choose(chance, number);
        match strike(&mut demo, &mut watched, choice) {
            None => break,
            Some(kill) => {
                println!("kill {number}: {choice:?} hit {}", kill.host.as_deref().unwrap_or("the coordinator"));
                kills.push(kill);
            }
        }
    }
    let (status, recap, dir) = demo.finish();
    let demo = dir.path().join("demo");
    let state = recap["state"].as_str().expect("a recap");
    let known = [(0, "Succeeded"), (4, "CompletedWithFailures"), (5, "CompletedWithLost")];
    assert!(known.contains(&(status.code().unwrap_or(-1), state)), "{status}: {recap}");
    assert!(!recap["endedAt"].is_null(), "{recap}");

    let hosts = host_names(&demo);
    let all_runs = || hosts.iter().map(|host| (host.clone(), runs_of(&demo, host))).collect::<BTreeMap<_, _>>();
    let is_whole = || {
        let reported = reports_in_ledger(&demo);
        all_runs().values().flatten().all(|ran| reported.contains_key(&ran.lease))
    };
    // A host that was not heard for too long is lost when the rollout ends. Its report comes when it is back.
    let mut kept = (Some(dir), None);
    if !is_whole() {
        println!("{} hosts were lost at the end of the rollout: the fleet is started again", recap["hosts"]["lost"]);
        assert!(recap["hosts"]["lost"].as_u64().is_some_and(|lost| lost > 0), "{recap}");
        kept.1 = kept.0.take().map(|dir| Again::start(program, dir));
        wait_for("the late reports", || is_whole().then_some(()));
    }
    let (runs, reported) = (all_runs(), reports_in_ledger(&demo));
    assert!(audit_ledger(&demo) >= reported.len() as u64, "every report says what ledger its host saw");
    let mut spans = Vec::new();
    for (host, runs) in &runs {
        assert_eq!(audit(&demo, host), "", "{host} has a dirty database; {runs:#?}");
        // dpkg writes into its log that a package is configured, and only then into its database. Killed in between it does it
        // again, and nobody can tell it not to.
        let hit = |kill: &&Kill| kill.host.as_ref() == Some(host) && matches!(kill.kind, Kind::Manager | Kind::Host);
        let cut = kills.iter().filter(hit).count();
        for package in PACKAGES {
            let times = configured(&demo, host, package, "1.1");
            assert!(times <= 1 + cut, "{package} was configured {times} times on {host}");
            if times > 1 {
                println!(
                    "{package} on {host}: dpkg was killed between its log and its database, and configured it again"
                );
            }
            assert!(!unpacked_again(&demo, host, package), "{package} was installed twice on {host}");
            let whole = ["1.0 installed", "1.1 installed"];
            assert!(whole.contains(&versions(&demo, host)[package].as_str()), "{package} on {host}");
        }
        for ran in runs {
            let count = reported.get(&ran.lease).copied().unwrap_or(0);
            assert_eq!(count, 1, "the ledger holds {count} reports of lease {} of {host}: {ran:?}", ran.lease);
            spans.push((ran.granted, ran.settled.expect("settled before it is reported")));
        }
        for line in hooks_of(&demo, host) {
            let at = i64::try_from(line.at / 1_000_000).unwrap();
            let within = runs.iter().any(|ran| ran.granted <= at && ran.settled.is_some_and(|settled| at <= settled));
            assert!(within, "a hook of {host} ran outside of every lease: {line:?}; {runs:?}");
        }
    }
    let most = overlapping(&spans);
    assert!(most <= LIMIT, "{most} hosts were at work at once, {LIMIT} are allowed: {spans:?}");
    for kill in &kills {
        let outcome = outcome(kill, &recap, &runs);
        println!("{:?} of {}: {outcome}", kill.kind, kill.host.as_deref().unwrap_or("the fleet"));
        *table.entry((kill.kind, outcome)).or_default() += 1;
    }
    println!("{} kills, rollout {state}, {} reports, at most {most} at once", kills.len(), reported.len());
    assert!(json(&demo.join("fleet.json")).is_some());
    kills.len()
}

#[test]
fn killed_anywhere_a_wave_ends_whole() {
    let Some(program) = program() else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let wanted = number("PATCHMESH_KILLS").map_or(FEW, |kills| usize::try_from(kills).unwrap());
    let seed = number("PATCHMESH_SEED").unwrap_or(20);
    println!("{wanted} kills by PATCHMESH_SEED={seed}");
    let mut chance = Seeds::new(seed, false).chance("kills");
    let mut table = BTreeMap::new();
    let (mut kills, mut waves) = (0, 0);
    while kills < wanted {
        let most = if wanted > FEW { WAVE.0.min(wanted - kills) } else { FEW };
        let hit = wave(&program, &mut chance, kills, most, &mut table);
        assert!(hit > 0, "a wave without a kill");
        kills += hit;
        waves += 1;
        if wanted <= FEW {
            break;
        }
    }
    println!("{kills} kills in {waves} waves");
    for ((kind, outcome), count) in &table {
        println!("| {kind:?} | {outcome} | {count} |");
    }
}
