//! `rings` and `ramp` of a Rollout.

use std::time::Duration;

use patchmesh_common::rollout::{
    limit::{Limit, Ramp},
    spec::RingSpec,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use super::{
    Place, clip, duration,
    rollout::{Selector, TargetsYaml},
};
use crate::fault::Fault;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RingYaml {
    name: Spanned<String>,
    all: Option<Spanned<bool>>,
    names: Option<Vec<String>>,
    selector: Option<Selector>,
    matching: Option<Spanned<String>>,
    patch_groups: Option<Vec<String>>,
    steps: Option<Vec<Limit>>,
    wait: Option<Spanned<String>>,
    bake: Option<Spanned<String>>,
    approvals: Option<u8>,
    gates: Option<Spanned<IgnoredAny>>,
}

/// The rings, and where each of them is written.
pub(super) fn rings(
    place: &Place<'_>,
    given: Option<Vec<Spanned<RingYaml>>>,
) -> Result<(Vec<RingSpec>, Vec<Location>), Fault> {
    let (mut rings, mut locations) = (Vec::new(), Vec::new());
    for ring in given.unwrap_or_default() {
        locations.push(ring.referenced);
        rings.push(one(place, ring)?);
    }
    Ok((rings, locations))
}

/// Refuses gates of a single ring, of a policy too.
pub(super) fn refuse_gates(place: &Place<'_>, given: Option<&Spanned<IgnoredAny>>) -> Result<(), Fault> {
    let Some(gates) = given else { return Ok(()) };
    Err(place.not_built(
        gates.referenced,
        "field gates of a ring",
        "write spec.gates.afterHost, of every host, or afterRing, of every ring: both hold for all rings",
    ))
}

fn one(place: &Place<'_>, Spanned { value: ring, referenced: at, .. }: Spanned<RingYaml>) -> Result<RingSpec, Fault> {
    refuse_gates(place, ring.gates.as_ref())?;
    let pause = |field: &str, given: Option<Spanned<String>>| match given {
        None => Ok(Duration::ZERO),
        Some(given) => duration::parse(&given.value).ok_or_else(|| {
            let message = format!("{field} {:?} is no duration: write 90s, 15m, 4h or 7d", clip(&given.value));
            place.fault(Some(given.referenced), message)
        }),
    };
    let what = format!("ring {:?}", clip(&ring.name.value));
    let RingYaml { all, names, selector, matching, patch_groups, .. } = ring;
    let selects = TargetsYaml { all, names, selector, matching, patch_groups }.chosen(place, &what, at)?;
    Ok(RingSpec {
        name: ring.name.value,
        selects,
        steps: ring.steps.unwrap_or_default(),
        wait: pause("wait", ring.wait)?,
        bake: pause("bake", ring.bake)?,
        approvals: ring.approvals.unwrap_or(0),
    })
}

/// The words of `ramp`.
pub(super) const RAMPS: [(&str, Ramp); 2] = [("full", Ramp::Full), ("aws", Ramp::Aws)];
