//! Plans that are being made: whose answers are waited for.

use serde::{Deserialize, Serialize};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyRow {
    /// The name of the rollout that is planned, or whose plan is held against the world.
    pub rollout: String,
    /// How many targets it has.
    pub targets: u32,
    /// Hosts that were asked and have not answered, by name.
    pub waits_for: Vec<String>,
}

/// `patchmesh.surveys/v1`: `GET /v1/plans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveysDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By rollout.
    pub surveys: Vec<SurveyRow>,
}

impl SurveysDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.surveys/v1";

    /// The document of these.
    pub fn new(rows: impl Iterator<Item = SurveyRow>) -> Self {
        let mut surveys: Vec<_> = rows.collect();
        surveys.sort_by(|a, b| a.rollout.cmp(&b.rollout));
        Self { schema: Self::SCHEMA.to_owned(), surveys }
    }
}
