//! A plan as text: what would change, grouped by hosts that would do the same.

use patchmesh_common::{
    inventory::PackageChange,
    rollout::{
        OnHookFailure, OnSuperseded, Operation, RebootOption,
        estimate::makespan,
        limit::{Ramp, based, stops_at_error},
        spec::MAX_OPENINGS,
    },
    time::WallTime,
};

use super::{counted, duration, one_line};
use crate::api::document::{Estimate, LimitDocument, PlanDocument, PlanHost, PlanRing, SpecDocument, SurveyRow};

/// Openings of windows before the rest is counted.
const MAX_SHOWN: usize = 5;
/// Host names per line of a group before the rest is counted.
const MAX_NAMES: usize = 8;

/// The plan for people.
pub fn plan(plan: &PlanDocument) -> String {
    let spec = &plan.spec;
    let operation = match spec.operation {
        Operation::Scan => "scan",
        Operation::Install => "install",
    };
    let mut out = format!("plan for {}: {operation}, {}\n", plan.rollout, approval(spec));
    let limits = &plan.limits;
    out.push_str(&format!(
        "  limits    {} at once ({}), stops at failure {} ({}){}\n",
        limits.max_concurrency.resolved,
        given(&limits.max_concurrency, plan.hosts().count()),
        stops_at_error(limits.max_errors.resolved),
        given(&limits.max_errors, plan.hosts().count()),
        if spec.ramp == Ramp::Aws { ", each ring ramps up as AWS does: 1, 2, 4, …" } else { "" }
    ));
    if spec.operation == Operation::Install && plan.snapshot.is_none() {
        out.push_str("  snapshot  none: the versions take more than a snapshot may, and cannot be promoted; plan for fewer hosts\n");
    }
    if let Some(because) = spec.urgent.as_ref().and_then(|urgent| urgent.because.as_ref()) {
        out.push_str(&format!("  urgent    outside windows, because: {}\n", one_line(because)));
    }
    out.push_str(&openings(plan));
    out.push_str(&gates(plan));
    if let Some(at) = spec.reboot.at() {
        let at = at.rfc3339();
        out.push_str(&format!("  reboot    not before {at}; a host that waits for that holds its slot\n"));
    }
    out.push_str(&estimate(plan));
    for claim in &plan.claims {
        let (rollout, hosts) = (&claim.name, some(claim.hosts.iter().map(String::as_str)));
        let id = &claim.rollout;
        out.push_str(&format!("  claimed   by rollout {rollout} ({id}): {hosts}; each does one run at a time\n"));
    }
    for ring in &plan.rings {
        out.push_str(&ring_text(ring, spec.operation));
    }
    if !plan.excluded.is_empty() {
        out.push_str("\nleft out\n");
    }
    for excluded in &plan.excluded {
        let waiting = &excluded.waiting;
        out.push_str(&format!("  - {}: {} ({})\n", excluded.host, one_line(&waiting.text), waiting.code));
        if let Some(command) = &waiting.command {
            out.push_str(&format!("      try: {}\n", one_line(command)));
        }
    }
    let changing = plan.hosts().filter(|host| changes(host)).count();
    out.push_str(&format!(
        "\n{} to change, {} with nothing to do, {} left out. Nothing has been changed yet.\n",
        counted(changing, "host"),
        plan.hosts().count() - changing,
        plan.excluded.len()
    ));
    out.push_str(&format!("The plan ({}) can be applied until {}.\n", short(&plan.hash), plan.expires_at));
    out
}

/// Whose answers a plan waits for.
pub fn survey(survey: &SurveyRow) -> String {
    let waits_for = survey.waits_for.iter().map(String::as_str);
    format!(
        "waiting for {} of {} to say what they would do: {}\n",
        survey.waits_for.len(),
        counted(survey.targets as usize, "host"),
        one_line(&some(waits_for))
    )
}

