//! Services: what must stay up, and how it stands.

use patchmesh_common::{
    rollout::{limit::Limit, service::ServiceSpec},
    run::gate::Gate,
};
use serde::{Deserialize, Serialize};

use super::{LimitDocument, SelectorDocument};

/// A service as it is kept: a manifest without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRequest {
    /// Whose members.
    pub selector: SelectorDocument,
    /// How many members stay up.
    pub min_available: Limit,
    /// The tag of which members that are down have one value.
    pub spread: Option<String>,
    /// Whose members start last.
    pub last: Vec<SelectorDocument>,
    /// What a member must show to count as up.
    pub probe: Option<Gate>,
}

impl ServiceRequest {
    /// The request to keep `spec`.
    pub fn new(spec: ServiceSpec) -> Self {
        let selector = |match_labels| SelectorDocument { match_labels };
        Self {
            selector: selector(spec.selector),
            min_available: spec.min_available,
            spread: spec.spread,
            last: spec.last.into_iter().map(selector).collect(),
            probe: spec.probe,
        }
    }

    /// What is asked for, of which nothing has been checked.
    pub fn spec(self, name: String) -> ServiceSpec {
        ServiceSpec {
            name,
            selector: self.selector.match_labels,
            min_available: self.min_available,
            spread: self.spread,
            last: self.last.into_iter().map(|one| one.match_labels).collect(),
            probe: self.probe,
        }
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its name.
    pub service: String,
    /// Whose members.
    pub selector: SelectorDocument,
    /// How many members stay up: as written, and of the members that there are.
    pub min_available: LimitDocument,
    /// The tag of which members that are down have one value.
    pub spread: Option<String>,
    /// Whose members start last.
    pub last: Vec<SelectorDocument>,
    /// What a member must show to count as up; null if it is up as long as the mesh hears it.
    pub probe: Option<Gate>,
    /// How many members it has.
    pub members: u32,
    /// How many of them are up.
    pub up: u32,
}

impl ServiceRow {
    /// The request that would keep it as it is; `None` if its least number of members is none.
    pub fn request(&self) -> Option<ServiceRequest> {
        Some(ServiceRequest {
            selector: self.selector.clone(),
            min_available: self.min_available.given.parse().ok()?,
            spread: self.spread.clone(),
            last: self.last.clone(),
            probe: self.probe.clone(),
        })
    }
}

/// `patchmesh.services/v1`: `get services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Most hosts that hold a slot at once, over all rollouts; null if only the rollouts' own limits count.
    pub fleet_limit: Option<u32>,
    /// By name.
    pub services: Vec<ServiceRow>,
}

impl ServicesDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.services/v1";
}

/// One member of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMember {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// `up`, or a stable word for why it counts as down.
    pub state: String,
    /// The same as a sentence, with what to do about it; null if it is up.
    pub text: Option<String>,
    /// Its value of the service's spread; null if the service has none.
    pub spread: Option<String>,
    /// How late it starts: after members with a lower rank.
    pub rank: u8,
}

/// `patchmesh.service/v1`: `describe service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The service.
    #[serde(flatten)]
    pub row: ServiceRow,
    /// By name.
    pub hosts: Vec<ServiceMember>,
}

impl ServiceDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.service/v1";
}
