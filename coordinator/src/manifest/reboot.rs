//! `reboot` of a Rollout: a word, or a time.

use core::fmt;

use patchmesh_common::{rollout::RebootOption, time::WallTime};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{Place, clip};
use crate::fault::Fault;

/// What may be written.
const KNOWN: &str = "never, ifNeeded or {at: TIME}, such as {at: 2026-12-01T04:00:00Z}";
/// AWS's words.
const AWS: [&str; 2] = ["RebootIfNeeded", "NoReboot"];

/// As it is written.
#[derive(Debug)]
pub(super) enum RebootYaml {
    Word(String),
    At(String),
}

impl<'de> Deserialize<'de> for RebootYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = RebootYaml;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(KNOWN)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<RebootYaml, E> {
        Ok(RebootYaml::Word(word.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RebootYaml, M::Error> {
        let mut at = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "at" || at.is_some() {
                return Err(M::Error::custom(format!("unknown field {:?} of reboot: write {KNOWN}", clip(&key))));
            }
            at = Some(map.next_value::<String>()?);
        }
        at.map(RebootYaml::At).ok_or_else(|| M::Error::custom(format!("reboot is empty: write {KNOWN}")))
    }
}

/// Refuses AWS's words by name, of a policy too.
pub(super) fn refuse_aws(place: &Place<'_>, given: Option<&Spanned<RebootYaml>>) -> Result<(), Fault> {
    match given.map(|given| (&given.value, given.referenced)) {
        Some((RebootYaml::Word(word), at)) if AWS.contains(&word.as_str()) => {
            let what = format!("reboot {word}, in AWS's meaning,");
            Err(place.not_built(at, &what, "write ifNeeded (a package asked for it) or never"))
        }
        _ => Ok(()),
    }
}

/// When hosts reboot. Left out it is `ifNeeded`.
pub(super) fn reboot(place: &Place<'_>, given: Option<&Spanned<RebootYaml>>) -> Result<RebootOption, Fault> {
    refuse_aws(place, given)?;
    let Some(given) = given else { return Ok(RebootOption::IfNeeded) };
    let wrong = |message: String| place.fault(Some(given.referenced), message);
    match &given.value {
        RebootYaml::Word(word) if word == "never" => Ok(RebootOption::Never),
        RebootYaml::Word(word) if word == "ifNeeded" => Ok(RebootOption::IfNeeded),
        RebootYaml::Word(word) => Err(wrong(format!("reboot {:?} is unknown: write {KNOWN}", clip(word)))),
        RebootYaml::At(text) => parse_at(text).ok_or_else(|| {
            wrong(format!("reboot at {:?} is no RFC 3339 time: write 2026-12-01T04:00:00Z", clip(text)))
        }),
    }
}

/// The option of this time, in whole seconds, as documents tell it.
pub fn parse_at(text: &str) -> Option<RebootOption> {
    WallTime::parse(text).map(|at| RebootOption::At(WallTime(at.0 - at.0.rem_euclid(1000))))
}
