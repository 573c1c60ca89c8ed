//! Whether hook logs, dpkg logs and ledger tell the same. Knows nothing of how a coordinator decides.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Change, Dpkg, Entry, Host, Record, Row};
use crate::fleet::{Line, overlapping};

/// In the order of a run.
const PHASES: [&str; 4] = ["pre-install", "post-install", "post-reboot", "on-exit"];
/// What a host still does under a lease that was released: nothing that disturbs it.
const HARMLESS: [&str; 2] = ["post-reboot", "on-exit"];
/// All that these packages can have dpkg do.
const ACTIONS: [&str; 4] = ["startup", "upgrade", "configure", "status"];

/// What a story asked of a rollout.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: String,
    /// The hosts of each ring, as the manifest has them.
    pub(super) rings: Vec<Vec<String>>,
    /// Most hosts at once.
    pub(super) at_once: usize,
}

/// How much there was to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) grants: usize,
    pub(super) hooks: usize,
    /// Packages that dpkg configured to their end.
    pub(super) configured: usize,
}

/// What the ledger says of one lease. Positions are those of its entries.
struct Run {
    rollout: String,
    host: String,
    granted: (usize, i64),
    /// When it was reported or given back, and the report's text.
    ended: Option<(usize, i64, Option<String>)>,
    released: Option<(usize, i64)>,
}

impl Run {
    /// Whether it may have been under way in a span of time, in milliseconds.
    fn covers(&self, first: i64, last: i64) -> bool {
        last >= self.granted.1 && self.ended.as_ref().is_none_or(|(_, at, _)| first <= *at)
    }

    fn hooks<'a>(&self, host: &'a Host) -> Vec<&'a Line> {
        host.hooks.iter().filter(|hook| self.covers(millis(hook), millis(hook))).collect()
    }

    fn dpkg<'a>(&self, host: &'a Host) -> Vec<&'a Dpkg> {
        host.dpkg.iter().filter(|line| self.covers(line.at, line.at + 999)).collect()
    }
}

fn millis(hook: &Line) -> i64 {
    i64::try_from(hook.at / 1_000_000).expect("a wall clock")
}

/// Everything in which the record contradicts itself or what was asked, and how much was compared.
pub(super) fn judge(record: &Record, asked: &[Asked]) -> (Vec<String>, Compared) {
    let mut wrong = Vec::new();
    let runs = runs(&record.ledger, &mut wrong);
    for (name, host) in &record.hosts {
        let own: Vec<_> = runs.iter().filter(|run| run.host == *name).collect();
        granted_all(name, host, &own, &mut wrong);
        for run in own {
            let latest = runs.iter().rfind(|other| (&other.rollout, &other.host) == (&run.rollout, &run.host));
            let row = record.rows.iter().find(|row| (&row.rollout, &row.host) == (&run.rollout, &run.host));
            in_order(run, host, &mut wrong);
            if latest.is_some_and(|latest| latest.granted == run.granted) {
                match row {
                    Some(row) => told(run, row, host, &mut wrong),
                    None => wrong.push(format!("{name} was granted in {}, which does not list it", run.rollout)),
                }
            }
        }
    }
    for row in &record.rows {
        let granted = runs.iter().any(|run| (&run.rollout, &run.host) == (&row.rollout, &row.host));
        if !granted && ["succeeded", "failed", "running"].contains(&row.outcome.as_str()) {
            wrong.push(format!("{} is told as {} without a grant", row.host, row.outcome));
        }
    }
    for asked in asked {
        let own: Vec<_> = runs.iter().filter(|run| run.rollout == asked.id).collect();
        in_turn(asked, &own, record, &mut wrong);
        within_limit(asked, &own, record, &mut wrong);
    }
    none_after_the_end(&record.ledger, &mut wrong);
    let done = |line: &&Dpkg| line.text.starts_with("status installed ");
    let compared = Compared {
        grants: runs.len(),
        hooks: record.hosts.values().map(|host| host.hooks.len()).sum(),
        configured: record.hosts.values().map(|host| host.dpkg.iter().filter(done).count()).sum(),
    };
    (wrong, compared)
}

fn runs(ledger: &[Entry], wrong: &mut Vec<String>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut leases = BTreeMap::new();
    for (position, entry) in ledger.iter().enumerate() {
        let open = entry.lease.as_ref().and_then(|lease| leases.get(lease)).copied();
        match (entry.act.as_str(), open) {
            ("granted", None) => {
                leases.insert(entry.lease.clone().expect("a grant has a lease"), runs.len());
                runs.push(Run {
                    rollout: entry.rollout.clone().expect("a grant has a rollout"),
                    host: entry.host.clone().expect("a grant has a host"),
                    granted: (position, entry.at),
                    ended: None,
                    released: None,
                });
            }
            ("reported", Some(run)) if runs[run].ended.is_none() => {
                runs[run].ended = Some((position, entry.at, Some(entry.text.clone())));
            }
            ("returned", Some(run)) if runs[run].ended.is_none() => runs[run].ended = Some((position, entry.at, None)),
            ("released", Some(run)) => runs[run].released = Some((position, entry.at)),
            ("granted" | "reported" | "returned" | "released", _) => {
                wrong.push(format!("entry {position}: {} in vain: {}", entry.act, entry.text));
            }
            _ => {}
        }
    }
    runs
}

