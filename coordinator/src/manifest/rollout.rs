//! `kind: Rollout`.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    labels::Labels,
    patch::{baseline::aws::AwsBaseline, overrides::InstallList},
    rollout::{
        OnHookFailure, OnSuperseded, Operation,
        limit::{Limit, Ramp},
        spec::{DEFAULT_HOOK_TIMEOUT, RolloutSpec, Targets},
    },
    schedule::{Opening, blackout::Blackout},
    time::WallTime,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use super::{
    Place, clip, duration,
    gates::{self, GatesYaml},
    overrides::{self, Deciding, Given},
    reboot::{self, RebootYaml},
    rings::{self, RAMPS, RingYaml},
    written::labelled,
};
use crate::fault::Fault;

/// Fields that are known and refused by name, because nothing would act on them yet.
pub(super) const TO_COME: [&str; 2] = ["policy", "services"];

type NotYet = Option<Spanned<IgnoredAny>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    labels: Option<Spanned<Labels>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    operation: Spanned<String>,
    targets: Spanned<TargetsYaml>,
    baseline: Option<Spanned<String>>,
    snapshot: Option<Spanned<String>>,
    baseline_override: Option<Spanned<Given<Vec<AwsBaseline>>>>,
    install_override_list: Option<Spanned<Given<InstallList>>>,
    max_concurrency: Spanned<Limit>,
    max_errors: Option<Limit>,
    openings: Option<Vec<Spanned<OpeningYaml>>>,
    windows: Option<Spanned<Vec<String>>>,
    blackouts: Option<Spanned<Vec<Spanned<BlackoutYaml>>>>,
    reboot: Option<Spanned<RebootYaml>>,
    hooks: Option<Hooks>,
    rings: Option<Vec<Spanned<RingYaml>>>,
    ramp: Option<Spanned<String>>,
    gates: Option<GatesYaml>,
    on_limit: Option<Spanned<String>>,
    on_superseded: Option<Spanned<String>>,
    policy: NotYet,
    services: NotYet,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TargetsYaml {
    pub(super) all: Option<Spanned<bool>>,
    pub(super) names: Option<Vec<String>>,
    pub(super) selector: Option<Selector>,
    pub(super) matching: Option<Spanned<String>>,
    pub(super) patch_groups: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OpeningYaml {
    opens: Spanned<String>,
    last_start: Spanned<String>,
    closes: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlackoutYaml {
    from: Spanned<String>,
    to: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hooks {
    timeout: Option<Spanned<String>>,
    on_failure: Option<Spanned<String>>,
}

/// What of `hooks` is read before the rest, for its word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HooksToCome {
    on_failure: Option<Spanned<String>>,
}

impl HooksToCome {
    /// Refuses a word that means nothing.
    pub(super) fn refuse(self, place: &Place<'_>) -> Result<(), Fault> {
        on_hook_failure(place, self.on_failure.as_ref()).map(|_| ())
    }
}

/// The specification that `document`, read from `text`, asks for, with every default filled in, and what people note of it.
pub(super) fn spec(place: &Place<'_>, text: &str, document: Document) -> Result<(RolloutSpec, Labels), Fault> {
    let Document { metadata, spec, .. } = document;
    refuse_not_built(place, &spec)?;
    let labels = labelled(place, metadata.labels)?;
    on_limit(place, spec.on_limit.as_ref())?;
    let gates = gates::gates(place, spec.gates)?;
    let (at, targets) = (spec.targets.referenced, spec.targets.value);
    let (rings, rings_at) = rings::rings(place, spec.rings)?;
    let windows_at = spec.windows.as_ref().map(|given| given.referenced);
    let blackouts_at = spec.blackouts.as_ref().map(|given| given.referenced);
    let reboot_at = spec.reboot.as_ref().map(|given| given.referenced);
    let list_at = spec.install_override_list.as_ref().map(|given| given.referenced);
    let deciding =
        Deciding { baseline: spec.baseline, snapshot: spec.snapshot, baseline_override: spec.baseline_override };
    let operations = [("Scan", Operation::Scan), ("Install", Operation::Install)];
    let operation = word(place, "operation", &spec.operation, &operations)?;
    let targets = targets.chosen(place, "targets", at)?;
    let baseline = deciding.asked(place, text)?;
    let superseded_at = spec.on_superseded.as_ref().map(|given| given.referenced);
    let superseded = on_superseded(place, spec.on_superseded.as_ref())?;
    let (hook_timeout, on_failure) = spec.hooks.map_or((None, None), |hooks| (hooks.timeout, hooks.on_failure));
    let checked = RolloutSpec {
        urgent: None,
        operation,
        targets,
        install_list: spec
            .install_override_list
            .map(|given| overrides::install_list(place, text, given))
            .transpose()?,
        max_errors: match spec.max_errors {
            Some(limit) => limit,
            None => "0".parse().map_err(|error| place.fault(None, format!("{error}")))?,
        },
        openings: spec.openings.unwrap_or_default().iter().map(|o| opening(place, o)).collect::<Result<_, _>>()?,
        windows: spec.windows.map(|given| given.value).unwrap_or_default(),
        blackouts: match spec.blackouts {
            Some(given) => given.value.iter().map(|one| blackout(place, one)).collect::<Result<_, _>>()?,
            None => Vec::new(),
        },
        reboot: reboot::reboot(place, spec.reboot.as_ref())?,
        on_hook_failure: on_hook_failure(place, on_failure.as_ref())?,
        hook_timeout: match hook_timeout {
            Some(given) => duration::parse(&given.value).ok_or_else(|| {
                let message = format!("hooks.timeout {:?} is no duration: write 90s, 15m or 4h", clip(&given.value));
                place.fault(Some(given.referenced), message)
            })?,
            None => DEFAULT_HOOK_TIMEOUT,
        },
        rings,
        ramp: match &spec.ramp {
            Some(given) => word(place, "ramp", given, &RAMPS)?,
            None => Ramp::Full,
        },
        gates: gates.after_host,
        ring_gates: gates.after_ring,
        on_superseded: superseded.unwrap_or_else(|| OnSuperseded::default_of(operation, &baseline)),
        max_concurrency: spec
            .max_concurrency
            .value
            .for_concurrency()
            .map_err(|error| place.fault(Some(spec.max_concurrency.referenced), format!("maxConcurrency {error}")))?,
        baseline,
        name: metadata.name.value,
    };
    checked.check().map_err(|error| {
        use patchmesh_common::rollout::spec::SpecError as E;
        let location = match error {
            E::Name(_) => Some(metadata.name.referenced),
            E::Word(..) | E::NoTargets(_) | E::Group(_) => Some(at),
            E::List(_) | E::ListWith(_) => list_at,
            E::Window(_) | E::SameWindow(_) | E::OpeningsWithWindows => windows_at,
            E::TooMany { what: "windows", .. } => windows_at,
            E::TooMany { what: "blackouts", .. } => blackouts_at,
            E::Ring(ring, ..) => rings_at.get(ring).copied(),
            E::RebootTooLate(..) | E::RebootOfScan => reboot_at,
            E::Gate(at, _) => gates.after_host_at.get(at.unwrap_or(0)).copied(),
            E::RingGate(at, _) => gates.after_ring_at.get(at.unwrap_or(0)).copied(),
            E::GatesOfScan => gates.after_host_at.iter().chain(&gates.after_ring_at).next().copied(),
            E::ReplanOfSnapshot => superseded_at,
            _ => None,
        };
        place.fault(location, error.to_string())
    })?;
    Ok((checked, labels))
}

fn refuse_not_built(place: &Place<'_>, spec: &Spec) -> Result<(), Fault> {
    let refused = [
        (&spec.policy, "field spec.policy", "write its content into the Rollout"),
        (&spec.services, "field spec.services", "leave it out: what is kept as kind Service holds for every rollout"),
    ];
    for (field, what, instead) in refused {
        if let Some(given) = field {
            return Err(place.not_built(given.referenced, what, instead));
        }
    }
    Ok(())
}

/// `onLimit`, of a policy too: only what the promise `errors` allows.
pub(super) fn on_limit(place: &Place<'_>, given: Option<&Spanned<String>>) -> Result<(), Fault> {
    match given {
        Some(given) if given.value == "pause" => Err(place.not_built(
            given.referenced,
            "onLimit pause",
            "write halt: more failures than maxErrors end a rollout for good; then plan again with a higher maxErrors",
        )),
        Some(given) => word(place, "onLimit", given, &[("halt", ())]),
        None => Ok(()),
    }
}

/// `onSuperseded`, of a policy and of a task too; `None` if nothing is said.
pub(super) fn on_superseded(place: &Place<'_>, given: Option<&Spanned<String>>) -> Result<Option<OnSuperseded>, Fault> {
    let words = [("replan", OnSuperseded::Replan), ("wait", OnSuperseded::Wait), ("skip", OnSuperseded::Skip)];
    given.map(|given| word(place, "onSuperseded", given, &words)).transpose()
}

/// `hooks.onFailure`, of a policy and of a task too.
fn on_hook_failure(place: &Place<'_>, given: Option<&Spanned<String>>) -> Result<OnHookFailure, Fault> {
    let words = [("fail", OnHookFailure::Fail), ("skip", OnHookFailure::Skip), ("halt", OnHookFailure::Halt)];
    given.map_or(Ok(OnHookFailure::default()), |given| word(place, "hooks.onFailure", given, &words))
}

fn word<T: Copy>(place: &Place<'_>, field: &str, given: &Spanned<String>, words: &[(&str, T)]) -> Result<T, Fault> {
    words.iter().find(|(word, _)| *word == given.value).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("{field} {:?} is unknown: write {}", clip(&given.value), known.join(" or "));
        place.fault(Some(given.referenced), message)
    })
}