/// What hosts must show after their run and rings after their bake, and what becomes of those whose hooks fail or whose versions are
/// superseded.
fn gates(plan: &PlanDocument) -> String {
    let mut out = String::new();
    let host = plan.spec.gates.iter().map(|gate| ("host", gate));
    let ring = plan.spec.ring_gates.iter().map(|gate| ("ring", gate));
    for (at, (after, gate)) in host.chain(ring).enumerate() {
        let title = if at == 0 { "gates" } else { "" };
        let (name, seconds) = (one_line(&gate.name()), gate.timeout_seconds);
        out.push_str(&format!("  {title:<8}  after each {after}: {name}, within {seconds} s\n"));
    }
    match plan.spec.on_hook_failure {
        OnHookFailure::Fail => {}
        OnHookFailure::Skip => {
            out.push_str("  hooks     a host whose pre-install hooks fail is left out, and is no error\n")
        }
        OnHookFailure::Halt => {
            out.push_str("  hooks     a hook that fails halts the rollout, whatever the limit of errors\n")
        }
    }
    match plan.spec.on_superseded {
        OnSuperseded::Wait => out.push_str("  versions  a host whose planned versions are superseded waits for them\n"),
        OnSuperseded::Skip if plan.spec.operation == Operation::Install => {
            out.push_str("  versions  a host whose planned versions are superseded is left out\n");
        }
        OnSuperseded::Skip | OnSuperseded::Replan => {}
    }
    out
}

/// When work may start: what was asked for, and the openings that were frozen.
fn openings(plan: &PlanDocument) -> String {
    let spec = &plan.spec;
    let mut out = String::new();
    if !spec.windows.is_empty() {
        let cut = plan.openings.len() >= MAX_OPENINGS;
        let most = if cut { format!("; only their next {MAX_OPENINGS} openings are planned") } else { String::new() };
        out.push_str(&format!("  windows   {}{most}\n", one_line(&spec.windows.join(", "))));
    }
    for blackout in &spec.blackouts {
        out.push_str(&format!("  blackout  from {} to {}\n", blackout.from, blackout.to));
    }
    if plan.openings.is_empty() {
        out.push_str("  openings  from apply on, without end\n");
    }
    let shown = if spec.windows.is_empty() { plan.openings.len() } else { MAX_SHOWN };
    for opening in plan.openings.iter().take(shown) {
        let (opens, last_start, closes) = (opening.opens, opening.last_start, opening.closes);
        // A document tells the end of time as the last year that it can write.
        match closes.0.rfc3339() == WallTime::MAX.rfc3339() {
            true => out.push_str(&format!("  opening   {opens}, without end\n")),
            false => out.push_str(&format!("  opening   {opens}, last start {last_start}, closes {closes}\n")),
        }
    }
    if let Some(last) = plan.openings.get(shown..).and_then(|rest| rest.last()) {
        out.push_str(&format!("  openings  {} more, the last one opens {}\n", plan.openings.len() - shown, last.opens));
    }
    out
}

/// How a limit was written; a share with what it is of.
fn given(limit: &LimitDocument, of: usize) -> String {
    match limit.given.ends_with('%') {
        true => based(&limit.given, limit.resolved, of),
        false => format!("given {}", limit.given),
    }
}

