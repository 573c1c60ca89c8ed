//! `gates` of a Rollout, and what a policy's may not hold either; `probe` of a Service.

use patchmesh_common::run::gate::{
    Ask, DEFAULT_PROBE_TIMEOUT, DEFAULT_TIMEOUT, Gate, GateError, MAX_PROBE_TIMEOUT, MAX_TIMEOUT,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use super::{Place, clip, duration};
use crate::fault::Fault;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatesYaml {
    after_host: Option<Vec<Spanned<GateYaml>>>,
    after_ring: Option<Vec<Spanned<GateYaml>>>,
}

/// What a Rollout asks for, and where each gate is written.
#[derive(Default)]
pub(super) struct Gates {
    pub(super) after_host: Vec<Gate>,
    pub(super) after_host_at: Vec<Location>,
    pub(super) after_ring: Vec<Gate>,
    pub(super) after_ring_at: Vec<Location>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GateYaml {
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

/// What is written is a gate of a Rollout, or the probe of a Service.
struct Kind {
    /// How it is called.
    called: &'static str,
    /// Its time-out if none is given, in seconds.
    timeout: u32,
    /// Its longest time-out, in seconds, and the same in words.
    longest: (u32, &'static str),
    /// What one may ask.
    asks: &'static str,
}

const GATE: Kind = Kind {
    called: "a gate",
    timeout: DEFAULT_TIMEOUT,
    longest: (MAX_TIMEOUT, "1h"),
    asks: "command: […], systemdUnit: NAME, noNewFailedUnits: true and http: {url: …}",
};
const PROBE: Kind = Kind {
    called: "a probe",
    timeout: DEFAULT_PROBE_TIMEOUT,
    longest: (MAX_PROBE_TIMEOUT, "30s"),
    asks: "command: […], systemdUnit: NAME and http: {url: …}",
};

/// The probe of a Service. What its bounds do not allow is refused by the check of the whole.
pub(super) fn probe(place: &Place<'_>, given: Spanned<GateYaml>) -> Result<Gate, Fault> {
    one(place, given, &PROBE)
}

/// The gates after a host and after a ring.
pub(super) fn gates(place: &Place<'_>, given: Option<GatesYaml>) -> Result<Gates, Fault> {
    let mut gates = Gates::default();
    let Some(given) = given else { return Ok(gates) };
    for gate in given.after_host.unwrap_or_default() {
        gates.after_host_at.push(gate.referenced);
        gates.after_host.push(one(place, gate, &GATE)?);
    }
    // What only a host can be asked is refused by the check of the whole, with what to write instead.
    for gate in given.after_ring.unwrap_or_default() {
        gates.after_ring_at.push(gate.referenced);
        gates.after_ring.push(one(place, gate, &GATE)?);
    }
    Ok(gates)
}

/// The parts of a policy's gates that are known and refused by name: nothing would act on them yet, or only a host can be asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatesToCome {
    after_host: Option<Vec<GateToCome>>,
    after_ring: Option<Vec<Spanned<GateToCome>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GateToCome {
    http: Option<HttpToCome>,
    systemd_unit: Option<IgnoredAny>,
    no_new_failed_units: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct HttpToCome {
    url: Option<Spanned<String>>,
}

impl GatesToCome {
    /// Refuses the first of them.
    pub(super) fn refuse(self, place: &Place<'_>) -> Result<(), Fault> {
        let after_ring = self.after_ring.unwrap_or_default();
        for Spanned { value, referenced, .. } in &after_ring {
            let of_hosts = [
                ("systemdUnit", value.systemd_unit.is_some()),
                ("noNewFailedUnits", value.no_new_failed_units.is_some()),
            ];
            if let Some((what, _)) = of_hosts.into_iter().find(|(_, given)| *given) {
                let message = format!("gates.afterRing: {}", GateError::OfHosts(what));
                return Err(place.fault(Some(*referenced), message));
            }
        }
        let after_ring = after_ring.into_iter().map(|gate| gate.value);
        let asked = self.after_host.into_iter().flatten().chain(after_ring).filter_map(|gate| gate.http);
        asked.filter_map(|http| http.url).try_for_each(|url| refuse_https(place, &url, GATE.called))
    }
}

fn refuse_https(place: &Place<'_>, url: &Spanned<String>, of: &str) -> Result<(), Fault> {
    if !url.value.starts_with("https:") {
        return Ok(());
    }
    Err(place.not_built(url.referenced, &format!("https in {of}"), "ask over http, or by a command"))
}

fn one(
    place: &Place<'_>,
    Spanned { value: gate, referenced: at, .. }: Spanned<GateYaml>,
    kind: &Kind,
) -> Result<Gate, Fault> {
    let (longest, in_words) = kind.longest;
    let timeout_seconds = match gate.timeout {
        None => kind.timeout,
        Some(given) => {
            let parsed = duration::parse(&given.value).filter(|time| time.subsec_nanos() == 0);
            let seconds = parsed.and_then(|time| u32::try_from(time.as_secs()).ok()).filter(|time| *time <= longest);
            seconds.ok_or_else(|| {
                let message = format!(
                    "timeout {:?} is not allowed: write 1s to {in_words}, in whole seconds",
                    clip(&given.value)
                );
                place.fault(Some(given.referenced), message)
            })?
        }
    };
    let ask = match (gate.command, gate.systemd_unit, gate.no_new_failed_units, gate.http) {
        (Some(argv), None, None, None) => Ask::Command(argv),
        (None, Some(unit), None, None) => Ask::SystemdUnit(unit),
        (None, None, Some(true), None) => Ask::NoNewFailedUnits,
        (None, None, None, Some(http)) => {
            refuse_https(place, &http.url, kind.called)?;
            Ask::Http { url: http.url.value, status: http.status.unwrap_or(OK) }
        }
        _ => return Err(place.fault(Some(at), format!("{} must hold exactly one of {}", kind.called, kind.asks))),
    };
    Ok(Gate { ask, timeout_seconds })
}
