//! `gates` of a Rollout, and what a policy's may not hold either.

use patchmesh_common::run::gate::{Ask, DEFAULT_TIMEOUT, Gate, MAX_TIMEOUT};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use super::{Place, clip, duration};
use crate::fault::Fault;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatesYaml {
    after_host: Option<Vec<Spanned<GateYaml>>>,
    after_ring: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GateYaml {
    command: Option<Vec<String>>,
    systemd_unit: Option<String>,
    no_new_failed_units: Option<bool>,
    http: Option<HttpYaml>,
    timeout: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpYaml {
    url: Spanned<String>,
    status: Option<u16>,
}

/// The status that is wanted if none is given.
const OK: u16 = 200;

/// The gates after a host, and where each of them is written.
pub(super) fn gates(place: &Place<'_>, given: Option<GatesYaml>) -> Result<(Vec<Gate>, Vec<Location>), Fault> {
    let Some(given) = given else { return Ok((Vec::new(), Vec::new())) };
    refuse_after_ring(place, "field spec.gates.afterRing", given.after_ring.as_ref())?;
    let (mut gates, mut locations) = (Vec::new(), Vec::new());
    for gate in given.after_host.unwrap_or_default() {
        locations.push(gate.referenced);
        gates.push(one(place, gate)?);
    }
    Ok((gates, locations))
}

/// The parts of a policy's gates that are known and refused by name, because nothing would act on them yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatesToCome {
    after_host: Option<Vec<GateToCome>>,
    after_ring: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
struct GateToCome {
    http: Option<HttpToCome>,
}

#[derive(Deserialize)]
struct HttpToCome {
    url: Option<Spanned<String>>,
}

impl GatesToCome {
    /// Refuses the first of them; `after_ring` is what that field is called.
    pub(super) fn refuse(self, place: &Place<'_>, after_ring: &str) -> Result<(), Fault> {
        refuse_after_ring(place, after_ring, self.after_ring.as_ref())?;
        let asked = self.after_host.into_iter().flatten().filter_map(|gate| gate.http);
        asked.filter_map(|http| http.url).try_for_each(|url| refuse_https(place, &url))
    }
}

fn refuse_after_ring(place: &Place<'_>, what: &str, given: Option<&Spanned<IgnoredAny>>) -> Result<(), Fault> {
    let Some(ring) = given else { return Ok(()) };
    Err(place.not_built(
        ring.referenced,
        what,
        "write afterHost, which every host of a ring must pass before the next ring begins, with a bake or approvals",
    ))
}

fn refuse_https(place: &Place<'_>, url: &Spanned<String>) -> Result<(), Fault> {
    if !url.value.starts_with("https:") {
        return Ok(());
    }
    Err(place.not_built(url.referenced, "https in a gate", "ask over http, or by a command"))
}

fn one(place: &Place<'_>, Spanned { value: gate, referenced: at, .. }: Spanned<GateYaml>) -> Result<Gate, Fault> {
    let timeout_seconds = match gate.timeout {
        None => DEFAULT_TIMEOUT,
        Some(given) => {
            let parsed = duration::parse(&given.value).filter(|time| time.subsec_nanos() == 0);
            let seconds =
                parsed.and_then(|time| u32::try_from(time.as_secs()).ok()).filter(|time| *time <= MAX_TIMEOUT);
            seconds.ok_or_else(|| {
                let message =
                    format!("timeout {:?} is not allowed: write 1s to 1h, in whole seconds", clip(&given.value));
                place.fault(Some(given.referenced), message)
            })?
        }
    };
    let ask = match (gate.command, gate.systemd_unit, gate.no_new_failed_units, gate.http) {
        (Some(argv), None, None, None) => Ask::Command(argv),
        (None, Some(unit), None, None) => Ask::SystemdUnit(unit),
        (None, None, Some(true), None) => Ask::NoNewFailedUnits,
        (None, None, None, Some(http)) => {
            refuse_https(place, &http.url)?;
            Ask::Http { url: http.url.value, status: http.status.unwrap_or(OK) }
        }
        _ => {
            let message = "a gate must hold exactly one of command: […], systemdUnit: NAME, noNewFailedUnits: true and \
                           http: {url: …}";
            return Err(place.fault(Some(at), message));
        }
    };
    Ok(Gate { ask, timeout_seconds })
}
