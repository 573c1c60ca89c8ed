//! What operators ask for in a wave, and the plan that it means.

use core::time::Duration;

use patchmesh_common::{
    patch::Approval,
    rollout::{
        OnSuperseded, Operation, RebootOption,
        limit::{Limit, Ramp},
        plan::{Plan, ResolvedLimit, Superseded},
        ring::{PlannedRing, resolve_steps},
        spec::{Asked, RolloutSpec, Targets},
    },
    run::gate::{Ask, Gate},
    schedule::Opening,
};

use crate::{clock::true_wall, scenario::Wave};

/// Time-out of one hook.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// The rings of `wave` among so many hosts.
pub(super) fn planned(wave: &Wave, hosts: usize) -> Vec<PlannedRing> {
    let mut left = u32::try_from(hosts).unwrap_or(u32::MAX);
    let ramp = if wave.ramp { Ramp::Aws } else { Ramp::Full };
    let seconds = |millis: u64| u32::try_from(millis / 1000).unwrap_or(u32::MAX);
    let mut rings = Vec::new();
    for (at, ring) in wave.rings.iter().enumerate() {
        let own = if at + 1 == wave.rings.len() { left } else { ring.hosts.min(left) };
        left -= own;
        let steps: Vec<Limit> = ring.steps.iter().filter_map(|percent| format!("{percent}%").parse().ok()).collect();
        rings.push(PlannedRing {
            name: format!("ring-{at}"),
            steps: resolve_steps(&steps, own),
            wait: seconds(ring.wait),
            bake: seconds(ring.bake),
            approvals: u8::from(ring.approved),
            ..PlannedRing::all(own, ramp)
        });
    }
    if rings.is_empty() { vec![PlannedRing::all(left, ramp)] } else { rings }
}

/// What the operator asks for; `None` if the wave's limits are none.
pub(super) fn spec(number: usize, wave: &Wave) -> Option<RolloutSpec> {
    let limit = |count: u32| count.to_string().parse::<Limit>().ok();
    let on_superseded = match (wave.waits, wave.replans) {
        (true, _) => OnSuperseded::Wait,
        (false, true) => OnSuperseded::Replan,
        (false, false) => OnSuperseded::Skip,
    };
    Some(RolloutSpec {
        urgent: None,
        name: format!("wave-{number}"),
        operation: operation(wave),
        targets: Targets::All,
        baseline: Asked::All,
        install_list: None,
        max_concurrency: limit(wave.max_concurrency)?,
        max_errors: limit(wave.max_errors)?,
        openings: openings(wave),
        windows: Vec::new(),
        blackouts: Vec::new(),
        reboot: reboot(wave),
        hook_timeout: HOOK_TIMEOUT,
        on_hook_failure: wave.on_hook_failure,
        rings: Vec::new(),
        ramp: Ramp::Full,
        gates: Vec::new(),
        ring_gates: ring_gates(wave),
        on_superseded,
    })
}

fn operation(wave: &Wave) -> Operation {
    if wave.install { Operation::Install } else { Operation::Scan }
}

fn reboot(wave: &Wave) -> RebootOption {
    match (wave.reboot, wave.reboot_at) {
        (false, _) => RebootOption::Never,
        (true, None) => RebootOption::IfNeeded,
        (true, Some(at)) => RebootOption::At(true_wall(at)),
    }
}

/// What hosts are asked does not matter here: the truth says who would pass.
fn gates(wave: &Wave) -> Vec<Gate> {
    let gate = Gate { ask: Ask::NoNewFailedUnits, timeout_seconds: 30 };
    if wave.gated { vec![gate] } else { Vec::new() }
}

/// The same of what a coordinator asks.
fn ring_gates(wave: &Wave) -> Vec<Gate> {
    let gate = Gate { ask: Ask::Command(vec!["check".into()]), timeout_seconds: 600 };
    if wave.shown { vec![gate] } else { Vec::new() }
}

fn openings(wave: &Wave) -> Vec<Opening> {
    let opening = |[opens, last, closes]: &[u64; 3]| Opening {
        opens: true_wall(*opens),
        last_start: true_wall(*last),
        closes: true_wall(*closes),
    };
    wave.openings.iter().map(opening).collect()
}

/// The plan of `spec`, which `wave` means, but for what the survey found and when.
pub(super) fn plan(spec: &RolloutSpec, wave: &Wave) -> Plan {
    let limit = |count: u32| ResolvedLimit { given: count.to_string(), resolved: count };
    let openings = openings(wave);
    Plan {
        because: None,
        name: spec.name.clone(),
        hash: [0; 32],
        created_at: true_wall(wave.at),
        operation: operation(wave),
        baseline: Approval::All,
        reboot: reboot(wave),
        hook_timeout: HOOK_TIMEOUT.as_secs() as u32,
        on_hook_failure: spec.on_hook_failure,
        max_concurrency: limit(wave.max_concurrency),
        max_errors: limit(wave.max_errors),
        openings: if openings.is_empty() { vec![Opening::endless(true_wall(0))] } else { openings },
        hosts: Vec::new(),
        excluded: Vec::new(),
        rings: Vec::new(),
        gates: gates(wave),
        ring_gates: ring_gates(wave),
        on_superseded: Superseded::of(spec),
    }
}