/// How a ring goes, if it does not go all at once: `: steps 1, 24 (10 % of 240), 240; …`.
fn course(ring: &PlanRing) -> String {
    let mut parts = Vec::new();
    if ring.steps.len() > 1 {
        let of = ring.hosts.len();
        let steps = ring.steps.iter().map(|step| based(&step.given, step.resolved, of));
        parts.push(format!("steps {}", steps.collect::<Vec<_>>().join(", ")));
    }
    if ring.wait_seconds > 0 {
        parts.push(format!("waits {} after each", duration(u64::from(ring.wait_seconds))));
    }
    if ring.bake_seconds > 0 {
        parts.push(format!("bakes {}", duration(u64::from(ring.bake_seconds))));
    }
    if ring.approvals > 0 {
        parts.push(format!("needs {}", counted(usize::from(ring.approvals), "approval")));
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn changes(host: &PlanHost) -> bool {
    !host.install.is_empty() || !host.removals.is_empty()
}

/// The first names, and how many more.
fn some<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// How long it takes if nothing but the limit, the steps and their pauses hold it up; hosts that nothing is known of count as none.
fn estimate(plan: &PlanDocument) -> String {
    let known = plan.hosts().filter(|host| host.estimate_seconds.p50.is_some()).count();
    let unknown = plan.hosts().count() - known;
    if known == 0 || !plan.hosts().any(|host| host.estimate_seconds.p95 > Some(0)) {
        return "  estimate  none: no run like these was seen yet\n".to_owned();
    }
    let at_once = plan.limits.max_concurrency.resolved;
    let of = |seconds: fn(&Estimate) -> Option<u64>| {
        let rings = plan.rings.iter().map(|ring| work(ring, at_once, seconds));
        span(rings.fold(0, u64::saturating_add))
    };
    let pauses = plan.rings.iter().enumerate().map(|(at, ring)| pauses(ring, at + 1 == plan.rings.len()));
    let and = match pauses.fold(0, u64::saturating_add) {
        0 => String::new(),
        pauses => format!("; pauses of {}", span(pauses)),
    };
    let but = if unknown > 0 { format!("; not known of {}", counted(unknown, "host")) } else { String::new() };
    // Whoever starts first waits for the time of its reboot; whoever starts after that does not.
    let wait = match plan.spec.reboot.wait(plan.created_at.0).as_secs() {
        0 => String::new(),
        wait => format!("; up to {} of waiting for the reboot", span(wait)),
    };
    let (usual, slow) = (of(|found| found.p50), of(|found| found.p95));
    format!("  estimate  {usual} of work inside openings, {slow} if every host is slow{wait}{and}{but}\n")
}

/// How long the steps of a ring are at work, one after the other.
fn work(ring: &PlanRing, at_once: u32, seconds: fn(&Estimate) -> Option<u64>) -> u64 {
    let mut begun = 0;
    let mut sum = 0_u64;
    for step in &ring.steps {
        let end = (step.resolved as usize).clamp(begun, ring.hosts.len());
        let hosts = &ring.hosts[begun..end];
        sum = sum.saturating_add(makespan(hosts.iter().filter_map(|host| seconds(&host.estimate_seconds)), at_once));
        begun = end;
    }
    sum
}

/// Seconds of waits between the steps of a ring, and of the bake after it: nothing follows the last one.
fn pauses(ring: &PlanRing, last: bool) -> u64 {
    let waits = (ring.steps.len() as u64).saturating_sub(1).saturating_mul(ring.wait_seconds.into());
    waits.saturating_add(if last { 0 } else { ring.bake_seconds.into() })
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn ring_text(ring: &PlanRing, operation: Operation) -> String {
    let mut out = format!("\nring {}, {}{}\n", ring.name, counted(ring.hosts.len(), "host"), course(ring));
    let mut groups: Vec<(&PlanHost, Vec<&str>)> = Vec::new();
    for host in &ring.hosts {
        let same = |first: &PlanHost| {
            first.install == host.install && first.removals == host.removals && first.reboot == host.reboot
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, names)) => names.push(&host.host),
            None => groups.push((host, vec![&host.host])),
        }
    }
    for (first, names) in groups {
        let mark = if changes(first) { '~' } else { '=' };
        out.push_str(&format!("  {mark} {}: {}\n", some(names), summary(first, operation)));
        out.push_str(&lines(first));
    }
    out
}

fn summary(host: &PlanHost, operation: Operation) -> String {
    if operation == Operation::Scan {
        return "report what is missing".to_owned();
    }
    if !changes(host) {
        return "nothing to do".to_owned();
    }
    let mut parts = vec![counted(host.install.len() - host.new_packages.len(), "upgrade")];
    if !host.new_packages.is_empty() {
        parts.push(counted(host.new_packages.len(), "new package"));
    }
    if !host.removals.is_empty() {
        parts.push(counted(host.removals.len(), "removal"));
    }
    parts.push(match host.reboot {
        RebootOption::Never => "no reboot".to_owned(),
        RebootOption::IfNeeded => "reboot if a package asks".to_owned(),
        RebootOption::At(at) => format!("reboot at {} if a package asks", at.rfc3339()),
    });
    parts.join(", ")
}

fn lines(host: &PlanHost) -> String {
    let name = |name: &str, arch: &str| format!("{}:{}", one_line(name), one_line(arch));
    let names = host.install.iter().map(|change| name(&change.name, &change.arch));
    let names: Vec<_> = names.chain(host.removals.iter().map(|removal| name(&removal.name, &removal.arch))).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let change = |change: &PackageChange| match &change.from {
        Some(from) => ('~', format!("{} -> {}", one_line(from), one_line(&change.to))),
        None => ('+', one_line(&change.to)),
    };
    let what = host.install.iter().map(change);
    let what = what.chain(host.removals.iter().map(|removal| ('-', one_line(&removal.version))));
    names.iter().zip(what).map(|(name, (mark, what))| format!("      {mark} {name:width$}  {what}\n")).collect()
}

/// What decides which patches are approved, in words.
fn approval(spec: &SpecDocument) -> String {
    let decided = match (&spec.baseline, &spec.snapshot, &spec.baseline_override) {
        (Some(name), ..) => format!("baseline {name}"),
        (None, Some(id), _) => format!("the versions of snapshot {id}"),
        (None, None, Some(_)) => "a baseline override".to_owned(),
        (None, None, None) => "the baseline of every host's patch group".to_owned(),
    };
    match &spec.install_override_list {
        Some(list) => format!("{decided}, installing what a list of {} names", list.patches.len()),
        None => decided,
    }
}