/// Nothing happens on a host outside of its leases, nor anything disruptive under one that was released.
fn granted_all(name: &str, host: &Host, runs: &[&Run], wrong: &mut Vec<String>) {
    let under = |first: i64, last: i64| runs.iter().find(|run| run.covers(first, last));
    let late = |run: &Run, first: i64| run.released.is_some_and(|(_, at)| first > at);
    for hook in &host.hooks {
        let at = millis(hook);
        match under(at, at) {
            None => wrong.push(format!("{name}: hook {} at {at} without a grant", hook.phase)),
            Some(run) if late(run, at) && !HARMLESS.contains(&hook.phase.as_str()) => {
                wrong.push(format!("{name}: hook {} at {at} after its lease was released", hook.phase));
            }
            Some(_) => {}
        }
    }
    for line in &host.dpkg {
        match under(line.at, line.at + 999) {
            None => wrong.push(format!("{name}: dpkg says {:?} at {} without a grant", line.text, line.at)),
            Some(run) if late(run, line.at) => {
                wrong.push(format!("{name}: dpkg says {:?} at {} after its lease was released", line.text, line.at));
            }
            Some(_) => {}
        }
        if !ACTIONS.iter().any(|action| line.text.starts_with(action)) {
            wrong.push(format!("{name}: dpkg says {:?}, which nobody asked for", line.text));
        }
    }
}

/// Hooks in the order of a run, one again only as the next attempt; dpkg only between the first and the last one.
fn in_order(run: &Run, host: &Host, wrong: &mut Vec<String>) {
    let (name, hooks, dpkg) = (&run.host, run.hooks(host), run.dpkg(host));
    let phases: Vec<_> = hooks.iter().map(|hook| hook.phase.as_str()).collect();
    let place = |hook: &&Line| (PHASES.iter().position(|phase| *phase == hook.phase), hook.attempt);
    let places: Vec<_> = hooks.iter().map(place).collect();
    let follows = |pair: &[(Option<usize>, u32)]| match pair[0].0 == pair[1].0 {
        true => pair[1].1 == pair[0].1 + 1,
        false => pair[0].0 < pair[1].0 && pair[1].1 == 1,
    };
    let first = places.first().is_none_or(|first| *first == (Some(0), 1));
    if !first || !places.windows(2).all(follows) || places.iter().any(|(place, _)| place.is_none()) {
        wrong.push(format!("{name}: its hooks ran in the order {phases:?}"));
    }
    if run
        .ended
        .as_ref()
        .is_some_and(|(.., text)| text.is_some() && phases.last().is_some_and(|last| *last != "on-exit"))
    {
        wrong.push(format!("{name}: it reported before its last hook: {phases:?}"));
    }
    let outside = dpkg.iter().find(|line| match (hooks.first(), hooks.last()) {
        (Some(first), Some(last)) => line.at + 999 < millis(first) || line.at > millis(last),
        _ => true,
    });
    if let Some(line) = outside {
        wrong.push(format!("{name}: dpkg says {:?} outside of its hooks", line.text));
    }
}

/// What dpkg did, by its log: every change of a version that ended configured, and whether each package did.
struct Done {
    changes: BTreeSet<Change>,
    whole: bool,
}

