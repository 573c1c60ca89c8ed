//! Booted hosts lose their daemon, their runner or everything at once, in the middle of a wave.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use patchmesh_simulations::chance::{Chance, Seeds};

use super::{SIX, fleet::Fleet};
use crate::fleet::wait_for;

/// Kills in all; `PATCHMESH_KILLS` asks for more or fewer.
const KILLS: usize = 30;
const LIMIT: usize = 3;
/// Longest pause between the event that was waited for and the kill.
const LONGEST: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Daemon,
    Runner,
    Host,
}

const KINDS: [Kind; 3] = [Kind::Daemon, Kind::Runner, Kind::Host];
/// The transient services that install; a repair is one, too.
const RUNNERS: &str = "'patchmesh-run-*'";

impl Kind {
    /// Kills as the kernel or the power would. Whether something was there to be killed.
    fn strike(self, fleet: &Fleet, host: &str) -> bool {
        let kill = |units: &str| format!("systemctl -q is-active {units} && systemctl kill -s KILL {units}");
        match self {
            Self::Daemon => fleet.lab.ask(host, &kill("patchmeshd")).is_some(),
            Self::Runner => fleet.lab.ask(host, &kill(RUNNERS)).is_some(),
            Self::Host => {
                fleet.lab.crash(host);
                fleet.lab.run(&["start", host]);
                true
            }
        }
    }
}

/// One wave over hosts that lack new versions, with one kill on each; what became of each is added to `table`.
fn wave(fleet: &Fleet, number: usize, chance: &mut Chance, table: &mut BTreeMap<(Kind, String), usize>) {
    fleet.wait_for_hosts();
    let version = format!("2.{number}");
    for (package, behaviour) in [("lab-hello", "slow=1"), ("lab-web", "service"), ("lab-slow", "slow=2")] {
        fleet.lab.run(&["publish", "deb", package, &version, "--do", behaviour, "--no-index"]);
    }
    fleet.lab.run(&["publish", "deb", "lab-kernel", &version, "--do", "reboot"]);
    fleet.lab.exec("all", "rm -f /var/log/patchmesh-hooks.log");
    let spec = format!("  baseline: all\n  maxConcurrency: {LIMIT}\n  maxErrors: 100%\n");
    let rollout = fleet.begin(&format!("kills-{number}"), &fleet.lab.hosts, &spec);
    let mut due: Vec<_> = fleet.lab.hosts.iter().enumerate().collect();
    let mut hit = BTreeMap::new();
    while !due.is_empty() {
        let (at, seen) = wait_for("a host to be at work", || {
            let over = fleet.cli_json(&["rollout", "status", &rollout, "-o", "json"])?["endedAt"].is_string();
            let working = due.iter().position(|(_, host)| fleet.phase(&rollout, host).is_some());
            (over || working.is_some()).then_some((working, over))
        });
        let (Some(at), false) = (at, seen) else { break };
        let (turn, host) = due.remove(at);
        let kind = KINDS[(turn + number) % KINDS.len()];
        let (pause, from) = (Duration::from_millis(chance.below(LONGEST)), Instant::now());
        // A runner lives shorter than a run: it is waited for.
        let struck = wait_for("something to kill", || {
            if from.elapsed() < pause {
                return None;
            }
            let phase = fleet.phase(&rollout, host);
            match kind.strike(fleet, host) {
                true => Some(phase.or(Some("ended".into()))),
                false => phase.is_none().then_some(None),
            }
        });
        eprintln!("wave {number}: {kind:?} of {host} after {pause:?}, in {struck:?}");
        if struck.is_some() {
            hit.insert(host.clone(), kind);
        }
    }
    let (code, recap) = fleet.watch(&rollout);
    let state = recap["state"].as_str().unwrap();
    assert!([(0, "Succeeded"), (4, "CompletedWithFailures")].contains(&(code, state)), "{recap}");
    for result in recap["results"].as_array().unwrap() {
        let host = result["host"].as_str().unwrap();
        let outcome = result["outcome"].as_str().unwrap();
        assert!(["succeeded", "failed"].contains(&outcome), "{host} reported: {result}");
        let error = result["error"]["code"].as_str().map(|code| format!(" {code}"));
        let outcome = format!("{outcome}{}", error.unwrap_or_default());
        eprintln!("wave {number}: {host} {outcome}");
        if let Some(kind) = hit.get(host) {
            *table.entry((*kind, outcome)).or_default() += 1;
        }
        fleet.lab.wait_up(host);
        let unclean = fleet.lab.exec(host, "dpkg --audit");
        let log = || fleet.lab.exec(host, "journalctl -b -n 60 --no-pager; ls -lR --full-time /var/lib/patchmesh/run");
        assert!(unclean.is_empty(), "{host} has an unclean database: {unclean}\n{result}\n{}", log());
        let log = fleet.lab.exec(host, "cat /var/log/dpkg.log");
        for package in ["lab-hello", "lab-web", "lab-slow", "lab-kernel"] {
            // They have no triggers, which would let dpkg say it again.
            let done = format!(" status installed {package}:all {version}");
            let times =
                log.lines().filter(|line| line.ends_with(&done) || line.ends_with(&done.replace("all", "amd64")));
            let times = times.count();
            assert!(times <= 1, "{host} configured {package} {times} times");
            assert!(times == 1 || result["outcome"] == "failed", "{host} lacks {package}: {result}");
        }
    }
    let overlap = fleet.overlap();
    assert!(overlap <= LIMIT, "{overlap} hosts were at work at once, {LIMIT} are allowed");
    eprintln!("wave {number}: {state}, {} kills, at most {overlap} at once", hit.len());
}

#[test]
fn killed_on_booted_hosts_a_wave_ends_whole() {
    let Some(fleet) = Fleet::start(&SIX, &[], "") else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let wanted = number("PATCHMESH_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number("PATCHMESH_SEED").unwrap_or(20);
    eprintln!("{wanted} kills by PATCHMESH_SEED={seed}");
    let mut chance = Seeds::new(seed, false).chance("kills");
    let mut table = BTreeMap::new();
    for number in 1.. {
        let kills: usize = table.values().sum();
        if kills >= wanted {
            break;
        }
        wave(&fleet, number, &mut chance, &mut table);
        assert!(table.values().sum::<usize>() > kills, "a wave without a kill");
    }
    for ((kind, outcome), count) in &table {
        eprintln!("| {kind:?} | {outcome} | {count} |");
    }
}