impl TargetsYaml {
    /// Exactly one of the ways to choose hosts; `what` is chosen by them.
    pub(super) fn chosen(self, place: &Place<'_>, what: &str, at: Location) -> Result<Targets, Fault> {
        let Self { all, names, selector, matching, patch_groups } = self;
        match (all, names, selector, matching, patch_groups) {
            (Some(all), None, None, None, None) => match all.value {
                true => Ok(Targets::All),
                false => {
                    let message = format!("{what}.all is false: write true, or names, or a selector");
                    Err(place.fault(Some(all.referenced), message))
                }
            },
            (None, Some(names), None, None, None) => Ok(Targets::Names(unique(place, what, at, names)?)),
            (None, None, Some(selector), None, None) => Ok(Targets::Labels(selector.match_labels)),
            (None, None, None, Some(text), None) => {
                let selector = text.value.parse().map_err(|error| {
                    place.fault(Some(text.referenced), format!("{what}.matching {:?}: {error}", clip(&text.value)))
                })?;
                Ok(Targets::Matching(selector))
            }
            (None, None, None, None, Some(groups)) => Ok(Targets::Groups(groups.into_iter().collect())),
            _ => {
                let message = format!(
                    "{what} must hold exactly one of all: true, names: […], selector: {{matchLabels: …}}, matching: TERMS and \
                     patchGroups: […]"
                );
                Err(place.fault(Some(at), message))
            }
        }
    }
}