fn done(name: &str, dpkg: &[&Dpkg], wrong: &mut Vec<String>) -> Done {
    let (mut upgrades, mut states, mut installed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::<_, usize>::new());
    for line in dpkg {
        match line.text.split(' ').collect::<Vec<_>>()[..] {
            ["upgrade", package, from, to] => {
                let before = upgrades.insert(package, (from, to));
                wrong.extend(before.map(|_| format!("{name}: dpkg unpacked {package} twice")));
            }
            ["status", state, package, version] => {
                states.insert(package, (state, version));
                if state == "installed" {
                    *installed.entry(package).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    for (package, count) in installed.into_iter().filter(|(_, count)| *count > 1) {
        wrong.push(format!("{name}: dpkg configured {package} {count} times"));
    }
    let short = |package: &str| package.split(':').next().unwrap_or_default().to_owned();
    let ended = |package: &str, to: &str| states.get(package) == Some(&("installed", to));
    let changed = upgrades.iter().filter(|(package, (_, to))| ended(package, to));
    Done {
        changes: changed.map(|(package, (from, to))| (short(package), (*from).to_owned(), (*to).to_owned())).collect(),
        whole: states.values().all(|(state, _)| *state == "installed"),
    }
}

/// Report, row and dpkg agree on the outcome and on every package.
fn told(run: &Run, row: &Row, host: &Host, wrong: &mut Vec<String>) {
    let name = &run.host;
    let Some((.., Some(text))) = &run.ended else {
        if ["succeeded", "failed"].contains(&row.outcome.as_str()) {
            wrong.push(format!("{name} is told as {} without a report", row.outcome));
        }
        return;
    };
    let (outcome, changed) = text.split_once(": ").expect("an outcome and what changed");
    let code = row.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    if outcome != format!("{}{code}", row.outcome) {
        wrong.push(format!("{name}: reported {outcome:?}, told as {}{code}", row.outcome));
    }
    let Done { changes, whole } = done(name, &run.dpkg(host), wrong);
    if changes != row.packages {
        wrong.push(format!("{name}: told that {:?} changed, dpkg says {changes:?}", row.packages));
    }
    let count = changed.split(' ').next().and_then(|count| count.parse().ok());
    if count != Some(changes.len()) {
        wrong.push(format!("{name}: reported that {changed}, dpkg says {}", changes.len()));
    }
    let broken = row.code.as_deref() == Some("transaction-failed");
    if whole == broken {
        wrong.push(format!("{name}: {outcome:?}, and by dpkg every package is whole: {whole}"));
    }
    let phases: BTreeSet<_> = run.hooks(host).into_iter().map(|hook| hook.phase.as_str()).collect();
    // Who changes nothing, as by a Scan, has no hooks.
    let ran = |phase: &&str| !changes.is_empty() && (row.rebooted || *phase != "post-reboot");
    let expected = PHASES.into_iter().filter(ran).collect();
    if row.outcome == "succeeded" && phases != expected {
        wrong.push(format!("{name}: succeeded after the hooks {phases:?}, rebooted: {}", row.rebooted));
    }
    if row.rebooted != phases.contains("post-reboot") {
        wrong.push(format!("{name}: told as rebooted: {}, its hooks are {phases:?}", row.rebooted));
    }
}

/// A ring's hosts begin after those of the rings before are done, by the ledger and by the hooks; nobody else does.
fn in_turn(asked: &Asked, runs: &[&Run], record: &Record, wrong: &mut Vec<String>) {
    let ring_of = |host: &String| asked.rings.iter().position(|ring| ring.contains(host));
    let hooks = |run: &Run| record.hosts.get(&run.host).map(|host| run.hooks(host)).unwrap_or_default();
    for run in runs {
        let Some(ring) = ring_of(&run.host) else {
            wrong.push(format!("{} is in no ring of {}, and was granted", run.host, asked.id));
            continue;
        };
        for earlier in runs.iter().filter(|other| ring_of(&other.host).is_some_and(|own| own < ring)) {
            let granted_early = earlier.ended.as_ref().is_none_or(|(position, ..)| *position > run.granted.0);
            let began_early = match (hooks(earlier).last(), hooks(run).first()) {
                (Some(last), Some(first)) => last.at >= first.at,
                _ => false,
            };
            if granted_early || began_early {
                wrong.push(format!("{} of ring {ring} began before {} was done", run.host, earlier.host));
            }
        }
    }
}

/// At most so many hosts at once, from grant to report and from first to last hook. A released slot is free.
fn within_limit(asked: &Asked, runs: &[&Run], record: &Record, wrong: &mut Vec<String>) {
    let by_ledger = runs.iter().map(|run| {
        let end = run.ended.as_ref().map(|(position, ..)| *position);
        let free = [end, run.released.map(|(position, _)| position)].into_iter().flatten().min();
        (run.granted.0, free.unwrap_or(usize::MAX))
    });
    let by_hooks = runs.iter().filter_map(|run| {
        let hooks = run.hooks(record.hosts.get(&run.host)?);
        let (first, last) = (hooks.first()?.at, hooks.last()?.at);
        let last = if run.ended.is_some() { last } else { u128::MAX };
        let released = run.released.map(|(_, at)| u128::try_from(at).expect("a wall clock") * 1_000_000);
        Some((first, released.map_or(last, |at| at.min(last).max(first))))
    });
    let most = [overlapping(&by_ledger.collect::<Vec<_>>()), overlapping(&by_hooks.collect::<Vec<_>>())];
    if most.iter().any(|most| *most > asked.at_once) {
        wrong.push(format!("{:?} hosts of {} at once by ledger and hooks; {} may be", most, asked.id, asked.at_once));
    }
}

/// No grant while its rollout is paused, nor after it has halted, was stopped or has ended.
fn none_after_the_end(ledger: &[Entry], wrong: &mut Vec<String>) {
    let mut closed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (position, entry) in ledger.iter().enumerate() {
        let Some(rollout) = entry.rollout.as_deref() else { continue };
        let acts = closed.entry(rollout).or_default();
        match entry.act.as_str() {
            act @ ("paused" | "halted" | "stopped" | "ended") => _ = acts.insert(act),
            "resumed" => _ = acts.remove("paused"),
            "granted" if !acts.is_empty() => {
                let host = entry.host.as_deref().unwrap_or_default();
                wrong.push(format!("entry {position}: {host} was granted in a rollout that had {acts:?}"));
            }
            _ => {}
        }
    }
}