fn unique(place: &Place<'_>, what: &str, at: Location, mut names: Vec<String>) -> Result<BTreeSet<String>, Fault> {
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(place.fault(Some(at), format!("{what}.names holds {:?} twice", clip(&pair[0])))),
        None => Ok(names.into_iter().collect()),
    }
}

fn time(place: &Place<'_>, field: &str, text: &Spanned<String>) -> Result<WallTime, Fault> {
    WallTime::parse(&text.value).ok_or_else(|| {
        let message = format!("{field} {:?} is no RFC 3339 time: write 2026-12-01T02:00:00Z", clip(&text.value));
        place.fault(Some(text.referenced), message)
    })
}

fn blackout(place: &Place<'_>, given: &Spanned<BlackoutYaml>) -> Result<Blackout, Fault> {
    let BlackoutYaml { from, to } = &given.value;
    let blackout = Blackout { from: time(place, "from", from)?, to: time(place, "to", to)? };
    if blackout.from < blackout.to {
        return Ok(blackout);
    }
    let (from, to) = (blackout.from.rfc3339(), blackout.to.rfc3339());
    Err(place
        .fault(Some(given.referenced), format!("the blackout is not in order: from {from} < to {to} does not hold")))
}

fn opening(place: &Place<'_>, given: &Spanned<OpeningYaml>) -> Result<Opening, Fault> {
    let opening = Opening {
        opens: time(place, "opens", &given.value.opens)?,
        last_start: time(place, "lastStart", &given.value.last_start)?,
        closes: time(place, "closes", &given.value.closes)?,
    };
    if opening.opens <= opening.last_start && opening.last_start <= opening.closes {
        return Ok(opening);
    }
    Err(place.fault(
        Some(given.referenced),
        format!(
            "the opening is not in order: opens {} ≤ lastStart {} ≤ closes {} does not hold",
            opening.opens.rfc3339(),
            opening.last_start.rfc3339(),
            opening.closes.rfc3339()
        ),
    ))
}
